"""What is needed to build is linked into the build environment as well."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import PIPS, pythons
from tests.functional.projects import make_project, make_sdist
from tests.support.environments import NEWEST, if_everything
from tests.support.parity import store_digest
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed

pytestmark = pytest.mark.compat

IN_PROCESS = ("--use-feature", "inprocess-build-deps")
VIRTUAL = ("--use-feature", "venv-isolation")
WAYS: list[tuple[str, tuple[str, ...]]] = [
    *((pip, ()) for pip in (*PIPS[:-3:3], *PIPS[-3:])),
    ("26.0.1", IN_PROCESS),
    ("26.2.1", IN_PROCESS),
    (NEWEST, IN_PROCESS),
    ("26.2.1", VIRTUAL),
    (NEWEST, VIRTUAL),
]
"""Every kind of pip, and both ways of the newer ones to do without a second process."""
LINKED = (
    "import needed.deep as deep, needed_module as module; "
    "files = [deep.__file__, module.__file__]; "
    "assert not any(map(os.path.islink, files)), files; "
    "assert all(os.stat(f).st_nlink > 1 for f in files), files"
)
"""Executed by the backend."""
COPIED = LINKED.replace("st_nlink > 1", "st_nlink == 1")

each_way = pytest.mark.parametrize(
    ("pip", "feature"),
    WAYS,
    ids=lambda value: (
        value if isinstance(value, str) else "".join(value[1:]) or "child"
    ),
)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A wheel, and an sdist, both needed to build; the latter needs the former."""
    house = tmp_path / "house"
    files = {
        "needed/__init__.py": "",
        "needed/deep/__init__.py": "x = 1\n",
        "needed_module.py": "x = 2\n",
    }
    make_wheel(house, "needed", files=files)
    nested = make_project(
        tmp_path / "nested", "nested", requires="'needed'", check=LINKED
    )
    make_sdist(nested).rename(house / "nested-1.0.tar.gz")
    return house


def starts(pip: str) -> None:
    (python,) = (one for one in pythons() if one.path == sys.executable)
    if not python.starts(pip):
        pytest.skip(f"pip {pip} does not start on Python {python}")


@each_way
@pytest.mark.parametrize("mode", ["symlink", *if_everything("hardlink")])
def test_settings_of_the_command_line_reach_nested_pips(
    bed: Bed,
    tmp_path: Path,
    house: Path,
    pip: str,
    feature: tuple[str, ...],
    mode: str,
) -> None:
    """Through two levels; and a symlink, which would soon dangle, is another link."""
    starts(pip)
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    needs = "'needed', 'nested'"
    check = f"import nested; {LINKED}"
    project = make_project(tmp_path / "src", "source", requires=needs, check=check)
    sdist = make_sdist(project)
    store = tmp_path / "store"
    result = environment.pip(
        *("install", "--no-index", "--find-links", str(house), *feature, str(sdist)),
        *(f"--link-mode={mode}", f"--link-store={store}"),
    )
    output = result.stdout + result.stderr
    assert "WARNING" not in output
    assert f"Linked 1 package by {mode}" in output or mode == "symlink"
    kept = {path.rpartition("/files/")[2] for path in store_digest(store)}
    assert {"needed/deep/__init__.py", "nested.py", "source.py"} <= kept
    assert not (environment.cache / "link-store").exists()
    # An environment that is gone is no user of the store.
    assert len(list((store / "v1" / "environments").glob("*"))) == 1


@pytest.mark.parametrize("command", ["wheel", "download"])
@pytest.mark.parametrize(
    ("pip", "feature"),
    [("23.2.1", ()), (NEWEST, ()), (NEWEST, IN_PROCESS), (NEWEST, VIRTUAL)],
)
def test_commands_that_only_build(
    bed: Bed,
    tmp_path: Path,
    house: Path,
    pip: str,
    feature: tuple[str, ...],
    command: str,
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    project = make_project(
        tmp_path / "src", "source", requires="'needed', 'nested'", check=LINKED
    )
    store = tmp_path / "store"
    environment.pip(
        *(command, "--no-index", "--find-links", str(house), *feature),
        *("--link-mode=symlink", f"--link-store={store}"),
        make_sdist(project),
        cwd=tmp_path,
    )
    suffix = {"wheel": "whl", "download": "tar.gz"}[command]
    assert list(tmp_path.glob(f"source-1.0*.{suffix}"))


@pytest.mark.parametrize("feature", [(), IN_PROCESS, VIRTUAL], ids=str)
@pytest.mark.parametrize("settings", [["--link-mode=off"], ["--no-cache-dir"]])
def test_what_is_switched_off_is_off_in_build_environments(
    bed: Bed, tmp_path: Path, house: Path, feature: tuple[str, ...], settings: list[str]
) -> None:
    (house / "nested-1.0.tar.gz").unlink()
    environment = bed.environment(tmp_path / "environment", shim=True)
    project = make_project(
        tmp_path / "src", "source", requires="'needed'", check=COPIED
    )
    environment.pip(
        *("install", "--no-index", "--find-links", str(house), *feature, *settings),
        make_sdist(project),
    )
    assert not (environment.cache / "link-store").exists()


@pytest.mark.parametrize("pip", ["24.3.1", NEWEST])
@pytest.mark.parametrize("feature", [(), VIRTUAL], ids=str)
def test_a_backend_that_needs_pip_gets_it(
    bed: Bed, tmp_path: Path, pip: str, feature: tuple[str, ...]
) -> None:
    """There our directory has left ``sys.path`` when pip's modules are imported."""
    if feature and pip != NEWEST:
        pytest.skip(f"pip {pip} has no {feature[1]}")
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    check = (
        "import pip._internal.commands.install as install; "
        "from pip._internal.commands import create_command; "
        "create_command('install'); "
        "import pip._internal.operations.install.wheel"
    )
    project = make_project(tmp_path / "src", "source", requires="'pip'", check=check)
    result = environment.pip(
        *(
            "install",
            "--no-index",
            "--find-links",
            str(bed.pip_wheel(pip).parent),
            *feature,
        ),
        make_sdist(project),
    )
    assert result.stderr == ""
