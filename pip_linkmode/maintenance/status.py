"""Report whether pip links in an environment, its settings, and its stores."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.probe import probe
from pip_linkmode.environments.symlinks import dangling
from pip_linkmode.errors import StoreRefusedError
from pip_linkmode.files import file_system
from pip_linkmode.hooks.inspection import inspect
from pip_linkmode.link.linker import CHAINS
from pip_linkmode.maintenance.enable import unserved
from pip_linkmode.maintenance.ledger import measure
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.store.store import Store, check_is_store

if TYPE_CHECKING:
    from pip_linkmode.hooks.inspection import Hook
    from pip_linkmode.link.filesystems import Sharing
    from pip_linkmode.pip_config import EffectiveSettings


_MOMENT = 0.3
"""Seconds that the size of a store may take."""


@dataclass(frozen=True)
class StoreStatus:
    """One store, seen from one environment."""

    path: str
    problem: str | None
    """The reason why it cannot be used, in one sentence."""
    is_refused: bool
    """Whether pip cannot use it either; it makes one that does not exist yet."""
    file_system: str | None = None
    writable: bool = False
    entries: int = 0
    bytes: int = 0
    """On the disk."""
    is_estimate: bool = False
    """Whether only some entries were measured, since there are many."""
    modes: dict[str, str | None] = field(default_factory=dict)
    """By mode, why it does not work from here to the environment."""


@dataclass(frozen=True)
class Status:
    """The result of ``pip-linkmode status``."""

    environment: str
    site_packages: str
    file_system: str
    hook: Hook
    effective_settings: EffectiveSettings
    stores: list[StoreStatus]
    unserved: list[str]
    """Environments that this user has enabled and whose start file leads nowhere."""
    lost: dict[str, int]
    """By store that is gone, how many packages are symlinks into it."""

    @property
    def used(self) -> str | None:
        """Return the link mode of the next installation, if it is known."""
        mode = self.effective_settings.settings.mode
        for store in self.stores:
            for primitive in CHAINS.get(mode, ()) if store.modes else ():
                if store.modes[primitive] is None:
                    return primitive
        return None

    @property
    def problem(self) -> str | None:
        """Return why pip does not link as it was told to, as one sentence."""
        found = self.effective_settings
        if self.hook.problem or found.problem:
            return self.hook.problem or found.problem
        if found.settings.mode == "off":
            return f"the link mode is off (set by {found.sources['mode']})"
        refused = [one.problem for one in self.stores if one.is_refused]
        return found.settings.reason or next(iter(refused), None)


def status(environment: str | None, stores: str | None) -> Status:
    """Inspect an environment and the stores of its settings.

    :param environment: a path as for
        :meth:`pip_linkmode.environments.environment.Environment.find`; the running one
        if it is ``None``
    :param stores: path-separated, instead of those of the settings
    :raises EnvironmentUnknownError: if the path is not an environment
    :raises SettingsError: if a setting is invalid
    """
    found = Environment.find(environment or sys.prefix)[0]
    site_packages, prefix = found.site_packages, found.path
    here = environment is None
    force = effective_settings(prefix, stores)
    return Status(
        environment=prefix,
        site_packages=site_packages,
        file_system=file_system(site_packages),
        hook=inspect(sys.path if here else [site_packages], here=here),
        effective_settings=force,
        stores=[
            _store(path, site_packages, trust_group=force.settings.trust_group)
            for path in force.settings.stores
        ],
        unserved=unserved(),
        lost=dangling(site_packages),
    )


def _store(path: str, site_packages: str, *, trust_group: bool) -> StoreStatus:
    if not os.path.lexists(path):
        missing = "it does not exist yet"
        return StoreStatus(path, missing, is_refused=False)
    try:
        check_is_store(path)
        store = Store.open(path, trust_group=trust_group)
    except StoreRefusedError as error:
        return StoreStatus(path, str(error), is_refused=True)
    entries = store.entries()
    total, measured, deadline = 0, 0, time.monotonic() + _MOMENT
    known: dict[int, Sharing] = {}
    # They are in no order: the names are digests.
    for entry in entries:
        total += measure([entry], known).allocated
        measured += 1
        if time.monotonic() > deadline:
            break
    if measured < len(entries):
        total = total * len(entries) // measured
    return StoreStatus(
        path=path,
        problem=None,
        is_refused=False,
        file_system=file_system(path),
        writable=store.writable,
        entries=len(entries),
        bytes=total,
        is_estimate=measured < len(entries),
        modes=probe(store, site_packages),
    )
