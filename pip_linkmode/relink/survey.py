"""Survey the installed files of environments that can be shared.

The RECORD of a distribution lists its files, whichever program installed them.  Scripts
contain the path of their interpreter, and pip writes some of the metadata; all other
files, also those outside of site-packages, are the same in each environment.
"""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from packaging.utils import canonicalize_name

from pip_linkmode.environments.distribution import distributions, why_not
from pip_linkmode.environments.environment import Environment
from pip_linkmode.files import TEMPORARY, file_digest, file_stamp
from pip_linkmode.store.paths import data_scheme, is_installed_by_pip, is_safe_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, MutableMapping

    from pip_linkmode.environments.distribution import Distribution
    from pip_linkmode.relink.report import Relinked
    from pip_linkmode.store.store import Store

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


@dataclass(frozen=True, eq=False)
class RelinkedEnvironment(Environment):
    """One environment, and the stores that can share files with it."""

    report: Relinked
    stores: list[Store] = field(default_factory=list)
    """Stores from which a file can be linked to it, in the order of look-up."""
    ways: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """By store, see :func:`pip_linkmode.environments.probe.probe`."""
    linked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By store, the entries that it is linked to now, by sha256."""


@dataclass(frozen=True)
class InstalledDistribution:
    """One distribution in one environment."""

    environment: RelinkedEnvironment
    distribution: Distribution
    files: dict[str, SharableFile]
    """The files that can be shared, by absolute path."""

    @property
    def name(self) -> str:
        """The project, normalized."""
        return str(canonicalize_name(self.distribution.name))

    @property
    def report(self) -> Relinked:
        """The counts of its environment."""
        return self.environment.report

    @property
    def bytes(self) -> int:
        """The size of its files."""
        return sum(file.size for file in self.files.values())

    def recorded_files(self) -> RecordedFiles:
        """Return the paths and digests that its RECORD has."""
        return frozenset((file.path, file.sha256) for file in self.files.values())


class Digests:
    """Digests of installed files, each computed once while the file stays as it is."""

    def __init__(self) -> None:
        """Begin without any."""
        self._known: dict[str, tuple[tuple[int, ...], str]] = {}

    def of(self, environment: Environment, path: str) -> str:
        """Return the digest of a file of an environment, in hexadecimal.

        :param path: absolute path
        :raises OSError: if the environment's owner cannot read it
        """
        stamp = file_stamp(os.stat(path))  # a link may lead to a file of a store
        known, digest = self._known.get(path, ((), ""))
        if known != stamp:
            with environment.open(path) as file:
                digest = file_digest(file)
            self._known[path] = stamp, digest
        return digest

    def is_intact(self, environment: Environment, path: str, sha256: str) -> bool:
        """Return whether a file can be read and has a digest."""
        try:
            return self.of(environment, path) == sha256
        except OSError:
            return False


def survey(
    environment: RelinkedEnvironment, exclude: Collection[str], digests: Digests
) -> list[InstalledDistribution]:
    """List the distributions of an environment that can be shared.

    Only RECORD files are read, and files that several of them list.

    :param environment: its report receives the distributions that are passed over
    :param exclude: normalized names of projects to leave alone
    """
    report, found = environment.report, []
    for name in os.listdir(environment.site_packages):
        if name.endswith((".egg-info", ".egg", ".egg-link")):
            report.pass_over("is an egg")
    for distribution in distributions(environment.site_packages):
        reason = why_not(distribution)
        if canonicalize_name(distribution.name) in exclude:
            reason = "is excluded by --link-exclude"
        if reason is None:
            try:
                files = files_of(environment, distribution)
            except (OSError, ValueError):
                reason = "has no RECORD that can be read"
            else:
                found.append(InstalledDistribution(environment, distribution, files))
        if reason is not None:
            report.pass_over(reason)
    resolve_ownership(environment, [member.files for member in found], digests)
    return found


def files_of(
    environment: Environment, distribution: Distribution
) -> dict[str, SharableFile]:
    """Return the files of a distribution that can be shared, by absolute path.

    :raises OSError: if its RECORD cannot be read
    :raises ValueError: if its RECORD is missing or invalid
    """
    rows = distribution.rows()
    if not rows:
        msg = "it is empty"
        raise ValueError(msg)
    files = {}
    for row in rows:
        path = _entry_path(row.path, environment, distribution.dist_info)
        if path is None or not environment.contains(row.path):
            continue
        with contextlib.suppress(OSError):
            status = os.lstat(row.path)
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(row.path)
            if stat.S_ISREG(status.st_mode):
                mode = stat.S_IMODE(status.st_mode)
                files[row.path] = SharableFile(path, row.sha256, status.st_size, mode)
    return files


def _entry_path(path: str, environment: Environment, dist_info: str) -> str | None:
    """Return the path that an installed file would have in an entry.

    :returns: ``None`` for scripts, files that pip writes, bytecode, and files outside
        of the environment
    """
    if os.path.dirname(path) == environment.scripts:
        return None
    site_packages = os.path.join(environment.site_packages, "")
    if path.startswith(site_packages):
        found = path[len(site_packages) :].replace(os.sep, "/")
        if data_scheme(found) is not None:
            return None
    else:
        prefix = os.path.join(environment.prefix, "")
        if not path.startswith(prefix):
            return None
        stem = dist_info.removesuffix(".dist-info")
        found = f"{stem}.data/data/{path[len(prefix) :].replace(os.sep, '/')}"
    if (
        not is_safe_path(found)
        or is_installed_by_pip(found, dist_info)
        or is_bytecode(found)
    ):
        return None
    return found


def is_bytecode(path: str) -> bool:
    """Return whether a file is in ``__pycache__``, by its path in a wheel."""
    return path.endswith(".pyc") and path.split("/")[-2:-1] == ["__pycache__"]


def candidates(
    members: Iterable[InstalledDistribution],
) -> Iterator[tuple[Environment, str, SharableFile]]:
    """Yield the files of which an entry can be made, with their absolute paths."""
    for member in members:
        for source, file in member.files.items():
            if file.sha256 is not None and not file.mode & ~0o777:
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISREG(os.lstat(source).st_mode):
                        yield member.environment, source, file


def resolve_ownership(
    environment: Environment,
    listed: Iterable[MutableMapping[str, SharableFile]],
    digests: Digests,
) -> None:
    """Leave a file that several distributions list to one of them.

    The last installation has overwritten the file, so its RECORD fits the content.

    :param listed: by distribution, its files by absolute path
    """
    listed = list(listed)
    counts = Counter(path for files in listed for path in files)
    for path in [path for path, count in counts.items() if count > 1]:
        claimants = [files for files in listed if path in files]
        fitting = [
            files
            for files in claimants
            if digests.is_intact(environment, path, files[path].sha256 or "")
        ]
        owner = (fitting or claimants)[0]
        for files in claimants:
            if files is not owner:
                del files[path]


def sweep(members: Iterable[InstalledDistribution]) -> None:
    """Remove temporary files of an earlier run that was killed."""
    directories = {
        (member.environment, os.path.dirname(path))
        for member in members
        for path in (*member.files, os.path.join(member.environment.site_packages, ""))
    }
    for environment, directory in directories:
        for name in (TEMPORARY, os.path.join("__pycache__", TEMPORARY)):
            pattern = f"{glob.escape(os.path.join(directory, name))}*"
            for path in glob.glob(pattern):
                with contextlib.suppress(OSError), environment.hold(path) as held:
                    os.unlink(held)
