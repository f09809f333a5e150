"""Files of environments become links to a store, if they are what they should be."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import py_compile
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.environments import register as register_module
from pip_linkmode.environments import registry, symlinks
from pip_linkmode.environments.probe import probe
from pip_linkmode.files import TEMPORARY, locked
from pip_linkmode.link import placement
from pip_linkmode.link.filesystems import Extent
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import PRIMITIVES, Link
from pip_linkmode.relink import adopt
from pip_linkmode.relink import apply as apply_module
from pip_linkmode.relink import plan as plan_module
from pip_linkmode.relink import relink as relink_module
from pip_linkmode.relink.actions import Keep
from pip_linkmode.relink.bytecode import bytecode_links
from pip_linkmode.relink.forecast import Forecast
from pip_linkmode.relink.match import Matcher
from pip_linkmode.relink.plan import Planner
from pip_linkmode.relink.survey import Digests
from pip_linkmode.store.entry import Entry, adopted_digest
from pip_linkmode.store.store import Store
from tests.support.house import note
from tests.support.wheels import make_wheel
from tests.unit.relink.conftest import (
    BIG,
    FILES,
    LIBRARY,
    MODULE,
    PYC,
    Bench,
    assert_valid_bytecode,
    content,
    noted,
    unpack,
    works,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.relink.relink import Relinking
    from pip_linkmode.relink.report import RelinkReport


def instead(relinking: Relinking, primitive: str, by: Callable[[Link], None]) -> None:
    """Replace a primitive."""
    linker = relinking._planner.linker
    linker.primitives = {**linker.primitives, primitive: by}


# --- what is shared -------------------------------------------------------------------


def test_files_are_those_of_an_entry_that_was_made_of_them(
    bench: Bench, site_packages: Path
) -> None:
    before = content(site_packages)
    report = bench.relink(site_packages)
    assert content(site_packages) == before
    (entry,) = bench.entries()
    entry.check()
    assert (entry.name, entry.version, entry.wheel) == ("package", "1.0", "")
    info = "package-1.0.dist-info"
    assert sorted(file.path for file in entry.files) == [
        "package-1.0.data/data/share/data",
        *(f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL")),
        "package/__init__.py",
        "package/data",
        "package/module.py",
        "package/tool",
        "single.py",
    ]
    shared = [file for file in entry.files if not file.path.startswith(info)]
    assert entry.sha256 == adopted_digest(info, shared)
    (adopted,) = report.adopted
    assert (adopted.name, adopted.sha256) == ("package", entry.sha256)
    for path in (
        *("package/data", "package/module.py", "package/tool", "single.py"),
        *("../../../share/data", f"package/__pycache__/module{PYC}"),
        *(f"__pycache__/single{PYC}", f"package/__pycache__/__init__{PYC}"),
    ):
        assert bench.is_shared(site_packages / path)
    for path in (f"{info}/RECORD", f"{info}/METADATA", "../../../bin/run"):
        assert not bench.is_shared(site_packages / path)
    assert not bench.is_shared(site_packages / "package/__init__.py")
    assert (site_packages / "package/tool").stat().st_mode & 0o777 == 0o755
    assert_valid_bytecode(site_packages)
    assert list(site_packages.rglob(f"{TEMPORARY}*")) == []


def test_others_are_linked_to_it(bench: Bench, site_packages: Path) -> None:
    other = bench.environment("two")
    report = bench.relink(site_packages, other)
    assert len(bench.entries()) == len(report.adopted) == 1
    assert (site_packages / BIG).samefile(other / BIG)
    registered = [one.site_packages for one in registry.registrations(bench.store.root)]
    assert registered == sorted([str(site_packages), str(other)])
    assert report.bytes_freed > 2 * 4000
    assert report.bytes_stored > 4000


def test_symlinks_that_become_hard_links_are_freed(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    links = [path.lstat() for path in site_packages.rglob("*") if path.is_symlink()]
    report = bench.relink(site_packages, mode="hardlink")
    assert sum(report.environments[0].files.values()) == len(links) > 0
    assert report.bytes_freed == sum(link.st_blocks * 512 for link in links)


def test_what_has_other_names_is_not_freed(bench: Bench, site_packages: Path) -> None:
    """As uv does it: the environment's files are those of a cache."""
    for dry_run in (True, False):
        (bench.root / "cache").unlink(missing_ok=True)
        os.link(site_packages / BIG, bench.root / "cache")
        report = bench.relink(site_packages, dry_run=dry_run)
        taken = (bench.root / "cache").stat().st_blocks * 512
        assert report.bytes_held == taken
        assert report.bytes_freed > 0
    assert not bench.is_shared(bench.root / "cache")


def test_later_ones_too(bench: Bench, site_packages: Path) -> None:
    bench.relink(site_packages)
    other = bench.environment("two")
    assert bench.relink(other).adopted == []
    assert (site_packages / BIG).samefile(other / BIG)


def test_wheel_that_is_in_the_store_is_used(bench: Bench, site_packages: Path) -> None:
    entry = unpack(bench)
    assert bench.relink(site_packages).adopted == []
    assert os.path.samefile(site_packages / BIG, entry.source(BIG))
    assert bench.entries() == [entry]


def test_wheel_is_better_than_what_was_adopted(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages)
    entry = unpack(bench)
    bench.relink(site_packages)
    assert os.path.samefile(site_packages / BIG, entry.source(BIG))


def test_another_build_of_the_wheel_is_another_entry(
    bench: Bench, site_packages: Path
) -> None:
    bench.wheel = make_wheel(
        bench.root / "other", "package", files={**FILES, BIG: "more" * 1000}
    )
    unpack(bench)
    assert len(bench.relink(site_packages).adopted) == 1
    assert len(bench.entries()) == 2


def test_second_time_nothing_is_done(bench: Bench, site_packages: Path) -> None:
    first = bench.one(site_packages)
    inodes = {path: path.lstat().st_ino for path in site_packages.rglob("*")}
    again = bench.one(site_packages)
    assert {path: path.lstat().st_ino for path in site_packages.rglob("*")} == inodes
    assert (again.files, again.already) == ({}, sum(first.files.values()))


def test_dry_run_does_nothing(bench: Bench, site_packages: Path) -> None:
    inodes = {path: path.lstat().st_ino for path in site_packages.rglob("*")}
    other = bench.environment("two")
    told = bench.relink(site_packages, other, dry_run=True)
    assert {path: path.lstat().st_ino for path in site_packages.rglob("*")} == inodes
    assert bench.entries() == []
    assert list(registry.registrations(bench.store.root)) == []
    done = bench.relink(
        site_packages,
        bench.root / "two" / site_packages.relative_to(site_packages.parents[2]),
    )
    assert [one.files for one in told.environments] == [
        one.files for one in done.environments
    ]
    assert told.bytes_freed == done.bytes_freed


