"""Directories above a store, in which other users may rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.errors import StoreRefusedError
from pip_linkmode.store import parents
from pip_linkmode.store.parents import weak_directory
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files to users"
)
CHECKOUT = Path(__file__).parents[3]
THEIRS, GROUP = 4321, 4322


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that each user can reach."""
    path = Path(tempfile.mkdtemp(prefix="parents-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def give(path: Path) -> None:
    os.chown(path, THEIRS, GROUP)


def open_to_all(path: Path) -> None:
    path.chmod(0o777)


def open_to_a_group(path: Path) -> None:
    os.chown(path, 0, GROUP)
    path.chmod(0o775)


def make_sticky(path: Path) -> None:
    os.chown(path, 0, GROUP)
    path.chmod(0o1777)


WEAK = pytest.mark.parametrize(
    ("weaken", "reason", "remedy"),
    [
        (give, f"belongs to user {THEIRS}", "chown root {}"),
        (open_to_all, "can be written to by all users", "chmod o-w {}"),
        (open_to_a_group, f"can be written to by the group {GROUP}", "chmod g-w {}"),
    ],
)


@WEAK
@pytest.mark.parametrize("depth", [0, 1])
def test_directory_in_which_others_rename_is_weak(
    place: Path, weaken: Callable[[Path], None], reason: str, remedy: str, depth: int
) -> None:
    path = place / "data" / "below" / "store"
    path.mkdir(parents=True)
    directory = path.parents[depth]
    assert weak_directory(str(path)) is None
    weaken(directory)
    found = weak_directory(str(path))
    assert found == (str(directory), reason, remedy.format(directory))
    subprocess.run(found.remedy, shell=True, check=True)
    assert weak_directory(str(path)) is None


@WEAK
def test_store_below_a_weak_directory_is_refused(
    place: Path, weaken: Callable[[Path], None], reason: str, remedy: str
) -> None:
    (place / "data").mkdir()
    root = place / "data" / "store"
    weaken(place / "data")
    with pytest.raises(StoreRefusedError, match=reason) as caught:
        Store.open(str(root))
    assert f"`{remedy.format(place / 'data')}`" in str(caught.value)
    assert not root.exists()
    root.mkdir()
    with pytest.raises(StoreRefusedError, match=reason):
        Store.open(str(root))


def test_trusted_group_may_write_above_a_store(place: Path) -> None:
    (place / "data").mkdir()
    open_to_a_group(place / "data")
    with pytest.raises(StoreRefusedError, match="--link-trust-group"):
        Store.open(str(place / "data" / "store"))
    Store.open(str(place / "data" / "store"), trust_group=True)


def test_sticky_directory_is_safe_unless_the_next_part_is_of_another_user(
    place: Path,
) -> None:
    make_sticky(place)
    path = place / "mine" / "store"
    assert weak_directory(str(path)) is None
    path.mkdir(parents=True)
    assert weak_directory(str(path)) is None
    link = place / "link"
    link.symlink_to("mine")
    assert weak_directory(str(link / "store")) is None
    os.lchown(link, THEIRS, GROUP)
    found = weak_directory(str(link / "store"))
    assert found == (str(link), f"belongs to user {THEIRS}", f"chown -h root {link}")


@pytest.mark.parametrize("to", ["{}/weak", "weak", "./sub/../weak"])
def test_directories_behind_a_link_are_checked(place: Path, to: str) -> None:
    (place / "weak" / "store").mkdir(parents=True)
    (place / "sub").mkdir()
    (place / "link").symlink_to(to.format(place))
    open_to_all(place / "weak")
    found = weak_directory(str(place / "link" / "store"))
    assert found is not None
    assert found.path == str(place / "weak")


def test_links_in_a_circle_are_refused(place: Path) -> None:
    (place / "link").symlink_to("link")
    with pytest.raises(OSError, match="Too many levels") as caught:
        weak_directory(str(place / "link" / "store"))
    assert caught.value.errno == errno.ELOOP


def test_store_whose_parents_cannot_be_checked_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("pip_linkmode.store.trust.weak_directory", fail)
    with pytest.raises(StoreRefusedError, match="cannot be checked"):
        Store.open(str(place / "store"))


def test_owner_of_a_read_only_store_is_trusted(place: Path) -> None:
    (place / "data" / "store").mkdir(parents=True)
    give(place / "data")
    assert weak_directory(str(place / "data" / "store")) is not None
    assert weak_directory(str(place / "data" / "store"), owners=[THEIRS]) is None


# --- private groups, and user namespaces ----------------------------------------------

CHECK = """
import sys
sys.path.insert(0, sys.argv[2])
from pip_linkmode.store.store import Store
Store.open(sys.argv[1])
"""


def interpreter() -> str:
    """Return an interpreter that each user can start."""
    for path in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            subprocess.run([path, "-I", "-c", ""], user=THEIRS, check=True)
            return path
    pytest.skip("no interpreter that another user can start")


def run_as_user(
    path: Path, *before: str, umask: int = 0o022
) -> subprocess.CompletedProcess[str]:
    """Open a store as a user without a name, after some command."""
    package = path.parent / "package"
    shutil.copytree(CHECKOUT / "pip_linkmode", package / "pip_linkmode")
    # The user cannot write the data of a measurement.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")}
    return subprocess.run(
        [*before, interpreter(), "-I", "-c", CHECK, path, package],
        env=kept,
        user=THEIRS,
        group=THEIRS,
        extra_groups=[],
        umask=umask,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture
def home(place: Path) -> Path:
    """A home directory as under umask 002."""
    path = place / "home"
    (path / ".cache").mkdir(parents=True)
    for one in (path, path / ".cache"):
        os.chown(one, THEIRS, THEIRS)
        one.chmod(0o775)
    return path


def test_private_group_of_the_user_may_write(home: Path) -> None:
    result = run_as_user(home / ".cache" / "store", umask=0o002)
    assert (result.returncode, result.stderr) == (0, "")
    os.chown(home / ".cache", THEIRS, GROUP)
    shutil.rmtree(home / ".cache" / "package")
    result = run_as_user(home / ".cache" / "store")
    assert f"can be written to by the group {GROUP}" in result.stderr


def test_store_is_accepted_in_a_user_namespace(home: Path) -> None:
    namespace = ("unshare", "--user", "--map-root-user")
    try:
        subprocess.run(
            [*namespace, "true"], user=THEIRS, check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no user namespaces here: {error}")
    (home / ".cache").chmod(0o755)
    home.chmod(0o755)
    result = run_as_user(home / ".cache" / "store", *namespace)
    assert (result.returncode, result.stderr) == (0, "")


class Account:
    """An entry of the password or group database."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


@pytest.mark.parametrize(
    ("members", "other", "shell", "alone"),
    [
        ([], 9, "/bin/sh", True),
        (["me"], 9, "/bin/sh", True),
        (["me", "you"], 9, "/bin/sh", False),
        ([], GROUP, "/bin/sh", False),
        ([], GROUP, "/usr/sbin/nologin", True),
    ],
)
def test_group_is_private_if_no_other_user_is_in_it(
    monkeypatch: pytest.MonkeyPatch,
    members: list[str],
    other: int,
    shell: str,
    *,
    alone: bool,
) -> None:
    me = Account(pw_name="me", pw_uid=0, pw_gid=GROUP, pw_shell="/bin/sh")
    you = Account(pw_name="you", pw_uid=7, pw_gid=other, pw_shell=shell)
    monkeypatch.setattr("pwd.getpwuid", lambda _: me)
    monkeypatch.setattr("pwd.getpwall", lambda: [me, you])
    monkeypatch.setattr("grp.getgrgid", lambda _: Account(gr_mem=members))
    parents._is_alone_in.cache_clear()
    try:
        assert parents._is_alone_in(GROUP) is alone
        assert not parents._is_alone_in(GROUP + 1)
    finally:
        parents._is_alone_in.cache_clear()


def test_names_of_users_and_groups_are_said() -> None:
    assert parents._user_name(0) == "the user root"
    assert parents._user_name(THEIRS) == f"user {THEIRS}"
    assert parents._group_name(0) == "root"
    assert parents._group_name(GROUP) == str(GROUP)


def test_where_there_is_no_proc_there_is_no_user_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", fail)
        assert parents._overflow_user() == set()
