"""Exceptions: the reasons not to link, or to refuse an operation.

During an installation each of them makes pip install one wheel alone, or makes a store
entry be rebuilt.  An error that ends an installation (no space, no permission, an I/O
error) stays an :class:`OSError`, so that pip reports it as usual.  The command prints
them, and exits with 1, or with 2 for invalid arguments and settings.
"""

from __future__ import annotations


class LinkmodeError(Exception):
    """A reason, in one sentence, not to link."""


def describe_error(error: Exception) -> str:
    """Return the text of an error, without its number."""
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(filter(None, (error.filename, error.strerror)))
    return str(error)


class WheelDeclinedError(LinkmodeError):
    """The wheel is not of the plain shape that can be stored; pip must judge it."""


class StoreRefusedError(LinkmodeError):
    """The store cannot be used, or cannot be trusted."""


class EntryDamagedError(LinkmodeError):
    """A store entry differs from its manifest: set it aside and rebuild it."""


class EntryTimesError(EntryDamagedError):
    """A stored file has another modification time, and is else as it was written."""


class EntryGoneError(EntryDamagedError):
    """Another process has taken an entry away, to put a better one in its place."""


class SettingsError(LinkmodeError):
    """A setting is invalid."""


class EnvironmentUnknownError(LinkmodeError):
    """A path is not that of an environment."""


class RecordInvalidError(LinkmodeError, ValueError):
    """The installed RECORD cannot be parsed."""

    def __init__(self, path: str, reason: str) -> None:
        """Store the path and the reason.

        :param path: absolute path
        :param reason: the rest of the sentence, with the remedy
        """
        super().__init__(f"{path} {reason}")
        self.reason = reason


class EnvironmentBusyError(LinkmodeError):
    """Another process is changing an environment."""


class PruneRefusedError(LinkmodeError):
    """An entry or a registration cannot, or must not, be removed."""


class FillRefusedError(LinkmodeError):
    """A store cannot be filled, or there is nothing to fill it with."""


class EnableRefusedError(LinkmodeError):
    """An environment is no place for pip-linkmode, or it cannot be put there."""
