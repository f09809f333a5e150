"""The four primitives, and what happens when one of them is refused."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from pip_linkmode import files
from pip_linkmode.files import file_system
from pip_linkmode.install.rollback import Rollback
from pip_linkmode.link import filesystems
from pip_linkmode.link import linker as linker_module
from pip_linkmode.link import primitives as primitives_module
from pip_linkmode.link.attributes import give, preserved_xattrs
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.placement import why_not_shared
from pip_linkmode.link.primitives import PRIMITIVES, Link
from tests.support.house import note

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

STORE, AREA = "/store", "/area"
MTIME = 1_600_000_000 * 10**9
as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root"
)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="FICLONE is Linux's")


# --- the fallback machine, over primitives that only pretend --------------------------


class Pretence:
    """Primitives that note what they are asked for, and refuse on demand."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.errors: dict[tuple[str, str], int] = {}
        self.linker = Linker(primitives={name: self._make(name) for name in PRIMITIVES})

    def _make(self, primitive: str) -> Callable[[Link], None]:
        def perform(link: Link) -> None:
            self.calls.append((primitive, link.target))
            for key in ((primitive, link.target), (primitive, "*")):
                if key in self.errors:
                    raise OSError(self.errors[key], os.strerror(self.errors[key]))

        return perform

    def refuse(self, primitive: str, number: int, target: str = "*") -> None:
        self.errors[primitive, target] = number

    def link(
        self, *links: Link, mode: str, store: str = STORE, target_root: str = AREA
    ) -> Counter[str]:
        self.created: list[str] = []
        return self.linker.link(
            links, mode=mode, store=store, target_root=target_root, created=self.created
        )


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    monkeypatch.setattr(linker_module, "is_as_asked", lambda *_: True)
    return Pretence()


def one(target: str = "a", *, size: int = 10, wanted: int = 0o644) -> Link:
    return Link(f"{STORE}/{target}", target, size, MTIME, 0o644, wanted)


@pytest.mark.parametrize(
    ("mode", "chain"),
    [
        ("auto", ["clone", "hardlink", "copy"]),
        ("clone", ["clone", "hardlink", "copy"]),
        ("hardlink", ["hardlink", "copy"]),
        ("symlink", ["symlink", "hardlink", "copy"]),
        ("no_symlink", ["hardlink", "copy"]),
        ("hardlink_or_symlink", ["hardlink", "symlink", "copy"]),
        ("no_shared_inode", ["clone", "copy"]),
        ("copy", ["copy"]),
    ],
)
def test_chain_of_a_mode(pretence: Pretence, mode: str, chain: list[str]) -> None:
    for primitive in chain[:-1]:
        pretence.refuse(primitive, errno.EOPNOTSUPP)
    assert pretence.link(one(), mode=mode) == {"copy": 1}
    assert [primitive for primitive, _ in pretence.calls] == chain
    assert [refusal.primitive for refusal in pretence.linker.refusals.values()] == (
        chain[:-1]
    )


def test_every_chain_can_be_walked_to_its_end() -> None:
    assert {chain[-1] for chain in CHAINS.values()} == {"copy"}
    assert {name for chain in CHAINS.values() for name in chain} <= set(PRIMITIVES)


def test_first_primitive_that_works_is_used_for_all(pretence: Pretence) -> None:
    assert pretence.link(one("a"), one("b"), mode="auto") == {"clone": 2}
    assert pretence.calls == [("clone", "a"), ("clone", "b")]
    assert pretence.created == ["a", "b"]


def test_primitive_that_never_worked_is_given_up(pretence: Pretence) -> None:
    pretence.refuse("clone", errno.EXDEV)
    assert pretence.link(one("a"), one("b"), mode="auto") == {"hardlink": 2}
    assert pretence.calls == [("clone", "a"), ("hardlink", "a"), ("hardlink", "b")]
    assert not pretence.linker.exceptions


