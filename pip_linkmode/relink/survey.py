"""What is installed in an environment, as far as it can be shared.

Whoever has installed a distribution, its RECORD says what its files are.  Scripts have
the path of their interpreter in them, and some of the metadata is written by pip; all
else, also what is outside of site-packages, is the same wherever it is installed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from pip_linkmode.files import sha256_of
from pip_linkmode.store.paths import data_scheme, is_installed_by_pip, is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping, Sequence

    from pip_linkmode.environments.distribution import Distribution
    from pip_linkmode.environments.environment import Environment

    RecordedFiles = frozenset[tuple[str, str | None]]


class SharableFile(NamedTuple):
    """One file of an installed distribution."""

    path: str
    """The path that it would have in an entry."""
    sha256: str | None
    """As RECORD has it, in hexadecimal."""
    size: int
    """Bytes."""
    mode: int
    """Permission bits."""
    is_as_long: bool
    """Whether it has the size that RECORD has, if it has one."""


@dataclass(frozen=True)
class InstalledDistribution:
    """One distribution in one environment."""

    distribution: Distribution
    files: dict[str, SharableFile]
    """What can be shared of it, by absolute path."""

    @property
    def name(self) -> str:
        """The project, normalized."""
        return str(canonicalize_name(self.distribution.name))

    @property
    def bytes(self) -> int:
        """What all of it takes."""
        return sum(file.size for file in self.files.values())

    def recorded_files(self) -> RecordedFiles:
        """Return what its RECORD says of the files."""
        return frozenset((file.path, file.sha256) for file in self.files.values())


def files_of(site: Environment, distribution: Distribution) -> dict[str, SharableFile]:
    """Return what can be shared of a distribution, by absolute path.

    :raises OSError: if its RECORD cannot be read
    :raises ValueError: if it has none that is one
    """
    rows = distribution.rows()
    if not rows:
        msg = "it is empty"
        raise ValueError(msg)
    files = {}
    for row in rows:
        path = _entry_path(row.path, site, distribution.dist_info)
        if path is None or not site.contains(row.path):
            continue
        with contextlib.suppress(OSError):
            status = os.lstat(row.path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(row.path)
                mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISREG(status.st_mode):
                size = status.st_size
                is_as_long = row.size in (None, size)
                files[row.path] = SharableFile(path, row.sha256, size, mode, is_as_long)
    return files


def _entry_path(path: str, site: Environment, dist_info: str) -> str | None:
    """Return the path that an installed file would have in an entry.

    :returns: ``None`` for what is not shared: scripts, what pip writes, bytecode, and
        what is outside of the environment
    """
    if os.path.dirname(path) == site.scripts:
        return None
    site_packages = os.path.join(site.site_packages, "")
    if path.startswith(site_packages):
        found = path[len(site_packages) :].replace(os.sep, "/")
        if data_scheme(found) is not None:
            return None
    else:
        root = os.path.join(site.prefix, "")
        if not path.startswith(root):
            return None
        stem = dist_info.removesuffix(".dist-info")
        found = f"{stem}.data/data/{path[len(root) :].replace(os.sep, '/')}"
    if (
        not is_safe_path(found)
        or is_installed_by_pip(found, dist_info)
        or is_bytecode(found)
    ):
        return None
    return found


def is_bytecode(path: str) -> bool:
    """Tell whether a file is in ``__pycache__``, by its path in a wheel."""
    return path.endswith(".pyc") and path.split("/")[-2:-1] == ["__pycache__"]


def candidates(
    members: Sequence[InstalledDistribution],
) -> Iterator[tuple[str, SharableFile]]:
    """Yield what an entry could be made of, with its absolute path."""
    for member in members:
        for source, file in member.files.items():
            if file.sha256 is not None and not file.mode & ~0o777:
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISREG(os.lstat(source).st_mode):
                        yield source, file


def resolve_ownership(claims: Sequence[MutableMapping[str, SharableFile]]) -> None:
    """Leave each file that several distributions list to the one that it is of.

    The last that was installed has overwritten it; which that was, the content tells.

    :param claims: by distribution, its files by absolute path
    """
    listed = Counter(path for files in claims for path in files)
    for path in [path for path, count in listed.items() if count > 1]:
        digest = None
        with contextlib.suppress(OSError):
            digest = sha256_of(os.path.realpath(path))  # it may be a link of ours
        claimants = [files for files in claims if path in files]
        is_as_recorded = [files for files in claimants if files[path].sha256 == digest]
        owner = (is_as_recorded or claimants)[0]
        for files in claimants:
            if files is not owner:
                del files[path]
