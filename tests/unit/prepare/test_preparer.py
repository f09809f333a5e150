"""Wheels get into the store, ahead of their turn if they are announced."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.files import file_digest
from pip_linkmode.prepare import compiler, pool, preparer
from pip_linkmode.prepare.preparer import LocalWheels, Preparer
from pip_linkmode.store.entry import Entry
from pip_linkmode.store.store import Store
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES: dict[str, bytes | str] = {
    "package/__init__.py": "",
    "package/module.py": "VALUE = 1\n",
    "package/data": "data",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def wheel(tmp_path: Path) -> str:
    return str(make_wheel(tmp_path / "wheels", "package", files=FILES))


@pytest.fixture
def make() -> Iterator[Callable[..., Preparer]]:
    """Make intakes that are stopped in the end."""
    with contextlib.ExitStack() as stack:

        def created(*stores: Store, **options: Any) -> Preparer:
            options = {"umask": 0o022, "pycompile": True, "count": 2, **options}
            result = Preparer(stores, **options)
            stack.callback(result.stop)
            return result

        yield created


class Hashed(LocalWheels):
    """Wheels that pip has hashed already."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def digest(self, path: str) -> str | None:  # noqa: ARG002  # there is only one
        return self._digest


def staged(store: Store) -> list[Path]:
    return list(Path(store.root).glob("v1/staging/*"))


def entries(store: Store) -> list[Path]:
    return list(Path(store.root).glob("v1/wheels/*/*"))


def digest_of(wheel: str) -> str:
    with open(wheel, "rb") as file:
        return file_digest(file)


