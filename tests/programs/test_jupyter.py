"""JupyterLab: files that it serves, and settings of one environment.

``jupyter server extension disable --sys-prefix`` writes into a file of the wheel.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs.oracle import (
    STOCK,
    Lab,
    Program,
    assert_used,
    digests,
    serving,
    spread,
)

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


def fetched(program: Program) -> dict[str, Any]:
    """Start JupyterLab, and fetch static files of all its parts."""
    share = program.path / "share" / "jupyter"
    page = share / "labextensions" / "jupyterlab_pygments" / "static"
    server = program.site_packages / "jupyter_server" / "static"
    paths = [
        *(f"/static/lab/{path}" for path in spread(share / "lab" / "static", 26)),
        *(f"/static/{path}" for path in spread(server, 10)),
        *(f"/lab/extensions/jupyterlab_pygments/static/{p}" for p in spread(page, 4)),
        "/lab/api/themes/@jupyterlab/theme-dark-extension/index.css",
        "/kernelspecs/python3/logo-svg.svg?token=secret",
        "/lab/api/translations/default?token=secret",
    ]
    assert len(paths) >= 40
    runtime = program.private / "home" / ".local" / "share" / "jupyter" / "runtime"

    def port(_: str) -> int | None:
        try:
            (found,) = runtime.glob("jpserver-*.json")
            return int(json.loads(found.read_bytes())["port"])
        except ValueError:  # not there, or half written
            return None

    options = (
        *("--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),
        "--IdentityProvider.token=secret",
    )
    with serving(program, "-m", "jupyterlab", *options, port=port) as running:
        status, body = running.get("/lab?token=secret")
        assert (status, b"jupyter-config-data" in body) == (200, True)
        return running.fetch(paths)


def jupyterlab(program: Program) -> dict[str, Any]:
    program.install("jupyterlab")
    pristine = digests(etc(program))
    found = fetched(program)
    assert is_enabled(program)
    changed = disable(program)
    assert not is_enabled(program)
    return {"files": found, "pristine": pristine, "changed": changed}


def test_jupyterlab_serves_its_files_and_is_disabled_in_one_environment(
    lab: Lab, mode: str
) -> None:
    expected = lab.stock("jupyterlab", jupyterlab)
    assert {status for status, _ in expected["files"].values()} == {200}
    first, second = lab.program(mode), lab.program(mode)
    install(second)
    found = jupyterlab(first)
    assert_used(first)
    files, fetched_files = expected.pop("files"), found.pop("files")
    assert {path: a for path, a in fetched_files.items() if a != files[path]} == {}
    assert found == expected
    assert is_enabled(second)
    assert digests(etc(second)).items() < expected["pristine"].items()
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
    tool = lab.program("symlink")
    command = ("-m", "pip_linkmode", "relink", "--mode", linked)
    paths = [str(program.path) for program in programs]
    tool.run(*command, "--link-store", programs[0].store, *paths)
    assert programs[0].primitive() == linked
    for path in etc(programs[0]).rglob("*.json"):
        with path.open("w") as file:
            file.write("{}")
    assert digests(etc(programs[1])) == pristine
