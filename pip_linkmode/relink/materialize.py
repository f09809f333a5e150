"""Give environments files of their own, before they are moved, shipped or archived.

Afterwards no symlink leads into a store, no file has a second name anywhere, and no
store knows the environment.  Bytes, permissions and times stay, so bytecode is valid.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import OUTSIDE, Environment
from pip_linkmode.environments.registry import registrations
from pip_linkmode.environments.symlinks import entry_behind, is_stored
from pip_linkmode.errors import (
    EntryDamagedError,
    EnvironmentBusyError,
    RecordInvalidError,
    describe_error,
)
from pip_linkmode.files import TEMPORARY
from pip_linkmode.guard import path_of
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.link.replace import ConcurrentChangeError, Replacer
from pip_linkmode.store.entry import load_entry
from pip_linkmode.store.layout import entry_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pip_linkmode.environments.distribution import Distribution


@dataclass
class Materialized:
    """The result for one environment."""

    site_packages: str
    files: int = 0
    """Files that became private."""
    bytes: int = 0
    dangling: list[str] = field(default_factory=list)
    """Links to files that are gone; they stay."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons not to make a file private, by path."""
    left_behind: list[str] = field(default_factory=list)
    """Files that programs have written into store entries; they stay there."""
    released: list[str] = field(default_factory=list)
    """Stores that the environment was registered in."""
    refused: str | None = None
    """The reason why it was not done, or not completed, as one sentence."""


class Materializing:
    """One run over some environments."""

    def __init__(self, all_site_packages: Sequence[str], stores: Sequence[str]) -> None:
        """Read nothing yet.

        :param all_site_packages: absolute paths of site-packages directories
        :param stores: absolute paths of those that may know the environments
        """
        self._stores = dict.fromkeys(stores)
        self._sites = {
            site_packages: Environment(site_packages)
            for site_packages in all_site_packages
        }
        self._reports = {
            site_packages: Materialized(site_packages)
            for site_packages in all_site_packages
        }
        self._shared: dict[str, dict[str, int]] = {}
        """By site-packages, the sizes of files that must become private, by path."""

    def survey(self) -> None:
        """Find the files that are shared."""
        for site_packages in self._sites:
            self._shared[site_packages] = self._see(site_packages)

    def _see(self, site_packages: str) -> dict[str, int]:
        try:
            return dict(self._look(site_packages))
        except OSError as error:
            self._reports[site_packages].refused = describe_error(error)
            return {}

    def _look(self, site_packages: str) -> Iterator[tuple[str, int]]:
        site = self._sites[site_packages]
        for directory in site.directories:
            for path in _tree(directory):
                yield from self._look_at(site_packages, path)
        # Outside of these, only a RECORD lists files of the environment.
        for distribution in distributions(site_packages):
            for path in self._recorded(site_packages, distribution):
                if not site.covers(path):
                    with contextlib.suppress(OSError):
                        yield from self._look_at(site_packages, path)

    def _recorded(self, site_packages: str, distribution: Distribution) -> list[str]:
        failed = self._reports[site_packages].failed
        try:
            return [row.path for row in distribution.rows()]
        except RecordInvalidError as error:
            failed[distribution.record] = error.reason
        except OSError as error:
            failed[distribution.record] = error.strerror or str(error)
        return []

    def _look_at(self, site_packages: str, path: str) -> Iterator[tuple[str, int]]:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            stored = entry_behind(path)
            if stored:
                self._stores[stored[0]] = None
                try:
                    yield path, os.stat(path).st_size
                except OSError:  # reported when its turn comes
                    yield path, 0
            elif status.st_nlink > 1 and self._sites[site_packages].contains(path):
                yield path, 0
        elif (
            stat.S_ISREG(status.st_mode)
            and status.st_nlink > 1
            and self._sites[site_packages].contains(path)
        ):
            yield path, status.st_size

    def run(
        self, on_progress: Callable[[str, float], object] = lambda *_: None
    ) -> list[Materialized]:
        """Make the files private.

        :param on_progress: called with each file, and the share that is done
        """
        done, everything = 0, sum(sum(one.values()) for one in self._shared.values())

        def working(path: str, size: int) -> None:
            nonlocal done
            on_progress(path, done / max(everything, 1))
            done += size

        for site_packages, files in self._shared.items():
            report = self._reports[site_packages]
            if report.refused is None:
                try:
                    with self._sites[site_packages].lock():
                        self._materialize(site_packages, files, working)
                except (EnvironmentBusyError, OSError) as error:
                    report.refused = describe_error(error)
        return list(self._reports.values())

    def _materialize(
        self,
        site_packages: str,
        files: Mapping[str, int],
        working: Callable[[str, int], object],
    ) -> None:
        report, replacer = self._reports[site_packages], Replacer(Linker())
        site = self._sites[site_packages]
        report.left_behind = sorted(_written_by_programs(files))
        identity_files = site.identity_files
        below = os.path.join(site_packages, "")
        for path, size in files.items():
            working(path.removeprefix(below), size)
            if path not in identity_files:
                _own(replacer, site, path, report)
        told = {*identity_files, *report.dangling}
        for path, _ in self._look(site_packages):
            if path not in told:
                report.failed.setdefault(path, "it was linked by another process")
        if report.dangling or report.failed:
            return  # it still depends on the store
        self._release(site_packages, report)
        for path in files:
            if path in identity_files:  # shared with a store that was not named
                _own(replacer, site, path, report)

    def _release(self, site_packages: str, report: Materialized) -> None:
        for store in self._stores:
            for registration in registrations(store):
                if registration.is_of(site_packages):
                    try:
                        registration.release()
                    except OSError as error:
                        report.failed[registration.directory] = str(error.strerror)
                    else:
                        report.released.append(store)


