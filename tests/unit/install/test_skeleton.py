"""What pip still installs itself, and a RECORD that names all the rest."""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pip_linkmode.environments.layout import Layout, Target, bytecode_targets, lay_out
from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.install.skeleton import pack, record
from pip_linkmode.prepare.wheel import unpack
from pip_linkmode.store.entry import Entry
from pip_linkmode.store.paths import StoredFile, is_safe_path
from pip_linkmode.store.store import Store
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INFO = "package-1.0.dist-info"
DATA = "package-1.0.data"
SCHEME = {
    "purelib": "/env/lib/site-packages",
    "platlib": "/env/lib64/site-packages",
    "headers": "/env/include/site/package",
    "scripts": "/env/bin",
    "data": "/env",
}


def entry_of(
    *paths: str, purelib: bool = True, record_is_complete: bool = False
) -> Entry:
    """Return an entry that is nowhere."""
    return Entry(
        path="/store/entry",
        store="/store",
        sha256="",
        wheel="package-1.0-py3-none-any.whl",
        name="package",
        version="1.0",
        dist_info=INFO,
        purelib=purelib,
        record_is_complete=record_is_complete,
        mtime=1,
        files=tuple(StoredFile(path, 1, "", 0o644) for path in paths),
    )


def layout_of(*paths: str, purelib: bool = True) -> Layout:
    return lay_out(entry_of(*paths, purelib=purelib), SCHEME)


def targets(layout: Layout) -> dict[str, tuple[str, str, str]]:
    return {t.file.path: (t.path, t.record, t.target_root) for t in layout.linked}


def kept(layout: Layout) -> list[str]:
    return [file.path for file in layout.skeleton_files]


# --- where files go -------------------------------------------------------------------


@pytest.mark.parametrize(("purelib", "key"), [(True, "purelib"), (False, "platlib")])
def test_root_of_the_wheel_goes_to_its_library(purelib: bool, key: str) -> None:
    layout = layout_of("package/module.py", purelib=purelib)
    site_packages = SCHEME[key]
    assert layout.site_packages == site_packages
    assert targets(layout) == {
        "package/module.py": (
            f"{site_packages}/package/module.py",
            "package/module.py",
            site_packages,
        )
    }


@pytest.mark.parametrize(
    ("path", "target", "row"),
    [
        ("purelib/x.py", "/env/lib/site-packages/x.py", "x.py"),
        ("platlib/x.py", "/env/lib64/site-packages/x.py", "../../lib64/site-packages/"),
        ("headers/x.h", "/env/include/site/package/x.h", "../../include/site/package/"),
        ("data/share/x", "/env/share/x", "../../share/"),
    ],
)
def test_data_goes_to_its_scheme_and_is_linked(
    path: str, target: str, row: str
) -> None:
    row = f"{row}{os.path.basename(path)}" if row.endswith("/") else row
    layout = layout_of(f"{DATA}/{path}")
    key = path.partition("/")[0]
    assert targets(layout) == {f"{DATA}/{path}": (target, row, SCHEME[key])}
    assert kept(layout) == []


def test_scripts_are_kept() -> None:
    layout = layout_of(f"{DATA}/scripts/run", f"{DATA}/scripts/deep/module.py")
    assert kept(layout) == [f"{DATA}/scripts/run", f"{DATA}/scripts/deep/module.py"]
    assert layout.linked == ()


def test_what_pip_reads_or_writes_is_kept() -> None:
    names = (
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "INSTALLER",
        "REQUESTED",
        "direct_url.json",
    )
    layout = layout_of(*(f"{INFO}/{name}" for name in names))
    assert kept(layout) == [f"{INFO}/{name}" for name in names]


@pytest.mark.parametrize(
    "path",
    [
        f"{INFO}/licenses/LICENSE",
        f"{INFO}/licenses/METADATA",
        f"{INFO}/RECORD.jws",
        f"{INFO}/top_level.txt",
        "package/METADATA",
        "METADATA",
        "package/other.data",
        "other.dist-info.d/RECORD",
    ],
)
def test_all_else_is_linked(path: str) -> None:
    layout = layout_of(path)
    assert list(targets(layout)) == [path]


@pytest.mark.parametrize(
    "path",
    [
        f"{DATA}/unknown/file",
        f"{DATA}/file",
        f"{DATA}/scripts",
        f"{DATA}/purelib",
        # pip takes it for a part of .data, and complains.
        "package.data",
    ],
)
def test_data_that_belongs_to_no_scheme_is_declined(path: str) -> None:
    with pytest.raises(WheelDeclinedError, match="belongs to no scheme"):
        layout_of(path)


