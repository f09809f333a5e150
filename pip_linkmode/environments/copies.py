"""Register environments that were copied.

A copy of an environment (``cp -a``, a snapshot, a restored backup) has symlinks into a
store that does not know it.  It is registered when it is used.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict

from pip_linkmode.environments.register import is_registered, register_all
from pip_linkmode.environments.symlinks import entry_behind, sample_symlinks
from pip_linkmode.environments.users import entries_of_symlinks
from pip_linkmode.errors import RecordInvalidError, StoreRefusedError
from pip_linkmode.store.layout import LAYOUT
from pip_linkmode.store.store import Store


def register_copy(site_packages: str) -> None:
    """Register an environment in each store to which its symlinks lead.

    One symlink of each package is looked at; if its entry is known to be used by the
    environment, nothing is written.  A store that cannot be written, or may not be
    trusted, is passed over.

    :param site_packages: absolute path of its site-packages directory
    """
    with contextlib.suppress(OSError):
        sampled: dict[str, set[str]] = defaultdict(set)
        for link in sample_symlinks(site_packages):
            found = entry_behind(link)
            if found is not None:
                sampled[found[0]].add(found[1])
        for root, sha256s in sampled.items():
            if not os.path.isdir(os.path.join(root, LAYOUT)) or all(
                is_registered(root, site_packages, sha256, "symlink")
                for sha256 in sha256s
            ):
                continue
            with contextlib.suppress(OSError, StoreRefusedError, RecordInvalidError):
                # Nothing is imported from it here, so its group may write to it.
                store = Store.open(root, trust_group=True)
                everything = entries_of_symlinks(store.root, site_packages)
                register_all(store.root, site_packages, everything, "symlink")