def test_what_is_given_up_stays_given_up(pretence: Pretence) -> None:
    pretence.refuse("hardlink", errno.EXDEV)
    pretence.link(one("a"), mode="hardlink")
    pretence.errors.clear()
    assert pretence.link(one("b"), mode="hardlink") == {"copy": 1}


@pytest.mark.parametrize("other", [{"target_root": "/area2"}, {"store": "/store2"}])
def test_each_pair_of_store_and_area_decides_for_itself(
    pretence: Pretence, other: dict[str, str]
) -> None:
    pretence.refuse("hardlink", errno.EXDEV)
    pretence.link(one("a"), mode="hardlink")
    pretence.errors.clear()
    assert pretence.link(one("b"), mode="hardlink", **other) == {"hardlink": 1}


def test_refusal_is_remembered_with_its_reason(pretence: Pretence) -> None:
    pretence.refuse("hardlink", errno.EXDEV)
    pretence.link(one("a"), one("b"), mode="hardlink")
    (refusal,) = pretence.linker.refusals.values()
    assert (refusal.source, refusal.target) == (STORE, AREA)
    assert refusal.error.errno == errno.EXDEV


@pytest.mark.parametrize(
    "number", sorted(linker_module.REFUSED - {errno.EMLINK, errno.EPERM})
)
def test_errors_that_mean_not_in_this_way(pretence: Pretence, number: int) -> None:
    # The two that are left out may be of the source's making, see below.
    pretence.refuse("hardlink", number)
    assert pretence.link(one(), mode="hardlink") == {"copy": 1}
    assert len(pretence.linker.refusals) == 1


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.ENOENT]
)
@pytest.mark.parametrize("proven", [True, False])
def test_errors_that_no_other_primitive_can_help(
    pretence: Pretence, number: int, proven: bool
) -> None:
    if proven:
        pretence.link(one("first"), mode="auto")
    pretence.refuse("clone", number)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        pretence.link(one("a"), one("b"), mode="auto")
    assert caught.value.errno == number
    assert pretence.created == []
    assert not pretence.linker.refusals
    assert not pretence.linker.exceptions


def test_what_was_made_before_an_error_is_known(pretence: Pretence) -> None:
    pretence.refuse("clone", errno.ENOSPC, "b")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        pretence.link(one("a"), one("b"), one("c"), mode="auto")
    assert pretence.created == ["a"]


def test_refusal_of_the_last_resort_is_an_error(pretence: Pretence) -> None:
    pretence.refuse("copy", errno.EACCES)
    with pytest.raises(PermissionError):
        pretence.link(one(), mode="copy")
    pretence.refuse("hardlink", errno.EXDEV)
    with pytest.raises(PermissionError):
        pretence.link(one(), mode="hardlink")


def test_proven_primitive_is_given_up_for_one_file_only(pretence: Pretence) -> None:
    pretence.refuse("hardlink", errno.EXDEV, "b")
    used = pretence.link(one("a"), one("b"), one("c"), mode="hardlink")
    assert used == {"hardlink": 2, "copy": 1}
    assert not pretence.linker.refusals
    assert pretence.linker.exceptions == {os.strerror(errno.EXDEV): 1}


def test_proof_is_of_one_pair_of_store_and_area(pretence: Pretence) -> None:
    pretence.link(one("a"), mode="hardlink")
    pretence.refuse("hardlink", errno.EXDEV)
    pretence.link(one("b"), mode="hardlink", target_root="/elsewhere")
    assert [refusal.target for refusal in pretence.linker.refusals.values()] == [
        "/elsewhere"
    ]


def test_too_many_links_speak_of_one_file(pretence: Pretence) -> None:
    pretence.refuse("hardlink", errno.EMLINK, "a")
    used = pretence.link(one("a"), one("b"), mode="hardlink")
    assert used == {"copy": 1, "hardlink": 1}
    assert pretence.linker.exceptions == {os.strerror(errno.EMLINK): 1}
    assert not pretence.linker.refusals


def own(tmp_path: Path, name: str) -> Link:
    source = tmp_path / name
    source.write_text("source")
    return one(name)._replace(source=str(source))


