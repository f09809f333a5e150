"""Load a pip-linkmode that is installed elsewhere, when this environment's pip starts.

``pip-linkmode enable`` copies this module into an environment, with a start file that
calls :func:`activate`; ``pip-linkmode disable`` removes both.  ``pip --python`` runs it
as well.  It imports only ``sys`` until pip starts, never raises and never prints.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

LOCATIONS: "dict[str, str]" = {}
"""The directories that hold pip-linkmode and its requirements, by package."""


class _Elsewhere:
    """Find pip-linkmode in its own directory when pip starts, and at no other time."""

    def __init__(self) -> None:
        self._is_waiting, self._is_loading = True, False

    def find_spec(
        self,
        fullname: str,
        path: "Sequence[str] | None" = None,  # noqa: ARG002  # of the protocol
        target: "ModuleType | None" = None,  # noqa: ARG002  # of the protocol
    ) -> "ModuleSpec | None":
        """Load pip-linkmode before pip's first module; find nothing else."""
        if fullname == "pip._internal" and self._is_waiting:
            self._is_waiting = False
            self._load()
        elif fullname == "pip_linkmode" and self._is_loading:
            finder = sys.modules["importlib.machinery"].PathFinder
            spec: ModuleSpec | None = finder.find_spec(fullname, [LOCATIONS[fullname]])
            if spec is None or spec.origin is None:  # missing, or an empty directory
                raise ModuleNotFoundError(name=fullname)  # look nowhere else
            return spec
        return None

    def _load(self) -> None:
        # A pip-linkmode that is installed in the environment has put its own finder
        # there, from its own start file.
        if any(type(finder).__name__ == "_Trigger" for finder in sys.meta_path):
            return
        self._is_loading = True
        try:
            __import__("importlib.machinery")
            __import__("pip_linkmode._bootstrap")
            sys.modules["pip_linkmode._bootstrap"].activate(LOCATIONS)
        except Exception:  # pip-linkmode was moved or removed: pip works alone
            sys.modules.pop("pip_linkmode", None)
        finally:
            self._is_loading = False


_FINDER = _Elsewhere()


def activate() -> None:
    """Wait for pip; do nothing on a Python that is too old."""
    if sys.version_info >= (3, 10) and _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
