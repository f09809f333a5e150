"""The habits of the command: help, versions, suggestions, options that need others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pip_linkmode
from pip_linkmode.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from tests.support.house import House
    from tests.unit.conftest import Run


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_help_without_a_command_lists_all_of_them(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    text = capsys.readouterr().out
    assert all(command.name in text for command in COMMANDS)


def test_help_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["help", "prune"])
    assert exit_.value.code == 0
    assert "usage: pip-linkmode prune" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([option])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"pip-linkmode {pip_linkmode.__version__}\n"


@pytest.mark.parametrize(
    ("typed", "hint"), [("staus", " Did you mean: pip-linkmode status?"), ("xyz", "")]
)
def test_unknown_command_suggests_the_closest(
    typed: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([typed])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.endswith(f"error: unknown command '{typed}'.{hint}\n")


def test_other_usage_errors_are_argparses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "--sort", "color"])
    assert "--sort: invalid choice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("prune", "--force"), "--force needs --all"),
        (("verify", "--keep", "/env"), "--keep needs --repair"),
    ],
)
def test_option_that_needs_another(
    house: House, run: Run, arguments: tuple[str, ...], message: str
) -> None:
    assert house.path.exists()
    assert run.error(*arguments, code=2) == f"ERROR: {message}\n"


def test_store_is_its_path_alone(house: House, run: Run) -> None:
    assert run.text("store") == f"{house.root}\n"
    several = f"{house.root}:/another"
    assert run.text("store", "--link-store", several) == f"{house.root}\n/another\n"


def test_no_store_is_an_error(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert house.path.exists()
    monkeypatch.setenv("PIP_LINK_MODE", "off")
    error = run.error("store", code=2)
    assert error == (
        "ERROR: there is no store: the link mode is off (PIP_LINK_MODE). "
        "Name one with --link-store\n"
    )


@pytest.mark.parametrize(
    "command", ["list", "usage", "verify", "prune", "relink", "fill"]
)
def test_directory_with_other_files_is_not_a_store(
    house: House, run: Run, command: str
) -> None:
    (house.path / "other").mkdir()
    (house.path / "other" / "file").touch()
    needed = {"relink": [str(house.site_packages("env"))], "fill": ["wheel"]}
    store = ("--link-store", str(house.path / "other"))
    error = run.error(command, *needed.get(command, []), *store, code=1)
    assert error == f"ERROR: {house.path / 'other'} is not a store\n"


def test_active_environment_is_the_default_of_status(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = house.site_packages("active").parents[2]
    for path, expected in ((active, True), (house.path / "missing", False)):
        monkeypatch.setenv("VIRTUAL_ENV", str(path))
        found = run.data("status", code=1)
        assert (found["environment"] == str(active)) is expected
    other = house.site_packages("other").parents[2]
    for arguments in ((str(other),), ("--environment", str(other))):
        assert run.data("status", *arguments, code=1)["environment"] == str(other)
