"""Output that goes to a terminal, to a full disk, or nowhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.errors import LinkmodeError
from pip_linkmode.install import summary
from pip_linkmode.text import printable

if TYPE_CHECKING:
    from tests.support.house import House
    from tests.unit.conftest import Run

ESCAPE = "\x1b]0;owned\x07\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 中\n\tline", "plain é 中\n\tline"),
        (ESCAPE, r"\x1b]0;owned\x07\x1b[2J"),
        ("\x9b2J\x7f\r", r"\x9b2J\x7f\r"),
        ("a\u202eb\u2028", r"a\u202eb\u2028"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_characters_that_control_a_terminal_are_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_path_with_an_escape_sequence_is_printed_escaped(
    house: House, run: Run
) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    record.write_text(f"a/{ESCAPE},sha256={'A' * 43},1\n")
    out = run.text("verify", str(house.path / "e"), code=1)
    assert r"\x1b]0;owned\x07" in out
    assert "\x1b" not in out
    assert "\x1b" not in run.error("verify", f"/{ESCAPE}", code=2)


def test_messages_of_an_installation_are_escaped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "pip_linkmode"):
        summary._log.warning("%s", LinkmodeError(ESCAPE))
    assert caplog.messages == [printable(ESCAPE)]
    # The handler of pip 22.3 to 23.x asserts it (``_internal/utils/logging.py``).
    assert [record.args for record in caplog.records] == [()]


def command(house: House, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run ``list`` with some streams closed or full."""
    line = f'"{sys.executable}" -m pip_linkmode list --link-store "{house.root}"'
    return subprocess.run(
        f"{line} {redirection}",
        shell=True,
        check=False,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


@pytest.mark.parametrize(
    "closed", [">&-", "<&-", "<&- >&-", "2>&- >&-", "<&- >&- 2>&-"]
)
def test_closed_streams_do_no_harm(house: House, closed: str) -> None:
    house.entry("a")
    result = command(house, closed)
    assert (result.returncode, result.stderr) == (0, "")


def test_output_that_cannot_be_written_is_an_error(house: House) -> None:
    house.entry("a")
    result = command(house, ">/dev/full")
    said = "ERROR: the output cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (1, said)


def test_error_that_cannot_be_written_leaves_the_exit_code(house: House) -> None:
    result = command(house, "--nonsense 2>/dev/full")
    assert result.returncode == 2
    result = command(house, ">/dev/full 2>/dev/full")
    assert result.returncode in (0, 1)
