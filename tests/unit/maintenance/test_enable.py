"""An environment gets a start file for a pip-linkmode elsewhere, and loses it again."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.environments.environment import Environment
from pip_linkmode.files import locked
from pip_linkmode.hooks.inspection import START_MODULE, locations_in
from pip_linkmode.maintenance import enable as enable_module
from pip_linkmode.maintenance import enable_checks, enabled
from pip_linkmode.maintenance.enable import (
    disable,
    enable,
    enable_again,
    site_packages_of,
    unserved,
)
from pip_linkmode.store import parents
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.wheels import Files

NAMES = ("pip_linkmode", "wrapt", "packaging")
REQUIRES = "Requires-Dist: packaging>=22.0\nRequires-Dist: pip\nRequires-Dist: wrapt\n"


class Bench:
    """A pip-linkmode, and an environment that it enables."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.site_packages = root / "env" / "lib" / "python3.11" / "site-packages"
        self.site_packages.mkdir(parents=True)
        (root / "env" / "pyvenv.cfg").touch()
        self.add("pip", "26.0")
        self.locations = self.provide("running")

    def provide(self, name: str) -> dict[str, str]:
        """Make a pip-linkmode."""
        directory = self.root / name
        for package in NAMES:
            (directory / package).mkdir(parents=True)
            init = directory / package / "__init__.py"
            init.write_text('__version__ = "1.0"\n')
        return dict.fromkeys(NAMES, str(directory))

    def add(self, name: str, version: str, metadata: str = "") -> Path:
        """Install something into the environment; return its dist-info."""
        stem = name.replace("-", "_")
        files: Files = {f"{stem}/__init__.py": "", f"{stem}/more.py": ""}
        if name == "pip-linkmode":
            files |= {"pip_linkmode.pth": "", "pip_linkmode.start": ""}
        wheel = make_wheel(
            self.root / "wheels", name, version, files, metadata=metadata
        )
        shutil.unpack_archive(wheel, self.site_packages, "zip")
        return self.site_packages / f"{stem}-{version}.dist-info"

    def copy(self) -> None:
        """Do as an early version of ``enable`` did."""
        for name, version in (("wrapt", "2.0"), ("packaging", "26.0")):
            (self.add(name, version) / "INSTALLER").write_text("pip-linkmode\n")
        info = self.add("pip-linkmode", "0.1", REQUIRES)
        (info / "INSTALLER").write_text("pip-linkmode\n")

    def enable(self, **options: bool) -> enable_module.Enabled:
        return enable(str(self.site_packages), **options)

    def disable(self) -> enable_module.Disabled:
        return disable(str(self.site_packages))

    def refusal(self, **options: bool) -> str:
        """Enable; return why not, and check that nothing was changed."""
        before = self.tree()
        refused = self.enable(**options).refused
        assert refused is not None
        assert self.tree() == before
        return refused

    def tree(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.site_packages)): path.lstat().st_ino
            for path in self.site_packages.rglob("*")
        }


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    made = Bench(tmp_path)
    monkeypatch.setattr(enable_module, "locations", lambda: made.locations)
    return made


START_FILES = [f"{START_MODULE}.{suffix}" for suffix in ("pth", "py", "start")]


# --- enable ---------------------------------------------------------------------------


def test_enable_writes_three_files_and_nothing_else(bench: Bench) -> None:
    before = bench.tree()
    found = bench.enable()
    assert (found.outcome, found.refused, found.warnings) == ("enabled", None, [])
    assert found.pip_linkmode == str(bench.root / "running" / "pip_linkmode")
    assert sorted(bench.tree().keys() - before.keys()) == START_FILES
    assert before.items() <= bench.tree().items()
    assert locations_in(str(bench.site_packages)) == bench.locations
    assert {
        (bench.site_packages / name).stat().st_mode & 0o777 for name in START_FILES
    } == {0o644}
    assert enabled.listed() == [str(bench.site_packages)]


def test_enable_twice_changes_nothing(bench: Bench) -> None:
    bench.enable()
    before = bench.tree()
    assert bench.enable().outcome == "was enabled"
    assert bench.tree() == before


