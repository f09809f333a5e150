"""Caches of network clients: see changes that other hosts made in the last minutes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pip_linkmode.environments.registry import Registration

CACHE_SECONDS = 120
"""How old the answer of a network client may be: sshfs 20, NFS up to 60."""


def is_there_now(path: str) -> bool:
    """Return whether a file exists, and set its time to now.

    A client answers a look from its cache, but not a change of the time.

    :param path: absolute path; a link is not followed
    """
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:  # a store that we may not write to
        return os.path.lexists(path)
    return True


def recent_entries(registration: Registration) -> set[str]:
    """Return the entries that were linked by symlinks within the last minutes.

    A client may list the environment as it was before.  Both times are the server's:
    listings were refreshed (:func:`pip_linkmode.files.refresh_listing`), which sets the
    time of the directory.

    :raises OSError: if the registration cannot be listed
    """
    now = os.stat(registration.directory).st_mtime
    return {
        sha256
        for sha256 in registration.entries(depends=True)
        if now - os.lstat(registration.marker(sha256)).st_mtime < CACHE_SECONDS
    }
