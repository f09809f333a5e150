"""pip-linkmode gets into another environment by links, and out of it again."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.util
import os
import py_compile
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.errors import (
    EnableRefusedError,
    EnvironmentBusyError,
    RecordInvalidError,
)
from pip_linkmode.files import TEMPORARY, locked
from pip_linkmode.link.linker import Linker
from pip_linkmode.maintenance import enable as enable_module
from pip_linkmode.maintenance.enable import NAME, disable, enable
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.wheels import Files

REQUIRES = "".join(
    f"Requires-Dist: {one}\n"
    for one in (
        *("packaging>=22.0", "pip>=22.3", "wrapt>=1.14"),
        "other ; python_version < '3'",
        "!invalid",
    )
)


def install(site_packages: Path, wheel: Path, *, compiled: bool = True) -> None:
    """Install a wheel as others do, scripts among it."""
    rows = []
    site_packages.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages)
        info = next(n for n in archive.namelist() if n.endswith("/RECORD"))
    for row in csv.reader((site_packages / info).read_text().splitlines()):
        rows.append(row)
        if compiled and row[0].endswith(".py"):
            pyc = py_compile.compile(str(site_packages / row[0]), doraise=True)
            rows.append([os.path.relpath(str(pyc), site_packages), "", ""])
    rows.append(["../../../bin/script", "sha256=x", "1"])
    rows.append(["gone.py", "sha256=x", "1"])
    with (site_packages / info).open("w", newline="") as file:
        csv.writer(file).writerows(rows)


class Bench:
    """What runs, and where it is to be put."""

    def __init__(self, root: Path, template: Path) -> None:
        self.root, self._template = root, template
        self.running = root / "running" / "lib" / "python3" / "site-packages"
        self.wheels = root / "wheels"
        self.provide("packaging", "26.0", {"packaging/__init__.py": "X = 1\n"})
        native: Files = {"wrapt/__init__.py": "", "wrapt/_native.so": b"\x7fELF"}
        self.provide("wrapt", "2.0", native, tag="cp311-cp311-linux_x86_64")
        self.provide_ourselves()
        (self.site_packages,) = self._environment().glob("lib/*/site-packages")
        self.add("pip", "26.0")

    def provide(
        self,
        name: str,
        version: str,
        files: Files,
        *,
        tag: str = "py3-none-any",
        metadata: str = "",
    ) -> None:
        """Install what runs."""
        wheel = make_wheel(
            self.wheels,
            name,
            version,
            files,
            tag=tag,
            root_is_purelib=tag.endswith("any"),
            metadata=metadata,
        )
        install(self.running, wheel)

    def provide_ourselves(self, version: str = "1.0") -> None:
        files: Files = {
            "pip_linkmode/__init__.py": f"version = {version!r}\n",
            "pip_linkmode.pth": "\n",
            "pip_linkmode.start": "\n",
        }
        for old in self.running.glob("pip_linkmode-*"):
            shutil.rmtree(old)
        self.provide(NAME, version, files, metadata=REQUIRES)

    def _environment(self) -> Path:
        path = self.root / "environment"
        shutil.copytree(self._template, path, symlinks=True)
        return path

    def add(self, name: str, version: str, metadata: str = "") -> None:
        """Install something into the environment."""
        files: Files = {f"{name}/__init__.py": ""}
        wheel = make_wheel(self.wheels, name, version, files, metadata=metadata)
        install(self.site_packages, wheel, compiled=False)

    def there(self) -> list[str]:
        return sorted(
            path.name.removesuffix(".dist-info")
            for path in self.site_packages.glob("*.dist-info")
        )

    def tree(self) -> dict[str, int]:
        return {
            str(path.relative_to(self.site_packages)): path.lstat().st_ino
            for path in self.site_packages.rglob("*")
        }


@pytest.fixture
def bench(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    created = Bench(tmp_path, template)
    monkeypatch.setattr(sys, "path", [str(created.running), *sys.path])
    return created


def path_of(bench: Bench) -> str:
    return str(bench.site_packages.parents[2])


def record(bench: Bench, stem: str) -> list[list[str]]:
    text = (bench.site_packages / f"{stem}.dist-info" / "RECORD").read_text()
    return list(csv.reader(text.splitlines()))


def assert_record_holds(bench: Bench, stem: str) -> None:
    rows = record(bench, stem)
    assert len({row[0] for row in rows}) == len(rows)
    for path, digest, size in rows:
        content = (bench.site_packages / path).read_bytes()
        value = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
        if not path.endswith((".pyc", "RECORD")):
            assert digest == f"sha256={value.decode().rstrip('=')}"
            assert int(size) == len(content)


# --- in -------------------------------------------------------------------------------


def test_all_that_is_needed_is_linked(bench: Bench) -> None:
    found = enable(path_of(bench))
    assert found.linked == ["wrapt 2.0", "packaging 26.0", "pip-linkmode 1.0"]
    assert (found.already, found.warnings) == ([], [])
    for path in (
        *("pip_linkmode/__init__.py", "pip_linkmode.pth", "pip_linkmode.start"),
        *("wrapt/_native.so", "packaging/__init__.py"),
        f"packaging/__pycache__/__init__.{sys.implementation.cache_tag}.pyc",
    ):
        assert (bench.site_packages / path).samefile(bench.running / path)
    for stem in ("pip_linkmode-1.0", "wrapt-2.0", "packaging-26.0"):
        assert_record_holds(bench, stem)
        info = bench.site_packages / f"{stem}.dist-info"
        assert (info / "INSTALLER").read_text() == "pip-linkmode\n"
        assert (info / "REQUESTED").exists() is (stem == "pip_linkmode-1.0")
        assert not (info / "METADATA").samefile(bench.running / info.name / "METADATA")


def test_twice_is_as_good_as_once(bench: Bench) -> None:
    enable(path_of(bench))
    before = bench.tree()
    found = enable(path_of(bench))
    assert bench.tree() == before
    assert found.linked == []
    assert sorted(found.already) == ["packaging 26.0", "pip-linkmode 1.0", "wrapt 2.0"]


def test_what_is_editable_here_cannot_be_put_elsewhere(bench: Bench) -> None:
    """Only its start-up file would be linked, which leads to what is not there."""
    origin = bench.running / "pip_linkmode-1.0.dist-info" / "direct_url.json"
    origin.write_text('{"url": "file:///source", "dir_info": {"editable": true}}')
    before = bench.tree()
    with pytest.raises(EnableRefusedError, match="pip-linkmode is editable where"):
        enable(path_of(bench))
    assert bench.tree() == before


def test_what_is_there_is_left_alone(bench: Bench) -> None:
    bench.add("wrapt", "1.14")
    found = enable(path_of(bench))
    assert found.linked == ["packaging 26.0", "pip-linkmode 1.0"]
    assert found.already == ["wrapt 1.14"]
    assert "wrapt-1.14" in bench.there()


@pytest.mark.parametrize("version", ["1.13", "unknown"])
def test_what_is_too_old_is_refused(bench: Bench, version: str) -> None:
    bench.add("wrapt", version)
    before = bench.tree()
    with pytest.raises(EnableRefusedError, match=f"wrapt {version}, and .* needs wrap"):
        enable(path_of(bench))
    assert bench.tree() == before


@pytest.mark.parametrize(
    ("version", "warning"),
    [("22.2", "too old"), (None, "has no pip"), ("unknown", None), ("22.3", None)],
)
def test_pip_that_links_nothing_is_told(
    bench: Bench, version: str | None, warning: str | None
) -> None:
    shutil.rmtree(bench.site_packages / "pip-26.0.dist-info")
    if version:
        bench.add("pip", version)
    warnings = enable(path_of(bench)).warnings
    assert len(warnings) == bool(warning)
    assert all(str(warning) in one for one in warnings)


def test_other_interpreters_get_what_fits_all(bench: Bench) -> None:
    shutil.rmtree(bench.site_packages.parents[2] / "bin")
    enable(path_of(bench))
    assert not (bench.site_packages / "wrapt/_native.so").exists()
    assert list(bench.site_packages.rglob("*.pyc")) == []
    text = (bench.site_packages / "wrapt-2.0.dist-info" / "WHEEL").read_text()
    assert "Tag: py3-none-any\n" in text
    assert "Root-Is-Purelib: true\n" in text
    assert "cp311" not in text
    assert_record_holds(bench, "wrapt-2.0")
    theirs = (bench.running / "wrapt-2.0.dist-info" / "WHEEL").read_text()
    assert "cp311" in theirs


def test_new_version_takes_the_place_of_the_old_one(bench: Bench) -> None:
    enable(path_of(bench))
    bench.provide_ourselves("2.0")
    assert enable(path_of(bench)).linked == ["pip-linkmode 2.0"]
    assert bench.there() == [
        "packaging-26.0",
        "pip-26.0",
        "pip_linkmode-2.0",
        "wrapt-2.0",
    ]
    text = (bench.site_packages / "pip_linkmode/__init__.py").read_text()
    assert text == "version = '2.0'\n"


def test_library_may_be_a_link(bench: Bench) -> None:
    elsewhere = bench.root / "elsewhere"
    bench.site_packages.rename(elsewhere)
    bench.site_packages.symlink_to(elsewhere)
    enable(path_of(bench))
    assert (elsewhere / "pip_linkmode.pth").exists()
    disable(path_of(bench))
    assert not (elsewhere / "pip_linkmode.pth").exists()


def test_half_of_it_is_put_right(bench: Bench) -> None:
    enable(path_of(bench))
    (bench.site_packages / "pip_linkmode/__init__.py").unlink()
    assert enable(path_of(bench)).linked == ["pip-linkmode 1.0"]
    assert_record_holds(bench, "pip_linkmode-1.0")


def test_what_others_have_installed_is_theirs(bench: Bench) -> None:
    bench.add(NAME, "0.9")
    with pytest.raises(EnableRefusedError, match="somebody else has installed"):
        enable(path_of(bench))


def test_old_python_is_refused(bench: Bench) -> None:
    site_packages = bench.root / "old/lib/python3.9/site-packages"
    site_packages.mkdir(parents=True)
    with pytest.raises(EnableRefusedError, match=r"Python 3\.9; .* needs 3\.10"):
        enable(str(site_packages))


def test_python_of_the_system_is_refused(bench: Bench) -> None:
    (bench.site_packages.parent / "EXTERNALLY-MANAGED").touch()
    with pytest.raises(EnableRefusedError, match="belongs to the system"):
        enable(path_of(bench))


def test_python_of_the_system_is_refused_by_any_name(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As /lib/python3, where /lib is a link."""
    (bench.root / "alias").symlink_to(bench.site_packages.parent)
    monkeypatch.setattr(enable_module, "_SYSTEM", f"{bench.site_packages.parent}/")
    with pytest.raises(EnableRefusedError, match="belongs to the system"):
        enable(str(bench.root / "alias" / bench.site_packages.name))


