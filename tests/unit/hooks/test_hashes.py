"""What pip has hashed need not be hashed again; what it only claims has to be."""

from __future__ import annotations

import hashlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.hooks import hashes as hashes_module

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"a wheel"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Hashes:
    """As pip's: any of the allowed digests will do."""

    def __init__(self, allowed: dict[str, str]) -> None:
        self.allowed = allowed

    def check_against_path(self, path: str) -> None:
        module: Any = sys.modules["pip._internal.utils.hashes"]
        created = {name: module.hashlib.new(name) for name in self.allowed}
        with open(path, "rb") as file:
            for one in created.values():
                one.update(file.read())
                file.seek(0)
        if not any(created[name].hexdigest() == self.allowed[name] for name in created):
            raise ValueError(path)


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules of the shape of pip's."""

    def hash_file(path: str) -> tuple[Any, int]:
        with open(path, "rb") as file:
            content = file.read()
        return hashlib.sha256(content), len(content)

    hashes: Any = ModuleType("pip._internal.utils.hashes")
    # A copy, because it is patched.
    hashes.Hashes = type("Hashes", (Hashes,), dict(vars(Hashes)))
    hashes.hashlib = hashlib
    prepare: Any = ModuleType("pip._internal.operations.prepare")
    prepare.hash_file = hash_file
    for module in (hashes, prepare):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(hashes_module, "_digests", {})
    return {"hashes": hashes, "prepare": prepare}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheel.whl"
    path.write_bytes(CONTENT)
    return path


def test_nothing_is_known_of_what_nobody_has_hashed(
    pip: dict[str, Any], wheel: Path
) -> None:
    del pip
    hashes_module.apply()
    assert hashes_module.known(str(wheel)) is None
    assert hashes_module.known(str(wheel) + "?") is None


def test_what_pip_hashes_is_known(pip: dict[str, Any], wheel: Path) -> None:
    hashes_module.apply()
    hashed, length = pip["prepare"].hash_file(str(wheel))
    assert (hashed.hexdigest(), length) == (DIGEST, len(CONTENT))
    assert hashes_module.known(str(wheel)) == DIGEST


def test_function_that_promises_a_sha256_gives_one(
    pip: dict[str, Any], wheel: Path
) -> None:
    """Not by pip's own loop, which takes a new buffer for each megabyte."""
    content = bytes(range(256)) * 5000
    wheel.write_bytes(content)
    pip["prepare"].hash_file.__doc__ = hashes_module._PROMISE
    hashes_module.apply()
    hashed, length = pip["prepare"].hash_file(str(wheel))
    expected = hashlib.sha256(content)
    assert (hashed.hexdigest(), hashed.name) == (expected.hexdigest(), "sha256")
    assert length == len(content)
    assert hashes_module.known(str(wheel)) == expected.hexdigest()


def test_what_pip_has_checked_is_known(pip: dict[str, Any], wheel: Path) -> None:
    hashes_module.apply()
    pip["hashes"].Hashes({"sha256": DIGEST}).check_against_path(str(wheel))
    assert hashes_module.known(str(wheel)) == DIGEST


def test_bytes_count_and_not_what_the_index_claims(
    pip: dict[str, Any], wheel: Path
) -> None:
    """pip is content with any of several digests."""
    hashes_module.apply()
    md5 = hashlib.md5(CONTENT).hexdigest()
    allowed = {"sha256": "b" * 64, "md5": md5}
    pip["hashes"].Hashes(allowed).check_against_path(str(wheel))
    assert hashes_module.known(str(wheel)) == DIGEST


def test_other_digests_do_not_help(pip: dict[str, Any], wheel: Path) -> None:
    hashes_module.apply()
    pip["hashes"].Hashes({"sha256": DIGEST}).check_against_path(str(wheel))
    other = wheel.with_name("other.whl")
    other.write_bytes(b"other")
    md5 = hashlib.md5(b"other").hexdigest()
    pip["hashes"].Hashes({"md5": md5}).check_against_path(str(other))
    assert hashes_module.known(str(other)) is None


def test_mismatch_is_pips_to_raise(pip: dict[str, Any], wheel: Path) -> None:
    hashes_module.apply()
    with pytest.raises(ValueError, match="wheel"):
        pip["hashes"].Hashes({"sha256": "b" * 64}).check_against_path(str(wheel))
    assert hashes_module.known(str(wheel)) is None


def test_file_that_was_touched_since_is_unknown(
    pip: dict[str, Any], wheel: Path
) -> None:
    """Even with its old size and time: nobody can set a ctime."""
    hashes_module.apply()
    pip["prepare"].hash_file(str(wheel))
    before = wheel.stat()
    while wheel.stat().st_ctime_ns == before.st_ctime_ns:
        wheel.write_bytes(CONTENT.swapcase())
    os.utime(wheel, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert hashes_module.known(str(wheel)) is None


def test_file_that_changes_while_it_is_hashed_is_unknown(
    pip: dict[str, Any], wheel: Path
) -> None:
    stock = pip["prepare"].hash_file

    def hash_file(path: str) -> tuple[Any, int]:
        hashed = stock(path)
        wheel.write_bytes(CONTENT * 2)
        return hashed  # type: ignore[no-any-return]  # pip's are untyped

    pip["prepare"].hash_file = hash_file
    hashes_module.apply()
    pip["prepare"].hash_file(str(wheel))
    assert hashes_module.known(str(wheel)) is None


def test_all_else_of_hashlib_is_there(pip: dict[str, Any]) -> None:
    hashes_module.apply()
    for name in ("sha256", "sha512", "md5"):
        assert getattr(pip["hashes"].hashlib, name) is getattr(hashlib, name)


def test_it_is_applied_once(pip: dict[str, Any]) -> None:
    hashes_module.apply()
    patched = pip["hashes"].hashlib, pip["prepare"].hash_file
    hashes_module.apply()
    assert (pip["hashes"].hashlib, pip["prepare"].hash_file) == patched


def test_pip_of_another_shape_is_left_alone(
    pip: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    del pip["hashes"].Hashes, pip["prepare"].hash_file
    hashes_module.apply()
    assert pip["hashes"].hashlib is hashlib
    for name in ("pip._internal.utils.hashes", "pip._internal.operations.prepare"):
        monkeypatch.delitem(sys.modules, name)
    hashes_module.apply()
