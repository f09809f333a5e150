"""Measure the disk space of environments and their stores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.registry import registrations, states
from pip_linkmode.maintenance.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pip_linkmode.maintenance.ledger import Account
    from pip_linkmode.store.store import Store


@dataclass(frozen=True)
class Usage:
    """The result of ``pip-linkmode usage``, in bytes on the disk."""

    environments: list[Account]
    """Those that were asked for."""
    stores: list[Account]
    without: int
    """The space of these environments without links."""
    spent: int
    """The space that they and the stores take."""
    needed_by: dict[str, list[str]]
    """By store, the known environments with symlinks into it."""
    others: int
    """How many known environments are not among them."""
    unreachable: list[str]
    """Known environments that are not there, or cannot be read."""

    @property
    def saved(self) -> int:
        """The space that links save; negative if the stores take more."""
        return self.without - self.spent


def usage(
    stores: Sequence[Store],
    named: Sequence[str],
    on_progress: Callable[[str, float], object] = lambda *_: None,
) -> Usage:
    """Measure environments, against all others that are known.

    :param named: paths as for
        :meth:`pip_linkmode.environments.environment.Environment.find`; all known
        environments if there are none
    :param on_progress: called with each path, and the share that is done
    :raises EnvironmentUnknownError: if a path is not an environment
    """
    asked = {one.path for path in named for one in Environment.find(path)}
    # By where it really is: two names make no two environments.
    known = {os.path.realpath(path): path for path in sorted(asked)}
    unreachable = set()
    for store in stores:
        registered = list(registrations(store.root, store.related_stores))
        for registration, state in zip(registered, states(registered), strict=True):
            if state == "present":
                path = registration.environment.path
                known.setdefault(os.path.realpath(path), path)
            elif state != "gone":
                unreachable.add(registration.site_packages or registration.directory)
    paths = sorted(known.values())
    roots = [store.root for store in stores]
    ledger = Ledger(roots, apart=(*roots, *paths))
    added = ledger.add_all([*roots, *paths], on_progress)
    kept, accounts = added[: len(roots)], added[len(roots) :]
    ledger.settle()
    shown = [one for one in accounts if not asked or one.path in asked]
    return Usage(
        environments=shown,
        stores=kept,
        without=sum(one.logical for one in shown),
        spent=ledger.allocated_by([*shown, *kept]),
        needed_by={
            root: [one.path for one in accounts if root in one.stores] for root in roots
        },
        others=len(accounts) - len(shown),
        unreachable=sorted(unreachable),
    )
