"""The test bed itself: the oracle accepts stock pip, and it can fail."""

from __future__ import annotations

import marshal
import os
import py_compile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import NEWEST, OLDEST, Bed, Environment
from tests.support.parity import (
    assert_parity,
    blocks,
    differences,
    perform,
    store_digest,
)
from tests.support.snapshot import snapshot
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.parity import Step

INSTALL = ("install", "--no-index", "--no-deps")


def compiled(source: Path) -> None:
    py_compile.compile(str(source), doraise=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "package").mkdir(parents=True)
    (root / "package" / "data").write_text("data")
    module = root / "package" / "module.py"
    module.write_text("def answer():\n    return 42, {1, 2}, -0.0, 10 ** 5000\n")
    compiled(module)
    return root


def edit(root: Path) -> None:
    (root / "package" / "data").write_text("date")


def make_executable(root: Path) -> None:
    (root / "package" / "data").chmod(0o755)


def remove(root: Path) -> None:
    (root / "package" / "data").unlink()


def add_directory(root: Path) -> None:
    (root / "more").mkdir()


def link_directory(root: Path) -> None:
    (root / "package").rename(root.parent / "elsewhere")
    (root / "package").symlink_to(root.parent / "elsewhere")


def break_link(root: Path) -> None:
    remove(root)
    (root / "package" / "data").symlink_to("nowhere")


def recompile_other_code(root: Path) -> None:
    module = root / "package" / "module.py"
    text, status = module.read_text(), module.stat()
    module.write_text(text.replace("42", "43"))
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))
    compiled(module)
    module.write_text(text)
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))


def make_stale(root: Path) -> None:
    os.utime(root / "package" / "module.py", (1, 1))


def check_hash_instead(root: Path) -> None:
    module = root / "package" / "module.py"
    py_compile.compile(
        str(module), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
    )


@pytest.mark.parametrize(
    "change",
    [
        edit,
        make_executable,
        remove,
        add_directory,
        link_directory,
        break_link,
        recompile_other_code,
        make_stale,
        check_hash_instead,
    ],
)
def test_snapshot_sees(tree: Path, change: Callable[[Path], None]) -> None:
    before = snapshot(tree)
    change(tree)
    assert snapshot(tree) != before


def touch_and_recompile(root: Path) -> None:
    module = root / "package" / "module.py"
    os.utime(module, (1, 1))
    compiled(module)


def compile_for_another_path(root: Path) -> None:
    module = root / "package" / "module.py"
    py_compile.compile(str(module), dfile="/elsewhere/module.py", doraise=True)


def marshal_without_references(root: Path) -> None:
    (bytecode,) = root.glob("package/__pycache__/*.pyc")
    content = bytecode.read_bytes()
    rewritten = content[:16] + marshal.dumps(marshal.loads(content[16:]), 2)
    assert rewritten != content
    bytecode.write_bytes(rewritten)


def hardlink(root: Path) -> None:
    (root.parent / "link").hardlink_to(root / "package" / "data")


def symlink(root: Path) -> None:
    (root / "package" / "data").rename(root.parent / "data")
    (root / "package" / "data").symlink_to(root.parent / "data")


@pytest.mark.parametrize(
    "change",
    [
        touch_and_recompile,
        compile_for_another_path,
        marshal_without_references,
        hardlink,
        symlink,
    ],
)
def test_snapshot_looks_past(tree: Path, change: Callable[[Path], None]) -> None:
    before = snapshot(tree)
    change(tree)
    assert snapshot(tree) == before


def test_snapshot_is_the_same_from_inside(bed: Bed, tmp_path: Path, tree: Path) -> None:
    environment = bed.environment(tmp_path / "environment", shim=False)
    assert environment.snapshot(tree) == snapshot(tree)


def test_wheels_are_deterministic(tmp_path: Path) -> None:
    for trait in TRAITS.values():
        first, second = trait(tmp_path / "first"), trait(tmp_path / "second")
        assert [w.name for w in first] == [w.name for w in second]
        assert [w.read_bytes() for w in first] == [w.read_bytes() for w in second]


@pytest.mark.parametrize("pip", [NEWEST, OLDEST])
def test_stock_pip_equals_itself(bed: Bed, tmp_path: Path, pip: str) -> None:
    wheels = [str(w) for trait in TRAITS.values() for w in trait(tmp_path / "wheels")]
    names = [Path(wheel).name.partition("-")[0] for wheel in wheels]
    steps = [(*INSTALL, *wheels), ("check",), ("uninstall", "--yes", *names[::2])]
    environment = assert_parity(
        bed, tmp_path, steps, env={}, pip=pip, output=True, shim=False
    )
    assert f"pip {pip} " in environment.pip("--version").stdout
    installed = {path.name for path in environment.site_packages.glob("*.dist-info")}
    assert {f"{name}-1.0.dist-info" for name in names[1::2]} <= installed


