"""Compare what is stored with its manifest and what is installed with its RECORD.

A file that several have in common is one damage, however many names it has: who has it
is told, and who is to be repaired gets a new file in its place, by one rename.  Nothing
is ever written into a file that is there.

Bytecode has no hashes; of it only size, time and mode are compared.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import OUTSIDE, Environment
from pip_linkmode.environments.registry import registrations
from pip_linkmode.environments.symlinks import is_stored
from pip_linkmode.errors import EntryDamagedError, RecordInvalidError
from pip_linkmode.files import file_digest, open_regular
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.link.replace import ConcurrentChangeError, Replacer
from pip_linkmode.maintenance.damage import Damage, InstalledFile, Key, Stored
from pip_linkmode.store.bytecode import Compiled
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST
from pip_linkmode.store.manifest import IMPOSSIBLE, read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from pip_linkmode.environments.distribution import Distribution, Row
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store

    Kind = Literal["modified", "missing", "dangling", "restamped", "manifest"]


_CHUNK = 1 << 20


@dataclass
class _VerifiedEnvironment:
    path: str
    """One and the same for all of its libraries, and all of their names."""
    site: Environment
    distributions: list[Distribution]
    """The one that was installed last comes first."""


class Verification:
    """One look at some stores and environments."""

    def __init__(
        self,
        stores: Sequence[Store],
        named: Sequence[str],
        keep_edits: Sequence[str] = (),
        on_progress: Callable[[float], object] = lambda _: None,
    ) -> None:
        """Look.

        :param named: paths as for
            :meth:`pip_linkmode.environments.environment.Environment.find`: only
            these environments and their entries; all that is known if there are none
        :param keep_edits: environments whose edits :meth:`repair` keeps, as private
            files
        :param on_progress: called with the bytes that were read
        :raises EnvironmentUnknownError: if one is none
        """
        self._stores = stores
        self._on_progress = on_progress
        self._digests: dict[Key, str] = {}
        self._damages: dict[Key | str, Damage] = {}
        self.unread: dict[str, str] = {}
        """Why something of an environment could not be read, by path."""
        self._linked: dict[str, list[tuple[Store, str]]] = defaultdict(list)
        """By library, the entries that were linked there, by sha256."""
        self._environments: dict[str, _VerifiedEnvironment] = {}
        """By library: where that really is, since two names make no two of them."""
        asked, kept = (
            [one.site_packages for path in paths for one in Environment.find(path)]
            for paths in (named, keep_edits)
        )
        present = []
        for store in stores:
            for one in filter(lambda one: one.site_packages, registrations(store.root)):
                linked = self._linked[os.path.realpath(one.site_packages)]
                linked += [(store, sha256) for sha256 in one.entries()]
                if one.state() == "present":
                    present.append(one.site_packages)
        names: dict[str, str] = {}
        for site_packages in (*asked, *kept, *present):
            path = Environment(site_packages).path
            name = names.setdefault(os.path.realpath(path), path)
            real = os.path.realpath(site_packages)
            if real not in self._environments:
                self._environments[real] = self._environment(name, site_packages)
        all_site_packages = list(dict.fromkeys(map(os.path.realpath, asked)))
        self._asked = self._paths(asked)
        self._kept = self._paths(kept)
        used = {
            one
            for site_packages in all_site_packages
            for one in self._linked[site_packages]
        }
        for store in stores:
            for path in store.entries():
                if not named or (store, os.path.basename(path)) in used:
                    self._entry(store, os.path.basename(path))
        for site_packages in all_site_packages or self._environments:
            self._installed(self._environments[site_packages])
        self._who_shares()

    @property
    def damages(self) -> list[Damage]:
        """What was found, by path."""
        return sorted(self._damages.values(), key=lambda damage: damage.path)

    def _paths(self, all_site_packages: Sequence[str]) -> set[str]:
        """Return what the environments of some libraries are called here."""
        return {
            self._environments[os.path.realpath(one)].path for one in all_site_packages
        }

    # --- looking ----------------------------------------------------------------------

    def _found(
        self, key: Key | str, kind: Kind, package: str, sha256: str | None
    ) -> Damage:
        if key not in self._damages:
            self._damages[key] = Damage(kind, package, sha256)
        return self._damages[key]

    def _digest(self, path: str) -> str:
        """Return the sha256 of a file, read once however many names it has.

        :raises OSError: if it cannot be read, or is no regular file
        """
        with open_regular(path, follow=False) as file:
            status = os.fstat(file.fileno())
            key = Key(status.st_dev, status.st_ino)
            if key not in self._digests:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    self._on_progress(len(chunk))
                self._digests[key] = digest.hexdigest()
        return self._digests[key]

    def _entry(self, store: Store, sha256: str) -> None:
        path = store.path(sha256)
        try:
            entry = store.entry(sha256)
        except (EntryDamagedError, OSError):
            manifest = os.path.join(path, MANIFEST)
            damage = self._found(manifest, "manifest", f"sha256:{sha256[:12]}", None)
            damage.stored.append(Stored(store, sha256, manifest, 0, 0))
            return
        if entry is None:  # gone meanwhile
            return
        for file in entry.files:
            one = Stored(
                store, sha256, entry.source(file.path), entry.mtime * 10**9, file.mode
            )
            self._stored(one, _title(entry), file.sha256, file.size)
        for directory, name, compiled in _compiled(entry):
            one = Stored(
                store,
                sha256,
                f"{directory}/{name}c",
                compiled.mtime_ns,
                compiled.mode,
            )
            self._stored(one, _title(entry), None, compiled.size)

    def _stored(self, one: Stored, title: str, sha256: str | None, size: int) -> None:
        kind: Kind | None = None
        key: Key | str = one.path
        try:
            status = os.lstat(one.path)
            key = Key(status.st_dev, status.st_ino)
            if (
                not stat.S_ISREG(status.st_mode)
                or status.st_size != size
                or (sha256 is not None and self._digest(one.path) != sha256)
            ):
                kind = "modified"
            elif (
                status.st_mtime_ns != one.mtime_ns
                or stat.S_IMODE(status.st_mode) != one.mode
            ):
                kind = "modified" if sha256 is None else "restamped"
        except OSError:
            kind = "missing"
        if kind is not None:
            self._found(key, kind, title, sha256).stored.append(one)

    def _environment(self, path: str, site_packages: str) -> _VerifiedEnvironment:
        try:
            found = distributions(site_packages)
        except OSError as error:
            self.unread[site_packages] = error.strerror or str(error)
            found = []
        found.sort(key=_installed_at, reverse=True)
        return _VerifiedEnvironment(path, Environment(site_packages), found)

    def _rows(self, environment: _VerifiedEnvironment, one: Distribution) -> list[Row]:
        """Read a RECORD, but for what is said there of files outside.

        What pip has written of ``--target`` is of where it has prepared it.
        """
        below = os.path.join(environment.site.prefix, "")
        try:
            return [row for row in one.rows() if row.path.startswith(below)]
        except RecordInvalidError as error:
            self.unread[one.record] = error.reason
        except OSError as error:
            self.unread[one.record] = error.strerror or str(error)
        return []

    def _installed(self, environment: _VerifiedEnvironment) -> None:
        installed = [
            (one, self._rows(environment, one)) for one in environment.distributions
        ]
        claims: dict[str, set[str | None]] = defaultdict(set)
        for _, rows in installed:
            for row in rows:
                claims[row.path].add(row.sha256)
        for one, rows in installed:
            title = f"{one.name} {one.version}"
            for row in rows:
                kind, key = self._state_of(environment, one, row, claims[row.path])
                if kind is not None:
                    damage = self._found(key, kind, title, row.sha256)
                    damage.sha256 = damage.sha256 or row.sha256
                    self._has(environment, row, damage)

    def _has(self, environment: _VerifiedEnvironment, row: Row, damage: Damage) -> None:
        here = InstalledFile(environment.path, row.path, environment.site)
        if here not in damage.installed:
            damage.installed.append(here)

    def _state_of(
        self,
        environment: _VerifiedEnvironment,
        one: Distribution,
        row: Row,
        claims: Collection[str | None],
    ) -> tuple[Kind | None, Key | str]:
        """Judge a file, and tell what it is known by.

        :param claims: what all that have it say of its content: the last one has won
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
                digest = self._digest(self._readable(environment, row.path, status))
                if digest not in claims and not self._came_so(one, row, digest):
                    return "modified", key
            except OSError as error:
                self.unread[row.path] = error.strerror or str(error)
        return None, key

    def _readable(
        self, environment: _VerifiedEnvironment, path: str, status: os.stat_result
    ) -> str:
        """Return where a file really is, if its environment may have it read.

        What a link leads to may be a file of the system's that has no end.

        :raises PermissionError: if it is elsewhere, and somebody else's
        """
        path, site = _followed(path), environment.site
        if status.st_uid == site.owner or site.contains(path) or is_stored(path):
            return path
        raise PermissionError(errno.EACCES, f"{path} belongs to somebody else")

    def _came_so(self, one: Distribution, row: Row, digest: str) -> bool:
        """Tell whether a RECORD is wrong about a file from the beginning."""
        for entry in self._entries_of(one):
            for file in entry.files:
                if file.path == row.record:
                    return file.sha256 == digest
        return False

    def _entries_of(self, one: Distribution) -> Iterator[Entry]:
        for store, sha256 in self._linked[os.path.realpath(one.site_packages)]:
            info = os.path.join(store.path(sha256), FILES, one.dist_info)
            if os.path.isdir(info):
                with contextlib.suppress(EntryDamagedError, OSError):
                    entry = store.entry(sha256)
                    if entry is not None:
                        yield entry

    def _who_shares(self) -> None:
        """Name all environments that have a damaged file."""
        packages = {damage.package for damage in self._damages.values()}
        for environment in self._environments.values():
            for one in environment.distributions:
                if f"{one.name} {one.version}" not in packages:
                    continue
                for row in self._rows(environment, one):
                    with contextlib.suppress(OSError):
                        status = os.stat(row.path)
                        damage = self._damages.get(Key(status.st_dev, status.st_ino))
                        if damage is not None:
                            self._has(environment, row, damage)

    # --- repairing --------------------------------------------------------------------

    def repair(self) -> None:
        """Put pristine files in the place of damaged ones, where they can be had.

        A file that only one environment has is its own affair: it is left alone unless
        that environment was named.
        """
        pristine = self._pristine({one.sha256 for one in self.damages if one.sha256})
        untold = sorted(self.unread.keys() & self._telling())
        for damage in self.damages:
            if untold:
                damage.outcome = f"not repaired: {untold[0]} does not tell what to keep"
                continue
            try:
                self._repair(damage, pristine)
            except ConcurrentChangeError as error:
                damage.outcome = f"not repaired: {error}"
            except OSError as error:
                place = error.filename or damage.path
                damage.outcome = f"not repaired: {place}: {error.strerror}"

    def _telling(self) -> set[str]:
        """Return the paths that tell what there is in environments with edits to keep.

        Who has an edit behind a symlink is known by nothing else.
        """
        kept = [one for one in self._environments.values() if one.path in self._kept]
        records = {one.record for each in kept for one in each.distributions}
        return records | {one.site.site_packages for one in kept}

    def _repair(self, damage: Damage, pristine: dict[str, str]) -> None:
        installed = [one for one in damage.installed if one.site.contains(one.path)]
        edited = [one for one in installed if one.environment in self._kept]
        others = [one for one in installed if one.environment not in self._kept]
        if not installed and not damage.stored:
            damage.outcome = f"left alone: {OUTSIDE}"
            return
        if not damage.stored and damage.kind != "dangling":
            others = [
                one
                for one in others
                if damage.is_shared or one.environment in self._asked
            ]
            if not others:
                damage.outcome = "left alone: nobody shares it"
                return
        if damage.sha256 is None:
            self._drop_bytecode(damage, others)
            return
        source = pristine.get(damage.sha256)
        if source is None:
            self._give_up(damage)
            return
        if damage.kind != "dangling":
            for one in edited:
                _keep(one.site, one.path)
        source = self._restore(damage, source)
        for one in others:
            leads_here = damage.stored and os.path.islink(one.path)
            if not leads_here:
                # Never an inode in common with an environment that gave the bytes.
                mode = "auto" if self._is_stored(source) else "no_shared_inode"
                _put(
                    one.site,
                    source,
                    one.path,
                    mode,
                    damage.sha256,
                    keeps_mode=not damage.stored,
                )
        damage.is_repaired = True
        damage.outcome = "repaired" + (
            f"; {', '.join(one.environment for one in edited)} keeps its own"
            if edited
            else ""
        )

    def _restore(self, damage: Damage, source: str) -> str:
        """Put a pristine file where entries have a damaged one; return the best."""
        for stored in damage.stored:
            with stored.store.staging() as staged:
                copy = os.path.join(staged, "pristine")
                status = os.stat(source)
                bits = stat.S_IMODE(status.st_mode)
                link = Link(
                    source, copy, status.st_size, stored.mtime_ns, bits, stored.mode
                )
                Linker().link([link], mode="copy", store="", target_root="", created=[])
                # An environment that gives the bytes is not ours to trust.
                with open(copy, "rb") as file:
                    if file_digest(file) != damage.sha256:
                        msg = f"{source} was changed by another process"
                        raise ConcurrentChangeError(msg)
                os.chmod(copy, stored.mode)
                os.utime(copy, ns=(stored.mtime_ns, stored.mtime_ns))
                os.makedirs(os.path.dirname(stored.path), exist_ok=True)
                os.replace(copy, stored.path)
            source = stored.path
        return source

    def _is_stored(self, path: str) -> bool:
        return any(path.startswith(f"{store.root}{os.sep}") for store in self._stores)

    def _drop_bytecode(self, damage: Damage, others: Sequence[InstalledFile]) -> None:
        """Remove bytecode; Python and the next installation compile it again."""
        if damage.kind == "manifest":
            self._give_up(damage)
            return
        paths = [one.path for one in damage.stored] + [one.path for one in others]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for stored in damage.stored:
            directory = os.path.join(stored.store.path(stored.sha256), BYTECODE)
            interpreter = os.path.relpath(stored.path, directory).split(os.sep)[0]
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, interpreter, MANIFEST))
        damage.is_repaired = True
        damage.outcome = "removed, to be compiled again"

    def _give_up(self, damage: Damage) -> None:
        """Set an entry aside, if nobody depends on it, since it cannot be mended."""
        damage.outcome = (
            "nobody has the pristine file; pip install --force-reinstall --no-deps "
            f"{damage.package.replace(' ', '==')}"
        )
        for store, sha256 in {(one.store, one.sha256) for one in damage.stored}:
            needed = any(
                registration.may_depend_on(sha256)
                for registration in registrations(store.root)
            )
            if needed:
                continue
            with store.staging() as staged:
                away = store.take_away(sha256, staged)
                if away is not None:
                    store.delete(away)
            damage.is_repaired = not damage.installed
            damage.outcome = "the entry is gone, and made anew when it is needed" + (
                f"; {damage.outcome}" if damage.installed else ""
            )

    def _pristine(self, wanted: set[str]) -> dict[str, str]:
        """Find intact files by what their content should be."""
        found: dict[str, str] = {}
        for sha256, size, path in self._offers(wanted):
            if sha256 not in found:
                with contextlib.suppress(OSError):
                    is_as_long = size in (None, os.lstat(path).st_size)
                    # What is new since we looked has another inode.
                    if is_as_long and self._digest(path) == sha256:
                        found[sha256] = path
        return found

    def _offers(self, wanted: set[str]) -> Iterator[tuple[str, int | None, str]]:
        """Yield files that should have some content: its sha256, its size, and where.

        What is outside of an environment is not its to give.
        """
        for store in self._stores:
            for path in store.entries() if wanted else ():
                with contextlib.suppress(EntryDamagedError, OSError):
                    entry = store.entry(os.path.basename(path))
                    for file in entry.files if entry is not None else ():
                        if file.sha256 in wanted:
                            yield file.sha256, file.size, f"{path}/{FILES}/{file.path}"
        for environment in self._environments.values() if wanted else ():
            for one in environment.distributions:
                for row in self._rows(environment, one):
                    if row.sha256 in wanted and environment.site.contains(row.path):
                        path = _followed(row.path)
                        # A link to anywhere else is not read, since it is one.
                        yield (
                            row.sha256,
                            row.size,
                            path if is_stored(path) else row.path,
                        )


