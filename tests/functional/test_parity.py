"""What is installed through the store is what pip installs alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import if_everything
from tests.support.parity import assert_parity, store_digest
from tests.support.wheels import TRAITS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.parity import Step

MODES = ("clone", "symlink", *if_everything("auto", "copy", "hardlink"))


def linked(mode: str, store: Path) -> dict[str, str]:
    return {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One wheel or more for every trait that matters."""
    directory = tmp_path_factory.mktemp("traits")
    return [wheel for trait in TRAITS.values() for wheel in trait(directory)]


@pytest.mark.parametrize("mode", MODES)
def test_every_trait_of_a_wheel_is_installed_as_pip_does(
    bed: Bed, tmp_path: Path, wheels: list[Path], mode: str
) -> None:
    """Cold and warm, through an uninstallation, in one store."""
    each = [
        ["install", "--no-index", "--no-deps", "--force-reinstall", str(wheel)]
        for wheel in TRAITS["shared_path"](tmp_path)
    ]
    steps: list[Sequence[str]] = [
        ["install", "--no-index", *map(str, wheels)],
        ["uninstall", "--yes", "plain", "schemes"],
        ["install", "--no-index", *map(str, wheels)],
        *each,
    ]
    env = linked(mode, tmp_path / "store")
    assert_parity(bed, tmp_path, steps, env=env, output=True)


@pytest.mark.parametrize(
    ("name", "value", "mode"),
    [
        ("SOURCE_DATE_EPOCH", "1700000000", "hardlink"),
        ("PYTHONOPTIMIZE", "1", "symlink"),
        ("PYTHONPYCACHEPREFIX", "{tmp}/pycs", "hardlink"),
        ("PYTHONPYCACHEPREFIX", "{tmp}/pycs", "symlink"),
        ("PYTHONNODEBUGRANGES", "1", "symlink"),
    ],
)
def test_bytecode_follows_the_interpreters_settings(
    bed: Bed, tmp_path: Path, wheels: list[Path], name: str, value: str, mode: str
) -> None:
    """Each way of compiling has bytecode of its own in the store."""
    set_ = {name: value.format(tmp=tmp_path)}
    # What pip itself compiles, not what Python does when it imports pip.
    set_["PYTHONDONTWRITEBYTECODE"] = "1"
    install = ["install", "--no-index", "--force-reinstall", *map(str, wheels)]

    def with_settings(environment: Environment) -> object:
        return environment.pip(*install, env={**set_, **env_of(environment)})

    def env_of(environment: Environment) -> dict[str, str]:
        has_shim = (environment.site_packages / "pip_linkmode").exists()
        return linked(mode, tmp_path / "store") if has_shim else {}

    steps: list[Step] = [install, with_settings, with_settings]
    assert_parity(
        bed,
        tmp_path,
        steps,
        env=linked(mode, tmp_path / "store"),
        also=[tmp_path / "pycs"],
    )


def test_installing_changes_nothing_in_the_store(
    bed: Bed, tmp_path: Path, wheels: list[Path]
) -> None:
    """Neither pip nor its uninstaller writes through a link."""
    store = tmp_path / "store"
    environment = bed.environment(tmp_path / "environment", shim=True)
    install = ["install", "--no-index", *map(str, wheels)]
    environment.pip(*install, env=linked("hardlink", store))
    before = store_digest(store)
    for mode in ("hardlink", "symlink"):
        environment.pip(*install, "--force-reinstall", env=linked(mode, store))
    environment.pip("uninstall", "--yes", "plain", "scripts", "schemes")
    assert store_digest(store) == before


@pytest.mark.parametrize("filled", [0o022, 0o077])
@pytest.mark.parametrize("mode", MODES)
def test_permission_bits_follow_the_umask_of_the_installation(
    bed: Bed, tmp_path: Path, wheels: list[Path], mode: str, filled: int
) -> None:
    """Whatever the umask was when the store was filled."""
    store = tmp_path / "store"
    other = {0o022: 0o077, 0o077: 0o022}[filled]
    before = os.umask(filled)
    try:
        filler = bed.environment(tmp_path / "filler", shim=True)
        filler.pip("install", "--no-index", *map(str, wheels), env=linked(mode, store))
        os.umask(other)
        steps = [["install", "--no-index", *map(str, wheels)]]
        assert_parity(bed, tmp_path, steps, env=linked(mode, store))
    finally:
        os.umask(before)
