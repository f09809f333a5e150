"""Compile once per wheel and interpreter.

``bytecode/<interpreter>/`` in a store entry holds one ``.pyc`` for every ``.py`` that
compiles, under the path of its source with ``.pyc`` for ``.py``, and a manifest.  A
source that does not compile is in the manifest too, so that it is not tried again.

A linked ``.pyc`` is valid because the linked ``.py`` has the size and mtime that were
stamped into it, and the import system corrects ``co_filename`` (CPython
``_bootstrap_external.py``, ``_compile_bytecode``).

"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.store.layout import MANIFEST
from pip_linkmode.store.manifest import IMPOSSIBLE, check_files, read_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MANIFEST_VERSION = 1


class Compiled(NamedTuple):
    """One ``.pyc`` in a store entry."""

    size: int
    """Bytes."""
    mtime_ns: int
    mode: int
    """Permission bits."""
    encoding: str
    """The source's encoding."""


@dataclass(frozen=True)
class Bytecode:
    """The compiled files of one entry, for one interpreter."""

    path: str
    """Absolute path of the directory."""
    files: Mapping[str, Compiled]
    """By path of the source in the wheel; without those that do not compile."""

    def source(self, path: str) -> str:
        """Return the absolute path of the ``.pyc`` of a source."""
        return f"{self.path}/{path}c"


def load(path: str, sources: Sequence[str]) -> Bytecode | None:
    """Read the bytecode of an entry; ``None`` if it is not there, or not whole.

    :param path: absolute path of the directory
    :param sources: the paths of all ``.py`` files in the wheel
    """
    if os.path.islink(os.path.dirname(path)):
        return None
    try:
        data = read_manifest(os.path.join(path, MANIFEST))
        if data["manifest"] != MANIFEST_VERSION or list(data["files"]) != list(sources):
            return None
        files = {
            source: Compiled(*compiled)
            for source, compiled in data["files"].items()
            if compiled is not None
        }
        if any(type(one.encoding) is not str for one in files.values()):
            return None
        check_files(
            path,
            (
                (f"{source}c", one.size, one.mtime_ns, one.mode)
                for source, one in files.items()
            ),
        )
    except (OSError, EntryDamagedError, *IMPOSSIBLE):
        return None
    return Bytecode(path, files)
