"""Bytecode is what pip would have compiled, made once and elsewhere."""

from __future__ import annotations

import compileall
import importlib.util
import json
import marshal
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import interpreters
from pip_linkmode.install.linking import compile_in_place, compiles_here
from pip_linkmode.interpreters import interpreter
from pip_linkmode.prepare import compiler
from pip_linkmode.prepare.pool import Workers
from pip_linkmode.store.bytecode import Bytecode, Compiled, load
from tests.support.snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = 16
SOURCES: dict[str, bytes] = {
    "package/__init__.py": b"",
    "package/module.py": b'"""Doc."""\n\n\ndef f():\n    assert True\n    return 1\n',
    "package/deep/sets.py": b"KINDS = {'a', 'b'} | frozenset({'c'})\n",
    "latin.py": "# coding: latin-1\nX = 'naïve'\n".encode("latin-1"),
    "koi8.py": "# -*- coding: koi8-r -*-\nX = 'файл'\n".encode("koi8-r"),
    "bom.py": "X = 'naïve'\n".encode("utf-8-sig"),
    "warns.py": b"X = '\\d'\nY = 1 is 1\n",
}
BAD_SOURCES: dict[str, bytes] = {
    "python2.py": b"print 'hello'\n",
    "null.py": b"X = 1\x00\n",
    "undecodable.py": b"X = '\xff'\n",
    "unknown.py": b"# coding: no-such-codec\n",
    "nested.py": b"(" * 5000 + b")" * 5000,
}


@pytest.fixture
def workers() -> Iterator[Workers]:
    created = Workers(2)
    yield created
    created.stop()


def write(directory: Path, sources: dict[str, bytes]) -> dict[str, str]:
    for path, content in sources.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        os.utime(file, (1_600_000_000, 1_600_000_000))
    return {path: str(directory / path) for path in sources}


def compile_into(
    directory: str, sources: dict[str, str], workers: Workers
) -> dict[str, Compiled | None]:
    """Fill the directory of an interpreter."""
    jobs = compiler.jobs(
        directory, sources, checked_hash=interpreters.is_checked_hash()
    )
    compiled = workers.submit("compile", jobs).result()
    compiler.finish(directory, tuple(sources), compiled)
    return dict(zip(sources, [one and Compiled(*one) for one in compiled], strict=True))


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    return write(tmp_path / "files", {**SOURCES, **BAD_SOURCES})


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "bytecode").mkdir()
    return str(tmp_path / "bytecode")


def code_of(path: str | Path) -> CodeType:
    code: CodeType = marshal.loads(Path(path).read_bytes()[HEADER:])
    return code


# --- what is compiled -----------------------------------------------------------------


def digests(root: Path) -> dict[str, tuple[str, str, str]]:
    found = snapshot(root)
    return {path: found[path] for path in found if path.endswith(".pyc")}


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_bytecode_is_what_compileall_makes_in_place(
    directory: str, sources: dict[str, str], workers: Workers, tmp_path: Path
) -> None:
    for source in sources.values():
        compileall.compile_file(source, quiet=2)
    theirs = digests(tmp_path / "files")
    compiled = compile_into(directory, sources, workers)
    for pyc in tmp_path.glob("files/**/*.pyc"):
        pyc.unlink()
    for path, source in sources.items():
        if compiled[path]:
            os.link(f"{directory}/{path}c", importlib.util.cache_from_source(source))
    ours = digests(tmp_path / "files")
    assert ours == theirs
    assert len(ours) == len(SOURCES)
    # The digest of the snapshot would say so if the stamp were not the source's.
    assert not any("stale" in digest for _, _, digest in ours.values())


def test_code_names_the_path_in_the_wheel(
    directory: str, sources: dict[str, str], workers: Workers
) -> None:
    compile_into(directory, sources, workers)
    code = code_of(f"{directory}/package/module.pyc")
    assert code.co_filename == "package/module.py"


def test_result_tells_what_is_on_disk(
    directory: str, sources: dict[str, str], workers: Workers
) -> None:
    for path, compiled in compile_into(directory, sources, workers).items():
        if compiled is None:
            assert not os.path.lexists(f"{directory}/{path}c")
            continue
        status = os.lstat(f"{directory}/{path}c")
        assert status.st_mode == stat.S_IFREG | compiled.mode
        assert (status.st_size, status.st_mtime_ns) == compiled[:2]


