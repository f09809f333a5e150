"""The store: every wheel unpacked once, keyed by the sha256 of its bytes.

::

    <store>/CACHEDIR.TAG
    <store>/v1/wheels/<first two>/<sha256>/manifest.json
                                           files/…        the wheel, as pip writes it
                                           bytecode/<interpreter>/…
    <store>/v1/bytecode/…       of entries in stores that are read-only
    <store>/v1/environments/…   site-packages directories with symlinks into the store
    <store>/v1/projects/…       modification times, see :mod:`pip_linkmode.store.claims`
    <store>/v1/staging/…        wheels being unpacked

``v1`` is the layout; a change that older versions cannot read gets another directory.
The files of an entry: see :mod:`pip_linkmode.store.entry`.

An entry is *whole or absent*: it is unpacked in ``staging`` and published by one
rename, so no lock is needed to read or to publish.  The lock on a staging directory
only tells the sweeper of left-overs that its owner lives.  Nothing in an entry is
trusted because it is there: before a file is linked, its size, mtime and mode are
compared with the manifest, and an entry that differs is set aside and rebuilt from the
wheel.
No symlink inside the store is ever followed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pip_linkmode.errors import StoreRefusedError
from pip_linkmode.files import lock_directory, lock_scope, make_directory, unlock
from pip_linkmode.store.entry import MANIFEST_VERSION, cached_entry
from pip_linkmode.store.layout import (
    BYTECODE,
    FILES,
    LAYOUT,
    MANIFEST,
    PARTS,
    TAG,
    directories_in,
    entry_path,
)
from pip_linkmode.store.manifest import check_unpacked, write_manifest
from pip_linkmode.store.staging import (
    disinherit,
    refuse_link,
    return_entries,
    sweep,
)
from pip_linkmode.store.trust import check_parents, is_shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.store.entry import Entry


_GROUP_READS = 0o050


def check_is_store(root: str) -> None:
    """Raise if a directory cannot be a store, since it has other files.

    :param root: absolute path; one that does not exist, or is empty, can become a store
    :raises StoreRefusedError: if it has other files
    """
    present = set(os.listdir(root)) if os.path.isdir(root) else set()
    if present - {"lost+found"} and LAYOUT not in present:
        msg = f"{root} is not a store"
        raise StoreRefusedError(msg)


@dataclass(frozen=True)
class Store:
    """A directory with entries, which exists and may be trusted."""

    root: str
    """Absolute path."""
    writable: bool
    shared: bool = False
    """Whether all members of its group write to it."""
    related_stores: tuple[str, ...] = ()
    """Absolute paths of the stores that are looked after together, this one too."""

    @classmethod
    def open(cls, root: str, *, trust_group: bool = False) -> Store:
        """Open a store, made if it does not exist.

        :param root: absolute path
        :param trust_group: accept one that its group, which is ours too, can write to
        :raises StoreRefusedError: if it is not a directory, cannot be made, or others
            could put files into it: an entry is code that will be imported
        """
        if not os.path.lexists(root):
            check_parents(root, None, trust_group=trust_group)
        try:
            # On a read-only mount, EROFS may come before EEXIST.
            if not os.path.isdir(root):
                with contextlib.suppress(FileExistsError):
                    make_directory(os.path.dirname(root))
                    os.mkdir(root, 0o755)
            status = os.stat(root)
        except OSError as error:
            msg = f"the store {root} cannot be made: {error.strerror}"
            raise StoreRefusedError(msg) from error
        if not stat.S_ISDIR(status.st_mode):
            msg = f"the store {root} is not a directory"
            raise StoreRefusedError(msg)
        for part in PARTS:
            if os.path.islink(os.path.join(root, part)):
                msg = f"the store {root} has a link in the place of {part}"
                raise StoreRefusedError(msg)
        writable = os.access(root, os.W_OK | os.X_OK)
        shared = writable and is_shared(root, status, trust_group=trust_group)
        check_parents(root, status.st_uid, trust_group=trust_group)
        store = cls(root, writable, shared)
        for part in PARTS if shared else ():
            with contextlib.suppress(OSError):  # another member has to
                store.make_directory(os.path.join(root, part))
        if not writable and not os.path.isdir(os.path.join(root, LAYOUT)):
            msg = f"the store {root} is not writable, and has nothing in it"
            raise StoreRefusedError(msg)
        return store

    def accepts(self, umask: int) -> bool:
        """Return whether it accepts files that are made under a umask.

        Entries that group members cannot read would hide usable ones.
        """
        return self.writable and not (self.shared and umask & _GROUP_READS)

    def path(self, sha256: str) -> str:
        """Return the absolute path of an entry, whether it is there or not."""
        return entry_path(self.root, sha256)

    def bytecode(self, entry: Entry, interpreter: str) -> str:
        """Return the absolute path for bytecode of an entry of another store.

        :param entry: in a store that cannot be written to
        :param interpreter: see :func:`pip_linkmode.interpreters.interpreter`
        """
        # Times are stamped into it.
        name = f"{entry.sha256}-{entry.mtime}-{interpreter}"
        return os.path.join(self.root, LAYOUT, BYTECODE, name)

    def detached_bytecode(self) -> list[str]:
        """Return the absolute paths of bytecode of entries of other stores."""
        return directories_in(os.path.join(self.root, LAYOUT, BYTECODE))

    def entry(self, sha256: str, *, remember: bool = False) -> Entry | None:
        """Return the entry of a wheel, or ``None``.

        :param sha256: of the wheel's bytes, hexadecimal
        :param remember: whether this process is going to need it again
        :raises EntryDamagedError: if it is there and its manifest is not sound
        """
        return cached_entry(self.path(sha256), self.root, sha256, remember=remember)

    def has(self, sha256: str) -> bool:
        """Return whether there is an entry of a wheel, sound or not."""
        return os.path.lexists(self.path(sha256))

    def entries(self) -> list[str]:
        """Return the absolute paths of all entries, sound or not, by digest."""
        wheels = os.path.join(self.root, LAYOUT, "wheels")
        found: list[str] = []
        for parent in directories_in(wheels):
            found += directories_in(parent)
        return found

    def take_away(self, sha256: str, staged: str) -> str | None:
        """Move an entry out of everybody's way, by one rename.

        After a kill, the next sweep of left-overs puts it back.

        :param staged: a staging directory of this store
        :returns: where it is now; ``None`` if it is not there any more
        :raises OSError: if the store cannot be changed
        """
        away = os.path.join(staged, sha256)
        try:
            refuse_link(os.path.dirname(self.path(sha256)))
            os.rename(self.path(sha256), away)
        except FileNotFoundError:
            return None
        return away

    def bring_back(self, away: str) -> None:
        """Move an entry back, unless another process has made it again.

        :param away: the path that :meth:`take_away` has returned
        :raises OSError: if the store cannot be changed
        """
        final = self.path(os.path.basename(away))
        # Without a manifest it is bytecode that came too late, not an entry.
        whole = os.path.lexists(os.path.join(final, MANIFEST))
        self.publish(away, final, replace=os.path.lexists(final) and not whole)

    @staticmethod
    def delete(away: str) -> None:
        """Delete an entry that was taken away, so that it cannot come back in part.

        :raises OSError: if it cannot be deleted
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(away, MANIFEST))
        shutil.rmtree(away)

    def publish_entry(
        self, staged: str, sha256: str, manifest: dict[str, Any], *, replace: bool
    ) -> bool:
        """Make an entry of a staged directory that holds an unpacked wheel.

        Of several processes that do this at once, one wins, and all get its entry.

        :param staged: a staging directory of this store, with :data:`FILES` in it
        :param manifest: see :func:`pip_linkmode.prepare.wheel.unpack`; and
            the file name
        :param replace: set aside the entry that is there, because it is damaged
        :returns: as :meth:`publish`
        :raises EntryDamagedError: if a file is missing
        :raises OSError: if it cannot be written
        """
        final = self.path(sha256)
        check_unpacked(os.path.join(staged, FILES), manifest)
        manifest = {"manifest": MANIFEST_VERSION, "sha256": sha256, **manifest}
        write_manifest(os.path.join(staged, MANIFEST), manifest)
        return self.publish(staged, final, replace=replace)

    def publish(self, staged: str, final: str, *, replace: bool = False) -> bool:
        """Move a staged directory to its place by one rename.

        :param replace: move an existing directory out of the way at the last moment:
            environments with symlinks have no files in between
        :returns: whether it was moved; not if another process was faster
        :raises OSError: if the store cannot be changed
        """
        self.make_directory(os.path.dirname(final))
        refuse_link(os.path.dirname(final))
        with contextlib.ExitStack() as stack:
            if replace:
                aside = stack.enter_context(self.staging())
                with contextlib.suppress(FileNotFoundError):
                    os.rename(final, os.path.join(aside, "aside"))
            try:
                os.rename(staged, final)
            except OSError:
                if os.path.isdir(final):
                    return False
                raise
        return True

    @contextlib.contextmanager
    def staging(self) -> Iterator[str]:
        """Make a directory on the store's file system, which does not outlive its use.

        A lock says that its maker lives; the name says to which processes it does.
        """
        parent = os.path.join(self.root, LAYOUT, "staging")
        self.make_directory(parent)
        refuse_link(parent)
        _tag(self.root)
        sweep(parent)
        while True:
            path = os.path.join(parent, f"{lock_scope(parent)}-{os.urandom(8).hex()}")
            os.mkdir(path, 0o755)
            with contextlib.suppress(FileNotFoundError):
                disinherit(path)
                lock = lock_directory(path)
                if os.path.isdir(path):
                    break
                unlock(lock)  # pragma: no cover  # a sweeper came between the two
        try:
            yield path
        finally:
            # Entries that were taken away and neither deleted nor brought back.
            with contextlib.suppress(OSError):
                return_entries(path, os.path.join(self.root, LAYOUT, "wheels"))
            shutil.rmtree(path, ignore_errors=True)
            unlock(lock)

    def make_directory(self, directory: str) -> None:
        """Make a directory, writable by the group if the store is shared."""
        if os.path.isdir(directory):
            return
        if self.shared and directory != self.root:
            self.make_directory(os.path.dirname(directory))
        make_directory(directory)
        if self.shared:
            with contextlib.suppress(PermissionError):  # another member has made it
                # The maker of the store has chosen this.
                os.chmod(directory, 0o2775)  # noqa: S103  # as above


def _tag(root: str) -> None:
    # Back-up programs know this file (https://bford.info/cachedir/). Not "ascii":
    # pip 26.3 would block the import of that codec.
    path = os.path.join(root, "CACHEDIR.TAG")
    if not os.path.lexists(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(TAG)
