"""Put pip-linkmode into another environment by links, and take it out again.

What is linked are the files of the distributions that this very process runs from:
pip-linkmode, and what it needs if the environment does not have it.  The result is an
installation like any other, with a RECORD; ``INSTALLER`` says that it was us, so that
:func:`disable` can tell what it may take away.

The ``.dist-info`` is there, by one rename, before the first of the files that it lists,
and goes after the last of them.  So whoever is killed leaves what can be recognized:
the next :func:`enable` puts it right, and :func:`disable` takes it away.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import glob
import hashlib
import importlib.metadata
import io
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass, field
from email.parser import HeaderParser
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pip_linkmode.environments import environment as environment_module
from pip_linkmode.environments.distribution import (
    Distribution,
    distributions,
    is_editable,
)
from pip_linkmode.environments.environment import (
    Environment,
    directories_of,
    find,
    lock_environment,
)
from pip_linkmode.errors import EnableRefusedError
from pip_linkmode.files import TEMPORARY
from pip_linkmode.interpreters import Interpreter
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.store.paths import WRITTEN_BY_PIP

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


NAME = "pip-linkmode"
_OLDEST_PIP = Version("22.3")
_OLDEST_PYTHON = (3, 10)
_BINARY = (".so", ".pyd", ".dll", ".dylib")
_START_UP = (".pth", ".start")
_SYSTEM = "/usr/lib/python3/"
"""Where Debian's packages are, whichever Python runs."""
_OWN = frozenset({"RECORD", "INSTALLER", "REQUESTED"})
"""What is written anew in each environment."""


@dataclass
class Enabled:
    """One environment that pip-linkmode was put into."""

    site_packages: str
    linked: list[str] = field(default_factory=list)
    """Distributions that are there now and were not, with their versions."""
    already: list[str] = field(default_factory=list)
    """Distributions that were there."""
    files: int = 0
    warnings: list[str] = field(default_factory=list)
    refused: str | None = None
    """Why it could not be done, in one sentence."""


