"""Run the command hundreds of times without starting Python for each.

``serve`` is the program of a process that has loaded the command once and forks for
each run; the fork runs ``python -m pip_linkmode``, with files for its output.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.environments import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from typing_extensions import Self

MEMORY = 2 << 30
"""Bytes of address space; a run that reads a huge file whole fails."""


@dataclass(frozen=True)
class Finished:
    """The end of one run."""

    arguments: tuple[str, ...]
    code: int
    """Negative: the signal that ended it."""
    stdout: str
    stderr: str
    timed_out: bool
    seconds: float
    """Of a processor, children included; what else the machine does is not counted."""

    @property
    def fault(self) -> str | None:
        """Describe a traceback, a hang or an odd exit code, if there is one."""
        if self.timed_out:
            return "no end"
        if "Traceback (most recent call last)" in self.stderr:
            return "traceback"
        return None if self.code in (0, 1, 2) else f"exit code {self.code}"


class ForkServer:
    """A process that runs the command on request.

    :param variables: its environment variables
    :param cwd: its working directory
    """

    def __init__(self, variables: Mapping[str, str], cwd: Path) -> None:
        self._output = tempfile.TemporaryDirectory(prefix="fork-server-")
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "tests.endurance.fork_server", cwd],
            cwd=CHECKOUT,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._process:
            pass
        self._output.cleanup()

    def run(self, *arguments: str, timeout: float = 60) -> Finished:
        """Run the command once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = (os.path.join(self._output.name, name) for name in ("out", "err"))
        job = {"arguments": arguments, "out": out, "err": err, "timeout": timeout}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Finished(
            arguments,
            stdout=Path(out).read_text("utf-8", "replace"),
            stderr=Path(err).read_text("utf-8", "replace"),
            **answer,
        )


def serve(cwd: str) -> None:
    """Answer one line of JSON for each line of the standard input."""
    sys.argv = ["pip-linkmode", "--version"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_module("pip_linkmode", run_name="__main__", alter_sys=True)
    os.chdir(cwd)
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _run(job)
        answer = _wait(child, time.monotonic() + job["timeout"])
        print(json.dumps(answer), flush=True)


def _run(job: dict[str, str]) -> None:
    """Be the command, and end this process."""
    code = 70
    try:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "out"), (2, "err")):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            os.dup2(os.open(job[name], flags, 0o600), number)
        sys.argv = ["pip-linkmode", *job["arguments"]]
        runpy.run_module("pip_linkmode", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(code)


def _wait(child: int, until: float) -> dict[str, object]:
    """Wait for a child; kill its group at a time."""
    timed_out = False
    while True:
        ended, status, used = os.wait4(child, 0 if timed_out else os.WNOHANG)
        if ended:
            return {
                "code": os.waitstatus_to_exitcode(status),
                "timed_out": timed_out,
                "seconds": used.ru_utime + used.ru_stime,
            }
        if time.monotonic() > until:
            os.killpg(child, signal.SIGKILL)
            timed_out = True
        time.sleep(0.002)


if __name__ == "__main__":
    serve(sys.argv[1])
