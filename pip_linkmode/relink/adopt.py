"""Make entries of installed files, where no store has the wheel.

Files that are as their RECORD says are copied (or cloned) from the first environment
that has them.  :mod:`pip_linkmode.store.entry` describes how such an entry differs from
one of a wheel.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import make_directory, sha256_of
from pip_linkmode.guard import path_of
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
    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.relink.survey import Digests, InstalledDistribution
    from pip_linkmode.store.store import Store


_METADATA = ("METADATA", "WHEEL", "RECORD")


@dataclass(frozen=True)
class Proposal:
    """An entry that can be made of installed files."""

    entry: Entry
    """It exists if *is_new* is false; else its times are not known yet."""
    is_new: bool
    sources: Mapping[str, tuple[Environment, str]]
    """The file to copy, by path in the entry; without the metadata."""
    metadata: Mapping[str, bytes]
    """Content by path in the entry."""
    is_damaged: bool = False
    """Whether a damaged entry is in its place, which it replaces."""


def propose(
    store: Store, members: Sequence[InstalledDistribution], digests: Digests
) -> Proposal | None:
    """Describe the entry that installed files make; nothing is written.

    :param members: one distribution in several environments, at least one
    :returns: ``None`` if not one file is as its RECORD says
    :raises EntryDamagedError: if the entry exists, is damaged, and environments
        depend on it
    :raises OSError: if a file of the metadata cannot be read
    """
    distribution = members[0].distribution
    sources: dict[str, tuple[Environment, str]] = {}
    files = []
    for environment, source, file in candidates(members):
        sha256 = file.sha256 or ""
        if file.path not in sources and digests.is_intact(environment, source, sha256):
            sources[file.path] = environment, source
            files.append(StoredFile(file.path, file.size, sha256, file.mode))
    if not files:
        return None
    sha256 = adopted_digest(distribution.dist_info, files)
    is_damaged = _is_damaged(store, sha256)
    present = None if is_damaged else store.entry(sha256)
    if present is not None:
        return Proposal(present, False, {}, {})
    metadata = {
        f"{distribution.dist_info}/{name}": distribution.read(name)
        for name in _METADATA
    }
    for path, content in metadata.items():
        digest = hashlib.sha256(content).hexdigest()
        files.append(StoredFile(path, len(content), digest, 0o644))
    entry = _describe(store, sha256, distribution, files)
    return Proposal(entry, True, sources, metadata, is_damaged)


def _describe(
    store: Store, sha256: str, distribution: Distribution, files: Sequence[StoredFile]
) -> Entry:
    headers = _headers(distribution, "METADATA")
    is_pure = _headers(distribution, "WHEEL").get("Root-Is-Purelib", "")
    return Entry(
        path=store.path(sha256),
        store=store.root,
        sha256=sha256,
        wheel="",
        name=headers.get("Name", distribution.name),
        version=headers.get("Version", distribution.version),
        dist_info=distribution.dist_info,
        purelib=is_pure.lower() == "true",
        record_is_complete=False,
        mtime=0,
        files=tuple(files),
    )


def _headers(distribution: Distribution, name: str) -> Mapping[str, str]:
    return dict(HeaderParser().parsestr(distribution.text(name)).items())


def adopt(store: Store, proposal: Proposal) -> tuple[Entry | None, bool]:
    """Make the entry that was proposed.

    A file that is changed by another process before it is copied is left out.

    :param store: writable
    :returns: ``None`` if not one file was left, or the entry is gone again; and whether
        it is new
    :raises OSError: if it cannot be written
    """
    if not proposal.is_new:
        return proposal.entry, False
    entry = proposal.entry
    with store.staging() as staged:
        files = [file for file in entry.files if _write(staged, file, proposal)]
        shared = [file for file in files if file.path in proposal.sources]
        if not shared:
            return None, False
        sha256 = adopted_digest(entry.dist_info, shared)
        mtime = claim_mtime(store, entry.name, sha256, int(time.time()))
        for file in files:
            os.utime(os.path.join(staged, FILES, file.path), (mtime, mtime))
        manifest = {
            "name": entry.name,
            "version": entry.version,
            "dist_info": entry.dist_info,
            "purelib": entry.purelib,
            "plain_record": False,
            "mtime": mtime,
            "files": files,
            "wheel": "",
        }
        is_damaged = proposal.is_damaged and sha256 == entry.sha256
        is_new = store.publish_entry(staged, sha256, manifest, replace=is_damaged)
    return store.entry(sha256), is_new


def _write(staged: str, file: StoredFile, proposal: Proposal) -> bool:
    """Write a file into a staging directory; return whether it has its digest."""
    target = os.path.join(staged, FILES, file.path)
    make_directory(os.path.dirname(target))
    content = proposal.metadata.get(file.path)
    try:
        if content is None:
            _copy(*proposal.sources[file.path], target)
        else:
            with open(target, "xb") as written:
                written.write(content)
    except FileNotFoundError:
        return False
    if sha256_of(target) != file.sha256:
        os.unlink(target)
        return False
    os.chmod(target, file.mode)
    return True


def _copy(environment: Environment, source: str, target: str) -> None:
    """Make a private copy of a file, a clone if possible."""
    with environment.open(source) as file:
        held = path_of(file.fileno(), source)
        link = Link(held, target, os.fstat(file.fileno()).st_size, 0, 0o644, 0o644)
        mode = "no_shared_inode"
        Linker().link([link], mode=mode, store="", target_root="", created=[])


def _is_damaged(store: Store, sha256: str) -> bool:
    """Return whether a damaged entry can be replaced; false if there is none.

    :raises EntryDamagedError: if environments were given symlinks there: the damage may
        be an edit of theirs, which exists nowhere else
    """
    try:
        entry = store.entry(sha256)
        if entry is not None:
            entry.check()
    except EntryDamagedError as error:
        if not os.path.lexists(os.path.join(store.path(sha256), FILES)):
            return True  # it was removed, or is bytecode that came too late
        # Symlinks of now do not suffice: one may be behind a link to a directory.
        dependents = [
            one.environment.path if one.site_packages else one.directory
            for one in registrations(store.root, store.related_stores)
            if one.may_depend_on(sha256) and one.state() != "gone"
        ]
        if dependents:
            msg = (
                f"{error}, and {', '.join(dependents)} had symlinks to that entry. "
                "Run `pip-linkmode verify` to see the edits, and add --repair to undo "
                "them, or --repair --keep to leave them to their environment"
            )
            raise EntryDamagedError(msg) from error
        return True
    return False
