"""An engine, and images that are built from the Dockerfiles of the examples."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.containers.engine import Buildah
from tests.filesystem import mounts
from tests.filesystem.conftest import private_namespace  # noqa: F401  # a fixture
from tests.filesystem.test_clusters import make_wheels
from tests.support.environments import CHECKOUT, NEWEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.environments import Bed


@pytest.fixture(scope="session")
def engine(
    private_namespace: bool,  # noqa: F811  # the fixture
    bed: Bed,
) -> Iterator[Buildah]:
    """Return an engine that has a base image, all of it in memory."""
    if not private_namespace:
        pytest.skip("needs to be root on Linux, and to be allowed to mount")
    if not shutil.which("buildah"):
        pytest.skip("needs buildah")
    root = Path(tempfile.mkdtemp(prefix="pip-linkmode-images-"))
    # Overlays cannot be on the overlay that a container has.
    mounts.mount_tmpfs(root, "size=4g")
    try:
        created = Buildah(root)
        ours = bed._dependencies(sys.executable).glob("*.whl")
        wheels = [bed.shim_wheel(), *ours, *make_wheels(root / "wheels")]
        created.make_base(bed.pip_wheel(NEWEST), wheels)
        yield created
    finally:
        mounts.unmount(root)
        root.rmdir()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return the Dockerfiles of the examples, for packages that are small."""
    shutil.copytree(CHECKOUT / "examples" / "containers", tmp_path / "context")
    requirements = tmp_path / "context" / "requirements.txt"
    requirements.write_text("solver\nmesh\npost\n")
    return requirements.parent
