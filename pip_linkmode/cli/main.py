"""The command: ``pip-linkmode``, or ``python -m pip_linkmode``.

Each command is a row of :data:`COMMANDS`: what it takes, and a function that makes a
result of it, which is printed as text or, with ``--json``, as data.

Exit codes: 0 all is well; 1 something was found, or could not be done; 2 the command
cannot be meant.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from typing import TYPE_CHECKING

import pip_linkmode
from pip_linkmode.cli.command import (
    PROBLEM,
    USAGE_ERROR,
    Command,
    Result,
    register_copies,
)
from pip_linkmode.cli.enable import DISABLE, ENABLE
from pip_linkmode.cli.fill import FILL
from pip_linkmode.cli.list import LIST
from pip_linkmode.cli.materialize import MATERIALIZE
from pip_linkmode.cli.prune import PRUNE
from pip_linkmode.cli.relink import RELINK
from pip_linkmode.cli.status import STATUS
from pip_linkmode.cli.usage import USAGE
from pip_linkmode.cli.verify import VERIFY
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    LinkmodeError,
    SettingsError,
    describe_error,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


COMMANDS: tuple[Command, ...] = (
    STATUS,
    LIST,
    USAGE,
    VERIFY,
    PRUNE,
    FILL,
    RELINK,
    MATERIALIZE,
    ENABLE,
    DISABLE,
)
"""In the order of ``--help``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: its arguments; those of the process if ``None``
    :returns: the exit code
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may have what the terminal does not.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(argv)
    try:
        register_copies(options)
        result: Result = options.run(options)
    except (EnvironmentUnknownError, SettingsError) as error:
        return _fail(describe_error(error), USAGE_ERROR)
    except (LinkmodeError, OSError) as error:
        return _fail(describe_error(error), PROBLEM)
    except KeyboardInterrupt:
        return _fail("interrupted", PROBLEM)
    try:
        if options.json:
            print(json.dumps(result.data, indent=2))
        elif result.text:
            print(result.text)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return result.code


def _fail(reason: str, code: int) -> int:
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
