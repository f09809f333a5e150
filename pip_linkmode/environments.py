"""Which environments have symlinks into a store.

Each is one file in ``<store>/v1/environments``, named after the sha256 of its path and
holding ``{"site_packages": path}``.  It is written before the first symlink is, so
that no clean-up can miss a user of the store.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os

from pip_linkmode.wheel import make_directory

DIRECTORY = os.path.join("v1", "environments")


def register(store: str, site_packages: str) -> None:
    """Note that an environment is about to get symlinks into a store.

    :param store: absolute path of the store
    :param site_packages: absolute path of the directory that holds the dist-info
    :raises PermissionError: if the store is read-only
    :raises OSError: if it cannot be written
    """
    directory = os.path.join(store, DIRECTORY)
    key = hashlib.sha256(os.fsencode(site_packages)).hexdigest()
    path = os.path.join(directory, f"{key}.json")
    if os.path.lexists(path):
        return
    if not os.access(store, os.W_OK):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), store)
    make_directory(directory)
    unfinished = os.path.join(directory, f"{key}.{os.urandom(8).hex()}")
    with open(unfinished, "x", encoding="utf-8") as file:
        json.dump({"site_packages": site_packages}, file)
    os.replace(unfinished, path)
