"""Install one package from a store with one entry and from one with 10,000.

Usage: ``python -m tests.benchmarks.scale [--entries N] [--runs N] [--directory DIR]``
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.support.environments import Bed
from tests.support.wheels import make_wheel


def multiply(store: Path, count: int) -> None:
    """Fill a store with entries like the one that it has, by hard links."""
    wheels = store / "v1" / "wheels"
    (entry,) = wheels.glob("*/*")
    manifest = json.loads((entry / "manifest.json").read_text())
    files = [row[0] for row in manifest["files"]]
    for number in range(count):
        key = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}" * 4
        copy = wheels / key[:2] / key
        for path in files:
            target = copy / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(entry / "files" / path, target)
        (copy / "manifest.json").write_text(json.dumps(manifest | {"sha256": key}))


def main() -> None:
    """Measure in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="pip-linkmode-bench-", dir=options.directory))
    try:
        bed = Bed(root / "bed")
        environment = bed.environment(root / "environment", shim=True)
        wheel = make_wheel(root, "pkg", files={"pkg/a.py": "", "pkg/b.py": "x = 1\n"})
        install = ("install", "--no-index", "--force-reinstall", str(wheel))
        stores = [root / "one", root / "many"]
        for store in stores:
            environment.pip(*install, f"--link-store={store}")
        multiply(stores[1], options.entries)
        taken: list[list[float]] = [[], []]
        for _ in range(options.runs):
            for store, times in zip(stores, taken, strict=True):
                start = time.perf_counter()
                environment.pip(*install, f"--link-store={store}")
                times.append(time.perf_counter() - start)
        one, many = (statistics.median(times) for times in taken)
        print(
            f"one entry: {one * 1000:.0f} ms; {options.entries:,} entries: "
            f"{many * 1000:.0f} ms (medians of {options.runs})"
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