def test_new_wheel_is_unpacked_and_compiled(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    found = make(store).prepare(wheel)
    assert found.fresh
    assert found.entry.sha256 == digest_of(wheel)
    assert found.entry.wheel == os.path.basename(wheel)
    found.entry.check()
    assert found.bytecode is not None
    assert set(found.bytecode.files) == {"package/__init__.py", "package/module.py"}
    assert staged(store) == []


def test_entry_is_published_with_its_bytecode(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = []
    stock = Store.publish

    def publish(self: Store, staged: str, final: str, *, replace: bool) -> bool:
        published.append(sorted(os.listdir(staged)))
        return stock(self, staged, final, replace=replace)

    monkeypatch.setattr(Store, "publish", publish)
    make(store).prepare(wheel)
    assert published == [["bytecode", "files", "manifest.json"]]


def test_known_wheel_is_only_looked_up(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = make(store).prepare(wheel)
    monkeypatch.setattr(pool, "_start", None)
    again = make(store).prepare(wheel)
    assert (again.entry, again.fresh) == (first.entry, False)
    assert again.bytecode == first.bytecode


def test_bytecode_is_not_made_unless_it_is_wanted(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    found = make(store, pycompile=False).prepare(wheel)
    assert found.bytecode is None
    assert not list(Path(found.entry.path).glob("bytecode/*"))


def test_bytecode_is_made_when_it_is_wanted_later(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    make(store, pycompile=False).prepare(wheel)
    found = make(store).prepare(wheel)
    assert not found.fresh
    assert found.bytecode is not None
    assert staged(store) == []


def test_wheel_without_sources_has_bytecode_of_nothing(
    make: Callable[..., Preparer], store: Store, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "nothing", files={"nothing/data": "x"})
    found = make(store).prepare(str(wheel))
    assert found.bytecode is not None
    assert found.bytecode.files == {}


@pytest.mark.parametrize("count", [31, 32, 33, 70])
def test_sources_are_compiled_in_portions(
    make: Callable[..., Preparer], store: Store, tmp_path: Path, count: int
) -> None:
    files: dict[str, bytes | str] = {
        f"many/{n}.py": "no python\n" if n % 10 == 3 else f"X = {n}\n" * n
        for n in range(count)
    }
    wheel = make_wheel(tmp_path, "many", files=files)
    found = make(store).prepare(str(wheel))
    assert found.bytecode is not None
    expected = {path for path in files if files[path] != "no python\n"}
    assert set(found.bytecode.files) == expected
    for path, compiled in found.bytecode.files.items():
        assert compiled.size == os.path.getsize(found.bytecode.source(path))


def test_damaged_bytecode_is_made_again(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    first = make(store).prepare(wheel)
    assert first.bytecode is not None
    os.unlink(first.bytecode.source("package/module.py"))
    found = make(store).prepare(wheel)
    assert found.bytecode is not None
    assert not found.fresh
    assert staged(store) == []


# --- ahead of their turn --------------------------------------------------------------


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_announced_wheels_are_in_the_store_before_they_are_asked_for(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    created = make(store)
    created.start([wheel])
    wait_for(lambda: entries(store))
    found = created.prepare(wheel)
    assert found.fresh
    assert found.bytecode is not None


def test_announced_wheel_is_unpacked_once(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    stock = Preparer._take

    def take(self: Preparer, wheel: str, replace: bool = False) -> Any:
        taken.append(wheel)
        return stock(self, wheel, replace)

    monkeypatch.setattr(Preparer, "_take", take)
    created = make(store)
    created.start([wheel])
    created.prepare(wheel)
    assert taken == [wheel]


def test_errors_come_when_the_wheel_is_asked_for(
    make: Callable[..., Preparer], store: Store, tmp_path: Path
) -> None:
    odd, missing = tmp_path / "odd.whl", tmp_path / "missing.whl"
    odd.write_bytes(b"no wheel")
    created = make(store)
    created.start([str(odd), str(missing)])
    with pytest.raises(WheelDeclinedError):
        created.prepare(str(odd))
    with pytest.raises(FileNotFoundError):
        created.prepare(str(missing))


def test_more_wheels_than_workers(
    make: Callable[..., Preparer], store: Store, tmp_path: Path
) -> None:
    wheels = [
        str(make_wheel(tmp_path, f"many-{n}", files={f"many{n}.py": f"X = {n}\n"}))
        for n in range(8)
    ]
    created = make(store, count=1)
    created.start(wheels)
    assert [created.prepare(wheel).entry.name for wheel in reversed(wheels)] == [
        f"many-{n}" for n in reversed(range(8))
    ]
    assert staged(store) == []


def test_one_wheel_twice(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    copy = str(shutil.copy(wheel, tmp_path))
    created = make(store)
    created.start([wheel, copy])
    assert created.prepare(wheel).entry.sha256 == created.prepare(copy).entry.sha256
    assert len(entries(store)) == 1


def test_stopping_leaves_nothing_behind(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpacked = []
    hangs = "import time\ntime.sleep(600)\n"
    monkeypatch.setattr(pool, "_PROGRAM", hangs)
    monkeypatch.setattr(preparer, "unpack", lambda *_, **__: unpacked.append(1))
    created = make(store, count=1)
    created.start([wheel])
    wait_for(lambda: created._workers._processes)
    (process,) = created._workers._processes
    created.stop()
    assert process.returncode is not None
    # Someone has pressed Ctrl-C: this process must not do it all alone now.
    assert unpacked == []
    assert (entries(store), staged(store)) == ([], [])


# --- times ----------------------------------------------------------------------------


def test_two_versions_that_are_unpacked_in_one_second_have_two_times(
    make: Callable[..., Preparer],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_700_000_000
    monkeypatch.setattr("time.time", lambda: now + 0.9)
    wheels = [
        str(make_wheel(tmp_path, "package", version, files=FILES))
        for version in ("1.0", "1.1")
    ]
    first, second = (make(store).prepare(wheel).entry for wheel in wheels)
    assert (first.mtime, second.mtime) == (now, now - 1)
    # Rebuilt later: bytecode of environments has the time of the source in it.
    now += 1000
    again = make(store).prepare(wheels[1], replace=True)
    assert again.fresh
    assert again.entry.mtime == second.mtime
    again.entry.check()
    source = Path(again.entry.source("package/module.py"))
    assert again.bytecode is not None
    pyc = Path(again.bytecode.source("package/module.py"))
    assert source.stat().st_mtime_ns == second.mtime * 10**9
    assert pyc.read_bytes()[8:12] == second.mtime.to_bytes(4, "little")


# --- without workers ------------------------------------------------------------------


@pytest.mark.parametrize("program", ["", "raise ImportError"])
def test_without_workers_it_is_unpacked_here(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
) -> None:
    monkeypatch.setattr(pool, "_PROGRAM", program)
    found = make(store).prepare(wheel)
    assert found.fresh
    assert found.bytecode is None
    found.entry.check()
    assert not list(Path(found.entry.path).glob("bytecode/*/*"))
    assert staged(store) == []


def test_worker_that_dies_in_its_answer(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = "import sys\nsys.stdin.readline()\nprint('[1, 2', end='')\n"
    monkeypatch.setattr(pool, "_PROGRAM", program)
    assert make(store).prepare(wheel).fresh


def test_unpacking_that_was_begun_elsewhere_is_begun_again(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Killed for want of memory, say, with half of the files written.
    program = (
        "import json, os, sys\n"
        "kind, wheel, directory, umask = json.loads(sys.stdin.readline())\n"
        "os.makedirs(directory + '/package')\n"
        "open(directory + '/package/data', 'w').close()\n"
    )
    monkeypatch.setattr(pool, "_PROGRAM", program)
    found = make(store).prepare(wheel)
    found.entry.check()
    assert found.entry.read("package/data") == b"data"


def test_bytecode_that_cannot_be_kept_does_not_stop_the_wheel(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiler, "finish", refuse)
    found = make(store).prepare(wheel)
    assert found.bytecode is None
    found.entry.check()
    assert staged(store) == []


# --- damage, races and several stores -------------------------------------------------


def edit(store: Store) -> None:
    (data,) = Path(store.root).glob("v1/wheels/*/*/files/package/data")
    data.write_text("edited")


def test_damage_is_told_and_repaired_on_demand(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    created = make(store)
    created.prepare(wheel)
    edit(store)
    with pytest.raises(EntryDamagedError, match="package/data"):
        created.prepare(wheel)
    found = created.prepare(wheel, replace=True)
    assert found.fresh
    assert found.entry.read("package/data") == b"data"
    assert staged(store) == []


def test_entry_that_is_taken_away_is_told(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Store, "entry", lambda *_: None)
    with pytest.raises(EntryDamagedError, match="is gone"):
        make(store).prepare(wheel)


def test_wheel_that_changes_while_it_is_read_is_told(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preparer, "file_digest", lambda _: "0" * 64)
    with pytest.raises(EntryDamagedError, match="was changed"):
        make(store).prepare(wheel)
    assert (entries(store), staged(store)) == ([], [])


@pytest.fixture
def image(
    make: Callable[..., Preparer],
    wheel: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """A store that has the wheel, and is read-only from now on."""
    root = tmp_path / "image"
    make(Store.open(str(root)), pycompile=False).prepare(wheel)
    stock = os.access

    def access(path: Any, mode: int, **options: Any) -> bool:
        if mode & os.W_OK and Path(path).is_relative_to(root):
            return False
        return stock(path, mode, **options)

    monkeypatch.setattr(os, "access", access)
    return Store.open(str(root))


def test_bytecode_behind_a_link_is_made_anew(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    found = make(store).prepare(wheel)
    bytecode_of_all = Path(found.entry.path) / "bytecode"
    shutil.move(bytecode_of_all, tmp_path / "elsewhere")
    bytecode_of_all.symlink_to(tmp_path / "elsewhere")
    again = make(store).prepare(wheel)
    assert again.bytecode is not None
    assert again.bytecode.files.keys() == {"package/__init__.py", "package/module.py"}
    assert not bytecode_of_all.is_symlink()


def test_read_only_store_gets_no_bytecode(
    make: Callable[..., Preparer], image: Store, wheel: str
) -> None:
    before = sorted(Path(image.root).rglob("*"))
    found = make(image).prepare(wheel)
    assert (found.entry.store, found.bytecode) == (image.root, None)
    assert sorted(Path(image.root).rglob("*")) == before


def test_wheel_is_declined_if_no_store_can_take_it(
    make: Callable[..., Preparer], image: Store, tmp_path: Path
) -> None:
    other = make_wheel(tmp_path, "other")
    with pytest.raises(WheelDeclinedError, match="read-only"):
        make(image).prepare(str(other))


def test_damage_in_a_read_only_store_does_not_hide_the_other(
    make: Callable[..., Preparer], image: Store, store: Store, wheel: str
) -> None:
    make(store).prepare(wheel)
    inode = os.stat(entries(store)[0]).st_ino
    edit(image)
    found = make(image, store).prepare(wheel)
    assert found.entry.store == store.root
    assert os.stat(entries(store)[0]).st_ino == inode


def test_damage_in_a_read_only_store_is_repaired_in_the_other(
    make: Callable[..., Preparer], image: Store, store: Store, wheel: str
) -> None:
    edit(image)
    created = make(image, store)
    try:
        found = created.prepare(wheel)
    except EntryDamagedError:
        found = created.prepare(wheel, replace=True)
    assert found.entry.store == store.root
    found.entry.check()


def test_store_that_does_not_keep_what_is_written_is_refused(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file system without permission bits: unpacking again would not help."""

    def check(self: Entry, *_: object) -> None:
        msg = f"{self.path} is not as it was written"
        raise EntryDamagedError(msg)

    monkeypatch.setattr(Entry, "check", check)
    with pytest.raises(StoreRefusedError, match="does not keep written files"):
        make(store).prepare(wheel)


def test_wheel_that_was_hashed_already_is_not_hashed_again(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = hashlib.sha256(Path(wheel).read_bytes()).hexdigest()
    monkeypatch.setattr(preparer, "file_digest", None)
    created = make(store, wheel_files=Hashed(digest))
    created.start([wheel])
    assert created.prepare(wheel).entry.sha256 == digest
    # It is there now: no thread has to get it.
    created.start([wheel])
    assert not created._ahead
    assert not created.prepare(wheel).fresh


def test_digest_that_was_right_a_moment_ago_is_found_out(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    """Of what is unpacked the bytes are hashed in any case."""
    created = make(store, wheel_files=Hashed("b" * 64))
    with pytest.raises(EntryDamagedError, match="was changed while it was read"):
        created.prepare(wheel)
    assert store.entry("b" * 64) is None


# --- several stores -------------------------------------------------------------------


def test_bytecode_of_a_read_only_entry_is_kept_at_home(
    make: Callable[..., Preparer], image: Store, store: Store, wheel: str
) -> None:
    before = sorted(Path(image.root).rglob("*"))
    first, second = (make(image, store).prepare(wheel) for _ in range(2))
    for found in (first, second):
        assert found.entry.store == image.root
        assert found.bytecode is not None
        assert found.bytecode.path.startswith(os.path.join(store.root, "v1/bytecode"))
        assert list(found.bytecode.files) == list(found.entry.sources)
    assert sorted(Path(image.root).rglob("*")) == before
    assert len(os.listdir(os.path.join(store.root, "v1", "bytecode"))) == 1


def test_bytecode_of_another_time_is_not_taken(
    make: Callable[..., Preparer], image: Store, store: Store, wheel: str
) -> None:
    """The time of a source is stamped into it."""
    found = make(image, store).prepare(wheel)
    assert found.bytecode is not None
    other = replace(found.entry, mtime=found.entry.mtime + 1)
    assert store.bytecode(other, "x") != store.bytecode(found.entry, "x")


def test_new_entries_go_home(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    home = Store.open(str(tmp_path / "home"))
    found = make(store, home, write_store=home).prepare(wheel)
    assert found.entry.store == home.root


def test_link_in_the_place_of_bytecode_is_let_go(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    entry = make(store).prepare(wheel).entry
    directory = Path(entry.path, "bytecode")
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    found = make(store).prepare(wheel)
    assert found.bytecode is not None
    assert not directory.is_symlink()
    assert any((tmp_path / "elsewhere").iterdir())


def test_store_that_may_not_be_read_does_not_hide_another(
    make: Callable[..., Preparer],
    image: Store,
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(store).prepare(wheel)
    stock = Store.entry

    def entry(self: Store, sha256: str) -> Entry | None:
        if self.root == image.root:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), self.root)
        return stock(self, sha256)

    monkeypatch.setattr(Store, "entry", entry)
    assert make(image, store).prepare(wheel).entry.store == store.root


def test_disk_that_fails_is_an_error(
    make: Callable[..., Preparer],
    store: Store,
    wheel: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(store).prepare(wheel)

    def entry(self: Store, _: str) -> Entry | None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), self.root)

    monkeypatch.setattr(Store, "entry", entry)
    with pytest.raises(OSError, match="Input/output"):
        make(store).prepare(wheel)


def test_store_of_ones_own_that_is_read_only_gets_its_bytecode_elsewhere(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    """By the mode of its top directory alone."""
    make(store, pycompile=False).prepare(wheel)
    locked, home = Store(store.root, writable=False), Store.open(str(tmp_path / "home"))
    found = make(locked, home).prepare(wheel)
    assert found.bytecode is not None
    assert found.bytecode.path.startswith(home.root)


def test_entries_of_a_command_are_known_before_the_first_is_made(
    make: Callable[..., Preparer], store: Store, wheel: str, tmp_path: Path
) -> None:
    other = str(make_wheel(tmp_path / "wheels", "other", files={"other.py": ""}))
    created = make(store)
    created.prepare(wheel)
    expected = created.expected([wheel, other, str(tmp_path / "none.whl")])
    assert expected == {store.root: {digest_of(wheel), digest_of(other)}}
    nowhere = make()
    assert nowhere.expected([wheel]) == {}


def test_stand_in_without_its_entry_is_not_unpacked(
    make: Callable[..., Preparer], store: Store, wheel: str
) -> None:
    class StandIns(LocalWheels):
        def is_stand_in(self, path: str) -> bool:
            return path == wheel

    with pytest.raises(EntryGoneError, match=r"the entry of package-.* is gone"):
        make(store, wheel_files=StandIns()).prepare(wheel)
    assert entries(store) == []