@dataclass
class Disabled:
    """One environment that pip-linkmode was taken out of."""

    site_packages: str
    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Distributions that came with it, and that others need."""
    refused: str | None = None
    """Why it could not be done, in one sentence."""


def enable(environment: str) -> Enabled:
    """Put pip-linkmode into an environment.

    :param environment: a path as for :func:`pip_linkmode.environments.environment.find`
    :raises EnvironmentUnknownError: if it is none
    :raises EnableRefusedError: if it cannot be done there, or not from here
    :raises EnvironmentBusyError: if another process is at work there
    :raises OSError: if the environment cannot be written
    """
    site_packages = library_of(environment)
    _check(site_packages)
    with _swept(site_packages):
        return _enable(site_packages)


def _enable(site_packages: str) -> Enabled:
    report = Enabled(site_packages)
    wanted, going = _plan(site_packages, report)
    _refuse_to_replace(wanted, going, site_packages)
    is_alike = _is_alike(site_packages)
    for distribution in going:
        _remove(distribution)
    linker = Linker()
    # Its own start-up file comes last: then all that it needs is there.
    for distribution in reversed(wanted):
        report.files += _put(distribution, site_packages, linker, is_alike=is_alike)
        report.linked.append(_title(distribution))
    return report


def _plan(
    site_packages: str, report: Enabled
) -> tuple[list[Distribution], list[Distribution]]:
    """Decide what is to be put into a library, and what is to be removed before."""
    here = {canonicalize_name(one.name): one for one in distributions(site_packages)}
    ours = _running(NAME)
    wanted, going = [], []
    found = here.get(canonicalize_name(NAME))
    if found and _is_whole(found) and found.version == ours.version:
        report.already.append(_title(found))
    elif found and found.installer != NAME:
        msg = (
            f"{site_packages} has {_title(found)}, which somebody else has installed; "
            f"upgrade it there with pip"
        )
        raise EnableRefusedError(msg)
    else:
        wanted.append(ours)
        going += [found] if found else []
    for requirement in _requirements(ours):
        found = here.get(canonicalize_name(requirement.name))
        if requirement.name == "pip":
            report.warnings += _about_pip(site_packages, found)
        elif found is None:
            wanted.append(_running(requirement.name))
        elif found.installer == NAME and not _is_whole(found):
            wanted.append(_running(requirement.name))
            going.append(found)
        elif _is_enough(requirement, found.version):
            report.already.append(_title(found))
        else:
            msg = (
                f"{site_packages} has {_title(found)}, and {NAME} needs {requirement}; "
                f"upgrade it there with pip"
            )
            raise EnableRefusedError(msg)
    return wanted, going


@contextlib.contextmanager
def _swept(site_packages: str) -> Iterator[None]:
    """Keep others of us out, and remove what one who was killed had only begun.

    :raises EnvironmentBusyError: if another process is at work there
    """
    with lock_environment(site_packages):
        for path in glob.glob(
            os.path.join(glob.escape(site_packages), f"{TEMPORARY}*")
        ):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
        yield


def _refuse_to_replace(
    wanted: Iterable[Distribution], going: Iterable[Distribution], site_packages: str
) -> None:
    """Refuse to write over what nobody can put back.

    :param wanted: what is to be put into a library
    :param going: what is to be removed from it before
    """
    listed = set()
    for distribution in going:
        running = _running(distribution.name)
        if os.path.samefile(running.site_packages, site_packages):
            msg = (
                f"{_title(distribution)} in {site_packages} is not whole, and runs "
                "this; enable it from another environment"
            )
            raise EnableRefusedError(msg)
        listed |= {row.path for row in distribution.rows()}
    for distribution in wanted:
        # Bytecode is nobody's work.
        for path, _ in _chosen(distribution, is_alike=False):
            target = os.path.normpath(os.path.join(site_packages, path))
            if os.path.lexists(target) and target not in listed:
                msg = (
                    f"{target} is somebody else's; remove it, "
                    f"or let pip install {canonicalize_name(distribution.name)} there"
                )
                raise EnableRefusedError(msg)


def library_of(environment: str) -> str:
    """Return the site-packages directory that has pip, if there are several.

    :param environment: a path as for :func:`pip_linkmode.environments.environment.find`
    :raises EnvironmentUnknownError: if it is none
    """
    found = find(environment)
    return next((one for one in found if _find(one, "pip")), found[0])


def _find(site_packages: str, name: str) -> Distribution | None:
    for one in distributions(site_packages):
        if canonicalize_name(one.name) == canonicalize_name(name):
            return one
    return None


def _check(site_packages: str) -> None:
    """Refuse what is no place for us."""
    parent = os.path.dirname(site_packages)
    version = re.fullmatch(r"python(\d+)\.(\d+)", os.path.basename(parent))
    if version and (int(version[1]), int(version[2])) < _OLDEST_PYTHON:
        msg = (
            f"{site_packages} is of Python {version[1]}.{version[2]}; {NAME} needs 3.10"
        )
        raise EnableRefusedError(msg)
    managed = os.path.join(parent, "EXTERNALLY-MANAGED")
    is_system = os.path.realpath(site_packages).startswith(_SYSTEM)
    if os.path.lexists(managed) or is_system:
        msg = f"{site_packages} belongs to the system; make a virtual environment"
        raise EnableRefusedError(msg)


def _running(name: str) -> Distribution:
    """Return an installed distribution of this very process."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        msg = (
            f"{name} is not installed where this runs, in {sys.prefix}; "
            "install it there with pip first"
        )
        raise EnableRefusedError(msg) from error
    for file in found.files or ():
        top, _, rest = str(file).replace(os.sep, "/").partition("/")
        if top.endswith(".dist-info") and rest == "RECORD":
            running = Distribution(os.path.abspath(str(found.locate_file(""))), top)
            if is_editable(running):
                msg = (
                    f"{name} is editable where this runs, in {sys.prefix}, so its "
                    "files are elsewhere; install it there without --editable first"
                )
                raise EnableRefusedError(msg)
            return running
    msg = (
        f"{name} has no RECORD where this runs, in {sys.prefix}; "
        "install it with pip in a virtual environment, and enable from there"
    )
    raise EnableRefusedError(msg)


