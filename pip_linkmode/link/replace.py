"""Put links, or copies, into the places of files, by renames.

At any moment each file is whole: the old one or the new one.  What a process leaves
that is killed has a name that begins with :data:`pip_linkmode.files.TEMPORARY`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pip_linkmode.errors import LinkmodeError
from pip_linkmode.files import TEMPORARY, file_digest, file_stamp, open_regular
from pip_linkmode.link.attributes import copy_ownership, preserved_xattrs

if TYPE_CHECKING:
    from pip_linkmode.link.linker import Linker
    from pip_linkmode.link.primitives import Link


class NothingSharedError(LinkmodeError):
    """No primitive but copying is left, which would share nothing."""


def refuse_copy(link: Link) -> None:
    """Refuse to copy: a primitive for a linker that is to share or do nothing.

    :raises KeptError: always
    """
    raise NothingSharedError(link.target)


class ConcurrentChangeError(LinkmodeError):
    """Somebody has written to a file in the meantime."""


class Replacer:
    """Puts links into the places of files, by renames."""

    def __init__(self, linker: Linker) -> None:
        """Choose a name for what is not to stay.

        :param linker: makes the links
        """
        self.linker = linker
        self._name = TEMPORARY + os.urandom(8).hex()

    def replace(
        self,
        link: Link,
        old: os.stat_result | None,
        *,
        mode: str,
        store: str = "",
        target_root: str = "",
        sha256: str | None = None,
    ) -> str:
        """Put a link into the place of its target; return the primitive.

        :param old: the status of what is to be replaced, if there is something
        :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
        :param sha256: of what it has to be, hexadecimal, if who gives it is not trusted
        :raises ChangedError: if the target, or the source, is not what it was any more
        :raises KeptError: if the linker has a primitive that raises it
        :raises OSError: if it cannot be linked or replaced
        """
        beside = os.path.join(os.path.dirname(link.target), self._name)
        try:
            created = link._replace(target=beside)
            used = self.linker.link(
                [created], mode=mode, store=store, target_root=target_root, created=[]
            )
            (primitive,) = used
            if sha256 is not None:
                with open_regular(beside, follow=False) as file:
                    if file_digest(file) != sha256:
                        msg = f"{link.source} was changed in the meantime"
                        raise ConcurrentChangeError(msg)
            if old is not None:
                if primitive in ("clone", "copy", "empty"):
                    copy_ownership(
                        beside, link.wanted, old, preserved_xattrs(link.target)
                    )
                if file_stamp(os.lstat(link.target)) != file_stamp(old):
                    msg = f"{link.target} was changed in the meantime"
                    raise ConcurrentChangeError(msg)
            os.replace(beside, link.target)
        finally:
            # A rename between two names of one inode leaves both (rename(2)).
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
        return primitive
