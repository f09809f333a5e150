"""Find the entry that has most of an installed distribution."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.layout import lay_out
from pip_linkmode.errors import EntryDamagedError, WheelDeclinedError
from pip_linkmode.relink.survey import candidates
from pip_linkmode.store.layout import FILES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pip_linkmode.environments.layout import Layout
    from pip_linkmode.relink.survey import Digests, InstalledDistribution
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store

_ENOUGH = 0.9
"""The part of a distribution's bytes that an entry must have to be worth a link."""


@dataclass(frozen=True)
class Match:
    """An entry to which a distribution is linked, and where its files go."""

    store: Store
    entry: Entry
    layout: Layout

    @classmethod
    def of(cls, member: InstalledDistribution, store: Store, entry: Entry) -> Match:
        """Lay an entry out in the environment of a distribution.

        :raises WheelDeclinedError: if two files have one destination
        """
        scheme = member.environment.scheme(member.name)
        return cls(store, entry, lay_out(entry, scheme))

    def common_bytes(self, member: InstalledDistribution) -> int:
        """Return the size of the files that entry and distribution have alike."""
        return sum(
            target.file.size
            for target in self.layout.linked
            if (file := member.files.get(target.path))
            and file.sha256 == target.file.sha256
            and file.mode == target.file.mode
        )


class Matcher:
    """The entries of some stores, by name of the dist-info directory."""

    def __init__(self, digests: Digests) -> None:
        """Begin without entries."""
        self._digests = digests
        self._entries: dict[str, list[tuple[Store, Entry]]] = defaultdict(list)

    def index(self, stores: Iterable[Store], dist_infos: Collection[str]) -> None:
        """Read the entries of distributions.

        :param dist_infos: names of dist-info directories
        """
        for store in stores:
            for path in store.entries():
                with contextlib.suppress(EntryDamagedError, OSError):
                    # Of ten thousand manifests few have to be read.
                    names = os.listdir(os.path.join(path, FILES))
                    if not set(names).isdisjoint(dist_infos):
                        entry = store.entry(os.path.basename(path))
                        if entry is not None:  # pragma: no branch  # just pruned
                            self.add(store, entry)

    def add(self, store: Store, entry: Entry) -> None:
        """Add an entry."""
        if (store, entry) not in self._entries[entry.dist_info]:
            self._entries[entry.dist_info].append((store, entry))

    def remove(self, match: Match) -> None:
        """Remove an entry that is gone."""
        self._entries[match.entry.dist_info].remove((match.store, match.entry))

    def others(self, store: Store, sha256s: Collection[str]) -> set[str]:
        """Return the other entries of the distributions of some entries.

        :param sha256s: of entries of the store
        """
        found = set()
        for entries in self._entries.values():
            here = {entry.sha256 for one, entry in entries if one == store}
            if not here.isdisjoint(sha256s):
                found |= here.difference(sha256s)
        return found

    def find(
        self, member: InstalledDistribution, members: Sequence[InstalledDistribution]
    ) -> Match | None:
        """Return the entry that has most of a distribution, if it has enough of it.

        The entry of a wheel is preferred: the next installation uses it, too.

        :param members: the same distribution in all environments
        """
        found = [
            (match.common_bytes(member), bool(match.entry.wheel), match)
            for match in self._matches(member)
        ]
        for common, _, match in sorted(found, key=lambda f: f[:2], reverse=True):
            if common and (
                common >= _ENOUGH * member.bytes
                or self._has_all(match.entry, donors(member, members, match.store))
            ):
                with contextlib.suppress(EntryDamagedError):
                    match.entry.check()
                    return match
        return None

    def _matches(self, member: InstalledDistribution) -> Iterator[Match]:
        for store, entry in self._entries[member.distribution.dist_info]:
            if store in member.environment.stores:
                with contextlib.suppress(WheelDeclinedError):
                    yield Match.of(member, store, entry)

    def _has_all(self, entry: Entry, members: Iterable[InstalledDistribution]) -> bool:
        """Return whether an entry contains every unmodified file of a distribution."""
        stored = {(file.path, file.sha256, file.mode) for file in entry.files}
        seen = set()
        for environment, path, file in candidates(members):
            if (file.path, file.sha256, file.mode) in stored:
                seen.add(file.path)
            elif file.path not in seen and self._digests.is_intact(
                environment, path, file.sha256 or ""
            ):
                return False
        return True


def donors(
    member: InstalledDistribution,
    members: Iterable[InstalledDistribution],
    store: Store,
) -> list[InstalledDistribution]:
    """Return the distributions of which an entry of a store may be made.

    :param member: the first of them
    :param members: the same distribution in all environments
    """
    others = (one for one in members if one is not member)
    return [member, *(one for one in others if store in one.environment.stores)]
