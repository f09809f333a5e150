"""Check the directories above a path: other users must not replace a part of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from functools import cache
from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

if sys.platform != "win32":  # pragma: no branch  # Windows
    import grp
    import pwd


class WeakDirectory(NamedTuple):
    """A directory above a path in which another user can put another thing there."""

    path: str
    """Absolute path of the directory."""
    reason: str
    """The rest of a sentence about it."""
    remedy: str
    """A command that makes it safe."""


def weak_directory(
    path: str, *, owners: Collection[int] = (), trust_group: bool = False
) -> WeakDirectory | None:
    """Find a directory in which another user can replace a path, or a part of it.

    Each directory in which a part is looked up must belong to root or to this user.  In
    a user namespace it may belong to a user that does not exist there.  Other users may
    write to it only if it is sticky, or if they are a group that has no other members.

    :param path: absolute path; the directories behind its links are checked as well,
        those that do not exist yet are not
    :param owners: other users that are trusted
    :param trust_group: whether members of a directory's group are trusted
    :raises OSError: if a directory cannot be read
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return None
    trusted = {0, os.geteuid(), *owners, *_overflow_user()}
    with contextlib.suppress(FileNotFoundError):  # this user is about to make it
        for directory, name in _lookups(path):
            found = _weakness(directory, name, trusted, trust_group=trust_group)
            if found is not None:
                return WeakDirectory(*found)
    return None


def _weakness(
    directory: str, name: str, trusted: Collection[int], *, trust_group: bool
) -> tuple[str, str, str] | None:
    status = os.stat(directory)
    if status.st_uid not in trusted:
        reason = f"belongs to {_user_name(status.st_uid)}"
        return directory, reason, f"chown root {quote(directory)}"
    if status.st_mode & stat.S_ISVTX:
        found = os.path.join(directory, name)
        owner = os.lstat(found).st_uid
        if owner not in trusted:
            return (
                found,
                f"belongs to {_user_name(owner)}",
                f"chown -h root {quote(found)}",
            )
    elif status.st_mode & stat.S_IWOTH:
        return (
            directory,
            "can be written to by all users",
            f"chmod o-w {quote(directory)}",
        )
    elif status.st_mode & stat.S_IWGRP and not (
        trust_group or _is_alone_in(status.st_gid)
    ):
        reason = f"can be written to by the group {_group_name(status.st_gid)}"
        return directory, reason, f"chmod g-w {quote(directory)}"
    return None


def _lookups(path: str) -> Iterator[tuple[str, str]]:
    """Yield each directory in which a part of a path is looked up, and that part."""
    directory, waiting, links = os.sep, path.split(os.sep), 0
    while waiting:
        part = waiting.pop(0)
        if part in ("", os.curdir):
            continue
        if part == os.pardir:
            directory = os.path.dirname(directory)
            continue
        yield directory, part
        found = os.path.join(directory, part)
        if not os.path.islink(found):
            directory = found
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        leads_to = os.readlink(found)
        waiting = leads_to.split(os.sep) + waiting
        if os.path.isabs(leads_to):
            directory = os.sep


_MOST_LINKS = 40
"""As in Linux (:manpage:`path_resolution(7)`)."""


def _overflow_user() -> set[int]:
    """Return the user that stands for all that a user namespace does not have."""
    try:
        with open("/proc/self/uid_map", encoding="utf-8") as file:
            is_initial = file.read().split() == ["0", "0", str(0xFFFF_FFFF)]
        with open("/proc/sys/kernel/overflowuid", encoding="utf-8") as file:
            return set() if is_initial else {int(file.read())}
    except OSError:
        return set()


if sys.platform == "win32":

    def _user_name(user: int) -> str:
        return f"user {user}"

    def _group_name(group: int) -> str:
        return str(group)

    def _is_alone_in(group: int) -> bool:
        del group
        return False

else:

    def _user_name(user: int) -> str:
        try:
            return f"the user {pwd.getpwuid(user).pw_name}"
        except KeyError:
            return f"user {user}"

    def _group_name(group: int) -> str:
        try:
            return grp.getgrgid(group).gr_name
        except KeyError:
            return str(group)

    @cache
    def _is_alone_in(group: int) -> bool:
        """Return whether this user is the only one whose primary group it is."""
        user = os.geteuid()
        try:
            own = pwd.getpwuid(user)
            members = set(grp.getgrgid(group).gr_mem)
        except KeyError:  # in a container: the user has a number only
            return group == os.getegid() == user
        return (
            group == own.pw_gid
            and members <= {own.pw_name}
            and all(
                one.pw_uid == user
                or one.pw_gid != group
                or _cannot_log_in(one.pw_shell)
                for one in pwd.getpwall()
            )
        )

    def _cannot_log_in(shell: str) -> bool:
        return os.path.basename(shell) in _NO_SHELLS


_NO_SHELLS = frozenset({"false", "nologin", "sync", "shutdown", "halt"})
"""Shells of accounts that are not persons; some distributions put them in group 0."""
