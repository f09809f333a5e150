"""Describe a directory tree, so that two installations can be compared.

Stand-alone: ``python snapshot.py ROOT`` prints the snapshot as JSON. It runs under the
interpreter of the environment it looks at, because only that one reads its bytecode.

What may differ between two equal installations is left out: inodes, links and times,
and inside a ``.pyc`` the path of its source and the time stamped into it. Whether that
time is the *right* one is not left out: a stale file says so in its digest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import os
import stat
import sys
from pathlib import Path
from types import CodeType

Entry = tuple[str, str, str]

_HEADER = 16
_CODE_ATTRIBUTES = [
    name
    for name in dir(CodeType)
    if name.startswith("co_")
    and name not in {"co_filename", "co_lnotab"}
    and not callable(getattr(CodeType, name))
]


def snapshot(root: str | os.PathLike[str]) -> dict[str, Entry]:
    """Describe everything below a directory.

    :param root: the directory; one that does not exist is like an empty one
    :returns: by relative path: the kind (``file``, ``dir``, ``dirlink``, ``dangling``),
        the permission bits, and the digest of a file
    """
    found = {}
    for folder, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(folder, name)
            found[path.relative_to(root).as_posix()] = _entry(path)
    return dict(sorted(found.items()))


def _entry(path: Path) -> Entry:
    try:
        mode = path.stat().st_mode
    except OSError:
        return "dangling", "", ""
    bits = f"{stat.S_IMODE(mode):o}"
    if stat.S_ISDIR(mode):
        return "dirlink" if path.is_symlink() else "dir", bits, ""
    return "file", bits, _digest(path)


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".pyc" and content.startswith(importlib.util.MAGIC_NUMBER):
        try:
            return _bytecode_digest(path, content)
        except (EOFError, TypeError, ValueError):
            pass
    return hashlib.sha256(content).hexdigest()


def _bytecode_digest(path: Path, content: bytes) -> str:
    flags, validation = content[4:8], content[8:_HEADER]
    code = _describe(marshal.loads(content[_HEADER:])).encode()
    if any(flags):
        return hashlib.sha256(flags + validation + code).hexdigest()
    digest = hashlib.sha256(flags + code).hexdigest()
    return f"stale {digest}" if _is_stale(path, validation) else digest


def _is_stale(path: Path, validation: bytes) -> bool:
    try:
        source = Path(importlib.util.source_from_cache(str(path))).stat()
    except (OSError, ValueError):
        return False
    expected = (int(source.st_mtime), source.st_size)
    stamps = b"".join((n & 0xFFFFFFFF).to_bytes(4, "little") for n in expected)
    return validation != stamps


def _describe(constant: object) -> str:
    # Not the marshalled bytes: those depend on reference counts and on hash seeds.
    if isinstance(constant, CodeType):
        attributes = (getattr(constant, name) for name in _CODE_ATTRIBUTES)
        return f"code{_describe(tuple(attributes))}"
    if isinstance(constant, tuple):
        return f"({','.join(map(_describe, constant))})"
    if isinstance(constant, frozenset):
        return f"{{{','.join(sorted(map(_describe, constant)))}}}"
    if type(constant) is int:
        return hex(constant)
    return ascii(constant)


if __name__ == "__main__":
    json.dump(snapshot(sys.argv[1]), sys.stdout)
