"""Distinguish a moved environment from a deleted one."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import Counter
from typing import TYPE_CHECKING

from pip_linkmode.environments.environment import Environment

if TYPE_CHECKING:
    from collections.abc import Iterable

_WITNESS = "witness-"
NOT_YET = 0
"""The inode of a directory that is not there."""


def host_name() -> str:
    """Return the name of this host."""
    return socket.gethostname()


def location(site_packages: str) -> str:
    """Return a text that differs for two directories with one path: host and inode."""
    try:
        inode = os.stat(site_packages).st_ino
    except OSError:
        inode = NOT_YET
    return f"{host_name()}:{inode}"


def link_identity(directory: str, site_packages: str) -> None:
    """Make an identity link for each identity file of an environment, if possible."""
    present, is_new = set(), False
    for path, status in Environment(site_packages).identity_files.items():
        # A copy of the store has witnesses that are none: the inode does not match.
        name = f"{_WITNESS}{status.st_ino}"
        witness = os.path.join(directory, name)
        with contextlib.suppress(OSError):
            if not os.path.lexists(witness):
                os.link(path, witness, follow_symlinks=False)
                created, is_new = os.lstat(witness), True
                # BeeGFS fakes hard links; and elsewhere a link may be followed.
                if created.st_nlink == 1 or not os.path.samestat(created, status):
                    os.unlink(witness)
                    continue
            present.add(name)
    if present and is_new:
        with contextlib.suppress(OSError):
            for name in os.listdir(directory):
                if name.startswith(_WITNESS) and name not in present:
                    os.unlink(os.path.join(directory, name))


def identity_links(directory: str) -> list[os.stat_result]:
    """Return the status of each identity link of a registration.

    :param directory: absolute path of the registration
    """
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir(directory):
            if name.startswith(_WITNESS):
                status = os.lstat(os.path.join(directory, name))
                if name == f"{_WITNESS}{status.st_ino}":
                    found.append(status)
    return found


def inode_of(status: os.stat_result) -> tuple[int, int]:
    """Return device and inode of a file."""
    return status.st_dev, status.st_ino


def count_names(directories: Iterable[str]) -> Counter[tuple[int, int]]:
    """Count the names that files have as identity links, by device and inode.

    :param directories: absolute paths of directories of registrations; the same one
        under several paths counts once
    """
    found, counted = Counter[tuple[int, int]](), set()
    for directory in directories:
        with contextlib.suppress(OSError):
            identity = inode_of(os.stat(directory))
            if identity not in counted:
                counted.add(identity)
                for name in os.listdir(directory):
                    found.update(map(inode_of, identity_links(f"{directory}/{name}")))
    return found
