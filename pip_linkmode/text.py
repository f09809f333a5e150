"""Sizes, plurals and safe characters for messages."""

from __future__ import annotations

import unicodedata

_KILO = 1000
"""Decimal, as pip counts bytes."""


def size(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    for unit, digits in (("bytes", 0), ("kB", 0), ("MB", 1)):
        if abs(count) < _KILO:
            return f"{count:,.{digits}f} {unit}"
        count /= _KILO
    return f"{count:,.1f} GB"


def plural(count: int, noun: str, many: str = "") -> str:
    """Return a number of things: ``1 entry``, ``2 entries``."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


_CONTROLS = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that move the cursor, recolour, or reorder a line."""


def printable(text: str) -> str:
    """Escape the characters of a text that would control a terminal.

    Paths, and names from wheels and RECORD files, may contain escape sequences.
    """
    return "\n".join(
        line
        if line.isprintable()  # nearly each, and much faster than a look at each one
        else "".join(map(_printable, line))
        for line in text.split("\n")
    )


def _printable(one: str) -> str:
    if one == "\t" or unicodedata.category(one) not in _CONTROLS:
        return one
    return ascii(one)[1:-1]
