"""By which chain of primitives each file of an entry is linked.

A mode is what was asked for; a few files need another chain, whoever links them:
an installation, or ``pip-linkmode relink``.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from pip_linkmode.link.linker import Linker
    from pip_linkmode.link.primitives import Link


class Place(NamedTuple):
    """A file to be linked, and the directory of the scheme that it is in."""

    area: str
    link: Link


def by_chain(
    places: Collection[Place], *, project: str, library: str, mode: str, linker: Linker
) -> dict[tuple[str, str], list[Link]]:
    """Group the files of one distribution by chain and area.

    :param places: what to link; the areas exist
    :param project: normalized name
    :param library: the directory that holds the dist-info
    :param mode: what was asked for, a key of :data:`pip_linkmode.link.linker.CHAINS`
    :param linker: is told of files that are not shared
    """
    if mode == "symlink" and project == "pip":
        # It resolves its own path to start its runner.
        mode = "private"
    chains = {}
    for area, count in Counter(area for area, _ in places).items():
        reason = why_not_shared(area) if mode != "copy" else None
        chains[area] = mode if reason is None else "own"
        if reason is not None:
            linker.exceptions[reason] += count
    groups: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for area, link in places:
        chain = chains[area]
        # pip's --target does not replace links that are directly in it.
        if chain == "symlink" and os.path.dirname(link.target) == library:
            chain = "private"
        groups[chain, area].append(link)
    return groups


def why_not_shared(directory: str) -> str | None:
    """Return why files of a directory need an inode of their own, if they do.

    New files get their group from a setgid directory, and their mode from a default
    ACL (:manpage:`acl(5)`); a shared inode has those of the store.

    :param directory: an absolute path that exists
    """
    status = os.stat(directory)
    setgid = status.st_mode & stat.S_ISGID
    if setgid and hasattr(os, "getegid") and status.st_gid != os.getegid():
        return "the directory gives its files its own group"
    if hasattr(os, "getxattr"):  # pragma: no branch  # Linux
        with contextlib.suppress(OSError):
            os.getxattr(directory, "system.posix_acl_default")
            return "the directory has a default ACL"
    return None
