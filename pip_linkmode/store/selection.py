"""The order of several stores, and the one that is written to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pip_linkmode.store.store import Store


def _device(path: str) -> int:
    """Return the device of a path, or of its first parent that exists."""
    while True:
        try:
            return os.stat(path).st_dev
        except FileNotFoundError:
            if path == os.path.dirname(path):
                raise
            path = os.path.dirname(path)


def arrange(
    stores: Sequence[Store],
    destination: str,
    *,
    any_file_system: bool,
    umask: int,
    planned: Sequence[str] = (),
) -> tuple[list[Store], Store | None]:
    """Decide where to look for entries, and which store gets new ones.

    Only a store on the file system that is installed to can share all that it has; so
    if it can be written, wheels that only other stores have are unpacked there again.
    The first real link decides which modes work.

    :param stores: in the order of the setting
    :param destination: absolute path of a directory that is installed to
    :param any_file_system: whether a store on another file system is as good
    :param umask: the umask in force
    :param planned: absolute paths of stores that an installation will make
    :returns: the stores in the order of look-up, and the store for new entries
    """
    device = _device(destination)
    near = [store for store in stores if _device(store.root) == device]
    write_store = next(
        (store for store in (*near, *stores) if store.accepts(umask)), None
    )
    if any_file_system:
        return list(stores), write_store
    if write_store in near or any(_device(root) == device for root in planned):
        return near, write_store
    return [*near, *(store for store in stores if store not in near)], write_store