@pytest.mark.parametrize("name", START_FILES)
def test_enable_repairs_a_start_file(bench: Bench, name: str) -> None:
    bench.enable()
    text = (bench.site_packages / name).read_text()
    (bench.site_packages / name).write_bytes(b"\xff")
    bench.enable()
    assert (bench.site_packages / name).read_text() == text
    (bench.site_packages / name).unlink()
    bench.enable()
    assert (bench.site_packages / name).read_text() == text


def test_enable_moves_an_environment_to_another_pip_linkmode(bench: Bench) -> None:
    bench.enable()
    cache = bench.site_packages / "__pycache__"
    cache.mkdir()
    # The size and the second of the source may be as before.
    (cache / f"{START_MODULE}.cpython-311.pyc").touch()
    bench.locations = bench.provide("another")
    assert bench.enable().outcome == "renewed"
    assert locations_in(str(bench.site_packages)) == bench.locations
    assert list(cache.iterdir()) == []


def test_enable_replaces_a_link_and_does_not_follow_it(bench: Bench) -> None:
    """The owner of an environment may have put it there for root."""
    victim = bench.root / "victim"
    victim.write_text("precious")
    (bench.site_packages / START_FILES[0]).symlink_to(victim)
    bench.enable()
    assert victim.read_text() == "precious"
    assert not (bench.site_packages / START_FILES[0]).is_symlink()


def test_enable_removes_what_a_killed_process_has_left(bench: Bench) -> None:
    (bench.site_packages / ".pip-linkmode-enabled-0").touch()
    (bench.site_packages / ".pip-linkmode-enabled-1" / "deep").mkdir(parents=True)
    (bench.site_packages / ".pip-linkmode-other").mkdir()  # of another command
    bench.enable()
    assert [path.name for path in bench.site_packages.glob(".pip*")] == [
        ".pip-linkmode-other"
    ]


@pytest.mark.parametrize(
    ("version", "warning"),
    [("22.2", "too old"), (None, "has no pip"), ("unknown", None), ("22.3", None)],
)
def test_enable_warns_of_a_pip_that_links_nothing(
    bench: Bench, version: str | None, warning: str | None
) -> None:
    shutil.rmtree(bench.site_packages / "pip-26.0.dist-info")
    if version:
        bench.add("pip", version)
    warnings = bench.enable().warnings
    assert len(warnings) == bool(warning)
    assert all(str(warning) in one for one in warnings)


def test_enable_leaves_an_installed_pip_linkmode_alone(bench: Bench) -> None:
    bench.add("pip-linkmode", "0.9")
    before = bench.tree()
    found = bench.enable()
    assert (found.outcome, found.pip_linkmode) == ("has its own", None)
    assert bench.tree() == before


def test_enable_leaves_its_own_environment_alone(bench: Bench) -> None:
    bench.copy()
    bench.locations = dict.fromkeys(NAMES, str(bench.site_packages))
    before = bench.tree()
    assert bench.enable().outcome == "has its own"
    assert bench.tree() == before


def test_enable_replaces_the_copies_of_an_early_one(bench: Bench) -> None:
    bench.copy()
    assert bench.enable().outcome == "enabled"
    left = {path.name for path in bench.site_packages.iterdir()}
    assert left == {"pip", "pip-26.0.dist-info", *START_FILES}


def test_enable_works_where_the_list_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.root / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(bench.root / "file"))
    found = bench.enable()
    assert "will not find this environment" in found.warnings[0]
    assert locations_in(str(bench.site_packages)) is not None
    assert bench.disable().refused is None


# --- what is refused ------------------------------------------------------------------


def test_enable_refuses_an_old_python(bench: Bench) -> None:
    bench.site_packages = bench.site_packages.parents[1] / "python3.9" / "site-packages"
    bench.site_packages.mkdir(parents=True)
    assert "Python 3.9; pip-linkmode needs 3.10" in bench.refusal()


@pytest.mark.parametrize("name", ["wrapt", "packaging"])
def test_enable_refuses_to_load_what_is_missing(bench: Bench, name: str) -> None:
    del bench.locations[name]
    assert f"{sys.executable} -m pip install {name}" in bench.refusal()


