"""Get a wheel again, with the pip and the settings of an environment that needs it."""

from __future__ import annotations

import base64
import csv
import glob
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from shlex import quote
from typing import TYPE_CHECKING

from pip_linkmode.files import CHUNK, current_umask, mode_of_new_file

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import ExitStack

    from pip_linkmode.environments.environment import Environment


_EXECUTABLE = 0o111
_INVALID = (OSError, ValueError, LookupError, zipfile.BadZipFile, csv.Error)
"""Exceptions of reading a wheel that is not one."""


def reinstall_command(site: Environment, package: str) -> str:
    """Return the command that installs a package of an environment again.

    :param package: name and version, separated by a space
    """
    names = ("python3", "python", "python.exe")
    paths = [os.path.join(site.scripts, name) for name in names]
    python = next(filter(os.path.lexists, paths), paths[0])
    requirement = package.replace(" ", "==")
    return f"{quote(python)} -m pip install --force-reinstall --no-deps {requirement}"


def fill_command(store: str, package: str) -> str:
    """Return the command that unpacks a package into a store again, at the same place.

    :param store: absolute path of the store
    :param package: name and version, separated by a space
    """
    return f"pip-linkmode fill {package.replace(' ', '==')} --link-store {quote(store)}"


def fetch(
    sites: Sequence[Environment],
    package: str,
    sha256: str | None,
    wanted: Collection[str],
    stack: ExitStack,
) -> tuple[dict[str, str], str]:
    """Download a wheel, and take files out of it.

    Root runs no program, and asks no index, for an environment of another user.

    :param sites: environments that have the package; the first that may be used is
    :param package: name and version, separated by a space
    :param sha256: of the wheel, if it is known
    :param wanted: digests of the files, hexadecimal
    :param stack: removes the files when it is closed
    :returns: absolute paths by digest, and the reason why some are missing
    """
    ours = [one for one in sites if _is_ours(one)]
    if not ours:
        return {}, "nothing is downloaded for an environment of another user"
    python = next(filter(None, (one.interpreter for one in ours)), None)
    if python is None:
        return {}, "no interpreter of an environment answers"
    try:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="pip-linkmode-")
        )
        problem = _download(ours[0], python.executable, package, sha256, directory)
        if problem is not None:
            return {}, problem
        files: dict[str, str] = {}
        for wheel in glob.glob(os.path.join(glob.escape(directory), "*.whl")):
            files |= _extract(wheel, wanted, directory)
    except _INVALID as error:
        return {}, f"the wheel cannot be read: {error}"
    return files, "the wheel that was downloaded has other files"


def _is_ours(site: Environment) -> bool:
    return not hasattr(os, "geteuid") or site.owner == os.geteuid()


def _download(
    site: Environment, python: str, package: str, sha256: str | None, directory: str
) -> str | None:
    """Run ``pip download`` for an environment; return the reason if it fails."""
    requirements = os.path.join(directory, "requirements.txt")
    hashes = f" --hash=sha256:{sha256}" if sha256 else ""
    with open(requirements, "w", encoding="utf-8") as file:
        file.write(f"{package.replace(' ', '==')}{hashes}\n")
    own = [python, "-m", "pip"]
    if not os.path.isdir(os.path.join(site.site_packages, "pip")):
        own = [sys.executable, "-m", "pip", "--python", python]
    result = subprocess.run(
        [
            *own,
            *("download", "--quiet", "--no-input", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary", ":all:", "--retries", "1"),
            *("--dest", directory, "--requirement", requirements),
        ],
        check=False,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        # A stand-in would come from the damaged entry.
        env={**os.environ, "PIP_LINK_MODE": "off"},
    )
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "ERROR" in line]
        said = (lines or result.stderr.splitlines() or ["no reason was given"])[-1]
        return f"pip download failed: {said.removeprefix('ERROR: ')}"
    return None


def _extract(wheel: str, wanted: Collection[str], directory: str) -> dict[str, str]:
    """Take the files with some digests out of a wheel."""
    by_text = {
        base64.urlsafe_b64encode(bytes.fromhex(one)).decode().rstrip("="): one
        for one in wanted
    }
    found: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as archive:
        (record,) = (
            name
            for name in archive.namelist()
            if name.endswith(".dist-info/RECORD") and name.count("/") == 1
        )
        text = io.StringIO(archive.read(record).decode(), newline="")
        for row in csv.reader(text):
            sha256 = by_text.get(row[1].partition("=")[2]) if len(row) > 1 else None
            if sha256 is not None and sha256 not in found:
                path = os.path.join(directory, sha256)
                if _copy(archive, archive.getinfo(row[0]), path) == sha256:
                    found[sha256] = path
    return found


def _copy(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> str:
    """Write a member of a wheel to a file; return its digest."""
    digest = hashlib.sha256()
    with archive.open(info) as member, open(path, "wb") as file:
        while chunk := member.read(CHUNK):
            digest.update(chunk)
            file.write(chunk)
    is_executable = bool(info.external_attr >> 16 & _EXECUTABLE)
    os.chmod(path, mode_of_new_file(current_umask(), executable=is_executable))
    return digest.hexdigest()