def _requirements(distribution: Distribution) -> Iterator[Requirement]:
    path = os.path.join(distribution.site_packages, distribution.dist_info)
    for text in importlib.metadata.PathDistribution.at(path).requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _is_enough(requirement: Requirement, version: str) -> bool:
    try:
        return requirement.specifier.contains(version, prereleases=True)
    except InvalidVersion:  # pragma: no cover  # packaging 25 and older
        return False


def _about_pip(site_packages: str, found: Distribution | None) -> list[str]:
    if found is None:
        return [f"{site_packages} has no pip, so nothing will be linked until it has"]
    with contextlib.suppress(InvalidVersion):
        if Version(found.version) < _OLDEST_PIP:
            warning = (
                f"pip {found.version} in {site_packages} is too old to link anything; "
                f"upgrade it to {_OLDEST_PIP} or newer"
            )
            return [warning]
    return []


def _title(distribution: Distribution) -> str:
    return f"{canonicalize_name(distribution.name)} {distribution.version}"


def _is_whole(distribution: Distribution) -> bool:
    """Tell whether all files of a distribution are there, but for scripts."""
    inside = os.path.join(distribution.site_packages, "")
    paths = [
        row.path
        for row in distribution.rows()
        if row.path.startswith(inside) and not row.path.endswith(".pyc")
    ]
    return bool(paths) and all(map(os.path.lexists, paths))


def _is_alike(site_packages: str) -> bool:
    """Tell whether an environment has the interpreter that this runs in."""
    there = Environment(site_packages).python
    return there is not None and there.name == Interpreter.running().name


def _put(
    distribution: Distribution, site_packages: str, linker: Linker, *, is_alike: bool
) -> int:
    """Link a distribution into an environment; return how many files it has.

    :param is_alike: whether bytecode and extension modules fit
    """
    info = distribution.dist_info
    chosen = dict(_chosen(distribution, is_alike=is_alike))
    own = {"INSTALLER": f"{NAME}\n"}
    if canonicalize_name(distribution.name) == NAME:
        own["REQUESTED"] = ""
    if not is_alike and any(r.path.endswith(_BINARY) for r in distribution.rows()):
        # Without its extension modules it is what it is on any other platform.
        own["WHEEL"] = _plain_wheel(chosen.pop(f"{info}/WHEEL"))
    rows = [
        [path, *(_digest(source) if path[-4:] != ".pyc" else ("", ""))]
        for path, source in chosen.items()
    ]
    beside = os.path.join(site_packages, TEMPORARY + os.urandom(8).hex())
    os.mkdir(beside)
    for path in [path for path in chosen if path.startswith(f"{info}/")]:
        name = path.partition("/")[2]
        mode = "copy" if name in WRITTEN_BY_PIP else "auto"
        _link(chosen.pop(path), os.path.join(beside, name), linker, site_packages, mode)
    for name, text in own.items():
        _write(os.path.join(beside, name), text)
        rows.append([f"{info}/{name}", *_digest(os.path.join(beside, name))])
    rows.append([f"{info}/RECORD", "", ""])
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    _write(os.path.join(beside, "RECORD"), buffer.getvalue())
    os.rename(beside, os.path.join(site_packages, info))
    for path in sorted(chosen, key=_turn):
        _link(
            chosen[path],
            os.path.join(site_packages, path),
            linker,
            site_packages,
            "auto",
        )
    return len(rows)


def _turn(path: str) -> tuple[bool, bool]:
    """Return the place of a file in the order in which they are linked.

    What starts us is last; and no file that has to be there is before its bytecode.
    """
    return path.endswith(_START_UP) and "/" not in path, not path.endswith(".pyc")


def _chosen(distribution: Distribution, *, is_alike: bool) -> Iterator[tuple[str, str]]:
    """Yield what is to be linked: the path in RECORD, and the absolute one."""
    own = {f"{distribution.dist_info}/{name}" for name in _OWN}
    root = os.path.join(distribution.site_packages, "")
    for path, source, *_ in distribution.rows():
        # A script has the path of its interpreter in it.
        if not source.startswith(root) or path in own or not os.path.exists(source):
            continue
        if is_alike or not path.endswith((".pyc", *_BINARY)):
            yield path, source


