"""An entry of a store: the files of one wheel, and the manifest that describes them.

The manifest (:data:`MANIFEST_VERSION`) is one JSON object: ``manifest``, ``sha256`` of
the wheel, ``wheel`` (its file name), ``name``, ``version``, ``dist_info``, ``purelib``,
``plain_record``, ``mtime`` (seconds; every file of the entry has it, to the nanosecond)
and ``files``, a list of ``[path, size, sha256, mode]``.

An entry may also be *adopted*: made not of a wheel but of the files of an installed
distribution, those that are as its RECORD has them.  Then ``wheel`` is empty, and
:func:`adopted_digest` replaces the wheel's.  Files that pip writes into each
environment are not in it, except copies of ``METADATA``, ``WHEEL`` and ``RECORD``;
files installed outside of site-packages are under ``<name>-<version>.data/data``.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pip_linkmode.errors import EntryDamagedError, EntryGoneError
from pip_linkmode.files import file_stamp
from pip_linkmode.store.layout import FILES, MANIFEST
from pip_linkmode.store.manifest import (
    GONE,
    IMPOSSIBLE,
    check_files,
    read_manifest,
)
from pip_linkmode.store.paths import StoredFile, compiled_sources, is_safe_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


MANIFEST_VERSION = 1
_LATEST = 1 << 33
"""Seconds; file systems and ``utime`` have no room for much later times."""


@dataclass(frozen=True)
class Entry:
    """One wheel in a store."""

    path: str
    """Absolute path of the entry."""
    store: str
    """Absolute path of the store."""
    sha256: str
    wheel: str
    """File name of the wheel that was unpacked first."""
    name: str
    version: str
    dist_info: str
    purelib: bool
    record_is_complete: bool
    """Whether the RECORD lists each file once, and each is installed where it says."""
    mtime: int
    """Modification time of all files, in seconds."""
    files: tuple[StoredFile, ...]
    wheel_size: int = 0
    """Bytes of the wheel; 0 in entries of earlier versions."""

    def lists(self, path: str) -> bool:
        """Return whether it has a file, named by its path in the wheel."""
        return any(file.path == path for file in self.files)

    def source(self, path: str) -> str:
        """Return the absolute path of a file, named by its path in the wheel."""
        return f"{self.path}/{FILES}/{path}"

    def read(self, path: str) -> bytes:
        """Return the content of a file, named by its path in the wheel.

        :raises EntryGoneError: if another process has taken the entry away
        """
        try:
            with open(self.source(path), "rb") as file:
                return file.read()
        except OSError as error:
            if error.errno not in GONE:
                raise
            msg = f"{self.source(path)} is gone"
            raise EntryGoneError(msg) from error

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The files that are compiled, by path in the wheel."""
        return compiled_sources((file.path for file in self.files), self.dist_info)

    def check(self) -> None:
        """Compare every file with the manifest, by size, mtime and mode.

        :raises EntryDamagedError: if one was edited, truncated, removed or replaced
        """
        mtime_ns = self.mtime * 10**9
        check_files(
            f"{self.path}/{FILES}",
            ((path, size, mtime_ns, mode) for path, size, _, mode in self.files),
        )

    def unlisted(self) -> Iterator[str]:
        """Yield the files that the manifest does not list, by path in the wheel.

        Programs behind symlinks may write beside the real path of their files.
        """
        listed = {file.path for file in self.files}
        base = os.path.join(self.path, FILES)
        for directory, directories, names in os.walk(base):
            paths = [os.path.join(directory, name) for name in (*directories, *names)]
            for path in sorted(paths):
                if os.path.islink(path) or not os.path.isdir(path):
                    found = os.path.relpath(path, base).replace(os.sep, "/")
                    if found not in listed:
                        yield found


