"""A Python interpreter: its tag, its magic number, and the options that matter."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass


def has_no_debug_ranges() -> bool:
    """Return whether code is compiled without column numbers."""
    return "no_debug_ranges" in sys._xoptions or bool(  # noqa: SLF001  # it is documented
        os.environ.get("PYTHONNODEBUGRANGES") and not sys.flags.ignore_environment
    )


def is_checked_hash() -> bool:
    """Return whether pip would make hash-based files (source: ``py_compile``)."""
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
    """A Python interpreter that compiles."""

    executable: str
    """Absolute path; empty if it is not known."""
    name: str
    """Of its directory in an entry: see :func:`interpreter`."""
    cache_tag: str
    """The tag in the file names in ``__pycache__``."""
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


_IDENTIFY = """\
import sys
from importlib.util import MAGIC_NUMBER

print(sys.implementation.cache_tag, MAGIC_NUMBER.hex())
"""


def query_interpreter(executable: str) -> Interpreter | None:
    """Ask another interpreter for its tag; ``None`` if it does not answer.

    :param executable: absolute path
    """
    try:
        result = subprocess.run(
            [executable, "-I", "-S", "-c", _IDENTIFY],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
        )
        cache_tag, magic = result.stdout.split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return Interpreter(executable, f"{cache_tag}-{magic}", cache_tag)


def is_trusted(path: str) -> bool:
    """Return whether only root and this user decide which code runs here.

    Root, maintaining the environments of other users, must not run their programs.
    """
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return True
    owners = {0, os.geteuid()}
    with contextlib.suppress(FileNotFoundError):
        return {os.lstat(path).st_uid, os.stat(path).st_uid} <= owners
    return True
