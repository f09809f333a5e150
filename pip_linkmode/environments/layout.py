"""Decide where each file of a wheel goes in an environment.

The bulk is linked; metadata and scripts are left to the skeleton
(:mod:`pip_linkmode.install.skeleton`).  Destinations follow pip's ``_install_wheel``
(``_internal/operations/install/wheel.py``) to the letter.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import cache_from_source
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.store.paths import data_scheme, is_installed_by_pip

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.paths import StoredFile


class Target(NamedTuple):
    """Where one file is linked to."""

    file: StoredFile
    path: str
    """Absolute path."""
    record: str
    """Path in the installed RECORD, as pip writes it."""
    target_root: str
    """The directory of the scheme that it is in."""


@dataclass(frozen=True)
class Layout:
    """How the files of a wheel are divided, for one environment."""

    site_packages: str
    """The directory that the root of the wheel goes to (purelib or platlib)."""
    linked: tuple[Target, ...]
    skeleton_files: tuple[StoredFile, ...]
    """Files that go into the skeleton."""
    plain: bool
    """Whether the RECORD of the wheel can be passed on as it is."""


def _record_path(path: str, site_packages: str) -> str:
    # pip wheel.py, _fs_to_record_path
    drive = os.path.splitdrive(site_packages)[0].lower()
    if os.path.splitdrive(path)[0].lower() == drive:  # pragma: no branch  # Windows
        path = os.path.relpath(path, site_packages)
    return path.replace(os.path.sep, "/")


def lay_out(entry: Entry, scheme: Mapping[str, str]) -> Layout:
    """Decide where each file of a wheel goes.

    :param entry: the wheel
    :param scheme: directories by key (purelib, platlib, headers, scripts, data)
    :raises WheelDeclinedError: if two files have one destination, or pip would refuse
    """
    site_packages = scheme["purelib" if entry.purelib else "platlib"]
    linked, skeleton_files, moved = [], [], []
    for file in entry.files:
        data = data_scheme(file.path)
        if data is None:
            target_root, record = site_packages, file.path
            path = f"{site_packages}{os.sep}{record}"
        else:
            key, below = data
            if key not in scheme or not below:
                msg = f"{file.path!r} belongs to no scheme"
                raise WheelDeclinedError(msg)
            target_root = scheme[key]
            path = os.path.join(target_root, below)
            record = _record_path(path, site_packages)
            moved.append(path)
        if (data or file.path.startswith(entry.dist_info)) and is_installed_by_pip(
            file.path, entry.dist_info
        ):
            skeleton_files.append(file)
        else:
            linked.append(Target(file, path, record, target_root))
    layout = Layout(
        site_packages, tuple(linked), tuple(skeleton_files), entry.record_is_complete
    )
    if moved:
        _check_destinations(entry, layout, moved)
    return layout


def _check_destinations(entry: Entry, layout: Layout, moved: list[str]) -> None:
    """Decline a wheel if a ``.data`` file has the destination of another file."""
    roots = (
        os.path.join(layout.site_packages, file.path)
        for file in entry.files
        if data_scheme(file.path) is None
    )
    # A directory may have two names: lib64 is a link to lib in most environments.
    real = lru_cache(maxsize=None)(os.path.realpath)
    paths = [
        os.path.join(real(os.path.dirname(path)), os.path.basename(path))
        for path in map(os.path.normpath, (*roots, *moved))
    ]
    if len(set(paths)) < len(paths):
        msg = "two of its files have one destination"
        raise WheelDeclinedError(msg)
    if {target.record for target in layout.linked} & {
        file.path for file in layout.skeleton_files
    }:
        msg = "a file would take the place of its metadata"
        raise WheelDeclinedError(msg)


def bytecode_targets(
    layout: Layout, cache_tag: str | None = None
) -> Iterator[tuple[Target, str, str]]:
    """List where pip puts the ``.pyc`` of each linked ``.py``.

    :param cache_tag: of another interpreter than the running one, started plainly
    :returns: the source, the absolute path of its ``.pyc`` and its path in RECORD
    """
    suffix = os.path.basename(cache_from_source("x.py"))[1:]
    if cache_tag is not None:
        suffix = f".{cache_tag}.pyc"
    for target in layout.linked:
        if not target.record.endswith(".py"):
            continue
        if sys.pycache_prefix is not None and cache_tag is None:
            # It mirrors the path as pip joins it, unresolved.
            path = cache_from_source(os.path.join(layout.site_packages, target.record))
            yield target, path, _record_path(path, layout.site_packages)
            continue
        # The same by plain strings: with tens of thousands of files it shows.
        parent, slash, name = target.record.rpartition("/")
        name = f"{name[:-3] or 'py'}{suffix}"
        record = f"{parent}{slash}__pycache__/{name}"
        if target.record is target.file.path:
            yield target, f"{layout.site_packages}{os.sep}{record}", record
        else:
            directory = os.path.dirname(target.path)
            yield target, os.path.join(directory, "__pycache__", name), record
