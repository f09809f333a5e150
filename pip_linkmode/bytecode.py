"""Compile once per wheel and interpreter, in worker interpreters.

``bytecode/<interpreter>/`` in a store entry holds one ``.pyc`` for every ``.py`` that
compiles, under the path of its source with ``.pyc`` for ``.py``, and a manifest.  What
does not compile is in the manifest too, so that it is not tried again.

A linked ``.pyc`` is valid because the linked ``.py`` has the size and mtime that were
stamped into it, and the import system corrects ``co_filename`` (CPython
``_bootstrap_external.py``, ``_compile_bytecode``).

Workers are fresh interpreters, not forks: pip 26.3 blocks imports in its own process
and in its forks, of codecs that a source may need too.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import json
import os
import py_compile
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode import _worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO, Any

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


with open(_worker.__file__, encoding="utf-8") as _file:
    _PROGRAM = _file.read()


def _no_debug_ranges() -> bool:
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
    if _no_debug_ranges():
        parts.append("no-ranges")
    return ".".join(parts)


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

    def is_whole(self) -> bool:
        """Compare every file with the manifest, by size, mtime and mode."""
        try:
            for path, compiled in self.files.items():
                status = os.lstat(self.source(path))
                if (
                    status.st_size != compiled.size
                    or status.st_mtime_ns != compiled.mtime_ns
                    or status.st_mode != stat.S_IFREG | compiled.mode
                ):
                    return False
        except OSError:
            return False
        return True


def load(path: str, sources: Sequence[str]) -> Bytecode | None:
    """Read the bytecode of an entry; ``None`` if it is not there, or not whole.

    :param path: absolute path of the directory
    :param sources: the paths of all ``.py`` files in the wheel
    """
    try:
        with open(os.path.join(path, MANIFEST), "rb") as file:
            data = json.loads(file.read())
        if data["manifest"] != MANIFEST_VERSION or list(data["files"]) != list(sources):
            return None
        files = {
            source: Compiled(*compiled)
            for source, compiled in data["files"].items()
            if compiled is not None
        }
    except (OSError, ValueError, TypeError, KeyError):
        return None
    bytecode = Bytecode(path, files)
    return bytecode if bytecode.is_whole() else None


class Workers:
    """Interpreters that compile, started when they are first needed."""

    def __init__(self, count: int) -> None:
        """Start nothing yet.

        :param count: how many interpreters to use at the most
        """
        self._count = count
        self._processes: list[subprocess.Popen[str]] = []

    def compile(
        self, jobs: Sequence[tuple[str, str, str, bool]]
    ) -> list[Compiled | None]:
        """Compile all files, and return what became of each, in order.

        :param jobs: arguments of :func:`pip_linkmode._worker.compile_one`
        :raises OSError: if a file cannot be read or written, or no worker is to be had
        """
        if not self._processes:
            self._processes = [_start() for _ in range(self._count)]
        step = len(self._processes)
        results: list[Compiled | None] = [None] * len(jobs)
        for index, process in enumerate(self._processes):
            _stream(process.stdin).write(json.dumps(jobs[index::step]) + "\n")
            _stream(process.stdin).flush()
        for index, process in enumerate(self._processes):
            line = _stream(process.stdout).readline()
            answer = json.loads(line) if line else errno.EPIPE
            if isinstance(answer, int):
                self.stop()
                raise OSError(answer, os.strerror(answer))
            results[index::step] = [one and Compiled(*one) for one in answer]
        return results

    def stop(self) -> None:
        """End all workers, whatever they are doing."""
        for process in self._processes:
            process.kill()
            _stream(process.stdout).close()
            with contextlib.suppress(OSError):
                _stream(process.stdin).close()
            process.wait()
        self._processes = []


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101  # both are pipes
    return stream


def _start() -> subprocess.Popen[str]:
    flags = ["-I", "-S", "-W", "ignore", *["-O"] * sys.flags.optimize]
    if _no_debug_ranges():
        flags += ["-X", "no_debug_ranges"]
    return subprocess.Popen(  # our own text, by our own interpreter
        [sys.executable, *flags, "-X", "utf8", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )


def compile_into(
    directory: str, sources: Mapping[str, str], workers: Workers
) -> dict[str, Compiled | None]:
    """Compile the sources of an entry and write the manifest.

    :param directory: an empty directory of one's own
    :param sources: absolute path by path in the wheel
    :param workers: who does it
    :raises OSError: if it cannot be written, or no worker is to be had
    """
    for parent in sorted({os.path.dirname(f"{directory}/{path}") for path in sources}):
        os.makedirs(parent, mode=0o755, exist_ok=True)
    checked_hash = is_checked_hash()
    jobs = [
        (source, f"{directory}/{path}c", path, checked_hash)
        for path, source in sources.items()
    ]
    compiled = dict(zip(sources, workers.compile(jobs), strict=True))
    manifest: dict[str, Any] = {"manifest": MANIFEST_VERSION, "files": compiled}
    with open(os.path.join(directory, MANIFEST), "x", encoding="utf-8") as file:
        json.dump(manifest, file, separators=(",", ":"))
    return compiled


def compile_in_place(targets: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Compile installed files where they are, as pip does.

    For when there is no store to keep the result in.  A link in the place of the
    ``.pyc`` is removed first: ``py_compile`` refuses to replace one.

    :param targets: absolute paths of installed ``.py`` files
    :returns: pairs of source and ``.pyc``, for those that compile
    """
    for target in targets:
        pyc = importlib.util.cache_from_source(target)
        if os.path.islink(pyc):
            os.unlink(pyc)
        try:
            py_compile.compile(target, cfile=pyc, doraise=True)
        except Exception:  # noqa: S112  # as compileall; or a blocked import
            continue
        yield target, pyc
