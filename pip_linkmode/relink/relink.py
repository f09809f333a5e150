"""Turn environments that exist into links, whoever has installed them.

What a file should be, its distribution's RECORD says; what it is, its content says.
Files are replaced one by one, each by a rename, and only if they have the very bytes
of the store's file; a file that is not as its RECORD has it stays what it is.  So a
process that is killed leaves every file whole, and the next one goes on.

Where no store has the wheel, the files themselves are *adopted*: copied (or cloned)
into an entry of their own (see :mod:`pip_linkmode.store`), to which all environments
with the same files are linked.

A linked ``.py`` has the store's mtime, so its ``.pyc`` has to be the store's too.  Its
place is taken first; whichever of the two is still the old one, the pair does not
match, and Python compiles the source.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import glob
import os
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.distribution import distributions, why_not
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.layout import bytecode_targets, lay_out
from pip_linkmode.environments.probe import probe
from pip_linkmode.environments.register import register
from pip_linkmode.environments.users import forget_symlinks
from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    EnvironmentBusyError,
    RecordInvalidError,
    WheelDeclinedError,
    describe_error,
)
from pip_linkmode.files import (
    TEMPORARY,
    allocated,
    current_umask,
    file_stamp,
    open_regular,
    sha256_of,
)
from pip_linkmode.link.attributes import preserved_xattrs
from pip_linkmode.link.filesystems import extents, file_system
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.placement import Place, by_chain
from pip_linkmode.link.primitives import PRIMITIVES, Link
from pip_linkmode.link.replace import (
    ConcurrentChangeError,
    NothingSharedError,
    Replacer,
    refuse_copy,
)
from pip_linkmode.prepare.compiler import ensure_bytecode
from pip_linkmode.prepare.pool import Workers
from pip_linkmode.relink.adopt import adopt, planned
from pip_linkmode.relink.report import Adopted, Relinked, RelinkReport
from pip_linkmode.relink.survey import (
    InstalledDistribution,
    candidates,
    files_of,
    is_bytecode,
    resolve_ownership,
)
from pip_linkmode.store.bytecode import Compiled
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST
from pip_linkmode.store.manifest import use

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from pip_linkmode.environments.layout import Layout, Target
    from pip_linkmode.interpreters import Interpreter
    from pip_linkmode.relink.survey import SharableFile
    from pip_linkmode.store.bytecode import Bytecode
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.paths import StoredFile
    from pip_linkmode.store.store import Store

    RecordedFiles = frozenset[tuple[str, str | None]]


_PAGE = 4096
_ATTEMPTS = 3
_FOREIGN = "would get another owner or group"
_STALE = "have bytecode that would be stale"
_ENOUGH = 0.9
"""The part of a distribution's bytes that an entry must have to be worth a link."""
_FLAGS = slice(4, 8)
"""Of a ``.pyc``: not zero if a hash validates it (:pep:`552`)."""


