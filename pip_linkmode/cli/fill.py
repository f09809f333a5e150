"""``pip-linkmode fill``."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from pip_linkmode.cli.command import OK, PROBLEM, Command, Result, as_data, make_stores
from pip_linkmode.cli.console import interpreter, table
from pip_linkmode.cli.progress import Progress
from pip_linkmode.errors import FillRefusedError, SettingsError
from pip_linkmode.maintenance.fill import fill, of_python
from pip_linkmode.maintenance.gather import Wanted, gather, wheels_in
from pip_linkmode.pip_config import effective_settings
from pip_linkmode.text import plural

if TYPE_CHECKING:
    import argparse

    from pip_linkmode.maintenance.fill import FillReport


def _fill_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "wanted",
        nargs="*",
        metavar="requirement|wheel|directory",
        help="requirements for pip, or paths of wheels, or directories of wheels",
    )
    parser.add_argument(
        "-r",
        "--requirement",
        action="append",
        default=[],
        metavar="file",
        help="a requirements file, as pip takes it",
    )
    parser.add_argument(
        "-c",
        "--constraint",
        action="append",
        default=[],
        metavar="file",
        help="a constraints file, as pip takes it",
    )
    parser.add_argument(
        "--python",
        metavar="python",
        help=(
            "the interpreter, or an environment, that wheels and bytecode are for "
            "(default: the one that runs this)"
        ),
    )


def _fill(options: argparse.Namespace) -> Result:
    python = of_python(options.python)
    stores = make_stores(effective_settings(sys.prefix, options.link_store))
    wheels: list[str] = []
    requirements = []
    for argument in options.wanted:
        found = wheels_in(argument)
        # As for pip, a bare name is a project's, whatever is called so here.
        is_path = os.path.basename(argument) != argument
        if not found and is_path and os.path.isdir(argument):
            msg = f"there are no wheels in {argument}; pip wheel makes them"
            raise FillRefusedError(msg)
        wheels += found
        requirements += [] if found else [argument]
    asks_pip = bool(requirements or options.requirement)
    if options.constraint and not asks_pip:
        msg = "--constraint says nothing of wheels that are there; name a requirement"
        raise SettingsError(msg)
    stored: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pip-linkmode-") as directory:
        if asks_pip:
            wanted = Wanted(
                requirements,
                options.requirement,
                options.constraint,
                python.executable if options.python else None,
            )
            found, stored = gather(directory, wanted, stores)
            wheels += found
        if not wheels:
            msg = "nothing is named that could be put into a store"
            raise SettingsError(msg)
        with Progress("Filling the store:") as progress:
            report = fill(stores, wheels, python, progress.show, stored)
    code = PROBLEM if report.declined else OK
    return Result(as_data(report), "\n".join(_fill_lines(report)), code)


def _fill_lines(report: FillReport) -> list[str]:
    rows = [("Package", "Version", "Bytecode", "Entry")]
    rows += [
        (
            one.name,
            one.version,
            interpreter(report.interpreter) if one.compiled else "none",
            "new" if one.fresh else "was there",
        )
        for one in report.wheels
    ]
    lines = [table(rows), ""] if report.wheels else []
    fresh = plural(sum(one.fresh for one in report.wheels), "wheel")
    there = sum(not one.fresh for one in report.wheels)
    lines.append(f"Unpacked {fresh}; {there:,} were there before")
    lines += [
        f"Left to pip: {wheel}: {reason}" for wheel, reason in report.declined.items()
    ]
    return lines


FILL = Command(
    "fill",
    "Put wheels into the store without installing them.\n\n"
    "pip gets missing wheels, for the chosen interpreter, with\n"
    "its own settings of where from.",
    "pip-linkmode fill -r requirements.txt --link-store /srv/wheels",
    _fill_arguments,
    _fill,
)
