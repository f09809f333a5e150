"""Find intact files that have the digests of damaged ones."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from pip_linkmode.environments.symlinks import is_stored
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import open_regular
from pip_linkmode.store.layout import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.maintenance.verify import Verification

    Offer = tuple[str, int | None, str, Environment | None]
    """A digest, a size if it is known, a path, and the environment that has it."""


def find_intact(found: Verification, wanted: set[str]) -> dict[str, str]:
    """Find intact files in stores, then in environments.

    :param found: the verification; its environments are searched
    :param wanted: digests, hexadecimal
    :returns: absolute paths by digest
    """
    intact: dict[str, str] = {}
    if not wanted:
        return intact
    for sha256, size, path, site in (*_in_stores(found), *_in_environments(found)):
        if sha256 not in wanted or sha256 in intact:
            continue
        with contextlib.suppress(OSError):
            if size not in (None, os.lstat(path).st_size):
                continue
            with (
                open_regular(path, follow=False) if site is None else site.open(path)
            ) as file:
                # A file that is new since the verification has another inode.
                if found.findings.digest(file) == sha256:
                    intact[sha256] = path
    return intact


def _in_stores(found: Verification) -> Iterator[Offer]:
    for store in found.stores:
        for path in store.entries():
            with contextlib.suppress(EntryDamagedError, OSError):
                entry = store.entry(os.path.basename(path))
                for file in entry.files if entry is not None else ():
                    source = f"{path}/{FILES}/{file.path}"
                    yield file.sha256, file.size, source, None


def _in_environments(found: Verification) -> Iterator[Offer]:
    """Yield files of environments, without those outside of their environment."""
    for site, installed in found.distributions.items():
        for one in installed:
            for row in found.rows(site, one):
                if row.sha256 is None or not site.contains(row.path):
                    continue
                path = row.path
                if os.path.islink(path):
                    path = os.path.realpath(path)
                    if not is_stored(path):
                        continue
                yield row.sha256, row.size, path, site
