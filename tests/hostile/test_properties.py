"""For any names, rows, manifests and damage: no escape, and no error but ours."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pip_linkmode.environments import layout as layout_module
from pip_linkmode.environments.layout import lay_out
from pip_linkmode.errors import EntryDamagedError, WheelDeclinedError
from pip_linkmode.install import skeleton
from pip_linkmode.prepare.wheel import unpack
from pip_linkmode.store import bytecode
from pip_linkmode.store.paths import is_safe_path
from pip_linkmode.store.store import Store
from tests.hostile.bench import FILES, Bench
from tests.hostile.corpus import build, entry
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pip_linkmode.store.entry import Entry

SCHEME = {
    "purelib": "/env/lib/python3/site-packages",
    "platlib": "/env/lib64/python3/site-packages",
    "headers": "/env/include/pkg",
    "scripts": "/env/bin",
    "data": "/env",
}
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Parts of which paths go wrong, more often than by chance.
PARTS = st.sampled_from(
    [
        *(
            "..",
            ".",
            "",
            "/",
            "~",
            "a",
            "B",
            "b",
            "pkg",
            "x.py",
            "é",
            "e\u0301",
            "\u202e",
        ),
        *("C:", "\\", "\n", "\r", "\x00", "\x1f", "\x7f", "\x85", "\u2028", "\ud800"),
        *("pkg-1.0.data", "purelib", "scripts", "data", "pkg-1.0.dist-info", "RECORD"),
        *("REQUESTED", "__pycache__", "manifest.json", '"', ",", " ", "-"),
    ]
)
PATHS = st.lists(PARTS | st.text(max_size=3), max_size=5).map("/".join) | st.lists(
    PARTS, max_size=4
).map("".join)


# --- paths ----------------------------------------------------------------------------


@CALM
@given(PATHS)
@example("a/../../b")
@example("a\\..\\..\\b")
def test_plain_path_is_where_it_is_joined_to(path: str) -> None:
    """By every rule that joins paths, on every operating system."""
    if not is_safe_path(path):
        return
    os.fsencode(path)
    joined = os.path.abspath(os.path.join("/base", path))
    assert joined == "/base/" + path
    for windows in (path.split("\\"), path.split(":")):
        assert len(windows) == 1
    assert "\x00" not in path
    assert list(csv.reader([path.replace('"', "").replace(",", "")]))


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


@CALM
@given(st.lists(st.tuples(PATHS, st.sampled_from([0o100644, 0o120777, 0o040755]))))
def test_any_names_are_unpacked_below_or_declined(
    names: list[tuple[str, int]],
) -> None:
    with tempfile.TemporaryDirectory() as base, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = Path(base)
        try:
            wheel = build(root, "pkg", *((entry(*name), b"x") for name in names))
        except (ValueError, UnicodeError):
            return  # zipfile does not write that
        target = root / "deep" / "below" / "files"
        before = tree(root)
        try:
            with wheel.open("rb") as file:
                manifest = unpack(file, str(target), umask=0o022, mtime=1_600_000_000)
        except WheelDeclinedError:
            manifest = {"files": []}
        found = {path for path in tree(root) - before if (root / path).is_file()}
        assert all(path.startswith("deep/below/files/") for path in found)
        assert not any(path.is_symlink() for path in root.rglob("*"))
        listed = {f"deep/below/files/{path}" for path, *_ in manifest["files"]}
        assert listed <= found


# --- wheels ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("honest")
    points = "[console_scripts]\nrun = pkg:main\n"
    wheel = make_wheel(directory, "pkg", files=FILES, entry_points=points)
    return wheel.read_bytes()


@CALM
@given(
    damage=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.binary(min_size=1, max_size=4) | st.sampled_from([b"\0", b"\xff" * 8]),
        ),
        min_size=1,
        max_size=3,
    ),
    cut=st.floats(0, 1) | st.just(1),
)
def test_any_damage_of_a_wheel_is_seen_as_by_zipfile_or_declined(
    honest: bytes, damage: list[tuple[float, bytes]], cut: float
) -> None:
    """Nothing but a refusal comes out of it, and never other bytes."""
    data = bytearray(honest)
    for place, new in damage:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    data = data[: int(cut * len(data))]
    with tempfile.TemporaryDirectory() as base:
        target = os.path.join(base, "files")
        try:
            manifest = unpack(
                io.BytesIO(data), target, umask=0o022, mtime=1_600_000_000
            )
        except WheelDeclinedError:
            return
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for path, size, _, _ in manifest["files"]:
                content = Path(target, path).read_bytes()
                assert len(content) == size
                if size:
                    assert content == archive.read(path)


# --- RECORD ---------------------------------------------------------------------------


FIELDS = PATHS | st.sampled_from(
    ["pkg/a.py", "pkg/b, c.py", "pkg-1.0.data/data/d", "pkg-1.0.data/scripts/run"]
)
RECORDED = (
    "pkg/a.py",
    "pkg/b, c.py",
    "pkg-1.0.data/data/d",
    "pkg-1.0.data/scripts/run",
)
METADATA = tuple(
    f"pkg-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")
)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    """An entry with a file of each kind."""
    base = tmp_path_factory.mktemp("recorded")
    files: dict[str, bytes | str] = dict.fromkeys(RECORDED, "x = 1\n")
    bench = Bench(base, make_wheel(base / "wheels", "pkg", files=files))
    bench.install("environment")
    found = Store.open(str(bench.store)).entry(bench.sha256)
    assert found is not None
    return found


def installed_rows(
    text: str, destinations: dict[str, str]
) -> list[tuple[str, str, str]]:
    """Return the RECORD that pip writes, by pip's own function."""
    pip: Any = importlib.import_module("pip._internal.operations.install.wheel")
    rows = pip.get_csv_rows_for_installed(
        list(csv.reader(text.splitlines())),
        installed=dict(destinations),
        changed=set(),
        generated=[],
        lib_dir=SCHEME["purelib"],
    )
    found: list[tuple[str, str, str]] = pip._normalized_outrows(rows)
    return found


