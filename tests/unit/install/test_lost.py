"""Symlinks that programs cannot follow are reported."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments.symlinks import dangling
from pip_linkmode.install.lost import lost_packages, why_unreachable
from tests.unit.install.test_session import Bench, bench, said, umask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ("bench", "said", "umask")  # fixtures
SHA256 = "a" * 64


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    path = tmp_path / "site-packages"
    path.mkdir()
    return path


def add(site_packages: Path, store: Path, name: str, file: str = "__init__.py") -> Path:
    """Install a package by one symlink; return the stored file."""
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    source = store / f"v1/wheels/{sha256[:2]}/{sha256}/files/{name}/{file}"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text("x = 1\n")
    (site_packages / name).mkdir()
    (site_packages / name / file).symlink_to(source)
    return source


def test_packages_of_a_lost_store_are_counted(
    site_packages: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for name in ("one", "two", "three"):
        add(site_packages, store, name)
    (site_packages / "three" / "more.py").symlink_to("/nowhere")
    assert dangling(str(site_packages)) == {}
    store.rename(tmp_path / "moved")
    assert dangling(str(site_packages)) == {str(store): 3}


def test_package_without_a_file_of_its_own_is_counted(
    site_packages: Path, tmp_path: Path
) -> None:
    """A namespace package, and one whose ``__init__.py`` is empty, so not shared."""
    store = tmp_path / "store"
    add(site_packages, store, "namespace", "module.py")
    add(site_packages, store, "empty", "module.py")
    (site_packages / "empty" / "__init__.py").touch()
    (site_packages / "namespace" / "directory").mkdir()
    shutil.rmtree(store)
    assert dangling(str(site_packages)) == {str(store): 2}


def test_wheel_with_two_directories_is_counted_once(
    site_packages: Path, tmp_path: Path
) -> None:
    """As numpy and numpy.libs are."""
    source = add(site_packages, tmp_path / "store", "one")
    (site_packages / "one.libs").mkdir()
    (site_packages / "one.libs" / "library").symlink_to(source)
    source.unlink()
    assert dangling(str(site_packages)) == {str(tmp_path / "store"): 1}


def test_package_of_which_one_entry_is_lost(
    site_packages: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    add(site_packages, store, "one")
    add(site_packages, store, "two").unlink()
    assert dangling(str(site_packages)) == {str(store): 1}


def test_other_links_and_files_are_not_counted(site_packages: Path) -> None:
    for name in ("foreign", "real", "pkg-1.0.dist-info", "__pycache__"):
        (site_packages / name).mkdir()
    (site_packages / "foreign" / "__init__.py").symlink_to("/nowhere/at/all")
    (site_packages / "real" / "__init__.py").write_text("x = 1\n")
    (site_packages / "real" / "module.py").symlink_to("/nowhere")
    (site_packages / "module.py").symlink_to(f"/s/v1/wheels/aa/{SHA256}/files/x.py")
    assert dangling(str(site_packages)) == {}
    assert dangling(str(site_packages / "nothing")) == {}


def test_look_costs_milliseconds(site_packages: Path, tmp_path: Path) -> None:
    """20 ms for 400 distributions; of the processor, since a test machine is busy."""
    for number in range(400):
        add(site_packages, tmp_path / "store", f"package{number}")
        (site_packages / f"package{number}-1.0.dist-info").mkdir()
    best = min(_timed(site_packages) for _ in range(10))
    assert best < 0.02


def _timed(site_packages: Path) -> float:
    start = time.process_time()
    dangling(str(site_packages))
    return time.process_time() - start


@pytest.fixture
def here(site_packages: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The running environment."""
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(site_packages))
    return site_packages


