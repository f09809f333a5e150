"""pip's commands learn our options, and what they mean is in force while they run."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import optparse
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import pip_linkmode
from pip_linkmode.errors import LinkmodeError
from pip_linkmode.hooks import options as options_module
from pip_linkmode.hooks import package
from pip_linkmode.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


COMMAND = "pip._internal.commands.install"


class CommandError(Exception):
    """As pip's."""


class Requirement:
    """``RequirementCommand``, as far as it matters."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parser = optparse.OptionParser()
        self.cmd_opts = optparse.OptionGroup(self.parser, "Install Options")
        self.cmd_opts.add_option("--target", dest="target_dir")
        self.cmd_opts.add_option("--dry-run", action="store_true")
        self.cmd_opts.add_option("--cache-dir", dest="cache_dir", default="/cache")
        self.add_options()
        self.parser.add_option_group(self.cmd_opts)
        self.ran_with: list[tuple[dict[str, str], Settings | None]] = []

    def add_options(self) -> None:
        """Of a subclass."""

    def run(self, options: optparse.Values, args: list[str]) -> int:
        """Note what is in force."""
        assert options.link_mode
        assert args == ["package"]
        variables = {n: v for n, v in os.environ.items() if n.startswith("PIP_LINK")}
        self.ran_with.append((variables, options_module._Process.settings))
        return 42

    def main(self, *args: str) -> int:
        options, rest = self.parser.parse_args(list(args))
        return self.run(options, rest)


class Patches(ModuleType):
    """The heavy half: its sessions only note what happens."""

    def __init__(self) -> None:
        super().__init__("pip_linkmode.hooks.install_wheel")
        self.events: list[object] = []
        self.error: Exception | None = None

    def apply(self) -> None:
        self.events.append("apply")
        if self.error is not None:
            raise self.error

    @contextlib.contextmanager
    def session(
        self, settings: Settings, requirements: object, *, pycompile: bool
    ) -> Iterator[Patches]:
        assert requirements == "wheel"
        self.pycompile = pycompile
        self.events.append(settings.mode)
        yield self
        self.events.append("end")

    def report(self) -> None:
        self.events.append("report")


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put modules in the place of pip's."""

    class Command(Requirement):
        pass

    def install_given_reqs(*args: object, **kwargs: object) -> object:
        return ("stock", args, kwargs)

    modules: dict[str, Any] = {
        name: ModuleType(name)
        for name in (
            "pip",
            "pip._internal",
            "pip._internal.cli.req_command",
            "pip._internal.req",
            "pip._internal.exceptions",
            COMMAND,
        )
    }
    modules["pip._internal.cli.req_command"].RequirementCommand = Command
    modules["pip._internal.req"].install_given_reqs = install_given_reqs
    modules["pip._internal.exceptions"].CommandError = CommandError
    modules[COMMAND].install_given_reqs = install_given_reqs
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("PIP_LINK_MODE", "PIP_LINK_STORE", "PIP_LINK_EXCLUDE"):
        monkeypatch.delenv(name, raising=False)
    return modules


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("settings", "patches"):
        monkeypatch.setattr(options_module._Process, name, None)
    monkeypatch.setattr(options_module._Process, "failed", False)


@pytest.fixture
def patches(monkeypatch: pytest.MonkeyPatch) -> Patches:
    module = Patches()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def command(pip: dict[str, Any]) -> Requirement:
    options_module.apply(pip[COMMAND])
    created: Requirement = pip["pip._internal.cli.req_command"].RequirementCommand("x")
    return created


