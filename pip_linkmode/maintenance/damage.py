"""One damaged file, with all of its names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.store.store import Store

    Kind = Literal["modified", "missing", "dangling", "restamped", "manifest"]


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
    """The directory that a person knows it by."""
    path: str
    """Absolute path."""
    site: Environment
    """What has to have it inside, if it is to be replaced."""


@dataclass
class Damage:
    """One file that is not what it should be, with all of its names."""

    kind: Kind
    package: str
    """Name and version."""
    sha256: str | None
    """What the content should be, hexadecimal; ``None`` for bytecode."""
    stored: list[Stored] = field(default_factory=list)
    installed: list[InstalledFile] = field(default_factory=list)
    outcome: str | None = None
    """What ``--repair`` has done."""
    is_repaired: bool = False

    @property
    def path(self) -> str:
        """The name of it that a person has had in hand."""
        first = self.installed or self.stored
        return first[0].path

    @property
    def is_shared(self) -> bool:
        """Whether more than one environment has it."""
        return len({one.environment for one in self.installed}) > 1


class Key(NamedTuple):
    """What makes two names one file."""

    device: int
    inode: int
