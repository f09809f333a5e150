"""Wheels: decide which can be stored, and unpack them.

A wheel is stored only if it is of the plain shape that nearly all are.  Whatever is odd
in it (a path that escapes, a member twice, a broken zip, a version from the future) is
*declined*: pip gets the wheel itself and gives its own answer, which then is also ours.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import os
import re
import stat
import zipfile
import zlib
from email.parser import Parser
from io import UnsupportedOperation
from typing import Any, BinaryIO

from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.files import (
    CHUNK,
    file_digest,
    file_stamp,
    make_directory,
    mode_of_new_file,
)
from pip_linkmode.store.paths import SCHEMES, StoredFile, data_scheme, is_safe_path

try:
    from lzma import LZMAError
except ImportError:  # pragma: no cover  # a Python built without liblzma
    LZMAError = zlib.error  # type: ignore[assignment,misc]  # then it is never raised


# Member names that are not UTF-8 are decoded by this codec; pip 26.3 blocks imports,
# of codecs too, once installation has begun.
codecs.lookup("cp437")
_ENTRY_POINT = re.compile(r"[^=\[\s#;][^=]*=\s*[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?$")
# Entry points of which pip makes a script, without those that it refuses late
# (distlib ``ENTRY_RE``, pip ``_raise_for_invalid_entrypoint``).
_SCRIPT = re.compile(
    r"\w[\w.+-]*\s*=\s*\w+(\.\w+)*:\w+(\.\w+)*\s*(\[\s*[\w-]+(,\s*\w+)*\s*\]\s*)?$"
)
_SCRIPT_GROUPS = ("[console_scripts]", "[gui_scripts]")


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files of a wheel, if their names are as plain as they can be.

    Whatever is odd (absolute, escaping, not normal, doubled, a link, encrypted) is
    left to pip, which has its own answers.
    """
    seen: set[str] = set()
    directories: set[str] = set()
    members = []
    for info in archive.infolist():
        name = info.filename
        plain = name.removesuffix("/")
        parts = plain.split("/")
        if (
            not is_safe_path(plain)
            or info.orig_filename != name
            or info.flag_bits & 0x1
        ):
            msg = f"{name!r} is not a plain file name"
            raise WheelDeclinedError(msg)
        for depth in range(1, len(parts)):
            directories.add("/".join(parts[:depth]))
        if name.endswith("/"):
            continue
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG):
            msg = f"{name!r} is not a regular file"
            raise WheelDeclinedError(msg)
        folded = name.casefold()
        if folded in seen:
            msg = f"{name!r} is there twice"
            raise WheelDeclinedError(msg)
        seen.add(folded)
        members.append(info)
    if clash := seen & {directory.casefold() for directory in directories}:
        msg = f"{min(clash)!r} is both a file and a directory"
        raise WheelDeclinedError(msg)
    return members


def _is_executable(info: zipfile.ZipInfo) -> bool:
    # pip _internal/utils/unpacking.py, zip_item_is_executable
    mode = info.external_attr >> 16
    return bool(mode and stat.S_ISREG(mode) and mode & 0o111)


def _metadata(archive: zipfile.ZipFile, names: set[str]) -> dict[str, Any]:
    """Do the checks that pip does before the first file, and describe the wheel.

    pip refuses some wheels before it has touched the environment (``parse_wheel``,
    ``get_wheel_distribution``).  Linking comes first, so such a wheel must not be
    linked at all.
    """
    # pip looks at directory entries too.
    dist_infos = {name.split("/", 1)[0] for name in archive.namelist()}
    dist_infos = {name for name in dist_infos if name.endswith(".dist-info")}
    if len(dist_infos) != 1:
        msg = "it has not exactly one .dist-info directory"
        raise WheelDeclinedError(msg)
    (dist_info,) = dist_infos
    texts = {}
    for name in ("WHEEL", "METADATA", "RECORD", "entry_points.txt"):
        path = f"{dist_info}/{name}"
        if path in names:
            texts[name] = archive.read(path).decode("utf-8")
        elif name != "entry_points.txt":
            msg = f"it has no {path}"
            raise WheelDeclinedError(msg)
    wheel, metadata = (Parser().parsestr(texts[name]) for name in ("WHEEL", "METADATA"))
    if not re.fullmatch(r"1\.\d+", (wheel["Wheel-Version"] or "").strip()):
        msg = f"its Wheel-Version is {wheel['Wheel-Version']!r}"
        raise WheelDeclinedError(msg)
    if not metadata["Name"] or not metadata["Version"]:
        msg = "its METADATA has no Name or no Version"
        raise WheelDeclinedError(msg)
    _check_entry_points(texts.get("entry_points.txt", ""))
    rows = list(csv.reader(texts["RECORD"].splitlines()))
    if not all(rows):
        msg = "its RECORD has an empty row"
        raise WheelDeclinedError(msg)
    for name in names:
        _check_data(name, dist_info)
    return {
        "name": str(metadata["Name"]).strip(),
        "version": str(metadata["Version"]).strip(),
        "dist_info": dist_info,
        "purelib": (wheel["Root-Is-Purelib"] or "").lower() == "true",
        # Then the RECORD can be passed on as it is, and need not be parsed again.
        "plain_record": (
            sorted(row[0] if row else "" for row in rows) == sorted(names)
            and all(data_scheme(name) is None for name in names)
        ),
    }


