"""Copies of environments are registered when they are used."""

from __future__ import annotations

import os
import shutil
import sysconfig
from typing import TYPE_CHECKING, NoReturn

import pytest

from pip_linkmode.environments import copies
from pip_linkmode.environments.caches import is_there_now
from pip_linkmode.environments.copies import register_copy
from pip_linkmode.environments.register import register
from pip_linkmode.environments.registry import registrations
from pip_linkmode.environments.symlinks import sample_symlinks
from pip_linkmode.environments.users import users
from pip_linkmode.errors import (
    PruneRefusedError,
    RecordInvalidError,
    StoreRefusedError,
)
from pip_linkmode.install import presence
from pip_linkmode.maintenance.prune import PruneOptions, prune, release

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.house import House
    from tests.unit.conftest import Run


@pytest.fixture
def copy(house: House) -> Path:
    """Return the site-packages of a copy, after the original was deleted."""
    original = house.install("env", "symlink", house.entry("a"), house.entry("b"))
    path = house.path / "copy"
    shutil.copytree(original.parents[2], path, symlinks=True)
    shutil.rmtree(original.parents[2])
    return path / original.relative_to(original.parents[2])


def known(house: House) -> dict[str, set[str]]:
    return {one.site_packages: one.entries() for one in registrations(str(house.root))}


def test_copy_is_registered_with_all_its_entries(house: House, copy: Path) -> None:
    register_copy(str(copy))
    entries = {os.path.basename(path) for path in house.store.entries()}
    assert known(house)[str(copy)] == entries
    assert prune(house.store, PruneOptions()).removed == []


def test_copy_of_which_one_entry_is_known_is_registered_with_all(
    house: House, copy: Path
) -> None:
    entries = {os.path.basename(path) for path in house.store.entries()}
    register(str(house.root), str(copy), min(entries), "symlink")
    register_copy(str(copy))
    assert known(house)[str(copy)] == entries


def test_copy_is_registered_with_each_entry_of_a_package(house: House) -> None:
    """Two distributions may have files of one package; one symlink is sampled."""
    package = house.site_packages("env") / "package"
    package.mkdir()
    entries = [house.entry(name) for name in ("a", "b")]
    for number, entry in enumerate(entries):
        (package / f"module{number}.py").symlink_to(entry.source(f"{entry.name}/data"))
    register_copy(str(package.parent))
    assert known(house) == {str(package.parent): {one.sha256 for one in entries}}