@pytest.mark.parametrize("path", ["x.py", "a/x.py", "a/b/c/x.py"])
def test_nobody_else_may_write_to_its_directories(
    tmp_path: Path, directory: str, workers: Workers, path: str
) -> None:
    sources = write(tmp_path / "files", {path: b""})
    before = os.umask(0)
    try:
        compile_into(directory, sources, workers)
    finally:
        os.umask(before)
    for below in Path(directory).rglob("*"):
        if below.is_dir():
            assert stat.S_IMODE(below.stat().st_mode) == 0o755


def test_what_does_not_compile_is_remembered(
    directory: str, sources: dict[str, str], workers: Workers
) -> None:
    compiled = compile_into(directory, sources, workers)
    assert {path for path, one in compiled.items() if one is None} == set(BAD_SOURCES)
    found = load(directory, tuple(sources))
    assert found is not None
    assert set(found.files) == set(SOURCES)
    with open(os.path.join(directory, "manifest.json"), encoding="utf-8") as file:
        manifest = json.load(file)["files"]
    assert {manifest[path] for path in BAD_SOURCES} == {None}


@pytest.mark.parametrize(
    ("path", "encoding"),
    [
        ("package/module.py", "utf-8"),
        ("latin.py", "iso-8859-1"),
        ("koi8.py", "koi8-r"),
        ("bom.py", "utf-8-sig"),
    ],
)
def test_encoding_of_a_source_is_remembered(
    directory: str,
    sources: dict[str, str],
    workers: Workers,
    path: str,
    encoding: str,
) -> None:
    compiled = compile_into(directory, sources, workers)[path]
    assert compiled is not None
    assert compiled.encoding == encoding


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("mode", [0o644, 0o444, 0o755])
def test_mode_is_that_of_py_compile(
    tmp_path: Path, directory: str, workers: Workers, mask: int, mode: int
) -> None:
    sources = write(tmp_path, {"x.py": b""})
    os.chmod(sources["x.py"], mode)
    before = os.umask(mask)
    try:
        compiled = compile_into(directory, sources, workers)["x.py"]
    finally:
        os.umask(before)
    assert compiled is not None
    assert compiled.mode == (mode | 0o200) & 0o666 & ~mask


@pytest.mark.parametrize("epoch", ["", "315532800"])
def test_source_date_epoch_makes_hash_based_files(
    tmp_path: Path,
    directory: str,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    epoch: str,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    sources = write(tmp_path, {"x.py": b"X = 1\n"})
    compile_into(directory, sources, workers)
    compileall.compile_file(sources["x.py"], quiet=2)
    theirs = Path(importlib.util.cache_from_source(sources["x.py"]))
    header = Path(directory, "x.pyc").read_bytes()[:HEADER]
    assert header == theirs.read_bytes()[:HEADER]
    assert header[4] == (0b11 if epoch else 0)
    assert ("hash" in interpreter()) is bool(epoch)


def in_another_interpreter(program: str, *flags: str, **variables: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), **variables}
    command = [sys.executable, *flags, "-c", program]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout


