"""One read-only store, hundreds of environments: a volume, a module tree, an image.

The figures that are printed are those of ``docs/clusters.md``.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import subprocess
import tempfile
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.store.store import Store
from tests.filesystem import mounts
from tests.filesystem.support import settings
from tests.support.environments import EVERYTHING
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.filesystem.conftest import FileSystems
    from tests.support.environments import Bed, Environment

ENVIRONMENTS = 200 if EVERYTHING else 60
STOCK = 6
"""How many are made by pip alone, to compare with."""
PACKAGES = ("solver", "mesh", "post")
PROGRAM = (
    f"import os, {', '.join(PACKAGES)}; from solver import part_3; "
    "assert part_3.main() == 3; "
    "assert os.path.exists(part_3.__cached__), 'it is not compiled'; "
    "data = os.path.join(os.path.dirname(solver.__file__), 'native.bin'); "
    "print(os.path.realpath(data))"
)


def make_wheels(directory: Path) -> list[Path]:
    """Make what stands for packages with modules and a library."""
    native = random.Random(0).randbytes(2 << 20)
    return [
        make_wheel(
            directory,
            name,
            files={
                f"{name}/__init__.py": "",
                f"{name}/native.bin": name.encode() + native,
                **{
                    f"{name}/part_{n}.py": f"def main() -> int:\n    return {n}\n"
                    + "".join(f"value_{n}_{i} = {i}\n" for i in range(500))
                    for n in range(10)
                },
            },
        )
        for name in PACKAGES
    ]


def fill(driver: Environment, store: Path, *wheels: Path) -> None:
    driver.run("-m", "pip_linkmode", "fill", *map(str, wheels), "--link-store", store)


def install(
    driver: Environment, path: Path, wheels: list[Path], store: Path | None
) -> str:
    """Make an environment without a pip of its own, and install into it."""
    venv.EnvBuilder(symlinks=True).create(path)
    variables = settings("symlink", store) if store else {"PIP_LINK_MODE": "off"}
    place = ("--ignore-installed", "--prefix", str(path))
    packages = ("install", "--no-index", "--no-deps", *place, *map(str, wheels))
    return driver.pip(*packages, env=variables).stdout


def run(path: Path) -> subprocess.CompletedProcess[str]:
    """Run what is installed in an environment."""
    return subprocess.run(
        [path / "bin" / "python", "-I", "-c", PROGRAM],
        check=False,
        capture_output=True,
        text=True,
    )


def used(place: Path) -> int:
    """Return how many bytes of a file system are in use."""
    mounts.run("sync", "-f", place)
    status = os.statvfs(place)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def described(root: Path) -> dict[str, tuple[int, ...]]:
    """Return all that ``stat`` tells of a tree, in times to the nanosecond."""
    found: dict[str, tuple[int, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in (".", *names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            found[os.path.relpath(path, root)] = (
                *(status.st_ino, status.st_mode, status.st_nlink),
                *(status.st_uid, status.st_gid, status.st_size),
                *(status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns),
            )
    return found


def contents(root: Path) -> dict[str, str]:
    """Return the digests of all files of a tree."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def assert_verifies(root: Path) -> None:
    """Compare each file of a store with what its manifest says of it."""
    store = Store.open(str(root))
    paths = store.entries()
    assert paths
    for path in paths:
        entry = store.entry(os.path.basename(path))
        assert entry is not None
        entry.check()
        for file in entry.files:
            assert hashlib.sha256(entry.read(file.path)).hexdigest() == file.sha256


# --- many environments ----------------------------------------------------------------


@dataclass
class Cluster:
    """A file system with a store that its nodes see read-only."""

    image: Path
    volume: Path
    """Where whoever looks after the store has mounted it."""
    store: Path
    """Where everybody sees it."""

    def mount(self) -> None:
        mounts.run("mount", "-o", "loop,strictatime", self.image, self.volume)
        if (self.volume / "store").exists():
            mounts.run("mount", "-o", "bind,ro", self.volume / "store", self.store)

    def unmount(self) -> None:
        for path in (self.store, self.volume):
            if os.path.ismount(path):
                mounts.run("umount", path)


@pytest.fixture(scope="module")
def directory(private_namespace: bool, file_systems: FileSystems) -> Iterator[Path]:
    if not private_namespace:
        pytest.skip("needs to be root on Linux, and to be allowed to mount")
    path = Path(tempfile.mkdtemp(prefix="cluster-", dir=file_systems["tmpfs"]))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def driver(bed: Bed, directory: Path) -> Environment:
    return bed.environment(directory / "driver", shim=True)


@pytest.fixture(scope="module")
def wheels(directory: Path) -> list[Path]:
    return make_wheels(directory / "wheels")


@pytest.fixture(scope="module")
def cluster(
    directory: Path, driver: Environment, wheels: list[Path]
) -> Iterator[Cluster]:
    created = Cluster(*(directory / name for name in ("image", "volume", "store")))
    for path in (created.volume, created.store):
        path.mkdir()
    mounts.run("truncate", "-s", "64M", created.image)
    mounts.run("mkfs.ext4", "-q", "-F", created.image)
    created.mount()
    fill(driver, created.volume / "store", *wheels)
    created.unmount()
    created.mount()
    yield created
    created.unmount()


