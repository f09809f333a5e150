"""Unpack wheels and compile files, in an interpreter of one's own.

It may be the old one of an environment that is linked: what is imported here has to be
of use to it.

Jobs and answers are lines of JSON.  A job is ``["unpack", wheel, directory, umask,
mtime]`` or ``["compile", [arguments of compile_one, …]]``; an answer is
``{"done": …}``, ``{"declined": reason}`` or ``{"errno": number, "file": path}``.
"""

from __future__ import annotations

import errno
import json
import marshal
import os
import py_compile
import re
import stat
import time
import tokenize

from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.prepare.wheel import unpack

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import IO, Any


_FOREIGN = re.compile(rb"(\A\xef\xbb\xbf)|[\x80-\xff]")
"""Bytes that are not ASCII, except a byte order mark."""
_HEADER = 16
"""Bytes before the code in a ``.pyc`` (:pep:`552`)."""


def compile_one(
    source: str, target: str, name: str, checked_hash: bool
) -> tuple[int, int, int, str] | None:
    """Compile one file as ``compileall`` would.

    :param source: absolute path of the ``.py``
    :param target: absolute path of the ``.pyc``
    :param name: the ``co_filename`` of the code
    :param checked_hash: whether the source's hash validates the ``.pyc`` (:pep:`552`)
    :returns: size, mtime in ns and mode of the ``.pyc``, and the source's encoding;
        ``None`` if it does not compile
    :raises OSError: if a file cannot be read or written
    """
    modes = py_compile.PycInvalidationMode
    try:
        with open(source, "rb") as file:
            # Comments may have bytes of another encoding; the compiler does not mind.
            encoding, _ = tokenize.detect_encoding(
                lambda: _FOREIGN.sub(rb"\1?", file.readline())
            )
        py_compile.compile(
            source,
            cfile=target,
            dfile=name,
            doraise=True,
            invalidation_mode=modes.CHECKED_HASH if checked_hash else modes.TIMESTAMP,
        )
    except (py_compile.PyCompileError, SyntaxError, UnicodeError):
        return None
    with open(target, "rb") as file:
        try:
            # Written a moment ago, by this process.
            marshal.loads(memoryview(file.read())[_HEADER:])  # noqa: S302  # as above
        except (EOFError, TypeError, ValueError) as error:
            # A short write is not an error to CPython before 3.13.1 (gh-126606).
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target) from error
    # Whole seconds: squashfs and tar keep no more.
    mtime_ns = int(time.time()) * 10**9
    os.utime(target, ns=(mtime_ns, mtime_ns))
    status = os.stat(target)
    return status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode), encoding


def answer(job: list[Any]) -> dict[str, Any]:
    """Do one job."""
    try:
        if job[0] == "unpack":
            _, path, directory, umask, mtime = job
            with open(path, "rb") as wheel:
                return {"done": unpack(wheel, directory, umask=umask, mtime=mtime)}
        return {"done": [compile_one(*arguments) for arguments in job[1]]}
    except WheelDeclinedError as error:
        return {"declined": str(error)}
    except OSError as error:
        return {"errno": error.errno, "file": error.filename}


def work(jobs: IO[str], answers: IO[str]) -> None:
    """Do jobs until there are no more.

    :param jobs: lines of JSON
    :param answers: receives a line of JSON for each of them
    """
    for line in jobs:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()
