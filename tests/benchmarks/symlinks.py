"""Measure the bytes that symlink mode copies where it cannot make hard links.

Usage: ``python3 -m tests.benchmarks.symlinks [--write docs/differences.md] DIRECTORY
[STACK …]``, as root on Linux.

Each stack, requirements separated by commas, is installed twice from one store: into an
environment on another file system, and by another user, for whom the store is
read-only.  Both environments are removed again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.filesystem import mounts
from tests.filesystem.conftest import NOBODY
from tests.filesystem.support import under
from tests.support.environments import NEWEST, Bed, Environment, run_outside

STACKS = ("pandas", "torch", "jupyterlab", "comfyui-frontend-package")
HEADER = """\
| installed | stock pip writes | copied to another disk | copied from another user |
|---|---:|---:|---:|"""
MARKS = ("<!-- symlinks -->", "<!-- /symlinks -->")


class Shares(NamedTuple):
    """The bytes of the files of an environment, by how they came there."""

    copied: int
    linked: int

    def text(self) -> str:
        """Return a cell of the table."""
        total = self.copied + self.linked
        return f"{self.copied / 1e6:,.1f} MB ({100 * self.copied / total:.0f} %)"


def measure(before: set[str], root: Path) -> Shares:
    """Measure the files that an installation has added.

    :param before: the paths that were there
    """
    copied = linked = 0
    for path in files(root) - before:
        status = os.lstat(path)
        if os.path.islink(path):
            linked += os.stat(path).st_size
        elif status.st_nlink > 1:
            linked += status.st_size
        else:
            copied += status.st_size
    return Shares(copied, linked)


def files(root: Path) -> set[str]:
    """Return the paths of all files of a tree."""
    return {
        os.path.join(directory, name)
        for directory, _, names in os.walk(root)
        for name in names
    }


def public_python() -> str:
    """Return an interpreter that every user can run."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    probe = f"import sys, venv; sys.exit(sys.version[:{len(version)}] != {version!r})"
    for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        command = (*NOBODY, "env", "-i", candidate, "-I", "-c", probe)
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return candidate
    message = f"needs a Python {version} that others than root can run"
    raise SystemExit(message)


class Measurement:
    """A store, and environments that are made of it."""

    def __init__(self, place: Path) -> None:
        """Prepare a directory.

        :param place: an empty directory
        """
        place.chmod(0o755)
        self._place = place
        self._bed = Bed(place / "bed")
        self._python = public_python()
        self._other = mounts.mount_tmpfs(place / "other")

    def row(self, stack: str) -> str:
        """Install one stack in both ways; return its row of the table."""
        wheels = self._download(stack)
        store = self._place / f"store-{stack}"
        tool = self._environment(self._place / "tool")
        fill = ("-m", "pip_linkmode", "fill", "--link-store", store)
        tool.run(*fill, *sorted(wheels.glob("*.whl")))
        cells = []
        for place, is_other_user in ((self._other, False), (self._place, True)):
            environment = self._environment(place / "environment")
            before = files(environment.path)
            user = self._give(environment) if is_other_user else environment
            user.pip(
                *("install", "--no-index", "--find-links", wheels),
                *stack.split(","),
                env={"PIP_LINK_MODE": "symlink", "PIP_LINK_STORE": str(store)},
            )
            cells.append(measure(before, environment.path))
            shutil.rmtree(environment.path)
            shutil.rmtree(environment.private)
        for path in (tool.path, tool.private, store, wheels):
            shutil.rmtree(path)
        total = sum(cells[0])
        texts = (f"{total / 1e6:,.1f} MB", *(cell.text() for cell in cells))
        return f"| {stack.replace(',', ', ')} | {' | '.join(texts)} |"

    def _download(self, stack: str) -> Path:
        wheels = self._place / "wheels"
        pip = self._bed.pip_wheel(NEWEST) / "pip"
        flags = ("--quiet", "--only-binary", ":all:", "-d", wheels)
        run_outside(self._python, pip, "download", *flags, *stack.split(","))
        return wheels

    def _environment(self, path: Path) -> Environment:
        return self._bed.environment(path, shim=True, python=self._python)

    def _give(self, environment: Environment) -> Environment:
        user = under(environment, *NOBODY)
        for path in (environment.path, environment.private):
            run_outside("chown", "-R", "65534:65534", path)
        return user


def main() -> None:
    """Print the table, and write it between two marks of a page on request."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("stacks", nargs="*", default=STACKS)
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    protected = Path("/proc/sys/fs/protected_hardlinks").read_text("ascii").strip()
    if protected != "1":
        parser.error(f"fs.protected_hardlinks is {protected}: others may make links")
    mounts.enter_private_namespace()
    place = Path(tempfile.mkdtemp(prefix="symlinks-", dir=options.directory))
    os.environ["TMPDIR"] = str(place)
    lines = [HEADER]
    try:
        measurement = Measurement(place)
        for stack in options.stacks:
            lines.append(measurement.row(stack))
            print(lines[-1], flush=True)
    finally:
        subprocess.run(["umount", "--lazy", place / "other"], check=False)
        shutil.rmtree(place)
    if options.write:
        before, _, rest = options.write.read_text("utf-8").partition(MARKS[0])
        text = "\n".join((MARKS[0], *lines, MARKS[1]))
        after = rest.partition(MARKS[1])[2]
        options.write.write_text(f"{before}{text}{after}", "utf-8")


if __name__ == "__main__":
    main()
