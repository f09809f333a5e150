"""Which environments use a store, and what is installed in an environment.

Each environment that has files from a store is one directory there::

    <store>/v1/environments/<key>/environment.json   {"site_packages": path, "place": …}
                                  <sha256>.<mode>    an entry it was linked to, and how
                                  witness-<inode>    a hard link to its pyvenv.cfg,
                                                     and one to its bin/python

``<key>`` is the sha256 of path and place.  A registration is of a *directory* and not
of a path: the same path may be another environment tomorrow, or on another host.  All
of it is written before the first link is, so that no clean-up can miss a user of an
entry.  The witnesses tell an environment that was deleted from one that was moved away:
a file has another name as long as the environment is anywhere on the file system.  One
is not enough: who moves an environment edits its ``pyvenv.cfg``, and ``sed -i`` writes
another file.  The name of the interpreter, mostly a symlink, stays what it is.

That other name may also be the witness of another store.  A store by itself cannot
tell: an environment that is in two stores and was deleted, and one that is in one store
and was moved, both leave a witness with two names and a path with nothing there.  So
all names of all witnesses have to be seen, which needs all stores that have one, and
until then it is *moved*.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import errno
import glob
import hashlib
import io
import json
import os
import re
import socket
import stat
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from pip_linkmode.errors import EnvironmentUnknownError, RecordInvalidError
from pip_linkmode.reading import open_regular, read_regular
from pip_linkmode.store import LAYOUT
from pip_linkmode.wheel import make_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    State = Literal["present", "unreadable", "moved", "missing", "gone"]

DIRECTORY = os.path.join(LAYOUT, "environments")
_NAME = "environment.json"
_WITNESS = "witness-"
_CONFIGURATION = "pyvenv.cfg"
_INTERPRETER = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
_LEVELS = 3
"""How far above site-packages an environment's ``pyvenv.cfg`` is, at most."""
_NOT_YET = 0
"""The inode of a directory that is not there."""
_SYMLINK = ".symlink"
_INSIDE = re.compile(rf"[/\\]{LAYOUT}[/\\]wheels[/\\]..[/\\]([0-9a-f]{{64}})[/\\]")
_LIBRARIES = ("lib*/python*/site-packages", "lib*/python*/dist-packages")
_WINDOWS_LIBRARY = "Lib/site-packages"
_SCRIPTS = ("bin", "scripts")
_LARGEST_RECORD = 256 << 20
"""Bytes; those of the largest packages have some tens of millions."""
_LARGEST = 16 << 20
"""Bytes of any other metadata."""


# --- who uses a store -----------------------------------------------------------------


def register(store: str, site_packages: str, sha256: str, mode: str) -> None:
    """Note that an environment is about to get files of an entry.

    :param store: absolute path of the store
    :param site_packages: absolute path of the directory that holds the dist-info
    :param sha256: of the entry
    :param mode: the link mode
    :raises PermissionError: if the store is read-only
    :raises OSError: if it cannot be written
    """
    place = _place(site_packages)
    key = hashlib.sha256(os.fsencode(f"{site_packages}\0{place}")).hexdigest()
    directory = os.path.join(store, DIRECTORY, key)
    marker = os.path.join(directory, f"{sha256}.{mode}")
    known = _is_known(directory)
    if known and os.path.lexists(marker):
        return
    if not os.access(store, os.W_OK):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), store)
    if os.path.islink(directory):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", directory)
    if not known:
        _introduce(directory, site_packages, place)
    _call_witnesses(directory, site_packages)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _host() -> str:
    return socket.gethostname()


def _place(site_packages: str) -> str:
    """Tell one directory from another that has the same path: later, or elsewhere."""
    try:
        inode = os.stat(site_packages).st_ino
    except OSError:
        inode = _NOT_YET
    return f"{_host()}:{inode}"


def _is_known(directory: str) -> bool:
    """Tell whether the name is there, and was not emptied by a power cut."""
    try:
        return os.lstat(os.path.join(directory, _NAME)).st_size > 0
    except OSError:
        return False


def _introduce(directory: str, site_packages: str, place: str) -> None:
    make_directory(directory)
    with contextlib.suppress(OSError):  # a group's, if what it is in is
        mode = os.stat(os.path.dirname(directory)).st_mode
        os.chmod(directory, stat.S_IMODE(mode))
    unfinished = os.path.join(directory, os.urandom(8).hex())
    with open(unfinished, "x", encoding="utf-8") as file:
        json.dump({"site_packages": site_packages, "place": place}, file)
    os.replace(unfinished, os.path.join(directory, _NAME))


