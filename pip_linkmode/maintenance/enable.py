"""Let the pip of another environment load this pip-linkmode, and stop it.

Nothing is installed there: a start module names the directories of this pip-linkmode,
and two start files run it (``.pth``, and ``.start`` for Python 3.15).  ``pip list`` and
``pip freeze`` do not change, and an upgrade of this pip-linkmode serves all.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.environment import Environment
from pip_linkmode.errors import EnableRefusedError, LinkmodeError, describe_error
from pip_linkmode.files import read_regular
from pip_linkmode.hooks.inspection import START_MODULE, copied_to, locations_in
from pip_linkmode.hooks.package import (
    REQUIREMENTS,
    locations,
    start_module,
    version_of,
)
from pip_linkmode.maintenance import enabled
from pip_linkmode.maintenance.early_enable import (
    LEFT_OVER,
    bytecode_of,
    remove_copies,
    unlink,
)
from pip_linkmode.maintenance.enable_checks import (
    NAME,
    check_not_managed,
    check_python,
    check_trusted,
    problems_of_pip,
    version_in,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.environments.distribution import Distribution

_LARGEST = 1 << 20
"""Bytes of a start file."""
_START_FILES = {
    f"{START_MODULE}.pth": (
        f'import sys; exec("try:\\n    from {START_MODULE} import activate\\n'
        'except Exception:\\n    pass\\nelse:\\n    activate()")\n'
    ),
    f"{START_MODULE}.start": f"{START_MODULE}:activate\n",
}


@dataclass
class Enabled:
    """One environment that was to be enabled."""

    site_packages: str
    outcome: str = ""
    """``enabled``, ``renewed``, ``was enabled`` or ``has its own``."""
    pip_linkmode: str | None = None
    """The directory of the pip-linkmode that its pip loads."""
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None
    """Why it could not be done, in one sentence."""


@dataclass
class Disabled:
    """One environment that was to be disabled."""

    site_packages: str
    was_enabled: bool = False
    """Whether it had a start file."""
    removed: list[str] = field(default_factory=list)
    """Distributions that an early ``enable`` had put there."""
    left: list[str] = field(default_factory=list)
    """Distributions that an early ``enable`` put there, and that others need."""
    refused: str | None = None
    """Why it could not be done, in one sentence."""


def site_packages_of(environment: str) -> str:
    """Return the site-packages directory that has pip, if there are several.

    :param environment: a path as for
        :meth:`pip_linkmode.environments.environment.Environment.find`
    :raises EnvironmentUnknownError: if it is not an environment
    """
    found = [one.site_packages for one in Environment.find(environment)]
    return next((one for one in found if version_in(one, "pip") is not None), found[0])


# --- enable ---------------------------------------------------------------------------


def enable(site_packages: str, *, break_system_packages: bool = False) -> Enabled:
    """Make the pip of an environment load this pip-linkmode.

    :param site_packages: absolute path
    :param break_system_packages: whether to do so in an environment that a system's
        package manager manages (:pep:`668`)
    :returns: the report; a refusal is in it
    """
    report = Enabled(site_packages)
    try:
        with _lock(site_packages):
            _enable(report, break_system_packages=break_system_packages)
    except (LinkmodeError, OSError) as error:
        report.refused = describe_error(error)
    return report


def unserved() -> list[str]:
    """Return the environments that this user has enabled whose start file is dead.

    :returns: their site-packages directories
    """
    found = []
    for site_packages in enabled.listed():
        named = locations_in(site_packages)
        if named is not None and version_of(named["pip_linkmode"]) is None:
            found.append(site_packages)
    return found


def enable_again() -> list[Enabled]:
    """Renew all environments that :func:`unserved` returns."""
    return [enable(one, break_system_packages=True) for one in unserved()]


def _enable(report: Enabled, *, break_system_packages: bool) -> None:
    site_packages, found = report.site_packages, locations()
    check_python(site_packages)
    if not break_system_packages:
        check_not_managed(site_packages)
    copied = copied_to(site_packages)
    is_here = os.path.realpath(site_packages) == os.path.realpath(found["pip_linkmode"])
    if is_here or (version_in(site_packages, NAME) is not None and not copied):
        report.outcome = "has its own"
        return
    for name in (NAME, *REQUIREMENTS):
        check_trusted(name, found.get(name.replace("-", "_")), site_packages)
    report.pip_linkmode = os.path.join(found["pip_linkmode"], "pip_linkmode")
    report.warnings += problems_of_pip(site_packages)
    module = os.path.join(site_packages, f"{START_MODULE}.py")
    was_enabled = os.path.lexists(module)
    remove_copies(copied)
    files = {f"{START_MODULE}.py": start_module(found), **_START_FILES}
    written = [_write(site_packages, name, text) for name, text in files.items()]
    if any(written):
        # Bytecode is compared with its source by a whole second and the size.
        for path in bytecode_of(module):
            unlink(site_packages, path)
    report.outcome = "enabled"
    if was_enabled:
        report.outcome = "renewed" if any(written) else "was enabled"
    try:
        enabled.add(site_packages)
    except OSError as error:
        report.warnings.append(
            "`pip-linkmode enable --again` will not find this environment: "
            f"{describe_error(error)}"
        )


def _write(site_packages: str, name: str, text: str) -> bool:
    """Write a file by one rename, unless it is as it has to be."""
    path = os.path.join(site_packages, name)
    with contextlib.suppress(OSError, ValueError):
        if read_regular(path, _LARGEST).decode() == text:
            return False
    with Environment(site_packages).hold(path) as held:
        name = f"{LEFT_OVER}{os.urandom(8).hex()}"
        beside = os.path.join(os.path.dirname(held), name)
        with open(beside, "x", encoding="utf-8", newline="\n") as file:
            # Root may enable an environment for its owner.
            os.chmod(file.fileno(), 0o644)
            file.write(text)
        os.replace(beside, held)
    return True


# --- disable --------------------------------------------------------------------------


def disable(site_packages: str) -> Disabled:
    """Remove the start files of an environment, and files of an early ``enable``.

    :param site_packages: absolute path
    :returns: the report; a refusal is in it
    """
    report = Disabled(site_packages)
    try:
        with _lock(site_packages):
            _disable(report)
    except (LinkmodeError, OSError) as error:
        report.refused = describe_error(error)
    return report


def _disable(report: Disabled) -> None:
    site_packages = report.site_packages
    module = os.path.join(site_packages, f"{START_MODULE}.py")
    for path in (
        *(os.path.join(site_packages, name) for name in _START_FILES),
        module,
        *bytecode_of(module),
    ):
        if unlink(site_packages, path):
            report.was_enabled = True
    with contextlib.suppress(OSError):  # it has other bytecode, or does not exist
        os.rmdir(os.path.join(site_packages, "__pycache__"))
    copied = copied_to(site_packages)
    removed = remove_copies(copied)
    report.removed = [_title(one) for one in removed]
    report.left = [_title(one) for one in copied if one not in removed]
    with contextlib.suppress(OSError):  # then the list has one environment too many
        enabled.remove(site_packages)
    own = version_in(site_packages, NAME)
    if own is not None:
        msg = (
            f"{NAME} {own} is installed there, and pip uses it. "
            f"Run the pip of that environment: pip uninstall {NAME}"
        )
        raise EnableRefusedError(msg)


@contextlib.contextmanager
def _lock(site_packages: str) -> Iterator[None]:
    """Lock an environment, and remove left-overs of a killed process."""
    with Environment(site_packages).lock():
        for path in glob.glob(
            os.path.join(glob.escape(site_packages), f"{LEFT_OVER}*")
        ):
            with Environment(site_packages).hold(path) as held:
                if os.path.isdir(held) and not os.path.islink(held):
                    shutil.rmtree(held)
                else:
                    os.unlink(held)
        yield


def _title(distribution: Distribution) -> str:
    return f"{canonicalize_name(distribution.name)} {distribution.version}"