def others_owner(site_packages: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give files away")
    os.chown(site_packages / BIG, 12345, 12345)
    os.chown(site_packages / f"package/__pycache__/module{PYC}", 12345, 12345)


def other_bits(site_packages: Path) -> None:
    (site_packages / "package/tool").chmod(0o4755)
    (site_packages / f"package/__pycache__/module{PYC}").chmod(0o600)


def edit(site_packages: Path) -> None:
    (site_packages / BIG).write_text("edited")
    (site_packages / "package/module.py").write_text("VALUE = 23\n")


def edit_all(site_packages: Path) -> None:
    for path in (*FILES, "../../../share/data"):
        if (site_packages / path).is_file():
            (site_packages / path).write_text("edited")


def lead_elsewhere(site_packages: Path) -> None:
    shutil.move(site_packages / BIG, site_packages / "elsewhere")
    (site_packages / BIG).symlink_to("elsewhere")
    (site_packages / "package/tool").unlink()
    os.mkfifo(site_packages / "package/tool")


def lose_metadata(site_packages: Path) -> None:
    (site_packages / "package-1.0.dist-info/WHEEL").unlink()


def lose_bytecode(site_packages: Path) -> None:
    pyc = site_packages / f"package/__pycache__/module{PYC}"
    pyc.unlink()
    pyc.symlink_to("nowhere")


def have_other_names(site_packages: Path) -> None:
    os.link(site_packages / BIG, site_packages / "cache")


def nothing_else(site_packages: Path) -> None:
    del site_packages


def assert_alike(told: RelinkReport, done: RelinkReport) -> None:
    for foreseen, one in zip(told.environments, done.environments, strict=True):
        # The path in bytecode is another one, and maybe longer.
        assert foreseen.bytes == pytest.approx(one.bytes, abs=1000)
        foreseen.bytes = one.bytes
        foreseen.edited.sort()
        one.edited.sort()
        assert foreseen == one
    assert (told.bytes_freed, told.bytes_held) == (done.bytes_freed, done.bytes_held)
    assert told.bytes_stored == done.bytes_stored
    assert [one.sha256 for one in told.adopted] == [one.sha256 for one in done.adopted]


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
@pytest.mark.parametrize(
    "change",
    [
        others_owner,
        other_bits,
        edit,
        edit_all,
        lead_elsewhere,
        lose_metadata,
        lose_bytecode,
        have_other_names,
        nothing_else,
    ],
)
@pytest.mark.parametrize("is_stored", ["no", "adopted", "unpacked"])
def test_dry_run_promises_what_is_done(
    bench: Bench,
    site_packages: Path,
    change: Callable[[Path], None],
    mode: str,
    is_stored: str,
) -> None:
    if is_stored == "unpacked":
        unpack(bench)
    elif is_stored == "adopted":
        bench.relink(bench.environment("first"))
    change(site_packages)
    told = bench.relink(site_packages, mode=mode, dry_run=True)
    assert_alike(told, bench.relink(site_packages, mode=mode))


def test_dry_run_counts_what_another_environment_gives(
    bench: Bench, site_packages: Path
) -> None:
    other = bench.environment("two")
    edit(site_packages)
    told = bench.relink(site_packages, other, dry_run=True)
    assert_alike(told, bench.relink(site_packages, other))


@pytest.mark.parametrize("is_first", [True, False])
def test_dry_run_counts_bytecode_that_only_another_environment_has(
    bench: Bench, site_packages: Path, *, is_first: bool
) -> None:
    """As ``uv`` makes environments: what was imported is compiled."""
    bare = bench.environment("bare")
    for pyc in bare.rglob("*.pyc"):
        if "module" not in pyc.name:
            pyc.unlink()
    both = (bare, site_packages) if is_first else (site_packages, bare)
    told = bench.relink(*both, dry_run=True)
    assert_alike(told, bench.relink(*both))


@pytest.fixture
def edited_alike(bench: Bench, site_packages: Path) -> tuple[Path, Path]:
    """Two environments in which most of a package is edited."""
    other = bench.environment("two")
    for one in (site_packages, other):
        (one / BIG).write_text("edited" * 1000)
    return site_packages, other


def test_what_is_stored_already_is_neither_copied_nor_counted(
    bench: Bench, edited_alike: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    promised = bench.relink(*edited_alike, dry_run=True)
    first = bench.relink(*edited_alike)
    assert_alike(promised, first)
    assert len(promised.adopted) == len(first.adopted) == 1
    monkeypatch.setattr(apply_module, "adopt", pytest.fail)
    for dry_run in (True, False):
        again = bench.relink(*edited_alike, dry_run=dry_run)
        assert (again.adopted, again.bytes_stored, again.bytes_freed) == ([], 0, 0)
        for one, site_packages in zip(again.environments, edited_alike, strict=True):
            assert one.edited == [str(site_packages / BIG)]
            assert one.files == {}


def test_permissions_of_one_environment_are_no_reason_to_store_anew(
    bench: Bench, edited_alike: tuple[Path, Path]
) -> None:
    (edited_alike[1] / "package/tool").chmod(0o700)
    bench.relink(*edited_alike)
    assert bench.relink(*edited_alike).adopted == []


def test_what_another_environment_has_intact_is_adopted_at_last(
    bench: Bench, edited_alike: tuple[Path, Path]
) -> None:
    bench.relink(*edited_alike)
    intact = bench.environment("three")
    for dry_run in (True, False):
        again = bench.relink(*edited_alike, intact, dry_run=dry_run)
        assert len(again.adopted) == 1
    assert bench.is_shared(intact / BIG)


def test_entry_that_came_in_the_meantime_is_not_counted(
    bench: Bench, edited_alike: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(*edited_alike)
    monkeypatch.setattr(Matcher, "index", lambda *_: None)
    for dry_run in (True, False):
        again = bench.relink(*edited_alike, dry_run=dry_run)
        assert (again.adopted, again.bytes_stored) == ([], 0)


def before_reading(
    monkeypatch: pytest.MonkeyPatch, file: Path, act: Callable[[], object]
) -> None:
    """Do something whenever relink is about to read a file."""
    digest = Digests.of

    def of(digests: Digests, environment: Environment, path: str) -> str:
        if path == str(file):
            act()
        return digest(digests, environment, path)

    monkeypatch.setattr(Digests, "of", of)


def remove_before_reading(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    before_reading(monkeypatch, file, lambda: file.unlink(missing_ok=True))


def test_file_that_goes_while_it_is_looked_for_is_not_missed(
    bench: Bench, edited_alike: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(*edited_alike)
    remove_before_reading(monkeypatch, edited_alike[0] / BIG)
    again = bench.relink(*edited_alike)
    assert [one.failed for one in again.environments] == [{}, {}]
    assert again.adopted == []


def test_directory_that_is_read_only_keeps_its_files_and_no_others(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = os.access

    def is_writable(path: str, mode: int) -> bool:
        return path != str(site_packages / "package") and access(path, mode)

    monkeypatch.setattr(os, "access", is_writable)
    reason = f"cannot be replaced: {os.strerror(errno.EACCES)}"
    for dry_run in (True, False):
        found = bench.one(site_packages, dry_run=dry_run)
        assert found.failed == {reason: 4}
        assert found.files == {"hardlink": 3}
    assert bench.is_shared(site_packages / "single.py")
    assert not bench.is_shared(site_packages / BIG)


def test_primitive_that_works_nowhere_is_not_promised(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = os.strerror(errno.EXDEV)
    ways = {"clone": reason, "hardlink": reason, "symlink": None, "copy": None}
    works(monkeypatch, ways)

    def refuse(link: Link) -> None:
        raise OSError(errno.EXDEV, reason, link.target)

    told = bench.relink(site_packages, mode="symlink", dry_run=True)
    relinking = bench.prepare(site_packages, mode="symlink")
    instead(relinking, "hardlink", refuse)
    assert_alike(told, relinking.run())
    assert told.environments[0].skipped == {f"cannot be linked: {reason}": 3}


# --- what two distributions list ------------------------------------------------------


@pytest.fixture
def listed_twice(bench: Bench, site_packages: Path) -> Path:
    """A file of one distribution that another one has overwritten."""
    for name, text in (("first", "one" * 1000), ("second", "two" * 1000)):
        files: dict[str, bytes | str] = {"both": text, f"{name}/data": "data" * 1000}
        bench.install(site_packages, make_wheel(bench.root, name, files=files))
    return site_packages / "both"


def test_file_is_shared_as_that_of_who_has_written_it_last(
    bench: Bench, site_packages: Path, listed_twice: Path
) -> None:
    before = content(site_packages)
    told = bench.relink(site_packages, dry_run=True)
    done = bench.relink(site_packages)
    assert content(site_packages) == before
    assert_alike(told, done)
    (found,) = done.environments
    assert (found.edited, found.skipped, found.failed) == ([], {}, {})
    assert bench.is_shared(listed_twice)
    for mode in ("hardlink", "symlink", "symlink"):
        found = bench.one(site_packages, mode=mode)
        assert (found.edited, found.skipped, found.failed) == ([], {}, {})
    assert found.files == {}


def test_file_that_both_have_alike_is_relinked_once(
    bench: Bench, site_packages: Path
) -> None:
    for name in ("first", "second"):
        files: dict[str, bytes | str] = {"both": "same" * 1000, name: name * 1000}
        bench.install(site_packages, make_wheel(bench.root, name, files=files))
    told = bench.relink(site_packages, dry_run=True)
    assert told.bytes_held == 0
    assert bench.one(site_packages).files == told.environments[0].files
    assert bench.one(site_packages).files == {}


def test_edit_of_what_two_list_stays_and_is_told_once(
    bench: Bench, site_packages: Path, listed_twice: Path
) -> None:
    listed_twice.write_text("edited")
    assert bench.one(site_packages).edited == [str(listed_twice)]
    listed_twice.unlink()
    listed_twice.symlink_to(BIG)
    assert bench.one(site_packages).skipped == {"are links to somewhere else": 1}
    assert listed_twice.is_symlink()


# --- how far it is --------------------------------------------------------------------


def test_progress_names_each_package(bench: Bench, site_packages: Path) -> None:
    seen: dict[str, float] = {}
    bench.prepare(site_packages).run(seen.__setitem__)
    assert list(seen) == ["package"]
    assert list(seen.values()) == [0]


# --- by which way ---------------------------------------------------------------------


def test_symlinks_lead_to_the_entry(bench: Bench, site_packages: Path) -> None:
    found = bench.one(site_packages, mode="symlink")
    (entry,) = bench.entries()
    assert os.readlink(site_packages / MODULE) == entry.source(MODULE)
    # pip's --target does not replace links that are directly in it.
    for path in ("single.py", BIG, "package/tool"):
        assert not (site_packages / path).is_symlink()
        assert bench.is_shared(site_packages / path)
    assert found.files == {"symlink": 1, "hardlink": 7}
    assert_valid_bytecode(site_packages)
    assert list(site_packages.rglob(f"{TEMPORARY}*")) == []


def test_symlink_becomes_a_hard_link_if_it_is_to(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    assert bench.one(site_packages, mode="auto").files == {}
    bench.relink(site_packages)
    assert not any(path.is_symlink() for path in site_packages.rglob("*"))
    assert bench.is_shared(site_packages / BIG)


def test_pip_itself_gets_no_symlinks(bench: Bench) -> None:
    bench.wheel = make_wheel(bench.root, "pip", files={"pip/module.py": "X = 1\n"})
    site_packages = bench.environment()
    bench.relink(site_packages, mode="symlink")
    assert not (site_packages / "pip/module.py").is_symlink()
    assert bench.is_shared(site_packages / "pip/module.py")


def fake_clone(link: Link) -> None:
    PRIMITIVES["copy"](link)


def test_clones_are_files_of_their_own(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(monkeypatch, {"clone": None, "hardlink": None})
    (site_packages / "package/tool").chmod(0o750)
    bench.relink(site_packages)
    relinking = bench.prepare(site_packages, mode="clone")
    instead(relinking, "clone", fake_clone)
    relinking.run()
    assert not bench.is_shared(site_packages / BIG)
    assert (site_packages / "package/tool").stat().st_mode & 0o777 == 0o750
    assert_valid_bytecode(site_packages)
    # They are known by their extents.
    extents = [Extent(0, 4096, is_compressed=False, is_shared=True)]
    monkeypatch.setattr(plan_module, "extents", lambda _: extents)
    assert bench.one(site_packages, mode="clone").files == {}
    monkeypatch.setattr(plan_module, "extents", lambda path: [*extents, path])
    assert bench.one(site_packages, mode="clone").files != {}


def test_hard_links_serve_those_who_ask_for_clones(
    bench: Bench, site_packages: Path
) -> None:
    def refuse(link: Link) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), link.target)

    relinking = bench.prepare(site_packages, mode="clone")
    instead(relinking, "clone", refuse)
    relinking.run()
    assert bench.is_shared(site_packages / BIG)


# --- what is not touched --------------------------------------------------------------


def test_edited_files_stay(bench: Bench, site_packages: Path) -> None:
    other = bench.environment("two")
    for path, text in ((BIG, "edited"), ("package/module.py", "VALUE = 9\n")):
        (site_packages / path).write_text(text)
    first, second = bench.relink(site_packages, other).environments
    assert sorted(first.edited) == [
        str(site_packages / "package" / name) for name in ("data", "module.py")
    ]
    assert second.edited == []
    assert (site_packages / BIG).read_text() == "edited"
    assert (site_packages / "package/module.py").stat().st_nlink == 1
    # The other one has given them to the store.
    assert bench.is_shared(other / BIG)
    assert bench.is_shared(other / "package/module.py")


def test_what_is_edited_everywhere_is_not_adopted(
    bench: Bench, site_packages: Path
) -> None:
    (site_packages / BIG).write_text("edited")
    found = bench.one(site_packages)
    (entry,) = bench.entries()
    assert BIG not in [file.path for file in entry.files]
    assert found.edited == [str(site_packages / BIG)]


def test_what_is_lacking_in_an_entry_stays(bench: Bench, site_packages: Path) -> None:
    (site_packages / "package/tool").write_text("edited")
    bench.relink(site_packages)
    other = bench.environment("two")
    found = bench.one(other)
    assert len(bench.entries()) == 1
    assert found.skipped == {"are not in the store": 1}


def test_where_all_is_edited_nothing_is_adopted(bench: Bench) -> None:
    bench.wheel = make_wheel(bench.root, "tiny", files={"tiny": "tiny"})
    site_packages = bench.environment()
    (site_packages / "tiny").write_text("edited")
    for dry_run in (True, False):
        report = bench.relink(site_packages, dry_run=dry_run)
        assert (report.adopted, bench.entries()) == ([], [])
        assert report.environments[0].edited == [str(site_packages / "tiny")]


def test_links_into_a_damaged_entry_are_told(bench: Bench) -> None:
    files: dict[str, bytes | str] = {LIBRARY: "library" * 100}
    bench.wheel = make_wheel(bench.root, "package", files=files)
    site_packages = bench.environment()
    bench.relink(site_packages, mode="symlink")
    (site_packages / LIBRARY).write_text("edited")
    found = bench.one(site_packages)
    assert found.skipped == {"are links to somewhere else": 1}
    assert (site_packages / LIBRARY).read_text() == "edited"


def test_file_that_is_gone_is_passed_over(bench: Bench, site_packages: Path) -> None:
    (site_packages / BIG).unlink()
    relinking = bench.prepare(site_packages)
    for path in ("package/tool", "package/__init__.py"):
        (site_packages / path).unlink()
    (found,) = relinking.run().environments
    assert (found.edited, found.skipped) == ([], {})
    assert not (site_packages / BIG).exists()


def test_other_links_stay(bench: Bench, site_packages: Path) -> None:
    shutil.move(site_packages / BIG, bench.root / "elsewhere")
    (site_packages / BIG).symlink_to(bench.root / "elsewhere")
    unpack(bench)
    found = bench.one(site_packages)
    assert found.skipped == {"are links to somewhere else": 1}
    assert (site_packages / BIG).is_symlink()


def test_what_became_no_file_stays(bench: Bench, site_packages: Path) -> None:
    unpack(bench)
    relinking = bench.prepare(site_packages)
    (site_packages / BIG).unlink()
    os.mkfifo(site_packages / BIG)
    (found,) = relinking.run().environments
    assert found.skipped == {"are not regular files": 1}


def test_other_permissions_stay(bench: Bench, site_packages: Path) -> None:
    bench.relink(site_packages)
    other = bench.environment("two")
    (other / "package/tool").chmod(0o700)
    found = bench.one(other)
    reason = "have other permissions than those in the store"
    assert found.skipped == {reason: 1}
    assert bench.one(other, dry_run=True).skipped == {reason: 1}
    assert (other / "package/tool").stat().st_mode & 0o777 == 0o700


def test_environment_of_another_umask_has_an_entry_of_its_own(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages)
    other = bench.environment("two")
    for path in other.parents[2].rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o600)
    assert len(bench.relink(other).adopted) == 1
    assert (other / BIG).stat().st_mode & 0o777 == 0o600
    assert bench.is_shared(other / BIG)


def test_odd_permissions_are_not_adopted(bench: Bench, site_packages: Path) -> None:
    (site_packages / "package/tool").chmod(0o4755)
    bench.relink(site_packages)
    (entry,) = bench.entries()
    assert "package/tool" not in [file.path for file in entry.files]
    assert (site_packages / "package/tool").stat().st_mode & 0o7777 == 0o4755


def test_where_a_directory_gives_its_own_group_nothing_is_shared(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "why_not_shared", lambda _: "its own group")
    found = bench.one(site_packages)
    assert set(found.skipped) == {"would get another owner or group"}
    assert found.files == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_clone_has_the_owner_of_the_file(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works(monkeypatch, {"clone": None})
    os.chown(site_packages / BIG, 12345, 12345)
    relinking = bench.prepare(site_packages, mode="clone")
    instead(relinking, "clone", fake_clone)
    relinking.run()
    assert (site_packages / BIG).stat().st_uid == 12345
    (entry,) = bench.entries()
    assert (site_packages / BIG).stat().st_mtime_ns == entry.mtime * 10**9


def test_pipe_in_the_place_of_bytecode_is_not_waited_for(
    bench: Bench, site_packages: Path
) -> None:
    (pyc,) = (site_packages / "package/__pycache__").glob("module.*.pyc")
    pyc.unlink()
    os.mkfifo(pyc)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / BIG)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_owner_stays(bench: Bench, site_packages: Path) -> None:
    os.chown(site_packages / BIG, 12345, 12345)
    found = bench.one(site_packages)
    assert found.skipped == {"would get another owner or group": 1}
    assert (site_packages / BIG).stat().st_uid == 12345


def test_what_a_file_was_given_stays(bench: Bench, site_packages: Path) -> None:
    """Capabilities, an ACL, notes of its owner: another file does not have them."""
    note(site_packages / BIG)
    found = bench.one(site_packages)
    reason = "have extended attributes, which a link would not have"
    assert found.skipped == {reason: 1}
    assert not bench.is_shared(site_packages / BIG)


def test_nothing_behind_a_link_to_a_directory_is_replaced(
    bench: Bench, site_packages: Path
) -> None:
    outside = bench.root / "outside"
    (site_packages / "package").rename(outside)
    (site_packages / "package").symlink_to(outside)
    before = {path: path.stat() for path in outside.rglob("*")}
    assert bench.one(site_packages).files["hardlink"]
    assert {path: path.stat() for path in outside.rglob("*")} == before


def test_bytecode_behind_a_link_to_a_directory_is_not_replaced(
    bench: Bench, site_packages: Path
) -> None:
    outside, cache = bench.root / "outside", site_packages / "package/__pycache__"
    cache.rename(outside)
    cache.symlink_to(outside)
    before = {path: path.stat() for path in outside.iterdir()}
    bench.relink(site_packages)
    assert {path: path.stat() for path in outside.iterdir()} == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_what_is_around_an_environment_is_not_its_owners(bench: Bench) -> None:
    """As of ``/tmp/lib/python3.11/site-packages``, which anybody can make."""
    site_packages = bench.root / "prefix/lib/python3.99/site-packages"
    site_packages.mkdir(parents=True)
    bench.install(site_packages, compiled=False)
    os.chown(site_packages, 12345, 12345)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / BIG)
    assert not bench.is_shared(bench.root / "prefix/share/data")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("dry_run", [True, False])
def test_nothing_is_stored_for_who_can_have_nothing_of_it(
    bench: Bench, site_packages: Path, dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (site_packages.parents[2], *site_packages.parents[2].rglob("*")):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    report = bench.relink(site_packages, dry_run=dry_run)
    assert report.environments[0].skipped == {"would get another owner or group": 6}
    assert (bench.entries(), report.bytes_stored) == ([], 0)
    # A clone has the owner that it is given.
    works(monkeypatch, {"clone": None, "hardlink": None})
    report = bench.relink(site_packages, mode="clone", dry_run=dry_run)
    assert report.bytes_stored > 0


def test_distributions_of_others_are_passed_over(
    bench: Bench, site_packages: Path
) -> None:
    def info(name: str, **files: str) -> None:
        directory = site_packages / f"{name}-1.0.dist-info"
        directory.mkdir()
        for file, text in files.items():
            (directory / file.replace("_json", ".json")).write_text(text)

    info("editable", direct_url_json='{"dir_info": {"editable": true}}')
    info("archive", direct_url_json='{"archive_info": {}}')
    info("broken", RECORD="x,y,long\n")
    info("conda", INSTALLER="conda\n", RECORD="x,,\n")
    info("excluded", RECORD="x,,\n")
    (site_packages / "old.egg-info").mkdir()
    found = bench.one(site_packages, exclude=["Excluded"])
    assert found.passed_over == {
        "is an egg": 1,
        "is editable": 1,
        "has no RECORD that can be read": 2,
        "belongs to conda": 1,
        "is excluded by --link-exclude": 1,
    }
    assert bench.is_shared(site_packages / BIG)


def test_paths_that_cannot_be_stored_stay(bench: Bench, site_packages: Path) -> None:
    (bench.root / "outside").write_text("outside")
    (site_packages / "odd.data").mkdir()
    for path in ("odd.data/file", "new\nline"):
        (site_packages / path).write_text("odd")
    record = site_packages / "package-1.0.dist-info" / "RECORD"
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"odd").digest()).decode()
    with record.open("a") as file:
        for path in ("odd.data/file", '"new\nline"', "../../../../outside"):
            file.write(f"{path},sha256={digest.rstrip('=')},3\n")
        file.write("single.py,sha256=A,\nsingle.py,sha256=short,\n")
    bench.relink(site_packages)
    (entry,) = bench.entries()
    assert len(entry.files) == 8
    assert "single.py" not in [file.path for file in entry.files]
    assert (site_packages / "odd.data/file").stat().st_nlink == 1


def test_nothing_to_share_is_nothing_to_do(bench: Bench, site_packages: Path) -> None:
    empty = make_wheel(bench.root, "empty", files={"empty/file": ""})
    bench.install(site_packages, empty)
    bench.install(
        site_packages, make_wheel(bench.root, "two", files={"two.py": "X = 1\n"})
    )
    assert len(bench.relink(site_packages).adopted) == 2


def test_empty_files_of_an_entry_are_left_alone(bench: Bench) -> None:
    files: dict[str, bytes | str] = {"some/empty": "", "some/data": "data" * 9}
    bench.wheel = make_wheel(bench.root, "some", files=files)
    site_packages = bench.environment()
    inode = (site_packages / "some/empty").stat().st_ino
    bench.relink(site_packages)
    assert (site_packages / "some/empty").stat().st_ino == inode
    assert bench.is_shared(site_packages / "some/data")


def test_directory_in_the_place_of_a_file_stays(
    bench: Bench, site_packages: Path
) -> None:
    (site_packages / BIG).unlink()
    (site_packages / BIG).mkdir()
    bench.relink(site_packages)
    assert (site_packages / BIG).is_dir()


def test_links_of_others_are_not_adopted(bench: Bench, site_packages: Path) -> None:
    shutil.move(site_packages / BIG, bench.root / "elsewhere")
    (site_packages / BIG).symlink_to(bench.root / "elsewhere")
    bench.relink(site_packages)
    (entry,) = bench.entries()
    assert BIG not in [file.path for file in entry.files]


def test_file_of_another_build_stays(bench: Bench, site_packages: Path) -> None:
    tool = "#!/bin/sh\nexit 1\n"
    bench.wheel = make_wheel(
        bench.root / "other",
        "package",
        files={**FILES, "package/tool": tool},
        executable=["package/tool"],
    )
    unpack(bench)
    found = bench.one(site_packages)
    assert found.skipped == {"are others than those in the store": 1}
    assert bench.is_shared(site_packages / BIG)
    assert (site_packages / "package/tool").read_text() == FILES["package/tool"]


# --- bytecode -------------------------------------------------------------------------


def remove_interpreter(site_packages: Path) -> None:
    shutil.rmtree(site_packages.parents[2] / "bin")


def test_without_the_interpreter_only_what_has_no_bytecode_is_shared(
    bench: Bench, site_packages: Path
) -> None:
    remove_interpreter(site_packages)
    found = bench.one(site_packages)
    assert bench.is_shared(site_packages / BIG)
    assert not bench.is_shared(site_packages / "package/module.py")
    assert_valid_bytecode(site_packages)
    reason = "have bytecode that would be stale, since the interpreter does not answer"
    assert found.skipped == {reason: 3}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("whose", ["pyvenv.cfg", "bin/python", "lib"])
def test_programs_of_others_are_not_run(
    bench: Bench, site_packages: Path, whose: str
) -> None:
    for path in (site_packages.parents[2] / "bin").iterdir():
        if path.name.startswith("python") and path.name != "python":
            path.unlink()
    python = site_packages.parents[2] / "bin/python"
    python.unlink()
    python.write_text(f"#!/bin/sh\ntouch {bench.root}/run\n")
    python.chmod(0o755)
    bench.relink(site_packages)
    assert (bench.root / "run").exists()
    (bench.root / "run").unlink()
    os.chown(
        site_packages if whose == "lib" else site_packages.parents[2] / whose, 12345, -1
    )
    bench.relink(site_packages)
    assert not (bench.root / "run").exists()


def test_what_was_not_compiled_needs_no_interpreter(bench: Bench) -> None:
    site_packages = bench.environment()
    shutil.rmtree(site_packages / "package")
    bench.install(site_packages, compiled=False)
    shutil.rmtree(site_packages / "__pycache__")
    remove_interpreter(site_packages)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / "package/module.py")
    assert list(site_packages.rglob("*.pyc")) == []


def test_where_bytecode_cannot_be_made_sources_stay(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply_module, "ensure_bytecode", lambda *_: None)
    found = bench.one(site_packages)
    assert not bench.is_shared(site_packages / "package/module.py")
    assert found.skipped == {
        "have bytecode that would be stale, since it cannot be made": 3
    }
    assert_valid_bytecode(site_packages)


def test_bytecode_of_what_does_not_compile_is_somebody_elses(bench: Bench) -> None:
    bench.wheel = make_wheel(bench.root, "bad", files={"bad.py": "print 'x'\n"})
    site_packages = bench.root / "one"
    with pytest.raises(py_compile.PyCompileError):
        bench.environment()
    (site_packages,) = site_packages.glob("lib/*/site-packages")
    bench.install(site_packages, compiled=False)
    (site_packages / "__pycache__").mkdir()
    pyc = site_packages / "__pycache__" / f"bad{PYC}"
    pyc.write_bytes(bytes(16))
    found = bench.one(site_packages)
    assert found.skipped == {
        "have bytecode that would be stale, since they do not compile": 1
    }
    assert not bench.is_shared(site_packages / "bad.py")


def test_what_is_shared_stays_shared_without_the_interpreter(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages)
    remove_interpreter(site_packages)
    again = bench.one(site_packages)
    assert (again.files, again.skipped) == ({}, {})
    assert_valid_bytecode(site_packages)


def test_bytecode_that_a_hash_validates_stays(
    bench: Bench, site_packages: Path
) -> None:
    source = str(site_packages / "package/module.py")
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    pyc = py_compile.compile(source, doraise=True, invalidation_mode=mode)
    before = Path(str(pyc)).read_bytes()
    bench.relink(site_packages)
    assert bench.is_shared(Path(source))
    assert Path(str(pyc)).read_bytes() == before
    assert not bench.is_shared(Path(str(pyc)))


def test_bytecode_that_dangles_is_linked_anew(
    bench: Bench, site_packages: Path
) -> None:
    pyc = site_packages / "package/__pycache__" / f"module{PYC}"
    pyc.unlink()
    pyc.symlink_to(bench.root / "nowhere")
    bench.relink(site_packages)
    assert bench.is_shared(pyc)
    assert_valid_bytecode(site_packages)


def test_source_stays_if_its_bytecode_does(bench: Bench, site_packages: Path) -> None:
    pyc = site_packages / "package/__pycache__" / f"module{PYC}"
    pyc.chmod(0o600)
    bench.relink(site_packages)
    assert not bench.is_shared(site_packages / "package/module.py")
    assert bench.is_shared(site_packages / "single.py")
    assert_valid_bytecode(site_packages)


def test_bytecode_that_goes_meanwhile_is_not_made(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)
    other = bench.environment("two")
    relinking = bench.prepare(other)
    plan = bytecode_links

    def and_then_remove(*args: Any) -> Any:
        found = plan(*args)
        shutil.rmtree(other / "package/__pycache__")
        return found

    monkeypatch.setattr(relink_module, "bytecode_links", and_then_remove)
    relinking.run()
    assert bench.is_shared(other / "package/module.py")
    assert not (other / "package/__pycache__").exists()


# --- trouble --------------------------------------------------------------------------


def test_edit_in_the_meantime_wins(bench: Bench, site_packages: Path) -> None:
    def edit_and_link(link: Link) -> None:
        target = Path(link.target).parent / "data"
        if target.exists():
            target.write_text("edited")
        PRIMITIVES["hardlink"](link)

    relinking = bench.prepare(site_packages)
    instead(relinking, "hardlink", edit_and_link)
    (found,) = relinking.run().environments
    assert (site_packages / BIG).read_text() == "edited"
    assert "were changed by another process" in found.skipped or found.edited
    assert list(site_packages.rglob(f"{TEMPORARY}*")) == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EMLINK, "have as many links as the file system allows"),
        (errno.EXDEV, f"cannot be linked: {os.strerror(errno.EXDEV)}"),
    ],
)
def test_link_that_is_refused_leaves_the_file(
    bench: Bench, site_packages: Path, number: int, reason: str
) -> None:
    def refuse(link: Link) -> None:
        raise OSError(number, os.strerror(number), link.target)

    before = content(site_packages)
    relinking = bench.prepare(site_packages)
    instead(relinking, "hardlink", refuse)
    (found,) = relinking.run().environments
    assert content(site_packages) == before
    assert set(found.skipped) == {reason}


