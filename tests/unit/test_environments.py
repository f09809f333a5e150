"""Who has symlinks into a store is on record before the first symlink is."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments import DIRECTORY, register

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def registered(store: Path) -> list[object]:
    files = (store / DIRECTORY).iterdir()
    return [json.loads(file.read_text())["site_packages"] for file in files]


def test_environment_is_registered_once(store: Path) -> None:
    register(str(store), "/env/site-packages")
    (file,) = (store / DIRECTORY).iterdir()
    before = file.stat()
    register(str(store), "/env/site-packages")
    assert registered(store) == ["/env/site-packages"]
    assert file.stat().st_ino == before.st_ino


def test_each_environment_has_a_file(store: Path) -> None:
    paths = ["/one", "/two", "/drei \N{SNOWMAN}", "/undecodable \udcff"]
    for path in paths:
        register(str(store), path)
    assert sorted(map(str, registered(store))) == sorted(paths)


def test_nobody_else_may_write_there(store: Path) -> None:
    before = os.umask(0)
    try:
        register(str(store), "/env")
    finally:
        os.umask(before)
    for directory in (store / "v1", store / DIRECTORY):
        assert not directory.stat().st_mode & 0o022


def test_read_only_store_is_refused_untouched(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError) as caught:
        register(str(store), "/env")
    assert caught.value.errno == errno.EROFS
    assert not any(store.iterdir())


def test_environment_of_a_read_only_store_may_be_known_already(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(str(store), "/env")
    monkeypatch.setattr(os, "access", lambda *_: False)
    register(str(store), "/env")
    assert registered(store) == ["/env"]
