"""Progress bars, on a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING, Any

from pip_linkmode.text import printable

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


class Progress:
    """The progress of an operation: on a terminal, and only after a second.

    pip's own bar where pip is, and a plain one where it is not.
    """

    def __init__(self, title: str) -> None:
        """Show nothing yet.

        :param title: the operation
        """
        self._title, self._name, self._share = title, "", 0.0
        # The first part may be in work longer than that.
        self._timer = threading.Timer(_PATIENCE, self._start)
        self._timer.daemon = True
        self._bar: Any = None
        self._is_shown = False

    def __enter__(self) -> Self:
        """Begin to count the time."""
        if _is_terminal():
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()
        if self._bar is not None:
            self._bar.stop()
        elif self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def show(self, name: str, share: float) -> None:
        """Show the part in work.

        :param name: of the package, or path of the environment
        :param share: of all parts that is done, from 0 to 1
        """
        self._name, self._share = printable(name), share
        if self._is_shown:
            self._draw()

    def _start(self) -> None:
        if progress is not None:
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(),
                progress.TextColumn("{task.percentage:>3.0f}%"),
                progress.TextColumn("eta"),
                progress.TimeRemainingColumn(),
                console=progress.Console(file=sys.stderr),
                transient=True,
            )
            self._task = self._bar.add_task(self._title, total=1.0)
            self._bar.start()
        self._draw()
        self._is_shown = True

    def _draw(self) -> None:
        text = f"{self._title} {self._name}".rstrip()
        if self._bar is not None:
            self._bar.update(self._task, description=text, completed=self._share)
        else:
            sys.stderr.write(f"\r{text} {self._share:4.0%}\x1b[K")
            sys.stderr.flush()
