"""Network file systems with two hosts each, and environments on them."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
import venv
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.filesystem.support import under
from tests.network.beds import DEMAND, KINDS, MOOSEFS, UnavailableError
from tests.support.environments import CHECKOUT
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.filesystem.support import Wrapped
    from tests.network.beds import Host, Share
    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

SNAPSHOT = CHECKOUT / "tests" / "support" / "snapshot.py"
NAMES = ("solver", "mesh", "post")
Tree = dict[str, "Entry"]


def give_up(reason: object) -> NoReturn:
    """Skip a test; fail it where the variable demands the file systems."""
    if os.environ.get(DEMAND) == "1":
        pytest.fail(f"{reason} ({DEMAND}=1 demands it)")
    pytest.skip(str(reason))


def start(kind: type[Share], factory: pytest.TempPathFactory) -> Share:
    """Start a file system, or skip what needs it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        give_up("needs to be root on Linux")
    try:
        return kind(factory.mktemp(kind.name.replace(" ", "-")))
    except (UnavailableError, OSError) as error:
        give_up(f"{kind.name} cannot be started here: {error}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave MooseFS out: two network file systems take minutes as it is."""
    if os.environ.get(MOOSEFS) != "1":
        mark = pytest.mark.skip(reason=f"{MOOSEFS}=1 runs it")
        for item in items:
            if "[MooseFS" in item.nodeid:
                item.add_marker(mark)


@pytest.fixture(scope="session", params=KINDS, ids=lambda kind: kind.name)
def share(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Share]:
    """Start each network file system."""
    made = start(request.param, tmp_path_factory)
    yield made
    made.stop()


def tree(host: Host, environment: Path) -> Tree:
    """Return what a host finds installed in an environment, all links followed."""
    found = host.run(sys.executable, "-I", "-S", SNAPSHOT, environment / "lib")
    loaded = json.loads(found).items()
    return {path: (kind, mode, digest) for path, (kind, mode, digest) in loaded}


@dataclass
class Node:
    """A host, and the pip that runs there."""

    host: Host
    driver: Wrapped

    def install(
        self,
        environment: Path,
        wheels: list[Path],
        *options: str | Path,
        mode: str = "off",
        store: Path | None = None,
        check: bool = True,
    ) -> str:
        """Install into an environment without a pip, and return what was printed."""
        variables = {"PIP_LINK_MODE": mode}
        if store:
            variables["PIP_LINK_STORE"] = str(store)
        place = ("--ignore-installed", "--prefix", environment)
        base = ("install", "--no-index", "--no-deps", *place)
        done = self.driver.pip(*base, *options, *wheels, env=variables, check=check)
        return done.stdout + done.stderr

    def linkmode(self, *arguments: str | Path, check: bool = True) -> str:
        """Run the command pip-linkmode."""
        command = ("-m", "pip_linkmode", *arguments)
        done = self.driver.run(*command, check=check)
        return done.stdout + done.stderr

    def tree(self, environment: Path) -> Tree:
        """Return what is installed in an environment, all links followed."""
        return tree(self.host, environment)


@dataclass
class Network:
    """A file system, two hosts that have mounted it, and a place on it."""

    share: Share
    first: Node
    second: Node
    place: Path
    bed: Bed
    private: Path
    template: Path

    def environment(self, path: Path) -> Path:
        """Make an environment without a pip: on the file system, or beside it."""
        self.first.host.run("cp", "-a", self.template, path)
        return path

    def node(self, host: Host) -> Node:
        """Return a pip that runs on one more host."""
        path = self.private / f"driver-{host.name}-{os.urandom(4).hex()}"
        return Node(host, under(self.bed.environment(path, shim=True), *host.command))

    @property
    def store(self) -> Path:
        """A store that is not there yet."""
        return self.place / "store"


@pytest.fixture(scope="session")
def nodes(
    share: Share, bed: Bed, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Node, Node]:
    """Return two hosts with a pip each."""
    directory = tmp_path_factory.mktemp("nodes")

    def node(name: str) -> Node:
        driver = bed.environment(directory / name, shim=True)
        host = share.host(name)
        return Node(host, under(driver, *host.command))

    return node("first"), node("second")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an environment without a pip, to be copied: nothing in it names its path."""
    path = tmp_path_factory.mktemp("template") / "environment"
    venv.EnvBuilder(symlinks=True).create(path)
    return path


_numbers = itertools.count()


@pytest.fixture
def network(
    share: Share, nodes: tuple[Node, Node], bed: Bed, tmp_path: Path, template: Path
) -> Network:
    """Return a fresh place that two hosts share."""
    place = share.shared / f"place-{next(_numbers)}"
    nodes[0].host.run("mkdir", place)
    return Network(share, *nodes, place, bed, tmp_path, template)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make what stands for packages with modules, data and a library."""
    directory = tmp_path_factory.mktemp("wheels")
    return [
        make_wheel(
            directory,
            name,
            files={
                f"{name}/__init__.py": "",
                f"{name}/native.so": name.encode() + random.Random(0).randbytes(90_000),
                f"{name}/table.csv": "a,b\n" * 500,
                **{
                    f"{name}/part_{n}.py": f"def main() -> int:\n    return {n}\n"
                    + "".join(f"value_{n}_{i} = {i}\n" for i in range(100))
                    for n in range(8)
                },
            },
        )
        for name in NAMES
    ]


@pytest.fixture(scope="session")
def stock(
    bed: Bed, tmp_path_factory: pytest.TempPathFactory, wheels: list[Path]
) -> Tree:
    """Return what stock pip makes of all wheels."""
    directory = tmp_path_factory.mktemp("stock")
    driver: Environment = bed.environment(directory / "driver", shim=False)
    driver.run("-m", "venv", "--without-pip", directory / "environment")
    place = ("--ignore-installed", "--prefix", directory / "environment")
    driver.pip("install", "--no-index", "--no-deps", *place, *wheels)
    return driver.snapshot(directory / "environment" / "lib")