def test_many_environments_live_on_a_read_only_store(
    cluster: Cluster,
    driver: Environment,
    wheels: list[Path],
    file_systems: FileSystems,
    say: Callable[[object], None],
) -> None:
    """The store stays what it is to the access time, and they run when it is back."""
    before = described(cluster.store)
    (cluster.volume / "store" / "CACHEDIR.TAG").read_bytes()
    assert described(cluster.store) != before, "access times are not kept here"
    before, bytes_before = described(cluster.store), contents(cluster.store)

    lines = [f"{'':<10}{'environments':>12}{'seconds':>9}{'kB':>9}    each"]
    environments: list[Path] = []
    sizes = {}
    for name in ("ext4", "xfs"):
        for mode, count in (("off", STOCK), ("symlink", ENVIRONMENTS // 2)):
            place = Path(tempfile.mkdtemp(prefix="many-", dir=file_systems[name]))
            paths = [place / str(number) for number in range(count)]
            store = cluster.store if mode == "symlink" else None
            taken, start = used(place), time.perf_counter()
            # As many at a time as there are cores here: it is a cluster.
            with ThreadPoolExecutor(os.cpu_count()) as nodes:
                said = nodes.map(
                    lambda path, store=store: install(driver, path, wheels, store),
                    paths,
                )
                outputs = list(said)
            seconds = (time.perf_counter() - start) / count
            size = sizes[mode] = (used(place) - taken) / count
            lines.append(
                f"{name:<10}{f'{count} {mode}':>12}{seconds:>9.2f}{size / 1000:>9.0f}"
            )
            if store:
                assert sizes["symlink"] < sizes["off"] / 10
                environments += paths
                for output in outputs:
                    assert "Linked 3 packages by symlink" in output
                    assert "first time" not in output
    say("\n".join(lines))

    assert described(cluster.store) == before
    assert contents(cluster.store) == bytes_before

    cluster.unmount()
    assert run(environments[0]).returncode
    cluster.mount()
    with ThreadPoolExecutor(os.cpu_count()) as nodes:
        for result in nodes.map(run, environments):
            assert result.returncode == 0, result.stderr
            assert result.stdout.startswith(str(cluster.store))
    assert len(environments) == ENVIRONMENTS
    for path in {path.parent for path in environments}:
        shutil.rmtree(path)


def test_job_sees_the_store_where_it_was_mounted(
    cluster: Cluster, driver: Environment, wheels: list[Path], directory: Path
) -> None:
    """As in a pod or a job: a bind mount, in a namespace of its own, read-only."""
    place = directory / "module-tree"
    place.mkdir()
    volume = cluster.volume / "store"
    prepare = f"mount --bind -o ro {volume} {place}"
    environment = directory / "job"
    venv.EnvBuilder(symlinks=True).create(environment)
    said = []
    # What is installed in one job runs in the next.
    first: list[str | Path] = [
        *(driver.python, "-m", "pip", "--python", environment / "bin" / "python"),
        *("install", "--no-index", "--no-deps"),
    ]
    first += wheels
    variables = {**os.environ, **settings("symlink", place), "PIP_NO_CACHE_DIR": "1"}
    second = [environment / "bin" / "python", "-I", "-c", PROGRAM]
    for command in (first, second):
        job = ("unshare", "--mount", "sh", "-ec", f'{prepare}; exec "$@"', "job")
        result = subprocess.run(
            [*job, *command],
            check=False,
            capture_output=True,
            text=True,
            env=variables,
        )
        assert result.returncode == 0, result.stderr
        said.append(result.stdout)
    assert said[1].startswith(str(place))
    assert run(environment).returncode  # outside of a job


# --- a store that has travelled -------------------------------------------------------


def tarred(store: Path, directory: Path) -> Path:
    """Pack a store, and unpack it somewhere else as another user would."""
    archive, place = directory / "store.tar", directory / "arrived"
    place.mkdir()
    mounts.run("tar", "-C", store, "-cf", archive, ".")
    mounts.run("tar", "-C", place, "--no-same-owner", "-xpf", archive)
    mounts.run("mount", "--bind", "-o", "ro", place, place)
    return place


def squashed(store: Path, directory: Path) -> Path:
    image, place = directory / "store.squashfs", directory / "arrived"
    place.mkdir()
    mounts.run("mksquashfs", store, image, "-quiet", "-no-progress", "-all-root")
    mounts.run("mount", "-o", "loop,ro", image, place)
    return place


@pytest.mark.parametrize("travel", [tarred, squashed])
@pytest.mark.parametrize("mode", ["symlink", "hardlink"])
def test_store_that_has_travelled_is_used_as_it_is(
    driver: Environment,
    bed: Bed,
    tmp_path: Path,
    wheels: list[Path],
    travel: Callable[[Path, Path], Path],
    mode: str,
) -> None:
    """Whole seconds are what either of them keeps, and what a store has."""
    fill(driver, tmp_path / "store", *wheels)
    place = travel(tmp_path / "store", tmp_path)
    try:
        assert_verifies(place)
        shutil.rmtree(tmp_path / "store")
        environment = bed.environment(tmp_path / "environment", shim=True)
        said = environment.pip(
            *("install", "--no-index", "-v", *map(str, wheels)),
            env={**settings(mode, place), "PIP_NO_CACHE_DIR": "1"},
        ).stdout
        # A hard link cannot lead out of a read-only mount.
        done = "Linked 3 packages by symlink"
        assert (done if mode == "symlink" else "Copied 3 packages") in said
        assert "first time" not in said
        assert "by pip alone" not in said
        linked = environment.site_packages / "solver" / "part_3.py"
        assert stat.S_ISLNK(linked.lstat().st_mode) is (mode == "symlink")
        result = run(environment.path)
        assert result.returncode == 0, result.stderr
    finally:
        mounts.unmount(place)
