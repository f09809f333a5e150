"""``pip-linkmode enable`` and ``disable``."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pip_linkmode.cli.command import (
    OK,
    PROBLEM,
    Command,
    Result,
    as_data,
    environment_arguments,
)
from pip_linkmode.errors import LinkmodeError, describe_error
from pip_linkmode.maintenance.enable import (
    Disabled,
    Enabled,
    disable,
    enable,
    library_of,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


_Changed = TypeVar("_Changed", Enabled, Disabled)


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
    for site_packages in dict.fromkeys(map(library_of, options.environments)):
        try:
            one = change(site_packages)
        except (LinkmodeError, OSError) as error:
            one = refused(site_packages)
            one.refused = describe_error(error)
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
    code = PROBLEM if any(one.refused or one.warnings for one in found) else OK
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
    code = PROBLEM if any(one.refused for one in found) else OK
    return Result([as_data(one) for one in found], "\n".join(lines), code)


ENABLE = Command(
    "enable",
    "Put pip-linkmode into other environments, by links.",
    "pip-linkmode enable ~/ComfyUI/.venv",
    environment_arguments,
    _enable,
)
DISABLE = Command(
    "disable",
    "Take pip-linkmode out of environments, and what came with it.\n\n"
    "What it has linked stays, and pip alone can upgrade and uninstall it.",
    "pip-linkmode disable ~/ComfyUI/.venv",
    environment_arguments,
    _disable,
)
