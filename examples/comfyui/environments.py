"""Give each set of custom nodes an environment of its own, and all of them one store.

Usage: ``python3 examples/comfyui/environments.py [--directory DIR] [FILE …]``

Custom nodes that want different versions of the same package cannot live in one
environment; an environment each would cost gigabytes each without links.  Makes one for
each requirements file, named after it, and prints what they take.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    files = sorted((HERE / "requirements").glob("*.txt"))
    parser.add_argument("files", nargs="*", type=Path, default=files, metavar="FILE")
    parser.add_argument("--link-mode", default="auto")
    parser.add_argument("--directory", type=Path, help="keep everything in here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="comfyui-") as temporary:
        directory = (options.directory or Path(temporary)).resolve()
        directory.mkdir(parents=True, exist_ok=True)
        run(directory, options.files, options.link_mode)


def run(directory: Path, files: list[Path], mode: str) -> None:
    """Make the environments, and let ``pip-linkmode usage`` tell what they take."""
    # One pip for all of them: the environments need none.
    venv.create(directory / "tools", with_pip=True)
    scripts = "Scripts" if os.name == "nt" else "bin"
    python = directory / "tools" / scripts / "python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", CHECKOUT], check=True)
    store: list[str | Path] = ["--link-store", directory / "store"]
    environments = [directory / file.stem for file in files]
    for environment, file in zip(environments, files, strict=True):
        venv.create(environment, symlinks=os.name != "nt")
        start = time.perf_counter()
        where = (*pip, "--python", environment, "install", "--quiet")
        subprocess.run([*where, "--link-mode", mode, *store, "-r", file], check=True)
        print(f"{environment.name}: {time.perf_counter() - start:.1f} s", flush=True)
    usage = (python, "-m", "pip_linkmode", "usage")
    subprocess.run([*usage, *environments, *store], check=True)


if __name__ == "__main__":
    main()
