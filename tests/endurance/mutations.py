"""Damage the small files that the command reads: what a crash or an attacker leaves."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

DEPTH = 20_000
"""Of nested brackets; Python's own parser gives up long before."""
SPARSE = 1 << 30


class Mutator:
    """Damages one file after the other, the same ones for the same seed.

    :param chance: the source of all choices
    :param outside: a file that no command may read into a store, change or remove
    :param others: paths of environments and stores to mix up
    """

    def __init__(
        self, chance: random.Random, outside: Path, others: Sequence[Path]
    ) -> None:
        self._chance = chance
        self._outside = outside
        self._others = others

    def mutate(self, path: Path) -> str:
        """Damage a file, and describe how."""
        kinds: list[Callable[[Path], str]] = [self._bytes, self._kind_of_file]
        if path.suffix == ".json":
            kinds += [self._json] * 4
        elif path.name == "RECORD":
            kinds += [self._record] * 4
        return f"{path.name}: {self._chance.choice(kinds)(path)}"

    # --- values -----------------------------------------------------------------------

    def _paths(self) -> list[str]:
        chosen = str(self._chance.choice(self._others))
        return [
            str(self._outside),
            str(self._outside.parent),
            os.path.relpath(self._outside, chosen),
            "../" * 12 + str(self._outside).lstrip("/"),
            chosen,
            f"{chosen}/../{os.path.basename(chosen)}",
            "/",
            "",
            ".",
            "..",
            "a/../../b",
            "//x",
            "x/",
            "x\0y",
            "\x1b[31m\x07",
            "a\nb",
            "\udcff",
            "\ud800",
            "é" * 200,
            "n" * 300,
            "d/" * 3000,
            "/proc/self/mem",
            "/dev/zero",
        ]

    def _values(self) -> list[Any]:
        return [
            *self._paths(),
            None,
            True,
            0,
            -1,
            1,
            2**31,
            2**63,
            -(2**63) - 1,
            2**200,
            0.5,
            float("inf"),
            float("nan"),
            [],
            {},
            [[]],
            {"": None},
            ["x"] * 3,
            "x" * 100_000,
            "0" * 64,
        ]

    # --- bytes and kinds of file ------------------------------------------------------

    def _bytes(self, path: Path) -> str:
        content = bytearray(_content(path))
        at = self._chance.randrange(len(content) + 1)
        way = self._chance.choice(("cut", "flip", "insert", "repeat", "erase", "zero"))
        if way == "cut":
            del content[at:]
        elif way == "flip" and content:
            content[at - 1] ^= 1 << self._chance.randrange(8)
        elif way == "insert":
            content[at:at] = self._chance.choice(
                (b"\xff", b"\0", b'"', b"\xef\xbb\xbf", b"\r\n", b",", b"{", b"\x85")
            )
        elif way == "repeat":
            content *= 2
        elif way == "erase":
            del content[at : at + self._chance.randrange(1, 40)]
        else:
            content[:] = bytes(len(content))
        _replace(path, bytes(content))
        return f"{way} at {at}"

    def _kind_of_file(self, path: Path) -> str:
        content = _content(path)
        ways: dict[str, Callable[[], object]] = {
            "nothing": lambda: None,
            "an empty file": path.touch,
            "a directory": path.mkdir,
            "a full directory": lambda: (path / "x").mkdir(parents=True),
            "a pipe": lambda: os.mkfifo(path),
            "a dangling link": lambda: path.symlink_to("nowhere"),
            "a link to itself": lambda: path.symlink_to(path.name),
            "a link to a file outside": lambda: path.symlink_to(self._outside),
            "a link to the directory outside": lambda: path.symlink_to(
                self._outside.parent
            ),
            "a link to a device": lambda: path.symlink_to("/dev/zero"),
            "a link to its content": lambda: _link_to_content(path, content),
            "a huge file": lambda: _huge(path),
            "a file without permissions": lambda: _with_mode(path, content, 0),
            "a file that all may write": lambda: _with_mode(path, content, 0o666),
        }
        name = self._chance.choice([*ways])
        path.unlink()
        ways[name]()
        return f"is {name}"

    # --- JSON -------------------------------------------------------------------------

    def _json(self, path: Path) -> str:
        data = json.loads(path.read_bytes())
        places = [*_places(data)]
        parent, key, name = self._chance.choice(places)
        way = self._chance.choice(("set", "set", "set", "drop", "add", "swap", "deep"))
        said = f"{way} {name}"
        if way == "set":
            value = self._chance.choice(self._values())
            parent[key] = value
            said += f" = {value!r:.60}"
        elif way == "drop":
            del parent[key]
        elif way == "add" and isinstance(parent, list):
            parent.insert(key, parent[self._chance.randrange(len(parent))])
        elif way == "add":
            parent[self._chance.choice(self._paths())] = parent[key]
        elif way == "swap":
            other, where, to = self._chance.choice(places)
            parent[key], other[where] = other[where], parent[key]
            said += f" with {to}"
        text = json.dumps(data) if way != "swap" or not _is_loop(data) else "[]"
        if way == "deep":
            text = text.replace("{", '{"deep": ' + "[" * DEPTH + "]" * DEPTH + ", ", 1)
        _replace(path, text.encode("utf-8", "surrogatepass"))
        return said

    # --- RECORD -----------------------------------------------------------------------

    def _record(self, path: Path) -> str:
        rows = [*csv.reader(io.StringIO(path.read_text("utf-8")))]
        number = self._chance.randrange(len(rows))
        row = rows[number]
        ways: dict[str, Callable[[], object]] = {
            "path": lambda: row.__setitem__(0, self._chance.choice(self._paths())),
            "digest": lambda: row.__setitem__(1, self._digest(rows)),
            "size": lambda: row.__setitem__(
                2, self._chance.choice(("", "-1", "x", "1e9", "9" * 5000, "0", "٣"))
            ),
            "drop": lambda: rows.pop(number),
            "twice": lambda: rows.append([*row]),
            "two of one path": lambda: rows.append([row[0], self._digest(rows), "1"]),
            "short": lambda: row.__delitem__(slice(1, 3)),
            "long": lambda: row.extend(["x"] * 9),
            "long field": lambda: row.__setitem__(0, "x" * 200_000),
            "outside": lambda: rows.append(self._row_of(path, self._outside)),
            "of another": lambda: rows.append(
                self._row_of(path, self._chance.choice(self._others))
            ),
            "absolute": lambda: rows.append([str(self._outside), "", ""]),
        }
        name = self._chance.choice([*ways])
        ways[name]()
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        written = text.getvalue()
        if self._chance.random() < 0.1:
            name += ", an open quote"
            written = re.sub(r",", ',"', written, count=1)
        _replace(path, written.encode("utf-8", "surrogatepass"))
        return f"row {number} {row[0]!r:.60}: {name}"

    def _digest(self, rows: list[list[str]]) -> str:
        other = self._chance.choice(rows)
        return self._chance.choice(
            (
                other[1] if len(other) > 1 else "",
                _encoded(self._outside.read_bytes()),
                "sha256=",
                "sha256=!",
                "md5=x",
                "sha1=" + "A" * 27,
                "=",
                "x",
                "sha256=" + "A" * 43,
            )
        )

    def _row_of(self, record: Path, path: Path) -> list[str]:
        """Return a row that is true, of a file that is none of the distribution's."""
        if path.is_dir():
            files = sorted(one for one in path.rglob("*") if one.is_file())
            path = self._chance.choice(files or [self._outside])
        content = path.read_bytes()
        relative = os.path.relpath(path, record.parents[1])
        return [relative, _encoded(content), str(len(content))]


def _encoded(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _content(path: Path) -> bytes:
    """Read a file; an identity link may be one to a symlink."""
    return path.read_bytes() if not path.is_symlink() else b""


def _replace(path: Path, content: bytes) -> None:
    """Write a new file: an identity link shares its inode with the environment's."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _link_to_content(path: Path, content: bytes) -> None:
    moved = path.with_name(f"{path.name}.moved")
    moved.write_bytes(content)
    path.symlink_to(moved.name)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def _with_mode(path: Path, content: bytes, mode: int) -> None:
    _replace(path, content)
    path.chmod(mode)


def _places(data: Any, name: str = "") -> Iterator[tuple[Any, Any, str]]:
    items: Any = ()
    if isinstance(data, dict):
        items = data.items()
    elif isinstance(data, list):
        items = enumerate(data)
    for key, value in items:
        yield data, key, f"{name}/{key}"
        yield from _places(value, f"{name}/{key}")


def _is_loop(data: Any) -> bool:
    try:
        json.dumps(data)
    except (RecursionError, ValueError):
        return True
    return False


def remove(path: Path) -> None:
    """Remove a directory with whatever is in it."""
    shutil.rmtree(path, ignore_errors=True)