@CALM
@given(st.lists(st.lists(FIELDS | st.text(max_size=4), max_size=5)), st.booleans())
def test_any_record_comes_out_as_by_pip(
    recorded: Entry, rows: list[list[str]], raw: bool
) -> None:
    """Of the skeleton, and of the wheel itself."""
    text = "\n".join(",".join(row) for row in rows)
    if not raw:
        with io.StringIO(newline="") as buffer, contextlib.suppress(csv.Error):
            csv.writer(buffer).writerows(rows)
            text = buffer.getvalue()
    layout = lay_out(recorded, SCHEME)
    places = {target.file.path: target.record for target in layout.linked}
    kept = {"pkg-1.0.data/scripts/run": "../../../bin/run"}
    kept |= {path: path for path in METADATA}
    pyc = "pkg/__pycache__/a.pyc"
    try:
        expected = installed_rows(text, {**places, **kept, pyc: pyc})
    except (IndexError, csv.Error):
        with pytest.raises((WheelDeclinedError, csv.Error)):
            skeleton.record(text, layout, [pyc])
        return
    try:
        ours = skeleton.record(text, layout, [pyc])
    except WheelDeclinedError:
        return
    assert installed_rows(ours, kept) == expected


# --- manifests ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    base = tmp_path_factory.mktemp("manifest")
    filled = Bench(base, make_wheel(base / "wheels", "pkg", files=FILES))
    filled.assert_pristine(filled.install("first"))
    return filled


@contextlib.contextmanager
def edited(path: Path, manifest: object) -> Iterator[None]:
    before = path.read_bytes()
    path.write_text(json.dumps(manifest))
    try:
        yield
    finally:
        path.write_bytes(before)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | PATHS | st.floats(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(PATHS, inner, max_size=3)
    ),
    max_leaves=5,
)
ROWS = st.lists(
    st.tuples(PATHS, st.integers(0, 99), st.just(""), st.sampled_from([0o644, 0o755]))
)


@CALM
@given(
    changes=st.dictionaries(
        st.sampled_from(["dist_info", "purelib", "plain_record", "mtime", "name"]),
        VALUES,
    ),
    rows=ROWS,
)
def test_any_manifest_that_is_loaded_leads_nowhere_else(
    bench: Bench, changes: dict[str, object], rows: list[object]
) -> None:
    """Neither in the store nor in the environment."""
    path = bench.entry / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest |= {**changes, "files": [*manifest["files"], *rows]}
    with edited(path, manifest):
        try:
            found = Store.open(str(bench.store)).entry(bench.sha256)
            assert found is not None
            layout = lay_out(found, SCHEME)
        except (EntryDamagedError, WheelDeclinedError):
            return
    for target in layout.linked:
        source = found.source(target.file.path)
        assert os.path.abspath(source) == source
        assert source.startswith(f"{bench.entry}/files/")
        assert os.path.abspath(target.path) == target.path
        assert target.path.startswith(f"{target.target_root}/")
    for _, pyc, _ in layout_module.bytecode_targets(layout):
        assert os.path.abspath(pyc).startswith("/env/")


@CALM
@given(VALUES | st.fixed_dictionaries({"manifest": st.just(1), "files": VALUES}))
def test_any_manifest_of_bytecode_is_loaded_or_not(
    bench: Bench, manifest: object
) -> None:
    sources = ["pkg/__init__.py", "pkg/module.py", "pkg/sub/other.py"]
    directory = bench.bytecode
    with edited(directory / "manifest.json", manifest):
        found = bytecode.load(str(directory), sources)
    for source in () if found is None else found.files:
        assert source in sources
