"""One environment: its site-packages, prefix, scheme and interpreter."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from pip_linkmode.environments.symlinks import is_stored
from pip_linkmode.errors import EnvironmentBusyError, EnvironmentUnknownError
from pip_linkmode.files import inside, locked, read_limited
from pip_linkmode.guard import hold_directory, open_real
from pip_linkmode.interpreters import is_trusted, query_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pip_linkmode.interpreters import Interpreter


CONFIGURATION = "pyvenv.cfg"
_LEVELS = 3
"""How far above site-packages an environment's ``pyvenv.cfg`` is, at most."""
_LIBRARIES = ("lib*/python*/site-packages", "lib*/python*/dist-packages")
_WINDOWS_LIBRARY = "Lib/site-packages"
_SITE_PACKAGES = ("site-packages", "dist-packages")
_SCRIPTS = ("bin", "scripts")
_INTERPRETER = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")

OUTSIDE = "it is outside of the environment, or behind a link that leads there"
"""Reason not to replace a file that a RECORD lists."""


@dataclass(frozen=True, eq=False)
class Environment:
    """One environment; equal to another one with the same real site-packages."""

    site_packages: str
    """Absolute path of its site-packages directory."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Environment) and self.real == other.real

    def __hash__(self) -> int:
        return hash(self.real)

    @classmethod
    def find(cls, path: str) -> list[Environment]:
        """Find the environments that a user means by a path.

        :param path: an environment, its interpreter, or a site-packages directory
        :returns: at least one; several if it has libraries of several Pythons
        :raises EnvironmentUnknownError: if it is none of these
        """
        return [cls(site_packages) for site_packages in _find(path)]

    @cached_property
    def real(self) -> str:
        """The absolute path of site-packages without any link."""
        return os.path.realpath(self.site_packages)

    @cached_property
    def path(self) -> str:
        """The virtual environment; without one, the site-packages directory itself.

        Deleting this directory deletes the environment.
        """
        directory = self.site_packages
        for _ in range(_LEVELS):
            directory = os.path.dirname(directory)
            if os.path.lexists(os.path.join(directory, CONFIGURATION)):
                return directory
        return self.site_packages

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual environment, with a ``pyvenv.cfg``."""
        return self.path != self.site_packages

    @cached_property
    def prefix(self) -> str:
        """The directory of its scripts and data."""
        parent, name = os.path.split(self.site_packages)
        if self.is_virtual or name not in _SITE_PACKAGES:
            return self.path
        # A Python of its own: below lib/python3.11, or on Windows below Lib.
        has_version = os.path.basename(parent).startswith("python")
        return os.path.dirname(os.path.dirname(parent) if has_version else parent)

    @cached_property
    def owner(self) -> int:
        """The user that owns site-packages."""
        return os.stat(self.site_packages).st_uid

    def owner_of(self, old: os.stat_result | None) -> tuple[int, int]:
        """Return user and group for new content of a file.

        :param old: the status of the file that had another content, if there was one
        """
        if old is not None and old.st_uid == self.owner:
            return old.st_uid, old.st_gid
        status = os.stat(self.site_packages)
        return status.st_uid, status.st_gid

    @cached_property
    def directories(self) -> list[str]:
        """The directories to search for all of its files.

        These are :attr:`path`, and site-packages if it is a link that leads elsewhere.
        """
        is_there = inside(self.path)(os.path.join(self.site_packages, ""))
        return [self.path] if is_there else [self.path, self.site_packages]

    @cached_property
    def covers(self) -> Callable[[str], bool]:
        """Return whether a search of :attr:`directories` meets a file."""
        return inside(*self.directories)

    @cached_property
    def contains(self) -> Callable[[str], bool]:
        """Return whether a file really is in the environment.

        Links to directories are followed: the owner of an environment may have put one
        there that leads to files of another user.
        """
        return inside(*self._roots)

    @cached_property
    def _roots(self) -> list[str]:
        """The real paths of the directories of which all belongs to it."""
        prefix = os.path.realpath(self.prefix)
        # Any user can create a site-packages directory below a world-writable one.
        is_theirs = os.stat(prefix).st_uid == self.owner
        return [self.real, *([prefix] if is_theirs else [])]

    def read(self, path: str, limit: int) -> bytes:
        """Return the content of a regular file, in which no link is followed.

        :param path: below site-packages
        :param limit: bytes that it may have
        :raises OSError: if it is of another kind, larger, or cannot be read
        """
        real = os.path.join(self.real, path)
        with open_real(real, owner=self.owner, base=self.real) as file:
            return read_limited(file, limit, real)

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Open a regular file of the environment to read it.

        The file is in the environment, or a link leads to a file in a store or to one
        of the environment's owner.  Root opens it with the rights of that owner, and
        follows no link that is put in the way after the path was resolved.

        :param path: absolute path
        :raises OSError: if it is of another kind, elsewhere, or cannot be read
        """
        real = os.path.join(
            os.path.realpath(os.path.dirname(path)), os.path.basename(path)
        )
        if os.path.islink(real):
            real = os.path.realpath(real)
        bases = [one for one in self._roots if real.startswith(os.path.join(one, ""))]
        base = next(iter(bases), os.sep)
        if not (bases or is_stored(real)) and os.lstat(real).st_uid != self.owner:
            reason = f"it leads to {real}, which belongs to another user"
            raise PermissionError(errno.EACCES, reason, path)
        with open_real(real, owner=self.owner, base=base) as file:
            yield file

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[str]:
        """Yield a path of a file that reaches the environment whatever is renamed.

        Its directory is kept open, so that a link that another process puts in the way
        cannot lead root out of the environment.

        :param path: absolute path
        :raises OSError: if it is outside of the environment
        """
        directory, name = os.path.split(path)
        real = os.path.realpath(directory)
        if not self.contains(os.path.join(real, name)):
            raise PermissionError(errno.EACCES, OUTSIDE, path)
        with hold_directory(real) as held:
            yield os.path.join(held, name)

    @property
    def identity_files(self) -> dict[str, os.stat_result]:
        """The files of a virtual environment of which a store keeps a second name.

        Files of other users are left out: the environment may be hostile to root.
        They are found by their own status, by absolute path.
        """
        return _identity_files(self)

    @property
    def scripts(self) -> str:
        """The directory of its scripts, and of its interpreter."""
        return os.path.join(self.prefix, _INTERPRETER[0])

    def scheme(self, name: str) -> dict[str, str]:
        """Return the directories that pip installs a project to.

        :param name: of the project
        """
        return _scheme(self, name)

    @cached_property
    def interpreter(self) -> Interpreter | None:
        """Its interpreter, if there is one that answers."""
        return next(filter(None, map(query_interpreter, _interpreters(self))), None)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the environment against other pip-linkmode processes.

        :raises EnvironmentBusyError: if another one holds the lock
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.real))
            except BlockingIOError as error:
                msg = f"another pip-linkmode is at work in {self.site_packages}"
                raise EnvironmentBusyError(msg) from error
            yield


def _identity_files(environment: Environment) -> dict[str, os.stat_result]:
    found: dict[str, os.stat_result] = {}
    if environment.is_virtual:
        scripts = os.path.join(environment.path, _INTERPRETER[0])
        paths = [os.path.join(environment.path, CONFIGURATION)]
        if not os.path.islink(scripts):  # which may lead outside
            paths.append(os.path.join(scripts, _INTERPRETER[1]))
        for path in paths:
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if status.st_uid == os.stat(environment.path).st_uid:
                    found[path] = status
    return found


def _scheme(environment: Environment, name: str) -> dict[str, str]:
    python = os.path.basename(os.path.dirname(environment.site_packages))
    return {
        "purelib": environment.site_packages,
        "platlib": environment.site_packages,
        "headers": os.path.join(environment.prefix, "include", "site", python, name),
        "scripts": environment.scripts,
        "data": environment.prefix,
    }


def _interpreters(environment: Environment) -> Iterator[str]:
    version = os.path.basename(os.path.dirname(environment.site_packages))
    for name in (version, "python3", "python", "python.exe"):
        path = os.path.join(environment.scripts, name)
        if name.startswith("python") and os.path.isfile(path):
            configuration = os.path.join(environment.prefix, CONFIGURATION)
            if all(map(is_trusted, (environment.site_packages, configuration, path))):
                yield path


def _find(path: str) -> list[str]:
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        msg = f"{path} is not an environment: {error.strerror}"
        raise EnvironmentUnknownError(msg) from error
    if not stat.S_ISDIR(mode):
        directory = os.path.dirname(path)
        if os.path.basename(directory).lower() not in _SCRIPTS:
            msg = f"{path} is not an environment: it is a file outside of bin"
            raise EnvironmentUnknownError(msg)
        path = os.path.dirname(directory)
    if os.path.basename(path) in _SITE_PACKAGES:
        return [path]
    escaped = glob.escape(path)
    found: dict[str, str] = {}
    for pattern in (*_LIBRARIES, _WINDOWS_LIBRARY):
        for site_packages in sorted(glob.glob(os.path.join(escaped, pattern))):
            # lib64 is a link to lib.
            found.setdefault(os.path.realpath(site_packages), site_packages)
    if not found and glob.glob(os.path.join(escaped, "*.dist-info")):
        return [path]  # made by --target
    if not found:
        msg = f"{path} is not an environment: it has no site-packages"
        raise EnvironmentUnknownError(msg)
    return list(found.values())
