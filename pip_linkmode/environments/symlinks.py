"""Symlinks that lead into a store."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter
from typing import TYPE_CHECKING

from pip_linkmode.store.layout import LAYOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

_INSIDE = re.compile(rf"[/\\]{LAYOUT}[/\\]wheels[/\\]..[/\\]([0-9a-f]{{64}})[/\\]")


def entries_behind_symlinks(
    store: str, directory: str, *, deep: bool = True
) -> set[str]:
    """Return the entries to which symlinks lead, anywhere below a directory.

    :param store: absolute path of the store, by any of its names
    :param directory: absolute path
    :param deep: look into the directories there as well
    :returns: by sha256
    :raises OSError: if a directory cannot be read: then nothing is known
    """
    found = set()
    is_here: dict[str, bool] = {store: True}
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    inside = entry_behind(entry.path)
                    if inside is None:
                        continue
                    root, sha256 = inside
                    if root not in is_here:
                        is_here[root] = _is_same(root, store)
                    if is_here[root]:
                        found.add(sha256)
                elif deep and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


def sample_symlinks(site_packages: str) -> Iterator[str]:
    """Yield one symlink of each package that has one, by a look at one file of each.

    The file is the package's ``__init__.py``, unless that is empty, and therefore not
    shared; else it is the first symlink in the package's directory.  This runs before
    each ``pip install`` and must cost milliseconds.

    :param site_packages: absolute path of a site-packages directory
    :returns: absolute paths of symlinks
    :raises OSError: if the directory cannot be read
    """
    with os.scandir(site_packages) as packages:
        for package in packages:
            # The bytecode of modules may be all that has symlinks.
            if package.name.endswith((".dist-info", ".egg-info")):
                continue
            with contextlib.suppress(OSError):
                if not package.is_dir(follow_symlinks=False):
                    continue
                path = _sample(package.path)
                if path is not None:
                    yield path


def _sample(package: str) -> str | None:
    """Return a symlink of a package: see :func:`sample_symlinks`."""
    path = os.path.join(package, "__init__.py")
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return path
        if status.st_size:
            return None
    with os.scandir(package) as files:
        return next((one.path for one in files if one.is_symlink()), None)


def dangling(site_packages: str) -> dict[str, int]:
    """Count the packages whose symlinks lead into a store and to nothing, by store.

    :param site_packages: absolute path of a site-packages directory
    :returns: by absolute path of the store; empty if the directory cannot be read
    """
    found: set[tuple[str, str]] = set()
    with contextlib.suppress(OSError):
        for link in sample_symlinks(site_packages):
            inside = None if os.path.exists(link) else entry_behind(link)
            if inside is not None:
                found.add(inside)
    return dict(Counter(store for store, _ in found))


def entry_behind(link: str) -> tuple[str, str] | None:
    """Return the store and the entry to which a symlink leads, if it does.

    The text of the link decides: a look at the target would be slow for many links.

    :param link: absolute path of the symlink
    :returns: absolute path of the store, and sha256 of the entry
    """
    leads_to = os.readlink(link)
    if os.pardir in leads_to or not os.path.isabs(leads_to):
        leads_to = os.path.realpath(link)  # not made by pip-linkmode
    match = _INSIDE.search(leads_to)
    return match and (leads_to[: match.start()], match.group(1))


def is_stored(path: str) -> bool:
    """Return whether a path is inside an entry, judged by the path alone.

    :param path: with all links followed (:func:`os.path.realpath`)
    """
    return _INSIDE.search(path) is not None


def _is_same(path: str, store: str) -> bool:
    try:
        return os.path.samefile(path, store)
    except OSError:
        return False
