"""The commands that look: status, list, usage and verify."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pip_linkmode.command import FINE, FOUND, Command, Result, as_data, open_stores
from pip_linkmode.console import (
    Progress,
    bar,
    date,
    interpreter,
    plural,
    shades,
    size,
    table,
)
from pip_linkmode.inventory import describe, items
from pip_linkmode.ledger import measure
from pip_linkmode.status import status
from pip_linkmode.usage import usage
from pip_linkmode.users import users
from pip_linkmode.verify import Verification

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pip_linkmode.status import Status
    from pip_linkmode.usage import Usage
    from pip_linkmode.verify import Damage


# --- status ---------------------------------------------------------------------------


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--environment",
        metavar="env",
        help="look from this environment (default: the one that runs this)",
    )


def _status(options: argparse.Namespace) -> Result:
    found = status(options.environment, options.link_store)
    data = as_data(found)
    data["hook"]["problem"] = found.hook.problem
    code = FOUND if found.hook.problem or found.in_force.settings.reason else FINE
    return Result(data, "\n".join(_status_lines(found)), code)


def _status_lines(found: Status) -> list[str]:
    hook, settings = found.hook, found.in_force.settings
    sources = found.in_force.sources
    pip = f"pip {hook.pip}" if hook.pip else "no pip"
    state = f"not linking: {hook.problem}" if hook.problem else "links what it installs"
    lines = [
        f"Environment  {found.environment} ({found.file_system})",
        f"pip          {pip}, {state}",
        f"Mode         {settings.requested} (set by {sources['mode']})",
    ]
    if settings.exclude:
        names = ", ".join(settings.exclude)
        lines.append(f"Excluded     {names} (set by {sources['exclude']})")
    if settings.reason:
        lines.append(f"             {settings.reason}")
    if not settings.stores:
        lines.append(f"Store        none (set by {sources['store']})")
    for store in found.stores:
        lines.append(f"Store        {store.path} (set by {sources['store']})")
        if store.problem:
            lines.append(f"             {store.problem}")
            continue
        about = "about " if store.is_estimate else ""
        access = "" if store.writable else ", read-only"
        lines.append(
            f"             {plural(store.entries, 'entry', 'entries')}, "
            f"{about}{size(store.bytes)} on {store.file_system}{access}"
        )
        lines += [
            f"             {mode:<9}{'works' if reason is None else reason}"
            for mode, reason in store.modes.items()
        ]
    return lines


# --- list -----------------------------------------------------------------------------

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
    for store in open_stores(options):
        present = items(store)
        with Progress(f"Reading {store.root}", len(present)) as progress:
            known = users(store)
            sharing: dict[int, Any] = {}
            for item in present:
                about = describe(store, item)
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
                progress.advance()
    rows.sort(key=_ORDERS[options.sort])
    lines = [("Package", "Version", "Tags", "Size", "Bytecode", "Users", "Last used")]
    lines += [
        (
            row["name"],
            row["version"],
            row["tags"],
            size(row["size"]),
            " ".join(map(interpreter, row["bytecode"])),
            str(len(row["users"])),
            date(row["last_used"]),
        )
        for row in rows
    ]
    return Result(rows, table(lines, (3, 5)) if rows else "The store is empty.")


# --- usage ----------------------------------------------------------------------------


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
        "unseen": found.unseen,
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
    lines += [f"Not seen: {path}" for path in found.unseen]
    return lines


# --- verify ---------------------------------------------------------------------------


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="*",
        metavar="env",
        help="an environment (default: all that use the store, and the store itself)",
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help=(
            "put the pristine files back: what is shared or dangles, and with env "
            "also what only that environment has"
        ),
    )
    parser.add_argument(
        "--keep",
        metavar="env",
        action="append",
        default=[],
        help="with --repair: this environment keeps its edits, as files of its own",
    )


def _verify(options: argparse.Namespace) -> Result:
    with Progress("Reading") as progress:
        found = Verification(
            open_stores(options), options.environments, options.keep, progress.advance
        )
        if options.repair:
            found.repair()
    damages = found.damages
    data = {"damages": [_damage(one) for one in damages], "unread": found.unread}
    lines = [line for one in damages for line in _damage_lines(one)]
    lines += [f"Not readable: {path}: {why}" for path, why in found.unread.items()]
    left = [one for one in damages if not one.is_repaired]
    if damages:
        count = plural(len(damages), "file is", "files are")
        lines.append(f"{count} not as installed; {len(damages) - len(left)} repaired")
    elif not lines:
        lines.append("All files are as they were installed.")
    return Result(data, "\n".join(lines), FOUND if left or found.unread else FINE)


def _damage(damage: Damage) -> dict[str, Any]:
    return {
        "kind": damage.kind,
        "package": damage.package,
        "path": damage.path,
        "sha256": damage.sha256,
        "stored": [one.path for one in damage.stored],
        "installed": [one.path for one in damage.installed],
        "environments": sorted({one.environment for one in damage.installed}),
        "outcome": damage.outcome,
        "repaired": damage.is_repaired,
    }


def _damage_lines(damage: Damage) -> list[str]:
    lines = [f"{damage.package}: {damage.path} {_KINDS[damage.kind]}"]
    lines += [f"    in {one.environment}" for one in damage.installed]
    lines += [f"    in the store: {one.path}" for one in damage.stored]
    if damage.outcome:
        lines.append(f"    {damage.outcome}")
    return lines


_KINDS = {
    "modified": "was modified",
    "missing": "is missing",
    "dangling": "leads nowhere",
    "restamped": "has another time or mode",
    "manifest": "cannot be read",
}


COMMANDS = (
    Command(
        "status",
        "Tell whether this pip links, what is in force and where it was set.\n\n"
        "Tries each link mode from each store to the environment.",
        "pip-linkmode status --environment ~/ComfyUI/.venv",
        _status_arguments,
        _status,
    ),
    Command(
        "list",
        "List what is in the store, and which environments use it.",
        "pip-linkmode list --sort size",
        _list_arguments,
        _list,
    ),
    Command(
        "usage",
        "Tell what environments take on the disk, and what links save.\n\n"
        "Inodes and extents count once, however many names or files have them.",
        "pip-linkmode usage ~/ComfyUI/.venv",
        _usage_arguments,
        _usage,
    ),
    Command(
        "verify",
        "Compare stored files with their manifests, and installed ones with RECORD.\n\n"
        "Names every environment that shares a modified file.",
        "pip-linkmode verify --repair --keep ~/experiment/.venv",
        _verify_arguments,
        _verify,
    ),
)
