"""What the command shows: sizes, tables, bars, and how far it is."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

from pip_linkmode import _pip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self

_KILO = 1000
"""Decimal, as pip counts bytes."""
_PATIENCE = 1.0
"""Seconds after which a person wants to know how far it is."""
_REFRESH = 0.1
_WIDTH = 30


def size(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit, digits in (("bytes", 0), ("kB", 0), ("MB", 1)):
        if abs(count) < _KILO:
            return f"{count:,.{digits}f} {unit}"
        count /= _KILO
    return f"{count:,.1f} GB"


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_SPANS = {"h": 3600, "d": 86400, "w": 7 * 86400, "m": 30 * 86400, "y": 365 * 86400}


def parse_size(text: str) -> int:
    """Read a number of bytes: ``20G``, ``500 MB``, ``1.5GiB``.

    :raises ValueError: if it is none
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(ib|b)?", text.strip().lower())
    if match is None:
        msg = f"{text!r} is no size; write 500M, 20G, 20GiB"
        raise ValueError(msg)
    number, unit, suffix = match.groups()
    factor = _UNITS[unit]
    if suffix == "ib":
        factor = 1024 ** list(_UNITS).index(unit)
    return int(float(number) * factor)


def parse_span(text: str) -> float:
    """Read a span of time: ``12h``, ``30d``, ``2w``, ``6m``, ``1y``; in seconds.

    :raises ValueError: if it is none
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([hdwmy])", text.strip().lower())
    if match is None:
        msg = f"{text!r} is no span of time; write 12h, 30d, 2w, 6m, 1y"
        raise ValueError(msg)
    return float(match.group(1)) * _SPANS[match.group(2)]


def date(timestamp: float) -> str:
    """Return a day, by seconds since the epoch; of what was never, a question mark."""
    return time.strftime("%Y-%m-%d", time.localtime(timestamp)) if timestamp else "?"


def plural(count: int, what: str, many: str = "") -> str:
    """Return a number of things: ``1 entry``, ``2 entries``."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"


def interpreter(name: str) -> str:
    """Return whose bytecode it is, without the magic number: ``cpython-311.opt-1``.

    :param name: see :func:`pip_linkmode.bytecode.interpreter`
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


class Progress:
    """How far something is: on a terminal, and only if it takes its time.

    pip's own bar where pip is, and a plain one where it is not.
    """

    def __init__(self, title: str, total: float | None = None) -> None:
        """Show nothing yet.

        :param title: what is being done
        :param total: how much there is to do, if it is known
        """
        self._title, self._total, self._done = title, total, 0.0
        self._is_shown = sys.stderr.isatty()
        self._next = time.monotonic() + _PATIENCE
        self._bar: Any = None
        self._plain = False

    def __enter__(self) -> Self:
        """Begin to count the time."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        if self._plain:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def advance(self, amount: float = 1) -> None:
        """Say that so much more is done."""
        self._done += amount
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REFRESH
        if _pip.progress is None:
            self._plain = True
            share = f"{self._done / self._total:4.0%}" if self._total else "..."
            sys.stderr.write(f"\r{self._title} {share}\x1b[K")
            sys.stderr.flush()
            return
        if self._bar is None:
            rich = _pip.progress
            self._bar = rich.Progress(
                rich.TextColumn("[progress.description]{task.description}"),
                rich.BarColumn(),
                rich.TextColumn("{task.percentage:>3.0f}%" if self._total else ""),
                rich.TextColumn("eta"),
                rich.TimeRemainingColumn(),
                console=rich.Console(file=sys.stderr),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=self._total)
            self._bar.start()
        self._bar.update(self._task, completed=self._done)
