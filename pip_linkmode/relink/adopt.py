"""Make entries of what is installed, where no store has the wheel.

What is copied (or cloned) is what is as its RECORD says, from the first environment
that has it so.  How such an entry differs from one of a wheel: see
:mod:`pip_linkmode.store`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from email.parser import HeaderParser
from typing import TYPE_CHECKING, Any

from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import file_stamp, make_directory, sha256_of
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.relink.survey import candidates
from pip_linkmode.store.claims import claim_mtime
from pip_linkmode.store.entry import Entry, adopted_digest
from pip_linkmode.store.layout import FILES
from pip_linkmode.store.paths import StoredFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pip_linkmode.environments.distribution import Distribution
    from pip_linkmode.relink.survey import InstalledDistribution
    from pip_linkmode.store.store import Store

    Known = dict[str, tuple[tuple[int, ...], str]]


_METADATA = ("METADATA", "WHEEL", "RECORD")


def adopt(
    store: Store, members: Sequence[InstalledDistribution], known: Known
) -> tuple[Entry | None, bool]:
    """Make an entry of installed files.

    :param store: writable
    :param members: one distribution in several environments, not none
    :param known: receives the digests of files by path, with their stamps
    :returns: ``None`` if not one file is as its RECORD says; and whether it is new
    :raises EntryDamagedError: if the entry is there, damaged, and depended on
    :raises OSError: if it cannot be read, or cannot be kept
    """
    distribution = members[0].distribution
    with store.staging() as staged:
        files = _collect(staged, members, 0, known)
        if not files:
            return None, False
        sha256 = adopted_digest(distribution.dist_info, files)
        mtime = claim_mtime(store, distribution.name, sha256, int(time.time()))
        for file in files:
            os.utime(os.path.join(staged, FILES, file.path), (mtime, mtime))
        files += _metadata(staged, distribution, mtime)
        manifest = _manifest(distribution, files, mtime)
        replace = _is_to_be_replaced(store, sha256)
        is_new = store.publish_entry(staged, sha256, manifest, replace=replace)
    return store.entry(sha256), is_new


def planned(
    store: Store, members: Sequence[InstalledDistribution]
) -> tuple[Entry | None, bool]:
    """Return the entry that :func:`adopt` would make, by the sizes of the files.

    :returns: if it is new, it has no path; ``None`` if there would be none; and whether
        it is new
    :raises EntryDamagedError: as :func:`adopt`
    :raises OSError: as :func:`adopt`, as far as it can be foreseen
    """
    distribution = members[0].distribution
    found: dict[str, StoredFile] = {}
    for _, file in candidates(members):
        if file.is_as_long:
            stored = StoredFile(file.path, file.size, file.sha256 or "", file.mode)
            found.setdefault(file.path, stored)
    if not found:
        return None, False
    sha256 = adopted_digest(distribution.dist_info, found.values())
    for name in _METADATA:
        size = len(distribution.read(name))
        path = f"{distribution.dist_info}/{name}"
        found[path] = StoredFile(path, size, "", 0o644)
    present = None if _is_to_be_replaced(store, sha256) else store.entry(sha256)
    if present is not None:
        return present, False
    entry = Entry(
        path="",
        store=store.root,
        sha256=sha256,
        wheel="",
        name=distribution.name,
        version=distribution.version,
        dist_info=distribution.dist_info,
        purelib=True,
        record_is_complete=False,
        mtime=0,
        files=tuple(found.values()),
    )
    return entry, True


def _collect(
    staged: str, members: Sequence[InstalledDistribution], mtime: int, known: Known
) -> list[StoredFile]:
    """Copy each file that is as RECORD says into a staging directory."""
    found: dict[str, StoredFile] = {}
    for source, file in candidates(members):
        if file.path in found:
            continue
        target = os.path.join(staged, FILES, file.path)
        with contextlib.suppress(FileNotFoundError):
            before = file_stamp(os.lstat(source))
            make_directory(os.path.dirname(target))
            _copy(source, target, file.mode, mtime * 10**9)
            digest = sha256_of(target)
            if digest != file.sha256:
                os.unlink(target)
                continue
            size = os.lstat(target).st_size
            found[file.path] = StoredFile(file.path, size, digest, file.mode)
            if file_stamp(os.lstat(source)) == before:
                known[source] = (before, digest)
    return list(found.values())


def _copy(source: str, target: str, mode: int, mtime_ns: int) -> None:
    """Make a private copy of a file, a clone if that can be had."""
    size = os.lstat(source).st_size
    link = Link(source, target, size, mtime_ns, mode, mode)
    Linker().link([link], mode="no_shared_inode", store="", target_root="", created=[])
    os.chmod(target, mode)


def _metadata(staged: str, distribution: Distribution, mtime: int) -> list[StoredFile]:
    """Copy what every entry has to have into a staging directory."""
    found = []
    for name in _METADATA:
        path = f"{distribution.dist_info}/{name}"
        target = os.path.join(staged, FILES, path)
        make_directory(os.path.dirname(target))
        content = distribution.read(name)
        with open(target, "xb") as file:
            file.write(content)
        os.chmod(target, 0o644)
        os.utime(target, (mtime, mtime))
        digest = hashlib.sha256(content).hexdigest()
        found.append(StoredFile(path, len(content), digest, 0o644))
    return found


def _headers(distribution: Distribution, name: str) -> Mapping[str, str]:
    return dict(HeaderParser().parsestr(distribution.text(name)).items())


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


def _is_to_be_replaced(store: Store, sha256: str) -> bool:
    """Tell whether there is an entry that is of no use.

    :raises EntryDamagedError: if environments were given symlinks there: what it was
        damaged by may be an edit of theirs, and be nowhere else
    """
    try:
        entry = store.entry(sha256)
        if entry is not None:
            entry.check()
    except EntryDamagedError as error:
        if not os.path.lexists(os.path.join(store.path(sha256), FILES)):
            return True  # it was removed, or is bytecode that came too late
        # Not where symlinks are now: one may be behind a link to a directory.
        dependents = [
            one.environment.path if one.site_packages else one.directory
            for one in registrations(store.root, store.related_stores)
            if one.may_depend_on(sha256) and one.state() != "gone"
        ]
        if dependents:
            msg = (
                f"{error}, and {', '.join(dependents)} had symlinks to that entry; "
                "pip-linkmode verify tells what was edited, --repair puts it right, "
                "and --keep leaves an environment its edits"
            )
            raise EntryDamagedError(msg) from error
        return True
    return False
