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
"""Attributes that are given to single files (:manpage:`xattr(7)`)."""
_PRIVILEGES = "security."
"""Attributes that give a program more rights than its user has."""


def preserved_xattrs(path: str) -> dict[str, bytes]:
    """Return the extended attributes to preserve (capabilities, ACL, ``user.*``).

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


def without_privileges(
    mode: int, carried: Mapping[str, bytes]
) -> tuple[int, dict[str, bytes]]:
    """Return mode and attributes as another content of the file may have them.

    setuid, setgid and capabilities were given to the bytes that were there.

    :param mode: permission bits
    :param carried: see :func:`preserved_xattrs`
    """
    kept = {
        name: value
        for name, value in carried.items()
        if not name.startswith(_PRIVILEGES)
    }
    return mode & 0o777, kept


if sys.platform == "win32":

    def give(
        path: str, mode: int, owner: tuple[int, int], carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file its mode."""
        del owner, carried
        if stat.S_IMODE(os.lstat(path).st_mode) != mode:
            os.chmod(path, mode)

else:

    def give(
        path: str, mode: int, owner: tuple[int, int], carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file its owner, mode and extended attributes.

        :param path: absolute path
        :param mode: permission bits
        :param owner: user and group
        :param carried: see :func:`preserved_xattrs`
        :raises OSError: if it cannot be done, or another process has put another file
            there
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            new = os.fstat(descriptor)
            if not stat.S_ISREG(new.st_mode) or new.st_nlink > 1:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
            if (new.st_uid, new.st_gid) != owner:
                os.fchown(descriptor, *owner)
                new = os.fstat(descriptor)
            if stat.S_IMODE(new.st_mode) != mode:
                os.fchmod(descriptor, mode)
            # Last, since the system takes capabilities from a file with a new owner.
            for name, value in carried.items():
                os.setxattr(descriptor, name, value)
        finally:
            os.close(descriptor)
