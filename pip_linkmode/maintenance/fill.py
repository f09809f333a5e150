"""Fill a store without installing anything.

pip itself finds, downloads and builds the wheels, for whichever interpreter they are to
be; afterwards they are prepared as by an installation.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pip_linkmode.errors import (
    EntryDamagedError,
    FillRefusedError,
    SettingsError,
    WheelDeclinedError,
)
from pip_linkmode.files import current_umask
from pip_linkmode.interpreters import Interpreter, query_interpreter
from pip_linkmode.prepare.preparer import Preparer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pip_linkmode.prepare.preparer import PreparedWheel
    from pip_linkmode.store.store import Store


_PYTHONS = ("bin/python", "Scripts/python.exe")


@dataclass(frozen=True)
class FilledWheel:
    """One wheel that is in a store now."""

    wheel: str
    """Its file name."""
    name: str
    version: str
    sha256: str
    store: str
    fresh: bool
    """Whether it was unpacked just now."""
    compiled: bool
    """Whether its bytecode is there as well."""


@dataclass
class FillReport:
    """The result of filling a store."""

    interpreter: str
    """The interpreter tag: the name of the bytecode directories in the store."""
    wheels: list[FilledWheel] = field(default_factory=list)
    declined: dict[str, str] = field(default_factory=dict)
    """By file name of the wheel, why pip has to install it alone."""


def of_python(python: str | None) -> Interpreter:
    """Return the interpreter that wheels and bytecode are to be for.

    :param python: its path or name, or an environment; the running one if ``None``
    :raises SettingsError: if it is not an interpreter
    """
    if python is None:
        return Interpreter.running()
    candidates = [os.path.join(python, name) for name in _PYTHONS]
    for path in (*filter(os.path.exists, candidates), shutil.which(python)):
        found = query_interpreter(os.path.abspath(path)) if path else None
        if found is not None:
            return found
    msg = f"{python} is neither an interpreter nor an environment"
    raise SettingsError(msg)


def wheels_in(path: str) -> list[str]:
    """Return the wheels that a path means: itself, or those in it.

    :param path: of a wheel or a directory
    :returns: absolute paths; none if it is something else
    """
    path = os.path.abspath(path)
    if os.path.isdir(path):
        return sorted(glob.glob(os.path.join(glob.escape(path), "*.whl")))
    return [path] if path.endswith(".whl") and os.path.isfile(path) else []


def gather(
    directory: str,
    wanted: Iterable[str],
    files: Iterable[str] = (),
    constraints: Iterable[str] = (),
    python: str | None = None,
) -> list[str]:
    """Let pip get the wheels of requirements and of their dependencies.

    pip's messages go to the standard error stream.

    :param directory: absolute path of the directory that the wheels come into
    :param wanted: requirements
    :param files: paths of requirement files
    :param constraints: paths of constraint files
    :param python: absolute path of an interpreter; the running one if ``None``
    :returns: absolute paths of the wheels
    :raises FillRefusedError: if pip cannot get one
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    if python is not None:
        command += ["--python", python]
    command += ["wheel", "--wheel-dir", directory]
    for option, paths in (("-r", files), ("-c", constraints)):
        for path in paths:
            command += [option, path]
    code = subprocess.run(
        [*command, "--", *wanted],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        # Build requirements must not come into the store.
        env={**os.environ, "PIP_LINK_MODE": "off"},
    ).returncode
    if code:
        msg = f"pip wheel could not get the wheels: exit code {code}"
        raise FillRefusedError(msg)
    return wheels_in(directory)


def fill(
    stores: Sequence[Store],
    wheels: Sequence[str],
    interpreter: Interpreter,
    on_progress: Callable[[], object] = lambda: None,
) -> FillReport:
    """Unpack and compile wheels into the first store that is writable.

    :param stores: in the order of look-up; a stored wheel is not unpacked again
    :param wheels: absolute paths
    :param interpreter: compiles
    :param on_progress: called after each wheel
    :raises FillRefusedError: if no store takes anything
    :raises StoreRefusedError: if a store does not keep written files
    :raises OSError: if a wheel cannot be read, or the store not be written
    """
    umask = current_umask()
    if not any(store.accepts(umask) for store in stores):
        roots = os.pathsep.join(store.root for store in stores)
        why = "is read-only; set --link-store to one of your own"
        if any(store.writable for store in stores):
            why = f"is its group's, which could not read it: the umask is {umask:03o}"
        msg = f"the store {roots} {why}"
        raise FillRefusedError(msg)
    report = FillReport(interpreter.name)
    preparer = Preparer(stores, umask=umask, pycompile=True, interpreter=interpreter)
    try:
        preparer.start(wheels)
        for wheel in wheels:
            name = os.path.basename(wheel)
            try:
                found = _find(preparer, wheel)
            except WheelDeclinedError as error:
                report.declined[name] = str(error)
            else:
                entry = found.entry
                report.wheels.append(
                    FilledWheel(
                        name,
                        entry.name,
                        entry.version,
                        entry.sha256,
                        entry.store,
                        found.fresh,
                        found.bytecode is not None,
                    )
                )
            on_progress()
    finally:
        preparer.stop()
    return report


def _find(preparer: Preparer, wheel: str) -> PreparedWheel:
    """Get one wheel into the store, rebuilt if its entry is not sound."""
    try:
        return preparer.prepare(wheel)
    except EntryDamagedError:
        return preparer.prepare(wheel, replace=True)
