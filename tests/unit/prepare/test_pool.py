"""Interpreters of our own unpack and compile, and none outlives its use."""

from __future__ import annotations

import errno
import io
import json
import os
import py_compile
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pip_linkmode
from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.interpreters import Interpreter, query_interpreter
from pip_linkmode.prepare import pool, worker
from pip_linkmode.prepare.pool import Workers, WorkersError
from tests.support.wheels import TRAITS

if TYPE_CHECKING:
    from collections.abc import Iterator

BAD_SOURCES: dict[str, bytes] = {
    "python2": b"print 'hello'\n",
    "null": b"X = 1\x00\n",
    "undecodable": b"X = '\xff'\n",
    "unknown": b"# coding: no-such-codec\n",
    "nested": b"(" * 5000 + b")" * 5000,
}
MTIME = 1_600_000_000
Job = tuple[str, str, str, bool]


@pytest.fixture
def one() -> Iterator[Workers]:
    created = Workers(1)
    yield created
    created.stop()


def job(directory: Path, name: str = "x", content: bytes = b"X = 1\n") -> Job:
    source = directory / f"{name}.py"
    source.write_bytes(content)
    return str(source), f"{source}c", f"{name}.py", False


def processes(created: Workers) -> list[int]:
    return [process.pid for process in created._processes]


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# --- jobs -----------------------------------------------------------------------------


def test_compile_tells_what_became_of_each(one: Workers, tmp_path: Path) -> None:
    good, bad = job(tmp_path), job(tmp_path, "bad", b"no python\n")
    result = one.submit("compile", [bad, good]).result()
    assert result[0] is None
    size, mtime_ns, mode, encoding = result[1]
    status = os.stat(good[1])
    assert (size, mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (mode, encoding) == (status.st_mode & 0o777, "utf-8")


def test_unpack_returns_the_manifest(one: Workers, tmp_path: Path) -> None:
    (wheel,) = TRAITS["plain"](tmp_path)
    directory = tmp_path / "files"
    manifest = one.submit("unpack", str(wheel), str(directory), 0o022, MTIME).result()
    assert manifest["name"] == "plain"
    assert all((directory / path).is_file() for path, *_ in manifest["files"])


@pytest.mark.parametrize(
    ("encoding", "option"), [("utf-8", "utf8"), ("iso8859-1", "utf8=0")]
)
def test_worker_understands_by_a_path_what_we_do(
    one: Workers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    option: str,
) -> None:
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: encoding)
    one.submit("compile", [job(tmp_path)]).result()
    (process,) = one._processes
    assert option in process.args  # type: ignore[operator]  # it is a list


def test_declined_wheel_is_declined(one: Workers, tmp_path: Path) -> None:
    (tmp_path / "wheel").write_bytes(b"no wheel")
    wheel, directory = str(tmp_path / "wheel"), str(tmp_path / "files")
    with pytest.raises(WheelDeclinedError, match="zip file"):
        one.submit("unpack", wheel, directory, 0o022, MTIME).result()


