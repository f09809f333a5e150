"""What relinking has done."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Relinked:
    """One environment."""

    site_packages: str
    refused: str | None = None
    """Why nothing of it can be shared, in one sentence."""
    files: dict[str, int] = field(default_factory=dict)
    """Files that are shared now and were not, by primitive."""
    bytes: int = 0
    """How many bytes these have."""
    already: int = 0
    """Files that were shared before."""
    edited: list[str] = field(default_factory=list)
    """Files that are not as their RECORD has them, and stay what they are."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Files that stay what they are for other reasons, by reason."""
    failed: dict[str, int] = field(default_factory=dict)
    """Files that stay what they are because of an error, by reason."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Distributions that were not looked at, by reason."""


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
    """What was taken on the disk by files whose last name was replaced."""
    bytes_held: int = 0
    """What stays taken by files that were replaced, because they have other names:
    in the cache of who installed them, or in an entry that nobody uses any more."""
    bytes_stored: int = 0
    """What the store has grown by."""
    dry_run: bool = False
