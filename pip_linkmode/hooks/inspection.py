"""Inspect an environment's files: whether its pip is supported and links.

Nothing is imported and nothing is run: it works for any environment, without a pip that
starts, and in milliseconds.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.distribution import distributions
from pip_linkmode.files import read_regular
from pip_linkmode.hooks.package import REQUIREMENTS, version_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pip_linkmode.environments.distribution import Distribution


LEADING = ("name", "wheel_path", "scheme", "req_description", "pycompile")
"""How the parameters of pip's ``install_wheel`` begin, in the pips that we know."""
_SEAM = os.path.join("pip", "_internal", "operations", "install", "wheel.py")
START_MODULE = "_pip_linkmode_enabled"
"""The module that ``enable`` writes, and the stem of the start files beside it."""
ENABLED_BY_COPY = "pip-linkmode"
"""INSTALLER of distributions that the ``enable`` of early versions put there."""
_LARGEST = 1 << 20
"""Bytes of a start module."""


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
    """Requirements of pip-linkmode that are missing."""
    started: bool
    """Whether we are there when an interpreter starts."""
    served_from: str | None = None
    """The directory of a pip-linkmode elsewhere that a start file names."""
    copied: bool = False
    """Whether an early version of ``enable`` has put its files there."""

    @property
    def problem(self) -> str | None:
        """Why pip does not link, in one sentence; ``None`` if it does."""
        if self.pip is None:
            return "there is no pip; python -m ensurepip"
        if self.pip_linkmode is None:
            lost = (
                f"its start file leads to {self.served_from}, where pip-linkmode is "
                "missing. Run: pip-linkmode enable --again"
            )
            stock = "pip-linkmode is not installed there; run: pip-linkmode enable ENV"
            return lost if self.served_from else stock
        if not self.started:
            again = "Run `pip-linkmode enable` for this environment again"
            reinstall = "Run: pip install --force-reinstall pip-linkmode"
            remedy = again if self.served_from else reinstall
            return f"the start file of pip-linkmode is missing. {remedy}"
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
    found: dict[str, str] = {}
    for directory in path:
        for name in ("pip", "pip_linkmode", *REQUIREMENTS):
            if os.path.isfile(os.path.join(directory, name, "__init__.py")):
                found.setdefault(name, directory)
    linkmode = _editable(path)
    if "pip_linkmode" in found:
        linkmode = version_of(found["pip_linkmode"])
    stem, served = "pip_linkmode", None
    if linkmode is None:
        served = next(filter(None, map(locations_in, path)), None)
    if served is not None:
        stem, linkmode = START_MODULE, version_of(served["pip_linkmode"])
        found |= {
            name: directory
            for name, directory in served.items()
            if os.path.isfile(os.path.join(directory, name, "__init__.py"))
        }
    if here:
        started = any(type(f).__name__ == "_Trigger" for f in sys.meta_path)
    else:
        started = any(
            os.path.exists(os.path.join(directory, f"{stem}{suffix}"))
            for directory in path
            for suffix in (".pth", ".start")
        )
    return Hook(
        pip=version_of(found["pip"], "pip") if "pip" in found else None,
        pip_linkmode=linkmode,
        seam="pip" in found and _is_known(os.path.join(found["pip"], _SEAM)),
        missing=tuple(name for name in REQUIREMENTS if name not in found),
        started=started,
        served_from=served["pip_linkmode"] if served else None,
        copied=any(map(copied_to, path)),
    )


def locations_in(site_packages: str) -> dict[str, str] | None:
    """Return the directories that the start module of an environment names.

    :param site_packages: absolute path
    :returns: as :func:`pip_linkmode.hooks.package.locations`; ``None`` if there is no
        start module, or it cannot be read
    """
    path = os.path.join(site_packages, f"{START_MODULE}.py")
    with contextlib.suppress(OSError, SyntaxError, ValueError):
        text = read_regular(path, _LARGEST).decode()
        match = re.search(r"^LOCATIONS = (\{.*\})$", text, re.MULTILINE)
        found = ast.literal_eval(match[1]) if match else {}
        if "pip_linkmode" in found and all(isinstance(v, str) for v in found.values()):
            return dict(found)
    return None


def copied_to(site_packages: str) -> list[Distribution]:
    """Return the distributions that an early version of ``enable`` put there."""
    return [one for one in _listed(site_packages) if one.installer == ENABLED_BY_COPY]


def _listed(directory: str) -> list[Distribution]:
    try:
        return distributions(directory)
    except OSError:
        return []


def _editable(path: Sequence[str]) -> str | None:
    """Return the version of an editable installation, whose package is elsewhere."""
    for directory in path:
        for one in _listed(directory):
            if one.name == "pip_linkmode":
                return one.version
    return None


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
