"""An entry is whole or absent, and a store is ours or refused."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pip_linkmode import files as files_module
from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    LinkmodeError,
    StoreRefusedError,
)
from pip_linkmode.prepare.wheel import unpack
from pip_linkmode.store import selection
from pip_linkmode.store import staging as staging_module
from pip_linkmode.store import store as store_module
from pip_linkmode.store.manifest import use
from pip_linkmode.store.paths import is_safe_path
from pip_linkmode.store.selection import arrange
from pip_linkmode.store.staging import STALE_SECONDS, sweep
from pip_linkmode.store.store import Store
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pip_linkmode.store.entry import Entry

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root"
)
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="locks directories")
FILES: dict[str, bytes | str] = {
    "package/__init__.py": "",
    "package/module.py": "VALUE = 1\n",
    "package/deep/tool": "#!/bin/sh\n",
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheels")
    executable = ["package/deep/tool"]
    return make_wheel(directory, "package", files=FILES, executable=executable)


def stage(staged: str, wheel: Path, umask: int = 0o022) -> tuple[str, dict[str, Any]]:
    """Unpack a wheel into a staging directory; return its digest and manifest."""
    with wheel.open("rb") as file:
        files = os.path.join(staged, "files")
        manifest = unpack(file, files, umask=umask, mtime=1_600_000_000)
    return manifest.pop("wheel_sha256"), {**manifest, "wheel": wheel.name}


def add(
    store: Store, wheel: Path, *, umask: int = 0o022, replace: bool = False
) -> Entry:
    with store.staging() as staged:
        sha256, manifest = stage(staged, wheel, umask)
        store.publish_entry(staged, sha256, manifest, replace=replace)
    entry = store.entry(sha256)
    assert entry is not None
    return entry


@pytest.fixture
def entry(store: Store, wheel: Path) -> Entry:
    return add(store, wheel)


def staged(store: Store) -> list[str]:
    return os.listdir(os.path.join(store.root, "v1", "staging"))


def contents(directory: Path | str) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(directory)): (path.lstat().st_mode, path.lstat().st_ino)
        for path in Path(directory).rglob("*")
    }


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


# --- which stores are refused ---------------------------------------------------------


def refused(root: Path) -> str:
    with pytest.raises(StoreRefusedError) as caught:
        Store.open(str(root))
    assert str(root) in str(caught.value)
    return str(caught.value)


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be writable, which root is not told by permission bits."""
    monkeypatch.setattr(os, "access", lambda *_: False)


def test_store_is_made(tmp_path: Path) -> None:
    root = tmp_path / "far" / "away" / "store"
    with umask(0):
        store = Store.open(str(root))
    assert store == Store(str(root), writable=True)
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_store_is_opened_again(store: Store) -> None:
    assert Store.open(store.root) == store


def test_store_may_be_reached_by_a_link(store: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(store.root)
    assert Store.open(str(tmp_path / "link")).writable


def test_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "not a directory" in refused(tmp_path / "file")


def test_store_below_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be made" in refused(tmp_path / "file" / "store")


def test_dangling_link_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert "cannot be made" in refused(tmp_path / "link")
    assert not (tmp_path / "nowhere").exists()


@as_root
def test_store_of_another_user_is_refused(store: Store) -> None:
    os.chown(store.root, 12345, -1)
    assert "another user" in refused(Path(store.root))


@on_posix
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777, 0o720])
def test_store_that_others_can_write_to_is_refused(store: Store, mode: int) -> None:
    os.chmod(store.root, mode)
    assert "by others" in refused(Path(store.root))


@on_posix
@pytest.mark.parametrize("mode", [0o755, 0o700, 0o750])
def test_store_that_others_can_at_most_read_is_ours(store: Store, mode: int) -> None:
    os.chmod(store.root, mode)
    assert Store.open(store.root).writable


