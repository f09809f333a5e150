"""A slice of the long run ``python -m tests.endurance fuzz``: 24 damaged scenes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.endurance.fuzz import Fuzzer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed

SEED = 20261128
VARIANTS, SLICES = 24, 2


@pytest.mark.parametrize("number", range(SLICES))
def test_damaged_metadata_breaks_no_command_and_no_environment(
    bed: Bed, tmp_path: Path, number: int
) -> None:
    with Fuzzer(bed, tmp_path, SEED) as fuzzer:
        report = fuzzer.run(range(number, VARIANTS, SLICES))
    assert report.variants == VARIANTS // SLICES
    assert report.runs > 10 * report.variants
    assert report.findings == [], "\n".join(map(str, report.findings))
