"""One installation: find or make the entry, link the bulk, let pip do the rest.

Knows nothing of pip but what its installer is called with: the name of the project, a
path of a wheel, the directories of the scheme, and the installer itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode import bytecode, environments, skeleton
from pip_linkmode.bytecode import Bytecode, Workers
from pip_linkmode.errors import (
    EntryDamagedError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.link import Link, Linker, Made, file_system
from pip_linkmode.store import BYTECODE, Store
from pip_linkmode.wheel import current_umask, mode_of_new_file, wheel_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

    from pip_linkmode.link import Refusal
    from pip_linkmode.settings import Settings
    from pip_linkmode.skeleton import Layout
    from pip_linkmode.store import Entry

_log = logging.getLogger("pip_linkmode")
VERBOSE = 15
"""pip's level of ``-v`` (``_internal/utils/_log.py``)."""
_ATTEMPTS = 3
_LINKS = ("clone", "hardlink", "symlink")
_KILO = 1000
"""Decimal, as pip counts bytes."""


@dataclass
class Prepared:
    """A wheel whose bulk is linked and whose skeleton is packed."""

    entry: Entry
    fresh: bool
    """Whether the entry was made just now."""
    used: Counter[str]
    """Files by primitive."""
    bytes_shared: int
    """Bytes that were linked, not copied."""


