"""The house: who may import whom, what a start-up costs, what is in the wheel."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "pip_linkmode"
MODULES = sorted(PACKAGE.rglob("*.py"))
START_UP_FILES = ["pip_linkmode.pth", "pip_linkmode.start"]

GROUND = {"errors", "files", "guard"}
"""What every room may import."""
ROOMS: dict[str, set[str]] = {
    "link": set(),
    "store": {"interpreters"},
    "prepare": {"store", "interpreters"},
    "environments": {"store", "interpreters"},
    "install": {
        *("prepare", "environments", "store", "link"),
        *("settings", "text", "interpreters"),
    },
    "relink": {"prepare", "environments", "store", "link", "interpreters"},
    "hooks": {"install", "settings", "store", "_bootstrap"},
    "maintenance": {
        *("prepare", "environments", "store", "link"),
        *("interpreters", "pip_config"),
    },
    "cli": {
        *("maintenance", "relink", "environments", "store"),
        *("settings", "pip_config", "text"),
    },
    # Ground.
    "errors": set(),
    "files": set(),
    "guard": set(),
    "text": set(),
    "interpreters": set(),
    "settings": set(),
    "pip_config": {"settings"},
    # Doors.
    "__init__": set(),
    "__main__": {"cli"},
    "_bootstrap": set(),
}
"""Rooms, and modules at the top: what each may import of the package at run time."""
EXCEPTIONS = {
    "environments/probe": {"link"},
    "hooks/inspection": {"environments"},
    "maintenance/enable": {"hooks/inspection", "hooks/package"},
    "maintenance/status": {"hooks/inspection"},
}
"""What single modules may import besides."""
OTHERS = {
    "cli/progress": {"pip"},
    "hooks/install_wheel": {"pip", "wrapt"},
    "install/linking": {"packaging"},
    "install/session": {"packaging"},
    "maintenance/early_enable": {"packaging"},
    "maintenance/enable": {"packaging"},
    "maintenance/enable_checks": {"packaging"},
    "pip_config": {"pip"},
    "relink/relink": {"packaging"},
    "relink/survey": {"packaging"},
}
"""What modules may import that is not in the standard library."""
STARTED = {"__init__": set[str](), "_bootstrap": {"sys"}, "hooks/elsewhere": {"sys"}}
"""What every interpreter loads, and all that it may import."""
LONGEST_MODULE, LONGEST_CLASS = 330, 220
MOST_AT_THE_TOP = 10


def is_type_checking(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def at_run_time(node: ast.AST) -> list[ast.AST]:
    """Return all nodes below one, without what only type checkers see."""
    found = []
    for child in ast.iter_child_nodes(node):
        if not is_type_checking(child):
            found += [child, *at_run_time(child)]
    return found


def imported(nodes: list[ast.AST]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def parse(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"))


def imports_of(module: Path) -> set[str]:
    return imported(at_run_time(parse(module)))


def name_of(module: Path) -> str:
    """Return a module's path in the package, without the suffix."""
    return module.relative_to(PACKAGE).with_suffix("").as_posix()


def ours(module: Path) -> set[str]:
    """Return which modules of the package a module imports, by path."""
    found = set()
    for name in imports_of(module):
        if name.startswith("pip_linkmode."):
            path = name.removeprefix("pip_linkmode.").replace(".", "/")
            while not (PACKAGE / f"{path}.py").exists() and "/" in path:
                path = path.rpartition("/")[0]
            found.add(path)
    return found - {"__version__"}


def needed_by(name: str) -> set[str]:
    """Return a module and all of the package that it imports, by path."""
    found, waiting = set(), [name]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += ours(PACKAGE / f"{one}.py")
            if "/" in one:
                waiting.append(f"{one.partition('/')[0]}/__init__")
    return found


each_module = pytest.mark.parametrize("module", MODULES, ids=name_of)


