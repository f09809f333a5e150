"""Let pip get the wheels of requirements, but for those that a store has.

pip resolves first, without an installation; its report names each wheel and its sha256.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import re
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.errors import EntryDamagedError, FillRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from pip_linkmode.store.store import Store


_COMMENT = re.compile(r"(^|\s+)#.*$")
"""As in pip (``_internal/req/req_file.py``)."""
_OPTION = re.compile(r"(?:^|\s)-(?!-hash\b)")


def wheels_in(path: str) -> list[str]:
    """Return the wheels that a path means: itself, or those in it.

    :param path: of a wheel or a directory
    :returns: absolute paths; none if it is something else
    """
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return sorted(glob.glob(os.path.join(glob.escape(path), "*.whl")))
    return [path] if path.endswith(".whl") and os.path.isfile(path) else []


@dataclass(frozen=True)
class Wanted:
    """The requirements that pip must get as wheels, with their dependencies."""

    requirements: Sequence[str]
    files: Sequence[str] = ()
    """Paths of requirement files."""
    constraints: Sequence[str] = ()
    """Paths of constraint files."""
    python: str | None = None
    """Absolute path of an interpreter; the running one if ``None``."""

    def pip(self, *command: str) -> list[str]:
        """Return a command line of pip, for that interpreter."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        target = [] if self.python is None else ["--python", self.python]
        return [*pip, *target, *command]

    def arguments(self) -> list[str]:
        """Return the arguments of pip that name all of them."""
        files = [part for path in self.files for part in ("-r", path)]
        limits = [part for path in self.constraints for part in ("-c", path)]
        return [*files, *limits, "--", *self.requirements]


class _Resolved(NamedTuple):
    """A distribution that pip would install."""

    wheel: str
    """File name of the wheel, or of the source that it is built of."""
    sha256: str | None
    """Digest of the wheel, if pip knows it."""
    pinned: str | None
    """Line of a requirements file for this very wheel, if an index has it."""


def gather(
    directory: str, wanted: Wanted, stores: Sequence[Store]
) -> tuple[list[str], dict[str, str]]:
    """Let pip get the wheels that no store has.

    pip resolves first, without an installation.  If it gets something, its messages go
    to the standard error stream.

    :param directory: absolute path of the directory that the wheels come into
    :param wanted: the requirements
    :param stores: in the order of look-up
    :returns: absolute paths of the wheels, and the sha256 by path of those among them
        that are stored already and are not in the directory
    :raises FillRefusedError: if pip cannot get one
    """
    stored: dict[str, str] = {}
    missing = []
    for wheel, sha256, pinned in _resolve(directory, wanted, stores):
        if sha256 and any(_is_sound(store, sha256) for store in stores):
            stored[os.path.join(directory, wheel)] = sha256
        else:
            missing.append(pinned)
    if missing:
        pins = [pinned for pinned in missing if pinned is not None]
        files = (*wanted.files, *wanted.constraints)
        if len(pins) < len(missing) or any(map(_has_options, files)):
            # A pin does not say where from.
            stored = {}
            _get_wheels(directory, wanted, wanted.arguments())
        else:
            path = os.path.join(directory, "pins.txt")
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(f"{pin}\n" for pin in pins)
            _get_wheels(directory, wanted, ["--no-deps", "-r", path])
    return [*wheels_in(directory), *stored], stored


def _resolve(
    directory: str, wanted: Wanted, stores: Sequence[Store]
) -> list[_Resolved]:
    """Let pip say which wheels are needed."""
    report = os.path.join(directory, "report.json")
    flags = ("--quiet", "--dry-run", "--ignore-installed", "--report", report)
    try:
        subprocess.run(
            [*wanted.pip("install", *flags), *wanted.arguments()],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # pip wheel reports the same problem, if it has it too.
            stderr=subprocess.DEVNULL,
            env={
                **os.environ,
                "PIP_LINK_MODE": "auto",
                "PIP_LINK_STORE": os.pathsep.join(store.root for store in stores),
            },
        )
        with open(report, encoding="utf-8") as file:
            return [_wheel_of(item) for item in json.load(file)["install"]]
    except (subprocess.CalledProcessError, OSError, LookupError, ValueError):
        return [_Resolved("", None, None)]
    finally:
        with contextlib.suppress(OSError):
            os.unlink(report)


def _wheel_of(item: dict[str, Any]) -> _Resolved:
    origin, metadata = item["download_info"], item["metadata"]
    path = urllib.parse.urlsplit(origin["url"]).path
    name = urllib.parse.unquote(path.rpartition("/")[2])
    archive = origin.get("archive_info", {})
    # pip 22.3 has the older of the two keys.
    older = archive.get("hash", "").partition("sha256=")[2] or None
    digest = archive.get("hashes", {}).get("sha256", older)
    sha256 = digest if name.endswith(".whl") else None
    if sha256 is None or item["is_direct"]:
        return _Resolved(name, sha256, None)
    # Another index may have another file of this version.
    pinned = f"{metadata['name']}=={metadata['version']} --hash=sha256:{sha256}"
    return _Resolved(name, sha256, pinned)


def _is_sound(store: Store, sha256: str) -> bool:
    with contextlib.suppress(OSError, EntryDamagedError):
        entry = store.entry(sha256)
        if entry is not None:
            entry.check()
            return True
    return False


def _has_options(path: str) -> bool:
    """Return whether a requirements file may have options other than hashes.

    :param path: of a file, or a URL
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [_COMMENT.sub("", line) for line in file]
    except (OSError, UnicodeError):
        return True
    return any(map(_OPTION.search, lines))


def _get_wheels(directory: str, wanted: Wanted, arguments: Sequence[str]) -> None:
    code = subprocess.run(
        [*wanted.pip("wheel", "--wheel-dir", directory), *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        # Packages that only a build needs must not come into the store.
        env={**os.environ, "PIP_LINK_MODE": "off"},
    ).returncode
    if code:
        msg = f"pip wheel could not get the wheels: exit code {code}"
        raise FillRefusedError(msg)
