"""Give pip's installing commands our options, and stay out of the way otherwise.

The light half of the hooks: standard library only, loaded with the commands
``install``, ``wheel``, ``download`` and ``lock``.  The heavy half,
:mod:`pip_linkmode.hooks.install_wheel`, is loaded when a wheel is needed.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import sys
import tempfile
from functools import cache, wraps
from typing import TYPE_CHECKING

from pip_linkmode.errors import LinkmodeError, SettingsError
from pip_linkmode.hooks import downloads, hashes, metadata, package
from pip_linkmode.install.lost import lost_packages
from pip_linkmode.settings import CHOICES, DEFAULT_STORE, MODES, from_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

    from pip_linkmode.settings import Settings


_log = logging.getLogger("pip_linkmode")
_SHAPE = {
    "RequirementCommand": "pip._internal.cli.req_command",
    "install_given_reqs": "pip._internal.req",
}
"""Names of pip that are needed here, and the modules that have them."""
_GARBAGE = (50_000, 20, 20)
"""Thresholds of the garbage collector while pip works (:func:`gc.set_threshold`)."""
_OPTIONS = ("--link-mode", "--link-store", "--link-exclude", "--link-trust-group")


class _Process:
    """The state of this process; one pip command runs at a time."""

    settings: Settings | None = None
    patches: ModuleType | None = None
    failed = False


def apply(module: Any) -> None:
    """Patch one of pip's commands, and the functions that all commands share.

    :param module: ``pip._internal.commands.<command>``, just executed
    """
    for name, where in _SHAPE.items():
        if not hasattr(sys.modules.get(where), name):
            _give_up(f"{name} not found")
            return
    base = sys.modules["pip._internal.cli.req_command"].RequirementCommand
    if not hasattr(base.__init__, "__wrapped__"):
        base.__init__ = _with_options(base.__init__)
    req: Any = sys.modules["pip._internal.req"]
    stock = req.install_given_reqs
    if not hasattr(stock, "__wrapped__"):
        # Build environments installed in process look it up there.
        req.install_given_reqs = _with_session(stock, report=False)
    if hasattr(module, "install_given_reqs"):
        stock = getattr(stock, "__wrapped__", stock)
        module.install_given_reqs = _with_session(stock, report=True)
    if hasattr(module, "TempDirectory") and hasattr(module, "install_given_reqs"):
        module.TempDirectory = _near_its_target(module.TempDirectory)
    name = "_eagerly_import_modules"  # pip 26.1 and newer
    if hasattr(module, name):
        setattr(module, name, _before_imports_are_blocked(getattr(module, name)))


def _with_options(init: Callable[..., None]) -> Callable[..., None]:
    @wraps(init)
    def init_with_options(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        taken = [option for option in _OPTIONS if self.parser.has_option(option)]
        if taken:
            _give_up(f"it has an option {taken[0]}")
        else:
            _add_options(self)

    return init_with_options


def _add_options(command: Any) -> None:
    group = command.cmd_opts
    group.add_option(
        "--link-mode",
        dest="link_mode",
        metavar="mode",
        type="choice",
        choices=CHOICES,
        default="auto",
        help=(
            "How installed files share the store of unpacked wheels: "
            f"{', '.join(MODES)} (default: %default). "
            "off: pip unpacks every wheel itself."
        ),
    )
    group.add_option(
        "--link-store",
        dest="link_store",
        metavar="dir",
        default=None,
        help=(
            "Where unpacked wheels are kept: an absolute path, or several separated "
            f"by {os.pathsep!r} (default: {DEFAULT_STORE} in pip's cache "
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
    group.add_option(
        "--link-trust-group",
        dest="link_trust_group",
        action="store_true",
        default=False,
        help=(
            "Use stores that their group can write to. Every member of the group can "
            "then change the installed code."
        ),
    )
    run = command.run

    @wraps(run)
    def run_with_settings(options: Any, args: list[str]) -> Any:
        try:
            settings = from_options(options)
        except SettingsError as error:
            pip_error: type[Exception] = sys.modules[
                "pip._internal.exceptions"
            ].CommandError
            raise pip_error(str(error)) from error
        with _in_force(settings), contextlib.ExitStack() as stack:
            install = sys.modules.get("pip._internal.commands.install")
            if isinstance(command, getattr(install, "InstallCommand", ())):
                _warn_of_lost_packages(options)
                if settings.enabled:
                    with contextlib.suppress(Exception):  # never worse than pip alone
                        metadata.apply()
                    stack.enter_context(downloads.active(_load_stand_ins))
            return run(options, args)

    command.run = run_with_settings


def _warn_of_lost_packages(options: Any) -> None:
    """Warn of symlinks that lead nowhere, unless pip installs to another place."""
    elsewhere = ("target_dir", "root_path", "prefix_path")
    if not any(getattr(options, name, None) for name in elsewhere):
        for warning in lost_packages():
            _log.warning("pip-linkmode: %s", warning)


@contextlib.contextmanager
def _in_force(settings: Settings) -> Iterator[None]:
    """Make the settings those of this process and of the pips that it starts."""
    before, variables = _Process.settings, settings.environment()
    saved = {name: os.environ.get(name) for name in variables}
    _Process.settings = settings
    if settings.enabled:
        hashes.apply()
        _collect_less_garbage()
    os.environ.update(variables)
    try:
        yield
    finally:
        _Process.settings = before
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@cache
def _collect_less_garbage() -> None:
    """Make the garbage collector search less often, and not at the end of the process.

    Tens of thousands of objects come, few of them in a cycle: a search after each 700
    costs as much as half of the links.
    """
    thresholds = zip(gc.get_threshold(), _GARBAGE, strict=True)
    gc.set_threshold(*map(max, thresholds))
    atexit.register(gc.freeze)


def _with_session(stock: Callable[..., Any], *, report: bool) -> Callable[..., Any]:
    @wraps(stock)
    def install_given_reqs(*args: Any, **kwargs: Any) -> Any:
        patches, settings = _load(), _Process.settings
        if patches is None or settings is None or not any(args):
            if report and any(args) and settings is not None:
                _say_why_no_store(settings)
            return stock(*args, **kwargs)
        if not report:
            settings = settings.for_build_environment()
            if not settings.enabled:
                return stock(*args, **kwargs)
        with contextlib.ExitStack() as stack:
            pycompile = kwargs.get("pycompile", True)
            session = None
            try:
                session = stack.enter_context(
                    patches.session(settings, args[0], pycompile=pycompile)
                )
            except Exception as error:  # never worse than pip alone
                _log.warning("pip-linkmode is inactive: %s", _explain(error))
            installed = stock(*args, **kwargs)
        if report and session is not None:
            session.report()
        return installed

    return install_given_reqs


def _say_why_no_store(settings: Settings) -> None:
    """Log why there is no store: a warning, if a link mode was requested."""
    if settings.reason and not settings.stores:
        is_warning = settings.requested != "auto"
        level = logging.WARNING if is_warning else logging.INFO
        message = f"nothing linked: {settings.reason}; set --link-store"
        _log.log(level, "pip-linkmode: %s", message)


def _near_its_target(stock: Callable[..., Any]) -> Callable[..., Any]:
    """Let ``--target`` install on the file system of its target.

    pip installs into a temporary directory and moves; a move between file systems
    would make copies of all that was linked.
    """

    @wraps(stock, updated=())
    def temp_directory(*args: Any, **kwargs: Any) -> Any:
        settings = _Process.settings
        if kwargs.get("kind") == "target" and settings is not None:
            near = settings.enabled and settings.target and _beside(settings.target)
            if near:
                kwargs.update(path=near, delete=True)
        return stock(*args, **kwargs)

    return temp_directory


def _beside(target: str) -> str | None:
    """Make a temporary directory on another file system than usual, if need be."""
    while not os.path.isdir(target):
        target = os.path.dirname(target)
    try:
        if os.stat(target).st_dev == os.stat(tempfile.gettempdir()).st_dev:
            return None
        return tempfile.mkdtemp(prefix="pip-target-", dir=target)
    except OSError:
        return None


def _before_imports_are_blocked(stock: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stock)
    def eagerly_import_modules(*args: Any, **kwargs: Any) -> Any:
        _load()
        return stock(*args, **kwargs)

    return eagerly_import_modules


def _load() -> ModuleType | None:
    """Load and apply the heavy half, if anything is to be linked; once.

    Its requirements may be in a directory that has left ``sys.path``, as in the
    build environment of a package that requires pip.
    """
    settings = _Process.settings
    if settings is None or not settings.enabled:
        return None
    if _Process.patches is not None or _Process.failed:
        return _Process.patches
    reason = package.change()
    try:
        if reason is None:
            with package.requirements():
                __import__("pip_linkmode.hooks.install_wheel")
            reason = package.change()
        if reason is None:
            module = sys.modules["pip_linkmode.hooks.install_wheel"]
            module.apply()
            _Process.patches = module
    except Exception as error:  # never worse than pip alone
        reason = package.change() or _explain(error)
    if reason is not None:
        _Process.failed = True
        _log.warning("pip-linkmode is inactive: %s", reason)
    return _Process.patches


def _load_stand_ins() -> Any:
    patches, settings = _load(), _Process.settings
    return patches and patches.StandIns(settings)


def _give_up(reason: str) -> None:
    """Warn once that this pip is unknown; its logging is not set up yet."""
    if not _Process.failed:
        _Process.failed = True
        pip = sys.modules["pip"].__version__
        sys.stderr.write(
            f"WARNING: pip-linkmode is inactive: pip {pip} is not supported "
            f"({reason})\n"
        )


def _explain(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        project = error.name.partition(".")[0]
        return f"{error.name} is not installed. Run: pip install {project}"
    if isinstance(error, LinkmodeError):
        return str(error)
    return f"{type(error).__name__}: {error}"
