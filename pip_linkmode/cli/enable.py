"""``pip-linkmode enable`` and ``disable``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    as_data,
    environment_arguments,
)
from pip_linkmode.errors import SettingsError
from pip_linkmode.maintenance.enable import (
    disable,
    enable,
    enable_again,
    site_packages_of,
)

if TYPE_CHECKING:
    import argparse


def _enable_arguments(parser: argparse.ArgumentParser) -> None:
    environment_arguments(parser, nargs="*")
    parser.add_argument(
        "--again",
        action="store_true",
        help=(
            "renew all enabled environments with a start file that leads "
            "nowhere, because their pip-linkmode was moved"
        ),
    )
    parser.add_argument(
        "--break-system-packages",
        action="store_true",
        help="enable an environment that is EXTERNALLY-MANAGED",
    )


def _libraries(options: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(map(site_packages_of, options.environments)))


def _enable(options: argparse.Namespace) -> Result:
    if not options.environments and not options.again:
        msg = "name an environment, or pass --again"
        raise SettingsError(msg)
    found = enable_again() if options.again else []
    found += [
        enable(one, break_system_packages=options.break_system_packages)
        for one in _libraries(options)
    ]
    lines = []
    for one in found:
        if one.refused:
            lines.append(f"{one.site_packages}: not enabled: {one.refused}")
        elif one.pip_linkmode:
            lines.append(
                f"{one.site_packages}: {one.outcome}; pip loads {one.pip_linkmode}"
            )
        else:
            lines.append(f"{one.site_packages}: {one.outcome} pip-linkmode")
        lines += [f"  WARNING: {warning}" for warning in one.warnings]
    if not found:
        lines.append("All enabled environments load a pip-linkmode that exists.")
    code = PROBLEM if any(one.refused or one.warnings for one in found) else OK
    return Result([as_data(one) for one in found], "\n".join(lines), code)


def _disable(options: argparse.Namespace) -> Result:
    found = [disable(one) for one in _libraries(options)]
    lines = []
    for one in found:
        was_enabled = one.was_enabled or one.removed
        outcome = "disabled" if was_enabled else "was not enabled"
        if one.refused:
            outcome = f"not disabled: {one.refused}"
        lines.append(f"{one.site_packages}: {outcome}")
        lines += [f"  removed: {name}" for name in one.removed]
        lines += [f"  left, since other packages need it: {name}" for name in one.left]
    code = PROBLEM if any(one.refused for one in found) else OK
    return Result([as_data(one) for one in found], "\n".join(lines), code)


ENABLE = Command(
    "enable",
    "Let the pip of other environments load this pip-linkmode.\n\n"
    "Writes a start file into each environment and installs nothing there.",
    "pip-linkmode enable ~/ComfyUI/.venv",
    _enable_arguments,
    _enable,
)
DISABLE = Command(
    "disable",
    "Remove the start files that enable has written.\n\n"
    "Linked packages stay, and pip alone can upgrade and uninstall them.",
    "pip-linkmode disable ~/ComfyUI/.venv",
    environment_arguments,
    _disable,
)
