"""File systems, environments on them, and processes that are held up or cut off."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import under

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.environments import Environment

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> Callable[[object], None]:
    """Return a function that prints, also from the workers of a parallel session."""

    def show(text: object) -> None:
        with capfd.disabled():
            print(f"\n{text}", file=sys.stderr)

    return show


@pytest.fixture(scope="session")
def private_namespace() -> bool:
    """Mount for this process and its children only, if that can be done.

    Each worker of a parallel session has file systems of its own.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    try:
        mounts.enter_private_namespace()
    except PermissionError:  # root of a container that may not mount
        return False
    return True


@pytest.fixture
def root(private_namespace: bool) -> None:
    """Skip what needs a root that may mount and give files away."""
    if not private_namespace:
        pytest.skip("needs to be root on Linux, and to be allowed to mount")


@dataclass
class FileSystems:
    """Where the file systems are, by name."""

    paths: dict[str, Path]

    def __getitem__(self, name: str) -> Path:
        if name not in self.paths:
            pytest.skip(f"needs to be root on Linux, or {mounts.variable(name)}")
        return self.paths[name]


@pytest.fixture(scope="session")
def file_systems(private_namespace: bool) -> Iterator[FileSystems]:
    """Return the file systems that the variables name, or else make them."""
    named = {
        name: Path(os.environ[mounts.variable(name)])
        for name in mounts.NAMES
        if mounts.variable(name) in os.environ
    }
    if named or not private_namespace:
        yield FileSystems(named)
        return
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="pip-linkmode-", dir=memory))
    try:
        yield FileSystems(mounts.make(directory))
    finally:
        if os.path.ismount(directory):
            mounts.unmount(directory)
        directory.rmdir()


@pytest.fixture
def on(file_systems: FileSystems) -> Iterator[Callable[[str], Path]]:
    """Return a function that makes a fresh directory on a file system."""
    created = []

    def directory(name: str) -> Path:
        path = tempfile.mkdtemp(prefix="test-", dir=file_systems[name])
        os.chmod(path, 0o755)
        created.append(path)
        return Path(path)

    yield directory
    for path in created:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tmpfs(root: None, file_systems: FileSystems) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts a small file system of a given size."""
    del root
    created: list[Path] = []

    def mount(*options: str) -> Path:
        place = Path(tempfile.mkdtemp(prefix="small-", dir=file_systems["tmpfs"]))
        created.append(mounts.mount_tmpfs(place, *options))
        return place

    yield mount
    for path in created:
        mounts.unmount(path)
        path.rmdir()


@pytest.fixture
def xfs(root: None, file_systems: FileSystems) -> Iterator[Path]:
    """Mount an xfs that a test may ruin."""
    del root
    place = Path(tempfile.mkdtemp(prefix="xfs-", dir=file_systems["tmpfs"]))
    yield mounts.mount_loop(place, "mkfs.xfs", "-q", "-f")
    mounts.unmount(place)
    place.rmdir()


@pytest.fixture
def strace() -> None:
    """Skip what injects faults, where that is not to be had."""
    if not shutil.which("strace") and (sys.platform != "linux" or os.geteuid() != 0):
        pytest.skip("needs strace")


@pytest.fixture(scope="session")
def public_python() -> str:
    """Return an interpreter that a user without any rights can run."""
    probe = "import sys, venv; sys.exit(sys.version_info < (3, 10))"
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        command = (*NOBODY, "env", "-i", candidate, "-I", "-c", probe)
        result = subprocess.run(command, check=False, capture_output=True)
        if result.returncode == 0:
            return candidate
    pytest.skip("needs a Python that others than root can run")


@pytest.fixture
def nobody(root: None) -> Callable[[Environment], Environment]:
    """Return a function that gives an environment away and runs it as its owner."""
    del root

    def give(environment: Environment) -> Environment:
        for place in (environment.path, environment.private):
            mounts.run("chown", "-R", "65534:65534", place)
        environment.path.parents[1].chmod(0o755)  # of tempfile.mkdtemp
        return under(environment, *NOBODY)

    return give
