"""The store: every wheel unpacked once, keyed by the sha256 of its bytes.

::

    <store>/CACHEDIR.TAG
    <store>/v1/wheels/<first two>/<sha256>/manifest.json
                                           files/…        the wheel, as pip writes it
                                           bytecode/<interpreter>/…
    <store>/v1/bytecode/…       of entries in stores that are read-only
    <store>/v1/environments/…   site-packages directories with symlinks into the store
    <store>/v1/staging/…        what is being unpacked

``v1`` is the layout; a change that older versions cannot read gets another directory.
What is in an entry: see :mod:`pip_linkmode.entry`.

An entry is *whole or absent*: it is unpacked in ``staging`` and published by one
rename, so no lock is needed to read or to publish.  The lock on a staging directory
only tells the sweeper of left-overs that its owner lives.  Nothing in an entry is
trusted because it is there: before a file is linked, at most two seconds before
(:mod:`pip_linkmode.lookahead`), its size, mtime and mode are compared with the
manifest, and an entry that differs is set aside and rebuilt from the wheel in hand.
No symlink inside the store is ever followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pip_linkmode.entry import (
    BYTECODE,
    MANIFEST,
    MANIFEST_VERSION,
    load_entry,
    write_manifest,
)
from pip_linkmode.errors import StoreRefusedError
from pip_linkmode.link import probe
from pip_linkmode.wheel import make_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pip_linkmode.entry import Entry

if sys.platform != "win32":  # pragma: no branch  # Windows
    import fcntl

LAYOUT = "v1"
_DIRECTORIES = ("wheels", "bytecode", "staging", "environments")
_PARTS = (LAYOUT, *(f"{LAYOUT}/{name}" for name in _DIRECTORIES))
"""The directories of a store, in the order in which they are made."""
_GROUP_READS = 0o050
_DIGEST = 64
"""Length of a sha256, hexadecimal."""
STALE_SECONDS = 24 * 60 * 60
"""Age at which a staging directory of another host is taken for a left-over."""

_TAG = """\
Signature: 8a477f597d28d172789f06886806bc55
# This directory is a cache of pip-linkmode. See https://bford.info/cachedir/
# Environments installed with --link-mode symlink need it.
"""


@dataclass(frozen=True)
class Store:
    """A directory with entries, which exists and may be trusted."""

    root: str
    """Absolute path."""
    writable: bool
    shared: bool = False
    """Whether all members of its group write to it."""
    beside: tuple[str, ...] = ()
    """Absolute paths of the stores that are looked after together, this one too."""

    @classmethod
    def open(cls, root: str, *, trust_group: bool = False) -> Store:
        """Open a store, made if it does not exist.

        :param root: absolute path
        :param trust_group: accept one that its group, which is ours too, can write to
        :raises StoreRefusedError: if it is not a directory, cannot be made, or others
            could put files into it: an entry is code that will be imported
        """
        try:
            with contextlib.suppress(FileExistsError):
                os.makedirs(os.path.dirname(root), exist_ok=True)
                os.mkdir(root, 0o755)
            status = os.stat(root)
        except OSError as error:
            msg = f"the store {root} cannot be made: {error.strerror}"
            raise StoreRefusedError(msg) from error
        if not stat.S_ISDIR(status.st_mode):
            msg = f"the store {root} is not a directory"
            raise StoreRefusedError(msg)
        for part in _PARTS:
            if os.path.islink(os.path.join(root, part)):
                msg = f"the store {root} has a link in the place of {part}"
                raise StoreRefusedError(msg)
        writable = os.access(root, os.W_OK | os.X_OK)
        shared = writable and _is_shared(root, status, trust_group=trust_group)
        store = cls(root, writable, shared)
        for part in _PARTS if shared else ():
            with contextlib.suppress(OSError):  # another member has to
                store._make(os.path.join(root, part))
        if not writable and not os.path.isdir(os.path.join(root, LAYOUT)):
            msg = f"the store {root} is not writable, and has nothing in it"
            raise StoreRefusedError(msg)
        return store

    def takes(self, umask: int) -> bool:
        """Tell whether it can be given what is made under a umask.

        What the members of a group cannot read is in their way.
        """
        return self.writable and not (self.shared and umask & _GROUP_READS)

    def path(self, sha256: str) -> str:
        """Return the absolute path of an entry, whether it is there or not."""
        return os.path.join(self.root, LAYOUT, "wheels", sha256[:2], sha256)

    def bytecode(self, entry: Entry, interpreter: str) -> str:
        """Return the absolute path for what is compiled of an entry of another store.

        :param entry: in a store that cannot be written to
        :param interpreter: see :func:`pip_linkmode.bytecode.interpreter`
        """
        # Times are stamped into it.
        name = f"{entry.sha256}-{entry.mtime}-{interpreter}"
        return os.path.join(self.root, LAYOUT, BYTECODE, name)

    def spare_bytecode(self) -> list[str]:
        """Return the absolute paths of what :meth:`bytecode` is for."""
        return _directories(os.path.join(self.root, LAYOUT, BYTECODE))

    def entry(self, sha256: str) -> Entry | None:
        """Return the entry of a wheel, or ``None``.

        :param sha256: of the wheel's bytes, hexadecimal
        :raises EntryDamagedError: if it is there and its manifest is not sound
        """
        return load_entry(self.path(sha256), self.root, sha256)

    def has(self, sha256: str) -> bool:
        """Tell whether there is an entry of a wheel, sound or not."""
        return os.path.lexists(self.path(sha256))

    def entries(self) -> list[str]:
        """Return the absolute paths of all entries, sound or not, by digest."""
        wheels = os.path.join(self.root, LAYOUT, "wheels")
        found: list[str] = []
        for parent in _directories(wheels):
            found += _directories(parent)
        return found

    def probe(self, directory: str) -> dict[str, str | None]:
        """Find out by which primitives files can be linked to a directory, by doing it.

        :param directory: absolute path; nothing is left there
        :returns: see :func:`pip_linkmode.link.probe`; nothing if there is no file
        :raises OSError: if the store cannot be written
        """
        for entry in self.entries():
            with contextlib.suppress(OSError):
                return probe(os.path.join(entry, MANIFEST), directory)
        if not self.writable:
            return {}
        with self.staging() as staged:
            source = os.path.join(staged, MANIFEST)
            write_manifest(source, {})
            return probe(source, directory)

    def take_away(self, sha256: str, staged: str) -> str | None:
        """Move an entry out of everybody's way, by one rename.

        If we are killed then, the next who sweeps puts it back.

        :param staged: a staging directory of this store
        :returns: where it is now; ``None`` if it is not there any more
        :raises OSError: if the store cannot be changed
        """
        away = os.path.join(staged, sha256)
        try:
            _refuse_link(os.path.dirname(self.path(sha256)))
            os.rename(self.path(sha256), away)
        except FileNotFoundError:
            return None
        return away

    def bring_back(self, away: str) -> None:
        """Move an entry back, unless another process has made it anew meanwhile.

        :param away: what :meth:`take_away` has returned
        :raises OSError: if the store cannot be changed
        """
        final = self.path(os.path.basename(away))
        # Without a manifest it is no entry, but bytecode that came too late.
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
        :param manifest: what :func:`pip_linkmode.wheel.unpack` says, and the file name
        :param replace: set aside the entry that is there, because it is damaged
        :returns: as :meth:`publish`
        :raises OSError: if it cannot be written
        """
        final = self.path(sha256)
        manifest = {"manifest": MANIFEST_VERSION, "sha256": sha256, **manifest}
        write_manifest(os.path.join(staged, MANIFEST), manifest)
        return self.publish(staged, final, replace=replace)

    def publish(self, staged: str, final: str, *, replace: bool = False) -> bool:
        """Move a staged directory to its place by one rename.

        :param replace: take what is there out of the way first, at the last moment:
            environments with symlinks have no files in between
        :returns: whether it was moved; not if another process was faster
        :raises OSError: if the store cannot be changed
        """
        self._make(os.path.dirname(final))
        _refuse_link(os.path.dirname(final))
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

        The name says on which host it was made, and a lock says that its maker lives.
        """
        parent = os.path.join(self.root, LAYOUT, "staging")
        self._make(parent)
        _refuse_link(parent)
        self._tag()
        sweep(parent)
        while True:
            path = os.path.join(parent, f"{_host()}-{os.urandom(8).hex()}")
            os.mkdir(path, 0o755)
            with contextlib.suppress(FileNotFoundError):
                _disinherit(path)
                lock = _lock(path)
                if os.path.isdir(path):
                    break
                _unlock(lock)  # pragma: no cover  # a sweeper came between the two
        try:
            yield path
        finally:
            # What was taken away and neither deleted nor brought back.
            with contextlib.suppress(OSError):
                _return_entries(path, os.path.join(self.root, LAYOUT, "wheels"))
            shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)

    def _make(self, directory: str) -> None:
        """Make a directory in which all of the group may publish, if it is theirs."""
        if os.path.isdir(directory):
            return
        if self.shared and directory != self.root:
            self._make(os.path.dirname(directory))
        make_directory(directory)
        if self.shared:
            with contextlib.suppress(PermissionError):  # another member has made it
                # The choice of who has made the store so.
                os.chmod(directory, 0o2775)  # noqa: S103  # as above

    def _tag(self) -> None:
        # Back-up programs know this file (https://bford.info/cachedir/). Not "ascii":
        # pip 26.3 would block the import of that codec.
        path = os.path.join(self.root, "CACHEDIR.TAG")
        if not os.path.lexists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write(_TAG)


def _directories(path: str) -> list[str]:
    """Return the absolute paths of the directories in a directory, by name."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.path for e in entries if e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _refuse_link(directory: str) -> None:
    if os.path.islink(directory):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", directory)


