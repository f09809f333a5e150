"""Remove unused entries from a store while other processes install from it.

No lock is needed: entries are first moved aside, by one rename each.  Then the
environments are looked at a second time.  An environment with links made before the
rename is seen now, and the entry is moved back; an installation that links after it
checks once more, finds the entry gone and unpacks the wheel again
(:mod:`pip_linkmode.install.linking`).
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.environments.registry import states
from pip_linkmode.environments.users import entries_of_symlinks, users
from pip_linkmode.errors import PruneRefusedError, RecordInvalidError, describe_error
from pip_linkmode.maintenance.inventory import items, name_and_version
from pip_linkmode.maintenance.ledger import Ledger, measure
from pip_linkmode.store.layout import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pip_linkmode.environments.users import User
    from pip_linkmode.link.filesystems import Sharing
    from pip_linkmode.maintenance.inventory import Item
    from pip_linkmode.maintenance.ledger import Space
    from pip_linkmode.store.store import Store


_MONTH = 30 * 24 * 60 * 60


@dataclass(frozen=True)
class PruneOptions:
    """The entries to remove; by default, those that no environment uses."""

    older_than: float | None = None
    """Seconds; only entries that were not used for this long."""
    max_size: int | None = None
    """Bytes; whatever was used longest ago, until the store fits."""
    everything: bool = False
    force: bool = False
    """With *everything*: also entries to which symlinks lead."""
    dry_run: bool = False
    without: frozenset[str] = frozenset()
    """Site-packages directories that are forgotten; in a dry run they still are not."""
    respect: tuple[str, ...] = ()
    """Site-packages directories whose symlinks are respected, registered or not."""


@dataclass(frozen=True)
class Removed:
    """An entry that has gone, or would go."""

    sha256: str
    name: str
    version: str
    allocated: int
    """Bytes that it takes on the disk."""
    freed: int
    """Bytes of these that were freed: no other file shares them."""
    last_used: float
    """Seconds since the epoch."""


@dataclass
class Pruned:
    """The result of pruning a store."""

    store: str
    removed: list[Removed] = field(default_factory=list)
    restored: int = 0
    """Entries that an environment began to use during the clean-up."""
    released: list[str] = field(default_factory=list)
    """Environments that are gone."""
    unreachable: list[User] = field(default_factory=list)
    """Environments that cannot be looked at, and keep their entries."""
    blockers: list[User] = field(default_factory=list)
    """Environments without which the store would fit."""
    size: int | None = None
    """Bytes of the store afterwards, if it was measured."""

    held: int = 0
    """Entries to remove for the size although other files keep them on the disk."""
    spare: int = 0
    """How often bytecode for entries of read-only stores was removed."""
    freed: int = 0
    """Bytes that have come back."""


def prune(
    store: Store,
    wanted: PruneOptions,
    on_progress: Callable[[str, float], object] = lambda *_: None,
) -> Pruned:
    """Remove entries.

    :param on_progress: called with the part in work, and the share that is done
    :raises PruneRefusedError: if the store is read-only, or everything is to go and
        environments depend on it
    :raises OSError: if the store cannot be changed
    """
    if not store.writable and not wanted.dry_run:
        msg = f"the store {store.root} is read-only"
        raise PruneRefusedError(msg)
    respected = _respected(store, wanted)
    known = users(store, on_progress, refresh=not wanted.dry_run)
    if wanted.dry_run:
        known = [u for u in known if u.registration.site_packages not in wanted.without]
    result = Pruned(store.root)
    result.unreachable = [one for one in known if one.state not in ("present", "gone")]
    sharing: dict[int, Sharing] = {}
    victims = _choose(store, wanted, known, respected, result, sharing, on_progress)
    if wanted.dry_run:
        ledger = Ledger(known=sharing)
        accounts = ledger.add_all([item.path for item in victims], on_progress)
        spare = _detached_bytecode(store, wanted)
        for path in spare:
            ledger.add(path)
        ledger.settle()
        result.spare = len(spare)
        result.removed = [
            _removed(item, item.path, account.logical, account.frees)
            for item, account in zip(victims, accounts, strict=True)
        ]
        result.freed = ledger.allocated - ledger.held
        result.released = _gone(known)
        return result
    _remove(store, wanted, victims, respected, result, sharing, on_progress)
    for path in _detached_bytecode(store, wanted):
        space = measure([path], sharing)
        try:
            store.delete(path)
        except PermissionError:  # another member of the group has to
            continue
        result.freed += space.frees
        result.spare += 1
    gone = [user.registration for user in known if user.state == "gone"]
    for registration, state in zip(gone, states(gone), strict=True):
        if state == "gone":
            registration.release()
            result.released.append(registration.site_packages)
    return result


def _respected(store: Store, wanted: PruneOptions) -> set[str]:
    """Return the entries to which symlinks of the named environments lead.

    :raises PruneRefusedError: if an environment cannot be looked at
    """
    found: set[str] = set()
    for site_packages in wanted.respect:
        try:
            found |= entries_of_symlinks(store.root, site_packages)
        except (OSError, RecordInvalidError) as error:
            msg = f"cannot read {site_packages}: {describe_error(error)}"
            raise PruneRefusedError(msg) from error
    return found


def _gone(known: Sequence[User]) -> list[str]:
    return [one.registration.site_packages for one in known if one.state == "gone"]


def _choose(
    store: Store,
    wanted: PruneOptions,
    known: Sequence[User],
    respected: set[str],
    result: Pruned,
    sharing: dict[int, Sharing],
    on_progress: Callable[[str, float], object],
) -> list[Item]:
    """Return the entries to remove."""
    present = items(store)
    keep = _retained(wanted, known) | respected
    if wanted.everything:
        blockers = [
            user for user in known if user.depends & {i.sha256 for i in present}
        ]
        if blockers and not wanted.force:
            names = ", ".join(user.path for user in blockers)
            msg = (
                f"{names} cannot do without the store {store.root}: "
                "symlinks lead there; materialize first, or --force"
            )
            raise PruneRefusedError(msg)
        return present
    oldest = time.time() - (wanted.older_than or 0)
    victims = [item for item in present if item.sha256 not in keep]
    if wanted.older_than is not None:
        victims = [item for item in victims if item.last_used < oldest]
    if wanted.max_size is None:
        return victims
    spaces: dict[str, Space] = {}
    for item in present:
        on_progress(item.sha256[:12], len(spaces) / len(present))
        spaces[item.sha256] = measure([item.path], sharing)
    excess = sum(space.allocated for space in spaces.values()) - wanted.max_size
    chosen = []
    # Deleting a file that an environment hardlinks frees nothing.
    for item in sorted(victims, key=lambda one: spaces[one.sha256].is_held):
        if excess <= 0:
            break
        chosen.append(item)
        excess -= spaces[item.sha256].allocated
        result.held += spaces[item.sha256].is_held
    if excess > 0:
        left = {item.sha256 for item in present} - {item.sha256 for item in chosen}
        result.blockers = [user for user in known if user.depends & left]
    result.size = wanted.max_size + excess
    return chosen


def _retained(wanted: PruneOptions, known: Sequence[User]) -> set[str]:
    """Return the digests of entries that must stay."""
    if wanted.everything and wanted.force:
        return set()
    if wanted.everything or wanted.max_size is not None:
        # Hard links and clones do not need the store.
        return {sha256 for user in known for sha256 in user.depends}
    return {sha256 for user in known for sha256 in user.uses}


def _detached_bytecode(store: Store, wanted: PruneOptions) -> list[str]:
    """Return bytecode for entries of other stores that was not used recently.

    Nothing needs it: it is never behind a symlink.
    """
    age: float = _MONTH if wanted.older_than is None else wanted.older_than
    if wanted.everything or wanted.max_size is not None:
        age = 0
    found = []
    for path in store.detached_bytecode():
        with contextlib.suppress(OSError):  # another clean-up was faster
            if os.lstat(os.path.join(path, MANIFEST)).st_mtime <= time.time() - age:
                found.append(path)
    return found


def _removed(item: Item, path: str, allocated: int, freed: int) -> Removed:
    """Describe an entry that is at a path now."""
    name, version = name_and_version(path)
    return Removed(item.sha256, name, version, allocated, freed, item.last_used)


def _remove(
    store: Store,
    wanted: PruneOptions,
    victims: Sequence[Item],
    respected: set[str],
    result: Pruned,
    sharing: dict[int, Sharing],
    on_progress: Callable[[str, float], object],
) -> None:
    if not victims:
        return
    with store.staging() as staged:
        going: list[tuple[str, Item]] = []
        try:
            for item in victims:
                away = store.take_away(item.sha256, staged)
                if away is not None:
                    going.append((away, item))
            keep = _retained(wanted, users(store, on_progress, refresh=True))
            keep |= respected | _respected(store, wanted)
        except BaseException:
            for away, _ in going:
                store.bring_back(away)
            raise
        # Entries in use are moved back before anything slow is done.
        for away, item in going:
            if item.sha256 in keep:
                store.bring_back(away)
                result.restored += 1
        for away, item in going:
            if item.sha256 in keep:
                continue
            # Measured now: an entry that was removed before no longer shares extents.
            space = measure([away], sharing)
            removed = _removed(item, away, space.allocated, space.frees)
            on_progress(removed.name, len(result.removed) / len(going))
            store.delete(away)
            result.removed.append(removed)
            result.freed += space.frees


def release(store: Store, environment: str, *, dry_run: bool = False) -> list[str]:
    """Forget environments that are not there, and with them the entries that they use.

    :param environment: absolute path of the environment, as it was, or the name of its
        registration
    :param dry_run: only return which
    :returns: the site-packages directories that were forgotten, or names of
        registrations
    :raises PruneRefusedError: if the environment is there
    :raises OSError: if the store cannot be changed
    """
    below = os.path.join(environment, "")
    found = [
        user
        for user in users(store)
        if f"{user.registration.site_packages}{os.sep}".startswith(below)
        or user.registration.name == os.path.basename(environment)
    ]
    for user in found:
        if user.state == "present":
            msg = (
                f"{user.path} is there, and uses the store {store.root}. To make its "
                f"files private, run: pip-linkmode materialize {user.path}"
            )
            raise PruneRefusedError(msg)
    for user in found:
        if not dry_run:
            user.registration.release()
    return [user.registration.site_packages or user.registration.name for user in found]
