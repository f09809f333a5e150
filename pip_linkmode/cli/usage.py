"""``pip-linkmode usage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pip_linkmode.cli.command import (
    Command,
    Result,
    absent_stores,
    open_stores,
    unknown_users,
)
from pip_linkmode.cli.console import abbreviate, bar, shades, table, width
from pip_linkmode.cli.progress import Progress
from pip_linkmode.maintenance.usage import usage
from pip_linkmode.text import size

if TYPE_CHECKING:
    import argparse

    from pip_linkmode.maintenance.usage import Usage


def _usage_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="*",
        metavar="env",
        help="an environment (default: all that use the store)",
    )


def _usage(options: argparse.Namespace) -> Result:
    stores = open_stores(options)
    with Progress("Measuring") as progress:
        found = usage(stores, options.environments, progress.show)
    data = {
        "environments": [_account(one) for one in found.environments],
        "stores": [
            {**_account(one), "needed_by": found.needed_by[one.path]}
            for one in found.stores
        ],
        "without_links": found.without,
        "spent": found.spent,
        "saved": found.saved,
        "unreachable": found.unreachable,
    }
    anything = found.environments or found.stores
    lines = _usage_lines(found) if anything else absent_stores(options)
    return Result(data, "\n".join(lines))


def _account(account: Any) -> dict[str, Any]:
    return {
        "path": account.path,
        "size": account.logical,
        "shared": account.shared,
        "private": account.private,
        "deleting_frees": account.frees,
        "files": account.files,
    }


def _usage_lines(found: Usage) -> list[str]:
    everything = [*found.environments, *found.stores]
    dark, light = shades()
    room = max(width() - _NUMBERS, _SHORTEST)
    largest = max(one.logical for one in everything)
    rows = [("", "Size", "Shared", "Private", "Deleting frees", "")]
    rows += [
        (
            abbreviate(one.path, room),
            size(one.logical),
            size(one.shared),
            size(one.private),
            "needed" if found.needed_by.get(one.path) else size(one.frees),
            bar([(one.private, dark), (one.shared, light)], largest),
        )
        for one in everything
    ]
    whole = max(found.without, found.spent)
    lines = [
        table(rows, (1, 2, 3, 4), droppable=(5,)),
        "",
        f"{dark} private   {light} shared",
        "",
        *(
            f"{name:<15}{size(amount):>10}  {bar([(amount, dark)], whole)}"
            for name, amount in (
                ("Without links", found.without),
                ("Spent", found.spent),
            )
        ),
        _saved(found),
    ]
    lines += [
        f"{store} is needed by {', '.join(paths)}: symlinks lead there"
        for store, paths in found.needed_by.items()
        if paths
    ]
    lines += [f"Not seen: {path}" for path in found.unreachable]
    lines += unknown_users(store.path for store in found.stores)
    return lines


def _saved(found: Usage) -> str:
    if found.saved >= 0:
        return f"{'Saved':<15}{size(found.saved):>10}"
    if len(found.environments) + found.others < 2:  # noqa: PLR2004  # nothing to share with
        rest = "lists and unused entries take"
        return f"One environment saves nothing; {rest} {size(-found.saved)}"
    rest = "the other files of the store take"
    return f"Nothing saved by these rows alone; {rest} {size(-found.saved)} more"


_NUMBERS = 4 + 3 * len("123.4 GB") + len("Deleting frees")
"""Columns that the numbers take."""
_SHORTEST = 20
USAGE = Command(
    "usage",
    "Show the disk space of environments, and the space that links save.\n\n"
    "Inodes and extents count once, however many names or files have them.",
    "pip-linkmode usage ~/ComfyUI/.venv",
    _usage_arguments,
    _usage,
)
