"""Fill a store without installing anything.

pip itself finds, downloads and builds the wheels, for whichever interpreter they are to
be; afterwards they are prepared as by an installation.
"""

from __future__ import annotations

import os
import shutil
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
from pip_linkmode.prepare.preparer import LocalWheels, Preparer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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


class _StoredWheels(LocalWheels):
    """Wheels of which some are in a store, and not at their paths."""

    def __init__(self, stored: Mapping[str, str]) -> None:
        self._stored = stored

    def digest(self, path: str) -> str | None:
        return self._stored.get(path)

    def is_stand_in(self, path: str) -> bool:
        return path in self._stored


def fill(
    stores: Sequence[Store],
    wheels: Sequence[str],
    interpreter: Interpreter,
    on_progress: Callable[[str, float], object] = lambda *_: None,
    stored: Mapping[str, str] | None = None,
) -> FillReport:
    """Unpack and compile wheels into the first store that is writable.

    :param stores: in the order of look-up; a stored wheel is not unpacked again
    :param wheels: absolute paths
    :param interpreter: compiles
    :param on_progress: called with each wheel, and the share that is done
    :param stored: sha256 by path of wheels that are in a store, not at their paths
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
    preparer = Preparer(
        stores,
        umask=umask,
        pycompile=True,
        interpreter=interpreter,
        wheel_files=_StoredWheels(stored or {}),
    )
    try:
        preparer.start(wheels)
        for number, wheel in enumerate(wheels):
            name = os.path.basename(wheel)
            on_progress(name, number / len(wheels))
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
    finally:
        preparer.stop()
    return report


def _find(preparer: Preparer, wheel: str) -> PreparedWheel:
    """Get one wheel into the store, rebuilt if its entry is not sound."""
    try:
        return preparer.prepare(wheel)
    except EntryDamagedError:
        return preparer.prepare(wheel, replace=True)
