"""One environment: its site-packages, prefix, scheme and interpreter."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from pip_linkmode.errors import EnvironmentBusyError, EnvironmentUnknownError
from pip_linkmode.files import locked
from pip_linkmode.interpreters import is_trusted, query_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pip_linkmode.interpreters import Interpreter


CONFIGURATION = "pyvenv.cfg"
_LEVELS = 3
"""How far above site-packages an environment's ``pyvenv.cfg`` is, at most."""
_LIBRARIES = ("lib*/python*/site-packages", "lib*/python*/dist-packages")
_WINDOWS_LIBRARY = "Lib/site-packages"
_SCRIPTS = ("bin", "scripts")


def root(site_packages: str) -> str:
    """Return the directory that goes when the environment is deleted.

    :param site_packages: absolute path of a site-packages directory
    :returns: that of the virtual environment; else *site_packages* itself
    """
    directory = site_packages
    for _ in range(_LEVELS):
        directory = os.path.dirname(directory)
        if os.path.lexists(os.path.join(directory, CONFIGURATION)):
            return directory
    return site_packages


def inside(*directories: str) -> Callable[[str], bool]:
    """Return what tells whether a file really is below one of some directories.

    Links to directories are followed: who owns an environment may have put one there
    that leads to files of somebody else.  Each directory is resolved once.

    :param directories: absolute paths
    """
    roots = tuple(os.path.join(os.path.realpath(one), "") for one in directories)

    @cache
    def is_below(directory: str) -> bool:
        return os.path.join(os.path.realpath(directory), "").startswith(roots)

    return lambda path: is_below(os.path.dirname(path))


def directories_of(site_packages: str) -> list[str]:
    """Return the directories that hold all of an environment.

    :param site_packages: absolute path of a site-packages directory
    :returns: :func:`root`, and *site_packages* if it is a link to somewhere else
    """
    whole = root(site_packages)
    is_there = inside(whole)(os.path.join(site_packages, ""))
    return [whole] if is_there else [whole, site_packages]


def find(path: str) -> list[str]:
    """Return the site-packages directories that a user means by a path.

    :param path: an environment, its interpreter, or a site-packages directory
    :returns: absolute paths, at least one
    :raises EnvironmentUnknownError: if it is none of these
    """
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        msg = f"{path} is no environment: {error.strerror}"
        raise EnvironmentUnknownError(msg) from error
    if not stat.S_ISDIR(mode):
        directory = os.path.dirname(path)
        if os.path.basename(directory).lower() not in _SCRIPTS:
            msg = f"{path} is no environment: it is a file, and no interpreter"
            raise EnvironmentUnknownError(msg)
        path = os.path.dirname(directory)
    if os.path.basename(path) in ("site-packages", "dist-packages"):
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
        msg = f"{path} is no environment: it has no site-packages"
        raise EnvironmentUnknownError(msg)
    return list(found.values())


OUTSIDE = "it is outside of the environment, or behind a link that leads there"
"""Why a file that a RECORD has is not replaced."""


@dataclass
class Environment:
    """One environment."""

    site_packages: str
    """Absolute path of its site-packages directory."""

    @cached_property
    def root(self) -> str:
        """The directory that its scripts and data are in."""
        return _prefix(self.site_packages)

    @cached_property
    def is_inside(self) -> Callable[[str], bool]:
        """Return whether a file really is in it: see :func:`environments.inside`."""
        # Anybody may make a site-packages directory below one that is all users'.
        is_theirs = os.stat(self.root).st_uid == self.owner
        return inside(self.site_packages, *((self.root,) if is_theirs else ()))

    @cached_property
    def owner(self) -> int:
        """The user that it belongs to."""
        return os.stat(self.site_packages).st_uid

    @property
    def scripts(self) -> str:
        """The directory of its scripts, and of its interpreter."""
        return os.path.join(self.root, "Scripts" if os.name == "nt" else "bin")

    def scheme(self, name: str) -> dict[str, str]:
        """Return where pip installs to.

        :param name: of the project
        """
        python = os.path.basename(os.path.dirname(self.site_packages))
        return {
            "purelib": self.site_packages,
            "platlib": self.site_packages,
            "headers": os.path.join(self.root, "include", "site", python, name),
            "scripts": self.scripts,
            "data": self.root,
        }

    @cached_property
    def python(self) -> Interpreter | None:
        """Its interpreter, if there is one that answers."""
        return next(filter(None, map(query_interpreter, self._candidates())), None)

    def _candidates(self) -> Iterator[str]:
        version = os.path.basename(os.path.dirname(self.site_packages))
        for name in (version, "python3", "python", "python.exe"):
            path = os.path.join(self.scripts, name)
            if name.startswith("python") and os.path.isfile(path):
                configuration = os.path.join(self.root, "pyvenv.cfg")
                if all(map(is_trusted, (self.site_packages, configuration, path))):
                    yield path


def _prefix(site_packages: str) -> str:
    """Return the directory that an environment's scripts and data are in."""
    whole = root(site_packages)
    parent, name = os.path.split(site_packages)
    if whole != site_packages or name not in ("site-packages", "dist-packages"):
        return whole
    # A Python of its own: below lib/python3.11, or on Windows below Lib.
    has_version = os.path.basename(parent).startswith("python")
    return os.path.dirname(os.path.dirname(parent) if has_version else parent)


@contextlib.contextmanager
def lock_environment(site_packages: str) -> Iterator[None]:
    """Keep others of us out of an environment.

    :param site_packages: absolute path of its site-packages directory
    :raises EnvironmentBusyError: if one is at work there
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(os.path.realpath(site_packages)))
        except BlockingIOError as error:
            msg = f"another pip-linkmode is at work in {site_packages}"
            raise EnvironmentBusyError(msg) from error
        yield
