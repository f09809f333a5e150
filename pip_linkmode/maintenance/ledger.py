"""What trees really take on the disk, and what deleting them would give back.

Links make sums lie, so nothing is summed twice: an inode counts once, however many
names it has, and where file systems clone, an extent counts once, however many files
have it.  What deleting a tree frees is what nobody else holds: inodes whose names are
all in the tree, and extents that no file outside of it has.

Taken for granted: what btrfs and xfs keep in trees of their own is estimated, parts
that are compressed count as if they were not, and an extent that two of our trees share
is not held by a third party as well.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.files import allocated
from pip_linkmode.link import filesystems
from pip_linkmode.link.filesystems import sharing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pip_linkmode.link.filesystems import Overhead, Sharing


_BY_DESCRIPTOR = os.scandir in os.supports_fd and os.readlink in os.supports_dir_fd
_FLAGS = os.O_RDONLY
for _name in ("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"):
    _FLAGS |= getattr(os, _name, 0)
_ALLOCATED, _NAMES, _OWNERS, _SEEN = range(4)
_Inode = list[int]
"""Bytes on the disk, names in all, a bit for each tree that has one, names seen."""
_LEAST = 4096
"""What a compressed extent takes at least."""


@dataclass
class Account:
    """One tree."""

    path: str
    bit: int
    logical: int = 0
    """Bytes that it would take without links: each file by itself."""
    frees: int = 0
    """Bytes that deleting it would give back."""
    links: int = 0
    """Bytes that symlinks into a store take themselves."""
    files: int = 0

    @property
    def shared(self) -> int:
        """Bytes of it that others hold too."""
        return self.logical - self.private

    @property
    def private(self) -> int:
        """Bytes of it that nobody else has."""
        return self.frees - self.links


class _Part(NamedTuple):
    """Where a part of a file is on the disk."""

    start: int
    end: int
    scale: float
    """Bytes of content for each byte between the two."""
    inode: _Inode
    is_shared: bool


@dataclass
class _Device:
    """One file system."""

    clones: bool
    tells_inodes: bool
    overhead: Overhead
    inodes: dict[int, _Inode] = field(default_factory=dict)
    """What has more than one name, by number."""
    clonable: list[tuple[str, os.stat_result, _Inode]] = field(default_factory=list)
    """What may share extents; what it takes is not known before these are."""
    links: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    """What a symlink takes, and what is behind it in a store, by where it leads."""
    link_sizes: dict[int, int] = field(default_factory=dict)
    """What a symlink takes, by its length."""


class Ledger:
    """Accounts of trees that may share what they have."""

    def __init__(
        self,
        stores: Sequence[str] = (),
        known: dict[int, Sharing] | None = None,
        apart: Iterable[str] = (),
    ) -> None:
        """Begin with nothing.

        :param stores: absolute paths; what symlinks into them lead to belongs to who
            has the link
        :param known: file systems by device, for who opens thousands of ledgers
        :param apart: absolute paths of trees with an account of their own, wherever
            they are
        """
        self.allocated = 0
        """Bytes on the disk of all trees together; call :meth:`settle` before."""
        self.held = 0
        """Bytes of these that somebody else has too."""
        self.accounts: list[Account] = []
        self._devices: dict[int, _Device] = {}
        prefixes = {*stores, *map(os.path.realpath, stores)}
        self._prefixes = tuple(os.path.join(path, "") for path in prefixes)
        self._apart = frozenset(map(_resolve, apart))
        self._known = {} if known is None else known
        self._settled = False

    def add(
        self, path: str, on_progress: Callable[[], object] = lambda: None
    ) -> Account:
        """Open the account of a tree, and walk it; what cannot be read is left out.

        :param path: absolute path of a directory
        :param on_progress: called after each directory
        """
        account = Account(path, 1 << len(self.accounts))
        self.accounts.append(account)
        # The root may be a link; nothing below it is followed.
        waiting = [_resolve(path)]
        while waiting:
            directory = waiting.pop()
            with contextlib.suppress(OSError):
                self._directory(directory, account, waiting)
            on_progress()
        return account

    def _directory(self, path: str, account: Account, waiting: list[str]) -> None:
        if not _BY_DESCRIPTOR:  # pragma: no cover  # Windows
            self._scan(path, os.lstat(path), None, account, waiting)
            return
        # A fifth faster: the kernel need not walk down to each file again.
        descriptor = os.open(path, _FLAGS)
        try:
            status = os.fstat(descriptor)
            self._scan(path, status, descriptor, account, waiting)
        finally:
            os.close(descriptor)

    def _scan(
        self,
        path: str,
        status: os.stat_result,
        descriptor: int | None,
        account: Account,
        waiting: list[str],
    ) -> None:
        device = self._device(status.st_dev, path)
        inodes, bit, tells_inodes = device.inodes, account.bit, device.tells_inodes
        per_name, per_inode = device.overhead.name, device.overhead.inode
        own = logical = allocated(status) + per_name + per_inode
        with os.scandir(path if descriptor is None else descriptor) as entries:
            for entry in entries:
                known = inodes.get(entry.inode()) if tells_inodes else None
                if known is None:
                    if entry.is_dir(follow_symlinks=False):
                        below = f"{path}{os.sep}{entry.name}"
                        if below not in self._apart:
                            waiting.append(below)
                        continue
                    if entry.is_symlink():
                        leads_to = os.readlink(entry.path, dir_fd=descriptor)
                        own += self._symlink(leads_to, path, entry, account, device)
                        continue
                    status = entry.stat(follow_symlinks=False)
                    known = inodes.get(status.st_ino)
                account.files += 1
                own += per_name
                logical += per_name
                if known is None:
                    size = allocated(status) + per_inode
                    is_data = device.clones and stat.S_ISREG(status.st_mode)
                    is_data = is_data and bool(status.st_size)
                    if status.st_nlink == 1 and not is_data:
                        own += size
                        logical += size
                        continue
                    known = [size, status.st_nlink, 0, 0]
                    if status.st_nlink > 1:
                        inodes[status.st_ino] = known
                    if is_data:
                        known[_ALLOCATED] = 0
                        below = f"{path}{os.sep}{entry.name}"
                        device.clonable.append((below, status, known))
                known[_OWNERS] |= bit
                known[_SEEN] += 1
                logical += known[_ALLOCATED]
        account.logical += logical
        account.frees += own
        self.allocated += own

    def _device(self, number: int, path: str) -> _Device:
        if number not in self._devices:
            if number not in self._known:
                self._known[number] = sharing(path)
            self._devices[number] = _Device(*self._known[number])
        return self._devices[number]

    def _symlink(
        self,
        leads_to: str,
        directory: str,
        entry: os.DirEntry[str],
        account: Account,
        device: _Device,
    ) -> int:
        """Count what is behind a link into a store; return what the link takes."""
        if leads_to not in device.links:
            behind = None
            if leads_to.startswith(self._prefixes):
                try:
                    behind = allocated(os.stat(leads_to))
                except OSError:
                    behind = 0  # it dangles
            path = f"{directory}{os.sep}{entry.name}"
            device.links[leads_to] = _size_of_link(path, leads_to, device), behind
        own, behind = device.links[leads_to]
        if behind is None:
            account.logical += own
        else:
            account.logical += behind
            account.links += own
            account.files += 1
        return own

    def settle(self, on_progress: Callable[[], object] = lambda: None) -> None:
        """Decide what is shared, when all trees are in.

        :param on_progress: called after each file that had to be asked for its extents
        """
        if self._settled:
            return
        self._settled = True
        for device in self._devices.values():
            for inode in device.inodes.values():
                self._count(inode[_ALLOCATED], [inode])
            self._extents(device, on_progress)

    def _count(
        self, amount: int, inodes: Sequence[_Inode], *, is_held: bool = False
    ) -> None:
        """Count what some inodes have in common.

        :param is_held: whether somebody else has it too
        """
        self.allocated += amount
        owners = 0
        for inode in inodes:
            owners |= inode[_OWNERS]
            is_held |= inode[_SEEN] < inode[_NAMES]
        if is_held:
            self.held += amount
        elif not owners & (owners - 1):
            self.accounts[owners.bit_length() - 1].frees += amount

    def _extents(self, device: _Device, on_progress: Callable[[], object]) -> None:
        """Ask where the files that may share are, and count what is there."""
        overhead = device.overhead
        found: list[_Part] = []
        for path, status, inode in device.clonable:
            own, logical = overhead.inode, 0.0
            extents = filesystems.extents(path)
            if extents is None:
                own += allocated(status)
                extents = []
            for start, length, is_compressed, is_shared in extents:
                if start is None:
                    size = min(status.st_size, length)
                    own += overhead.inline + round(size * overhead.inline_factor)
                    continue
                own += overhead.reference
                logical += overhead.extent + length * (1 + overhead.checksums)
                scale = length / _LEAST if is_compressed else 1
                end = start + (_LEAST if is_compressed else length)
                found.append(_Part(start, end, scale, inode, is_shared))
            self._count(own, [inode])
            for account in self._owners(inode):
                account.logical += own + round(logical)
            on_progress()
        self._sweep(found, overhead)

    def _sweep(self, found: Sequence[_Part], overhead: Overhead) -> None:
        """Go over the disk: what is between two borders belongs to who is there."""
        borders = [(part.start, True, n) for n, part in enumerate(found)]
        borders += [(part.end, False, n) for n, part in enumerate(found)]
        borders.sort()
        present: dict[int, None] = {}
        partners: dict[int, list[_Inode]] = {}
        alone: list[tuple[int, int]] = []
        last = 0
        for position, begins, index in borders:
            if present and position > last:
                first = found[next(iter(present))]
                size = (position - last) * first.scale * (1 + overhead.checksums)
                amount = overhead.extent + round(size)
                if len(present) == 1 and first.is_shared:
                    alone.append((next(iter(present)), amount))
                else:
                    inodes = [found[one].inode for one in present]
                    partners.update(dict.fromkeys(present, inodes))
                    self._count(amount, inodes)
            last = position
            if begins:
                present[index] = None
            else:
                del present[index]
        for index, amount in alone:
            # A part that only one file still has goes with the last who has any of it;
            # if nobody is known who has, somebody is who is not known.
            inodes = partners.get(index, [found[index].inode])
            self._count(amount, inodes, is_held=index not in partners)

    def _owners(self, inode: _Inode) -> list[Account]:
        owners, found = inode[_OWNERS], []
        while owners:
            bit = owners & -owners
            found.append(self.accounts[bit.bit_length() - 1])
            owners ^= bit
        return found


def _resolve(path: str) -> str:
    return os.path.realpath(path) if os.path.islink(path) else path


def _size_of_link(path: str, leads_to: str, device: _Device) -> int:
    """Return what a symlink takes; some file systems keep it in their own trees."""
    overhead, length = device.overhead, len(os.fsencode(leads_to))
    if length not in device.link_sizes:
        content = allocated(os.lstat(path))
        if overhead.inline:
            content = overhead.inline + round(length * overhead.inline_factor)
        device.link_sizes[length] = content + overhead.name + overhead.inode
    return device.link_sizes[length]


@dataclass(frozen=True)
class Space:
    """What some trees take together."""

    allocated: int
    """Bytes on the disk."""
    frees: int
    """Bytes that deleting all of them would give back."""


def measure(paths: Iterable[str], known: dict[int, Sharing] | None = None) -> Space:
    """Measure trees as if they were one.

    :param paths: absolute paths
    :param known: see :class:`Ledger`
    """
    ledger = Ledger(known=known)
    for path in paths:
        ledger.add(path)
    ledger.settle()
    return Space(ledger.allocated, ledger.allocated - ledger.held)