def described(code: CodeType) -> list[object]:
    """Tell what the flags change: docstrings, assertions, columns."""
    (inner,) = (const for const in code.co_consts if isinstance(const, CodeType))
    columns = [*inner.co_positions()] if sys.version_info >= (3, 11) else []
    return ["Doc." in code.co_consts, inner.co_code, columns]


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        ((), {}),
        (("-O",), {}),
        (("-OO",), {}),
        ((), {"PYTHONOPTIMIZE": "2"}),
        (("-X", "no_debug_ranges"), {}),
        ((), {"PYTHONNODEBUGRANGES": "1"}),
        (("-X", "no_debug_ranges", "-O"), {}),
    ],
)
def test_flags_of_the_interpreter_are_those_of_its_workers(
    tmp_path: Path, directory: str, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    sources = write(tmp_path, {"x.py": SOURCES["package/module.py"]})
    program = (
        "import compileall, json, sys\n"
        "from pip_linkmode.interpreters import interpreter, is_checked_hash\n"
        "from pip_linkmode.prepare.compiler import jobs\n"
        "from pip_linkmode.prepare.pool import Workers\n"
        "workers = Workers(1)\n"
        f"made = jobs({directory!r}, {sources!r}, checked_hash=is_checked_hash())\n"
        "workers.submit('compile', made).result()\n"
        "workers.stop()\n"
        f"sources = {sources!r}\n"
        "compileall.compile_file(sources['x.py'], quiet=2)\n"
        "import importlib.util\n"
        "print(importlib.util.cache_from_source(sources['x.py']), interpreter())\n"
    )
    output = in_another_interpreter(program, *flags, **variables)
    theirs, name = output.split()
    assert described(code_of(f"{directory}/x.pyc")) == described(code_of(theirs))
    assert (name == interpreter()) is not bool(flags or variables)


def test_name_of_an_interpreter_tells_its_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = {interpreter()}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    names.add(interpreter())
    monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
    names.add(interpreter())
    monkeypatch.setattr(importlib.util, "MAGIC_NUMBER", b"\x01\x02\r\n")
    names.add(interpreter())
    assert len(names) == 4
    assert all(sys.implementation.cache_tag in name for name in names)
    assert "01020d0a" in interpreter()
    assert all("/" not in name for name in names)


# --- the directory of an interpreter --------------------------------------------------


@pytest.fixture
def created(directory: str, sources: dict[str, str], workers: Workers) -> Bytecode:
    compile_into(directory, sources, workers)
    found = load(directory, tuple(sources))
    assert found is not None
    return found


def test_loaded_as_it_was_made(created: Bytecode) -> None:
    assert created.source("package/module.py") == f"{created.path}/package/module.pyc"
    assert os.path.isfile(created.source("package/module.py"))


def test_nothing_there(tmp_path: Path) -> None:
    assert load(str(tmp_path / "nowhere"), ()) is None


def test_other_sources_are_another_thing(
    created: Bytecode, sources: dict[str, str]
) -> None:
    assert load(created.path, tuple(sources)[1:]) is None
    assert load(created.path, (*sources, "more.py")) is None


def edit(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))


