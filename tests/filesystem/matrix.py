"""What each pair of file systems can do, seen by looking at the files.

``python3 -m tests.filesystem.matrix`` prints the table, as root, and ``--write
docs/filesystems.md`` puts it between two marks in that file.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import struct
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from tests.filesystem import mounts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MODES = ("auto", "clone", "hardlink", "symlink", "copy")
MARKS = ("<!-- matrix -->", "<!-- /matrix -->")
_FS_IOC_FIEMAP = 0xC020660B
_SYNC, _SHARED = 0x1, 0x2000
_EXTENTS = 64
_HEADER, _EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")

Results = dict[tuple[str, str], tuple[str, ...]]
"""What each of :data:`MODES` made, by the names of store and target."""


def shared_extents(path: str | Path) -> set[tuple[int, int, int]]:
    """Return the extents of a file that another file has too (ioctl_fiemap(2)).

    :returns: where in the file, where on the disk, and how long; nothing on a file
        system that does not tell
    """
    request = bytearray(_HEADER.size + _EXTENTS * _EXTENT.size)
    _HEADER.pack_into(request, 0, 0, 2**64 - 1, _SYNC, 0, _EXTENTS, 0)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, _FS_IOC_FIEMAP, request)
    except OSError:
        return set()
    finally:
        os.close(descriptor)
    count = _HEADER.unpack_from(request)[3]
    extents = _EXTENT.iter_unpack(request[_HEADER.size :][: count * _EXTENT.size])
    return {extent[:3] for extent in extents if extent[5] & _SHARED}


def seen(source: Path, target: Path) -> str:
    """Tell by which primitive a target was made from a source."""
    if target.is_symlink():
        assert os.readlink(target) == str(source)
        return "symlink"
    if os.path.samestat(source.lstat(), target.lstat()):
        assert target.lstat().st_nlink > 1
        return "hardlink"
    assert target.lstat().st_nlink == 1
    # A copy of bytecode holds the time of its own source (PEP 552).
    header = slice(8, 12) if source.suffix == ".pyc" else slice(0)
    here, there = bytearray(target.read_bytes()), bytearray(source.read_bytes())
    del here[header], there[header]
    assert here == there
    extents = shared_extents(target)
    return "clone" if extents and extents == shared_extents(source) else "copy"


def sources(name: str, place: Path) -> Iterator[Path]:
    """Yield as many files as are wanted, none of them linked before.

    :param name: of the file system of the store
    :param place: where it is
    """
    if name in mounts.PUBLISHED:
        # A lower layer's file is copied up when it is linked, and then is none.
        yield from sorted((place / "files").iterdir())
        return
    directory = Path(tempfile.mkdtemp(prefix="store-", dir=place))
    number = 0
    while True:
        path = directory / str(number)
        path.write_bytes(os.urandom(64 << 10))
        yield path
        number += 1


def link(mode: str, source: Path, target: Path) -> str:
    """Link one file in a mode and return the primitive that made it."""
    status = source.stat()
    bits = status.st_mode & 0o777
    one = Link(str(source), str(target), status.st_size, status.st_mtime_ns, bits, bits)
    used = Linker().link(
        [one],
        mode=mode,
        store=str(source.parent),
        target_root=str(target.parent),
        created=[],
    )
    (said,) = used
    created = seen(source, target)
    assert said == created, f"{mode}: said to be a {said}, is a {created}"
    return created


def observe(places: Mapping[str, Path]) -> Results:
    """Link between all pairs of file systems in all modes.

    :param places: by name, all of :data:`tests.filesystem.mounts.NAMES`
    """
    results: Results = {}
    target_roots = {
        name: Path(tempfile.mkdtemp(prefix="target-", dir=places[name]))
        for name in mounts.WRITABLE
    }
    for store in mounts.NAMES:
        files = sources(store, places[store])
        for target, target_root in target_roots.items():
            results[store, target] = tuple(
                link(mode, next(files), target_root / f"{store}-{mode}")
                for mode in MODES
            )
    for target_root in target_roots.values():
        shutil.rmtree(target_root)
    return results


def table(results: Results) -> str:
    """Return a table of what was seen; the most common outcome has the last row."""
    names = {**mounts.WRITABLE, **mounts.PUBLISHED}
    (usual, _), *_ = Counter(results.values()).most_common()
    lines = [
        f"| store | target | {' | '.join(f'`{mode}`' for mode in MODES)} |",
        f"|{'---|' * (len(MODES) + 2)}",
    ]
    for (store, target), outcome in results.items():
        if outcome != usual:
            row = (names[store], names[target], *outcome)
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join([*lines, f"| any other pair | | {' | '.join(usual)} |"])


def written(path: Path) -> str:
    """Return the table that stands in a file."""
    text = path.read_text(encoding="utf-8")
    return text.partition(MARKS[0])[2].partition(MARKS[1])[0].strip()


def write(path: Path, text: str) -> None:
    """Put a table between the marks of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    between = f"{MARKS[0]}\n{text}\n{MARKS[1]}"
    path.write_text(f"{before}{between}{after}", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    options = parser.parse_args()
    mounts.enter_private_namespace()
    with tempfile.TemporaryDirectory(prefix="pip-linkmode-") as directory:
        try:
            text = table(observe(mounts.make(Path(directory))))
        finally:
            mounts.unmount(Path(directory))
    print(text)
    if options.write:
        write(options.write, text)


if __name__ == "__main__":
    main()
