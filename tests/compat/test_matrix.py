"""Every pip of the matrix, on every Python: what we do is what it does alone."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import MARKS, PIPS, pairs, pythons
from tests.support import debian
from tests.support.environments import CHECKOUT, NEWEST, if_everything
from tests.support.parity import assert_parity, delta, store_digest
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.compat.matrix import Combination
    from tests.support.environments import Bed, Environment
    from tests.support.parity import Step
    from tests.support.snapshot import Entry

pytestmark = pytest.mark.compat

PAGE = CHECKOUT / "README.md"
MODES = ("hardlink", "symlink", *if_everything("copy"))
"""What a mode can leave on the disk; a clone is a file of its own, like a copy."""
STARTERS = ("pip_linkmode.pth", "pip_linkmode.start")


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One wheel or more for every trait that matters."""
    directory = tmp_path_factory.mktemp("traits")
    return [str(wheel) for trait in TRAITS.values() for wheel in trait(directory)]


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of one package for each mode."""
    directory = tmp_path_factory.mktemp("house")
    for mode in MODES:
        for version in ("1.0", "2.0"):
            files: dict[str, bytes | str] = {
                f"{mode}/__init__.py": f"version = {version!r}\n",
                f"{mode}/same.py": "x = 1\n",
                f"{mode}/only_{version[0]}/__init__.py": "",
                f"{mode}/data.bin": version.encode() * 1000,
                f"{mode}_module.py": f"version = {version!r}\n",
                f"{mode}-{version}.data/data/share/{mode}/{version}.txt": version,
                f"{mode}-{version}.data/scripts/{mode}-tool": "#!python\n",
            }
            points = f"[console_scripts]\n{mode}-main = {mode}:version\n"
            make_wheel(directory, mode, version, files, entry_points=points)
    return directory


@pytest.mark.parametrize(
    ("combination", "mode"),
    pairs(["hardlink", "symlink"], half=0),
    indirect=["combination"],
)
def test_every_trait_is_installed_as_pip_does(
    bed: Bed, tmp_path: Path, wheels: list[str], combination: Combination, mode: str
) -> None:
    """Cold, and over that warm; with nothing more printed than our own line."""
    install = ["install", "--no-index", *wheels]
    assert_parity(
        bed,
        tmp_path,
        [install, [*install, "--force-reinstall"]],
        env={"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(tmp_path / "store")},
        pip=combination.pip,
        python=combination.python.path,
        output=True,
    )


class Walk:
    """Steps through pips with and without us, and a look around after each."""

    def __init__(self, house: Path, store: Path) -> None:
        self.house, self.store = house, store
        self.directories_of: dict[bool, list[dict[str, Entry]]] = {False: [], True: []}
        self.contents: list[dict[str, str]] = []

    def step(self, who: str, verb: str, version: str = "") -> Step:
        """Let a pip do one thing to the packages of all modes."""

        def do(environment: Environment) -> None:
            site_packages = environment.site_packages
            ours = (site_packages / "pip_linkmode").exists()
            for name in STARTERS if ours else ():
                there, gone = site_packages / name, site_packages / f"{name}.gone"
                if who == "linked" and gone.exists():
                    gone.rename(there)
                elif who == "stock" and there.exists():
                    there.rename(gone)
            installs = verb == "install"
            links = ours and installs and who == "linked"
            for modes in [(mode,) for mode in MODES] if links else [MODES]:
                flags = ("--no-index", "--find-links", str(self.house))
                result = environment.pip(
                    *((verb, *flags) if installs else (verb, "--yes")),
                    *(mode + version for mode in modes),
                    env={"PIP_LINK_MODE": modes[0], "PIP_LINK_STORE": str(self.store)},
                )
                assert result.stderr == ""
            if links:
                assert (site_packages / "hardlink" / "same.py").stat().st_nlink > 1
                assert (site_packages / "symlink" / "same.py").is_symlink()
            self.directories_of[ours].append(environment.snapshot())
            self.contents.append(store_digest(self.store))

        return do

    def differences(self) -> list[str]:
        """Return what our environment has, and stock pip's has not, after a step."""
        found = []
        stock, linked = (
            [delta(directories_of[-1], tree) for tree in directories_of[:-1]]
            for directories_of in self.directories_of.values()
        )
        for number, pair in enumerate(zip(stock, linked, strict=True), 1):
            found += [
                f"after step {number}: {path}: {[one.get(path) for one in pair]}"
                for path in sorted({*pair[0], *pair[1]})
                if pair[0].get(path) != pair[1].get(path) and "pip_linkmode" not in path
            ]
        return found


@pytest.mark.parametrize(
    ("combination", "order"),
    pairs(["linked linked", "linked stock", "stock linked"], half=1),
    indirect=["combination"],
)
def test_install_upgrade_uninstall(
    bed: Bed, tmp_path: Path, house: Path, combination: Combination, order: str
) -> None:
    """With us, with us and then without, and the other way round."""
    first, then = order.split()
    walk = Walk(house, tmp_path / "store")
    assert_parity(
        bed,
        tmp_path,
        [
            walk.step(first, "install", "==1.0"),
            walk.step(then, "install", "==2.0"),
            walk.step(then, "uninstall"),
        ],
        env={},
        pip=combination.pip,
        python=combination.python.path,
        ignore=["*/pip_linkmode.*"],
    )
    assert walk.differences() == []
    for before, after in pairwise(walk.contents):
        assert {path: after.get(path) for path in before} == before


def test_the_page_lists_the_pips_of_the_matrix() -> None:
    begin, end = MARKS
    page = PAGE.read_text("utf-8")
    block = page.partition(begin)[2].partition(end)[0]
    first_cells = [line.split("|")[1].strip() for line in block.splitlines() if line]
    assert first_cells == ["pip", "---", *PIPS, "bundled"]


def test_the_classifiers_name_the_pythons_of_the_matrix() -> None:
    prefix = "Programming Language :: Python :: 3."
    text = (CHECKOUT / "pyproject.toml").read_text("utf-8")
    classified = re.findall(rf'"{re.escape(prefix)}(\d+)"', text)
    page = PAGE.read_text("utf-8")
    heading = page.partition(MARKS[0])[2].split("\n")[1]
    assert classified == re.findall(r"Python 3\.(\d+)", heading)
    tried = {python.version[1] for python in pythons()}
    tried |= {minor for _, minor in debian.VERSIONS}
    assert max(tried) <= int(classified[-1])


def test_the_newest_pip_of_the_matrix_is_that_of_all_other_tests() -> None:
    assert PIPS[-1] == NEWEST
