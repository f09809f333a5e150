"""What an operating system can answer to a link, asked for real.

An explicit mode that cannot be had is one warning with the reason, `auto` says nothing
but what it did, and what is installed is what stock pip installs (``compare``).
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import (
    INSTALL,
    compare,
    left_over,
    primitives,
    settings,
    under,
)
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.filesystem.support import Compared
    from tests.support.environments import Bed, Environment


@pytest.fixture
def wheels(on: Callable[[str], Path]) -> list[Path]:
    """Two wheels, where everybody can read them; one has files in two places."""
    directory = on("ext4")
    files = {"other/a.py": "a = 1\n" * 900}
    return [
        mounts.published_wheel(directory),
        make_wheel(directory, "other", files=files),
    ]


def install(*wheels: Path) -> list[str]:
    return [*INSTALL, *map(str, wheels)]


def assert_told(done: Compared, mode: str, reason: str) -> None:
    """One warning with the reason, or none and a summary."""
    if mode == "auto":
        assert done.warnings == []
        assert done.summary
    else:
        (warning,) = done.warnings
        assert "WARNING: pip-linkmode: " in warning
        assert reason in warning


# --- refusals: the next primitive is tried --------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "clone", "hardlink"])
def test_exdev(
    bed: Bed, on: Callable[[str], Path], wheels: list[Path], mode: str
) -> None:
    store = on("btrfs") / "store"
    done = compare(bed, on("xfs"), install(*wheels), settings(mode, store))
    assert set(primitives(done.environment, store).values()) == {"copy"}
    assert_told(done, mode, "(btrfs) to")
    assert_told(done, mode, "(xfs): Invalid cross-device link")


@pytest.mark.parametrize("mode", ["auto", "clone"])
def test_eopnotsupp(
    bed: Bed, on: Callable[[str], Path], wheels: list[Path], mode: str
) -> None:
    """ext4 does not clone."""
    place = on("ext4")
    done = compare(bed, place, install(*wheels), settings(mode, place / "store"))
    assert set(primitives(done.environment, place / "store").values()) == {"hardlink"}
    assert_told(done, mode, "(ext4): Operation not supported")


@pytest.mark.parametrize("mode", ["auto", "clone"])
def test_einval(
    bed: Bed, on: Callable[[str], Path], wheels: list[Path], root: None, mode: str
) -> None:
    """btrfs does not clone into files without copy on write."""
    del root
    store, place = on("btrfs") / "store", on("btrfs")
    mounts.run("chattr", "+C", place)
    done = compare(bed, place, install(*wheels), settings(mode, store))
    assert set(primitives(done.environment, store).values()) == {"hardlink"}
    assert_told(done, mode, "(btrfs): Invalid argument")


@pytest.fixture
def protected_hardlinks(root: None) -> Iterator[None]:
    """Forbid links to files of others, as nearly all distributions do."""
    del root
    switch = Path("/proc/sys/fs/protected_hardlinks")
    before = switch.read_text()
    if before.strip() != "1":
        switch.write_text("1")
    yield
    if before.strip() != "1":
        switch.write_text(before)


@pytest.mark.parametrize("mode", ["auto", "hardlink"])
@pytest.mark.usefixtures("protected_hardlinks")
def test_eperm(
    bed: Bed,
    on: Callable[[str], Path],
    wheels: list[Path],
    nobody: Callable[[Environment], Environment],
    public_python: str,
    mode: str,
) -> None:
    """Nobody may link the files of another user."""
    place = on("ext4")
    store = place / "store"
    mounts.fill(store, *wheels)
    done = compare(
        bed,
        place,
        install(*wheels),
        settings(mode, store),
        prepare=nobody,
        python=public_python,
    )
    for source in store.rglob("files/**/*.py"):
        assert source.stat().st_nlink == 1
    assert done.summary.startswith("Copied 2 packages from the store")
    assert_told(done, mode, "Operation not permitted")


@pytest.mark.parametrize("mine", [0, 1])
@pytest.mark.usefixtures("protected_hardlinks")
def test_eperm_of_one_entry(
    bed: Bed,
    on: Callable[[str], Path],
    wheels: list[Path],
    nobody: Callable[[Environment], Environment],
    public_python: str,
    mine: int,
) -> None:
    """What is one's own is linked all the same, whichever comes first."""
    place = on("ext4")
    store = place / "store"
    mounts.fill(store, *wheels)
    entries = sorted(
        store.glob("v1/wheels/*/*"), key=lambda path: (path / "files/pkg").exists()
    )
    mounts.run("chown", "-R", "65534:65534", entries[mine])
    done = compare(
        bed,
        place,
        install(*wheels),
        settings("hardlink", store),
        prepare=nobody,
        python=public_python,
    )
    for number, entry in enumerate(entries):
        linked = [path.stat().st_nlink > 1 for path in entry.glob("files/**/*.py")]
        assert any(linked) == (number == mine)
    assert_told(done, "hardlink", "Operation not permitted")


