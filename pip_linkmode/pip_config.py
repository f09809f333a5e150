"""Read pip's configuration as pip does, and remember where each value was set.

pip merges its configuration files by section, ``[global]`` first, then that of the
command; environment variables are stronger than both (pip ``_internal/cli/parser.py``,
``_get_ordered_configuration_items``).
"""

from __future__ import annotations

import configparser
import contextlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pip_linkmode.settings import CHOICES, from_options, parse_stores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.settings import Settings


appdirs: Any = None
# Whatever ails that pip, the answers do not depend on it.
with contextlib.suppress(Exception):
    from pip._internal.utils import appdirs  # type: ignore[no-redef]  # or None


def cache_directory() -> str:
    """Return the default of pip's ``--cache-dir``."""
    if appdirs is not None:
        return str(appdirs.user_cache_dir("pip"))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "pip")


def configuration_files(prefix: str) -> tuple[list[str], list[str], list[str]]:
    """Return where pip's configuration may be: for all, for this user, and here.

    In the order of pip's ``_internal/configuration.py``, ``get_configuration_files``.

    :param prefix: of the environment
    """
    if appdirs is not None:
        everywhere = [str(path) for path in appdirs.site_config_dirs("pip")]
        own = str(appdirs.user_config_dir("pip"))
    else:
        everywhere = ["/etc/xdg/pip", "/etc"]
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        own = os.path.join(base, "pip")
    name = "pip.ini" if os.name == "nt" else "pip.conf"
    legacy = os.path.join(os.path.expanduser("~"), "pip" if os.name == "nt" else ".pip")
    return (
        [os.path.join(path, name) for path in everywhere],
        [os.path.join(path, name) for path in (legacy, own)],
        [os.path.join(prefix, name)],
    )


_SECTIONS = ("global", "install")
DEFAULT = "default"
_YES = ("y", "yes", "t", "true", "on", "1")
"""As pip reads a switch (``_internal/utils/misc.py``, ``strtobool``)."""


class Setting(NamedTuple):
    """One value, and its source."""

    value: str
    source: str
    """A variable, a file and section, an option, or :data:`DEFAULT`."""


@dataclass(frozen=True)
class EffectiveSettings:
    """The settings of the next ``pip install``."""

    settings: Settings
    sources: dict[str, str]
    """By ``mode``, ``store`` and ``exclude``."""
    problem: str | None = None
    """The reason why pip would refuse the configuration, as one sentence."""


@dataclass
class _Options:
    """pip's parsed options, as far as they matter here."""

    link_mode: str
    link_store: str | None
    link_exclude: list[str] | None
    cache_dir: str | bool | None
    link_trust_group: bool


def _files(prefix: str) -> Iterator[str]:
    """Yield the files that pip would read, the weakest first."""
    everywhere, own, here = configuration_files(prefix)
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    yield from everywhere
    if not (named and os.path.exists(named)):
        yield from own
    yield from here
    if named:
        yield named


def _sections(path: str, unread: list[str]) -> dict[tuple[str, str], Setting]:
    """Return the values of a file, by section and name."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        unread.append(path)
    except OSError:  # pip reads only files that it can read
        return {}
    return {
        (section, key.replace("_", "-").removeprefix("--")): Setting(
            value, f"{path} [{section}]"
        )
        for section in parser.sections()
        for key, value in parser.items(section)
    }


def _values(prefix: str, unread: list[str]) -> dict[str, Setting]:
    """Read the files and the variables.

    :param unread: receives the files that pip cannot parse
    """
    found: dict[tuple[str, str], Setting] = {}
    for path in _files(prefix):
        found.update(_sections(path, unread))
    merged: dict[str, Setting] = {}
    for wanted in _SECTIONS:
        for (section, name), setting in found.items():
            if section == wanted and setting.value:
                merged[name] = setting
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value:
            merged[name[4:].lower().replace("_", "-")] = Setting(value, name)
    return merged


def effective_settings(prefix: str, stores: str | None = None) -> EffectiveSettings:
    """Return the settings that are effective in an environment.

    :param prefix: absolute path of the environment
    :param stores: path-separated, as given on the command line; nothing is the default
        store, as for pip, whatever is set elsewhere
    :raises SettingsError: if a value is invalid
    """
    unread: list[str] = []
    values = _values(prefix, unread)
    if stores is not None:
        values["link-store"] = Setting(stores, "--link-store")
    default = Setting("auto", DEFAULT)
    mode = values.get("link-mode", default)
    problem = f"pip cannot parse {unread[0]}" if unread else None
    if mode.value not in CHOICES:
        problem = problem or (
            f"pip refuses the link mode {mode.value!r} (set by {mode.source}). "
            f"Choose one of {', '.join(CHOICES)}"
        )
        mode = default
    store = values.get("link-store")
    exclude = values.get("link-exclude", Setting("", DEFAULT))
    cache = values.get("cache-dir", Setting(cache_directory(), DEFAULT))
    disabled = values.get("no-cache-dir")
    trust = values.get("link-trust-group", Setting("", DEFAULT))
    options = _Options(
        mode.value,
        store.value if store else None,
        exclude.value.split(),
        False if disabled else os.path.abspath(os.path.expanduser(cache.value)),
        trust.value.lower() in _YES,
    )
    if store is None:
        store = disabled or Setting(
            "", DEFAULT if cache.source == DEFAULT else f"cache-dir in {cache.source}"
        )
    sources = {"mode": mode.source, "store": store.source, "exclude": exclude.source}
    found = from_options(options)
    if stores and found.mode == "off":
        # The mode says how to install; named stores are maintained all the same.
        found = replace(found, stores=parse_stores(stores))
    return EffectiveSettings(found, sources, problem)
