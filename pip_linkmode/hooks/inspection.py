"""Tell from its files whether an environment's pip is one that links.

Nothing is imported and nothing is run: it works for any environment, without a pip that
starts, and in milliseconds.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import distributions

if TYPE_CHECKING:
    from collections.abc import Sequence


LEADING = ("name", "wheel_path", "scheme", "req_description", "pycompile")
"""How the parameters of pip's ``install_wheel`` begin, in the pips that we know."""
_SEAM = os.path.join("pip", "_internal", "operations", "install", "wheel.py")
_NEEDED = ("wrapt", "packaging")
_START_UP = ("pip_linkmode.pth", "pip_linkmode.start")


@dataclass(frozen=True)
class Hook:
    """Whether an environment's pip links, and if not, why."""

    pip: str | None
    """Its version; ``None`` if there is no pip."""
    pip_linkmode: str | None
    """The version of ours that is there."""
    seam: bool
    """Whether pip's installer is of the shape that we know."""
    missing: tuple[str, ...]
    """What we need and is not there."""
    started: bool
    """Whether we are there when an interpreter starts."""

    @property
    def problem(self) -> str | None:
        """Why pip does not link, in one sentence; ``None`` if it does."""
        if self.pip is None:
            return "there is no pip; python -m ensurepip"
        if self.pip_linkmode is None:
            return "pip-linkmode is not installed; pip install pip-linkmode"
        if not self.started:
            return "nothing starts pip-linkmode; pip install --force-reinstall it"
        if self.missing:
            names = " and ".join(self.missing)
            verb = "is" if len(self.missing) == 1 else "are"
            return f"{names} {verb} not installed; pip install {' '.join(self.missing)}"
        if not self.seam:
            return f"pip {self.pip} has another install_wheel; pip-linkmode is too old"
        return None


def inspect(path: Sequence[str], *, here: bool) -> Hook:
    """Look at an environment.

    :param path: directories, as in :data:`sys.path`
    :param here: whether it is that of this process
    """
    found = {"pip": False, "pip_linkmode": False, **dict.fromkeys(_NEEDED, False)}
    versions: dict[str, str] = {}
    seam = started = False
    for directory in path:
        for name, is_found in found.items():
            module = os.path.join(directory, name, "__init__.py")
            if not is_found and os.path.isfile(module):
                found[name] = True
                versions[name] = _version(module)
                if name == "pip":
                    seam = _is_known(os.path.join(directory, _SEAM))
        started |= any(os.path.exists(os.path.join(directory, n)) for n in _START_UP)
        if not found["pip_linkmode"]:
            versions |= _editable(directory)
    if here:
        started = any(type(f).__name__ == "_Trigger" for f in sys.meta_path)
    return Hook(
        pip=versions.get("pip"),
        pip_linkmode=versions.get("pip_linkmode"),
        seam=seam,
        missing=tuple(name for name in _NEEDED if not found[name]),
        started=started,
    )


def _editable(directory: str) -> dict[str, str]:
    """Find an editable installation, whose package is elsewhere."""
    try:
        return {
            one.name: one.version
            for one in distributions(directory)
            if one.name == "pip_linkmode"
        }
    except OSError:
        return {}


def _version(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            match = re.search(r'^__version__ = "(.+)"', file.read(), re.MULTILINE)
    except OSError:
        match = None
    return match.group(1) if match else "?"


def _is_known(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == "install_wheel":
            names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
            return tuple(names[: len(LEADING)]) == LEADING
    return False
