"""What nobody uses goes, and nothing else, whoever installs meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.environments import users
from pip_linkmode.environments.register import register
from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import PruneRefusedError
from pip_linkmode.maintenance import prune as prune_module
from pip_linkmode.maintenance.inventory import items
from pip_linkmode.maintenance.ledger import measure
from pip_linkmode.maintenance.prune import PruneOptions, prune, release
from pip_linkmode.store.store import Store
from tests.support.house import House, allocated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pip_linkmode.maintenance.inventory import Item
    from pip_linkmode.maintenance.prune import Pruned

YEAR = 365 * 86400


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    # All of the test's directory would be temporary otherwise.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return House(tmp_path)


def names(pruned: Pruned) -> list[str]:
    return sorted(one.name for one in pruned.removed)


def use_at(house: House, name: str, when: float) -> None:
    manifest = os.path.join(house.entry(name).path, "manifest.json")
    os.utime(manifest, (when, when))


def test_progress_of_a_dry_run_names_each_entry(house: House) -> None:
    paths = [house.entry(name).path for name in ("a", "b")]
    seen: dict[str, float] = {}
    prune(house.store, PruneOptions(dry_run=True), seen.__setitem__)
    assert sorted(seen) == sorted(paths)
    assert list(seen.values()) == [0, 0.5]


# --- what goes ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hardlink", "symlink", "copy"])
def test_what_is_used_stays(house: House, mode: str) -> None:
    house.install("e", mode, house.entry("used"))
    house.install("f", mode, house.entry("used"))
    house.entry("unused")
    assert names(prune(house.store, PruneOptions())) == ["unused"]
    assert house.present() == ["used"]


@pytest.mark.parametrize("mode", ["hardlink", "copy"])
def test_what_was_uninstalled_goes(house: House, mode: str) -> None:
    entry = house.entry("used")
    site_packages = house.install("e", mode, entry)
    shutil.rmtree(site_packages / entry.dist_info)
    assert names(prune(house.store, PruneOptions())) == ["used"]


def test_another_wheel_of_the_same_version_is_another_entry(house: House) -> None:
    entry = house.entry("used")
    site_packages = house.install("e", "hardlink", entry)
    (site_packages / entry.dist_info / "WHEEL").write_text("Wheel-Version: 1.0\n")
    assert names(prune(house.store, PruneOptions())) == ["used"]


def test_metadata_without_a_wheel_file_is_of_another_installation(
    house: House,
) -> None:
    entry = house.entry("used")
    site_packages = house.install("e", "hardlink", entry)
    (site_packages / entry.dist_info / "WHEEL").unlink()
    assert names(prune(house.store, PruneOptions())) == ["used"]


def test_link_outside_of_site_packages_is_a_use(house: House) -> None:
    entry = house.entry("used")
    site_packages = house.install("e", "hardlink")
    (site_packages.parents[2] / "share").mkdir()
    (site_packages.parents[2] / "share" / "data").symlink_to(entry.source("used/data"))
    house.install("e", "hardlink", house.entry("other"))
    assert names(prune(house.store, PruneOptions())) == []


def test_where_no_environment_is_the_record_says_where_to_look(house: House) -> None:
    """An installation for a user, or into a directory."""
    entry = house.entry("used")
    site_packages = house.install("e", "hardlink", house.entry("other"))
    (site_packages.parents[2] / "pyvenv.cfg").unlink()
    (site_packages.parents[2] / "share").mkdir()
    (site_packages.parents[2] / "share" / "data").symlink_to(entry.source("used/data"))
    with (site_packages / "other-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("../../../share/data,,\n../../../nowhere/data,,\n")
    assert names(prune(house.store, PruneOptions())) == []


@pytest.mark.parametrize("moved", ["a", "."], ids=["package", "site-packages"])
def test_package_that_was_moved_behind_a_link_is_used(house: House, moved: str) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink", entry)
    elsewhere = house.path / "elsewhere"
    directory = (site_packages / moved).resolve()
    directory.rename(elsewhere)
    directory.symlink_to(elsewhere)
    assert names(prune(house.store, PruneOptions(max_size=0))) == []
    assert (site_packages / "a" / "data").exists()
    (site_packages / "a" / "data").unlink()
    (site_packages / "a" / "__init__.py").unlink()
    # What is installed and has no symlinks any more does not need the store.
    assert names(prune(house.store, PruneOptions())) == []
    assert names(prune(house.store, PruneOptions(max_size=0))) == ["a"]


def test_record_that_is_none_leaves_all_that_it_may_speak_of(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink", entry)
    (site_packages / "a" / "data").unlink()
    (site_packages / "a" / "__init__.py").unlink()
    (site_packages / entry.dist_info / "RECORD").write_text("a,b,c\n")
    pruned = prune(house.store, PruneOptions(max_size=0))
    assert (names(pruned), [u.state for u in pruned.unreachable]) == (
        [],
        ["unreadable"],
    )


def test_age_is_that_of_the_last_use(house: House) -> None:
    for name in ("old", "new"):
        house.entry(name)
    use_at(house, "old", time.time() - YEAR)
    assert names(prune(house.store, PruneOptions(older_than=YEAR / 2))) == ["old"]


def test_cap_takes_the_least_recently_used(house: House) -> None:
    entries = [house.entry(name) for name in ("a", "b", "c")]
    house.install("e", "hardlink", *entries)
    for age, name in enumerate(("b", "c", "a")):
        use_at(house, name, time.time() - YEAR + age)
    size = sum(one.allocated for one in everything(house))
    smallest = min(one.allocated for one in everything(house))
    pruned = prune(house.store, PruneOptions(max_size=size - smallest - 1))
    assert names(pruned)[0] == "b"
    assert len(names(pruned)) == 2
    assert not pruned.blockers
    assert prune(house.store, PruneOptions(max_size=size)).removed == []


def everything(house: House) -> list[prune_module.Removed]:
    return prune(house.store, PruneOptions(everything=True, dry_run=True)).removed


def test_cap_that_cannot_be_reached_tells_who_holds_what(house: House) -> None:
    house.install("linked", "symlink", house.entry("a"))
    house.install("shared", "hardlink", house.entry("b"))
    pruned = prune(house.store, PruneOptions(max_size=1))
    assert names(pruned) == ["b"]
    assert [user.path for user in pruned.blockers] == [str(house.path / "linked")]
    assert pruned.size == sum(one.allocated for one in everything_forced(house))


def everything_forced(house: House) -> list[prune_module.Removed]:
    wanted = PruneOptions(everything=True, force=True, dry_run=True)
    return prune(house.store, wanted).removed


def test_everything_goes_unless_somebody_depends_on_it(house: House) -> None:
    house.install("shared", "hardlink", house.entry("b"))
    assert names(prune(house.store, PruneOptions(everything=True))) == ["b"]
    house.install("linked", "symlink", house.entry("a"))
    with pytest.raises(PruneRefusedError, match=str(house.path / "linked")):
        prune(house.store, PruneOptions(everything=True))
    assert house.present() == ["a"]
    assert names(prune(house.store, PruneOptions(everything=True, force=True))) == ["a"]


def test_nothing_is_done_in_a_dry_run(house: House) -> None:
    site_packages = house.install("e", "symlink", house.entry("a"))
    shutil.rmtree(site_packages.parents[2])
    pruned = prune(house.store, PruneOptions(dry_run=True))
    assert names(pruned) == ["a"]
    assert pruned.released == [str(site_packages)]
    assert house.present() == ["a"]
    assert len(list(registrations(str(house.root)))) == 1
    done = prune(house.store, PruneOptions())
    assert (done.freed, done.released) == (pruned.freed, pruned.released)
    assert not list(registrations(str(house.root)))


def test_what_came_back_is_what_nobody_else_has(house: House) -> None:
    one, _ = house.entry("one"), house.entry("two")
    site_packages = house.install("e", "hardlink", one)
    shutil.rmtree(site_packages / one.dist_info)
    before = allocated(house.root, site_packages)
    pruned = prune(house.store, PruneOptions())
    assert names(pruned) == ["one", "two"]
    assert sum(removed.freed for removed in pruned.removed) == pruned.freed
    # The empty directories of digests stay, and one for staging comes.
    assert before - allocated(house.root, site_packages) == pruned.freed
    assert pruned.freed < sum(removed.allocated for removed in pruned.removed)


def test_what_is_left_of_an_entry_goes(house: House) -> None:
    entry = house.entry("a")
    os.unlink(os.path.join(entry.path, "manifest.json"))
    (pruned,) = prune(house.store, PruneOptions()).removed
    assert (pruned.name, pruned.version, pruned.last_used) == ("a", "1.0", 0)
    shutil.rmtree(os.path.join(house.entry("b").path, "files"))
    os.unlink(
        os.path.join(house.store.path(house.store.entries()[0][-64:]), "manifest.json")
    )
    (pruned,) = prune(house.store, PruneOptions()).removed
    assert pruned.name.startswith("sha256:")


def test_planted_link_is_not_followed(house: House, tmp_path: Path) -> None:
    entry = house.entry("a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    os.symlink(tmp_path / "outside", os.path.join(entry.path, "files", "link"))
    prune(house.store, PruneOptions())
    assert (tmp_path / "outside" / "file").exists()
    assert house.present() == []


def test_read_only_store_is_refused(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PruneRefusedError, match="read-only"):
        prune(house.store, PruneOptions())
    assert names(prune(house.store, PruneOptions(dry_run=True))) == ["a"]


# --- environments that cannot be looked at --------------------------------------------


def test_moved_environment_keeps_all_that_it_had(house: House) -> None:
    house.install("e", "symlink", house.entry("a"))
    house.install("e", "hardlink", house.entry("b"))
    (house.path / "e").rename(house.path / "aside")
    pruned = prune(house.store, PruneOptions())
    assert (names(pruned), [u.state for u in pruned.unreachable]) == ([], ["moved"])
    # Hard links do not need the store, wherever they are.
    assert names(prune(house.store, PruneOptions(max_size=0))) == ["b"]
    with pytest.raises(PruneRefusedError):
        prune(house.store, PruneOptions(everything=True))


def test_environment_in_which_a_directory_is_not_readable_keeps_all(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.install("e", "symlink", house.entry("a"))

    def refuse(*_: object) -> set[str]:
        raise PermissionError

    monkeypatch.setattr(users, "entries_behind_symlinks", refuse)
    pruned = prune(house.store, PruneOptions())
    assert (names(pruned), [u.state for u in pruned.unreachable]) == (
        [],
        ["unreadable"],
    )


def test_forgotten_environment_releases_what_it_used(house: House) -> None:
    site_packages = house.install("e", "symlink", house.entry("a"))
    environment = str(house.path / "e")
    with pytest.raises(PruneRefusedError, match="is there"):
        release(house.store, environment)
    (house.path / "e").rename(house.path / "aside")
    assert release(house.store, environment) == [str(site_packages)]
    assert release(house.store, environment) == []
    assert names(prune(house.store, PruneOptions())) == ["a"]


# --- races ----------------------------------------------------------------------------


def between(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something when entries are aside, before the second look."""
    looks = []

    def look(*args: Any, **options: Any) -> list[users.User]:
        looks.append(1)
        if len(looks) == 2:
            action()
        return users.users(*args, **options)

    monkeypatch.setattr(prune_module, "users", look)


