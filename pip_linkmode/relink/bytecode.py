"""The bytecode that is replaced together with its source."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from typing import TYPE_CHECKING

from pip_linkmode.environments.layout import bytecode_targets
from pip_linkmode.files import open_regular
from pip_linkmode.link.primitives import Link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pip_linkmode.environments.layout import Layout, Target
    from pip_linkmode.relink.survey import InstalledDistribution
    from pip_linkmode.store.bytecode import Bytecode

_STALE = "have bytecode that would be stale"
_FLAGS = slice(4, 8)
"""Of a ``.pyc``: not zero if a hash validates it (:pep:`552`)."""


def installed_bytecode(
    member: InstalledDistribution, layout: Layout
) -> dict[Target, str]:
    """Return the bytecode to replace with its source: absolute paths by source."""
    python = member.environment.interpreter
    if python is None:
        return {}
    return {
        target: path
        for target, path, _ in bytecode_targets(layout, python.cache_tag)
        if target.path in member.files
        and member.environment.contains(path)
        and _is_stamped(path)
    }


def bytecode_links(
    member: InstalledDistribution,
    layout: Layout,
    found: Mapping[Target, str],
    compiled: Bytecode | None,
) -> dict[str, Link | str]:
    """Return the links that replace bytecode, by absolute path of the source.

    :param found: see :func:`installed_bytecode`
    :param compiled: the bytecode of the entry; ``None`` if it cannot be made
    :returns: instead of a link, a text: the reason why source and bytecode stay
    """
    if member.environment.interpreter is None:
        reason = f"{_STALE}, since the interpreter does not answer"
        sources = (one.path for one in layout.linked if one.path.endswith(".py"))
        return {path: reason for path in sources if _has_bytecode(path)}
    if compiled is None:
        return {one.path: f"{_STALE}, since it cannot be made" for one in found}
    links: dict[str, Link | str] = {}
    for target, path in found.items():
        pyc = compiled.files.get(target.file.path)
        if pyc is None:
            links[target.path] = f"{_STALE}, since they do not compile"
            continue
        wanted = pyc.mode
        with contextlib.suppress(FileNotFoundError):  # a link that dangles
            wanted = stat.S_IMODE(os.stat(path).st_mode)
        source = compiled.source(target.file.path)
        link = Link(source, path, pyc.size, pyc.mtime_ns, pyc.mode, wanted)
        links[target.path] = link
    return links


def _is_stamped(pyc: str) -> bool:
    """Return whether bytecode is there, and its source's mtime validates it."""
    try:
        with open_regular(pyc) as file:
            return not any(file.read(_FLAGS.stop)[_FLAGS])
    except OSError:
        return os.path.lexists(pyc)


def _has_bytecode(source: str) -> bool:
    """Return whether a file has bytecode of any interpreter."""
    directory, name = os.path.split(source)
    pattern = os.path.join(
        glob.escape(directory), "__pycache__", glob.escape(name[:-3])
    )
    return bool(glob.glob(f"{pattern}.*.pyc"))