def _written_by_programs(files: Iterable[str]) -> Iterator[str]:
    """Yield the files in store entries that no manifest lists, without bytecode.

    :param files: absolute paths, of which symlinks name the entries
    """
    links = filter(os.path.islink, files)
    for root, sha256 in {*filter(None, map(entry_behind, links))}:
        path = entry_path(root, sha256)
        with contextlib.suppress(EntryDamagedError, OSError):
            entry = load_entry(path, root, sha256)
            if entry is not None:  # pragma: no branch  # the links dangle otherwise
                for one in entry.unlisted():
                    if "/__pycache__/" not in f"/{one}":
                        yield entry.source(one)


def _own(
    replacer: Replacer, site: Environment, path: str, report: Materialized
) -> None:
    """Replace a shared file by a copy, or a clone."""
    try:
        # It may have been edited since the survey.
        old = os.lstat(path)
        is_link = stat.S_ISLNK(old.st_mode)
        if is_link and not entry_behind(path):
            _renew(site, path, old)
            return
        if not is_link and old.st_nlink == 1:
            return
        if site.contains(path) and os.path.basename(path).startswith(TEMPORARY):
            with site.hold(path) as held:
                os.unlink(held)
            return
        source, status = os.path.realpath(path), os.stat(path)
        reason = _why_not(site, path, old, source, status)
        if reason is not None:
            report.failed[path] = reason
            return
        with site.open(path) as file:
            status = os.fstat(file.fileno())
            mode = stat.S_IMODE(status.st_mode)
            held = path_of(file.fileno(), source)
            link = Link(held, path, status.st_size, status.st_mtime_ns, mode, mode)
            replacer.replace(
                link,
                old,
                mode="no_shared_inode",
                target_root=path,
                owner=site.owner_of(old) if is_link else None,
                hold=site.hold,
            )
    except ConcurrentChangeError:
        report.failed[path] = "it was changed by another process"
    except OSError as error:
        if not os.path.lexists(path):
            return  # it was removed by another process
        if isinstance(error, FileNotFoundError) and os.path.islink(path):
            report.dangling.append(path)
        else:
            report.failed[path] = error.strerror or str(error)
    else:
        report.files += 1
        report.bytes += status.st_size


def _renew(site: Environment, path: str, old: os.stat_result) -> None:
    """Give a symlink an inode of its own.

    :param old: its own status
    :raises OSError: if that cannot be done
    """
    if old.st_nlink == 1 or not site.contains(path):
        return
    with site.hold(path) as held:
        beside = os.path.join(os.path.dirname(held), TEMPORARY + os.urandom(8).hex())
        os.symlink(os.readlink(held), beside)
        try:
            if hasattr(os, "lchown"):  # pragma: no branch  # Windows
                os.lchown(beside, *site.owner_of(old))
            os.replace(beside, held)
        except OSError:
            os.unlink(beside)
            raise


def _why_not(
    site: Environment,
    path: str,
    old: os.stat_result,
    source: str,
    status: os.stat_result,
) -> str | None:
    """Return the reason not to replace a file; ``None`` if there is none.

    :param source: its path with all links followed
    :param status: of that
    """
    if not site.contains(path):
        return OUTSIDE
    if stat.S_ISLNK(old.st_mode) and not is_stored(source):
        return f"it does not lead into a store but to {source}"
    if not stat.S_ISREG(status.st_mode):
        return "it does not lead to a regular file"
    return None


def _tree(root: str) -> Iterator[str]:
    """Yield the paths of all files below a directory."""
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry.path
