"""Files of an environment whose owner may replace any of them at any moment."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import guard
from pip_linkmode.files import refuse_irregular
from pip_linkmode.guard import hold_directory, open_real

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files to users"
)
CHECKOUT = Path(__file__).parents[2]
THEIRS, GROUP = 4321, 4322


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that each user can reach."""
    path = Path(tempfile.mkdtemp(prefix="guard-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


# --- reading --------------------------------------------------------------------------


def test_root_reads_with_the_rights_of_the_owner(place: Path) -> None:
    secret = place / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    with pytest.raises(PermissionError) as caught:
        open_real(str(secret), owner=THEIRS)
    assert caught.value.filename == str(secret)
    assert os.geteuid() == 0
    os.chown(secret, THEIRS, GROUP)
    with open_real(str(secret), owner=THEIRS) as file:
        assert file.read() == b"secret"
    with open_real(str(secret), owner=0) as file:
        assert file.read() == b"secret"


def test_owner_need_not_reach_the_place_of_the_environment(place: Path) -> None:
    place.chmod(0o700)
    (place / "env").mkdir()
    (place / "env" / "file").write_text("content")
    with open_real(
        str(place / "env" / "file"), owner=THEIRS, base=str(place / "env")
    ) as file:
        assert file.read() == b"content"


def test_groups_of_the_owner_count(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_groups_of", lambda _: (GROUP, [GROUP]))
    shared = place / "shared"
    shared.write_text("content")
    os.chown(shared, 0, GROUP)
    shared.chmod(0o640)
    before = os.getegid(), os.getgroups()
    with open_real(str(shared), owner=THEIRS) as file:
        assert file.read() == b"content"
    assert (os.getegid(), os.getgroups()) == before


def test_user_of_the_password_database_has_its_groups() -> None:
    primary, groups = guard._groups_of(0)
    assert primary in groups
    assert guard._groups_of(THEIRS) == (65534, [])


def test_user_that_the_namespace_does_not_have_is_not_become(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_is_mapped", lambda _: False)
    (place / "file").write_text("content")
    (place / "file").chmod(0o600)
    with open_real(str(place / "file"), owner=THEIRS) as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("part", ["directory", "file"])
def test_link_in_any_part_of_a_path_is_not_followed(place: Path, part: str) -> None:
    (place / "real").mkdir()
    (place / "real" / "file").write_text("content")
    link = place / "directory"
    link.symlink_to("real")
    (place / "real" / "link").symlink_to("file")
    path = link / "file" if part == "directory" else place / "real" / "link"
    with pytest.raises(OSError, match=r"Not a directory|Too many levels") as caught:
        open_real(str(path), owner=0)
    assert caught.value.filename == str(path)
    with pytest.raises(NotADirectoryError) as caught:
        guard.open_directory(str(link))
    assert caught.value.filename == str(link)


def test_file_that_is_swapped_for_a_pipe_is_not_read(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "file"
    path.touch()
    calls: list[str] = []

    def swap(status: os.stat_result, name: str) -> None:
        refuse_irregular(status, name)
        if not calls:
            path.unlink()
            os.mkfifo(path)
        calls.append(name)

    monkeypatch.setattr("pip_linkmode.guard.refuse_irregular", swap)
    with pytest.raises(OSError, match="Not a regular file"):
        open_real(str(path), owner=0)


# --- writing --------------------------------------------------------------------------


def test_held_directory_stays_the_same_one(place: Path) -> None:
    (place / "env").mkdir()
    (place / "outside").mkdir()
    with hold_directory(str(place / "env")) as held:
        (place / "env").rename(place / "moved")
        (place / "env").symlink_to("outside")
        Path(held, "file").touch()
    assert (place / "moved" / "file").exists()
    assert not any((place / "outside").iterdir())


def test_without_proc_a_path_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_DESCRIPTORS", "/nowhere")
    assert guard.path_of(0, "/path") == "/path"


def test_where_there_is_no_proc_all_users_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    with contextlib.ExitStack() as stack:
        stack.enter_context(monkeypatch.context()).setattr("builtins.open", fail)
        guard._is_mapped.cache_clear()
        assert guard._is_mapped(THEIRS)
    guard._is_mapped.cache_clear()
    assert guard._is_mapped(0)
