"""Who uses a store is on record before the first link is; and what is installed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments import identity, registry
from pip_linkmode.environments.distribution import Distribution, distributions
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.register import register, register_all
from pip_linkmode.environments.registry import Registration, registrations
from pip_linkmode.environments.symlinks import (
    entries_behind_symlinks,
    entry_behind,
    is_stored,
)
from pip_linkmode.environments.users import forget_uses
from pip_linkmode.errors import EnvironmentUnknownError, RecordInvalidError
from pip_linkmode.files import inside
from pip_linkmode.store.layout import DIRECTORY
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable

    Names = Counter[tuple[int, int]]

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # All of the test's directory would be temporary otherwise.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    path = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    remake(path)
    return path


def remake(site_packages: Path) -> None:
    site_packages.mkdir(parents=True)
    environment = site_packages.parents[2]
    (environment / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (environment / "bin").mkdir()
    (environment / "bin" / "python").symlink_to(sys.executable)


def registered(store: Path) -> list[str]:
    return [one.site_packages for one in registrations(str(store))]


def the_only(store: Path) -> Registration:
    (registration,) = registrations(str(store))
    return registration


# --- registration ---------------------------------------------------------------------


def test_environment_is_registered_once(store: Path) -> None:
    register(str(store), "/env/site-packages", ONE, "symlink")
    (directory,) = (store / DIRECTORY).iterdir()
    before = (directory / "environment.json").stat()
    register(str(store), "/env/site-packages", ONE, "symlink")
    register(str(store), "/env/site-packages", TWO, "hardlink")
    assert registered(store) == ["/env/site-packages"]
    assert (directory / "environment.json").stat().st_ino == before.st_ino


def test_entries_are_known_with_their_mode(store: Path) -> None:
    register(str(store), "/env", ONE, "symlink")
    register(str(store), "/env", TWO, "hardlink")
    assert the_only(store).entries() == {ONE, TWO}
    assert the_only(store).entries(depends=True) == {ONE}


def test_each_environment_has_a_registration(store: Path) -> None:
    paths = ["/one", "/two", "/drei \N{SNOWMAN}", "/undecodable \udcff"]
    for path in paths:
        register(str(store), path, ONE, "symlink")
    assert registered(store) == sorted(paths)


def test_nobody_else_may_write_there(store: Path) -> None:
    before = os.umask(0)
    try:
        register(str(store), "/env", ONE, "symlink")
    finally:
        os.umask(before)
    for path in (store / "v1", store / DIRECTORY, *(store / DIRECTORY).iterdir()):
        assert not path.stat().st_mode & 0o022


def test_read_only_store_is_refused_untouched(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError) as caught:
        register(str(store), "/env", ONE, "symlink")
    assert caught.value.errno == errno.EROFS
    assert not any(store.iterdir())


def test_environment_of_a_read_only_store_may_be_known_already(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), "/env", ONE, "symlink")
    monkeypatch.setattr(os, "access", lambda *_: False)
    register(str(store), "/env", ONE, "symlink")
    assert registered(store) == ["/env"]


def test_planted_links_are_not_followed(store: Path, tmp_path: Path) -> None:
    register(str(store), "/env", ONE, "symlink")
    (directory,) = (store / DIRECTORY).iterdir()
    shutil.move(directory, tmp_path / "outside")
    directory.symlink_to(tmp_path / "outside")
    with pytest.raises(NotADirectoryError):
        register(str(store), "/env", TWO, "symlink")
    assert registered(store) == []


def test_marker_is_not_written_through(store: Path, tmp_path: Path) -> None:
    register(str(store), "/env", ONE, "symlink")
    (directory,) = (store / DIRECTORY).iterdir()
    (directory / f"{TWO}.symlink").symlink_to(tmp_path / "written")
    register(str(store), "/env", TWO, "symlink")
    assert not (tmp_path / "written").exists()


def test_two_at_once_are_no_error(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(str(store), "/env", ONE, "symlink")
    monkeypatch.setattr(os.path, "lexists", lambda _: False)
    register(str(store), "/env", ONE, "symlink")
    assert the_only(store).entries() == {ONE}


def test_no_store_has_no_users(tmp_path: Path) -> None:
    assert list(registrations(str(tmp_path / "nothing"))) == []


def test_registration_that_cannot_be_read_is_listed_without_a_path(store: Path) -> None:
    register(str(store), "/env", ONE, "symlink")
    directory = store / DIRECTORY
    (directory / "file").touch()
    (directory / "empty").mkdir()
    for number, text in enumerate(("{", "{}", "[]")):
        (directory / str(number)).mkdir()
        (directory / str(number) / "environment.json").write_text(text)
    assert registered(store) == ["", "", "", "", "/env"]


# --- what has become of them ----------------------------------------------------------


def test_environment_that_is_there(store: Path, site_packages: Path) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    assert the_only(store).state() == "present"


def test_environment_that_was_deleted(store: Path, site_packages: Path) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    shutil.rmtree(site_packages.parents[2])
    assert the_only(store).state() == "gone"


def test_environment_that_was_moved(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    environment = site_packages.parents[2]
    environment.rename(tmp_path / "aside")
    assert the_only(store).state() == "moved"
    (tmp_path / "aside").rename(environment)
    assert the_only(store).state() == "present"


@pytest.fixture(params=["symlink", "copy"])
def interpreter(site_packages: Path, request: pytest.FixtureRequest) -> Path:
    """Return the interpreter's name, as ``venv`` makes it."""
    path = site_packages.parents[2] / "bin" / "python"
    if request.param == "copy":
        path.unlink()
        path.write_text("#!/bin/sh\n")
    return path


