"""Long runs, one command each: ``python -m tests.endurance RUN [--directory DIR]``.

None of them is part of the ordinary tests. ``docs/endurance.md`` has their results.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.endurance import fuzz
from tests.support.environments import Bed


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.endurance", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("/dev/shm"), help="where it all happens"
    )
    runs = parser.add_subparsers(dest="run", required=True)
    sub = runs.add_parser("fuzz", help="damaged metadata through every command")
    sub.add_argument("--variants", type=int, default=1000)
    sub.add_argument("--seed", type=int, default=1)
    sub.add_argument("--only", type=int, action="append", help="this variant")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="endurance-", dir=options.directory))
    try:
        bed = Bed(place / "bed")
        with fuzz.Fuzzer(bed, _made(place / "fuzz"), options.seed) as fuzzer:
            report = fuzzer.run(options.only or range(options.variants), say=print)
        print(report)
        return 1 if report.findings else 0
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _made(path: Path) -> Path:
    path.mkdir()
    return path


if __name__ == "__main__":
    sys.exit(main())
