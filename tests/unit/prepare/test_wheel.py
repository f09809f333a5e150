"""Plain wheels are unpacked as pip does; odd ones are declined."""

from __future__ import annotations

import bz2
import hashlib
import io
import lzma
import os
import stat
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pip_linkmode import files as files_module
from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.files import (
    current_umask,
    file_digest,
    make_directory,
    mode_of_new_file,
)
from pip_linkmode.prepare.wheel import unpack
from pip_linkmode.store import paths as paths_module
from pip_linkmode.store.paths import is_safe_path
from tests.support.wheels import TRAITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INFO = "plain-1.0.dist-info"
MTIME = 1_600_000_000
PLAIN: dict[str, bytes | None] = {
    "plain/__init__.py": b"",
    "plain/data": b"data" * 100,
    f"{INFO}/METADATA": b"Metadata-Version: 2.1\nName: plain\nVersion: 1.0\n",
    f"{INFO}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n",
    f"{INFO}/RECORD": b"",
}


def archive(
    changes: Mapping[str, bytes | None] | None = None,
    *members: tuple[str | zipfile.ZipInfo, bytes],
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Return a plain wheel with changes, and members that need not have one name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in {**PLAIN, **(changes or {})}.items():
            if content is not None:
                target.writestr(name, content)
        for info, content in members:
            target.writestr(info, content)
    return file.getvalue()


def unpacked(wheel: bytes, directory: Path, umask: int = 0o022) -> dict[str, Any]:
    files = str(directory / "files")
    return unpack(io.BytesIO(wheel), files, umask=umask, mtime=MTIME)


def declined(wheel: bytes, directory: Path) -> str:
    with pytest.raises(WheelDeclinedError) as caught:
        unpacked(wheel, directory)
    return str(caught.value)


def member(
    name: str, mode: int = 0o100644, **preserved_xattrs: object
) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    info.external_attr = mode << 16
    for attribute, value in preserved_xattrs.items():
        setattr(info, attribute, value)
    return info


# --- plain ones -----------------------------------------------------------------------


def test_plain_wheel_is_described(tmp_path: Path) -> None:
    manifest = unpacked(archive(), tmp_path)
    files = manifest.pop("files")
    assert manifest.pop("mtime") == MTIME
    assert manifest.pop("wheel_size") == len(archive())
    assert manifest.pop("wheel_sha256") == hashlib.sha256(archive()).hexdigest()
    assert manifest == {
        "plain_record": False,
        "name": "plain",
        "version": "1.0",
        "dist_info": INFO,
        "purelib": True,
    }
    assert files == [
        (path, len(content or b""), hashlib.sha256(content or b"").hexdigest(), 0o644)
        for path, content in PLAIN.items()
    ]


def test_files_are_as_the_manifest_says(tmp_path: Path) -> None:
    manifest = unpacked(archive(), tmp_path)
    for path, size, sha256, mode in manifest["files"]:
        status = (tmp_path / "files" / path).lstat()
        assert status.st_mode == stat.S_IFREG | mode
        assert status.st_size == size
        # Whole seconds: a .pyc has no room for more.
        assert status.st_mtime_ns == manifest["mtime"] * 10**9
        content = (tmp_path / "files" / path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256


def test_nothing_else_is_unpacked(tmp_path: Path) -> None:
    manifest = unpacked(archive(None, ("plain/empty/", b"")), tmp_path)
    found = {p for p in (tmp_path / "files").rglob("*") if not p.is_dir()}
    assert found == {tmp_path / "files" / path for path, *_ in manifest["files"]}


@pytest.mark.parametrize("trait", sorted(TRAITS))
def test_hand_made_wheels_are_plain(trait: str, tmp_path: Path) -> None:
    for index, wheel in enumerate(TRAITS[trait](tmp_path)):
        with wheel.open("rb") as file, zipfile.ZipFile(wheel) as source:
            target = str(tmp_path / str(index))
            manifest = unpack(file, target, umask=0o022, mtime=MTIME)
            for path, *_ in manifest["files"]:
                content = (tmp_path / str(index) / path).read_bytes()
                assert content == source.read(path)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"true", True),
        (b"TRUE", True),
        (b"false", False),
        (b"yes", False),
        (b"", False),
    ],
)
def test_root_is_purelib(tmp_path: Path, value: bytes, expected: bool) -> None:
    text = b"Wheel-Version: 1.0\nRoot-Is-Purelib: %s\n" % value
    assert unpacked(archive({f"{INFO}/WHEEL": text}), tmp_path)["purelib"] is expected


