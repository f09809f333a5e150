"""Which file systems share what: between all of them in all modes, by evidence."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.matrix import Results, observe, table, written
from tests.filesystem.support import INSTALL, compare, primitives, settings
from tests.support.environments import CHECKOUT
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.filesystem.conftest import FileSystems
    from tests.support.environments import Bed, Environment

DOCUMENT = CHECKOUT / "docs" / "filesystems.md"

# What a pair is on decides: the same name is the same file system.  Two mounts of one
# are told apart by hard links, not by clones; so are a btrfs and its subvolumes.
DEVICE = {
    "xfs_bind": "xfs",
    "btrfs_subvolume": "btrfs",
    "overlay_lower": "overlay",
    "overlay_xfs_lower": "overlay_xfs",
}
MOUNT = {"overlay_lower": "overlay", "overlay_xfs_lower": "overlay_xfs"}
CAN_CLONE = {"xfs", "btrfs", "overlay_xfs"}
TYPES = {
    "ext4": "ef53",
    "xfs": "58465342",
    "xfs_bind": "58465342",
    "xfs_plain": "58465342",
    "btrfs": "9123683e",
    "btrfs_subvolume": "9123683e",
    "tmpfs": "1021994",
    "overlay": "794c7630",
    "overlay_lower": "794c7630",
    "overlay_xfs": "794c7630",
    "overlay_xfs_lower": "794c7630",
    "readonly": "ef53",
    "squashfs": "73717368",
}


@pytest.fixture(scope="session")
def results(file_systems: FileSystems) -> Results:
    return observe({name: file_systems[name] for name in mounts.NAMES})


@pytest.mark.parametrize("name", mounts.NAMES)
def test_file_system_is_what_it_is_called(file_systems: FileSystems, name: str) -> None:
    place = file_systems[name]
    command = ("stat", "-f", "-c", "%t", place)
    assert subprocess.check_output(command, text=True).strip() == TYPES[name]
    writable = not os.statvfs(place).f_flag & os.ST_RDONLY
    assert writable is (name not in ("readonly", "squashfs"))
    if name in mounts.PUBLISHED:
        assert (place / "store" / "v1").is_dir()


@pytest.mark.parametrize("target", mounts.WRITABLE)
@pytest.mark.parametrize("store", mounts.NAMES)
def test_each_mode_makes_of_a_pair_what_the_pair_can_do(
    results: Results, store: str, target: str
) -> None:
    device = DEVICE.get(store, store)
    same_device = device == DEVICE.get(target, target)
    hardlink = "copy"
    if MOUNT.get(store, store) == target:
        hardlink = "hardlink"
    clone = "clone" if same_device and device in CAN_CLONE else hardlink
    assert results[store, target] == (clone, clone, hardlink, "symlink", "copy")


def test_the_documented_table_is_what_was_seen(
    results: Results, say: Callable[[str], None]
) -> None:
    seen = table(results)
    say(seen)
    assert written(DOCUMENT) == seen


# --- the pairs that matter, by pip ----------------------------------------------------


def decided(environment: Environment, store: Path, created: str) -> set[str]:
    """Return the primitives of the files for which the mode decides alone."""
    found = primitives(environment, store)
    # In symlink mode all but sources is hardlinked or copied here.
    return {
        primitive
        for path, primitive in found.items()
        if created != "symlink" or path.endswith(".py")
    }


NO_CLONE = "Operation not supported"
FOREIGN = "Invalid cross-device link"


@pytest.mark.parametrize(
    ("store", "target", "mode", "created", "reason"),
    [
        ("ext4", "ext4", "auto", "hardlink", None),
        ("ext4", "ext4", "clone", "hardlink", NO_CLONE),
        ("xfs", "xfs", "auto", "clone", None),
        ("xfs", "xfs_bind", "clone", "clone", None),
        ("xfs", "xfs_bind", "hardlink", "copy", FOREIGN),
        ("btrfs", "btrfs_subvolume", "auto", "clone", None),
        ("overlay", "overlay", "hardlink", "hardlink", None),
        ("ext4", "tmpfs", "auto", "copy", None),
        ("ext4", "tmpfs", "hardlink", "copy", FOREIGN),
        ("ext4", "tmpfs", "symlink", "symlink", None),
        ("xfs", "btrfs", "clone", "copy", FOREIGN),
    ],
)
def test_pip_links_between_file_systems(
    bed: Bed,
    on: Callable[[str], Path],
    tmp_path: Path,
    store: str,
    target: str,
    mode: str,
    created: str,
    reason: str | None,
) -> None:
    root = on(store) / "store"
    args = [*INSTALL, str(mounts.published_wheel(tmp_path))]
    done = compare(bed, on(target), args, settings(mode, root))
    assert decided(done.environment, root, created) == {created}
    verb = "Copied 1 package" if created == "copy" else f"Linked 1 package by {created}"
    assert done.summary.startswith(verb)
    if reason is None:
        assert done.warnings == []
    else:
        (warning,) = done.warnings
        assert f" no {mode} from {root} " in warning
        assert f": {reason}; " in warning


@pytest.mark.parametrize(
    ("store", "target", "mode", "created"),
    [
        ("overlay_lower", "overlay", "auto", "hardlink"),
        ("overlay_lower", "overlay", "symlink", "symlink"),
        ("overlay_xfs_lower", "overlay_xfs", "auto", "clone"),
        ("readonly", "ext4", "auto", "copy"),
        ("readonly", "tmpfs", "symlink", "symlink"),
        ("squashfs", "ext4", "symlink", "symlink"),
        ("squashfs", "xfs", "clone", "copy"),
    ],
)
def test_pip_links_out_of_what_others_have_published(
    bed: Bed,
    on: Callable[[str], Path],
    file_systems: FileSystems,
    store: str,
    target: str,
    mode: str,
    created: str,
) -> None:
    place = file_systems[store]
    wheel = place / "wheels" / "pkg-1.0-py3-none-any.whl"
    env = settings(mode, place / "store")
    done = compare(bed, on(target), [*INSTALL, str(wheel)], env)
    assert decided(done.environment, place / "store", created) == {created}
    assert "unpacked for the first time" not in done.summary


@pytest.mark.parametrize("store", ["readonly", "squashfs"])
def test_what_a_read_only_store_lacks_goes_to_the_next_one(
    bed: Bed,
    on: Callable[[str], Path],
    file_systems: FileSystems,
    tmp_path: Path,
    store: str,
) -> None:
    wheels = [
        mounts.published_wheel(tmp_path),
        make_wheel(tmp_path, "other", files={"other/a.py": "a = 1\n" * 900}),
    ]
    place = on("ext4")
    published, own = file_systems[store] / "store", place / "own"
    args = [*INSTALL, *map(str, wheels)]
    env = settings("hardlink", published, own)
    done = compare(bed, place, args, env)
    created = primitives(done.environment, own)
    assert set(created.values()) == {"hardlink"}
    if store == "squashfs":
        # It cannot be linked from, and the other one can.
        assert "; 2 unpacked for the first time" in done.summary
        return
    assert created.keys() == {"other/a.py", "other/a.pyc"}
    assert set(primitives(done.environment, published).values()) == {"copy"}
    assert "; 1 unpacked for the first time" in done.summary
