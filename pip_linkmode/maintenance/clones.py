"""Count extents that several files share, on file systems that clone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.files import allocated
from pip_linkmode.link.filesystems import extents

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

Inode = list[int]
"""Bytes on the disk, names in all, a bit for each tree that has one, names seen."""
_LEAST = 4096
"""The smallest size of a compressed extent, in bytes."""


class Part(NamedTuple):
    """Where a part of a file is on the disk."""

    start: int
    end: int
    size: int
    """Bytes of content."""
    inode: Inode
    is_shared: bool
    """Whether the file system marks it as shared."""


class Region(NamedTuple):
    """A region of the disk, with the files that it belongs to."""

    size: int
    """Bytes."""
    inodes: Sequence[Inode]
    is_held: bool
    """Whether a file outside of the trees shares it."""


def parts_of(path: str, status: os.stat_result, inode: Inode) -> tuple[int, list[Part]]:
    """Return the bytes that only this file can have, and the parts that it may share.

    :param path: absolute path of a file
    :param status: of that file
    :param inode: its account
    """
    known = extents(path)
    if known is None:
        return allocated(status), []
    own, found = 0, []
    for start, length, is_compressed, is_shared in known:
        if start is None:  # in the metadata
            own += min(status.st_size, length)
        else:
            end = start + (_LEAST if is_compressed else length)
            found.append(Part(start, end, length, inode, is_shared))
    return own, found


def regions(parts: Sequence[Part]) -> Iterator[Region]:
    """Divide the disk at the borders of all parts; yield each region that is in use.

    :param parts: of all files
    """
    borders = [(part.start, True, n) for n, part in enumerate(parts)]
    borders += [(part.end, False, n) for n, part in enumerate(parts)]
    borders.sort()
    present: dict[int, None] = {}
    partners: dict[int, list[Inode]] = {}
    alone: list[tuple[int, int]] = []
    last = 0
    for position, begins, index in borders:
        if present and position > last:
            first = parts[next(iter(present))]
            scale = first.size / (first.end - first.start)
            size = round((position - last) * scale)
            if len(present) == 1 and first.is_shared:
                alone.append((next(iter(present)), size))
            else:
                inodes = [parts[one].inode for one in present]
                partners.update(dict.fromkeys(present, inodes))
                yield Region(size, inodes, is_held=False)
        last = position
        if begins:
            present[index] = None
        else:
            del present[index]
    for index, size in alone:
        # An extent marked shared but seen in one file only: count it with the file that
        # shares its neighbours.  If there is none, a file outside of the trees has it.
        inodes = partners.get(index, [parts[index].inode])
        yield Region(size, inodes, is_held=index not in partners)