def test_root_is_purelib_may_be_missing(tmp_path: Path) -> None:
    wheel = archive({f"{INFO}/WHEEL": b"Wheel-Version: 1.9\n"})
    assert unpacked(wheel, tmp_path)["purelib"] is False


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_all_compressions_of_the_standard_library(
    tmp_path: Path, compression: int
) -> None:
    unpacked(archive(compression=compression), tmp_path)
    assert (tmp_path / "files/plain/data").read_bytes() == PLAIN["plain/data"]


def test_large_members_are_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "CHUNK", 7)
    manifest = unpacked(archive(), tmp_path)
    content = (tmp_path / "files/plain/data").read_bytes()
    assert content == PLAIN["plain/data"]
    digests = {path: sha256 for path, _, sha256, _ in manifest["files"]}
    assert digests["plain/data"] == hashlib.sha256(content).hexdigest()


def test_digest_is_of_all_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "CHUNK", 7)
    content = bytes(range(256))
    expected = hashlib.sha256(content).hexdigest()
    assert file_digest(io.BytesIO(content)) == expected


# --- permission bits ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("umask", "plain", "executable"),
    [
        (0o022, 0o644, 0o755),
        (0o077, 0o600, 0o711),
        (0o002, 0o664, 0o775),
        (0o000, 0o666, 0o777),
        (0o777, 0o000, 0o111),
    ],
)
def test_permission_bits_follow_from_the_umask(
    umask: int, plain: int, executable: int
) -> None:
    assert mode_of_new_file(umask, executable=False) == plain
    assert mode_of_new_file(umask, executable=True) == executable