def test_checkout_cannot_be_enabled_elsewhere(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(EnableRefusedError, match="is not installed where this runs"):
        enable(path_of(bench))


def test_distribution_without_a_record_is_refused(bench: Bench) -> None:
    (bench.running / "wrapt-2.0.dist-info" / "RECORD").unlink()
    with pytest.raises(EnableRefusedError, match="wrapt has no RECORD"):
        enable(path_of(bench))


def test_editable_installation_is_one_there_too(bench: Bench) -> None:
    for old in self_and_package(bench):
        shutil.rmtree(old)
    bench.provide(NAME, "1.0", {"_editable.pth": "/checkout\n"}, metadata=REQUIRES)
    enable(path_of(bench))
    assert (bench.site_packages / "_editable.pth").read_text() == "/checkout\n"


def self_and_package(bench: Bench) -> list[Path]:
    return [*bench.running.glob("pip_linkmode-*"), bench.running / "pip_linkmode"]


def test_half_of_what_came_with_it_is_put_right(bench: Bench) -> None:
    enable(path_of(bench))
    (bench.site_packages / "wrapt/_native.so").unlink()
    assert enable(path_of(bench)).linked == ["wrapt 2.0"]
    assert_record_holds(bench, "wrapt-2.0")


@pytest.mark.parametrize("path", ["wrapt/__init__.py", "pip_linkmode.pth"])
def test_what_has_no_metadata_is_not_written_over(bench: Bench, path: str) -> None:
    """As an .egg-info leaves it, or a vendored copy."""
    (bench.site_packages / path).parent.mkdir(exist_ok=True)
    (bench.site_packages / path).write_text("OWN = 1\n")
    before = bench.tree()
    with pytest.raises(EnableRefusedError, match=f"{path} is somebody else's; remove"):
        enable(path_of(bench))
    assert bench.tree() == before
    assert (bench.site_packages / path).read_text() == "OWN = 1\n"


def test_what_this_runs_from_is_not_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    enable(path_of(bench))
    monkeypatch.setattr(sys, "path", [str(bench.site_packages), *sys.path])
    assert enable(path_of(bench)).linked == []
    (bench.site_packages / "pip_linkmode.start").unlink()
    before = bench.tree()
    with pytest.raises(EnableRefusedError, match="is not whole, and this runs from it"):
        enable(path_of(bench))
    assert bench.tree() == before


@pytest.mark.parametrize("text", [b"a,b,c\n", b"x,,long\n", b"x\0,,\n", b"\xff,,\n"])
def test_record_that_is_none_is_refused(bench: Bench, text: bytes) -> None:
    enable(path_of(bench))
    (bench.site_packages / "wrapt-2.0.dist-info/RECORD").write_bytes(b"x,,\n" + text)
    for command in (enable, disable):
        with pytest.raises(RecordInvalidError, match=r"--no-deps wrapt==2\.0"):
            command(path_of(bench))


def test_environment_where_another_is_at_work_is_refused(bench: Bench) -> None:
    with locked(str(bench.site_packages)):
        for command in (enable, disable):
            with pytest.raises(EnvironmentBusyError, match=str(bench.site_packages)):
                command(path_of(bench))


# --- whoever is killed ----------------------------------------------------------------


class KilledError(BaseException):
    """What nobody handles."""


class Killer:
    """Ends a process before one of the steps by which it changes anything."""

    STEPS = (
        (os, "mkdir"),
        (os, "rename"),
        (os, "unlink"),
        (os, "rmdir"),
        (Linker, "link"),
        (enable_module, "_write"),
    )

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch, self._left = monkeypatch, 0

    def kill(self, command: Callable[[str], object], path: str, steps: int) -> bool:
        """Run a command; say whether it was killed after so many steps."""
        self._left = steps
        with self._monkeypatch.context() as patch:
            for owner, name in self.STEPS:
                patch.setattr(owner, name, self._count(getattr(owner, name)))
            try:
                command(path)
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


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


@pytest.mark.parametrize("killed", [enable, disable])
@pytest.mark.parametrize("then", [enable, disable])
def test_what_the_killed_leave_is_finished_or_taken_away(
    bench: Bench,
    killer: Killer,
    killed: Callable[[str], object],
    then: Callable[[str], object],
) -> None:
    without = set(bench.tree())
    enable(path_of(bench))
    whole, steps = set(bench.tree()), 0
    start_up = {"pip_linkmode.pth", "pip_linkmode.start"}
    while True:
        (disable if killed is enable else enable)(path_of(bench))
        if not killer.kill(killed, path_of(bench), steps):
            break
        there = set(bench.tree())
        # An interpreter that starts now finds all that it needs.
        assert not there & start_up or there >= whole - start_up
        then(path_of(bench))
        assert set(bench.tree()) == (whole if then is enable else without)
        steps += 1
    assert steps > 20


def test_what_another_command_tries_out_meanwhile_is_left_alone(bench: Bench) -> None:
    """As status does, which links a file there to see whether it can."""
    pin = bench.site_packages / f"{TEMPORARY}0123"
    pin.symlink_to(bench.root)
    enable(path_of(bench))
    assert pin.is_symlink()


# --- out ------------------------------------------------------------------------------


def test_everything_goes_again(bench: Bench) -> None:
    before = bench.tree()
    enable(path_of(bench))
    (bench.site_packages / "wrapt/__pycache__").mkdir(exist_ok=True)
    for tag in ("cpython-399", "cpython-399.opt-1"):  # as imports leave them
        (bench.site_packages / f"wrapt/__pycache__/__init__.{tag}.pyc").touch()
    found = disable(path_of(bench))
    assert found.removed == ["pip-linkmode 1.0", "packaging 26.0", "wrapt 2.0"]
    assert bench.tree() == before
    assert (bench.running / "wrapt/_native.so").exists()


def test_nothing_to_take_out_is_no_error(bench: Bench) -> None:
    before = bench.tree()
    found = disable(path_of(bench))
    assert (found.removed, found.left) == ([], [])
    assert bench.tree() == before


def test_what_others_need_stays(bench: Bench) -> None:
    enable(path_of(bench))
    bench.add("user", "1.0", "Requires-Dist: wrapt>=1\nRequires-Dist: (odd\n")
    found = disable(path_of(bench))
    assert found.removed == ["pip-linkmode 1.0", "packaging 26.0"]
    assert found.left == ["wrapt 2.0"]
    assert bench.there() == ["pip-26.0", "user-1.0", "wrapt-2.0"]


def test_what_others_have_installed_stays(bench: Bench) -> None:
    bench.add("wrapt", "1.14")
    bench.add(NAME, "0.9", REQUIRES)
    found = disable(path_of(bench))
    assert found.removed == ["pip-linkmode 0.9"]
    assert "wrapt-1.14" in bench.there()


def test_what_a_killed_one_has_left_goes_too(bench: Bench) -> None:
    enable(path_of(bench))
    shutil.rmtree(bench.site_packages / "pip_linkmode-1.0.dist-info")
    assert disable(path_of(bench)).removed == ["packaging 26.0", "wrapt 2.0"]


def plant_a_pipe(bench: Bench, name: str) -> None:
    """Let a reader of metadata wait for ever."""
    path = bench.site_packages / "wrapt-2.0.dist-info" / name
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("name", "left"),
    [("INSTALLER", []), ("METADATA", ["packaging 26.0", "wrapt 2.0"])],
)
def test_where_it_cannot_be_told_who_needs_what_it_stays(
    bench: Bench, name: str, left: list[str]
) -> None:
    enable(path_of(bench))
    plant_a_pipe(bench, name)
    assert enable(path_of(bench)).linked == []
    assert disable(path_of(bench)).left == left
    assert "wrapt-2.0" in bench.there()


