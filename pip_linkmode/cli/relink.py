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
    from collections.abc import Iterator

    from pip_linkmode.relink.report import Relinked, RelinkReport


def _relink_arguments(parser: argparse.ArgumentParser) -> None:
    environment_arguments(parser)
    parser.add_argument(
        "--link-mode",
        "--mode",
        dest="mode",
        choices=("auto", "clone", "reflink", "hardlink", "symlink"),
        help="how to share (default: the setting of pip)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the plan, and write nothing",
    )


def _relink(options: argparse.Namespace) -> Result:
    found = effective_settings(sys.prefix, options.link_store)
    force, stores = found.settings, make_stores(found, create=not options.dry_run)
    mode = ALIASES.get(options.mode, options.mode)
    if mode is None:
        mode = force.mode if force.mode in SHARING else "auto"
    dangling = why_no_symlinks(force.stores) if mode == "symlink" else None
    if dangling:
        msg = f"symlinks would dangle: {dangling}; set --link-store"
        raise SettingsError(msg)
    relinking = Relinking(
        stores, mode=mode, exclude=force.exclude, dry_run=options.dry_run
    )
    relinking.survey(site_packages_of(options))
    with Progress("Relinking") as progress:
        report = relinking.run(progress.show)
    failed = any(one.refused or one.failed for one in report.environments)
    code = PROBLEM if failed else OK
    return Result(as_data(report), "\n".join(_lines(report)), code)


def _lines(report: RelinkReport) -> list[str]:
    """Return the result as text."""
    lines = []
    for one in report.environments:
        lines += [one.site_packages, *(f"  {line}" for line in _about(one, report))]
    spent, freed = report.bytes_stored, report.bytes_freed
    new = plural(len(report.adopted), "new entry", "new entries")
    verb = "Would free" if report.dry_run else "Freed"
    lines.append(
        f"{verb} {size(freed)} in the environments for {size(spent)} in the store "
        f"({new}): {size(freed - spent)} saved"
    )
    if report.bytes_held:
        lines.append(
            f"{size(report.bytes_held)} more become free when the other names of these "
            "files are removed: in the cache of another installer, or in an entry that "
            "`pip-linkmode prune` removes"
        )
    if report.dry_run:
        lines.append(
            "Nothing was written. The file systems were judged by their types; relink "
            "itself tries a link first"
        )
    return lines


def _about(one: Relinked, report: RelinkReport) -> Iterator[str]:
    """Yield lines about one environment."""
    if one.refused:
        yield f"nothing is shared: {one.refused}"
        return
    if one.files:
        by = ", ".join(f"{count:,} by {mode}" for mode, count in one.files.items())
        would = "would be linked" if report.dry_run else "linked"
        files = plural(sum(one.files.values()), "file")
        before = f"{one.already:,} were shared before"
        yield f"{files} ({size(one.bytes)}) {would}: {by}; {before}"
    elif one.already:
        yield f"nothing to link: {plural(one.already, 'file')} shared before"
    elif one.skipped or one.failed or one.edited:
        yield "nothing to link: each file stays, for the reasons below"
    else:
        yield "nothing to link: no installed distribution lists files to share"
    for reason, count in (*sorted(one.skipped.items()), *one.failed.items()):
        yield f"{plural(count, 'file')} left alone: they {reason}"
    for reason, count in sorted(one.passed_over.items()):
        yield f"{plural(count, 'distribution')} passed over: {reason}"
    for path in one.edited:
        yield f"edited, and left alone: {path}"


RELINK = Command(
    "relink",
    "Turn existing environments into links, whichever program installed them.\n\n"
    "Each file that is as its RECORD says is replaced by a link to the store.\n"
    "Files that no store has are copied there first.  Edited files stay.",
    "pip-linkmode relink ~/ComfyUI/.venv ~/SwarmUI/.venv --dry-run",
    _relink_arguments,
    _relink,
)
