"""Symlinks that programs cannot follow: the store is gone, or closed to other users."""

from __future__ import annotations

import os
import shlex
import sys
import sysconfig
from typing import TYPE_CHECKING

from pip_linkmode.environments.symlinks import dangling
from pip_linkmode.files import closed_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


def lost_packages() -> Iterator[str]:
    """Yield a warning for each store that is gone and that this environment needs.

    Without its store, a package is an empty namespace package: pip says "already
    satisfied", and ``pip check`` finds nothing.
    """
    directories = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    for site_packages in {os.path.realpath(path) for path in directories}:
        for store, count in dangling(site_packages).items():
            packages = (
                "1 package of this environment is a symlink"
                if count == 1
                else f"{count:,} packages of this environment are symlinks"
            )
            is_there = os.path.isdir(store)
            state = "lacks their files" if is_there else "does not exist"
            pip = f"{shlex.quote(sys.executable)} -m pip"
            yield (
                f"{packages} into {store}, which {state}. "
                f"{'Run' if is_there else 'Mount it, or run'}: "
                f"{pip} freeze > lost.txt && "
                f"{pip} install --force-reinstall --no-deps -r lost.txt"
            )


def why_unreachable(store: str, site_packages: str) -> str | None:
    """Return why other users of an environment cannot follow its symlinks, if so.

    :param store: absolute path
    :param site_packages: absolute path of the environment's site-packages directory
    """
    closed = closed_directory(store)
    if closed is None or closed_directory(site_packages) is not None:
        return None
    return (
        f"other users cannot reach {store}: {closed} has no search permission for "
        "them; set --link-store to a directory that they can reach"
    )