@pytest.mark.parametrize("name", sorted(needed_by("prepare/worker")))
def test_worker_is_of_use_to_old_interpreters(name: str) -> None:
    """Environments that are linked may have one that pip-linkmode does not run on."""
    source = (PACKAGE / f"{name}.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))


@each_module
def test_rooms_import_what_the_house_allows(module: Path) -> None:
    name = name_of(module)
    room = name.partition("/")[0]
    allowed = {room, *GROUND, *ROOMS[room], *EXCEPTIONS.get(name, ())}
    assert [
        one
        for one in ours(module)
        if one not in allowed and one.partition("/")[0] not in allowed
    ] == []


def test_imports_have_no_circle() -> None:
    for module in MODULES:
        name = name_of(module)
        reached = set[str]().union(*(needed_by(one) for one in ours(module)))
        assert name not in reached


@pytest.mark.parametrize("room", sorted(PACKAGE.glob("*/__init__.py")), ids=str)
def test_rooms_say_what_they_are_for_and_nothing_else(room: Path) -> None:
    (docstring,) = parse(room).body
    assert isinstance(docstring, ast.Expr)


@each_module
def test_modules_and_classes_are_read_in_one_sitting(module: Path) -> None:
    text = module.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.ClassDef):
            assert (node.end_lineno or 0) - node.lineno < LONGEST_CLASS, node.name


def test_the_top_is_small() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= MOST_AT_THE_TOP
    assert len(list(PACKAGE.glob("*/__init__.py"))) <= MOST_AT_THE_TOP


@each_module
def test_only_the_seams_know_more_than_the_standard_library(module: Path) -> None:
    tops = {name.split(".")[0] for name in imports_of(module)}
    others = tops - sys.stdlib_module_names - {"pip_linkmode"}
    assert others <= OTHERS.get(name_of(module), set())


@pytest.mark.parametrize("name", STARTED)
def test_modules_of_every_start_up_import_next_to_nothing(name: str) -> None:
    tops = {name.split(".")[0] for name in imports_of(PACKAGE / f"{name}.py")}
    assert tops - {"__future__"} <= STARTED[name]


