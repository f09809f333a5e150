"""What the tests of the matrix have come to is kept for the table in the README."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import Combination

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    combination = parameters.get("combination")
    if isinstance(combination, Combination) and (
        report.when == "call" or not report.passed
    ):
        rest = [str(value) for value in parameters.values() if value != combination]
        name = "-".join([item.name.partition("[")[0], *rest])
        combination.record(name, report.outcome)
    return report
