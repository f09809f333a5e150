"""Read regular files, and tell whether one was written to.

Who owns an environment decides what is at its paths: in the place of a file there may
be a pipe, for which a reader would wait for ever, or a link to a device without end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def open_regular(path: str, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Open a regular file to read it.

    :param path: absolute path
    :param follow: whether it may be a link to one
    :raises OSError: if it is none, or cannot be opened
    """
    wanted = ("O_NONBLOCK",) if follow else ("O_NONBLOCK", "O_NOFOLLOW")

    def opener(path: str, flags: int) -> int:
        for name in wanted:
            flags |= getattr(os, name, 0)
        return os.open(path, flags)

    with open(path, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "It is no regular file", path)
        yield file


def read_regular(path: str, limit: int) -> bytes:
    """Return what is in a regular file, or in one that a link leads to.

    :param path: absolute path
    :param limit: bytes that it may have
    :raises OSError: if it is none, has more, or cannot be read
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        # No more than that: of what the kernel makes up there may be no end.
        return file.read(size)


def stamp(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells whether a file was written to; nobody can set a ctime."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
