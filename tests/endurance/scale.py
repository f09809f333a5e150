"""A large store: the time of the commands that look at all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks import care

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES, ENVIRONMENTS, PACKAGES = 50_000, 500, 100
STATUS_SECONDS = 1.0
TIMES_DU = 2.0
COMPARED = ("usage", "prune --dry-run")


def run(place: Path, entries: int, environments: int) -> tuple[str, list[str]]:
    """Measure; return the figures, and a line for each limit that is exceeded.

    :param place: an empty directory
    """
    results = care.measure(
        place, entries=entries, environments=environments, packages=PACKAGES
    )
    du = results["du"]
    broken = [
        f"{name} takes {results[name] / du:.1f} times as long as du, not {TIMES_DU}"
        for name in COMPARED
        if results[name] > TIMES_DU * du
    ]
    if results["status"] > STATUS_SECONDS:
        broken.append(f"status takes {results['status']:.2f} s, not {STATUS_SECONDS}")
    title = f"{entries:,} entries, {environments:,} environments of {PACKAGES} packages"
    return f"{title}\n{care.table(results)}", broken
