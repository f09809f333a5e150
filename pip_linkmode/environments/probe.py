"""Find out which link modes work from a store to a directory."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pip_linkmode.link.primitives import probe as probe_primitives
from pip_linkmode.store.layout import MANIFEST
from pip_linkmode.store.manifest import write_manifest

if TYPE_CHECKING:
    from pip_linkmode.store.store import Store


def probe(store: Store, directory: str) -> dict[str, str | None]:
    """Find out by which primitives files can be linked to a directory.

    :param store: a store
    :param directory: absolute path; nothing is left there
    :returns: see :func:`pip_linkmode.link.primitives.probe`; nothing if there is no
        file
    :raises OSError: if the store cannot be written
    """
    for entry in store.entries():
        with contextlib.suppress(OSError):
            return probe_primitives(os.path.join(entry, MANIFEST), directory)
    if not store.writable:
        return {}
    with store.staging() as staged:
        source = os.path.join(staged, MANIFEST)
        write_manifest(source, {})
        return probe_primitives(source, directory)
