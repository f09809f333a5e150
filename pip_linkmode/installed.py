"""What is installed in an environment, as far as it can be shared.

Whoever has installed a distribution, its RECORD says what its files are.  Scripts have
the path of their interpreter in them, and some of the metadata is written by pip; all
else, also what is outside of site-packages, is the same wherever it is installed.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from pip_linkmode import environments
from pip_linkmode.wheel import data_scheme, is_kept, is_plain
from pip_linkmode.workers import identify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pip_linkmode.bytecode import Interpreter
    from pip_linkmode.environments import Distribution

    Claims = frozenset[tuple[str, str | None]]

_SYSTEMS = frozenset({"conda", "debian", "rpm"})
"""What stands in INSTALLER where another package manager owns the files."""
OUTSIDE = "it is outside of the environment, or behind a link that leads there"
"""Why a file that a RECORD has is not replaced."""


class File(NamedTuple):
    """One file of an installed distribution."""

    path: str
    """The path that it would have in an entry."""
    sha256: str | None
    """As RECORD has it, in hexadecimal."""
    size: int
    """Bytes."""
    mode: int
    """Permission bits."""
    is_as_long: bool
    """Whether it has the size that RECORD has, if it has one."""


@dataclass
class Site:
    """One environment."""

    library: str
    """Absolute path of its site-packages directory."""

    @cached_property
    def root(self) -> str:
        """The directory that its scripts and data are in."""
        return _prefix(self.library)

    @cached_property
    def is_inside(self) -> Callable[[str], bool]:
        """Tell whether a file really is in it: see :func:`environments.inside`."""
        # Anybody may make a site-packages directory below one that is all users'.
        is_theirs = os.stat(self.root).st_uid == self.owner
        return environments.inside(self.library, *((self.root,) if is_theirs else ()))

    @cached_property
    def owner(self) -> int:
        """The user that it belongs to."""
        return os.stat(self.library).st_uid

    @property
    def scripts(self) -> str:
        """The directory of its scripts, and of its interpreter."""
        return os.path.join(self.root, "Scripts" if os.name == "nt" else "bin")

    def scheme(self, name: str) -> dict[str, str]:
        """Return where pip installs to.

        :param name: of the project
        """
        python = os.path.basename(os.path.dirname(self.library))
        return {
            "purelib": self.library,
            "platlib": self.library,
            "headers": os.path.join(self.root, "include", "site", python, name),
            "scripts": self.scripts,
            "data": self.root,
        }

    @cached_property
    def python(self) -> Interpreter | None:
        """Its interpreter, if there is one that answers."""
        return next(filter(None, map(identify, self._candidates())), None)

    def _candidates(self) -> Iterator[str]:
        version = os.path.basename(os.path.dirname(self.library))
        for name in (version, "python3", "python", "python.exe"):
            path = os.path.join(self.scripts, name)
            if name.startswith("python") and os.path.isfile(path):
                configuration = os.path.join(self.root, "pyvenv.cfg")
                if all(map(_is_trusted, (self.library, configuration, path))):
                    yield path


@dataclass(frozen=True)
class Installed:
    """One distribution in one environment."""

    distribution: Distribution
    files: dict[str, File]
    """What can be shared of it, by absolute path."""

    @property
    def name(self) -> str:
        """The project, normalized."""
        return str(canonicalize_name(self.distribution.name))

    @property
    def bytes(self) -> int:
        """What all of it takes."""
        return sum(file.size for file in self.files.values())

    def claims(self) -> Claims:
        """Return what its RECORD says of the files."""
        return frozenset((file.path, file.sha256) for file in self.files.values())


def why_not(distribution: Distribution) -> str | None:
    """Return why a distribution is not to be touched, if it is not."""
    if is_editable(distribution):
        return "is editable"
    if distribution.installer in _SYSTEMS:
        return f"belongs to {distribution.installer}"
    return None


def files_of(site: Site, distribution: Distribution) -> dict[str, File]:
    """Return what can be shared of a distribution, by absolute path.

    :raises OSError: if its RECORD cannot be read
    :raises ValueError: if it has none that is one
    """
    rows = distribution.rows()
    if not rows:
        msg = "it is empty"
        raise ValueError(msg)
    files = {}
    for row in rows:
        path = _entry_path(row.path, site, distribution.dist_info)
        if path is None or not site.is_inside(row.path):
            continue
        with contextlib.suppress(OSError):
            status = os.lstat(row.path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(row.path)
                mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                size = status.st_size
                is_as_long = row.size in (None, size)
                files[row.path] = File(path, row.sha256, size, mode, is_as_long)
    return files


def _is_trusted(path: str) -> bool:
    """Tell whether nobody else decides what is run here.

    Root, who looks after the environments of others, must not run their programs.
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return True
    owners = {0, os.geteuid()}
    with contextlib.suppress(FileNotFoundError):
        return {os.lstat(path).st_uid, os.stat(path).st_uid} <= owners
    return True


def _prefix(library: str) -> str:
    """Return the directory that an environment's scripts and data are in."""
    root = environments.root(library)
    parent, name = os.path.split(library)
    if root != library or name not in ("site-packages", "dist-packages"):
        return root
    # A Python of its own: below lib/python3.11, or on Windows below Lib.
    has_version = os.path.basename(parent).startswith("python")
    return os.path.dirname(os.path.dirname(parent) if has_version else parent)


def is_editable(distribution: Distribution) -> bool:
    """Tell whether the files of a distribution are elsewhere (:pep:`610`)."""
    try:
        found = re.search(
            r'"editable"\s*:\s*true', distribution.text("direct_url.json")
        )
    except OSError:
        return False
    return found is not None


def _entry_path(path: str, site: Site, dist_info: str) -> str | None:
    """Return the path that an installed file would have in an entry.

    :returns: ``None`` for what is not shared: scripts, what pip writes, bytecode, and
        what is outside of the environment
    """
    if os.path.dirname(path) == site.scripts:
        return None
    library = os.path.join(site.library, "")
    if path.startswith(library):
        found = path[len(library) :].replace(os.sep, "/")
        if data_scheme(found) is not None:
            return None
    else:
        root = os.path.join(site.root, "")
        if not path.startswith(root):
            return None
        stem = dist_info.removesuffix(".dist-info")
        found = f"{stem}.data/data/{path[len(root) :].replace(os.sep, '/')}"
    if not is_plain(found) or is_kept(found, dist_info) or is_bytecode(found):
        return None
    return found


def is_bytecode(path: str) -> bool:
    """Tell whether a file is in ``__pycache__``, by its path in a wheel."""
    return path.endswith(".pyc") and path.split("/")[-2:-1] == ["__pycache__"]
