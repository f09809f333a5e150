"""Work on files and directories: regular files, digests, stamps, locks, the umask."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import socket
import stat
import sys
import tempfile
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

if sys.platform != "win32":  # pragma: no branch  # Windows
    import fcntl

TEMPORARY = ".pip-linkmode-"
"""How the names of our files begin that are not to stay."""
_ONE_HOST = frozenset(
    {
        *("bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs"),
        *("ntfs3", "overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"),
    }
)
"""Types of file systems that one kernel has mounted, and no other host."""


def refuse_irregular(status: os.stat_result, path: str) -> None:
    """Raise the reason why a file is not a regular one, if it is of another kind.

    :raises OSError: as said
    """
    for is_so, number in ((stat.S_ISLNK, errno.ELOOP), (stat.S_ISDIR, errno.EISDIR)):
        if is_so(status.st_mode):
            raise OSError(number, os.strerror(number), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)


@contextlib.contextmanager
def open_regular(path: str, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Open a regular file to read it.

    :param path: absolute path
    :param follow: whether it may be a link to one
    :raises OSError: if it is of another kind, or cannot be opened
    """
    wanted = ("O_NONBLOCK",) if follow else ("O_NONBLOCK", "O_NOFOLLOW")

    def opener(path: str, flags: int) -> int:
        for name in wanted:
            flags |= getattr(os, name, 0)
        return os.open(path, flags)

    # To open a device may do something already: look first.
    refuse_irregular(os.stat(path, follow_symlinks=follow), path)
    with open(path, "rb", opener=opener) as file:
        refuse_irregular(os.fstat(file.fileno()), path)
        yield file


def inside(*directories: str) -> Callable[[str], bool]:
    """Return a function that tells whether a file really is below some directories.

    Links to directories are followed.  Each directory is resolved once.

    :param directories: absolute paths
    """
    roots = tuple(os.path.join(os.path.realpath(one), "") for one in directories)

    @cache
    def is_below(directory: str) -> bool:
        return os.path.join(os.path.realpath(directory), "").startswith(roots)

    return lambda path: is_below(os.path.dirname(path))


def read_regular(path: str, limit: int) -> bytes:
    """Read a regular file, or one that a link leads to.

    :param path: absolute path
    :param limit: bytes that it may have
    :raises OSError: if it is none, has more, or cannot be read
    """
    with open_regular(path) as file:
        return read_limited(file, limit, path)


def read_limited(file: BinaryIO, limit: int, path: str) -> bytes:
    """Return the content of an open file.

    :param limit: bytes that it may have
    :param path: its absolute path
    :raises OSError: if it has more, or cannot be read
    """
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
    # Not more than its size: files of the kernel may have no end.
    return file.read(size)


