"""Plan and make the links of one wheel."""

from __future__ import annotations

import contextlib
import errno
import os
import py_compile
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.layout import bytecode_targets
from pip_linkmode.environments.register import register, register_all
from pip_linkmode.environments.users import move_uses
from pip_linkmode.errors import EntryGoneError
from pip_linkmode.files import is_temporary, mode_of_new_file
from pip_linkmode.install.lost import why_unreachable
from pip_linkmode.install.times import renew
from pip_linkmode.link.placement import Place, by_chain
from pip_linkmode.link.primitives import Link
from pip_linkmode.store.layout import FILES, MANIFEST
from pip_linkmode.store.manifest import GONE, assert_present

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pip_linkmode.environments.layout import Layout
    from pip_linkmode.install.rollback import Rollback
    from pip_linkmode.link.linker import Linker
    from pip_linkmode.prepare.preparer import PreparedWheel
    from pip_linkmode.settings import Settings
    from pip_linkmode.store.bytecode import Bytecode
    from pip_linkmode.store.entry import Entry

LINKS = ("clone", "hardlink", "symlink")
"""Primitives that share a file, and write no bytes."""


class WheelLinker:
    """Links the wheels of one pip command."""

    def __init__(self, settings: Settings, linker: Linker, umask: int) -> None:
        """Store the settings.

        :param settings: of the command
        :param linker: makes the links
        :param umask: the umask in force
        """
        self.linker = linker
        self.mounted: set[str] = set()
        """Stores on another file system than the environment with the symlinks."""
        self.unreachable: set[str] = set()
        """Reasons why other users of an environment cannot follow its symlinks."""
        self._settings, self._umask = settings, umask
        self._exclude = {canonicalize_name(name) for name in settings.exclude}
        self._encodings: dict[str, bool] = {}
        self._announced: set[str] = set()
        self.expected: Callable[[], Mapping[str, Collection[str]]] = dict
        """Return the entries of all wheels of the command, by root of the store."""

    @property
    def bytes_shared(self) -> int:
        """How many bytes were linked, not copied, until now."""
        return sum(self.linker.bytes[primitive] for primitive in LINKS)

    def plan(
        self, entry: Entry, layout: Layout, compiled: Bytecode | None
    ) -> tuple[list[Place], list[str]]:
        """List the links to make, and the RECORD paths of the bytecode among them.

        :param entry: the wheel
        :param layout: where its files go
        :param compiled: its bytecode, if that is linked too
        """
        bytecode, records = self._plan_bytecode(layout, compiled)
        stamped = {place.source for place in bytecode.values()}
        plain = mode_of_new_file(self._umask, executable=False)
        executable = mode_of_new_file(self._umask, executable=True)
        base = f"{entry.path}/{FILES}/"
        # The time of a source stands in its bytecode.
        mtime_ns, now = entry.mtime * 10**9, time.time_ns()
        places = {}
        for target in layout.linked:
            path, size, _, mode = target.file
            wanted = executable if mode & 0o111 else plain
            time_ns = mtime_ns if target.path in stamped else now
            link = Link(base + path, target.path, size, time_ns, mode, wanted)
            places[target.path] = Place(target.target_root, link, path)
        # Bytecode replaces that of the wheel, as pip's does.
        return list({**places, **bytecode}.values()), records

    def _plan_bytecode(
        self, layout: Layout, compiled: Bytecode | None
    ) -> tuple[dict[str, Place], list[str]]:
        places: dict[str, Place] = {}
        records: list[str] = []
        if compiled is None:
            return places, records
        # py_compile gives a file its source's mode, but never makes it executable.
        plain = mode_of_new_file(self._umask, executable=False)
        wanted = (plain | 0o200) & 0o666 & ~self._umask
        for target, path, record in bytecode_targets(layout):
            name = target.file.path
            pyc = compiled.files.get(name)
            if pyc is None or not self._compiles_here(pyc.encoding):
                continue
            records.append(record)
            source = compiled.source(name)
            link = Link(source, path, pyc.size, pyc.mtime_ns, pyc.mode, wanted)
            places[path] = Place(target.target_root, link, f"{name}c", target.path)
        return places, records

    def link(
        self,
        found: PreparedWheel,
        layout: Layout,
        places: list[Place],
        name: str,
        created: Rollback,
    ) -> Counter[str]:
        """Make all links of one wheel; ``created`` knows them at any time.

        :param found: the wheel
        :param layout: where its files go
        :param places: the result of :meth:`plan`
        :param name: of the project
        :param created: receives the created files and directories
        :returns: files by primitive
        :raises EntryGoneError: if another process has taken the entry away
        :raises OSError: if a file cannot be linked
        """
        entry = found.entry
        project = canonicalize_name(name)
        mode = "copy" if project in self._exclude else self._settings.mode
        directories = {link.target.rpartition(os.sep)[0] for _, link, *_ in places}
        for directory in sorted(directories):
            created.directory(directory)
        self._register(entry, layout.site_packages, mode)
        if found.replaced is not None:
            with contextlib.suppress(OSError):  # then the old entry stays for longer
                move_uses(entry.store, found.replaced, entry.sha256)
        used: Counter[str] = Counter()
        try:
            for store, chosen in _by_store(found, places):
                # Bytecode that is not in its entry may be cleared away at any time.
                lasting = store == entry.store or mode != "symlink"
                groups = by_chain(
                    chosen,
                    project=project,
                    site_packages=layout.site_packages,
                    mode=mode if lasting else "no_symlink",
                    linker=self.linker,
                )
                for (chain, target_root), group in groups.items():
                    used += self.linker.link(
                        group,
                        mode=chain,
                        store=store,
                        target_root=target_root,
                        created=created.files,
                    )
            renew(places, self.linker.copies)
            if mode == "symlink":
                # A clean-up may have looked here before the links were there.
                _assert_present(entry)
                # A symlink to a file that was removed in between is not an error.
                entry.check()
                # And a relink too, which forgets symlinks where it finds none.
                self._register(entry, layout.site_packages, mode)
        except OSError as error:
            if error.errno not in GONE:
                raise
            if error.errno != errno.ESTALE and all(
                map(
                    os.path.lexists,
                    (
                        os.path.join(entry.path, MANIFEST),
                        *(link.source for _, link, *_ in places),
                    ),
                )
            ):
                raise
            msg = f"{entry.path} is gone"
            raise EntryGoneError(msg) from error
        if used["symlink"]:
            self._examine(entry.store, layout.site_packages)
        return used

    def _examine(self, store: str, site_packages: str) -> None:
        """Note a reason that keeps programs from following symlinks into a store."""
        if os.stat(store).st_dev != os.stat(site_packages).st_dev:
            self.mounted.add(store)
        reason = why_unreachable(store, site_packages)
        if reason is not None:
            self.unreachable.add(reason)

    def _register(self, entry: Entry, site_packages: str, mode: str) -> None:
        """Note which environment is going to use an entry.

        With symlinks, all entries of the command are noted before the first link, so
        that they are written to the disk once.
        """
        target = self._settings.target
        if mode == "symlink":
            # pip moves from the one to the other.
            users = [site_packages, target] if target else [site_packages]
            # A store that we may not write to is not ours to clean up either.
            ignored: type[OSError] = PermissionError
        else:
            # A temporary environment need not be known; this is only for information.
            users = (
                [target or site_packages]
                if not is_temporary(target or site_packages)
                else []
            )
            ignored = OSError
        for user in users:
            if mode == "symlink" and user not in self._announced:
                self._announced.add(user)
                for store, sha256s in self.expected().items():
                    with contextlib.suppress(ignored):
                        register_all(store, user, sha256s, mode)
            with contextlib.suppress(ignored):
                register(entry.store, user, entry.sha256, mode)

    def _compiles_here(self, encoding: str) -> bool:
        if encoding not in self._encodings:
            self._encodings[encoding] = compiles_here(encoding)
        return self._encodings[encoding]


