"""The results of relinking, as counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.files import allocated

if TYPE_CHECKING:
    import os


def _count(counts: dict[str, int], reason: str, by: int = 1) -> None:
    counts[reason] = counts.get(reason, 0) + by


@dataclass
class Relinked:
    """One environment."""

    site_packages: str
    refused: str | None = None
    """The reason to share nothing of it, as one sentence."""
    files: dict[str, int] = field(default_factory=dict)
    """Files that became shared, by primitive."""
    bytes: int = 0
    """The sum of their sizes."""
    already: int = 0
    """Files that were shared before."""
    edited: list[str] = field(default_factory=list)
    """Files that differ from their RECORD, which stay."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files that stay for other reasons, by reason."""
    failed: dict[str, int] = field(default_factory=dict)
    """Files that stay because of an error, by reason."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Distributions that were not read, by reason."""

    def share(self, primitive: str, size: int) -> None:
        """Count a file that became shared."""
        _count(self.files, primitive)
        self.bytes += size

    def skip(self, reason: str, count: int = 1) -> None:
        """Count files that stay."""
        _count(self.skipped, reason, count)

    def fail(self, reason: str, count: int = 1) -> None:
        """Count files that stay because of an error."""
        _count(self.failed, reason, count)

    def pass_over(self, reason: str) -> None:
        """Count a distribution that is not read."""
        _count(self.passed_over, reason)


@dataclass(frozen=True)
class Adopted:
    """An entry that was made of installed files."""

    name: str
    version: str
    sha256: str
    bytes: int
    """On the disk."""


@dataclass
class RelinkReport:
    """All environments together."""

    environments: list[Relinked]
    adopted: list[Adopted] = field(default_factory=list)
    bytes_freed: int = 0
    """The disk space of files of which the last name was replaced."""
    bytes_held: int = 0
    """The disk space of replaced files that have other names, such as in the cache of
    another installer, or in an entry that no environment uses."""
    bytes_stored: int = 0
    """The growth of the store."""
    dry_run: bool = False


class ReplacedFiles:
    """The inodes of replaced files, to find out which of them are freed."""

    def __init__(self) -> None:
        """Begin without any file."""
        self._inodes: dict[tuple[int, int], list[int]] = {}

    def add(self, old: os.stat_result) -> None:
        """Count a name that is replaced.

        :param old: its own status
        """
        # Replaced names, all names, bytes on the disk.
        counts = [0, old.st_nlink, allocated(old)]
        self._inodes.setdefault((old.st_dev, old.st_ino), counts)[0] += 1

    def settle(self, report: RelinkReport) -> None:
        """Report the bytes that were freed, and those that other names hold."""
        for replaced, names, size in self._inodes.values():
            if replaced == names:
                report.bytes_freed += size
            else:
                report.bytes_held += size
