"""Take over the files of an adopted entry when its wheel is unpacked.

``pip-linkmode relink`` makes *adopted* entries where no store has the wheel.  When the
wheel is unpacked later, its entry gets the same inodes and times.  So the environments
of both share their files, and the next clean-up removes the adopted entry.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import TEMPORARY, sha256_of
from pip_linkmode.store.claims import (
    claim_mtime,
    claimants,
    has_mtime,
    share_mtime,
)
from pip_linkmode.store.layout import FILES
from pip_linkmode.store.paths import is_installed_by_pip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store


def adopted_entries(store: Store, project: str, sha256: str) -> list[Entry]:
    """Return the entries that a wheel may take over, before it is unpacked.

    :param project: name, in any spelling
    :param sha256: of the wheel; if its mtime was chosen before, it takes over nothing
    """
    if has_mtime(store, project, sha256):
        return []
    found = []
    for key in claimants(store, project):
        with contextlib.suppress(EntryDamagedError):
            entry = store.entry(key)
            if entry is not None and not entry.wheel:
                found.append(entry)
    return found


def take_over(
    store: Store,
    project: str,
    sha256: str,
    files: str,
    manifest: dict[str, Any],
    adopted: Sequence[Entry],
) -> str | None:
    """Give an unpacked wheel its mtime, and the inodes of an adopted entry.

    :param files: absolute path of the directory with the unpacked files
    :param manifest: of the wheel; receives the mtime
    :param adopted: see :func:`adopted_entries`
    :returns: the key of the entry that was taken over, if there was one
    :raises OSError: if the store cannot be written
    """
    rows = {path: (digest, mode) for path, _, digest, mode in manifest["files"]}
    same = (
        entry
        for entry in adopted
        if entry.dist_info == manifest["dist_info"] and _is_same(entry, rows, files)
    )
    donor = next(same, None)
    linked: set[str] = set()
    if donor is None:
        mtime = claim_mtime(store, project, sha256, int(time.time()))
    else:
        mtime = share_mtime(store, project, sha256, donor.mtime)
        if mtime == donor.mtime:
            linked = {path for path in _shared(donor) if _link(donor, path, files)}
    for path in rows.keys() - linked:
        os.utime(f"{files}/{path}", (mtime, mtime))
    manifest["mtime"] = mtime
    return donor.sha256 if donor is not None and linked else None


def _shared(entry: Entry) -> list[str]:
    """Return the paths of the files of an adopted entry that environments share."""
    return [
        file.path
        for file in entry.files
        if file.size and not is_installed_by_pip(file.path, entry.dist_info)
    ]


def _is_same(entry: Entry, rows: Mapping[str, tuple[str, int]], files: str) -> bool:
    """Return whether a wheel has every file of an adopted entry, as it is now.

    :param rows: digest and mode of the wheel's files, by path
    :param files: absolute path of the directory with the wheel's files
    """
    shared = set(_shared(entry))
    if not shared or any(
        rows.get(file.path) != (file.sha256, file.mode)
        for file in entry.files
        if file.path in shared
    ):
        return False
    try:
        entry.check()
        ours, theirs = os.lstat(files), os.lstat(os.path.join(entry.path, FILES))
        return (ours.st_uid, ours.st_gid) == (theirs.st_uid, theirs.st_gid) and all(
            sha256_of(entry.source(path)) == rows[path][0] for path in shared
        )
    except (EntryDamagedError, OSError):
        return False


def _link(entry: Entry, path: str, files: str) -> bool:
    """Replace an unpacked file by a hard link; return whether that was possible."""
    target = f"{files}/{path}"
    beside = os.path.join(os.path.dirname(target), TEMPORARY)
    try:
        os.link(entry.source(path), beside, follow_symlinks=False)
        os.replace(beside, target)
    except OSError:  # the file system has a highest number of links
        return False
    return True
