"""``pip-linkmode verify``."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, Any

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    absent_stores,
    open_stores,
)
from pip_linkmode.cli.progress import Progress
from pip_linkmode.errors import SettingsError
from pip_linkmode.maintenance.repair import Repair
from pip_linkmode.maintenance.verify import Verification
from pip_linkmode.text import plural

if TYPE_CHECKING:
    import argparse

    from pip_linkmode.maintenance.damage import Damage


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
            "restore damaged files that are shared or dangling; with env, also files "
            "used by that environment only"
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
    if options.keep and not options.repair:
        msg = "--keep needs --repair"
        raise SettingsError(msg)
    with Progress("Verifying") as progress:
        found = Verification(open_stores(options), progress.show)
        found.run(options.environments, options.keep)
        if options.repair:
            Repair(found).run()
    damages = found.damages
    data = {
        "damages": [_damage(one) for one in damages],
        "unread": found.unread,
        "notes": found.notes,
    }
    lines = [line for one in damages for line in _damage_lines(one)]
    lines += [f"Not readable: {path}: {why}" for path, why in found.unread.items()]
    left = [one for one in damages if not one.is_repaired]
    is_well = not lines
    lines += found.notes
    if damages:
        count = plural(len(damages), "file is", "files are")
        lines.append(f"{count} not as installed; {len(damages) - len(left)} repaired")
        if left and not options.repair:
            store = ["--link-store", options.link_store] if options.link_store else []
            named = " ".join(["--repair", *map(quote, [*store, *options.environments])])
            lines.append(f"To repair, run: pip-linkmode verify {named}")
    elif is_well and (found.entries or found.installed):
        stored = plural(found.entries, "stored wheel")
        packages = plural(found.installed, "installed package")
        lines.append(f"All files are as they were installed: {stored}, {packages}.")
    elif is_well:
        nothing = "Nothing to compare: no wheel is stored or installed."
        if options.environments:
            nothing = "Nothing to compare: no package is installed there."
        lines += absent_stores(options) or [nothing]
    return Result(data, "\n".join(lines), PROBLEM if left or found.unread else OK)


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
        lines += [f"    {line}" for line in damage.outcome.splitlines()]
    return lines


_KINDS = {
    "modified": "was modified",
    "missing": "is missing",
    "dangling": "leads nowhere",
    "restamped": "has another time or mode",
    "manifest": "cannot be read",
    "foreign": "belongs to another user, and can be changed by that user",
    "unlisted": "is not in the manifest of the entry",
}
VERIFY = Command(
    "verify",
    "Compare stored files with their manifests, and installed ones with RECORD.\n\n"
    "Names every environment that shares a modified file.",
    "pip-linkmode verify --repair --keep ~/experiment/.venv",
    _verify_arguments,
    _verify,
)