def adopted_digest(dist_info: str, files: Iterable[StoredFile]) -> str:
    """Return the key of an entry that is adopted.

    It is computed over a JSON text, so it never equals the digest of a wheel.

    :param dist_info: name of the dist-info directory
    :param files: shared files, without those that differ between environments
    """
    rows = sorted([file.path, file.sha256, file.mode] for file in files)
    text = json.dumps(["pip-linkmode adopted", 1, dist_info, rows])
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _refuse_impossible(
    file: str, files: Iterable[StoredFile], strings: Sequence[object], mtime: int
) -> None:
    """Refuse values that no manifest of this version has.

    :param file: absolute path of the manifest
    :param strings: names, the last of which is the dist-info directory
    :raises EntryDamagedError: if there is one
    """
    for row in files:
        if (
            not is_safe_path(row.path)
            or type(row.size) is not int
            or type(row.sha256) is not str
            or type(row.mode) is not int
            or row.mode & ~0o777
        ):
            msg = f"{file} has the impossible file {row.path!r}"
            raise EntryDamagedError(msg)
    dist_info = strings[-1]
    if not all(isinstance(value, str) for value in strings) or not (
        is_safe_path(str(dist_info)) and "/" not in str(dist_info)
    ):
        msg = f"{file} has an impossible name"
        raise EntryDamagedError(msg)
    if not 0 <= mtime < _LATEST:
        msg = f"{file} has an impossible time"
        raise EntryDamagedError(msg)


def load_entry(path: str, store: str, sha256: str) -> Entry | None:
    """Read a manifest; ``None`` if the entry does not exist.

    :raises EntryDamagedError: if it is not a manifest that this version has written
    """
    file = os.path.join(path, MANIFEST)
    try:
        for directory in (os.path.dirname(path), path):
            if not stat.S_ISDIR(os.lstat(directory).st_mode):
                msg = f"{directory} is not a directory"
                raise EntryDamagedError(msg)
    except FileNotFoundError:
        return None
    try:
        data = read_manifest(file)
        if data["manifest"] != MANIFEST_VERSION or data["sha256"] != sha256:
            msg = f"{file} speaks of another entry"
            raise EntryDamagedError(msg)
        files = tuple(StoredFile(*row) for row in data["files"])
        wheel, name, version, dist_info = strings = [
            data[key] for key in ("wheel", "name", "version", "dist_info")
        ]
        mtime = int(data["mtime"])
        _refuse_impossible(file, files, strings, mtime)
        paths = {row.path for row in files}
        if len(paths) < len(files) or not paths.issuperset(
            f"{dist_info}/{one}" for one in ("METADATA", "WHEEL", "RECORD")
        ):
            msg = f"{file} lists a file twice, or not all metadata"
            raise EntryDamagedError(msg)
        return Entry(
            path=path,
            store=store,
            sha256=sha256,
            wheel=wheel,
            name=name,
            version=version,
            dist_info=dist_info,
            purelib=bool(data["purelib"]),
            record_is_complete=bool(data["plain_record"]),
            mtime=mtime,
            files=files,
            wheel_size=int(data.get("wheel_size", 0)),
        )
    except (OSError, *IMPOSSIBLE) as error:
        msg = f"{file} cannot be read: {error}"
        raise EntryDamagedError(msg) from error


_loaded: dict[str, tuple[tuple[int, ...], Entry]] = {}
"""Entries that are needed again, by path, with the stamps of their manifests."""


def cached_entry(
    path: str, store: str, sha256: str, *, remember: bool = False
) -> Entry | None:
    """Read a manifest, unless it was remembered and is still the same file.

    :param remember: whether it is going to be needed again
    :raises EntryDamagedError: if it is not a manifest that this version has written
    """
    try:
        before = file_stamp(os.lstat(os.path.join(path, MANIFEST)))
    except OSError:
        return load_entry(path, store, sha256)
    loaded = _loaded.get(path)
    if loaded is not None and loaded[0] == before:
        return loaded[1]
    entry = load_entry(path, store, sha256)
    if remember and entry is not None:
        _loaded[path] = before, entry
    return entry
