"""This pip-linkmode on the disk: its directory, its requirements, its replacement."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

import pip_linkmode
from pip_linkmode import _bootstrap
from pip_linkmode.hooks import elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

REQUIREMENTS = ("wrapt", "packaging")
"""The other projects that pip-linkmode imports."""
_INIT = os.path.abspath(pip_linkmode.__file__)
_EMPTY = 'LOCATIONS: "dict[str, str]" = {}'


def _stamp() -> tuple[int, ...]:
    """Return a stamp that changes when pip replaces the package, not with new links."""
    status = os.stat(_INIT)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


_STAMP = _stamp()
"""Taken when pip loads the first of the hooks."""


class _Requirements:
    """Find the requirements of pip-linkmode where they are installed for it."""

    def __init__(self, found: dict[str, str]) -> None:
        self._found = found

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  # of the protocol
        target: ModuleType | None = None,  # noqa: ARG002  # of the protocol
    ) -> ModuleSpec | None:
        """Return the spec of a requirement; ``None`` for all other modules."""
        directory = self._found.get(fullname)
        return PathFinder.find_spec(fullname, [directory]) if directory else None


@contextlib.contextmanager
def requirements() -> Iterator[None]:
    """Import the requirements of pip-linkmode from its own directories while entered.

    The environment may have an old packaging, or none; its ``sys.path`` stays as it is.
    """
    finder = _Requirements(locations())
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def locations() -> dict[str, str]:
    """Return the directories that hold pip-linkmode and its requirements.

    A start module may have named them.  Else they are beside pip-linkmode, or on
    ``sys.path`` if pip-linkmode is an editable installation.
    """
    beside = os.path.dirname(os.path.dirname(_INIT))
    found = {"pip_linkmode": beside}
    for name in REQUIREMENTS:
        spec = PathFinder.find_spec(name, [_bootstrap.LOCATIONS.get(name, beside)])
        if spec is None or spec.origin is None:
            with contextlib.suppress(ValueError):  # a module without a spec
                spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            found[name] = os.path.dirname(os.path.dirname(spec.origin))
    return found


def version_of(directory: str, name: str = "pip_linkmode") -> str | None:
    """Return the version of a package in a directory; ``"?"`` if it names none.

    :returns: ``None`` if the package is not there
    """
    try:
        path = os.path.join(directory, name, "__init__.py")
        with open(path, encoding="utf-8", errors="replace") as file:
            match = re.search(r'^__version__ = "(.+)"', file.read(), re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else "?"


def change() -> str | None:
    """Return how the package was changed since this process began to load it."""
    loaded = pip_linkmode.__version__
    there = version_of(os.path.dirname(os.path.dirname(_INIT)))
    if there is None:
        return f"pip-linkmode {loaded} was removed while pip was running"
    if there != loaded or _stamp() != _STAMP:
        return f"pip-linkmode {loaded} was replaced by {there} while pip was running"
    return None


def start_module(found: dict[str, str]) -> str:
    """Return the text of a module that loads pip-linkmode from some directories.

    :param found: as :func:`locations` returns them
    """
    with open(elsewhere.__file__, encoding="utf-8") as file:
        before, _, after = file.read().partition(_EMPTY)
    return f"{before}LOCATIONS = {found!a}{after}"