def _disinherit(directory: str) -> None:
    """Keep group and ACL of the store's place away from files that will be shared."""
    if hasattr(os, "chown"):
        with contextlib.suppress(OSError):
            os.chown(directory, -1, os.getegid())
    os.chmod(directory, os.stat(directory).st_mode & 0o777)
    if hasattr(os, "removexattr"):
        with contextlib.suppress(OSError):
            os.removexattr(directory, "system.posix_acl_default")


def _is_shared(root: str, status: os.stat_result, *, trust_group: bool) -> bool:
    """Tell whether a store that can be written to is that of a group.

    :raises StoreRefusedError: if others than we and a trusted group can write to it
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return False
    group = stat.S_ISGID | stat.S_IWGRP
    ours = status.st_gid in {os.getegid(), *os.getgroups()}
    is_a_groups = status.st_mode & group == group and ours
    shared = is_a_groups and trust_group
    hint = "; --link-trust-group (PIP_LINK_TRUST_GROUP) trusts its group"
    if status.st_uid != os.geteuid() and not shared:
        msg = f"the store {root} belongs to another user{hint if is_a_groups else ''}"
        raise StoreRefusedError(msg)
    if status.st_mode & (stat.S_IWOTH if shared else stat.S_IWOTH | stat.S_IWGRP):
        what = hint if is_a_groups and not status.st_mode & stat.S_IWOTH else ""
        msg = f"the store {root} can be written to by others{what}"
        raise StoreRefusedError(msg)
    # What a group had once is not private again because its root is.
    for part in () if shared else _PARTS:
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(os.path.join(root, part)).st_mode & 0o022:
                msg = f"{part} of the store {root} can be written to by others"
                raise StoreRefusedError(msg)
    return shared


def _device(path: str) -> int:
    """Return the device of a path, or of what it will be made in."""
    while True:
        try:
            return os.stat(path).st_dev
        except FileNotFoundError:
            if path == os.path.dirname(path):
                raise
            path = os.path.dirname(path)


def arrange(
    stores: Sequence[Store], destination: str, *, anywhere: bool, umask: int
) -> tuple[list[Store], Store | None]:
    """Decide where to look for entries, and which store gets new ones.

    Only a store on the file system that is installed to can share all that it has; so
    if there is one to write to, what only others have is unpacked there once more.
    What can be linked is not decided here: the first real link shows it.

    :param stores: in the order of the setting
    :param destination: absolute path of what is installed to
    :param anywhere: whether files of another file system are as good: as for symlinks
    :param umask: the umask in force
    :returns: the stores in the order of look-up, and the one for what is in none
    """
    device = _device(destination)
    near = [store for store in stores if _device(store.root) == device]
    home = next((store for store in (*near, *stores) if store.takes(umask)), None)
    if anywhere:
        return list(stores), home
    if home in near:
        return near, home
    return [*near, *(store for store in stores if store not in near)], home


def _host() -> str:
    return re.sub(r"[^\w.]", "_", socket.gethostname()) or "host"


def sweep(staging: str) -> None:
    """Remove what the dead have left in a staging directory.

    A lock that can be taken tells that the maker is dead, if it was on this host;
    what another host has left must be a day old.

    :param staging: the directory that holds staging directories
    """
    for name in os.listdir(staging):
        path = os.path.join(staging, name)
        with contextlib.suppress(OSError):
            old = time.time() - os.lstat(path).st_mtime > STALE_SECONDS
            if not old and name.rpartition("-")[0] != _host():
                continue
            lock = _lock(path, wait=False)
            if lock is not None or old:
                _return_entries(path, os.path.join(os.path.dirname(staging), "wheels"))
                shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)


@contextlib.contextmanager
def locked(directory: str) -> Iterator[None]:
    """Hold the lock of a directory, where the file system has locks.

    :param directory: absolute path; a link is not followed
    :raises BlockingIOError: if another process holds it
    """
    lock = _lock(directory, wait=False)
    try:
        yield
    finally:
        _unlock(lock)


def _return_entries(staged: str, wheels: str) -> None:
    """Put back whole entries that were taken away by who has been killed since."""
    for sha256 in os.listdir(staged):
        away = os.path.join(staged, sha256)
        final = os.path.join(wheels, sha256[:2], sha256)
        if (
            len(sha256) == _DIGEST
            and os.path.lexists(os.path.join(away, MANIFEST))
            and not os.path.lexists(final)
        ):
            os.rename(away, final)


if sys.platform != "win32":  # pragma: no branch  # Windows

    def _lock(path: str, *, wait: bool = True) -> int | None:
        """Lock a directory; ``None`` where the file system cannot.

        :raises BlockingIOError: if another holds it, and *wait* is false
        """
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise
            return None
        return descriptor

    def _unlock(lock: int | None) -> None:
        if lock is not None:
            os.close(lock)

else:  # pragma: no cover  # Windows

    def _lock(path: str, *, wait: bool = True) -> int | None:
        """Return ``None``: Windows does not lock directories."""
        del path, wait

    def _unlock(lock: int | None) -> None:
        del lock
