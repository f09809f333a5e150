"""The entry of a wheel takes over the files that relink has adopted before."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments import registry
from pip_linkmode.environments.users import move_uses
from pip_linkmode.install.session import Session
from pip_linkmode.maintenance.prune import PruneOptions, prune
from pip_linkmode.prepare import takeover
from pip_linkmode.settings import Settings
from tests.unit.relink.conftest import (
    BIG,
    MODULE,
    Bench,
    assert_valid_bytecode,
    noted,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pip_linkmode.store.entry import Entry

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def adopted(bench: Bench, site_packages: Path) -> Entry:
    """An entry made of the files of an environment, an hour ago."""
    with pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now - 3600)
        bench.relink(site_packages)
    (entry,) = bench.entries()
    return entry


def test_wheel_takes_over_inodes_and_time(
    bench: Bench, site_packages: Path, adopted: Entry
) -> None:
    entry = unpack(bench)
    assert entry.mtime == adopted.mtime
    entry.check()
    for path in (BIG, MODULE):
        assert os.path.samefile(site_packages / path, entry.source(path))
    assert not list(bench.root.glob("store/v1/wheels/*/*/files/**/.pip-linkmode*"))
    other = bench.environment("two")
    bench.relink(other, site_packages)
    assert os.path.samefile(other / MODULE, site_packages / MODULE)
    assert_valid_bytecode(other)
    assert_valid_bytecode(site_packages)


def edit(adopted: Entry) -> None:
    """Change the bytes, and neither size nor time."""
    with open(adopted.source(BIG), "r+b") as file:
        file.write(b"edited")
    os.utime(adopted.source(BIG), (adopted.mtime, adopted.mtime))


def lose(adopted: Entry) -> None:
    os.unlink(adopted.source(BIG))


def change_owner(adopted: Entry) -> None:
    for directory, _, names in os.walk(adopted.path):
        for name in ("", *names):
            os.chown(os.path.join(directory, name), 12345, 12345)


def nothing_else(adopted: Entry) -> None:
    del adopted


@pytest.mark.parametrize(
    "change",
    [edit, lose, pytest.param(change_owner, marks=NEEDS_ROOT), nothing_else],
)
def test_wheel_with_other_files_takes_over_nothing(
    bench: Bench, adopted: Entry, change: Callable[[Entry], None]
) -> None:
    change(adopted)
    entry = unpack(bench, umask=0o077 if change is nothing_else else 0o022)
    entry.check()
    assert entry.mtime != adopted.mtime
    assert os.stat(entry.source(MODULE)).st_nlink == 1
    assert entry.read(BIG) == b"data" * 1000


def test_wheel_keeps_the_time_that_it_had_before(
    bench: Bench, site_packages: Path
) -> None:
    """Bytecode beside symlinks of a read-only environment depends on it."""
    before = unpack(bench)
    shutil.rmtree(before.path)
    bench.relink(site_packages)
    entry = unpack(bench)
    assert entry.mtime == before.mtime
    assert os.stat(entry.source(BIG)).st_nlink == 1


def test_files_that_cannot_be_linked_are_those_of_the_wheel(
    bench: Bench, adopted: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: str, **__: bool) -> None:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(os, "link", refuse)
    entry = unpack(bench)
    entry.check()
    assert entry.mtime == adopted.mtime
    assert os.stat(entry.source(BIG)).st_nlink == 1


def test_another_process_chooses_the_time_first(
    bench: Bench, adopted: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "share_mtime", lambda *_: 1_600_000_000)
    entry = unpack(bench)
    entry.check()
    assert entry.mtime == 1_600_000_000 != adopted.mtime
    assert os.stat(entry.source(BIG)).st_nlink == 1


# --- the users ------------------------------------------------------------------------


def test_relink_forgets_the_entry_that_an_environment_left(
    bench: Bench, site_packages: Path, adopted: Entry
) -> None:
    entry = unpack(bench)
    assert noted(bench)[0] == {adopted.sha256}
    bench.relink(site_packages)
    assert noted(bench)[0] == {entry.sha256}
    prune(bench.store, PruneOptions())
    assert [one.sha256 for one in bench.entries()] == [entry.sha256]
    assert_valid_bytecode(site_packages)


def test_relink_forgets_no_entry_to_which_symlinks_lead(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    (adopted,) = bench.entries()
    (site_packages / "another").symlink_to(adopted.source(MODULE))
    entry = unpack(bench)
    bench.relink(site_packages)
    assert noted(bench) == ({adopted.sha256, entry.sha256}, {adopted.sha256})


def test_installation_of_the_wheel_moves_the_uses_of_the_adopted_entry(
    bench: Bench, adopted: Entry
) -> None:
    os.mkdir(tempfile.gettempdir())
    other = bench.root / "two"
    scheme = {key: str(other / key) for key in ("scripts", "headers", "data")}
    scheme |= dict.fromkeys(("purelib", "platlib"), str(other / "lib"))
    settings = Settings("hardlink", "hardlink", (bench.store.root,), ())
    with Session(settings, []) as session:
        session.install(
            lambda _: None,
            "package",
            str(bench.wheel),
            scheme,
            pycompile=False,
            reusable=True,
        )
    (entry,) = (one for one in bench.entries() if one.wheel)
    uses = [one.entries() for one in registry.registrations(bench.store.root)]
    assert uses == [{entry.sha256}] * 2
    assert adopted.sha256 != entry.sha256


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_uses_move_to_the_new_entry_but_symlinks_stay(
    bench: Bench, site_packages: Path, mode: str
) -> None:
    bench.relink(site_packages, mode=mode)
    (adopted,) = bench.entries()
    entry = unpack(bench)
    move_uses(bench.store.root, adopted.sha256, entry.sha256)
    move_uses(bench.store.root, adopted.sha256, entry.sha256)
    expected = adopted if mode == "symlink" else entry
    assert noted(bench)[0] == {expected.sha256}
