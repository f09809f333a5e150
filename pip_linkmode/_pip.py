"""What the command takes from pip, if it is there: where its files are, and its looks.

Not a word of this is needed: without pip the places are the documented ones, and the
bars are drawn in plain characters.  What patches pip is elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

appdirs: Any = None
progress: Any = None

# Whatever ails that pip, the answers do not depend on it.
with contextlib.suppress(Exception):
    from pip._internal.utils import appdirs  # type: ignore[no-redef]  # or None
if sys.stderr.isatty():
    with contextlib.suppress(Exception):
        from pip._vendor.rich import progress  # type: ignore[no-redef]  # noqa: F401  # or None


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
