"""Whether an environment may be enabled, and by this pip-linkmode."""

from __future__ import annotations

import configparser
import contextlib
import glob
import os
import re
import stat
import sys

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import Environment
from pip_linkmode.errors import EnableRefusedError
from pip_linkmode.store.parents import weak_directory

NAME = "pip-linkmode"
_OLDEST_PIP = Version("22.3")
_OLDEST_PYTHON = (3, 10)
_MANAGED = "EXTERNALLY-MANAGED"
_SYSTEM = "/usr/lib*"
"""Where the standard library is of a Python that the system's packages provide."""


def check_python(site_packages: str) -> None:
    """Refuse a Python that is too old, judged by the name of its directory."""
    name = os.path.basename(os.path.dirname(site_packages))
    version = re.fullmatch(r"python(\d+)\.(\d+)", name)
    if version and (int(version[1]), int(version[2])) < _OLDEST_PYTHON:
        msg = (
            f"{site_packages} is of Python {version[1]}.{version[2]}; {NAME} needs 3.10"
        )
        raise EnableRefusedError(msg)


def check_not_managed(site_packages: str) -> None:
    """Refuse an environment that a system's package manager manages, as pip does.

    pip ``_internal/utils/misc.py``, ``check_externally_managed``, looks into the
    standard library of the interpreter, and not at all in a virtual environment.
    """
    if Environment(site_packages).is_virtual:
        return
    parent = os.path.dirname(site_packages)
    name = os.path.basename(parent)
    same = []
    if re.fullmatch(r"python3(\.\d+)?", name):
        # Debian has one directory for all of its Pythons.
        same = glob.glob(f"{_SYSTEM}/{'python3.*' if name == 'python3' else name}")
    for directory in (parent, *sorted(same)):
        path = os.path.join(directory, _MANAGED)
        if os.path.lexists(path):
            msg = (
                f"externally-managed-environment: {_reason(path, directory)} "
                "You can override this, at the risk of breaking your Python "
                "installation or OS, by passing --break-system-packages."
            )
            raise EnableRefusedError(msg)


def _reason(path: str, directory: str) -> str:
    """Return the words of the distributor, or those of pip."""
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, KeyError, ValueError, configparser.Error):
        parser.read(path, encoding="utf-8")
        return parser["externally-managed"]["Error"].strip()
    return (
        f"The Python environment under {directory} is managed externally, and may "
        "not be manipulated by the user. Please use specific tooling from the "
        "distributor of the Python installation to interact with this environment "
        "instead."
    )


def check_trusted(name: str, directory: str | None, site_packages: str) -> None:
    """Refuse to let a pip run code that another user can change."""
    if directory is None:
        msg = (
            f"{name} is missing where this pip-linkmode runs. "
            f"Run: {sys.executable} -m pip install {name}"
        )
        raise EnableRefusedError(msg)
    if not hasattr(os, "geteuid"):  # pragma: no cover  # Windows
        return
    owner = os.stat(site_packages).st_uid
    package = os.path.join(directory, name.replace("-", "_"))
    for parent, _, files in os.walk(package):
        weak = weak_directory(os.path.join(parent, "__init__.py"), owners=[owner])
        if weak is not None:
            msg = (
                f"another user can change {name}: {weak.path} {weak.reason}. "
                f"Run: `{weak.remedy}`"
            )
            raise EnableRefusedError(msg)
        trusted = os.stat(parent)
        for path in (os.path.join(parent, file) for file in files):
            # A link that leads nowhere, as of an editor, is not loaded.
            if os.path.exists(path) and not _is_as_safe(
                os.stat(path), trusted, {0, os.geteuid(), owner}
            ):
                msg = f"another user can change {name}: {path} is writable by others"
                raise EnableRefusedError(msg)


def _is_as_safe(
    status: os.stat_result, trusted: os.stat_result, owners: set[int]
) -> bool:
    """Return whether only users that can write to a trusted directory can to a file."""
    if status.st_uid not in {*owners, trusted.st_uid} or status.st_mode & stat.S_IWOTH:
        return False
    groups = {trusted.st_gid} if trusted.st_mode & stat.S_IWGRP else set()
    return not status.st_mode & stat.S_IWGRP or status.st_gid in groups


def problems_of_pip(site_packages: str) -> list[str]:
    """Return why the pip of an environment links nothing even if it is enabled."""
    found = version_in(site_packages, "pip")
    if found is None:
        return [f"{site_packages} has no pip, so nothing will be linked until it has"]
    with contextlib.suppress(InvalidVersion):
        if Version(found) < _OLDEST_PIP:
            warning = (
                f"pip {found} in {site_packages} is too old to link anything; "
                f"upgrade it to {_OLDEST_PIP} or newer"
            )
            return [warning]
    return []


def version_in(site_packages: str, name: str) -> str | None:
    """Return the version of a distribution, by its name; ``None`` if it is missing."""
    for one in distributions(site_packages):
        if canonicalize_name(one.name) == name:
            return one.version
    return None
