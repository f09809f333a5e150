"""Undo the files and directories of one installation."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field


@dataclass
class Rollback:
    """The files and directories that one installation has created."""

    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)

    def directory(self, path: str) -> None:
        """Make a directory and its parents, as ``os.makedirs`` does."""
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        except FileNotFoundError:
            self.directory(os.path.dirname(path))
            self.directory(path)
        else:
            self.directories.append(path)

    def undo(self) -> None:
        """Remove all files, and the directories that are empty then."""
        for path in reversed(self.files):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in reversed(self.directories):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        self.files.clear()
        self.directories.clear()
