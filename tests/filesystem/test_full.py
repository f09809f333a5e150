"""A disk that is full: of the store, of the target, of bytes, of inodes."""

from __future__ import annotations

import os
import random
import resource
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.prepare.worker import answer
from tests.filesystem import mounts
from tests.filesystem.support import (
    INSTALL,
    compare,
    entries,
    left_over,
    primitives,
    settings,
)
from tests.support.parity import differences, perform
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed
    from tests.support.parity import Outcome

FULL = "No space left on device"
KILO = 1 << 10


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """400 kB of data, then 20 modules that compile to 270 kB."""
    files: dict[str, bytes | str] = {
        f"full/data_{number}": random.Random(number).randbytes(40 * KILO)
        for number in range(10)
    }
    text = "".join(f"value_{number} = {number} + 1000\n" for number in range(450))
    files |= {f"full/module_{number}.py": text for number in range(20)}
    return make_wheel(tmp_path, "full", files=files)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A wheel that fits in nearly everything."""
    return make_wheel(tmp_path, "small", files={"small.py": "a = 1\n"})


# --- the store is full: pip installs alone --------------------------------------------


@pytest.mark.parametrize("option", ["size=256k", "nr_inodes=24"])
@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink"])
def test_while_unpacking(
    bed: Bed,
    tmp_path: Path,
    tmpfs: Callable[..., Path],
    wheel: Path,
    small: Path,
    option: str,
    mode: str,
) -> None:
    """One warning, no entry, no left-over; and the next wheel has its chance."""
    store = tmpfs(option) / "store"
    args = [*INSTALL, str(wheel), str(small)]
    done = compare(bed, tmp_path, args, settings(mode, store))
    assert done.linked.returncode == 0
    # Hard links to the small one's entry are refused, which is another matter.
    (warning,) = (line for line in done.warnings if "(tmpfs) to" not in line)
    assert FULL in warning
    assert warning.endswith(" installed by pip alone")
    assert left_over(store) == []
    # The small wheel gets an entry unless it came when the big one held the disk.
    assert entries(store) <= 1
    assert not list(store.glob("v1/wheels/*/*/files/full"))


def test_while_compiling(
    bed: Bed, tmp_path: Path, tmpfs: Callable[..., Path], wheel: Path
) -> None:
    """The files are linked, and compiled where they are: the store gets no bytecode."""
    store = tmpfs("size=800k") / "store"
    args = [*INSTALL, str(wheel)]
    for _ in range(2):
        done = compare(bed, tmp_path, args, settings("symlink", store))
        assert done.linked.returncode == 0
        assert done.warnings == []
        assert left_over(store) == []
        assert entries(store) == 1
        assert not list(store.glob("v1/wheels/*/*/bytecode/*"))
        site_packages = done.environment.site_packages / "full"
        assert (site_packages / "module_0.py").is_symlink()
        assert len(list(site_packages.glob("__pycache__/*.pyc"))) == 20


@pytest.fixture
def full_store(tmpfs: Callable[..., Path], wheel: Path) -> Path:
    """A store that has the wheel, and no room for anything else."""
    place = tmpfs("size=2m")
    mounts.fill(place / "store", wheel)
    fill_up(place)
    return place / "store"


def test_a_full_store_that_has_the_wheel_is_used(
    bed: Bed, tmp_path: Path, full_store: Path, wheel: Path
) -> None:
    """Not a byte needs to be written to it."""
    args, env = [*INSTALL, str(wheel)], settings("copy", full_store)
    done = compare(bed, tmp_path, args, env)
    assert done.warnings == []
    assert set(primitives(done.environment, full_store).values()) == {"copy"}
    assert entries(full_store) == 1


def test_no_symlink_into_a_full_store_that_cannot_note_who_uses_it(
    bed: Bed, tmp_path: Path, full_store: Path, wheel: Path
) -> None:
    args, env = [*INSTALL, str(wheel)], settings("symlink", full_store)
    done = compare(bed, tmp_path, args, env)
    (warning,) = done.warnings
    assert FULL in warning
    site_packages = done.environment.site_packages / "full"
    assert not any(path.is_symlink() for path in site_packages.rglob("*"))
    assert entries(full_store) == 1


def test_bytecode_that_was_cut_short_is_not_kept(tmp_path: Path) -> None:
    """CPython before 3.13.1 takes a short write for a whole one (gh-126606)."""
    source, target = tmp_path / "module.py", tmp_path / "module.pyc"
    source.write_text("".join(f"value_{n} = {n} + 1000\n" for n in range(450)))
    job = [[str(source), str(target), "module.py", False]]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * KILO, before[1]))
    try:
        done = answer(["compile", job])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "errno" in done


def fill_up(place: Path, *, leave: int = 0) -> None:
    """Write to a file system until so many bytes are left."""
    with open(place / "ballast", "wb") as file:
        status = os.statvfs(place)
        size = status.f_bavail * status.f_frsize - leave
        file.write(bytes(size))


REGISTRATION = 6
"""Inodes: two directories, the name, two witnesses and a marker."""

# --- the target is full: pip's own error ----------------------------------------------


def on_full_disks(
    bed: Bed,
    place: Path,
    private: Path,
    wheel: Path,
    store: Path | None,
    mode: str,
    *,
    leave: int = 0,
    inodes: int = 0,
) -> tuple[Outcome, Outcome]:
    """Install where little is left, with stock pip and then linked.

    :param leave: how many bytes
    :param inodes: how many inodes
    :returns: what both did
    """
    outcomes = []
    for shim in (False, True):
        size = "nr_inodes=3k" if inodes else "size=100m"
        mounts.mount_tmpfs(place, size)
        try:
            environment = bed.environment(
                place / "environment", shim=shim, private=private
            )
            own = place / "store" if store is None else store
            if not shim or store is None:
                mounts.fill(own, wheel)
            if inodes:
                use_up(place, leave=inodes + (REGISTRATION if shim else 0))
            else:
                fill_up(place, leave=leave)
            env = settings(mode, own) if shim else {}
            outcomes.append(perform(environment, [[*INSTALL, str(wheel)]], env=env))
            assert entries(own) == 1
            assert left_over(own) == []
        finally:
            mounts.unmount(place)
    stock, linked = outcomes
    assert linked.codes == stock.codes == [1]
    assert any(FULL in line for line in linked.output)
    return stock, linked


def use_up(place: Path, *, leave: int) -> None:
    """Make files until so many inodes are left."""
    directory = place / "ballast"
    directory.mkdir()
    for number in range(os.statvfs(place).f_favail - leave):
        (directory / str(number)).touch()


@pytest.fixture
def place(tmpfs: Callable[..., Path]) -> Path:
    return tmpfs("size=1m") / "target"


@pytest.mark.parametrize("mode", ["auto", "copy"])
@pytest.mark.parametrize("leave", [20 * KILO, 300 * KILO])
def test_while_copying(
    bed: Bed, tmp_path: Path, place: Path, wheel: Path, mode: str, leave: int
) -> None:
    """pip has its try, fails in its own way, and that is all that remains."""
    stock, linked = on_full_disks(
        bed, place, tmp_path / "p", wheel, tmp_path / "store", mode, leave=leave
    )
    assert not differences(stock, linked)


@pytest.mark.parametrize("mode", ["hardlink", "auto"])
def test_while_linking(
    bed: Bed, tmp_path: Path, place: Path, wheel: Path, mode: str
) -> None:
    """tmpfs counts every name as an inode."""
    stock, linked = on_full_disks(
        bed, place, tmp_path / "p", wheel, None, mode, inodes=12
    )
    assert not differences(stock, linked)


@pytest.mark.parametrize("mode", ["hardlink", "copy"])
def test_in_pips_own_part(
    bed: Bed, tmp_path: Path, place: Path, wheel: Path, mode: str
) -> None:
    """All is linked, pip has no room for its metadata: nothing linked remains."""
    links = 10 + 20 + 20 + len(("full", "__pycache__"))
    _, linked = on_full_disks(
        bed, place, tmp_path / "p", wheel, None, mode, inodes=links + 2
    )
    names = {path.rpartition("site-packages/")[2] for path in linked.changes}
    assert not {name for name in names if name.startswith("full/")}
    assert "full" not in names
