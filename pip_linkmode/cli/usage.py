"""``pip-linkmode usage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pip_linkmode.cli.command import Command, Result, open_stores
from pip_linkmode.cli.console import bar, shades, table
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
        found = usage(stores, options.environments, progress.advance)
    data = {
        "environments": [_account(one) for one in found.environments],
        "stores": [_account(one) for one in found.stores],
        "without_links": found.without,
        "spent": found.spent,
        "saved": found.saved,
        "unreachable": found.unreachable,
    }
    return Result(data, "\n".join(_usage_lines(found)))


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
    if not everything:
        return ["No environment uses a store here."]
    dark, light = shades()
    largest = max(one.logical for one in everything)
    rows = [("", "Size", "Shared", "Private", "Deleting frees", "")]
    rows += [
        (
            one.path,
            size(one.logical),
            size(one.shared),
            size(one.private),
            size(one.frees),
            bar([(one.private, dark), (one.shared, light)], largest),
        )
        for one in everything
    ]
    whole = max(found.without, found.spent)
    lines = [
        table(rows, (1, 2, 3, 4)),
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
        f"{'Saved':<15}{size(found.saved):>10}",
    ]
    lines += [f"Not seen: {path}" for path in found.unreachable]
    return lines


USAGE = Command(
    "usage",
    "Show the disk space of environments, and the space that links save.\n\n"
    "Inodes and extents count once, however many names or files have them.",
    "pip-linkmode usage ~/ComfyUI/.venv",
    _usage_arguments,
    _usage,
)