def test_read_only_store_is_used_without_a_write(
    store: Store, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(store.root)
    stamps = [path.lstat().st_mtime_ns for path in Path(store.root).rglob("*")]
    read_only(monkeypatch)
    opened = Store.open(store.root)
    assert not opened.writable
    found = opened.entry(entry.sha256)
    assert found is not None
    found.check()
    assert contents(store.root) == before
    assert stamps == [path.lstat().st_mtime_ns for path in Path(store.root).rglob("*")]


@as_root
def test_read_only_store_may_belong_to_others(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(entry.store, 12345, 12345)
    os.chmod(entry.store, 0o775)
    read_only(monkeypatch)
    assert Store.open(entry.store).entry(entry.sha256) is not None


def test_read_only_store_with_nothing_in_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    read_only(monkeypatch)
    assert "nothing in it" in refused(tmp_path / "empty")


# --- unpack and publish ---------------------------------------------------------------


def test_unknown_wheel_has_no_entry(store: Store) -> None:
    assert store.entry("0" * 64) is None


def test_entry_has_every_file_of_the_wheel(entry: Entry, wheel: Path) -> None:
    assert {path: entry.read(path) for path in FILES} == {
        path: str(content).encode() for path, content in FILES.items()
    }
    assert {file.path for file in entry.files} == {
        *FILES,
        *(f"package-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")),
    }
    assert (entry.name, entry.version) == ("package", "1.0")
    assert entry.wheel == wheel.name
    assert entry.path == f"{entry.store}/v1/wheels/{entry.sha256[:2]}/{entry.sha256}"


def test_entry_is_found_again_as_it_was_made(store: Store, entry: Entry) -> None:
    found = Store.open(store.root).entry(entry.sha256)
    assert found == entry
    entry.check()


def test_nothing_is_left_in_staging(store: Store, entry: Entry) -> None:
    assert entry.sha256
    assert staged(store) == []


def test_store_is_marked_as_a_cache_once(store: Store, entry: Entry) -> None:
    assert entry.sha256
    tag = Path(store.root, "CACHEDIR.TAG")
    # The first 43 bytes are fixed by https://bford.info/cachedir/
    assert tag.read_text()[:43] == "Signature: 8a477f597d28d172789f06886806bc55"
    tag.write_text("of the user")
    with store.staging():
        assert tag.read_text() == "of the user"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_umask_decides_on_files_but_lets_nobody_write_to_directories(
    tmp_path: Path, wheel: Path, mask: int
) -> None:
    with umask(mask):
        entry = add(Store.open(str(tmp_path / "masked")), wheel, umask=mask)
    entry.check()
    modes = {file.path: file.mode for file in entry.files}
    assert modes["package/module.py"] == 0o666 & ~mask
    assert modes["package/deep/tool"] == (0o777 & ~mask) | 0o111
    for file in entry.files:
        bits = stat.S_IMODE(os.lstat(entry.source(file.path)).st_mode)
        assert bits == file.mode
    for path in Path(entry.store).rglob("*"):
        if path.is_dir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o755 & ~mask


# --- races ----------------------------------------------------------------------------


def test_two_writers_get_the_entry_of_the_first(store: Store, wheel: Path) -> None:
    with store.staging() as one, store.staging() as two:
        sha256, manifest = stage(one, wheel)
        stage(two, wheel)
        store.publish_entry(two, sha256, manifest, replace=False)
        second = os.stat(store.root + f"/v1/wheels/{sha256[:2]}/{sha256}").st_ino
        store.publish_entry(one, sha256, manifest, replace=False)
    entry = store.entry(sha256)
    assert entry is not None
    entry.check()
    assert os.stat(entry.path).st_ino == second
    assert staged(store) == []


def test_entry_is_there_or_not_whatever_is_in_it(store: Store, entry: Entry) -> None:
    assert store.has(entry.sha256)
    assert not store.has("0" * 64)
    shutil.rmtree(entry.path)
    os.symlink("nowhere", entry.path)
    assert store.has(entry.sha256)


def test_publishing_says_who_was_faster(store: Store, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    final = os.path.join(store.root, "v1", "deep", "final")
    assert store.publish(str(tmp_path / "one"), final)
    assert not store.publish(str(tmp_path / "two"), final)
    assert os.listdir(final) == ["one"]


def test_publishing_in_the_place_of_a_file_is_an_error(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "staged").mkdir()
    (tmp_path / "final").touch()
    with pytest.raises(NotADirectoryError):
        store.publish(str(tmp_path / "staged"), str(tmp_path / "final"))


def test_replacing_removes_the_old_only_when_the_new_is_there(
    store: Store, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environments with symlinks have no files in between."""
    removed = []

    def rmtree(_: str, **__: object) -> None:
        removed.append(os.path.exists(os.path.join(entry.path, "new")))

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    with store.staging() as staged:
        Path(staged, "new").touch()
        store.publish(staged, entry.path, replace=True)
    assert removed == [True, True]


def test_what_is_not_there_can_be_replaced(store: Store) -> None:
    final = os.path.join(store.root, "v1", "nothing")
    with store.staging() as new:
        assert store.publish(new, final, replace=True)
    assert os.path.isdir(final)


# --- damage ---------------------------------------------------------------------------


def keep_times(path: Path, change: Callable[[], object]) -> None:
    status = path.lstat()
    change()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)


def truncate(path: Path) -> None:
    keep_times(path, lambda: path.write_text(""))


def edit(path: Path) -> None:
    # The size stays; the second does too, as a .pyc would see it.
    mtime = path.stat().st_mtime_ns
    path.write_text("VALUE = 2\n")
    os.utime(path, ns=(mtime, mtime + 1))


def touch(path: Path) -> None:
    os.utime(path)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def set_user_id(path: Path) -> None:
    path.chmod(0o4644)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove_parent(path: Path) -> None:
    shutil.rmtree(path.parent)


def replace_parent_by_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.touch()


def replace_parent_by_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


def replace_parent_by_link_to_itself(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to(path.parent.name)


def replace_all_by_link(path: Path) -> None:
    files = path.parents[1]
    files.rename(files.with_name("moved"))
    files.symlink_to("moved")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        edit,
        touch,
        chmod,
        set_user_id,
        remove,
        replace_by_link,
        replace_by_directory,
        remove_parent,
        replace_parent_by_file,
        replace_parent_by_link,
        replace_parent_by_link_to_itself,
        replace_all_by_link,
    ],
)
def test_damage_is_seen_and_repaired(
    store: Store, entry: Entry, wheel: Path, damage: Callable[[Path], None]
) -> None:
    damage(Path(entry.source("package/module.py")))
    found = store.entry(entry.sha256)
    assert found is not None
    with pytest.raises(EntryDamagedError, match=r"package|files"):
        found.check()
    rebuilt = add(store, wheel, replace=True)
    rebuilt.check()
    assert rebuilt.read("package/module.py") == b"VALUE = 1\n"
    assert staged(store) == []


def test_more_files_are_no_damage(entry: Entry) -> None:
    Path(entry.source("package/more.py")).touch()
    entry.check()


def test_entry_that_is_a_link_is_damaged(
    store: Store, entry: Entry, wheel: Path, tmp_path: Path
) -> None:
    os.rename(entry.path, tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", entry.path)
    with pytest.raises(EntryDamagedError, match="not a directory"):
        store.entry(entry.sha256)
    # Without leave to replace it, it stays in the way.
    with pytest.raises(EntryDamagedError, match="not a directory"):
        add(store, wheel)
    add(store, wheel, replace=True).check()
    assert (tmp_path / "elsewhere" / "manifest.json").is_file()


def test_entry_that_is_a_file_is_damaged(
    store: Store, entry: Entry, wheel: Path
) -> None:
    shutil.rmtree(entry.path)
    Path(entry.path).touch()
    with pytest.raises(EntryDamagedError, match="not a directory"):
        store.entry(entry.sha256)
    add(store, wheel, replace=True).check()


@pytest.mark.parametrize("planted", ["files/package", "files/file", "bytecode"])
def test_planted_link_is_not_followed_when_deleting(
    store: Store, entry: Entry, tmp_path: Path, planted: str
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    path = Path(entry.path, planted)
    if path.exists():
        shutil.rmtree(path)
    path.symlink_to(precious / "file" if planted == "files/file" else precious)
    with store.staging() as new:
        Path(new, "new").touch()
        assert store.publish(new, entry.path, replace=True)
    assert os.listdir(entry.path) == ["new"]
    assert staged(store) == []
    assert (precious / "file").exists()


def test_file_that_another_user_owns_is_damage(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a ``chown -R`` of an environment, its user could change it untraced."""
    stock = os.lstat

    def lstat(path: str) -> os.stat_result:
        status = stock(path)
        if not path.endswith("module.py"):
            return status
        fields = list(status)
        fields[stat.ST_UID] += 1
        return os.stat_result(fields, {"st_mtime_ns": status.st_mtime_ns})

    monkeypatch.setattr(os, "supports_dir_fd", set())
    monkeypatch.setattr(os, "lstat", lstat)
    with pytest.raises(EntryDamagedError, match=r"module\.py is not as it was"):
        entry.check()


def test_manifest_that_others_can_write_to_is_damage(
    store: Store, entry: Entry
) -> None:
    os.chmod(os.path.join(entry.path, "manifest.json"), 0o664)
    with pytest.raises(EntryDamagedError, match="can be written to by others"):
        store.entry(entry.sha256)


def test_manifest_is_private_whatever_the_umask(store: Store, wheel: Path) -> None:
    before = os.umask(0)
    try:
        created = add(store, wheel)
    finally:
        os.umask(before)
    manifest = os.path.join(created.path, "manifest.json")
    assert stat.S_IMODE(os.stat(manifest).st_mode) == 0o644


# --- manifests ------------------------------------------------------------------------


def manifest_of(entry: Entry) -> Path:
    return Path(entry.path, "manifest.json")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Entry:
    """An entry whose manifest each test writes anew."""
    root = tmp_path_factory.mktemp("store") / "store"
    return add(Store.open(str(root)), wheel)


@pytest.fixture(scope="module")
def sound(written: Entry) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(manifest_of(written).read_bytes())
    return data


def load(written: Entry, manifest: bytes) -> Entry | None:
    """Load an entry with another manifest: sound, or damaged, and nothing else."""
    before = manifest_of(written).read_bytes()
    manifest_of(written).write_bytes(manifest)
    try:
        entry = Store(written.store, writable=True).entry(written.sha256)
        assert entry is not None
        assert all(is_safe_path(file.path) for file in entry.files)
        with contextlib.suppress(EntryDamagedError):
            entry.check()
    except EntryDamagedError:
        return None
    finally:
        manifest_of(written).write_bytes(before)
    return entry


@pytest.mark.parametrize("opening", [b"[", b'{"manifest":'])
def test_manifest_that_is_nested_too_deep_is_damage(
    written: Entry, opening: bytes
) -> None:
    assert load(written, opening * 100_000) is None


def test_manifest_that_is_too_large_is_damage_and_not_read(
    store: Store, entry: Entry
) -> None:
    os.truncate(manifest_of(entry), 1 << 42)
    with pytest.raises(EntryDamagedError, match="too large for a manifest"):
        store.entry(entry.sha256)


@settings(deadline=None)
@given(st.binary())
@example(b"")
@example(b"\xff\xfe")
@example(b"9" * 5000)
def test_any_bytes_are_a_manifest_or_damage(written: Entry, manifest: bytes) -> None:
    assert load(written, manifest) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None))
    | st.sampled_from([float("inf"), float("nan"), "\ud800", "../x", "/", ""]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.data())
def test_any_change_of_a_manifest_is_harmless(
    written: Entry, sound: dict[str, Any], data: st.DataObject
) -> None:
    changed = json.loads(json.dumps(sound))
    key = data.draw(st.sampled_from(sorted(sound)))
    if key == "files" and data.draw(st.booleans()):
        row = data.draw(st.integers(0, len(changed["files"]) - 1))
        column = data.draw(st.integers(0, 3))
        changed["files"][row][column] = data.draw(JSON)
    else:
        changed[key] = data.draw(JSON)
    load(written, json.dumps(changed).encode())


def test_manifest_that_is_sound_is_loaded(
    written: Entry, sound: dict[str, Any]
) -> None:
    assert load(written, json.dumps(sound).encode()) == written


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("manifest", 2),
        ("manifest", None),
        ("sha256", "0" * 64),
        ("wheel", None),
        ("name", 1),
        ("version", []),
        ("dist_info", {}),
        ("mtime", "soon"),
        ("mtime", None),
        ("mtime", float("inf")),
        ("mtime", float("nan")),
        ("files", None),
        ("files", 7),
        ("files", [[]]),
        ("files", [["a", 1, ""]]),
        ("files", [["a", 1, "", 420, 5]]),
    ],
)
def test_manifest_with_an_impossible_value_is_damage(
    written: Entry, sound: dict[str, Any], key: str, value: object
) -> None:
    assert load(written, json.dumps({**sound, key: value}).encode()) is None


