"""Register an environment in a store, before its first link.

The files of a registration: see :mod:`pip_linkmode.environments.registry`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from functools import cache
from typing import TYPE_CHECKING

from pip_linkmode.environments.caches import is_there_now
from pip_linkmode.environments.identity import link_identity, location
from pip_linkmode.environments.registry import NAME, SYMLINK, create_marker
from pip_linkmode.files import is_on_one_host, make_directory
from pip_linkmode.store.layout import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def _directory(store: str, site_packages: str) -> str:
    place = location(site_packages)
    key = hashlib.sha256(os.fsencode(f"{site_packages}\0{place}")).hexdigest()
    return os.path.join(store, DIRECTORY, key)


def is_registered(store: str, site_packages: str, sha256: str, mode: str) -> bool:
    """Return whether an environment is registered as a user of an entry.

    :param store: absolute path of the store
    :param site_packages: absolute path of the directory that holds the dist-info
    :param sha256: of the entry
    :param mode: the link mode
    """
    directory = _directory(store, site_packages)
    marker = os.path.join(directory, f"{sha256}.{mode}")
    return all(map(os.path.lexists, (os.path.join(directory, NAME), marker)))


def register(store: str, site_packages: str, sha256: str, mode: str) -> None:
    """Note that an environment is about to get files of an entry: see below.

    :param sha256: of the entry
    """
    register_all(store, site_packages, [sha256], mode)


def register_all(
    store: str, site_packages: str, sha256s: Collection[str], mode: str
) -> None:
    """Note that an environment is about to get files of entries.

    With symlinks the note is on the disk before this returns: a power cut must not
    leave links without it.  One call for all entries of a command costs four syncs.

    :param store: absolute path of the store
    :param site_packages: absolute path of the directory that holds the dist-info
    :param sha256s: of the entries
    :param mode: the link mode
    :raises PermissionError: if the store is read-only
    :raises OSError: if it cannot be written
    """
    directory = _directory(store, site_packages)
    exists = _look_up(store)
    known = _is_known(directory) and exists(os.path.join(directory, NAME))
    markers = [os.path.join(directory, f"{sha256}.{mode}") for sha256 in sha256s]
    missing = [one for one in markers if not (known and exists(one))]
    if not missing:
        return
    if not os.access(store, os.W_OK):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), store)
    if os.path.islink(directory):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", directory)
    if not known:
        _introduce(directory, site_packages)
    link_identity(directory, site_packages)
    for marker in missing:
        create_marker(marker)
    if mode == SYMLINK[1:]:
        for path in (os.path.join(directory, NAME), directory):
            _sync(path)
        _sync(os.path.dirname(directory))


@cache
def _look_up(store: str) -> Callable[[str], bool]:
    """Return the function that looks whether a file of a store exists."""
    return os.path.lexists if is_on_one_host(store) else is_there_now


def _sync(path: str) -> None:
    """Write a file or a directory to the disk, where the file system can."""
    with contextlib.suppress(OSError):  # a directory on Windows, or some FUSE
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _is_known(directory: str) -> bool:
    """Return whether the name is there, and was not emptied by a power cut."""
    try:
        return os.lstat(os.path.join(directory, NAME)).st_size > 0
    except OSError:
        return False


def _introduce(directory: str, site_packages: str) -> None:
    make_directory(directory)
    with contextlib.suppress(OSError):  # a group's, if the parent is
        mode = os.stat(os.path.dirname(directory)).st_mode
        os.chmod(directory, stat.S_IMODE(mode))
    unfinished = os.path.join(directory, os.urandom(8).hex())
    data = {"site_packages": site_packages, "place": location(site_packages)}
    with open(unfinished, "x", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        # Renamed without this, a power cut leaves an empty file.
        os.fsync(file.fileno())
    os.replace(unfinished, os.path.join(directory, NAME))