@as_root
def test_foreign_source_speaks_of_one_file(pretence: Pretence, tmp_path: Path) -> None:
    foreign = own(tmp_path, "a")
    os.chown(foreign.source, 12345, 12345)
    pretence.refuse("hardlink", errno.EPERM, "a")
    used = pretence.link(foreign, own(tmp_path, "b"), mode="hardlink")
    assert used == {"copy": 1, "hardlink": 1}
    assert pretence.linker.exceptions == {os.strerror(errno.EPERM): 1}
    assert not pretence.linker.refusals


@as_root
def test_foreign_source_that_a_symlink_shares_is_no_exception(
    pretence: Pretence, tmp_path: Path
) -> None:
    foreign = own(tmp_path, "a")
    os.chown(foreign.source, 12345, 12345)
    pretence.refuse("hardlink", errno.EPERM, "a")
    used = pretence.link(foreign, mode="hardlink_or_symlink")
    assert used == {"symlink": 1}
    assert not pretence.linker.exceptions
    assert not pretence.linker.refusals


def test_forbidden_source_of_our_own_speaks_of_all(
    pretence: Pretence, tmp_path: Path
) -> None:
    pretence.refuse("hardlink", errno.EPERM, "a")
    used = pretence.link(own(tmp_path, "a"), own(tmp_path, "b"), mode="hardlink")
    assert used == {"copy": 2}
    assert len(pretence.linker.refusals) == 1
    assert not pretence.linker.exceptions


def test_empty_files_are_made(pretence: Pretence) -> None:
    for mode in CHAINS:
        pretence.calls.clear()
        pretence.link(one("empty", size=0), mode=mode)
        assert pretence.calls == [("copy", "empty")]
        assert pretence.created == ["empty"]


def test_empty_files_are_no_verdict_on_a_mode(pretence: Pretence) -> None:
    used = pretence.link(one("empty", size=0), one("full"), mode="hardlink")
    assert used["hardlink"] == 1
    assert used["copy"] == 0
    assert not pretence.linker.exceptions


@pytest.mark.parametrize("mode", ["hardlink", "symlink", "no_symlink"])
def test_shared_inode_cannot_have_two_modes(pretence: Pretence, mode: str) -> None:
    used = pretence.link(one("a", wanted=0o600), one("b"), mode=mode)
    assert pretence.calls[0] == ("copy", "a")
    assert used["copy"] == 1
    assert sum(pretence.linker.exceptions.values()) == 1
    assert not pretence.linker.refusals


@pytest.mark.parametrize("mode", ["auto", "clone", "no_shared_inode"])
def test_clone_has_a_mode_of_its_own(pretence: Pretence, mode: str) -> None:
    assert pretence.link(one(wanted=0o600), mode=mode) == {"clone": 1}
    assert not pretence.linker.exceptions


def test_clone_or_copy_but_no_hardlink_for_another_umask(pretence: Pretence) -> None:
    pretence.refuse("clone", errno.EOPNOTSUPP)
    assert pretence.link(one(wanted=0o600), mode="auto") == {"copy": 1}


def test_copies_that_were_asked_for_are_no_exception(pretence: Pretence) -> None:
    pretence.link(one(wanted=0o600), one(size=0, wanted=0o600), mode="copy")
    assert not pretence.linker.exceptions


def test_bytes_are_counted_by_primitive(pretence: Pretence) -> None:
    pretence.refuse("hardlink", errno.EMLINK, "b")
    pretence.link(one("a", size=3), one("b", size=4), mode="hardlink")
    pretence.link(one("c", size=5), mode="hardlink")
    assert pretence.linker.bytes["hardlink"] == 8
    assert pretence.linker.bytes["copy"] == 4


def test_no_links_no_verdict(pretence: Pretence) -> None:
    assert pretence.link(mode="auto") == {}
    assert not pretence.linker.refusals


# --- the real ones --------------------------------------------------------------------


CONTENT = b"the content of the store"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    path.chmod(0o644)
    os.utime(path, ns=(MTIME, MTIME))
    return path


