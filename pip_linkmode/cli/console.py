"""Read sizes and spans of time; draw tables and bars."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO


_WIDTH = 30
_UNLIMITED = 10**6
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SPANS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}


def parse_size(text: str) -> int:
    """Read a number of bytes: ``20G``, ``500 MB``, ``1.5GiB``.

    :raises ValueError: if the text is invalid
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(ib|b)?", text.strip().lower())
    if match is None:
        msg = f"{text!r} is not a size. Examples: 500M, 20G, 20GiB"
        raise ValueError(msg)
    number, unit, suffix = match.groups()
    factor = _UNITS[unit]
    if suffix == "ib":
        factor = 1024 ** list(_UNITS).index(unit)
    return int(float(number) * factor)


def parse_span(text: str) -> float:
    """Read a span of time: ``12h``, ``30d``, ``2w``, ``6m``, ``1y``; in seconds.

    :raises ValueError: if the text is invalid
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdwmy])", text.strip().lower())
    if match is None:
        msg = f"{text!r} is not a span of time. Examples: 12h, 30d, 2w, 6m, 1y"
        raise ValueError(msg)
    return float(match.group(1)) * _SPANS[match.group(2)]


def date(timestamp: float) -> str:
    """Return a day, by seconds since the epoch; a question mark for 0."""
    return time.strftime("%Y-%m-%d", time.localtime(timestamp)) if timestamp else "?"


def interpreter(name: str) -> str:
    """Return an interpreter tag without the magic number: ``cpython-311.opt-1``.

    :param name: see :func:`pip_linkmode.interpreters.interpreter`
    """
    tag, dot, variant = name.partition(".")
    return f"{tag.rpartition('-')[0]}{dot}{variant}"


def width() -> int:
    """Return the columns of the terminal, or COLUMNS; without a limit in a pipe."""
    if not os.environ.get("COLUMNS") and not sys.stdout.isatty():
        return _UNLIMITED
    return shutil.get_terminal_size().columns


def abbreviate(path: str, room: int) -> str:
    """Return the end of a path that is longer than its room, after three dots."""
    home = os.path.join(os.path.expanduser("~"), "")
    if len(path) > room and path.startswith(home):
        path = os.path.join("~", path[len(home) :])
    return path if len(path) <= room else f"...{path[len(path) - max(room - 3, 1) :]}"


def table(
    rows: Sequence[Sequence[str]],
    right: Sequence[int] = (),
    droppable: Sequence[int] = (),
) -> str:
    """Return rows in columns, the first row being their names.

    :param right: the columns of numbers, by index
    :param droppable: the columns that a narrow terminal can do without, in this order
    """
    shown = list(range(len(rows[0])))
    for index in droppable:
        widths = [max(len(row[column]) for row in rows) for column in shown]
        if sum(widths) + len(widths) - 1 > width():
            shown.remove(index)
    right = [place for place, column in enumerate(shown) if column in right]
    rows = [[row[column] for column in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * room for room in widths)
    return "\n".join(
        " ".join(
            cell.rjust(room) if index in right else cell.ljust(room)
            for index, (cell, room) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (rows[0], rule, *rows[1:])
    )


def _shows(text: str) -> bool:
    """Return whether the output can show some characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def shades() -> tuple[str, str]:
    """Return a dark and a light character that the output can show."""
    return ("█", "░") if _shows("█░") else ("#", "-")


def in_red(text: str, stream: TextIO) -> str:
    """Return an error in red, as pip prints it, on a terminal that shows colours."""
    if (
        not stream.isatty()
        or os.environ.get("NO_COLOR")
        or os.environ.get("TERM") == "dumb"
    ):
        return text
    return f"\x1b[31m{text}\x1b[0m"


def arrow() -> str:
    """Return an arrow that the output can show."""
    return "→" if _shows("→") else "->"


def bar(parts: Sequence[tuple[float, str]], whole: float, room: int = _WIDTH) -> str:
    """Draw one bar of a chart.

    :param parts: each a value and the character that shows it
    :param whole: the value of a bar of full length
    """
    drawn, total = "", 0.0
    for value, character in parts:
        total += value
        length = round(total / whole * room) if whole else 0
        drawn += character * (length - len(drawn))
    return drawn
