"""A start module finds pip-linkmode in its own directory, when pip starts."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import pip_linkmode
from pip_linkmode import _bootstrap
from pip_linkmode.hooks import elsewhere, package
from pip_linkmode.hooks.package import REQUIREMENTS, locations, start_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAMES = ("pip_linkmode", *REQUIREMENTS)


@pytest.fixture
def central(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a pip-linkmode and a pip in two directories, the second of them on the path.

    Nothing of the real ones is loaded or found while the test runs.
    """
    real = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("pip", *NAMES)
    }
    for name in real:
        del sys.modules[name]
    directory = tmp_path / "central"
    (directory / "pip_linkmode").mkdir(parents=True)
    (directory / "pip_linkmode" / "__init__.py").touch()
    (directory / "pip_linkmode" / "_bootstrap.py").write_text(
        "given = []\ndef activate(locations):\n    given.append(locations)\n"
    )
    (tmp_path / "path" / "pip" / "_internal").mkdir(parents=True)
    for module in ("__init__", "_internal/__init__", "_internal/more"):
        (tmp_path / "path" / "pip" / f"{module}.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "path"), *sys.path[1:]])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    finder = elsewhere._Elsewhere()
    monkeypatch.setattr(elsewhere, "_FINDER", finder)
    monkeypatch.setattr(elsewhere, "LOCATIONS", {"pip_linkmode": str(directory)})
    sys.meta_path[:] = [
        one for one in sys.meta_path if type(one).__name__ != "_Trigger"
    ]
    elsewhere.activate()
    yield directory
    for name in [
        one for one in sys.modules if one.partition(".")[0] in ("pip", *NAMES)
    ]:
        del sys.modules[name]
    sys.modules.update(real)
    importlib.invalidate_caches()


def given() -> list[dict[str, str]] | None:
    """Return what pip-linkmode was started with; ``None`` if it was not loaded."""
    module: Any = sys.modules.get("pip_linkmode._bootstrap")
    return None if module is None else module.given


def test_pip_linkmode_is_loaded_once_when_pip_starts(central: Path) -> None:
    importlib.import_module("pip")
    assert given() is None
    path = list(sys.path)
    importlib.import_module("pip._internal")
    importlib.import_module("pip._internal.more")
    del sys.modules["pip._internal"]
    importlib.import_module("pip._internal")
    assert given() == [{"pip_linkmode": str(central)}]
    assert sys.path == path


def test_no_other_program_finds_it(central: Path) -> None:
    del central
    importlib.import_module("pip._internal")
    for name in NAMES:
        sys.modules.pop(name, None)
    finder = elsewhere._FINDER
    assert [finder.find_spec(name) for name in NAMES] == [None, None, None]


def test_activation_is_once(central: Path) -> None:
    del central
    before = list(sys.meta_path)
    elsewhere.activate()
    assert sys.meta_path == before
    assert before[0] is elsewhere._FINDER


def test_old_python_gets_nothing(
    central: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del central
    sys.meta_path.remove(elsewhere._FINDER)
    before = list(sys.meta_path)
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    elsewhere.activate()
    assert sys.meta_path == before


def test_installed_pip_linkmode_wins(central: Path) -> None:
    del central
    sys.meta_path.append(_bootstrap._Trigger())
    importlib.import_module("pip._internal")
    assert given() is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: os.rename(path, f"{path}-moved"),
        lambda path: os.unlink(path / "pip_linkmode" / "__init__.py"),
        lambda path: os.unlink(path / "pip_linkmode" / "_bootstrap.py"),
        lambda path: (path / "pip_linkmode" / "__init__.py").write_text("syntax error"),
        lambda path: (path / "pip_linkmode" / "_bootstrap.py").write_text(""),
    ],
)
def test_pip_works_alone_if_pip_linkmode_is_gone_or_damaged(
    central: Path, harm: Callable[[Path], object], capfd: pytest.CaptureFixture[str]
) -> None:
    harm(central)
    importlib.import_module("pip._internal")
    assert "pip_linkmode" not in sys.modules
    assert capfd.readouterr() == ("", "")


