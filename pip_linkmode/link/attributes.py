"""Owner, mode and extended attributes of a file that is replaced."""

from __future__ import annotations

import errno
import os
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


_CARRIED = ("security.capability", "system.posix_acl_access", "user.")
"""Attributes that somebody has given to one file (:manpage:`xattr(7)`)."""


def preserved_xattrs(path: str) -> dict[str, bytes]:
    """Return what a file has been given besides: capabilities, an ACL, notes.

    :param path: absolute path; a link is not followed
    :raises OSError: if they cannot be read
    """
    if not hasattr(os, "listxattr"):  # pragma: no cover  # not Linux
        return {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # the file system has none
        return {}
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if name.startswith(_CARRIED)
    }


if sys.platform == "win32":

    def copy_ownership(
        path: str, mode: int, old: os.stat_result, carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file the mode of the one that it is to replace."""
        del old, carried
        if stat.S_IMODE(os.lstat(path).st_mode) != mode:
            os.chmod(path, mode)

else:

    def copy_ownership(
        path: str, mode: int, old: os.stat_result, carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file the owner of the one that it is to replace, and the rest.

        :param path: absolute path of the new one
        :param mode: permission bits
        :param old: the status of the other
        :param carried: its :func:`preserved_xattrs`
        :raises OSError: if it cannot be done, or somebody has put another file there
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            new = os.fstat(descriptor)
            if not stat.S_ISREG(new.st_mode) or new.st_nlink > 1:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
            if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)
                new = os.fstat(descriptor)
            if stat.S_IMODE(new.st_mode) != mode:
                os.fchmod(descriptor, mode)
            # Last, since the system takes capabilities from a file with a new owner.
            for name, value in carried.items():
                os.setxattr(descriptor, name, value)
        finally:
            os.close(descriptor)
