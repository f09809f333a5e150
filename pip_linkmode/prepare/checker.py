"""Look at entries of a store, in an interpreter of one's own.

A job is a line of JSON, ``[interpreter, path of an entry, …]``; the answer is
``{"done": {path: {directory: stamp, …}, …}}``.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial

from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import file_stamp
from pip_linkmode.prepare import worker
from pip_linkmode.store.bytecode import load
from pip_linkmode.store.entry import load_entry
from pip_linkmode.store.layout import BYTECODE, MANIFEST
from pip_linkmode.store.manifest import IMPOSSIBLE

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any


def look(path: str, interpreter: str) -> dict[str, tuple[int, ...]]:
    """Compare the files of an entry, and its bytecode, with their manifests.

    :param path: absolute path of the entry
    :param interpreter: see :func:`pip_linkmode.interpreters.interpreter`
    :returns: the stamp of its manifest, by directory that is as it should be
    """
    seen = {}
    with contextlib.suppress(OSError, EntryDamagedError, *IMPOSSIBLE):
        manifest = file_stamp(os.lstat(os.path.join(path, MANIFEST)))
        entry = load_entry(path, "", os.path.basename(path))
        if entry is not None:
            entry.check()
            seen[path] = manifest
            compiled = os.path.join(path, BYTECODE, interpreter)
            manifest = file_stamp(os.lstat(os.path.join(compiled, MANIFEST)))
            if load(compiled, entry.sources) is not None:
                seen[compiled] = manifest
    return seen


def answer(job: list[Any]) -> dict[str, Any]:
    """Do one job."""
    interpreter, *entries = job
    return {"done": {path: look(path, interpreter) for path in entries}}


work = partial(worker.work, do=answer)