def test_warning_names_the_store_and_the_command(here: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("one", "two"):
        add(here, store, name)
    assert list(lost_packages()) == []
    shutil.rmtree(store)
    (warning,) = lost_packages()
    pip = f"{sys.executable} -m pip"
    assert warning == (
        f"2 packages of this environment are symlinks into {store}, which does not "
        f"exist. Mount it, or run: {pip} freeze > lost.txt && {pip} install "
        "--force-reinstall --no-deps -r lost.txt"
    )


def test_warning_of_one_package_of_a_store_that_is_there(
    here: Path, tmp_path: Path
) -> None:
    add(here, tmp_path / "store", "one").unlink()
    (warning,) = lost_packages()
    assert warning.startswith("1 package of this environment is a symlink into ")
    assert f"{tmp_path / 'store'}, which lacks their files. Run: " in warning


def test_each_directory_of_packages_is_looked_at_once(
    site_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``lib64`` may be a directory of its own, or a symlink to ``lib``."""
    paths = {key: tmp_path / key for key in ("purelib", "platlib")}
    monkeypatch.setattr(sysconfig, "get_path", lambda key: str(paths[key]))
    paths["purelib"].symlink_to(site_packages)
    paths["platlib"].mkdir()
    add(site_packages, tmp_path / "store", "one").unlink()
    add(paths["platlib"], tmp_path / "store", "two").unlink()
    assert len(list(lost_packages())) == 2
    shutil.rmtree(paths["platlib"])
    paths["platlib"].symlink_to(site_packages)
    assert len(list(lost_packages())) == 1


def test_interpreter_is_quoted_for_the_shell(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(here, tmp_path / "store", "one").unlink()
    monkeypatch.setattr(sys, "executable", "/my programs/python")
    (warning,) = lost_packages()
    assert warning.count("'/my programs/python' -m pip") == 2


# --- stores that other users cannot reach ---------------------------------------------


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that all users can reach, as those of pytest are not."""
    from pathlib import Path  # noqa: PLC0415  # only here at run time

    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_store_in_a_closed_home(public: Path) -> None:
    store, home = public / "home" / "store", public / "home"
    site_packages = public / "environment" / "site-packages"
    for path in (store, site_packages):
        path.mkdir(parents=True)
    assert why_unreachable(str(store), str(site_packages)) is None
    home.chmod(0o700)
    reason = why_unreachable(str(store), str(site_packages)) or ""
    assert reason.startswith(f"other users cannot reach {store}: {home} has no search")
    home.chmod(0o711)
    assert why_unreachable(str(store), str(site_packages)) is None
    store.chmod(0o700)
    assert f"{store} has no search" in (
        why_unreachable(str(store), str(site_packages)) or ""
    )
    home.chmod(0o700)
    link = public / "link"
    link.symlink_to(store)
    # The first closed directory is named, wherever a symlink leads.
    assert f": {home} has no search" in (
        why_unreachable(str(link), str(site_packages)) or ""
    )
    # The environment is closed as well.
    site_packages.parent.chmod(0o700)
    assert why_unreachable(str(store), str(site_packages)) is None


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root"
)
def test_oracle_another_user_cannot_read_through_such_a_link(public: Path) -> None:
    (public / "home").mkdir(mode=0o700)
    (public / "home" / "file").write_text("x")
    (public / "link").symlink_to(public / "home" / "file")
    command = [
        "setpriv",
        "--reuid",
        "65534",
        "--clear-groups",
        "cat",
        str(public / "link"),
    ]
    assert subprocess.run(command, capture_output=True, check=False).returncode
    assert why_unreachable(str(public / "home"), str(public))


@pytest.mark.parametrize("mode", ["symlink", "hardlink"])
def test_closed_store_is_in_the_summary(
    public: Path, bench: Bench, said: Callable[..., list[str]], mode: str
) -> None:
    bench.store = public / "home" / "store"
    bench.env = public / "environment"
    bench.site_packages = bench.env / "lib"
    bench.scheme = {key: str(bench.site_packages) for key in bench.scheme}
    (public / "home").mkdir(mode=0o700)
    bench.run(bench.settings(mode)).report()
    (line,) = (one for one in said(logging.INFO) if "Linked 1 package" in one)
    assert ("; other users cannot reach" in line) == (mode == "symlink")
    assert said() == []
