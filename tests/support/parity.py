"""The oracle: what pip does with pip-linkmode is what it does without.

The same steps run twice at the same path, in an environment without the shim and then
in one with it. Every path, byte and permission bit that they change has to be the same,
shebangs included, and so have the exit codes and, on request, what pip prints.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.environments import NEWEST, Bed, Environment

if TYPE_CHECKING:
    from tests.support.snapshot import Entry

Step = Sequence[str] | Callable[[Environment], object]
"""The arguments of one run of pip, or something else to do to the environment."""

_OWN_LINE = re.compile(r"\s*(WARNING: )?(Linked|Copied|pip-linkmode)\b")
_PROGRESS_BAR = re.compile(r"[━╸╺]")
_NOISE = re.compile(
    r"(?<=pip-)[a-z-]+-[a-z0-9_]{8}"  # temporary directories
    r"|\d+(\.\d+)? ?([kMG]?B/s|m?s)\b"  # speeds and durations
    r"|\d+:\d\d:\d\d"
)
_FETCHING = re.compile(r"\s*Fetching \S+ ")
_FETCHED = re.compile(r"^(\s*)(Downloading|Using cached|Using stored) (\S*/)?")
_TEXT_LIMIT = 100_000


@dataclass(frozen=True)
class Outcome:
    """What some steps did."""

    changes: dict[str, Entry | None]
    codes: list[int]
    output: list[str]


def delta(
    before: Mapping[str, Entry], after: Mapping[str, Entry]
) -> dict[str, Entry | None]:
    """Return what changed between two snapshots.

    :returns: the new entry by path, ``None`` for what is gone
    """
    return {
        path: after.get(path)
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }


def perform(
    environment: Environment,
    steps: Sequence[Step],
    *,
    env: Mapping[str, str] | None = None,
    also: Sequence[Path] = (),
) -> Outcome:
    """Take some steps in an environment and see what comes of them.

    :param steps: run one after the other, whatever their exit codes
    :param env: variables for every pip
    :param also: directories outside the environment that count as well
    """

    def look() -> dict[str, Entry]:
        seen = environment.snapshot()
        for root in also:
            outside = environment.snapshot(root)
            seen |= {f"{root.as_posix()}/{path}": e for path, e in outside.items()}
        return seen

    before, codes, output = look(), [], []
    for step in steps:
        if callable(step):
            step(environment)
        else:
            result = environment.pip(*step, env=env, check=False)
            codes.append(result.returncode)
            output += _comparable(result.stdout) + _comparable(result.stderr)
    return Outcome(delta(before, look()), codes, output)


def differences(
    stock: Outcome,
    linked: Outcome,
    *,
    ignore: Collection[str] = (),
    output: bool = False,
) -> list[str]:
    """Return a line for each difference between two outcomes.

    :param ignore: patterns of paths that may differ
    :param output: compare also what pip printed
    """
    found = []
    if stock.codes != linked.codes:
        found.append(f"exit codes: stock {stock.codes}, linked {linked.codes}")
    for path in sorted(stock.changes.keys() | linked.changes.keys()):
        expected, actual = (
            outcome.changes.get(path, "unchanged") for outcome in (stock, linked)
        )
        if expected != actual and not any(fnmatch(path, p) for p in ignore):
            found.append(f"{path}: stock {expected}, linked {actual}")
    if output:
        found += difflib.unified_diff(
            stock.output, linked.output, "stock output", "linked output", lineterm=""
        )
    return found


def assert_parity(
    bed: Bed,
    tmp_path: Path,
    steps: Sequence[Step],
    *,
    env: Mapping[str, str],
    pip: str = NEWEST,
    python: str = sys.executable,
    ignore: Collection[str] = (),
    also: Sequence[Path] = (),
    output: bool = False,
    shim: bool = True,
) -> Environment:
    """Assert that steps do the same with the shim as without it.

    :param steps: what to do; see ``perform``
    :param env: variables for the pips of the second environment only
    :param pip: the version of pip in both
    :param python: the interpreter of both
    :param ignore: patterns of paths that may differ
    :param also: directories outside the environment to compare; they must not exist,
        and what the first environment put there is moved out of the way
    :param output: compare also what pip printed
    :param shim: whether the second environment has the shim; the oracle's own tests
        compare stock pip with itself
    :returns: the second environment
    """
    root = Path(tempfile.mkdtemp(prefix="parity-", dir=tmp_path))
    here, there = root / "here", root / "stock"

    def act(*, shim: bool, env: Mapping[str, str]) -> tuple[Environment, Outcome]:
        environment = bed.environment(
            here / "environment",
            shim=shim,
            pip=pip,
            python=python,
            private=here / "private",
        )
        return environment, perform(environment, steps, env=env, also=also)

    _, stock = act(shim=False, env={})
    here.rename(there)
    for number, outside in enumerate(also):
        if outside.exists():
            outside.rename(root / f"stock-{number}")
    environment, linked = act(shim=shim, env=env)

    found = differences(stock, linked, ignore=ignore, output=output)
    if found:
        found += _text_differences(there / "environment", here / "environment", linked)
        raise AssertionError("\n".join([*found, "", "linked pip:", *linked.output]))
    return environment


def store_digest(store: Path) -> dict[str, str]:
    """Return permission bits and digest of every file that a store hands out."""
    return {
        path.relative_to(store).as_posix(): (
            f"{stat.S_IMODE(path.stat().st_mode):o} "
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}"
        )
        for kind in ("files", "bytecode")
        for path in sorted(store.glob(f"v1/wheels/*/*/{kind}/**/*"))
        if path.is_file()
    }


def blocks(root: Path) -> int:
    """Return how many bytes on disk a tree has to itself, links not counted."""
    statuses = [path.lstat() for path in root.rglob("*")]
    return sum(
        status.st_blocks * 512
        for status in statuses
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    )


def _comparable(output: str) -> list[str]:
    lines = [
        _FETCHED.sub(r"\1Fetching ", _NOISE.sub("*", line))
        for line in output.splitlines()
        if not _OWN_LINE.match(line) and not _PROGRESS_BAR.search(line)
    ]
    # A stand-in that does not do is followed by the download of the same file or, right
    # away, of another with its name.
    fetched = set()
    kept: list[str] = []
    for line in lines:
        name = _FETCHING.match(line)
        if name is None:
            kept.append(line)
        elif line.lstrip() not in fetched:
            fetched.add(line.lstrip())
            if kept and kept[-1].startswith(name[0]):
                kept.pop()
            kept.append(line)
    return kept


def _text_differences(stock: Path, linked: Path, outcome: Outcome) -> list[str]:
    found: list[str] = []
    for name in outcome.changes:
        try:
            expected, actual = (
                (root / name).read_text("utf-8")[:_TEXT_LIMIT].splitlines()
                for root in (stock, linked)
            )
        except (OSError, ValueError):
            continue
        marks = (f"stock {name}", f"linked {name}")
        found += difflib.unified_diff(expected, actual, *marks, n=0, lineterm="")
    return found
