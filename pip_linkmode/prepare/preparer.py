"""Get wheels into the store, ahead of their turn.

pip names all wheels before it installs the first.  While it installs one, threads hash
the next ones, and worker interpreters unpack and compile those that no store has.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.files import file_digest
from pip_linkmode.prepare.compiler import compile_sources, ensure_bytecode
from pip_linkmode.prepare.pool import Workers, WorkersError
from pip_linkmode.prepare.takeover import adopted_entries, take_over
from pip_linkmode.prepare.wheel import unpack
from pip_linkmode.store.claims import claim_mtime
from pip_linkmode.store.layout import BYTECODE, FILES
from pip_linkmode.store.manifest import GONE, use
from pip_linkmode.store.paths import compiled_sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from pip_linkmode.interpreters import Interpreter
    from pip_linkmode.store.bytecode import Bytecode
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store


class StoredWheel(NamedTuple):
    """A wheel that is in one of the stores."""

    sha256: str
    fresh: bool
    """Whether it was unpacked just now."""
    replaced: str | None = None
    """The adopted entry that gave its files to the new entry, by sha256."""


@dataclass(frozen=True)
class PreparedWheel:
    """All that is needed to link one wheel."""

    entry: Entry
    bytecode: Bytecode | None
    """``None`` if it is not wanted, or cannot be kept."""
    fresh: bool
    """Whether the wheel was unpacked just now."""
    replaced: str | None = None
    """The adopted entry that gave its files to the entry, by sha256."""


class WheelFiles(Protocol):
    """The wheels to install: files, or stand-ins for files that are elsewhere."""

    def digest(self, path: str) -> str | None:
        """Return the sha256 of a wheel, if it is known without reading it."""

    def is_stand_in(self, path: str) -> bool:
        """Return whether it is a stand-in, which has no content to unpack."""

    def fetch(self, path: str) -> None:
        """Replace a stand-in by its wheel; leave any other file alone."""


class LocalWheels:
    """Wheels that are files, each to be hashed."""

    def digest(self, path: str) -> str | None:  # noqa: ARG002  # it knows of none
        """Return ``None``."""
        return None

    def is_stand_in(self, path: str) -> bool:  # noqa: ARG002  # the same
        """Return false."""
        return False

    def fetch(self, path: str) -> None:
        """Do nothing."""


class Preparer:
    """The way of wheels into some stores."""

    def __init__(
        self,
        stores: Sequence[Store],
        *,
        umask: int,
        pycompile: bool,
        write_store: Store | None = None,
        count: int | None = None,
        interpreter: Interpreter | None = None,
        wheel_files: WheelFiles | None = None,
    ) -> None:
        """Start nothing yet.

        :param stores: in the order of look-up; not empty
        :param umask: the umask in force
        :param pycompile: whether bytecode is wanted
        :param write_store: gets new entries; by default, the first that can
        :param count: how many worker interpreters to use; by default, one for each core
        :param interpreter: compiles; by default, the running one
        :param wheel_files: the wheels; by default, files that must be hashed
        """
        self._wheel_files = wheel_files or LocalWheels()
        self._stores = stores
        self._write_store = write_store or next(
            (s for s in stores if s.accepts(umask)), None
        )
        self._umask = umask
        self._pycompile = pycompile
        self._workers = Workers(count, interpreter)
        # One more than can be worked on, so that none waits for a hash.
        self._threads = ThreadPoolExecutor(self._workers.count + 1, "pip-linkmode")
        self._ahead: dict[str, Future[StoredWheel]] = {}
        self._digests: dict[str, str] = {}
        self._stopped = False

    def start(self, wheels: Iterable[str]) -> None:
        """Begin with wheels that will be asked for, in that order.

        :param wheels: absolute paths
        """
        for wheel in wheels:
            known = self._wheel_files.digest(wheel)
            if known is None or not any(store.has(known) for store in self._stores):
                self._ahead[wheel] = self._threads.submit(self._take, wheel)

    def stop(self) -> None:
        """Leave no thread and no process behind, whatever they are doing."""
        self._stopped = True
        with contextlib.ExitStack() as stack:
            stack.callback(self._threads.shutdown, cancel_futures=True)
            stack.callback(self._workers.stop)

    def prepare(self, wheel: str, *, replace: bool = False) -> PreparedWheel:
        """Return a wheel's entry and bytecode, sound as of now.

        :param wheel: absolute path of the wheel
        :param replace: unpack it again, since its entry is damaged
        :raises EntryDamagedError: if it is not sound; ask again with *replace*
        :raises WheelDeclinedError: if pip has to judge this wheel
        :raises StoreRefusedError: if the store is not fit to hold it
        :raises OSError: if the store cannot be written
        """
        ahead = self._ahead.pop(wheel, None)
        taken = ahead.result() if ahead and not replace else self._take(wheel, replace)
        name = os.path.basename(wheel)
        problem: EntryDamagedError = EntryGoneError(f"the entry of {name} is gone")
        for store in self._stores:
            try:
                entry = store.entry(taken.sha256)
                if entry is None:
                    continue
                entry.check()
            except EntryDamagedError as error:
                problem = error
            except OSError as error:
                # One that we may not read must not stand before one that we may.
                if error.errno not in (*GONE, errno.EACCES):
                    raise
                problem = EntryDamagedError(f"{error.filename}: {error.strerror}")
            else:
                if store.writable:
                    use(entry.path)
                compiled = None
                if self._pycompile:
                    compiled = ensure_bytecode(
                        self._workers, store, entry, self._write_store
                    )
                return PreparedWheel(entry, compiled, taken.fresh, taken.replaced)
        if taken.fresh and not isinstance(problem, EntryGoneError):
            msg = f"the store does not keep written files: {problem}"
            raise StoreRefusedError(msg)
        raise problem

    def expected(self, wheels: Iterable[str]) -> dict[str, set[str]]:
        """Return the entries that wheels have or will get, by root of the store.

        :param wheels: absolute paths; a wheel that cannot be read is left out
        """
        found: dict[str, set[str]] = defaultdict(set)
        for wheel in wheels:
            with contextlib.suppress(OSError):
                sha256 = self._digest(wheel)
                has_it = (store for store in self._stores if store.has(sha256))
                store = next(has_it, self._write_store)
                if store is not None:
                    found[store.root].add(sha256)
        return found

    def _digest(self, wheel: str) -> str:
        sha256 = self._wheel_files.digest(wheel) or self._digests.get(wheel)
        if sha256 is None:
            with open(wheel, "rb") as file:
                sha256 = self._digests[wheel] = file_digest(file)
        return sha256

    def _take(self, wheel: str, replace: bool = False) -> StoredWheel:
        if replace:  # it may have been changed
            self._digests.pop(wheel, None)
        sha256 = self._digest(wheel)
        for store in () if replace else self._stores:
            if store.has(sha256):
                return StoredWheel(sha256, fresh=False)
        if self._wheel_files.is_stand_in(wheel):
            msg = f"the entry of {os.path.basename(wheel)} is gone"
            raise EntryGoneError(msg)
        if self._write_store is None:
            raise _read_only(is_damaged=replace)
        with self._write_store.staging() as staged:
            files = os.path.join(staged, FILES)
            project = os.path.basename(wheel).partition("-")[0]
            adopted = adopted_entries(self._write_store, project, sha256)
            mtime, replaced = 0, None
            if not adopted:
                now = int(time.time())
                mtime = claim_mtime(self._write_store, project, sha256, now)
            manifest = self._unpack(wheel, files, mtime)
            if manifest.pop("wheel_sha256") != sha256:
                msg = f"{wheel} was changed while it was read"
                raise EntryDamagedError(msg)
            if adopted:
                replaced = take_over(
                    self._write_store, project, sha256, files, manifest, adopted
                )
            paths = (path for path, *_ in manifest["files"])
            sources = compiled_sources(paths, manifest["dist_info"])
            if self._pycompile and sources:
                name = self._workers.interpreter.name
                directory = os.path.join(staged, BYTECODE, name)
                compile_sources(self._workers, files, sources, directory)
            manifest["wheel"] = os.path.basename(wheel)
            self._write_store.publish_entry(staged, sha256, manifest, replace=replace)
        return StoredWheel(sha256, fresh=True, replaced=replaced)

    def _unpack(self, wheel: str, directory: str, mtime: int) -> dict[str, Any]:
        try:
            manifest: dict[str, Any]
            job = self._workers.submit("unpack", wheel, directory, self._umask, mtime)
            manifest = job.result()
        except WorkersError:
            if self._stopped:
                raise
            shutil.rmtree(directory, ignore_errors=True)
            with open(wheel, "rb") as file:
                manifest = unpack(file, directory, umask=self._umask, mtime=mtime)
        return manifest


def _read_only(*, is_damaged: bool) -> WheelDeclinedError:
    """Return the error for a wheel that no store can take."""
    msg = "it is in none of the stores, and they are read-only"
    if is_damaged:
        msg = "its stored files are damaged, and the store is read-only"
    return WheelDeclinedError(msg)
