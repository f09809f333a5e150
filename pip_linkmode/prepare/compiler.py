"""Compile an entry, and find or make its bytecode."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

from pip_linkmode.files import make_directory
from pip_linkmode.prepare.pool import WorkersError
from pip_linkmode.store.bytecode import MANIFEST_VERSION, Bytecode, load
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST
from pip_linkmode.store.manifest import use, write_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pip_linkmode.prepare.pool import Workers
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store

_CHUNK = 32
"""Files that are compiled in one job."""


def jobs(
    directory: str, sources: Mapping[str, str], *, checked_hash: bool
) -> list[tuple[str, str, str, bool]]:
    """List the arguments of ``compile_one``, and make the directories.

    :param directory: an empty directory of one's own
    :param sources: absolute path by path in the wheel
    :param checked_hash: whether the source's hash validates a ``.pyc``
    :raises OSError: if it cannot be written
    """
    for parent in sorted({os.path.dirname(f"{directory}/{path}") for path in sources}):
        make_directory(parent)
    return [
        (source, f"{directory}/{path}c", path, checked_hash)
        for path, source in sources.items()
    ]


def finish(
    directory: str, sources: Sequence[str], compiled: Sequence[Sequence[Any] | None]
) -> None:
    """Write the manifest, when all is compiled.

    :param directory: where it was compiled to
    :param sources: paths in the wheel
    :param compiled: the result of ``compile_one`` for each
    :raises OSError: if it cannot be written
    """
    files = dict(zip(sources, compiled, strict=True))
    manifest = {"manifest": MANIFEST_VERSION, "files": files}
    write_manifest(os.path.join(directory, MANIFEST), manifest)


def compile_sources(
    workers: Workers, files: str, sources: Sequence[str], directory: str
) -> None:
    """Compile the sources of a wheel; leave nothing if that cannot be done.

    :param workers: do the work
    :param files: absolute path of the directory that the sources are in
    :param sources: paths below it
    :param directory: absolute path to compile to; made, or empty
    """
    try:
        todo = jobs(
            directory,
            {path: f"{files}/{path}" for path in sources},
            checked_hash=workers.interpreter.checked_hash,
        )
        # Small portions, that all workers are busy to the end.
        chunks = [todo[i : i + _CHUNK] for i in range(0, len(todo), _CHUNK)]
        futures = [workers.submit("compile", chunk) for chunk in chunks]
        compiled = [one for future in futures for one in future.result()]
        finish(directory, sources, compiled)
    except (WorkersError, OSError):
        shutil.rmtree(directory, ignore_errors=True)


def ensure_bytecode(
    workers: Workers,
    store: Store,
    entry: Entry,
    write_store: Store | None = None,
) -> Bytecode | None:
    """Load the bytecode of an entry, compiled now if need be.

    :param workers: compile
    :param store: the one with the entry
    :param write_store: the one for the bytecode, if that one cannot have it
    :returns: ``None`` if it is not there and cannot be made or kept
    """
    path = os.path.join(entry.path, BYTECODE, workers.interpreter.name)
    if not entry.sources:
        return Bytecode(path, {})
    found = load(path, entry.sources)
    own = store.writable and os.access(entry.path, os.W_OK)
    if found is None and write_store and not own:
        store, path = write_store, write_store.bytecode(entry, workers.interpreter.name)
        found = load(path, entry.sources)
        use(path)
    if found is None and store.writable:
        with contextlib.suppress(OSError), store.staging() as staged:
            compile_sources(
                workers, os.path.join(entry.path, FILES), entry.sources, staged
            )
            parent = os.path.dirname(path)
            if os.path.islink(parent):
                os.unlink(parent)
            store.publish(staged, path, replace=os.path.lexists(path))
        found = load(path, entry.sources)
    return found