def test_errors_are_those_of_the_job(one: Workers, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        one.submit("unpack", str(tmp_path / "no"), str(tmp_path), 0o022, MTIME).result()
    assert caught.value.filename == str(tmp_path / "no")
    source, *_ = job(tmp_path)
    with pytest.raises(NotADirectoryError):
        one.submit("compile", [(source, f"{source}/x.pyc", "x", False)]).result()


def test_worker_goes_on_after_an_error(one: Workers, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        one.submit("compile", [(str(tmp_path / "x.py"), "/c", "x", False)]).result()
    before = processes(one)
    one.submit("compile", [job(tmp_path)]).result()
    assert processes(one) == before


def test_jobs_do_not_mix_up_their_answers(tmp_path: Path) -> None:
    jobs = [job(tmp_path, str(n), b"X = 1\n" * n) for n in range(20)]
    created = Workers(3)
    try:
        futures = [created.submit("compile", [one]) for one in jobs]
        sizes = [future.result()[0][0] for future in futures]
    finally:
        created.stop()
    assert sizes == [os.path.getsize(target) for _, target, _, _ in jobs]


def test_workers_see_nothing_of_the_environment(
    one: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sitecustomize", "json", "zipfile"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.chdir(tmp_path)
    warns = job(tmp_path, "warns", b'"""Doc."""\nX = "\\d"\nY = 1 is 1\n')
    assert one.submit("compile", [warns]).result() != [None]
    assert b"Doc." in Path(warns[1]).read_bytes()


def test_workers_need_nothing_of_ours_once_they_run(
    one: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pip may be replacing this very package.
    package = tmp_path / "pip_linkmode"
    shutil.copytree(Path(pip_linkmode.__file__).parent, package)
    monkeypatch.setattr(pip_linkmode, "__file__", str(package / "__init__.py"))
    one.submit("compile", []).result()
    for file in package.glob("**/*.py"):
        file.write_text("raise SystemExit(1)")
    (wheel,) = TRAITS["plain"](tmp_path)
    one.submit("unpack", str(wheel), str(tmp_path / "files"), 0o022, MTIME).result()
    codec = job(tmp_path, "codec", "# coding: koi8-r\nX = 'ф'\n".encode("koi8-r"))
    assert one.submit("compile", [codec]).result() != [None]


# --- life and death -------------------------------------------------------------------


def test_nothing_is_started_before_it_is_needed() -> None:
    created = Workers(2)
    assert processes(created) == []
    created.stop()


def test_worker_is_started_once_and_stopped(one: Workers, tmp_path: Path) -> None:
    for _ in range(3):
        one.submit("compile", [job(tmp_path)]).result()
    (pid,) = processes(one)
    one.stop()
    assert is_gone(pid)
    assert processes(one) == []
    one.stop()


def program(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    braces = text.replace("{", "{{").replace("}", "}}")
    monkeypatch.setattr(pool, "_PROGRAM", braces)


def test_stopping_does_not_wait_for_a_job(
    one: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(monkeypatch, "import time\ntime.sleep(600)\n")
    running, waiting = one.submit("compile", []), one.submit("compile", [])
    while not processes(one):
        time.sleep(0.001)
    one.stop()
    assert waiting.cancelled()
    with pytest.raises(WorkersError):
        running.result()


def test_nothing_is_done_after_the_end(one: Workers) -> None:
    one.stop()
    with pytest.raises(RuntimeError):
        one.submit("compile", [])


def test_nothing_is_started_after_the_end(one: Workers) -> None:
    one._stopped = True
    with pytest.raises(WorkersError):
        one.submit("compile", []).result()
    assert processes(one) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import sys\nsys.stdin.readline()\n",
        "raise ImportError\n",
        # Killed in the middle of a long answer.
        "import sys\nsys.stdin.readline()\nprint('{\"done\": [1, 2', end='')\n",
        "import os, sys\nsys.stdin.readline()\nos._exit(1)\n",
    ],
)
def test_death_of_a_worker_is_told(
    one: Workers, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    program(monkeypatch, text)
    with pytest.raises(WorkersError, match="died"):
        one.submit("compile", []).result(timeout=30)
    (pid,) = processes(one)
    one.stop()
    assert is_gone(pid)


def test_death_between_two_jobs_is_told_and_mended(
    one: Workers, tmp_path: Path
) -> None:
    one.submit("compile", [job(tmp_path)]).result()
    os.kill(processes(one)[0], signal.SIGKILL)
    one._processes[0].wait()
    with pytest.raises(WorkersError, match="died"):
        one.submit("compile", [job(tmp_path)]).result(timeout=30)
    assert one.submit("compile", []).result(timeout=30) == []


def test_no_interpreter_to_be_had(
    one: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/interpreter")
    one.interpreter = Interpreter.running()
    with pytest.raises(WorkersError, match="cannot be started"):
        one.submit("compile", []).result()


def test_stopping_bears_a_worker_that_is_dead_already(
    one: Workers, tmp_path: Path
) -> None:
    one.submit("compile", [job(tmp_path)]).result()
    (process,) = one._processes
    assert process.stdin is not None
    process.stdin.write("unflushed")
    process.kill()
    process.wait()
    one.stop()
    assert processes(one) == []


# --- the worker itself, in this process -----------------------------------------------


def ask(*jobs: list[Any]) -> list[dict[str, Any]]:
    lines = io.StringIO("".join(json.dumps(job) + "\n" for job in jobs))
    answers = io.StringIO()
    worker.work(lines, answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_worker_answers_line_by_line(tmp_path: Path) -> None:
    good = (*job(tmp_path)[:3], True)
    bad = job(tmp_path, "bad", b"no python\n")
    gone = str(tmp_path / "gone")
    (tmp_path / "odd").write_bytes(b"")
    compiled, nothing, missing, declined = ask(
        ["compile", [good, bad]],
        ["compile", []],
        ["unpack", gone, str(tmp_path), 0o022, MTIME],
        ["unpack", str(tmp_path / "odd"), str(tmp_path / "files"), 0o022, MTIME],
    )
    assert compiled["done"][0][0] == os.path.getsize(good[1])
    assert compiled["done"][1] is None
    assert Path(good[1]).read_bytes()[4] == 0b11
    assert nothing == {"done": []}
    assert missing == {"errno": errno.ENOENT, "file": gone}
    assert "zip" in declined["declined"]


@pytest.mark.parametrize("name", sorted(BAD_SOURCES))
def test_worker_says_what_does_not_compile(tmp_path: Path, name: str) -> None:
    source, target, *_ = job(tmp_path, name, BAD_SOURCES[name])
    assert worker.compile_one(source, target, name, checked_hash=False) is None
    assert not os.path.lexists(target)


def test_worker_unpacks(tmp_path: Path) -> None:
    (wheel,) = TRAITS["plain"](tmp_path)
    (answer,) = ask(["unpack", str(wheel), str(tmp_path / "files"), 0o077, MTIME])
    assert {mode for *_, mode in answer["done"]["files"]} == {0o600}


def test_error_without_a_number_is_still_one(
    one: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = '{"errno": null, "file": null}'
    program(monkeypatch, f"import sys\nsys.stdin.readline()\nprint({answer!r})\n")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        one.submit("compile", []).result()


@pytest.mark.parametrize("executable", ["", None])
def test_without_an_interpreter_there_are_no_workers(
    one: Workers, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    one.interpreter = Interpreter.running()
    with pytest.raises(WorkersError, match="not known which interpreter"):
        one.submit("compile", []).result()


def test_an_interpreter_that_says_other_things_is_of_no_use(
    one: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    banner = tmp_path / "banner"
    banner.write_text(f'#!/bin/sh\necho hello\nexec {sys.executable} "$@"\n')
    banner.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(banner))
    one.interpreter = Interpreter.running()
    with pytest.raises(WorkersError, match="died"):
        one.submit("compile", []).result(timeout=30)


def test_bytecode_that_was_cut_off_is_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short write is no error to CPython before 3.13.1 (gh-126606)."""
    source, target, *_ = job(tmp_path)
    stock = py_compile.compile

    def cut_off(*args: Any, **kwargs: Any) -> None:
        stock(*args, **kwargs)
        os.truncate(target, os.path.getsize(target) - 5)

    monkeypatch.setattr(py_compile, "compile", cut_off)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        worker.compile_one(source, target, "x.py", checked_hash=False)


# --- other interpreters ---------------------------------------------------------------


def test_interpreter_says_who_it_is() -> None:
    found, running = query_interpreter(sys.executable), Interpreter.running()
    assert found is not None
    assert (found.cache_tag, found.options) == (running.cache_tag, ())
    assert found.name == running.name
    assert found.executable == sys.executable


@pytest.mark.parametrize("program", ["exit 1", "echo one", "echo \\303", "exit 0"])
def test_what_does_not_answer_is_no_interpreter(tmp_path: Path, program: str) -> None:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{program}\n")
    path.chmod(0o755)
    assert query_interpreter(str(path)) is None
    assert query_interpreter(str(tmp_path / "nothing")) is None
