"""A change of configuration in one environment does not reach another one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs.oracle import STOCK, Lab, Program, assert_used, digests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.index


def etc(program: Program) -> Path:
    return program.path / "etc" / "jupyter"


def disable(program: Program) -> dict[str, str]:
    """Disable an extension, and return all configuration files."""
    command = ("server", "extension", "disable", "--sys-prefix", "jupyterlab")
    program.run("-m", "jupyter", *command)
    return digests(etc(program))


def is_enabled(program: Program) -> bool:
    path = etc(program) / "jupyter_server_config.d" / "jupyterlab.json"
    settings = json.loads(path.read_bytes())["ServerApp"]["jpserver_extensions"]
    return bool(settings["jupyterlab"])


def install(program: Program) -> None:
    """Install the wheels with configuration, without those that they do not need."""
    program.install(
        "--no-deps", "jupyterlab", "notebook-shim", "jupyter-lsp", "jupyterlab-server"
    )


def observe(program: Program) -> list[Any]:
    program.install("jupyter-server")
    install(program)
    pristine = digests(etc(program))
    assert is_enabled(program)
    changed = disable(program)
    assert not is_enabled(program)
    return [pristine, changed]


def test_disabled_extension_is_enabled_in_other_environments(
    lab: Lab, mode: str
) -> None:
    expected = lab.stock("configuration", observe)
    first, second = lab.program(mode), lab.program(mode)
    install(second)
    assert observe(first) == expected
    assert_used(first)
    assert is_enabled(second)
    assert digests(etc(second)).items() < expected[0].items()
    later = lab.program(mode)
    install(later)
    assert digests(etc(later)) == digests(etc(second))


@pytest.mark.parametrize("linked", ["hardlink", "symlink"])
def test_relink_leaves_configuration_to_each_environment(lab: Lab, linked: str) -> None:
    programs = [lab.program(STOCK, own_store=True) for _ in range(2)]
    for program in programs:
        install(program)
    pristine = digests(etc(programs[0]))
    assert len(pristine) > 2
    tool = lab.program("copy")
    command = ("-m", "pip_linkmode", "relink", "--mode", linked)
    paths = [str(program.path) for program in programs]
    tool.run(*command, "--link-store", programs[0].store, *paths)
    assert programs[0].primitive() == linked
    for path in etc(programs[0]).rglob("*.json"):
        with path.open("w") as file:
            file.write("{}")
    assert digests(etc(programs[1])) == pristine
