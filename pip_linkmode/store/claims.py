"""Claim modification times: a second belongs to one wheel of a project for ever.

Size and mtime of a source are all that a ``.pyc`` file, rsync, numba, mypy and ETags
compare.  So two versions of a project never have one mtime in common, and a wheel that
is unpacked again has the mtime that it had before::

    <store>/v1/projects/<project>/<second>             an empty file: it is taken
                                  <sha256>/<second>    the mtime of a wheel

Both names are made by calls that fail if the name exists, on network file systems too:
an exclusive create, and the rename of a directory that is not empty.  Claims outlive
entries.  A process that dies between the two calls costs a second.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import shutil
from typing import TYPE_CHECKING

from pip_linkmode.files import TEMPORARY
from pip_linkmode.store.layout import DIGEST, PROJECTS
from pip_linkmode.store.staging import refuse_link

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pip_linkmode.store.store import Store


_SECOND = re.compile(r"[0-9]{1,11}")
_PLAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,100})")


def claim_mtime(store: Store, project: str, sha256: str, wanted: int) -> int:
    """Return the mtime of a wheel's files, chosen now unless it was chosen before.

    :param store: writable; a second that one of its related stores has for the project
        counts as taken
    :param project: name, in any spelling
    :param sha256: key of the entry
    :param wanted: the current time in seconds; the result is earlier if it is taken,
        since ``make`` and ``ninja`` warn about files of the future
    :raises OSError: if the store cannot be written
    """
    directory = _directory(store.root, project)
    known = _second_of(directory, sha256)
    if known is not None:
        return known
    store.make_directory(directory)
    refuse_link(directory)
    taken: set[int] = set()
    elsewhere = []
    for root in store.related_stores:
        other = _directory(root, project)
        if root != store.root:
            second = _second_of(other, sha256)
            taken |= {int(name) for name in _seconds_in(other)} - {second}
            elsewhere += [] if second is None else [second]
    candidates = itertools.chain(elsewhere, itertools.count(wanted, -1))
    mtime = next(
        second
        for second in candidates
        if second not in taken and _create(os.path.join(directory, str(second)))
    )
    return _publish(directory, sha256, mtime)


def has_mtime(store: Store, project: str, sha256: str) -> bool:
    """Return whether the mtime of a wheel was chosen, in this or a related store.

    :param project: name, in any spelling
    """
    roots = {store.root, *store.related_stores}
    return any(_second_of(_directory(root, project), sha256) for root in roots)


def share_mtime(store: Store, project: str, sha256: str, mtime: int) -> int:
    """Give a wheel the mtime of an entry with the same files.

    :returns: the mtime of the wheel: another one if another process was first
    :raises OSError: if the store cannot be written
    """
    return _publish(_directory(store.root, project), sha256, mtime)


def claimants(store: Store, project: str) -> list[str]:
    """Return the keys of the entries of a project that have claimed a second.

    The entries may be gone.
    """
    with contextlib.suppress(OSError):
        names = os.listdir(_directory(store.root, project))
        return [name for name in sorted(names) if len(name) == DIGEST]
    return []


def _directory(root: str, project: str) -> str:
    name = re.sub(r"[-_.]+", "-", project).lower()
    if not _PLAIN.fullmatch(name):  # of a wheel that pip will refuse
        name = f"-{hashlib.sha256(name.encode(errors='replace')).hexdigest()}"
    return os.path.join(root, PROJECTS, name)


def _seconds_in(directory: str) -> Iterable[str]:
    with contextlib.suppress(OSError):
        return filter(_SECOND.fullmatch, os.listdir(directory))
    return ()


def _second_of(directory: str, sha256: str) -> int | None:
    """Return the second that a wheel has claimed."""
    return min(map(int, _seconds_in(os.path.join(directory, sha256))), default=None)


def _create(path: str) -> bool:
    """Create an empty file; return whether it did not exist."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    except FileExistsError:
        return False
    return True


def _publish(directory: str, sha256: str, mtime: int) -> int:
    """Record the second of a wheel; return that of the process that was first."""
    staged = os.path.join(directory, TEMPORARY + os.urandom(8).hex())
    try:
        os.mkdir(staged, 0o755)
        _create(os.path.join(staged, str(mtime)))
        os.rename(staged, os.path.join(directory, sha256))
    except OSError:
        first = _second_of(directory, sha256)
        if first is None:
            raise
        return first
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return mtime
