"""Paths inside a wheel: which are safe, and which pip itself installs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


WRITTEN_BY_PIP = frozenset(
    {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
    }
)
"""Files of the dist-info directory that pip reads from the wheel, or opens to write."""


class StoredFile(NamedTuple):
    """One file of an entry."""

    path: str
    """Path in the wheel, ``/``-separated."""
    size: int
    """Bytes."""
    sha256: str
    """Hexadecimal digest of the content."""
    mode: int
    """Permission bits."""


_NAME = r"[^/\x00-\x1f\x7f\\:\x85\u2028\u2029\ud800-\udfff]+"
_NAMES = re.compile(f"{_NAME}(?:/{_NAME})*")
_DOTS = re.compile(r"(?:\A|/)\.{1,2}(?:/|\Z)")
SCHEMES = ("platlib", "purelib", "headers", "scripts", "data")
"""The keys of an installation scheme."""


def data_scheme(path: str) -> tuple[str, str] | None:
    """Split a path in a ``.data`` directory into the key of the scheme and the rest.

    :param path: path in the wheel
    :returns: ``None`` for a file of the root of the wheel, as pip sees it (pip
        ``_internal/operations/install/wheel.py``, ``is_data_scheme_path``)
    """
    # Called tens of thousands of times: the common case comes first.
    if ".data" not in path:
        return None
    top, _, rest = path.partition("/")
    if not top.endswith(".data"):
        return None
    key, _, below = rest.partition("/")
    return key, below


def is_installed_by_pip(path: str, dist_info: str) -> bool:
    """Return whether pip itself installs a file: scripts, and files that it writes.

    :param path: path in the wheel
    :param dist_info: name of the wheel's dist-info directory
    """
    scheme = data_scheme(path)
    if scheme is not None:
        return scheme[0] == "scripts"
    if not path.startswith(dist_info):
        return False
    top, _, rest = path.partition("/")
    return top == dist_info and rest in WRITTEN_BY_PIP


def compiled_sources(paths: Iterable[str], dist_info: str) -> tuple[str, ...]:
    """Return which files of a wheel pip would compile, but for scripts.

    :param paths: paths in the wheel
    :param dist_info: name of the wheel's dist-info directory
    """
    return tuple(
        path
        for path in paths
        if path.endswith(".py") and not is_installed_by_pip(path, dist_info)
    )


def is_safe_path(path: str) -> bool:
    """Return whether a path is relative, normal, without ``..`` and on one line."""
    # Called tens of thousands of times: the second pattern is the slow one.
    has_dots = "./" in f"{path}/" and _DOTS.search(path)
    return not has_dots and _NAMES.fullmatch(path) is not None
