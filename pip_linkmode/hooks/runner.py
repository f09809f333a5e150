"""Follow pip into the interpreters that it runs itself in.

``pip --python OTHER`` and pip's virtual build environments run pip's own
``__pip-runner__.py`` with another interpreter, whose environment may never have heard
of us.  pip asks ``get_runnable_pip`` for that file; it gets one that takes us along and
then runs the file it asked for.  Neither environment variables nor ``sys.path`` are
touched: programs that this pip starts do not load pip-linkmode.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import wraps
from typing import TYPE_CHECKING

from pip_linkmode.hooks.package import locations, start_module

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


_NAME = "__pip-runner__.py"
# Python 2 compatible up to the call of pip's runner, which tells old interpreters that
# they are too old, as it does without us.
_RUNNER = """\
import runpy
import sys

REAL = {real}

if sys.version_info >= (3, 10):
    try:
        start = {{"__name__": "pip_linkmode_elsewhere"}}
        exec({start}, start)
        start["activate"]()
    except Exception:
        pass

sys.argv[0] = REAL
sys.path[0] = REAL[: -len({name}) - 1]
runpy.run_path(REAL, run_name="__main__")
"""


def apply(module: ModuleType) -> None:
    """Patch ``get_runnable_pip`` in the module that defines it.

    :param module: ``pip._internal.build_env`` up to pip 26.1,
        ``pip._internal.utils.misc`` from pip 26.2 on, just executed
    """
    stock = vars(module).get("get_runnable_pip")
    if stock is not None and stock.__module__ == module.__name__:
        vars(module)["get_runnable_pip"] = _with_us(stock)


def _with_us(stock: Callable[[], str]) -> Callable[[], str]:
    runners: dict[str, str] = {}

    @wraps(stock)
    def get_runnable_pip() -> str:
        real = stock()
        if os.path.basename(real) != _NAME:  # pip in a zip file runs as it is
            return real
        if real not in runners:
            try:
                runners[real] = _write(real)
            except OSError:
                return real
        return runners[real]

    return get_runnable_pip


def _write(real: str) -> str:
    directory = tempfile.mkdtemp(prefix="pip-linkmode-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = os.path.join(directory, _NAME)
    text = _RUNNER.format(
        real=ascii(real), name=ascii(_NAME), start=ascii(start_module(locations()))
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path
