"""What a command is, and what all of them share.

Exit codes: 0 all is well; 1 something was found, or could not be done; 2 the command
cannot be meant.
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
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    SettingsError,
    StoreRefusedError,
)
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pip_linkmode.pip_config import EffectiveSettings


OK, PROBLEM, USAGE_ERROR = 0, 1, 2
"""The exit codes."""


class Result(NamedTuple):
    """What a command has to say."""

    data: Any
    """What ``--json`` prints."""
    text: str
    """What is printed without it; may be empty."""
    code: int = OK


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    summary: str
    """One line; may go on after an empty one."""
    example: str
    """A command line, and what it does."""
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]


def as_data(value: Any) -> Any:
    """Return a dataclass as data."""
    return dataclasses.asdict(value)


def make_stores(force: EffectiveSettings) -> list[Store]:
    """Open the stores that are in force, made if they do not exist.

    :raises SettingsError: if there is none
    :raises StoreRefusedError: if one cannot be used
    """
    settings = force.settings
    if not settings.stores:
        off = (
            f"there is no store: the link mode is off ({force.sources['mode']}); "
            "name one by --link-store"
        )
        raise SettingsError(settings.reason or off)
    return [
        Store.open(path, trust_group=settings.trust_group) for path in settings.stores
    ]


def open_stores(options: argparse.Namespace) -> list[Store]:
    """Open the stores that are in force and exist.

    :raises SettingsError: if they cannot be meant
    :raises StoreRefusedError: if one was named and cannot be used
    """
    settings = effective_settings(sys.prefix, options.link_store).settings
    found = []
    for path in settings.stores:
        if os.path.lexists(path):
            found.append(Store.open(path, trust_group=settings.trust_group))
        elif options.link_store:
            msg = f"the store {path} does not exist"
            raise StoreRefusedError(msg)
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
    """Return the libraries of all environments that are named, each once."""
    named = [one for path in options.environments for one in Environment.find(path)]
    named.sort(key=lambda one: os.path.islink(one.site_packages))
    return [one.site_packages for one in dict.fromkeys(named)]
