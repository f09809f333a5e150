"""Environments that another program installed into, and a store."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import py_compile
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.environments import registry
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.relink import apply as apply_module
from pip_linkmode.relink.forecast import Forecast
from pip_linkmode.relink.relink import Relinking
from pip_linkmode.store.store import Store
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.relink.report import Relinked, RelinkReport
    from pip_linkmode.store.entry import Entry

FILES: dict[str, bytes | str] = {
    "package/__init__.py": "",
    "package/module.py": "VALUE = 1\n",
    "package/data": "data" * 1000,
    "package/tool": "#!/bin/sh\n",
    "single.py": "SINGLE = 1\n",
    "package-1.0.data/data/share/data": "shared" * 100,
    "package-1.0.data/scripts/run": "#!python\n",
}
PYC = f".{sys.implementation.cache_tag}.pyc"
BIG = "package/data"
MODULE = "package/module.py"
LIBRARY = "package/lib.so"


class Bench:
    """Environments that somebody has installed something into, and a store."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self._template = root, template
        self.store = Store.open(str(root / "store"))
        self.wheel = make_wheel(
            root / "wheels", "package", files=FILES, executable=["package/tool"]
        )

    def environment(self, name: str = "one") -> Path:
        """Make an environment; return its site-packages."""
        shutil.copytree(self._template, self.root / name, symlinks=True)
        (site_packages,) = (self.root / name).glob("lib/*/site-packages")
        self.install(site_packages)
        return site_packages

    def install(
        self, site_packages: Path, wheel: Path | None = None, *, compiled: bool = True
    ) -> None:
        """Install a wheel as others do."""
        rows = []
        with zipfile.ZipFile(wheel or self.wheel) as archive:
            info = next(n for n in archive.namelist() if n.endswith("/RECORD"))
            listed = archive.read(info).decode().splitlines()
            for row in csv.reader(listed):
                path = row[0]
                target = site_packages / path
                if ".data/data/" in path:
                    target = site_packages.parents[2] / path.partition(".data/data/")[2]
                elif ".data/scripts/" in path:
                    target = site_packages.parents[2] / "bin" / path.rpartition("/")[2]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(path))
                mode = 0o755 if path.endswith("/tool") else 0o644
                target.chmod(mode)
                os.utime(target, (1_600_000_000, 1_600_000_000))
                rows.append([os.path.relpath(target, site_packages), *row[1:]])
                if compiled and path.endswith(".py"):
                    pyc = py_compile.compile(str(target), doraise=True)
                    rows.append([os.path.relpath(str(pyc), site_packages), "", ""])
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        (site_packages / info).write_text(text.getvalue())

    def prepare(self, *all_site_packages: Path, **options: Any) -> Relinking:
        options = {"mode": "hardlink", **options}
        stores = options.pop("stores", [self.store])
        relinking = Relinking(stores, **options)
        relinking.survey([str(path) for path in all_site_packages])
        return relinking

    def relink(self, *all_site_packages: Path, **options: Any) -> RelinkReport:
        return self.prepare(*all_site_packages, **options).run()

    def one(self, site_packages: Path, **options: Any) -> Relinked:
        """Relink one environment."""
        (found,) = self.relink(site_packages, **options).environments
        return found

    def entries(self) -> list[Entry]:
        found = []
        for path in self.store.entries():
            entry = self.store.entry(os.path.basename(path))
            assert entry is not None
            found.append(entry)
        return found

    def is_shared(self, path: Path) -> bool:
        """Tell whether a file is one of the store's."""
        return any(
            path.samefile(source)
            for source in Path(self.store.root).glob("v1/wheels/**/*")
            if source.is_file()
        )


def unpack(bench: Bench, umask: int = 0o022) -> Entry:
    preparer = Preparer([bench.store], umask=umask, pycompile=True, count=1)
    try:
        return preparer.prepare(str(bench.wheel)).entry
    finally:
        preparer.stop()


def noted(bench: Bench) -> tuple[set[str], set[str]]:
    """Return what an environment uses, and what of it by symlinks, as is noted."""
    (one,) = registry.registrations(bench.store.root)
    return one.entries(), one.entries(depends=True)


def works(monkeypatch: pytest.MonkeyPatch, ways: dict[str, str | None]) -> None:
    """Let primitives work, or not, both in the forecast and when they are tried."""
    monkeypatch.setattr(apply_module, "probe", lambda *_: ways)
    monkeypatch.setattr(Forecast, "ways", lambda *_: ways)


@pytest.fixture
def bench(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    if os.geteuid() == 0:  # then environments are read with the rights of their owners
        for parent in tmp_path.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o711)
        tmp_path.chmod(0o755)
    return Bench(tmp_path, template)


@pytest.fixture
def site_packages(bench: Bench) -> Path:
    return bench.environment()


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def content(site_packages: Path) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(site_packages.parents[2].rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def assert_valid_bytecode(site_packages: Path) -> None:
    for pyc in site_packages.rglob("*.pyc"):
        source = os.stat(importlib.util.source_from_cache(str(pyc)))
        stamps = (int(source.st_mtime), source.st_size)
        expected = b"".join(file_stamp.to_bytes(4, "little") for file_stamp in stamps)
        assert pyc.read_bytes()[8:16] == expected
