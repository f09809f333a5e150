"""File systems on which symlinks can be made, and do not lead anywhere."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.network.conftest import give_up

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.network.conftest import Network, Tree
    from tests.support.environments import Bed

_MS_REMOUNT, _MS_NOSYMFOLLOW, _MS_BIND = 32, 256, 4096


def test_unreadable_symlinks_are_not_links(
    network: Network, wheels: list[Path], stock: Tree
) -> None:
    """The files are there, and the output says by which mode they came."""
    environment = network.environment(network.place / "environment")
    said = network.first.install(
        environment, wheels, mode="symlink", store=network.store
    )
    assert network.first.tree(environment) == stock
    by_symlink = "Linked 3 packages by symlink" in said
    assert by_symlink is network.share.reads_symlinks
    assert ("no symlink from" in said) is not by_symlink, said


@pytest.fixture
def unfollowed(tmp_path: Path) -> Iterator[Path]:
    """Mount a directory in which no symlink is followed (Linux 5.10)."""
    if os.geteuid() != 0:
        give_up("needs to be root on Linux")
    path = tmp_path / "unfollowed"
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    place = os.fsencode(path)
    mounts.run("mount", "--bind", path, path)
    if libc.mount(None, place, None, _MS_BIND | _MS_REMOUNT | _MS_NOSYMFOLLOW, None):
        mounts.unmount(path)
        give_up(f"nosymfollow: {os.strerror(ctypes.get_errno())}")
    yield path
    mounts.unmount(path)


def test_nosymfollow_mount_gets_files(
    bed: Bed, tmp_path: Path, wheels: list[Path], stock: Tree, unfollowed: Path
) -> None:
    driver = bed.environment(tmp_path / "driver", shim=True)
    store = tmp_path / "store"
    done = driver.pip(
        *("install", "--no-index", "--no-deps", "--ignore-installed"),
        *("--prefix", str(unfollowed / "environment"), *map(str, wheels)),
        env={"PIP_LINK_MODE": "symlink", "PIP_LINK_STORE": str(store)},
    )
    assert "by symlink" not in done.stdout
    assert f"no symlink from {store}" in done.stderr
    assert driver.snapshot(unfollowed / "environment" / "lib") == stock
