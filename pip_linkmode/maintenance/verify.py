"""Compare stored files with their manifests, and installed files with RECORD.

A file that several environments share is one damage, however many names it has.
:mod:`pip_linkmode.maintenance.repair` repairs these damages.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import EntryDamagedError, RecordInvalidError
from pip_linkmode.maintenance.damage import Findings, InstalledFile, Key
from pip_linkmode.maintenance.inventory import name_and_version
from pip_linkmode.maintenance.verify_store import verify_entry
from pip_linkmode.store.layout import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from pip_linkmode.environments.distribution import Distribution, Row
    from pip_linkmode.maintenance.damage import Damage, Kind
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store


class Verification:
    """One verification of some stores and environments."""

    def __init__(
        self,
        stores: Sequence[Store],
        on_progress: Callable[[str, float], object] = lambda *_: None,
    ) -> None:
        """Prepare; :meth:`run` does the work.

        :param on_progress: called with each package, and the share that is done
        """
        self.stores = stores
        self._on_progress = on_progress
        self.findings = Findings()
        self.distributions: dict[Environment, list[Distribution]] = {}
        """By environment; the distribution that was installed last comes first."""
        self.asked: set[str] = set()
        """Names of the environments that were named."""
        self.kept: set[str] = set()
        """Names of the environments that keep their edits."""
        self.entries = self.installed = 0
        """How many entries, and installed distributions, were compared."""
        self._begun = 0
        self._names: dict[Environment, str] = {}
        self._rows: dict[Distribution, list[Row]] = {}
        self._linked: dict[Environment, list[tuple[Store, str]]] = defaultdict(list)
        """By environment, the entries that were linked there, by sha256."""

    def run(self, named: Sequence[str] = (), keep_edits: Sequence[str] = ()) -> None:
        """Read and compare.

        :param named: paths as for
            :meth:`pip_linkmode.environments.environment.Environment.find`: only
            these environments and their entries; all that are known if there are none
        :param keep_edits: environments that keep their edits when they are repaired
        :raises EnvironmentUnknownError: if one of these is not an environment
        """
        asked, kept = (
            [one for path in paths for one in Environment.find(path)]
            for paths in (named, keep_edits)
        )
        self._gather([*asked, *kept])
        self.asked = {self._names[one] for one in asked}
        self.kept = {self._names[one] for one in kept}
        used = {entry for one in asked for entry in self._linked[one]}
        entries = [
            (store, path)
            for store in self.stores
            for path in store.entries()
            if not named or (store, os.path.basename(path)) in used
        ]
        environments = list(dict.fromkeys(asked) or self.distributions)
        self.entries = len(entries)
        self.installed = sum(len(self.distributions[one]) for one in environments)
        for store, path in entries:
            self._begin(name_and_version(path)[0])
            verify_entry(store, os.path.basename(path), self.findings)
        for environment in environments:
            self._verify_installed(environment)
        self._find_sharers()

    def _begin(self, name: str) -> None:
        """Report the package that is compared next."""
        self._on_progress(name, self._begun / (self.entries + self.installed))
        self._begun += 1

    @property
    def damages(self) -> list[Damage]:
        """The damages, by path."""
        return sorted(self.findings.damages.values(), key=lambda damage: damage.path)

    @property
    def unread(self) -> dict[str, str]:
        """Reasons why files of environments could not be read, by path."""
        return self.findings.unread

    @property
    def notes(self) -> list[str]:
        """Harmless findings."""
        return self.findings.notes

    def name_of(self, environment: Environment) -> str:
        """Return the directory of an environment, by one name for all its paths."""
        return self._names[environment]

    # --- environments -----------------------------------------------------------------

    def _gather(self, named: Sequence[Environment]) -> None:
        """List the environments that were named, and those that stores know."""
        present = []
        for store in self.stores:
            for one in registrations(store.root):
                if not one.site_packages:
                    continue
                self._linked[one.environment] += [
                    (store, sha256) for sha256 in one.entries()
                ]
                if one.state() == "present":
                    present.append(one.environment)
        names: dict[str, str] = {}
        for environment in (*named, *present):
            if environment not in self.distributions:
                # One name for all libraries of an environment, and all paths to it.
                path = os.path.realpath(environment.path)
                self._names[environment] = names.setdefault(path, environment.path)
                self.distributions[environment] = self._list(environment)

    def _list(self, environment: Environment) -> list[Distribution]:
        try:
            found = distributions(environment.site_packages)
        except OSError as error:
            self.unread[environment.site_packages] = error.strerror or str(error)
            return []
        return sorted(found, key=_installed_at, reverse=True)

    def rows(self, environment: Environment, one: Distribution) -> list[Row]:
        """Return the rows of a RECORD, without those of files outside.

        The RECORD that pip writes for ``--target`` names the temporary directory.
        """
        if one not in self._rows:
            below = os.path.join(environment.prefix, "")
            self._rows[one] = []
            try:
                self._rows[one] = [
                    row for row in one.rows() if row.path.startswith(below)
                ]
            except RecordInvalidError as error:
                self.unread[one.record] = error.reason
            except OSError as error:
                self.unread[one.record] = error.strerror or str(error)
        return self._rows[one]

    # --- installed files --------------------------------------------------------------

    def _verify_installed(self, environment: Environment) -> None:
        installed = [
            (one, self.rows(environment, one))
            for one in self.distributions[environment]
        ]
        claims: dict[str, set[str | None]] = defaultdict(set)
        for _, rows in installed:
            for row in rows:
                claims[row.path].add(row.sha256)
        for one, rows in installed:
            self._begin(one.name)
            title = f"{one.name} {one.version}"
            for row in map(_without_hash_of_bytecode(claims), rows):
                kind, key = self._state_of(environment, one, row, claims[row.path])
                if kind is not None:
                    damage = self.findings.found(key, kind, title, row.sha256)
                    damage.sha256 = damage.sha256 or row.sha256
                    if kind == "foreign":
                        damage.owner = os.lstat(row.path).st_uid
                    self._add_name(environment, row, damage)

    def _add_name(self, environment: Environment, row: Row, damage: Damage) -> None:
        here = InstalledFile(self._names[environment], row.path, environment)
        if here not in damage.installed:
            damage.installed.append(here)

    def _state_of(
        self,
        environment: Environment,
        one: Distribution,
        row: Row,
        claims: Collection[str | None],
    ) -> tuple[Kind | None, Key | str]:
        """Judge a file; return its kind of damage, and the key of the file.

        :param claims: the digests that its distributions claim: the last one has won
        """
        try:
            status = os.stat(row.path)
        except OSError:
            if os.path.islink(row.path):
                return "dangling", row.path
            # Bytecode may go and come.
            return ("missing" if row.sha256 else None), row.path
        key = Key(status.st_dev, status.st_ino)
        if row.sha256 is not None:
            try:
                with environment.open(row.path) as file:
                    digest = self.findings.digest(file)
                if digest not in claims and not _came_so(
                    self._entries_of(one), row, digest
                ):
                    return "modified", key
                if _is_foreign(self.stores, environment, os.lstat(row.path)):
                    return "foreign", key
            except OSError as error:
                self.unread[row.path] = error.strerror or str(error)
        return None, key

    def _entries_of(self, one: Distribution) -> Iterator[Entry]:
        for store, sha256 in self._linked[Environment(one.site_packages)]:
            info = os.path.join(store.path(sha256), FILES, one.dist_info)
            if os.path.isdir(info):
                with contextlib.suppress(EntryDamagedError, OSError):
                    entry = store.entry(sha256)
                    if entry is not None:
                        yield entry

    def _find_sharers(self) -> None:
        """Name all environments that have a damaged file."""
        packages = {damage.package for damage in self.findings.damages.values()}
        for environment, found in self.distributions.items():
            for one in found:
                if f"{one.name} {one.version}" not in packages:
                    continue
                for row in self.rows(environment, one):
                    with contextlib.suppress(OSError):
                        status = os.stat(row.path)
                        key = Key(status.st_dev, status.st_ino)
                        damage = self.findings.damages.get(key)
                        if damage is not None:
                            self._add_name(environment, row, damage)


def _is_foreign(
    stores: Sequence[Store], environment: Environment, status: os.stat_result
) -> bool:
    """Return whether another user may write to a file, by a name elsewhere."""
    if status.st_nlink == 1 or any(store.shared for store in stores):
        return False
    owners = {os.stat(store.root).st_uid for store in stores}
    return status.st_uid not in {0, environment.owner, *owners}


def _came_so(entries: Iterable[Entry], row: Row, digest: str) -> bool:
    """Return whether the RECORD of a wheel is wrong about a file."""
    for entry in entries:
        for file in entry.files:
            if file.path == row.record:
                return file.sha256 == digest
    return False


def _installed_at(distribution: Distribution) -> int:
    try:
        return os.stat(distribution.record).st_mtime_ns
    except OSError:
        return 0


def _without_hash_of_bytecode(
    claims: Collection[str],
) -> Callable[[Row], Row]:
    """Return a function that drops the hash of bytecode whose source is listed.

    pip compiles such a source again, whatever ``.pyc`` the wheel has.

    :param claims: the paths that are listed
    """

    def without(row: Row) -> Row:
        directory, name = os.path.split(row.path)
        parent, cache = os.path.split(directory)
        if cache == "__pycache__" and name.endswith(".pyc"):
            stem = re.sub(r"\.[^.]+(\.opt-\w+)?\.pyc$", "", name)
            if os.path.join(parent, f"{stem}.py") in claims:
                return row._replace(sha256=None)
        return row

    return without