@pytest.mark.parametrize("key", ["manifest", "sha256", "wheel", "purelib", "files"])
def test_manifest_with_a_missing_value_is_damage(
    written: Entry, sound: dict[str, Any], key: str
) -> None:
    less = {name: value for name, value in sound.items() if name != key}
    assert load(written, json.dumps(less).encode()) is None


@pytest.mark.parametrize(
    "row",
    [
        ["../../../escaped", 1, "", 0o644],
        ["/etc/passwd", 1, "", 0o644],
        ["a/../../b", 1, "", 0o644],
        ["a\\b", 1, "", 0o644],
        ["a\u0000", 1, "", 0o644],
        ["", 1, "", 0o644],
        [None, 1, "", 0o644],
        [["a"], 1, "", 0o644],
        ["a", "1", "", 0o644],
        ["a", True, "", 0o644],
        ["a", 1.0, "", 0o644],
        ["a", 1, None, 0o644],
        ["a", 1, [[]], 0o644],
        ["a", 1, "", "644"],
        ["a", 1, "", 0o4755],
        ["a", 1, "", 0o100644],
        ["a", 1, "", -1],
    ],
)
def test_manifest_with_an_impossible_file_is_damage(
    written: Entry, sound: dict[str, Any], row: list[object]
) -> None:
    changed = {**sound, "files": [*sound["files"], row]}
    assert load(written, json.dumps(changed).encode()) is None