@dataclass(frozen=True, eq=False)
class _RelinkedEnvironment(Environment):
    """One environment, and the ways to it."""

    report: Relinked
    stores: list[Store] = field(default_factory=list)
    """Those from which a file can be linked to it, in the order of look-up."""
    ways: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """By store, see :func:`pip_linkmode.environments.probe.probe`."""
    linked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By store, the entries that it is linked to now, by sha256."""


@dataclass(frozen=True)
class _Member(InstalledDistribution):
    """One distribution in one environment that is to be relinked."""

    environment: _RelinkedEnvironment


class Relinking:
    """Environments that are about to be relinked."""

    def __init__(
        self,
        all_site_packages: Sequence[str],
        stores: Sequence[Store],
        *,
        mode: str = "auto",
        exclude: Collection[str] = (),
        dry_run: bool = False,
    ) -> None:
        """Look at what is installed; nothing is read but RECORD files.

        Of what two of them list, the content says whose it is.

        :param all_site_packages: absolute paths of site-packages directories
        :param stores: in the order of look-up
        :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
        :param exclude: projects to leave alone
        :param dry_run: change nothing, and take sizes for contents
        """
        self._stores = stores
        self._mode = mode
        self._exclude = {canonicalize_name(name) for name in exclude}
        self._linker = Linker(primitives={**PRIMITIVES, "copy": refuse_copy})
        self._replacer = Replacer(self._linker)
        self._emptier = Replacer(Linker())
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}
        """Digests of files, with the stamp that they had."""
        self._replaced: dict[tuple[int, int], list[int]] = {}
        """By inode: names that were replaced, names that it had, bytes on the disk."""
        self._entries: dict[str, list[tuple[Store, Entry]]] = defaultdict(list)
        """By name of the dist-info directory."""
        self._workers: dict[str, Workers] = {}
        """By name of the interpreter: those of several environments are as good."""
        self._foreseen: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        """What a dry run has counted: by entry and interpreter, bytecode by source."""
        self._chains: dict[str, tuple[str, str, Store]] = {}
        """By target, the chain, the area and the store of the links that are made."""
        self._environments: list[_RelinkedEnvironment] = []
        self._groups: dict[tuple[str, RecordedFiles], list[_Member]] = defaultdict(list)
        """What has the same claims, and may share one entry."""
        self.report = RelinkReport([], dry_run=dry_run)
        for site_packages in dict.fromkeys(all_site_packages):
            self._look(site_packages)

    @property
    def bytes(self) -> int:
        """How much there is to do."""
        return sum(m.bytes for members in self._groups.values() for m in members)

    def _look(self, site_packages: str) -> None:
        environment = _RelinkedEnvironment(site_packages, Relinked(site_packages))
        self._environments.append(environment)
        self.report.environments.append(environment.report)
        passed_over = Counter[str]()
        for name in os.listdir(site_packages):
            if name.endswith((".egg-info", ".egg", ".egg-link")):
                passed_over["is an egg"] += 1
        members = list(self._members(environment, passed_over))
        environment.report.passed_over = dict(passed_over)
        resolve_ownership([member.files for member in members])
        for member in members:
            if member.bytes:
                key = (member.distribution.dist_info, member.recorded_files())
                self._groups[key].append(member)

    def _members(
        self, environment: _RelinkedEnvironment, passed_over: Counter[str]
    ) -> Iterator[_Member]:
        for distribution in distributions(environment.site_packages):
            reason = why_not(distribution)
            if canonicalize_name(distribution.name) in self._exclude:
                reason = "is excluded by --link-exclude"
            if reason is None:
                try:
                    files = files_of(environment, distribution)
                except (OSError, ValueError):
                    reason = "has no RECORD that can be read"
                else:
                    yield _Member(distribution, files, environment)
            if reason is not None:
                passed_over[reason] += 1

    # --- the way there ----------------------------------------------------------------

    def run(
        self, on_progress: Callable[[float], object] = lambda _: None
    ) -> RelinkReport:
        """Do it.

        :param on_progress: called with the number of bytes that were looked at
        """
        with contextlib.ExitStack() as stack:
            for environment in self._environments:
                self._enter(environment, stack)
            self._index()
            stack.callback(self._stop)
            for members in self._groups.values():
                for member in members:
                    if member.environment.stores:
                        self._relink_distribution(member, members)
                    on_progress(member.bytes)
            for environment in self._environments:
                self._forget_symlinks(environment)
        for replaced, names, size in self._replaced.values():
            if replaced == names:
                self.report.bytes_freed += size
            else:
                self.report.bytes_held += size
        return self.report

    def _forget_symlinks(self, environment: _RelinkedEnvironment) -> None:
        """Let no store take for symlinks what was replaced by other links."""
        for store in environment.stores:
            linked = environment.linked[store.root]
            if linked and self._mode != "symlink":
                # What is noted and is not so keeps an entry, and breaks nothing.
                with contextlib.suppress(OSError, RecordInvalidError):
                    forget_symlinks(store, environment.site_packages, linked)

    def _stop(self) -> None:
        for workers in self._workers.values():
            workers.stop()

    def _enter(
        self, environment: _RelinkedEnvironment, stack: contextlib.ExitStack
    ) -> None:
        """Find out from which stores an environment can be linked, by doing it."""
        report = environment.report
        if os.path.islink(environment.site_packages):
            # A clean-up would not look behind it for what is used.
            real = os.path.realpath(environment.site_packages)
            report.refused = f"{environment.site_packages} is a link; name {real}"
            return
        try:
            stack.enter_context(environment.lock())
        except (EnvironmentBusyError, OSError) as error:
            report.refused = describe_error(error)
            return
        if not self.report.dry_run:
            self._sweep(environment)
        for store in self._stores:
            try:
                results = probe(store, environment.site_packages)
            except OSError as error:
                report.refused = f"{environment.site_packages}: {error.strerror}"
                continue
            chain = [name for name in CHAINS[self._mode] if name != "copy"]
            if any(results.get(name, "") is None for name in chain):
                environment.stores.append(store)
                environment.ways[store.root] = results
            elif results and chain:
                report.refused = (
                    f"no {chain[-1]} from {store.root} ({file_system(store.root)}) to "
                    f"{environment.site_packages} "
                    f"({file_system(environment.site_packages)}): "
                    f"{results[chain[-1]]}; set --link-store to a directory on the "
                    "file system of the environment"
                )
        if environment.stores:
            report.refused = None
        elif report.refused is None:
            report.refused = "there is no store to share with"

    def _sweep(self, environment: _RelinkedEnvironment) -> None:
        """Remove what one of us has left who was killed."""
        directories = {
            os.path.dirname(path)
            for members in self._groups.values()
            for member in members
            if member.environment is environment
            for path in member.files
        }
        for directory in {environment.site_packages, *directories}:
            for name in (TEMPORARY, os.path.join("__pycache__", TEMPORARY)):
                pattern = f"{glob.escape(os.path.join(directory, name))}*"
                for path in glob.glob(pattern):
                    with contextlib.suppress(OSError), environment.hold(path) as held:
                        os.unlink(held)

    def _index(self) -> None:
        wanted = {dist_info for dist_info, _ in self._groups}
        for store in self._stores:
            for path in store.entries():
                with contextlib.suppress(EntryDamagedError, OSError):
                    # Of ten thousand manifests few have to be read.
                    if wanted.isdisjoint(os.listdir(os.path.join(path, FILES))):
                        continue
                    entry = store.entry(os.path.basename(path))
                    if entry is not None:  # pragma: no branch  # or just pruned
                        self._entries[entry.dist_info].append((store, entry))

    # --- which entry ------------------------------------------------------------------

    def _relink_distribution(self, member: _Member, members: Sequence[_Member]) -> None:
        """Share what can be shared of one distribution in one environment."""
        report = member.environment.report
        try:
            for _ in range(_ATTEMPTS):
                found = self._find(member, members)
                if found is None:
                    self._adopt(member, members)
                    found = self._find(member, members, enough=0)
                if found is None:
                    break
                with self._registered(member, *found[:2]) as is_there:
                    if is_there:
                        self._share(member, *found)
                        break
        except EntryGoneError:
            reason = "were to be linked to an entry that was removed in the meantime"
            _count(report.skipped, reason, len(member.files))
        except (EntryDamagedError, OSError) as error:
            reason = f"cannot be shared: {describe_error(error)}"
            _count(report.failed, reason, len(member.files))

    @contextlib.contextmanager
    def _registered(
        self, member: _Member, store: Store, entry: Entry
    ) -> Iterator[bool]:
        """Note who is going to use an entry; yield whether it is still there.

        A clean-up that comes later finds an environment with a symlink into the entry,
        before the first file is replaced by one, and leaves the entry where it is.
        """
        if self.report.dry_run:
            yield True
            return
        site_packages = member.environment.site_packages
        manifest = os.path.join(entry.path, MANIFEST)
        with contextlib.ExitStack() as stack:
            try:
                register(store.root, site_packages, entry.sha256, self._mode)
            except PermissionError:
                pass  # what we may not write to is not ours to clean up either
            else:
                use(entry.path)
                member.environment.linked[store.root].add(entry.sha256)
            if self._mode == "symlink":
                pin = os.path.join(site_packages, TEMPORARY + os.urandom(8).hex())
                os.symlink(manifest, pin)
                stack.callback(os.unlink, pin)
            is_there = os.path.lexists(manifest)
            if not is_there:
                self._entries[entry.dist_info].remove((store, entry))
            yield is_there

    def _find(
        self, member: _Member, members: Sequence[_Member], enough: float = _ENOUGH
    ) -> tuple[Store, Entry, Layout] | None:
        """Return the entry that has most of a distribution, if it has enough.

        One of a wheel is preferred: the next installation of it is linked to it too.

        :param members: the environments of which another entry could be made
        :param enough: the part of its bytes
        """
        found = []
        for store, entry in self._entries[member.distribution.dist_info]:
            if store not in member.environment.stores:
                continue
            with contextlib.suppress(WheelDeclinedError):
                layout = lay_out(entry, member.environment.scheme(member.name))
                common = sum(
                    target.file.size
                    for target in layout.linked
                    if (file := member.files.get(target.path))
                    and file.sha256 == target.file.sha256
                    and file.mode == target.file.mode
                )
                if common:
                    found.append((common, bool(entry.wheel), store, entry, layout))
        for common, _, store, entry, layout in sorted(
            found, key=lambda f: f[:2], reverse=True
        ):
            if common < enough * member.bytes:
                donors = self._donors(member, members, store)
                if not self._has_all(entry, donors):
                    continue
            with contextlib.suppress(EntryDamagedError):
                if entry.path:
                    entry.check()
                return store, entry, layout
        return None

    @staticmethod
    def _donors(
        member: _Member, members: Sequence[_Member], store: Store
    ) -> list[_Member]:
        """Return of which environments an entry of a store may be made."""
        return [member, *(m for m in members if store in m.environment.stores)]

    def _has_all(self, entry: Entry, donors: Sequence[_Member]) -> bool:
        """Tell whether an entry lacks nothing that is as its RECORD says."""
        stored = {(file.path, file.sha256, file.mode) for file in entry.files}
        had = set()
        for path, file in candidates(donors):
            if (file.path, file.sha256, file.mode) in stored:
                had.add(file.path)
            elif file.path not in had and self._is_intact(path, file):
                return False
        return True

    def _is_intact(self, path: str, file: SharableFile) -> bool:
        try:
            return self._digest(path, os.lstat(path)) == file.sha256
        except FileNotFoundError:
            return False

    def _adopt(self, member: _Member, members: Sequence[_Member]) -> None:
        """Make an entry of installed files, if there is a store for it.

        :param members: the environments that these may come from
        """
        stores = member.environment.stores
        store = next((store for store in stores if store.writable), None)
        if store is None:
            return
        if not self._can_take(member, store):
            _count(member.environment.report.skipped, _FOREIGN, len(member.files))
            return
        donors = self._donors(member, members, store)
        if self.report.dry_run:
            entry, is_new = planned(store, donors)
        else:
            entry, is_new = adopt(store, donors, self._known)
        if entry is None:
            self._rest(member)
            return
        self._entries[entry.dist_info].append((store, entry))
        if not is_new or entry.sha256 in {one.sha256 for one in self.report.adopted}:
            return
        if self.report.dry_run:
            size = sum(-(-file.size // _PAGE) * _PAGE for file in entry.files)
        else:
            size = sum(
                allocated(os.lstat(entry.source(file.path))) for file in entry.files
            )
        self.report.bytes_stored += size
        self.report.adopted.append(
            Adopted(entry.name, entry.version, entry.sha256, size)
        )

    @staticmethod
    def _can_take(member: _Member, store: Store) -> bool:
        """Tell whether what is made now can take the place of any of the files."""
        if member.environment.ways[store.root].get("clone", "") is None:
            return True
        for path in member.files:
            with contextlib.suppress(FileNotFoundError):
                if _owner(path) == _owner(""):
                    return True
        return False

    # --- sharing ----------------------------------------------------------------------

    def _share(
        self, member: _Member, store: Store, entry: Entry, layout: Layout
    ) -> None:
        """Link what an entry has of a distribution."""
        environment = member.environment
        mtime_ns = entry.mtime * 10**9
        sources = []
        for target in layout.linked:
            path, size, _, mode = target.file
            file = member.files.get(target.path)
            # What is empty is never shared, but its bytecode is.
            if (
                file is not None
                and (size or path.endswith(".py"))
                and not is_bytecode(path)
            ):
                # What is only planned is nowhere.
                source = entry.source(path) if entry.path else ""
                link = Link(source, target.path, size, mtime_ns, mode, file.mode)
                sources.append((target, file, link))
        pycs = self._bytecode(member, store, entry, layout)
        places = [Place(target.target_root, link) for target, _, link in sources]
        for target, _, _ in sources:
            pyc = pycs.get(target.path)
            if isinstance(pyc, Link):
                places.append(Place(target.target_root, pyc))
        self._chains = {
            link.target: (chain, target_root, store)
            for (chain, target_root), links in by_chain(
                places,
                project=member.name,
                site_packages=environment.site_packages,
                mode=self._mode,
                linker=self._linker,
            ).items()
            for link in links
        }
        for target, file, link in sources:
            with contextlib.suppress(FileNotFoundError):
                self._source(environment, target.file, file, link, pycs)
        self._rest(member, {target.path for target in layout.linked})

    def _bytecode(
        self, member: _Member, store: Store, entry: Entry, layout: Layout
    ) -> dict[str, Link | str]:
        """Say what to do about the bytecode that is there, by path of its source.

        :returns: what to put into its place; or why its source has to stay
        """
        python = member.environment.interpreter
        if python is None:
            reason = f"{_STALE}, since the interpreter does not answer"
            return {
                target.path: reason
                for target in layout.linked
                if target.path.endswith(".py") and _has_bytecode(target.path)
            }
        found = {
            target: path
            for target, path, _ in bytecode_targets(layout, python.cache_tag)
            if target.path in member.files
            and member.environment.contains(path)
            and _is_stamped(path)
        }
        compiled = self._compile(python, store, entry) if found else None
        is_foreseen = compiled is None and self.report.dry_run
        if is_foreseen:
            self._foresee(self._foreseen[entry.sha256, python.name], found)
        plans: dict[str, Link | str] = {}
        for target, path in found.items():
            if compiled is not None:
                pyc = compiled.files.get(target.file.path)
                source = compiled.source(target.file.path)
            else:
                pyc, source = _foreseen(target.file, path) if is_foreseen else None, ""
            if pyc is not None:
                try:
                    wanted = stat.S_IMODE(os.stat(path).st_mode)
                except FileNotFoundError:  # a link that dangles
                    wanted = pyc.mode
                plans[target.path] = Link(
                    source, path, pyc.size, pyc.mtime_ns, pyc.mode, wanted
                )
            elif compiled is None:
                plans[target.path] = f"{_STALE}, since it cannot be made"
            else:
                plans[target.path] = f"{_STALE}, since they do not compile"
        return plans

    def _foresee(self, known: dict[str, int], found: Mapping[Target, str]) -> None:
        """Count what bytecode will take, once for all environments that have some.

        :param known: receives its bytes on the disk, by source
        :param found: what is installed, by absolute path
        """
        for target, path in found.items():
            source = target.file.path
            before = known.get(source, 0)
            known[source] = max(before, _size_on_disk(path))
            self.report.bytes_stored += known[source] - before

    def _compile(
        self, python: Interpreter, store: Store, entry: Entry
    ) -> Bytecode | None:
        if self.report.dry_run:
            # Then it is looked up, and not made.
            store = dataclasses.replace(store, writable=False)
        if python.name not in self._workers:
            self._workers[python.name] = Workers(interpreter=python)
        path = os.path.join(entry.path, BYTECODE, python.name)
        fresh = not os.path.exists(path)
        compiled = ensure_bytecode(self._workers[python.name], store, entry)
        if compiled is not None and fresh:
            self.report.bytes_stored += sum(
                allocated(os.lstat(compiled.source(source)))
                for source in compiled.files
            )
        return compiled

    def _source(
        self,
        environment: _RelinkedEnvironment,
        stored: StoredFile,
        file: SharableFile,
        link: Link,
        pycs: Mapping[str, Link | str],
    ) -> None:
        """Link one file, and its bytecode before it."""
        report = environment.report
        old = os.lstat(link.target)
        shared = self._is_shared(link, old)
        if not shared and not self._is_same(report, stored, file, link, old):
            return
        pyc = pycs.get(link.target)
        if isinstance(pyc, str):
            if not shared:
                _count(report.skipped, pyc)
                return
        elif pyc is not None:
            with contextlib.suppress(FileNotFoundError):
                before = os.lstat(pyc.target)
                if not self._is_shared(pyc, before):
                    done = self._replace(environment, pyc, before)
                    if not done and not shared:
                        return
        if shared:
            report.already += 1
        elif link.size or pyc is not None:
            self._replace(environment, link, old)

    def _is_shared(self, link: Link, old: os.stat_result) -> bool:
        """Tell whether a file is the store's already, in a way that will do."""
        if stat.S_ISLNK(old.st_mode):
            is_ours = os.readlink(link.target) == link.source
            return is_ours and self._mode in ("auto", "symlink")
        with contextlib.suppress(FileNotFoundError):  # of an entry that is planned
            if os.path.samestat(old, os.lstat(link.source)):
                return self._mode != "clone"
        if (old.st_mtime_ns, old.st_size) != (link.mtime_ns, link.size):
            return False
        return not link.size or _is_clone(link.target, link.source)

    def _is_same(
        self,
        report: Relinked,
        stored: StoredFile,
        file: SharableFile,
        link: Link,
        old: os.stat_result,
    ) -> bool:
        """Tell whether a file has the bytes of the store's; say so if it has not."""
        if stat.S_ISLNK(old.st_mode) and os.readlink(link.target) == link.source:
            return True
        if not self._is_plain(report, old):
            return False
        if preserved_xattrs(link.target):
            _count(
                report.skipped, "have extended attributes, which a link would not have"
            )
            return False
        if old.st_size != stored.size:
            digest = ""
        elif self.report.dry_run:
            digest = file.sha256 or stored.sha256
        else:
            digest = self._digest(link.target, old)
        if digest == stored.sha256:
            return True
        if file.sha256 == stored.sha256:
            report.edited.append(link.target)
        else:
            _count(report.skipped, "are others than those in the store")
        return False

    def _rest(self, member: _Member, linked: Collection[str] = ()) -> None:
        """Account for the files that an entry, if there is one, does not have.

        :param linked: absolute paths of those that it has
        """
        for path, file in member.files.items():
            if path not in linked and file.sha256 and file.size:
                with contextlib.suppress(FileNotFoundError):
                    self._unknown(member.environment, path, file)

    def _unknown(
        self, environment: _RelinkedEnvironment, path: str, file: SharableFile
    ) -> None:
        report, old = environment.report, os.lstat(path)
        if not self._is_plain(report, old):
            return
        is_same = file.is_as_long
        if not self.report.dry_run:
            is_same = self._digest(path, old) == file.sha256
        if is_same:
            _count(report.skipped, "are not in the store")
        else:
            report.edited.append(path)

    @staticmethod
    def _is_plain(report: Relinked, old: os.stat_result) -> bool:
        """Tell whether a file is none of another kind; say so if it is."""
        if stat.S_ISLNK(old.st_mode):
            _count(report.skipped, "are links to somewhere else")
        elif not stat.S_ISREG(old.st_mode):
            _count(report.skipped, "are not regular files")
        else:
            return True
        return False

    def _digest(self, path: str, status: os.stat_result) -> str:
        known, digest = self._known.get(path, ((), ""))
        if known != file_stamp(status):
            digest = sha256_of(path)
            self._known[path] = file_stamp(status), digest
        return digest

    def _replace(
        self, environment: _RelinkedEnvironment, link: Link, old: os.stat_result
    ) -> bool:
        """Link one file, and account for it; say whether that was done."""
        report = environment.report
        chain, target_root, store = self._chains[link.target]
        ways = environment.ways[store.root]
        try:
            _refuse_read_only(os.path.dirname(link.target))
            if not link.size:
                if not self.report.dry_run:
                    self._emptier.replace(
                        link,
                        old,
                        mode="copy",
                        owner=_new_owner(environment, old),
                        hold=environment.hold,
                    )
                return True
            if _owner(link.source) != (old.st_uid, old.st_gid):
                chain = "no_shared_inode"  # a hard link would have another owner
            if self.report.dry_run:
                primitive = self._predict(link, chain, ways)
            else:
                primitive = self._replacer.replace(
                    link,
                    old,
                    mode=chain,
                    store=store.root,
                    target_root=target_root,
                    owner=_new_owner(environment, old),
                    hold=environment.hold,
                )
        except NothingSharedError:
            _count(
                report.skipped, self._why_kept(link, chain, target_root, store, ways)
            )
            return False
        except ConcurrentChangeError:
            _count(report.skipped, "were changed in the meantime")
            return False
        except OSError as error:
            if link.source and not os.path.lexists(link.source):
                msg = f"{link.source} is gone"
                raise EntryGoneError(msg) from error
            _count(report.failed, f"cannot be replaced: {error.strerror}")
            return False
        _count(report.files, primitive)
        report.bytes += link.size
        if stat.S_ISREG(old.st_mode):
            seen = [0, old.st_nlink, allocated(old)]
            self._replaced.setdefault((old.st_dev, old.st_ino), seen)[0] += 1
        return True

    def _predict(self, link: Link, chain: str, ways: Mapping[str, str | None]) -> str:
        """Return the primitive that a link would be made by.

        :raises KeptError: as :func:`pip_linkmode.link.replace.refuse_copy`
        """
        for primitive in self._linker.chain(chain, link):
            if primitive != "copy" and ways.get(primitive, "") is None:
                return primitive
        raise NothingSharedError(link.target)

    def _why_kept(
        self,
        link: Link,
        chain: str,
        target_root: str,
        store: Store,
        ways: Mapping[str, str | None],
    ) -> str:
        if link.wanted != link.mode:
            return "have other permissions than those in the store"
        if chain == "no_shared_inode":
            return _FOREIGN
        for primitive in CHAINS[chain]:
            refusal = self._linker.refusals.get((primitive, store.root, target_root))
            reason = refusal.error.strerror if refusal else ways.get(primitive)
            if reason is not None:
                return f"cannot be linked: {reason}"
        return "have as many links as the file system allows"


