"""Symlink mode, as programs see it: served files, repair, configuration."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed


@pytest.mark.index
def test_environment_is_repaired_after_its_store_is_lost(
    bed: Bed, tmp_path: Path
) -> None:
    """pip and the modules that it loads are not among the lost files."""
    house = bed.wheelhouse(["wrapt", "packaging"])
    wheel = make_wheel(tmp_path / "wheels", "pkg", files={"pkg/a.py": "x = 1\n"})
    environment = bed.environment(tmp_path / "environment", shim=True)
    store = tmp_path / "store"
    env = {
        "PIP_LINK_MODE": "symlink",
        "PIP_LINK_STORE": str(store),
        "PIP_FIND_LINKS": f"{house} {bed.shim_wheel().parent} {wheel.parent}",
        "PIP_NO_INDEX": "1",
    }
    install = ("install", "--force-reinstall", "--no-deps")
    environment.pip(*install, "pip-linkmode", "wrapt", "packaging", "pkg", env=env)
    module = environment.site_packages / "pkg" / "a.py"
    assert module.is_symlink()
    shutil.rmtree(store)
    assert not module.exists()
    result = environment.pip(*install, "pkg", env=env)
    assert "Linked 1 package by symlink" in result.stdout
    assert environment.run("-c", "import pkg.a; print(pkg.a.x)").stdout == "1\n"


@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink"])
def test_configuration_is_changed_in_one_environment_only(
    bed: Bed, tmp_path: Path, mode: str
) -> None:
    """As ``jupyter server extension disable --sys-prefix`` does it."""
    files: dict[str, bytes | str] = {
        "pkg/a.py": "x = 1\n",
        "pkg-1.0.data/data/etc/pkg/config.json": "{}",
    }
    wheel = make_wheel(tmp_path / "wheels", "pkg", files=files)
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(tmp_path / "store")}
    one, two = (bed.environment(tmp_path / name, shim=True) for name in ("one", "two"))
    for environment in (one, two):
        environment.pip("install", "--no-index", str(wheel), env=env)
    with open(one.path / "etc/pkg/config.json", "r+", encoding="utf-8") as file:
        file.write('{"disabled": true}')
    assert (two.path / "etc/pkg/config.json").read_text() == "{}"
    two.pip("install", "--no-index", "--force-reinstall", str(wheel), env=env)
    assert (two.path / "etc/pkg/config.json").read_text() == "{}"


def test_served_files_are_really_below_the_served_directory(
    bed: Bed, tmp_path: Path
) -> None:
    """As aiohttp, Starlette and tornado compare: by the real path."""
    names = ("static/app.js", "static/model.bin", "data.json", "page.html")
    files: dict[str, bytes | str] = {f"pkg/{name}": "x" * (1 << 20) for name in names}
    wheel = make_wheel(tmp_path / "wheels", "pkg", files={**files, "pkg/a.py": "x = 1"})
    env = {"PIP_LINK_MODE": "symlink", "PIP_LINK_STORE": str(tmp_path / "store")}
    environment = bed.environment(tmp_path / "environment", shim=True)
    environment.pip("install", "--no-index", str(wheel), env=env)
    served = environment.site_packages / "pkg"
    assert (served / "a.py").is_symlink()
    for name in names:
        real = os.path.realpath(served / name)
        assert real.startswith(os.path.join(os.path.realpath(served), ""))
        assert (served / name).stat().st_nlink == 2
    # compileall replaces a file that is not a symlink.
    environment.run("-m", "compileall", "-q", "-f", str(served))


def test_lost_store_is_reported_before_pip_resolves(bed: Bed, tmp_path: Path) -> None:
    """Else ``import pkg`` gives an empty package, and pip is satisfied."""
    files: dict[str, bytes | str] = {"pkg/__init__.py": "x = 1\n"}
    wheel = make_wheel(tmp_path / "wheels", "pkg", files=files)
    store = tmp_path / "store"
    env = {
        "PIP_LINK_MODE": "symlink",
        "PIP_LINK_STORE": str(store),
        "PIP_FIND_LINKS": str(wheel.parent),
        "PIP_NO_INDEX": "1",
    }
    environment = bed.environment(tmp_path / "environment", shim=True)
    assert environment.pip("install", "pkg", env=env).stderr == ""
    store.rename(tmp_path / "moved")
    result = environment.pip("install", "pkg", env=env)
    assert "already satisfied" in result.stdout
    warning = f"1 package of this environment is a symlink into {store}, which does not"
    assert warning in result.stderr
    # The command of the warning, as a shell runs it.
    for command in result.stderr.partition("or run: ")[2].strip().split(" && "):
        if "freeze" in command:
            frozen = environment.pip("freeze", "--exclude", "pip-linkmode", env=env)
            listed = [one for one in frozen.stdout.splitlines() if "pkg" in one]
            (tmp_path / "lost.txt").write_text("\n".join(listed))
        else:
            arguments = command.strip().partition(" -m pip ")[2].split()
            environment.pip(*arguments, env=env, cwd=tmp_path)
    assert environment.run("-c", "import pkg; print(pkg.x)").stdout == "1\n"
    assert environment.pip("install", "pkg", env=env).stderr == ""