@pytest.fixture
def real(source: Path, tmp_path: Path) -> Link:
    target = str(tmp_path / "target")
    return Link(str(source), target, len(CONTENT), MTIME, 0o644, 0o644)


@pytest.fixture
def umask() -> Iterator[Callable[[int], object]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def perform(link: Link, mode: str, linker: Linker | None = None) -> Counter[str]:
    linker = linker or Linker()
    return linker.link([link], mode=mode, store="/s", target_root="/a", created=[])


def assert_source_untouched(source: Path) -> None:
    assert source.read_bytes() == CONTENT
    assert source.stat().st_mtime_ns == MTIME
    assert stat.S_IMODE(source.stat().st_mode) == 0o644


def test_hardlink_is_a_second_name(real: Link) -> None:
    primitives_module.hardlink(real)
    assert os.path.samestat(os.lstat(real.source), os.lstat(real.target))


def test_hardlink_does_not_follow_what_was_planted(real: Link, source: Path) -> None:
    planted = source.with_name("planted")
    planted.symlink_to(source)
    primitives_module.hardlink(real._replace(source=str(planted)))
    assert os.path.islink(real.target)
    assert source.stat().st_nlink == 1


def test_source_that_is_taken_away_refuses_no_primitive(
    real: Link, source: Path
) -> None:
    """A clean-up comes between the link and the look at it."""

    def take_away(link: Link) -> None:
        primitives_module.symlink(link)
        source.unlink()

    linker = Linker({**primitives_module.PRIMITIVES, "symlink": take_away})
    with pytest.raises(FileNotFoundError):
        perform(real, "symlink", linker)
    assert not os.path.lexists(real.target)
    assert not linker.refusals


def test_symlink_is_absolute(real: Link) -> None:
    primitives_module.symlink(real)
    assert os.readlink(real.target) == real.source


def test_copy_has_bytes_and_mtime_and_an_inode_of_its_own(
    real: Link, source: Path
) -> None:
    primitives_module.copy(real)
    status = os.lstat(real.target)
    assert stat.S_ISREG(status.st_mode)
    assert status.st_mtime_ns == MTIME
    assert status.st_ino != source.stat().st_ino
    with open(real.target, "rb") as file:
        assert file.read() == CONTENT


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o022, 0o755), (0o077, 0o711)],
)
def test_copy_has_the_mode_that_pip_gives(
    real: Link, umask: Callable[[int], object], mask: int, wanted: int
) -> None:
    umask(mask)
    primitives_module.copy(real._replace(wanted=wanted))
    assert stat.S_IMODE(os.lstat(real.target).st_mode) == wanted


