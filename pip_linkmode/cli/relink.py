"""``pip-linkmode relink``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    as_data,
    environment_arguments,
    make_stores,
    site_packages_of,
)
from pip_linkmode.cli.progress import Progress
from pip_linkmode.errors import SettingsError
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.relink.relink import Relinking
from pip_linkmode.settings import ALIASES, SHARING, why_no_symlinks
from pip_linkmode.text import plural, size

if TYPE_CHECKING:
    import argparse

    from pip_linkmode.relink.report import RelinkReport


def _relink_arguments(parser: argparse.ArgumentParser) -> None:
    environment_arguments(parser)
    parser.add_argument(
        "--mode",
        choices=("auto", "clone", "reflink", "hardlink", "symlink"),
        help="how to share (default: as pip is set up here)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only tell what would come of it, by the sizes of the files",
    )


def _relink(options: argparse.Namespace) -> Result:
    found = effective_settings(sys.prefix, options.link_store)
    force, stores = found.settings, make_stores(found)
    mode = ALIASES.get(options.mode, options.mode)
    if mode is None:
        mode = force.mode if force.mode in SHARING else "auto"
    dangling = why_no_symlinks(force.stores) if mode == "symlink" else None
    if dangling:
        msg = f"symlinks would dangle: {dangling}; set --link-store"
        raise SettingsError(msg)
    relinking = Relinking(
        site_packages_of(options),
        stores,
        mode=mode,
        exclude=force.exclude,
        dry_run=options.dry_run,
    )
    with Progress("Relinking", relinking.bytes) as progress:
        report = relinking.run(progress.advance)
    failed = any(one.refused or one.failed for one in report.environments)
    code = PROBLEM if failed else OK
    return Result(as_data(report), "\n".join(_relink_lines(report)), code)


def _relink_lines(report: RelinkReport) -> list[str]:
    lines = []
    for one in report.environments:
        lines.append(one.site_packages)
        if one.refused:
            lines.append(f"  nothing is shared: {one.refused}")
            continue
        by = ", ".join(f"{count:,} by {mode}" for mode, count in one.files.items())
        would = "would be linked" if report.dry_run else "linked"
        lines.append(
            f"  {plural(sum(one.files.values()), 'file')} ({size(one.bytes)}) {would}"
            f"{f': {by}' if by else ''}; {one.already:,} were shared before"
        )
        lines += [
            f"  {plural(count, 'file')} left alone: they {reason}"
            for reason, count in (*sorted(one.skipped.items()), *one.failed.items())
        ]
        lines += [
            f"  {plural(count, 'distribution')} passed over: {reason}"
            for reason, count in sorted(one.passed_over.items())
        ]
        lines += [f"  edited, and left alone: {path}" for path in one.edited]
    spent, freed = report.bytes_stored, report.bytes_freed
    new = plural(len(report.adopted), "new entry", "new entries")
    verb = "Would free" if report.dry_run else "Freed"
    lines.append(
        f"{verb} {size(freed)} in the environments for {size(spent)} in the store "
        f"({new}): {size(freed - spent)} saved"
    )
    if report.bytes_held:
        lines.append(
            f"{size(report.bytes_held)} more come back when the other names of these "
            "files go: the cache of who installed them, or an entry that prune removes"
        )
    return lines


RELINK = Command(
    "relink",
    "Turn environments that exist into links, whoever installed them.\n\n"
    "Each file that is as its RECORD says is replaced by a link to the store's;\n"
    "what no store has is copied there first.  An edited file stays what it is.",
    "pip-linkmode relink ~/ComfyUI/.venv ~/SwarmUI/.venv --dry-run",
    _relink_arguments,
    _relink,
)
