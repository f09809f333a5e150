"""The command, run in this process, and environments without a pip."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.cli.main import main
from tests.support import schemas
from tests.support.house import House

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def text(self, *args: str, code: int = 0) -> str:
        assert main(args) == code
        out, err = self._capsys.readouterr()
        assert err == ""
        return out

    def data(self, *args: str, code: int = 0) -> Any:
        data = json.loads(self.text(*args, "--json", code=code))
        schemas.check(args[0], data)
        return data

    def error(self, *args: str, code: int) -> str:
        assert main(args) == code
        out, err = self._capsys.readouterr()
        assert out == ""
        return err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(capsys)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A store that is in force, and that is not in a temporary directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in os.environ:
        if name.startswith("PIP_") or name == "COLUMNS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_LINK_STORE", str(tmp_path / "store"))
    return House(tmp_path)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment to be copied."""
    path = tmp_path_factory.mktemp("template") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", path], check=True)
    return path
