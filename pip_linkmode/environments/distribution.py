"""One installed distribution: its dist-info and its RECORD."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import os
import re
from dataclasses import dataclass
from typing import NamedTuple

from pip_linkmode.environments.environment import Environment
from pip_linkmode.errors import RecordInvalidError

_LARGEST_RECORD = 256 << 20
"""Bytes; those of the largest packages have some tens of millions."""
_LARGEST = 16 << 20
"""Bytes of any other metadata."""


def _hexadecimal(digest: str) -> str | None:
    """Convert a sha256 of a RECORD to hexadecimal; ``None`` if it is invalid.

    :param digest: base64 without padding
    """
    with contextlib.suppress(ValueError):
        decoded = base64.urlsafe_b64decode(f"{digest}=")
        if len(decoded) == hashlib.sha256().digest_size:
            return decoded.hex()
    return None


class Row(NamedTuple):
    """One row of an installed RECORD."""

    record: str
    """The path as it stands there."""
    path: str
    """Absolute path."""
    sha256: str | None
    """Hexadecimal; ``None`` if the row has another hash, an invalid one, or none."""
    size: int | None
    """Bytes."""


@dataclass(frozen=True)
class Distribution:
    """One installed distribution."""

    site_packages: str
    """Absolute path of the directory that holds the dist-info."""
    dist_info: str
    """Name of the dist-info directory."""

    @property
    def name(self) -> str:
        """The project, as it stands in the name of the directory."""
        return self.dist_info.removesuffix(".dist-info").partition("-")[0]

    @property
    def version(self) -> str:
        """The version, as it stands in the name of the directory."""
        return self.dist_info.removesuffix(".dist-info").partition("-")[2]

    @property
    def record(self) -> str:
        """Absolute path of its RECORD."""
        return self._path("RECORD")

    @property
    def installer(self) -> str:
        """The content of INSTALLER; empty if it cannot be read."""
        try:
            return self.text("INSTALLER").strip()
        except OSError:
            return ""

    def _path(self, name: str) -> str:
        return os.path.join(self.site_packages, self.dist_info, name)

    def read(self, name: str) -> bytes:
        """Read a file of its metadata.

        :param name: of the file
        :raises OSError: if it is of another kind, behind a link, too large, or cannot
            be read
        """
        limit = _LARGEST_RECORD if name == "RECORD" else _LARGEST
        environment = Environment(self.site_packages)
        return environment.read(os.path.join(self.dist_info, name), limit)

    def text(self, name: str) -> str:
        """Read a file of its metadata, as far as it is text.

        :param name: of the file
        :raises OSError: as :meth:`read`
        """
        return self.read(name).decode(errors="replace")

    def rows(self) -> list[Row]:
        """Read the rows of RECORD; an empty list if the file is missing.

        :raises OSError: if it cannot be read
        :raises RecordInvalidError: if it is not a RECORD, as after a power cut
        """
        try:
            with contextlib.suppress(FileNotFoundError):
                text = io.StringIO(self.read("RECORD").decode(), newline="")
                return [self._row(row) for row in csv.reader(text) if row]
        except (csv.Error, ValueError) as error:
            reason = (
                f"cannot be parsed: {error}. To write it again, run: pip install "
                f"--ignore-installed --no-deps {self.name}=={self.version}"
            )
            raise RecordInvalidError(self.record, reason) from error
        return []

    def _row(self, row: list[str]) -> Row:
        record, digest, size = (*row, "", "")[:3]
        algorithm, _, value = digest.partition("=")
        if "\0" in record:
            msg = "a path has a zero byte"
            raise ValueError(msg)
        return Row(
            record,
            os.path.normpath(os.path.join(self.site_packages, record)),
            _hexadecimal(value) if algorithm == "sha256" else None,
            int(size) if size else None,
        )


def distributions(site_packages: str) -> list[Distribution]:
    """List the installed distributions, by name.

    :param site_packages: absolute path of a site-packages directory
    :raises OSError: if it cannot be read
    """
    return [
        Distribution(site_packages, name)
        for name in sorted(os.listdir(site_packages))
        if name.endswith(".dist-info")
    ]


_SYSTEMS = frozenset({"conda", "debian", "rpm"})
"""Values of INSTALLER with which another package manager owns the files."""


def why_not(distribution: Distribution) -> str | None:
    """Return the reason to leave a distribution alone; ``None`` if there is none."""
    if is_editable(distribution):
        return "is editable"
    if distribution.installer in _SYSTEMS:
        return f"belongs to {distribution.installer}"
    return None


def is_editable(distribution: Distribution) -> bool:
    """Return whether the files of a distribution are elsewhere (:pep:`610`)."""
    try:
        found = re.search(
            r'"editable"\s*:\s*true', distribution.text("direct_url.json")
        )
    except OSError:
        return False
    return found is not None