def _assert_present(entry: Entry) -> None:
    """Raise an error if an entry was taken away; write nothing to a read-only store."""
    if os.access(entry.store, os.W_OK):
        assert_present(entry.store, entry.path)
    else:
        os.lstat(os.path.join(entry.path, MANIFEST))


def _by_store(
    found: PreparedWheel, places: list[Place]
) -> list[tuple[str, list[Place]]]:
    """Divide the files of a wheel by where they are linked from."""
    entry, compiled = found.entry, found.bytecode
    if compiled is None or compiled.path.startswith(entry.path):
        return [(entry.store, places)]
    parts: tuple[list[Place], list[Place]] = [], []
    for place in places:
        parts[not place.link.source.startswith(entry.path)].append(place)
    return [(entry.store, parts[0]), (os.path.dirname(compiled.path), parts[1])]


def compile_layout(layout: Layout, created: Rollback) -> list[str]:
    """Compile installed files where they are; return the RECORD paths of the bytecode.

    :param layout: where they are
    :param created: receives the created files and directories
    """
    records = []
    for target, pyc, record in bytecode_targets(layout):
        source = os.path.join(layout.site_packages, target.record)
        created.directory(os.path.dirname(pyc))
        if compile_in_place(source, pyc):
            created.files.append(pyc)
            records.append(record)
    return records


def compiles_here(encoding: str) -> bool:
    """Return whether this process, as it is now, can compile such a source.

    pip 26.3 blocks the import of codecs while it installs, and therefore skips sources
    in encodings that were not used before; so pip-linkmode must skip them too.
    """
    if encoding in ("utf-8", "utf-8-sig"):
        return True
    try:
        compile(f"# coding: {encoding}\n".encode("ascii"), "<encoding>", "exec")
    except Exception:  # pip's BlockedImportError is not an ImportError
        return False
    return True


def compile_in_place(source: str, target: str) -> bool:
    """Compile an installed file where it is, as pip does; say whether it compiles.

    Used if no store can keep the result.

    :param source: absolute path of the ``.py``
    :param target: absolute path of the ``.pyc``
    """
    try:
        if os.path.islink(target):  # py_compile refuses to replace one
            os.unlink(target)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore")
            py_compile.compile(source, cfile=target, doraise=True)
    except Exception:  # as in compileall; or a blocked import
        return False
    return True
