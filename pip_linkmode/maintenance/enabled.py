"""The list of the environments that this user has enabled, in the state directory."""

from __future__ import annotations

import json
import os

from pip_linkmode.files import TEMPORARY, lock_directory, read_regular, unlock

_NAME = "enabled.json"
_LARGEST = 16 << 20
"""Bytes of the list."""


def _directory() -> str:
    # XDG base directory specification: a relative path is invalid.
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "pip-linkmode")


def listed() -> list[str]:
    """Return the site-packages directories of all environments in the list.

    :returns: absolute paths; an environment may have been deleted or disabled since
    """
    try:
        found = json.loads(read_regular(os.path.join(_directory(), _NAME), _LARGEST))
    except (OSError, ValueError):
        return []
    paths = found if isinstance(found, list) else []
    return [one for one in paths if isinstance(one, str)]


def add(site_packages: str) -> None:
    """Put an environment into the list.

    :param site_packages: absolute path of its site-packages directory
    :raises OSError: if the list cannot be written
    """
    if site_packages not in listed():
        _change(site_packages, is_enabled=True)


def remove(site_packages: str) -> None:
    """Take an environment off the list.

    :param site_packages: absolute path of its site-packages directory
    :raises OSError: if the list cannot be written
    """
    if site_packages in listed():
        _change(site_packages, is_enabled=False)


def _change(site_packages: str, *, is_enabled: bool) -> None:
    directory = _directory()
    os.makedirs(directory, mode=0o700, exist_ok=True)
    lock = lock_directory(directory)
    try:
        paths = (
            {*listed(), site_packages} if is_enabled else {*listed()} - {site_packages}
        )
        beside = os.path.join(directory, TEMPORARY + os.urandom(8).hex())
        with open(beside, "x", encoding="utf-8") as file:
            json.dump(sorted(paths), file, indent=1)
        os.replace(beside, os.path.join(directory, _NAME))
    finally:
        unlock(lock)