@pytest.mark.parametrize(
    ("mode", "executable"),
    [
        (0o100755, True),
        (0o100001, True),
        (0o100010, True),
        (0o100644, False),
        (0o755, False),  # without a file type pip does not look
        (0, False),
    ],
)
def test_what_is_executable(tmp_path: Path, mode: int, executable: bool) -> None:
    manifest = unpacked(archive(None, (member("plain/tool", mode), b"x")), tmp_path)
    modes = {path: bits for path, _, _, bits in manifest["files"]}
    assert modes["plain/tool"] == (0o755 if executable else 0o644)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_umask_that_is_given_counts_not_the_one_in_force(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(0o027)
    try:
        manifest = unpacked(archive(), tmp_path, umask)
    finally:
        os.umask(before)
    for path, _, _, mode in manifest["files"]:
        assert mode == 0o666 & ~umask
        bits = stat.S_IMODE((tmp_path / "files" / path).lstat().st_mode)
        assert bits == mode


def test_umask_is_read_and_left(tmp_path: Path) -> None:
    before = os.umask(0o037)
    try:
        assert current_umask() == 0o037
        assert current_umask() == 0o037
    finally:
        os.umask(before)
    assert not any(tmp_path.iterdir())


def test_nobody_else_may_write_to_a_new_directory(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_directory(str(tmp_path / "a" / "b"))
        make_directory(str(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    for directory in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o755


# --- odd names ------------------------------------------------------------------------


ODD_NAMES = [
    "/etc/passwd",
    "//server/share",
    "../escaped",
    "plain/../../escaped",
    "plain/../inside",
    "..",
    ".",
    "./plain/dot",
    "plain/./dot",
    "plain//double",
    "plain\\backslash",
    "..\\..\\escaped",
    "C:/drive",
    "C:drive",
    "plain/stream:data",
    "plain/new\nline",
    "plain/tab\t",
    "plain/\x7f",
    "plain/\x85",
    "plain/\u2028",
    "",
    "/",
    "plain/\x00nul",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_name_is_declined(tmp_path: Path, name: str) -> None:
    # A NUL cannot be written by zipfile: it is put there afterwards.
    wheel = archive(None, (member(name.replace("\x00", "\x01")), b"evil"))
    wheel = wheel.replace(b"plain/\x01nul", b"plain/\x00nul")
    assert "plain" in declined(wheel, tmp_path)
    assert not list(tmp_path.glob("files/*"))


@pytest.mark.parametrize("name", ["../", "plain/../", "/", "//", "C:/", "./"])
def test_odd_directory_is_declined(tmp_path: Path, name: str) -> None:
    info = member(name, 0o040755)
    assert "not a plain file name" in declined(archive(None, (info, b"")), tmp_path)


@given(st.text())
def test_plain_paths_stay_below_and_are_normal(path: str) -> None:
    if is_safe_path(path):
        assert not os.path.isabs(path)
        assert os.path.normpath(path) == path
        assert not path.startswith("..")
        assert len(path.splitlines()) == 1


@pytest.mark.parametrize("path", ["a", "a/b.py", "naïve, data/файл", "...", "a/..b"])
def test_plain_paths(path: str) -> None:
    assert is_safe_path(path)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("plain/twice", "plain/twice"),
        ("plain/case", "plain/Case"),
        ("plain/straße", "plain/STRASSE"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_name_that_is_there_twice_is_declined(
    tmp_path: Path, first: str, second: str
) -> None:
    wheel = archive(None, (member(first), b"1"), (member(second), b"2"))
    assert "twice" in declined(wheel, tmp_path)


@pytest.mark.parametrize(
    "name", ["plain/data/file", "plain/data/deep/er", "Plain/Data/file"]
)
def test_file_that_is_also_a_directory_is_declined(tmp_path: Path, name: str) -> None:
    wheel = archive(None, (member(name), b""))
    assert "both a file and a directory" in declined(wheel, tmp_path)


def test_directories_may_be_named_and_may_differ_in_case(tmp_path: Path) -> None:
    wheel = archive(
        None,
        (member("plain/", 0o040755), b""),
        (member("Plain/other.py"), b""),
    )
    assert len(unpacked(wheel, tmp_path)["files"]) == len(PLAIN) + 1


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_what_is_no_regular_file_is_declined(tmp_path: Path, kind: int) -> None:
    wheel = archive(None, (member("plain/link", kind | 0o777), b"/etc/passwd"))
    assert "not a regular file" in declined(wheel, tmp_path)


# --- broken archives ------------------------------------------------------------------


def test_encrypted_member_is_declined(tmp_path: Path) -> None:
    wheel = bytearray(archive())
    directory = wheel.index(b"PK\x01\x02")
    wheel[directory + 8] |= 1
    assert "not a plain file name" in declined(bytes(wheel), tmp_path)


def test_wrong_checksum_is_declined(tmp_path: Path) -> None:
    wheel = archive().replace(b"datadata", b"datadatA", 1)
    assert "CRC" in declined(wheel, tmp_path)


@pytest.mark.parametrize("wheel", [b"", b"not a zip file", archive()[:-30]])
def test_what_is_no_zip_file_is_declined(tmp_path: Path, wheel: bytes) -> None:
    assert "not a zip file" in declined(wheel, tmp_path)


def test_headers_that_contradict_each_other_are_declined(tmp_path: Path) -> None:
    wheel = archive().replace(b"plain/data", b"plain/dada", 1)
    assert "cannot be unpacked" in declined(wheel, tmp_path)


def test_unsupported_compression_is_declined(tmp_path: Path) -> None:
    wheel = bytearray(archive())
    central = wheel.index(b"PK\x01\x02", wheel.index(b"PK\x01\x02") + 1)
    struct.pack_into("<H", wheel, central + 10, 97)
    local = wheel.index(b"PK\x03\x04", 1)
    struct.pack_into("<H", wheel, local + 8, 97)
    assert "compression" in declined(bytes(wheel), tmp_path)


def claiming(size: int, *, stored: int = 400) -> bytes:
    """Return a wheel whose ``plain/data`` claims to have another size."""
    wheel = bytearray(archive())
    entry = wheel.index(b"plain/data", wheel.index(b"PK\x01\x02")) - 46
    assert struct.unpack_from("<I", wheel, entry + 24) == (stored,)
    struct.pack_into("<I", wheel, entry + 24, size)
    return bytes(wheel)


@pytest.mark.parametrize("size", [399, 401, 1 << 31])
def test_size_that_is_only_claimed_is_declined(tmp_path: Path, size: int) -> None:
    assert "plain/data" in declined(claiming(size), tmp_path)


def test_truncated_member_is_declined(tmp_path: Path) -> None:
    whole = PLAIN["plain/data"] or b""
    info = member("plain/data")
    wheel = bytearray(archive({"plain/data": None}, (info, whole)))
    # The same content, as if it had been cut after 100 bytes: only the size tells.
    entry = wheel.rindex(b"plain/data") - 46
    crc = zlib.crc32(whole[:100])
    struct.pack_into("<III", wheel, entry + 16, crc, 100, 400)
    assert "shorter than it claims" in declined(bytes(wheel), tmp_path)


@pytest.mark.parametrize(
    ("compression", "compress"),
    [
        (zipfile.ZIP_DEFLATED, zlib.compress),
        (zipfile.ZIP_BZIP2, bz2.compress),
        (zipfile.ZIP_LZMA, lzma.compress),
    ],
)
def test_garbage_in_a_compressed_member_is_declined(
    tmp_path: Path, compression: int, compress: object
) -> None:
    assert callable(compress)
    wheel = bytearray(archive(compression=compression))
    central = wheel.rindex(b"plain/data") - 46
    (offset,) = struct.unpack_from("<I", wheel, central + 42)
    (size,) = struct.unpack_from("<I", wheel, central + 20)
    start = offset + 30 + len(b"plain/data")
    # The header of an LZMA member is four bytes and five of properties.
    keep = 9 if compression == zipfile.ZIP_LZMA else 0
    wheel[start + keep : start + size] = b"\xff" * (size - keep)
    assert "cannot be unpacked" in declined(bytes(wheel), tmp_path)


def test_no_space_is_no_reason_to_decline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "chmod", refuse)
    with pytest.raises(OSError, match="No space"):
        unpacked(archive(), tmp_path)


def test_file_system_that_folds_more_than_we_do(tmp_path: Path) -> None:
    (tmp_path / "files" / "plain").mkdir(parents=True)
    (tmp_path / "files" / "plain" / "data").touch()
    assert "exists" in declined(archive(), tmp_path)


# --- metadata -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD"])
def test_missing_metadata_is_declined(tmp_path: Path, name: str) -> None:
    wheel = archive({f"{INFO}/{name}": None})
    assert f"has no {INFO}/{name}" in declined(wheel, tmp_path)


@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD", "entry_points.txt"])
def test_metadata_that_is_not_utf8_is_declined(tmp_path: Path, name: str) -> None:
    assert "utf-8" in declined(archive({f"{INFO}/{name}": b"\xff"}), tmp_path)


@pytest.mark.parametrize(
    "version", [b"2.0", b"0.1", b"1", b"1.0.1", b"one", b"", b"1.0 beta"]
)
def test_wheel_version_of_another_time_is_declined(
    tmp_path: Path, version: bytes
) -> None:
    wheel = archive({f"{INFO}/WHEEL": b"Wheel-Version: %s\n" % version})
    assert "Wheel-Version" in declined(wheel, tmp_path)


def test_missing_wheel_version_is_declined(tmp_path: Path) -> None:
    wheel = archive({f"{INFO}/WHEEL": b"Root-Is-Purelib: true\n"})
    assert "Wheel-Version" in declined(wheel, tmp_path)


@pytest.mark.parametrize("text", [b"", b"Name: plain\n", b"Version: 1.0\n"])
def test_metadata_without_a_name_or_a_version_is_declined(
    tmp_path: Path, text: bytes
) -> None:
    assert "no Name" in declined(archive({f"{INFO}/METADATA": text}), tmp_path)


@pytest.mark.parametrize(
    "second", ["other-1.0.dist-info/METADATA", "other-1.0.dist-info"]
)
def test_two_dist_infos_are_declined(tmp_path: Path, second: str) -> None:
    assert "exactly one" in declined(archive({second: b""}), tmp_path)


def test_dist_info_that_is_an_empty_directory_is_one_too(tmp_path: Path) -> None:
    # pip looks at all names (utils/wheel.py, wheel_dist_info_dir).
    wheel = archive(None, (member("other-1.0.dist-info/", 0o040755), b""))
    assert "exactly one" in declined(wheel, tmp_path)


def test_no_dist_info_is_declined(tmp_path: Path) -> None:
    changes = dict.fromkeys(name for name in PLAIN if name.startswith(INFO))
    assert "exactly one" in declined(archive(changes), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n# comment\n[console_scripts]\n",
        "[console_scripts]\nrun = plain:main\n",
        "[console_scripts]\n  run=plain.sub:main.call [extra]  \n; is no comment\n"[
            :-18
        ],
        "[gui_scripts]\nrun = plain:main\n[plain.plugins]\none = plain\n",
        "[console_scripts]\r\nrun = plain:main\r\n",
    ],
)
def test_plain_entry_points(tmp_path: Path, text: str) -> None:
    unpacked(archive({f"{INFO}/entry_points.txt": text.encode()}), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "run = plain:main\n",
        "[console_scripts]\nrun\n",
        "[console_scripts]\n= plain:main\n",
        "[console_scripts]\nrun = \n",
        "[console_scripts]\nrun = plain:main:more\n",
        "[console_scripts]\nrun = not a module\n",
        "[console_scripts]\nrun : plain:main\n",
        "[console_scripts\nrun = plain:main\n",
        "[console_scripts]\n; comment\n",
        "[console_scripts]\nrun = plain-mod:main\n",
    ],
)
def test_odd_entry_points_are_declined(tmp_path: Path, text: str) -> None:
    wheel = archive({f"{INFO}/entry_points.txt": text.encode()})
    assert "entry point" in declined(wheel, tmp_path)


# --- RECORD, and what pip compiles ----------------------------------------------------


def listing(*names: str) -> bytes:
    return "".join(f"{name},,\n" for name in names).encode()


@pytest.mark.parametrize(
    ("record", "plain"),
    [
        (listing(*PLAIN), True),
        (listing(*reversed(PLAIN)), True),
        (listing(*list(PLAIN)[1:]), False),
        (listing(*PLAIN, "ghost"), False),
        (listing(*PLAIN, "plain/data"), False),
        (b"", False),
    ],
)
def test_record_is_plain_if_it_lists_each_file_once(
    tmp_path: Path, record: bytes, plain: bool
) -> None:
    wheel = archive({f"{INFO}/RECORD": record})
    assert unpacked(wheel, tmp_path)["plain_record"] is plain


def test_record_with_an_empty_row_is_declined(tmp_path: Path) -> None:
    with pytest.raises(WheelDeclinedError, match="empty row"):
        unpacked(archive({f"{INFO}/RECORD": listing(*PLAIN) + b"\n"}), tmp_path)


def test_record_is_not_plain_if_files_go_elsewhere(tmp_path: Path) -> None:
    path = "plain-1.0.data/data/share/x"
    wheel = archive({path: b"x", f"{INFO}/RECORD": listing(*PLAIN, path)})
    assert unpacked(wheel, tmp_path)["plain_record"] is False


def test_record_that_the_csv_module_refuses_is_declined(tmp_path: Path) -> None:
    wheel = archive({f"{INFO}/RECORD": b"x" * 200_000})
    assert "field" in declined(wheel, tmp_path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("plain/data", None),
        ("plain/x.data/purelib/y", None),
        ("x.data/purelib/y", ("purelib", "y")),
        ("x.data/data/a/b", ("data", "a/b")),
        ("x.data/scripts", ("scripts", "")),
    ],
)
def test_data_directories(path: str, expected: tuple[str, str] | None) -> None:
    assert paths_module.data_scheme(path) == expected


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("x.data/scripts/run", True),
        ("x.data/data/run", False),
        (f"{INFO}/RECORD", True),
        (f"{INFO}/licenses/RECORD", False),
        ("plain/RECORD", False),
        ("RECORD", False),
    ],
)
def test_what_is_pips_to_install(path: str, kept: bool) -> None:
    assert paths_module.is_installed_by_pip(path, INFO) is kept


