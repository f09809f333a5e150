"""What pip has parsed gets a meaning."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode import settings as settings_module
from pip_linkmode.errors import SettingsError
from pip_linkmode.settings import Settings, from_options, parse_stores

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Options:
    """The options of ``pip install``, as pip hands them to ``run``."""

    link_mode: str = "auto"
    link_store: str | None = None
    link_exclude: list[str] | None = None
    cache_dir: str | bool | None = "/cache"
    root_path: str | None = None
    target_dir: str | None = None
    prefix_path: str | None = None
    use_user_site: bool = False
    link_trust_group: bool = False


@dataclass
class LesserOptions:
    """The options of ``pip wheel``: no ``--root``, no ``--target``."""

    link_mode: str = "symlink"
    link_store: str | None = None
    link_exclude: list[str] | None = None
    cache_dir: str | bool | None = "/cache"


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


def test_defaults() -> None:
    assert from_options(Options()) == Settings(
        requested="auto", mode="auto", stores=("/cache/link-store",), exclude=()
    )


@pytest.mark.parametrize("mode", settings_module.MODES)
def test_every_mode_is_taken_as_it_is(mode: str) -> None:
    chosen = from_options(Options(link_mode=mode))
    assert (chosen.requested, chosen.mode, chosen.reason) == (mode, mode, None)
    assert chosen.enabled is (mode != "off")


def test_reflink_is_another_name_for_clone() -> None:
    chosen = from_options(Options(link_mode="reflink"))
    assert (chosen.requested, chosen.mode) == ("clone", "clone")
    assert "reflink" in settings_module.CHOICES


@pytest.mark.parametrize("cache_dir", [False, None, ""])
def test_no_cache_directory_no_store(cache_dir: str | bool | None) -> None:
    chosen = from_options(Options(cache_dir=cache_dir))
    assert chosen.stores == ()
    assert chosen.reason == "there is no cache directory"


def test_symlink_without_a_store_is_not_said_to_dangle() -> None:
    chosen = from_options(Options(link_mode="symlink", cache_dir=False))
    assert chosen.reason == "there is no cache directory"


def test_explicit_store_needs_no_cache_directory() -> None:
    chosen = from_options(Options(link_store="/store", cache_dir=False))
    assert (chosen.stores, chosen.reason) == (("/store",), None)


def test_explicit_store_comes_instead_of_the_default_one() -> None:
    assert from_options(Options(link_store="/store")).stores == ("/store",)


def test_exclusions_are_kept_as_spelled() -> None:
    excluded = from_options(Options(link_exclude=["Foo.Bar", "baz"])).exclude
    assert excluded == ("Foo.Bar", "baz")


def test_target_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = from_options(Options(target_dir="below"))
    assert chosen.target == str(tmp_path / "below")


def test_commands_without_root_and_target() -> None:
    chosen = from_options(LesserOptions())
    assert (chosen.mode, chosen.target) == ("symlink", None)


# --- where symlinks would dangle ------------------------------------------------------


def test_no_symlinks_into_a_temporary_store(temporary: Path) -> None:
    store = str(temporary / "store")
    chosen = from_options(Options(link_mode="symlink", link_store=store))
    assert (chosen.requested, chosen.mode) == ("symlink", "hardlink")
    assert "dangle" in (chosen.reason or "")
    assert store in (chosen.reason or "")
    assert not chosen.is_staging


def test_no_symlinks_if_the_temporary_directory_is_the_store(temporary: Path) -> None:
    chosen = from_options(Options(link_mode="symlink", link_store=str(temporary)))
    assert chosen.mode == "hardlink"


def test_no_symlinks_if_only_the_second_store_is_temporary(temporary: Path) -> None:
    stores = os.pathsep.join(("/store", str(temporary / "store")))
    chosen = from_options(Options(link_mode="symlink", link_store=stores))
    assert chosen.mode == "hardlink"


def test_no_symlinks_into_a_store_that_leads_to_a_temporary_one(
    temporary: Path, tmp_path: Path
) -> None:
    (tmp_path / "alias").symlink_to(temporary)
    store = str(tmp_path / "alias" / "store")
    chosen = from_options(Options(link_mode="symlink", link_store=store))
    assert chosen.mode == "hardlink"


def test_a_name_that_begins_like_the_temporary_directory_is_none(
    temporary: Path,
) -> None:
    store = f"{temporary}-not"
    chosen = from_options(Options(link_mode="symlink", link_store=store))
    assert (chosen.mode, chosen.reason) == ("symlink", None)


def test_no_symlinks_below_another_root() -> None:
    chosen = from_options(Options(link_mode="symlink", root_path="/image"))
    assert chosen.mode == "hardlink"
    assert "--root" in (chosen.reason or "")
    assert chosen.is_staging


@pytest.mark.parametrize("mode", ["auto", "clone", "hardlink", "copy"])
def test_other_modes_do_not_mind(mode: str, temporary: Path) -> None:
    options = Options(mode, link_store=str(temporary / "s"), root_path="/image")
    assert (from_options(options).mode, from_options(options).reason) == (mode, None)


# --- the list of stores ---------------------------------------------------------------


def test_stores_are_separated_like_paths() -> None:
    value = os.pathsep.join(("", "/one", "", "/two/../three/", ""))
    assert parse_stores(value) == ("/one", "/three")


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert parse_stores("~/store") == ("/home/someone/store",)


@pytest.mark.parametrize("path", ["store", "./store", "../store", "~no-such-user/x"])
def test_relative_store_is_a_usage_error(path: str) -> None:
    with pytest.raises(SettingsError, match=r"relative.*PIP_LINK_STORE"):
        parse_stores(os.pathsep.join(("/absolute", path)))


# --- where to -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "destination"),
    [
        ({}, sys.prefix),
        ({"prefix_path": "/opt/app"}, "/opt/app"),
        ({"root_path": "/image", "prefix_path": "/opt/app"}, "/image"),
        ({"target_dir": "/layer/python"}, "/layer/python"),
        ({"use_user_site": True}, os.path.expanduser("~")),
    ],
)
def test_destination_is_where_pip_installs(
    options: dict[str, Any], destination: str
) -> None:
    assert from_options(Options(**options)).destination == destination


def test_destination_is_the_users_if_pip_cannot_write_to_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert from_options(Options()).destination == os.path.expanduser("~")


def test_home_that_is_not_known_is_still_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A user without a name, in a container."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    chosen = from_options(Options(use_user_site=True)).destination
    assert os.path.isabs(chosen)


def test_build_environment_is_temporary(temporary: Path) -> None:
    chosen = from_options(Options(prefix_path="/opt/app")).for_build_environment()
    assert chosen.destination == str(temporary)


def test_group_is_trusted_if_that_is_asked_for() -> None:
    assert not from_options(Options()).trust_group
    chosen = from_options(Options(link_trust_group=True))
    assert chosen.trust_group
    assert chosen.environment()["PIP_LINK_TRUST_GROUP"] == "1"


# --- what nested pips get -------------------------------------------------------------


def variables(mode: str, *stores: str, exclude: tuple[str, ...] = ()) -> dict[str, str]:
    return Settings(mode, mode, stores, exclude).environment()


def test_nested_pips_get_the_same() -> None:
    assert variables("hardlink", "/one", "/two", exclude=("a", "b")) == {
        "PIP_LINK_MODE": "hardlink",
        "PIP_LINK_STORE": os.pathsep.join(("/one", "/two")),
        "PIP_LINK_EXCLUDE": "a b",
        "PIP_LINK_TRUST_GROUP": "",
    }


def test_build_environments_get_no_symlinks() -> None:
    assert variables("symlink", "/store")["PIP_LINK_MODE"] == "auto"


def test_nested_pips_do_not_make_a_store_of_their_own() -> None:
    assert variables("hardlink")["PIP_LINK_MODE"] == "off"


def test_a_list_without_a_store_is_a_usage_error() -> None:
    with pytest.raises(SettingsError, match="names no store"):
        parse_stores(os.pathsep)


def test_off_asks_for_nothing_else() -> None:
    settings = from_options(Options(link_mode="off", link_store="relative"))
    assert not settings.enabled
    assert settings.reason is None