@pytest.mark.parametrize(
    "error",
    [
        PermissionError("read-only"),
        StoreRefusedError("not trusted"),
        RecordInvalidError("RECORD", "it is not a table"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_store_that_cannot_be_registered_in_is_passed_over(
    house: House, copy: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(copies, "register_all", refuse)
    register_copy(str(copy))
    assert str(copy) not in known(house)


def test_copy_is_registered_in_the_store_of_a_group(house: House, copy: Path) -> None:
    """Nothing is imported from it for that, so its members are trusted."""
    house.root.chmod(0o2775)
    register_copy(str(copy))
    assert len(known(house)[str(copy)]) == 2


def test_copy_that_is_not_used_before_prune_can_be_named(
    house: House, copy: Path
) -> None:
    for dry_run in (True, False):
        options = PruneOptions(respect=(str(copy),), dry_run=dry_run)
        assert prune(house.store, options).removed == []
    assert len(prune(house.store, PruneOptions()).removed) == 2


def test_named_environment_that_cannot_be_read_stops_prune(
    house: House, copy: Path
) -> None:
    options = PruneOptions(respect=(f"{copy}/nothing",))
    with pytest.raises(PruneRefusedError, match="cannot read"):
        prune(house.store, options)
    assert len(house.store.entries()) == 2


def test_known_environment_is_not_written_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = house.install("env", "symlink", house.entry("a"))
    directory = house.root / "v1" / "environments"
    before = sorted((path, path.lstat().st_mtime_ns) for path in directory.rglob("*"))
    monkeypatch.setattr(copies, "entries_of_symlinks", pytest.fail)  # it is slow
    register_copy(str(site_packages))
    assert before == sorted(
        (path, path.lstat().st_mtime_ns) for path in directory.rglob("*")
    )


def test_one_symlink_of_each_package_is_sampled(tmp_path: Path) -> None:
    for name, file in (
        ("package", "__init__.py"),
        ("namespace", "module.py"),
        ("empty", None),
        ("a-1.0.dist-info", "METADATA"),
        ("__pycache__", "copied.cpython-311.pyc"),
    ):
        (tmp_path / name).mkdir()
        if file:
            (tmp_path / name / file).symlink_to("/nowhere")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "__init__.py").touch()
    (tmp_path / "module.py").symlink_to("/nowhere")
    found = sorted(
        os.path.relpath(path, tmp_path) for path in sample_symlinks(str(tmp_path))
    )
    assert found == [
        "__pycache__/copied.cpython-311.pyc",
        "namespace/module.py",
        "package/__init__.py",
    ]


def test_store_that_is_gone_is_passed_over(house: House, copy: Path) -> None:
    shutil.rmtree(house.root)
    register_copy(str(copy))
    register_copy(str(copy / "nothing"))
    assert not house.root.exists()


def test_links_to_other_places_are_no_entries(house: House, tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").symlink_to("/etc/hostname")
    register_copy(str(package.parent))
    assert known(house) == {}


def test_command_registers_the_environments_that_it_names(
    house: House, copy: Path, run: Run
) -> None:
    run.text("usage", str(copy.parents[2]))
    assert str(copy) in known(house)


def test_dry_run_registers_nothing(house: House, copy: Path, run: Run) -> None:
    run.text("prune", "--dry-run", str(copy.parents[2]))
    assert str(copy) not in known(house)


def test_running_environment_is_registered(
    house: House, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(copy))
    presence.register_this_environment()
    assert str(copy) in known(house)


def test_environment_that_is_there_is_not_released_whatever_its_host(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a host changes: a container that is made again, or DHCP."""
    site_packages = house.install("env", "symlink", house.entry("a"))
    (registration,) = registrations(str(house.root))
    for name in os.listdir(registration.directory):
        if name.startswith("witness-"):
            os.unlink(os.path.join(registration.directory, name))
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    pruned = prune(house.store, PruneOptions())
    assert (pruned.removed, pruned.unreachable) == ([], [])
    for name in (str(site_packages.parents[2]), registration.name):
        with pytest.raises(PruneRefusedError, match="pip-linkmode materialize"):
            release(house.store, name)


def test_environment_at_the_path_of_a_moved_one_keeps_the_entries_of_both(
    house: House,
) -> None:
    old = house.install("env", "symlink", house.entry("a"))
    old.parents[2].rename(house.path / "moved")
    new = house.site_packages("env")
    house.link(new, "symlink", house.entry("b"))
    assert prune(house.store, PruneOptions()).removed == []


@pytest.mark.parametrize("how", ["empty", "cut", "gone", "directory"])
def test_registration_that_cannot_be_read_keeps_the_entries_of_its_markers(
    house: House, run: Run, how: str
) -> None:
    house.install("env", "symlink", house.entry("a"))
    house.entry("unused")
    (registration,) = registrations(str(house.root))
    name = os.path.join(registration.directory, "environment.json")
    if how in ("empty", "cut"):
        os.truncate(name, 0 if how == "empty" else 40)
    else:
        os.unlink(name)
    if how == "directory":
        os.mkdir(name)
    text = run.text("prune")
    assert house.present() == ["a"]
    assert (
        f"To forget it, run: pip-linkmode prune --release {registration.name}" in text
    )
    assert "Forgotten" in run.text("prune", "--release", registration.name)
    assert house.present() == []


def test_registration_that_cannot_be_listed_keeps_everything(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.install("env", "symlink", house.entry("a"))
    house.entry("unused")
    (registration,) = registrations(str(house.root))
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path == registration.directory:
            raise PermissionError(13, "Permission denied", path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    pruned = prune(house.store, PruneOptions())
    assert pruned.removed == []
    assert [user.state for user in pruned.unreachable] == ["damaged"]


def test_environment_without_symlinks_at_the_path_of_a_moved_one_adds_nothing(
    house: House,
) -> None:
    entry = house.entry("alpha")
    site_packages = house.install("one", "symlink", entry)
    (house.path / "one").rename(house.path / "elsewhere")
    house.site_packages("one")
    (user,) = users(house.store)
    assert user.state == "moved"
    assert user.depends == {entry.sha256}
    assert not list(site_packages.iterdir())


@pytest.mark.parametrize("present", [True, False])
def test_file_of_a_read_only_store_is_only_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, present: bool
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    path = tmp_path / "file"
    if present:
        path.touch()
    monkeypatch.setattr(os, "utime", refuse)
    assert is_there_now(str(path)) is present