def test_what_pip_compiles() -> None:
    paths = ["a.py", "a.pyc", "x.data/scripts/run.py", "x.data/data/b.py", "c.PY"]
    assert paths_module.compiled_sources(paths, INFO) == ("a.py", "x.data/data/b.py")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("plain-1.0.data/unknown/file", "belongs to no scheme"),
        ("plain-1.0.data/scripts", "belongs to no scheme"),
        (f"plain-1.0.data/purelib/{INFO}/REQUESTED", "comes another way"),
    ],
)
def test_data_where_pip_has_none_is_declined(
    tmp_path: Path, path: str, reason: str
) -> None:
    assert reason in declined(archive({path: b"x"}), tmp_path)


def test_wheel_that_changes_while_it_is_read_is_declined(tmp_path: Path) -> None:
    path = tmp_path / "plain.whl"
    path.write_bytes(archive())

    class Changing(io.BufferedReader):
        def seek(self, *args: int) -> int:
            # Nobody can set a ctime.
            os.utime(path, ns=(1, 1))
            return super().seek(*args)

    with (
        Changing(io.FileIO(path)) as wheel,
        pytest.raises(WheelDeclinedError, match="changed while it was read"),
    ):
        unpack(wheel, str(tmp_path / "files"), umask=0o022, mtime=MTIME)
