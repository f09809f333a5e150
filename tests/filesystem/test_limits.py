"""Limits that an administrator sets, and damage that comes while files are linked."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import (
    INSTALL,
    Wrapped,
    compare,
    entries,
    left_over,
    settings,
    start,
    under,
)
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.filesystem.conftest import FileSystems
    from tests.support.environments import Bed, Environment

KILO = 1 << 10
MEGA = 1 << 20


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """2 MB of data and 20 modules."""
    files: dict[str, bytes | str] = {
        f"limited/data_{number}": random.Random(number).randbytes(200 * KILO)
        for number in range(10)
    }
    text = "".join(f"value_{number} = {number} + 1000\n" for number in range(450))
    files |= {f"limited/module_{number}.py": text for number in range(20)}
    return make_wheel(tmp_path, "limited", files=files)


# --- a disk quota ---------------------------------------------------------------------


@pytest.fixture
def quota(root: None, file_systems: FileSystems) -> Iterator[Path]:
    """Make a btrfs subvolume that may have 1 MB."""
    del root
    place = Path(tempfile.mkdtemp(prefix="quota-", dir=file_systems["tmpfs"]))
    mounts.mount_loop(place, "mkfs.btrfs", "-q", "-f")
    path = place / "limited"
    mounts.run("btrfs", "quota", "enable", place)
    mounts.run("btrfs", "subvolume", "create", path)
    mounts.run("btrfs", "qgroup", "limit", "1M", path)
    yield path
    mounts.unmount(place)
    place.rmdir()


@pytest.mark.parametrize("mode", ["auto", "symlink"])
def test_store_over_its_quota_leaves_the_wheel_to_pip(
    bed: Bed, tmp_path: Path, quota: Path, wheel: Path, mode: str
) -> None:
    store = quota / "store"
    done = compare(bed, tmp_path, [*INSTALL, str(wheel)], settings(mode, store))
    assert done.linked.returncode == 0
    (warning,) = done.warnings
    assert "Disk quota exceeded" in warning
    assert warning.endswith(" installed by pip alone")
    assert left_over(store) == []
    assert entries(store) == 0


# --- memory ---------------------------------------------------------------------------


@dataclass
class Group:
    """A control group with a limit of memory, of version 1 or 2."""

    path: Path
    is_first: bool

    @classmethod
    def create(cls) -> Group:
        """Make one, or skip the test."""
        first, root = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        parent = first if first.is_dir() else root
        path = parent / f"pip-linkmode-{os.getpid()}-{time.monotonic_ns()}"
        try:
            path.mkdir()
        except OSError as error:
            pytest.skip(f"needs control groups: {error}")
        group = cls(path, parent is first)
        if not group._limit.exists():
            path.rmdir()
            pytest.skip("needs control groups that limit memory")
        return group

    @property
    def _limit(self) -> Path:
        name = "memory.limit_in_bytes" if self.is_first else "memory.max"
        return self.path / name

    def limit(self, size: int) -> None:
        self._limit.write_text(str(size))

    def run(self, environment: Environment) -> Wrapped:
        """Return an environment whose interpreter runs in the group."""
        script = f'echo $$ >{self.path}/cgroup.procs; exec "$@"'
        return under(environment, "sh", "-c", script, "sh")


@pytest.fixture
def group(root: None) -> Iterator[Group]:
    del root
    made = Group.create()
    yield made
    made.path.rmdir()


@pytest.mark.parametrize("size", [32, 64])
def test_limit_of_memory_that_is_enough_for_pip_is_enough(
    bed: Bed, on: Callable[[str], Path], group: Group, wheel: Path, size: int
) -> None:
    """Workers need memory too: they are ended first, and their work is done without."""
    group.limit(size * MEGA)
    place = on("ext4")
    done = compare(
        bed,
        place,
        [*INSTALL, str(wheel)],
        settings("hardlink", place / "store"),
        prepare=group.run,
    )
    assert done.warnings == []
    # Python alone takes more than the smaller one.
    assert done.stock.returncode == (0 if size > 48 else -signal.SIGKILL)


# --- damage while files are linked ----------------------------------------------------


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
@pytest.mark.usefixtures("strace")
def test_file_that_is_removed_while_others_are_linked_is_unpacked_again(
    bed: Bed, tmp_path: Path, wheel: Path, mode: str
) -> None:
    store = tmp_path / "store"
    mounts.fill(store, wheel)
    calls = {"hardlink": "link,linkat", "symlink": "symlink,symlinkat"}[mode]

    def slow(environment: Environment) -> Environment:
        return under(
            environment,
            *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
            *("-e", f"trace={calls}"),
            *("-e", f"inject={calls}:delay_exit=3000000:when=1"),
        )

    def install(environment: Environment) -> Environment:
        process = start(
            slow(environment),
            *("-m", "pip", *INSTALL, str(wheel)),
            env=settings(mode, store),
        )
        package = environment.site_packages / "limited"
        while not any(package.glob("*")):
            assert process.poll() is None
            time.sleep(0.01)
        for path in store.glob("v1/wheels/*/*/files/limited/*"):
            if not os.path.lexists(package / path.name):
                path.unlink()
                break
        assert process.wait() == 0
        return environment

    environment = install(bed.environment(tmp_path / "environment", shim=True))
    stock = bed.environment(tmp_path / "stock", shim=False)
    stock.pip(*INSTALL, str(wheel))
    assert environment.snapshot(environment.site_packages / "limited") == (
        stock.snapshot(stock.site_packages / "limited")
    )
    assert entries(store) == 1


@pytest.mark.usefixtures("strace")
def test_file_that_is_edited_while_others_are_linked_is_reported_by_verify(
    bed: Bed, tmp_path: Path, wheel: Path
) -> None:
    """An edit of a shared file has the same effect a moment later."""
    store = tmp_path / "store"
    mounts.fill(store, wheel)
    environment = bed.environment(tmp_path / "environment", shim=True)
    process: subprocess.Popen[bytes] = start(
        under(
            environment,
            *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
            *("-e", "trace=link,linkat"),
            *("-e", "inject=link,linkat:delay_exit=3000000:when=1"),
        ),
        *("-m", "pip", *INSTALL, str(wheel)),
        env=settings("hardlink", store),
    )
    package = environment.site_packages / "limited"
    while not any(package.glob("*")):
        assert process.poll() is None
        time.sleep(0.01)
    edited = next(
        path
        for path in store.glob("v1/wheels/*/*/files/limited/*")
        if not (package / path.name).exists()
    )
    edited.write_bytes(b"damaged")
    assert process.wait() == 0
    told = environment.run(
        *("-m", "pip_linkmode", "verify", "--link-store", store, environment.path),
        check=False,
    )
    assert told.returncode == 1
    assert f"limited/{edited.name}" in told.stdout
