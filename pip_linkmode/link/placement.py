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

    target_root: str
    link: Link


def by_chain(
    places: Collection[Place],
    *,
    project: str,
    site_packages: str,
    mode: str,
    linker: Linker,
) -> dict[tuple[str, str], list[Link]]:
    """Group the files of one distribution by chain and area.

    :param places: what to link; the areas exist
    :param project: normalized name
    :param site_packages: the directory that holds the dist-info
    :param mode: what was asked for, a key of :data:`pip_linkmode.link.linker.CHAINS`
    :param linker: is told of files that are not shared
    """
    if mode == "symlink" and project == "pip":
        # It resolves its own path to start its runner.
        mode = "no_symlink"
    chains = {}
    for target_root, count in Counter(target_root for target_root, _ in places).items():
        reason = why_not_shared(target_root) if mode != "copy" else None
        chains[target_root] = mode if reason is None else "no_shared_inode"
        if reason is not None:
            linker.exceptions[reason] += count
    groups: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for target_root, link in places:
        chain = chains[target_root]
        # pip's --target does not replace links that are directly in it.
        if chain == "symlink" and os.path.dirname(link.target) == site_packages:
            chain = "no_symlink"
        groups[chain, target_root].append(link)
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