def overwrite(environment: Environment) -> None:
    (environment.site_packages / "plain" / "binary.dat").write_bytes(b"other")


def drop(environment: Environment) -> None:
    (environment.site_packages / "plain" / "binary.dat").unlink()


def append_to_record(environment: Environment) -> None:
    with (environment.site_packages / "plain-1.0.dist-info" / "RECORD").open(
        "a"
    ) as file:
        file.write("plain/ghost.py,,\n")


def damage_pip(environment: Environment) -> None:
    (environment.site_packages / "pip" / "__init__.py").write_text("")


@pytest.mark.parametrize(
    ("tamper", "path"),
    [
        (overwrite, "plain/binary.dat"),
        (drop, "plain/binary.dat"),
        (append_to_record, "plain-1.0.dist-info/RECORD"),
        (damage_pip, "pip/__init__.py"),
    ],
)
def test_oracle_names_the_path_that_differs(
    bed: Bed, tmp_path: Path, tamper: Callable[[Environment], None], path: str
) -> None:
    (wheel,) = TRAITS["plain"](tmp_path)

    def tamper_with_linked(environment: Environment) -> None:
        if (tmp_path / "seen").exists():
            tamper(environment)
        (tmp_path / "seen").touch()

    steps: list[Step] = [(*INSTALL, str(wheel)), tamper_with_linked]
    with pytest.raises(AssertionError, match=path):
        assert_parity(bed, tmp_path, steps, env={}, shim=False)
    (tmp_path / "seen").unlink()
    assert_parity(
        bed, tmp_path, steps, env={}, shim=False, ignore=[f"*{path}", "*.pyc"]
    )


def test_oracle_compares_exit_codes_and_output(bed: Bed, tmp_path: Path) -> None:
    environment = bed.environment(tmp_path / "environment", shim=False)
    good = perform(environment, [("check",)])
    bad = perform(environment, [("no-such-command",)])
    assert differences(good, bad) == ["exit codes: stock [0], linked [1]"]
    assert len(differences(good, bad, output=True)) > 1
    assert differences(good, good, output=True) == []


def test_oracle_looks_outside(bed: Bed, tmp_path: Path) -> None:
    (wheel,) = TRAITS["plain"](tmp_path)
    target = tmp_path / "target"
    steps = [(*INSTALL, "--target", str(target), str(wheel))]
    assert_parity(bed, tmp_path, steps, env={}, also=[target], shim=False)
    environment = bed.environment(tmp_path / "environment", shim=False)
    again = perform(environment, [*steps, lambda _: edit_target(target)], also=[target])
    assert f"{target.as_posix()}/plain/binary.dat" in again.changes


def edit_target(target: Path) -> None:
    (target / "plain" / "binary.dat").write_bytes(b"other")


def test_environment_is_sheltered(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_SUCH_OPTION", "1")
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "no such boolean")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    environment = bed.environment(tmp_path / "environment", shim=False)
    listed = environment.pip("config", "list", env={"PIP_NO_INDEX": "1"}).stdout
    assert ":env:.no-index='1'" in listed
    assert "such" not in listed
    assert environment.pip("cache", "dir").stdout.strip() == str(environment.cache)
    with pytest.raises(AssertionError, match="no-such-command"):
        environment.pip("no-such-command")


def test_store_digest_sees_what_is_handed_out(tmp_path: Path) -> None:
    entry = tmp_path / "v1" / "wheels" / "ab" / "abcd"
    for name in ("manifest.json", "files/package/data", "bytecode/cpython/data.pyc"):
        (entry / name).parent.mkdir(parents=True, exist_ok=True)
        (entry / name).write_text("data")
    before = store_digest(tmp_path)
    assert [Path(path).name for path in before] == ["data", "data.pyc"]
    (entry / "files" / "package" / "data").chmod(0o755)
    assert store_digest(tmp_path) != before


def test_blocks_counts_only_what_a_tree_has_to_itself(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make_wheel(tmp_path, "other", files={"data": os.urandom(100_000)})
    (wheel,) = tmp_path.glob("*.whl")
    (root / "hardlink").hardlink_to(wheel)
    (root / "symlink").symlink_to(wheel)
    assert blocks(root) == 0
    (root / "copy").write_bytes(wheel.read_bytes())
    assert blocks(root) >= wheel.stat().st_size
