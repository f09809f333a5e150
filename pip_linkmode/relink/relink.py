"""Turn existing environments into links, whichever program installed them.

Each distribution goes through the same steps: find the entry that has its files, or
adopt the files into a new one; plan an action for each file; apply the plan.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.users import forget_symlinks, forget_uses
from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    EnvironmentBusyError,
    RecordInvalidError,
    describe_error,
)
from pip_linkmode.files import file_system
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.primitives import PRIMITIVES
from pip_linkmode.link.replace import refuse_copy
from pip_linkmode.relink.actions import FOREIGN, account
from pip_linkmode.relink.adopt import propose
from pip_linkmode.relink.apply import Applier
from pip_linkmode.relink.bytecode import bytecode_links, installed_bytecode
from pip_linkmode.relink.forecast import Forecast
from pip_linkmode.relink.match import Match, Matcher, donors
from pip_linkmode.relink.plan import Planner
from pip_linkmode.relink.report import Relinked, RelinkReport
from pip_linkmode.relink.survey import Digests, RelinkedEnvironment, survey, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pip_linkmode.relink.survey import InstalledDistribution, RecordedFiles
    from pip_linkmode.store.store import Store

_ATTEMPTS = 3


class Relinking:
    """One run over some environments."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        mode: str = "auto",
        exclude: Collection[str] = (),
        dry_run: bool = False,
    ) -> None:
        """Read nothing yet.

        :param stores: in the order of look-up
        :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
        :param exclude: projects to leave alone
        :param dry_run: plan, and write nothing
        """
        self._stores = stores
        self._mode = mode
        self._exclude = {canonicalize_name(name) for name in exclude}
        self._dry_run = dry_run
        self._environments: list[RelinkedEnvironment] = []
        self._groups: dict[tuple[str, RecordedFiles], list[InstalledDistribution]] = (
            defaultdict(list)
        )
        """Distributions with equal RECORD, which may share one entry."""
        self.report = RelinkReport([], dry_run=dry_run)
        linker = Linker(primitives={**PRIMITIVES, "copy": refuse_copy})
        self._digests = Digests()
        self._matcher = Matcher(self._digests)
        self._planner = Planner(mode, linker, self._digests)
        self._hands = (
            Forecast(self.report) if dry_run else Applier(linker, mode, self.report)
        )

    def survey(self, all_site_packages: Sequence[str]) -> None:
        """List the installed distributions.

        :param all_site_packages: absolute paths of site-packages directories
        """
        for site_packages in dict.fromkeys(all_site_packages):
            report = Relinked(site_packages)
            environment = RelinkedEnvironment(site_packages, report)
            self._environments.append(environment)
            self.report.environments.append(report)
            for member in survey(environment, self._exclude, self._digests):
                if member.bytes:
                    key = (member.distribution.dist_info, member.recorded_files())
                    self._groups[key].append(member)

    def run(
        self, on_progress: Callable[[str, float], object] = lambda *_: None
    ) -> RelinkReport:
        """Relink the environments that were surveyed.

        :param on_progress: called with each package, and the share that is done
        """
        with contextlib.ExitStack() as stack:
            for environment in self._environments:
                self._enter(environment, stack)
            self._matcher.index(self._stores, {name for name, _ in self._groups})
            stack.callback(self._hands.finish)
            groups = self._groups.values()
            done, everything = 0, sum(m.bytes for group in groups for m in group)
            for members in groups:
                for member in members:
                    on_progress(member.distribution.name, done / everything)
                    if member.environment.stores:
                        self._relink_distribution(member, members)
                    done += member.bytes
            for environment in self._environments:
                self._forget(environment)
        return self.report

    def _enter(
        self, environment: RelinkedEnvironment, stack: contextlib.ExitStack
    ) -> None:
        """Lock an environment, and find the stores from which it can be linked."""
        report, site_packages = environment.report, environment.site_packages
        if os.path.islink(site_packages):
            # A clean-up would not look behind it for entries in use.
            report.refused = f"{site_packages} is a link; name {environment.real}"
            return
        if not self._dry_run:
            try:
                stack.enter_context(environment.lock())
            except (EnvironmentBusyError, OSError) as error:
                report.refused = describe_error(error)
                return
            groups = self._groups.values()
            sweep(m for one in groups for m in one if m.environment is environment)
        self._find_stores(environment)

    def _find_stores(self, environment: RelinkedEnvironment) -> None:
        report, site_packages = environment.report, environment.site_packages
        report.refused = "there is no store to share with"
        chain = [name for name in CHAINS[self._mode] if name != "copy"]
        for store in self._stores:
            try:
                ways = self._hands.ways(store, site_packages)
            except OSError as error:
                report.refused = f"{site_packages}: {error.strerror}"
                continue
            if any(ways.get(name, "") is None for name in chain):
                environment.stores.append(store)
                environment.ways[store.root] = ways
            elif ways and chain:
                report.refused = (
                    f"no {chain[-1]} from {store.root} ({file_system(store.root)}) to "
                    f"{site_packages} ({file_system(site_packages)}): "
                    f"{ways[chain[-1]]}; set --link-store to a directory on the "
                    "file system of the environment"
                )
        if environment.stores:
            report.refused = None

    def _relink_distribution(
        self, member: InstalledDistribution, members: Sequence[InstalledDistribution]
    ) -> None:
        """Share the files of one distribution in one environment."""
        report = member.report
        try:
            for _ in range(_ATTEMPTS):
                match = self._matcher.find(member, members)
                match = match or self._adopt(member, members)
                if match is None:
                    return
                with self._hands.registered(member, match) as is_there:
                    if is_there:
                        self._share(member, match)
                        return
                self._matcher.remove(match)
        except EntryGoneError:
            reason = "were to be linked to an entry that another process removed"
            report.skip(reason, len(member.files))
        except (EntryDamagedError, OSError) as error:
            reason = f"cannot be shared: {describe_error(error)}"
            report.fail(reason, len(member.files))

    def _adopt(
        self, member: InstalledDistribution, members: Sequence[InstalledDistribution]
    ) -> Match | None:
        """Make an entry of installed files, if there is a store for it.

        :param members: the same distribution in all environments
        """
        stores = member.environment.stores
        store = next((store for store in stores if store.writable), None)
        if store is None:
            return None
        if not _can_replace(member, store):
            member.report.skip(FOREIGN, len(member.files))
            return None
        givers = donors(member, members, store)
        proposal = propose(store, givers, self._digests)
        entry = self._hands.adopt(store, proposal) if proposal else None
        if entry is None:
            for action in self._planner.leave(member):
                account(member.report, action)
            return None
        self._matcher.add(store, entry)
        return Match.of(member, store, entry)

    def _share(self, member: InstalledDistribution, match: Match) -> None:
        """Plan the links of one distribution, and apply the plan."""
        found = installed_bytecode(member, match.layout)
        python = member.environment.interpreter
        compiled = (
            self._hands.compile(python, match, found) if found and python else None
        )
        pycs = bytecode_links(member, match.layout, found, compiled)
        owner = _owner(match.entry.path) or _new_owner()
        actions = self._planner.plan(member, match, pycs, owner)
        self._hands.apply(member, match, actions)

    def _forget(self, environment: RelinkedEnvironment) -> None:
        """Forget symlinks that were replaced, and entries that were left."""
        site_packages = environment.site_packages
        for store in environment.stores:
            linked = environment.linked[store.root]
            # A needless note keeps an entry, and does no other harm.
            with contextlib.suppress(OSError, RecordInvalidError):
                if linked and self._mode != "symlink":
                    forget_symlinks(store, site_packages, linked)
                left = self._matcher.others(store, linked)
                if left:
                    forget_uses(store, site_packages, left)


def _owner(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        return status.st_uid, status.st_gid
    return None


def _new_owner() -> tuple[int, int]:
    """Return the owner and group of new files."""
    return getattr(os, "geteuid", int)(), getattr(os, "getegid", int)()


def _can_replace(member: InstalledDistribution, store: Store) -> bool:
    """Return whether links to new files can replace any of the installed files."""
    if member.environment.ways[store.root].get("clone", "") is None:
        return True
    return any(_owner(path) == _new_owner() for path in member.files)