@pytest.mark.parametrize("path", ["", "pip_linkmode", "wrapt", "packaging/__init__.py"])
@pytest.mark.parametrize("bits", [0o020, 0o002])
def test_enable_refuses_code_that_others_can_change(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, path: str, bits: int
) -> None:
    monkeypatch.setattr(parents, "_is_alone_in", lambda _: False)
    place = bench.root / "running" / path
    place.chmod(place.stat().st_mode | bits)
    refusal = bench.refusal()
    assert refusal.startswith("another user can change ")
    assert str(place) in refusal
    place.chmod(place.stat().st_mode & ~bits)
    assert bench.enable().outcome == "enabled"


def test_enable_trusts_a_group_that_has_no_other_members(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the umask of many systems makes it for the own group of each user."""
    monkeypatch.setattr(parents, "_is_alone_in", lambda _: True)
    places = [bench.root / "running", *(bench.root / "running").rglob("*")]
    for place in places:
        place.chmod(place.stat().st_mode | 0o020)
    assert bench.enable().refused is None


def test_enable_passes_over_a_link_that_leads_nowhere(bench: Bench) -> None:
    (bench.root / "running" / "wrapt" / ".#lock").symlink_to("nowhere")
    assert bench.enable().refused is None


def test_enable_allows_a_parent_like_the_temporary_directory(bench: Bench) -> None:
    bench.root.chmod(0o1777)
    assert bench.enable().outcome == "enabled"
    (bench.root / "running").chmod(0o1777)
    assert bench.enable().refused is None


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root"
)
@pytest.mark.parametrize("path", ["wrapt", "wrapt/__init__.py"])
def test_enable_refuses_code_of_another_user(bench: Bench, path: str) -> None:
    owned = bench.root / "running" / path
    os.chown(owned, 65534, 65534)
    assert str(owned) in bench.refusal()
    # It is no other user's if the environment is theirs as well.
    os.chown(bench.site_packages, 65534, 65534)
    assert bench.enable().outcome == "enabled"


def managed(bench: Bench, text: str = "") -> None:
    (bench.root / "env" / "pyvenv.cfg").unlink(missing_ok=True)
    (bench.site_packages.parent / "EXTERNALLY-MANAGED").write_text(text)


def test_enable_refuses_a_managed_environment_in_the_words_of_pip(
    bench: Bench,
) -> None:
    managed(bench, "[externally-managed]\nError=Use apt,\n please\n")
    refusal = bench.refusal()
    assert refusal.startswith(
        "externally-managed-environment: Use apt,\nplease You can"
    )
    assert refusal.endswith("by passing --break-system-packages.")
    managed(bench, "nonsense")
    assert (
        f"under {bench.site_packages.parent} is managed externally" in bench.refusal()
    )
    assert bench.enable(break_system_packages=True).outcome == "enabled"


def test_virtual_environment_is_not_managed(bench: Bench) -> None:
    (bench.site_packages.parent / "EXTERNALLY-MANAGED").touch()
    assert bench.enable().outcome == "enabled"


@pytest.mark.parametrize(
    ("name", "is_managed"), [("python3", True), ("python3.11", True), ("*", False)]
)
def test_directory_of_a_system_elsewhere_is_managed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, *, is_managed: bool
) -> None:
    """As Debian's for all Pythons, and /usr/local of its Python."""
    (bench.root / "env" / "pyvenv.cfg").unlink()
    site_packages = bench.site_packages.parent
    site_packages = (
        site_packages.rename(site_packages.with_name(name)) / "site-packages"
    )
    bench.site_packages = site_packages
    standard = bench.root / "usr" / "lib" / "python3.11"
    standard.mkdir(parents=True)
    (standard / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(enable_checks, "_SYSTEM", str(bench.root / "usr" / "lib*"))
    assert (bench.enable().refused is not None) is is_managed


def test_enable_and_disable_refuse_a_locked_environment(bench: Bench) -> None:
    with locked(str(bench.site_packages)):
        for command in (bench.enable, bench.disable):
            assert str(bench.site_packages) in str(command().refused)


# --- again ----------------------------------------------------------------------------


def test_environments_whose_pip_linkmode_has_moved_are_renewed(bench: Bench) -> None:
    bench.enable()
    assert unserved() == []
    (bench.root / "running").rename(bench.root / "moved")
    assert unserved() == [str(bench.site_packages)]
    bench.locations = dict.fromkeys(NAMES, str(bench.root / "moved"))
    (found,) = enable_again()
    assert found.outcome == "renewed"
    assert unserved() == []
    assert enable_again() == []


def test_environments_that_are_gone_are_passed_over(bench: Bench) -> None:
    bench.enable()
    shutil.rmtree(bench.root / "running")
    shutil.rmtree(bench.root / "env")
    assert unserved() == []
    # Its disk may be mounted again.
    assert enabled.listed() == [str(bench.site_packages)]


@pytest.mark.parametrize("text", ["", "{}", "[1, null]", "\xff"])
def test_list_that_cannot_be_read_is_empty(bench: Bench, text: str) -> None:
    path = bench.root / "state" / "pip-linkmode" / "enabled.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="latin-1")
    assert enabled.listed() == []
    bench.enable()
    assert enabled.listed() == [str(bench.site_packages)]


@pytest.mark.parametrize("value", ["", "relative"])
def test_list_is_in_the_home_directory_by_default(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("HOME", str(bench.root / "home"))
    bench.enable()
    place = bench.root / "home/.local/state/pip-linkmode"
    assert [path.name for path in place.iterdir()] == ["enabled.json"]
    assert place.stat().st_mode & 0o077 == 0


# --- disable --------------------------------------------------------------------------


def test_disable_leaves_no_file(bench: Bench) -> None:
    before = bench.tree()
    bench.enable()
    cache = bench.site_packages / "__pycache__"
    cache.mkdir()
    for tag in ("cpython-311", "cpython-313.opt-1"):
        (cache / f"{START_MODULE}.{tag}.pyc").touch()
    found = bench.disable()
    assert (found.was_enabled, found.removed, found.refused) == (True, [], None)
    assert bench.tree() == before
    assert enabled.listed() == []


def test_disable_keeps_the_bytecode_of_others(bench: Bench) -> None:
    bench.enable()
    other = bench.site_packages / "__pycache__" / "other.cpython-311.pyc"
    other.parent.mkdir()
    other.touch()
    bench.disable()
    assert other.exists()


def test_disable_without_enable_changes_nothing(bench: Bench) -> None:
    before = bench.tree()
    found = bench.disable()
    assert (found.was_enabled, found.refused) == (False, None)
    assert bench.tree() == before


def test_disable_leaves_an_installed_pip_linkmode_to_pip(bench: Bench) -> None:
    bench.enable()
    bench.add("pip-linkmode", "0.9")
    assert "pip uninstall pip-linkmode" in str(bench.disable().refused)
    assert locations_in(str(bench.site_packages)) is None
    assert (bench.site_packages / "pip_linkmode" / "__init__.py").exists()


def test_disable_removes_the_copies_of_an_early_enable(bench: Bench) -> None:
    before = bench.tree()
    bench.copy()
    (bench.site_packages / "wrapt/__pycache__").mkdir()
    (bench.site_packages / "wrapt/__pycache__/more.cpython-399.pyc").touch()
    found = bench.disable()
    assert found.removed == ["pip-linkmode 0.1", "packaging 26.0", "wrapt 2.0"]
    assert bench.tree() == before


def test_disable_keeps_copies_that_others_need(bench: Bench) -> None:
    bench.copy()
    bench.add("user", "1.0", "Requires-Dist: Wrapt>=1\nRequires-Dist: (odd\n")
    (bench.add("silent", "1.0") / "METADATA").unlink()
    found = bench.disable()
    assert found.removed == ["pip-linkmode 0.1", "packaging 26.0"]
    assert found.left == ["wrapt 2.0"]
    assert (bench.site_packages / "wrapt" / "__init__.py").exists()


def test_disable_keeps_copies_if_metadata_cannot_be_read(bench: Bench) -> None:
    bench.copy()
    path = bench.site_packages / "pip-26.0.dist-info" / "METADATA"
    path.unlink()
    os.mkfifo(path)
    assert bench.disable().removed == []


def test_disable_removes_nothing_outside_of_the_environment(bench: Bench) -> None:
    outside = bench.root / "outside"
    (outside / "empty").mkdir(parents=True)
    for name in ("file", "module.py", "module.cpython-311.pyc"):
        (outside / name).touch()
    bench.copy()
    (bench.site_packages / "link").symlink_to(outside)
    (bench.site_packages / "package").mkdir()
    (bench.site_packages / "package" / "__pycache__").symlink_to(outside)
    with (bench.site_packages / "wrapt-2.0.dist-info" / "RECORD").open("a") as file:
        file.write("../../../../outside/file,,\nlink/file,,\nlink/empty/file,,\n")
        file.write("package/module.py,,\n")
    before = sorted(outside.iterdir())
    assert "wrapt 2.0" in bench.disable().removed
    assert sorted(outside.iterdir()) == before


def test_disable_removes_no_bytecode_behind_a_link(bench: Bench) -> None:
    bench.enable()
    outside = bench.root / "outside"
    outside.mkdir()
    (outside / f"{START_MODULE}.cpython-311.pyc").touch()
    (bench.site_packages / "__pycache__").symlink_to(outside)
    assert bench.disable().was_enabled
    assert any(outside.iterdir())


@pytest.mark.parametrize("text", [b"x,,long\n", b"\xff,,\n"])
def test_disable_refuses_a_record_that_cannot_be_parsed(
    bench: Bench, text: bytes
) -> None:
    bench.copy()
    (bench.site_packages / "pip_linkmode-0.1.dist-info" / "RECORD").write_bytes(text)
    assert "RECORD" in str(bench.disable().refused)


# --- a process that is killed ---------------------------------------------------------


class KilledError(BaseException):
    """Not handled by anything."""


class Killer:
    """End a process before one of the steps that change something."""

    STEPS = ("replace", "rename", "unlink", "rmdir", "chmod")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self._left = monkeypatch, 0

    def kill(self, command: Callable[[], object], steps: int) -> bool:
        """Run a command; return whether it was killed after so many steps."""
        self._left = steps
        with self._monkeypatch.context() as patch:
            for name in self.STEPS:
                patch.setattr(os, name, self._count(getattr(os, name)))
            try:
                command()
            except KilledError:
                return True
        return False

    def _count(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any, **kwargs: Any) -> Any:
            if not self._left:
                raise KilledError
            self._left -= 1
            return step(*args, **kwargs)

        return count


@pytest.mark.parametrize("killed", ["enable", "disable"])
@pytest.mark.parametrize("then", ["enable", "disable"])
@pytest.mark.parametrize("copied", [False, True])
def test_next_command_repairs_what_a_killed_one_has_left(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    killed: str,
    then: str,
    *,
    copied: bool,
) -> None:
    killer, steps = Killer(monkeypatch), 0
    without = set(bench.tree())
    whole = without | {*START_FILES}
    while True:
        if copied:
            bench.copy()
        elif killed == "disable":
            bench.enable()
        if not killer.kill(getattr(bench, killed), steps):
            break
        there = set(bench.tree())
        # A start file never runs without its module.
        assert not there & {START_FILES[0], START_FILES[2]} or START_FILES[1] in there
        early = {"pip_linkmode.pth", "pip_linkmode.start"}
        assert not there & early or "pip_linkmode/__init__.py" in there
        assert getattr(bench, then)().refused is None
        assert set(bench.tree()) == (whole if then == "enable" else without)
        bench.disable()
        steps += 1
    assert steps > 4


def test_directory_with_pip_is_enabled(bench: Bench) -> None:
    other = bench.site_packages.parents[1] / "python3.10" / "site-packages"
    other.mkdir(parents=True)
    path = str(bench.root / "env")
    assert Environment.find(path)[0].site_packages == str(other)
    assert site_packages_of(path) == str(bench.site_packages)
    shutil.rmtree(bench.site_packages / "pip-26.0.dist-info")
    assert site_packages_of(path) == str(other)
