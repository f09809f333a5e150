"""Look at entries ahead of their turn, in an interpreter of one's own.

To compare every file with its manifest takes as long as half of the links.  It can be
done while pip does other things; what was seen counts for some seconds, and for the
very manifest that was read.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pip_linkmode.entry import NOTHING_SEEN
from pip_linkmode.workers import Workers, cores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from pip_linkmode.bytecode import Interpreter
    from pip_linkmode.entry import Stamp

FEWEST = 32
"""Entries for which it is worth a process."""
_LEAD = 8
"""Entries whose turn comes before that process has started."""
_CHUNK = 8
"""Entries that are looked at in one job."""
SECONDS = 5.0
"""How long it counts."""


class LookAhead:
    """What was seen of entries, lately."""

    def __init__(self, interpreter: Interpreter) -> None:
        """Start nothing yet.

        :param interpreter: whose bytecode is looked at too
        """
        self._workers = Workers(1, interpreter)
        self._seen: dict[str, tuple[float, Mapping[str, Stamp]]] = {}

    def begin(self, entries: Sequence[str]) -> None:
        """Look at entries, in this order, if there are enough and somebody to do it.

        :param entries: absolute paths
        """
        if len(entries) < FEWEST or cores() == 1:
            return
        for index in range(_LEAD, len(entries), _CHUNK):
            chunk = entries[index : index + _CHUNK]
            job = self._workers.submit("look", chunk, self._workers.interpreter.name)
            job.add_done_callback(self._note)

    def _note(self, job: Future[Any]) -> None:
        if job.cancelled() or job.exception() is not None:
            return  # then they are looked at in their turn
        now = time.monotonic()
        for entry, seen in job.result().items():
            stamps = {directory: tuple(stamp) for directory, stamp in seen.items()}
            self._seen[entry] = now, stamps

    def seen(self, entry: str) -> Mapping[str, Stamp]:
        """Return which files of an entry were as they should be, a moment ago.

        :param entry: absolute path; its manifest must not have been read yet
        :returns: stamps of manifests, by absolute path of their directory
        """
        then, stamps = self._seen.get(entry, (0.0, NOTHING_SEEN))
        return stamps if time.monotonic() - then < SECONDS else NOTHING_SEEN

    def stop(self) -> None:
        """Leave no thread and no process behind."""
        self._workers.stop()