def test_data_directories_of_any_name_count() -> None:
    layout = layout_of("other.data/data/file")
    assert targets(layout)["other.data/data/file"][0] == "/env/file"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("package/x.py", f"{DATA}/purelib/package/x.py"),
        (f"{DATA}/purelib/x", f"{DATA}/data/lib/site-packages/x"),
        (f"{DATA}/scripts/run", f"{DATA}/data/bin/run"),
        ("x", f"{DATA}/data/lib/site-packages/x"),
    ],
)
def test_two_files_of_one_destination_are_declined(first: str, second: str) -> None:
    with pytest.raises(WheelDeclinedError, match="one destination"):
        layout_of(first, second)


@pytest.mark.parametrize("name", ["METADATA", "RECORD"])
def test_file_that_would_take_the_place_of_metadata_is_declined(name: str) -> None:
    with pytest.raises(WheelDeclinedError):
        layout_of(f"{INFO}/{name}", f"{DATA}/purelib/{INFO}/{name}")


def test_file_whose_row_is_that_of_another_library_is_declined() -> None:
    # In lib64 it is no collision on disk, but pip would find one row of two files.
    scheme = {**SCHEME, "data": SCHEME["purelib"] + "/" + DATA + "/scripts"}
    with pytest.raises(WheelDeclinedError, match="place of its metadata"):
        lay_out(entry_of(f"{DATA}/scripts/run", f"{DATA}/data/run"), scheme)


def test_one_path_in_two_libraries_is_fine() -> None:
    layout = layout_of("x.py", f"{DATA}/platlib/x.py")
    assert len(layout.linked) == 2


# --- bytecode -------------------------------------------------------------------------


def bytecode_of(*paths: str) -> list[tuple[str, str, str]]:
    layout = layout_of(*paths)
    return [(t.file.path, path, row) for t, path, row in bytecode_targets(layout)]


TAG = f".{sys.implementation.cache_tag}.pyc"


@pytest.mark.parametrize(
    ("path", "pyc"),
    [
        ("package/x.py", f"package/__pycache__/x{TAG}"),
        ("x.py", f"__pycache__/x{TAG}"),
        ("package/two.dots.py", f"package/__pycache__/two.dots{TAG}"),
        ("package/.py", f"package/__pycache__/py{TAG}"),
        (f"{INFO}/licenses/x.py", f"{INFO}/licenses/__pycache__/x{TAG}"),
    ],
)
def test_bytecode_is_beside_its_source(path: str, pyc: str) -> None:
    assert bytecode_of(path) == [(path, f"{SCHEME['purelib']}/{pyc}", pyc)]


@pytest.mark.parametrize(
    ("path", "pyc", "row"),
    [
        ("data/share/x.py", f"/env/share/__pycache__/x{TAG}", "../../share/"),
        ("data/x.py", f"/env/__pycache__/x{TAG}", "../../"),
        ("purelib/x.py", f"{SCHEME['purelib']}/__pycache__/x{TAG}", ""),
        (
            "platlib/p/x.py",
            f"{SCHEME['platlib']}/p/__pycache__/x{TAG}",
            "../../lib64/site-packages/p/",
        ),
    ],
)
def test_bytecode_of_data(path: str, pyc: str, row: str) -> None:
    path = f"{DATA}/{path}"
    assert bytecode_of(path) == [(path, pyc, f"{row}__pycache__/x{TAG}")]


def test_bytecode_below_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", "/pycache")
    pyc = f"package/x{TAG}"
    assert bytecode_of("package/x.py") == [
        (
            "package/x.py",
            f"/pycache{SCHEME['purelib']}/{pyc}",
            f"../../../pycache{SCHEME['purelib']}/{pyc}",
        )
    ]


def test_bytecode_of_nothing_else() -> None:
    paths = ("x.pyc", "x.PY", "x.pyi", "py", f"{DATA}/scripts/run.py")
    assert bytecode_of(*paths) == []


@pytest.mark.parametrize("prefix", [None, "/pycache"])
def test_bytecode_is_where_pip_looks_for_it(
    monkeypatch: pytest.MonkeyPatch, prefix: str | None
) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", prefix)
    layout = layout_of("a.py", "b/c.py", f"{DATA}/data/d.py", f"{DATA}/purelib/e/f.py")
    for target, path, row in bytecode_targets(layout):
        source = os.path.join(layout.site_packages, target.record)
        pyc = importlib.util.cache_from_source(source)
        assert os.path.normpath(path) == os.path.normpath(pyc)
        assert row == os.path.relpath(pyc, layout.site_packages)


