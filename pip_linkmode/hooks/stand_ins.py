"""Write stand-ins: small wheels with the metadata of a wheel that a store has.

pip reads the metadata of a stand-in as that of any wheel.  No installer accepts it: its
first member leads out of the environment, and is refused before the first file is
written (pip ``_internal/operations/install/wheel.py``, ``assert_no_path_traversal``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from typing import TYPE_CHECKING

from pip_linkmode.errors import EntryDamagedError, StoreRefusedError
from pip_linkmode.files import current_umask
from pip_linkmode.store.selection import arrange
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from pip_linkmode.settings import Settings
    from pip_linkmode.store.entry import Entry

MEMBER = "../pip-linkmode-stand-in"
"""The first member of a stand-in."""
_READ_BY_PIP = ("METADATA", "WHEEL", "requires.txt")
"""Files of a dist-info directory that pip reads before it installs; wheels converted
from eggs have the last one."""


class StandIns:
    """The stand-ins for stored wheels, during one pip command."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._opened: list[Store] | None = None

    def entry(self, sha256: str, name: str) -> Entry | None:
        """Return the entry of a wheel, if it is in one of the stores.

        :param sha256: of the wheel, hexadecimal
        :param name: file name of the wheel
        """
        for store in self._stores():
            with contextlib.suppress(OSError, EntryDamagedError):
                entry = store.entry(sha256, remember=True)
                # The name holds version and tags; an adopted entry has none.
                if entry is not None and entry.wheel == name and not _is_pip(entry):
                    return entry
        return None

    def _stores(self) -> list[Store]:
        """Return the stores that the installation will search."""
        if self._opened is None:
            settings, stores = self._settings, []
            # A store is made when it gets its first entry.
            planned = [root for root in settings.stores if not os.path.isdir(root)]
            for root in filter(os.path.isdir, settings.stores):
                with contextlib.suppress(StoreRefusedError):
                    store = Store.open(root, trust_group=settings.trust_group)
                    stores.append(store)
            self._opened, _ = arrange(
                stores,
                settings.destination,
                any_file_system=settings.mode in ("symlink", "copy"),
                umask=current_umask(),
                planned=planned,
            )
        return self._opened

    @staticmethod
    def write(path: str, entry: Entry) -> bool:
        """Write a stand-in; leave nothing there if the entry is damaged.

        :param path: absolute path
        :param entry: the entry that it stands for
        :returns: whether it was written
        """
        try:
            # Installers take members in this order.
            members = {MEMBER: b""}
            for name in _READ_BY_PIP:
                member = f"{entry.dist_info}/{name}"
                if name != "requires.txt" or entry.lists(member):
                    members[member] = _read(entry, name)
            with zipfile.ZipFile(path, "w") as archive:
                for member, content in members.items():
                    # A name alone would get a date, which SOURCE_DATE_EPOCH may forbid.
                    archive.writestr(zipfile.ZipInfo(member), content)
        except (OSError, EntryDamagedError):
            with contextlib.suppress(OSError):
                os.unlink(path)
            return False
        return True

    @staticmethod
    def metadata(entry: Entry) -> bytes | None:
        """Return METADATA of an entry; ``None`` if it is damaged."""
        with contextlib.suppress(OSError, EntryDamagedError):
            return _read(entry, "METADATA")
        return None


def _is_pip(entry: Entry) -> bool:
    """Return whether it is pip, which cannot download while it replaces itself."""
    return entry.name.lower() == "pip"


def _read(entry: Entry, name: str) -> bytes:
    """Return a file of the dist-info directory, if it is as the wheel had it.

    :raises EntryDamagedError: if not, or in a store that was restored without times
    """
    path = f"{entry.dist_info}/{name}"
    if os.stat(entry.source(path)).st_mtime_ns != entry.mtime * 10**9:
        msg = f"{entry.source(path)} has another modification time"
        raise EntryDamagedError(msg)
    content = entry.read(path)
    expected = next(file.sha256 for file in entry.files if file.path == path)
    if hashlib.sha256(content).hexdigest() != expected:
        msg = f"{entry.source(path)} is not as it was written"
        raise EntryDamagedError(msg)
    return content
