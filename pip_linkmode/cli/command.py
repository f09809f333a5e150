"""The parts of a subcommand, and the functions that all subcommands share.

Exit codes: 0 success; 1 problems were found, or the operation failed; 2 invalid
arguments or settings.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pip_linkmode.environments.copies import register_copy
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.users import may_have_unknown_users
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    SettingsError,
    StoreRefusedError,
)
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.store.store import Store, check_is_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from pip_linkmode.pip_config import EffectiveSettings


OK, PROBLEM, USAGE_ERROR = 0, 1, 2
"""The exit codes."""


class Result(NamedTuple):
    """The result of a subcommand."""

    data: Any
    """Data that ``--json`` prints."""
    text: str
    """Text that is printed without it."""
    code: int = OK


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    summary: str
    """One line; may go on after an empty one."""
    example: str
    """A command line."""
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]


def as_data(value: Any) -> Any:
    """Return a dataclass as data."""
    return dataclasses.asdict(value)


def make_stores(force: EffectiveSettings, *, create: bool = True) -> list[Store]:
    """Open the stores of the effective settings.

    :param create: create those that do not exist; else they are only described
    :raises SettingsError: if the settings name no store
    :raises StoreRefusedError: if one cannot be used
    """
    settings = force.settings
    if not settings.stores:
        raise SettingsError(why_no_store(force))
    for path in settings.stores:
        check_is_store(path)
    return [
        Store.open(path, trust_group=settings.trust_group)
        if create or os.path.lexists(path)
        else Store(path, writable=True)
        for path in settings.stores
    ]


def why_no_store(found: EffectiveSettings) -> str:
    """Return the reason why the settings name no store, as one sentence."""
    mode = f"the link mode is off ({found.sources['mode']})"
    reason = found.settings.reason or mode
    return f"there is no store: {reason}. Name one with --link-store"


def unknown_users(stores: Iterable[str]) -> list[str]:
    """Return a sentence for each store that cannot know all of its users.

    :param stores: absolute paths
    """
    return [
        f"Environments of users without write access to {store} are not known."
        for store in stores
        if may_have_unknown_users(store)
    ]


def absent_stores(options: argparse.Namespace) -> list[str]:
    """Return a line for each store of the effective settings that does not exist."""
    found = effective_settings(sys.prefix, options.link_store)
    if not found.settings.stores:
        reason = why_no_store(found)
        return [f"{reason[0].upper()}{reason[1:]}."]
    return [
        f"There is no store yet: {path} does not exist. pip makes it for the first "
        "wheel that it links."
        for path in found.settings.stores
        if not os.path.lexists(path)
    ]


def open_stores(options: argparse.Namespace) -> list[Store]:
    """Open the existing stores of the effective settings.

    :raises SettingsError: if a setting is invalid
    :raises StoreRefusedError: if a named store does not exist or cannot be used
    """
    settings = effective_settings(sys.prefix, options.link_store).settings
    found = []
    for path in settings.stores:
        if os.path.lexists(path):
            found.append(Store.open(path, trust_group=settings.trust_group))
        elif options.link_store:
            msg = f"the store {path} does not exist"
            raise StoreRefusedError(msg)
    for store in found:
        check_is_store(store.root)
    related_stores = tuple(store.root for store in found)
    return [
        dataclasses.replace(store, related_stores=related_stores) for store in found
    ]


def environment_arguments(parser: argparse.ArgumentParser, *, nargs: str = "+") -> None:
    """Add the argument that names environments."""
    parser.add_argument(
        "environments",
        nargs=nargs,
        metavar="env",
        help="an environment, its interpreter, or a site-packages directory",
    )


def register_copies(options: argparse.Namespace) -> None:
    """Register the environments that a command names, if they are unknown copies.

    :param options: of the command; nothing is written for ``--dry-run``
    """
    if getattr(options, "dry_run", False):
        return
    named = getattr(options, "environments", None) or []
    named = [*named, getattr(options, "environment", None)]
    for path in filter(None, named):
        with contextlib.suppress(EnvironmentUnknownError):  # the command reports it
            for one in Environment.find(path):
                register_copy(one.site_packages)


def site_packages_of(options: argparse.Namespace) -> list[str]:
    """Return the site-packages directories of all named environments, each once."""
    named = [one for path in options.environments for one in Environment.find(path)]
    named.sort(key=lambda one: os.path.islink(one.site_packages))
    return [one.site_packages for one in dict.fromkeys(named)]
