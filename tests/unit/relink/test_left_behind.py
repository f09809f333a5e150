"""Files that programs have written into a store, when an environment leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.house import House
    from tests.unit.conftest import Run


def test_files_that_programs_wrote_into_the_store_are_named(
    house: House, run: Run
) -> None:
    entry = house.entry("a")
    house.install("e", "symlink", entry)
    written = Path(entry.source("a/state"))
    written.write_text("state")
    cache = Path(entry.source("a/__pycache__"))
    cache.mkdir()
    (cache / "x.pyc").touch()
    out = run.text("materialize", str(house.path / "e"))
    said = f"  left in the store, where a program has written it: {written}"
    assert said in out.splitlines()
    assert "__pycache__" not in out
    assert written.read_text() == "state"


def test_entry_without_a_manifest_names_nothing(house: House, run: Run) -> None:
    entry = house.entry("a")
    house.install("e", "symlink", entry)
    Path(entry.path, "manifest.json").unlink()
    assert "left in the store" not in run.text("materialize", str(house.path / "e"))