def test_copy_is_finished_by_path_where_there_is_no_other_way(
    real: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(primitives_module, "_BY_DESCRIPTOR", False)
    primitives_module.copy(real._replace(wanted=0o755))
    status = os.lstat(real.target)
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o755, MTIME)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows changes files by path")
def test_copy_is_finished_whatever_is_put_in_its_place(
    real: Link, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the owner of the directory, while root writes there."""
    victim = tmp_path / "victim"
    victim.touch(0o600)
    before, copy = victim.stat(), shutil.copyfileobj

    def swap(*args: object) -> None:
        copy(*args)  # type: ignore[arg-type]  # passed on as they are
        os.rename(real.target, tmp_path / "aside")
        os.symlink(victim, real.target)

    monkeypatch.setattr(shutil, "copyfileobj", swap)
    primitives_module.copy(real._replace(wanted=0o755))
    assert victim.stat() == before
    assert (tmp_path / "aside").stat().st_mtime_ns == MTIME


def test_copy_leaves_nothing_behind_when_it_fails(real: Link) -> None:
    with pytest.raises(IsADirectoryError):
        primitives_module.copy(real._replace(source=os.path.dirname(real.source)))
    assert not os.path.lexists(real.target)


@pytest.mark.parametrize("primitive", sorted(PRIMITIVES))
def test_primitive_refuses_to_replace(
    primitive: str, real: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.platform == "linux":
        monkeypatch.setattr("fcntl.ioctl", pretend_to_clone)
    os.symlink("/nowhere", real.target)
    with pytest.raises(FileExistsError):
        PRIMITIVES[primitive](real)
    assert os.readlink(real.target) == "/nowhere"


def pretend_to_clone(target: int, request: int, source: int) -> None:
    assert request == 0x40049409
    os.write(target, os.read(source, 1 << 20))


@on_linux
@pytest.mark.parametrize(
    ("mask", "wanted"), [(0o022, 0o644), (0o022, 0o755), (0o077, 0o600)]
)
def test_clone_sets_mode_and_mtime(
    real: Link,
    monkeypatch: pytest.MonkeyPatch,
    umask: Callable[[int], object],
    mask: int,
    wanted: int,
) -> None:
    monkeypatch.setattr("fcntl.ioctl", pretend_to_clone)
    umask(mask)
    assert perform(real._replace(wanted=wanted), "clone") == {"clone": 1}
    status = os.lstat(real.target)
    assert stat.S_IMODE(status.st_mode) == wanted
    assert status.st_mtime_ns == MTIME


@on_linux
@pytest.mark.parametrize(
    "number", [errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY]
)
def test_refused_clone_leaves_no_file_behind(
    real: Link, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def ioctl(*_: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    with pytest.raises(OSError, match=os.strerror(number)):
        primitives_module.clone(real)
    assert not os.path.lexists(real.target)
    assert perform(real, "auto") == {"hardlink": 1}


@on_linux
def test_clones_close_what_they_open(
    real: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.ioctl", pretend_to_clone)
    before = os.listdir("/proc/self/fd")
    primitives_module.clone(real)
    assert len(os.listdir("/proc/self/fd")) == len(before)


# --- what a file has besides ----------------------------------------------------------


@on_linux
def test_what_a_file_was_given_is_known(source: Path) -> None:
    assert preserved_xattrs(str(source)) == {}
    given = note(source)
    assert preserved_xattrs(str(source)) == given


@on_linux
def test_where_there_are_no_attributes_a_file_has_none(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(os, "listxattr", refuse)
    assert preserved_xattrs(str(source)) == {}


@on_linux
@as_root
def test_new_file_is_dressed_as_the_old_one(source: Path, tmp_path: Path) -> None:
    given = {"security.capability": struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)}
    new, old = tmp_path / "new", os.stat_result((0o100755, 0, 0, 1, 123, 456, *[0] * 4))
    shutil.copy(source, new)
    give(str(new), 0o750, (old.st_uid, old.st_gid), given)
    status = new.stat()
    assert (status.st_uid, status.st_gid) == (123, 456)
    assert stat.S_IMODE(status.st_mode) == 0o750
    assert preserved_xattrs(str(new)) == given


@pytest.mark.skipif(sys.platform == "win32", reason="Windows changes files by path")
@pytest.mark.parametrize("plant", [os.symlink, os.link])
def test_what_was_put_in_the_place_of_the_new_one_is_not_dressed(
    source: Path, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    before = source.stat()
    plant(source, tmp_path / "new")
    with pytest.raises(OSError, match=r"Too many levels|Stale"):
        give(str(tmp_path / "new"), 0o777, (0, 0), {})
    assert source.stat().st_mode == before.st_mode


# --- what is in the way, and what came out --------------------------------------------


def in_the_way_file(target: str, _: Path) -> None:
    with open(target, "w", encoding="ascii") as file:
        file.write("old")


def in_the_way_dangling(target: str, source: Path) -> None:
    os.symlink(source.with_name("nowhere"), target)


def in_the_way_symlink(target: str, source: Path) -> None:
    os.symlink(source, target)


def in_the_way_hardlink(target: str, source: Path) -> None:
    os.link(source, target)


def in_the_way_link_to_directory(target: str, source: Path) -> None:
    os.symlink(source.parent, target)


@pytest.mark.parametrize("mode", ["clone", "hardlink", "symlink", "copy"])
@pytest.mark.parametrize(
    "obstruct",
    [
        in_the_way_file,
        in_the_way_dangling,
        in_the_way_symlink,
        in_the_way_hardlink,
        in_the_way_link_to_directory,
    ],
)
def test_what_is_in_the_way_is_replaced_and_not_written_through(
    real: Link,
    source: Path,
    mode: str,
    obstruct: Callable[[str, Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if sys.platform == "linux":
        monkeypatch.setattr("fcntl.ioctl", pretend_to_clone)
    obstruct(real.target, source)
    assert perform(real, mode)[mode] == 1
    assert_source_untouched(source)
    assert not os.path.lexists(source.with_name("nowhere"))
    status = os.lstat(real.target)
    assert stat.S_ISLNK(status.st_mode) is (mode == "symlink")
    assert os.path.samestat(status, source.stat()) is (mode == "hardlink")
    with open(real.target, "rb") as file:
        assert file.read() == CONTENT


def test_empty_file_replaces_too(real: Link, source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    os.symlink(source, real.target)
    perform(real._replace(source=str(empty), size=0), "symlink")
    assert stat.S_ISREG(os.lstat(real.target).st_mode)
    assert os.path.getsize(real.target) == 0
    assert_source_untouched(source)


def test_directory_in_the_way_is_an_error(real: Link) -> None:
    os.mkdir(real.target)
    with pytest.raises(OSError, match=r"target"):
        perform(real, "copy")
    assert os.path.isdir(real.target)


def faked(**primitives: Callable[[Link], None]) -> Linker:
    return Linker(primitives={**PRIMITIVES, **primitives})


@pytest.mark.parametrize(
    ("mode", "fake"),
    [
        ("hardlink", primitives_module.symlink),
        ("hardlink", primitives_module.copy),
        ("symlink", primitives_module.copy),
    ],
)
def test_what_came_out_must_be_what_was_asked_for(
    real: Link, source: Path, mode: str, fake: Callable[[Link], None]
) -> None:
    linker = faked(**{mode: fake})
    next_one = CHAINS[mode][1]
    assert perform(real, mode, linker) == {next_one: 1}
    (refusal,) = linker.refusals.values()
    assert refusal.primitive == mode
    assert mode in str(refusal.error.strerror)
    assert os.path.samefile(real.target, source) == (mode == "symlink")
    assert not os.path.islink(real.target)


def test_clone_of_nothing_is_no_clone(real: Link) -> None:
    def make_nothing(link: Link) -> None:
        os.close(os.open(link.target, os.O_CREAT | os.O_EXCL))

    assert perform(real, "auto", faked(clone=make_nothing)) == {"hardlink": 1}


def test_short_copy_is_an_error(real: Link) -> None:
    with pytest.raises(OSError, match="not a copy"):
        perform(real._replace(size=len(CONTENT) + 1), "copy")
    assert not os.path.lexists(real.target)


# --- what was made is taken back ------------------------------------------------------


def test_take_back_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "old").touch()
    created = Rollback()
    for below in ("there/new/deep", "there/new", "there", "other"):
        created.directory(str(tmp_path / below))
    for file in ("there/file", "there/new/deep/file"):
        (tmp_path / file).touch()
        created.files.append(str(tmp_path / file))
    (tmp_path / "other" / "of someone else").touch()
    created.undo()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "of someone else",
        "old",
        "other",
        "there",
    ]
    assert (created.files, created.directories) == ([], [])


def test_take_back_bears_what_is_gone_already(tmp_path: Path) -> None:
    created = Rollback([str(tmp_path / "gone")], [str(tmp_path / "gone too")])
    created.undo()
    assert created.files == []


def test_take_back_removes_links_and_not_what_they_lead_to(
    real: Link, source: Path
) -> None:
    created = Rollback()
    for mode in ("symlink", "hardlink"):
        Linker().link(
            [real], mode=mode, store="/s", target_root="/a", created=created.files
        )
    created.undo()
    assert not os.path.lexists(real.target)
    assert_source_untouched(source)


def test_directory_may_exist_as_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    created = Rollback()
    created.directory(str(tmp_path / "link"))
    assert created.directories == []


@pytest.mark.parametrize("below", ["", "/below", "/far/below"])
def test_directory_is_not_made_in_the_place_of_a_file(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises((FileExistsError, NotADirectoryError)):
        Rollback().directory(f"{tmp_path}/file{below}")


def test_directory_is_not_made_through_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        Rollback().directory(str(tmp_path / "link" / "below"))
    assert not (tmp_path / "nowhere").exists()


# --- names of file systems ------------------------------------------------------------


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 22 0:5 / /data rw - btrfs /dev/sdb rw
31 30 0:6 / /data/deep rw shared:2 master:3 - xfs /dev/sdc rw
32 22 0:7 / /with\040space rw - zfs pool rw
33 22 0:8 / /twice rw - ext2 /dev/sdd rw
34 22 0:9 / /twice rw - overlay overlay rw
""".lstrip()


def having(monkeypatch: pytest.MonkeyPatch, mounts: Sequence[str] | OSError) -> None:
    def fake(path: str, **_: str) -> io.StringIO:
        assert path == "/proc/self/mountinfo"
        if isinstance(mounts, OSError):
            raise mounts
        return io.StringIO("".join(mounts))

    monkeypatch.setattr(files, "open", fake, raising=False)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "ext4"),
        ("/database", "ext4"),
        ("/data", "btrfs"),
        ("/data/deeper", "btrfs"),
        ("/data/deep/er", "xfs"),
        ("/with space/x", "zfs"),
        ("/twice/x", "overlay"),
    ],
)
def test_file_system_of_the_longest_and_last_mount(
    monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    having(monkeypatch, MOUNTS)
    assert file_system(path) == name


def test_unknown_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    having(monkeypatch, FileNotFoundError())
    assert file_system("/") == "another file system"


@on_linux
def test_file_system_of_this_machine() -> None:
    assert file_system("/proc") == "proc"


# --- what cannot be shared ------------------------------------------------------------


def test_a_plain_directory_shares(tmp_path: Path) -> None:
    assert why_not_shared(str(tmp_path)) is None


def test_a_directory_that_gives_its_group_does_not_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o2755)
    assert why_not_shared(str(tmp_path)) is None
    monkeypatch.setattr(os, "getegid", lambda: tmp_path.stat().st_gid + 1)
    assert (
        why_not_shared(str(tmp_path)) == "the directory gives its files its own group"
    )


