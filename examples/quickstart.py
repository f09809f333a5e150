"""Install the same packages twice through one store, then by pip alone; show the cost.

Usage: ``python3 examples/quickstart.py [--link-mode MODE] [PACKAGE …]``

Makes three virtual environments, installs pip-linkmode from this checkout in two of
them and the same packages in all, runs them, and prints bytes and seconds side by side.
The wheels are downloaded beforehand, so the network is not in the figures.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("rich", "pandas")


def disk_usage(*roots: Path) -> int:
    """Return the bytes that all files below some directories occupy.

    A file with several names is counted once; a symlink for itself.
    """
    blocks = {}
    for root in roots:
        for directory, _, files in os.walk(root):
            for name in files:
                status = os.lstat(os.path.join(directory, name))
                blocks[status.st_dev, status.st_ino] = status.st_blocks
    return 512 * sum(blocks.values())


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    parser.add_argument("--link-mode", default="auto")
    parser.add_argument("--directory", type=Path, help="keep everything in here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quickstart-") as temporary:
        directory = options.directory or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        run(directory.resolve(), options.packages, options.link_mode)


def run(directory: Path, packages: list[str], mode: str) -> None:
    """Make the environments and print the table."""
    store = directory / "store"
    wheels = directory / "wheels"
    names = ("first", "second", "pip alone")
    print(f"Link mode {mode}; making three environments and downloading.", flush=True)
    pythons = {}
    for name in names:
        environment = directory / name.replace(" ", "-")
        venv.create(environment, with_pip=True)
        scripts = "Scripts" if os.name == "nt" else "bin"
        pythons[name] = environment / scripts / "python"
        if name != "pip alone":
            pip(pythons[name], "install", "--quiet", str(CHECKOUT))
    download = ("download", "--quiet", "--dest", str(wheels))
    pip(pythons["pip alone"], *download, *packages)
    rows = []
    for name, python in pythons.items():
        used = disk_usage(directory)
        start = time.perf_counter()
        links = ("--link-mode", mode, "--link-store", str(store))
        pip(
            python,
            *("install", "--no-index", "--find-links", str(wheels)),
            *(() if name == "pip alone" else links),
            *packages,
        )
        seconds = time.perf_counter() - start
        rows.append((name, seconds, disk_usage(directory) - used))
    for python in pythons.values():
        for package in packages:
            code = f"import {package}, sys; print({package}.__file__)"
            subprocess.run([python, "-c", code], check=True)
    print(f"\n{'environment':<12}{'seconds':>10}{'megabytes':>12}   (link mode {mode})")
    for name, seconds, cost in rows:
        print(f"{name:<12}{seconds:>10.1f}{cost / 1e6:>12.1f}")


def pip(python: Path, *arguments: str) -> None:
    """Run pip in an environment."""
    subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", *arguments], check=True
    )


if __name__ == "__main__":
    main()