@pytest.fixture
def installable(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> tuple[dict[str, Any], Requirement, Patches]:
    return pip, command, patches


# --- options --------------------------------------------------------------------------


def test_options_are_pips_own(command: Requirement) -> None:
    assert command.main("package") == 42
    ((variables, settings),) = command.ran_with
    assert settings is not None
    assert (settings.mode, settings.stores) == ("auto", ("/cache/link-store",))
    assert variables == {
        "PIP_LINK_MODE": "auto",
        "PIP_LINK_STORE": "/cache/link-store",
        "PIP_LINK_EXCLUDE": "",
        "PIP_LINK_TRUST_GROUP": "",
    }


def test_options_have_a_meaning(command: Requirement) -> None:
    command.main(
        "--link-mode=hardlink",
        "--link-store=/one",
        "--link-exclude=a",
        "--link-exclude=b",
        "package",
    )
    settings = command.ran_with[0][1]
    assert settings is not None
    assert (settings.mode, settings.stores) == ("hardlink", ("/one",))
    assert settings.exclude == ("a", "b")


def test_help_lists_the_modes(command: Requirement) -> None:
    text = " ".join(command.parser.format_help().split())
    for mode in ("auto", "clone", "hardlink", "symlink", "copy", "off"):
        assert mode in text
    assert "default: auto" in text
    assert "--link-exclude" in text


def test_bad_mode_is_a_usage_error_that_lists_the_choices(
    command: Requirement, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main("--link-mode=magic", "package")
    assert "'hardlink'" in capsys.readouterr().err


def test_bad_store_is_a_usage_error(command: Requirement) -> None:
    with pytest.raises(CommandError, match="relative"):
        command.main("--link-store=relative", "package")
    assert command.ran_with == []


def test_options_are_added_to_every_command_once(pip: dict[str, Any]) -> None:
    options_module.apply(pip[COMMAND])
    options_module.apply(ModuleType("pip._internal.commands.wheel"))
    command = pip["pip._internal.cli.req_command"].RequirementCommand("x")
    assert command.main("package") == 42
    assert len(command.ran_with) == 1


def test_options_that_pip_has_itself_are_left_alone(
    pip: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(options_module._Process, "failed", False)
    pip["pip"] = SimpleNamespace(__version__="99")
    monkeypatch.setitem(sys.modules, "pip", pip["pip"])

    class Modern(Requirement):
        def add_options(self) -> None:
            self.cmd_opts.add_option("--link-mode", dest="link_mode", default="pip's")

    pip["pip._internal.cli.req_command"].RequirementCommand = Modern
    options_module.apply(pip[COMMAND])
    command = Modern("x")
    command.main("package")
    assert command.ran_with == [({}, None)]
    Modern("y")
    assert capsys.readouterr().err == (
        "WARNING: pip-linkmode is inactive: pip 99 is not supported "
        "(it has an option --link-mode)\n"
    )


# --- in force while the command runs --------------------------------------------------


def test_variables_are_put_back(
    command: Requirement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_LINK_MODE", "copy")
    command.main("--link-mode=hardlink", "package")
    assert command.ran_with[0][0]["PIP_LINK_MODE"] == "hardlink"
    assert os.environ["PIP_LINK_MODE"] == "copy"
    assert "PIP_LINK_STORE" not in os.environ
    assert options_module._Process.settings is None


def test_variables_are_put_back_after_an_error(
    command: Requirement, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError):
        command.main("--link-mode=hardlink", "not expected")
    assert "PIP_LINK_MODE" not in os.environ
    assert options_module._Process.settings is None
    monkeypatch.undo()


# --- sessions -------------------------------------------------------------------------


def install(
    pip: dict[str, Any],
    command: Requirement,
    *args: str,
    where: str = COMMAND,
    options: dict[str, object] | None = None,
) -> object:
    """Let a command install something."""
    results = []
    options = {"key": 1} if options is None else options

    def run(*_: object) -> int:
        results.append(pip[where].install_given_reqs("wheel", **options))
        return 0

    command_type = type(command)
    command_type.run = run  # type: ignore[method-assign,assignment]  # a fake
    command_type("x").main(*args, "package")
    (result,) = results
    return result


STOCK = ("stock", ("wheel",), {"key": 1})


def test_installation_is_a_session_with_a_report(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    assert install(pip, command, "--link-mode=symlink") == STOCK
    assert patches.events == ["apply", "symlink", "end", "report"]


def test_build_environment_is_a_session_without_a_report(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    result = install(pip, command, "--link-mode=symlink", where="pip._internal.req")
    assert result == STOCK
    assert patches.events == ["apply", "auto", "end"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, True), ({"pycompile": True}, True), ({"pycompile": False}, False)],
)
def test_session_knows_whether_pip_compiles(
    pip: dict[str, Any],
    command: Requirement,
    patches: Patches,
    options: dict[str, object],
    expected: bool,
) -> None:
    install(pip, command, options=options)
    assert patches.pycompile is expected


def test_requirements_may_be_named(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    results = []

    def run(*_: object) -> None:
        install_given_reqs = pip[COMMAND].install_given_reqs
        results.append(install_given_reqs(requirements="wheel"))

    type(command).run = run  # type: ignore[method-assign,assignment]  # a fake
    type(command)("x").main("package")
    assert results == [("stock", (), {"requirements": "wheel"})]
    assert patches.events[0] == "apply"


def test_heavy_half_is_applied_once(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    install(pip, command)
    install(pip, command)
    assert patches.events.count("apply") == 1
    assert patches.events.count("report") == 2


def test_mode_off_loads_nothing(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    assert install(pip, command, "--link-mode=off") == STOCK
    assert patches.events == []


def test_without_a_command_nothing_is_loaded(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    assert command.name
    assert pip[COMMAND].install_given_reqs("wheel", key=1) == STOCK
    assert patches.events == []


def test_command_that_does_not_install_is_left_alone(pip: dict[str, Any]) -> None:
    module = ModuleType("pip._internal.commands.download")
    before = dict(vars(module))
    options_module.apply(module)
    assert vars(module) == before
    assert pip["pip._internal.req"].install_given_reqs("wheel", key=1) == STOCK


def test_installation_that_fails_is_not_reported(
    pip: dict[str, Any], patches: Patches
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise LookupError

    pip[COMMAND].install_given_reqs = fail
    pip["pip._internal.req"].install_given_reqs = fail
    options_module.apply(pip[COMMAND])
    command = pip["pip._internal.cli.req_command"].RequirementCommand("x")
    with pytest.raises(LookupError):
        install(pip, command)
    assert "report" not in patches.events


def test_imports_are_made_before_pip_blocks_them(
    pip: dict[str, Any], patches: Patches
) -> None:
    def eagerly_import_modules(*args: object) -> object:
        patches.events.append("blocked")
        return args

    pip[COMMAND]._eagerly_import_modules = eagerly_import_modules
    options_module.apply(pip[COMMAND])
    command = pip["pip._internal.cli.req_command"].RequirementCommand("x")

    def run(*_: object) -> object:
        return pip[COMMAND]._eagerly_import_modules("argument")

    type(command).run = run  # a fake
    assert type(command)("x").main("package") == ("argument",)
    assert patches.events == ["apply", "blocked"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError(name="wrapt"), "pip install wrapt"),
        (ModuleNotFoundError(name="packaging.utils"), "pip install packaging"),
        (ImportError("broken"), "ImportError: broken"),
        (LinkmodeError("an unknown pip"), "is inactive: an unknown pip"),
        (RuntimeError("anything"), "RuntimeError: anything"),
    ],
)
def test_failure_is_said_once_and_pip_goes_on(
    installable: tuple[dict[str, Any], Requirement, Patches],
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    message: str,
) -> None:
    pip, command, patches = installable
    patches.error = error
    path = list(sys.path)
    with caplog.at_level(logging.WARNING, "pip_linkmode"):
        assert install(pip, command) == STOCK
        assert install(pip, command) == STOCK
    assert patches.events == ["apply"]
    (record,) = caplog.records
    assert message in record.getMessage()
    assert sys.path == path


def test_our_directory_is_not_left_on_the_path(
    pip: dict[str, Any],
    command: Requirement,
    patches: Patches,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # In a build environment it may have left the path before pip installs.
    home = os.path.dirname(os.path.dirname(os.path.abspath(pip_linkmode.__file__)))
    path = [p for p in sys.path if os.path.abspath(p) != home]
    monkeypatch.setattr(sys, "path", list(path))
    assert install(pip, command) == STOCK
    assert patches.events[0] == "apply"
    assert sys.path == path


@pytest.mark.parametrize("when", ["before", "while"])
@pytest.mark.parametrize("is_broken", [False, True])
def test_package_that_was_replaced_is_not_used(
    installable: tuple[dict[str, Any], Requirement, Patches],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    when: str,
    *,
    is_broken: bool,
) -> None:
    """Before the heavy half is imported, and while it is."""
    pip, command, patches = installable
    said = [None] if when == "while" else []
    answers = iter((*said, *["it was replaced"] * 3))
    monkeypatch.setattr(package, "change", lambda: next(answers))
    name = "pip_linkmode.hooks.install_wheel"
    if is_broken:
        monkeypatch.setitem(sys.modules, name, None)
    assert install(pip, command) == STOCK
    assert patches.events == []
    (record,) = caplog.records
    assert record.getMessage() == "pip-linkmode is inactive: it was replaced"


# --- --target -------------------------------------------------------------------------


class TempDirectory:
    """As pip's."""

    def __init__(self, **options: object) -> None:
        self.options = options


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that temporary files are on another file system."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    stock = os.stat

    def stat(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        status = stock(path, *args, **kwargs)
        if path == str(temporary):
            fields = list(status)
            fields[2] += 1
            return os.stat_result(fields)
        return status

    monkeypatch.setattr(os, "stat", stat)
    return temporary


def temporary_of_install(
    pip: dict[str, Any], *args: str, kind: str = "target"
) -> dict[str, Any]:
    pip[COMMAND].TempDirectory = TempDirectory
    options_module.apply(pip[COMMAND])
    command = pip["pip._internal.cli.req_command"].RequirementCommand

    def run(*_: object) -> object:
        return pip[COMMAND].TempDirectory(kind=kind).options

    command.run = run
    created: dict[str, Any] = command("x").main(*args, "package")
    return created


def test_target_on_another_file_system_is_filled_from_there(
    pip: dict[str, Any], elsewhere: Path, tmp_path: Path
) -> None:
    assert elsewhere.is_dir()
    target = tmp_path / "target"
    target.mkdir()
    options = temporary_of_install(pip, f"--target={target}")
    assert options["delete"] is True
    assert Path(options["path"]).parent == target
    assert Path(options["path"]).is_dir()


def test_target_that_does_not_exist_yet_is_filled_from_above(
    pip: dict[str, Any], elsewhere: Path, tmp_path: Path
) -> None:
    assert elsewhere.is_dir()
    target = tmp_path / "far" / "away"
    options = temporary_of_install(pip, f"--target={target}")
    assert Path(options["path"]).parent == tmp_path
    assert not target.parent.exists()


def test_target_on_the_file_system_of_temporary_files_is_left_to_pip(
    pip: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    target = tmp_path / "target"
    assert temporary_of_install(pip, f"--target={target}") == {"kind": "target"}


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        ((), "target"),
        (("--target={}", "--link-mode=off"), "target"),
        (("--target={}",), "build"),
    ],
)
def test_other_directories_are_left_to_pip(
    pip: dict[str, Any],
    elsewhere: Path,
    tmp_path: Path,
    args: tuple[str, ...],
    kind: str,
) -> None:
    assert elsewhere.is_dir()
    filled = (argument.format(tmp_path / "target") for argument in args)
    assert temporary_of_install(pip, *filled, kind=kind) == {"kind": kind}


def test_target_that_cannot_be_written_to_is_left_to_pip(
    pip: dict[str, Any],
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert elsewhere.is_dir()

    def refuse(**_: object) -> str:
        raise PermissionError

    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    target = tmp_path / "target"
    assert temporary_of_install(pip, f"--target={target}") == {"kind": "target"}


def test_a_session_that_cannot_begin_leaves_pip_alone(
    installable: tuple[dict[str, Any], Requirement, Patches],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads may not be had, where processes are counted."""
    pip, command, patches = installable

    def session(*_: object, **__: object) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(patches, "session", session)
    with caplog.at_level(logging.WARNING, "pip_linkmode"):
        assert install(pip, command) == STOCK
    assert "is inactive: RuntimeError: can't start" in caplog.text


@pytest.mark.parametrize("name", ["RequirementCommand", "install_given_reqs"])
def test_pip_of_another_shape_is_left_alone_and_that_is_said(
    pip: dict[str, Any], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    pip["pip"].__version__ = "99"
    where = options_module._SHAPE[name]
    delattr(pip[where], name)
    options_module.apply(pip[COMMAND])
    options_module.apply(pip[COMMAND])
    said = capsys.readouterr().err
    assert said == (
        "WARNING: pip-linkmode is inactive: pip 99 is not supported "
        f"({name} not found)\n"
    )


def test_mode_that_there_is_no_store_for_is_told(
    pip: dict[str, Any],
    command: Requirement,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del command
    install = pip[COMMAND].install_given_reqs
    caplog.set_level("INFO")
    line = "pip-linkmode: nothing linked: there is no cache directory; set --link-store"
    for mode, level in (("symlink", "WARNING"), ("auto", "INFO")):
        settings = Settings(mode, mode, (), (), reason="there is no cache directory")
        options_module._Process.settings = settings
        assert install("wheel")[0] == "stock"
        assert (caplog.messages, caplog.records[0].levelname) == ([line], level)
        caplog.clear()
        assert install([])[0] == "stock"
        assert caplog.messages == []


# --- packages of a lost store ---------------------------------------------------------


def test_lost_packages_are_reported_before_pip_resolves(
    pip: dict[str, Any],
    command: Requirement,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(options_module, "lost_packages", lambda: iter(["lost"]))
    command.main("package")  # as pip download
    assert caplog.messages == []
    pip[COMMAND].InstallCommand = type(command)
    command.main("--target", "elsewhere", "package")
    assert caplog.messages == []
    for mode in ("auto", "off"):
        caplog.clear()
        command.main(f"--link-mode={mode}", "package")
        assert caplog.messages == ["pip-linkmode: lost"]


def test_build_environment_of_a_dry_run_is_left_to_pip(
    pip: dict[str, Any], command: Requirement, patches: Patches
) -> None:
    result = install(pip, command, "--dry-run", where="pip._internal.req")
    assert result == STOCK
    assert patches.events == ["apply"]


def test_stand_ins_need_the_heavy_half(
    pip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del pip
    assert options_module._load_stand_ins() is None
    made: list[object] = []
    settings = SimpleNamespace(enabled=True)
    heavy = SimpleNamespace(StandIns=made.append)
    monkeypatch.setattr(options_module._Process, "settings", settings)
    monkeypatch.setattr(options_module._Process, "patches", heavy)
    options_module._load_stand_ins()
    assert made == [settings]


def test_garbage_is_searched_for_less_often_and_not_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(gc, "get_threshold", lambda: (700, 99, 10))
    monkeypatch.setattr(gc, "set_threshold", lambda *values: seen.append(values))
    monkeypatch.setattr(atexit, "register", seen.append)
    options_module._collect_less_garbage.__wrapped__()
    assert seen == [(50_000, 99, 20), gc.freeze]
