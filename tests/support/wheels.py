"""Wheels made by hand: each trait that an installer has to get right, and little else.

The names of the distributions differ between traits, so that all of them can be
installed into one environment.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

Files = dict[str, bytes | str]
Rows = list[list[str]]


def make_wheel(
    directory: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, bytes | str] | None = None,
    *,
    executable: Collection[str] = (),
    entry_points: str = "",
    root_is_purelib: bool = True,
    record: Callable[[Rows], Rows] | None = None,
    metadata: str = "",
    tag: str = "py3-none-any",
) -> Path:
    """Make a wheel; the same arguments make the same bytes.

    :param files: content by path in the archive; a path that ends with a slash makes
        an entry for a directory
    :param executable: the paths of ``files`` that have the executable bit
    :param entry_points: the content of ``entry_points.txt``
    :param record: changes the rows of RECORD before they are written
    :param metadata: more lines for the header of METADATA
    :returns: the path of the wheel
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    header = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}"
    purelib = str(root_is_purelib).lower()
    wheel = f"Wheel-Version: 1.0\nRoot-Is-Purelib: {purelib}\nTag: {tag}\n"
    contents: Files = {
        **(files or {}),
        f"{info}/METADATA": header,
        f"{info}/WHEEL": wheel,
        **({f"{info}/entry_points.txt": entry_points} if entry_points else {}),
    }
    encoded = {
        path: content.encode() if isinstance(content, str) else content
        for path, content in contents.items()
    }
    rows = [_row(*item) for item in encoded.items() if not item[0].endswith("/")]
    rows.append([f"{info}/RECORD", "", ""])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(record(rows) if record else rows)
    encoded[f"{info}/RECORD"] = text.getvalue().encode()

    directory.mkdir(parents=True, exist_ok=True)
    target = directory / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in encoded.items():
            entry = zipfile.ZipInfo(path, date_time=(2020, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            kind = 0o040000 if path.endswith("/") else 0o100000
            bits = 0o755 if path in executable or path.endswith("/") else 0o644
            entry.external_attr = (kind | bits) << 16
            archive.writestr(entry, content)
    return target


def _row(path: str, content: bytes) -> list[str]:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return [path, f"sha256={digest.decode().rstrip('=')}", str(len(content))]


def plain(directory: Path) -> list[Path]:
    """Nested modules with package data."""
    files: Files = {
        "plain/__init__.py": "from plain.deep import answer\n",
        "plain/deep/__init__.py": "def answer() -> int:\n    return 42\n",
        "plain/deep/more/__init__.py": "KINDS = frozenset({'a', 'b'})\n",
        "plain/deep/more/leaf.py": "from .. import answer\n\nleaf = lambda: answer()\n",
        "plain/deep/data/table.csv": "a,b\r\n1,2\r\n",
        "plain/binary.dat": bytes(range(256)) * 64,
    }
    return [make_wheel(directory, "plain", files=files)]


def namespace(directory: Path) -> list[Path]:
    """Two distributions that share a namespace package (PEP 420)."""
    return [
        make_wheel(
            directory,
            f"namespace-{part}",
            files={
                f"namespace/{part}/__init__.py": f"NAME = {part!r}\n",
                f"namespace/shared/{part}.py": "",
            },
        )
        for part in ("one", "two")
    ]


def platlib(directory: Path) -> list[Path]:
    """``Root-Is-Purelib: false``."""
    files: Files = {
        "platlib/__init__.py": "",
        "platlib/_native.so": b"\x7fELF\x00native",
    }
    return [
        make_wheel(directory, "platlib", files=files, root_is_purelib=False),
    ]


def schemes(directory: Path) -> list[Path]:
    """All five schemes of ``.data``, with modules in three of them."""
    data = "schemes-1.0.data"
    files: Files = {
        "schemes/__init__.py": "",
        f"{data}/purelib/schemes/pure.py": "PURE = True\n",
        f"{data}/platlib/schemes/plat.py": "PLAT = True\n",
        f"{data}/headers/schemes.h": "#pragma once\n",
        f"{data}/headers/nested/more.h": "",
        f"{data}/scripts/schemes-run.py": "#!python\nprint('run')\n",
        f"{data}/scripts/schemes-sh": "#!/bin/sh\nexit 0\n",
        f"{data}/data/share/schemes/kernel.json": "{}\n",
        f"{data}/data/share/schemes/hook.py": "HOOK = 1\n",
        f"{data}/data/etc/schemes/conf.d/one.conf": "[one]\n",
    }
    return [make_wheel(directory, "schemes", files=files)]


def scripts(directory: Path) -> list[Path]:
    """Scripts whose first line pip rewrites, and some whose it does not."""
    folder = "scripted-1.0.data/scripts"
    files: Files = {
        f"{folder}/scripted-text": "#!python\nprint('text')\n",
        f"{folder}/scripted-gui": "#!pythonw\nprint('gui')\n",
        f"{folder}/scripted-bits": "#!python -s\nprint('bits')\n",
        f"{folder}/scripted-module.py": "#!python\nprint('module')\n",
        f"{folder}/scripted-fixed": "#!/usr/bin/env python3\nprint('fixed')\n",
        f"{folder}/scripted-binary": b"\x7fELF\x00\xff",
        f"{folder}/scripted-empty": "",
    }
    executable = [f"{folder}/scripted-bits"]
    return [make_wheel(directory, "scripted", files=files, executable=executable)]


def executables(directory: Path) -> list[Path]:
    """The executable bit, in a package and in ``data``."""
    files: Files = {
        "executables/__init__.py": "",
        "executables/bin/tool": "#!/bin/sh\nexit 0\n",
        "executables/runnable.py": "#!/usr/bin/env python3\n",
        "executables/plain.sh": "#!/bin/sh\n",
        "executables-1.0.data/data/libexec/helper": "#!/bin/sh\nexit 0\n",
    }
    executable = [path for path in files if not path.endswith(("__.py", "plain.sh"))]
    return [make_wheel(directory, "executables", files=files, executable=executable)]


def entry_points(directory: Path) -> list[Path]:
    """Console and gui entry points, and scripts that they displace."""
    folder = "entries-1.0.data/scripts"
    files: Files = {
        "entries/__init__.py": "def main() -> None:\n    print('main')\n",
        f"{folder}/entries-console": "#!python\nprint('displaced')\n",
        f"{folder}/entries-gui-script.py": "#!python\nprint('displaced')\n",
        f"{folder}/entries-stays": "#!python\nprint('stays')\n",
    }
    groups = (
        "[console_scripts]\nentries-console = entries:main\nentries-extra ="
        " entries:main [extra]\n\n[gui_scripts]\nentries-gui = entries:main\n"
        "\n[entries.plugins]\nplugin = entries\n"
    )
    return [make_wheel(directory, "entries", files=files, entry_points=groups)]


def empty_files(directory: Path) -> list[Path]:
    """Files of no bytes, and a directory of no files."""
    files: Files = {
        "empty/__init__.py": "",
        "empty/py.typed": "",
        "empty/nothing/": "",
        "empty_files-1.0.data/data/share/empty/module.py": "",
        "empty_files-1.0.data/data/share/empty/data": "",
    }
    executable = ["empty/py.typed"]
    return [make_wheel(directory, "empty-files", files=files, executable=executable)]


def unrecorded(directory: Path) -> list[Path]:
    """Files that RECORD does not list."""
    listed = ("unrecorded/__init__.py", "unrecorded-1.0.dist-info/")
    files: Files = {
        "unrecorded/__init__.py": "",
        "unrecorded/module.py": "VALUE = 1\n",
        "unrecorded/data.txt": "data\n",
        "unrecorded-1.0.data/data/share/unrecorded.txt": "data\n",
        "unrecorded-1.0.data/purelib/unrecorded/pure.py": "VALUE = 2\n",
        "unrecorded-1.0.data/scripts/unrecorded-run": "#!python\n",
    }

    def record(rows: Rows) -> Rows:
        return [row for row in rows if row[0].startswith(listed)]

    return [make_wheel(directory, "unrecorded", files=files, record=record)]


def wrong_hashes(directory: Path) -> list[Path]:
    """A RECORD whose hashes and sizes are of other files."""
    files: Files = {
        "wrong/__init__.py": "",
        "wrong/module.py": "VALUE = 1\n",
        "wrong_hashes-1.0.data/data/share/wrong.txt": "data\n",
        "wrong_hashes-1.0.data/scripts/wrong-run": "#!python\n",
    }

    def record(rows: Rows) -> Rows:
        return [
            [path, digest and "sha256=AAAA", size and "7"]
            for path, digest, size in rows
        ]

    return [make_wheel(directory, "wrong-hashes", files=files, record=record)]


def odd_rows(directory: Path) -> list[Path]:
    """RECORD rows that are too long, too short, double, or of no file."""
    files: Files = {
        "odd/__init__.py": "",
        "odd/long.py": "",
        "odd/short.py": "VALUE = 1\n",
        "odd/double.py": "VALUE = 2\n",
        "odd_rows-1.0.data/data/share/odd/double.txt": "double\n",
    }

    def record(rows: Rows) -> Rows:
        changed = []
        for row in rows:
            kind = row[0].rpartition("/")[2].partition(".")[0]
            changed += {
                "long": [[*row, "more", "still more"]],
                "short": [row[:1]],
                "double": [row, row],
            }.get(kind, [row])
        return [*changed, ["odd/ghost.py", "sha256=AAAA", "7"]]

    return [make_wheel(directory, "odd-rows", files=files, record=record)]


def uncompilable(directory: Path) -> list[Path]:
    """Sources that do not compile, beside ones that do."""
    files: Files = {
        "uncompilable/__init__.py": "VALUE = 1\n",
        "uncompilable/python2.py": "print 'hello'\n",
        "uncompilable/template.py": "def {{ name }}():\n    pass\n",
        "uncompilable/null.py": b"VALUE = 1\x00\n",
        "uncompilable/undecodable.py": b"VALUE = '\xff'\n",
        "uncompilable/warns.py": "VALUE = '\\d'\nTRUE = 1 is 1\n",
        "uncompilable/last.py": "VALUE = 2\n",
    }
    return [make_wheel(directory, "uncompilable", files=files)]


def codings(directory: Path) -> list[Path]:
    """Sources in other encodings than UTF-8."""
    cookie = "# -*- coding: {} -*-\nTEXT = '{}'\n"
    files: Files = {
        f"codings/{codec.replace('-', '_')}.py": cookie.format(codec, text).encode(
            codec
        )
        for codec, text in (
            ("koi8-r", "файл"),
            ("latin-1", "naïve"),
            ("ascii", "plain"),
        )
    }
    files["codings/bom.py"] = "TEXT = 'naïve'\n".encode("utf-8-sig")
    files["codings/unknown.py"] = "# coding: no-such-codec\n"
    return [make_wheel(directory, "codings", files=files)]


def file_names(directory: Path) -> list[Path]:
    """Names that need care: not ASCII, with spaces, commas, quotes and the like."""
    files: Files = {
        "names/__init__.py": "",
        "names/файл.py": "VALUE = 1\n",
        "names/naïve data.txt": "data\n",
        "names/a, b.py": "VALUE = 2\n",
        'names/say "hi".txt': "data\n",
        "names/it's #1 100% {x} $y;.txt": "data\n",
        "names/two.dots.py": "VALUE = 3\n",
        "names/UPPER.PY": "VALUE = 4\n",
        "names/.hidden": "data\n",
        "names/.py": "",
        "file_names-1.0.data/data/share/naïve, data.txt": "data\n",
    }
    return [make_wheel(directory, "file-names", files=files)]


def shared_path(directory: Path) -> list[Path]:
    """Two distributions that own one path."""
    return [
        make_wheel(
            directory,
            f"shared-{part}",
            files={
                "shared/__init__.py": f"OWNER = {part!r}\n",
                f"shared/{part}.py": "",
                f"shared_{part}-1.0.data/data/share/shared.txt": f"{part}\n",
            },
        )
        for part in ("first", "second")
    ]


def top_level(directory: Path) -> list[Path]:
    """A single module and a ``.pth`` file, directly in site-packages."""
    files: Files = {
        "top_level_module.py": "VALUE = 1\n",
        "top_level.pth": "import sys; sys.top_level_pth = True\n",
    }
    return [make_wheel(directory, "top-level", files=files)]


def shipped_bytecode(directory: Path) -> list[Path]:
    """A wheel that brings its own ``.pyc``, of no or of a long gone interpreter."""
    files: Files = {
        "shipped/__init__.py": "",
        "shipped/module.py": "VALUE = 1\n",
        "shipped/broken.py": "no python\n",
        "shipped/sourceless.pyc": b"sourceless",
        "shipped/__pycache__/module.cpython-26.pyc": b"of Python 2.6",
    }
    # Only these names are the ones that pip itself is going to write.
    files |= {
        f"shipped/__pycache__/{module}.cpython-3{minor}.pyc": b"not bytecode"
        for module in ("module", "broken")
        for minor in range(10, 16)
    }
    return [make_wheel(directory, "shipped-bytecode", files=files)]


def shipped_installer(directory: Path) -> list[Path]:
    """A dist-info with the files that are pip's to write."""
    info = "shipped_installer-1.0.dist-info"
    files: Files = {
        "shipped_installer.py": "",
        f"{info}/INSTALLER": "someone else\n",
        f"{info}/REQUESTED": "not empty\n",
        f"{info}/direct_url.json": '{"url": "file:///nowhere", "dir_info": {}}\n',
    }
    return [make_wheel(directory, "shipped-installer", files=files)]


def licenses(directory: Path) -> list[Path]:
    """Licences in a subdirectory of dist-info, one of them a module."""
    folder = "licensed-1.0.dist-info/licenses"
    files: Files = {
        "licensed/__init__.py": "",
        f"{folder}/LICENSE": "MIT\n",
        f"{folder}/vendored/notice.py": "NOTICE = 'BSD'\n",
        "licensed-1.0.dist-info/sboms/bom.json": "{}\n",
    }
    header = "License-File: LICENSE\n"
    return [make_wheel(directory, "licensed", files=files, metadata=header)]


def double_target(directory: Path) -> list[Path]:
    """Two files of one wheel that end up at one path."""
    data = "double_target-1.0.data"
    files: Files = {
        f"{data}/purelib/double/early.py": "WHERE = 'data'\n",
        "double/__init__.py": "",
        "double/early.py": "WHERE = 'the root'\n",
        "double/late.py": "WHERE = 'the root'\n",
        "double/table.txt": "of the root\n",
        f"{data}/purelib/double/late.py": "WHERE = 'purelib'\n",
        f"{data}/platlib/double/late.py": "WHERE = 'platlib, last'\n",
        f"{data}/platlib/double/table.txt": "of platlib\n",
    }
    return [make_wheel(directory, "double-target", files=files)]


def spelling(directory: Path) -> list[Path]:
    """A name, and so a dist-info directory, that is not normalised."""
    return [make_wheel(directory, "Odd.Spelling", files={"Spelling/__init__.py": ""})]


TRAITS: dict[str, Callable[[Path], list[Path]]] = {
    trait.__name__: trait
    for trait in (
        plain,
        namespace,
        platlib,
        schemes,
        scripts,
        executables,
        entry_points,
        empty_files,
        unrecorded,
        wrong_hashes,
        odd_rows,
        uncompilable,
        codings,
        file_names,
        shared_path,
        top_level,
        shipped_bytecode,
        shipped_installer,
        licenses,
        double_target,
        spelling,
    )
}
"""Makes the wheels of a trait in a directory, returned in order of installation."""
