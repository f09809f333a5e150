"""Real programs in real environments: stock pip's, and one for each link mode.

The same observation is made of both: of stock pip's environment once in a session, and
of an environment of each mode in each test.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from tests.filesystem.matrix import shared_extents
from tests.support.environments import Environment, if_everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support.environments import Bed

MODES = ("symlink", *if_everything("auto", "hardlink", "copy", "clone"))
STOCK = "stock"

WHEELS = (
    "aiohttp",
    "ansible-core",
    "bokeh",
    "comfyui-frontend-package",
    "django",
    "django-debug-toolbar==8.0.0",
    "jupyterlab",
    "mypy",
    "ninja",
    "numba",
    "pybind11==3.0.1",
    "sqladmin",
    "sqlalchemy[asyncio]",
    "tzdata",
    "uvicorn",
)
OLDER = ("django-debug-toolbar==7.1.1", "pybind11==3.0.0")
"""Versions that the tests upgrade from."""

_OWN = ("pip", "pip_linkmode", "wrapt", "packaging")
PATIENCE = 60
"""Seconds in which a program must have started, on a busy machine."""


@dataclass(frozen=True)
class Program(Environment):
    """An environment with programs, installed in one mode."""

    mode: str
    store: Path
    wheels: tuple[Path, ...]

    def install(self, *args: str | Path, **settings: str) -> str:
        """Install wheels of the session, and check that the mode was used.

        :param args: of ``pip install``
        :param settings: of pip-linkmode, by variable, in place of the usual ones
        :returns: the output of pip
        """
        links = [word for path in self.wheels for word in ("--find-links", path)]
        env = {"PIP_LINK_MODE": self.mode, "PIP_LINK_STORE": str(self.store)}
        chosen = {} if self.mode == STOCK else {**env, **settings}
        return self.pip("install", "--no-index", *links, *args, env=chosen).stdout

    def fill(self, *wheels: Path) -> None:
        """Unpack wheels into the store, if there is one; return in another second."""
        if self.mode != STOCK:
            next_second()
            store = ("--link-store", self.store)
            self.run("-m", "pip_linkmode", "fill", *store, *wheels)
            next_second()

    def primitive(self) -> str:
        """Return the primitive that made the largest module of the environment."""
        path = max(
            (
                path
                for path in self.site_packages.rglob("*.py")
                if path.relative_to(self.site_packages).parts[0] not in _OWN
            ),
            key=lambda path: path.stat().st_size,
        )
        if path.is_symlink():
            return "symlink"
        if path.stat().st_nlink > 1:
            return "hardlink"
        return "clone" if shared_extents(path) else "copy"

    def start(self, *args: str | Path, log: Path) -> subprocess.Popen[bytes]:
        """Start the interpreter in a process group of its own.

        :param log: takes the output
        """
        with log.open("wb") as output:
            return subprocess.Popen(
                [self.python, *args],
                env={**self._variables(self.private / "home"), "PYTHONUNBUFFERED": "1"},
                cwd=self.private / "home",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


@dataclass(frozen=True)
class Server:
    """A server program that runs, and the answers of its address."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body of one resource."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Accept-Encoding": "identity"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def fetch(self, paths: Sequence[str]) -> dict[str, list[Any]]:
        """Return status and digest of some resources, by path."""
        found = {}
        for path in paths:
            status, body = self.get(path)
            found[path] = [status, hashlib.sha256(body).hexdigest()]
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all processes of the server."""
        os.killpg(self.process.pid, number)


@contextmanager
def serving(
    program: Program, *args: str | Path, port: Callable[[str], int | None]
) -> Iterator[Server]:
    """Run a server while a test asks it.

    :param args: of the interpreter
    :param port: finds the port in the output, or elsewhere; ``None``: not yet
    """
    log = Path(tempfile.mkdtemp(dir=program.private)) / "log"
    process = program.start(*args, log=log)

    def started() -> int | None:
        if process.poll() is not None:
            message = f"the server has ended: {log.read_text(errors='replace')}"
            raise AssertionError(message)
        found = port(log.read_text(errors="replace"))
        with socket.socket() as probe:
            listens = found and probe.connect_ex(("127.0.0.1", found)) == 0
        return found if listens else None

    try:
        yield Server(process, log, wait_for(started))
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
                process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def printed_port(output: str) -> int | None:
    """Return the port that a server has printed on a line ``port N``."""
    lines = [line.split() for line in output.splitlines(keepends=True) if "\n" in line]
    return next((int(words[1]) for words in lines if words[:1] == ["port"]), None)


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    condition: Callable[[], Any], seconds: float = PATIENCE, *, fail: bool = True
) -> Any:
    """Return the first value of a condition that is true.

    :param fail: if not, return the last value when the time is over
    :raises TimeoutError: if all values within that time are false
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            if not fail:
                return value
            message = f"{condition} still false after {seconds} s"
            raise TimeoutError(message)
        time.sleep(0.05)
    return value


