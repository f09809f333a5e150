"""Link files by chains of primitives, with a fallback for each refusal.

A *chain* is a list of primitives, tried in order.  Each mode has one, and so have the
files that need another (:mod:`pip_linkmode.link.placement`):

===================  =====================
The first real link from a store to a *target root* (a directory tree that is being
filled) decides: a primitive that is refused before it ever worked there is given up
for that root.  Names and device numbers do not show which paths can be linked: bind
mounts have equal device numbers and refuse, btrfs subvolumes have different ones and
can clone.  A primitive that has worked is given up only for the one file that is
refused (the link limit of a file, a source of another owner, a mount inside the target
root).  Errors that no other primitive avoids (no space, I/O) are raised as they are.

All differences between operating systems are in this room.  Cloning is ``FICLONE`` on
Linux (:manpage:`ioctl_ficlonerange(2)`) and ``clonefile(2)`` on macOS, which was not
run; Windows has hard links, symlinks and copies, and was not run either.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.link.primitives import PRIMITIVES, Link, is_as_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


CHAINS = {
    "auto": ("clone", "hardlink", "copy"),
    "clone": ("clone", "hardlink", "copy"),
    "hardlink": ("hardlink", "copy"),
    "symlink": ("symlink", "hardlink", "copy"),
    "no_symlink": ("hardlink", "copy"),
    "hardlink_or_symlink": ("hardlink", "symlink", "copy"),
    "no_shared_inode": ("clone", "copy"),
    "copy": ("copy",),
}
REFUSED = frozenset(
    {
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
    }
)
"""Errors that mean "not in this way", for which the next primitive may work."""


@dataclass
class Refusal:
    """The reason why a primitive was given up between a store and a target root."""

    primitive: str
    error: OSError
    source: str
    target: str


@dataclass
class Linker:
    """Link files by a mode, learning which primitives work between directories."""

    primitives: Mapping[str, Callable[[Link], None]] = field(
        default_factory=lambda: PRIMITIVES
    )
    refusals: dict[tuple[str, str, str], Refusal] = field(default_factory=dict)
    """By (primitive, store, area), in the order in which they were met."""
    bytes: Counter[str] = field(default_factory=Counter)
    """How many bytes each primitive has linked, in all."""
    exceptions: Counter[str] = field(default_factory=Counter)
    """How many files got an inode of their own in spite of the mode, by reason."""
    copies: set[str] = field(default_factory=set)
    """Targets that were copied, or made empty."""
    _proven: set[tuple[str, str, str]] = field(default_factory=set)
    _replaced: set[str] = field(default_factory=set)
    """Targets that were there before."""

    def link(
        self,
        links: Iterable[Link],
        *,
        mode: str,
        store: str,
        target_root: str,
        created: list[str],
    ) -> Counter[str]:
        """Link all files; return how many each primitive made, and how many are empty.

        :param links: the files; parent directories exist
        :param mode: a key of :data:`CHAINS`
        :param store: the store that the sources are in
        :param target_root: the directory tree that the targets are in
        :param created: receives each target as soon as it exists, to take it back; but
            none that has replaced a file, which could not be put back
        :raises OSError: for an error that no other primitive can avoid
        """
        used: Counter[str] = Counter()
        proven = self._first_proven(CHAINS[mode], store, target_root)
        for link in links:
            if not link.size:
                # It costs nothing, and one shared by all has bitten pnpm (pnpm#3531).
                self._link_one(link, ("copy",), store, target_root, created)
                used["empty"] += 1
                self.copies.add(link.target)
                continue
            # A primitive that has worked once works for nearly all files.
            primitive = proven if link.wanted == link.mode else None
            if primitive:
                try:
                    self.primitives[primitive](link)
                    created.append(link.target)
                except OSError as error:
                    if error.errno not in REFUSED | {errno.EEXIST}:
                        raise
                    primitive = None
            if not primitive:
                primitive = self._link_one(
                    link, self.chain(mode, link), store, target_root, created
                )
                proven = self._first_proven(CHAINS[mode], store, target_root)
            used[primitive] += 1
            if primitive == "copy":
                self.copies.add(link.target)
            self.bytes[primitive] += link.size
        return used

    def _first_proven(
        self, chain: tuple[str, ...], store: str, target_root: str
    ) -> str | None:
        """Return the primitive with which a chain begins, if it has worked there."""
        for primitive in chain:
            if (primitive, store, target_root) not in self.refusals:
                return (
                    primitive
                    if (primitive, store, target_root) in self._proven
                    else None
                )
        return None  # pragma: no cover  # copy is never refused

    def chain(self, mode: str, link: Link) -> tuple[str, ...]:
        """Return the primitives that are as good as each other for one file.

        :param mode: a key of :data:`CHAINS`
        :returns: in the order in which they are tried
        """
        chain = CHAINS[mode]
        if link.wanted != link.mode:
            # A shared inode has one mode; this target needs another.
            own = tuple(p for p in chain if p in ("clone", "copy"))
            if own[0] != chain[0]:
                self.exceptions["the store was filled under another umask"] += 1
            chain = own
        return chain

    def _link_one(
        self,
        link: Link,
        chain: tuple[str, ...],
        store: str,
        target_root: str,
        created: list[str],
    ) -> str:
        last = len(chain) - 1
        reasons = []
        for index, primitive in enumerate(chain):
            key = (primitive, store, target_root)
            if key in self.refusals:
                continue
            try:
                self._replace(primitive, link)
                if key not in self._proven:
                    _examine(primitive, link)
                    self._proven.add(key)
            except OSError as error:
                if index == last or error.errno not in REFUSED:
                    raise
                if key in self._proven or _only_this_file(error, link):
                    reasons.append(os.strerror(error.errno))
                else:
                    self.refusals[key] = Refusal(primitive, error, store, target_root)
            else:
                # Where a link may come to dangle, pip would write through it.
                if primitive == "symlink" or link.target not in self._replaced:
                    created.append(link.target)
                self.exceptions.update(reasons if primitive == "copy" else ())
                return primitive
        # A chain ends in copy, which is never given up.
        raise AssertionError(chain)  # pragma: no cover  # so it is not reached

    def _replace(self, primitive: str, link: Link) -> None:
        # Never open an existing file: a link would be written through.
        try:
            self.primitives[primitive](link)
        except FileExistsError:
            os.unlink(link.target)
            self._replaced.add(link.target)
            self.primitives[primitive](link)


def _examine(primitive: str, link: Link) -> None:
    """Remove a link that is not the one asked for.

    :raises OSError: as for any refusal, or because its source was taken away
    """
    try:
        if not is_as_asked(primitive, link):
            raise OSError(errno.ENOTSUP, f"the result is not a {primitive}")
    except OSError:
        os.unlink(link.target)
        raise


def _only_this_file(error: OSError, link: Link) -> bool:
    """Return whether an error concerns the source, not the file systems.

    A file has a highest number of links (``EMLINK``), and where
    ``fs.protected_hardlinks`` is set no user may link a file of another owner
    (``EPERM``, :manpage:`proc_sys_fs(5)`).
    """
    if error.errno == errno.EMLINK:
        return True
    return (
        error.errno == errno.EPERM
        and hasattr(os, "geteuid")
        and os.lstat(link.source).st_uid != os.geteuid()
    )