def _refuse_read_only(directory: str) -> None:
    """Raise what the linker would take for the answer of the whole file system.

    :raises PermissionError: if nothing in a directory can be replaced
    """
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)


def _new_owner(environment: Environment, old: os.stat_result) -> tuple[int, int] | None:
    """Return the owner of the file that replaces a symlink; ``None`` for a file.

    A regular file is replaced by the same bytes, and keeps its attributes.
    """
    return None if stat.S_ISREG(old.st_mode) else environment.owner_of(old)


def _owner(path: str) -> tuple[int, int]:
    """Return the owner and group of a stored file; of what is only planned, ours."""
    if not path:
        return getattr(os, "geteuid", int)(), getattr(os, "getegid", int)()
    status = os.lstat(path)
    return status.st_uid, status.st_gid


def _foreseen(source: StoredFile, pyc: str) -> Compiled:
    """Return what would be compiled, by what is installed.

    :param pyc: absolute path of the latter
    """
    # As the import system makes it (``_bootstrap_external.py``, ``_calc_mode``).
    mode = (source.mode | stat.S_IWUSR) & 0o666 & ~current_umask()
    with contextlib.suppress(FileNotFoundError):
        return Compiled(os.stat(pyc).st_size, 0, mode, "")
    return Compiled(source.size, 0, mode, "")


def _size_on_disk(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return allocated(os.stat(path))
    return _PAGE  # of what dangles nothing is known


def _is_clone(one: str, other: str) -> bool:
    """Tell whether two files have the same extents."""
    ours, theirs = extents(one), extents(other)
    if not ours or ours != theirs:
        return False
    return all(extent.start is not None for extent in ours)


def _count(counts: dict[str, int], what: str, by: int = 1) -> None:
    counts[what] = counts.get(what, 0) + by


def _is_stamped(pyc: str) -> bool:
    """Tell whether bytecode is there, and valid by its source's mtime."""
    try:
        with open_regular(pyc) as file:
            return not any(file.read(_FLAGS.stop)[_FLAGS])
    except OSError:
        return os.path.lexists(pyc)


def _has_bytecode(source: str) -> bool:
    """Tell whether a file has bytecode of any interpreter."""
    directory, name = os.path.split(source)
    pattern = os.path.join(
        glob.escape(directory), "__pycache__", glob.escape(name[:-3])
    )
    return bool(glob.glob(f"{pattern}.*.pyc"))