def test_path_that_no_file_system_can_encode_is_damage(
    written: Entry, sound: dict[str, Any]
) -> None:
    changed = {**sound, "files": [["\ud800", 1, "", 0o644]]}
    load(written, json.dumps(changed).encode())


def test_name_of_the_metadata_does_not_escape(
    written: Entry, sound: dict[str, Any]
) -> None:
    changed = {**sound, "dist_info": "../../../../elsewhere"}
    assert load(written, json.dumps(changed).encode()) is None


def test_missing_manifest_is_damage(store: Store, entry: Entry) -> None:
    manifest_of(entry).unlink()
    with pytest.raises(EntryDamagedError, match="cannot be read"):
        store.entry(entry.sha256)


def test_manifest_that_is_a_link_is_damage(
    store: Store, entry: Entry, tmp_path: Path
) -> None:
    manifest_of(entry).rename(tmp_path / "manifest")
    manifest_of(entry).symlink_to(tmp_path / "manifest")
    with pytest.raises(EntryDamagedError, match="cannot be read"):
        store.entry(entry.sha256)


def test_manifest_that_is_empty_after_a_power_cut_is_damage(
    store: Store, entry: Entry
) -> None:
    manifest_of(entry).write_bytes(b"")
    with pytest.raises(EntryDamagedError, match="cannot be read"):
        store.entry(entry.sha256)


