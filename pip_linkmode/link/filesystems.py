"""File systems: their types, and where a file is on the disk."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
from typing import NamedTuple

from pip_linkmode.files import file_system

if sys.platform == "linux":
    import fcntl
elif sys.platform == "darwin":
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)
elif sys.platform == "win32":
    import ctypes


_FIEMAP = 0xC020660B
_FIEMAP_SYNC = 0x1
_FIEMAP_HEADER, _FIEMAP_EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_FIEMAP_COUNT = 64
_LAST, _UNKNOWN, _ENCODED, _INLINE, _SHARED = 0x1, 0x6, 0x8, 0x200, 0x2000
_CLONING = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2", "overlay"})
_SIMPLE = frozenset({"ext2", "ext3", "ext4", "btrfs", "xfs", "tmpfs", "f2fs"})


_CANNOT_CLONE = (errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOTTY, errno.EINVAL)


class Extent(NamedTuple):
    """Where a part of a file is on the disk."""

    start: int | None
    """Bytes from the beginning of the volume; ``None`` inside the metadata."""
    length: int
    """Bytes; of a compressed part, as it was before."""
    is_compressed: bool
    is_shared: bool
    """Whether another file, or another part of this one, has it too."""


class Sharing(NamedTuple):
    """How files of a file system can share, judged by its name: a trial costs time."""

    clones: bool
    """Whether files may have extents in common."""
    tells_inodes: bool
    """Whether a directory lists the inode numbers that ``stat`` returns."""


def sharing(path: str) -> Sharing:
    """Return how files can share on the file system that holds a path."""
    name = file_system(path)
    return Sharing(name in _CLONING, name in _SIMPLE)


def why_refused(primitive: str, error: OSError, source: str, target: str) -> str:
    """Return why a link cannot be made, in words of mounts and file systems.

    :param source: absolute path of the stored file, or of its store
    :param target: absolute path of a directory
    """
    name, here = file_system(source), file_system(target)
    if error.errno == errno.EROFS:
        return f"{target} is on a read-only mount"
    if error.errno == errno.EXDEV and is_across_mounts(source, target):
        return f"{source} and {target} are on two mounts of one file system ({name})"
    if error.errno == errno.EXDEV:
        return f"the store is on another file system ({name}, not {here})"
    if primitive == "clone" and error.errno in _CANNOT_CLONE:
        return f"{here} cannot clone"
    return error.strerror or str(error)


def is_across_mounts(source: str, target: str) -> bool:
    """Return whether two paths are on one file system, as two bind mounts are."""
    with contextlib.suppress(OSError):  # one was taken away
        return os.lstat(source).st_dev == os.lstat(target).st_dev
    return False


if sys.platform == "linux":

    def extents(path: str) -> list[Extent] | None:
        """Return where a file is on the disk, or ``None`` if that is not told.

        :param path: absolute path; a link is not followed
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
        try:
            found = _extents(descriptor, 0)
            if any(flag & _UNKNOWN for *_, flag in found):
                found = _extents(descriptor, _FIEMAP_SYNC)  # not written out yet
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return [
            Extent(
                None if flag & (_INLINE | _UNKNOWN) else start,
                length,
                bool(flag & _ENCODED),
                bool(flag & _SHARED),
            )
            for start, length, flag in found
        ]

    def _extents(descriptor: int, flags: int) -> list[tuple[int, int, int]]:
        """Ask by :manpage:`ioctl_fiemap(2)`."""
        found: list[tuple[int, int, int]] = []
        offset = 0
        while True:
            room = bytearray(_FIEMAP_HEADER.size + _FIEMAP_COUNT * _FIEMAP_EXTENT.size)
            _FIEMAP_HEADER.pack_into(
                room, 0, offset, 2**64 - 1 - offset, flags, 0, _FIEMAP_COUNT, 0
            )
            fcntl.ioctl(descriptor, _FIEMAP, room)
            count = _FIEMAP_HEADER.unpack_from(room)[3]
            for index in range(count):
                logical, start, length, *_, flag, _, _, _ = _FIEMAP_EXTENT.unpack_from(
                    room, _FIEMAP_HEADER.size + index * _FIEMAP_EXTENT.size
                )
                found.append((start, length, flag))
                offset = logical + length
                if flag & _LAST:
                    return found
            if not count:
                return found

else:  # pragma: no cover  # another operating system

    def extents(path: str) -> list[Extent] | None:
        """Return ``None``: this operating system is not asked."""
        del path
        return None
