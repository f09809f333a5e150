"""The fixtures of all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.environments import Bed

_MEMORY = Path("/dev/shm")
_ENOUGH = 4 << 30


def pytest_configure(config: pytest.Config) -> None:
    """Keep the thousands of small files of each environment in memory, if we can."""
    if config.option.basetemp is None and _holds_environments(_MEMORY):
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def _holds_environments(directory: Path) -> bool:
    if not os.access(directory, os.W_OK):
        return False
    status = os.statvfs(directory)
    # Containers tend to have a tiny one, from which extension modules do not load.
    executable = not status.f_flag & getattr(os, "ST_NOEXEC", 0)
    return executable and status.f_bavail * status.f_frsize >= _ENOUGH


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Bed:
    """Return the source of environments that all workers share."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return Bed(base / "bed")
