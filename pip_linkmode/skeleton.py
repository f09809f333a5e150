"""The small wheel that pip still installs itself, and the RECORD in it.

What a wheel's installation consists of is divided in two.  The bulk is *linked* from
the store.  The rest (metadata that pip reads or writes, scripts, which pip rewrites) is
packed into a *skeleton*, a wheel of a few kilobytes that is handed to pip's own
installer.  The skeleton's RECORD has a row for every file, as pip would have written
it, and pip passes rows through whose files it has not seen (pip
``_internal/operations/install/wheel.py``, ``get_csv_rows_for_installed``).

Destinations follow ``_install_wheel`` there, to the letter.
"""

from __future__ import annotations

import csv
import io
import os
import zipfile
from dataclasses import dataclass
from importlib.util import cache_from_source
from typing import TYPE_CHECKING

from pip_linkmode.errors import WheelDeclinedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pip_linkmode.store import Entry
    from pip_linkmode.wheel import StoredFile

WRITTEN_BY_PIP = frozenset(
    {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
    }
)
"""Files of the dist-info directory that pip reads from the wheel, or opens to write."""


@dataclass(frozen=True)
class Target:
    """Where one file is linked to."""

    file: StoredFile
    path: str
    """Absolute path."""
    record: str
    """Path in the installed RECORD, as pip writes it."""
    area: str
    """The directory of the scheme that it is in."""


@dataclass(frozen=True)
class Layout:
    """How the files of a wheel are divided, for one environment."""

    library: str
    """The directory that the root of the wheel goes to (purelib or platlib)."""
    linked: tuple[Target, ...]
    kept: tuple[StoredFile, ...]
    """What goes into the skeleton."""


def _record_path(path: str, library: str) -> str:
    # pip wheel.py, _fs_to_record_path
    if os.path.splitdrive(path)[0].lower() == os.path.splitdrive(library)[0].lower():
        path = os.path.relpath(path, library)
    return path.replace(os.path.sep, "/")


def lay_out(entry: Entry, scheme: Mapping[str, str]) -> Layout:
    """Decide where each file of a wheel goes.

    :param entry: the wheel
    :param scheme: directories by key (purelib, platlib, headers, scripts, data)
    :raises WheelDeclinedError: if two files have one destination, or pip would refuse
    """
    library = scheme["purelib" if entry.purelib else "platlib"]
    linked, kept = [], []
    taken: set[str] = set()
    for file in entry.files:
        top, _, rest = file.path.partition("/")
        record = file.path
        if top.endswith(".data") and rest:
            key, _, below = rest.partition("/")
            if key not in scheme or not below:
                msg = f"{file.path!r} belongs to no scheme"
                raise WheelDeclinedError(msg)
            area = scheme[key]
            path = os.path.join(area, below)
            if key == "scripts":
                kept.append(file)
            else:
                record = _record_path(path, library)
                linked.append(Target(file, path, record, area))
        else:
            area = library
            path = os.path.join(library, file.path)
            if top == entry.dist_info and rest in WRITTEN_BY_PIP:
                kept.append(file)
            else:
                linked.append(Target(file, path, record, area))
        path = os.path.normpath(path)
        if path in taken:
            msg = f"{path} is the destination of two of its files"
            raise WheelDeclinedError(msg)
        taken.add(path)
    if {target.record for target in linked} & {file.path for file in kept}:
        msg = "a file would take the place of its metadata"
        raise WheelDeclinedError(msg)
    return Layout(library, tuple(linked), tuple(kept))


def bytecode_target(layout: Layout, target: Target) -> tuple[str, str]:
    """Return where pip puts the ``.pyc`` of a linked ``.py``, and its RECORD path.

    The path is joined as pip joins it: ``sys.pycache_prefix`` mirrors it unresolved.
    """
    pyc = cache_from_source(os.path.join(layout.library, target.record))
    return pyc, _record_path(pyc, layout.library)


def record(text: str, layout: Layout, bytecode: Sequence[str]) -> str:
    """Return the RECORD of the skeleton.

    :param text: the RECORD of the wheel
    :param bytecode: RECORD paths of the ``.pyc`` files
    :raises WheelDeclinedError: if it is not one that can be passed on unchanged
    """
    rows = list(csv.reader(text.splitlines()))
    linked = {target.file.path: target.record for target in layout.linked}
    for row in rows:
        if not row:
            msg = "its RECORD has an empty row"
            raise WheelDeclinedError(msg)
        # As in pip, a second row of the same path is left as it is.
        row[0] = linked.pop(row[0], row[0])
    # Files that the wheel's RECORD does not list, and what was compiled.
    rows += [[path, "", ""] for path in (*linked.values(), *bytecode)]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    result = buffer.getvalue()
    if list(csv.reader(result.splitlines())) != rows:
        msg = "its RECORD does not survive being written"
        raise WheelDeclinedError(msg)
    return result


def pack(path: str, entry: Entry, layout: Layout, bytecode: Sequence[str]) -> None:
    """Write the skeleton.

    :param path: where to write it; what is there is replaced
    :param bytecode: RECORD paths of the ``.pyc`` files
    :raises WheelDeclinedError: if the RECORD cannot be passed on unchanged
    """
    record_path = f"{entry.dist_info}/RECORD"
    text = record(entry.read(record_path).decode(), layout, bytecode)
    with zipfile.ZipFile(path, "w") as archive:
        for file in layout.kept:
            info = zipfile.ZipInfo(file.path)
            # Executables are marked as pip looks for it; all else is by the umask.
            info.external_attr = (0o100755 if file.mode & 0o111 else 0o100644) << 16
            content = (
                text.encode() if file.path == record_path else entry.read(file.path)
            )
            archive.writestr(info, content)