def test_error_leaves_the_file(bench: Bench, site_packages: Path) -> None:
    def refuse(link: Link) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), link.target)

    before = content(site_packages)
    relinking = bench.prepare(site_packages)
    instead(relinking, "hardlink", refuse)
    (found,) = relinking.run().environments
    assert content(site_packages) == before
    assert set(found.failed) == {f"cannot be replaced: {os.strerror(errno.EIO)}"}


def test_other_file_system_is_refused_before_anything_is_copied(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = os.strerror(errno.EXDEV)
    works(monkeypatch, {"hardlink": reason, "copy": None})
    found = bench.one(site_packages)
    assert found.refused is not None
    assert found.refused.startswith(f"no hardlink from {bench.store.root} (")
    assert "set --link-store" in found.refused
    assert bench.entries() == []


def test_link_to_an_environment_is_refused(bench: Bench, site_packages: Path) -> None:
    link = bench.root / "site-packages"
    link.symlink_to(site_packages)
    assert bench.one(link).refused == f"{link} is a link; name {site_packages}"


def test_directory_that_cannot_be_written_is_refused(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(apply_module, "probe", refuse)
    found = bench.one(site_packages)
    assert found.refused == f"{site_packages}: {os.strerror(errno.EROFS)}"


def test_without_a_store_there_is_nothing_to_share_with(
    bench: Bench, site_packages: Path
) -> None:
    assert (
        bench.one(site_packages, stores=[]).refused == "there is no store to share with"
    )


def test_read_only_store_is_used_and_not_written(
    bench: Bench, site_packages: Path
) -> None:
    frozen = Store(bench.store.root, writable=False)
    assert bench.one(site_packages, stores=[frozen]).refused is not None
    bench.wheel = make_wheel(bench.root / "w", "other", files={"other": "other"})
    unpack(bench)
    assert bench.one(site_packages, stores=[frozen]).files == {}
    bench.wheel = make_wheel(
        bench.root / "wheels", "package", files=FILES, executable=["package/tool"]
    )
    entry = unpack(bench)
    bench.relink(site_packages, stores=[frozen])
    assert os.path.samefile(site_packages / BIG, entry.source(BIG))


def test_environment_where_another_is_at_work_is_refused(
    bench: Bench, site_packages: Path
) -> None:
    with locked(str(site_packages)):
        found = bench.one(site_packages)
    assert found.refused == f"another pip-linkmode is at work in {site_packages}"
    assert not bench.is_shared(site_packages / BIG)


def test_error_that_names_no_file_is_told_without_one(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "the result is not a copy")

    monkeypatch.setattr(adopt, "_copy", refuse)
    reason = "cannot be shared: the result is not a copy"
    assert list(bench.one(site_packages).failed) == [reason]


def test_full_disk_leaves_everything(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "store")

    monkeypatch.setattr(adopt, "_copy", refuse)
    before = content(site_packages)
    found = bench.one(site_packages)
    reason = f"cannot be shared: store: {os.strerror(errno.ENOSPC)}"
    assert list(found.failed) == [reason]
    assert content(site_packages) == before
    assert os.listdir(os.path.join(bench.store.root, "v1", "staging")) == []


def test_adopted_entries_of_a_project_have_different_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.9)
    for number, name in enumerate(("one", "two")):
        changed = {**FILES, BIG: f"{number}" * 1000}
        wheel = make_wheel(bench.root / name, "package", files=changed)
        bench.wheel = wheel
        bench.relink(bench.environment(f"environment-{name}"))
    entries = bench.entries()
    assert sorted(e.mtime for e in entries) == [1_699_999_999, 1_700_000_000]
    for entry in entries:
        entry.check()


def test_damaged_entry_is_made_anew(bench: Bench, site_packages: Path) -> None:
    bench.relink(site_packages)
    (entry,) = bench.entries()
    os.truncate(entry.source(BIG), 1)  # and with it the environment's
    other = bench.environment("two")
    bench.relink(other)
    (entry,) = bench.entries()
    entry.check()
    assert os.path.samefile(other / BIG, entry.source(BIG))


def test_damaged_entry_that_has_the_edit_of_who_depends_on_it_stays(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    with (site_packages / MODULE).open("a") as file:
        file.write("edited")
    other = bench.environment("two")
    before = content(other)
    for dry_run in (True, False):
        found = bench.one(other, dry_run=dry_run)
        ((reason, count),) = found.failed.items()
        assert reason.startswith(
            f"cannot be shared: {(site_packages / MODULE).readlink()} is not as it was "
            f"written, and {site_packages.parents[2]} had symlinks to that entry. "
            "Run `pip-linkmode verify`"
        )
        assert (count, found.files) == (6, {})
    assert content(other) == before
    assert (site_packages / MODULE).read_text().endswith("edited")


def test_what_is_left_of_an_entry_that_was_removed_is_in_nobodys_way(
    bench: Bench, site_packages: Path
) -> None:
    """Though symlinks lead there: what they were edited to is gone with it."""
    bench.relink(site_packages, mode="symlink")
    (entry,) = bench.entries()
    for name in ("files", "manifest.json"):
        os.rename(os.path.join(entry.path, name), bench.root / name)
    found = bench.one(bench.environment("two"))
    assert (found.failed, found.files) == ({}, {"hardlink": 8})
    assert len(bench.entries()) == 1


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_edit_of_a_tree_that_two_environments_lead_to_stays(
    bench: Bench, mode: str
) -> None:
    files: dict[str, bytes | str] = {BIG: FILES[BIG], "package/more": "more" * 1000}
    bench.wheel = make_wheel(bench.root, "package", files=files)
    site_packages, other = bench.environment("one"), bench.environment("two")
    tree = bench.root / "tree"
    shutil.move(site_packages / "package", tree)
    shutil.rmtree(other / "package")
    for one in (site_packages, other):
        (one / "package").symlink_to(tree)
    bench.relink(site_packages, other, mode=mode)
    with (tree / "data").open("a") as file:
        file.write("edited")
    apart = bench.environment("apart")
    bench.relink(apart, site_packages, other, mode=mode)
    assert (tree / "data").read_text().endswith("edited")
    assert (apart / BIG).read_text() == FILES[BIG]


def test_damaged_entry_on_which_nobody_depends_any_more_is_made_anew(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    (site_packages / BIG).write_text("edited")
    shutil.rmtree(site_packages.parents[2])
    other = bench.environment("two")
    bench.relink(other)
    assert bench.is_shared(other / BIG)


def test_entry_that_was_taken_away_is_made_anew(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)
    other, register, calls = bench.environment("two"), register_module.register, [0]

    def clean_up_first(store: str, *args: str) -> None:
        if not calls[0]:
            shutil.rmtree(os.path.join(store, "v1", "wheels"))
        calls[0] += 1
        register(store, *args)

    monkeypatch.setattr(apply_module, "register", clean_up_first)
    found = bench.one(other, mode="symlink")
    assert found.files["symlink"] == 1
    assert all(path.exists() for path in other.rglob("*"))


def test_entry_that_is_always_taken_away_is_given_up(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean_up(store: str, *_: str) -> None:
        shutil.rmtree(os.path.join(store, "v1", "wheels"))

    monkeypatch.setattr(apply_module, "register", clean_up)
    before = content(site_packages)
    assert bench.one(site_packages).files == {}
    assert content(site_packages) == before


def test_file_that_changes_while_it_is_adopted_is_looked_at_again(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = adopt._copy

    def copy_and_edit(environment: Environment, source: str, target: str) -> None:
        copy(environment, source, target)
        if source == str(site_packages / BIG):
            Path(source).write_text("tada" * 1000)

    monkeypatch.setattr(adopt, "_copy", copy_and_edit)
    found = bench.one(site_packages)
    assert found.edited == [str(site_packages / BIG)]
    assert (site_packages / BIG).read_text() == "tada" * 1000


def test_store_from_which_nothing_can_be_linked_is_not_used(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far, near = bench.store, Store.open(str(bench.root / "near"))
    unpack(bench)

    def look(store: Store, site_packages: str) -> dict[str, str | None]:
        if store is far:
            return dict.fromkeys(PRIMITIVES, "too far")
        return probe(store, site_packages)

    monkeypatch.setattr(apply_module, "probe", look)
    found = bench.one(site_packages, stores=[far, near])
    assert found.refused is None
    bench.store = near
    assert bench.is_shared(site_packages / BIG)


def test_store_that_keeps_no_users_is_used(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(apply_module, "register", refuse)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / BIG)


def test_entry_that_goes_in_between_is_an_error_of_the_rest(
    bench: Bench, site_packages: Path
) -> None:
    relinking = bench.prepare(site_packages)

    def clean_up_first(link: Link) -> None:
        shutil.rmtree(os.path.join(bench.store.root, "v1", "wheels"))
        PRIMITIVES["hardlink"](link)

    instead(relinking, "hardlink", clean_up_first)
    before = content(site_packages)
    (found,) = relinking.run().environments
    (reason,) = found.skipped
    assert reason.endswith("that another process removed")
    assert found.failed == {}
    assert content(site_packages) == before


def test_pin_of_symlinks_is_seen_by_a_clean_up(
    bench: Bench, site_packages: Path
) -> None:
    seen: list[set[str]] = []

    def look(link: Link) -> None:
        root = str(site_packages.parents[2])
        seen.append(symlinks.entries_behind_symlinks(bench.store.root, root))
        PRIMITIVES["symlink"](link)

    relinking = bench.prepare(site_packages, mode="symlink")
    instead(relinking, "symlink", look)
    relinking.run()
    (entry,) = bench.entries()
    assert seen[0] == {entry.sha256}


def test_left_overs_of_the_dead_are_removed(bench: Bench, site_packages: Path) -> None:
    for directory in (
        site_packages,
        site_packages / "package",
        site_packages / "package/__pycache__",
    ):
        (directory / f"{TEMPORARY}0123").write_text("half")
    bench.relink(site_packages)
    assert list(site_packages.rglob(f"{TEMPORARY}*")) == []


# --- where things are -----------------------------------------------------------------


def test_directory_of_target_is_an_environment(bench: Bench) -> None:
    site_packages = bench.root / "target"
    site_packages.mkdir()
    bench.wheel = make_wheel(
        bench.root,
        "flat",
        files={"flat/data": "flat" * 9},
    )
    bench.install(site_packages)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / "flat/data")


@pytest.mark.parametrize("name", ["lib/python3.99/site-packages", "Lib/site-packages"])
def test_prefix_without_a_configuration_has_data_too(bench: Bench, name: str) -> None:
    root = bench.root / "prefix"
    site_packages = root / name
    site_packages.mkdir(parents=True)
    bench.install(site_packages, compiled=False)
    shared = site_packages / os.path.relpath(
        site_packages.parents[2] / "share/data", site_packages
    )
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / BIG)
    assert bench.is_shared(shared) is (site_packages.parents[2] == root)


def test_prefix_without_a_configuration_has_an_interpreter(bench: Bench) -> None:
    site_packages = bench.root / "prefix/lib/python3.99/site-packages"
    site_packages.mkdir(parents=True)
    bench.install(site_packages)
    (bench.root / "prefix/bin/python3.99").symlink_to(sys.executable)
    bench.relink(site_packages)
    assert bench.is_shared(site_packages / "package/module.py")
    assert_valid_bytecode(site_packages)


# --- from symlinks to other links -----------------------------------------------------


@pytest.fixture
def depending(bench: Bench, site_packages: Path) -> Entry:
    """Return an entry to which an environment has symlinks."""
    bench.relink(site_packages, mode="symlink")
    (entry,) = bench.entries()
    assert noted(bench) == ({entry.sha256}, {entry.sha256})
    return entry


def test_symlinks_that_were_replaced_are_forgotten(
    bench: Bench, site_packages: Path, depending: Entry
) -> None:
    bench.relink(site_packages, mode="hardlink", dry_run=True)
    assert noted(bench) == ({depending.sha256}, {depending.sha256})
    bench.relink(site_packages, mode="hardlink")
    assert noted(bench) == ({depending.sha256}, set())
    # Nobody's edit is behind a symlink, so what is damaged can be made anew.
    os.truncate(depending.source(BIG), 1)
    assert bench.one(bench.environment("two")).failed == {}


def leave_inside(site_packages: Path, source: str) -> None:
    (site_packages / "another").symlink_to(source)


def leave_outside(site_packages: Path, source: str) -> None:
    outside = site_packages.parents[3] / "outside"
    outside.mkdir()
    (outside / "another").symlink_to(source)
    (site_packages / "elsewhere").symlink_to(outside)
    with (site_packages / "package-1.0.dist-info/RECORD").open("a") as record:
        record.write("elsewhere/another,,\n")


def leave_unknown(site_packages: Path, source: str) -> None:
    del source
    (site_packages / "broken-1.0.dist-info").mkdir()
    (site_packages / "broken-1.0.dist-info/RECORD").write_bytes(b"a,b,c\n")


@pytest.mark.parametrize("leave", [leave_inside, leave_outside, leave_unknown])
def test_symlinks_that_are_left_are_not_forgotten(
    bench: Bench,
    site_packages: Path,
    depending: Entry,
    leave: Callable[[Path, str], None],
) -> None:
    leave(site_packages, depending.source(BIG))
    bench.relink(site_packages, mode="hardlink")
    assert depending.sha256 in noted(bench)[1]


def test_symlinks_that_auto_leaves_are_not_forgotten(
    bench: Bench, site_packages: Path, depending: Entry
) -> None:
    bench.relink(site_packages, mode="auto")
    assert depending.sha256 in noted(bench)[1]


@pytest.mark.parametrize("is_seen", [True, False])
def test_symlinks_that_come_while_it_is_looked_are_not_forgotten(
    bench: Bench,
    site_packages: Path,
    depending: Entry,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_seen: bool,
) -> None:
    forget = registry.Registration.forget_symlinks

    def forget_late(one: registry.Registration, sha256s: set[str]) -> None:
        forget(one, sha256s)
        leave = leave_inside if is_seen else leave_unknown
        leave(site_packages, depending.source(BIG))

    monkeypatch.setattr(registry.Registration, "forget_symlinks", forget_late)
    bench.relink(site_packages, mode="hardlink")
    assert depending.sha256 in noted(bench)[1]


def test_symlinks_of_an_environment_that_was_moved_are_not_forgotten(
    bench: Bench, site_packages: Path, depending: Entry
) -> None:
    environment = site_packages.parents[2]
    environment.rename(environment.with_name("moved"))
    bench.environment()
    bench.relink(site_packages, mode="hardlink")
    found = registry.registrations(bench.store.root)
    assert sorted(len(one.entries(depends=True)) for one in found) == [0, 1]
    assert (
        environment.with_name("moved") / site_packages.relative_to(environment)
    ).is_dir()
    assert os.path.lexists(depending.source(BIG))


# --- files that change or go while they are looked at ---------------------------------


@pytest.mark.parametrize("how", ["edited", "gone"])
@pytest.mark.parametrize("which", [{BIG}, set(FILES)], ids=["one", "all"])
def test_file_that_is_lost_before_it_is_adopted_is_left_out(
    bench: Bench,
    site_packages: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    which: set[str],
) -> None:
    copy = adopt._copy

    def lose(environment: Environment, source: str, target: str) -> None:
        if which == set(FILES) or source == str(site_packages / BIG):
            if how == "gone":
                os.unlink(source)
            else:
                Path(source).write_text("edited")
        copy(environment, source, target)

    monkeypatch.setattr(adopt, "_copy", lose)
    found = bench.relink(site_packages)
    paths = {file.path for entry in bench.entries() for file in entry.files}
    assert BIG not in paths
    assert bool(paths) is (which == {BIG})
    assert len(found.adopted) == bool(paths)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("digest", "are not in the store"),
        ("other", "edited"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be read"),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
    ],
)
def test_file_that_no_entry_has_is_left_with_its_reason(
    tmp_path: Path, answer: str | OSError, expected: str | None
) -> None:
    def digest(*_: object) -> str:
        if isinstance(answer, OSError):
            raise answer
        return answer

    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    row = SimpleNamespace(sha256="digest", size=1)
    member: Any = SimpleNamespace(
        files={str(tmp_path / name): row for name in ("file", "pipe")}, environment=None
    )
    digests: Any = SimpleNamespace(of=digest)
    *found, pipe = Planner("hardlink", Linker(), digests).leave(member)
    assert isinstance(pipe, Keep)
    assert pipe.reason == "are not regular files"
    said = [one.reason if isinstance(one, Keep) else "edited" for one in found]
    assert len(said) == (expected is not None)
    assert all(one.startswith(expected or "") for one in said)


def test_file_that_cannot_be_read_stays(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(bench)

    def refuse() -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before_reading(monkeypatch, site_packages / BIG, refuse)
    found = bench.one(site_packages)
    assert found.failed == {f"cannot be read: {os.strerror(errno.EIO)}": 1}
    assert not bench.is_shared(site_packages / BIG)


def test_file_that_goes_before_it_is_compared_is_not_missed(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpack(bench)
    remove_before_reading(monkeypatch, site_packages / BIG)
    assert bench.one(site_packages).failed == {}


@pytest.mark.parametrize("same", [True, False])
def test_small_clones_inside_the_metadata_are_compared(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch, *, same: bool
) -> None:
    works(monkeypatch, {"clone": None, "hardlink": None})
    bench.relink(site_packages)
    relinking = bench.prepare(site_packages, mode="clone")
    instead(relinking, "clone", fake_clone)
    relinking.run()
    if not same:
        data = site_packages / BIG
        data.write_text("tada" * 1000)
    inside = [Extent(None, 4096, is_compressed=False, is_shared=False)]
    monkeypatch.setattr(plan_module, "extents", lambda _: inside)
    found = bench.one(site_packages, mode="clone")
    assert found.edited == ([] if same else [str(site_packages / BIG)])
    assert found.files == {}


@pytest.mark.parametrize("dry_run", [True, False])
def test_configuration_is_kept_where_it_cannot_be_cloned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    works(monkeypatch, {"clone": "no", "hardlink": None, "symlink": None})
    bench.wheel = make_wheel(
        bench.root / "wheels",
        "configured",
        files={"configured.py": "", "configured-1.0.data/data/etc/x.conf": "x = 1\n"},
    )
    site_packages = bench.environment()
    found = bench.one(site_packages, dry_run=dry_run)
    assert found.skipped == {"are configuration, which is not shared": 1}


def test_bytecode_that_goes_before_it_is_replaced_needs_no_replacement(
    bench: Bench, site_packages: Path
) -> None:
    relinking = bench.prepare(site_packages)

    def remove_first(link: Link) -> None:
        for pyc in site_packages.rglob("*.pyc"):
            pyc.unlink()
        PRIMITIVES["hardlink"](link)

    instead(relinking, "hardlink", remove_first)
    (found,) = relinking.run().environments
    assert found.failed == {}
    assert bench.is_shared(site_packages / MODULE)


def test_forecast_of_a_directory_that_is_read_only(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = bench.one(site_packages, dry_run=True)
    assert found.refused is not None
    assert os.strerror(errno.EACCES) in found.refused
    with pytest.raises(PermissionError):
        Forecast.ways(bench.store, str(site_packages))


def test_forecast_of_a_store_that_is_not_made_yet(
    bench: Bench, site_packages: Path
) -> None:
    shutil.rmtree(bench.store.root)
    ways = Forecast.ways(bench.store, str(site_packages))
    assert ways["hardlink"] is None
