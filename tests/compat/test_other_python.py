"""``pip --python OTHER``: the outer pip has us, the other environment never had."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import pythons
from tests.functional.projects import make_project, make_sdist
from tests.support.environments import NEWEST
from tests.support.parity import delta, store_digest
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed, Environment

pytestmark = pytest.mark.compat

CHECK = (
    "import os, sys; "
    "assert 'pip_linkmode' not in sys.modules, 'our package is loaded'; "
    "assert not [n for n in os.environ if 'LINKMODE' in n.upper()], os.environ; "
    "assert not [p for p in sys.path if 'pip-linkmode' in p], sys.path"
)


@pytest.fixture
def wheels(tmp_path: Path) -> list[str]:
    names = ("plain", "schemes", "entry_points", "codings", "uncompilable", "spelling")
    return [str(one) for name in names for one in TRAITS[name](tmp_path / "wheels")]


def install(outer: Environment, other: Environment, *args: str) -> str:
    result = outer.pip("--python", str(other.python), "install", "--no-index", *args)
    for word in ("Blocked import", "Unexpected import", "WARNING"):
        assert word not in result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("pip", "mode"),
    [
        ("22.3.1", "hardlink"),
        ("24.0", "symlink"),
        ("26.2.1", "hardlink"),
        (NEWEST, "symlink"),
    ],
)
def test_an_environment_of_the_same_python(
    bed: Bed, tmp_path: Path, wheels: list[str], pip: str, mode: str
) -> None:
    (python,) = (one for one in pythons() if one.path == sys.executable)
    if not python.starts(pip):
        pytest.skip(f"pip {pip} does not start on Python {python}")
    check(bed, tmp_path, wheels, pip=pip, mode=mode, inside=sys.executable)


@pytest.mark.parametrize(
    ("pip", "mode", "direction"),
    [
        ("26.1.2", "hardlink", "newest into oldest"),
        (NEWEST, "hardlink", "newest into oldest"),
        (NEWEST, "symlink", "newest into oldest"),
        (NEWEST, "symlink", "oldest into newest"),
    ],
)
def test_an_environment_of_another_python(
    bed: Bed, tmp_path: Path, wheels: list[str], pip: str, mode: str, direction: str
) -> None:
    outside, inside = (
        pythons()[-1 if word == "newest" else 0].path
        for word in direction.split(" into ")
    )
    if outside == inside:
        pytest.skip("there is only one Python")
    check(bed, tmp_path, wheels, pip=pip, mode=mode, outside=outside, inside=inside)


def check(
    bed: Bed,
    tmp_path: Path,
    wheels: list[str],
    *,
    pip: str,
    mode: str,
    inside: str,
    outside: str = sys.executable,
) -> None:
    """Compare with what the same outer pip installs there without us."""
    store = tmp_path / "store"
    settings = [f"--link-mode={mode}", f"--link-store={store}"]
    snapshots = {}
    for shim in (False, True):
        outer = bed.environment(tmp_path / "o", shim=shim, pip=pip, python=outside)
        other = bed.environment(tmp_path / "x", shim=False, pip=pip, python=inside)
        for directory in other.site_packages.glob("pip*"):
            directory.rename(tmp_path / f"{directory.name}-{shim}")
        before = outer.snapshot()
        for options in ([], ["--force-reinstall"]):
            said = install(outer, other, *options, *wheels, *(settings if shim else []))
            assert (f"by {mode}" in said) == shim
        after = outer.snapshot()
        # Python may compile what this pip had not imported before.
        changed = [path for path in delta(before, after) if "__pycache__" not in path]
        assert not changed
        snapshots[shim] = other.snapshot()
        if shim:
            module = other.site_packages / "plain" / "deep" / "__init__.py"
            assert module.is_symlink() == (mode == "symlink")
            assert module.is_symlink() or module.stat().st_nlink > 1
            assert not list(other.site_packages.glob("*link*mode*"))
            assert not list(other.site_packages.glob("wrapt*"))
            other.run("-c", "import plain, codings.latin_1, codings.koi8_r")
        for name in ("o", "x"):
            (tmp_path / name).rename(tmp_path / f"{name}-{shim}")
    assert snapshots[True] == snapshots[False]


@pytest.mark.parametrize(
    ("pip", "which"), [("23.2.1", 0), ("26.2.1", 0), (NEWEST, 0), (NEWEST, -1)]
)
def test_nothing_of_ours_reaches_a_build_backend(
    bed: Bed, tmp_path: Path, pip: str, which: int
) -> None:
    """Only the documented ``PIP_LINK_…`` variables, which are pip's own kind."""
    store = tmp_path / "store"
    house = tmp_path / "house"
    make_wheel(house, "needed", files={"needed/__init__.py": "x = 1\n"})
    linked = "import needed; assert os.stat(needed.__file__).st_nlink > 1"
    sdist = make_sdist(
        make_project(
            tmp_path / "src", "source", requires="'needed'", check=f"{CHECK}; {linked}"
        )
    )
    outer = bed.environment(tmp_path / "outer", shim=True, pip=pip)
    python = pythons()[which]
    other = bed.environment(tmp_path / "other", shim=False, pip=pip, python=python.path)
    find = ("--find-links", str(house))
    settings = ("--link-mode=hardlink", f"--link-store={store}")
    install(outer, other, *find, *settings, str(sdist))
    assert any(path.endswith("needed/__init__.py") for path in store_digest(store))
    assert (other.site_packages / "source.py").stat().st_nlink > 1