def next_second() -> None:
    """Wait until the clock has a second that no earlier file has."""
    time.sleep(1.01 - time.time() % 1)


def digests(directory: Path, pattern: str = "**/*") -> dict[str, str]:
    """Return the digests of the files of a tree, by relative path."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(directory.glob(pattern))
        if path.is_file()
    }


def spread(root: Path, count: int) -> list[str]:
    """Return that many files below a directory, of all kinds that are there."""
    paths = sorted(
        (path for path in root.rglob("*") if path.is_file()),
        key=lambda path: (path.suffix, path.as_posix()),
    )
    step = max(1, len(paths) // count)
    return [path.relative_to(root).as_posix() for path in paths[::step]][:count]


Observation = Any
"""A value that JSON can hold."""


class Lab:
    """The source of the environments of one session, and stock pip's answers."""

    def __init__(self, bed: Bed, shared: Path, places: Mapping[str, Path]) -> None:
        """Take the directories to work in.

        :param shared: a directory that all workers of the session share
        :param places: a directory for each mode, on the file system that it needs
        """
        self._bed = bed
        self._shared = shared
        self._places = places
        self._made: list[Path] = []

    def program(self, mode: str, *, own_store: bool = False) -> Program:
        """Return an environment without programs.

        :param mode: one of :data:`MODES`, or stock pip
        :param own_store: with an empty store, in place of that of the session
        """
        place = self._places[mode]
        directory = Path(tempfile.mkdtemp(prefix=f"{mode}-", dir=place))
        self._made.append(directory)
        made = self._bed.environment(directory / "environment", shim=mode != STOCK)
        store = (directory if own_store else place) / "store"
        houses = (self._bed.wheelhouse(WHEELS), self.older())
        return Program(made.path, made.private, mode, store, houses)

    def store(self, program: Program) -> Path:
        """Return the store of the session for the mode of an environment."""
        return self._places[program.mode] / "store"

    def older(self) -> Path:
        """Return the directory of the wheels to upgrade from."""
        return self._bed.wheelhouse(("--no-deps", *OLDER))

    def wheel(self, name: str, version: str) -> Path:
        """Return a wheel of the session."""
        houses = (self._bed.wheelhouse(WHEELS), self.older())
        (found,) = (
            path for house in houses for path in house.glob(f"{name}-{version}-*.whl")
        )
        return found

    def stock(self, name: str, observe: Callable[[Program], Observation]) -> Any:
        """Return the observation of stock pip's environment, made once in a session.

        :param name: of the observation, as a file name
        :param observe: installs into an environment and returns the observation
        """
        target = self._shared / f"{name}.json"
        with FileLock(f"{target}.lock"):
            if not target.exists():
                answer = observe(self.program(STOCK))
                target.write_text(json.dumps(answer), encoding="utf-8")
        return json.loads(target.read_text(encoding="utf-8"))

    def clear(self) -> None:
        """Remove the environments that were made."""
        while self._made:
            shutil.rmtree(self._made.pop(), ignore_errors=True)


def assert_used(program: Program) -> None:
    """Assert that the files of an environment are in its mode."""
    expected = {"auto": ("clone", "hardlink"), STOCK: ("copy",)}
    assert program.primitive() in expected.get(program.mode, (program.mode,))
