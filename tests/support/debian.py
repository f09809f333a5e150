"""Pythons that are newer than those of the machine, from Debian's unstable archive.

Nothing is installed: ``apt-get`` downloads the packages with all that they need, the C
library too, and the interpreters are changed to load that library from where they are.
They then start like any other, without root and without a ``chroot``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SUITE = "sid"
VERSIONS = ((3, 14), (3, 15))
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
WHEELS = "usr/share/python-wheels"
"""Where Debian's ``ensurepip`` has its pip; it is made to find it below the root."""


class UnavailableError(Exception):
    """Say why there are no such Pythons here."""


def unpack(directory: Path, final: Path) -> None:
    """Download and unpack the interpreters.

    :param directory: where to; it exists and is empty
    :param final: the path that it will have when they are started
    :raises UnavailableError: if this is no Debian, or its archive cannot be reached
    """
    archives = _download(directory / "apt")
    for archive in archives:
        _run("dpkg-deb", "--extract", archive, directory)
    shutil.rmtree(directory / "apt")
    libraries = next(directory.glob("usr/lib/*/libc.so.6")).parent
    (loader,) = libraries.glob("ld-linux*")
    place = final / libraries.relative_to(directory)
    for version in VERSIONS:
        python = interpreter(directory, version)
        _run(
            _patchelf(),
            *("--set-interpreter", place / loader.name),
            *("--force-rpath", "--set-rpath", place),
            python,
        )
        for path in directory.glob(f"usr/lib/{python.name}/_sysconfig*"):
            text = path.read_text("utf-8")
            path.write_text(text.replace(f"/{WHEELS}", str(final / WHEELS)), "utf-8")


def interpreter(root: Path, version: tuple[int, int]) -> Path:
    """Return the path of an interpreter."""
    return root / "usr" / "bin" / f"python{version[0]}.{version[1]}"


def bundled_pip(root: Path) -> Path:
    """Return the wheel that ``ensurepip`` installs: Debian's own pip."""
    (wheel,) = (root / WHEELS).glob("pip-*.whl")
    return wheel


def _download(place: Path) -> list[Path]:
    for name in ("lists/partial", "archives/partial"):
        (place / name).mkdir(parents=True)
    (place / "status").touch()
    source = f"deb [signed-by={KEYRING}] {_mirror()} {SUITE} main\n"
    (place / "sources.list").write_text(source)
    options = {
        "Dir::Etc::sourcelist": place / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": place / "lists",
        "Dir::State::status": place / "status",
        "Dir::Cache": place,
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={one}" for name, one in options.items())]
    wanted = (f"python{major}.{minor}-venv" for major, minor in VERSIONS)
    _run(*apt, "update")
    _run(*apt, "install", "--yes", "--download-only", *wanted)
    return sorted(place.glob("archives/*.deb"))


def _mirror() -> str:
    if not KEYRING.exists():
        message = f"this is not Debian: there is no {KEYRING}"
        raise UnavailableError(message)
    lines = _run(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)"),
        *("Created-By: Packages", "Origin: Debian", "Component: main"),
    )
    if not lines:
        message = "apt knows no archive of Debian; run: apt-get update"
        raise UnavailableError(message)
    return lines.splitlines()[0]


def _patchelf() -> str:
    path = Path(sys.executable).with_name("patchelf")
    return str(path) if path.exists() else "patchelf"


def _run(*command: str | Path) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UnavailableError(str(error)) from error
    if result.returncode:
        message = f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}"
        raise UnavailableError(message)
    return result.stdout