def _link(
    source: str, target: str, linker: Linker, site_packages: str, mode: str
) -> None:
    real = os.path.realpath(source)
    status = os.stat(real)
    bits = stat.S_IMODE(status.st_mode)
    link = Link(real, target, status.st_size, status.st_mtime_ns, bits, bits)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    linker.link([link], mode=mode, store="", target_root=site_packages, created=[])


def _digest(path: str) -> tuple[str, str]:
    """Return what RECORD says of a file."""
    with open(path, "rb") as file:
        content = file.read()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}", str(len(content))


def _plain_wheel(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file.read().splitlines() if line.strip()]
    kept = [one for one in lines if not one.startswith(("Tag:", "Root-Is-Purelib:"))]
    return "\n".join([*kept, "Root-Is-Purelib: true", "Tag: py3-none-any", ""])


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8", newline="") as file:
        file.write(text)


def disable(environment: str) -> Disabled:
    """Take pip-linkmode out of an environment, and what came with it.

    :param environment: a path as for :func:`pip_linkmode.environments.environment.find`
    :raises EnvironmentUnknownError: if it is none
    :raises EnableRefusedError: if it cannot be told what belongs to it
    :raises EnvironmentBusyError: if another process is at work there
    :raises OSError: if the environment cannot be written
    """
    site_packages = library_of(environment)
    with _swept(site_packages):
        return _disable(site_packages)


def _disable(site_packages: str) -> Disabled:
    report = Disabled(site_packages)
    found = _find(site_packages, NAME)
    if found is not None:
        if not found.rows():
            msg = f"{_title(found)} in {site_packages} has no RECORD; use its installer"
            raise EnableRefusedError(msg)
        _remove(found)
        report.removed.append(_title(found))
    here = distributions(site_packages)
    ours = [one for one in here if one.installer == NAME]
    # One of ours may be needed by another one of ours only.
    while free := [one for one in ours if not any(_needs(o, one.name) for o in here)]:
        for one in free:
            _remove(one)
            report.removed.append(_title(one))
        here, ours = ([o for o in all_ if o not in free] for all_ in (here, ours))
    report.left = [_title(one) for one in ours]
    return report


def _needs(distribution: Distribution, name: str) -> bool:
    wanted = canonicalize_name(name)
    try:
        metadata = HeaderParser().parsestr(distribution.text("METADATA"))
    except FileNotFoundError:
        return False
    except OSError:  # then it cannot be told
        return True
    for text in metadata.get_all("Requires-Dist", ()):
        match = re.match(r"[\w.-]+", text)
        if match and canonicalize_name(match[0]) == wanted:
            return True
    return False


def _remove(distribution: Distribution) -> None:
    """Remove a distribution: what starts it first, what describes it last."""
    site_packages = distribution.site_packages
    info = os.path.join(site_packages, distribution.dist_info)
    is_inside = environment_module.inside(*directories_of(site_packages))
    described = os.path.join(info, "")
    paths = [
        row.path for row in distribution.rows() if not row.path.startswith(described)
    ]
    paths.sort(key=lambda path: not path.endswith(_START_UP))
    for path in paths:
        for one in filter(is_inside, (path, *_bytecode(path))):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(one)
    directories = filter(is_inside, _directories(paths, site_packages))
    for directory in sorted(directories, reverse=True):
        with contextlib.suppress(OSError):
            os.rmdir(directory)
    beside = os.path.join(site_packages, TEMPORARY + os.urandom(8).hex())
    os.rename(info, beside)
    shutil.rmtree(beside)


def _bytecode(path: str) -> list[str]:
    if not path.endswith(".py"):
        return []
    directory, name = os.path.split(path)
    cache = os.path.join(glob.escape(directory), "__pycache__")
    return glob.glob(os.path.join(cache, f"{glob.escape(name[:-3])}.*.pyc"))


def _directories(paths: Iterable[str], site_packages: str) -> set[str]:
    """Return the directories of some files that are below a library."""
    found = set()
    for path in paths:
        directory = os.path.dirname(path)
        while directory.startswith(os.path.join(site_packages, "")):
            found |= {directory, os.path.join(directory, "__pycache__")}
            directory = os.path.dirname(directory)
    return found
