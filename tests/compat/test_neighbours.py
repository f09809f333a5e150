"""Tools that make environments and run pip in them: they work, and they link.

Wherever a pip runs that has the shim, ``PIP_LINK_MODE`` is all that it takes. Each test
says in a sentence how the shim comes to be there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.functional.projects import make_project
from tests.support.environments import NEWEST, Environment, run_outside
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from tests.support.environments import Bed

pytestmark = [pytest.mark.compat, pytest.mark.index]

TOOLS = ("build", "nox", "pipx", "tox", "uv", "virtualenv")


@pytest.fixture(scope="session")
def house(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that the tools install: the shim, what it needs, and a package."""
    directory = tmp_path_factory.mktemp("house")
    pip = bed.pip_wheel(NEWEST) / "pip"
    wanted = (bed.shim_wheel(), f"pip=={NEWEST}", "setuptools", "wheel")
    run_outside(sys.executable, pip, "download", "-q", "-d", directory, *wanted)
    for name in ("pkg", "needed"):
        files = {f"{name}/__init__.py": "x = 1\n", f"{name}/a.py": "def f(): pass\n"}
        points = f"[console_scripts]\n{name} = {name}.a:f\n"
        make_wheel(directory, name, files=files, entry_points=points)
    return directory


@pytest.fixture(scope="session")
def template(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the shim and all tools."""
    tools = bed.wheelhouse(TOOLS)
    path = tmp_path_factory.mktemp("tools") / "environment"
    environment = bed.environment(path, shim=True)
    environment.pip("install", "--no-index", "--find-links", tools, *TOOLS)
    return path


@pytest.fixture
def tools(template: Path, tmp_path: Path) -> Environment:
    return Environment(template, tmp_path / "private")


@pytest.fixture
def variables(tmp_path: Path, house: Path) -> dict[str, str]:
    """Settings as a user has them; the rest of the machine's does not matter."""
    return {
        "PIP_LINK_MODE": "hardlink",
        "PIP_LINK_STORE": str(tmp_path / "store"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(house),
    }


def assert_linked(environment: Environment, name: str = "pkg") -> None:
    module = environment.site_packages / name / "a.py"
    assert module.stat().st_nlink > 1
    environment.run("-c", f"import {name}.a")


def use(environment: Environment, variables: dict[str, str]) -> None:
    """Install the shim, and then something else, as its users do."""
    environment.pip("install", "pip-linkmode", env=variables)
    environment.pip("install", "pkg", env=variables)
    assert_linked(environment)
    environment.pip("uninstall", "--yes", "pkg", env=variables)
    assert not (environment.site_packages / "pkg").exists()


def test_virtualenv(
    tools: Environment, tmp_path: Path, variables: dict[str, str]
) -> None:
    """``pip install pip-linkmode`` in the environment; the seeds are not linked."""
    path = tmp_path / "made"
    tools.run("-m", "virtualenv", "--no-download", path)
    use(Environment(path, tmp_path / "private"), variables)


def test_uv_venv_seed(
    tools: Environment, tmp_path: Path, house: Path, variables: dict[str, str]
) -> None:
    """``pip install pip-linkmode`` in the environment; uv has links of its own."""
    path = tmp_path / "made"
    env = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(house), "UV_OFFLINE": "1"}
    tools.run("-m", "uv", "venv", "--seed", "--python", sys.executable, path, env=env)
    use(Environment(path, tmp_path / "private"), variables)


def test_a_prefix_with_an_interpreter_of_its_own(
    bed: Bed, tmp_path: Path, variables: dict[str, str]
) -> None:
    """As conda lays it out: no ``pyvenv.cfg``; the shim goes where pip is."""
    prefix = tmp_path / "prefix"
    site_packages = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    standard, inside = Path(sys.base_prefix, site_packages), prefix / site_packages
    if not (standard / "site-packages").is_dir():
        pytest.skip("this interpreter keeps its packages elsewhere")
    (inside / "site-packages").mkdir(parents=True)
    for entry in standard.iterdir():
        if entry.name not in ("site-packages", "__pycache__"):
            (inside / entry.name).symlink_to(entry)
    (prefix / "bin").mkdir()
    binary = Path(sys.base_prefix, "bin", Path(site_packages).name)
    shutil.copy(binary, prefix / "bin" / "python")
    environment = Environment(prefix, tmp_path / "private")
    seen = environment.run("-c", "import sys; print(sys.prefix, sys.base_prefix)")
    if seen.stdout.split() != [str(prefix)] * 2:
        pytest.skip("this interpreter cannot be moved")
    pip = bed.pip_wheel(NEWEST)
    environment.run(pip / "pip", "install", "--no-index", pip)
    use(environment, variables)
    for mode in ("symlink", "hardlink"):
        environment.pip(
            "install",
            "--force-reinstall",
            "pkg",
            env={**variables, "PIP_LINK_MODE": mode},
        )
    assert_linked(environment)


def test_pipx(tools: Environment, tmp_path: Path, variables: dict[str, str]) -> None:
    """``pipx install --preinstall pip-linkmode``.

    pipx runs the pip of a library environment that all share, from within the
    environment of the application: so that is where the shim has to be.
    """
    home = tmp_path / "pipx"
    env = {**variables, "PIPX_HOME": str(home), "PIPX_BIN_DIR": str(home / "bin")}
    env |= {"PIPX_MAN_DIR": str(home / "man"), "PIPX_DEFAULT_PYTHON": sys.executable}
    backend = {"PIPX_DEFAULT_BACKEND": "pip"}
    before = ("install", "--preinstall", "pip-linkmode")
    tools.run("-m", "pipx", *before, "pkg", env=env | backend)
    assert_linked(Environment(home / "venvs" / "pkg", tmp_path / "private"))
    assert os.access(home / "bin" / "pkg", os.X_OK)
    tools.run("-m", "pipx", "reinstall", "pkg", env=env | backend)
    tools.run("-m", "pipx", "uninstall", "pkg", env=env | backend)
    assert not (home / "venvs" / "pkg").exists()


def test_tox(tools: Environment, tmp_path: Path, variables: dict[str, str]) -> None:
    """``install_command`` with the pip beside tox, which has the shim, for all."""
    ini = tmp_path / "tox.ini"
    ini.write_text(
        "[tox]\nskip_install = true\nenv_list = one\n"
        "[testenv]\nskip_install = true\ndeps = pkg\n"
        f"install_command = {tools.python} -m pip --python {{env_python}} "
        "install {opts} {packages}\n"
        f"allowlist_externals = {tools.python}\n"
        "commands = python -c 'import pkg.a'\n"
    )
    tools.run("-m", "tox", "run", "-c", ini, env=variables, cwd=tmp_path)
    assert_linked(Environment(tmp_path / ".tox" / "one", tmp_path / "private"))


def test_tox_with_the_shim_among_the_dependencies(
    tools: Environment, tmp_path: Path, variables: dict[str, str]
) -> None:
    """``deps = pip-linkmode``: what pip installs afterwards is linked."""
    make_project(tmp_path, "project")
    ini = tmp_path / "tox.ini"
    ini.write_text(
        "[testenv:one]\nskip_install = true\ndeps = pip-linkmode\n"
        "commands_pre = python -m pip install pkg\n"
        "commands = python -c 'import pkg.a'\n"
    )
    tools.run("-m", "tox", "run", "-e", "one", "-c", ini, env=variables, cwd=tmp_path)
    assert_linked(Environment(tmp_path / ".tox" / "one", tmp_path / "private"))


def test_nox(tools: Environment, tmp_path: Path, variables: dict[str, str]) -> None:
    """``session.install("pip-linkmode")`` first."""
    (tmp_path / "noxfile.py").write_text(
        "import nox\n\n@nox.session\ndef one(session):\n"
        "    session.install('pip-linkmode')\n"
        "    session.install('pkg')\n"
        "    session.run('python', '-c', 'import pkg.a')\n"
    )
    for backend in ("virtualenv", "venv"):
        tools.run(
            *("-m", "nox", "-db", backend, "-f", str(tmp_path / "noxfile.py")),
            env=variables,
            cwd=tmp_path,
        )
        assert_linked(Environment(tmp_path / ".nox" / "one", tmp_path / "private"))
        shutil.rmtree(tmp_path / ".nox")


def test_build(tools: Environment, tmp_path: Path, variables: dict[str, str]) -> None:
    """Nothing to do: it runs the pip beside it with ``--python``."""
    linked = "import needed.a, os; assert os.stat(needed.a.__file__).st_nlink > 1"
    project = make_project(tmp_path, "project", requires="'needed'", check=linked)
    tools.run("-m", "build", "--wheel", str(project), env=variables)
    assert list((project / "dist").glob("*.whl"))


def test_ensurepip(tmp_path: Path, variables: dict[str, str]) -> None:
    """``python -m venv``, its bundled pip, and the shim installed with that."""
    path = tmp_path / "made"
    command = [sys.executable, "-m", "venv", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    use(Environment(path, tmp_path / "private"), variables)