def test_what_has_no_metadata_needs_nothing(bench: Bench) -> None:
    enable(path_of(bench))
    (bench.site_packages / "pip-26.0.dist-info" / "METADATA").unlink()
    assert disable(path_of(bench)).left == []


def test_record_that_is_a_pipe_is_not_waited_for(bench: Bench) -> None:
    enable(path_of(bench))
    plant_a_pipe(bench, "RECORD")
    for command in (enable, disable):
        with pytest.raises(OSError, match="It is no regular file"):
            command(path_of(bench))


def test_what_has_no_record_is_not_guessed(bench: Bench) -> None:
    bench.add(NAME, "0.9")
    (bench.site_packages / "pip_linkmode-0.9.dist-info" / "RECORD").unlink()
    with pytest.raises(EnableRefusedError, match="has no RECORD; use what installed"):
        disable(path_of(bench))


def test_nothing_outside_of_the_environment_is_removed(bench: Bench) -> None:
    outside = bench.root / "outside"
    outside.touch()
    bench.add(NAME, "0.9")
    with (bench.site_packages / "pip_linkmode-0.9.dist-info/RECORD").open("a") as file:
        file.write("../../../../outside,,\n")
    disable(path_of(bench))
    assert outside.exists()


def test_nothing_behind_a_link_to_a_directory_is_removed(bench: Bench) -> None:
    outside = bench.root / "outside"
    (outside / "empty").mkdir(parents=True)
    for name in ("file", "module.cpython-311.pyc"):
        (outside / name).touch()
    bench.add(NAME, "0.9")
    (bench.site_packages / "link").symlink_to(outside)
    (bench.site_packages / "package").mkdir()
    (bench.site_packages / "package/__pycache__").symlink_to(outside)
    with (bench.site_packages / "pip_linkmode-0.9.dist-info/RECORD").open("a") as file:
        file.write("link/file,,\nlink/empty/file,,\npackage/module.py,,\n")
    before = sorted(outside.iterdir())
    disable(path_of(bench))
    assert sorted(outside.iterdir()) == before
    assert bench.there() == ["pip-26.0"]


def test_library_with_pip_is_the_one(bench: Bench) -> None:
    other = bench.site_packages.parents[1] / "python0.0" / "site-packages"
    other.mkdir(parents=True)
    assert enable(path_of(bench)).site_packages == str(bench.site_packages)
    assert importlib.util.find_spec("wrapt") is not None
