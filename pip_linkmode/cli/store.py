"""``pip-linkmode store``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pip_linkmode.cli.command import Command, Result, why_no_store
from pip_linkmode.errors import SettingsError
from pip_linkmode.pip_config import effective_settings

if TYPE_CHECKING:
    import argparse


def _store_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it has none of its own


def _store(options: argparse.Namespace) -> Result:
    found = effective_settings(sys.prefix, options.link_store)
    if not found.settings.stores:
        raise SettingsError(why_no_store(found))
    data = [{"path": path} for path in found.settings.stores]
    return Result(data, "\n".join(found.settings.stores))


STORE = Command(
    "store",
    "Print the path of the store, or of each of several stores.",
    "pip-linkmode store",
    _store_arguments,
    _store,
)