def truncate(path: Path) -> None:
    times = path.stat()
    path.write_bytes(b"")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def chmod(path: Path) -> None:
    path.chmod(0o666)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def replace_parent_by_link(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.symlink_to("moved")


@pytest.mark.parametrize(
    "damage",
    [edit, truncate, chmod, Path.unlink, replace_by_link, replace_parent_by_link],
)
def test_damage_is_seen(
    created: Bytecode, sources: dict[str, str], damage: Callable[[Path], None]
) -> None:
    damage(Path(created.source("package/module.py")))
    assert load(created.path, tuple(sources)) is None


MANIFESTS = [
    b"",
    b"[]",
    b"7",
    b"null",
    b"\xff",
    b'{"manifest": 1}',
    b'{"manifest": 2, "files": {"x.py": null}}',
    b'{"manifest": 1, "files": null}',
    b'{"manifest": 1, "files": ["x.py"]}',
    b'{"manifest": 1, "files": {"x.py": 7}}',
    b'{"manifest": 1, "files": {"x.py": [1, 2, 3]}}',
    b'{"manifest": 1, "files": {"x.py": [1, 2, "3", "utf-8"]}}',
    b'{"manifest": 1, "files": {"x.py": ["1", 2, 3, "utf-8"]}}',
]


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_manifest_that_cannot_be_meant_is_none(directory: str, manifest: bytes) -> None:
    Path(directory, "manifest.json").write_bytes(manifest)
    Path(directory, "x.pyc").write_bytes(b"?")
    assert load(directory, ("x.py",)) is None


@pytest.mark.parametrize("encoding", [None, ["utf-8"], 7])
def test_manifest_whose_encoding_is_not_a_text(
    directory: str, encoding: object
) -> None:
    pyc = Path(directory, "x.pyc")
    pyc.write_bytes(b"?")
    row = [1, pyc.stat().st_mtime_ns, stat.S_IMODE(pyc.stat().st_mode), encoding]
    manifest = {"manifest": 1, "files": {"x.py": row}}
    Path(directory, "manifest.json").write_text(json.dumps(manifest))
    assert load(directory, ("x.py",)) is None
    manifest["files"] = {"x.py": [*row[:3], "utf-8"]}
    Path(directory, "manifest.json").write_text(json.dumps(manifest))
    assert load(directory, ("x.py",)) is not None


def test_manifest_whose_mode_is_none(directory: str) -> None:
    pyc = Path(directory, "x.pyc")
    pyc.write_bytes(b"?")
    row = [1, pyc.stat().st_mtime_ns, "644", "utf-8"]
    manifest = {"manifest": 1, "files": {"x.py": row}}
    Path(directory, "manifest.json").write_text(json.dumps(manifest))
    assert load(directory, ("x.py",)) is None


def test_manifest_that_is_nested_too_deep_is_none(directory: str) -> None:
    Path(directory, "manifest.json").write_bytes(b"[" * 100_000)
    assert load(directory, ()) is None


# --- without a store ------------------------------------------------------------------


def in_place(source: str) -> bool:
    return compile_in_place(source, importlib.util.cache_from_source(source))


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("epoch", ["", "315532800"])
def test_in_place_is_as_compileall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    ours = write(tmp_path / "ours", {**SOURCES, **BAD_SOURCES})
    theirs = write(tmp_path / "theirs", {**SOURCES, **BAD_SOURCES})
    done = {path for path, source in ours.items() if in_place(source)}
    for source in theirs.values():
        compileall.compile_file(source, quiet=2)
    assert snapshot(tmp_path / "ours") == snapshot(tmp_path / "theirs")
    assert done == set(SOURCES)
    pyc = importlib.util.cache_from_source(ours["package/module.py"])
    assert code_of(pyc).co_filename == ours["package/module.py"]


@pytest.mark.parametrize("action", ["error", "default"])
def test_in_place_warns_of_nothing_as_pip(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, action: str
) -> None:
    (source,) = write(tmp_path, {"x.py": SOURCES["warns.py"]}).values()
    warnings.simplefilter(action)  # type: ignore[arg-type]  # one of its literals
    assert in_place(source)
    assert not recwarn.list


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_in_place_replaces_a_linked_pyc(
    tmp_path: Path, link: Callable[[str, str], None]
) -> None:
    (source,) = write(tmp_path, {"x.py": b"X = 1\n"}).values()
    pyc = importlib.util.cache_from_source(source)
    os.mkdir(os.path.dirname(pyc))
    stored = tmp_path / "stored.pyc"
    stored.write_bytes(b"of the store")
    link(str(stored), pyc)
    assert compile_in_place(source, pyc)
    assert stored.read_bytes() == b"of the store"
    assert stored.stat().st_nlink == 1
    assert stat.S_ISREG(os.lstat(pyc).st_mode)


def test_in_place_replaces_a_dangling_pyc(tmp_path: Path) -> None:
    (source,) = write(tmp_path, {"x.py": b"X = 1\n"}).values()
    pyc = importlib.util.cache_from_source(source)
    os.mkdir(os.path.dirname(pyc))
    os.symlink(tmp_path / "nowhere", pyc)
    assert compile_in_place(source, pyc)
    assert not os.path.lexists(tmp_path / "nowhere")


def test_in_place_bears_an_unwritable_place(tmp_path: Path) -> None:
    (source,) = write(tmp_path, {"x.py": b"X = 1\n"}).values()
    os.makedirs(importlib.util.cache_from_source(source))
    assert not in_place(source)


# --- what this process could compile --------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1", "koi8-r"])
def test_known_encodings(encoding: str) -> None:
    assert compiles_here(encoding)


@pytest.mark.parametrize("encoding", ["no-such-codec", "naïve", "a\nb"])
def test_impossible_encodings(encoding: str) -> None:
    assert not compiles_here(encoding)


def test_encodings_whose_import_is_blocked() -> None:
    program = (
        "import importlib.abc, sys\n"
        "from pip_linkmode.install.linking import compiles_here\n"
        "class Blocked(Exception): pass\n"
        "class Block(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, *_): raise Blocked\n"
        "sys.meta_path.insert(0, Block())\n"
        "print(compiles_here('utf-8'), compiles_here('koi8-r'))\n"
    )
    assert in_another_interpreter(program).split() == ["True", "False"]


def test_directory_that_somebody_else_has_linked_is_not_read(
    created: Bytecode, sources: dict[str, str], tmp_path: Path
) -> None:
    directory = Path(created.path)
    (tmp_path / "linked").symlink_to(directory.parent)
    assert load(str(tmp_path / "linked" / directory.name), tuple(sources)) is None
