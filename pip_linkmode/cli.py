"""The command: ``pip-linkmode``, or ``python -m pip_linkmode``.

Each command is a row of :data:`COMMANDS`: what it takes, and a function that makes a
:class:`Result` of it, which is printed as text or, with ``--json``, as data.

Exit codes: 0 all is well; 1 something was found, or could not be done; 2 the command
cannot be meant.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pip_linkmode
from pip_linkmode.console import plural, size
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    LinkmodeError,
    SettingsError,
)
from pip_linkmode.status import status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pip_linkmode.status import Status

FINE, FOUND, MEANINGLESS = 0, 1, 2
"""The exit codes."""


class Result(NamedTuple):
    """What a command has to say."""

    data: Any
    """What ``--json`` prints."""
    text: str
    """What is printed without it; may be empty."""
    code: int = FINE


@dataclass(frozen=True)
class Command:
    """One command."""

    name: str
    summary: str
    """One line; may go on after an empty one."""
    example: str
    """A command line, and what it does."""
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Result]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: its arguments; those of the process if ``None``
    :returns: the exit code
    """
    options = _parser().parse_args(argv)
    try:
        result: Result = options.run(options)
    except (EnvironmentUnknownError, SettingsError) as error:
        return _fail(error, MEANINGLESS)
    except (LinkmodeError, OSError) as error:
        return _fail(error, FOUND)
    except KeyboardInterrupt:
        return _fail("interrupted", FOUND)
    try:
        if options.json:
            print(json.dumps(result.data, indent=2))
        elif result.text:
            print(result.text)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.code


def _fail(reason: object, code: int) -> int:
    if isinstance(reason, OSError) and reason.strerror:
        reason = ": ".join(filter(None, (reason.filename, reason.strerror)))
    sys.stderr.write(f"ERROR: {reason}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pip-linkmode",
        description="Look after what pip links: the store, and who uses it.",
        epilog=(
            "exit codes: 0 all is well; 1 something was found, or could not be done; "
            "2 the command cannot be meant"
        ),
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"pip-linkmode {pip_linkmode.__version__}",
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(
            command.name,
            help=command.summary.partition("\n")[0],
            description=command.summary,
            epilog=f"example:\n  {command.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(sub)
        sub.add_argument("--json", action="store_true", help="print data, not text")
        sub.add_argument(
            "--link-store",
            metavar="dir",
            help=(
                "the store, or several separated by "
                f"{os.pathsep!r} (default: as pip is set up here)"
            ),
        )
        sub.set_defaults(run=command.run)
    return parser


def _json(value: Any) -> Any:
    """Return a dataclass as data."""
    return dataclasses.asdict(value)


# --- status ---------------------------------------------------------------------------


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--environment",
        metavar="env",
        help="look from this environment (default: the one that runs this)",
    )


def _status(options: argparse.Namespace) -> Result:
    found = status(options.environment, options.link_store)
    data = _json(found)
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


COMMANDS: tuple[Command, ...] = (
    Command(
        "status",
        "Tell whether this pip links, what is in force and where it was set.\n\n"
        "Tries each link mode from each store to the environment.",
        "pip-linkmode status --environment ~/ComfyUI/.venv",
        _status_arguments,
        _status,
    ),
)
"""In the order of ``--help``."""
