"""A store and environments made without a pip, in no time."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments import register as register_module
from pip_linkmode.files import current_umask
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.store.layout import FILES
from pip_linkmode.store.store import Store
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from pip_linkmode.store.entry import Entry


@dataclass
class House:
    """A directory with a store and environments."""

    path: Path

    @property
    def root(self) -> Path:
        """Where the store is."""
        return self.path / "store"

    @property
    def store(self) -> Store:
        """The store, opened anew."""
        return Store.open(str(self.root))

    def entry(self, name: str, size: int = 9000) -> Entry:
        """Make a wheel and unpack it into the store, if it is not there."""
        wheel = make_wheel(
            self.path / "wheels",
            name,
            files={
                f"{name}/__init__.py": f"NAME = {name!r}\n" * 500,
                f"{name}/data": name[0] * size,
                f"{name}/empty": "",
            },
        )
        preparer = Preparer(
            [self.store], umask=current_umask(), pycompile=True, count=1
        )
        try:
            return preparer.prepare(str(wheel)).entry
        finally:
            preparer.stop()

    def site_packages(self, environment: str) -> Path:
        """Return the site-packages of an environment, made if need be."""
        site_packages = self.path / environment / "lib" / "python3.11" / "site-packages"
        site_packages.mkdir(parents=True, exist_ok=True)
        (self.path / environment / "pyvenv.cfg").touch()
        return site_packages

    def install(self, environment: str, mode: str, *entries: Entry) -> Path:
        """Link entries into an environment, as an installation does."""
        site_packages = self.site_packages(environment)
        for entry in entries:
            register_module.register(
                str(self.root), str(site_packages), entry.sha256, mode
            )
            self.link(site_packages, mode, entry)
        return site_packages

    def link(self, site_packages: Path, mode: str, entry: Entry) -> None:
        """Link one entry, and do not say so."""
        mtime_ns, links = entry.mtime * 10**9, []
        for path, size, _, bits in entry.files:
            target = site_packages / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.startswith(entry.dist_info):
                shutil.copyfile(entry.source(path), target)
                continue
            link = Link(entry.source(path), str(target), size, mtime_ns, bits, bits)
            links.append(link)
        Linker().link(
            links, mode=mode, store="", target_root=str(site_packages), created=[]
        )

    def present(self) -> list[str]:
        """Return the names of what is in the store, by looking."""
        paths = self.root.glob(f"v1/wheels/*/*/{FILES}/*.dist-info")
        return sorted(path.name.partition("-")[0] for path in paths)


def note(path: Path) -> dict[str, bytes]:
    """Give a file an attribute, and return it; skip the test where that cannot be."""
    try:
        os.setxattr(path, "user.note", b"mine")
    except (AttributeError, OSError) as error:
        pytest.skip(f"{path}: {error}")
    return {"user.note": b"mine"}


def allocated(*paths: Path) -> int:
    """Return what trees take on the disk, as ``du`` counts it."""
    seen = {}
    for path in paths:
        for directory, _, files in os.walk(path):
            for name in ("", *files):
                status = os.lstat(os.path.join(directory, name))
                seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
