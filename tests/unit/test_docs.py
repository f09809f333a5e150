"""What the documents tell to type can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.cli.main import COMMANDS, _parser

if TYPE_CHECKING:
    from pip_linkmode.cli.command import Command

CHECKOUT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/care.md")
SPOKEN_OF = ("disable", "materialize")
"""Commands that a page names without their arguments."""


def commands(page: str) -> list[str]:
    """Return the command lines of ours in a page, wherever they stand."""
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    found = re.findall(r"^pip-linkmode .*", text, re.MULTILINE)
    found += re.findall(r"`(pip-linkmode [^`]*)`", text)
    return [line.partition(" #")[0].strip() for line in found]


@pytest.mark.parametrize("page", PAGES)
def test_command_lines_of_a_page_are_understood(page: str) -> None:
    lines = commands(page)
    assert len(lines) > 4
    for line in lines:
        _, *arguments = shlex.split(line)
        if len(arguments) == 1 and arguments[0] in SPOKEN_OF:
            continue
        _parser().parse_args(arguments)


def test_page_on_looking_after_a_store_has_every_command() -> None:
    typed = {shlex.split(line)[1] for line in commands("docs/care.md")}
    assert typed == {command.name for command in COMMANDS}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_example_of_a_command_is_understood(command: Command) -> None:
    _, *arguments = shlex.split(command.example)
    _parser().parse_args(arguments)
