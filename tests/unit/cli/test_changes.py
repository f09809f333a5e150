"""What the commands say that change environments, and with which exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.cli import enable as enable_module
from pip_linkmode.cli.main import main
from pip_linkmode.files import locked
from pip_linkmode.link.replace import Replacer
from pip_linkmode.maintenance import enable as maintenance
from pip_linkmode.maintenance.enable import Disabled, Enabled
from pip_linkmode.relink import apply as apply_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.house import House
    from tests.unit.conftest import Run


@pytest.fixture
def site_packages(house: House) -> Path:
    """Return an environment that has files of its own, of two wheels."""
    entries = [house.entry(name) for name in ("alpha", "beta")]
    return house.install("one", "copy", *entries)


def test_relink_says_what_came_of_it(
    house: House, run: Run, site_packages: Path
) -> None:
    (site_packages / "alpha/data").write_text("edited")
    (site_packages / "beta/data").unlink()
    (site_packages / "beta/data").symlink_to("__init__.py")
    (site_packages / "old.egg-info").touch()
    path = str(house.path / "one")
    os.link(site_packages / "alpha/__init__.py", house.path / "cache")
    told = run.text("relink", path, "--dry-run")
    assert "2 files (14 kB) would be linked" in told
    assert "Would free" in told
    lines = run.text("relink", path, "--mode", "hardlink").splitlines()
    assert lines == [
        str(site_packages),
        "  2 files (14 kB) linked: 2 by hardlink; 0 were shared before",
        "  1 file left alone: they are links to somewhere else",
        "  1 distribution passed over: is an egg",
        f"  edited, and left alone: {site_packages}/alpha/data",
        *lines[-2:],
    ]
    assert lines[-2].startswith("Freed ")
    assert lines[-2].endswith(" saved")
    assert lines[-1].startswith("8 kB more become free when the other names of these")


def test_relink_that_can_share_nothing_is_found(
    run: Run, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = os.strerror(errno.EXDEV)
    refused = {"clone": reason, "hardlink": reason, "symlink": None, "copy": None}
    monkeypatch.setattr(apply_module, "probe", lambda *_: refused)
    text = run.text("relink", str(site_packages), code=1)
    assert "nothing is shared: no hardlink from" in text
    assert reason in text


def test_relink_that_meets_an_error_is_found(
    house: House, run: Run, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Replacer, "replace", refuse)
    text = run.text("relink", str(site_packages), code=1)
    reason = f"cannot be replaced: {os.strerror(errno.EIO)}"
    assert f"4 files left alone: they {reason}" in text
    assert house.present() == ["alpha", "beta"]


@pytest.mark.parametrize(("mode", "expected"), [("symlink", True), ("copy", False)])
def test_relink_takes_the_mode_that_pip_would(
    house: House,
    run: Run,
    site_packages: Path,
    mode: str,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIP_LINK_MODE", mode)
    store = ("--link-store", str(house.root))
    run.data("relink", str(site_packages), *store)
    assert (site_packages / "alpha/__init__.py").is_symlink() is expected
    assert (site_packages / "alpha/__init__.py").samefile(
        house.entry("alpha").source("alpha/__init__.py")
    )


def test_relink_needs_a_store(
    run: Run, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_LINK_MODE", "off")
    said = run.error("relink", str(site_packages), code=2)
    assert "there is no store: the link mode is off (PIP_LINK_MODE)" in said
    monkeypatch.setenv("PIP_LINK_MODE", "auto")
    monkeypatch.delenv("PIP_LINK_STORE")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    said = run.error("relink", str(site_packages), code=2)
    assert "there is no cache directory. Name one with --link-store" in said


def test_environment_of_two_paths_is_one(
    house: House, run: Run, site_packages: Path
) -> None:
    (house.path / "alias").symlink_to(house.path / "one")
    apart = house.path / "other" / "site-packages"
    apart.parent.mkdir()
    apart.symlink_to(site_packages)
    paths = [str(one) for one in (house.path / "one", house.path / "alias", apart)]
    report = run.data("relink", *paths, "--mode", "hardlink")
    (one,) = report["environments"]
    assert (one["site_packages"], one["refused"]) == (str(site_packages), None)
    (one,) = run.data("materialize", *paths)
    assert one["site_packages"] == str(site_packages)


def test_symlinks_that_would_dangle_are_refused(
    house: House, run: Run, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(house.path))
    said = run.error("relink", str(site_packages), "--mode", "symlink", code=2)
    assert "symlinks would dangle: the store" in said
    assert not (site_packages / "alpha/data").is_symlink()


def test_materialize_says_what_came_of_it(
    house: House, run: Run, site_packages: Path
) -> None:
    run.text("relink", str(site_packages), "--mode", "symlink")
    entry = house.entry("alpha")
    os.unlink(entry.source("alpha/__init__.py"))
    lines = run.text("materialize", str(site_packages), code=1).splitlines()
    assert lines == [
        str(site_packages),
        "  3 files (25 kB) made private",
        f"  leads nowhere: {site_packages}/alpha/__init__.py",
    ]
    (site_packages / "alpha/__init__.py").unlink()
    assert run.data("materialize", str(site_packages))[0]["released"] == [
        str(house.root)
    ]


def test_materialize_says_that_nothing_is_shared(run: Run, site_packages: Path) -> None:
    lines = run.text("materialize", str(site_packages)).splitlines()
    assert lines[1:] == ["  nothing to make private: no file is shared"]


def test_enable_and_disable_say_what_they_did(
    run: Run, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(site_packages)
    enabled = Enabled(path, "enabled", "/tool/pip_linkmode", ["pip is old"])
    own = Enabled(path, "has its own")
    monkeypatch.setattr(enable_module, "enable", lambda *_, **__: enabled)
    monkeypatch.setattr(enable_module, "enable_again", lambda: [own])
    assert run.text("enable", path, code=1) == (
        f"{path}: enabled; pip loads /tool/pip_linkmode\n  WARNING: pip is old\n"
    )
    assert run.text("enable", "--again") == f"{path}: has its own pip-linkmode\n"
    monkeypatch.setattr(enable_module, "enable_again", list)
    assert "load a pip-linkmode that exists" in run.text("enable", "--again")
    disabled = Disabled(path, removed=["pip-linkmode 1.0"], left=["wrapt 2.0"])
    monkeypatch.setattr(enable_module, "disable", lambda _: disabled)
    assert run.text("disable", path) == (
        f"{path}: disabled\n  removed: pip-linkmode 1.0\n"
        "  left, since other packages need it: wrapt 2.0\n"
    )
    monkeypatch.setattr(enable_module, "disable", Disabled)
    assert run.text("disable", path) == f"{path}: was not enabled\n"


def test_enable_needs_an_environment_or_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["enable"]) == 2
    assert "name an environment, or pass --again" in capsys.readouterr().err


# --- several, and one that refuses ----------------------------------------------------


@pytest.fixture
def several(house: House, site_packages: Path) -> list[str]:
    """Libraries of which another process is at work in the second."""
    alpha = house.entry("alpha")
    others = [house.install(name, "hardlink", alpha) for name in ("two", "three")]
    return [str(one) for one in (site_packages, *others)]


@pytest.mark.parametrize("command", ["enable", "disable", "materialize"])
def test_one_that_refuses_does_not_stop_the_others(
    house: House,
    run: Run,
    several: list[str],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(house.path / "state"))
    found = dict.fromkeys(("pip_linkmode", "wrapt", "packaging"), several[0])
    monkeypatch.setattr(maintenance, "locations", lambda: found)
    monkeypatch.setattr(maintenance, "check_trusted", lambda *_: None)
    busy = several[1]
    with locked(busy):
        told = run.data(command, *several, code=1)
        text = run.text(command, *several, code=1)
    assert [one["site_packages"] for one in told] == several
    reason = f"another pip-linkmode is at work in {busy}"
    assert [one["refused"] for one in told] == [None, reason, None]
    verb = {"materialize": "done"}.get(command, f"{command}d")
    assert text.count(f"not {verb}: {reason}") == 1
    assert sum(line.startswith(several[2]) for line in text.splitlines()) == 1


@pytest.mark.parametrize("command", ["enable", "disable", "materialize", "relink"])
def test_one_that_is_no_environment_stops_all_before_the_first(
    house: House, run: Run, several: list[str], command: str
) -> None:
    nothing = str(house.path / "nothing")
    said = run.error(command, *several, nothing, code=2)
    assert f"{nothing} is not an environment" in said
    assert os.stat(f"{several[2]}/alpha/data").st_nlink > 1
    assert not os.path.lexists(f"{several[0]}/pip_linkmode")


def test_error_in_one_environment_is_its_own(
    run: Run, several: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: str) -> Iterator[os.DirEntry[str]]:
        if path == f"{several[1]}/alpha":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    told = run.data("materialize", *several, code=1)
    reason = f"{several[1]}/alpha: {os.strerror(errno.EACCES)}"
    assert [one["refused"] for one in told] == [None, reason, None]
    assert [one["files"] > 0 for one in told] == [False, False, True]


def test_relink_says_that_every_file_stays(
    house: House, run: Run, site_packages: Path
) -> None:
    for path in (*site_packages.glob("alpha/*"), *site_packages.glob("beta/*")):
        path.write_text("edited")
    said = run.text("relink", str(house.path / "one"))
    assert "nothing to link: each file stays, for the reasons below" in said


def test_prune_on_a_terminal_says_first_what_it_would_remove(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("alpha")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    said = run.text("prune")
    assert -1 < said.index("Would remove 1 entry") < said.index("Removed 1 entry")
    assert house.present() == []


def test_relink_of_an_empty_environment_says_that_nothing_is_installed(
    house: House, run: Run
) -> None:
    house.site_packages("empty")
    said = run.text("relink", str(house.path / "empty"))
    assert "nothing to link: no installed distribution lists files to share" in said


def test_second_relink_says_that_files_were_shared_before(
    house: House, run: Run, site_packages: Path
) -> None:
    command = ("relink", str(site_packages.parents[2]), "--mode", "hardlink")
    run.text(*command)
    said = run.text(*command)
    assert "nothing to link: 4 files shared before" in said
    assert house.present() == ["alpha", "beta"]
