"""Staging directories, and the left-overs of dead processes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time

from pip_linkmode.files import lock_directory, lock_scope, unlock
from pip_linkmode.store.layout import DIGEST, MANIFEST

STALE_SECONDS = 24 * 60 * 60
"""Age of a staging directory that is a left-over, if its lock is not seen here."""


def refuse_link(directory: str) -> None:
    """Raise an error if a directory is a symlink.

    :raises NotADirectoryError: if it is
    """
    if os.path.islink(directory):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", directory)


def disinherit(directory: str) -> None:
    """Do not inherit the group and default ACL of the parent directory."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(directory, -1, os.getegid())
    os.chmod(directory, os.stat(directory).st_mode & 0o777)
    if hasattr(os, "removexattr"):
        with contextlib.suppress(OSError):
            os.removexattr(directory, "system.posix_acl_default")


def sweep(staging: str) -> None:
    """Remove left-overs of dead processes from a staging directory.

    A lock that can be taken tells that the maker is dead, if its locks are seen here
    (:func:`pip_linkmode.files.lock_scope`).  Any other left-over must be a day old.

    :param staging: the directory that holds staging directories
    """
    scope = lock_scope(staging)
    for name in os.listdir(staging):
        path = os.path.join(staging, name)
        with contextlib.suppress(OSError):
            old = time.time() - os.lstat(path).st_mtime > STALE_SECONDS
            if not old and name.rpartition("-")[0] != scope:
                continue
            lock = lock_directory(path, wait=False)
            if lock is not None or old:
                return_entries(path, os.path.join(os.path.dirname(staging), "wheels"))
                shutil.rmtree(path, ignore_errors=True)
            unlock(lock)


def return_entries(staged: str, wheels: str) -> None:
    """Put back whole entries that a killed process had taken away."""
    for sha256 in os.listdir(staged):
        away = os.path.join(staged, sha256)
        final = os.path.join(wheels, sha256[:2], sha256)
        if (
            len(sha256) == DIGEST
            and os.path.lexists(os.path.join(away, MANIFEST))
            and not os.path.lexists(final)
        ):
            os.rename(away, final)
