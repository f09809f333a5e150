"""A laboratory in memory, with a btrfs for clones."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.programs.oracle import MODES, STOCK, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.environments import Bed


@pytest.fixture(scope="session")
def btrfs() -> Iterator[Path | None]:
    """Return a btrfs of this process, or nothing without the right to mount.

    In CI it is not optional.
    """
    if sys.platform != "linux" or os.geteuid() or not shutil.which("mkfs.btrfs"):
        assert "CI" not in os.environ, "clones need Linux, root and mkfs.btrfs"
        yield None
        return
    mounts.enter_private_namespace()
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="pip-linkmode-", dir=memory))
    place = directory / "btrfs"
    mounts.mount_loop(place, "mkfs.btrfs", "-q", size="4G")
    yield place
    mounts.unmount(place)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def laboratory(
    bed: Bed, tmp_path_factory: pytest.TempPathFactory, btrfs: Path | None
) -> Lab:
    """Return the laboratory of the session."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    shared = base / "programs"
    shared.mkdir(exist_ok=True)
    places = dict.fromkeys((STOCK, *MODES), shared)
    if btrfs:
        places["clone"] = btrfs
    else:
        del places["clone"]
    return Lab(bed, shared, places)


@pytest.fixture
def lab(laboratory: Lab) -> Iterator[Lab]:
    """Return the laboratory, and remove the environments of the test afterwards."""
    yield laboratory
    laboratory.clear()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, btrfs: Path | None) -> str:
    """Return each mode."""
    if request.param == "clone" and not btrfs:
        pytest.skip("needs to be root on Linux, and mkfs.btrfs")
    return str(request.param)
