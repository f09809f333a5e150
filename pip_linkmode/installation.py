"""One installation: find or make the entry, link the bulk, let pip do the rest.

Knows nothing of pip but what its installer is called with: the name of the project, a
path of a wheel, the directories of the scheme, and the installer itself.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode import bytecode, environments, skeleton
from pip_linkmode.entry import FILES, GONE, MANIFEST
from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.intake import Intake, not_known
from pip_linkmode.link import Link, Linker, Made, file_system
from pip_linkmode.placement import Place, by_chain
from pip_linkmode.settings import is_temporary
from pip_linkmode.store import Store, arrange
from pip_linkmode.wheel import current_umask, mode_of_new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from pip_linkmode.bytecode import Bytecode
    from pip_linkmode.entry import Entry
    from pip_linkmode.intake import Found
    from pip_linkmode.link import Refusal
    from pip_linkmode.settings import Settings
    from pip_linkmode.skeleton import Layout

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
    ahead: Sequence[str] = ()
    """Paths of the wheels that pip is going to install, in order."""
    pycompile: bool = True
    """Whether pip is going to compile."""
    known: Callable[[str], str | None] = not_known
    """Return the sha256 of a wheel, if its bytes have just been hashed anyway."""
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
    _said: set[object] = field(default_factory=set)
    _mounted: set[str] = field(default_factory=set)
    """Stores that are on another file system than what has symlinks to them."""

    def __enter__(self) -> Self:
        """Take part in what pip installs from now on."""
        self.umask = current_umask()
        self._exclude = {canonicalize_name(name) for name in self.settings.exclude}
        self._encodings: dict[str, bool] = {}
        with contextlib.ExitStack() as stack:
            if self.settings.reason and self.settings.requested != "auto":
                self._say(self.settings.reason)
            self._intake = self._open_stores()
            if self._intake is not None:
                self._directory = tempfile.mkdtemp(prefix="pip-linkmode-")
                stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
                stack.callback(self._intake.stop)
                self._intake.announce(self.ahead)
            self.active.append(self)
            stack.callback(self.active.remove, self)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave pip alone again, and no process behind."""
        self._exit.close()

    def _open_stores(self) -> Intake | None:
        stores = []
        for root in self.settings.stores:
            try:
                trust = self.settings.trust_group
                stores.append(Store.open(root, trust_group=trust))
            except StoreRefusedError as error:
                self._say(
                    f"{error}; set --link-store (PIP_LINK_STORE) to a directory of "
                    "your own"
                )
        if not stores:
            return None
        stores, home = arrange(
            stores,
            self.settings.destination,
            anywhere=self.settings.mode in ("symlink", "copy"),
            umask=self.umask,
        )
        return Intake(
            stores,
            umask=self.umask,
            pycompile=self.pycompile,
            home=home,
            known=self.known,
            look_ahead=self.settings.mode != "symlink",
        )

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
        if not keep or self._intake is None:
            install(wheel_path)
            return
        made = Made()
        path = os.path.join(self._directory, os.path.basename(wheel_path))
        try:
            prepared = self._prepare(
                self._intake, name, wheel_path, scheme, made, path, pycompile
            )
            install(wheel_path if prepared is None else path)
        except BaseException:
            made.take_back()
            raise
        self._count(name, prepared)

    def _prepare(
        self,
        intake: Intake,
        name: str,
        wheel_path: str,
        scheme: Mapping[str, str],
        made: Made,
        skeleton_path: str,
        pycompile: bool,
    ) -> Prepared | None:
        """Link the bulk of a wheel and pack its skeleton; ``None`` to leave it to pip.

        What can be refused is looked at before the first file is touched.  If linking
        itself fails, pip gets the wheel: either it succeeds, or the error is its own.
        """
        reason, replace = "its store entry keeps changing", False
        for _ in range(_ATTEMPTS):
            try:
                found = self._find(intake, name, wheel_path, replace=replace)
            except EntryDamagedError as error:
                self._verbose("%s is unpacked again: %s", name, error)
                reason, replace = str(error), True
                continue
            except WheelDeclinedError as error:
                reason = str(error)
                break
            except Exception as error:  # never worse than pip alone
                self._say(self._trouble(error))
                return None
            try:
                layout = skeleton.lay_out(found.entry, scheme)
                compiled = found.bytecode if pycompile else None
                places, pycs = self._plan(found.entry, layout, compiled)
                skeleton.pack(skeleton_path, found.entry, layout, pycs)
                before = self._bytes_shared()
                used = self._link(found, layout, places, name, made)
                if pycompile and compiled is None:
                    pycs = _compile_in_place(layout, made)
                    skeleton.pack(skeleton_path, found.entry, layout, pycs)
            except EntryDamagedError as error:
                made.take_back()
                reason, replace = str(error), True
            except WheelDeclinedError as error:
                reason = str(error)
                break
            except Exception as error:  # the same
                made.take_back()
                # A full disk is met by every wheel.
                number = getattr(error, "errno", None)
                self._say(f"{error}; {name} is installed by pip alone", number)
                return None
            else:
                size = self._bytes_shared() - before
                return Prepared(found.entry, found.fresh, used, size)
        self._verbose("%s is left to pip: %s", name, reason)
        return None

    def _trouble(self, error: Exception) -> str:
        """Say in one sentence why a store is of no use."""
        stores = os.pathsep.join(self.settings.stores)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return (
            f"the store {stores} cannot be used: {reason or type(error).__name__}; "
            "what is not in it is installed by pip alone"
        )

    def _bytes_shared(self) -> int:
        return sum(self.linker.bytes[primitive] for primitive in _LINKS)

    @staticmethod
    def _find(intake: Intake, name: str, wheel_path: str, *, replace: bool) -> Found:
        found = intake.find(wheel_path, replace=replace)
        # pip refuses it before it writes (utils/wheel.py, wheel_dist_info_dir).
        dist_info = canonicalize_name(found.entry.dist_info)
        if not dist_info.startswith(canonicalize_name(name)):
            msg = f"its metadata is in {found.entry.dist_info}"
            raise WheelDeclinedError(msg)
        return found

    def _plan(
        self, entry: Entry, layout: Layout, compiled: Bytecode | None
    ) -> tuple[list[Place], list[str]]:
        """List what to link, and the RECORD paths of the bytecode among it."""
        plain = mode_of_new_file(self.umask, executable=False)
        executable = mode_of_new_file(self.umask, executable=True)
        base = f"{entry.path}/{FILES}/"
        mtime_ns = entry.mtime * 10**9
        places = {}
        for target in layout.linked:
            path, size, _, mode = target.file
            wanted = executable if mode & 0o111 else plain
            link = Link(base + path, target.path, size, mtime_ns, mode, wanted)
            places[target.path] = Place(target.area, link)
        pycs: list[str] = []
        if compiled is None:
            return list(places.values()), pycs
        # py_compile gives a file its source's mode, but never makes it executable.
        wanted = (plain | 0o200) & 0o666 & ~self.umask
        for target, path, record in skeleton.bytecode_targets(layout):
            pyc = compiled.files.get(target.file.path)
            if pyc is None or not self._compiles_here(pyc.encoding):
                continue
            pycs.append(record)
            source = compiled.source(target.file.path)
            link = Link(source, path, pyc.size, pyc.mtime_ns, pyc.mode, wanted)
            # It takes the place of one that the wheel may have brought.
            places[path] = Place(target.area, link)
        return list(places.values()), pycs

    def _link(
        self,
        found: Found,
        layout: Layout,
        places: list[Place],
        name: str,
        made: Made,
    ) -> Counter[str]:
        """Make all links of one wheel; ``made`` knows them at any time."""
        entry = found.entry
        project = canonicalize_name(name)
        mode = "copy" if project in self._exclude else self.settings.mode
        directories = {link.target.rpartition(os.sep)[0] for _, link in places}
        for directory in sorted(directories):
            made.directory(directory)
        self._register(entry, layout.library, mode)
        used: Counter[str] = Counter()
        try:
            for store, chosen in _by_store(found, places):
                # Bytecode that is not in its entry may be cleared away at any time.
                lasting = store == entry.store or mode != "symlink"
                groups = by_chain(
                    chosen,
                    project=project,
                    library=layout.library,
                    mode=mode if lasting else "private",
                    linker=self.linker,
                )
                for (chain, area), group in groups.items():
                    used += self.linker.link(
                        group, mode=chain, store=store, area=area, made=made.files
                    )
            if mode == "symlink":
                # A clean-up may have looked here before the links were there.
                os.lstat(os.path.join(entry.path, MANIFEST))
                # And a relink too, which forgets symlinks where it finds none.
                self._register(entry, layout.library, mode)
        except OSError as error:
            if error.errno not in GONE:
                raise
            if error.errno != errno.ESTALE and all(
                map(
                    os.path.lexists,
                    (
                        os.path.join(entry.path, MANIFEST),
                        *(link.source for _, link in places),
                    ),
                )
            ):
                raise
            msg = f"{entry.path} is gone"
            raise EntryGoneError(msg) from error
        if used["symlink"]:
            ends = (entry.store, layout.library)
            if len({os.stat(end).st_dev for end in ends}) > 1:
                self._mounted.add(entry.store)
        return used

    def _register(self, entry: Entry, library: str, mode: str) -> None:
        """Note who is going to use an entry."""
        target = self.settings.target
        if mode == "symlink":
            # pip moves from the one to the other.
            users = [library, target] if target else [library]
            # A store that we may not write to is not ours to clean up either.
            ignored: type[OSError] = PermissionError
        else:
            # What is temporary need not be known; and it would only be for information.
            users = [target or library] if not is_temporary(target or library) else []
            ignored = OSError
        for user in users:
            with contextlib.suppress(ignored):
                environments.register(entry.store, user, entry.sha256, mode)

    def _compiles_here(self, encoding: str) -> bool:
        if encoding not in self._encodings:
            self._encodings[encoding] = bytecode.compiles_here(encoding)
        return self._encodings[encoding]

    # --- what the user sees -----------------------------------------------------------

    def _say(self, sentence: str, kind: object = None) -> None:
        """Warn, once.

        :param kind: of what else this is one more case, which need not be told
        """
        if (kind or sentence) not in self._said:
            self._said.add(kind or sentence)
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
                # A wheel may have files in several areas.
                self._say(_reason(refusal), (refusal.primitive, refusal.error.errno))

    def _alone(self) -> str:
        return f"{self.left_to_pip} by pip alone (-v tells why)"

    def report(self) -> None:
        """Say in one line what was done, if anything was."""
        if not self.wheels:
            if self.left_to_pip:
                _log.info("Linked nothing; %s", self._alone())
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
            line += f"; {self._alone()}"
        _log.info("%s", line + "".join(self._not_shared()))

    def _not_shared(self) -> Iterator[str]:
        """List what to add to the summary; who asked for a link is warned."""
        requested = self.settings.requested
        for store in sorted(self._mounted):
            where = f"{store} ({file_system(store)})"
            yield f"; the links dangle while {where} is not mounted"
        for reason, files in self.linker.exceptions.items():
            if requested in _LINKS:
                self._say(f"{files:,} files without a {requested}: {reason}")
            yield f"; {files:,} files not shared: {reason}"
        if requested == "auto" and self.wheels["copy"]:
            for refusal in self.linker.refusals.values():
                if refusal.primitive == "hardlink":
                    yield f"; {_refused(refusal)}"
                    break


