"""Network file systems, pretended: answers from caches, and locks of one client."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import files
from pip_linkmode.environments import caches, registry, users
from pip_linkmode.environments.caches import recent_entries
from pip_linkmode.environments.register import register
from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import is_on_one_host, lock_scope, refresh_listing
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link, probe, symlink
from pip_linkmode.maintenance.prune import PruneOptions, prune
from pip_linkmode.store.layout import DIRECTORY, MANIFEST
from pip_linkmode.store.manifest import assert_present
from pip_linkmode.store.staging import sweep
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from tests.support.house import House

NETWORK = ("nfs4", "fuse.glusterfs", "fuse.sshfs", "fuse", "virtiofs", "unknown")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all file systems for network file systems."""
    monkeypatch.setattr(files, "file_system", lambda _: "fuse.sshfs")


# --- locks ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ext4", "xfs", "btrfs", "tmpfs", "overlay"])
def test_locks_of_one_host_are_seen_by_all_its_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(files, "file_system", lambda _: name)
    monkeypatch.setattr(socket, "gethostname", lambda: "made-anew")
    assert is_on_one_host(str(tmp_path))
    assert lock_scope(str(tmp_path)) == "local"


@pytest.mark.parametrize("name", NETWORK)
def test_locks_of_a_client_are_seen_on_its_own_mount_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(files, "file_system", lambda _: name)
    scope = lock_scope(str(tmp_path))
    assert scope == lock_scope(str(tmp_path))
    assert scope.replace("_", "").isalnum()
    # A container on the same host has the same boot id, and its own mount.
    assert scope != lock_scope("/proc")


def test_locks_where_there_is_no_boot_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: None
) -> None:
    del network

    def unreadable(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(files, "open", unreadable, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "host-1.example")
    assert lock_scope(str(tmp_path)).startswith("host1.example_")


def test_staging_of_a_host_with_the_same_name_is_not_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: None
) -> None:
    """Its lock is not seen here: it looks as if its maker had died."""
    del network
    store = Store.open(str(tmp_path / "store"))
    parent = tmp_path / "store" / "v1" / "staging"
    with monkeypatch.context() as there:
        there.setattr("pip_linkmode.store.store.lock_scope", lambda _: "elsewhere_2b")
        there.setattr(files, "lock_directory", lambda *_, **__: None)
        there.setattr("pip_linkmode.store.store.lock_directory", lambda *_, **__: None)
        staging = store.staging()
        path = staging.__enter__()
    sweep(str(parent))
    assert os.path.isdir(path)
    staging.__exit__(None, None, None)


# --- whole or absent ------------------------------------------------------------------


def test_entry_with_a_missing_file_is_not_published(house: House) -> None:
    entry = house.entry("a")
    manifest = {
        "mtime": entry.mtime,
        "files": [list(file) for file in entry.files],
    }
    with house.store.staging() as staged:
        shutil.copytree(f"{entry.path}/files", f"{staged}/files")
        os.unlink(f"{staged}/files/a/data")
        with pytest.raises(EntryDamagedError, match="is gone"):
            house.store.publish_entry(staged, "0" * 64, manifest, replace=False)
    assert not house.store.has("0" * 64)


def test_store_on_a_read_only_mount_is_not_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "makedirs"):
        monkeypatch.setattr(os, name, refuse)
    assert house.store.has(entry.sha256)


# --- the last look of an installation -------------------------------------------------