def test_a_directory_with_a_default_acl_does_not_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def getxattr(path: str, name: str) -> bytes:
        asked.append((path, name))
        return b"x"

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert why_not_shared(str(tmp_path)) == "the directory has a default ACL"
    assert asked == [(str(tmp_path), "system.posix_acl_default")]


# --- what works, by trying ------------------------------------------------------------


def test_each_primitive_is_tried_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_text("content")

    def refuse(link: Link) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), link.target)

    monkeypatch.setitem(PRIMITIVES, "clone", refuse)
    monkeypatch.setitem(PRIMITIVES, "hardlink", PRIMITIVES["copy"])
    (tmp_path / "area").mkdir()
    assert primitives_module.probe(str(source), str(tmp_path / "area")) == {
        "clone": f"{source} and {tmp_path / 'area'} are on two mounts of one file "
        f"system ({file_system(str(tmp_path))})",
        "hardlink": "the result is not a hardlink",
        "symlink": None,
        "copy": None,
    }
    assert os.listdir(tmp_path / "area") == []


# --- where files are on the disk ------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "clones", "tells_inodes"),
    [("ext4", False, True), ("btrfs", True, True), ("nfs4", False, False)],
)
def test_what_to_reckon_with_is_known_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, clones: bool, tells_inodes: bool
) -> None:
    monkeypatch.setattr(filesystems, "file_system", lambda _: name)
    found = filesystems.sharing("/somewhere")
    assert (found.clones, found.tells_inodes) == (clones, tells_inodes)