def _call_witnesses(directory: str, site_packages: str) -> None:
    """Give files of an environment a second name each, where that can be done."""
    present, is_new = set(), False
    for path, status in witnessed(site_packages).items():
        # A copy of the store has witnesses that are none: the inode does not match.
        name = f"{_WITNESS}{status.st_ino}"
        witness = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            if not os.path.lexists(witness):
                os.link(path, witness, follow_symlinks=False)
                made, is_new = os.lstat(witness), True
                # BeeGFS fakes hard links; and elsewhere a link may be followed.
                if made.st_nlink == 1 or not os.path.samestat(made, status):
                    os.unlink(witness)
                    continue
            present.add(name)
    if present and is_new:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.startswith(_WITNESS) and name not in present:
                    os.unlink(os.path.join(directory, name))


def _witnesses(directory: str) -> list[os.stat_result]:
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(_WITNESS):
                status = os.lstat(os.path.join(directory, name))
                if name == f"{_WITNESS}{status.st_ino}":
                    found.append(status)
    return found


def _inode(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@dataclass(frozen=True)
class Registration:
    """What a store knows of one environment."""

    directory: str
    """Absolute path of the directory in the store."""
    site_packages: str
    place: str
    """Host and inode of *site_packages* when it was linked first."""
    beside: tuple[str, ...] = ()
    """Absolute paths of other stores that may have a witness as well."""

    def state(self) -> State:
        """Return what has become of the environment.

        :returns: ``gone`` if it was deleted; ``moved`` if it is elsewhere on the file
            system; ``missing`` if it cannot be told which; ``unreadable`` if it is not
            to be had for another reason
        """
        witnesses = _witnesses(self.directory)
        try:
            os.listdir(self.site_packages)
            if self._is_it(witnesses):
                return "present"
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return "unreadable"
        if witnesses:
            return "gone" if self._has_all_names(witnesses) else "moved"
        # pip itself removes the directory in which it prepares --target.
        prepared = "pip-target-" in self.site_packages and self._host() == _host()
        return "gone" if prepared else "missing"

    def _is_it(self, witnesses: list[os.stat_result]) -> bool:
        """Tell whether what is at the path now is what was linked.

        It may be another environment: made anew after the old one was moved away, or
        on another host that has the same store.
        """
        found = map(_inode, witnessed(self.site_packages).values())
        if not set(found).isdisjoint(map(_inode, witnesses)):
            return True
        # That of --target is made when all is installed.
        return self.place in (_place(self.site_packages), f"{_host()}:{_NOT_YET}")

    def _host(self) -> str:
        return self.place.rpartition(":")[0]

    def _has_all_names(self, witnesses: list[os.stat_result]) -> bool:
        """Tell whether each name of each witness is one that was seen in a store."""
        names = self._names()
        again = _witnesses(self.directory)
        # Another store may have let go of a name that was counted.
        return len(again) == len(witnesses) and all(
            one.st_nlink <= names[_inode(one)] for one in (*witnesses, *again)
        )

    def _names(self) -> Counter[tuple[int, int]]:
        """Count the names of witnesses in the stores; lib64 has its own."""
        found, counted = Counter[tuple[int, int]](), set()
        paths = (os.path.join(store, DIRECTORY) for store in self.beside)
        for path in (os.path.dirname(self.directory), *paths):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                # By any of its paths, a store counts once.
                if _inode(status) not in counted:
                    counted.add(_inode(status))
                    for name in os.listdir(path):
                        found.update(map(_inode, _witnesses(f"{path}/{name}")))
        return found

    def refresh(self) -> None:
        """Look for a witness anew, in an environment that is present."""
        _call_witnesses(self.directory, self.site_packages)

    def entries(self, *, depends: bool = False) -> set[str]:
        """Return the entries that were linked, by sha256.

        :param depends: only those that were linked by symlinks
        """
        with contextlib.suppress(FileNotFoundError):
            return {
                name.partition(".")[0]
                for name in os.listdir(self.directory)
                if len(name.partition(".")[0]) == hashlib.sha256().digest_size * 2
                and (name.endswith(_SYMLINK) or not depends)
            }
        return set()

    def forget_symlinks(self, sha256s: Iterable[str]) -> None:
        """Forget that entries were linked by symlinks.

        :raises OSError: if the store cannot be changed
        """
        for sha256 in sha256s:
            os.unlink(os.path.join(self.directory, f"{sha256}{_SYMLINK}"))

    def is_of(self, library: str) -> bool:
        """Tell whether it was made for a directory, by any of its paths.

        :param library: absolute path of a site-packages directory
        """
        return os.path.realpath(self.site_packages) == os.path.realpath(library)

    def release(self) -> None:
        """Forget the environment, and with it what it uses."""
        with contextlib.suppress(FileNotFoundError):
            # The name goes first: without it the rest means nothing.
            os.unlink(os.path.join(self.directory, _NAME))
            for name in os.listdir(self.directory):
                os.unlink(os.path.join(self.directory, name))
            os.rmdir(self.directory)


def registrations(store: str, beside: Iterable[str] = ()) -> Iterator[Registration]:
    """List the environments that are known to use a store, by path.

    :param store: absolute path of the store
    :param beside: absolute paths of other stores that these may use as well
    """
    found = []
    with (
        contextlib.suppress(FileNotFoundError),
        os.scandir(os.path.join(store, DIRECTORY)) as directories,
    ):
        for one in directories:
            if not one.is_dir(follow_symlinks=False):
                continue
            with (
                contextlib.suppress(OSError, TypeError, ValueError, LookupError),
                open_regular(os.path.join(one.path, _NAME), follow=False) as file,
            ):
                data = json.load(file)
                path, place = data["site_packages"], data["place"]
                found.append(Registration(one.path, path, place, tuple(beside)))
    yield from sorted(found, key=lambda registration: registration.site_packages)


def entries_behind_symlinks(
    store: str, directory: str, *, deep: bool = True
) -> set[str]:
    """Return the entries to which symlinks lead, anywhere below a directory.

    :param store: absolute path of the store, by any of its names
    :param directory: absolute path
    :param deep: look into the directories there as well
    :returns: by sha256
    :raises OSError: if a directory cannot be read: then nothing is known
    """
    found = set()
    is_here: dict[str, bool] = {store: True}
    waiting = [directory]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    inside = inside_a_store(entry.path)
                    if inside is None:
                        continue
                    root, sha256 = inside
                    if root not in is_here:
                        is_here[root] = _is_same(root, store)
                    if is_here[root]:
                        found.add(sha256)
                elif deep and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
    return found


def inside_a_store(link: str) -> tuple[str, str] | None:
    """Return the store and the entry to which a symlink leads, if it does.

    By its text, as we write it: what is asked of every link must cost little.

    :param link: absolute path of the symlink
    :returns: absolute path of the store, and sha256 of the entry
    """
    leads_to = os.readlink(link)
    if os.pardir in leads_to or not os.path.isabs(leads_to):
        leads_to = os.path.realpath(link)  # somebody else has made it so
    match = _INSIDE.search(leads_to)
    return match and (leads_to[: match.start()], match.group(1))


def is_stored(path: str) -> bool:
    """Tell whether a path is of a file in an entry, by what is in the path alone.

    :param path: with all links followed (:func:`os.path.realpath`)
    """
    return _INSIDE.search(path) is not None


def _is_same(path: str, store: str) -> bool:
    try:
        return os.path.samefile(path, store)
    except OSError:
        return False


# --- what is in an environment --------------------------------------------------------


def _hexadecimal(digest: str) -> str | None:
    """Return a sha256 of a RECORD as others write it; ``None`` if it is none.

    :param digest: base64 without padding
    """
    with contextlib.suppress(ValueError):
        decoded = base64.urlsafe_b64decode(f"{digest}=")
        if len(decoded) == hashlib.sha256().digest_size:
            return decoded.hex()
    return None


class Row(NamedTuple):
    """One row of an installed RECORD."""

    record: str
    """The path as it stands there."""
    path: str
    """Absolute path."""
    sha256: str | None
    """Hexadecimal; ``None`` for no or another hash, and for what is none."""
    size: int | None
    """Bytes."""


@dataclass(frozen=True)
class Distribution:
    """One installed distribution."""

    library: str
    """Absolute path of the directory that holds the dist-info."""
    dist_info: str
    """Name of the dist-info directory."""

    @property
    def name(self) -> str:
        """The project, as it stands in the name of the directory."""
        return self.dist_info.removesuffix(".dist-info").partition("-")[0]

    @property
    def version(self) -> str:
        """The version, as it stands in the name of the directory."""
        return self.dist_info.removesuffix(".dist-info").partition("-")[2]

    @property
    def record(self) -> str:
        """Absolute path of its RECORD."""
        return self._path("RECORD")

    @property
    def installer(self) -> str:
        """Who has installed it; empty if that cannot be told."""
        try:
            return self.text("INSTALLER").strip()
        except OSError:
            return ""

    def _path(self, name: str) -> str:
        return os.path.join(self.library, self.dist_info, name)

    def read(self, name: str) -> bytes:
        """Read a file of its metadata.

        :param name: of the file
        :raises OSError: if it is no regular file, too large, or cannot be read
        """
        limit = _LARGEST_RECORD if name == "RECORD" else _LARGEST
        return read_regular(self._path(name), limit)

    def text(self, name: str) -> str:
        """Read a file of its metadata, as far as it is text.

        :param name: of the file
        :raises OSError: as :meth:`read`
        """
        return self.read(name).decode(errors="replace")

    def rows(self) -> list[Row]:
        """Read RECORD; empty if there is none, as for what a system has installed.

        :raises OSError: if it cannot be read
        :raises RecordInvalidError: if it is not a RECORD, as after a power cut
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                text = io.StringIO(self.read("RECORD").decode(), newline="")
                return [self._row(row) for row in csv.reader(text) if row]
        except (csv.Error, ValueError) as error:
            reason = (
                f"is no RECORD: {error}; write it anew with pip install "
                f"--ignore-installed --no-deps {self.name}=={self.version}"
            )
            raise RecordInvalidError(self.record, reason) from error
        return []

    def _row(self, row: list[str]) -> Row:
        record, digest, size = (*row, "", "")[:3]
        algorithm, _, value = digest.partition("=")
        if "\0" in record:
            msg = "a path has a zero byte"
            raise ValueError(msg)
        return Row(
            record,
            os.path.normpath(os.path.join(self.library, record)),
            _hexadecimal(value) if algorithm == "sha256" else None,
            int(size) if size else None,
        )


def distributions(library: str) -> list[Distribution]:
    """List what is installed, by name.

    :param library: absolute path of a site-packages directory
    :raises OSError: if it cannot be read
    """
    return [
        Distribution(library, name)
        for name in sorted(os.listdir(library))
        if name.endswith(".dist-info")
    ]


def root(library: str) -> str:
    """Return the directory that goes when the environment is deleted.

    :param library: absolute path of a site-packages directory
    :returns: that of the virtual environment; else *library* itself
    """
    directory = library
    for _ in range(_LEVELS):
        directory = os.path.dirname(directory)
        if os.path.lexists(os.path.join(directory, _CONFIGURATION)):
            return directory
    return library


def witnessed(library: str) -> dict[str, os.stat_result]:
    """Return the files of a virtual environment of which a store keeps a second name.

    None is of somebody else: root may look after an environment that is hostile.

    :param library: absolute path of a site-packages directory
    :returns: their own status, by absolute path
    """
    whole, found = root(library), {}
    if whole != library:
        scripts = os.path.join(whole, _INTERPRETER[0])
        paths = [os.path.join(whole, _CONFIGURATION)]
        if not os.path.islink(scripts):  # which may lead outside
            paths.append(os.path.join(scripts, _INTERPRETER[1]))
        for path in paths:
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if status.st_uid == os.stat(whole).st_uid:
                    found[path] = status
    return found


def inside(*directories: str) -> Callable[[str], bool]:
    """Return what tells whether a file really is below one of some directories.

    Links to directories are followed: who owns an environment may have put one there
    that leads to files of somebody else.  Each directory is resolved once.

    :param directories: absolute paths
    """
    roots = tuple(os.path.join(os.path.realpath(one), "") for one in directories)

    @cache
    def is_below(directory: str) -> bool:
        return os.path.join(os.path.realpath(directory), "").startswith(roots)

    return lambda path: is_below(os.path.dirname(path))


def trees(library: str) -> list[str]:
    """Return the directories that hold all of an environment.

    :param library: absolute path of a site-packages directory
    :returns: :func:`root`, and *library* if it is a link to somewhere else
    """
    whole = root(library)
    is_there = inside(whole)(os.path.join(library, ""))
    return [whole] if is_there else [whole, library]


def find(path: str) -> list[str]:
    """Return the site-packages directories that a user means by a path.

    :param path: an environment, its interpreter, or a site-packages directory
    :returns: absolute paths, at least one
    :raises EnvironmentUnknownError: if it is none of these
    """
    path = os.path.abspath(path)
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        msg = f"{path} is no environment: {error.strerror}"
        raise EnvironmentUnknownError(msg) from error
    if not stat.S_ISDIR(mode):
        directory = os.path.dirname(path)
        if os.path.basename(directory).lower() not in _SCRIPTS:
            msg = f"{path} is no environment: it is a file, and no interpreter"
            raise EnvironmentUnknownError(msg)
        path = os.path.dirname(directory)
    if os.path.basename(path) in ("site-packages", "dist-packages"):
        return [path]
    escaped = glob.escape(path)
    found: dict[str, str] = {}
    for pattern in (*_LIBRARIES, _WINDOWS_LIBRARY):
        for library in sorted(glob.glob(os.path.join(escaped, pattern))):
            # lib64 is a link to lib.
            found.setdefault(os.path.realpath(library), library)
    if not found and glob.glob(os.path.join(escaped, "*.dist-info")):
        return [path]  # made by --target
    if not found:
        msg = f"{path} is no environment: it has no site-packages"
        raise EnvironmentUnknownError(msg)
    return list(found.values())
