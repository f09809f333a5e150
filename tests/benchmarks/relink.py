"""Make one of five environments with torch, and see what is left of their size.

Usage: ``python -m tests.benchmarks.relink DIRECTORY [--environments N] [--mode MODE]
[REQUIREMENT …]``

Stock pip makes the environments, which takes some minutes and 7 GB each; use a fresh
file system, all of whose blocks are counted.  Then they are relinked, checked (imports,
``pip check``, the digests in RECORD, one package uninstalled) and materialized again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.install import free
from tests.support.environments import run_outside

if TYPE_CHECKING:
    from collections.abc import Callable

STACK = ("torch", "torchvision", "torchaudio", "transformers", "scipy", "pillow")
IMPORTS = {"pillow": "PIL"}
CHOSEN = "scipy"


class Measurement:
    """Says after each step how much of a file system is taken."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._free = directory, free(directory)

    def step(self, title: str, act: Callable[[], object]) -> int:
        """Do something; return the bytes that all steps have taken so far."""
        start = time.perf_counter()
        act()
        taken = time.perf_counter() - start
        used = self._free - free(self._directory)
        print(f"{title:<36}{used / 1e6:>12,.1f} MB{taken:>8.1f} s", flush=True)
        return used


def make(environment: Path, requirements: list[str]) -> None:
    """Make an environment with stock pip."""
    run_outside(sys.executable, "-m", "venv", environment)
    pip = (environment / "bin" / "python", "-m", "pip")
    run_outside(*pip, "install", "-q", "--no-cache-dir", *requirements)


def check(environment: Path, requirements: list[str]) -> None:
    """Import everything, and have pip check what is required."""
    names = ", ".join(IMPORTS.get(name, name) for name in requirements)
    python = environment / "bin" / "python"
    run_outside(python, "-c", f"import {names}")
    run_outside(python, "-m", "pip", "check")


def shared(environment: Path) -> int:
    """Count the files of an environment that have more than one name."""
    files = (path for path in environment.rglob("*") if not path.is_symlink())
    return sum(path.is_file() and path.stat().st_nlink > 1 for path in files)


def main() -> None:
    """Measure, and print a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("requirements", nargs="*", default=list(STACK))
    parser.add_argument("--environments", type=int, default=5)
    parser.add_argument("--mode", default="hardlink")
    options = parser.parse_args()
    place: Path = options.directory.resolve()
    wanted: list[str] = options.requirements
    os.environ["PIP_LINK_STORE"] = str(place / "store")
    os.environ["TMPDIR"] = str(place)  # pip would fill the disk that it is on
    command = (sys.executable, "-m", "pip_linkmode")
    names = [place / f"environment-{n}" for n in range(options.environments)]
    disk = Measurement(place)
    one = disk.step("one environment, by stock pip", partial(make, names[0], wanted))
    for environment in names[1:]:
        disk.step("and one more", partial(make, environment, wanted))
    relink = partial(run_outside, *command, "relink", "--mode", options.mode, *names)
    together = disk.step("relinked, with the store", relink)
    for environment in names:
        check(environment, wanted)
    disk.step("verified", partial(run_outside, *command, "verify", *names))
    if CHOSEN in wanted:
        python = names[1] / "bin" / "python"
        run_outside(python, "-m", "pip", "uninstall", "--quiet", "--yes", CHOSEN)
        check(names[0], wanted)
    last = names[-1]
    materialize = partial(run_outside, *command, "materialize", last)
    disk.step("the last one materialized", materialize)
    check(last, wanted)
    print(f"\nrelinked ÷ one environment: {together / one:.4f}")
    print(f"files of the last one that are shared: {shared(last)}")


if __name__ == "__main__":
    main()
