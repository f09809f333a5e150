"""The lowest versions of what we need, as our metadata allows them, and the newest."""

from __future__ import annotations

import sys
import zipfile
from email import message_from_bytes
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tests.support.environments import NEWEST, run_outside
from tests.support.parity import assert_parity
from tests.support.wheels import TRAITS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed, Environment

pytestmark = pytest.mark.compat

TRIED = ("plain", "schemes", "entry_points", "unrecorded", "codings", "spelling")


def requirements(wheel: Path) -> dict[str, Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])
    return {one.name: one for one in map(Requirement, lines)}


def lowest(requirement: Requirement) -> str:
    """Return the one version that it begins with; it has no upper bound."""
    (specifier,) = requirement.specifier
    assert specifier.operator == ">="
    return f"{requirement.name}=={specifier.version}"


def test_bounds_are_low_and_nothing_else_is_needed(bed: Bed) -> None:
    needs = requirements(bed.shim_wheel())
    assert set(needs) == {"packaging", "pip", "wrapt"}
    for need in needs.values():
        lowest(need)


@pytest.mark.index
@pytest.mark.parametrize("bound", ["lowest", "newest"])
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_the_bounds_work(
    bed: Bed,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    bound: str,
    mode: str,
) -> None:
    """A version without a wheel for this Python is built."""
    needs = requirements(bed.shim_wheel())
    wanted = [lowest(needs[name]) for name in ("packaging", "wrapt")]
    house = tmp_path_factory.getbasetemp() / "lowest-dependencies"
    if bound == "lowest" and not house.exists():
        pip = bed.pip_wheel(NEWEST) / "pip"
        run_outside(sys.executable, pip, "wheel", "--no-deps", "-w", house, *wanted)

    def change_dependencies(environment: Environment) -> None:
        ours = (environment.site_packages / "pip_linkmode").exists()
        if bound == "lowest" and ours:
            source = ("--no-index", "--find-links", house)
            environment.pip("install", *source, *wanted, env={"PIP_LINK_MODE": "off"})
            there = environment.pip("freeze").stdout
            for name in ("packaging", "wrapt"):
                version = needs[name].specifier
                assert f"{name}=={str(version).removeprefix('>=')}" in there

    wheels = [
        str(wheel) for name in TRIED for wheel in TRAITS[name](tmp_path / "wheels")
    ]
    install = ["install", "--no-index", *wheels]
    environment = assert_parity(
        bed,
        tmp_path,
        [change_dependencies, install, [*install, "--force-reinstall"]],
        env={"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(tmp_path / "store")},
        ignore=["*/wrapt*", "*/packaging*"],
        output=True,
    )
    module = environment.site_packages / "plain" / "__init__.py"
    assert module.is_symlink() if mode == "symlink" else module.stat().st_nlink > 1