@each_module
def test_no_import_is_inside_a_function(module: Path) -> None:
    for node in ast.walk(parse(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            assert imported(list(ast.walk(node))) == set()


def test_what_runs_in_a_blocked_pip_is_imported_before() -> None:
    """A module that is loaded by name would be one that pip 26.3 can block."""
    for module in MODULES:
        calls = [
            node.func.id
            for node in ast.walk(parse(module))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        ]
        by_name = {"_bootstrap", "hooks/elsewhere", "hooks/options", "hooks/uninstall"}
        if name_of(module) not in by_name:
            assert "__import__" not in calls
        assert "import_module" not in calls


# --- the wheel ------------------------------------------------------------------------


def build(kind: str, directory: Path) -> Path:
    program = (
        "import sys\n"
        "from hatchling import build\n"
        f"getattr(build, 'build_{kind}')(sys.argv[1])\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, directory],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    pytest.importorskip("editables")
    return build("editable", tmp_path_factory.mktemp("editable"))


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata(wheel: Path) -> set[str]:
    info = "-".join(wheel.name.split("-")[:2]) + ".dist-info"
    names = {f"{info}/{name}" for name in ("METADATA", "RECORD", "WHEEL")}
    names.add(f"{info}/licenses/LICENSE")
    if "[project.scripts]" in (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"):
        names.add(f"{info}/entry_points.txt")
    return names


def test_wheel_has_the_package_and_the_start_up_files_at_its_root(wheel: Path) -> None:
    package = {f"pip_linkmode/{name_of(module)}.py" for module in MODULES}
    expected = {
        *package,
        *START_UP_FILES,
        *metadata(wheel),
    }
    assert sorted(names_in(wheel)) == sorted(expected)


def test_editable_wheel_has_the_start_up_files_too(editable: Path) -> None:
    names = names_in(editable)
    (path_file,) = {name for name in names if name.endswith(".pth")} - {*START_UP_FILES}
    assert sorted(names) == sorted({path_file, *START_UP_FILES, *metadata(editable)})
    with zipfile.ZipFile(editable) as archive:
        assert archive.read(path_file).decode().strip() == str(CHECKOUT)


@pytest.mark.parametrize("name", START_UP_FILES)
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_start_up_files_are_installed_as_they_are(
    request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    with zipfile.ZipFile(request.getfixturevalue(kind)) as archive:
        assert archive.read(name) == (PACKAGE / name).read_bytes()


# --- start-up -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """Make an environment with nothing but our wheel in it."""
    directory = tmp_path_factory.mktemp("environment")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(directory)]
    subprocess.run(venv, check=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site_packages(directory))
    return directory


def site_packages(environment: Path) -> Path:
    if sys.platform == "win32":
        return environment / "Lib" / "site-packages"
    return next(environment.glob("lib/*/site-packages"))


def run(environment: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    python = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    return subprocess.run(
        [environment / python, "-I", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )


def loaded(environment: Path) -> set[str]:
    return set(run(environment, "-c", "import sys; print(*sys.modules)").stdout.split())


def test_start_up_loads_two_modules(
    environment: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = tmp_path_factory.mktemp("bare")
    venv = [sys.executable, "-m", "venv", "--without-pip", str(bare)]
    subprocess.run(venv, check=True)
    assert loaded(environment) - loaded(bare) == {
        "pip_linkmode",
        "pip_linkmode._bootstrap",
    }


def test_start_up_puts_the_trigger_first(environment: Path) -> None:
    program = "import sys; print(type(sys.meta_path[0]).__module__)"
    assert run(environment, "-c", program).stdout.strip() == "pip_linkmode._bootstrap"


def test_start_up_says_nothing(environment: Path) -> None:
    result = run(environment, "-X", "dev", "-W", "error", "-c", "pass")
    assert (result.stdout, result.stderr) == ("", "")


def test_start_up_is_one_line_that_begins_with_import() -> None:
    (line,) = (PACKAGE / "pip_linkmode.pth").read_text(encoding="ascii").splitlines()
    assert line.startswith("import ")
    (entry,) = (PACKAGE / "pip_linkmode.start").read_text(encoding="ascii").splitlines()
    assert entry == "pip_linkmode._bootstrap:activate"


@pytest.mark.parametrize("half_removed", ["pip_linkmode", "pip_linkmode/_bootstrap.py"])
def test_start_up_file_that_was_left_behind_says_nothing(
    environment: Path, tmp_path: Path, half_removed: str
) -> None:
    packages = tmp_path / "packages"
    if half_removed != "pip_linkmode":
        (packages / "pip_linkmode").mkdir(parents=True)
        (packages / "pip_linkmode" / "__init__.py").touch()
    else:
        packages.mkdir()
    (packages / "pip_linkmode.pth").write_bytes(
        (PACKAGE / "pip_linkmode.pth").read_bytes()
    )
    program = (
        f"import site, sys; sys.modules.pop('pip_linkmode', None); "
        f"sys.modules.pop('pip_linkmode._bootstrap', None); "
        f"sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; "
        f"sys.meta_path[:] = sys.meta_path[1:]; "
        f"site.addsitedir({str(packages)!r}); print(len(sys.meta_path))"
    )
    result = run(environment, "-c", program)
    assert result.stderr == ""
    assert result.stdout.strip() == "3"


def test_installing_twice_is_no_harm(environment: Path) -> None:
    program = (
        "import site, sys; before = len(sys.meta_path); "
        f"site.addsitedir({str(site_packages(environment))!r}); "
        "site.addsitedir(sys.argv[1]); "
        "print(len(sys.meta_path) - before)"
    )
    result = run(environment, "-c", program, str(site_packages(environment)))
    assert result.stdout.strip() == "0"


def test_text_is_read_and_written_as_utf_8() -> None:
    """pip 26.3 blocks the import of any other codec while it installs."""
    named = [
        (module.name, keyword.value.value)
        for module in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "encoding" and isinstance(keyword.value, ast.Constant)
    ]
    assert {encoding for _, encoding in named} == {"utf-8"}, named
