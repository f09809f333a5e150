"""Progress bars, on a terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


def _is_terminal() -> bool:
    # A closed stream is None (sys.stderr, in the library reference).
    return sys.stderr is not None and sys.stderr.isatty()


progress: Any = None
if _is_terminal():
    with contextlib.suppress(Exception):
        from pip._vendor.rich import progress  # type: ignore[no-redef]  # or None

_PATIENCE = 1.0
"""Seconds after which a person wants to know how far it is."""
_REFRESH = 0.1


class Progress:
    """The progress of an operation: on a terminal, and only after a second.

    pip's own bar where pip is, and a plain one where it is not.
    """

    def __init__(self, title: str, total: float | None = None) -> None:
        """Show nothing yet.

        :param title: the operation
        :param total: how much there is to do, if it is known
        """
        self._title, self._total, self._done = title, total, 0.0
        self._is_shown = _is_terminal()
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
        """Count an amount as done."""
        self._done += amount
        if not self._is_shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _REFRESH
        if progress is None:
            self._plain = True
            share = f"{self._done / self._total:4.0%}" if self._total else "..."
            sys.stderr.write(f"\r{self._title} {share}\x1b[K")
            sys.stderr.flush()
            return
        if self._bar is None:
            rich = progress
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