def _by_store(found: Found, places: list[Place]) -> list[tuple[str, list[Place]]]:
    """Divide the files of a wheel by where they are linked from."""
    entry, compiled = found.entry, found.bytecode
    if compiled is None or compiled.path.startswith(entry.path):
        return [(entry.store, places)]
    parts: tuple[list[Place], list[Place]] = [], []
    for place in places:
        parts[not place.link.source.startswith(entry.path)].append(place)
    return [(entry.store, parts[0]), (os.path.dirname(compiled.path), parts[1])]


def _compile_in_place(layout: Layout, made: Made) -> list[str]:
    records = []
    for target, pyc, record in skeleton.bytecode_targets(layout):
        source = os.path.join(layout.library, target.record)
        made.directory(os.path.dirname(pyc))
        if bytecode.compile_in_place(source, pyc):
            made.files.append(pyc)
            records.append(record)
    return records


def _refused(refusal: Refusal) -> str:
    return (
        f"no {refusal.primitive} from {refusal.source} "
        f"({file_system(refusal.source)}) to {refusal.target} "
        f"({file_system(refusal.target)}): {refusal.error.strerror}"
    )


def _reason(refusal: Refusal) -> str:
    if refusal.error.errno == errno.EXDEV:
        hint = "set --link-store to a directory on the file system of the environment"
    else:
        hint = "--link-mode auto takes the best that can be had"
    return f"{_refused(refusal)}; {hint}"


def _size(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < _KILO:
            return f"{size:,.0f} {unit}"
        size /= _KILO
    return f"{size:,.1f} GB"
