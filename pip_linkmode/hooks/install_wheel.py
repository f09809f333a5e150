"""Wrap ``install_wheel``, the seam in pip's installer.

The seam is ``pip._internal.operations.install.wheel.install_wheel``, whose leading
parameters have been the same since pip 21.3.  It is recognised by its shape, not by
pip's version: an unknown pip is left alone.  New keywords are passed on.

Loaded by :mod:`pip_linkmode.hooks.options` just before pip installs; everything is
imported here and now, because pip 26.3 blocks imports once it installs.
"""

from __future__ import annotations

import inspect
import sys
from functools import cache
from typing import TYPE_CHECKING

import pip
import wrapt
from pip._internal.operations.install import wheel as pip_wheel

from pip_linkmode.errors import LinkmodeError
from pip_linkmode.hooks.downloads import PipWheels
from pip_linkmode.hooks.stand_ins import StandIns
from pip_linkmode.install.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pip_linkmode.settings import Settings

__all__ = ["SeamError", "StandIns", "apply", "session"]
_LEADING = ("name", "wheel_path", "scheme", "req_description", "pycompile")
_SCHEME_KEYS = ("platlib", "purelib", "headers", "scripts", "data")
_sessions: list[Session] = []
_wheel_files = PipWheels()


class SeamError(LinkmodeError):
    """This pip is not of the shape that we know."""


def session(
    settings: Settings, requirements: Iterable[Any], *, pycompile: bool
) -> Session:
    """Return a session that takes part in all installations while it is entered.

    :param requirements: pip's requirements, in the order of installation; their shape
        is not relied on, it only makes us faster
    :param pycompile: whether pip is going to compile
    """
    wheels = []
    for requirement in requirements:
        path = getattr(requirement, "local_file_path", None)
        origin = getattr(requirement, "download_info", None)
        direct = getattr(requirement, "is_direct", False)
        if path and path.endswith(".whl") and _is_reusable(origin if direct else None):
            wheels.append(path)
    return Session(settings, _sessions, wheels, pycompile, _wheel_files)


def _is_reusable(origin: Any) -> bool:
    """Return whether a wheel may be used a second time, judged by its origin.

    The wheel of a local directory (:pep:`610`), editable or not, is built each time.
    """
    return origin is None or "dir_info" not in origin.to_dict()


def apply() -> None:
    """Wrap pip's ``install_wheel``, once.

    :raises SeamError: if it is not there, or its leading parameters are others
    """
    stock = getattr(pip_wheel, "install_wheel", None)
    if isinstance(stock, wrapt.FunctionWrapper):
        return
    if stock is None:
        msg = f"pip {pip.__version__} has no install_wheel"
        raise SeamError(msg)
    leading = tuple(inspect.signature(stock).parameters)[: len(_LEADING)]
    if leading != _LEADING:
        msg = f"install_wheel of pip {pip.__version__} begins with {', '.join(leading)}"
        raise SeamError(msg)
    wrapt.wrap_function_wrapper(pip_wheel, "install_wheel", _install_wheel)
    # pip 26.1 and older have bound the name where it is called.
    caller = sys.modules.get("pip._internal.req.req_install")
    if getattr(caller, "install_wheel", None) is stock:
        vars(caller)["install_wheel"] = pip_wheel.install_wheel  # a module


@cache
def _signature(function: Callable[..., None]) -> inspect.Signature:
    return inspect.signature(function)


def _install_wheel(
    wrapped: Callable[..., None],
    instance: object,  # noqa: ARG001  # wrapt hands it to every wrapper
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    arguments = _signature(wrapped).bind(*args, **kwargs)
    arguments.apply_defaults()

    def install(wheel_path: str) -> None:
        _wheel_files.fetch(wheel_path)
        arguments.arguments["wheel_path"] = wheel_path
        wrapped(*arguments.args, **arguments.kwargs)

    given = arguments.arguments
    if not _sessions:
        return install(given["wheel_path"])
    scheme = {key: getattr(given["scheme"], key) for key in _SCHEME_KEYS}
    _sessions[-1].install(
        install,
        given["name"],
        given["wheel_path"],
        scheme,
        pycompile=given["pycompile"],
        reusable=_is_reusable(given.get("direct_url")),
    )
    return None
