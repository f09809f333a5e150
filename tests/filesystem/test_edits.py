"""A user edits an installed file: the pristine one comes back, here and elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.hostile.bench import FILES, MODULE, Bench
from tests.support.parity import store_digest
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed

SHARED = ("hardlink", "symlink")
"""Modes in which an edit reaches the store."""
PRIVATE = ("copy", "clone")


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory where the mode of the test can be had."""
    if request.getfixturevalue("mode") != "clone":
        return tmp_path
    path: Path = request.getfixturevalue("on")("btrfs")
    return path


@pytest.fixture
def bench(place: Path) -> Bench:
    return Bench(place, make_wheel(place / "wheels", "pkg", files=FILES))


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("print('debugging')\n")


def overwrite(path: Path) -> None:
    """Leave the size as it was."""
    with path.open("r+") as file:
        file.write(MODULE.replace("pristine", "debugged"))


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def touch(path: Path) -> None:
    path.touch()


def pyc_of(path: Path) -> Path:
    (found,) = (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")
    return found


def edit_bytecode(path: Path) -> None:
    with pyc_of(path).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"?")


def truncate_bytecode(path: Path) -> None:
    os.truncate(pyc_of(path), 7)


def replace(path: Path) -> None:
    """Write as most editors do."""
    path.with_suffix(".new").write_text("VALUE = 'edited'\n")
    path.with_suffix(".new").replace(path)


EDITS = [append, overwrite, truncate, chmod, touch, edit_bytecode, truncate_bytecode]


@pytest.mark.parametrize("mode", [*SHARED, *PRIVATE])
@pytest.mark.parametrize("edit", [*EDITS, replace])
def test_pristine_file_comes_back(
    bench: Bench, edit: Callable[[Path], None], mode: str
) -> None:
    """On reinstallation, in another environment, and by another mode."""
    first = bench.install("first", mode)
    assert first is not None
    edit(first / "pkg" / "module.py")
    for name, again in (("second", mode), ("first", mode), ("third", "hardlink")):
        installed = bench.install(name, again)
        assert installed is not None
        bench.assert_pristine(installed)


@pytest.mark.parametrize("mode", [*PRIVATE])
@pytest.mark.parametrize("edit", EDITS)
def test_edit_of_a_private_file_stays_in_its_environment(
    bench: Bench, edit: Callable[[Path], None], mode: str
) -> None:
    first, second = (bench.install(name, mode) for name in ("first", "second"))
    assert first is not None
    before = store_digest(bench.store)
    edit(first / "pkg" / "module.py")
    assert store_digest(bench.store) == before
    bench.assert_pristine(second)


@pytest.mark.parametrize("mode", SHARED)
def test_edit_of_a_shared_file_is_seen_by_others_until_they_are_repaired(
    bench: Bench, mode: str
) -> None:
    """As ``auto`` has it where files cannot be cloned; the documentation says so."""
    first, second = (bench.install(name, mode) for name in ("first", "second"))
    assert first is not None
    assert second is not None
    append(first / "pkg" / "module.py")
    assert "debugging" in (second / "pkg" / "module.py").read_text()
    bench.assert_pristine(bench.install("third", mode))
    # Links lead to the place of the entry, where a new one is; names to the old file.
    repaired = (second / "pkg" / "module.py").read_text() == MODULE
    assert repaired == (mode == "symlink")
    bench.assert_pristine(bench.install("second", mode))


@pytest.mark.parametrize("mode", SHARED)
def test_replaced_file_is_private(bench: Bench, mode: str) -> None:
    first, second = (bench.install(name, mode) for name in ("first", "second"))
    assert first is not None
    before = store_digest(bench.store)
    replace(first / "pkg" / "module.py")
    assert store_digest(bench.store) == before
    bench.assert_pristine(second)


def files_of(store: Path) -> dict[str, str]:
    """Describe what is in a store, but for bytecode: times are stamped into that."""
    digests = store_digest(store)
    return {path: of for path, of in digests.items() if "/files/" in path}


@pytest.mark.parametrize("mode", [*SHARED, *PRIVATE])
def test_whole_way_through_pip(bed: Bed, place: Path, mode: str) -> None:
    wheel = make_wheel(place / "wheels", "pkg", files=FILES)
    store = place / "store"
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    install = ["install", "--no-index", "--force-reinstall", str(wheel)]
    first, second = (
        bed.environment(place / name, shim=True) for name in ("first", "second")
    )
    show = "import pkg.module, pkg.sub.other; print(pkg.module.VALUE)"
    for environment in (first, second):
        environment.pip(*install, env=env)
    pristine, before = first.snapshot(first.site_packages / "pkg"), files_of(store)
    package = first.site_packages / "pkg"
    overwrite(package / "module.py")
    # Python itself does not notice an edit within the second of the installation.
    os.utime(package / "module.py", (2_000_000_000, 2_000_000_000))
    chmod(package / "data.bin")
    append(package / "sub" / "other.py")
    truncate_bytecode(package / "__init__.py")
    assert first.run("-B", "-c", show).stdout == "debugging\ndebugged\n"
    assert (files_of(store) == before) == (mode in PRIVATE)
    if mode in PRIVATE:
        assert second.run("-B", "-c", show).stdout == "pristine\n"
    first.pip(*install, env=env)
    assert first.snapshot(package) == pristine
    assert first.run("-B", "-c", show).stdout == "pristine\n"
    assert files_of(store) == before
    second.pip(*install, env=env)
    assert second.snapshot(second.site_packages / "pkg") == pristine