def _check_data(path: str, dist_info: str) -> None:
    scheme = data_scheme(path)
    if scheme is None:
        return
    key, below = scheme
    if key not in SCHEMES or not below:
        msg = f"{path!r} belongs to no scheme"
        raise WheelDeclinedError(msg)
    if dist_info in below.split("/"):
        # pip opens some of these files for writing, after they were linked.
        msg = f"{path!r} is metadata that comes another way"
        raise WheelDeclinedError(msg)


def _check_entry_points(text: str) -> None:
    group = ""
    for line in map(str.strip, text.splitlines()):
        if re.fullmatch(r"\[[^\[\]]+\]", line):
            group = line
            continue
        plain = _SCRIPT if group in _SCRIPT_GROUPS else _ENTRY_POINT
        if line and line[0] != "#" and not (group and plain.match(line)):
            msg = f"its entry point {line!r} is not plain"
            raise WheelDeclinedError(msg)


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str) -> str:
    """Write one member and return its sha256, in one pass over its bytes."""
    digest = hashlib.sha256()
    with open(path, "xb") as target:
        if info.file_size:
            with archive.open(info) as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
        if target.tell() != info.file_size:
            msg = f"{info.filename!r} is shorter than it claims"
            raise WheelDeclinedError(msg)
    return digest.hexdigest()


def _stamp(wheel: BinaryIO) -> tuple[int, ...] | None:
    try:
        return file_stamp(os.fstat(wheel.fileno()))
    except UnsupportedOperation:  # it is in memory
        return None


def unpack(
    wheel: BinaryIO, directory: str, *, umask: int, mtime: int
) -> dict[str, Any]:
    """Unpack a wheel as pip would, and describe it.

    :param wheel: open, seekable
    :param directory: absolute path; made, or empty
    :param umask: the umask in force, from which permission bits follow
    :param mtime: modification time of the files, in seconds
    :returns: the manifest, without the file name of the wheel; its digest, of the very
        bytes that were unpacked, is called ``wheel_sha256``
    :raises WheelDeclinedError: if pip has to judge this wheel
    :raises OSError: if it cannot be written
    """
    before = _stamp(wheel)
    sha256 = file_digest(wheel)
    size = wheel.tell()
    times = (mtime * 10**9, mtime * 10**9)
    try:
        make_directory(directory)
        with zipfile.ZipFile(wheel) as archive:
            members = _members(archive)
            manifest = _metadata(archive, {info.filename for info in members})
            files = []
            for info in members:
                path = os.path.join(directory, info.filename)
                make_directory(os.path.dirname(path))
                digest = _write(archive, info, path)
                mode = mode_of_new_file(umask, executable=_is_executable(info))
                os.chmod(path, mode)
                os.utime(path, ns=times)
                files.append(StoredFile(info.filename, info.file_size, digest, mode))
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        FileExistsError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        csv.Error,
        zlib.error,
        LZMAError,
    ) as error:
        msg = f"it cannot be unpacked: {error}"
        raise WheelDeclinedError(msg) from error
    except OSError as error:
        if error.errno is None:  # bz2 has no exception of its own
            msg = f"it cannot be unpacked: {error}"
            raise WheelDeclinedError(msg) from error
        raise
    if _stamp(wheel) != before:
        msg = "it was changed while it was read"
        raise WheelDeclinedError(msg)
    return {
        **manifest,
        "wheel_sha256": sha256,
        "wheel_size": size,
        "mtime": mtime,
        "files": files,
    }
