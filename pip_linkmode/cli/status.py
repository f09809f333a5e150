"""``pip-linkmode status``."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from pip_linkmode.cli.command import OK, PROBLEM, Command, Result, as_data
from pip_linkmode.cli.console import arrow
from pip_linkmode.maintenance.status import status
from pip_linkmode.text import plural, size

if TYPE_CHECKING:
    from pip_linkmode.hooks.inspection import Hook
    from pip_linkmode.maintenance.status import Status


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "environment",
        nargs="?",
        metavar="env",
        help=(
            "an environment (default: the active one, VIRTUAL_ENV, else the one that "
            "runs this command)"
        ),
    )
    parser.add_argument(
        "--environment", dest="named", metavar="env", help=argparse.SUPPRESS
    )


_SETTINGS = ("requested", "mode", "stores", "exclude", "reason", "trust_group")
"""Keys of ``--json``; the others concern a running pip."""


def _status(options: argparse.Namespace) -> Result:
    environment = options.environment or options.named
    found = status(environment or _active(), options.link_store)
    data = as_data(found)
    data["hook"]["problem"] = found.hook.problem
    settings = data["effective_settings"]["settings"]
    data["effective_settings"]["settings"] = {key: settings[key] for key in _SETTINGS}
    data["used"] = found.used
    data["problem"] = found.problem
    code = PROBLEM if found.problem or found.lost else OK
    return Result(data, "\n".join(_status_lines(found)), code)


def _active() -> str | None:
    """Return the active environment, unless it is the one that runs this."""
    active = os.environ.get("VIRTUAL_ENV")
    if not active or os.path.realpath(active) == os.path.realpath(sys.prefix):
        return None
    return active if os.path.isdir(active) else None


def _status_lines(found: Status) -> list[str]:
    hook, settings = found.hook, found.effective_settings.settings
    sources = found.effective_settings.sources
    pip = f"pip {hook.pip}" if hook.pip else "no pip"
    state = "links the wheels that it installs"
    if found.problem:
        # It may link by another mode than the requested one.
        is_refused = hook.problem or found.effective_settings.problem
        linking = found.used and settings.enabled and not is_refused
        state = f"{'links, but' if linking else 'not linking:'} {found.problem}"
    mode = settings.requested
    if found.used:
        mode = f"{mode} {'works' if found.used == mode else arrow() + ' ' + found.used}"
        mode += " here"
    lines = [
        f"Environment  {found.environment} ({found.file_system})",
        f"pip          {pip}, {state}",
        *([f"pip-linkmode {_origin(hook)}"] if hook.pip_linkmode else []),
        f"Mode         {mode} (set by {sources['mode']})",
    ]
    if settings.exclude:
        names = ", ".join(settings.exclude)
        lines.append(f"Excluded     {names} (set by {sources['exclude']})")
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
    for path, count in found.lost.items():
        packages = plural(count, "package")
        lines.append(f"Lost         {packages}: symlinks into {path} lead to no file.")
        lines.append(
            "             Mount it, or run: pip install --force-reinstall PACKAGE"
        )
    if found.unserved:
        lines.append("Enabled      environments with a start file that leads nowhere:")
        lines += [f"             {path}" for path in found.unserved]
        lines.append("             Run: pip-linkmode enable --again")
    return lines


def _origin(hook: Hook) -> str:
    """Return the version of pip-linkmode, and its origin."""
    if hook.served_from:
        return f"{hook.pip_linkmode}, loaded from {hook.served_from}"
    how = "linked there by an early `enable`" if hook.copied else "installed there"
    return f"{hook.pip_linkmode}, {how}"


STATUS = Command(
    "status",
    "Show whether pip links here, the effective settings and their sources.\n\n"
    "Tries each link mode from each store to the environment.",
    "pip-linkmode status ~/ComfyUI/.venv",
    _status_arguments,
    _status,
)
