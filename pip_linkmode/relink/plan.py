"""Plan for each file of an installed distribution whether it becomes a link.

Nothing is written.  A file is shared only if it has the very bytes of the store's file.
A linked ``.py`` has the store's mtime, so its ``.pyc`` must be the store's, too: it is
replaced first.  While one of the two is still the old file, the pair does not match,
and Python compiles the source.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.files import open_regular
from pip_linkmode.link.attributes import preserved_xattrs
from pip_linkmode.link.filesystems import extents
from pip_linkmode.link.linker import CHAINS
from pip_linkmode.link.placement import Place, by_chain, is_state
from pip_linkmode.link.primitives import Link
from pip_linkmode.relink.actions import (
    Edited,
    Keep,
    Share,
    Shared,
    reason_to_keep,
)
from pip_linkmode.relink.survey import is_bytecode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pip_linkmode.environments.layout import Target
    from pip_linkmode.link.linker import Linker
    from pip_linkmode.relink.actions import Action
    from pip_linkmode.relink.match import Match
    from pip_linkmode.relink.survey import (
        Digests,
        InstalledDistribution,
        SharableFile,
    )
    from pip_linkmode.store.paths import StoredFile


@dataclass
class Planner:
    """Plans for one run."""

    mode: str
    """A key of :data:`pip_linkmode.link.linker.CHAINS`."""
    linker: Linker
    digests: Digests

    def plan(
        self,
        member: InstalledDistribution,
        match: Match,
        pycs: Mapping[str, Link | str],
        owner: tuple[int, int],
    ) -> list[Action]:
        """Plan an action for each file of a distribution.

        :param match: the entry to share with
        :param pycs: see :func:`pip_linkmode.relink.bytecode.bytecode_links`
        :param owner: user and group of the entry
        """
        sources = list(_sources(member, match))
        places = []
        for target, _, link in sources:
            places.append(Place(target.target_root, link, target.file.path))
            pyc = pycs.get(target.path)
            if isinstance(pyc, Link):
                places.append(Place(target.target_root, pyc, f"{target.file.path}c"))
        groups = by_chain(
            places,
            project=member.name,
            site_packages=member.environment.site_packages,
            mode=self.mode,
            linker=self.linker,
        )
        chains = {link.target: key for key, links in groups.items() for link in links}
        one = _DistributionPlan(self, member, match, chains, owner)
        actions: list[Action] = []
        for target, file, link in sources:
            with contextlib.suppress(FileNotFoundError):
                actions += one.source(target.file, file, link, pycs.get(target.path))
        linked = {target.path for target in match.layout.linked}
        return [*actions, *self.leave(member, linked)]

    def leave(
        self, member: InstalledDistribution, linked: Iterable[str] = ()
    ) -> Iterator[Action]:
        """Yield the actions for files that an entry does not have.

        :param linked: absolute paths of the files that it has
        """
        linked = set(linked)
        for path, file in member.files.items():
            if path in linked or not file.sha256 or not file.size:
                continue
            try:
                irregular = _irregular(os.lstat(path))
                is_same = (
                    irregular is None
                    and self.digests.of(member.environment, path) == file.sha256
                )
            except FileNotFoundError:
                continue
            except OSError as error:
                yield _unreadable(path, error)
                continue
            if irregular is not None:
                yield Keep(path, irregular)
            else:
                reason = "are not in the store"
                yield Keep(path, reason) if is_same else Edited(path)


@dataclass(frozen=True)
class _DistributionPlan:
    """The plan for one distribution in one environment."""

    planner: Planner
    member: InstalledDistribution
    match: Match
    chains: Mapping[str, tuple[str, str]]
    """Chain and target root, by target."""
    owner: tuple[int, int]

    def source(
        self, stored: StoredFile, file: SharableFile, link: Link, pyc: Link | str | None
    ) -> list[Action]:
        """Plan one file, and its bytecode.

        :param pyc: the link that replaces the bytecode, or the reason to keep both
        """
        old = os.lstat(link.target)
        if self._is_shared(link, old):
            actions: list[Action] = [Shared(link.target)] if link.size else []
            # A clone may have the time of its installation, and bytecode that fits.
            has_time = os.stat(link.target).st_mtime_ns == link.mtime_ns
            if isinstance(pyc, Link) and has_time:
                actions += filter(None, [self._bytecode(pyc)])
            return actions
        problem = self._difference(stored, file, link, old)
        if problem is not None:
            return [problem]
        if isinstance(pyc, str):
            return [Keep(link.target, pyc)]
        bytecode = self._bytecode(pyc) if pyc is not None else None
        if isinstance(bytecode, Keep):
            return [bytecode]
        if not link.size and pyc is None:
            return []
        action = self._share(link, old)
        shared = [bytecode] if isinstance(bytecode, Shared) else []
        if isinstance(action, Share) and isinstance(bytecode, Share):
            action = action._replace(bytecode=bytecode)
        return [action, *shared]

    def _bytecode(self, pyc: Link) -> Share | Shared | Keep | None:
        with contextlib.suppress(FileNotFoundError):
            old = os.lstat(pyc.target)
            is_shared = self._is_shared(pyc, old)
            return Shared(pyc.target) if is_shared else self._share(pyc, old)
        return None

    def _is_shared(self, link: Link, old: os.stat_result) -> bool:
        """Return whether a file is shared already, by a primitive of its chain."""
        chain, _ = self.chains[link.target]
        if stat.S_ISLNK(old.st_mode):
            is_ours = os.readlink(link.target) == link.source
            return is_ours and (chain == "auto" or "symlink" in CHAINS[chain])
        try:
            source = os.lstat(link.source)
        except FileNotFoundError:  # the entry is only proposed
            return False
        if os.path.samestat(old, source):
            wants_clone = chain in ("clone", "no_shared_inode")
            return not (wants_clone and self._works("clone"))
        if not stat.S_ISREG(old.st_mode) or old.st_size != link.size:
            return False
        if not link.size:  # it is shared with no file, but its bytecode may be
            return old.st_mtime_ns == link.mtime_ns
        return self._is_clone(link)

    def _is_clone(self, link: Link) -> bool:
        """Return whether two files of one size have the same extents.

        A small file of btrfs has none: it is in the metadata, and a clone is a copy.
        """
        ours, theirs = extents(link.target), extents(link.source)
        if not ours or ours != theirs:
            return False
        if all(extent.start is not None for extent in ours):
            return True
        with (
            self.member.environment.open(link.target) as one,
            open_regular(link.source, follow=False) as other,
        ):
            return one.read() == other.read()

    def _difference(
        self, stored: StoredFile, file: SharableFile, link: Link, old: os.stat_result
    ) -> Keep | Edited | None:
        """Return why a file may not be replaced; ``None`` if it has the same bytes."""
        path = link.target
        if stat.S_ISLNK(old.st_mode) and os.readlink(path) == link.source:
            return None
        irregular = _irregular(old)
        if irregular:
            return Keep(path, irregular)
        if preserved_xattrs(path):
            return Keep(path, "have extended attributes, which a link would not have")
        try:
            digests, environment = self.planner.digests, self.member.environment
            digest = digests.of(environment, path) if old.st_size == stored.size else ""
        except FileNotFoundError:
            raise
        except OSError as error:
            return _unreadable(path, error)
        if digest == stored.sha256:
            return None
        is_edited = file.sha256 == stored.sha256
        other = Keep(path, "are others than those in the store")
        return Edited(path) if is_edited else other

    def _share(self, link: Link, old: os.stat_result) -> Share | Keep:
        chain, target_root = self.chains[link.target]
        if not os.access(os.path.dirname(link.target), os.W_OK | os.X_OK):
            # The linker would take this error for one of the whole file system.
            reason = f"cannot be replaced: {os.strerror(errno.EACCES)}"
            return Keep(link.target, reason, is_error=True)
        if not link.size:
            return Share(link, "copy", target_root, "empty", old)
        if self.owner != (old.st_uid, old.st_gid):
            chain = "no_shared_inode"  # a hard link would have another owner
        for primitive in self.planner.linker.chain(chain, link):
            if primitive != "copy" and self._works(primitive):
                return Share(link, chain, target_root, primitive, old)
        file = self.member.files.get(link.target)
        if file is not None and is_state(file.path):
            return Keep(link.target, "are configuration, which is not shared")
        ways = self.member.environment.ways[self.match.store.root]
        errors = (ways.get(primitive) for primitive in CHAINS[chain])
        return Keep(link.target, reason_to_keep(link, chain, errors))

    def _works(self, primitive: str) -> bool:
        ways = self.member.environment.ways[self.match.store.root]
        return ways.get(primitive, "") is None


def _sources(
    member: InstalledDistribution, match: Match
) -> Iterator[tuple[Target, SharableFile, Link]]:
    """Yield the files that entry and distribution have in common, with a link."""
    entry = match.entry
    for target in match.layout.linked:
        path, size, _, mode = target.file
        file = member.files.get(target.path)
        # Empty files are never shared, but their bytecode is.
        if file and (size or path.endswith(".py")) and not is_bytecode(path):
            mtime_ns = entry.mtime * 10**9
            source = entry.source(path)
            link = Link(source, target.path, size, mtime_ns, mode, file.mode)
            yield target, file, link


def _irregular(status: os.stat_result) -> str | None:
    """Return the reason why a file of another kind is kept."""
    if stat.S_ISLNK(status.st_mode):
        return "are links to somewhere else"
    if not stat.S_ISREG(status.st_mode):
        return "are not regular files"
    return None


def _unreadable(path: str, error: OSError) -> Keep:
    return Keep(path, f"cannot be read: {error.strerror or error}", is_error=True)
