"""Sizes and plurals for messages."""

from __future__ import annotations

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
