"""Messages for the user, and the summary line."""

from __future__ import annotations

import errno
import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.files import file_system
from pip_linkmode.install.linking import LINKS
from pip_linkmode.link.filesystems import is_across_mounts
from pip_linkmode.text import plural, printable, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.install.linking import WheelLinker
    from pip_linkmode.link.linker import Refusal
    from pip_linkmode.settings import Settings
    from pip_linkmode.store.entry import Entry


_log = logging.getLogger("pip_linkmode")


class _Printable(logging.Filter):
    """Escapes control characters in each message of pip-linkmode."""

    def filter(self, record: logging.LogRecord) -> bool:
        # pip asserts that they are a tuple (``_internal/utils/logging.py``, ``emit``).
        record.msg, record.args = printable(record.getMessage()), ()
        return True


_log.addFilter(_Printable())
_VERBOSE = 15
"""pip's level of ``-v`` (``_internal/utils/_log.py``)."""


@dataclass
class LinkedWheel:
    """A wheel whose bulk is linked and whose skeleton is packed."""

    entry: Entry
    fresh: bool
    """Whether the entry was made just now."""
    used: Counter[str]
    """Files by primitive."""
    bytes_shared: int
    """Bytes that were linked, not copied."""
    is_stand_in: bool
    """Whether the wheel itself was not downloaded."""
    again: str | None = None
    """The reason why the wheel had to be unpacked again."""


class Summary:
    """The counts of one pip command, and the warnings that were printed."""

    def __init__(self, settings: Settings, links: WheelLinker) -> None:
        """Begin to count.

        :param settings: of the command
        :param links: makes the links
        """
        self._settings, self._links = settings, links
        self.wheels = Counter[str]()
        """Wheels by the primitive that made most of their files, or by symlink."""
        self.files = Counter[str]()
        """Files by primitive."""
        self.bytes_saved = 0
        self.bytes_not_downloaded = 0
        self.fresh = 0
        """Wheels that were unpacked for the first time."""
        self.again = Counter[str]()
        """Wheels that were unpacked again, by reason."""
        self.left_to_pip = 0
        """Wheels that pip had to install alone."""
        self.reasons = Counter[str]()
        """Wheels that pip had to install alone, by reason; none if it was a warning."""
        self._said: set[object] = set()

    def warn(self, describe_error: str, kind: object = None) -> None:
        """Warn, once.

        :param kind: a key; one warning of each kind is printed
        """
        if (kind or describe_error) not in self._said:
            self._said.add(kind or describe_error)
            _log.warning("pip-linkmode: %s", describe_error)

    @staticmethod
    def verbose(message: str, *args: object) -> None:
        """Log a message that only ``-v`` shows."""
        _log.log(_VERBOSE, message, *args)

    def count(self, name: str, linked: LinkedWheel | None) -> None:
        """Account for one wheel.

        :param name: of the project
        :param linked: ``None`` if pip installs it alone
        """
        if linked is None:
            self.left_to_pip += 1
            return
        used = linked.used
        # One symlink is enough to depend on the store.
        mode = max((*LINKS, "copy"), key=lambda primitive: used[primitive])
        mode = "symlink" if used["symlink"] else mode
        if used[mode]:
            self.wheels[mode] += 1
        self.files += used
        if linked.fresh and linked.again:
            self.again[linked.again] += 1
        elif linked.fresh:
            self.fresh += 1
        else:
            self.bytes_saved += linked.bytes_shared
        if linked.is_stand_in:
            self.bytes_not_downloaded += linked.entry.wheel_size
        self.verbose(
            "%s %s: %s%s",
            name,
            linked.entry.version,
            ", ".join(
                f"{used[one]:,} {'empty' if one == 'empty' else f'files by {one}'}"
                for one in (*LINKS, "copy", "empty")
                if used[one]
            ),
            f"; unpacked {linked.again or 'for the first time'}"
            if linked.fresh
            else "",
        )
        for refusal in self._links.linker.refusals.values():
            if refusal.primitive == self._settings.requested:
                # A wheel may have files in several areas.
                self.warn(_reason(refusal), (refusal.primitive, refusal.error.errno))

    def leave(self, name: str, reason: str) -> None:
        """Note the reason why a wheel is left to pip."""
        self.reasons[reason] += 1
        self.verbose("%s is left to pip: %s", name, reason)

    def _alone(self) -> str:
        line = f"{self.left_to_pip} by pip alone"
        if not self.reasons:  # a warning has the reason
            return line
        if len(self.reasons) == 1 and self.reasons.total() == self.left_to_pip:
            return f"{line}: {next(iter(self.reasons))}"
        return f"{line} (-v tells why)"

    def report(self) -> None:
        """Log the summary line, if anything was installed."""
        if not self.wheels:
            if self.left_to_pip:
                _log.info("Linked nothing; %s", self._alone())
            return
        (mode, count), *others = self.wheels.most_common()
        packages = f"{count} package{'s' if count != 1 else ''}"
        line = (
            f"Copied {packages} from the store"
            if mode == "copy"
            else f"Linked {packages} by {mode}"
        )
        line += "".join(f", {count} by {mode}" for mode, count in others)
        total = sum(self.files.values())
        details = f"{total:,} files"
        if self.wheels["symlink"]:
            details += f", {self.files['symlink']:,} of them symlinks"
        if self.bytes_saved:
            details += f", {size(self.bytes_saved)} not written again"
        if self.bytes_not_downloaded:
            details += f", {size(self.bytes_not_downloaded)} not downloaded"
        line += f" ({details})"
        if self.fresh:
            line += f"; {self.fresh} unpacked for the first time"
        line += "".join(f"; {n} unpacked {why}" for why, n in self.again.items())
        if self.left_to_pip:
            line += f"; {self._alone()}"
        _log.info("%s", line + "".join(self._not_shared()))

    def _not_shared(self) -> Iterator[str]:
        """Yield additions to the summary; warn if a link was requested."""
        requested = self._settings.requested
        if self._settings.is_staging:
            yield f"; {self._settings.reason}"
        for store in sorted(self._links.mounted):
            where = f"{store} ({file_system(store)})"
            yield f"; the links dangle while {where} is not mounted"
        for reason in sorted(self._links.unreachable):
            yield f"; {reason}"
        for reason, files in self._links.linker.exceptions.items():
            count = plural(files, "file")
            # In symlink mode, some files are hard links or copies by design.
            if requested in ("clone", "hardlink"):
                self.warn(f"{count} without a {requested}: {reason}")
            yield f"; {count} not shared: {reason}"
        refusals = self._links.linker.refusals.values()
        refused = [one for one in refusals if one.primitive == "hardlink"][:1]
        for refusal in refused:
            if requested == "auto" and self.wheels["copy"]:
                yield f"; {_refused(refusal)}"
            elif requested == "symlink" and self.files["copy"]:
                yield f"; {self.files['copy']:,} files copied: {_refused(refusal)}"


def _refused(refusal: Refusal) -> str:
    return (
        f"no {refusal.primitive} from {refusal.source} "
        f"({file_system(refusal.source)}) to {refusal.target} "
        f"({file_system(refusal.target)}): {refusal.error.strerror}"
    )


def _reason(refusal: Refusal) -> str:
    if refusal.error.errno != errno.EXDEV:
        hint = "--link-mode auto takes the best that can be had"
    elif is_across_mounts(refusal.source, refusal.target):
        hint = "mount one directory that holds both, or use --link-mode symlink"
    else:
        hint = "set --link-store to a directory on the file system of the environment"
    return f"{_refused(refusal)}; {hint}"
