"""Describe the entries of a store."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST

if TYPE_CHECKING:
    from pip_linkmode.store.store import Store


_TAGS = 3
_PARTS = 5
"""Of a wheel's file name, without a build tag."""


@dataclass(frozen=True)
class Item:
    """One entry; all of it may be gone by the time that one asks."""

    sha256: str
    path: str
    """Absolute path."""
    last_used: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Description:
    """The wheel that an entry was made of."""

    name: str
    version: str
    wheel: str
    """File name; empty if the manifest is damaged."""
    interpreters: tuple[str, ...]
    """For which there is bytecode."""

    @property
    def tags(self) -> str:
        """The compatibility tags of the wheel, as in its name."""
        parts = self.wheel.removesuffix(".whl").split("-")
        return "-".join(parts[-_TAGS:]) if len(parts) >= _PARTS else ""


def items(store: Store) -> list[Item]:
    """List the entries of a store, the least recently used first."""
    found = []
    for path in store.entries():
        try:
            used = os.lstat(os.path.join(path, MANIFEST)).st_mtime
        except OSError:
            used = 0.0  # the left-over of an entry
        found.append(Item(os.path.basename(path), path, used))
    return sorted(found, key=lambda item: item.last_used)


def describe(store: Store, item: Item) -> Description:
    """Describe an entry, by its files if its manifest cannot be read."""
    interpreters: tuple[str, ...] = ()
    with contextlib.suppress(OSError):  # it has no sources, or was never compiled
        interpreters = tuple(sorted(os.listdir(os.path.join(item.path, BYTECODE))))
    try:
        entry = store.entry(item.sha256)
    except (EntryDamagedError, OSError):
        entry = None
    if entry is not None:
        return Description(entry.name, entry.version, entry.wheel, interpreters)
    name, version = name_and_version(item.path)
    return Description(name, version, "", interpreters)


def name_and_version(path: str) -> tuple[str, str]:
    """Return the name and version of an entry, without its manifest, which is long.

    :param path: absolute path of the entry, wherever it is now
    """
    try:
        (one, *_) = distributions(os.path.join(path, FILES))
    except (OSError, ValueError):
        return f"sha256:{os.path.basename(path)[:12]}", ""
    return one.name, one.version
