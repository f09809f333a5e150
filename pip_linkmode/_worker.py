"""Compile Python files, in an interpreter of one's own.

The text of this file is run with ``-c`` by :mod:`pip_linkmode.bytecode`, because pip
may be replacing this very package; so it imports nothing of ours, and little else.
"""

from __future__ import annotations

import json
import os
import py_compile
import stat
import sys
import tokenize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO


def compile_one(
    source: str, target: str, name: str, checked_hash: bool
) -> tuple[int, int, int, str] | None:
    """Compile one file as ``compileall`` would.

    :param source: absolute path of the ``.py``
    :param target: absolute path of the ``.pyc``
    :param name: what stands in the code as ``co_filename``
    :param checked_hash: whether the source's hash validates the ``.pyc`` (:pep:`552`)
    :returns: size, mtime in ns and mode of the ``.pyc``, and the source's encoding;
        ``None`` if it does not compile
    :raises OSError: if a file cannot be read or written
    """
    modes = py_compile.PycInvalidationMode
    try:
        with open(source, "rb") as file:
            encoding, _ = tokenize.detect_encoding(file.readline)
        py_compile.compile(
            source,
            cfile=target,
            dfile=name,
            doraise=True,
            invalidation_mode=modes.CHECKED_HASH if checked_hash else modes.TIMESTAMP,
        )
    except (py_compile.PyCompileError, SyntaxError, UnicodeError):
        return None
    status = os.stat(target)
    return status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode), encoding


def work(jobs: IO[str], results: IO[str]) -> None:
    """Compile until there are no more jobs.

    :param jobs: lines of JSON, each a list of arguments of :func:`compile_one`
    :param results: receives a line of JSON for each line of *jobs*: a list of its
        results, or the ``errno`` that has ended the work on that line
    """
    for line in jobs:
        answer: object
        try:
            answer = [compile_one(*job) for job in json.loads(line)]
        except OSError as error:
            answer = error.errno
        results.write(json.dumps(answer) + "\n")
        results.flush()


if __name__ == "__main__":
    work(sys.stdin, sys.stdout)