def test_who_links_before_the_second_look_gets_the_entry_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    site_packages = house.site_packages("e")

    def install() -> None:
        # Linked before the rename, as far as anybody can tell.
        (site_packages / "a").mkdir()
        (site_packages / "a" / "data").symlink_to(entry.source("a/data"))
        register(str(house.root), str(site_packages), entry.sha256, "symlink")

    between(monkeypatch, install)
    pruned = prune(house.store, PruneOptions())
    assert (names(pruned), pruned.restored) == ([], 1)
    assert (site_packages / "a" / "data").read_text() == "a" * 9000


def test_entry_that_was_made_anew_meanwhile_is_the_one_that_stays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")

    def install() -> None:
        house.install("e", "symlink", house.entry("a"))

    between(monkeypatch, install)
    pruned = prune(house.store, PruneOptions())
    assert (names(pruned), pruned.restored) == ([], 1)
    house.entry("a").check()
    assert entry.sha256 in house.store.entries()[0]
    assert not os.listdir(house.root / "v1" / "staging")


def test_bytecode_that_came_too_late_is_no_entry(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink")

    def install() -> None:
        os.makedirs(os.path.join(entry.path, "bytecode", "late"))
        (site_packages / "data").symlink_to(entry.source("a/data"))
        register(str(house.root), str(site_packages), entry.sha256, "symlink")

    between(monkeypatch, install)
    assert prune(house.store, PruneOptions()).restored == 1
    house.entry("a").check()
    assert (site_packages / "data").read_text()


def test_entry_that_another_clean_up_has_taken_is_none_of_ours(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")

    def list_too_late(*args: Any) -> list[Item]:
        found = items(*args)
        shutil.rmtree(house.root / "v1" / "wheels")
        return found

    monkeypatch.setattr(prune_module, "items", list_too_late)
    assert prune(house.store, PruneOptions()).removed == []


def test_interrupted_clean_up_puts_everything_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")

    def interrupt() -> None:
        raise KeyboardInterrupt

    between(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        prune(house.store, PruneOptions())
    assert house.present() == ["a"]
    house.entry("a").check()


# --- bytecode for entries of other stores ---------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "goes"),
    [
        (PruneOptions(), False),
        (PruneOptions(older_than=YEAR), False),
        (PruneOptions(older_than=86400.0), True),
        (PruneOptions(max_size=0), True),
        (PruneOptions(everything=True), True),
        (PruneOptions(everything=True, dry_run=True), False),
    ],
)
def test_bytecode_that_was_not_used_of_late_goes(
    house: House, wanted: PruneOptions, goes: bool
) -> None:
    """Nothing depends on it, and it is compiled again when it is missed."""
    spare = house.root / "v1" / "bytecode" / "digest-1-cpython"
    spare.mkdir(parents=True)
    (spare / "module.pyc").write_bytes(b"x" * 100_000)
    manifest = spare / "manifest.json"
    manifest.touch()
    week = time.time() - 7 * 86400
    os.utime(manifest, (week, week))
    (spare.parent / "of-another-clean-up").mkdir()
    pruned = prune(house.store, wanted)
    assert spare.exists() is not goes
    assert pruned.spare == (goes or wanted.dry_run)
    assert (pruned.freed >= 100_000) == bool(pruned.spare)


def test_killed_clean_up_loses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, half, anew = (house.entry(name) for name in ("kept", "half", "anew"))
    staged = house.root / "v1" / "staging" / "elsewhere-0"
    staged.mkdir()
    for entry in (kept, half, anew):
        assert house.store.take_away(entry.sha256, str(staged))
    (staged / half.sha256 / "manifest.json").unlink()
    house.entry("anew")
    monkeypatch.setattr("pip_linkmode.store.staging.STALE_SECONDS", -1)
    with house.store.staging():
        assert house.present() == ["anew", "kept"]
    kept.check()
    house.entry("anew").check()
    assert not staged.exists()


def test_bytecode_of_another_member_is_left_to_them(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = house.root / "v1" / "bytecode" / "digest-1-cpython"
    spare.mkdir(parents=True)
    (spare / "manifest.json").touch()

    def delete(path: str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Store, "delete", staticmethod(delete))
    pruned = prune(house.store, PruneOptions(everything=True))
    assert (pruned.spare, pruned.freed) == (0, 0)


def test_entry_that_was_neither_deleted_nor_brought_back_is_back(house: House) -> None:
    """Whatever ends a clean-up in the middle."""
    entry = house.entry("a")
    with house.store.staging() as staged:
        house.store.take_away(entry.sha256, staged)
        assert house.present() == []
    assert house.present() == ["a"]


def test_dry_run_forgets_nobody(house: House) -> None:
    site_packages = house.install("e", "symlink", house.entry("a"))
    (registration,) = registrations(str(house.root))
    shutil.rmtree(site_packages.parents[2])
    (house.path / "e").mkdir(exist_ok=True)
    before = registration.entries()
    assert release(house.store, str(house.path / "e"), dry_run=True)
    assert registration.entries() == before
    assert release(house.store, str(house.path / "e"))
    assert registration.entries() == set()


def test_environment_that_comes_back_during_a_clean_up_is_not_forgotten(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = house.install("e", "hardlink", house.entry("a"))
    before = house.path / "before"
    (house.path / "e").rename(before)
    shutil.rmtree(before)
    between(monkeypatch, lambda: None)
    monkeypatch.setattr(prune_module, "states", lambda gone: ["missing" for _ in gone])
    assert prune(house.store, PruneOptions()).released == []
    monkeypatch.undo()
    assert prune(house.store, PruneOptions()).released == [str(site_packages)]


def test_cap_removes_last_the_entries_that_hardlinks_keep(house: House) -> None:
    used, spare = house.entry("used", size=500_000), house.entry("spare", size=500_000)
    house.install("one", "hardlink", used)
    os.utime(os.path.join(used.path, "manifest.json"), (1, 1))
    size = sum(measure([one.path]).allocated for one in (used, spare))
    pruned = prune(house.store, PruneOptions(max_size=size - 1, dry_run=True))
    assert (names(pruned), pruned.held) == (["spare"], 0)
    pruned = prune(house.store, PruneOptions(max_size=1000, dry_run=True))
    assert (names(pruned), pruned.held) == (["spare", "used"], 1)
