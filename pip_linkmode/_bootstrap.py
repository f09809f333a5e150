"""Wait for pip to load a command that installs, and for nothing else.

Runs at the start of every interpreter, from ``pip_linkmode.pth`` (Python 3.14 and
older) or ``pip_linkmode.start`` (:pep:`829`): it imports only ``sys``, never raises and
never prints.  It waits for *submodules* of pip, because pip's own
runner for build environments answers for the name ``pip`` itself.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_COMMANDS = "pip._internal.commands."
WATCHED = {
    **dict.fromkeys(
        (f"{_COMMANDS}{name}" for name in ("install", "wheel", "download", "lock")),
        "pip_linkmode.hooks.options",
    ),
    "pip._internal.req.req_uninstall": "pip_linkmode.hooks.uninstall",
    "pip._internal.build_env": "pip_linkmode.hooks.runner",
    "pip._internal.utils.misc": "pip_linkmode.hooks.runner",
}
"""The modules of pip that matter, and the module of ours that patches each."""


LOCATIONS: "dict[str, str]" = {}
"""Where this package and its requirements are, if a start module has named that."""


class _Trigger:
    """A finder that finds nothing itself, and runs our patch after pip's module."""

    def find_spec(
        self,
        fullname: str,
        path: "Sequence[str] | None" = None,
        target: "ModuleType | None" = None,
    ) -> "ModuleSpec | None":
        """Return the spec that the other finders give for a watched module."""
        if fullname not in WATCHED:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _PatchingLoader(spec.loader)  # type: ignore[assignment]  # duck-typed: importing the ABC would cost every interpreter
                return spec
        return None


class _PatchingLoader:
    """Stand in for a loader for one ``exec_module``, then put it back."""

    def __init__(self, loader: object) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def exec_module(self, module: "ModuleType") -> None:
        """Execute the module as its own loader does, then patch it."""
        loader = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = loader  # type: ignore[assignment]  # the original
        module.__loader__ = loader  # type: ignore[assignment]  # the original
        loader.exec_module(module)  # type: ignore[attr-defined]  # every loader has it
        _patch(module)


def _patch(module: "ModuleType") -> None:
    # A build backend may import pip where our directory has left sys.path; the
    # package's own __path__ still leads to the patch.  Whatever goes wrong there,
    # pip must work as if we were not installed.
    try:
        name = WATCHED[module.__name__]
        __import__(name)
        sys.modules[name].apply(module)
    except Exception:  # noqa: S110  # never worse than pip alone
        pass


def activate(locations: "dict[str, str] | None" = None) -> None:
    """Put the trigger first on ``sys.meta_path``, once.

    May be called twice in one process: a site directory can be processed again, and
    Python 3.15 may call a ``.start`` entry point for each directory it appears in.

    :param locations: given by a start module, see :mod:`pip_linkmode.hooks.elsewhere`
    """
    LOCATIONS.update(locations or {})
    if not any(type(finder).__name__ == "_Trigger" for finder in sys.meta_path):
        sys.meta_path.insert(0, _Trigger())
