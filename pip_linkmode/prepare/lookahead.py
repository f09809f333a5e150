"""Look at entries just ahead of their turn, in an interpreter of one's own.

To compare every file with its manifest takes half as long as to link it, and can be
done while pip does other things.  What was seen counts for two seconds, and while the
manifest is the very file that was read then; otherwise an entry is looked at in its
turn.  What is edited in these seconds is linked as it is, as if it were edited after
that; what is removed is missed when it is linked, but not by a symlink: so who makes
symlinks does not look ahead.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from pip_linkmode.prepare.pool import Workers, WorkersError, cores
from pip_linkmode.store.manifest import IMPOSSIBLE, NO_CHECKS, RecentChecks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future


FEWEST = 48
"""Entries for which it is worth a process."""
_LEAD = 16
"""Entries whose turn comes before that process has started."""
_CHUNK = 8
"""Entries that are looked at in one job."""
_DEPTH = 2
"""Jobs that are waiting or being done at any time: to look early is to look twice."""
SECONDS = 2.0
"""How long it counts."""


class AheadChecker:
    """What was seen of entries, a moment ago."""

    def __init__(self, interpreter: str) -> None:
        """Start nothing yet.

        :param interpreter: whose bytecode is looked at too, see
            :func:`pip_linkmode.interpreters.interpreter`
        """
        self._interpreter = interpreter
        self._workers = Workers(1, program="checker")
        self._chunks: Iterator[Sequence[str]] = iter(())
        self._first: set[str] = set()
        # Written to by the thread that talks to the worker.
        self._seen: dict[str, tuple[float, RecentChecks]] = {}

    def begin(self, entries: Sequence[str]) -> None:
        """Begin to look, if there are enough entries and somebody to do it.

        :param entries: absolute paths, in the order in which they will be asked for
        """
        if len(entries) < FEWEST or cores() == 1:
            return
        starts = range(_LEAD, len(entries), _CHUNK)
        self._chunks = iter([entries[start : start + _CHUNK] for start in starts])
        for _ in range(_DEPTH):
            self._submit()

    def _submit(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is not None:
            self._first.add(chunk[0])
            job = self._workers.submit(self._interpreter, *chunk)
            # Nothing was seen before it was asked for.
            job.add_done_callback(partial(self._note, time.monotonic()))

    def _note(self, then: float, job: Future[Any]) -> None:
        if job.cancelled():
            return
        # What has failed, or is no answer, is looked at in its turn.
        with contextlib.suppress(WorkersError, OSError, *IMPOSSIBLE):
            for entry, stamps in job.result().items():
                seen = {path: tuple(file_stamp) for path, file_stamp in stamps.items()}
                self._seen[entry] = then, RecentChecks(seen)

    def seen(self, entry: str) -> RecentChecks:
        """Return what was seen of an entry; it counts once.

        :param entry: absolute path; its manifest must not have been read yet
        """
        if entry in self._first:
            self._first.remove(entry)
            self._submit()
        then, seen = self._seen.pop(entry, (0.0, NO_CHECKS))
        return seen if time.monotonic() - then < SECONDS else NO_CHECKS

    def stop(self) -> None:
        """Leave no thread and no process behind."""
        self._workers.stop()
