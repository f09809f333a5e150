"""What the documents tell to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pip_linkmode.cli.main import COMMANDS, _parser

if TYPE_CHECKING:
    from pip_linkmode.cli.command import Command

CHECKOUT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/ci.md", "docs/environments.md", "docs/differences.md")
REPOSITORY = "https://github.com/pip-linkmode/pip-linkmode/blob/main/"
RAW = "https://raw.githubusercontent.com/pip-linkmode/pip-linkmode/main/"
DIFFERENCES = """\
An edit in place reaches every environment
strip, patchelf and other tools change shared files
Another installer writes into existing files
chown of one environment changes the files of all
SELinux refuses access to linked files
Disk usage is counted once for all links
Files are as old as the store entry
Modules of a clone are as old as the store entry
Configuration files are never shared
Configuration inside a package is shared
The environment needs the store
Other users cannot reach the store
Symlink mode copies some files
Real paths lead into the store
Programs write into the store entry
CUDA_HOME points into the store
Programs with $ORIGIN do not start
compileall -f refuses bytecode
coverage reports installed packages
Debuggers and type checkers see library files outside of site-packages
ansible-doc lists no plugins
Tools that do not follow symlinks find no files
pip-sync removes pip-linkmode
Bytecode names another path
Debian's pip does not uninstall symlinks
""".splitlines()
"""Headings of docs/differences.md that other pages and issues refer to."""
FIELDS = ("Modes", "Symptom", "Cause", "Remedy")
DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md")])
SPOKEN_OF = ("disable", "materialize")
"""Commands that a page names without their arguments."""


def commands(page: str) -> list[str]:
    """Return the command lines of ours in a page, wherever they stand."""
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    found = re.findall(r"^ *pip-linkmode .*", text, re.MULTILINE)
    found += re.findall(r"`(pip-linkmode [^`]*)`", text)
    return [line.partition(" #")[0].strip() for line in found]


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_of_a_page_are_understood(page: str) -> None:
    lines = commands(page)
    assert len(lines) > (2 if page == "docs/ci.md" else 4)
    for line in lines:
        _, *arguments = shlex.split(line)
        if len(arguments) == 1 and arguments[0] in SPOKEN_OF:
            continue
        _parser().parse_args(arguments)


def test_page_on_looking_after_a_store_has_every_command() -> None:
    typed = {shlex.split(line)[1] for line in commands("docs/environments.md")}
    assert typed == {command.name for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_example_of_a_command_is_understood(command: Command) -> None:
    _, *arguments = shlex.split(command.example)
    _parser().parse_args(arguments)


# --- the documents for whoever carries it on ------------------------------------------

GUIDES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/pip-internals.md")


@pytest.mark.parametrize("page", GUIDES)
def test_modules_that_a_guide_names_exist(page: str) -> None:
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[\w.]+/)*\w+\.py)`", text))
    assert len(named) > 5
    for name in named:
        assert any((CHECKOUT / root / name).exists() for root in ("pip_linkmode", "."))


def test_architecture_names_every_room_and_every_module_of_the_ground() -> None:
    text = (CHECKOUT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = CHECKOUT / "pip_linkmode"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    ground = {path.stem for path in package.glob("[a-z]*.py")}
    assert {name for name in rooms | ground if not re.search(rf"\b{name}\b", text)} == (
        set()
    )


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as they are made by its host."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def leads_somewhere(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor in anchors(target))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", text)
    missing = [
        (name, anchor)
        for name, anchor in links
        if not leads_somewhere(path.parent / name if name else path, anchor)
    ]
    assert missing == []


def test_links_of_the_readme_work_on_the_page_of_the_index() -> None:
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 5
    assert [link for link in links if not link.startswith((REPOSITORY, RAW))] == []
    for link in links:
        name, _, anchor = link.removeprefix(REPOSITORY).removeprefix(RAW).partition("#")
        assert leads_somewhere(CHECKOUT / name, anchor), link


def test_index_of_the_documents_lists_every_page() -> None:
    text = (CHECKOUT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", text))
    pages = {path.name for path in (CHECKOUT / "docs").glob("*.md")}
    assert listed == pages - {"README.md"}


def test_each_difference_has_a_heading_with_symptom_cause_and_remedy() -> None:
    text = (CHECKOUT / "docs" / "differences.md").read_text(encoding="utf-8")
    sections = [part.partition("\n") for part in text.split("\n### ")[1:]]
    assert [heading for heading, _, _ in sections] == DIFFERENCES
    for heading, _, body in sections:
        fields = re.findall(r"^\*\*(\w+):\*\* \S", body, re.MULTILINE)
        assert tuple(fields) == FIELDS, heading


def test_each_threat_has_a_measure_and_tests_that_exist() -> None:
    page = (CHECKOUT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = [
        line.strip("| ").split(" | ")
        for line in page.splitlines()
        if line.startswith("| ") and not line.startswith("| threat")
    ]
    assert len(rows) > 20
    for threat, measure, tests in rows:
        assert threat
        named = re.findall(r"`([\w/]+\.py)::(test_\w+)`", tests)
        assert named or measure.startswith("not held"), threat
        for path, name in named:
            text = (CHECKOUT / "tests" / path).read_text(encoding="utf-8")
            assert re.search(rf"def {name}\b", text), f"{path}::{name}"


def test_the_workflow_keeps_the_store_that_it_sets() -> None:
    text = (CHECKOUT / "examples" / "ci" / "workflow.yml").read_text("utf-8")
    job = yaml.safe_load(text)["jobs"]["test"]
    (cache,) = (one for one in job["steps"] if "cache@" in one.get("uses", ""))
    assert job["env"]["PIP_LINK_STORE"].endswith(f"/{cache['with']['path']}")
    lines = [
        one["run"] for one in job["steps"] if "pip-linkmode " in one.get("run", "")
    ]
    for line in lines:
        _parser().parse_args(shlex.split(line)[1:])
    assert lines
