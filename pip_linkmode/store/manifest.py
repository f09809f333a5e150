"""Read, write and compare manifests."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    EntryTimesError,
)
from pip_linkmode.store.layout import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


IMPOSSIBLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions of reading a manifest that another program has written."""
_LARGEST = 256 << 20
"""Bytes; a file of a wheel takes about 150."""
_USE_SECONDS = 60 * 60
GONE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP),
    getattr(errno, "ESTALE", errno.ENOENT),
)
"""Errors of an entry that was replaced, by another host too (:manpage:`nfs(5)`)."""


def use(directory: str) -> None:
    """Note that an entry or bytecode was used now; its files keep their time.

    Nothing is written more than once an hour, and nothing if it cannot be.

    :param directory: absolute path of an entry, or of bytecode
    """
    manifest = os.path.join(directory, MANIFEST)
    with contextlib.suppress(OSError):
        if time.time() - os.lstat(manifest).st_mtime > _USE_SECONDS:
            os.utime(manifest, follow_symlinks=False)


def assert_present(store: str, directory: str) -> None:
    """Raise an error if an entry was taken away, also by another host.

    A network client answers a look from its cache, but never a change of the time.

    :param store: absolute path of the store; nothing is written if it is read-only
    :param directory: absolute path of the entry
    :raises OSError: one of :data:`GONE`
    """
    manifest = os.path.join(directory, MANIFEST)
    if os.access(store, os.W_OK):
        try:
            os.utime(manifest, follow_symlinks=False)
        except PermissionError:  # made by another member of the group
            pass
        else:
            return
    os.lstat(manifest)


def check_files(base: str, files: Iterable[tuple[str, int, int, int]]) -> None:
    """Compare files with their manifest.

    :param base: absolute path of a directory
    :param files: path below it, size in bytes, mtime in ns, and permission bits
    :raises EntryDamagedError: if one is different, or is reached through a link
    """
    directories = {""}
    path = ""
    try:
        # After a chown of an environment with hard links, another user owns the file
        # and can change it without a trace.
        owner = os.lstat(base)
        if not stat.S_ISDIR(owner.st_mode):
            msg = f"{base} is not a directory"
            raise EntryDamagedError(msg)
        uid, gid = owner.st_uid, owner.st_gid
        with lstat_below(base) as lstat:
            for path, size, mtime_ns, mode in files:
                status = lstat(path)
                seen = status.st_size, status.st_mode, status.st_uid, status.st_gid
                is_same = seen == (size, stat.S_IFREG | mode, uid, gid)
                if not is_same or status.st_mtime_ns != mtime_ns:
                    raise _difference(base, path, is_same=is_same)
                directories.add(path.rpartition("/")[0])
            for path in sorted(directories):
                while path:
                    if not stat.S_ISDIR(lstat(path).st_mode):
                        msg = f"{base}/{path} is not a directory"
                        raise EntryDamagedError(msg)
                    path = path.rpartition("/")[0]  # noqa: PLW2901  # upwards
                    if path in directories:
                        break
    except OSError as error:
        if error.errno not in GONE:
            raise
        msg = f"{base}/{path} is gone"
        raise EntryGoneError(msg) from error


def _difference(base: str, path: str, *, is_same: bool) -> EntryDamagedError:
    """Return the error for a file that differs by its time alone, or by more."""
    if is_same:
        msg = f"{base}/{path} has another modification time"
        return EntryTimesError(msg)
    msg = f"{base}/{path} is not as it was written"
    return EntryDamagedError(msg)


def check_unpacked(directory: str, manifest: Mapping[str, Any]) -> None:
    """Compare unpacked files with the manifest that will be published with them.

    A network client may have lost writes, or another host removed the directory.

    :param directory: absolute path
    :raises EntryDamagedError: if a file is missing or not as it was written
    """
    mtime_ns = manifest["mtime"] * 10**9
    files = ((path, size, mtime_ns, mode) for path, size, _, mode in manifest["files"])
    check_files(directory, files)


def write_manifest(path: str, manifest: dict[str, Any]) -> None:
    """Write a manifest that only its owner can change, whatever the umask is.

    :param path: absolute path, must not exist
    :raises OSError: if it cannot be written
    """

    def private(path: str, flags: int) -> int:
        return os.open(path, flags, 0o644)

    with open(path, "x", encoding="utf-8", opener=private) as file:
        json.dump(manifest, file, separators=(",", ":"))


def read_manifest(path: str) -> Any:
    """Read a manifest that no other user can have changed.

    :param path: absolute path; a link is not followed
    :raises EntryDamagedError: if others can write to it
    :raises OSError: if it cannot be read
    :raises ValueError: if it is not JSON
    """
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):  # a pipe would be waited for
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if hasattr(os, "geteuid") and (
            status.st_mode & 0o022
            or status.st_uid != os.lstat(os.path.dirname(path)).st_uid
        ):
            msg = f"{path} can be written to by others"
            raise EntryDamagedError(msg)
        if status.st_size > _LARGEST:
            msg = f"{path} is too large for a manifest: {status.st_size} bytes"
            raise EntryDamagedError(msg)
        return json.loads(file.read())


@contextlib.contextmanager
def lstat_below(directory: str) -> Iterator[Callable[[str], os.stat_result]]:
    """Give an ``lstat`` for paths below a directory, which need not be resolved again.

    :param directory: absolute path; a link is not followed
    :raises OSError: if it cannot be opened
    """
    with contextlib.ExitStack() as stack:
        if os.stat in os.supports_dir_fd:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(directory, flags)
            stack.callback(os.close, descriptor)
            yield partial(os.stat, dir_fd=descriptor, follow_symlinks=False)
        else:  # Windows
            yield lambda path: os.lstat(f"{directory}/{path}")
