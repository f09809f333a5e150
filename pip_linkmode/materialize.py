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

from pip_linkmode import environments
from pip_linkmode.link import TEMPORARY, Link, Linker
from pip_linkmode.replacement import ChangedError, Replacer, alone_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass
class Materialized:
    """One environment that shares nothing any more."""

    site_packages: str
    files: int = 0
    """Files that are private now and were not."""
    bytes: int = 0
    dangling: list[str] = field(default_factory=list)
    """Links whose file is gone; they are left as they are."""
    failed: dict[str, str] = field(default_factory=dict)
    """What could not be done, by path."""
    released: list[str] = field(default_factory=list)
    """Stores that the environment was registered in."""


class Materializing:
    """Environments that are about to get files of their own."""

    def __init__(self, libraries: Sequence[str], stores: Sequence[str]) -> None:
        """Look for what is shared.

        :param libraries: absolute paths of site-packages directories
        :param stores: absolute paths of those that may know the environments
        :raises OSError: if an environment cannot be read
        """
        self._stores = dict.fromkeys(stores)
        self._shared: dict[str, dict[str, os.stat_result]] = {}
        """By site-packages, what has to get a file of its own, with its status."""
        self._reports: dict[str, Materialized] = {}
        for library in dict.fromkeys(libraries):
            self._reports[library] = Materialized(library)
            self._shared[library] = dict(self._look(library))

    @property
    def bytes(self) -> int:
        """How much there is to do."""
        return sum(
            status.st_size
            for files in self._shared.values()
            for status in files.values()
        )

    def _look(self, library: str) -> Iterator[tuple[str, os.stat_result]]:
        root = environments.root(library)
        for path in _tree(root):
            yield from self._look_at(library, path)
        if root == library:
            for distribution in environments.distributions(library):
                for row in distribution.rows():
                    if not row.path.startswith(os.path.join(library, "")):
                        with contextlib.suppress(OSError):
                            yield from self._look_at(library, row.path)

    def _look_at(self, library: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            stored = environments.inside_a_store(path)
            if stored:
                self._stores[stored[0]] = None
                try:
                    yield path, os.stat(path)
                except FileNotFoundError:
                    self._reports[library].dangling.append(path)
        elif stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
            yield path, status

    def run(
        self, advance: Callable[[float], object] = lambda _: None
    ) -> list[Materialized]:
        """Do it.

        :param advance: called with the number of bytes that were copied
        :raises EnvironmentBusyError: if another process is at work in one of them
        """
        for library, files in self._shared.items():
            with alone_in(library):
                self._materialize(library, files, advance)
        return list(self._reports.values())

    def _materialize(
        self,
        library: str,
        files: Mapping[str, os.stat_result],
        advance: Callable[[float], object],
    ) -> None:
        report, replacer = self._reports[library], Replacer(Linker())
        root = environments.root(library)
        witnessed = os.path.join(root, "pyvenv.cfg")
        for path, status in files.items():
            if path != witnessed:
                _own(replacer, path, status, report)
            advance(status.st_size)
        if report.dangling or report.failed:
            return  # it depends on the store as before
        for store in self._stores:
            for registration in environments.registrations(store):
                if _is_one(registration.site_packages, library):
                    try:
                        registration.release()
                    except OSError as error:
                        report.failed[registration.directory] = str(error.strerror)
                    else:
                        report.released.append(store)
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(witnessed)
            if status.st_nlink > 1:  # a witness of a store that nobody has named
                _own(replacer, witnessed, status, report)


def _own(
    replacer: Replacer, path: str, status: os.stat_result, report: Materialized
) -> None:
    """Put a copy, or a clone, into the place of a file.

    :param status: of what it leads to
    """
    mode = stat.S_IMODE(status.st_mode)
    source = os.path.realpath(path)
    link = Link(source, path, status.st_size, status.st_mtime_ns, mode, mode)
    if os.path.basename(path).startswith(TEMPORARY):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    try:
        replacer.replace(link, os.lstat(path), mode="own", store="", area=path)
    except ChangedError:
        report.failed[path] = "it was changed in the meantime"
    except OSError as error:
        report.failed[path] = error.strerror or str(error)
    else:
        report.files += 1
        report.bytes += status.st_size


def _is_one(one: str, other: str) -> bool:
    """Tell whether two paths are of one directory."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _tree(root: str) -> Iterator[str]:
    """Yield what is below a directory and is none itself."""
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                else:
                    yield entry.path
