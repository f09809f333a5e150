"""What pip does with a hostile wheel is what it does without us, and no entry stays."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.store.store import Store
from tests.hostile.corpus import (
    CORPUS,
    NEIGHBOUR,
    OUTSIDE,
    build,
    good_files,
    module_of,
)
from tests.support import parity
from tests.support.environments import NEWEST, OLDEST, if_everything
from tests.support.parity import assert_parity, delta, store_digest
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.parity import Step
    from tests.support.snapshot import Entry

BY_NAME = {one.name: one for one in CORPUS}
APART = "manifest-of-bytecode"
"""Its directory has the name of a file of another wheel."""
MEETS_GOOD = ("pycache-is-a-file", "pyc-is-a-directory")
"""Over a good version, pip fails half-way."""
INSTALLED = [one for one in CORPUS if one.installs and one.name != APART]
REFUSED = [one for one in CORPUS if not one.installs]
OVER = ("--force-reinstall", "--ignore-installed")


@dataclass(frozen=True)
class House:
    """All hostile wheels, and an honest one for each of them."""

    base: Path
    hostile: dict[str, Path]
    good: dict[str, Path]

    @property
    def outside(self) -> Path:
        """Where absolute paths lead to."""
        return self.base / OUTSIDE


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    base = tmp_path_factory.mktemp("house")
    wheels = {one.name: one.make(base / "hostile", one.name) for one in CORPUS}
    good = {
        name: make_wheel(base / "good", name, files=good_files(name))
        for name in [*wheels, NEIGHBOUR]
    }
    return House(base, wheels, good)


def said(output: str) -> list[str]:
    """Return what pip printed, but for what is of one run only.

    That are addresses of objects, and in a traceback the way to the error, which leads
    through us.
    """
    lines, inside = [], False
    for line in parity._comparable(output):
        inside = inside and line.startswith(" ")
        if not inside:
            lines.append(re.sub(r"0x[0-9a-f]+", "0x", line))
        inside = inside or line.startswith("Traceback")
    return lines


@dataclass
class Runs:
    """The same steps by stock pip and by one that links."""

    tmp_path: Path
    mode: str = "hardlink"
    done: dict[bool, list[tuple[str, int, list[str]]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    before: dict[bool, dict[str, Entry]] = field(default_factory=dict)

    @property
    def store(self) -> Path:
        return self.tmp_path / "store"

    def pip(self, *args: str | Path, code: int | None = None) -> Step:
        """Return the step of running pip.

        :param code: the exit code that is expected, if it is known
        """

        def step(environment: Environment) -> None:
            links = self._links(environment)
            # pip prints sets, and asks programs that it finds for their versions.
            env = {"PYTHONHASHSEED": "0", "PATH": os.defpath}
            if links:
                env |= {"PIP_LINK_MODE": self.mode, "PIP_LINK_STORE": str(self.store)}
            result = environment.pip(*args, env=env, check=False)
            output = said(result.stdout) + said(result.stderr)
            self.done[links].append((str(args[-1]), result.returncode, output))
            if code is not None:
                assert result.returncode == code, result.stdout + result.stderr

        return step

    def look(self, environment: Environment) -> None:
        """Compare also what is there in the middle; what is there first is not."""
        links, tree = self._links(environment), environment.snapshot()
        before = self.before.setdefault(links, tree)
        changes = [f"{path}: {new}" for path, new in delta(before, tree).items()]
        self.done[links].append(("tree", 0, changes))

    @staticmethod
    def _links(environment: Environment) -> bool:
        return any(environment.site_packages.glob("pip_linkmode-*.dist-info"))

    def install(
        self, *wheels: Path, flags: Iterable[str] = (), code: int | None = None
    ) -> Step:
        return self.pip(
            "install", "--no-index", "--no-deps", *flags, *wheels, code=code
        )

    def compare(
        self,
        bed: Bed,
        house: House,
        steps: Sequence[Step],
        *,
        pip: str = NEWEST,
        escapes: bool = False,
        ignore: Sequence[str] = (),
    ) -> Environment:
        """Assert that both are equal, and that nothing is where it should not be.

        :param escapes: whether this pip lets files escape
        """
        taken = [*steps] if escapes else [*steps, nothing_escapes]
        environment = assert_parity(
            bed,
            self.tmp_path,
            taken,
            env={},
            pip=pip,
            also=[house.outside],
            ignore=ignore,
        )
        stock, linked = self.done[False], self.done[True]
        assert len(stock) == len(linked) > 0
        assert [one for one in linked if one not in stock] == []
        assert linked == stock
        assert_sound(self.store)
        return environment

    def assert_stored(self, house: House, names: Iterable[str]) -> None:
        """Assert that there is an entry of each wheel that says so, and of no other."""
        found = {}
        for name in names:
            sha256 = hashlib.sha256(house.hostile[name].read_bytes()).hexdigest()
            path = self.store / "v1" / "wheels" / sha256[:2] / sha256
            found[name] = os.path.lexists(path)
        assert found == {name: BY_NAME[name].stored for name in found}


def nothing_escapes(environment: Environment) -> None:
    """Assert that all that pip wrote is in the environment."""
    place = environment.path.parent
    found = {path.name for path in place.iterdir()} - {"victim.txt", "dangling"}
    assert found == {"environment", "private"}
    assert {path.name for path in environment.private.iterdir()} <= {
        "cache",
        "home",
        "tmp",
    }
    assert list((environment.private / "tmp").iterdir()) == []
    assert list((environment.private / "home").iterdir()) == []


def assert_sound(store: Path) -> None:
    """Assert that a store holds whole entries, and nothing else."""
    if not store.exists():
        return
    assert {path.name for path in store.iterdir()} <= {"CACHEDIR.TAG", "v1"}
    layout = store / "v1"
    assert {path.name for path in layout.iterdir()} <= {
        "wheels",
        "staging",
        "environments",
        "projects",
    }
    assert list(layout.glob("staging/*")) == []
    opened = Store.open(str(store))
    for path in layout.glob("wheels/*/*"):
        assert {part.name for part in path.iterdir()} <= {
            "manifest.json",
            "files",
            "bytecode",
        }
        entry = opened.entry(path.name)
        assert entry is not None
        entry.check()
        listed = {entry.source(file.path) for file in entry.files}
        assert {str(one) for one in path.glob("files/**/*") if not one.is_dir()} == (
            listed
        )
    for path in layout.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):  # the second name of an environment's own bin/python
            assert (path.parents[1], path.name[:8]) == (
                layout / "environments",
                "witness-",
            )
            continue
        assert stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        assert stat.S_IMODE(mode) & ~0o755 == 0


# --- wheels that pip refuses ----------------------------------------------------------


def test_wheels_that_pip_refuses(bed: Bed, tmp_path: Path, house: House) -> None:
    """Each over an environment that has a good version, which loses no more to us."""
    runs = Runs(tmp_path)
    steps = [runs.install(*(house.good[one.name] for one in REFUSED), code=0)]
    steps += [runs.install(house.hostile[one.name], flags=OVER) for one in REFUSED]
    steps += [runs.install(*(house.good[name] for name in MEETS_GOOD), code=0)]
    steps += [runs.install(house.hostile[name], flags=OVER) for name in MEETS_GOOD]
    runs.compare(bed, house, steps)
    assert [wheel for wheel, code, _ in runs.done[True] if not code] == [
        str(house.good[REFUSED[-1].name]),
        str(house.good[MEETS_GOOD[-1]]),
    ]
    runs.assert_stored(house, [one.name for one in REFUSED])


# Refused while their files are installed.
MIDWAY = ("crc-of-the-data", "data-unknown", "parents", "record-with-empty-lines")


def test_upgrades_that_pip_takes_back(bed: Bed, tmp_path: Path, house: House) -> None:
    """The good version is removed, and put back when the hostile one fails."""
    runs = Runs(tmp_path)
    names = [*MIDWAY, "entry-point-escapes"]
    steps = [runs.install(*(house.good[name] for name in names), code=0)]
    steps += [
        runs.install(house.hostile[name], flags=["--force-reinstall"]) for name in names
    ]
    environment = runs.compare(bed, house, steps)
    for name in names:
        package = environment.site_packages / module_of(name)
        assert (package / "only_good.py").read_text() == "VALUE = 'good'\n"


def test_failure_after_linking_loses_no_file(bed: Bed, tmp_path: Path) -> None:
    """What was there before is what stock pip leaves, not nothing."""
    runs = Runs(tmp_path)
    good, new = (
        make_wheel(
            tmp_path / kind,
            "pkg",
            files={"pkg/__init__.py": f"VALUE = {kind!r}\n", "pkg/data": kind * 99},
            entry_points=points,
        )
        for kind, points in (("old", ""), ("new", "[console_scripts]\nx = pkg:main\n"))
    )

    def block(environment: Environment) -> None:
        (environment.scripts / "x" / "in the way").mkdir(parents=True)

    steps = [
        runs.install(good, code=0),
        block,
        runs.install(new, flags=OVER, code=1),
    ]
    house = House(tmp_path, {}, {})
    # The wheel's own in the one, and the skeleton's in the other.
    environment = runs.compare(bed, house, steps, ignore=["*.dist-info/RECORD"])
    text = (environment.site_packages / "pkg" / "__init__.py").read_text()
    assert text == "VALUE = 'new'\n"


ESCAPING = ("entry-point-escapes", "entry-point-is-absolute")
OLD = (
    *("parent", "absolute", "backslash", "twice", "data-unknown", "crc-of-the-data"),
    *("requested-through-data", "module-through-lib64", "two-infos"),
    *("record-with-empty-lines", "pycache-is-a-file", "entry-point-over-a-module"),
    *("entry-point-without-a-callable", *ESCAPING),
)


@pytest.mark.parametrize(
    ("pip", "names", "escapes"),
    [
        (OLDEST, OLD, False),
        # Pips before 26.3 let the names of some entry points escape, with us or not.
        ("25.3", [*ESCAPING, "entry-point-over-a-module"], True),
    ],
)
def test_wheels_and_older_pips(
    bed: Bed,
    tmp_path: Path,
    house: House,
    pip: str,
    names: Sequence[str],
    *,
    escapes: bool,
) -> None:
    runs = Runs(tmp_path)
    good = [house.good[name] for name in names]
    digests = []

    def look(environment: Environment) -> None:
        del environment
        digests.append(store_digest(runs.store))

    def seen(environment: Environment) -> None:
        assert (environment.path.parent / "escaped").exists() == escapes

    steps: list[Step] = [runs.install(*good, code=0), look]
    steps += [runs.install(house.hostile[name], flags=OVER) for name in names]
    steps += [look, seen]
    runs.compare(bed, house, steps, pip=pip, escapes=escapes)
    runs.assert_stored(house, names)
    before, after = digests[2:]
    assert {path: after.get(path) for path in before} == before


# --- wheels that pip installs ---------------------------------------------------------


@pytest.mark.parametrize("mode", ["symlink", *if_everything("hardlink")])
def test_wheels_that_pip_installs(
    bed: Bed, tmp_path: Path, house: House, mode: str
) -> None:
    """Cold and warm, and uninstalled."""
    runs = Runs(tmp_path, mode)
    wheels = [house.hostile[one.name] for one in INSTALLED]
    digests = []

    def victims(environment: Environment) -> None:
        for parent in (environment.path, environment.path.parent):
            (parent / "victim.txt").write_text("a file of the user\n")
        (environment.path.parent / "dangling").symlink_to("nowhere")

    def look(environment: Environment) -> None:
        del environment
        digests.append(store_digest(runs.store))

    def victims_live(environment: Environment) -> None:
        assert (environment.path.parent / "victim.txt").exists()
        assert (environment.path.parent / "dangling").is_symlink()

    steps: list[Step] = [
        victims,
        runs.look,
        runs.install(house.good[NEIGHBOUR]),
        runs.install(*wheels, code=0),
        look,
        runs.look,
        runs.install(*wheels, flags=["--force-reinstall"], code=0),
        runs.look,
        runs.pip("uninstall", "--yes", *(one.name for one in INSTALLED), code=0),
        look,
        victims_live,
        runs.install(house.hostile[APART], code=0),
        runs.install(house.hostile[APART], flags=["--force-reinstall"], code=0),
    ]
    runs.compare(bed, house, steps)
    cold, uninstalled = digests[2:]
    assert cold == uninstalled
    assert len(cold) > 100
    runs.assert_stored(house, [*(one.name for one in INSTALLED), APART])


def test_wheels_that_pip_installs_over_good_ones(
    bed: Bed, tmp_path: Path, house: House
) -> None:
    runs = Runs(tmp_path)
    names = [one.name for one in INSTALLED if one.name not in MEETS_GOOD]
    wheels = [house.hostile[name] for name in names]
    good = [house.good[name] for name in [NEIGHBOUR, *names]]
    steps = [
        runs.install(*good, code=0),
        runs.install(*wheels, flags=OVER, code=0),
        runs.install(*wheels, flags=OVER, code=0),
    ]
    runs.compare(bed, house, steps)


# --- wheels that want to be us --------------------------------------------------------


def test_wheels_that_take_our_place(bed: Bed, tmp_path: Path) -> None:
    """They may, as they may with pip; but not while we are at work."""
    members: dict[str, tuple[str, bytes]] = {
        "start-up": ("pip_linkmode.pth", b"import sys\n"),
        "package": ("pip_linkmode/__init__.py", b"raise ValueError\n"),
        "worker": ("pip_linkmode/prepare/worker.py", b"raise SystemExit(3)\n"),
        "dependency": ("wrapt/__init__.py", b"raise ValueError\n"),
    }
    runs = Runs(tmp_path)
    wheels = [
        build(tmp_path / "wheels", name, member) for name, member in members.items()
    ]
    good = make_wheel(tmp_path / "wheels", "last", files={"last.py": "VALUE = 1\n"})
    house = House(tmp_path, {}, {})
    steps = [
        runs.install(*wheels, good, code=0),
        runs.install(good, flags=OVER, code=0),
    ]
    # Directories that were there before.
    names = ("pip_linkmode", "pip_linkmode/prepare", "wrapt")
    ours = [f"*/site-packages/{name}" for name in names]
    ignore = [*ours, *(f"{name}/__pycache__" for name in ours)]
    environment = runs.compare(bed, house, steps, ignore=ignore)
    assert (environment.site_packages / "pip_linkmode.pth").read_text() == (
        "import sys\n"
    )
