"""``pip-linkmode prune``."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    absent_stores,
    open_stores,
    site_packages_of,
    unknown_users,
)
from pip_linkmode.cli.console import date, parse_size, parse_span, table
from pip_linkmode.cli.progress import Progress
from pip_linkmode.errors import EnvironmentUnknownError, SettingsError
from pip_linkmode.maintenance.prune import PruneOptions, prune, release
from pip_linkmode.text import plural, printable, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pip_linkmode.environments.users import User
    from pip_linkmode.maintenance.prune import Pruned
    from pip_linkmode.store.store import Store


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--older-than",
        type=_argument(parse_span),
        metavar="span",
        help="only entries that were not used for this long: 12h, 30d, 2w, 6m, 1y",
    )
    parser.add_argument(
        "--max-size",
        type=_argument(parse_size),
        metavar="size",
        help=(
            "remove least recently used entries until the store is at most this size "
            "(500M, 20G); environments that hardlink or clone them keep their files"
        ),
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="everything; refused if environments have symlinks into the store",
    )
    parser.add_argument(
        "--force", action="store_true", help="with --all: even then; it breaks them"
    )
    parser.add_argument(
        "--release",
        metavar="env",
        action="append",
        default=[],
        help=(
            "first forget an environment that is not there and will not come back, or "
            "a registration that cannot be read, by its name"
        ),
    )
    parser.add_argument(
        "environments",
        nargs="*",
        metavar="env",
        help=(
            "environments to respect although the store does not know them, such as a "
            "copy that was never used"
        ),
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the result, and remove nothing"
    )


def _argument(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse print the reason why a value is invalid."""

    def parse_or_explain(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_or_explain


def _prune(options: argparse.Namespace) -> Result:
    if options.all and (options.older_than, options.max_size) != (None, None):
        msg = (
            "--all removes everything: leave out --older-than and --max-size, or --all"
        )
        raise SettingsError(msg)
    if options.force and not options.all:
        msg = "--force needs --all"
        raise SettingsError(msg)
    stores = open_stores(options)
    forgotten = _release(options, stores)
    wanted = PruneOptions(
        options.older_than,
        options.max_size,
        everything=options.all,
        force=options.force,
        dry_run=options.dry_run,
        without=frozenset(path for paths in forgotten.values() for path in paths),
        respect=tuple(site_packages_of(options)),
    )
    results, passed_over = [], absent_stores(options)
    for store in stores:
        if not store.writable and not options.link_store:
            # Its owner prunes it.
            passed_over.append(f"Passed over the read-only store {store.root}.")
        else:
            if sys.stdout.isatty() and not (options.dry_run or options.json):
                foreseen = replace(wanted, dry_run=True)
                lines = _prune_lines(_prune_store(store, foreseen), foreseen)
                sys.stdout.write(printable("\n".join([*lines, ""])))
                sys.stdout.flush()
            results.append(_prune_store(store, wanted))
    code = PROBLEM if any(result.blockers for result in results) else OK
    text = [f"Forgotten: {path}" for paths in forgotten.values() for path in paths]
    for result in results:
        text += _prune_lines(result, wanted)
    text += passed_over
    data = [_pruned(result, forgotten.get(result.store, ())) for result in results]
    return Result(data, "\n".join(text), code)


def _prune_store(store: Store, wanted: PruneOptions) -> Pruned:
    with Progress("Cleaning up") as progress:
        return prune(store, wanted, progress.show)


def _release(
    options: argparse.Namespace, stores: Sequence[Store]
) -> dict[str, list[str]]:
    """Forget the environments that are named; return their libraries by store."""
    forgotten: dict[str, list[str]] = {store.root: [] for store in stores}
    for environment in options.release:
        path, is_known = os.path.abspath(environment), False
        for store in stores:
            found = release(store, path, dry_run=options.dry_run)
            forgotten[store.root] += found
            is_known |= bool(found)
        if not is_known:
            msg = f"{environment} is not known to use a store"
            raise EnvironmentUnknownError(msg)
    return forgotten


def _pruned(result: Pruned, forgotten: Sequence[str]) -> dict[str, Any]:
    return {
        "store": result.store,
        "removed": [
            {
                "name": one.name,
                "version": one.version,
                "sha256": one.sha256,
                "size": one.allocated,
                "freed": one.freed,
                "last_used": one.last_used,
            }
            for one in result.removed
        ],
        "freed": result.freed,
        "restored": result.restored,
        "spare_bytecode": result.spare,
        "released": [*forgotten, *result.released],
        "unreachable": [_user(user) for user in result.unreachable],
        "holders": [_user(user) for user in result.blockers],
        "size": result.size,
        "held": result.held,
    }


def _user(user: User) -> dict[str, Any]:
    return {
        "path": user.path,
        "state": user.state,
        "uses": sorted(user.uses),
        "depends_on": sorted(user.depends),
    }


def _prune_lines(result: Pruned, wanted: PruneOptions) -> list[str]:
    lines = []
    if result.removed:
        lines += [
            f"{line} Name all of them: pip-linkmode prune ENV"
            for line in unknown_users([result.store])
        ]
    if result.held:
        count = plural(result.held, "entry", "entries")
        lines.append(
            f"{size(wanted.max_size or 0)} cannot be reached without losing the "
            f"sharing of {count}: environments keep these files, new ones get others"
        )
    if result.removed:
        rows = [("Package", "Version", "Size", "Frees", "Last used")]
        rows += [
            (
                one.name,
                one.version,
                size(one.allocated),
                size(one.freed),
                date(one.last_used),
            )
            for one in result.removed
        ]
        lines += [table(rows, (2, 3)), ""]
    verb = "Would remove" if wanted.dry_run else "Removed"
    lines.append(
        f"{verb} {plural(len(result.removed), 'entry', 'entries')} of {result.store}; "
        f"{size(result.freed)} {'would come' if wanted.dry_run else 'came'} back"
    )
    if result.spare:
        count = plural(result.spare, "wheel")
        lines.append(f"{verb} bytecode for {count} of read-only stores")
    if result.restored:
        count = plural(result.restored, "entry", "entries")
        lines.append(f"Kept {count} that came into use during the clean-up")
    lines += [f"Gone, and forgotten: {path}" for path in result.released]
    for user in result.unreachable:
        if not user.uses:  # nothing is kept
            continue
        count = plural(len(user.uses), "entry", "entries")
        registration = user.registration
        name = user.path if registration.site_packages else registration.name
        lines.append(
            f"Kept {count} for {user.path}, which {_STATES[user.state]}. "
            f"To forget it, run: pip-linkmode prune --release {name}"
        )
    if result.blockers:
        names = ", ".join(user.path for user in result.blockers)
        lines.append(
            f"The store still takes {size(result.size or 0)}: {names} cannot do "
            "without it, because of symlinks; materialize lets go of it"
        )
    return lines


_STATES = {
    "damaged": "cannot be read",
    "missing": "is not there; a disk may not be mounted",
    "moved": "was moved, or was deleted and is in another store too",
    "unreadable": "cannot be read",
}
PRUNE = Command(
    "prune",
    "Remove the entries of the store that no environment uses.\n\n"
    "Entries to which a known environment has symlinks are never removed.  An\n"
    "environment on an unmounted disk keeps its entries; a deleted one does not.\n"
    "Name environments of users without write access: the store knows none of them.",
    "pip-linkmode prune --older-than 30d --dry-run",
    _prune_arguments,
    _prune,
)
