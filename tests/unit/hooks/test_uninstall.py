"""Links that lead nowhere are taken along by pip's uninstaller."""

from __future__ import annotations

import os
import sys
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType

import pytest

from pip_linkmode.hooks import uninstall
from pip_linkmode.install import presence

FORBIDDEN = "forbidden"
INSTALL = "pip._internal.commands.install"


def normalize_path(path: str, *, resolve_symlinks: bool = True) -> str:
    full = os.path.expanduser(path)
    full = os.path.realpath(full) if resolve_symlinks else os.path.abspath(full)
    return os.path.normcase(full)


class OldPathSet:
    """``UninstallPathSet`` of pip 23.0 and older, as far as it matters."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._refuse: set[str] = set()

    def _permitted(self, path: str) -> bool:
        return FORBIDDEN not in path

    def add(self, path: str) -> None:
        head, tail = os.path.split(path)
        path = os.path.join(normalize_path(head), os.path.normcase(tail))
        if not os.path.exists(path):
            return
        if self._permitted(path):
            self._paths.add(path)
        else:
            self._refuse.add(path)
        if os.path.splitext(path)[1] == ".py":
            self.add(cache_from_source(path))


class NewPathSet(OldPathSet):
    """As it is since pip 23.1."""

    def __init__(self) -> None:
        super().__init__()
        self.normalized: list[str] = []

    def _normalize_path_cached(self, path: str) -> str:
        self.normalized.append(path)
        return normalize_path(path)


@pytest.fixture(params=[OldPathSet, NewPathSet])
def path_set(request: pytest.FixtureRequest) -> OldPathSet:
    class Patched(request.param):  # type: ignore[misc,name-defined]  # any of them
        pass

    module = ModuleType("pip._internal.req.req_uninstall")
    module.UninstallPathSet = Patched  # type: ignore[attr-defined]  # a fake
    module.normalize_path = normalize_path  # type: ignore[attr-defined]  # a fake
    uninstall.apply(module)
    created: OldPathSet = Patched()
    return created


def dangling(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/no/such/file")
    return path


def test_dangling_link_is_taken(path_set: OldPathSet, tmp_path: Path) -> None:
    link = dangling(tmp_path / "data.txt")
    path_set.add(str(link))
    assert path_set._paths == {str(link)}


def test_its_bytecode_is_taken_too(path_set: OldPathSet, tmp_path: Path) -> None:
    link = dangling(tmp_path / "module.py")
    pyc = dangling(Path(cache_from_source(str(link))))
    path_set.add(str(link))
    assert path_set._paths == {str(link), str(pyc)}


def test_bytecode_that_lives_is_taken_with_its_source(
    path_set: OldPathSet, tmp_path: Path
) -> None:
    link = dangling(tmp_path / "module.py")
    pyc = Path(cache_from_source(str(link)))
    pyc.parent.mkdir()
    pyc.touch()
    path_set.add(str(link))
    assert path_set._paths == {str(link), str(pyc)}


def test_link_outside_of_the_environment_is_refused(
    path_set: OldPathSet, tmp_path: Path
) -> None:
    (tmp_path / FORBIDDEN).mkdir()
    link = dangling(tmp_path / FORBIDDEN / "link")
    path_set.add(str(link))
    assert path_set._paths == set()
    assert path_set._refuse == {str(link)}


def test_link_is_permitted_by_where_it_is_not_by_where_it_leads(
    path_set: OldPathSet, tmp_path: Path
) -> None:
    """Debian's pip asks the latter."""
    link = dangling(tmp_path / FORBIDDEN)
    path_set.add(str(link))
    assert path_set._paths == {str(link)}


def test_all_else_is_left_to_pip(path_set: OldPathSet, tmp_path: Path) -> None:
    file, alive = tmp_path / "file", tmp_path / "alive"
    file.touch()
    alive.symlink_to(file)
    for path in (file, alive, tmp_path / "absent"):
        path_set.add(str(path))
    assert path_set._paths == {str(file), str(alive)}
    assert path_set._refuse == set()


def test_parent_is_resolved_and_the_name_is_not(
    path_set: OldPathSet, tmp_path: Path
) -> None:
    link = dangling(tmp_path / "real" / "data")
    (tmp_path / "alias").symlink_to("real")
    path_set.add(str(tmp_path / "alias" / "data"))
    assert path_set._paths == {str(link)}


def test_cached_function_of_pip_is_used_where_there_is_one(
    path_set: OldPathSet, tmp_path: Path
) -> None:
    path_set.add(str(tmp_path / "absent"))
    if isinstance(path_set, NewPathSet):
        assert path_set.normalized == [str(tmp_path)]


def test_it_still_looks_like_pips_own(path_set: OldPathSet) -> None:
    assert path_set.add.__name__ == "add"


def test_environment_that_uninstalls_is_registered_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(
        presence, "register_this_environment", lambda: calls.append(None)
    )
    monkeypatch.setattr(uninstall._Process, "registered", False)
    monkeypatch.delitem(sys.modules, INSTALL, raising=False)
    uninstall._register_once()
    uninstall._register_once()
    assert len(calls) == 1
    monkeypatch.setattr(uninstall._Process, "registered", False)
    monkeypatch.setitem(sys.modules, INSTALL, ModuleType("install"))
    uninstall._register_once()
    assert len(calls) == 1
