"""The metadata of a wheel is parsed once, whatever pip asks for."""

from __future__ import annotations

import sys
from importlib.metadata import PathDistribution
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.hooks import metadata

if TYPE_CHECKING:
    from pathlib import Path

NAME = "pip._internal.metadata"
TEXT = "Metadata-Version: 2.1\nName: A.b\nVersion: 1.0\nRequires-Dist: c\n\nLong.\n"
PARSED: list[str] = []
"""Each text that was parsed."""


class Counted(PathDistribution):
    """Notes what it parses."""

    @property
    def metadata(self) -> Any:
        PARSED.append(self.read_text("METADATA") or "")
        return super().metadata


class Distribution:
    """As pip's."""

    def __init__(self, dist: Any) -> None:
        self._dist = dist

    @classmethod
    def from_wheel(cls, path: Path) -> Distribution:
        return cls(Counted(path))

    @classmethod
    def from_metadata_file_contents(cls, path: Path) -> Distribution:
        return cls(Counted(path))

    @classmethod
    def from_directory(cls, path: Path) -> Distribution:
        return cls(Counted(path))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """pip's class, patched."""
    module: Any = ModuleType(NAME)
    module.Distribution = type(
        "Distribution", (Distribution,), dict(vars(Distribution))
    )
    module.select_backend = lambda: module
    monkeypatch.setitem(sys.modules, NAME, module)
    monkeypatch.setattr(metadata, "_parsed", {})
    PARSED.clear()
    metadata.apply()
    metadata.apply()
    return module.Distribution


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A directory with METADATA."""
    (tmp_path / "METADATA").write_text(TEXT)
    return tmp_path


def test_one_text_is_parsed_once(backend: Any, wheel: Path) -> None:
    for make in (backend.from_wheel, backend.from_metadata_file_contents):
        made = make(wheel)
        assert type(made) is backend
        assert (made._dist.name, made._dist.version) == ("A.b", "1.0")
        assert made._dist.requires == ["c"]
    assert PARSED == [TEXT]


def test_another_text_is_parsed_for_itself(backend: Any, wheel: Path) -> None:
    assert backend.from_wheel(wheel)._dist.version == "1.0"
    (wheel / "METADATA").write_text(TEXT.replace("1.0", "2.0"))
    assert backend.from_wheel(wheel)._dist.version == "2.0"


def test_wheel_without_metadata_is_as_it_was(backend: Any, tmp_path: Path) -> None:
    (tmp_path / "PKG-INFO").write_text(TEXT)
    other = tmp_path / "other"
    other.mkdir()
    (other / "PKG-INFO").write_text(TEXT.replace("1.0", "2.0"))
    assert backend.from_wheel(tmp_path)._dist.version == "1.0"
    assert backend.from_wheel(other)._dist.version == "2.0"


def test_class_has_the_same_name_in_errors(backend: Any, wheel: Path) -> None:
    kind = type(backend.from_wheel(wheel)._dist)
    assert kind is not Counted
    assert (kind.__module__, kind.__qualname__) == (__name__, "Counted")


def test_installed_distributions_are_left_alone(backend: Any, wheel: Path) -> None:
    assert type(backend.from_directory(wheel)._dist) is Counted


@pytest.mark.parametrize("distribution", [None, object()])
def test_distribution_of_another_kind_is_left_alone(
    distribution: object, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.Counted", lambda _: distribution)
    assert backend.from_wheel("path")._dist is distribution


def test_another_pip_parses_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, NAME, raising=False)
    metadata.apply()
    module: Any = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    metadata.apply()
    module.select_backend = lambda: ModuleType("without a class")
    metadata.apply()


def test_message_that_pip_adds_requirements_to_is_shared_with_none(
    backend: Any, wheel: Path
) -> None:
    (wheel / "requires.txt").write_text("d\n")
    first, second = (backend.from_wheel(wheel)._dist for _ in range(2))
    first.metadata["Requires-Dist"] = "d"
    assert second.requires == ["c"]
