"""Many pips at once, one store."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.filesystem.support import INSTALL, entries, left_over, settings, under
from tests.support.environments import if_everything
from tests.support.parity import delta
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

MODES = ("clone", "symlink", *if_everything("auto", "copy", "hardlink"))
PIPS = 16
NAMES = "abcdef"
Changes = dict[str, "Entry | None"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheels without scripts, in whose first line the path of an environment is."""
    directory = tmp_path_factory.mktemp("wheels")
    text = "".join(f"def function_{n}():\n    return {n}\n" for n in range(60))
    return {
        name: make_wheel(
            directory,
            f"race-{name}",
            files={
                **{f"race_{name}/module_{n}.py": text for n in range(8)},
                f"race_{name}/data": random.Random(name).randbytes(50_000),
            },
        )
        for name in NAMES
    }


@pytest.fixture(scope="module")
def stock(
    bed: Bed, tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path]
) -> Changes:
    """What stock pip makes of all of them."""
    environment = bed.environment(tmp_path_factory.mktemp("stock") / "e", shim=False)
    before = environment.snapshot()
    environment.pip(*INSTALL, *map(str, wheels.values()))
    return delta(before, environment.snapshot())


def of(names: list[str], stock: Changes) -> Changes:
    """Pick what belongs to some wheels."""
    return {
        path: entry
        for path, entry in stock.items()
        if any(f"/site-packages/race_{name}" in path for name in names)
    }


def install_all(
    bed: Bed,
    place: Path,
    wheels: dict[str, Path],
    stock: Changes,
    mode: str,
    count: int,
    prepare: Callable[[Environment], Environment] = lambda environment: environment,
) -> Path:
    """Install different sets at the same time and compare each with stock pip's."""
    store = place / "store"
    chance = random.Random(mode)
    sets = [chance.sample(NAMES, 4) for _ in range(count)]
    environments = [
        bed.environment(place / f"e{number}", shim=True) for number in range(count)
    ]
    before = environments[0].snapshot()

    def install(environment: Environment, names: list[str]) -> None:
        chosen = [str(wheels[name]) for name in names]
        done = prepare(environment).pip(*INSTALL, *chosen, env=settings(mode, store))
        # Nobody has lost: what another pip has published is as good as one's own.
        assert done.stderr == ""
        verb = "Copied 4 packages" if mode == "copy" else "Linked 4 packages by"
        assert verb in done.stdout
        assert "by pip alone" not in done.stdout

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(install, environments, sets))
    for environment, names in zip(environments, sets, strict=True):
        assert delta(before, environment.snapshot()) == of(names, stock)
    wanted = {name for names in sets for name in names}
    assert entries(store) == len(wanted)
    assert left_over(store) == []
    return store


@pytest.mark.parametrize("mode", MODES)
def test_sixteen_pips_fill_one_store(
    bed: Bed,
    tmp_path: Path,
    on: Callable[[str], Path],
    wheels: dict[str, Path],
    stock: Changes,
    mode: str,
) -> None:
    place = on("xfs") if mode in ("auto", "clone") else tmp_path
    install_all(bed, place, wheels, stock, mode, PIPS)


@pytest.mark.usefixtures("strace")
def test_pips_that_publish_at_the_same_moment_agree(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], stock: Changes
) -> None:
    """Each is held up before it publishes, until all others have unpacked as well."""

    def slow(environment: Environment) -> Environment:
        return under(
            environment,
            *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
            *("-e", "trace=rename", "-e", "inject=rename:delay_enter=1500000:when=1"),
        )

    install_all(bed, tmp_path, wheels, stock, "hardlink", 4, slow)


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_clean_up_does_not_get_in_the_way(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], stock: Changes, mode: str
) -> None:
    """All that nobody uses yet is cleared away, again and again, while pips install."""
    store = tmp_path / "store"
    chance = random.Random(mode)
    sets = [chance.sample(NAMES, 2) for _ in range(4)]
    environments = [
        bed.environment(tmp_path / f"e{number}", shim=True) for number in range(4)
    ]
    before = environments[0].snapshot()
    cleaner = bed.environment(tmp_path / "cleaner", shim=True)
    removed, done = 0, threading.Event()

    def clean() -> None:
        nonlocal removed
        while not done.is_set():
            found = cleaner.run(
                *("-m", "pip_linkmode", "prune", "--max-size", "0", "--json"),
                *("--link-store", store),
                check=False,
            )
            (result,) = json.loads(found.stdout)
            removed += len(result["removed"])

    def install(environment: Environment, names: list[str]) -> None:
        chosen = [str(wheels[name]) for name in names]
        for again in (True, True, False):
            environment.pip(*INSTALL, *chosen, env=settings(mode, store))
            if again:
                projects = [f"race-{name}" for name in names]
                environment.pip("uninstall", "--yes", *projects)

    store.mkdir()
    thread = threading.Thread(target=clean)
    thread.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(install, environments, sets))
    finally:
        done.set()
        thread.join()
    assert removed
    for environment, names in zip(environments, sets, strict=True):
        # No link dangles: what it leads to is compared.
        assert delta(before, environment.snapshot()) == of(names, stock)
    entries(store)
    assert left_over(store) == []
