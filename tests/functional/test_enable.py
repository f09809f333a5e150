"""An enabled environment is served by a pip-linkmode that is installed elsewhere.

The oracles are the same environment before, and the same installation by stock pip.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.compat.matrix import pythons
from tests.functional.projects import make_project, make_sdist
from tests.support.environments import NEWEST
from tests.support.parity import delta
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

LOADED = """\
import sys
from pip._internal.cli.main import main
before = list(sys.path)
code = main(sys.argv[1:])
assert sys.path == before
for name in ("pip_linkmode", "wrapt", "packaging"):
    print(f"{name}:", getattr(sys.modules.get(name), "__file__", None))
print("extension:", "wrapt._wrappers" in sys.modules)
sys.exit(code)
"""
"""Run pip and print from where it has loaded pip-linkmode and its requirements."""


@dataclass
class Bench:
    """An environment with the command, and one that it enables."""

    bed: Bed
    path: Path
    tool: Environment
    wheel: Path

    def environment(
        self,
        name: str = "served",
        *,
        pip: str = NEWEST,
        python: str = sys.executable,
    ) -> Environment:
        """Make an environment of stock pip."""
        return self.bed.environment(
            self.path / name, shim=False, pip=pip, python=python
        )

    def command(self, *args: str | Path, code: int = 0) -> Any:
        """Run the command; return its data."""
        arguments = ("-m", "pip_linkmode", *args, "--json")
        result = self.tool.run(*arguments, env=self.settings, check=False)
        assert result.returncode == code, result.stdout + result.stderr
        return json.loads(result.stdout)

    def enable(self, environment: Environment) -> None:
        (report,) = self.command("enable", environment.path)
        assert report["outcome"] == "enabled"
        assert report["pip_linkmode"] == str(self.tool.site_packages / "pip_linkmode")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PIP_LINK_MODE": "hardlink",
            "PIP_LINK_STORE": str(self.path / "store"),
            "XDG_STATE_HOME": str(self.path / "state"),
        }

    def install(self, environment: Environment, *options: str) -> str:
        """Install the wheel; return what pip prints."""
        arguments = ("install", "--no-index", "--force-reinstall", str(self.wheel))
        result = environment.run(
            *options, "-m", "pip", *arguments, env=self.settings, check=False
        )
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout

    def loaded(self, environment: Environment) -> dict[str, str]:
        """Install the wheel; return what pip has loaded, and from where."""
        arguments = ("install", "--no-index", "--force-reinstall", str(self.wheel))
        said = environment.run("-c", LOADED, *arguments, env=self.settings).stdout
        lines = [line.partition(": ") for line in said.splitlines()]
        return {name: value for name, _, value in lines}


@pytest.fixture
def bench(bed: Bed, tmp_path: Path) -> Bench:
    files = {"x/__init__.py": "X = 1\n", "x/data": "x" * 5000}
    wheel = make_wheel(tmp_path / "wheels", "x", files=files)
    return Bench(bed, tmp_path, bed.environment(tmp_path / "tool", shim=True), wheel)


def without_bytecode(changes: dict[str, Entry | None]) -> dict[str, Entry | None]:
    """Leave out what Python compiles when it imports."""
    return {path: one for path, one in changes.items() if "__pycache__" not in path}


def listing(environment: Environment) -> str:
    return environment.pip("list").stdout + environment.pip("freeze", "--all").stdout


@pytest.mark.parametrize(
    ("version", "pip"),
    [(str(one), NEWEST) for one in pythons()] + [(str(pythons()[0]), "23.2.1")],
)
def test_enabled_environment_links_and_is_else_as_before(
    bench: Bench, version: str, pip: str
) -> None:
    (python,) = (one.path for one in pythons() if str(one) == version)
    stock = bench.environment(pip=pip, python=python)
    bench.install(stock)
    expected = stock.snapshot()
    shutil.rmtree(stock.path)
    served = bench.environment(pip=pip, python=python)
    listed, before = listing(served), served.snapshot()
    bench.enable(served)
    assert listing(served) == listed
    assert "Linked 1 package by hardlink" in bench.install(served)
    served.run("-c", "import x; assert x.X == 1")
    assert (served.site_packages / "x" / "data").stat().st_nlink > 1
    bench.command("disable", served.path)
    assert without_bytecode(delta(expected, served.snapshot())) == {}
    served.pip("uninstall", "--yes", "x")
    assert without_bytecode(delta(before, served.snapshot())) == {}


def test_disable_leaves_no_file(bench: Bench) -> None:
    served = bench.environment()
    before = served.snapshot()
    bench.enable(served)
    served.run("-c", "import _pip_linkmode_enabled")
    assert list(served.site_packages.glob("__pycache__/*")) != []
    bench.command("disable", served.path)
    assert delta(before, served.snapshot()) == {}


@pytest.mark.parametrize("version", [str(one) for one in pythons()])
def test_requirements_come_from_elsewhere_too(bench: Bench, version: str) -> None:
    """An old packaging in the environment does not win."""
    (python,) = (one for one in pythons() if str(one) == version)
    served = bench.environment(python=python.path)
    bench.enable(served)
    (served.site_packages / "packaging").mkdir()
    (served.site_packages / "packaging" / "__init__.py").write_text("raise OSError")
    loaded = bench.loaded(served)
    home = str(bench.tool.site_packages)
    for name in ("pip_linkmode", "wrapt", "packaging"):
        assert loaded[name].startswith(f"{home}/{name}/__init__.py")
    (running,) = (one for one in pythons() if one.path == sys.executable)
    # wrapt has an extension module for one version of Python.
    assert (loaded["extension"] == "True") is (python.version == running.version)


def test_nothing_is_found_by_programs(bench: Bench) -> None:
    served = bench.environment()
    bench.enable(served)
    for name in ("pip_linkmode", "wrapt", "packaging"):
        result = served.run("-c", f"import {name}", check=False)
        assert "ModuleNotFoundError" in result.stderr


def test_isolated_mode_links(bench: Bench) -> None:
    served = bench.environment()
    bench.enable(served)
    assert "Linked 1 package" in bench.install(served, "-I")


def test_without_site_it_is_stock_pip(bench: Bench) -> None:
    served = bench.environment()
    bench.enable(served)
    program = (
        f"import sys; sys.path.append({str(served.site_packages)!r}); "
        "from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ("install", "--no-index", "--target", str(bench.path / "target"))
    result = served.run("-S", "-c", program, *arguments, str(bench.wheel))
    assert (bench.path / "target" / "x").exists()
    assert "Linked" not in result.stdout
    help_text = served.run("-S", "-c", program, "install", "--help").stdout
    assert "--link-mode" not in help_text
    assert "--link-mode" in served.pip("install", "--help").stdout


def test_environment_stays_enabled_when_it_is_upgraded(bench: Bench) -> None:
    served = bench.environment()
    bench.enable(served)
    base = served.run("-c", "import sys; print(sys._base_executable)").stdout.strip()
    upgrade = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"
    venv = ("-m", "venv", "--upgrade", "--without-pip")
    served.run("-c", upgrade, base, *venv, str(served.path))
    assert "Linked 1 package" in bench.install(served)


def test_pip_upgrades_itself(bench: Bench) -> None:
    served = bench.environment(pip="26.2.1")
    bench.enable(served)
    wheel = str(bench.bed.pip_wheel(NEWEST))
    said = served.pip("install", "--no-index", wheel, env=bench.settings).stdout
    assert "Linked 1 package" in said
    assert served.pip("--version").stdout.startswith(f"pip {NEWEST} ")
    assert "Linked 1 package" in bench.install(served)


def test_one_upgrade_serves_all(bench: Bench) -> None:
    served = [bench.environment(name) for name in ("one", "two")]
    for one in served:
        bench.enable(one)
    init = bench.tool.site_packages / "pip_linkmode" / "__init__.py"
    replace(init, init.read_text() + 'print("new")\n')
    for one in served:
        assert bench.install(one).startswith("new\n")


def replace(path: Path, text: str) -> None:
    """Put a new file into the place of one, as pip does when it upgrades."""
    path.unlink()
    path.write_text(text)
    os.utime(path, (1, 1))


@pytest.mark.parametrize("half", [False, True])
def test_pip_linkmode_that_is_gone_prints_nothing(bench: Bench, half: bool) -> None:
    served = bench.environment()
    bench.enable(served)
    package = bench.tool.site_packages / "pip_linkmode"
    shutil.rmtree(package)
    if half:
        (package / "__pycache__").mkdir(parents=True)
    result = served.run("-X", "dev", "-W", "error", "-c", "pass")
    assert (result.stdout, result.stderr) == ("", "")
    assert "inked" not in bench.install(served)
    assert (served.site_packages / "x" / "data").stat().st_nlink == 1
    loaded = bench.loaded(served)
    assert loaded["pip_linkmode"] == loaded["wrapt"] == "None"


def test_installed_pip_linkmode_wins(bench: Bench) -> None:
    served = bench.environment()
    bench.enable(served)
    dependencies = bench.bed._dependencies(sys.executable)
    find = ("--no-index", "--find-links", str(dependencies))
    served.pip("install", *find, str(bench.bed.shim_wheel()), env=bench.settings)
    loaded = bench.loaded(served)
    for name in ("pip_linkmode", "wrapt", "packaging"):
        assert loaded[name].startswith(str(served.site_packages))
    (report,) = bench.command("enable", served.path)
    assert report["outcome"] == "has its own"


def test_package_that_is_replaced_while_pip_runs_is_not_used(bench: Bench) -> None:
    """Between resolving and installing: the backend of an sdist replaces it."""
    served = bench.environment()
    bench.enable(served)
    init = bench.tool.site_packages / "pip_linkmode" / "__init__.py"
    new = bench.path / "new.py"
    new.write_text(init.read_text().replace("0.1.0", "0.2.0"))
    swap = f"os.replace({str(new)!r}, {str(init)!r})"
    sdist = make_sdist(make_project(bench.path / "src", "source", check=swap))
    arguments = ("install", "--no-index", str(sdist), str(bench.wheel))
    result = served.pip(*arguments, env=bench.settings)
    assert result.stderr.count("WARNING: pip-linkmode") == 1
    assert "was replaced by 0.2.0 while pip was running" in result.stderr
    assert "Linked" not in result.stdout
    assert (served.site_packages / "source.py").exists()
    assert "Linked 1 package" in bench.install(served)


def test_moved_pip_linkmode_renews_what_it_served(bench: Bench) -> None:
    """As pipx makes it anew for another Python."""
    served = bench.environment()
    bench.enable(served)
    other = bench.bed.environment(bench.path / "other", shim=True)
    shutil.rmtree(bench.tool.path)
    bench.tool = other
    status = bench.command("status")
    assert status["unserved"] == [str(served.site_packages)]
    status = bench.command("status", "--environment", served.path, code=1)
    assert "enable --again" in status["hook"]["problem"]
    (report,) = bench.command("enable", "--again")
    assert report["outcome"] == "renewed"
    assert "Linked 1 package" in bench.install(served)
    status = bench.command("status", "--environment", served.path)
    assert status["hook"]["served_from"] == str(other.site_packages)
    assert bench.command("status")["unserved"] == []
    assert bench.command("enable", "--again") == []


def test_pip_of_another_environment_works_on_an_enabled_one(bench: Bench) -> None:
    served, stock = bench.environment(), bench.environment("stock")
    bench.enable(served)
    arguments = ("--no-index", "--force-reinstall", str(bench.wheel))
    for outer in (bench.tool, stock, served):
        inner = stock if outer is served else served
        python = ("--python", str(inner.python))
        result = outer.pip(*python, "install", *arguments, env=bench.settings)
        assert "Linked 1 package" in result.stdout
        assert result.stderr == ""


def test_copies_of_an_early_enable_are_recognised(bench: Bench) -> None:
    served = bench.environment()
    before = served.snapshot()
    for path in bench.tool.site_packages.iterdir():
        if path.name.startswith(("pip_linkmode", "wrapt", "packaging")):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, served.site_packages / path.name)
    for path in served.site_packages.glob("*.dist-info"):
        if not path.name.startswith("pip-"):
            (path / "INSTALLER").write_text("pip-linkmode\n")
    assert "Linked 1 package" in bench.install(served)
    served.pip("uninstall", "--yes", "x")
    status = bench.command("status", "--environment", served.path)
    assert status["hook"]["copied"] is True
    (report,) = bench.command("disable", served.path)
    assert [one.partition(" ")[0] for one in report["removed"]] == [
        *("pip-linkmode", "packaging", "wrapt"),
    ]
    assert without_bytecode(delta(before, served.snapshot())) == {}


def test_enabling_is_quick(bench: Bench) -> None:
    """By processor time, which depends less on what else the machine does."""
    seconds = []
    for number in range(3):
        one = bench.environment(f"env{number}")
        before = os.times()
        bench.command("enable", one.path)
        after = os.times()
        user = after.children_user - before.children_user
        seconds.append(user + after.children_system - before.children_system)
    assert min(seconds) < 1