# --- the text of the module -----------------------------------------------------------


def test_start_module_is_this_one_with_its_locations(tmp_path: Path) -> None:
    found = {"pip_linkmode": str(tmp_path / "päth\udcff")}
    text = start_module(found)
    assert text.isascii()
    written: dict[str, Any] = {"__name__": "x"}
    exec(compile(text, "x", "exec"), written)
    assert written["LOCATIONS"] == found
    assert text.count("\n") == start_module({}).count("\n")


def test_start_module_can_be_read_by_old_pythons() -> None:
    ast.parse(start_module({}), feature_version=(3, 7))


def test_a_running_interpreter_pays_for_one_module(tmp_path: Path) -> None:
    """What pip needs beyond ``sys`` is imported when pip starts."""
    (tmp_path / "start.py").write_text(start_module(locations()))
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules); "
        "import start; start.activate(); print(*set(sys.modules) - before)"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("start\n", "")


# --- where they are -------------------------------------------------------------------


def test_requirements_are_looked_for_beside_pip_linkmode_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_INIT", str(tmp_path / "pip_linkmode/__init__.py"))
    on_the_path = {name: locations()[name] for name in REQUIREMENTS}
    assert str(tmp_path) not in on_the_path.values()
    (tmp_path / "wrapt").mkdir()
    (tmp_path / "wrapt" / "__init__.py").touch()
    # A directory that was left behind is a namespace package.
    (tmp_path / "packaging").mkdir()
    importlib.invalidate_caches()
    assert locations() == {
        "pip_linkmode": str(tmp_path),
        "wrapt": str(tmp_path),
        "packaging": on_the_path["packaging"],
    }
    named = tmp_path / "named"
    (named / "packaging").mkdir(parents=True)
    (named / "packaging" / "__init__.py").touch()
    monkeypatch.setattr(_bootstrap, "LOCATIONS", {"packaging": str(named)})
    assert locations()["packaging"] == str(named)


def test_requirement_that_is_missing_has_no_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(package, "_INIT", str(tmp_path / "pip_linkmode/__init__.py"))
    monkeypatch.setattr(sys, "path", [])
    for name in REQUIREMENTS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert locations() == {"pip_linkmode": str(tmp_path)}
    module = type(sys)("wrapt")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "wrapt", module)
    assert locations() == {"pip_linkmode": str(tmp_path)}


def test_requirements_are_imported_from_there_while_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in REQUIREMENTS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("HERE = True\n")
    monkeypatch.setattr(_bootstrap, "LOCATIONS", dict.fromkeys(NAMES, str(tmp_path)))
    before = list(sys.meta_path)
    with package.requirements():
        for name in REQUIREMENTS:
            spec = importlib.util.find_spec(f"{name}")
            finder = sys.meta_path[0].find_spec(name, None)
            assert spec is not None
            assert finder is not None
            assert finder.origin == str(tmp_path / name / "__init__.py")
        assert sys.meta_path[0].find_spec("colorsys", None) is None
    assert sys.meta_path == before


# --- a package that is replaced -------------------------------------------------------


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "pip_linkmode" / "__init__.py"
    path.parent.mkdir()
    path.write_text(f'__version__ = "{pip_linkmode.__version__}"\n')
    monkeypatch.setattr(package, "_INIT", str(path))
    monkeypatch.setattr(package, "_STAMP", package._stamp())
    return path


def test_package_that_is_as_it_was_is_used(init: Path) -> None:
    assert package.change() is None
    os.link(init, init.with_name("name"))
    assert package.change() is None


@pytest.mark.parametrize("text", ['__version__ = "9"', "", None])
def test_change_of_the_package_is_noticed(init: Path, text: str | None) -> None:
    os.utime(init, ns=(1, 1))
    assert "was replaced by" in str(package.change())
    package._STAMP = package._stamp()
    assert package.change() is None
    if text is None:
        init.unlink()
        assert "was removed while pip was running" in str(package.change())
    else:
        init.write_text(text)
        package._STAMP = package._stamp()
        assert f"replaced by {'9' if text else '?'} while" in str(package.change())