# --- RECORD ---------------------------------------------------------------------------


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def recorded(text: str, *paths: str, bytecode: tuple[str, ...] = ()) -> list[list[str]]:
    return rows(record(text, layout_of(*paths), bytecode))


def test_rows_of_linked_files_pass_unchanged() -> None:
    text = "package/x.py,sha256=abc,3\n"
    assert recorded(text, "package/x.py") == [["package/x.py", "sha256=abc", "3"]]


def test_rows_of_data_get_the_installed_path() -> None:
    text = f"{DATA}/data/share/x,sha256=abc,3\n"
    assert recorded(text, f"{DATA}/data/share/x") == [
        ["../../share/x", "sha256=abc", "3"]
    ]


def test_rows_of_kept_files_are_left_to_pip() -> None:
    text = f"{DATA}/scripts/run,sha256=abc,3\n{INFO}/RECORD,,\n"
    assert recorded(text, f"{DATA}/scripts/run", f"{INFO}/RECORD") == rows(text)


def test_rows_of_no_file_pass_unchanged() -> None:
    assert recorded("ghost.py,sha256=abc,3\n") == [["ghost.py", "sha256=abc", "3"]]


def test_files_that_are_not_listed_get_an_empty_row() -> None:
    found = recorded("a,x,1\n", "a", "b", f"{DATA}/data/c", f"{INFO}/METADATA")
    assert found == [["a", "x", "1"], ["b", "", ""], ["../../c", "", ""]]


def test_bytecode_gets_an_empty_row() -> None:
    found = recorded("a.py,x,1\n", "a.py", bytecode=("__pycache__/a.pyc",))
    assert found == [["a.py", "x", "1"], ["__pycache__/a.pyc", "", ""]]


def test_only_the_first_of_two_rows_gets_the_installed_path() -> None:
    path = f"{DATA}/data/c"
    assert recorded(f"{path},x,1\n{path},y,2\n", path) == [
        ["../../c", "x", "1"],
        [path, "y", "2"],
    ]


@pytest.mark.parametrize("row", ["a", "a,x", "a,x,1,more", "a,,", '"a",x,1'])
def test_rows_of_any_length_pass(row: str) -> None:
    assert recorded(row, "a") == rows(row)


def test_quoted_row_is_recognised() -> None:
    assert recorded('"a, b",x,1\n', "a, b") == [["a, b", "x", "1"]]


@pytest.mark.parametrize("text", ["\n", "a,x,1\n\nb,y,2\n", "\na,x,1"])
def test_empty_row_is_declined(text: str) -> None:
    with pytest.raises(WheelDeclinedError, match="empty row"):
        recorded(text)


def test_empty_record_is_filled() -> None:
    assert recorded("", "a") == [["a", "", ""]]


@pytest.mark.parametrize("bytecode", [("x.pyc",), ("a, b.pyc",), ('"x".pyc',), ()])
def test_plain_record_is_passed_on(bytecode: tuple[str, ...]) -> None:
    text = 'a.py,sha256=abc,3\r\n"b, c.py",sha256=def,4'
    entry = entry_of("a.py", "b, c.py", record_is_complete=True)
    found = record(text, lay_out(entry, SCHEME), bytecode)
    expected = [*rows(text), *([path, "", ""] for path in bytecode)]
    assert rows(found) == expected


def test_row_that_does_not_survive_is_declined() -> None:
    scheme = {**SCHEME, "data": "/env\nwith a line of its own"}
    layout = lay_out(entry_of(f"{DATA}/data/x"), scheme)
    with pytest.raises(WheelDeclinedError, match="does not survive"):
        record("", layout, ())


NAMES = st.lists(
    st.text(min_size=1).filter(is_safe_path).filter(lambda name: "/" not in name),
    min_size=1,
    max_size=3,
).map("/".join)


@settings(deadline=None)
@given(st.lists(NAMES, unique=True), st.integers(0, 5))
def test_record_names_every_file_once(names: list[str], listed: int) -> None:
    linked = tuple(
        Target(StoredFile(name, 1, "", 0o644), f"/lib/{name}", name, "/lib")
        for name in names
    )
    text = io.StringIO()
    csv.writer(text).writerows([name, "x", "1"] for name in names[:listed])
    found = rows(record(text.getvalue(), Layout("/lib", linked, (), plain=False), ()))
    assert found == [
        [name, "x", "1"] if index < listed else [name, "", ""]
        for index, name in enumerate(names)
    ]


