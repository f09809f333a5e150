"""Worker interpreters that unpack, compile and look.

They are fresh interpreters, not forks: pip 26.3 blocks imports in its own process and
in its forks, of the codecs too that a source may need.  They import all they need when
they start, because pip may be about to replace this very package.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from pip_linkmode import bytecode
from pip_linkmode.bytecode import Bytecode, Interpreter
from pip_linkmode.entry import BYTECODE, FILES, NOTHING_SEEN, use
from pip_linkmode.errors import LinkmodeError, WheelDeclinedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

    from pip_linkmode.entry import Entry, Seen
    from pip_linkmode.store import Store

_CHUNK = 32
"""Files that are compiled in one job."""
_MOST = 8
_IDENTIFY = """\
import sys
from importlib.util import MAGIC_NUMBER

print(sys.implementation.cache_tag, MAGIC_NUMBER.hex())
"""

_PROGRAM = """\
import sys
from importlib.util import module_from_spec, spec_from_file_location

spec = spec_from_file_location(
    "pip_linkmode", {init}, submodule_search_locations=[{package}]
)
sys.modules["pip_linkmode"] = module_from_spec(spec)
from pip_linkmode.{program} import work

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
        program: str = "_worker",
    ) -> None:
        """Start nothing yet.

        :param count: how many interpreters; by default, as many as there are cores
        :param interpreter: which one; by default, the running one
        :param program: name of the module that does the jobs
        """
        self._program = program
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

        :param job: what the program takes, see :mod:`pip_linkmode._worker`
        :returns: what comes of it; its errors are those of the job, and
            :exc:`WorkersError`
        """
        return self._threads.submit(self._do, json.dumps(job))

    def compile(self, files: str, sources: Sequence[str], directory: str) -> None:
        """Compile the sources of a wheel; leave nothing if that cannot be done.

        :param files: absolute path of the directory that the sources are in
        :param sources: paths below it
        :param directory: absolute path to compile to; made, or empty
        """
        try:
            jobs = bytecode.jobs(
                directory,
                {path: f"{files}/{path}" for path in sources},
                checked_hash=self.interpreter.checked_hash,
            )
            # Small portions, that all workers are busy to the end.
            chunks = [jobs[i : i + _CHUNK] for i in range(0, len(jobs), _CHUNK)]
            futures = [self.submit("compile", chunk) for chunk in chunks]
            compiled = [one for future in futures for one in future.result()]
            bytecode.finish(directory, sources, compiled)
        except (WorkersError, OSError):
            shutil.rmtree(directory, ignore_errors=True)

    def bytecode(
        self,
        store: Store,
        entry: Entry,
        home: Store | None = None,
        seen: Seen = NOTHING_SEEN,
    ) -> Bytecode | None:
        """Load the bytecode of an entry, compiled now if need be.

        :param store: the one with the entry
        :param home: the one for the bytecode, if that one cannot have it
        :param seen: what need not be looked at
        :returns: ``None`` if it is not there and cannot be made or kept
        """
        path = os.path.join(entry.path, BYTECODE, self.interpreter.name)
        if not entry.sources:
            return Bytecode(path, {})
        found = bytecode.load(path, entry.sources, seen)
        own = store.writable and os.access(entry.path, os.W_OK)
        if found is None and home and not own:
            store, path = home, home.bytecode(entry, self.interpreter.name)
            found = bytecode.load(path, entry.sources)
            use(path)
        if found is None and store.writable:
            with contextlib.suppress(OSError), store.staging() as staged:
                self.compile(os.path.join(entry.path, FILES), entry.sources, staged)
                parent = os.path.dirname(path)
                if os.path.islink(parent):
                    os.unlink(parent)
                store.publish(staged, path, replace=os.path.lexists(path))
            found = bytecode.load(path, entry.sources)
        return found

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
                process = self._local.process = _start(self.interpreter, self._program)
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


def identify(executable: str) -> Interpreter | None:
    """Ask another interpreter who it is; ``None`` if it does not answer.

    :param executable: absolute path
    """
    try:
        result = subprocess.run(
            [executable, "-I", "-S", "-c", _IDENTIFY],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="ascii",
        )
        cache_tag, magic = result.stdout.split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return Interpreter(executable, f"{cache_tag}-{magic}", cache_tag)


def _start(interpreter: Interpreter, program: str) -> subprocess.Popen[str]:
    package = os.path.dirname(os.path.abspath(__file__))
    init = os.path.join(package, "__init__.py")
    if not interpreter.executable:
        msg = "it is not known which interpreter this is"
        raise WorkersError(msg)
    # It has to understand by a path what we do.
    utf8 = "utf8" if sys.getfilesystemencoding() == "utf-8" else "utf8=0"
    flags = ["-I", "-S", "-B", "-W", "ignore", *interpreter.options, "-X", utf8]
    code = _PROGRAM.format(init=ascii(init), package=ascii(package), program=program)
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
