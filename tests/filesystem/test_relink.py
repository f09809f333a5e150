"""Environments of stock pip, relinked where blocks can be shared, and where not."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.link import filesystems
from tests.filesystem import mounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed, Environment


def occupied(path: Path) -> int:
    """Return what the file system of a path holds, in bytes."""
    mounts.run("sync", "-f", path)
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def relink(
    bed: Bed, place: Path, store: Path, mode: str, *environments: Environment
) -> Any:
    tool = bed.environment(place / "tool", shim=True)
    paths = [str(environment.path) for environment in environments]
    options = ("--mode", mode, "--link-store", str(store), "--json")
    command = ("-m", "pip_linkmode", "relink", *paths, *options)
    return json.loads(tool.run(*command, check=False).stdout)


def install(bed: Bed, place: Path, name: str) -> Environment:
    created = bed.environment(place / name, shim=False)
    created.pip("install", "--no-index", mounts.published_wheel(place / "wheels"))
    return created


@pytest.mark.parametrize("name", ["btrfs", "xfs"])
def test_clones_share_blocks_and_nothing_else(
    bed: Bed, on: Callable[[str], Path], name: str
) -> None:
    place = on(name)
    created = [install(bed, place, f"env{number}") for number in range(3)]
    snapshots = [environment.snapshot() for environment in created]
    before = occupied(place)
    report = relink(bed, place, place / "store", "auto", *created)
    assert all(set(one["files"]) == {"clone"} for one in report["environments"])
    assert [environment.snapshot() for environment in created] == snapshots
    path = "pkg/data.bin"
    first, second = (one.site_packages / path for one in created[:2])
    ours = filesystems.extents(str(first))
    assert ours
    assert ours == filesystems.extents(str(second))
    assert first.stat().st_nlink == 1
    first.write_bytes(b"edited")
    assert second.read_bytes() != b"edited"
    # btrfs keeps small files in its metadata, where a clone is a copy; three small
    # environments do not make up for the store.
    assert before * (1.03 if name == "btrfs" else 1) > occupied(place)
    again = relink(bed, place / "again", place / "store", "auto", *created[1:])
    assert all(one["files"] == {} for one in again["environments"])


@pytest.mark.parametrize(
    ("store", "target"), [("ext4", "xfs"), ("btrfs", "btrfs_subvolume")]
)
def test_where_nothing_can_be_shared_nothing_is_copied(
    bed: Bed, on: Callable[[str], Path], store: str, target: str
) -> None:
    place, far = on(target), on(store) / "store"
    environment = install(bed, place, "env")
    inodes = {path: path.lstat().st_ino for path in environment.path.rglob("*")}
    report = relink(bed, place, far, "hardlink", environment)
    (one,) = report["environments"]
    assert "the store is on another file system" in one["refused"]
    assert report["adopted"] == []
    assert {path: path.lstat().st_ino for path in inodes} == inodes
    assert not list(far.glob("v1/wheels/*/*"))
