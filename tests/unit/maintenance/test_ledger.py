"""Nothing is counted twice, and what is freed is what nobody else holds."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.link.filesystems import Extent, Sharing
from pip_linkmode.maintenance import clones
from pip_linkmode.maintenance import ledger as ledger_module
from pip_linkmode.maintenance.ledger import Ledger, measure
from pip_linkmode.maintenance.usage import usage
from tests.support.house import House, allocated

if TYPE_CHECKING:
    from pathlib import Path

    from pip_linkmode.maintenance.ledger import Account

MB = 1 << 20


def tree(path: Path, **files: int) -> Path:
    path.mkdir()
    for name, size in files.items():
        (path / name).write_bytes(b"x" * size)
    return path


def accounts(ledger: Ledger, *paths: Path) -> list[Account]:
    found = [ledger.add(str(path)) for path in paths]
    ledger.settle()
    return found


def test_file_counts_once_however_many_names_it_has(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", a=MB, b=MB), tree(tmp_path / "two", c=MB)
    os.link(one / "a", two / "a")
    os.link(one / "a", two / "again")
    ledger = Ledger()
    first, second = accounts(ledger, one, two)
    assert ledger.allocated == allocated(one, two)
    assert ledger.held == 0
    assert (first.files, second.files) == (2, 3)
    assert first.frees == allocated(one) - MB
    assert (first.shared, first.private) == (MB, first.frees)
    assert second.logical == allocated(two) + MB


def test_what_has_a_name_elsewhere_is_not_freed(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one", a=MB, b=MB), tree(tmp_path / "two")
    os.link(one / "a", two / "a")
    before = allocated(one, two)
    space = measure([str(one)])
    assert space.allocated == allocated(one)
    shutil.rmtree(one)
    assert before - allocated(two) == space.frees
    assert space.allocated - space.frees == MB


def test_links_into_a_store_stand_for_what_they_lead_to(tmp_path: Path) -> None:
    store, one = tree(tmp_path / "store", a=MB), tree(tmp_path / "one")
    for name, leads_to in {
        "into": store / "a",
        "again": store / "a",
        "dangles": store / "nothing",
        "elsewhere": tmp_path,
    }.items():
        (one / name).symlink_to(leads_to)
    ledger = Ledger([str(store)])
    kept, account = accounts(ledger, store, one)
    assert kept.frees == allocated(store)
    assert account.frees == allocated(one)
    assert account.shared == 2 * MB
    assert account.private == allocated(one)
    assert account.stores == {str(store)}


def test_store_is_known_by_its_real_path_too(tmp_path: Path) -> None:
    store, one = tree(tmp_path / "store", a=MB), tree(tmp_path / "one")
    alias = tmp_path / "alias"
    alias.symlink_to(store)
    (one / "into").symlink_to(store / "a")
    ledger = Ledger([str(alias)])
    (account,) = accounts(ledger, one)
    assert account.shared == MB
    assert account.stores == {str(alias)}


def test_trees_inside_of_others_have_their_own_account(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", a=MB)
    two = tree(one / "two", b=MB)
    ledger = Ledger(apart=[str(one), str(two)])
    first, second = accounts(ledger, one, two)
    assert ledger.allocated == allocated(one)
    assert second.frees == allocated(two)
    assert first.frees == allocated(one) - allocated(two)


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (account,) = accounts(Ledger(), tmp_path / "nothing")
    assert (account.logical, account.frees) == (0, 0)


def test_settling_twice_changes_nothing(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", a=MB)
    os.link(one / "a", one / "b")
    ledger = Ledger()
    accounts(ledger, one)
    before = ledger.allocated
    ledger.settle()
    assert ledger.allocated == before


# --- file systems that clone ----------------------------------------------------------


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Extent] | None]:
    """Pretend to be on a file system that clones, with these extents."""
    found: dict[str, list[Extent] | None] = {}
    monkeypatch.setattr(ledger_module, "sharing", lambda _: Sharing(True, True))
    monkeypatch.setattr(clones, "extents", lambda path: found[os.path.basename(path)])
    return found


def extent(start: int | None, length: int, *, shared: bool = False) -> Extent:
    return Extent(start, length, is_compressed=False, is_shared=shared)


def test_extent_counts_once_however_many_files_have_it(
    tmp_path: Path, disk: dict[str, list[Extent] | None]
) -> None:
    one, two = tree(tmp_path / "one", a=9, b=9), tree(tmp_path / "two", c=9, d=9)
    disk |= {
        # The middle of the clone was written to.
        "a": [extent(1000, 3000, shared=True)],
        "c": [
            extent(1000, 1000, shared=True),
            extent(9000, 1000),
            extent(3000, 1000, shared=True),
        ],
        "b": [extent(20_000, 500)],
        # Somebody whom we do not know has it too.
        "d": [extent(30_000, 700, shared=True)],
    }
    ledger = Ledger()
    first, second = accounts(ledger, one, two)
    directories = allocated_directories(one, two)
    assert ledger.allocated == 3000 + 1000 + 500 + 700 + directories
    assert ledger.held == 700
    # Not the middle: a file system keeps an extent until nobody has any of it.
    assert first.frees == 500 + allocated_directories(one)
    assert second.frees == 1000 + allocated_directories(two)
    assert first.logical == 3000 + 500 + allocated_directories(one)
    assert first.shared == 3000


def allocated_directories(*paths: Path) -> int:
    return sum(os.lstat(path).st_blocks * 512 for path in paths)


def test_small_compressed_and_unknown_files(
    tmp_path: Path, disk: dict[str, list[Extent] | None]
) -> None:
    one = tree(tmp_path / "one", inline=100, compressed=9, unknown=5000, empty=0)
    compressed = Extent(8192, 131_072, is_compressed=True, is_shared=False)
    disk |= {
        "inline": [extent(None, 4096)],
        # Two of them may be closer to each other than they were long.
        "compressed": [compressed, compressed._replace(start=12_288)],
        "unknown": None,
    }
    unknown = os.lstat(one / "unknown").st_blocks * 512
    (account,) = accounts(Ledger(), one)
    expected = 100 + 2 * 131_072 + unknown + allocated_directories(one)
    assert account.frees == expected


def test_hard_links_and_clones_at_once(
    tmp_path: Path, disk: dict[str, list[Extent] | None]
) -> None:
    one, two = tree(tmp_path / "one", a=9), tree(tmp_path / "two")
    os.link(one / "a", two / "b")
    disk["a"] = [extent(1000, 3000)]
    ledger = Ledger()
    first, second = accounts(ledger, one, two)
    assert ledger.allocated == 3000 + allocated_directories(one, two)
    assert first.shared == second.shared == 3000


# --- environments and stores ----------------------------------------------------------


def test_usage_of_environments_that_share_a_store(tmp_path: Path) -> None:
    house = House(tmp_path)
    entry = house.entry("a", size=MB)
    for name in ("one", "two"):
        house.install(name, "hardlink", entry)
    house.install("moved", "hardlink", entry)
    moved = str(house.site_packages("moved"))
    (tmp_path / "moved").rename(tmp_path / "aside")
    (tmp_path / "alias").symlink_to(tmp_path / "one")
    found = usage([house.store], [str(tmp_path / "alias")])
    assert [one.path for one in found.environments] == [str(tmp_path / "alias")]
    assert [one.path for one in found.stores] == [str(house.root)]
    assert found.unreachable == [moved]
    paths = (house.root, tmp_path / "one", tmp_path / "two")
    assert found.spent == allocated(*paths[:2])
    assert found.without == allocated(paths[1])
    assert (found.saved, found.others) == (found.without - found.spent, 1)
    everything = usage([house.store], [])
    assert everything.spent == allocated(*paths)
    assert everything.without == allocated(paths[1]) + allocated(paths[2])
    assert (len(everything.environments), everything.others) == (2, 0)


def test_deleted_environment_is_not_missed(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.install("gone", "hardlink", house.entry("a"))
    shutil.rmtree(tmp_path / "gone")
    found = usage([house.store], [])
    assert (found.environments, found.unreachable) == ([], [])
