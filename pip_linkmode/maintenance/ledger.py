"""Count the disk space of trees, and the space that deleting them would free.

Links make sums wrong, so nothing is counted twice: an inode counts once, however many
names it has, and where file systems clone, an extent counts once, however many files
have it (:mod:`pip_linkmode.maintenance.clones`).  Deleting a tree frees the inodes
whose names are all in the tree, and the extents that no file outside of it has.

Metadata that btrfs and XFS keep in trees of their own is not counted, compressed
extents count as if they were not compressed, and an extent that two of the trees share
is taken not to be shared with a third.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.files import allocated
from pip_linkmode.link.filesystems import sharing
from pip_linkmode.maintenance.clones import parts_of, regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pip_linkmode.link.filesystems import Sharing
    from pip_linkmode.maintenance.clones import Inode, Part


_BY_DESCRIPTOR = os.scandir in os.supports_fd and os.readlink in os.supports_dir_fd
_FLAGS = os.O_RDONLY
for _name in ("O_DIRECTORY", "O_NOFOLLOW", "O_CLOEXEC"):
    _FLAGS |= getattr(os, _name, 0)
_ALLOCATED, _NAMES, _OWNERS, _SEEN = range(4)


@dataclass
class Account:
    """One tree."""

    path: str
    bit: int
    logical: int = 0
    """Bytes that it would take without links: each file by itself."""
    frees: int = 0
    """Bytes that deleting it would give back."""
    files: int = 0
    stores: set[str] = field(default_factory=set)
    """The stores to which its symlinks lead."""

    @property
    def shared(self) -> int:
        """Bytes that other trees or files have too."""
        return self.logical - self.private

    @property
    def private(self) -> int:
        """Bytes that only this tree has, its symlinks among them."""
        return self.frees


@dataclass
class _Device:
    """One file system."""

    clones: bool
    tells_inodes: bool
    inodes: dict[int, Inode] = field(default_factory=dict)
    """Inodes with more than one name, by number."""
    clonable: list[tuple[str, os.stat_result, Inode]] = field(default_factory=list)
    """Files that may share extents, whose size is known when their extents are."""
    links: dict[str, tuple[int, int, str | None]] = field(default_factory=dict)
    """By target of symlinks: bytes of the symlink, of the stored file behind it, and
    the store, if it is one of those that are measured."""


class Ledger:
    """Accounts of trees that may share files."""

    def __init__(
        self,
        stores: Sequence[str] = (),
        known: dict[int, Sharing] | None = None,
        apart: Iterable[str] = (),
    ) -> None:
        """Create an empty ledger.

        :param stores: absolute paths; a stored file behind a symlink counts as shared
            by the tree that has the symlink
        :param known: file systems by device, for a caller of thousands of ledgers
        :param apart: absolute paths of trees with an account of their own, wherever
            they are
        """
        self._spaces = Counter[int]()
        """Bytes on the disk, by the bits of the trees that have them."""
        self.held = 0
        """Bytes of these that a file outside of the trees has too."""
        self.accounts: list[Account] = []
        self._devices: dict[int, _Device] = {}
        self._stores = {
            os.path.join(name, ""): store
            for store in stores
            for name in (store, os.path.realpath(store))
        }
        self._apart = frozenset(map(_resolve, apart))
        self._known = {} if known is None else known
        self._settled = False

    @property
    def allocated(self) -> int:
        """Bytes on the disk of all trees together; call :meth:`settle` before."""
        return self._spaces.total()

    def allocated_by(self, accounts: Iterable[Account]) -> int:
        """Return the bytes on the disk of some trees together."""
        bits = sum(account.bit for account in accounts)
        return sum(space for bit, space in self._spaces.items() if bit & bits)

    def add(self, path: str) -> Account:
        """Open the account of a tree and walk it, without directories it cannot read.

        :param path: absolute path of a directory
        """
        account = Account(path, 1 << len(self.accounts))
        self.accounts.append(account)
        # The root may be a link; nothing below it is followed.
        waiting = [_resolve(path)]
        while waiting:
            directory = waiting.pop()
            with contextlib.suppress(OSError):
                self._directory(directory, account, waiting)
        return account

    def add_all(
        self,
        paths: Sequence[str],
        on_progress: Callable[[str, float], object],
    ) -> list[Account]:
        """Open an account for each of several trees.

        :param paths: absolute paths of directories
        :param on_progress: called with each path, and the share that is done
        """
        accounts: list[Account] = []
        for path in paths:
            on_progress(path, len(accounts) / len(paths))
            accounts.append(self.add(path))
        return accounts

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
        own = logical = allocated(status)
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
                if known is None:
                    size = allocated(status)
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
        self._spaces[account.bit] += own

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
        """Count the stored file behind a symlink; return the bytes of the symlink."""
        if leads_to not in device.links:
            prefix = next(filter(leads_to.startswith, self._stores), "")
            behind = 0
            if prefix:
                with contextlib.suppress(OSError):  # it dangles
                    behind = allocated(os.stat(leads_to))
            taken = allocated(os.lstat(f"{directory}{os.sep}{entry.name}"))
            device.links[leads_to] = taken, behind, self._stores.get(prefix)
        own, behind, store = device.links[leads_to]
        if store is None:
            account.logical += own
        else:
            account.logical += behind
            account.stores.add(store)
            account.files += 1
        return own

    def settle(self) -> None:
        """Count shared inodes and extents, after all trees were added."""
        if self._settled:
            return
        self._settled = True
        for device in self._devices.values():
            for inode in device.inodes.values():
                self._count(inode[_ALLOCATED], [inode])
            self._extents(device)

    def _count(
        self, amount: int, inodes: Sequence[Inode], *, is_held: bool = False
    ) -> None:
        """Count space that some inodes have in common.

        :param is_held: whether a file outside of the trees has it too
        """
        owners = 0
        for inode in inodes:
            owners |= inode[_OWNERS]
            is_held |= inode[_SEEN] < inode[_NAMES]
        self._spaces[owners] += amount
        if is_held:
            self.held += amount
        elif not owners & (owners - 1):
            self.accounts[owners.bit_length() - 1].frees += amount

    def _extents(self, device: _Device) -> None:
        """Ask where the files that may share are, and count their extents."""
        parts: list[Part] = []
        for path, status, inode in device.clonable:
            own, found = parts_of(path, status, inode)
            self._count(own, [inode])
            for account in self._owners(inode):
                account.logical += own + sum(part.size for part in found)
            parts += found
        for region in regions(parts):
            self._count(region.size, region.inodes, is_held=region.is_held)

    def _owners(self, inode: Inode) -> list[Account]:
        owners, found = inode[_OWNERS], []
        while owners:
            bit = owners & -owners
            found.append(self.accounts[bit.bit_length() - 1])
            owners ^= bit
        return found


def _resolve(path: str) -> str:
    return os.path.realpath(path) if os.path.islink(path) else path


@dataclass(frozen=True)
class Space:
    """The space of some trees together."""

    allocated: int
    """Bytes on the disk."""
    frees: int
    """Bytes that deleting all of them would give back."""

    @property
    def is_held(self) -> bool:
        """Return whether other files keep most of it on the disk."""
        return self.frees < self.allocated / 2


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
