"""What is told of the settings, of the hook and of the stores is how it is."""

from __future__ import annotations

import configparser
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pip_linkmode
from pip_linkmode import pip_config
from pip_linkmode.cli import console
from pip_linkmode.cli.main import main
from pip_linkmode.errors import SettingsError
from pip_linkmode.files import file_system
from pip_linkmode.hooks import inspection, install_wheel
from pip_linkmode.hooks.inspection import inspect
from pip_linkmode.link import primitives
from pip_linkmode.maintenance import enabled, status
from pip_linkmode.pip_config import effective_settings
from tests.support.house import House

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(pip_linkmode.__file__).parent


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let nothing of this machine's settings be seen."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    for name in os.environ:
        if name.startswith(("PIP_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))


# --- what is in force, and where it was set -------------------------------------------


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Files:
    found = ([str(tmp_path / "all")], [str(tmp_path / "own")], [str(tmp_path / "here")])
    monkeypatch.setattr(pip_config, "configuration_files", lambda _: found)
    return Files(tmp_path)


class Files:
    """Writes pip's configuration files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, text: str) -> str:
        (self.path / name).write_text(text)
        return str(self.path / name)


def test_defaults(files: Files) -> None:
    found = effective_settings(str(files.path))
    assert found.settings.requested == "auto"
    assert found.settings.stores == (f"{pip_config.cache_directory()}/link-store",)
    assert found.sources == dict.fromkeys(("mode", "store", "exclude"), "default")


def test_strongest_file_is_named(files: Files) -> None:
    files.write("all", "[global]\nlink-mode = copy\n")
    own = files.write("own", "[global]\nlink_mode = symlink\nlink-exclude = a\n  b\n")
    found = effective_settings(str(files.path))
    assert found.settings.requested == "symlink"
    assert found.settings.exclude == ("a", "b")
    assert found.sources["mode"] == found.sources["exclude"] == f"{own} [global]"


def test_section_of_the_command_is_stronger_than_any_file(files: Files) -> None:
    everywhere = files.write("all", "[install]\nlink-mode = copy\n")
    files.write("here", "[global]\nlink-mode = symlink\n[list]\nlink-mode = off\n")
    assert effective_settings("").sources["mode"] == f"{everywhere} [install]"


def test_variable_is_stronger_than_files(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("own", "[install]\nlink-mode = copy\n")
    monkeypatch.setenv("PIP_LINK_MODE", "hardlink")
    assert effective_settings("").sources["mode"] == "PIP_LINK_MODE"
    monkeypatch.setenv("PIP_LINK_MODE", "")
    assert effective_settings("").settings.requested == "copy"


def test_file_of_a_variable_replaces_that_of_the_user(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write("own", "[global]\nlink-mode = copy\nlink-exclude = a\n")
    named = files.write("named", "[global]\nlink-mode = clone\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", named)
    found = effective_settings("")
    assert found.sources["mode"] == f"{named} [global]"
    assert found.settings.exclude == ()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert effective_settings("").sources["mode"] == "default"


def test_file_that_is_none_is_left_to_pip(files: Files) -> None:
    own = files.write("own", "link-mode = copy\n")
    found = effective_settings("")
    assert found.settings.requested == "auto"
    assert found.problem == f"pip cannot parse {own}"


def test_value_that_pip_would_refuse_is_shown(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    del files
    monkeypatch.setenv("PIP_LINK_MODE", "fastest")
    found = effective_settings("")
    assert found.sources["mode"] == "default"
    assert str(found.problem).startswith(
        "pip refuses the link mode 'fastest' (set by PIP_LINK_MODE)"
    )


@pytest.mark.parametrize(
    ("value", "trusted"), [("", False), ("0", False), ("1", True), ("Yes", True)]
)
def test_group_is_trusted_as_pip_reads_it(
    files: Files, monkeypatch: pytest.MonkeyPatch, value: str, trusted: bool
) -> None:
    del files
    monkeypatch.setenv("PIP_LINK_TRUST_GROUP", value)
    assert effective_settings("").settings.trust_group is trusted


def test_store_follows_the_cache_directory(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = files.write("own", "[global]\ncache-dir = /cache\n")
    found = effective_settings("")
    assert found.settings.stores == ("/cache/link-store",)
    assert found.sources["store"] == f"cache-dir in {own} [global]"
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    found = effective_settings("")
    assert found.settings.stores == ()
    assert found.sources["store"] == "PIP_NO_CACHE_DIR"
    assert effective_settings("", "/store").sources["store"] == "--link-store"
    with pytest.raises(SettingsError):
        effective_settings("", "relative")


def test_places_are_those_that_pip_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    configuration: Any = pytest.importorskip("pip._internal.configuration")
    theirs = configuration.get_configuration_files()
    ours = pip_config.configuration_files(sys.prefix)
    assert list(ours) == [theirs["global"], theirs["user"], theirs["site"]]
    if sys.platform == "linux":
        with_pip = pip_config.cache_directory()
        monkeypatch.setattr(pip_config, "appdirs", None)
        assert pip_config.configuration_files(sys.prefix) == ours
        assert pip_config.cache_directory() == with_pip


# --- whether pip links ----------------------------------------------------------------


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    """An environment with a pip and with us, as far as can be seen."""
    path = tmp_path / "env" / "lib" / "python3.11" / "site-packages"
    for name in ("pip", "wrapt", "packaging", "pip_linkmode"):
        (path / name).mkdir(parents=True)
        (path / name / "__init__.py").write_text('__version__ = "1.2"\n')
    (path / "pip_linkmode.pth").touch()
    seam = path / inspection._SEAM
    seam.parent.mkdir(parents=True)
    leading = ", ".join(inspection.LEADING)
    seam.write_text(f"import os\ndef install_wheel({leading}, more=None): pass\n")
    return path


def remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path)


def test_seam_is_that_which_is_patched() -> None:
    assert inspection.LEADING == install_wheel._LEADING


def test_environment_that_links(site_packages: Path) -> None:
    found = inspect(["/nothing", str(site_packages)], here=False)
    assert (found.pip, found.pip_linkmode, found.problem) == ("1.2", "1.2", None)


def test_this_process_is_asked_whether_we_have_started(
    site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "meta_path", [])
    assert "start file of pip-linkmode is missing" in str(
        inspect([str(site_packages)], here=True).problem
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: shutil.rmtree(path / "pip"), "there is no pip"),
        (lambda path: shutil.rmtree(path / "pip_linkmode"), "is not installed"),
        (
            lambda path: (path / "pip_linkmode.pth").unlink(),
            "start file of pip-linkmode is missing",
        ),
        (lambda path: shutil.rmtree(path / "wrapt"), "wrapt is not installed"),
        (
            lambda path: remove(path / "wrapt", path / "packaging"),
            "wrapt and packaging are not installed; pip install wrapt packaging",
        ),
        (
            lambda path: (path / inspection._SEAM).write_text(
                "def install_wheel(x): pass"
            ),
            "pip 1.2 has another install_wheel",
        ),
        (
            lambda path: (path / inspection._SEAM).write_text("x = 1"),
            "another install_wheel",
        ),
        (
            lambda path: (path / inspection._SEAM).write_text("def"),
            "another install_wheel",
        ),
    ],
)
def test_what_is_in_the_way_is_named(
    site_packages: Path, change: Callable[[Path], object], problem: str
) -> None:
    change(site_packages)
    assert problem in str(inspect([str(site_packages)], here=False).problem)


def test_editable_installation_is_found_by_its_metadata(site_packages: Path) -> None:
    shutil.rmtree(site_packages / "pip_linkmode")
    for name in ("other-2", "pip_linkmode-0.1"):
        (site_packages / f"{name}.dist-info").mkdir()
    assert inspect([str(site_packages)], here=False).pip_linkmode == "0.1"


def test_version_that_is_not_told(site_packages: Path) -> None:
    (site_packages / "pip" / "__init__.py").write_text("")
    assert inspect([str(site_packages)], here=False).pip == "?"


def serve(site_packages: Path) -> Path:
    """Replace the installed pip-linkmode by a start file; return where it leads."""
    elsewhere = site_packages.parents[3] / "elsewhere"
    elsewhere.mkdir()
    for name in ("pip_linkmode", "wrapt", "packaging"):
        (site_packages / name).rename(elsewhere / name)
    (site_packages / "pip_linkmode.pth").rename(
        site_packages / "_pip_linkmode_enabled.pth"
    )
    found = dict.fromkeys(("pip_linkmode", "wrapt", "packaging"), str(elsewhere))
    module = site_packages / "_pip_linkmode_enabled.py"
    module.write_text(f"import sys\nLOCATIONS = {found}\n")
    return elsewhere


def test_environment_that_is_served_from_elsewhere_links(site_packages: Path) -> None:
    elsewhere = serve(site_packages)
    found = inspect([str(site_packages)], here=False)
    assert (found.pip_linkmode, found.served_from) == ("1.2", str(elsewhere))
    assert found.problem is None
    shutil.rmtree(elsewhere / "wrapt")
    assert "wrapt is not installed" in str(
        inspect([str(site_packages)], here=False).problem
    )
    shutil.rmtree(elsewhere)
    assert "enable --again" in str(inspect([str(site_packages)], here=False).problem)


def test_start_module_without_a_start_file_starts_nothing(site_packages: Path) -> None:
    serve(site_packages)
    (site_packages / "_pip_linkmode_enabled.pth").unlink()
    assert "Run `pip-linkmode enable` for this" in str(
        inspect([str(site_packages)], here=False).problem
    )


def test_installed_pip_linkmode_is_the_one_that_counts(site_packages: Path) -> None:
    elsewhere = serve(site_packages)
    shutil.copytree(elsewhere, site_packages, dirs_exist_ok=True)
    (site_packages / "pip_linkmode.pth").touch()
    found = inspect([str(site_packages)], here=False)
    assert (found.served_from, found.problem) == (None, None)


@pytest.mark.parametrize(
    "text",
    ["", "LOCATIONS = {", "LOCATIONS = {}", "LOCATIONS = {'pip_linkmode': 1}", "\0"],
)
def test_start_module_that_cannot_be_parsed_is_none(
    site_packages: Path, text: str
) -> None:
    serve(site_packages)
    (site_packages / "_pip_linkmode_enabled.py").write_text(text)
    assert inspection.locations_in(str(site_packages)) is None


def test_copies_of_an_early_enable_are_told(site_packages: Path) -> None:
    assert not inspect([str(site_packages)], here=False).copied
    (site_packages / "pip_linkmode-0.1.dist-info").mkdir()
    (site_packages / "pip_linkmode-0.1.dist-info" / "INSTALLER").write_text(
        "pip-linkmode\n"
    )
    found = inspect([str(site_packages)], here=False)
    assert (found.copied, found.problem) == (True, None)


# --- stores ---------------------------------------------------------------------------


def look(house: House, environment: str) -> status.Status:
    house.site_packages(environment)
    return status.status(str(house.path / environment), str(house.root))


def test_modes_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(tmp_path)
    house.entry("a")

    def refuse(one: primitives.Link) -> None:
        raise OSError(95, "Operation not supported", one.target)

    def pretend(one: primitives.Link) -> None:
        primitives.copy(one)

    monkeypatch.setitem(primitives.PRIMITIVES, "clone", refuse)
    monkeypatch.setitem(primitives.PRIMITIVES, "hardlink", pretend)
    (store,) = look(house, "e").stores
    assert store.modes == {
        "clone": f"{file_system(str(tmp_path))} cannot clone",
        "hardlink": "the result is not a hardlink",
        "symlink": None,
        "copy": None,
    }
    assert os.listdir(house.site_packages("e")) == []


def test_empty_store_is_tried_with_a_file_of_its_own(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.root.mkdir()
    (store,) = look(house, "e").stores
    assert (store.entries, store.bytes, store.is_estimate) == (0, 0, False)
    assert store.modes["symlink"] is None
    assert not os.listdir(house.root / "v1" / "staging")


def test_entry_that_goes_meanwhile_is_not_tried(tmp_path: Path) -> None:
    house = House(tmp_path)
    entry = house.entry("a")
    os.unlink(os.path.join(entry.path, "manifest.json"))
    (store,) = look(house, "e").stores
    assert store.modes["symlink"] is None


def test_empty_store_that_is_read_only_cannot_be_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    (house.root / "v1").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)
    (store,) = look(house, "e").stores
    assert (store.writable, store.modes) == (False, {})


def test_stores_that_cannot_be_used(tmp_path: Path) -> None:
    house = House(tmp_path)
    (store,) = look(house, "e").stores
    assert store.problem == "it does not exist yet"
    assert not house.root.exists()
    house.root.touch()
    (store,) = look(house, "e").stores
    assert "is not a directory" in str(store.problem)


def test_size_is_an_estimate_where_there_is_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path)
    for name in "abcd":
        house.entry(name)
    (exact,) = look(house, "e").stores
    monkeypatch.setattr(status, "_MOMENT", -1)
    (estimate,) = look(house, "e").stores
    assert (exact.is_estimate, estimate.is_estimate) == (False, True)
    assert estimate.entries == exact.entries == 4
    assert estimate.bytes == pytest.approx(exact.bytes, rel=0.1)


def test_ten_thousand_entries_take_no_second(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.root.mkdir()
    for number in range(10_000):
        digest = f"{number * 7919 % 65536:04x}" * 16
        os.makedirs(house.store.path(digest), exist_ok=True)
    start = time.process_time()  # other tests run beside this one
    (store,) = look(house, "e").stores
    assert store.entries > 9_000
    assert time.process_time() - start < 1


def test_status_says_all_of_it(
    tmp_path: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(tmp_path)
    house.entry("a")
    (tmp_path / "env" / "pip.conf").write_text(
        f"[install]\nlink-mode = symlink\nlink-exclude = b\n"
        f"link-store = {house.root}:{tmp_path}/nothing\n"
    )
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert main(["status", "--environment", str(tmp_path / "env")]) == 0
    text = capsys.readouterr().out
    source = f"(set by {tmp_path}/env/pip.conf [install])"
    assert f"Mode         symlink works here {source}" in text
    assert f"Excluded     b {source}" in text
    assert f"Store        {house.root} {source}" in text
    assert "1 entry, " in text
    assert "it does not exist yet" in text
    assert "symlink  works" in text
    assert "pip 1.2, links the wheels that it installs" in text
    assert "pip-linkmode 1.2, installed there" in text
    (site_packages / "pip_linkmode.pth").unlink()
    (tmp_path / "env" / "pip.conf").write_text("[global]\nno-cache-dir = yes\n")
    assert main(["status", "--environment", str(tmp_path / "env")]) == 1
    text = capsys.readouterr().out
    assert "not linking: the start file of pip-linkmode is missing" in text
    assert f"Store        none (set by {tmp_path}/env/pip.conf [global])" in text


def test_status_names_the_pip_linkmode_that_pip_loads(
    tmp_path: Path, site_packages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "env" / "pyvenv.cfg").touch()
    command = ["status", "--environment", str(tmp_path / "env")]
    (site_packages / "pip_linkmode-1.2.dist-info").mkdir()
    installer = site_packages / "pip_linkmode-1.2.dist-info" / "INSTALLER"
    installer.write_text("pip-linkmode\n")
    assert main(command) == 0
    assert "pip-linkmode 1.2, linked there by an early" in capsys.readouterr().out
    shutil.rmtree(installer.parent)
    elsewhere = serve(site_packages)
    enabled.add(str(site_packages))
    assert main(command) == 0
    text = capsys.readouterr().out
    assert f"pip-linkmode 1.2, loaded from {elsewhere}" in text
    assert "leads nowhere" not in text
    shutil.rmtree(elsewhere)
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        f"             {site_packages}",
        "             Run: pip-linkmode enable --again",
    ]


@pytest.mark.parametrize(
    ("lines", "code", "shown"),
    [
        ("link-mode = auto", 0, f"Mode         auto {console.arrow()} hardlink here"),
        ("link-mode = hardlink", 0, "Mode         hardlink works here"),
        ("link-mode = off", 1, "not linking: the link mode is off (set by "),
        ("link-mode = fast", 1, "not linking: pip refuses the link mode 'fast'"),
        ("link-store = ROOT/other", 1, "not linking: ROOT/other is not a store"),
        ("link-store = ROOT/missing", 0, "it does not exist yet"),
        ("no-cache-dir = yes", 1, "not linking: there is no cache directory"),
    ],
)
def test_status_fails_where_pip_does_not_link(  # six are fixtures
    tmp_path: Path,
    site_packages: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lines: str,
    code: int,
    shown: str,
) -> None:
    def refuse(link: primitives.Link) -> None:
        raise OSError(95, "Operation not supported", link.target)

    monkeypatch.setitem(primitives.PRIMITIVES, "clone", refuse)
    assert site_packages.exists()
    house = House(tmp_path)
    house.entry("a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    store = "" if "store" in lines or "cache" in lines else f"link-store={house.root}\n"
    text = f"[install]\n{lines}\n{store}".replace("ROOT", str(tmp_path))
    (tmp_path / "env" / "pip.conf").write_text(text)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    assert main(["status", str(tmp_path / "env")]) == code
    assert shown.replace("ROOT", str(tmp_path)) in capsys.readouterr().out


def test_configuration_that_may_not_be_read_is_passed_over_as_by_pip(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(configparser.RawConfigParser, "read", refuse)
    found = effective_settings(str(files.path))
    assert found.sources["mode"] == "default"
    assert found.problem is None