def _title(entry: Entry) -> str:
    # As an environment's metadata directory has it.
    return " ".join(entry.dist_info.removesuffix(".dist-info").split("-", 1))


def _installed_at(distribution: Distribution) -> int:
    try:
        return os.stat(distribution.record).st_mtime_ns
    except OSError:
        return 0


def _followed(path: str) -> str:
    """Return what a link leads to in the end; the path of what is none."""
    return os.path.realpath(path) if os.path.islink(path) else path


def _compiled(entry: Entry) -> Iterator[tuple[str, str, Compiled]]:
    """List the bytecode of an entry: its directory, its source, and what it is."""
    base = os.path.join(entry.path, BYTECODE)
    with contextlib.suppress(OSError):
        for interpreter in sorted(os.listdir(base)):
            directory = os.path.join(base, interpreter)
            try:
                data = read_manifest(os.path.join(directory, MANIFEST))
                files = {
                    source: Compiled(*one)
                    for source, one in data["files"].items()
                    if one is not None
                }
            except (OSError, EntryDamagedError, *IMPOSSIBLE):
                continue  # not used, and compiled anew when it is wanted
            for source, one in files.items():
                yield directory, source, one


def _keep(site: Environment, path: str) -> None:
    """Make a file private; what a link to somewhere else leads to is left alone."""
    if not os.path.islink(path) or is_stored(os.path.realpath(path)):
        _put(site, path, path, "copy", None, keeps_mode=True)