# --- the wheel of it ------------------------------------------------------------------


def stored(directory: Path, wheel: Path) -> Entry:
    store = Store.open(str(directory / "store"))
    with store.staging() as staged, wheel.open("rb") as file:
        files = os.path.join(staged, "files")
        manifest = unpack(file, files, umask=0o022, mtime=1_600_000_000)
        sha256 = manifest.pop("wheel_sha256")
        manifest["wheel"] = wheel.name
        store.publish_entry(staged, sha256, manifest, replace=False)
    entry = store.entry(sha256)
    assert entry is not None
    return entry


def test_skeleton_holds_what_is_kept_and_nothing_else(tmp_path: Path) -> None:
    (wheel,) = TRAITS["scripts"](tmp_path)
    entry = stored(tmp_path, wheel)
    layout = lay_out(entry, SCHEME)
    path = str(tmp_path / "skeleton.whl")
    pack(path, entry, layout, ())
    with zipfile.ZipFile(path) as skeleton, zipfile.ZipFile(wheel) as original:
        assert skeleton.testzip() is None
        assert skeleton.namelist() == kept(layout)
        for name in skeleton.namelist():
            if not name.endswith("/RECORD"):
                assert skeleton.read(name) == original.read(name)


def test_record_of_the_skeleton_is_complete(tmp_path: Path) -> None:
    (wheel,) = TRAITS["unrecorded"](tmp_path)
    entry = stored(tmp_path, wheel)
    layout = lay_out(entry, SCHEME)
    path = str(tmp_path / "skeleton.whl")
    pack(path, entry, layout, ("x.pyc",))
    with zipfile.ZipFile(path) as skeleton:
        text = skeleton.read(f"{entry.dist_info}/RECORD").decode()
    names = [row[0] for row in rows(text)]
    assert {target.record for target in layout.linked} < set(names)
    assert names[-1] == "x.pyc"
    assert len(names) == len(set(names))


def is_marked(path: str, name: str) -> bool:
    """Tell whether pip takes a member for executable."""
    with zipfile.ZipFile(path) as archive:
        mode = archive.getinfo(name).external_attr >> 16
    return mode & 0o170000 == 0o100000 and bool(mode & 0o111)


@pytest.mark.parametrize("executable", [lambda folder: [f"{folder}/run"], lambda _: []])
def test_executable_scripts_are_marked(
    tmp_path: Path, executable: Callable[[str], list[str]]
) -> None:
    name = f"{DATA}/scripts/run"
    wheel = make_wheel(
        tmp_path,
        "package",
        files={name: "#!python\n"},
        executable=executable(f"{DATA}/scripts"),
    )
    entry = stored(tmp_path, wheel)
    path = str(tmp_path / "skeleton.whl")
    pack(path, entry, lay_out(entry, SCHEME), ())
    assert is_marked(path, name) is bool(executable(""))


def test_skeleton_replaces_what_is_there(tmp_path: Path) -> None:
    (wheel,) = TRAITS["plain"](tmp_path)
    entry = stored(tmp_path, wheel)
    path = tmp_path / "skeleton.whl"
    for bytecode in (("once.pyc",), ("twice.pyc",)):
        pack(str(path), entry, lay_out(entry, SCHEME), bytecode)
    with zipfile.ZipFile(path) as skeleton:
        text = skeleton.read(f"{entry.dist_info}/RECORD").decode()
    assert "twice.pyc" in text
    assert "once.pyc" not in text


@pytest.mark.parametrize("trait", sorted(set(TRAITS) - {"double_target"}))
def test_every_file_is_either_linked_or_kept(trait: str, tmp_path: Path) -> None:
    for wheel in TRAITS[trait](tmp_path):
        entry = stored(tmp_path, wheel)
        layout = lay_out(entry, SCHEME)
        assert sorted([*targets(layout), *kept(layout)]) == sorted(
            file.path for file in entry.files
        )
        pack(str(tmp_path / "skeleton.whl"), entry, layout, ())


def test_wheel_with_two_files_of_one_destination(tmp_path: Path) -> None:
    (wheel,) = TRAITS["double_target"](tmp_path)
    with pytest.raises(WheelDeclinedError, match="one destination"):
        lay_out(stored(tmp_path, wheel), SCHEME)