class Disk:
    """Answers FIEMAP from a list of extents, as many at a time as are asked for."""

    def __init__(self, *extents: tuple[int, int, int, int]) -> None:
        self._extents = extents
        self.flags: list[int] = []

    def ioctl(self, descriptor: int, request: int, room: bytearray) -> None:
        del descriptor
        assert request == 0xC020660B
        header, extent = filesystems._FIEMAP_HEADER, filesystems._FIEMAP_EXTENT
        offset, length, flags, _, count, _ = header.unpack_from(room)
        self.flags.append(flags)
        found = [one for one in self._extents if one[0] >= offset][:count]
        header.pack_into(room, 0, offset, length, flags, len(found), count, 0)
        for index, (logical, start, size, flag) in enumerate(found):
            if flags:
                flag &= ~filesystems._UNKNOWN  # noqa: PLW2901  # written out by now
            place = header.size + index * extent.size
            extent.pack_into(room, place, logical, start, size, 0, 0, flag, 0, 0, 0)


def extents_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Disk
) -> list[filesystems.Extent] | None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("fcntl.ioctl", disk.ioctl)
    return filesystems.extents(str(tmp_path / "file"))


@on_linux
def test_extents_of_a_file_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk((0, 4096, 100, 0x2000), (100, 9000, 50, 0x8), (150, 0, 7, 0x201))
    assert extents_of(tmp_path, monkeypatch, disk) == [
        (4096, 100, False, True),
        (9000, 50, True, False),
        (None, 7, False, False),
    ]
    assert disk.flags == [0]


