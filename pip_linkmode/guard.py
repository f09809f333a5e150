"""Open files and directories that another user may replace at any moment.

Root maintains environments of other users.  A path is resolved once; then every part of
it is opened without following a link, and files are read with the rights of their
environment's owner.  Links put in the way after that make the operation fail.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, BinaryIO

from pip_linkmode.files import refuse_irregular

if TYPE_CHECKING:
    from collections.abc import Iterator


if sys.platform == "win32":

    def open_directory(path: str) -> int:
        """Refuse: Windows opens no directories."""
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)

    def open_real(path: str, *, owner: int, base: str = "") -> BinaryIO:
        """Open a file that is not a link to read it."""
        del owner, base
        refuse_irregular(os.lstat(path), path)
        return open(path, "rb")

    def path_of(descriptor: int, path: str) -> str:
        """Return the path itself."""
        del descriptor
        return path

    @contextlib.contextmanager
    def hold_directory(path: str) -> Iterator[str]:
        """Yield the path itself."""
        yield path

    @contextlib.contextmanager
    def rights_of(owner: int) -> Iterator[None]:
        """Do nothing: there is no root on Windows."""
        del owner
        yield

else:
    import pwd

    _DIRECTORY = os.O_DIRECTORY | os.O_NOFOLLOW | getattr(os, "O_PATH", 0)
    _FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    _DESCRIPTORS = "/proc/self/fd"
    _NOGROUP = 65534

    def _descend(descriptor: int, path: str) -> None:
        """Turn the descriptor of a directory into that of one below; follow no link."""
        for part in path.split(os.sep):
            if part not in ("", os.curdir):
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.dup2(below, descriptor, inheritable=False)
                os.close(below)

    def open_directory(path: str) -> int:
        """Open a directory, and follow a link in no part of its path.

        :param path: absolute path, resolved by :func:`os.path.realpath`
        :returns: a descriptor; the caller closes it
        :raises OSError: if a part is a link now, or cannot be opened
        """
        descriptor = os.open(os.sep, _DIRECTORY)
        try:
            _descend(descriptor, path)
        except OSError as error:
            os.close(descriptor)
            error.filename = path
            raise
        return descriptor

    def open_real(path: str, *, owner: int, base: str = os.sep) -> BinaryIO:
        """Open a regular file to read it, and follow a link in no part of its path.

        :param path: absolute path, resolved by :func:`os.path.realpath`
        :param owner: the user with whose rights root opens it
        :param base: a directory above it, which that user need not reach
        :raises OSError: if it is of another kind, or cannot be opened
        """
        directory, name = os.path.split(os.path.relpath(path, base))
        descriptor = open_directory(base)
        try:
            with rights_of(owner):
                _descend(descriptor, directory)
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                refuse_irregular(status, path)
                opened = os.open(name, _FILE, dir_fd=descriptor)
        except OSError as error:
            error.filename = path
            raise
        finally:
            os.close(descriptor)
        file = open(opened, "rb")  # noqa: SIM115  # the caller closes it
        try:
            refuse_irregular(os.fstat(opened), path)
        except OSError:
            file.close()
            raise
        return file

    def path_of(descriptor: int, path: str) -> str:
        """Return a path that leads to an open file, whatever is renamed.

        :param path: its absolute path, which is returned if there is no ``/proc``
        """
        held = f"{_DESCRIPTORS}/{descriptor}"
        return held if os.path.lexists(held) else path

    @contextlib.contextmanager
    def hold_directory(path: str) -> Iterator[str]:
        """Keep a directory open, and yield a path that leads there by its descriptor.

        :param path: absolute path, resolved by :func:`os.path.realpath`
        :raises OSError: if a part of it is a link now, or cannot be opened
        """
        descriptor = open_directory(path)
        try:
            yield path_of(descriptor, path)
        finally:
            os.close(descriptor)

    @cache
    def _is_mapped(user: int) -> bool:
        """Return whether a user exists in this user namespace.

        Root has no power over files of the others (:manpage:`user_namespaces(7)`).
        """
        try:
            with open("/proc/self/uid_map", encoding="utf-8") as file:
                ranges = [tuple(map(int, line.split())) for line in file]
        except OSError:  # no Linux, or no /proc
            return True
        return any(first <= user < first + count for first, _, count in ranges)

    @cache
    def _groups_of(user: int) -> tuple[int, list[int]]:
        try:
            entry = pwd.getpwuid(user)
        except KeyError:
            return _NOGROUP, []
        return entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)

    @contextlib.contextmanager
    def rights_of(owner: int) -> Iterator[None]:
        """Let root act with the rights of another user; change nothing for others.

        A user that is not in the password database has no groups.

        :param owner: the user
        :raises OSError: if this process may not become that user
        """
        if os.geteuid() != 0 or owner == 0 or not _is_mapped(owner):
            yield
            return
        primary, groups = _groups_of(owner)
        own_group, own_groups = os.getegid(), os.getgroups()
        try:
            os.setgroups(groups)
            os.setegid(primary)
            os.seteuid(owner)
            yield
        finally:
            os.seteuid(0)
            os.setegid(own_group)
            os.setgroups(own_groups)
