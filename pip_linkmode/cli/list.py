"""``pip-linkmode list``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pip_linkmode.cli.command import (
    Command,
    Result,
    absent_stores,
    open_stores,
    unknown_users,
)
from pip_linkmode.cli.console import date, interpreter, table
from pip_linkmode.cli.progress import Progress
from pip_linkmode.environments.users import users
from pip_linkmode.maintenance.inventory import describe, items
from pip_linkmode.maintenance.ledger import measure
from pip_linkmode.text import plural, size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


_ORDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "name": lambda row: (row["name"].lower(), row["version"]),
    "size": lambda row: -row["size"],
    "users": lambda row: -len(row["users"]),
    "used": lambda row: row["last_used"],
}


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sort", choices=_ORDERS, default="name", help="order (default: %(default)s)"
    )


def _list(options: argparse.Namespace) -> Result:
    rows: list[dict[str, Any]] = []
    stores = open_stores(options)
    for store in stores:
        present = items(store)
        with Progress("Measuring") as progress:
            known = users(store, progress.show)
            sharing: dict[int, Any] = {}
            for number, item in enumerate(present):
                about = describe(store, item)
                progress.show(about.name, number / len(present))
                using = [one.path for one in known if item.sha256 in one.uses]
                rows.append(
                    {
                        "name": about.name,
                        "version": about.version,
                        "tags": about.tags,
                        "size": measure([item.path], sharing).allocated,
                        "bytecode": list(about.interpreters),
                        # By where it really is: two names make no two of them.
                        "users": list({os.path.realpath(p): p for p in using}.values()),
                        "last_used": item.last_used,
                        "sha256": item.sha256,
                        "store": store.root,
                    }
                )
    rows.sort(key=_ORDERS[options.sort])
    if not rows:
        empty = [f"The store {store.root} is empty." for store in stores]
        return Result(rows, "\n".join([*empty, *absent_stores(options)]))
    lines = [("Package", "Version", "Tags", "Size", "Bytecode", "Users", "Last used")]
    lines += [
        (
            row["name"],
            row["version"],
            _short(row["tags"]),
            size(row["size"]),
            " ".join(map(interpreter, row["bytecode"])),
            str(len(row["users"])),
            date(row["last_used"]),
        )
        for row in rows
    ]
    total = size(sum(row["size"] for row in rows))
    count = plural(len(rows), "entry", "entries")
    text = table(lines, (3, 5), droppable=(2, 4))
    roots = [store.root for store in stores]
    lines_below = [f"{count}, {total}", *unknown_users(roots)]
    return Result(rows, "\n".join([text, "", *lines_below]))


def _short(tags: str) -> str:
    """Return the last tag of each part: ``py3-none-any`` of ``py2.py3-none-any``."""
    return "-".join(part.rpartition(".")[2] for part in tags.split("-"))


LIST = Command(
    "list",
    "List the entries of the store, and the environments that use them.",
    "pip-linkmode list --sort size",
    _list_arguments,
    _list,
)
