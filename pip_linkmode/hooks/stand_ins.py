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
                if entry is not None and entry.wheel == name:
                    return entry
        return None

    def _stores(self) -> list[Store]:
        """Return the stores that the installation will search."""
        if self._opened is None:
            settings, stores = self._settings, []
            # A store is made when it gets its first entry.
            for root in filter(os.path.isdir, settings.stores):
                with contextlib.suppress(StoreRefusedError):
                    store = Store.open(root, trust_group=settings.trust_group)
                    stores.append(store)
            self._opened, _ = arrange(
                stores,
                settings.destination,
                any_file_system=settings.mode in ("symlink", "copy"),
                umask=current_umask(),
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
            with zipfile.ZipFile(path, "w") as archive:
                # Installers take members in this order.
                archive.writestr(MEMBER, b"")
                for name in ("METADATA", "WHEEL"):
                    archive.writestr(f"{entry.dist_info}/{name}", _read(entry, name))
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


def _read(entry: Entry, name: str) -> bytes:
    """Return a file of the dist-info directory, if it is as the wheel had it."""
    path = f"{entry.dist_info}/{name}"
    content = entry.read(path)
    expected = next(file.sha256 for file in entry.files if file.path == path)
    if hashlib.sha256(content).hexdigest() != expected:
        msg = f"{entry.source(path)} is not as it was written"
        raise EntryDamagedError(msg)
    return content
