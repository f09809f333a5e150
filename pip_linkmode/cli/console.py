"""Read sizes and spans of time; draw tables and bars."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


_WIDTH = 30
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


def table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return rows in columns, the first row being their names.

    :param right: the columns of numbers, by index
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        " ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (rows[0], rule, *rows[1:])
    )


def shades() -> tuple[str, str]:
    """Return a dark and a light character that the output can show."""
    try:
        "█░".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#", "-"
    return "█", "░"


def bar(parts: Sequence[tuple[float, str]], whole: float, width: int = _WIDTH) -> str:
    """Draw one bar of a chart.

    :param parts: each a value and the character that shows it
    :param whole: the value of a bar of full width
    """
    drawn, total = "", 0.0
    for value, character in parts:
        total += value
        length = round(total / whole * width) if whole else 0
        drawn += character * (length - len(drawn))
    return drawn