def link_to_the_limit(source: Path, directory: Path) -> int:
    directory.mkdir()
    for number in itertools.count():
        try:
            os.link(source, directory / str(number))
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return number
    raise AssertionError


@pytest.mark.parametrize("mode", ["auto", "hardlink"])
def test_emlink(
    bed: Bed, on: Callable[[str], Path], wheels: list[Path], mode: str
) -> None:
    """The one file that has as many names as ext4 gives is copied, and no other.

    Not even if it is the very first, when it is not known yet what the pair can do.
    """
    place = on("ext4")
    store = place / "store"
    mounts.fill(store, wheels[0])
    (source,) = store.glob("v1/wheels/*/*/files/pkg/__init__.py")
    assert link_to_the_limit(source, place / "names") == 64_999
    done = compare(bed, place, install(wheels[0]), settings(mode, store))
    created = primitives(done.environment, store)
    assert created.pop("pkg/__init__.py") == "copy"
    assert set(created.values()) == {"hardlink"}
    assert done.summary.startswith("Linked 1 package by hardlink")
    if mode == "auto":
        assert "1 file not shared: Too many links" in done.summary
    assert_told(done, mode, "Too many links")


# --- failures: what was linked is taken back, and pip installs alone ------------------


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EROFS"])
@pytest.mark.parametrize(
    ("mode", "calls", "when"),
    # Few files of this wheel become symlinks.
    [("hardlink", "link,linkat", 4), ("symlink", "symlink,symlinkat", 2)],
)
@pytest.mark.usefixtures("strace")
def test_a_link_that_fails_midway(
    bed: Bed, tmp_path: Path, mode: str, calls: str, when: int, error: str
) -> None:
    wheel = mounts.published_wheel(tmp_path)

    def failing(environment: Environment) -> Environment:
        return under(
            environment,
            *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
            *(
                "-e",
                f"trace={calls}",
                "-e",
                f"inject={calls}:error={error}:when={when}+",
            ),
        )

    store = tmp_path / "store"
    done = compare(
        bed, tmp_path, install(wheel), settings(mode, store), prepare=failing
    )
    (warning,) = done.warnings
    assert warning.endswith("; pkg is installed by pip alone")
    module = done.environment.site_packages / "pkg" / "module.py"
    assert not module.is_symlink()
    assert module.stat().st_nlink == 1


@pytest.mark.parametrize("mode", ["auto", "hardlink"])
def test_eio_of_a_store_whose_disk_is_gone(
    bed: Bed, on: Callable[[str], Path], xfs: Path, wheels: list[Path], mode: str
) -> None:
    store = xfs / "store"
    mounts.fill(store, *wheels)
    mounts.run("xfs_io", "-x", "-c", "shutdown", xfs)
    done = compare(bed, on("ext4"), install(*wheels), settings(mode, store))
    (warning,) = done.warnings
    assert "Input/output error" in warning


def test_erofs_of_a_target(
    bed: Bed, on: Callable[[str], Path], root: None, wheels: list[Path]
) -> None:
    """pip's own error and exit code."""
    del root
    place = on("ext4")

    def read_only(environment: Environment) -> Environment:
        site_packages = environment.site_packages
        mounts.run("mount", "--bind", site_packages, site_packages)
        mounts.run("mount", "-o", "remount,bind,ro", site_packages)
        return environment

    env = settings("auto", place / "store")
    try:
        done = compare(bed, place, install(*wheels), env, prepare=read_only)
    finally:
        # The oracle has moved the first environment away, and the mount with it.
        for where in place.glob("parity-*/*/environment/lib/*/site-packages"):
            mounts.unmount(where)
    assert done.linked.returncode == 1
    assert "Read-only file system" in done.linked.stderr


def test_eacces_of_a_target(
    bed: Bed,
    on: Callable[[str], Path],
    wheels: list[Path],
    nobody: Callable[[Environment], Environment],
    public_python: str,
) -> None:
    """pip's own error and exit code."""

    def locked(environment: Environment) -> Environment:
        chosen = nobody(environment)
        mounts.run("chown", "root:root", environment.site_packages)
        return chosen

    place = on("ext4")
    store = place / "store"
    mounts.fill(store, *wheels)
    done = compare(
        bed,
        place,
        install(*wheels),
        settings("auto", store),
        prepare=locked,
        python=public_python,
    )
    assert done.linked.returncode == 1
    assert "Permission denied" in done.linked.stderr


def test_eacces_of_a_store_that_root_has_filled_for_itself(
    bed: Bed,
    on: Callable[[str], Path],
    wheels: list[Path],
    nobody: Callable[[Environment], Environment],
    public_python: str,
) -> None:
    place = on("ext4")
    store = place / "store"
    before = os.umask(0o077)
    try:
        mounts.fill(store, *wheels)
    finally:
        os.umask(before)
    done = compare(
        bed,
        place,
        install(*wheels),
        settings("auto", store),
        prepare=nobody,
        python=public_python,
    )
    assert done.linked.returncode == 0
    assert left_over(store) == []
