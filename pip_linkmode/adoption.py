"""Make entries of what is installed, where no store has the wheel.

What is copied (or cloned) is what is as its RECORD says, from the first environment
that has it so.  How such an entry differs from one of a wheel: see
:mod:`pip_linkmode.store`.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any

from pip_linkmode.entry import FILES, Entry, adopted_digest
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.link import Link, Linker
from pip_linkmode.wheel import StoredFile, file_digest, make_directory, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pip_linkmode.environments import Distribution
    from pip_linkmode.installed import Installed
    from pip_linkmode.store import Store

    Known = dict[str, tuple[tuple[int, ...], str]]

_METADATA = ("METADATA", "WHEEL", "RECORD")


def adopt(store: Store, members: Sequence[Installed], known: Known) -> Entry | None:
    """Make an entry of installed files.

    :param store: writable
    :param members: one distribution in several environments, not none
    :param known: receives the digests of files by path, with their stamps
    :returns: ``None`` if not one file is as its RECORD says
    :raises OSError: if it cannot be read, or cannot be kept
    """
    distribution = members[0].distribution
    with store.staging() as staged:
        mtime = int(time.time())
        files = _collect(staged, members, mtime, known)
        if not files:
            return None
        sha256 = adopted_digest(distribution.dist_info, files)
        files += _metadata(staged, distribution, mtime)
        manifest = _manifest(distribution, files, mtime)
        replace = _is_damaged(store, sha256)
        store.publish_entry(staged, sha256, manifest, replace=replace)
    return store.entry(sha256)


def planned(store: Store, member: Installed) -> Entry:
    """Return the entry that would be made; it has no path."""
    return Entry(
        path="",
        store=store.root,
        sha256="",
        wheel="",
        name=member.distribution.name,
        version=member.distribution.version,
        dist_info=member.distribution.dist_info,
        purelib=True,
        plain_record=False,
        mtime=0,
        files=tuple(
            StoredFile(file.path, file.size, file.sha256, file.mode)
            for file in member.files.values()
            if file.sha256 is not None
        ),
    )


def _collect(
    staged: str, members: Sequence[Installed], mtime: int, known: Known
) -> list[StoredFile]:
    """Copy each file that is as RECORD says into a staging directory."""
    found: dict[str, StoredFile] = {}
    for member in members:
        for source, file in member.files.items():
            if file.path in found or file.sha256 is None or file.mode & ~0o777:
                continue
            target = os.path.join(staged, FILES, file.path)
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(source)
                if not stat.S_ISREG(status.st_mode):
                    continue
                make_directory(os.path.dirname(target))
                _copy(source, target, file.mode, mtime * 10**9)
                if sha256_of(target) == file.sha256:
                    size = os.lstat(target).st_size
                    found[file.path] = StoredFile(
                        file.path, size, file.sha256, file.mode
                    )
                    if stamp(os.lstat(source)) == stamp(status):
                        known[source] = (stamp(status), file.sha256)
                else:
                    os.unlink(target)
    return list(found.values())


def sha256_of(path: str) -> str:
    """Return the digest of a file, in hexadecimal.

    :param path: absolute path
    :raises OSError: if it cannot be read, or is a link
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(descriptor, "rb") as file:
        return file_digest(file)


def _copy(source: str, target: str, mode: int, mtime_ns: int) -> None:
    """Make a private copy of a file, a clone if that can be had."""
    size = os.lstat(source).st_size
    link = Link(source, target, size, mtime_ns, mode, mode)
    Linker().link([link], mode="own", store="", area="", made=[])
    os.chmod(target, mode)


def _metadata(staged: str, distribution: Distribution, mtime: int) -> list[StoredFile]:
    """Copy what every entry has to have into a staging directory."""
    found = []
    for name in _METADATA:
        path = f"{distribution.dist_info}/{name}"
        target = os.path.join(staged, FILES, path)
        make_directory(os.path.dirname(target))
        _copy(os.path.join(distribution.library, path), target, 0o644, mtime * 10**9)
        size = os.lstat(target).st_size
        found.append(StoredFile(path, size, sha256_of(target), 0o644))
    return found


def _headers(distribution: Distribution, name: str) -> Mapping[str, str]:
    path = os.path.join(distribution.library, distribution.dist_info, name)
    with open(path, encoding="utf-8", errors="replace") as file:
        return dict(HeaderParser().parse(file, headersonly=True).items())


def _manifest(
    distribution: Distribution, files: list[StoredFile], mtime: int
) -> dict[str, Any]:
    metadata = _headers(distribution, "METADATA")
    wheel = _headers(distribution, "WHEEL")
    return {
        "name": metadata.get("Name", distribution.name),
        "version": metadata.get("Version", distribution.version),
        "dist_info": distribution.dist_info,
        "purelib": wheel.get("Root-Is-Purelib", "").lower() == "true",
        "plain_record": False,
        "mtime": mtime,
        "files": files,
        "wheel": "",
    }


def _is_damaged(store: Store, sha256: str) -> bool:
    """Tell whether there is an entry that is of no use."""
    try:
        entry = store.entry(sha256)
        if entry is not None:
            entry.check()
    except EntryDamagedError:
        return True
    return False
