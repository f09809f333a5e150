"""A second belongs to one wheel of a project for ever."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.store import claims
from pip_linkmode.store.claims import claim_mtime, has_mtime
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_700_000_000
ONE, TWO, THREE = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., list[Store]]:
    """Make the stores of one setting."""

    def made(*names: str) -> list[Store]:
        roots = tuple(str(tmp_path / name) for name in names)
        return [replace(Store.open(root), related_stores=roots) for root in roots]

    return made


@pytest.fixture
def store(make: Callable[..., list[Store]]) -> Store:
    (store,) = make("store")
    return store


def names_in(store: Store, project: str = "pkg") -> list[str]:
    return sorted(os.listdir(os.path.join(store.root, "v1", "projects", project)))


def test_second_is_the_current_one(store: Store) -> None:
    assert claim_mtime(store, "pkg", ONE, NOW) == NOW
    assert names_in(store) == [ONE, str(NOW)]


def test_other_wheels_of_a_project_get_earlier_seconds(store: Store) -> None:
    found = [claim_mtime(store, "pkg", sha256, NOW) for sha256 in (ONE, TWO, THREE)]
    assert found == [NOW, NOW - 1, NOW - 2]
    assert claim_mtime(store, "pkg", "4" * 64, NOW - 1) == NOW - 3


def test_same_wheel_gets_the_same_second_again(store: Store) -> None:
    claim_mtime(store, "pkg", ONE, NOW)
    claim_mtime(store, "pkg", TWO, NOW)
    before = names_in(store)
    for later in (0, 1, 1000, -1000):
        assert claim_mtime(store, "pkg", ONE, NOW + later) == NOW
        assert claim_mtime(store, "pkg", TWO, NOW + later) == NOW - 1
    assert names_in(store) == before


def test_projects_do_not_mind_each_other(store: Store) -> None:
    assert claim_mtime(store, "one", ONE, NOW) == NOW
    assert claim_mtime(store, "two", TWO, NOW) == NOW


@pytest.mark.parametrize("name", ["Foo.Bar", "foo_bar", "FOO--bar"])
def test_project_has_one_name(store: Store, name: str) -> None:
    claim_mtime(store, "foo-bar", ONE, NOW)
    assert claim_mtime(store, name, TWO, NOW) == NOW - 1
    assert os.listdir(os.path.join(store.root, "v1", "projects")) == ["foo-bar"]


@pytest.mark.parametrize(
    "name", ["", "..", "../../x", "/x", "a/b", "x" * 5000, "\0", "\udcff", "é", "-"]
)
def test_odd_name_stays_inside(store: Store, name: str) -> None:
    assert claim_mtime(store, name, ONE, NOW) == NOW
    assert claim_mtime(store, name, TWO, NOW) == NOW - 1
    (directory,) = os.listdir(os.path.join(store.root, "v1", "projects"))
    assert directory.startswith("-")


def test_second_of_any_store_of_the_setting_is_taken(
    make: Callable[..., list[Store]],
) -> None:
    one, two = make("one", "two")
    claim_mtime(one, "pkg", ONE, NOW)
    assert claim_mtime(two, "pkg", TWO, NOW) == NOW - 1
    assert claim_mtime(one, "pkg", THREE, NOW) == NOW - 2


def test_wheel_has_one_second_in_all_stores_of_the_setting(
    make: Callable[..., list[Store]],
) -> None:
    one, two = make("one", "two")
    claim_mtime(one, "pkg", ONE, NOW)
    assert claim_mtime(two, "pkg", ONE, NOW + 1000) == NOW


def test_second_that_two_stores_gave_to_two_wheels_is_given_to_none_again(
    make: Callable[..., list[Store]],
) -> None:
    """Stores that were not used together before."""
    one, two, three = make("one", "two", "three")
    for store, sha256 in ((one, ONE), (two, TWO)):
        assert claim_mtime(replace(store, related_stores=()), "pkg", sha256, NOW) == NOW
    assert claim_mtime(three, "pkg", ONE, NOW) == NOW - 1
    assert claim_mtime(two, "pkg", ONE, NOW + 5) == NOW - 1


def test_process_that_dies_costs_a_second(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as context:
        context.setattr(os, "rename", kill)
        with pytest.raises(Killed):
            claim_mtime(store, "pkg", ONE, NOW)
    assert names_in(store) == [str(NOW)]
    assert claim_mtime(store, "pkg", ONE, NOW) == NOW - 1
    assert claim_mtime(store, "pkg", ONE, NOW) == NOW - 1


def test_first_of_two_processes_decides(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = claims._publish

    def lose(directory: str, sha256: str, mtime: int) -> int:
        publish(directory, sha256, NOW - 50)
        return publish(directory, sha256, mtime)

    monkeypatch.setattr(claims, "_publish", lose)
    assert claim_mtime(store, "pkg", ONE, NOW) == NOW - 50
    assert names_in(store) == [ONE, str(NOW)]


PROGRAM = """
import sys
from pip_linkmode.store.claims import claim_mtime
from pip_linkmode.store.store import Store
store = Store.open(sys.argv[1])
for digit in "0123456789":
    print(digit, claim_mtime(store, "pkg", digit * 64, int(sys.argv[2])))
"""


def test_processes_agree_on_one_second_for_each_wheel(store: Store) -> None:
    def run(number: int) -> set[str]:
        # Each believes in another time.
        command = [sys.executable, "-c", PROGRAM, store.root, str(NOW + number)]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        return set(result.stdout.splitlines())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first, *others = pool.map(run, range(4))
    assert all(other == first for other in others)
    assert len({line.split()[1] for line in first}) == len(first) == 10


def test_claim_that_cannot_be_written_is_an_error(store: Store) -> None:
    claim_mtime(store, "pkg", ONE, NOW)
    os.makedirs(os.path.join(store.root, "v1/projects/other"))
    with open(os.path.join(store.root, "v1/projects/other", TWO), "x"):
        pass
    with pytest.raises(NotADirectoryError):
        claim_mtime(store, "other", TWO, NOW)
    assert names_in(store, "other") == [str(NOW), TWO]


def test_link_in_the_place_of_a_project_is_not_followed(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    os.makedirs(os.path.join(store.root, "v1", "projects"))
    os.symlink(tmp_path / "outside", os.path.join(store.root, "v1/projects/pkg"))
    with pytest.raises(NotADirectoryError):
        claim_mtime(store, "pkg", ONE, NOW)
    assert os.listdir(tmp_path / "outside") == []


def test_other_files_are_not_seconds(store: Store) -> None:
    claim_mtime(store, "pkg", ONE, NOW)
    claim = os.path.join(store.root, "v1/projects/pkg", ONE)
    for name in ("x", "-5", "1" * 12, "1.5"):
        with open(os.path.join(claim, name), "x"):
            pass
    assert claim_mtime(store, "pkg", ONE, NOW + 1) == NOW


def test_wheel_has_a_second_if_any_store_of_the_setting_gave_it_one(
    make: Callable[..., list[Store]],
) -> None:
    one, two = make("one", "two")
    assert not has_mtime(two, "pkg", ONE)
    claim_mtime(one, "pkg", ONE, NOW)
    assert has_mtime(two, "pkg", ONE)
    assert not has_mtime(replace(two, related_stores=()), "pkg", ONE)


def test_claims_of_a_shared_store_are_the_groups(store: Store) -> None:
    claim_mtime(replace(store, shared=True), "pkg", ONE, NOW)
    project = os.path.join(store.root, "v1", "projects", "pkg")
    assert os.stat(project).st_mode & 0o7777 == 0o2775
