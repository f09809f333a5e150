"""A new file that replaces an old one: its owner, its mode, and its place."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import sys
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.files import TEMPORARY
from pip_linkmode.link.attributes import preserved_xattrs
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.link.replace import ConcurrentChangeError, Replacer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="gives files to users"
)
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file with privileges."""
    path = tmp_path / "old"
    path.write_text("old")
    os.chown(path, 123, 456)
    path.chmod(0o6755)
    os.setxattr(path, "security.capability", CAPABILITY)
    return path


@pytest.fixture
def link(tmp_path: Path, old: Path) -> Link:
    """A link with other bytes in its source."""
    source = tmp_path / "source"
    source.write_text("new")
    return Link(str(source), str(old), 3, 10**18, 0o644, 0o6755)


def test_other_content_gets_no_privileges(link: Link, old: Path) -> None:
    os.setxattr(old, "user.note", b"mine")
    Replacer(Linker()).replace(link, old.lstat(), mode="copy", owner=(7, 8))
    status = old.lstat()
    assert (status.st_uid, status.st_gid) == (7, 8)
    assert stat.S_IMODE(status.st_mode) == 0o755
    assert preserved_xattrs(str(old)) == {"user.note": b"mine"}


def test_new_file_gets_the_owner_of_its_environment(link: Link, old: Path) -> None:
    old.unlink()
    Replacer(Linker()).replace(link, None, mode="copy", owner=(7, 8))
    status = old.lstat()
    assert (status.st_uid, status.st_gid) == (7, 8)
    assert stat.S_IMODE(status.st_mode) == 0o755


def test_same_content_keeps_what_it_has(link: Link, old: Path) -> None:
    Replacer(Linker()).replace(link, old.lstat(), mode="copy")
    status = old.lstat()
    assert (status.st_uid, status.st_gid) == (123, 456)
    assert stat.S_IMODE(status.st_mode) == 0o6755
    assert preserved_xattrs(str(old)) == {"security.capability": CAPABILITY}


def test_bytes_of_a_changed_file_get_nothing(
    link: Link, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may start the temporary file while it exists."""
    before = old.lstat()
    old.write_text("other")

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("pip_linkmode.link.replace.give", refuse)
    with pytest.raises(ConcurrentChangeError):
        Replacer(Linker()).replace(link, before, mode="copy")


def test_held_directory_is_written_to_and_named_in_errors(
    link: Link, old: Path, tmp_path: Path
) -> None:
    held = tmp_path / "held"

    @contextlib.contextmanager
    def hold(path: str) -> Iterator[str]:
        assert path == str(old)
        yield str(held / "old")

    with pytest.raises(FileNotFoundError) as caught:
        Replacer(Linker()).replace(link, old.lstat(), mode="copy", hold=hold)
    assert caught.value.filename == str(old)
    held.mkdir()
    Replacer(Linker()).replace(link, None, mode="copy", hold=hold)
    assert (held / "old").read_text() == "new"
    assert old.read_text() == "old"
    assert not list(tmp_path.rglob(f"{TEMPORARY}*"))
