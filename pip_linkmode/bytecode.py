"""Compile once per wheel and interpreter.

``bytecode/<interpreter>/`` in a store entry holds one ``.pyc`` for every ``.py`` that
compiles, under the path of its source with ``.pyc`` for ``.py``, and a manifest.  What
does not compile is in the manifest too, so that it is not tried again.

A linked ``.pyc`` is valid because the linked ``.py`` has the size and mtime that were
stamped into it, and the import system corrects ``co_filename`` (CPython
``_bootstrap_external.py``, ``_compile_bytecode``).

"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.entry import (
    IMPOSSIBLE,
    NOTHING_SEEN,
    check_files,
    read_manifest,
    write_manifest,
)
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.wheel import make_directory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pip_linkmode.entry import Seen

MANIFEST = "manifest.json"
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


def has_no_debug_ranges() -> bool:
    """Tell whether code is compiled without column numbers."""
    return "no_debug_ranges" in sys._xoptions or bool(  # noqa: SLF001  # it is documented
        os.environ.get("PYTHONNODEBUGRANGES") and not sys.flags.ignore_environment
    )


def is_checked_hash() -> bool:
    """Tell whether pip would make hash-based files (source: ``py_compile``)."""
    return bool(os.environ.get("SOURCE_DATE_EPOCH"))


def interpreter() -> str:
    """Name everything that decides the content of a ``.pyc`` besides its source."""
    magic = importlib.util.MAGIC_NUMBER.hex()
    parts = [f"{sys.implementation.cache_tag}-{magic}"]
    if sys.flags.optimize:
        parts.append(f"opt-{sys.flags.optimize}")
    if is_checked_hash():
        parts.append("hash")
    if has_no_debug_ranges():
        parts.append("no-ranges")
    return ".".join(parts)


@dataclass(frozen=True)
class Interpreter:
    """Who compiles."""

    executable: str
    """Absolute path; empty if it is not known."""
    name: str
    """Of its directory in an entry: see :func:`interpreter`."""
    cache_tag: str
    """What stands in the file names in ``__pycache__``."""
    options: tuple[str, ...] = ()
    """Command-line options that decide the content of a ``.pyc``."""
    checked_hash: bool = False
    """Whether the source's hash validates a ``.pyc`` (:pep:`552`), not its mtime."""

    @classmethod
    def running(cls) -> Interpreter:
        """Return the interpreter of this process, as it was started."""
        options = ["-O"] * sys.flags.optimize
        if has_no_debug_ranges():
            options += ["-X", "no_debug_ranges"]
        return cls(
            sys.executable or "",
            interpreter(),
            sys.implementation.cache_tag or "",
            tuple(options),
            is_checked_hash(),
        )


def compiles_here(encoding: str) -> bool:
    """Tell whether this process, as it is now, could compile such a source.

    pip 26.3 blocks the import of codecs while it installs, and therefore skips sources
    in encodings that nobody has used before; then so must we.
    """
    if encoding in ("utf-8", "utf-8-sig"):
        return True
    try:
        compile(f"# coding: {encoding}\n".encode("ascii"), "<encoding>", "exec")
    except Exception:  # pip's BlockedImportError is none of ours
        return False
    return True


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


def load(
    path: str, sources: Sequence[str], seen: Seen = NOTHING_SEEN
) -> Bytecode | None:
    """Read the bytecode of an entry; ``None`` if it is not there, or not whole.

    :param path: absolute path of the directory
    :param sources: the paths of all ``.py`` files in the wheel
    :param seen: what need not be looked at
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
        if not seen.covers(path):
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


def jobs(
    directory: str, sources: Mapping[str, str], *, checked_hash: bool
) -> list[tuple[str, str, str, bool]]:
    """List what to compile, as arguments of ``compile_one``, and make directories.

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
    :param compiled: what ``compile_one`` says of each
    :raises OSError: if it cannot be written
    """
    files = dict(zip(sources, compiled, strict=True))
    manifest = {"manifest": MANIFEST_VERSION, "files": files}
    write_manifest(os.path.join(directory, MANIFEST), manifest)


def compile_in_place(source: str, target: str) -> bool:
    """Compile an installed file where it is, as pip does; say whether it compiles.

    For when there is no store to keep the result in.

    :param source: absolute path of the ``.py``
    :param target: absolute path of the ``.pyc``
    """
    try:
        if os.path.islink(target):  # py_compile refuses to replace one
            os.unlink(target)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore")
            py_compile.compile(source, cfile=target, doraise=True)
    except Exception:  # as in compileall; or a blocked import
        return False
    return True