def test_entry_that_was_taken_away_is_missed_in_spite_of_a_cache(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    assert_present(entry.store, entry.path)
    status = os.lstat(f"{entry.path}/{MANIFEST}")
    shutil.rmtree(entry.path)
    monkeypatch.setattr(os, "lstat", lambda *_, **__: status)
    with pytest.raises(FileNotFoundError):
        assert_present(entry.store, entry.path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_entry_of_another_member_of_the_group_is_looked_at(
    house: House, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    entry = house.entry("a")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "utime", refuse)
    assert_present(entry.store, entry.path)
    os.unlink(f"{entry.path}/{MANIFEST}")
    with pytest.raises(FileNotFoundError):
        assert_present(entry.store, entry.path)


def test_entry_in_a_read_only_store_is_looked_at_without_a_write(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    os.utime(f"{entry.path}/{MANIFEST}", (0, 0))
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert_present(entry.store, entry.path)
    assert os.lstat(f"{entry.path}/{MANIFEST}").st_mtime == 0


# --- what a clean-up sees -------------------------------------------------------------


def test_refresh_changes_a_directory_and_leaves_nothing(tmp_path: Path) -> None:
    os.utime(tmp_path, (0, 0))
    refresh_listing(str(tmp_path))
    assert tmp_path.stat().st_mtime > 0
    assert list(tmp_path.iterdir()) == []
    refresh_listing(str(tmp_path / "nothing"))


class Listing(list["os.DirEntry[str]"]):
    """Entries of a directory, as ``os.scandir`` gives them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class StaleListings:
    """Lists directories as they were, until this process changes them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self._known: dict[str, Listing] = {}
        self._root, self._scandir = str(root), os.scandir
        monkeypatch.setattr(os, "scandir", self.scandir)
        monkeypatch.setattr(os, "listdir", self.listdir)
        monkeypatch.setattr(registry, "refresh_listing", self.refresh)

    def refresh(self, path: str) -> None:
        self._known.pop(path, None)

    def scandir(self, path: str | int) -> Listing:
        if isinstance(path, int) or not path.startswith(self._root):
            with self._scandir(path) as entries:
                return Listing(entries)
        if path not in self._known:
            with self._scandir(path) as entries:
                self._known[path] = Listing(entries)
        return self._known[path]

    def listdir(self, path: str | int) -> list[str]:
        return [entry.name for entry in self.scandir(path)]


@pytest.fixture
def stale(
    house: House, monkeypatch: pytest.MonkeyPatch, network: None
) -> Callable[[], None]:
    """Return a function from which on listings of environments are those of now."""
    del network

    def begin() -> None:
        StaleListings(monkeypatch, house.path)
        prune(house.store, PruneOptions(dry_run=True))

    return begin


def test_environment_that_was_registered_since_the_last_look_is_seen(
    house: House, stale: Callable[[], None]
) -> None:
    entry = house.entry("a")
    house.install("old", "symlink", house.entry("b"))
    stale()
    house.install("new", "symlink", entry)
    assert prune(house.store, PruneOptions()).removed == []


def test_links_that_were_made_since_the_last_look_are_kept(
    house: House, stale: Callable[[], None]
) -> None:
    """The environment is on the same file system, and its listing is old as well."""
    entry = house.entry("a")
    house.install("env", "symlink", house.entry("b"))
    stale()
    house.install("env", "symlink", entry)
    assert prune(house.store, PruneOptions()).removed == []


def test_links_of_a_few_minutes_ago_are_looked_for(
    house: House, monkeypatch: pytest.MonkeyPatch, network: None
) -> None:
    del network
    site_packages = house.install("env", "symlink", house.entry("a"))
    shutil.rmtree(site_packages / "a")
    shutil.rmtree(site_packages / "a-1.0.dist-info")
    assert prune(house.store, PruneOptions()).removed == []
    monkeypatch.setattr(caches, "CACHE_SECONDS", -1)
    assert len(prune(house.store, PruneOptions()).removed) == 1


def test_local_registration_is_not_written_again(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("env", "symlink", entry)
    (registration,) = registrations(str(house.root))
    marker = Path(registration.directory, f"{entry.sha256}.symlink")
    os.utime(marker, (0, 0))
    register(str(house.root), str(site_packages), entry.sha256, "symlink")
    assert marker.stat().st_mtime == 0


def test_registered_again_is_recent_again(house: House, network: None) -> None:
    del network
    entry = house.entry("a")
    site_packages = house.install("env", "symlink", entry)
    (registration,) = registrations(str(house.root))
    (marker,) = Path(registration.directory).glob("*.symlink")
    os.utime(marker, (0, 0))
    assert recent_entries(registration) == set()
    register(str(house.root), str(site_packages), entry.sha256, "symlink")
    assert recent_entries(registration) == {entry.sha256}


@pytest.mark.parametrize("gone", ["marker", "registration"])
def test_registration_that_only_a_cache_has_is_made_again(
    house: House, monkeypatch: pytest.MonkeyPatch, network: None, gone: str
) -> None:
    del network
    entry = house.entry("a")
    site_packages = house.install("env", "symlink", entry)
    (registration,) = registrations(str(house.root))
    lstat = os.lstat(f"{registration.directory}/environment.json")
    for path in Path(registration.directory).iterdir():
        if gone == "registration" or path.suffix == ".symlink":
            path.unlink()
    if gone == "registration":
        os.rmdir(registration.directory)
    with monkeypatch.context() as cached:
        cached.setattr(os.path, "lexists", lambda _: True)
        real = os.lstat
        cached.setattr(
            os,
            "lstat",
            lambda path, **more: (
                lstat if str(path).endswith("environment.json") else real(path, **more)
            ),
        )
        register(str(house.root), str(site_packages), entry.sha256, "symlink")
    (registration,) = registrations(str(house.root))
    assert registration.entries(depends=True) == {entry.sha256}


def test_nothing_is_written_to_look_at_a_local_store(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.install("env", "symlink", house.entry("a"))
    directory = house.root / DIRECTORY
    monkeypatch.setattr(users, "is_on_one_host", lambda _: True)
    os.utime(directory, (0, 0))
    prune(house.store, PruneOptions())
    assert stat.S_ISDIR(directory.stat().st_mode)
    assert directory.stat().st_mtime == 0


# --- symlinks that lead nowhere -------------------------------------------------------


def test_symlinks_that_cannot_be_followed_are_not_links(tmp_path: Path) -> None:
    """As on sshfs and on mounts with nosymfollow: made without an error."""
    source = tmp_path / "source"
    source.write_bytes(b"content")

    def unreadable(link: Link) -> None:
        symlink(link._replace(source=link.target))  # ELOOP

    linker = Linker(primitives={**Linker().primitives, "symlink": unreadable})
    links = [
        Link(str(source), str(tmp_path / name), 7, 0, 0o644, 0o644) for name in "ab"
    ]
    used = linker.link(links, mode="symlink", store="/s", target_root="/t", created=[])
    assert used == {"hardlink": 2}
    assert (tmp_path / "a").read_bytes() == b"content"
    (refusal,) = linker.refusals.values()
    assert refusal.primitive == "symlink"


def test_symlink_to_another_file_is_not_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    assert probe(str(source), str(tmp_path))["symlink"] is None
    stat_of = os.stat
    other = stat_of("/")
    monkeypatch.setattr(
        os, "stat", lambda path, **more: other if more == {} else stat_of(path, **more)
    )
    assert probe(str(source), str(tmp_path))["symlink"] == "the result is not a symlink"
