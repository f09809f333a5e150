"""The two files that start pip-linkmode, on the Pythons that read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import pythons
from tests.support import debian as archive
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed

pytestmark = pytest.mark.compat

READS_START_FILES = (3, 15)
"""PEP 829; older Pythons read the ``import`` line of the ``.pth`` only."""


@pytest.fixture
def interpreter(request: pytest.FixtureRequest) -> Callable[[tuple[int, int]], str]:
    """Return a function that finds or downloads an interpreter."""

    def find(version: tuple[int, int]) -> str:
        for python in pythons():
            if python.version == version:
                return python.path
        return str(archive.interpreter(request.getfixturevalue("debian"), version))

    return find


@pytest.mark.parametrize("version", [(3, 14), READS_START_FILES], ids=str)
@pytest.mark.parametrize("only", ["pip_linkmode.pth", "pip_linkmode.start"])
def test_one_of_the_files_is_enough_where_python_reads_it(
    bed: Bed,
    tmp_path: Path,
    interpreter: Callable[[tuple[int, int]], str],
    version: tuple[int, int],
    only: str,
) -> None:
    python = interpreter(version)
    environment = bed.environment(tmp_path / "environment", shim=True, python=python)
    for name in ("pip_linkmode.pth", "pip_linkmode.start"):
        path = environment.site_packages / name
        assert path.exists()
        if name != only:
            path.unlink()
    wheel = make_wheel(tmp_path, "package", files={"package/__init__.py": "x = 1\n"})
    environment.pip("install", "--no-index", wheel)
    module = environment.site_packages / "package" / "__init__.py"
    is_read = only.endswith(".pth") or version >= READS_START_FILES
    assert (module.stat().st_nlink > 1) is is_read
