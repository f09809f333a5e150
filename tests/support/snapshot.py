"""Describe a directory tree, so that two installations can be compared.

Stand-alone: ``python snapshot.py ROOT [KNOWN]`` prints the snapshot as JSON. It runs
under the interpreter of the environment it looks at, because only that one reads its
bytecode. KNOWN is the path of a file that keeps the digests of code: most code is pip's
own, the same in each environment, and its description takes most of the time.

What may differ between two equal installations is left out: inodes, links and times,
and inside a ``.pyc`` the path of its source and the time stamped into it. Whether that
time is the *right* one is not left out: a stale file says so in its digest.
"""

from __future__ import annotations

import contextlib
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
_known: dict[str, str] = {}
"""Digests of code, by the digest of its marshalled bytes."""
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
    marshalled = hashlib.sha256(content[_HEADER:]).hexdigest()
    if marshalled not in _known:
        text = _describe(marshal.loads(content[_HEADER:]))
        _known[marshalled] = hashlib.sha256(text.encode()).hexdigest()
    code = _known[marshalled]
    if any(flags):
        return f"{(flags + validation).hex()} {code}"
    return f"stale {code}" if _is_stale(path, validation) else code


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


def main(root: str, known: str = "") -> None:
    """Print a snapshot; ``known`` may be missing, and is replaced as a whole."""
    known = known and f"{known}-{sys.hexversion:x}"
    if os.path.exists(known):
        _known.update(json.loads(Path(known).read_text("utf-8")))
    before = len(_known)
    json.dump(snapshot(root), sys.stdout)
    if known and len(_known) > before:
        temporary = Path(f"{known}.{os.getpid()}")
        with contextlib.suppress(PermissionError):  # another user's environment
            temporary.write_text(json.dumps(_known), "utf-8")
            temporary.replace(known)


if __name__ == "__main__":
    main(*sys.argv[1:])