@dataclass
class Session:
    """The installations of one pip command."""

    settings: Settings
    active: list[Session]
    """The sessions that are entered, this one among them while it is."""
    linker: Linker = field(default_factory=Linker)
    wheels: Counter[str] = field(default_factory=Counter)
    """Wheels by the primitive that made most of their files."""
    files: Counter[str] = field(default_factory=Counter)
    """Files by primitive."""
    bytes_saved: int = 0
    fresh: int = 0
    """Wheels that were unpacked for the first time."""
    left_to_pip: int = 0
    """Wheels that pip had to install alone."""

    def __enter__(self) -> Self:
        """Take part in what pip installs from now on."""
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self.umask = current_umask()
        self.workers = Workers(count)
        self.exclude = {canonicalize_name(name) for name in self.settings.exclude}
        self._stores: list[Store] | None = None
        self._said: set[str] = set()
        self.active.append(self)
        if self.settings.reason and self.settings.requested != "auto":
            self._say(self.settings.reason)
        self.stores()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave pip alone again, and no process behind."""
        self.active.remove(self)
        self.workers.stop()

    # --- one wheel --------------------------------------------------------------------

    def install(
        self,
        install: Callable[[str], None],
        name: str,
        wheel_path: str,
        scheme: Mapping[str, str],
        *,
        pycompile: bool,
        keep: bool,
    ) -> None:
        """Install one wheel, linked if that can be done, and else as pip does.

        :param install: pip's own installer, for a path of a wheel
        :param name: of the project
        :param wheel_path: of the wheel
        :param scheme: directories by key
        :param pycompile: whether pip would compile
        :param keep: whether the wheel may be of use a second time
        """
        if not keep or not self.stores():
            install(wheel_path)
            return
        made = Made()
        directory = tempfile.mkdtemp(prefix="pip-linkmode-")
        path = os.path.join(directory, os.path.basename(wheel_path))
        try:
            prepared = self._prepare(
                name, wheel_path, scheme, made, path, pycompile=pycompile
            )
            install(wheel_path if prepared is None else path)
        except BaseException:
            made.take_back()
            raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        self._count(name, prepared)

    def _prepare(
        self,
        name: str,
        wheel_path: str,
        scheme: Mapping[str, str],
        made: Made,
        skeleton_path: str,
        *,
        pycompile: bool,
    ) -> Prepared | None:
        """Link the bulk of a wheel and pack its skeleton; ``None`` to leave it to pip.

        What can be refused is looked at before the first file is touched.  If linking
        itself fails, pip gets the wheel: either it succeeds, or the error is its own.
        """
        reason = "its store entry keeps changing"
        for _ in range(_ATTEMPTS):
            try:
                entry, fresh = self._entry(name, wheel_path)
                layout = skeleton.lay_out(entry, scheme)
                compiled = self._bytecode(entry, layout) if pycompile else None
                links, pycs = self._plan(entry, layout, compiled)
                skeleton.pack(skeleton_path, entry, layout, pycs)
                before = self._bytes_shared()
                used = self._link(entry, layout, links, name, made)
                if pycompile and compiled is None:
                    pycs = _compile_in_place(layout, made)
                    skeleton.pack(skeleton_path, entry, layout, pycs)
            except EntryDamagedError as error:
                made.take_back()
                reason = str(error)
            except WheelDeclinedError as error:
                reason = str(error)
                break
            except (StoreRefusedError, OSError) as error:
                made.take_back()
                self._say(f"{error}; {name} is installed by pip alone")
                return None
            else:
                return Prepared(entry, fresh, used, self._bytes_shared() - before)
        self._verbose("%s is left to pip: %s", name, reason)
        return None

    def _bytes_shared(self) -> int:
        return sum(self.linker.bytes[primitive] for primitive in _LINKS)

    def _entry(self, name: str, wheel_path: str) -> tuple[Entry, bool]:
        """Find the entry of a wheel, or make it; say whether it was made."""
        damaged = False
        with open(wheel_path, "rb") as wheel:
            digest = wheel_digest(wheel)
            stores = self.stores()
            for store in stores:
                try:
                    entry = store.entry(digest)
                    if entry is not None:
                        entry.check()
                        return self._named(entry, name), False
                except EntryDamagedError as error:
                    damaged = damaged or store is self._writable()
                    self._verbose("%s is unpacked again: %s", name, error)
            wheel.seek(0)
            entry = self._writable().add(
                wheel,
                digest,
                os.path.basename(wheel_path),
                umask=self.umask,
                replace=damaged,
            )
        return self._named(entry, name), True

    @staticmethod
    def _named(entry: Entry, name: str) -> Entry:
        # pip refuses it before it writes (utils/wheel.py, wheel_dist_info_dir).
        if not canonicalize_name(entry.dist_info).startswith(canonicalize_name(name)):
            msg = f"its metadata is in {entry.dist_info}"
            raise WheelDeclinedError(msg)
        return entry

    def _bytecode(self, entry: Entry, layout: Layout) -> Bytecode | None:
        """Find the bytecode of an entry, or make it; ``None`` if it cannot be kept."""
        sources = {
            target.file.path: entry.source(target.file.path)
            for target in layout.linked
            if target.file.path.endswith(".py")
        }
        path = os.path.join(entry.path, BYTECODE, bytecode.interpreter())
        found = bytecode.load(path, tuple(sources)) if sources else Bytecode(path, {})
        if found is not None:
            return found
        store = next(store for store in self.stores() if store.root == entry.store)
        if not store.writable:
            return None
        try:
            with store.staging() as staged:
                bytecode.compile_into(staged, sources, self.workers)
                if os.path.lexists(path):
                    store.set_aside(path)
                store.publish(staged, path)
        except OSError as error:
            self._verbose("the bytecode of %s is not kept: %s", entry.wheel, error)
            return None
        return bytecode.load(path, tuple(sources))

    def _plan(
        self, entry: Entry, layout: Layout, compiled: Bytecode | None
    ) -> tuple[list[tuple[str, str, Link]], list[str]]:
        """List what to link, as (directory, area, link), and the pycs for RECORD."""
        mtime_ns = entry.mtime * 10**9
        links: dict[str, tuple[str, Link]] = {}
        pycs = []
        for target in layout.linked:
            file = target.file
            wanted = mode_of_new_file(self.umask, executable=bool(file.mode & 0o111))
            links[target.path] = (
                target.area,
                Link(
                    entry.source(file.path),
                    target.path,
                    file.size,
                    mtime_ns,
                    file.mode,
                    wanted,
                ),
            )
        files = compiled.files if compiled else {}
        for target in layout.linked:
            pyc = files.get(target.file.path)
            if (
                compiled is None
                or pyc is None
                or not bytecode.compiles_here(pyc.encoding)
            ):
                continue
            path, record = skeleton.bytecode_target(layout, target)
            pycs.append(record)
            executable = bool(target.file.mode & 0o111)
            wanted = mode_of_new_file(self.umask, executable=executable)
            # py_compile gives it the source's mode, but never an executable one.
            wanted = (wanted | 0o200) & 0o666 & ~self.umask
            links[path] = (
                target.area,
                Link(
                    compiled.source(target.file.path),
                    path,
                    pyc.size,
                    pyc.mtime_ns,
                    pyc.mode,
                    wanted,
                ),
            )
        return [
            (os.path.dirname(path), area, link) for path, (area, link) in links.items()
        ], pycs

    def _link(
        self,
        entry: Entry,
        layout: Layout,
        links: list[tuple[str, str, Link]],
        name: str,
        made: Made,
    ) -> Counter[str]:
        """Make all links of one wheel; ``made`` knows them at any time."""
        project = canonicalize_name(name)
        mode = "copy" if project in self.exclude else self.settings.mode
        if mode == "symlink":
            with contextlib.suppress(PermissionError):
                # A store that we may not write to is not ours to clean up either.
                environments.register(
                    entry.store, self.settings.target or layout.library
                )
            if project == "pip":
                # It resolves its own path to start its runner.
                mode = "private"
        groups: dict[tuple[str, str], list[Link]] = defaultdict(list)
        for directory in dict.fromkeys(directory for directory, _, _ in links):
            made.directory(directory)
        for directory, area, link in links:
            # pip's --target does not replace links that are directly in it.
            private = mode == "symlink" and directory == layout.library
            groups["private" if private else mode, area].append(link)
        used: Counter[str] = Counter()
        try:
            for (chain, area), group in groups.items():
                used += self.linker.link(
                    group, mode=chain, store=entry.store, area=area, made=made.files
                )
        except FileNotFoundError as error:
            if all(os.path.lexists(link.source) for _, _, link in links):
                raise
            msg = f"{entry.path} was taken away"
            raise EntryDamagedError(msg) from error
        return used

    # --- stores -----------------------------------------------------------------------

    def stores(self) -> list[Store]:
        """Return the stores that can be used, in the order of look-up."""
        if self._stores is None:
            self._stores = []
            for root in self.settings.stores:
                try:
                    self._stores.append(Store.open(root))
                except StoreRefusedError as error:
                    self._say(
                        f"{error}; set --link-store (PIP_LINK_STORE) to a directory "
                        "of your own"
                    )
        return self._stores

    def _writable(self) -> Store:
        for store in self.stores():
            if store.writable:
                return store
        msg = "the wheel is in none of the stores, which are read-only"
        raise WheelDeclinedError(msg)

    # --- what the user sees -----------------------------------------------------------

    def _say(self, sentence: str) -> None:
        """Warn, once."""
        if sentence not in self._said:
            self._said.add(sentence)
            _log.warning("pip-linkmode: %s", sentence)

    @staticmethod
    def _verbose(message: str, *args: object) -> None:
        _log.log(VERBOSE, message, *args)

    def _count(self, name: str, prepared: Prepared | None) -> None:
        if prepared is None:
            self.left_to_pip += 1
            return
        used = prepared.used
        mode = max((*_LINKS, "copy"), key=lambda primitive: used[primitive])
        if used[mode]:
            self.wheels[mode] += 1
        self.files += used
        self.fresh += prepared.fresh
        if not prepared.fresh:
            self.bytes_saved += prepared.bytes_shared
        self._verbose(
            "%s %s: %s%s",
            name,
            prepared.entry.version,
            ", ".join(
                f"{used[one]:,} {'empty' if one == 'empty' else f'files by {one}'}"
                for one in (*_LINKS, "copy", "empty")
                if used[one]
            ),
            "; unpacked for the first time" if prepared.fresh else "",
        )
        for refusal in self.linker.refusals.values():
            if refusal.primitive == self.settings.requested:
                self._say(_reason(refusal))

    def report(self) -> None:
        """Say in one line what was done, if anything was."""
        if not self.wheels:
            return
        (mode, count), *others = self.wheels.most_common()
        packages = f"{count} package{'s' if count != 1 else ''}"
        line = (
            f"Copied {packages} from the store"
            if mode == "copy"
            else f"Linked {packages} by {mode}"
        )
        line += "".join(f", {count} by {mode}" for mode, count in others)
        total = sum(self.files.values())
        details = f"{total:,} files"
        if self.bytes_saved:
            details += f", {_size(self.bytes_saved)} not written again"
        line += f" ({details})"
        if self.fresh:
            line += f"; {self.fresh} unpacked for the first time"
        if self.left_to_pip:
            line += f"; {self.left_to_pip} by pip alone (-v tells why)"
        for reason, files in self.linker.exceptions.items():
            line += f"; {files:,} files copied: {reason}"
        _log.info("%s", line)


def _compile_in_place(layout: Layout, made: Made) -> list[str]:
    targets = {
        os.path.join(layout.library, target.record): target
        for target in layout.linked
        if target.record.endswith(".py")
    }
    records = []
    for source, pyc in bytecode.compile_in_place(tuple(targets)):
        made.files.append(pyc)
        records.append(skeleton.bytecode_target(layout, targets[source])[1])
    return records


def _reason(refusal: Refusal) -> str:
    return (
        f"no {refusal.primitive} from {refusal.source} "
        f"({file_system(refusal.source)}) to {refusal.target} "
        f"({file_system(refusal.target)}): {refusal.error.strerror}; set --link-store "
        "to a directory on the file system of the environment, or --link-mode auto"
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < _KILO:
            return f"{size:,.0f} {unit}"
        size /= _KILO
    return f"{size:,.1f} GB"
