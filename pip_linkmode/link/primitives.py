"""Link one file: four primitives, per operating system."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.files import TEMPORARY, open_regular
from pip_linkmode.link.filesystems import why_refused

if TYPE_CHECKING:
    from collections.abc import Callable

if sys.platform == "linux":
    import fcntl
elif sys.platform == "darwin":
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)

_FICLONE = 0x40049409
_BY_DESCRIPTOR = {os.chmod, os.utime} <= os.supports_fd
"""Whether a file is given mode and time without its path: not on Windows.

By path, root would follow a link that the directory's owner may have put there.
"""


class Link(NamedTuple):
    """One file to be linked."""

    source: str
    """Absolute path in the store."""
    target: str
    """Absolute path to be created; whatever is there is replaced."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Modification time that a clone or copy gets, in ns."""
    mode: int
    """Permission bits of the source."""
    wanted: int
    """Permission bits that pip would give the target under the current umask."""


def _create(link: Link, fill: Callable[[int], None]) -> None:
    """Create the target with pip's permissions, fill it, and give it the mtime.

    The mode comes from the umask and a directory's default ACL, as in pip; only
    executables are changed afterwards, as in pip.  A target that could not be filled
    is removed: a refused ``FICLONE`` leaves an empty file behind.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(link.target, flags, 0o666)
    try:
        try:
            fill(descriptor)
            if _BY_DESCRIPTOR:
                _finish(descriptor, link)
        finally:
            os.close(descriptor)
        if not _BY_DESCRIPTOR:
            _finish(link.target, link)
    except BaseException:
        os.unlink(link.target)
        raise


def _finish(created: int | str, link: Link) -> None:
    if link.wanted & 0o111:
        os.chmod(created, link.wanted)
    os.utime(created, ns=(link.mtime_ns, link.mtime_ns))


def hardlink(link: Link) -> None:
    """Give the source's inode a second name."""
    os.link(link.source, link.target, follow_symlinks=False)


def symlink(link: Link) -> None:
    """Point to the source by its absolute path."""
    os.symlink(link.source, link.target)


def copy(link: Link) -> None:
    """Write the bytes again."""

    def fill(descriptor: int) -> None:
        with (
            open_regular(link.source) as source,
            open(descriptor, "wb", closefd=False) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    _create(link, fill)


if sys.platform == "linux":

    def clone(link: Link) -> None:
        """Share the source's extents until one of the two is written to."""

        def fill(descriptor: int) -> None:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # it may be a pipe
            source = os.open(link.source, flags)
            try:
                fcntl.ioctl(descriptor, _FICLONE, source)
            finally:
                os.close(source)

        _create(link, fill)

elif sys.platform == "darwin":

    def clone(link: Link) -> None:
        """Share the source's extents until one of the two is written to."""
        if _libc.clonefile(os.fsencode(link.source), os.fsencode(link.target), 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), link.source, None, link.target)
        os.chmod(link.target, link.wanted, follow_symlinks=False)
        mtime_ns = link.mtime_ns
        os.utime(link.target, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

else:  # pragma: no cover  # another operating system

    def clone(link: Link) -> None:
        """Refuse: this operating system is not known to clone."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), link.target)


PRIMITIVES: dict[str, Callable[[Link], None]] = {
    "clone": clone,
    "hardlink": hardlink,
    "symlink": symlink,
    "copy": copy,
}


def is_as_asked(primitive: str, link: Link) -> bool:
    """Return whether a link leads to its source, or a copy has its size.

    BeeGFS fakes hard links.  sshfs and mounts with ``nosymfollow`` make symlinks that
    cannot be followed (``EPERM``, ``ELOOP``).

    :raises OSError: if the source was taken away, and the link proves nothing
    """
    try:
        if primitive == "hardlink":
            return os.path.samestat(os.lstat(link.source), os.lstat(link.target))
        if primitive == "symlink":
            return os.path.samestat(os.lstat(link.source), os.stat(link.target))
        return os.lstat(link.target).st_size == link.size
    except OSError:
        os.lstat(link.source)
        return False


def probe(source: str, directory: str) -> dict[str, str | None]:
    """Find out by which primitives a file can be linked to a directory, by doing it.

    :param source: absolute path of a file that is not empty
    :param directory: absolute path; nothing is left there
    :returns: by primitive, why it does not work, or ``None``
    """
    status = os.lstat(source)
    mode = stat.S_IMODE(status.st_mode)
    results: dict[str, str | None] = {}
    for name, primitive in PRIMITIVES.items():
        target = os.path.join(directory, TEMPORARY + os.urandom(8).hex())
        link = Link(source, target, status.st_size, status.st_mtime_ns, mode, mode)
        try:
            primitive(link)
            is_so = is_as_asked(name, link)
            os.unlink(target)
            results[name] = None if is_so else f"the result is not a {name}"
        except OSError as error:
            results[name] = why_refused(name, error, source, directory)
    return results
