"""Compare the files of a store entry with its manifests.

Bytecode has no digests: its size, time and mode are compared.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import Distribution
from pip_linkmode.errors import EntryDamagedError, RecordInvalidError
from pip_linkmode.files import open_regular
from pip_linkmode.maintenance.damage import Key, Stored
from pip_linkmode.store.bytecode import Compiled
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST
from pip_linkmode.store.manifest import IMPOSSIBLE, read_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.maintenance.damage import Findings, Kind
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store


_CACHE = "__pycache__"


def verify_entry(store: Store, sha256: str, findings: Findings) -> None:
    """Compare one entry with its manifest, and its bytecode with theirs.

    :param sha256: of the entry
    :param findings: gets the damages
    """
    path = store.path(sha256)
    entry, is_damaged = None, True
    with contextlib.suppress(EntryDamagedError, OSError):
        entry = store.entry(sha256)
        is_damaged = entry is not None and _contradicts_record(entry, findings)
    if is_damaged:
        manifest = os.path.join(path, MANIFEST)
        damage = findings.found(manifest, "manifest", f"sha256:{sha256[:12]}", None)
        damage.stored.append(Stored(store, sha256, manifest, 0, 0))
        return
    if entry is None:  # it was removed after it was listed
        return
    with contextlib.suppress(OSError):
        owner = os.lstat(path).st_uid
        for file in entry.files:
            one = Stored(
                store, sha256, entry.source(file.path), entry.mtime * 10**9, file.mode
            )
            _verify(one, title_of(entry), file.sha256, file.size, owner, findings)
        for directory, name, compiled in _compiled(entry):
            one = Stored(
                store,
                sha256,
                f"{directory}/{name}c",
                compiled.mtime_ns,
                compiled.mode,
            )
            _verify(one, title_of(entry), None, compiled.size, owner, findings)
        _find_unlisted(store, entry, findings)


def _contradicts_record(entry: Entry, findings: Findings) -> bool:
    """Return whether a file is as RECORD has it, but not as the manifest has it.

    Such a manifest must not decide which bytes a repair writes.
    """
    installed = Distribution(os.path.join(entry.path, FILES), entry.dist_info)
    claims: dict[str, str | None] = {}
    with contextlib.suppress(OSError, RecordInvalidError):  # other damages
        claims = {row.record: row.sha256 for row in installed.rows()}
    for file in entry.files:
        claimed = claims.get(file.path)
        if claimed not in (None, file.sha256):
            with contextlib.suppress(OSError):
                if _digest(entry.source(file.path), findings) == claimed:
                    return True
    return False


def title_of(entry: Entry) -> str:
    """Return name and version as the dist-info directory spells them."""
    return " ".join(entry.dist_info.removesuffix(".dist-info").split("-", 1))


def _verify(
    one: Stored,
    title: str,
    sha256: str | None,
    size: int,
    owner: int,
    findings: Findings,
) -> None:
    kind: Kind | None = None
    key: Key | str = one.path
    status = None
    try:
        status = os.lstat(one.path)
        key = Key(status.st_dev, status.st_ino)
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_size != size
            or (sha256 is not None and _digest(one.path, findings) != sha256)
        ):
            kind = "modified"
        elif status.st_uid != owner:
            kind = "foreign"
        elif (
            status.st_mtime_ns != one.mtime_ns
            or stat.S_IMODE(status.st_mode) != one.mode
        ):
            kind = "modified" if sha256 is None else "restamped"
    except OSError:
        kind = "missing"
    if kind is not None:
        damage = findings.found(key, kind, title, sha256)
        damage.stored.append(one)
        if status is not None and status.st_uid != owner:
            damage.owner = status.st_uid


def _digest(path: str, findings: Findings) -> str:
    with open_regular(path, follow=False) as file:
        return findings.digest(file)


def _compiled(entry: Entry) -> Iterator[tuple[str, str, Compiled]]:
    """List the bytecode of an entry: its directory, its source, and its description."""
    base = os.path.join(entry.path, BYTECODE)
    with contextlib.suppress(OSError):
        for interpreter in sorted(os.listdir(base)):
            directory = os.path.join(base, interpreter)
            try:
                data = read_manifest(os.path.join(directory, MANIFEST))
                files = {
                    source: Compiled(*one)
                    for source, one in data["files"].items()
                    if one is not None
                }
            except (OSError, EntryDamagedError, *IMPOSSIBLE):
                continue  # it is not used, and compiled again by the next installation
            for source, one in files.items():
                yield directory, source, one


def _find_unlisted(store: Store, entry: Entry, findings: Findings) -> None:
    caches = set()
    for path in entry.unlisted():
        source = entry.source(path)
        if os.path.basename(os.path.dirname(path)) == _CACHE:
            caches.add(os.path.dirname(source))
            continue
        damage = findings.found(source, "unlisted", title_of(entry), None)
        damage.stored.append(Stored(store, entry.sha256, source, 0, 0))
    findings.notes += [
        f"Bytecode that no installation uses: {cache}" for cache in sorted(caches)
    ]
