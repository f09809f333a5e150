"""The command: ``pip-linkmode``, or ``python -m pip_linkmode``.

Each subcommand is a row of :data:`COMMANDS`: its arguments, and a function that makes a
result, which is printed as text or, with ``--json``, as data.

Exit codes: 0 success; 1 problems were found, or the operation failed; 2 invalid
arguments or settings.
"""

from __future__ import annotations

import argparse
import difflib
import io
import json
import os
import re
import sys
from typing import TYPE_CHECKING, NoReturn, TextIO

import pip_linkmode
from pip_linkmode.cli.command import (
    PROBLEM,
    USAGE_ERROR,
    Command,
    Result,
    register_copies,
)
from pip_linkmode.cli.console import in_red
from pip_linkmode.cli.enable import DISABLE, ENABLE
from pip_linkmode.cli.fill import FILL
from pip_linkmode.cli.list import LIST
from pip_linkmode.cli.materialize import MATERIALIZE
from pip_linkmode.cli.prune import PRUNE
from pip_linkmode.cli.relink import RELINK
from pip_linkmode.cli.status import STATUS
from pip_linkmode.cli.store import STORE
from pip_linkmode.cli.usage import USAGE
from pip_linkmode.cli.verify import VERIFY
from pip_linkmode.errors import (
    EnvironmentUnknownError,
    LinkmodeError,
    SettingsError,
    describe_error,
)
from pip_linkmode.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


_PROGRAM = "pip-linkmode"
COMMANDS: tuple[Command, ...] = (
    STATUS,
    STORE,
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
    _replace_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path may have characters that the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in ([], ["help"]):
        # `help prune` is `prune --help`.
        arguments = [*arguments[1:2], "--help"]
    options = _parser().parse_args(arguments)
    try:
        register_copies(options)
        result: Result = options.run(options)
    except (EnvironmentUnknownError, SettingsError) as error:
        return _fail(describe_error(error), USAGE_ERROR)
    except (LinkmodeError, OSError) as error:
        return _fail(describe_error(error), PROBLEM)
    except KeyboardInterrupt:
        return _fail("interrupted", PROBLEM)
    text = json.dumps(result.data) if options.json else result.text
    try:
        print(printable(text))
        sys.stdout.flush()
    except BrokenPipeError:  # `| head`
        _silence(sys.stdout)
    except OSError as error:
        _silence(sys.stdout)
        return _fail(f"the output cannot be written: {error.strerror}", PROBLEM)
    return result.code


def _fail(reason: str, code: int) -> int:
    try:
        sys.stderr.write(in_red(printable(f"ERROR: {reason}"), sys.stderr) + "\n")
        sys.stderr.flush()
    except OSError:  # there is no other place to report it
        _silence(sys.stderr)
    return code


def _silence(stream: TextIO) -> None:
    """Send the rest of a stream nowhere: the interpreter flushes it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _replace_closed_streams() -> None:
    """Open the streams with which the process was not started (``>&-``).

    The lowest descriptors are theirs: a file of the store must not get one.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode, flags = ("r", os.O_RDONLY) if name == "stdin" else ("w", os.O_WRONLY)
            descriptor = os.open(os.devnull, flags)
            # As Python's own streams, it stays open until the end.
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115  # as said
            setattr(sys, name, stream)


class _Parser(argparse.ArgumentParser):
    """A parser that suggests the name of the subcommand that may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Exit with a usage error."""
        wrong = re.search(r"invalid choice: '([^']*)'", message)
        names = [command.name for command in COMMANDS]
        if wrong and self.prog == _PROGRAM:
            close = difflib.get_close_matches(wrong[1], names, 1)
            hint = f" Did you mean: {self.prog} {close[0]}?" if close else ""
            message = f"unknown command {wrong[1]!r}.{hint}"
        super().error(printable(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description=(
            "Inspect and maintain the store that pip links from, and the environments "
            "that use it."
        ),
        epilog=(
            "exit codes: 0 success; 1 problems were found, or the operation failed; "
            "2 invalid arguments or settings"
        ),
    )
    parser.add_argument(
        "-V",
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
                f"{os.pathsep!r} (default: the store of pip's settings)"
            ),
        )
        sub.set_defaults(run=command.run)
    return parser
