"""Damaged files, each with all of its names."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

from pip_linkmode.files import CHUNK

if TYPE_CHECKING:
    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.store.store import Store

    Kind = Literal[
        "modified",
        "missing",
        "dangling",
        "restamped",
        "manifest",
        "foreign",
        "unlisted",
    ]


class Stored(NamedTuple):
    """A file of an entry."""

    store: Store
    sha256: str
    """Of the entry."""
    path: str
    """Absolute path."""
    mtime_ns: int
    mode: int
    """Permission bits."""


class InstalledFile(NamedTuple):
    """A file of an environment."""

    environment: str
    """The directory of the environment, as the user knows it."""
    path: str
    """Absolute path."""
    site: Environment
    """The environment, which must contain the file if it is replaced."""


@dataclass
class Damage:
    """One file that is not as it should be, with all of its names."""

    kind: Kind
    package: str
    """Name and version."""
    sha256: str | None
    """The digest that the content should have, hexadecimal; ``None`` for bytecode."""
    owner: int | None = None
    """The user that owns the file, if that is a wrong one."""
    stored: list[Stored] = field(default_factory=list)
    installed: list[InstalledFile] = field(default_factory=list)
    outcome: str | None = None
    """The outcome of ``--repair``."""
    is_repaired: bool = False

    @property
    def path(self) -> str:
        """The name to report: that in an environment, if there is one."""
        first = self.installed or self.stored
        return first[0].path

    @property
    def is_shared(self) -> bool:
        """Whether more than one environment has it."""
        return len({one.environment for one in self.installed}) > 1


class Key(NamedTuple):
    """Device and inode: equal for all names of one file."""

    device: int
    inode: int


class Findings:
    """Damages by file, and the digests that were computed to find them."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._digests: dict[Key, str] = {}
        self.damages: dict[Key | str, Damage] = {}
        self.unread: dict[str, str] = {}
        """Reasons why files of environments could not be read, by path."""
        self.notes: list[str] = []
        """Harmless findings, as sentences."""

    def found(
        self, key: Key | str, kind: Kind, package: str, sha256: str | None
    ) -> Damage:
        """Return the damage of a file, which is a new one the first time."""
        if key not in self.damages:
            self.damages[key] = Damage(kind, package, sha256)
        return self.damages[key]

    def digest(self, file: BinaryIO) -> str:
        """Return the sha256 of an open file, read once however many names it has.

        :raises OSError: if it cannot be read
        """
        status = os.fstat(file.fileno())
        key = Key(status.st_dev, status.st_ino)
        if key not in self._digests:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
            self._digests[key] = digest.hexdigest()
        return self._digests[key]
