"""The settings of one pip command: link mode, stores, exclusions.

pip itself has parsed the command line, the environment and its configuration files by
the time :func:`from_options` is called, with pip's own precedence; this module only
gives the result a meaning.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from dataclasses import dataclass, replace

from pip_linkmode.errors import SettingsError
from pip_linkmode.files import is_temporary

TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Options(Protocol):
        """The part of pip's parsed options that matters here."""

        link_mode: str
        link_store: str | None
        link_exclude: list[str] | None
        cache_dir: str | bool | None


MODES = ("auto", "clone", "hardlink", "symlink", "copy", "off")
ALIASES = {"reflink": "clone"}
SHARING = ("auto", "clone", "hardlink", "symlink")
"""The modes that save disk space."""
CHOICES = (*MODES, *ALIASES)
DEFAULT_STORE = "link-store"
"""Name of the store in pip's cache directory; ``pip cache purge`` leaves it alone."""


@dataclass(frozen=True)
class Settings:
    """The settings of one pip command."""

    requested: str
    """The mode as the user named it, one of :data:`MODES`."""
    mode: str
    """The mode to begin with: *requested*, unless that would dangle."""
    stores: tuple[str, ...]
    """Absolute paths of the stores, in the order of look-up; may be empty."""
    exclude: tuple[str, ...]
    """Names of projects that get private copies, as the user spelled them."""
    reason: str | None = None
    """The reason why *mode* is not *requested*, or for no store: one sentence."""
    is_staging: bool = False
    """Whether ``--root`` is the reason, which the user knows of."""
    target: str | None = None
    """The directory of ``--target``, to which pip moves the installed files."""
    destination: str = sys.prefix
    """A directory on the file system that is installed to; need not exist."""
    dry_run: bool = False
    """Whether the command only resolves, so that build environments store nothing."""
    trust_group: bool = False
    """Whether stores are used that the members of their group can write to."""

    @property
    def enabled(self) -> bool:
        """Whether wheels are linked."""
        return self.mode != "off" and bool(self.stores)

    def for_build_environment(self) -> Settings:
        """Return the settings for an environment that will be thrown away.

        Symlinks would have to be registered; and the reason for another mode would be
        printed twice.
        """
        mode = "off" if self.dry_run or not self.stores else self.mode
        mode = "auto" if mode == "symlink" else mode
        return replace(
            self,
            requested=mode,
            mode=mode,
            reason=None,
            target=None,
            destination=tempfile.gettempdir(),
        )

    def environment(self) -> dict[str, str]:
        """Return the variables that hand these settings to nested pips.

        Options of the command line do not reach the pips of build environments.
        """
        return {
            "PIP_LINK_MODE": self.for_build_environment().mode,
            "PIP_LINK_STORE": os.pathsep.join(self.stores),
            "PIP_LINK_EXCLUDE": " ".join(self.exclude),
            "PIP_LINK_TRUST_GROUP": "1" if self.trust_group else "",
        }


def parse_stores(value: str) -> tuple[str, ...]:
    """Split a path-separated list of stores.

    :param value: the setting ``link-store``
    :raises SettingsError: if there is none, or one is relative: the links of an
        environment must not depend on the directory in which pip was started
    """
    stores = tuple(os.path.expanduser(path) for path in value.split(os.pathsep) if path)
    if not stores:
        msg = f"--link-store (PIP_LINK_STORE) names no store: {value!r}"
        raise SettingsError(msg)
    for path in stores:
        if not os.path.isabs(path):
            msg = (
                f"the store {path!r} is a relative path; "
                "give --link-store (PIP_LINK_STORE) an absolute one"
            )
            raise SettingsError(msg)
    return tuple(os.path.normpath(path) for path in stores)


def why_no_symlinks(stores: Sequence[str], root: object = None) -> str | None:
    """Return why links into some stores would dangle, if they would.

    :param stores: absolute paths
    :param root: of ``--root``, if it was given
    """
    if root:
        return "--root stages files for another root, where the store is not"
    for store in stores:
        if is_temporary(store):
            temporary = tempfile.gettempdir()
            return f"the store {store} is in the temporary directory {temporary}"
    return None


def from_options(options: Options) -> Settings:
    """Read the settings from pip's parsed options.

    :param options: as handed to the command's ``run``; ``cache_dir`` is ``False`` for
        ``--no-cache-dir`` and ``None`` where pip has disabled its cache
    :raises SettingsError: if a value is invalid
    """
    requested = ALIASES.get(options.link_mode, options.link_mode)
    reason = None
    if requested == "off":
        stores: tuple[str, ...] = ()
    elif options.link_store:
        stores = parse_stores(options.link_store)
    elif options.cache_dir:
        stores = (os.path.join(str(options.cache_dir), DEFAULT_STORE),)
    else:
        stores = ()
        reason = "there is no cache directory"
    mode, is_staging = requested, False
    if mode == "symlink" and stores:
        root = getattr(options, "root_path", None)
        why = why_no_symlinks(stores, root)
        if why is not None:
            mode, reason = "hardlink", f"symlinks would dangle: {why}"
            is_staging = bool(root)
    target = getattr(options, "target_dir", None)
    target = os.path.abspath(target) if target else None
    return Settings(
        requested=requested,
        mode=mode,
        stores=stores,
        exclude=tuple(options.link_exclude or ()),
        reason=reason,
        is_staging=is_staging,
        target=target,
        destination=target or _destination(options),
        dry_run=bool(getattr(options, "dry_run", False)),
        trust_group=bool(getattr(options, "link_trust_group", False)),
    )


def _destination(options: Options) -> str:
    prefix: str | None = getattr(options, "prefix_path", None)
    root: str | None = getattr(options, "root_path", None)
    if root or prefix:
        return os.path.abspath(root or prefix or "")
    # pip takes the user's, if nothing is said and it cannot write to the other
    # (commands/install.py, decide_user_install).
    if getattr(options, "use_user_site", None) or not os.access(
        sysconfig.get_path("purelib"), os.W_OK
    ):
        return os.path.abspath(os.path.expanduser("~"))
    return sys.prefix