@on_linux
def test_extents_are_asked_for_until_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(*((number, number * 10, 1, 0) for number in range(100)))
    found = extents_of(tmp_path, monkeypatch, disk)
    assert [extent.start for extent in found or ()] == [n * 10 for n in range(100)]
    assert len(disk.flags) == 3


@on_linux
def test_what_is_not_written_out_yet_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk((0, 4096, 100, 0x7))
    found = extents_of(tmp_path, monkeypatch, disk)
    assert found == [(4096, 100, False, False)]
    assert disk.flags == [0, 1]


@on_linux
def test_extents_that_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    disk = Disk()
    monkeypatch.setattr(disk, "ioctl", refuse)
    assert extents_of(tmp_path, monkeypatch, disk) is None
    assert filesystems.extents(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("proven", [False, True])
@pytest.mark.parametrize("mode", ["hardlink", "symlink", "copy"])
def test_what_has_replaced_a_file_is_not_taken_back(
    real: Link, tmp_path: Path, mode: str, proven: bool
) -> None:
    """It could not be put back; but a link that may dangle would be written through."""
    linker, created = Linker(), Rollback()
    other = real._replace(target=str(tmp_path / "other"))
    if proven:
        linker.link([other], mode=mode, store="/s", target_root="/a", created=[])
    in_the_way_file(real.target, tmp_path)
    linker.link([real], mode=mode, store="/s", target_root="/a", created=created.files)
    created.undo()
    assert os.path.lexists(real.target) == (mode != "symlink")


@pytest.mark.parametrize(
    ("primitive", "number", "reason"),
    [
        ("clone", errno.EOPNOTSUPP, "ext4 cannot clone"),
        ("hardlink", errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP)),
        ("copy", errno.EROFS, "/env is on a read-only mount"),
        (
            "hardlink",
            errno.EXDEV,
            "the store is on another file system (xfs, not ext4)",
        ),
    ],
)
def test_reason_of_a_refusal_names_the_file_system(
    monkeypatch: pytest.MonkeyPatch, primitive: str, number: int, reason: str
) -> None:
    names = {"/store": "xfs", "/env": "ext4"}
    monkeypatch.setattr(filesystems, "file_system", names.__getitem__)
    error = OSError(number, os.strerror(number))
    assert filesystems.why_refused(primitive, error, "/store", "/env") == reason
