"""The finder waits for a few modules of pip, and stays out of everything else."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from importlib.machinery import (
    BuiltinImporter,
    FrozenImporter,
    PathFinder,
    SourceFileLoader,
)
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import _bootstrap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WATCHED = "watched_by_a_test"
PATCH = "patch_of_a_test"


@pytest.fixture(autouse=True)
def activated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[_bootstrap._Trigger]:
    """Watch one module of ours, in a process that has not been activated yet."""
    monkeypatch.setattr(sys, "meta_path", [BuiltinImporter, FrozenImporter, PathFinder])
    monkeypatch.setattr(_bootstrap, "WATCHED", {WATCHED: PATCH})
    monkeypatch.syspath_prepend(str(tmp_path))
    _bootstrap.activate()
    trigger = sys.meta_path[0]
    assert isinstance(trigger, _bootstrap._Trigger)
    yield trigger
    for name in (WATCHED, PATCH):
        sys.modules.pop(name, None)


def write(directory: Path, *, watched: str = "", patch: str = "") -> None:
    (directory / f"{WATCHED}.py").write_text(watched)
    (directory / f"{PATCH}.py").write_text(patch)
    importlib.invalidate_caches()


def test_module_is_patched_after_it_has_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        watched="value = 'of pip'",
        patch="def apply(module):\n    module.value += ', patched'",
    )
    assert importlib.import_module(WATCHED).value == "of pip, patched"


def test_patch_finds_the_module_in_place(tmp_path: Path) -> None:
    write(
        tmp_path,
        patch="import sys\n\n\ndef apply(module):\n"
        "    assert sys.modules[module.__name__] is module\n    module.done = True",
    )
    assert importlib.import_module(WATCHED).done


def test_loader_is_put_back(tmp_path: Path) -> None:
    write(tmp_path, watched="seen = (__loader__, __spec__.loader)")
    module = importlib.import_module(WATCHED)
    assert module.__spec__ is not None
    for loader in (module.__loader__, module.__spec__.loader, *module.seen):
        assert type(loader) is SourceFileLoader


def test_stand_in_answers_for_the_loader_before_it_has_run(tmp_path: Path) -> None:
    write(tmp_path, watched="value = 1")
    spec = importlib.util.find_spec(WATCHED)
    assert spec is not None
    assert spec.loader is not None
    assert spec.loader.get_source(WATCHED) == "value = 1"  # type: ignore[attr-defined]  # of SourceFileLoader


def test_module_without_a_spec_can_be_executed(tmp_path: Path) -> None:
    write(tmp_path, watched="value = 1")
    module = ModuleType(WATCHED)
    loader = SourceFileLoader(WATCHED, str(tmp_path / f"{WATCHED}.py"))
    _bootstrap._PatchingLoader(loader).exec_module(module)
    assert module.value == 1
    assert module.__loader__ is loader


@pytest.mark.parametrize(
    "patch",
    [
        "raise RuntimeError",
        "syntax error",
        "import no_such_module_anywhere",
        "",
        "def apply(module):\n    raise RuntimeError",
        "def apply():\n    pass",
    ],
)
def test_module_works_whatever_happens_to_the_patch(
    tmp_path: Path, patch: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, watched="value = 1", patch=patch)
    assert importlib.import_module(WATCHED).value == 1
    assert capfd.readouterr() == ("", "")


def test_missing_patch_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, watched="value = 1")
    (tmp_path / f"{PATCH}.py").unlink()
    assert importlib.import_module(WATCHED).value == 1


def test_error_of_the_module_is_its_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        watched="raise LookupError('of pip')",
        patch="def apply(module):\n    raise AssertionError('not to be called')",
    )
    with pytest.raises(LookupError, match="of pip"):
        importlib.import_module(WATCHED)
    assert PATCH not in sys.modules


def test_absent_module_stays_absent() -> None:
    with pytest.raises(ModuleNotFoundError, match=WATCHED):
        importlib.import_module(WATCHED)


def test_spec_without_a_loader_is_passed_on(tmp_path: Path) -> None:
    (tmp_path / WATCHED).mkdir()
    (tmp_path / f"{PATCH}.py").write_text("def apply(module):\n    module.x = 1")
    importlib.invalidate_caches()
    assert not hasattr(importlib.import_module(WATCHED), "x")


def test_unwatched_module_asks_no_other_finder(
    activated: _bootstrap._Trigger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Explosive:
        def find_spec(self, *_: object) -> None:
            raise AssertionError

    monkeypatch.setattr(sys, "meta_path", [activated, Explosive()])
    assert activated.find_spec("anything_else") is None


def test_finder_of_another_kind_is_skipped(tmp_path: Path) -> None:
    write(tmp_path, watched="value = 1")
    sys.meta_path.insert(1, object())  # type: ignore[arg-type]  # as old ones are
    assert importlib.import_module(WATCHED).value == 1


def test_activation_is_first_and_once() -> None:
    _bootstrap.activate()
    names = [type(finder).__name__ for finder in sys.meta_path]
    assert names.index("_Trigger") == 0
    assert names.count("_Trigger") == 1


def test_start_module_names_the_locations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bootstrap, "LOCATIONS", {})
    _bootstrap.activate({"wrapt": "/elsewhere"})
    _bootstrap.activate()
    assert _bootstrap.LOCATIONS == {"wrapt": "/elsewhere"}


def test_activation_by_another_copy_of_the_module_counts() -> None:
    spec = importlib.util.spec_from_file_location("copy", _bootstrap.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    before = list(sys.meta_path)
    copy.activate()
    assert sys.meta_path == before


def test_what_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    commands = {f"pip._internal.commands.{n}" for n in ("install", "wheel", "download")}
    assert commands < set(_bootstrap.WATCHED)
    assert "pip._internal.req.req_uninstall" in _bootstrap.WATCHED
    # pip's own runner answers for `pip`, so that name would never come by.
    assert all(name.startswith("pip._internal.") for name in _bootstrap.WATCHED)
    for patch in set(_bootstrap.WATCHED.values()):
        assert callable(importlib.import_module(patch).apply)
