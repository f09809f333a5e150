"""What the shim costs where nothing is installed.

Run it: ``python -m tests.benchmarks.startup``, and again with ``--enabled`` for an
environment that a pip-linkmode elsewhere serves.

Every command runs in turn in an environment without the shim and in one with it, so
that whatever else the machine is doing hits both. What counts is the median, and the
median of the differences within the pairs. There is no gate: times are the machine's.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.compat.matrix import PIPS
from tests.support.environments import NEWEST, Bed
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.environments import Environment

CHEAP = 10
"""How many times more often the bare interpreter runs: it is that much shorter."""


def commands(wheel: Path) -> dict[str, tuple[list[str], int]]:
    """Return the arguments of the interpreter, and a factor for the runs, by title."""
    pip = ["-m", "pip"]
    dry = [*pip, "install", "--no-index", "--dry-run", str(wheel)]
    return {
        "python -c pass": (["-c", "pass"], CHEAP),
        "python -I -c pass": (["-I", "-c", "pass"], CHEAP),
        "pip --version": ([*pip, "--version"], 1),
        "pip list": ([*pip, "list"], 1),
        "pip uninstall --help": ([*pip, "uninstall", "--help"], 1),
        "pip install --dry-run x": (dry, 1),
    }


def measure(
    environments: Sequence[Environment], arguments: Sequence[str], runs: int
) -> list[list[float]]:
    """Return milliseconds for each environment, run by run."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")
    times: list[list[float]] = [[] for _ in environments]
    for number in range(-1, runs):
        # Who goes first changes, and the first pair only warms the caches.
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            environment = environments[index]
            env = {name: os.environ[name] for name in kept if name in os.environ}
            env |= {
                "HOME": str(environment.private),
                "PIP_CACHE_DIR": str(environment.cache),
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            }
            started = time.perf_counter()
            subprocess.run(
                [environment.python, *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if number >= 0:
                times[index].append((time.perf_counter() - started) * 1000)
    return times


def row(title: str, stock: Sequence[float], linked: Sequence[float]) -> str:
    """Return a line of the table."""
    differences = [after - before for before, after in zip(stock, linked, strict=True)]
    first, _, third = statistics.quantiles(differences, n=4)
    numbers = (
        statistics.median(stock),
        statistics.median(linked),
        statistics.median(differences),
        first,
        third,
    )
    cells = " | ".join(f"{number:9.2f}" for number in numbers)
    return f"| {title:25} | {cells} | {len(stock):4} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40, help="pairs of each pip")
    parser.add_argument("--pip", choices=PIPS, default=NEWEST)
    parser.add_argument(
        "--enabled", action="store_true", help="serve it from another environment"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        bed = Bed(root / "bed")
        environments = [
            bed.environment(
                root / name,
                shim=name == "linked" and not options.enabled,
                pip=options.pip,
            )
            for name in ("stock.", "linked")
        ]
        if options.enabled:
            tool = bed.environment(root / "tool", shim=True)
            tool.run("-m", "pip_linkmode", "enable", environments[1].path)
        # Both have the same packages, the dependencies of the shim among them.
        stock, linked = environments
        for path in linked.site_packages.iterdir():
            there = stock.site_packages / path.name
            if not there.exists() and "pip_linkmode" not in path.name:
                path.rename(there)
                subprocess.run(["cp", "-a", there, path], check=True)
        wheel = make_wheel(root, "x", files={"x.py": ""})
        for environment in environments:
            environment.private.mkdir(exist_ok=True)
        print(f"Python {sys.version.split()[0]}, pip {options.pip}, milliseconds")
        titles = ("command", "without", "with", "difference", "25 %", "75 %", "pairs")
        print(
            f"| {titles[0]:25} | {' | '.join(f'{t:>9}' for t in titles[1:-1])} | runs |"
        )
        print(f"| {' | '.join(['---'] * len(titles))} |")
        for title, (arguments, factor) in commands(wheel).items():
            times = measure(environments, arguments, options.runs * factor)
            print(row(title, *times), flush=True)


if __name__ == "__main__":
    main()
