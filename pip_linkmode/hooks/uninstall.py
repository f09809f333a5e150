"""Let pip's uninstaller take dangling links too.

Stock pip skips a file whose link leads nowhere, leaves the link behind, and a later
install writes through it (research: pypa/pip#14296).  This module is apart from
:mod:`pip_linkmode.hooks.install_wheel` because wrapt is too dear for an uninstall.
"""

from __future__ import annotations

import contextlib
import os
import sys
from functools import wraps
from importlib.util import cache_from_source

TYPE_CHECKING = False

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any


class _Process:
    """The state of this process; one pip command runs at a time."""

    registered = False


def _register_once() -> None:
    """Register the environment if it is a copy that its store does not know.

    Not during an installation, where pip 26.2 and newer object to an import.
    """
    if _Process.registered or "pip._internal.commands.install" in sys.modules:
        return
    _Process.registered = True
    with contextlib.suppress(Exception):  # never worse than pip alone
        __import__("pip_linkmode.install.presence")
        sys.modules["pip_linkmode.install.presence"].register_this_environment()


def apply(module: ModuleType) -> None:
    """Patch ``UninstallPathSet.add``.

    :param module: ``pip._internal.req.req_uninstall``, just executed
    """
    path_set = module.UninstallPathSet
    add = path_set.add

    @wraps(add)
    def add_dangling_links_too(self: Any, path: str) -> None:
        _register_once()
        add(self, path)
        # The same path as pip computes it: the parent resolved, the name kept.  The
        # cached function came with pip 23.1.
        normalize = getattr(self, "_normalize_path_cached", module.normalize_path)
        head, tail = os.path.split(path)
        link = os.path.join(normalize(head), os.path.normcase(tail))
        if os.path.islink(link) and not os.path.exists(link):
            (self._paths if self._permitted(link) else self._refuse).add(link)
            if link.endswith(".py"):
                self.add(cache_from_source(link))

    permitted = path_set._permitted  # noqa: SLF001  # pip's

    @wraps(permitted)
    def permitted_where_the_link_is(self: Any, path: str) -> bool:
        # Debian's asks where a link leads (pip 23.0.1+dfsg, utils/misc.py, is_local)
        # and leaves it; everybody else's asks where it is.
        return bool(
            permitted(self, path)
            or (os.path.islink(path) and permitted(self, os.path.dirname(path)))
        )

    path_set.add = add_dangling_links_too
    path_set._permitted = permitted_where_the_link_is  # noqa: SLF001  # pip's
