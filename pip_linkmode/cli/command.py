"""What a command is, and what all of them share.

Exit codes: 0 all is well; 1 something was found, or could not be done; 2 the command
cannot be meant.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pip_linkmode.environments.environment import find
from pip_linkmode.errors import SettingsError, StoreRefusedError
from pip_linkmode.pip_config import in_force
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pip_linkmode.pip_config import InForce


FINE, FOUND, MEANINGLESS = 0, 1, 2
"""The exit codes."""


class Result(NamedTuple):
    """What a command has to say."""

    data: Any
    """What ``--json`` prints."""
    text: str
    """What is printed without it; may be empty."""
    code: int = FINE


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


def make_stores(force: InForce) -> list[Store]:
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
    settings = in_force(sys.prefix, options.link_store).settings
    found = []
    for path in settings.stores:
        if os.path.lexists(path):
            found.append(Store.open(path, trust_group=settings.trust_group))
        elif options.link_store:
            msg = f"the store {path} does not exist"
            raise StoreRefusedError(msg)
    beside = tuple(store.root for store in found)
    return [dataclasses.replace(store, beside=beside) for store in found]


def environment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names environments."""
    parser.add_argument(
        "environments",
        nargs="+",
        metavar="env",
        help="an environment, its interpreter, or a site-packages directory",
    )


def libraries_of(options: argparse.Namespace) -> list[str]:
    """Return the libraries of all environments that are named, each once."""
    named = [library for path in options.environments for library in find(path)]
    found: dict[str, str] = {}
    for library in sorted(named, key=os.path.islink):
        found.setdefault(os.path.realpath(library), library)
    return list(found.values())
