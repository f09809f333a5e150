"""Who may read, who may write: umask, setgid, ACLs, and stores of others."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import INSTALL, Compared, bits, compare, settings
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.environments import Bed, Environment

MODES = ("auto", "clone", "hardlink", "symlink", "copy")
STAFF = 12345


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    with umask(0o022):
        return mounts.published_wheel(tmp_path)


def module(done: Compared) -> Path:
    return done.environment.site_packages / "pkg" / "module.py"


# --- umask ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "installed"),
    [
        (0o077, 0o022),
        (0o022, 0o077),
        (0o022, 0o002),
        (0o002, 0o022),
        (0o002, 0o002),
        (0o077, 0o077),
    ],
    ids=lambda mask: f"{mask:03o}",
)
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_modes_follow_the_umask_of_the_installation(
    bed: Bed, tmp_path: Path, wheel: Path, mode: str, filled: int, installed: int
) -> None:
    """A file is shared only if its mode is the one that pip would give it."""
    store = tmp_path / "store"
    with umask(filled):
        mounts.fill(store, wheel)
    with umask(installed):
        done = compare(bed, tmp_path, [*INSTALL, str(wheel)], settings(mode, store))
    path = module(done)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~installed
    shared = path.is_symlink() or path.stat().st_nlink > 1
    assert shared is (filled == installed)


@pytest.mark.parametrize("filled", [0o022, 0o077, 0o002, 0o000])
def test_nobody_else_may_write_to_a_store(
    tmp_path: Path, wheel: Path, filled: int
) -> None:
    """Files in there are as pip would make them, directories are the owner's."""
    store = tmp_path / "store"
    with umask(filled):
        mounts.fill(store, wheel)
    directories = [store, *(path for path in store.rglob("*") if path.is_dir())]
    assert not [path for path in directories if bits(path) & 0o022]
    with umask(0o022):
        mounts.fill(store, make_wheel(tmp_path, "more", files={"more.py": ""}))


# --- groups ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_setgid_directories_give_files_their_group(
    bed: Bed, on: Callable[[str], Path], wheel: Path, root: None, mode: str
) -> None:
    """So that the members of the group can read what root has installed."""
    del root

    def of_the_group(environment: Environment) -> Environment:
        site_packages = environment.site_packages
        for folder in (site_packages, site_packages.parent, environment.path):
            os.chown(folder, 0, STAFF)
            folder.chmod(0o2755)
        return environment

    place = on("ext4")
    store = place / "store"
    with umask(0o027):
        done = compare(
            bed,
            place,
            [*INSTALL, str(wheel)],
            settings(mode, store),
            prepare=of_the_group,
        )
    site_packages = done.environment.site_packages / "pkg"
    stock = place.glob("parity-*/stock/environment/lib/*/site-packages/pkg")
    for root_ in (site_packages, *stock):
        groups = {path.stat().st_gid for path in (root_, *root_.rglob("*"))}
        assert groups == {STAFF}


# --- access control lists -------------------------------------------------------------


@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink"])
@pytest.mark.parametrize("acl", ["group::rwx,mask::rwx", "user:65534:rwx", "other::-"])
def test_default_acl_of_the_target(
    bed: Bed, on: Callable[[str], Path], wheel: Path, acl: str, mode: str
) -> None:
    """New files get their mode from it, whatever the umask is."""

    def with_acl(environment: Environment) -> Environment:
        mounts.run("setfacl", "-R", "-d", "-m", acl, environment.path)
        return environment

    place = on("ext4")
    store = place / "store"
    done = compare(
        bed, place, [*INSTALL, str(wheel)], settings(mode, store), prepare=with_acl
    )
    (stock,) = place.glob("parity-*/stock/environment/lib/*/site-packages")
    for name in ("pkg/module.py", "pkg/data.bin", "pkg/tool", "pkg/empty"):
        expected, actual = (
            os.getxattr(root / name, "system.posix_acl_access")
            if "system.posix_acl_access" in os.listxattr(root / name)
            else None
            for root in (stock, done.environment.site_packages)
        )
        assert actual == expected, name


@pytest.mark.parametrize("mode", ["hardlink", "copy"])
def test_group_of_the_store_is_not_handed_on(
    bed: Bed, on: Callable[[str], Path], wheel: Path, root: None, mode: str
) -> None:
    del root
    place = on("ext4")
    above = place / "above"
    above.mkdir()
    os.chown(above, 0, STAFF)
    above.chmod(0o2755)
    store = above / "store"
    done = compare(bed, place, [*INSTALL, str(wheel)], settings(mode, store))
    assert {path.stat().st_gid for path in module(done).parent.rglob("*")} == {0}


@pytest.mark.parametrize("mode", ["hardlink", "copy"])
def test_default_acl_of_the_store_is_not_handed_on(
    bed: Bed, on: Callable[[str], Path], wheel: Path, mode: str
) -> None:
    place = on("ext4")
    above = place / "above"
    above.mkdir()
    mounts.run("setfacl", "-d", "-m", "user:65534:rwx", above)
    store = above / "store"
    done = compare(bed, place, [*INSTALL, str(wheel)], settings(mode, store))
    assert os.listxattr(module(done)) == []


# --- stores of others -----------------------------------------------------------------


def writable_for_the_group(store: Path) -> None:
    store.chmod(0o775)


def writable_for_a_named_user(store: Path) -> None:
    mounts.run("setfacl", "-m", "user:65534:rwx", store)


def of_somebody_else(store: Path) -> None:
    os.chown(store, 65534, 65534)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (writable_for_the_group, "can be written to by others"),
        (writable_for_a_named_user, "can be written to by others"),
        (of_somebody_else, "belongs to another user"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_store_that_others_can_fill_is_refused(
    bed: Bed,
    on: Callable[[str], Path],
    wheel: Path,
    root: None,
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    """Even one that was filled when it was not: an entry is code."""
    del root
    place = on("ext4")
    store = place / "store"
    mounts.fill(store, wheel)
    spoil(store)
    done = compare(bed, place, [*INSTALL, str(wheel)], settings("hardlink", store))
    (warning,) = done.warnings
    assert f"the store {store} {reason}; set --link-store" in warning
    assert module(done).stat().st_nlink == 1


def test_a_file_of_somebody_else_is_not_handed_out(
    bed: Bed, on: Callable[[str], Path], wheel: Path, root: None
) -> None:
    """Its owner could change it at any time: the entry is rebuilt."""
    del root
    place = on("ext4")
    store = place / "store"
    mounts.fill(store, wheel)
    (source,) = store.glob("v1/wheels/*/*/files/pkg/module.py")
    os.chown(source, 65534, 65534)
    done = compare(bed, place, [*INSTALL, str(wheel)], settings("hardlink", store))
    assert "; 1 unpacked again: stored files were changed" in done.summary
    assert module(done).stat().st_uid == source.stat().st_uid == 0


def test_a_store_of_root_is_good_for_all(
    bed: Bed,
    on: Callable[[str], Path],
    wheel: Path,
    nobody: Callable[[Environment], Environment],
    public_python: str,
) -> None:
    """Nobody reads what root has published, and writes nothing."""
    place = on("xfs")
    published = place / mounts.published_wheel(place).name
    store = place / "store"
    mounts.fill(store, wheel)
    args = [*INSTALL, str(published)]
    env = settings("auto", store)
    done = compare(bed, place, args, env, prepare=nobody, python=public_python)
    assert done.warnings == []
    assert done.summary.startswith("Linked 1 package by clone")
    assert module(done).stat().st_uid == 65534
