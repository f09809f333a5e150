"""The commands that change environments: relink, materialize, enable and disable."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TypeVar

from pip_linkmode.command import FINE, FOUND, Command, Result, as_data, make_stores
from pip_linkmode.configuration import in_force
from pip_linkmode.console import Progress, plural, size
from pip_linkmode.enable import Disabled, Enabled, disable, enable, library_of
from pip_linkmode.environments import find
from pip_linkmode.errors import LinkmodeError, SettingsError, sentence
from pip_linkmode.materialize import Materializing
from pip_linkmode.relink import Relinking
from pip_linkmode.settings import ALIASES, SHARING, why_no_symlinks

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from pip_linkmode.relink import Report

_Changed = TypeVar("_Changed", Enabled, Disabled)

# --- relink ---------------------------------------------------------------------------


def _relink_arguments(parser: argparse.ArgumentParser) -> None:
    _environment_arguments(parser)
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


def _environment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environments",
        nargs="+",
        metavar="env",
        help="an environment, its interpreter, or a site-packages directory",
    )


def _libraries(options: argparse.Namespace) -> list[str]:
    """Return the libraries of all environments that are named, each once."""
    named = [library for path in options.environments for library in find(path)]
    found: dict[str, str] = {}
    for library in sorted(named, key=os.path.islink):
        found.setdefault(os.path.realpath(library), library)
    return list(found.values())


def _relink(options: argparse.Namespace) -> Result:
    found = in_force(sys.prefix, options.link_store)
    force, stores = found.settings, make_stores(found)
    mode = ALIASES.get(options.mode, options.mode)
    if mode is None:
        mode = force.mode if force.mode in SHARING else "auto"
    dangling = why_no_symlinks(force.stores) if mode == "symlink" else None
    if dangling:
        msg = f"symlinks would dangle: {dangling}; set --link-store"
        raise SettingsError(msg)
    relinking = Relinking(
        _libraries(options),
        stores,
        mode=mode,
        exclude=force.exclude,
        dry_run=options.dry_run,
    )
    with Progress("Relinking", relinking.bytes) as progress:
        report = relinking.run(progress.advance)
    failed = any(one.refused or one.failed for one in report.environments)
    code = FOUND if failed else FINE
    return Result(as_data(report), "\n".join(_relink_lines(report)), code)


def _relink_lines(report: Report) -> list[str]:
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
            for reason, count in (*sorted(one.kept.items()), *one.failed.items())
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


# --- materialize ----------------------------------------------------------------------


def _materialize(options: argparse.Namespace) -> Result:
    stores = in_force(sys.prefix, options.link_store).settings.stores
    materializing = Materializing(_libraries(options), stores)
    with Progress("Materializing", materializing.bytes) as progress:
        found = materializing.run(progress.advance)
    lines = []
    for one in found:
        lines += [
            one.site_packages,
            f"  {plural(one.files, 'file')} ({size(one.bytes)}) made private",
            *([f"  not done: {one.refused}"] if one.refused else []),
            *(f"  leads nowhere: {path}" for path in one.dangling),
            *(f"  {path}: {reason}" for path, reason in one.failed.items()),
        ]
    bad = any(one.refused or one.dangling or one.failed for one in found)
    code = FOUND if bad else FINE
    return Result([as_data(one) for one in found], "\n".join(lines), code)


# --- enable and disable ---------------------------------------------------------------


def _each(
    options: argparse.Namespace,
    change: Callable[[str], _Changed],
    refused: Callable[[str], _Changed],
) -> list[_Changed]:
    """Change environments one by one; what one of them refuses the others do not.

    :param refused: makes a report of a library in which nothing is done yet
    :raises EnvironmentUnknownError: if one is none; then nothing is done
    """
    found = []
    for library in dict.fromkeys(map(library_of, options.environments)):
        try:
            one = change(library)
        except (LinkmodeError, OSError) as error:
            one = refused(library)
            one.refused = sentence(error)
        found.append(one)
    return found


def _enable(options: argparse.Namespace) -> Result:
    found = _each(options, enable, Enabled)
    lines = []
    for one in found:
        if one.refused:
            lines.append(f"{one.site_packages}: not enabled: {one.refused}")
            continue
        parts = [
            f"{', '.join(names)} {what}"
            for names, what in ((one.linked, "linked"), (one.already, "was there"))
            if names
        ]
        lines.append(f"{one.site_packages}: {'; '.join(parts)}")
        lines += [f"  WARNING: {warning}" for warning in one.warnings]
    code = FOUND if any(one.refused or one.warnings for one in found) else FINE
    return Result([as_data(one) for one in found], "\n".join(lines), code)


def _disable(options: argparse.Namespace) -> Result:
    found = _each(options, disable, Disabled)
    lines = []
    for one in found:
        if one.refused:
            lines.append(f"{one.site_packages}: not disabled: {one.refused}")
            continue
        names = ", ".join(one.removed)
        lines.append(
            f"{one.site_packages}: {f'{names} removed' if names else 'was not there'}"
        )
        lines += [f"  left, since others need it: {name}" for name in one.left]
    code = FOUND if any(one.refused for one in found) else FINE
    return Result([as_data(one) for one in found], "\n".join(lines), code)


COMMANDS = (
    Command(
        "relink",
        "Turn environments that exist into links, whoever installed them.\n\n"
        "Each file that is as its RECORD says is replaced by a link to the store's;\n"
        "what no store has is copied there first.  An edited file stays what it is.",
        "pip-linkmode relink ~/ComfyUI/.venv ~/SwarmUI/.venv --dry-run",
        _relink_arguments,
        _relink,
    ),
    Command(
        "materialize",
        "Give environments files of their own, before they are moved or shipped.\n\n"
        "Afterwards no link leads into a store, and no file is shared by its inode.",
        "pip-linkmode materialize ~/ComfyUI/.venv",
        _environment_arguments,
        _materialize,
    ),
    Command(
        "enable",
        "Put pip-linkmode into other environments, by links.",
        "pip-linkmode enable ~/ComfyUI/.venv",
        _environment_arguments,
        _enable,
    ),
    Command(
        "disable",
        "Take pip-linkmode out of environments, and what came with it.\n\n"
        "What it has linked stays, and pip alone can upgrade and uninstall it.",
        "pip-linkmode disable ~/ComfyUI/.venv",
        _environment_arguments,
        _disable,
    ),
)
