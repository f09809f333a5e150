"""Symlinks that lead into a store."""

from __future__ import annotations

import os
import re

from pip_linkmode.store.layout import LAYOUT

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


def entry_behind(link: str) -> tuple[str, str] | None:
    """Return the store and the entry to which a symlink leads, if it does.

    By its text, as we write it: what is asked of every link must cost little.

    :param link: absolute path of the symlink
    :returns: absolute path of the store, and sha256 of the entry
    """
    leads_to = os.readlink(link)
    if os.pardir in leads_to or not os.path.isabs(leads_to):
        leads_to = os.path.realpath(link)  # somebody else has made it so
    match = _INSIDE.search(leads_to)
    return match and (leads_to[: match.start()], match.group(1))


def is_stored(path: str) -> bool:
    """Tell whether a path is of a file in an entry, by what is in the path alone.

    :param path: with all links followed (:func:`os.path.realpath`)
    """
    return _INSIDE.search(path) is not None


def _is_same(path: str, store: str) -> bool:
    try:
        return os.path.samefile(path, store)
    except OSError:
        return False
