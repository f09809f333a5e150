"""Installations that are compared with stock pip's, and what was linked in them."""

from __future__ import annotations

import hashlib
import json
import marshal
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.filesystem.matrix import seen
from tests.support.environments import Environment
from tests.support.parity import _comparable, assert_parity, delta

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.support.environments import Bed

INSTALL = ("install", "--no-index", "--ignore-installed")


def settings(mode: str, *stores: Path) -> dict[str, str]:
    """Return the variables that ask for a mode and some stores."""
    return {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": ":".join(map(str, stores))}


@dataclass(frozen=True)
class Wrapped(Environment):
    """An environment whose interpreter runs under another program."""

    wrapper: Path

    @property
    def python(self) -> Path:
        """The script that runs the interpreter."""
        return self.wrapper


def under(environment: Environment, *command: str) -> Wrapped:
    """Return an environment whose interpreter is run by a command.

    :param command: such as ``strace`` and its options
    """
    environment.private.mkdir(parents=True, exist_ok=True)
    path = environment.private / "under"
    line = " ".join(f"'{word}'" for word in (*command, str(environment.python)))
    path.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    path.chmod(0o755)
    return Wrapped(environment.path, environment.private, path)


@dataclass(frozen=True)
class Compared:
    """The same installation by stock pip and by a pip that links."""

    environment: Environment
    stock: CompletedProcess[str]
    linked: CompletedProcess[str]

    @property
    def warnings(self) -> list[str]:
        """What the pip that links says on stderr and stock pip does not."""
        known = self.stock.stderr.splitlines()
        lines = self.linked.stderr.splitlines()
        return [line for line in lines if line not in known]

    @property
    def summary(self) -> str:
        """The line that says what was linked; empty if there is none."""
        own = ("Linked ", "Copied ")
        lines = self.linked.stdout.splitlines()
        return "".join(line for line in lines if line.startswith(own))


def compare(
    bed: Bed,
    place: Path,
    args: Sequence[str],
    env: Mapping[str, str],
    *,
    prepare: Callable[[Environment], Environment] | None = None,
    python: str = sys.executable,
    ignore: Sequence[str] = (),
) -> Compared:
    """Run one pip twice, as the oracle does, and keep what both have said.

    :param place: a directory on the file system of the environment
    :param args: of pip
    :param env: variables for the pip that links
    :param prepare: changes the environment before pip runs, and says how to run it
    :param ignore: patterns of paths that may differ
    """
    results = []

    def step(environment: Environment) -> None:
        links = (environment.site_packages / "pip_linkmode").exists()
        chosen = prepare(environment) if prepare else environment
        results.append(chosen.pip(*args, env=env if links else {}, check=False))

    environment = assert_parity(
        bed, place, [step], env={}, ignore=ignore, python=python
    )
    stock, linked = results
    assert linked.returncode == stock.returncode, linked.stderr
    assert _comparable(linked.stdout) == _comparable(stock.stdout)
    assert _comparable(linked.stderr) == _comparable(stock.stderr)
    return Compared(environment, stock, linked)


class Bench:
    """One place, and what stock pip installs there: for many comparisons with it."""

    def __init__(self, bed: Bed, place: Path, args: Sequence[str]) -> None:
        """Install with stock pip.

        :param place: a directory on the file system of the environment
        :param args: of pip
        """
        self._bed, self._place = bed, place
        self._path = place / "environment"
        self.args = [*args]
        stock = self._make(shim=False)
        before = stock.snapshot()
        stock.pip(*self.args)
        self._expected = delta(before, stock.snapshot())
        self.before = self.fresh().snapshot()

    def fresh(self) -> Environment:
        """Return an environment that links, and nothing is installed in."""
        shutil.rmtree(self._path)
        return self._make(shim=True)

    def _make(self, *, shim: bool) -> Environment:
        private = self._place / "private"
        return self._bed.environment(self._path, shim=shim, private=private)

    def assert_parity(self, environment: Environment) -> None:
        """Compare an environment with stock pip's, but for what a killed pip leaves."""
        changes = delta(self.before, environment.snapshot())
        left = {path: e for path, e in changes.items() if not _is_left_over(path)}
        assert left == self._expected


def _is_left_over(path: str) -> bool:
    """Tell whether stock pip leaves such a file (``adjacent_tmp_file``) if killed."""
    return ".dist-info/" in path and path.endswith(".tmp")


def primitives(environment: Environment, store: Path) -> dict[str, str]:
    """Tell how each file of a store has come into an environment.

    :returns: the primitive by the path of the installed file; without empty files
    """
    found = {}
    for source in sorted(store.glob("v1/wheels/*/*/files/**/*")):
        entry = next(p for p in source.parents if p.name == "files").parent
        path = source.relative_to(entry / "files")
        target = environment.site_packages / path
        if not source.is_file() or not source.stat().st_size or is_pips(path):
            continue
        if path.parts[0].endswith(".data"):
            target = environment.path.joinpath(*path.parts[2:])
        found[str(path)] = seen(source, target)
        if path.suffix == ".py":
            (pyc,) = entry.glob(f"bytecode/*/{path}c")
            name = target.with_suffix("").name
            (target,) = (target.parent / "__pycache__").glob(f"{name}.*.pyc")
            found[f"{path}c"] = seen(pyc, target)
    return found


def is_pips(path: Path) -> bool:
    """Tell whether pip writes a file of a wheel itself."""
    pips = ("METADATA", "WHEEL", "RECORD", "entry_points.txt")
    return ".dist-info" in path.parts[0] and path.name in pips


def bits(path: Path) -> int:
    """Return permission bits."""
    return stat.S_IMODE(os.lstat(path).st_mode)


def start(
    environment: Environment, *args: str, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start an environment's interpreter in a process group of its own."""
    home = environment.private / "home"
    return subprocess.Popen(
        [environment.python, *args],
        env={**environment._variables(home), **env},
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def entries(store: Path) -> int:
    """Check every entry of a store against its manifest, by content.

    Reads the manifests itself: the store is not asked about the store.

    :returns: how many there are
    """
    count = 0
    for entry in store.glob("v1/wheels/*/*"):
        manifest = json.loads((entry / "manifest.json").read_bytes())
        assert manifest["sha256"] == entry.name
        expected = {path: digest for path, _, digest, _ in manifest["files"]}
        assert digests(entry / "files") == expected
        for compiled in entry.glob("bytecode/*"):
            stamped = json.loads((compiled / "manifest.json").read_bytes())
            for source, found in stamped["files"].items():
                pyc = compiled / f"{source}c"
                assert pyc.exists() is (found is not None)
                if found is not None:
                    assert pyc.stat().st_size == found[0]
                    compare_with_source(pyc, entry / "files" / source)
        count += 1
    return count


def digests(root: Path) -> dict[str, str]:
    """Return the sha256 of every file below a directory, by path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if not path.is_dir()
    }


def compare_with_source(pyc: Path, source: Path) -> None:
    """Assert that bytecode is whole, and of this very file."""
    content = pyc.read_bytes()
    status = source.stat()
    stamps = (int(status.st_mtime), status.st_size)
    assert content[8:16] == b"".join(n.to_bytes(4, "little") for n in stamps)
    marshal.loads(content[16:])


def left_over(store: Path) -> list[str]:
    """Return what is in the staging directory of a store."""
    staging = store / "v1" / "staging"
    return sorted(os.listdir(staging)) if staging.exists() else []
