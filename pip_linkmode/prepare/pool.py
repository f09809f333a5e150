"""Worker interpreters that unpack and compile.

They are fresh interpreters, not forks: pip 26.3 blocks imports in its own process and
in its forks, of the codecs too that a source may need.  They import all they need when
they start, because pip may be about to replace this very package.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pip_linkmode
from pip_linkmode.errors import LinkmodeError, WheelDeclinedError
from pip_linkmode.interpreters import Interpreter

if TYPE_CHECKING:
    from typing import IO, Any


_MOST = 8
_PROGRAM = """\
import sys
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location(
    "pip_linkmode", {init}, submodule_search_locations=[{package}]
)
sys.modules["pip_linkmode"] = module_from_spec(spec)
from pip_linkmode.prepare.worker import work

work(sys.stdin, sys.stdout)
"""


class WorkersError(LinkmodeError):
    """A worker could not be started, or has died."""


class Workers:
    """At most so many interpreters, each started when there is work for it."""

    def __init__(
        self,
        count: int | None = None,
        interpreter: Interpreter | None = None,
    ) -> None:
        """Start nothing yet.

        :param count: how many interpreters; by default, as many as there are cores
        :param interpreter: which one; by default, the running one
        """
        self.count = count = count or min(cores(), _MOST)
        self.interpreter = interpreter or Interpreter.running()
        # Each thread talks to one interpreter.
        self._threads = ThreadPoolExecutor(count, "pip-linkmode")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[str]] = []
        self._stopped = False

    def submit(self, *job: object) -> Future[Any]:
        """Have one job done.

        :param job: see :mod:`pip_linkmode.prepare.worker`
        :returns: its result; its errors are those of the job, and
            :exc:`WorkersError`
        """
        return self._threads.submit(self._do, json.dumps(job))

    def _do(self, job: str) -> Any:
        process = self._process()
        try:
            _stream(process.stdin).write(job + "\n")
            _stream(process.stdin).flush()
            line = _stream(process.stdout).readline()
        except (OSError, ValueError):
            line = ""
        try:
            answer = json.loads(line) if line.endswith("\n") else None
        except ValueError:  # an interpreter that says other things too
            answer = None
        if not isinstance(answer, dict):
            self._local.process = None
            process.kill()
            msg = "a process that unpacks and compiles has died"
            raise WorkersError(msg)
        if "declined" in answer:
            raise WheelDeclinedError(answer["declined"])
        if "errno" in answer:
            number = answer["errno"] or errno.EIO
            raise OSError(number, os.strerror(number), answer["file"])
        return answer["done"]

    def _process(self) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] | None
        process = getattr(self._local, "process", None)
        if process is None:
            with self._lock:
                if self._stopped:
                    msg = "no more is to be done"
                    raise WorkersError(msg)
                process = self._local.process = _start(self.interpreter)
                self._processes.append(process)
        return process

    def stop(self) -> None:
        """End all workers, whatever they are doing."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            _stream(process.stdout).close()
            with contextlib.suppress(OSError):
                _stream(process.stdin).close()
            process.wait()
        self._processes.clear()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None  # noqa: S101  # both are pipes
    return stream


def cores() -> int:
    """Return how many processes can run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2


def _start(interpreter: Interpreter) -> subprocess.Popen[str]:
    init = os.path.abspath(pip_linkmode.__file__)
    package = os.path.dirname(init)
    if not interpreter.executable:
        msg = "it is not known which interpreter this is"
        raise WorkersError(msg)
    # It must decode paths as this process does.
    utf8 = "utf8" if sys.getfilesystemencoding() == "utf-8" else "utf8=0"
    flags = ["-I", "-S", "-B", "-W", "ignore", *interpreter.options, "-X", utf8]
    code = _PROGRAM.format(init=ascii(init), package=ascii(package))
    try:
        return subprocess.Popen(
            [interpreter.executable, *flags, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )
    except OSError as error:
        msg = f"{interpreter.executable} cannot be started: {error}"
        raise WorkersError(msg) from error
