"""Long runs, one command each: ``python -m tests.endurance RUN``.

None of them is part of the ordinary tests, which have a slice of each.  Their results
are in ``docs/endurance.md``.  The exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.endurance import clean_up, fuzz, scale
from tests.support.environments import CHECKOUT, Bed

MEMORY = "/dev/shm"


def _fuzz(options: argparse.Namespace, place: Path) -> bool:
    with fuzz.Fuzzer(Bed(place / "bed"), _new(place / "fuzz"), options.seed) as fuzzer:
        several = range(options.first, options.first + options.variants)
        report = fuzzer.run(options.only or several, say=_say)
    _say(report)
    return not report.findings


def _kills(options: argparse.Namespace, place: Path) -> bool:
    """Run the test of the ordinary tests again and again, with other seeds."""
    passed = True
    for number in range(options.rounds):
        _say(f"round {number + 1} of {options.rounds}")
        result = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
                *("-n", "2", f"--basetemp={place / 'kills'}"),
                *("tests/filesystem/test_crash.py", "-k", "9_at_random_points"),
            ],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "PIP_LINKMODE_TEST_EVERYTHING": "1",
                "PIP_LINKMODE_TEST_SEED": str(options.seed + number),
            },
            check=False,
        )
        passed &= result.returncode == 0
    return passed


def _clean_up(options: argparse.Namespace, place: Path) -> bool:
    run = clean_up.CleanUp(Bed(place / "bed"), _new(place / "runs"), options.pips)
    report = run.run(options.minutes * 60, _say)
    _say(report)
    return not report.findings


def _scale(options: argparse.Namespace, place: Path) -> bool:
    text, broken = scale.run(_new(place / "scale"), options.entries, options.number)
    _say(text)
    for line in broken:
        _say(line)
    return not broken


def _new(path: Path) -> Path:
    path.mkdir()
    return path


def _say(text: object) -> None:
    print(text, flush=True)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--directory",
        default=MEMORY if os.path.isdir(MEMORY) else None,
        help="where it all happens",
    )
    runs = parser.add_subparsers(required=True, metavar="run")
    sub = runs.add_parser("kills", help="installations that are killed")
    sub.add_argument("--rounds", type=int, default=5, help="of 200 kills")
    sub.add_argument("--seed", type=int, default=1)
    sub.set_defaults(run=_kills)
    sub = runs.add_parser("clean-up", help="many pips and a clean-up at once")
    sub.add_argument("--minutes", type=float, default=30)
    sub.add_argument("--pips", type=int, default=clean_up.PIPS)
    sub.set_defaults(run=_clean_up)
    sub = runs.add_parser("scale", help="a large store")
    sub.add_argument("--entries", type=int, default=scale.ENTRIES)
    sub.add_argument(
        "--environments", dest="number", type=int, default=scale.ENVIRONMENTS
    )
    sub.set_defaults(run=_scale)
    sub = runs.add_parser("fuzz", help="damaged metadata through every command")
    sub.add_argument("--variants", type=int, default=1000)
    sub.add_argument("--first", type=int, default=0, help="number of the first")
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--only", type=int, action="append", help="one variant")
    sub.set_defaults(run=_fuzz)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="endurance-", dir=options.directory))
    try:
        return 0 if options.run(options, place) else 1
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
