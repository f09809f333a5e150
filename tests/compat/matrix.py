"""The pips and Pythons that are tried, and the table of the results.

The list of pips is here and nowhere else; the Pythons are those of the machine, and
newer ones from Debian's archive, which the tests download.  Each pip gets a part of the
tests in turn; with ``PIP_LINKMODE_TEST_EVERYTHING=1`` each gets all of them.
``python -m tests.compat.matrix`` prints the table of the last run of the tests, and
``--write README.md`` puts it between two marks in that file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from packaging.version import Version

from tests.support import debian
from tests.support.environments import CHECKOUT, DEBIAN, EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIPS = (
    "22.3.1",
    "23.0.1",
    "23.2.1",
    "24.0",
    "24.3.1",
    "25.0.1",
    "25.3",
    "26.0.1",
    "26.1.2",
    "26.2.1",
    "26.3",
)
"""The last patch of every release that changed what we hold on to, oldest first."""

MARKS = ("<!-- matrix -->", "<!-- /matrix -->")
RESULTS = CHECKOUT / ".pytest_cache" / "d" / "matrix"

_FIRST_PIP = {(3, 12): "23.2"}
"""The first pip that starts on a Python; its predecessors use what it removed."""
_OWN_PIP_UP_TO = (3, 14)
"""Debian's Pythons share one pip, so it is tried on one of them."""
_PROBE = """\
import ensurepip, json, sys, venv
print(json.dumps([
    sys.implementation.name,
    sys.version_info[:2],
    getattr(sys, "_base_executable", sys.executable),
    ensurepip.version(),
]))
"""


class Python(NamedTuple):
    """An interpreter."""

    version: tuple[int, int]
    path: str
    """Empty if it has to be downloaded first; see ``Combination.on``."""
    bundled: str
    """The pip that its ``ensurepip`` installs."""

    def __str__(self) -> str:
        return ".".join(map(str, self.version))

    def starts(self, pip: str) -> bool:
        """Tell whether a version of pip runs on it at all."""
        return all(
            self.version < version or Version(pip) >= Version(first)
            for version, first in _FIRST_PIP.items()
        )


@dataclass(frozen=True)
class Combination:
    """One pip on one Python."""

    pip: str
    python: Python

    def __str__(self) -> str:
        return f"pip-{self.pip}-on-{self.python}"

    @property
    def is_downloaded(self) -> bool:
        """Whether the interpreter comes from Debian's archive."""
        return not self.python.path

    def on(self, root: Path) -> Combination:
        """Return the same with an interpreter that was downloaded.

        :param root: where those from Debian's archive are
        """
        wheel = debian.bundled_pip(root)
        python = Python(
            self.python.version,
            str(debian.interpreter(root, self.python.version)),
            wheel.name.split("-")[1] + DEBIAN,
        )
        own = self.pip == self.python.bundled
        return Combination(python.bundled if own else self.pip, python)

    def record(self, test: str, outcome: str) -> None:
        """Note what a test has come to; each has a file, so workers do not meet."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / f"{self}-{test}.json"
        python = [*self.python.version, self.python.bundled]
        path.write_text(json.dumps([self.pip, python, outcome]))


@cache
def pythons() -> tuple[Python, ...]:
    """Return the CPythons that can make environments, one of each version."""
    found: dict[tuple[int, int], Python] = {}
    for candidate in (sys.executable, *_candidates()):
        python = _probe(candidate)
        if python is not None:
            found.setdefault(python.version, python)
    return tuple(sorted(found.values()))


def _candidates() -> Iterator[str]:
    root = os.environ.get("PYENV_ROOT")
    if root is None and shutil.which("pyenv"):
        root = _output("pyenv", "root").strip()
    versions = Path(root or "~/.pyenv").expanduser() / "versions"
    directories = os.environ.get("PATH", os.defpath).split(os.pathsep)
    directories += sorted(map(str, versions.glob("*/bin")), reverse=True)
    for directory in (*directories, "/usr/local/bin", "/usr/bin"):
        for minor in range(10, 20):
            path = os.path.join(directory, f"python3.{minor}")
            if os.access(path, os.X_OK):
                yield path


def _probe(path: str) -> Python | None:
    output = _output(path, "-I", "-c", _PROBE)
    if not output:
        return None
    implementation, version, base, bundled = json.loads(output)
    if implementation != "cpython" or tuple(version) < (3, 10):
        return None
    # Not the shim that a version manager has in PATH; but always the running one.
    executable = path if path == sys.executable else base
    return Python((version[0], version[1]), executable, bundled)


def _output(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if result.returncode else result.stdout


@cache
def combinations() -> tuple[Combination, ...]:
    """Return every pip on one Python, and every Python with the newest and its own."""
    running = next(python for python in pythons() if python.path == sys.executable)
    chosen = []
    for pip in PIPS:
        able = [python for python in (running, *pythons()) if python.starts(pip)]
        chosen += [Combination(pip, python) for python in able[:1]]
    present = {python.version for python in pythons()}
    more = [
        Python(version, "", "bundled")
        for version in debian.VERSIONS
        if version not in present
    ]
    for python in (*pythons(), *more):
        if python.path or python.version <= _OWN_PIP_UP_TO:
            chosen.append(Combination(python.bundled, python))
        chosen.append(Combination(PIPS[-1], python))
    return tuple(dict.fromkeys(chosen))


def pairs(others: Sequence[str], half: int) -> list[Any]:
    """Return parameters: combinations, each with all of some others, or one in turn.

    :param half: 0 or 1: which half of the combinations is taken, unless all are
    """
    return [
        pytest.param(combination, other, id=f"{other}-{combination}")
        for number, combination in enumerate(combinations())
        if EVERYTHING or number % 2 == half
        for other in (others if EVERYTHING else [others[number // 2 % len(others)]])
    ]


def table() -> str:
    """Return the results of the last run in Markdown."""
    outcomes: dict[tuple[str, tuple[int, int]], list[str]] = {}
    columns = {python.version: python for python in pythons()}
    for path in RESULTS.glob("*.json"):
        pip, (major, minor, bundled), outcome = json.loads(path.read_text())
        version = (major, minor)
        columns.setdefault(version, Python(version, "", bundled))
        outcomes.setdefault((pip, version), []).append(outcome)
    columns = dict(sorted(columns.items()))

    def cell(pip: str, python: Python) -> str:
        seen = outcomes.get((pip, python.version))
        if seen is None:
            return "" if python.starts(pip) else "does not start"
        reasons = sorted({outcome for outcome in seen if outcome != "passed"})
        return "; ".join(reasons) or "✓"

    rows = [
        ["pip", *(f"Python {python}" for python in columns.values())],
        ["---"] * (len(columns) + 1),
        *([pip, *(cell(pip, python) for python in columns.values())] for pip in PIPS),
        [
            "bundled",
            *(
                f"{one.bundled} {cell(one.bundled, one)}".strip()
                if one.path or one.version <= _OWN_PIP_UP_TO
                else ""
                for one in columns.values()
            ),
        ],
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _write(path: Path) -> None:
    begin, end = MARKS
    before, _, rest = path.read_text("utf-8").partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{path} has no {begin} … {end}")
    path.write_text(f"{before}{begin}\n{table()}\n{end}{after}", "utf-8")


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, metavar="file")
    target = parser.parse_args().write
    if target is None:
        print(table())
    else:
        _write(target)


if __name__ == "__main__":
    _main()
