"""What environments and their stores take, together and each."""

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
    """What ``pip-linkmode usage`` says; bytes on the disk."""

    environments: list[Account]
    """Those that were asked for."""
    stores: list[Account]
    without: int
    """What all environments that are known would take, each by itself."""
    spent: int
    """What they and the stores take."""
    unreachable: list[str]
    """Known environments that are not there, or cannot be read."""

    @property
    def saved(self) -> int:
        """What links save; negative if the stores cost more than that."""
        return self.without - self.spent


def usage(
    stores: Sequence[Store],
    named: Sequence[str],
    on_progress: Callable[[], object] = lambda: None,
) -> Usage:
    """Measure environments, against all others that are known.

    :param named: paths as for
        :meth:`pip_linkmode.environments.environment.Environment.find`; all known
        environments if there are none
    :param on_progress: called whenever something is done
    :raises EnvironmentUnknownError: if one is none
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
    kept = [ledger.add(path, on_progress) for path in roots]
    accounts = [ledger.add(path, on_progress) for path in paths]
    ledger.settle(on_progress)
    return Usage(
        environments=[one for one in accounts if not asked or one.path in asked],
        stores=kept,
        without=sum(one.logical for one in accounts),
        spent=ledger.allocated,
        unreachable=sorted(unreachable),
    )
