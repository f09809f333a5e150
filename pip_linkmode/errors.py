"""What can stand between a wheel and its links.

None of these ends an installation: each makes one wheel go pip's own way, or one store
entry be rebuilt.  What *does* end an installation (no space, no permission, an I/O
error) stays the :class:`OSError` that it is, so that pip reports it as it always does.
"""

from __future__ import annotations


class LinkmodeError(Exception):
    """A reason, in one sentence, not to link."""


def describe_error(error: Exception) -> str:
    """Return what an error says, without a number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(filter(None, (error.filename, error.strerror)))
    return str(error)


class WheelDeclinedError(LinkmodeError):
    """The wheel is not of the plain shape that can be stored; pip must judge it."""


class StoreRefusedError(LinkmodeError):
    """The store cannot be used, or cannot be trusted."""


class EntryDamagedError(LinkmodeError):
    """A store entry is not what its manifest says: set it aside and rebuild it."""


class EntryGoneError(EntryDamagedError):
    """Another process has taken an entry away, to put a better one in its place."""


class SettingsError(LinkmodeError):
    """A setting has a value that cannot be meant."""


class EnvironmentUnknownError(LinkmodeError):
    """A path is not that of an environment."""


class RecordInvalidError(LinkmodeError, ValueError):
    """What stands in the place of an installed RECORD is none."""

    def __init__(self, path: str, reason: str) -> None:
        """Say of which file it is said.

        :param path: absolute path
        :param reason: the rest of the sentence, and what to do
        """
        super().__init__(f"{path} {reason}")
        self.reason = reason


class EnvironmentBusyError(LinkmodeError):
    """Another process is changing an environment."""


class PruneRefusedError(LinkmodeError):
    """What was to be removed cannot be, or must not."""


class FillRefusedError(LinkmodeError):
    """A store cannot be filled, or there is nothing to fill it with."""


class EnableRefusedError(LinkmodeError):
    """An environment is no place for pip-linkmode, or it cannot be put there."""
