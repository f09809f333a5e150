"""The small wheel that pip still installs itself, and the RECORD in it.

The installation of a wheel is divided in two.  The bulk is *linked* from
the store.  The rest (metadata that pip reads or writes, scripts, which pip rewrites) is
packed into a *skeleton*, a wheel of a few kilobytes that is handed to pip's own
installer.  The skeleton's RECORD has a row for every file, as pip would have written
it, and pip passes rows through whose files it has not seen (pip
``_internal/operations/install/wheel.py``, ``get_csv_rows_for_installed``).
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from typing import TYPE_CHECKING

from pip_linkmode.errors import WheelDeclinedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pip_linkmode.environments.layout import Layout
    from pip_linkmode.store.entry import Entry


_SPECIAL = re.compile(r'[",\r\n]')
"""Characters that the csv module quotes."""


def record(text: str, layout: Layout, bytecode: Sequence[str]) -> str:
    """Return the RECORD of the skeleton.

    :param text: the RECORD of the wheel
    :param bytecode: RECORD paths of the ``.pyc`` files
    :raises WheelDeclinedError: if it is not one that can be passed on unchanged
    """
    if layout.plain and not _SPECIAL.search("".join(bytecode)):
        return "\n".join([*text.splitlines(), *(f"{path},," for path in bytecode), ""])
    rows = list(csv.reader(text.splitlines()))
    linked = {target.file.path: target.record for target in layout.linked}
    for row in rows:
        if not row:
            msg = "its RECORD has an empty row"
            raise WheelDeclinedError(msg)
        # As in pip, a second row of the same path is left as it is.
        row[0] = linked.pop(row[0], row[0])
    # Files that the wheel's RECORD does not list, and bytecode.
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

    :param path: where to write it; an existing file is replaced
    :param bytecode: RECORD paths of the ``.pyc`` files
    :raises WheelDeclinedError: if the RECORD cannot be passed on unchanged
    """
    record_path = f"{entry.dist_info}/RECORD"
    text = record(entry.read(record_path).decode(), layout, bytecode)
    with zipfile.ZipFile(path, "w") as archive:
        for file in layout.skeleton_files:
            info = zipfile.ZipInfo(file.path)
            # Executables are marked as pip looks for it; all else is by the umask.
            info.external_attr = (0o100755 if file.mode & 0o111 else 0o100644) << 16
            content = (
                text.encode() if file.path == record_path else entry.read(file.path)
            )
            archive.writestr(info, content)