def file_stamp(status: os.stat_result) -> tuple[int, ...]:
    """Return a stamp that changes if a file is written to; no user can set a ctime."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def file_system(path: str) -> str:
    """Return the type of the file system that holds a path, for messages.

    :param path: an absolute path that exists
    :returns: such as ``ext4``; ``"another file system"`` where it cannot be told
    """
    best, name = -1, "another file system"
    real = os.path.realpath(path)
    try:
        # proc_pid_mountinfo(5): field 5 is the mount point, the one after " - " the
        # type; the last of the longest mount points is the visible one.
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                front, _, back = line.partition(" - ")
                mount = front.split(" ")[4].replace("\\040", " ")
                prefix = mount if mount.endswith("/") else mount + "/"
                if (real + "/").startswith(prefix) and len(mount) >= best:
                    best, name = len(mount), back.split(" ")[0]
    except OSError:
        pass
    return name


def is_on_one_host(path: str) -> bool:
    """Return whether no other host changes a file system or holds locks on it.

    A client of a network file system answers from a cache, and its locks may be
    unknown to other clients.

    :param path: absolute path that exists
    """
    return file_system(path) in _ONE_HOST


def lock_scope(path: str) -> str:
    """Return a name that two processes share if they see each other's locks.

    GlusterFS, MooseFS and sshfs lock a directory for one client only, so a host name
    is not enough: hosts and containers may have the same one.

    :param path: absolute path of a directory
    :returns: letters, digits, dots and underscores
    """
    if is_on_one_host(path):
        return "local"
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            kernel = file.read()
    except OSError:  # another operating system
        kernel = socket.gethostname()
    return f"{re.sub(r'[^a-zA-Z0-9.]', '', kernel)}_{os.stat(path).st_dev:x}"


def refresh_listing(directory: str) -> None:
    """Make the client of a network file system read a directory again.

    sshfs lists a directory as it was up to 20 seconds ago, unless it has changed the
    directory itself since then.

    :param directory: absolute path
    """
    path = os.path.join(directory, f"{TEMPORARY}{os.urandom(8).hex()}")
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        os.unlink(path)


CHUNK = 1 << 20


def file_digest(file: BinaryIO) -> str:
    """Return the sha256 of a file's bytes; a wheel's is the key of its entry.

    :param file: open at its beginning; left at its end
    """
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def mode_of_new_file(umask: int, *, executable: bool) -> int:
    """Return the permission bits that pip gives to a file from a wheel.

    pip ``_internal/utils/unpacking.py``,
    ``set_extracted_file_to_default_mode_plus_executable``.

    :param umask: the process's file mode creation mask
    :param executable: whether the wheel marks the file so
    """
    return (0o777 & ~umask) | 0o111 if executable else 0o666 & ~umask


def current_umask() -> int:
    """Return the umask; it can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def make_directory(path: str) -> None:
    """Make a directory of the store, and its parents.

    Nobody else may write to it, whatever the umask says: files of others in there
    would be imported.

    :param path: absolute path; may exist
    """
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o755)


def sha256_of(path: str) -> str:
    """Return the digest of a file, in hexadecimal.

    :param path: absolute path
    :raises OSError: if it cannot be read, or is no regular file
    """
    with open_regular(path, follow=False) as file:
        return file_digest(file)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory, where the file system has locks.

    :param directory: absolute path; a link is not followed
    :raises BlockingIOError: if another process holds it
    """
    lock = lock_directory(directory, wait=False)
    try:
        yield
    finally:
        unlock(lock)


if sys.platform != "win32":  # pragma: no branch  # Windows

    def lock_directory(path: str, *, wait: bool = True) -> int | None:
        """Lock a directory; ``None`` where the file system cannot.

        :raises BlockingIOError: if another holds it, and *wait* is false
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise
            return None
        return descriptor

    def unlock(lock: int | None) -> None:
        """Release the lock of a directory."""
        if lock is not None:
            os.close(lock)

else:  # pragma: no cover  # Windows

    def lock_directory(path: str, *, wait: bool = True) -> int | None:
        """Return ``None``: Windows does not lock directories."""
        del path, wait

    def unlock(lock: int | None) -> None:
        """Do nothing: Windows does not lock directories."""
        del lock


_BLOCK = 512
"""The unit of ``st_blocks``, whatever the file system's is (:manpage:`stat(2)`)."""


def allocated(status: os.stat_result) -> int:
    """Return the space of a file on the disk, in bytes."""
    blocks: int | None = getattr(status, "st_blocks", None)  # not on Windows
    return status.st_size if blocks is None else blocks * _BLOCK


def _is_within(path: str, directory: str) -> bool:
    real, parent = os.path.realpath(path), os.path.realpath(directory)
    return real == parent or real.startswith(os.path.join(parent, ""))


def is_temporary(path: str) -> bool:
    """Tell whether a path is in the directory for temporary files."""
    return _is_within(path, tempfile.gettempdir())


def closed_directory(path: str) -> str | None:
    """Return the first directory on the way to a path that other users cannot search.

    :param path: absolute path of a directory, which is searched as well
    """
    path = os.path.realpath(path)
    parents = [path]
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        parents.insert(0, path)
    return next((p for p in parents if not os.stat(p).st_mode & stat.S_IXOTH), None)
