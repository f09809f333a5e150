"""All that is done inside pip: the seam, and one installation through it.

The seam is ``pip._internal.operations.install.wheel.install_wheel``, whose leading
parameters have been the same since pip 21.3.  It is recognised by its shape, not by
pip's version: an unknown pip is left alone.  What it gains in keywords is passed on.

Loaded by :mod:`pip_linkmode._options` just before something is installed; everything
is imported here and now, because pip 26.3 blocks imports once it installs.
"""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pip
import wrapt
from packaging.utils import canonicalize_name
from pip._internal.operations.install import wheel as pip_wheel

from pip_linkmode import bytecode, environments, skeleton
from pip_linkmode.bytecode import Bytecode, Workers
from pip_linkmode.errors import (
    EntryDamagedError,
    LinkmodeError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.link import (
    Link,
    Linker,
    Made,
    current_umask,
    file_system,
    mode_of_new_file,
)
from pip_linkmode.store import BYTECODE, Store, wheel_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from typing_extensions import Self

    from pip_linkmode.link import Refusal
    from pip_linkmode.settings import Settings
    from pip_linkmode.skeleton import Layout
    from pip_linkmode.store import Entry

_log = logging.getLogger("pip_linkmode")
VERBOSE = 15
"""pip's level of ``-v`` (``_internal/utils/_log.py``)."""
_LEADING = ("name", "wheel_path", "scheme", "req_description", "pycompile")
_SCHEME_KEYS = ("platlib", "purelib", "headers", "scripts", "data")
_ATTEMPTS = 3
_LINKS = ("clone", "hardlink", "symlink")


class SeamError(LinkmodeError):
    """This pip is not of the shape that we know."""


def apply() -> None:
    """Wrap pip's ``install_wheel``, once.

    :raises SeamError: if it is not there, or its leading parameters are others
    """
    stock = getattr(pip_wheel, "install_wheel", None)
    if isinstance(stock, wrapt.FunctionWrapper):
        return
    if stock is None:
        msg = f"pip {pip.__version__} has no install_wheel"
        raise SeamError(msg)
    leading = tuple(inspect.signature(stock).parameters)[: len(_LEADING)]
    if leading != _LEADING:
        msg = f"install_wheel of pip {pip.__version__} begins with {', '.join(leading)}"
        raise SeamError(msg)
    wrapt.wrap_function_wrapper(pip_wheel, "install_wheel", _install_wheel)
    # pip 26.1 and older have bound the name where it is called.
    caller = sys.modules.get("pip._internal.req.req_install")
    if getattr(caller, "install_wheel", None) is stock:
        setattr(caller, "install_wheel", pip_wheel.install_wheel)  # noqa: B010  # a module


def _install_wheel(
    wrapped: Callable[..., None],
    instance: object,  # noqa: ARG001  # wrapt hands it to every wrapper
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    if not Session.active:
        return wrapped(*args, **kwargs)
    arguments = inspect.signature(wrapped).bind(*args, **kwargs)
    arguments.apply_defaults()

    def install(wheel_path: str) -> None:
        arguments.arguments["wheel_path"] = wheel_path
        wrapped(*arguments.args, **arguments.kwargs)

    given = arguments.arguments
    scheme = {key: getattr(given["scheme"], key) for key in _SCHEME_KEYS}
    # A wheel of a local directory, editable or not, is thrown away after this.
    origin = type(getattr(given.get("direct_url"), "info", None)).__name__
    Session.active[-1].install(
        install,
        given["name"],
        given["wheel_path"],
        scheme,
        pycompile=given["pycompile"],
        keep=origin != "DirInfo",
    )
    return None


@dataclass
class Prepared:
    """A wheel whose bulk is linked and whose skeleton is packed."""

    entry: Entry
    fresh: bool
    """Whether the entry was made just now."""
    used: Counter[str]
    """Files by primitive."""
    bytes_shared: int


@dataclass
class Session:
    """The installations of one pip command."""

    settings: Settings
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

    active = []  # type: ignore[var-annotated]  # noqa: RUF012  # list[Session], of the class

    def __enter__(self) -> Self:
        """Take part in what pip installs from now on."""
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
        self.umask = current_umask()
        self.workers = Workers(count)
        self.exclude = {canonicalize_name(name) for name in self.settings.exclude}
        self._stores: list[Store] | None = None
        self._said: set[str] = set()
        Session.active.append(self)
        if self.settings.reason and self.settings.requested != "auto":
            self._say(self.settings.reason)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave pip alone again, and no process behind."""
        Session.active.remove(self)
        self.workers.stop()

    # --- one wheel --------------------------------------------------------------------

    def install(  # noqa: PLR0913  # what pip hands over, no more
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

    def _prepare(  # noqa: PLR0913  # the same, and where to put it
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

        :raises OSError: if the environment cannot be written, as pip would raise it
        """
        reason = "its store entry keeps changing"
        for _ in range(_ATTEMPTS):
            try:
                entry, fresh = self._entry(name, wheel_path)
                layout = skeleton.lay_out(entry, scheme)
                compiled = self._bytecode(entry, layout) if pycompile else None
            except EntryDamagedError as error:
                reason = str(error)
                continue
            except WheelDeclinedError as error:
                self._verbose("%s is left to pip: %s", name, error)
                return None
            except (StoreRefusedError, OSError) as error:
                self._say(f"{error}; {name} is installed by pip alone")
                return None
            try:
                links, pycs = self._plan(entry, layout, compiled)
                used = self._link(entry, layout, links, name, made)
                if pycompile and compiled is None:
                    pycs = _compile_in_place(layout, made)
                text = skeleton.record(
                    entry.read(f"{entry.dist_info}/RECORD").decode(), layout, pycs
                )
                skeleton.pack(skeleton_path, entry, layout, text)
            except (EntryDamagedError, WheelDeclinedError) as error:
                made.take_back()
                reason = str(error)
                if isinstance(error, WheelDeclinedError):
                    break
                continue
            shared = sum(used[primitive] for primitive in _LINKS)
            size = sum(link.size for _, _, link in links) if shared else 0
            return Prepared(entry, fresh, used, size)
        self._verbose("%s is left to pip: %s", name, reason)
        return None

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
        # pip refuses it before it writes anything (utils/wheel.py, wheel_dist_info_dir).
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
        for target in layout.linked if compiled else ():
            assert compiled is not None  # noqa: S101  # for mypy: the loop is empty then
            pyc = compiled.files.get(target.file.path)
            if pyc is None or not bytecode.compiles_here(pyc.encoding):
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
            environments.register(entry.store, self.settings.target or layout.library)
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
        self.wheels[mode] += 1
        self.files += used
        self.fresh += prepared.fresh
        if not prepared.fresh:
            self.bytes_saved += prepared.bytes_shared
        self._verbose(
            "%s %s: %s%s",
            name,
            prepared.entry.version,
            ", ".join(f"{count:,} files by {mode}" for mode, count in used.items()),
            "; unpacked for the first time" if prepared.fresh else "",
        )
        for refusal in self.linker.refusals.values():
            if refusal.primitive == self.settings.requested:
                self._say(_reason(refusal))

    def report(self) -> None:
        """Say in one line what was done, if anything was."""
        if not self.wheels:
            return
        parts = []
        for mode, count in self.wheels.most_common():
            packages = f"{count} package{'s' if count != 1 else ''}"
            parts.append(
                f"copied {packages} from the store"
                if mode == "copy"
                else f"linked {packages} by {mode}"
            )
        total = sum(self.files.values())
        details = f"{total:,} files"
        if self.bytes_saved:
            details += f", {_size(self.bytes_saved)} not written again"
        line = f"{', '.join(parts)} ({details})"
        if self.fresh:
            line += f"; {self.fresh} unpacked for the first time"
        if self.left_to_pip:
            line += f"; {self.left_to_pip} by pip alone (-v tells why)"
        for reason, files in self.linker.exceptions.items():
            line += f"; {files:,} files copied: {reason}"
        _log.info("%s", line[0].upper() + line[1:])


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
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:  # noqa: PLR2004  # decimal, as pip counts
            return f"{count:,.0f} {unit}"
        count /= 1000  # type: ignore[assignment]  # only its magnitude is left
    return f"{count:,.1f} GB"
