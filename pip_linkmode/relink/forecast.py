"""Describe the result of relinking without a write.

The forecast offers the methods of :class:`pip_linkmode.relink.apply.Applier`.  Entries
are the proposed ones, bytecode has the size of the installed files, and the types of
the file systems stand for a trial.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import defaultdict
from typing import TYPE_CHECKING

from pip_linkmode.files import allocated, current_umask
from pip_linkmode.link.filesystems import sharing
from pip_linkmode.relink.actions import Share, account
from pip_linkmode.relink.report import Adopted, ReplacedFiles
from pip_linkmode.store.bytecode import Bytecode, Compiled, load
from pip_linkmode.store.layout import BYTECODE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pip_linkmode.environments.layout import Target
    from pip_linkmode.interpreters import Interpreter
    from pip_linkmode.relink.actions import Action
    from pip_linkmode.relink.adopt import Proposal
    from pip_linkmode.relink.match import Match
    from pip_linkmode.relink.report import RelinkReport
    from pip_linkmode.relink.survey import InstalledDistribution
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store

_PAGE = 4096


def _pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


class Forecast:
    """Counts plans instead of carrying them out."""

    def __init__(self, report: RelinkReport) -> None:
        """Begin with nothing.

        :param report: receives the counts
        """
        self._report = report
        self._replaced = ReplacedFiles()
        self._proposed: set[str] = set()
        """The entries that would be made, by sha256."""
        self._compiled: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
        """By entry and interpreter, the bytes of new bytecode, by source."""

    @staticmethod
    def ways(store: Store, site_packages: str) -> dict[str, str | None]:
        """Judge by which primitives files can be linked, by the file systems.

        :raises PermissionError: if site-packages is read-only
        """
        if not os.access(site_packages, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        root = store.root
        while not os.path.exists(root):
            root = os.path.dirname(root)
        is_one = os.stat(root).st_dev == os.stat(site_packages).st_dev
        hardlink = None if is_one else os.strerror(errno.EXDEV)
        clones = is_one and sharing(site_packages).clones
        clone = None if clones else os.strerror(errno.EOPNOTSUPP)
        return {"clone": clone, "hardlink": hardlink, "symlink": None, "copy": None}

    def adopt(self, store: Store, proposal: Proposal) -> Entry:
        """Return the entry that is proposed."""
        del store
        entry = proposal.entry
        if proposal.is_new and entry.sha256 not in self._proposed:
            self._proposed.add(entry.sha256)
            size = sum(_pages(file.size) for file in entry.files)
            self._report.bytes_stored += size
            adopted = Adopted(entry.name, entry.version, entry.sha256, size)
            self._report.adopted.append(adopted)
        return entry

    def compile(
        self, python: Interpreter, match: Match, found: Mapping[Target, str]
    ) -> Bytecode | None:
        """Return the bytecode of an entry, else a description of it."""
        entry = match.entry
        path = os.path.join(entry.path, BYTECODE, python.name)
        present = load(path, entry.sources)
        if present is not None or not match.store.writable:
            return present
        # As the import system makes it (``_bootstrap_external.py``, ``_calc_mode``).
        umask, files = current_umask(), {}
        known = self._compiled[entry.sha256, python.name]
        for target, pyc in found.items():
            source = target.file.path
            size, taken = target.file.size, _PAGE
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(pyc)
                size, taken = status.st_size, allocated(status)
            mode = (target.file.mode | stat.S_IWUSR) & 0o666 & ~umask
            files[source] = Compiled(size, 0, mode, "")
            before = known.get(source, 0)
            known[source] = max(before, taken)
            self._report.bytes_stored += known[source] - before
        return Bytecode(path, files)

    @contextlib.contextmanager
    def registered(self, member: InstalledDistribution, match: Match) -> Iterator[bool]:
        """Register nothing."""
        del member, match
        yield True

    def apply(
        self, member: InstalledDistribution, match: Match, actions: Sequence[Action]
    ) -> None:
        """Count a plan."""
        del match
        for action in actions:
            if not isinstance(action, Share):
                account(member.report, action)
                continue
            for one in filter(None, (action.bytecode, action)):
                if one.link.size:
                    member.report.share(one.primitive, one.link.size)
                self._replaced.add(one.old)

    def finish(self) -> None:
        """Report the bytes that would be freed."""
        self._replaced.settle(self._report)
