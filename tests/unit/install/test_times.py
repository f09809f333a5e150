"""Private files have the time of installation, and valid bytecode."""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.install import times as times_module
from pip_linkmode.link.primitives import PRIMITIVES, Link
from tests.support.wheels import make_wheel
from tests.unit.install.test_session import (
    BULK,
    COMPILED,
    Bench,
    assert_valid_bytecode,
    bench,
    umask,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("bench", "umask")  # fixtures
DATA, SINGLE, MODULE = "lib/package/data", "lib/single.py", "lib/package/module.py"
EMPTY = "lib/package/__init__.py"


def mtime(bench: Bench, path: str) -> int:
    return (bench.env / path).stat().st_mtime_ns


def old(bench: Bench) -> int:
    return bench.entry().mtime * 10**9


@pytest.fixture
def later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> int:
    """The time of an installation long after the wheel was unpacked."""
    bench.run(pycompile=True)
    for path in bench.tree():
        (bench.env / path).unlink()
    now = (bench.entry().mtime + 5000) * 10**9 + 123_456_789
    monkeypatch.setattr(time, "time_ns", lambda: now)
    return now


def fake_clone(link: Link) -> None:
    PRIMITIVES["copy"](link)


def test_copies_have_the_time_of_installation(bench: Bench, later: int) -> None:
    bench.run(bench.settings("copy"), pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)
    assert {mtime(bench, path) for path in bench.tree()} == {later}
    assert_valid_bytecode(bench)
    bench.entry().check()


def test_bytecode_is_the_same_but_for_the_time(bench: Bench, later: int) -> None:
    bench.run(bench.settings("copy"), pycompile=True)
    for path in COMPILED:
        ours = (bench.env / path).read_bytes()
        name = os.path.basename(path).replace(f".{sys.implementation.cache_tag}", "")
        (stored,) = bench.store.glob(f"v1/wheels/*/*/bytecode/*/**/{name}")
        theirs = stored.read_bytes()
        assert ours[8:12] == (later // 10**9).to_bytes(4, "little")
        assert ours[:8] + ours[12:] == theirs[:8] + theirs[12:]


def test_bytecode_with_a_hash_stays_as_it_is(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    bench.run(bench.settings("copy"), pycompile=True)
    now = old(bench) + 10**12
    monkeypatch.setattr(time, "time_ns", lambda: now)
    bench.run(bench.settings("copy"), pycompile=True)
    (stored,) = bench.store.glob("v1/wheels/*/*/bytecode/*/single.pyc")
    assert (bench.env / COMPILED[0]).read_bytes() == stored.read_bytes()
    assert {mtime(bench, path) for path in bench.tree()} == {now}


def test_clones_without_bytecode_have_the_time_of_installation(
    bench: Bench, later: int
) -> None:
    """To change the time in a clone's header would cost a block."""
    bench.primitives["clone"] = fake_clone
    bench.run(bench.settings("clone"), pycompile=True)
    times = {path: mtime(bench, path) for path in bench.tree()}
    assert times[DATA] == times["share/data"] == later
    assert times[SINGLE] == times[MODULE] == times[EMPTY] == old(bench)
    assert_valid_bytecode(bench)


@pytest.mark.parametrize("mode", ["clone", "copy"])
def test_sources_that_are_not_compiled_have_the_time_of_installation(
    bench: Bench, later: int, mode: str
) -> None:
    bench.primitives["clone"] = fake_clone
    bench.run(bench.settings(mode), pycompile=False)
    assert {mtime(bench, path) for path in bench.tree()} == {later}


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_shared_files_keep_their_time(bench: Bench, later: int, mode: str) -> None:
    bench.run(bench.settings(mode), pycompile=True)
    times = {mtime(bench, path) for path in set(bench.tree()) - set(COMPILED)}
    assert times == {old(bench)}
    assert later not in times
    assert_valid_bytecode(bench)
    bench.entry().check()


def refuse(bench: Bench, primitive: str, refused: Callable[[Link], bool]) -> None:
    def perform(link: Link) -> None:
        if refused(link):
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK), link.target)
        PRIMITIVES[primitive](link)

    bench.primitives[primitive] = perform


@pytest.mark.parametrize("copied", ["both", "source", "bytecode"])
def test_private_source_of_shared_bytecode_keeps_its_time(
    bench: Bench, later: int, copied: str
) -> None:
    def is_copied(link: Link) -> bool:
        name = os.path.basename(link.target)
        is_bytecode = name.endswith(".pyc")
        kind = "bytecode" if is_bytecode else "source"
        return name.startswith("single") and copied in ("both", kind)

    refuse(bench, "hardlink", is_copied)
    bench.run(bench.settings("hardlink"), pycompile=True)
    assert (mtime(bench, SINGLE) == later) == (copied == "both")
    assert_valid_bytecode(bench)
    bench.entry().check()
    (stored,) = bench.store.glob("v1/wheels/*/*/bytecode/*/single.pyc")
    assert stored.read_bytes()[8:12] == bench.entry().mtime.to_bytes(4, "little")


def test_copies_instead_of_links_have_the_time_of_installation(
    bench: Bench, later: int
) -> None:
    refuse(bench, "hardlink", lambda _: True)
    bench.run(bench.settings("hardlink"), pycompile=True)
    assert {mtime(bench, path) for path in bench.tree()} == {later}
    assert_valid_bytecode(bench)


def test_bytecode_of_the_wheel_is_not_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"\0" * 32
    files: dict[str, bytes | str] = {"pkg/a.py": "x = 1\n", "pkg/a.pyc": content}
    wheel = make_wheel(bench.root, "pkg", files=files)
    monkeypatch.setattr(time, "time_ns", lambda: 2 * 10**18)
    bench.run(bench.settings("copy"), wheel=wheel, name="pkg", pycompile=True)
    assert (bench.site_packages / "pkg/a.pyc").read_bytes() == content
    assert mtime(bench, "lib/pkg/a.pyc") == 2 * 10**18


def test_file_that_may_not_be_written_to_keeps_the_old_time(
    bench: Bench, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, _: int) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(times_module, "_renew_bytecode", refuse)
    session = bench.run(bench.settings("copy"), pycompile=True)
    assert session.summary.left_to_pip == 0
    assert mtime(bench, SINGLE) == old(bench)
    assert mtime(bench, DATA) == later
    assert_valid_bytecode(bench)
