"""Remove files that early versions of ``enable`` put into an environment.

They linked the files of pip-linkmode and its requirements there, as distributions with
a RECORD and with ``pip-linkmode`` as the INSTALLER.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import Environment
from pip_linkmode.files import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pip_linkmode.environments.distribution import Distribution


LEFT_OVER = f"{TEMPORARY}enabled-"
"""Prefix of left-overs of a killed ``enable`` or ``disable``."""


def remove_copies(copied: list[Distribution]) -> list[Distribution]:
    """Remove the distributions that an early ``enable`` put into an environment.

    :param copied: all of them
    :returns: those that were removed; the rest is needed by others
    :raises OSError: if a RECORD cannot be read, or the environment cannot be written
    :raises RecordInvalidError: if a RECORD cannot be parsed
    """
    removed: list[Distribution] = []
    here = distributions(copied[0].site_packages) if copied else []
    # pip-linkmode needs the other two, so it is the first.
    while free := [one for one in copied if not any(_needs(o, one) for o in here)]:
        for one in free:
            _remove(one)
        removed += free
        here, copied = ([o for o in all_ if o not in free] for all_ in (here, copied))
    return removed


def _needs(distribution: Distribution, other: Distribution) -> bool:
    try:
        lines = distribution.text("METADATA").splitlines()
    except FileNotFoundError:
        return False
    except OSError:  # unknown: keep files that it may need
        return True
    names = re.findall(r"^Requires-Dist: *([\w.-]+)", "\n".join(lines), re.MULTILINE)
    return canonicalize_name(other.name) in map(canonicalize_name, names)


def _remove(distribution: Distribution) -> None:
    """Remove the files of a distribution: first its start files, last its dist-info."""
    site_packages = distribution.site_packages
    info = os.path.join(site_packages, distribution.dist_info)
    is_inside = Environment(site_packages).covers
    paths = [
        row.path
        for row in distribution.rows()
        if not row.path.startswith(os.path.join(info, ""))
    ]
    paths.sort(key=lambda path: not path.endswith((".pth", ".start")))
    for path in paths:
        for one in filter(is_inside, (path, *bytecode_of(path))):
            unlink(site_packages, one)
    for directory in sorted(filter(is_inside, _directories(paths, site_packages)))[
        ::-1
    ]:
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    beside = os.path.join(site_packages, f"{LEFT_OVER}{os.urandom(8).hex()}")
    os.rename(info, beside)
    shutil.rmtree(beside)


def unlink(site_packages: str, path: str) -> bool:
    """Remove a file of an environment; return whether it was there.

    A file that a link to a directory leads out to stays.

    :param path: absolute path
    """
    environment = Environment(site_packages)
    with contextlib.suppress(FileNotFoundError):
        if environment.contains(path):
            with environment.hold(path) as held:
                os.unlink(held)
            return True
    return False


def bytecode_of(path: str) -> list[str]:
    """Return the cached bytecode of a module, of all interpreters.

    :param path: absolute path of its source
    """
    if not path.endswith(".py"):
        return []
    directory, name = os.path.split(path)
    cache = os.path.join(glob.escape(directory), "__pycache__")
    return glob.glob(os.path.join(cache, f"{glob.escape(name[:-3])}.*.pyc"))


def _directories(paths: Iterable[str], site_packages: str) -> set[str]:
    """Return the directories below site-packages that hold some files."""
    found = set()
    for path in paths:
        directory = os.path.dirname(path)
        while directory.startswith(os.path.join(site_packages, "")):
            found |= {directory, os.path.join(directory, "__pycache__")}
            directory = os.path.dirname(directory)
    return found
