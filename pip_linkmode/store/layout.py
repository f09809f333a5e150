"""Names and directories of a store on the disk."""

from __future__ import annotations

import os

LAYOUT = "v1"
_DIRECTORIES = ("wheels", "bytecode", "staging", "environments", "projects")
PARTS = (LAYOUT, *(f"{LAYOUT}/{name}" for name in _DIRECTORIES))
"""The directories of a store, in the order in which they are made."""
DIGEST = 64
"""Length of a sha256, hexadecimal."""
TAG = """\
Signature: 8a477f597d28d172789f06886806bc55
# This directory is a cache of pip-linkmode. See https://bford.info/cachedir/
# Environments installed with --link-mode symlink need it.
"""


def directories_in(path: str) -> list[str]:
    """Return the absolute paths of the directories in a directory, by name."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.path for e in entries if e.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def entry_path(root: str, sha256: str) -> str:
    """Return the absolute path of an entry, whether it exists or not.

    :param root: absolute path of the store
    """
    return os.path.join(root, LAYOUT, "wheels", sha256[:2], sha256)


MANIFEST = "manifest.json"
FILES = "files"
BYTECODE = "bytecode"
DIRECTORY = os.path.join(LAYOUT, "environments")
PROJECTS = os.path.join(LAYOUT, "projects")