def edit(configuration: Path) -> None:
    """As ``sed -i`` does."""
    edited = configuration.with_name("sedK1x2")
    edited.write_text("home = /elsewhere\n")
    edited.replace(configuration)


@pytest.mark.usefixtures("interpreter")
def test_environment_that_was_moved_and_edited(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    site_packages.parents[2].rename(tmp_path / "moved")
    edit(tmp_path / "moved" / "pyvenv.cfg")
    assert the_only(store).state() == "moved"
    shutil.rmtree(tmp_path / "moved")
    assert the_only(store).state() == "gone"


def test_interpreter_is_a_witness_of_its_own(
    store: Path, site_packages: Path, interpreter: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    (directory,) = (store / DIRECTORY).iterdir()
    status = interpreter.lstat()
    assert status.st_nlink == 2
    assert (directory / f"witness-{status.st_ino}").lstat().st_ino == status.st_ino


def test_registration_of_old_gets_its_second_witness(
    store: Path, site_packages: Path, interpreter: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    (witness,) = store.glob(f"{DIRECTORY}/*/witness-{interpreter.lstat().st_ino}")
    witness.unlink()
    registration = the_only(store)
    assert registration.state() == "present"
    registration.refresh()
    site_packages.parents[2].rename(tmp_path / "moved")
    edit(tmp_path / "moved" / "pyvenv.cfg")
    assert registration.state() == "moved"


def test_where_a_symlink_has_one_name_the_configuration_is_the_witness(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    link = os.link

    def refuse(source: str, target: str, **options: bool) -> None:
        if os.path.islink(source):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), source)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", refuse)
    register(str(store), str(site_packages), ONE, "symlink")
    environment = site_packages.parents[2]
    environment.rename(environment.with_name("moved"))
    assert the_only(store).state() == "moved"
    shutil.rmtree(environment.with_name("moved"))
    assert the_only(store).state() == "gone"


def test_link_that_was_followed_is_no_witness(
    store: Path, site_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").touch()
    interpreter = site_packages.parents[2] / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to(tmp_path / "outside")
    link = os.link
    monkeypatch.setattr(
        os, "link", lambda source, target, **_: link(os.path.realpath(source), target)
    )
    register(str(store), str(site_packages), ONE, "symlink")
    assert (tmp_path / "outside").stat().st_nlink == 1


def test_nothing_outside_of_an_environment_is_a_witness(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    scripts = site_packages.parents[2] / "bin"
    scripts.rename(tmp_path / "outside")
    scripts.symlink_to(tmp_path / "outside")
    register(str(store), str(site_packages), ONE, "symlink")
    assert (tmp_path / "outside" / "python").lstat().st_nlink == 1


def test_what_belongs_to_somebody_else_is_no_witness(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter, lstat = site_packages.parents[2] / "bin" / "python", os.lstat

    def somebody_elses(path: str) -> os.stat_result:
        status = lstat(path)
        if path != str(interpreter):
            return status
        return os.stat_result([*status[:4], status.st_uid + 1, *status[5:]])

    monkeypatch.setattr(os, "lstat", somebody_elses)
    register(str(store), str(site_packages), ONE, "symlink")
    assert lstat(interpreter).st_nlink == 1


def test_environment_without_a_witness(store: Path, site_packages: Path) -> None:
    (site_packages.parents[2] / "pyvenv.cfg").unlink()
    register(str(store), str(site_packages), ONE, "symlink")
    shutil.rmtree(site_packages)
    assert the_only(store).state() == "missing"


def test_what_pip_has_prepared_for_a_target_goes_with_pip(
    store: Path, tmp_path: Path
) -> None:
    prepared = tmp_path / "pip-target-x1y2" / "lib" / "python"
    prepared.mkdir(parents=True)
    register(str(store), str(prepared), ONE, "symlink")
    assert the_only(store).state() == "present"
    shutil.rmtree(prepared)
    assert the_only(store).state() == "gone"


def test_what_another_host_has_prepared_for_a_target_may_come_back(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = tmp_path / "pip-target-x1y2" / "lib" / "python"
    prepared.mkdir(parents=True)
    register(str(store), str(prepared), ONE, "symlink")
    shutil.rmtree(prepared)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert the_only(store).state() == "missing"


def test_target_that_is_made_later_is_present(store: Path, tmp_path: Path) -> None:
    target = tmp_path / "layer" / "python"
    register(str(store), str(target), ONE, "symlink")
    assert the_only(store).state() == "missing"
    target.mkdir(parents=True)
    assert the_only(store).state() == "present"


# --- the same path is not the same environment ----------------------------------------


def states(store: Path) -> list[str]:
    return sorted(one.state() for one in registrations(str(store)))


def test_environment_made_anew_at_the_same_path(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    shutil.rmtree(site_packages.parents[2])
    # What a file system gives away again is not to be mistaken for the old one.
    (tmp_path / "takes-the-inode").mkdir()
    remake(site_packages)
    register(str(store), str(site_packages), ONE, "symlink")
    site_packages.parents[2].rename(tmp_path / "moved")
    assert "moved" in states(store)


def test_environment_moved_away_and_another_in_its_place(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    site_packages.parents[2].rename(tmp_path / "old")
    remake(site_packages)
    register(str(store), str(site_packages), TWO, "symlink")
    assert states(store) == ["moved", "present"]
    old, new = sorted(registrations(str(store)), key=lambda one: one.state())
    assert (old.entries(), new.entries()) == ({ONE}, {TWO})


def test_the_same_path_on_another_host_is_another_environment(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site_packages.parents[2] / "pyvenv.cfg").unlink()
    monkeypatch.setattr(identity, "host_name", lambda: "node-1")
    register(str(store), str(site_packages), ONE, "symlink")
    assert the_only(store).state() == "present"
    monkeypatch.setattr(identity, "host_name", lambda: "node-2")
    assert the_only(store).state() == "missing"
    prepared = site_packages.parent / "pip-target-x"
    register(str(store), str(prepared), ONE, "symlink")
    monkeypatch.setattr(identity, "host_name", lambda: "node-1")
    assert "gone" not in states(store)


def test_host_that_has_changed_its_name_is_still_known_by_the_witness(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    monkeypatch.setattr(identity, "host_name", lambda: "another")
    assert the_only(store).state() == "present"


def test_lib64_has_a_witness_of_its_own(store: Path, site_packages: Path) -> None:
    """The two are one environment, and go together."""
    platlib = (
        site_packages.parents[2]
        / "lib64"
        / site_packages.parent.name
        / site_packages.name
    )
    platlib.mkdir(parents=True)
    for path in (site_packages, platlib):
        register(str(store), str(path), ONE, "symlink")
    shutil.rmtree(site_packages.parents[2])
    assert states(store) == ["gone", "gone"]


@pytest.fixture
def other(store: Path, site_packages: Path) -> Path:
    """Another store, which has the environment of the first one."""
    other = store.with_name("other")
    other.mkdir()
    for one in (store, other):
        register(str(one), str(site_packages), ONE, "symlink")
    return other


def state(store: Path, *beside: Path) -> str:
    (registration,) = registrations(str(store), map(str, beside))
    return registration.state()


def test_deleted_environment_of_two_stores_is_gone_if_both_are_asked(
    store: Path, site_packages: Path, other: Path
) -> None:
    shutil.rmtree(site_packages.parents[2])
    assert state(store, other) == state(other, store) == "gone"
    # The store has several paths, and may be named with the others.
    (store.parent / "alias").symlink_to(other)
    assert state(store, store, other, store.parent / "alias") == "gone"


def test_one_of_two_stores_cannot_tell(
    store: Path, site_packages: Path, other: Path
) -> None:
    shutil.rmtree(site_packages.parents[2])
    for beside in ((), (store,), (store, store.parent / "nothing")):
        assert state(store, *beside) == "moved"
    next(registrations(str(other), [str(store)])).release()
    assert state(store) == "gone"


def test_moved_environment_of_two_stores_is_kept_by_both(
    store: Path, site_packages: Path, other: Path, tmp_path: Path
) -> None:
    site_packages.parents[2].rename(tmp_path / "aside")
    (tmp_path / "alias").symlink_to(other)
    for beside in ((other,), (store, other), (other, tmp_path / "alias")):
        assert state(store, *beside) == "moved"


def test_store_that_lets_go_meanwhile_does_not_make_it_gone(
    store: Path,
    site_packages: Path,
    other: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site_packages.parents[2].rename(tmp_path / "aside")
    count = identity.count_names

    def count_and_let_go(directories: Iterable[str]) -> Names:
        names = count(directories)
        for registration in registrations(str(other)):
            registration.release()
        return names

    monkeypatch.setattr(registry, "count_names", count_and_let_go)
    assert state(store, other) == "moved"


def test_store_that_cannot_be_read_leaves_it_open(
    store: Path, site_packages: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(site_packages.parents[2])
    listdir = os.listdir

    def refuse(path: str) -> list[str]:
        if path == str(other / DIRECTORY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert state(store, other) == "moved"


def test_copy_of_a_store_has_no_witness(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    """A restored backup must not take what is not mounted yet for deleted."""
    register(str(store), str(site_packages), ONE, "symlink")
    site_packages.parents[2].rename(tmp_path / "aside")
    shutil.copytree(store, tmp_path / "copy")
    assert states(tmp_path / "copy") == ["missing"]


def test_faked_hard_link_is_no_witness(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on BeeGFS."""

    def link(source: str, target: str, **_: object) -> None:
        shutil.copy(source, target)

    monkeypatch.setattr(os, "link", link)
    register(str(store), str(site_packages), ONE, "symlink")
    site_packages.parents[2].rename(site_packages.parents[2].with_name("aside"))
    assert states(store) == ["missing"]


def test_registration_emptied_by_a_power_cut_is_written_again(
    store: Path, site_packages: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    name = next(store.glob("v1/environments/*/environment.json"))
    os.truncate(name, 0)
    assert (registered(store), the_only(store).state()) == ([""], "damaged")
    register(str(store), str(site_packages), ONE, "symlink")
    assert registered(store) == [str(site_packages)]


def test_registrations_of_a_group_are_the_groups(
    store: Path, site_packages: Path
) -> None:
    directory = store / DIRECTORY
    directory.mkdir(parents=True)
    directory.chmod(0o2775)
    register(str(store), str(site_packages), ONE, "symlink")
    (created,) = directory.iterdir()
    assert created.stat().st_mode & 0o7777 == 0o2775


def test_planted_pipe_is_not_waited_for(store: Path, site_packages: Path) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    name = next(store.glob("v1/environments/*/environment.json"))
    name.unlink()
    os.mkfifo(name)
    assert registered(store) == [""]


def test_environment_that_cannot_be_read(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")

    def refuse(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert the_only(store).state() == "unreadable"


def test_witness_is_called_anew(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    configuration = site_packages.parents[2] / "pyvenv.cfg"
    configuration.unlink()
    configuration.write_text("home = /elsewhere\n")
    the_only(store).refresh()
    site_packages.parents[2].rename(tmp_path / "aside")
    assert the_only(store).state() == "moved"


def test_witness_that_has_not_changed_is_kept(store: Path, site_packages: Path) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    the_only(store).refresh()
    assert (site_packages.parents[2] / "pyvenv.cfg").stat().st_nlink == 2


def test_released_environment_is_forgotten(store: Path, site_packages: Path) -> None:
    register(str(store), str(site_packages), ONE, "symlink")
    registration = the_only(store)
    registration.release()
    assert registered(store) == []
    assert not any((store / DIRECTORY).iterdir())
    assert registration.entries() == set()
    registration.release()


# --- symlinks into a store ------------------------------------------------------------


def test_entries_behind_symlinks_are_found_at_any_depth(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    deep = site_packages / "package" / "__pycache__"
    deep.mkdir(parents=True)
    (deep / "a.pyc").symlink_to(store / f"v1/wheels/11/{ONE}/bytecode/x/a.pyc")
    (site_packages / "b.py").symlink_to(store / f"v1/wheels/22/{TWO}/files/b.py")
    (site_packages / "elsewhere").symlink_to(tmp_path)
    (site_packages / "file").touch()
    assert entries_behind_symlinks(str(store), str(site_packages)) == {ONE, TWO}


def test_store_may_have_other_names(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(store)
    (site_packages / "alias").symlink_to(tmp_path / f"alias/v1/wheels/11/{ONE}/files/a")
    relative = os.path.relpath(store / f"v1/wheels/22/{TWO}/files/b", site_packages)
    (site_packages / "relative").symlink_to(relative)
    other = tmp_path / "other" / "v1" / "wheels" / "33" / ("3" * 64)
    (tmp_path / "other").mkdir()
    (site_packages / "other").symlink_to(other / "files" / "c")
    (site_packages / "gone").symlink_to(f"/gone/v1/wheels/44/{'4' * 64}/files/d")
    assert entries_behind_symlinks(str(store), str(site_packages)) == {ONE, TWO}


def test_way_that_turns_back_is_followed_to_its_end(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    entry = store / f"v1/wheels/11/{ONE}"
    (entry / "files").mkdir(parents=True)
    (site_packages / "out").symlink_to(entry / "../../../../../secret")
    (site_packages / "in").symlink_to(
        tmp_path / f"env/../store/v1/wheels/11/{ONE}/files/a"
    )
    assert entry_behind(str(site_packages / "out")) is None
    assert entry_behind(str(site_packages / "in")) == (str(store), ONE)


def test_what_a_path_says_is_stored(store: Path) -> None:
    assert is_stored(str(store / f"v1/wheels/11/{ONE}/files/a"))
    assert not is_stored(str(store / "v1/wheels/11/files/a"))


def test_one_directory_may_be_enough(store: Path, site_packages: Path) -> None:
    (site_packages / "deep").mkdir()
    (site_packages / "deep" / "a").symlink_to(store / f"v1/wheels/11/{ONE}/files/a")
    (site_packages / "b").symlink_to(store / f"v1/wheels/22/{TWO}/files/b")
    found = entries_behind_symlinks(str(store), str(site_packages), deep=False)
    assert found == {TWO}


def test_directory_that_cannot_be_read_is_an_error(
    store: Path, site_packages: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        entries_behind_symlinks(str(store), str(site_packages / "nothing"))


# --- what is installed ----------------------------------------------------------------


def test_distributions_and_their_rows(site_packages: Path) -> None:
    for name in ("b-2.0.dist-info", "a-1.0.post1.dist-info", "other"):
        (site_packages / name).mkdir()
    (site_packages / "a-1.0.post1.dist-info" / "RECORD").write_text(
        f"a.py,sha256={'A' * 43},12\n../../../bin/a,sha384=x,3\n\n"
        "__pycache__/a.cpython-311.pyc,,\nshort\ntorn,sha256=A,1\nb,sha256=AAAA,1\n"
    )
    first, second = distributions(str(site_packages))
    assert (first.name, first.version) == ("a", "1.0.post1")
    assert (second.name, second.version) == ("b", "2.0")
    assert second.rows() == []
    environment = str(site_packages.parents[2])
    assert [tuple(row) for row in first.rows()] == [
        ("a.py", f"{site_packages}/a.py", "00" * 32, 12),
        ("../../../bin/a", f"{environment}/bin/a", None, 3),
        (
            "__pycache__/a.cpython-311.pyc",
            f"{site_packages}/__pycache__/a.cpython-311.pyc",
            None,
            None,
        ),
        ("short", f"{site_packages}/short", None, None),
        ("torn", f"{site_packages}/torn", None, 1),
        ("b", f"{site_packages}/b", None, 1),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a.py,sha256=abc,long\n", "'long'"),
        (b"\0" * 80, "a path has a zero byte|NUL"),  # as after a power cut
        (b"\xff\xfe,,\n", "invalid start byte"),
        (b'"' + b"a" * 200_000, "field larger than field limit"),
    ],
    ids=["size", "zeros", "encoding", "quote"],
)
def test_record_that_is_none_is_an_error(
    site_packages: Path, content: bytes, reason: str
) -> None:
    (site_packages / "a-1.dist-info").mkdir()
    record = site_packages / "a-1.dist-info" / "RECORD"
    record.write_bytes(content)
    with pytest.raises(RecordInvalidError, match=reason) as caught:
        Distribution(str(site_packages), "a-1.dist-info").rows()
    assert str(caught.value).startswith(f"{record} cannot be parsed: ")
    assert str(caught.value).endswith("--ignore-installed --no-deps a==1")


def test_environment_is_found_by_each_of_its_names(site_packages: Path) -> None:
    environment = site_packages.parents[2]
    (environment / "lib64").symlink_to("lib")
    for path in (environment, environment / "bin" / "python", site_packages):
        assert Environment.find(str(path)) == [Environment(str(site_packages))]


def test_environment_made_by_target_is_found(tmp_path: Path) -> None:
    (tmp_path / "a-1.dist-info").mkdir()
    assert Environment.find(str(tmp_path)) == [Environment(str(tmp_path))]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "it has no site-packages"),
        ("nothing", "No such file or directory"),
        ("env/pyvenv.cfg", "it is a file outside of bin"),
    ],
)
def test_what_is_no_environment_is_refused(
    site_packages: Path, tmp_path: Path, name: str, reason: str
) -> None:
    if not name:
        site_packages.rmdir()
    with pytest.raises(EnvironmentUnknownError, match=reason):
        Environment.find(str(tmp_path / name))


def test_environment_is_what_goes_when_it_is_deleted(site_packages: Path) -> None:
    environment = site_packages.parents[2]
    assert Environment(str(site_packages)).path == str(environment)
    (environment / "pyvenv.cfg").unlink()
    assert Environment(str(site_packages)).path == str(site_packages)


def test_environment_is_where_links_to_directories_lead(
    site_packages: Path, tmp_path: Path
) -> None:
    (site_packages / "package").mkdir()
    (site_packages / "alias").symlink_to("package")
    (site_packages / "elsewhere").symlink_to(tmp_path)
    is_inside = inside(str(site_packages), str(tmp_path / "nowhere"))
    assert is_inside(str(site_packages / "a"))
    assert is_inside(str(site_packages / "alias" / "a"))
    assert not is_inside(str(site_packages / "elsewhere" / "a"))
    assert not is_inside(str(site_packages.with_name("site-packages-2") / "a"))


def test_environment_may_have_its_packages_elsewhere(
    site_packages: Path, tmp_path: Path
) -> None:
    environment = str(site_packages.parents[2])
    assert Environment(str(site_packages)).directories == [environment]
    site_packages.rename(tmp_path / "elsewhere")
    site_packages.symlink_to(tmp_path / "elsewhere")
    expected = [environment, str(site_packages)]
    assert Environment(str(site_packages)).directories == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"site_packages": 1, "place": "host:1"}',
        '{"site_packages": "relative", "place": "host:1"}',
        '{"site_packages": "/", "place": "host:1"}',
        '{"site_packages": "//./", "place": "host:1"}',
        '{"site_packages": "/env", "place": "host:1"}' + " " * (1 << 20),
        '{"site_packages": "/a\\u0000", "place": "host:1"}',
        '{"site_packages": "/\\ud800", "place": "host:1"}',
        '{"site_packages": "/env", "place": null}',
        "[" * 100_000,
    ],
)
def test_registration_with_an_impossible_value_is_damaged(
    store: Path, text: str
) -> None:
    register(str(store), "/env", ONE, "symlink")
    next(store.glob("v1/environments/*/environment.json")).write_text(text)
    registration = the_only(store)
    assert (registration.site_packages, registration.state()) == ("", "damaged")
    assert registration.may_depend_on(ONE)
    assert not registration.is_of(os.getcwd())


def test_registration_that_cannot_be_listed_may_depend_on_anything(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), "/env", ONE, "symlink")
    registration = the_only(store)

    def refuse(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, "listdir", refuse)
    assert registration.may_depend_on("0" * 64)


def test_symlinks_are_registered_on_the_disk(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def note(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    register_all(str(store), str(site_packages), [ONE, TWO], "hardlink")
    assert [path for path in synced if os.path.isdir(path)] == []
    register_all(str(store), str(site_packages), [ONE, TWO], "symlink")
    directory = the_only(store).directory
    assert synced[1:] == [
        os.path.join(directory, "environment.json"),
        directory,
        os.path.dirname(directory),
    ]


def test_directory_that_cannot_be_synced_is_no_error(
    store: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), str(site_packages), TWO, "symlink")

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "fsync", refuse)
    register(str(store), str(site_packages), ONE, "symlink")
    assert the_only(store).entries() == {ONE, TWO}


def test_release_leaves_no_marker_without_its_name(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), "/env", ONE, "symlink")
    (Path(the_only(store).directory) / "directory").mkdir()
    removed, unlink = [], os.unlink

    def note(path: str) -> None:
        removed.append(os.path.basename(path))
        unlink(path)

    monkeypatch.setattr(os, "unlink", note)
    the_only(store).release()
    assert removed == [f"{ONE}.symlink", "environment.json"]
    assert registered(store) == []


def test_states_of_many_deleted_environments_take_linear_time(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, listdir = [0], os.listdir

    def count(path: str) -> list[str]:
        looks[0] += 1
        return listdir(path)

    for number in range(20):
        one = tmp_path / f"many{number}" / "lib" / "python3.11" / "site-packages"
        one.mkdir(parents=True)
        (one.parents[2] / "pyvenv.cfg").touch()
        register(str(store), str(one), ONE, "symlink")
        shutil.rmtree(one.parents[2])
    known = list(registrations(str(store)))
    monkeypatch.setattr(os, "listdir", count)
    assert registry.states(known) == ["gone"] * 20
    assert looks[0] <= 20 * 6


def test_release_removes_a_planted_link_and_not_its_target(
    store: Path, tmp_path: Path
) -> None:
    register(str(store), "/env", ONE, "symlink")
    (tmp_path / "outside").mkdir()
    Path(the_only(store).directory, "link").symlink_to(tmp_path / "outside")
    the_only(store).release()
    assert registered(store) == []
    assert (tmp_path / "outside").is_dir()


def test_only_the_entries_that_an_environment_left_are_forgotten(
    store: Path, site_packages: Path, tmp_path: Path
) -> None:
    """Not those of another environment, or of one that was moved away."""
    other = tmp_path / "other" / "lib" / "python3.11" / "site-packages"
    remake(other)
    for one in (site_packages, other):
        for sha256 in (ONE, TWO):
            register(str(store), str(one), sha256, "hardlink")
    site_packages.parents[2].rename(tmp_path / "moved")
    remake(site_packages)
    register(str(store), str(site_packages), ONE, "hardlink")
    register(str(store), str(site_packages), TWO, "hardlink")
    forget_uses(Store.open(str(store)), str(site_packages), {ONE})
    found = [(one.state(), one.entries()) for one in registrations(str(store))]
    assert sorted(found, key=str) == [
        ("moved", {ONE, TWO}),
        ("present", {ONE, TWO}),
        ("present", {TWO}),
    ]
