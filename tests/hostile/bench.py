"""Install a wheel through a store without a pip, to see what comes out of the store."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.install.session import Session
from pip_linkmode.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

MODULE = "VALUE = 'pristine'\n"
FILES: dict[str, bytes | str] = {
    "pkg/__init__.py": "",
    "pkg/module.py": MODULE,
    "pkg/sub/other.py": "VALUE = 'other'\n",
    "pkg/data.bin": bytes(range(256)),
}


@dataclass(frozen=True)
class Bench:
    """A store, a wheel, and places to install it to."""

    base: Path
    wheel: Path

    @property
    def store(self) -> Path:
        return self.base / "store"

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.wheel.read_bytes()).hexdigest()

    @property
    def entry(self) -> Path:
        """The directory of the wheel's entry."""
        return self.store / "v1" / "wheels" / self.sha256[:2] / self.sha256

    @property
    def bytecode(self) -> Path:
        """The directory of its bytecode for this interpreter."""
        (found,) = (self.entry / "bytecode").iterdir()
        return found

    def install(self, name: str, mode: str = "hardlink") -> Path | None:
        """Install into a new place.

        :returns: the place, or ``None`` if all was left to pip
        """
        site_packages = self.base / name
        scheme = {
            key: str(
                site_packages if key in ("purelib", "platlib") else self.base / key
            )
            for key in ("purelib", "platlib", "headers", "scripts", "data")
        }
        site_packages.mkdir(exist_ok=True)
        settings = Settings(mode, mode, (str(self.store),), ())
        handed: list[str] = []
        with Session(settings, []) as session:
            session.install(
                handed.append,
                "pkg",
                str(self.wheel),
                scheme,
                pycompile=True,
                reusable=True,
            )
        (path,) = handed
        return None if path == str(self.wheel) else site_packages

    def assert_pristine(self, site_packages: Path | None) -> None:
        """Assert that all files are those of the wheel, if any were linked."""
        if site_packages is None:
            return
        for path, content in FILES.items():
            expected = content.encode() if isinstance(content, str) else content
            assert (site_packages / path).read_bytes() == expected
            assert stat.S_IMODE((site_packages / path).stat().st_mode) == 0o644
        for pyc in (site_packages / "pkg" / "__pycache__").iterdir():
            assert b"pristine" in pyc.read_bytes() or "__init__" in pyc.name


def look(root: Path) -> dict[str, tuple[object, ...]]:
    """Describe a tree that nobody may change, or read to the end of a link."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted([root, *root.rglob("*")]):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found
