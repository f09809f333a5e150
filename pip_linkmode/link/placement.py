"""Choose the chain of primitives by which each file of an entry is linked.

Installations and ``pip-linkmode relink`` share this table.  The first row that matches
a file decides; the last column is the order in which primitives are tried.

=====  ===============================================  ==============================
modes  file                                             chain
=====  ===============================================  ==============================
all    of an excluded project                           copy
all    configuration: below ``etc/`` (data scheme)      clone → copy; mode copy: copy
all    in a directory with a group or ACL of its own    clone → copy; mode copy: copy
other  any other file                                   that of the mode
sym    of pip, pip-linkmode, wrapt and packaging        hardlink → copy
sym    directly in site-packages                        hardlink → copy
sym    Python source or stub, shared library            symlink → hardlink → copy
sym    bytecode                                         hardlink → symlink → copy
sym    of a type that web servers deliver, or below a   hardlink → copy
       directory that they deliver (:data:`SERVED`)
sym    executable                                       hardlink → symlink → copy
sym    of 1 MiB and more                                symlink → hardlink → copy
sym    any other file                                   hardlink → copy
=====  ===============================================  ==============================

The reasons: configuration is changed in place by the programs that it belongs to
(``jupyter server extension disable``).  Web servers refuse a file whose real path is
outside of the served directory.  ``compileall -f`` refuses symlinked bytecode.  A
program looks for its neighbours beside its real path.  The projects that repair an
environment must not be lost with the store.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from pip_linkmode.link.linker import Linker
    from pip_linkmode.link.primitives import Link


REPAIRERS = frozenset({"packaging", "pip", "pip-linkmode", "wrapt"})
"""Projects that reinstall the others when a store is lost."""
LARGE = 1 << 20
"""Bytes from which a file that is not served is not worth a copy."""
SERVED_TYPES = (
    *("cjs", "js", "jsx", "map", "mjs", "ts", "tsx", "vue", "wasm"),  # .d.ts, too
    *("css", "less", "sass", "scss"),
    *("htm", "html", "shtml", "svg", "svgz", "xhtml", "xml", "xsl"),
    *("json", "json5", "jsonld", "geojson", "topojson", "webmanifest"),
    *("apng", "avif", "bmp", "cur", "gif", "heic", "ico", "jfif", "jpeg", "jpg", "jxl"),
    *("png", "tif", "tiff", "webp"),
    *("eot", "otf", "ttc", "ttf", "woff", "woff2"),
    *("aac", "flac", "m4a", "mid", "midi", "mp3", "oga", "ogg", "opus", "wav", "weba"),
    *("3gp", "avi", "m3u8", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ogv", "webm"),
    *("pdf", "vtt"),
)
"""Suffixes of files that web servers deliver; Python's own list differs by machine."""
SERVED_DIRECTORIES = (
    *("assets", "dist", "public", "share", "static", "www"),
    *("labextension", "labextensions", "nbextension", "nbextensions"),
)
SERVED = re.compile(
    rf"\.(?:{'|'.join(SERVED_TYPES)})(?:\.(?:br|gz))?\Z"
    rf"|(?:\A|/)(?:{'|'.join(SERVED_DIRECTORIES)})/",
    re.IGNORECASE,
)
IMPORTED = re.compile(r"\.(?:pyi?|pyd|dll|dylib|so(?:\.\d+)*)\Z", re.IGNORECASE)
"""Python sources and stubs, shared libraries."""
_STATE = re.compile(r"[^/]+\.data/data/etc/")


class Rule(NamedTuple):
    """One row of the table for symlink mode: a file matches if all of it does."""

    chain: str
    """A key of :data:`pip_linkmode.link.linker.CHAINS`."""
    path: re.Pattern[str] = re.compile("")
    """Searched in the path in the wheel."""
    mode: int = 0
    """Permission bits of which the file has one, if there are any."""
    size: int = 0
    """The least number of bytes."""

    def applies(self, path: str, link: Link) -> bool:
        """Return whether a file matches.

        :param path: path in the wheel
        """
        return (
            link.size >= self.size
            and (not self.mode or bool(link.mode & self.mode))
            and self.path.search(path) is not None
        )


SYMLINK_RULES = (
    Rule("symlink", IMPORTED),
    Rule("hardlink_or_symlink", re.compile(r"\.pyc\Z")),
    Rule("no_symlink", SERVED),
    Rule("hardlink_or_symlink", mode=0o111),
    Rule("symlink", size=LARGE),
    Rule("no_symlink"),
)
"""The chain of symlink mode for a file that no general rule covers."""


class Place(NamedTuple):
    """A file to be linked, and the directory of the scheme that it is in."""

    target_root: str
    link: Link
    path: str
    """Path in the wheel; of bytecode, that of its source with ``.pyc`` for ``.py``."""
    source: str = ""
    """Of bytecode from the store: absolute path of the installed source."""


def by_chain(
    places: Collection[Place],
    *,
    project: str,
    site_packages: str,
    mode: str,
    linker: Linker,
) -> dict[tuple[str, str], list[Link]]:
    """Group the files of one distribution by chain and target root.

    :param places: the files to link; the target roots exist
    :param project: normalized name
    :param site_packages: the directory that holds the dist-info
    :param mode: the effective mode, a key of
        :data:`pip_linkmode.link.linker.CHAINS`; ``copy`` for an excluded project
    :param linker: counts the files that are not shared
    """
    if mode == "symlink" and project in REPAIRERS:
        mode = "no_symlink"
    chains = {}
    for target_root, count in Counter(place.target_root for place in places).items():
        reason = why_not_shared(target_root) if mode != "copy" else None
        chains[target_root] = mode if reason is None else "no_shared_inode"
        if reason is not None:
            linker.exceptions[reason] += count
    groups: dict[tuple[str, str], list[Link]] = defaultdict(list)
    for target_root, link, path, _ in places:
        chain = chains[target_root]
        if chain != "copy" and is_state(path):
            chain = "no_shared_inode"
        elif chain == "symlink":
            # pip's --target does not replace links that are directly in it.
            is_module = os.path.dirname(link.target) == site_packages
            chain = "no_symlink" if is_module else _symlink_chain(path, link)
        groups[chain, target_root].append(link)
    return groups


def is_state(path: str) -> bool:
    """Return whether a file is configuration, which programs change in place.

    :param path: path in the wheel
    """
    return _STATE.match(path) is not None


def _symlink_chain(path: str, link: Link) -> str:
    return next(rule.chain for rule in SYMLINK_RULES if rule.applies(path, link))


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