# --- staging --------------------------------------------------------------------------


HERE, ELSEWHERE = "this_host-abc", "other_host-abc"


@pytest.fixture
def staging(store: Store, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The staging directory, on a host of a known name."""
    for module in (staging_module, store_module):
        monkeypatch.setattr(module, "lock_scope", lambda _: "this_host")
    directory = Path(store.root, "v1", "staging")
    directory.mkdir(parents=True)
    return directory


def left_over(staging: Path, name: str, *, age: float = 0) -> Path:
    directory = staging / name
    (directory / "files").mkdir(parents=True)
    (directory / "files" / "file").touch()
    file_stamp = time.time() - age
    os.utime(directory, (file_stamp, file_stamp))
    return directory


def test_staging_directory_tells_its_host_and_is_removed(
    store: Store, staging: Path
) -> None:
    with store.staging() as path:
        assert os.path.dirname(path) == str(staging)
        assert os.path.basename(path).rpartition("-")[0] == "this_host"
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
        Path(path, "file").touch()
    assert os.listdir(staging) == []


def test_staging_directory_is_removed_after_an_error(
    store: Store, staging: Path
) -> None:
    with pytest.raises(FileNotFoundError), store.staging() as path:
        Path(path, "below", "file").touch()
    assert os.listdir(staging) == []


def test_staging_closes_what_it_opens(store: Store, staging: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no list of open files")
    before = len(os.listdir("/proc/self/fd"))
    left_over(staging, HERE)
    left_over(staging, ELSEWHERE, age=2 * STALE_SECONDS)
    with store.staging() as path:
        sweep(str(staging))
        assert os.path.isdir(path)
    assert len(os.listdir("/proc/self/fd")) == before


@on_posix
def test_left_over_of_the_dead_is_swept_at_once(store: Store, staging: Path) -> None:
    left = left_over(staging, HERE)
    with store.staging():
        assert not left.exists()


def test_work_of_the_living_is_not_swept(store: Store, staging: Path) -> None:
    with store.staging() as one, store.staging() as two:
        sweep(str(staging))
        assert sorted(os.listdir(staging)) == sorted(map(os.path.basename, (one, two)))


@on_posix
def test_work_of_the_living_is_not_swept_however_old(
    store: Store, staging: Path
) -> None:
    with store.staging() as path:
        os.utime(path, (0, 0))
        sweep(str(staging))
        assert os.path.isdir(path)


@pytest.mark.parametrize(("age", "kept"), [(-60, True), (60, False)])
def test_left_over_of_another_host_is_kept_for_a_day(
    staging: Path, age: int, kept: bool
) -> None:
    left = left_over(staging, ELSEWHERE, age=STALE_SECONDS + age)
    sweep(str(staging))
    assert left.exists() is kept


@on_posix
@pytest.mark.parametrize("name", [HERE, ELSEWHERE])
@pytest.mark.parametrize(("age", "kept"), [(-60, True), (60, False)])
def test_where_nothing_can_be_locked_left_overs_are_kept_for_a_day(
    staging: Path, monkeypatch: pytest.MonkeyPatch, name: str, age: int, kept: bool
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    left = left_over(staging, name, age=STALE_SECONDS + age)
    sweep(str(staging))
    assert left.exists() is kept


def test_store_works_where_nothing_can_be_locked(
    store: Store, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "lock_directory", lambda *_, **__: None)
    add(store, wheel).check()
    assert staged(store) == []


def test_sweeping_bears_what_is_no_directory(staging: Path) -> None:
    (staging / HERE).touch()
    (staging / f"{HERE}2").symlink_to("nowhere")
    left = left_over(staging, f"{HERE}3")
    sweep(str(staging))
    assert not left.exists()


def test_sweeping_does_not_follow_a_link(staging: Path, tmp_path: Path) -> None:
    precious = left_over(tmp_path, "precious")
    (staging / HERE).symlink_to(precious)
    os.utime(staging / HERE, (0, 0), follow_symlinks=False)
    sweep(str(staging))
    assert (precious / "files" / "file").exists()


def test_staging_directory_that_is_a_link_is_not_swept(
    store: Store, staging: Path, tmp_path: Path
) -> None:
    precious = left_over(tmp_path / "elsewhere", "precious", age=2 * STALE_SECONDS)
    staging.rmdir()
    staging.symlink_to(precious.parent)
    with contextlib.suppress(OSError, LinkmodeError), store.staging():
        pass
    assert (precious / "files" / "file").exists()


@on_posix
@pytest.mark.parametrize("moment", ["before the lock", "after the lock"])
def test_sweeper_that_comes_too_early_is_evaded(
    store: Store, staging: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    lock = files_module.lock_directory
    swept: list[str] = []

    def lock_in_vain(path: str, *, wait: bool = True) -> int | None:
        if not swept and moment == "before the lock":
            os.rmdir(path)
        locked = lock(path, wait=wait) if swept or os.path.isdir(path) else None
        if not swept:
            swept.append(path)
            if moment == "before the lock":
                raise FileNotFoundError(path)
            os.rmdir(path)
        return locked

    monkeypatch.setattr(files_module, "lock_directory", lock_in_vain)
    with store.staging() as path:
        assert [path] != swept
        assert os.listdir(staging) == [os.path.basename(path)]


def test_look_up_does_not_depend_on_how_much_there_is(
    store: Store, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, None)
    assert store.has(entry.sha256)
    found = Store.open(store.root).entry(entry.sha256)
    assert found == entry


# --- several stores -------------------------------------------------------------------

DISK, OTHER_DISK = 1, 2
"""Devices."""


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Store]]:
    """Make stores by the first letters of: Here or There, Writable or Read-only."""

    def make(*kinds: str) -> list[Store]:
        return [Store(f"/{kind}", kind[1] == "w") for kind in kinds]

    def device(path: str) -> int:
        return DISK if path.startswith("/h") else OTHER_DISK

    monkeypatch.setattr(selection, "_device", device)
    return make


@pytest.mark.parametrize(
    ("kinds", "looked_up", "home"),
    [
        (["hw"], ["/hw"], "/hw"),
        (["tw"], ["/tw"], "/tw"),
        # One store per disk just works.
        (["tw", "hw"], ["/hw"], "/hw"),
        (["tr", "hw"], ["/hw"], "/hw"),
        (["hr", "tw", "hw"], ["/hr", "/hw"], "/hw"),
        # Nothing can be written here: all that there is helps.
        (["tw", "hr"], ["/hr", "/tw"], "/tw"),
        (["tr", "tw"], ["/tr", "/tw"], "/tw"),
        (["tr", "hr"], ["/hr", "/tr"], None),
    ],
)
def test_store_on_the_file_system_of_the_target_is_preferred(
    devices: Callable[..., list[Store]],
    kinds: list[str],
    looked_up: list[str],
    home: str | None,
) -> None:
    stores, chosen = arrange(
        devices(*kinds), "/here", any_file_system=False, umask=0o022
    )
    assert [store.root for store in stores] == looked_up
    assert (chosen and chosen.root) == home


@pytest.mark.parametrize(
    ("kinds", "home"), [(["tr", "hw"], "/hw"), (["tw", "hw"], "/hw"), (["tr"], None)]
)
def test_symlinks_lead_to_the_first_store_that_has_it(
    devices: Callable[..., list[Store]], kinds: list[str], home: str | None
) -> None:
    stores, chosen = arrange(
        devices(*kinds), "/here", any_file_system=True, umask=0o022
    )
    assert [store.root for store in stores] == [f"/{kind}" for kind in kinds]
    assert (chosen and chosen.root) == home


def test_target_need_not_exist(tmp_path: Path) -> None:
    created = Store.open(str(tmp_path / "store"))
    stores, home = arrange(
        [created], str(tmp_path / "a" / "b"), any_file_system=False, umask=0o022
    )
    assert (stores, home) == ([created], created)


def test_path_that_leads_nowhere_is_an_error_and_no_loop(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        arrange([store], "~", any_file_system=False, umask=0o022)


# --- a store of a group ---------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o2775)
    return path


def test_store_of_a_group_is_refused_unless_the_group_is_trusted(shared: Path) -> None:
    with pytest.raises(StoreRefusedError, match="can be written to by others"):
        Store.open(str(shared))
    assert Store.open(str(shared), trust_group=True).shared


def test_store_that_all_can_write_to_is_refused_in_any_case(shared: Path) -> None:
    shared.chmod(0o2777)
    with pytest.raises(StoreRefusedError, match="can be written to by others"):
        Store.open(str(shared), trust_group=True)


def test_store_of_a_group_of_others_is_refused(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getegid", lambda: -2)
    monkeypatch.setattr(os, "getgroups", list)
    with pytest.raises(StoreRefusedError, match="can be written to by others"):
        Store.open(str(shared), trust_group=True)


def test_store_of_another_member_is_used(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: shared.stat().st_uid + 1)
    assert Store.open(str(shared), trust_group=True).shared
    shared.chmod(0o755)
    with pytest.raises(StoreRefusedError, match="belongs to another user"):
        Store.open(str(shared), trust_group=True)


def test_setgid_bit_is_demanded(shared: Path) -> None:
    """Else what is made there would be of the group that each member is in first."""
    shared.chmod(0o0775)
    with pytest.raises(StoreRefusedError, match="can be written to by others"):
        Store.open(str(shared), trust_group=True)


@pytest.mark.parametrize("part", ["v1", "v1/wheels", "v1/staging", "v1/environments"])
def test_what_a_group_had_once_is_not_private_again(shared: Path, part: str) -> None:
    Store.open(str(shared), trust_group=True)
    shared.chmod(0o755)
    for path in (shared / "v1", *(shared / "v1").iterdir()):
        if path != shared / part:
            path.chmod(0o755)
    with pytest.raises(StoreRefusedError, match=f"{part} of the store .* by others"):
        Store.open(str(shared))


def test_who_could_do_it_is_told_how_to_trust_a_group(shared: Path) -> None:
    with pytest.raises(StoreRefusedError, match="PIP_LINK_TRUST_GROUP"):
        Store.open(str(shared))
    shared.chmod(0o2777)
    with pytest.raises(StoreRefusedError, match=r"by others$"):
        Store.open(str(shared))


def test_nothing_is_given_to_a_group_that_it_could_not_read(
    shared: Path, tmp_path: Path
) -> None:
    store = Store.open(str(shared), trust_group=True)
    own = Store.open(str(tmp_path / "own"))
    for umask, home in ((0o022, store), (0o077, None)):
        found = arrange([store], str(tmp_path), any_file_system=False, umask=umask)
        assert found == ([store], home)
    assert arrange([store, own], "/", any_file_system=True, umask=0o077)[1] == own


def test_store_below_a_directory_of_a_group_keeps_its_bytecode(
    tmp_path: Path, wheel: Path
) -> None:
    """Files and directories of an entry have one group, whoever inherits which."""
    tmp_path.chmod(0o2775)
    store = Store.open(str(tmp_path / "store"))
    os.chmod(store.root, 0o2755)
    with contextlib.suppress(PermissionError):
        os.chown(store.root, -1, 54321)
    entry = add(store, wheel)
    with store.staging() as staged:
        assert os.stat(staged).st_gid == os.getegid()
    assert os.stat(entry.path).st_gid == os.getegid()


def test_store_of_ones_own_is_not_opened_to_the_group(tmp_path: Path) -> None:
    assert not Store.open(str(tmp_path / "own"), trust_group=True).shared


def test_members_can_publish_beside_one_another(shared: Path, wheel: Path) -> None:
    store = Store.open(str(shared), trust_group=True)
    entry = add(store, wheel)
    for directory in ("v1", "v1/staging", "v1/wheels", f"v1/wheels/{entry.sha256[:2]}"):
        assert stat.S_IMODE((shared / directory).stat().st_mode) == 0o2775
    # But an entry is its maker's.
    assert not os.stat(entry.path).st_mode & 0o022


def test_directory_that_another_member_makes_at_the_same_moment_is_as_good(
    shared: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(str(shared), trust_group=True)
    stock = os.chmod

    def chmod(path: str, mode: int) -> None:
        if mode == 0o2775:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
        stock(path, mode)

    monkeypatch.setattr(os, "chmod", chmod)
    add(store, wheel).check()


def test_entry_that_is_taken_away_has_nothing_to_read(entry: Entry) -> None:
    os.rename(entry.path, f"{entry.path}-away")
    with pytest.raises(EntryGoneError, match="METADATA is gone"):
        entry.read(f"{entry.dist_info}/METADATA")


def test_unreadable_entry_is_not_gone(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: str, *_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr("builtins.open", broken)
    with pytest.raises(OSError, match="Input/output"):
        entry.read(f"{entry.dist_info}/METADATA")


# --- other hosts ----------------------------------------------------------------------


def test_entry_that_another_host_has_replaced_is_gone(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stale(path: str) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    monkeypatch.setattr(os, "supports_dir_fd", set())
    monkeypatch.setattr(os, "lstat", stale)
    with pytest.raises(EntryGoneError, match="is gone"):
        entry.check()


def test_other_errors_are_errors(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(OSError, match="Input/output error"):
        entry.check()


@pytest.mark.parametrize("part", ["v1", "v1/wheels", "v1/bytecode", "v1/environments"])
def test_link_in_the_place_of_a_directory_is_refused(
    store: Store, tmp_path: Path, part: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = Path(store.root, part)
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreRefusedError, match=f"has a link in the place of {part}$"):
        Store.open(store.root)


def test_staging_needs_no_extended_attributes_and_no_groups(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor groups: Windows has neither."""
    for name in ("removexattr", "chown"):
        monkeypatch.delattr(os, name, raising=False)
    with store.staging() as staged:
        assert os.path.isdir(staged)


# --- last use -------------------------------------------------------------------------


def test_use_is_noted_once_an_hour_and_on_the_manifest_alone(entry: Entry) -> None:
    manifest = Path(entry.path, "manifest.json")
    os.utime(manifest, (1, 1))
    use(entry.path)
    assert manifest.stat().st_mtime > 1
    entry.check()
    recent = manifest.stat().st_mtime - 1000
    os.utime(manifest, (recent, recent))
    use(entry.path)
    assert manifest.stat().st_mtime == recent
    manifest.unlink()
    use(entry.path)


def rewrite(entry: Entry, change: Callable[[list[Any]], object]) -> None:
    path = Path(entry.path, "manifest.json")
    manifest = json.loads(path.read_text())
    change(manifest["files"])
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda files: files.append(files[0]),
        lambda files: files.remove(
            next(row for row in files if row[0].endswith("/RECORD"))
        ),
    ],
)
def test_manifest_that_lists_a_file_twice_or_no_metadata_is_damaged(
    store: Store, entry: Entry, change: Callable[[list[Any]], object]
) -> None:
    rewrite(entry, change)
    with pytest.raises(EntryDamagedError, match="twice, or not all metadata"):
        store.entry(entry.sha256)