def _put(
    site: Environment,
    source: str,
    target: str,
    mode: str,
    sha256: str | None,
    *,
    keeps_mode: bool,
) -> None:
    """Put a file in the place of another, which keeps its owner.

    :param target: absolute path; there need not be anything
    :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
    :param sha256: of what it has to be, hexadecimal, if that is known
    :param keeps_mode: whether its permissions are those of the other, too
    :raises ChangedError: if somebody has put another file there, or here, meanwhile
    :raises OSError: if it cannot be done
    """
    status, old = os.stat(source), None
    bits = wanted = stat.S_IMODE(status.st_mode)
    with contextlib.suppress(FileNotFoundError):
        old = os.lstat(target)
        if keeps_mode and stat.S_ISREG(old.st_mode):
            wanted = stat.S_IMODE(old.st_mode)
        if (old.st_uid, old.st_gid) != (status.st_uid, status.st_gid):
            mode = "no_shared_inode"  # a hard link would have another owner
    link = Link(source, target, status.st_size, status.st_mtime_ns, bits, wanted)
    same = source == target and old is not None and stat.S_ISREG(old.st_mode)
    Replacer(Linker()).replace(
        link,
        old,
        mode=mode,
        sha256=sha256,
        owner=None if same else site.owner_of(old),
        hold=site.hold,
    )
