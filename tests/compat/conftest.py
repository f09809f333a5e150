"""The results of the matrix are kept for the table of the README."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import Combination
from tests.support.debian import KEYRING, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.support.environments import Bed


@pytest.fixture(scope="session")
def debian(bed: Bed) -> Path:
    """Return the directory of newer Pythons; without them skip, in CI fail."""
    try:
        return bed.debian()
    except UnavailableError as error:
        reason = f"no newer Python: {error}"
    if "CI" in os.environ and KEYRING.exists():
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def combination(request: pytest.FixtureRequest) -> Combination:
    """Return one pip on one Python, which is downloaded if need be."""
    chosen: Combination = request.param
    if chosen.is_downloaded:
        return chosen.on(request.getfixturevalue("debian"))
    return chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    unresolved = parameters.get("combination")
    combination = getattr(item, "funcargs", {}).get("combination", unresolved)
    if isinstance(combination, Combination) and (
        report.when == "call" or not report.passed
    ):
        rest = [str(value) for value in parameters.values() if value != unresolved]
        name = "-".join([item.name.partition("[")[0], *rest])
        combination.record(name, report.outcome)
    return report
