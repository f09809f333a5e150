"""Put links, or copies, into the places of files, by renames.

At any moment each file is whole: the old one or the new one.  Temporary files of a
killed process have names that begin with :data:`pip_linkmode.files.TEMPORARY`.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pip_linkmode.errors import LinkmodeError
from pip_linkmode.files import TEMPORARY, file_digest, file_stamp, open_regular
from pip_linkmode.link.attributes import give, preserved_xattrs, without_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from pip_linkmode.link.linker import Linker
    from pip_linkmode.link.primitives import Link


class NothingSharedError(LinkmodeError):
    """Only copying is possible, which would share nothing."""


def refuse_copy(link: Link) -> None:
    """Raise instead of copying: the "copy" of linkers that must share.

    :raises NothingSharedError: always
    """
    raise NothingSharedError(link.target)


class ConcurrentChangeError(LinkmodeError):
    """Another process has written to a file."""


@contextlib.contextmanager
def _as_it_is(path: str) -> Iterator[str]:
    yield path


class Replacer:
    """Puts links into the places of files, by renames."""

    def __init__(self, linker: Linker) -> None:
        """Choose a name for temporary files.

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
        owner: tuple[int, int] | None = None,
        hold: Callable[[str], AbstractContextManager[str]] = _as_it_is,
    ) -> str:
        """Put a link into the place of its target; return the primitive.

        :param old: the status of the file at the target, if there is one
        :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
        :param sha256: the digest that the content must have, hexadecimal
        :param owner: user and group of the new file, if its content differs from that
            of the old one: privileges of the old file are not given to it then
        :param hold: a context manager that turns the target into a path that another
            process cannot lead elsewhere
        :raises ConcurrentChangeError: if the target or the source was changed
        :raises NothingSharedError: if the linker has a primitive that raises it
        :raises OSError: if it cannot be linked or replaced
        """
        with hold(link.target) as target:
            beside = os.path.join(os.path.dirname(target), self._name)
            try:
                created = link._replace(target=beside)
                used = self.linker.link(
                    [created],
                    mode=mode,
                    store=store,
                    target_root=target_root,
                    created=[],
                )
                (primitive,) = used
                if sha256 is not None:
                    _check_digest(beside, sha256, link.source)
                # Before the new file gets anything that its bytes may not deserve.
                _check_stamp(link.target, target, old)
                if primitive in _PRIVATE:
                    _dress(beside, link.wanted, target, old, owner)
                _check_stamp(link.target, target, old)
                os.replace(beside, target)
            except OSError as error:
                if error.filename in (beside, target):
                    error.filename = link.target
                raise
            finally:
                # A rename between two names of one inode leaves both (rename(2)).
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(beside)
        return primitive


_PRIVATE = ("clone", "copy", "empty")
"""Primitives that make a file with an inode of its own."""


def _check_digest(path: str, sha256: str, source: str) -> None:
    with open_regular(path, follow=False) as file:
        if file_digest(file) != sha256:
            msg = f"{source} was changed by another process"
            raise ConcurrentChangeError(msg)


def _check_stamp(name: str, path: str, old: os.stat_result | None) -> None:
    if old is not None and file_stamp(os.lstat(path)) != file_stamp(old):
        msg = f"{name} was changed by another process"
        raise ConcurrentChangeError(msg)


def _dress(
    path: str,
    mode: int,
    replaced: str,
    old: os.stat_result | None,
    owner: tuple[int, int] | None,
) -> None:
    """Give a new file the owner, mode and attributes that it must have."""
    carried = preserved_xattrs(replaced) if old is not None else {}
    if owner is not None:
        mode, carried = without_privileges(mode, carried)
    elif old is not None:
        owner = old.st_uid, old.st_gid
    else:
        return
    give(path, mode, owner, carried)
