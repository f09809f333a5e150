"""Give private files the time of installation, as stock pip does.

``make``, ``ninja``, ``collectstatic`` and reloaders compare times: a file that is older
than its product is not looked at after an upgrade.  A shared inode has the time of its
entry.  A private source gets the new time only together with its bytecode, which has
the time of the source in its header (:pep:`552`).
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pip_linkmode.link.placement import Place


_FLAGS, _TIME, _CODE = 4, 8, 16
"""Where the parts of a ``.pyc`` begin."""


def renew(places: Iterable[Place], copies: Collection[str]) -> None:
    """Set the times of sources and bytecode that were both copied.

    :param places: files that were linked
    :param copies: absolute paths of those that are private
    :raises OSError: if a file is gone, or cannot be written to
    """
    now = time.time_ns()
    for _, link, _, source in places:
        if source in copies and link.target in copies:
            # Under an umask that takes the owner's permissions, the old times stay.
            with contextlib.suppress(PermissionError):
                _renew_bytecode(link.target, now)
                os.utime(source, ns=(now, now))


def _renew_bytecode(path: str, now: int) -> None:
    with open(path, "r+b") as file:
        flags = file.read(_CODE)[_FLAGS:_TIME]
        if not any(flags):  # it is not validated by a hash
            file.seek(_TIME)
            file.write((now // 10**9 & 0xFFFFFFFF).to_bytes(4, "little"))
    os.utime(path, ns=(now, now))
