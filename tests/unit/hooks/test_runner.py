"""The file that takes us along into another interpreter."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tempfile
from types import ModuleType
from typing import TYPE_CHECKING

from pip_linkmode.hooks import runner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def patched(real: Path | str) -> Callable[[], str]:
    module = ModuleType("pip._internal.utils.misc")

    def get_runnable_pip() -> str:
        return str(real)

    get_runnable_pip.__module__ = module.__name__
    vars(module)["get_runnable_pip"] = get_runnable_pip
    runner.apply(module)
    runnable: Callable[[], str] = vars(module)["get_runnable_pip"]
    return runnable


def test_only_the_module_that_defines_it_is_patched() -> None:
    module = ModuleType("pip._internal.build_env")
    runner.apply(module)
    assert "get_runnable_pip" not in vars(module)
    vars(module)["get_runnable_pip"] = patched
    runner.apply(module)
    assert vars(module)["get_runnable_pip"] is patched


def test_pip_in_a_zip_file_runs_as_it_is(tmp_path: Path) -> None:
    assert patched(tmp_path / "pip.pyz")() == str(tmp_path / "pip.pyz")


def test_one_file_is_written_for_many_calls(tmp_path: Path) -> None:
    runnable = patched(tmp_path / "__pip-runner__.py")
    assert runnable() == runnable() != str(tmp_path / "__pip-runner__.py")


def test_without_a_place_for_it_pips_own_file_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> str:
        raise OSError

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    real = str(tmp_path / "__pip-runner__.py")
    assert patched(real)() == real


def test_pips_own_file_runs_as_if_it_had_been_called(tmp_path: Path) -> None:
    real = tmp_path / "__pip-runner__.py"
    real.write_text(
        "import sys; print(__name__, __file__, sys.argv, sys.path[0]);"
        "import pip._internal;"
        "print(any(type(f).__name__ == '_Trigger' for f in sys.meta_path))"
    )
    (tmp_path / "pip" / "_internal").mkdir(parents=True)
    (tmp_path / "pip" / "_internal" / "__init__.py").touch()
    command = [sys.executable, "-S", patched(real)(), "install"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    expected = f"__main__ {real} ['{real}', 'install'] {tmp_path}\nTrue\n"
    assert output == expected


def test_whatever_goes_wrong_with_us_pips_own_file_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "__pip-runner__.py"
    real.write_text("print('ran')")
    monkeypatch.setattr(runner, "start_module", lambda _: "raise OSError")
    monkeypatch.setattr(sys, "argv", ["x"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(patched(real)(), run_name="__main__")
    assert capsys.readouterr().out == "ran\n"
    assert os.path.exists(real)
