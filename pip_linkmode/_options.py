"""Give pip's installing commands our options, and stay out of the way otherwise.

The light half of what knows pip: standard library only, loaded with the commands
``install``, ``wheel``, ``download`` and ``lock``.  The heavy half,
:mod:`pip_linkmode._patches`, is loaded when something is really about to be installed:
before pip 26.3 blocks imports, and not at all by ``pip install --dry-run``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from functools import wraps
from typing import TYPE_CHECKING

from pip_linkmode import settings as _settings
from pip_linkmode.errors import LinkmodeError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from pip_linkmode.settings import Settings

_log = logging.getLogger("pip_linkmode")
_OPTIONS = ("--link-mode", "--link-store", "--link-exclude")
_MODULES = ("_patches", "settings", "store", "link", "bytecode", "skeleton")

_current: Settings | None = None
_patches: ModuleType | None = None
_failed = False


def apply(module: ModuleType) -> None:
    """Patch one of pip's commands, and what all of them share.

    :param module: ``pip._internal.commands.<command>``, just executed
    """
    base = sys.modules["pip._internal.cli.req_command"].RequirementCommand
    if not hasattr(base.__init__, "__wrapped__"):
        base.__init__ = _with_options(base.__init__)
    req = sys.modules["pip._internal.req"]
    stock = req.install_given_reqs
    if not hasattr(stock, "__wrapped__"):
        # Build environments installed in process look it up there.
        req.install_given_reqs = _with_session(stock, report=False)
    if hasattr(module, "install_given_reqs"):
        stock = getattr(stock, "__wrapped__", stock)
        module.install_given_reqs = _with_session(stock, report=True)
    if hasattr(module, "_eagerly_import_modules"):  # pip 26.1 and newer
        module._eagerly_import_modules = _before_imports_are_blocked(  # noqa: SLF001  # pip's only door
            module._eagerly_import_modules  # noqa: SLF001  # the same
        )
    # pip 26.3: modules that are named here have their lazy imports resolved.
    eager = getattr(sys.modules["pip"], "_EAGER_IMPORTS", None)
    if isinstance(eager, set):
        eager.update(f"pip_linkmode.{name}" for name in _MODULES)


def _with_options(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def init_with_options(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # pip's own signature
        init(self, *args, **kwargs)
        if not any(self.parser.has_option(option) for option in _OPTIONS):
            _add_options(self)

    return init_with_options


def _add_options(command: Any) -> None:  # noqa: ANN401  # a RequirementCommand
    group = command.cmd_opts
    group.add_option(
        "--link-mode",
        dest="link_mode",
        metavar="mode",
        type="choice",
        choices=_settings.CHOICES,
        default="auto",
        help=(
            "How installed files share the store of unpacked wheels: "
            f"{', '.join(_settings.MODES)} (default: %default). "
            "off: pip unpacks every wheel anew."
        ),
    )
    group.add_option(
        "--link-store",
        dest="link_store",
        metavar="dir",
        default=None,
        help=(
            "Where unpacked wheels are kept: an absolute path, or several separated "
            f"by {os.pathsep!r} (default: {_settings.DEFAULT_STORE} in pip's cache "
            "directory)."
        ),
    )
    group.add_option(
        "--link-exclude",
        dest="link_exclude",
        metavar="package",
        action="append",
        default=[],
        help="Give this package files of its own, not links. May be repeated.",
    )
    run = command.run

    @wraps(run)
    def run_with_settings(options: Any, args: list[str]) -> Any:  # noqa: ANN401  # pip's
        try:
            settings = _settings.from_options(options)
        except SettingsError as error:
            pip_error: type[Exception] = sys.modules[
                "pip._internal.exceptions"
            ].CommandError
            raise pip_error(str(error)) from error
        with _in_force(settings):
            return run(options, args)

    command.run = run_with_settings


@contextlib.contextmanager
def _in_force(settings: Settings) -> Iterator[None]:
    """Make the settings those of this process and of the pips that it starts."""
    global _current  # noqa: PLW0603  # one command runs at a time
    before, variables = _current, settings.environment()
    saved = {name: os.environ.get(name) for name in variables}
    _current = settings
    os.environ.update(variables)
    try:
        yield
    finally:
        _current = before
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _with_session(stock: Callable[..., Any], *, report: bool) -> Callable[..., Any]:
    @wraps(stock)
    def install_given_reqs(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # pip's own
        patches = _load()
        if patches is None or _current is None:
            return stock(*args, **kwargs)
        with patches.Session(_current) as session:
            installed = stock(*args, **kwargs)
        if report:
            session.report()
        return installed

    return install_given_reqs


def _before_imports_are_blocked(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def eagerly_import_modules(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # pip's own
        _load()
        return stock(*args, **kwargs)

    return eagerly_import_modules


def _load() -> ModuleType | None:
    """Load and apply the heavy half, if anything is to be linked; once.

    What it needs may be beside us in a directory that has left ``sys.path``, in the
    build environment of a package that requires pip.
    """
    global _patches, _failed  # noqa: PLW0603  # loaded once per process
    if _patches is not None or _failed or _current is None or not _current.enabled:
        return _patches
    beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sys.path.append(beside)
    try:
        __import__("pip_linkmode._patches")
        module = sys.modules["pip_linkmode._patches"]
        module.apply()
        _patches = module
    except Exception as error:  # noqa: BLE001  # never worse than pip alone
        _failed = True
        _log.warning("pip-linkmode links nothing: %s", _explain(error))
    finally:
        sys.path.remove(beside)
    return _patches


def _explain(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error.name} is not installed; pip install {error.name.partition('.')[0]}"
    if isinstance(error, LinkmodeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
