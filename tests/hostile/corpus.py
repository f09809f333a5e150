"""Hostile wheels: each has one thing that no honest builder makes.

What pip does with each of them is not written here: stock pip is asked.  What *we* do
is: ``stored`` says that a wheel is merely odd, and is unpacked and linked like any
other.  All others leave no entry behind.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.support.wheels import Files

Member = tuple[str | zipfile.ZipInfo, bytes]
Edit = tuple[int, str, int]
"""Where in an archive to write a number, and its format, as ``struct`` has it."""

OUTSIDE = "outside"
"""A directory beside that of the wheels, where absolute paths lead to."""
NEIGHBOUR = "neighbour"
"""A distribution that some of them want to change."""
BOMB = 128 << 20

_CENTRAL, _FLAGS, _METHOD, _CRC, _SIZE, _OFFSET = 46, 8, 10, 16, 24, 42
_LOCAL, _LOCAL_FLAGS, _LOCAL_METHOD = 30, 6, 8
_LINK = stat.S_IFLNK | 0o777
_DIRECTORY = stat.S_IFDIR | 0o755
_SITE_PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
_LIB64 = _SITE_PACKAGES.replace("lib", "lib64", 1)
"""In a virtual environment ``lib64`` is a link to ``lib``."""


@dataclass(frozen=True)
class Hostile:
    """One hostile wheel."""

    name: str
    """Of the distribution; unlike that of any other."""
    make: Callable[[Path, str], Path]
    """Makes it in a directory, under that name."""
    stored: bool = False
    """Whether it is merely odd: there is an entry, and its files are linked."""
    installs: bool = False
    """Whether pip installs it."""


# --- how they are made ----------------------------------------------------------------


def module_of(name: str) -> str:
    """Return the name of the one package in a hostile wheel."""
    return name.replace("-", "_")


def info_of(name: str) -> str:
    """Return the name of the dist-info directory that a wheel should have."""
    return f"{module_of(name)}-1.0.dist-info"


def entry(
    name: str, mode: int = 0o100644, **preserved_xattrs: object
) -> zipfile.ZipInfo:
    """Describe a member; nothing is done to its name."""
    info = zipfile.ZipInfo("x", date_time=(2020, 1, 1, 0, 0, 0))
    info.filename = name
    info.external_attr = mode << 16
    for attribute, value in preserved_xattrs.items():
        setattr(info, attribute, value)
    return info


def build(
    directory: Path,
    name: str,
    *members: Member,
    metadata: Mapping[str, bytes | None] | None = None,
    first: bool = False,
    info: str | None = None,
) -> Path:
    """Make a wheel of one package, and of members that nobody looks at.

    :param metadata: replaces files of the dist-info directory; ``None`` omits one
    :param first: whether the members come before all others
    :param info: the dist-info directory, if it is not what it should be
    """
    module, info = module_of(name), info or info_of(name)
    contents: dict[str, bytes | None] = {
        f"{module}/__init__.py": b"VALUE = 'hostile'\n",
        f"{module}/data.txt": b"hostile data\n" * 40,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        "".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        f"{info}/RECORD": f"{module}/__init__.py,,\n{info}/RECORD,,\n".encode(),
        **{f"{info}/{path}": text for path, text in (metadata or {}).items()},
    }
    own: list[Member] = [
        (entry(path), text) for path, text in contents.items() if text is not None
    ]
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{module}-1.0-py3-none-any.whl"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        for member, content in (*members, *own) if first else (*own, *members):
            archive.writestr(
                entry(member) if isinstance(member, str) else member, content
            )
    return path


def tamper(wheel: Path, *edits: Callable[[bytes], Edit]) -> Path:
    """Overwrite numbers in the headers of a wheel."""
    data = bytearray(wheel.read_bytes())
    for edit in edits:
        offset, layout, value = edit(bytes(data))
        struct.pack_into(layout, data, offset, value)
    wheel.write_bytes(data)
    return wheel


def replace(wheel: Path, old: bytes, new: bytes, count: int = -1) -> Path:
    """Replace bytes in a wheel."""
    data = wheel.read_bytes()
    assert old in data
    wheel.write_bytes(data.replace(old, new, count))
    return wheel


def central(
    member: str, field: int, layout: str, value: int
) -> Callable[[bytes], Edit]:
    """Say what to overwrite in the central directory."""

    def edit(data: bytes) -> Edit:
        return data.rindex(member.encode()) - _CENTRAL + field, layout, value

    return edit


def local(member: str, field: int, layout: str, value: int) -> Callable[[bytes], Edit]:
    """Say what to overwrite in the header before a member."""

    def edit(data: bytes) -> Edit:
        at = data.rindex(member.encode()) - _CENTRAL + _OFFSET
        return struct.unpack_from("<I", data, at)[0] + field, layout, value

    return edit


def good_files(name: str) -> Files:
    """Return the files of an honest wheel of the same name and version."""
    module = module_of(name)
    return {
        f"{module}/__init__.py": "VALUE = 'good'\n",
        f"{module}/data.txt": "good data\n" * 30,
        f"{module}/only_good.py": "VALUE = 'good'\n",
        f"{module}-1.0.data/data/share/{module}.txt": "good\n",
        f"{module}-1.0.data/scripts/{name}": "#!python\n",
    }


# --- names ----------------------------------------------------------------------------

# Of one more member; {m} is the package, {o} a directory outside.
NAMES: dict[str, str] = {
    "parent": "../escaped.txt",
    "parents": "{m}/../../../../escaped.txt",
    "parent-only": "..",
    "parent-within": "{m}/../{m}/within.txt",
    "absolute": "{o}/escaped.txt",
    "absolute-twice": "/{o}/escaped.txt",
    "drive": "C:/escaped.txt",
    "drive-relative": "C:escaped.txt",
    "backslash": "{m}\\backslash.txt",
    "backslash-parent": "..\\..\\escaped.txt",
    "share": "//server/share/escaped.txt",
    "nul": "{m}/nul\0.txt",
    "nul-ending": "{m}/data.txt\0.py",
    "newline": "{m}/new\nline.txt",
    "carriage-return": "{m}/carriage\rreturn.py",
    "escape-sequence": "{m}/\x1b[31mred\x1b[0m.txt",
    "delete": "{m}/\x7f.txt",
    "next-line": "{m}/\x85.txt",
    "line-separator": "{m}/\u2028.py",
    "empty-name": "",
    "dot": ".",
    "dot-within": "{m}/./dot.txt",
    "double-slash": "{m}//double.txt",
    "stream": "{m}/file.txt:stream",
    "long-name": "{m}/" + "x" * 300 + ".txt",
    "long-path": "{m}/" + "deep/" * 1000 + "file.txt",
}
ODD_NAMES: dict[str, str] = {
    "bidirectional": "{m}/\u202eyp.exe\u202c.py",
    "decomposed": "{m}/e\u0301.txt",
    "zero-width": "{m}/zero\u200bwidth.py",
    "blank": "{m}/ ",
    "dots": "{m}/...",
    "device": "{m}/con.py",
    "leading-dash": "-rf",
    "glob": "{m}/*.py",
    "tilde": "~{m}",
    "stashed": "{m}/~ata.txt",
    "temporary": "pip-unpack-abcdefgh/x.py",
    "uninstalled": "pip-uninstall-abcdefgh/x.py",
    # What would be a file of ours, if an entry were a heap.
    "manifest": "manifest.json",
    "manifest-of-files": "files/manifest.json",
    "manifest-of-bytecode": "manifest.json/x.py",
    "entry": "v1/wheels/00/{m}/manifest.json",
    "bytecode": "bytecode/{tag}/x.pyc",
    "staging": "staging/x/files/x.py",
    "cache-tag": "CACHEDIR.TAG",
    # The place of a .pyc in the store, and in the environment.
    "directory-of-a-pyc": "{m}/__init__.pyc/x.py",
    "pycache-of-pycache": "{m}/__pycache__/x.py",
    "foreign-pyc": "{m}/__pycache__/__init__.{tag}.pyc",
    "sourceless": "{m}/__pycache__/ghost.{tag}.pyc",
}


def _named(member: str) -> Callable[[Path, str], Path]:
    def make(directory: Path, name: str) -> Path:
        outside = os.fspath(directory.parent / OUTSIDE)
        tag = sys.implementation.cache_tag
        path = member.format(m=module_of(name), o=outside, tag=tag)
        return build(directory, name, (path, b"# hostile\n"))

    return make


# --- structure ------------------------------------------------------------------------


def _members(
    *members: Member,
    first: bool = False,
    metadata: Mapping[str, bytes | None] | None = None,
) -> Callable[[Path, str], Path]:
    """Make a wheel with more members; ``{m}`` and ``{i}`` stand in their names."""

    def make(directory: Path, name: str) -> Path:
        chosen = []
        for member, content in members:
            info = entry(member) if isinstance(member, str) else member
            path = info.filename.format(
                m=module_of(name), i=info_of(name), s=_SITE_PACKAGES
            )
            chosen.append((entry(path, info.external_attr >> 16), content))
        return build(directory, name, *chosen, metadata=metadata, first=first)

    return make


def _metadata(**metadata: bytes | None) -> Callable[[Path, str], Path]:
    """Make a wheel with other metadata; a bare ``{m}`` stands for the package."""

    def make(directory: Path, name: str) -> Path:
        names = {"{m}": module_of(name), "{i}": info_of(name), "{n}": name}
        names["{o}"] = os.fspath(directory.parent / OUTSIDE)
        changed: dict[str, bytes | None] = {}
        for key, text in metadata.items():
            for mark, value in names.items() if text else ():
                text = text.replace(mark.encode(), value.encode())  # type: ignore[union-attr]  # noqa: PLW2901  # not None here
            changed["entry_points.txt" if key == "entry_points" else key] = text
        return build(directory, name, metadata=changed)

    return make


def _tampered(
    *edits: tuple[str, str, int, str, int],
) -> Callable[[Path, str], Path]:
    """Make a wheel with other headers: kind, member, field, layout and value."""

    def make(directory: Path, name: str) -> Path:
        names = {"m": module_of(name), "i": info_of(name)}
        kinds = {"central": central, "local": local}
        return tamper(
            build(directory, name),
            *(
                kinds[kind](member.format(**names), field, layout, value)
                for kind, member, field, layout, value in edits
            ),
        )

    return make


STRUCTURE: dict[str, Callable[[Path, str], Path]] = {
    "twice": _members(("{m}/data.txt", b"the second\n")),
    "twice-over-a-module": _members(("{m}/__init__.py", b"VALUE = 2\n")),
    "case": _members(("{m}/DATA.txt", b"by case only\n")),
    "symlink": _members((entry("{m}/link", _LINK), b"/etc/passwd")),
    "symlink-parent": _members((entry("{m}/link.py", _LINK), b"../../../../escaped")),
    "through-a-symlink": _members(
        (entry("{m}/link", _LINK), b"/tmp"), ("{m}/link/escaped.txt", b"x")
    ),
    "fifo": _members((entry("{m}/fifo", stat.S_IFIFO | 0o644), b"")),
    "device-file": _members((entry("{m}/null", stat.S_IFCHR | 0o666), b"")),
    "file-and-directory": _members(("{m}/data.txt/file.txt", b"x")),
    "record-is-a-directory": _members(
        (entry("{i}/RECORD/", _DIRECTORY), b""), metadata={"RECORD": None}
    ),
    "record-has-a-file-below": _members(
        ("{i}/RECORD/x", b"x"), metadata={"RECORD": None}
    ),
    "metadata-has-a-file-below": _members(("{i}/METADATA/x", b"x")),
    "data-escapes-scripts": _members(("{m}-1.0.data/scripts/../../escaped", b"#!x")),
    "data-escapes": _members(("{m}-1.0.data/data/../../../escaped.txt", b"x")),
    "data-to-the-root": _members(("{m}-1.0.data/data//etc/escaped.txt", b"x")),
    "data-unknown": _members(("{m}-1.0.data/unknown/file.txt", b"x")),
    "data-of-no-scheme": _members(("{m}-1.0.data/file.txt", b"x")),
    "data-is-a-file": _members(("{m}-1.0.data", b"x")),
    "data-scheme-is-a-file": _members(("{m}-1.0.data/scripts", b"#!x")),
}
ODD_STRUCTURE: dict[str, Callable[[Path, str], Path]] = {
    "directory-with-content": _members((entry("{m}/sub/", _DIRECTORY), b"x" * 999)),
    "set-user-id": _members((entry("{m}/root", 0o106755), b"#!/bin/sh\n")),
    "world-writable": _members((entry("{m}/open.py", 0o100777), b"VALUE = 1\n")),
    "no-permissions": _members((entry("{m}/closed.py", 0o100000), b"VALUE = 1\n")),
    "data-of-another-name": _members(("other-2.0.data/purelib/{m}/other.py", b"x = 1")),
    "headers-escape-into-data": _members(("{m}-1.0.data/headers/a/b/x.h", b"/* */\n")),
    "nul-in-a-source": _members(("{m}/nul.py", b"VALUE = 1\0\n")),
    "deep-source": _members(("{m}/deep.py", b"x = " + b"-" * 50_000 + b"1\n")),
    "parentheses": _members(("{m}/deep.py", b"x = " + b"(" * 9_000 + b"\n")),
    "coding-of-nobody": _members(("{m}/coding.py", b"# coding: \xff\n")),
    "codec-that-is-no-text": _members(("{m}/coding.py", b"# coding: zlib\nx = 1\n")),
    "neighbours-file": _members((f"{NEIGHBOUR}/__init__.py", b"VALUE = 'taken'\n")),
    "neighbours-metadata": _members(
        (f"{{m}}-1.0.data/purelib/{NEIGHBOUR}-1.0.dist-info/licenses/x", b"taken\n")
    ),
    "pycache-is-a-file": _members(("{m}/__pycache__", b"a file\n")),
    "pyc-is-a-directory": _members(
        (f"{{m}}/__pycache__/__init__.{sys.implementation.cache_tag}.pyc/x", b"x")
    ),
    "many-directories": _members(
        *((entry(f"{{m}}/d{n}/", _DIRECTORY), b"") for n in range(70_000))
    ),
    "bomb": lambda directory, name: build(
        directory,
        name,
        (
            entry(f"{module_of(name)}/bomb", compress_type=zipfile.ZIP_DEFLATED),
            bytes(BOMB),
        ),
    ),
    "nested-bomb": _members(("{m}/bomb.zip", zlib.compress(bytes(1 << 20)))),
}
# Files that pip writes itself come by another way.
DISGUISED: dict[str, Callable[[Path, str], Path]] = {
    "requested-through-data": _members(
        ("{m}-1.0.data/purelib/{i}/REQUESTED", b"not empty\n")
    ),
    "installer-through-data": _members(
        ("{m}-1.0.data/platlib/{i}/INSTALLER", b"someone else\n")
    ),
    "direct-url-through-data": _members(
        ("{m}-1.0.data/data/{s}/{i}/direct_url.json", b"{}")
    ),
    "record-through-data": _members(("{m}-1.0.data/purelib/{i}/RECORD", b"x,,\n")),
    "metadata-through-data": _members(
        ("{m}-1.0.data/purelib/{i}/METADATA", b"Name: other\n")
    ),
    "metadata-through-lib64": _members(
        ("{m}-1.0.data/data/" + _LIB64 + "/{i}/METADATA", b"Name: other\n")
    ),
    "requested-through-lib64": _members(
        ("{m}-1.0.data/data/" + _LIB64 + "/{i}/REQUESTED", b"not empty\n")
    ),
}
# Two files that meet where they are installed: stored, and left to pip in the end.
MEETING: dict[str, Callable[[Path, str], Path]] = {
    "module-through-data": _members(
        ("{m}-1.0.data/purelib/{m}/__init__.py", b"VALUE = 'data'\n"), first=True
    ),
    "module-through-lib64": _members(
        ("{m}-1.0.data/data/" + _LIB64 + "/{m}/__init__.py", b"VALUE = 'lib64'\n"),
        first=True,
    ),
    "entry-point-over-data": _members(
        ("{m}-1.0.data/data/bin/{m}", b"of the wheel\n"),
        metadata={
            "entry_points.txt": b"[console_scripts]\nentry_point_over_data = a:b\n"
        },
    ),
    "script-over-data": _members(
        ("{m}-1.0.data/data/bin/{m}", b"of the wheel\n"),
        ("{m}-1.0.data/scripts/{m}", b"#!python\n"),
    ),
}


# --- the zip file ---------------------------------------------------------------------


def _truncated(directory: Path, name: str) -> Path:
    path = build(directory, name)
    path.write_bytes(path.read_bytes()[:-60])
    return path


def _cut_in_the_middle(directory: Path, name: str) -> Path:
    path = build(directory, name)
    data = path.read_bytes()
    at = data.index(b"hostile data\n")
    path.write_bytes(data[: at + 50] + data[at + 150 :])
    return path


def _not_utf8_name(directory: Path, name: str) -> Path:
    path = build(directory, name, (f"{module_of(name)}/\xe9\xe9.txt", b"x"))
    return replace(path, b"\xc3\xa9\xc3\xa9", b"\xff\xfe\xff\xfe")


def _surrogate_name(directory: Path, name: str) -> Path:
    path = build(directory, name, (f"{module_of(name)}/\u20ac.txt", b"x"))
    return replace(path, b"\xe2\x82\xac", b"\xed\xa0\x80")


def _old_name(directory: Path, name: str) -> Path:
    # Without the flag for UTF-8, bytes are characters of an old code page.
    path = build(directory, name, (f"{module_of(name)}/\x01\x02.txt", b"x"))
    return replace(path, b"\x01\x02.txt", b"\x81\x82.txt")


def _crc_of(member: str) -> Callable[[Path, str], Path]:
    return _tampered(("central", member, _CRC, "<I", 0xBAD))


def _bytes_around(before: bytes, after: bytes) -> Callable[[Path, str], Path]:
    def make(directory: Path, name: str) -> Path:
        path = build(directory, name)
        path.write_bytes(before + path.read_bytes() + after)
        return path

    return make


def _zip64(size: int) -> Callable[[Path, str], Path]:
    """Make a wheel with a member whose size is in an extra field."""

    def make(directory: Path, name: str) -> Path:
        content = b"zip64\n"
        extra = struct.pack("<HHQ", 1, 8, size)
        member = f"{module_of(name)}/zip64.txt"
        path = build(directory, name, (entry(member, extra=extra), content))
        return tamper(path, central(member, _SIZE, "<I", 0xFFFFFFFF))

    return make


def _claims(size: int, *, right_crc: bool = False) -> Callable[[Path, str], Path]:
    """Make a wheel with a member that claims to have another size."""

    def make(directory: Path, name: str) -> Path:
        content, member = b"0123456789" * 10, f"{module_of(name)}/claims.txt"
        path = build(directory, name, (member, content))
        edits = [central(member, _SIZE, "<I", size)]
        if right_crc:
            edits.append(central(member, _CRC, "<I", zlib.crc32(content[:size])))
        return tamper(path, *edits)

    return make


def _overlapping(directory: Path, name: str) -> Path:
    module = module_of(name)
    path = build(directory, name, (f"{module}/second.txt", b"hostile data\n" * 40))
    data = path.read_bytes()
    at = data.rindex(f"{module}/data.txt".encode()) - _CENTRAL + _OFFSET
    (offset,) = struct.unpack_from("<I", data, at)
    return tamper(path, central(f"{module}/second.txt", _OFFSET, "<I", offset))


ZIP: dict[str, Callable[[Path, str], Path]] = {
    "truncated": _truncated,
    "cut-in-the-middle": _cut_in_the_middle,
    "not-utf8-name": _not_utf8_name,
    "surrogate-name": _surrogate_name,
    "crc-of-the-first": _crc_of("{m}/__init__.py"),
    "crc-of-the-data": _crc_of("{m}/data.txt"),
    "crc-of-the-metadata": _crc_of("{i}/METADATA"),
    "crc-of-the-record": _crc_of("{i}/RECORD"),
    "other-local-name": lambda directory, name: replace(
        build(directory, name),
        f"{module_of(name)}/data.txt".encode(),
        f"{module_of(name)}/DATA.txt".encode(),
        1,
    ),
    "other-local-name-escapes": lambda directory, name: replace(
        build(directory, name, ("ab/cdefg.txt", b"x")),
        b"ab/cdefg.txt",
        b"../../ab.txt",
        1,
    ),
    "encrypted": _tampered(("central", "{m}/data.txt", _FLAGS, "<H", 1)),
    "encrypted-metadata": _tampered(("central", "{i}/METADATA", _FLAGS, "<H", 1)),
    "strongly-encrypted": _tampered(
        ("central", "{m}/data.txt", _FLAGS, "<H", 0x40),
        ("local", "{m}/data.txt", _LOCAL_FLAGS, "<H", 0x40),
    ),
    "patched": _tampered(
        ("central", "{m}/data.txt", _FLAGS, "<H", 0x20),
        ("local", "{m}/data.txt", _LOCAL_FLAGS, "<H", 0x20),
    ),
    "unknown-compression": _tampered(
        ("central", "{m}/data.txt", _METHOD, "<H", 97),
        ("local", "{m}/data.txt", _LOCAL_METHOD, "<H", 97),
    ),
    "no-deflate": _tampered(
        ("central", "{m}/data.txt", _METHOD, "<H", zipfile.ZIP_DEFLATED),
        ("local", "{m}/data.txt", _LOCAL_METHOD, "<H", zipfile.ZIP_DEFLATED),
    ),
    "offset-beyond-the-end": _tampered(
        ("central", "{m}/data.txt", _OFFSET, "<I", 0x7FFFFFFF)
    ),
    "overlapping": _overlapping,
    "claims-more": _claims(1000),
    "claims-less": _claims(10),
    "claims-gigabytes": _claims(0x7FFFFFFF),
    "claims-more-with-a-checksum": _claims(1000, right_crc=True),
    "zip64-more": _zip64(1 << 40),
    "zip64-beyond": _zip64((1 << 64) - 1),
    "zip64-none": _tampered(("central", "{m}/data.txt", _SIZE, "<I", 0xFFFFFFFF)),
    "empty-file": lambda directory, name: _rewrite(build(directory, name), b""),
    "no-zip": lambda directory, name: _rewrite(build(directory, name), b"x" * 999),
    "empty-zip": lambda directory, name: _rewrite(
        build(directory, name), b"PK\x05\x06" + bytes(18)
    ),
}
ODD_ZIP: dict[str, Callable[[Path, str], Path]] = {
    "old-name": _old_name,
    "program-before": _bytes_around(b"#!/bin/sh\nexit 1\n", b""),
    "bytes-after": _bytes_around(b"", b"after the end\n"),
    "claims-less-with-a-checksum": _claims(10, right_crc=True),
    "claims-nothing": _claims(0),
    "zip64-right": _zip64(6),
}


def _rewrite(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# --- metadata -------------------------------------------------------------------------


def _info(info: str) -> Callable[[Path, str], Path]:
    def make(directory: Path, name: str) -> Path:
        return build(directory, name, info=info.format(m=module_of(name)))

    return make


_HEADER = b"Metadata-Version: 2.1\n"
METADATA: dict[str, Callable[[Path, str], Path]] = {
    "info-of-another-name": _info("other-1.0.dist-info"),
    "info-without-a-name": _info(".dist-info"),
    "info-of-no-kind": _info("{m}-1.0.info"),
    "two-infos": _members(("other-1.0.dist-info/METADATA", b"Name: other\n")),
    "two-infos-one-empty": _members((entry("other-1.0.dist-info/", _DIRECTORY), b"")),
    "info-is-a-file-too": _members(("{m}.dist-info", b"x")),
    "wheel-of-the-future": _metadata(WHEEL=b"Wheel-Version: 2.0\n"),
    "wheel-of-no-version": _metadata(WHEEL=b"Root-Is-Purelib: true\n"),
    "wheel-of-garbage": _metadata(WHEEL=b"Wheel-Version: one\n"),
    "wheel-of-one-number": _metadata(WHEEL=b"Wheel-Version: 1\n"),
    "wheel-not-utf8": _metadata(WHEEL=b"Wheel-Version: 1.0\nTag: \xff\n"),
    "wheel-missing": _metadata(WHEEL=None),
    "metadata-missing": _metadata(METADATA=None),
    "metadata-empty": _metadata(METADATA=b""),
    "metadata-without-a-name": _metadata(METADATA=_HEADER + b"Version: 1.0\n"),
    "metadata-without-a-version": _metadata(METADATA=_HEADER + b"Name: {n}\n"),
    "metadata-of-another": _metadata(METADATA=_HEADER + b"Name: other\nVersion: 1.0\n"),
    "metadata-not-utf8": _metadata(
        METADATA=_HEADER + b"Name: {n}\nVersion: 1.0\nSummary: \xff\n"
    ),
    "metadata-with-nul": _metadata(METADATA=_HEADER + b"Name: {n}\0\nVersion: 1.0\n"),
    "record-missing": _metadata(RECORD=None),
    "record-not-utf8": _metadata(RECORD=b"{m}/\xff.txt,,\n"),
    "record-with-empty-lines": _metadata(RECORD=b"\n\n{m}/__init__.py,,\n\n"),
    "record-with-a-huge-field": _metadata(RECORD=b"{m}/" + b"x" * 140_000 + b",,\n"),
    "entry-points-not-utf8": _metadata(entry_points=b"[console_scripts]\nx = \xff:b"),
    "entry-points-of-no-section": _metadata(entry_points=b"x = a:b\n"),
    "entry-points-of-garbage": _metadata(entry_points=b"[console_scripts]\nx\n"),
    "entry-points-with-an-open-section": _metadata(entry_points=b"[console\nx = a:b\n"),
    "entry-point-escapes": _metadata(
        entry_points=b"[console_scripts]\n../../escaped = a:b\n"
    ),
    "entry-point-escapes-by-gui": _metadata(
        entry_points=b"[gui_scripts]\n../../escaped = a:b\n"
    ),
    "entry-point-is-absolute": _metadata(
        entry_points=b"[console_scripts]\n{o}/escaped = a:b\n"
    ),
    "entry-point-is-dots": _metadata(entry_points=b"[console_scripts]\n.. = a:b\n"),
    "entry-point-over-a-module": _metadata(
        entry_points=b"[console_scripts]\n"
        b"../" + _SITE_PACKAGES.encode() + b"/{m}/__init__.py = a:b\n"
    ),
    "entry-point-without-a-callable": _metadata(
        entry_points=b"[console_scripts]\nx = {m}\n"
    ),
    "entry-point-with-spaces": _metadata(
        entry_points=b"[console_scripts]\nx = {m} : main\n"
    ),
    "entry-point-of-a-dot": _metadata(
        entry_points=b"[console_scripts]\nx = .{m}:main\n"
    ),
    "entry-point-with-odd-extras": _metadata(
        entry_points=b"[console_scripts]\nx = {m}:main [one two]\n"
    ),
    "entry-point-of-a-broken-name": _metadata(
        entry_points=b"[console_scripts]\nx y [z = {m}:main\n"
    ),
}
ODD_METADATA: dict[str, Callable[[Path, str], Path]] = {
    "metadata-of-another-version": _metadata(
        METADATA=_HEADER + b"Name: {n}\nVersion: 2.0\n"
    ),
    "wheel-of-tomorrow": _metadata(
        WHEEL=b"Wheel-Version: 1.9\nRoot-Is-Purelib: true\n"
    ),
    "record-empty": _metadata(RECORD=b""),
    "record-with-absolute-rows": _metadata(RECORD=b"{o}/victim.txt,,\n"),
    "record-with-rows-that-escape": _metadata(
        RECORD=b"../../../../victim.txt,,\n../../../victim.txt,,\n"
    ),
    "record-with-double-rows": _metadata(
        RECORD=b"{m}/__init__.py,sha256=a,1\n" * 3 + b"{m}/data.txt,,\n" * 2
    ),
    "record-with-a-neighbours-row": _metadata(
        RECORD=b"neighbour/__init__.py,,\n{m}/__init__.py,,\n"
    ),
    "record-with-a-byte-order-mark": _metadata(
        RECORD="\ufeff{m}/__init__.py,,\n".encode()
    ),
    "record-with-a-nul": _metadata(RECORD=b"{m}/__init__.py\0,,\n"),
    "record-with-separators": _metadata(
        RECORD="{m}/\u2028x.py,,\n{m}/\x0cy.py,,\x1cz,,\n".encode()
    ),
    "record-with-an-open-quote": _metadata(RECORD=b'"{m}/__init__.py,,\n{m}/x,,\n'),
    "record-of-itself": _metadata(RECORD=b"{i}/RECORD,sha256=AAAA,7\n"),
    "record-of-a-directory": _metadata(RECORD=b"{m}/,,\n{m},,\n"),
    "entry-point-of-extras": _metadata(
        entry_points=b"[console_scripts]\nentry-point-of-extras = {m}:main [extra]\n"
    ),
}


# --- all of them ----------------------------------------------------------------------

TOLERATED = frozenset(
    {
        *("parent-within", "drive", "drive-relative", "backslash", "backslash-parent"),
        *("nul", "nul-ending", "newline", "carriage-return", "escape-sequence"),
        *("delete", "next-line", "line-separator", "dot-within", "double-slash"),
        *("stream", "twice", "twice-over-a-module", "case", "symlink"),
        *("symlink-parent", "fifo", "device-file", "record-is-a-directory"),
        *("data-to-the-root", "claims-more", "claims-gigabytes"),
        *("claims-more-with-a-checksum", "zip64-more", "zip64-beyond", "zip64-none"),
        *("wheel-of-one-number", "entry-points-of-no-section"),
        "entry-points-with-an-open-section",
    }
)
"""What pip installs, and we leave to it."""


def _corpus() -> list[Hostile]:
    names, odd_names = (
        {name: _named(member) for name, member in table.items()}
        for table in (NAMES, ODD_NAMES)
    )
    declined = {**names, **STRUCTURE, **DISGUISED, **ZIP, **METADATA}
    odd = {**odd_names, **ODD_STRUCTURE, **MEETING, **ODD_ZIP, **ODD_METADATA}
    assert not declined.keys() & odd.keys()
    installed = {*TOLERATED, *DISGUISED, *odd}
    return [
        Hostile(name, make, name in odd, name in installed)
        for name, make in {**declined, **odd}.items()
    ]


CORPUS = _corpus()
