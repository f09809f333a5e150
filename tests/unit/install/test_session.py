"""One wheel after the other: the bulk is linked, and the rest is pip's."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.environments import register as register_module
from pip_linkmode.environments import registry
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.files import file_system
from pip_linkmode.install import linking, summary
from pip_linkmode.install import session as session_module
from pip_linkmode.install.linking import WheelLinker
from pip_linkmode.install.session import Session
from pip_linkmode.install.summary import _VERBOSE as VERBOSE
from pip_linkmode.install.summary import LinkedWheel
from pip_linkmode.link import placement
from pip_linkmode.link.linker import Linker, Refusal
from pip_linkmode.link.primitives import PRIMITIVES, Link
from pip_linkmode.prepare import compiler, pool
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.settings import Settings
from pip_linkmode.store.store import Store
from pip_linkmode.text import size
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pip_linkmode.store.entry import Entry

FILES: dict[str, bytes | str] = {
    "package/__init__.py": "",
    "package/module.py": "VALUE = 1\n",
    "package/data": "data" * 100,
    "package/tool.py": "#!/usr/bin/env python3\n",
    "single.py": "SINGLE = 1\n",
    "package-1.0.data/data/share/data": "shared",
    "package-1.0.data/scripts/run": "#!python\n",
}
PYC = f".{sys.implementation.cache_tag}.pyc"


class Bench:
    """An environment, a store, and a pip that only notes what it is given."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / "store"
        self.env = root / "env"
        self.site_packages = self.env / "lib"
        self.scheme = {
            "purelib": str(self.site_packages),
            "platlib": str(self.env / "lib64"),
            "headers": str(self.env / "include"),
            "scripts": str(self.env / "bin"),
            "data": str(self.env),
        }
        self.wheel = make_wheel(
            root / "wheels", "package", files=FILES, executable=["package/tool.py"]
        )
        self.installed: list[str] = []
        self.records: list[str] = []
        self.error: BaseException | None = None
        self.primitives = dict(PRIMITIVES)

    def settings(self, mode: str = "hardlink", **more: Any) -> Settings:
        options = {"stores": (str(self.store),), "exclude": (), **more}
        return Settings(requested=options.pop("requested", mode), mode=mode, **options)

    def session(self, settings: Settings | None = None) -> Session:
        linker = Linker(primitives=self.primitives)
        return Session(settings or self.settings(), [], linker=linker)

    def pip(self, wheel_path: str) -> None:
        """Stand for pip's installer."""
        self.installed.append(wheel_path)
        with zipfile.ZipFile(wheel_path) as wheel:
            self.members = wheel.namelist()
            name = next(name for name in self.members if name.endswith("/RECORD"))
            self.records = [
                line.split(",")[0] for line in wheel.read(name).decode().splitlines()
            ]
        if self.error is not None:
            raise self.error

    def install(
        self,
        session: Session,
        wheel: Path | None = None,
        name: str = "package",
        *,
        pycompile: bool = False,
        reusable: bool = True,
    ) -> None:
        path = str(wheel or self.wheel)
        session.install(
            self.pip, name, path, self.scheme, pycompile=pycompile, reusable=reusable
        )

    def run(self, settings: Settings | None = None, **options: Any) -> Session:
        """Install one wheel in a session of its own."""
        with self.session(settings) as session:
            self.install(session, **options)
        return session

    def tree(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.env))
            for path in self.env.rglob("*")
            if path.is_symlink() or not path.is_dir()
        )

    def entry(self) -> Entry:
        (manifest,) = self.store.glob("v1/wheels/*/*/manifest.json")
        found = Store.open(str(self.store)).entry(manifest.parent.name)
        assert found is not None
        return found

    def pip_got_the_wheel_itself(self) -> bool:
        return self.installed == [str(self.wheel)] and self.tree() == []


BULK = [
    "lib/package/__init__.py",
    "lib/package/data",
    "lib/package/module.py",
    "lib/package/tool.py",
    "lib/single.py",
    "share/data",
]
KEPT = [
    "package-1.0.data/scripts/run",
    "package-1.0.dist-info/METADATA",
    "package-1.0.dist-info/RECORD",
    "package-1.0.dist-info/WHEEL",
]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return Bench(tmp_path)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[..., list[str]]:
    """Return what was said, from a level on."""
    caplog.set_level(VERBOSE, "pip_linkmode")

    def messages(level: int = logging.WARNING) -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno >= level]

    return messages


def no_temporary_files(bench: Bench) -> bool:
    return os.listdir(bench.root / "temporary") == []


# --- what is linked and what is not ---------------------------------------------------


def test_bulk_is_linked_and_the_rest_is_pips(bench: Bench) -> None:
    session = bench.run()
    assert bench.tree() == BULK
    assert sorted(bench.members) == KEPT
    (path,) = bench.installed
    assert path != str(bench.wheel)
    assert os.path.basename(path) == bench.wheel.name
    assert session.summary.files == {"hardlink": 5, "empty": 1}
    assert session.summary.wheels == {"hardlink": 1}
    assert (
        session.summary.fresh,
        session.summary.left_to_pip,
        session.summary.bytes_saved,
    ) == (1, 0, 0)
    assert no_temporary_files(bench)


def test_links_lead_to_the_entry(bench: Bench) -> None:
    bench.run()
    entry = bench.entry()
    source = entry.source("package/module.py")
    assert os.path.samefile(bench.site_packages / "package" / "module.py", source)
    entry.check()


def test_record_names_everything(bench: Bench) -> None:
    bench.run()
    assert sorted(bench.records) == sorted(
        [os.path.relpath(bench.env / path, bench.site_packages) for path in BULK] + KEPT
    )


def test_second_installation_writes_nothing_to_the_store(bench: Bench) -> None:
    bench.run()
    before = bench.entry()
    shutil.rmtree(bench.env)
    session = bench.run()
    assert bench.entry() == before
    assert (session.summary.fresh, session.summary.bytes_saved) == (
        0,
        session.linker.bytes["hardlink"],
    )
    assert session.summary.bytes_saved > 400


def test_second_of_a_store_that_is_not_used_is_taken_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one on another file system, which the setting names all the same."""
    used, other = str(bench.root / "used"), str(bench.store)
    bench.run()
    before = bench.entry()
    monkeypatch.setattr("time.time", lambda: before.mtime + 0.5)
    wheel = make_wheel(bench.root, "package", "1.1", files={"package/a": "a"})
    monkeypatch.setattr(
        session_module, "arrange", lambda found, *_, **__: (found[:1], found[0])
    )
    bench.run(bench.settings(stores=(used, other)), wheel=wheel)
    (manifest,) = (bench.root / "used").glob("v1/wheels/*/*/manifest.json")
    entry = Store.open(used).entry(manifest.parent.name)
    assert entry is not None
    assert entry.mtime == before.mtime - 1


def test_first_installation_saves_nothing(bench: Bench) -> None:
    assert bench.run().summary.bytes_saved == 0


@pytest.mark.parametrize("trait", sorted(set(TRAITS) - {"double_target"}))
def test_every_trait_is_divided_without_a_rest(bench: Bench, trait: str) -> None:
    with bench.session() as session:
        for wheel in TRAITS[trait](bench.root / "wheels"):
            before = len(bench.tree())
            name = wheel.name.partition("-")[0]
            bench.install(session, wheel, name)
            with zipfile.ZipFile(wheel) as archive:
                files = [n for n in archive.namelist() if not n.endswith("/")]
            added = len(bench.tree()) - before
            replaced = 2 if name == "shared_second" else 0
            assert added + replaced + len(bench.members) == len(files)
    assert session.summary.left_to_pip == 0


# --- bytecode -------------------------------------------------------------------------


COMPILED = [
    f"lib/__pycache__/single{PYC}",
    f"lib/package/__pycache__/__init__{PYC}",
    f"lib/package/__pycache__/module{PYC}",
    f"lib/package/__pycache__/tool{PYC}",
]


def recorded_bytecode(bench: Bench) -> list[str]:
    return sorted(f"lib/{path}" for path in bench.records if path.endswith(".pyc"))


def assert_valid_bytecode(bench: Bench) -> None:
    for path in bench.tree():
        if path.endswith(".pyc"):
            pyc = bench.env / path
            source = os.stat(importlib.util.source_from_cache(str(pyc)))
            stamps = (int(source.st_mtime), source.st_size)
            expected = b"".join(
                file_stamp.to_bytes(4, "little") for file_stamp in stamps
            )
            assert pyc.read_bytes()[8:16] == expected


def test_bytecode_is_linked_like_any_other_file(bench: Bench) -> None:
    session = bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)
    assert recorded_bytecode(bench) == COMPILED
    assert session.summary.files == {"hardlink": 9, "empty": 1}
    pyc = bench.env / COMPILED[0]
    (stored,) = bench.store.glob("v1/wheels/*/*/bytecode/*/single.pyc")
    assert pyc.samefile(stored)
    assert_valid_bytecode(bench)


def test_bytecode_is_compiled_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.run(pycompile=True)
    shutil.rmtree(bench.env)
    monkeypatch.setattr(pool, "_start", None)
    bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)


def test_bytecode_that_is_damaged_is_compiled_again(bench: Bench) -> None:
    bench.run(pycompile=True)
    (stored,) = bench.store.glob("v1/wheels/*/*/bytecode/*/single.pyc")
    stored.unlink()
    shutil.rmtree(bench.env)
    bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)
    assert stored.exists()
    assert os.listdir(bench.store / "v1" / "staging") == []


def test_bytecode_is_not_installed_unless_pip_would(bench: Bench) -> None:
    bench.run(pycompile=True)
    shutil.rmtree(bench.env)
    bench.run(pycompile=False)
    assert bench.tree() == BULK
    assert recorded_bytecode(bench) == []


def test_bytecode_is_never_executable(bench: Bench) -> None:
    bench.run(pycompile=True)
    (tool,) = (path for path in COMPILED if "tool" in path)
    assert stat.S_IMODE((bench.env / tool).stat().st_mode) == 0o644
    assert (
        stat.S_IMODE((bench.site_packages / "package/tool.py").stat().st_mode) == 0o755
    )


def test_nothing_to_compile_is_no_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "jobs", None)
    wheel = make_wheel(bench.root, "nothing", files={"nothing/data": "data"})
    session = bench.run(wheel=wheel, name="nothing", pycompile=True)
    assert session.summary.left_to_pip == 0
    assert bench.tree() == ["lib/nothing/data"]


def test_what_pip_could_not_compile_now_is_not_linked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def compiles_here(encoding: str) -> bool:
        asked.append(encoding)
        return False

    monkeypatch.setattr(linking, "compiles_here", compiles_here)
    bench.run(pycompile=True)
    assert bench.tree() == BULK
    assert recorded_bytecode(bench) == []
    # Once for each encoding: there may be ten thousand files.
    assert asked == ["utf-8"]


def fail_to_keep(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_bytecode_that_cannot_be_kept_is_compiled_in_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: Callable[..., list[str]]
) -> None:
    monkeypatch.setattr(compiler, "finish", fail_to_keep)
    session = bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)
    assert recorded_bytecode(bench) == COMPILED
    assert session.summary.files == {"hardlink": 5, "empty": 1}
    assert_valid_bytecode(bench)
    assert said() == []
    assert not list(bench.store.glob("v1/wheels/*/*/bytecode/*/*"))
    assert os.listdir(bench.store / "v1" / "staging") == []


def test_bytecode_in_place_is_taken_back_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "finish", fail_to_keep)
    bench.error = LookupError()
    with pytest.raises(LookupError):
        bench.run(pycompile=True)
    assert not bench.env.exists()


def test_workers_end_with_the_session(bench: Bench) -> None:
    with bench.session() as session:
        bench.install(session, pycompile=True)
        assert session._preparer is not None
        processes = list(session._preparer._workers._processes)
        assert processes
        assert all(process.poll() is None for process in processes)
    assert all(process.returncode is not None for process in processes)


def test_workers_end_when_pip_fails(bench: Bench) -> None:
    bench.error = LookupError()
    session = bench.session()
    with pytest.raises(LookupError), session:
        bench.install(session, pycompile=True)
    assert session._preparer is not None
    assert session._preparer._workers._processes == []


# --- what is left to pip --------------------------------------------------------------


def test_wheel_that_is_made_each_time_is_pips(bench: Bench) -> None:
    session = bench.run(reusable=False)
    assert bench.pip_got_the_wheel_itself()
    assert not list(bench.store.glob("v1/wheels/*"))
    assert not session.summary.wheels


def test_without_a_store_all_is_pips(bench: Bench) -> None:
    bench.run(bench.settings(stores=()))
    assert bench.pip_got_the_wheel_itself()
    assert not bench.store.exists()


def test_odd_wheel_is_pips(bench: Bench, said: Callable[..., list[str]]) -> None:
    with zipfile.ZipFile(bench.wheel, "a") as archive:
        archive.writestr("../escaped", "")
    session = bench.run()
    assert bench.pip_got_the_wheel_itself()
    assert session.summary.left_to_pip == 1
    assert said() == []
    (message,) = said(VERBOSE)
    assert "package is left to pip" in message
    assert "../escaped" in message


def test_wheel_of_another_project_is_pips(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.run(name="other")
    assert bench.pip_got_the_wheel_itself()
    assert "package-1.0.dist-info" in said(VERBOSE)[0]


def test_name_of_the_project_may_be_spelled_otherwise(bench: Bench) -> None:
    (wheel,) = TRAITS["spelling"](bench.root)
    session = bench.run(wheel=wheel, name="odd_SPELLING")
    assert session.summary.left_to_pip == 0


def test_wheel_with_two_files_of_one_destination_is_pips(bench: Bench) -> None:
    (wheel,) = TRAITS["double_target"](bench.root)
    session = bench.run(wheel=wheel, name="double-target")
    assert bench.installed == [str(wheel)]
    assert (bench.tree(), session.summary.left_to_pip) == ([], 1)


def test_missing_wheel_is_pips_to_complain_about(bench: Bench) -> None:
    bench.wheel.unlink()
    with pytest.raises(FileNotFoundError):
        bench.run()
    assert bench.pip_got_the_wheel_itself()
    assert no_temporary_files(bench)


# --- when something fails -------------------------------------------------------------


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, SystemExit])
def test_what_was_linked_is_taken_back_when_pip_fails(
    bench: Bench, error: type[BaseException]
) -> None:
    bench.site_packages.mkdir(parents=True)
    (bench.site_packages / "other").touch()
    bench.error = error()
    with pytest.raises(error) as caught, bench.session() as session:
        bench.install(session, pycompile=True)
    assert caught.value is bench.error
    assert bench.tree() == ["lib/other"]
    assert [path.name for path in bench.env.iterdir()] == ["lib"]
    assert not session.summary.wheels
    assert no_temporary_files(bench)
    bench.entry().check()


def failing(bench: Bench, primitive: str, when: int, act: Callable[[], None]) -> None:
    """Do something instead of the n-th link."""
    count = Counter[str]()

    def perform(link: Link) -> None:
        count[primitive] += 1
        if count[primitive] == when:
            act()
        PRIMITIVES[primitive](link)

    bench.primitives[primitive] = perform


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_disk_that_fails_is_pips_to_complain_about(
    bench: Bench, said: Callable[..., list[str]], number: int
) -> None:
    error = OSError(number, os.strerror(number))
    failing(bench, "hardlink", 3, raising(error))
    session = bench.run()
    assert bench.pip_got_the_wheel_itself()
    assert session.summary.left_to_pip == 1
    (message,) = said()
    assert os.strerror(number) in message
    assert "package is installed by pip alone" in message


def test_interrupted_link_is_taken_back(bench: Bench) -> None:
    failing(bench, "hardlink", 3, raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert bench.installed == []
    assert not bench.env.exists()


def test_full_store_is_no_reason_to_fail(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: Callable[..., list[str]]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "publish_entry", refuse)
    bench.run()
    assert bench.pip_got_the_wheel_itself()
    assert len(said()) == 1


def test_damaged_entry_is_made_again(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.run()
    (bench.site_packages / "package" / "data").write_text("written through a hard link")
    shutil.rmtree(bench.env)
    session = bench.run()
    assert session.summary.again == {"again: stored files were changed": 1}
    assert (bench.site_packages / "package" / "data").read_text() == "data" * 100
    assert bench.tree() == BULK
    assert said() == []
    assert any("unpacked again" in message for message in said(VERBOSE))


def test_damaged_manifest_is_no_end(bench: Bench) -> None:
    bench.run()
    Path(bench.entry().path, "manifest.json").write_bytes(b"{}")
    shutil.rmtree(bench.env)
    assert bench.run().summary.again.total() == 1
    assert bench.tree() == BULK


def test_copy_of_a_store_without_times_is_said_to_be_one(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.run()
    for path in bench.store.glob("v1/wheels/*/*/files/**/*"):
        if path.is_file():
            os.utime(path)
    shutil.rmtree(bench.env)
    caplog.set_level(logging.INFO, "pip_linkmode")
    session = bench.run()
    session.report()
    reason = "modification times differ (a restored copy without times?)"
    assert f"; 1 unpacked again: {reason}" in caplog.text
    assert "for the first time" not in caplog.text


def test_entry_that_keeps_changing_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, said: Callable[..., list[str]]
) -> None:
    attempts = []

    def link(*_: object, **__: object) -> None:
        attempts.append(1)
        msg = "it changes"
        raise EntryDamagedError(msg)

    monkeypatch.setattr(WheelLinker, "link", link)
    session = bench.run()
    assert bench.pip_got_the_wheel_itself()
    assert len(attempts) == 3
    assert session.summary.left_to_pip == 1
    assert said(VERBOSE)[-1].endswith("left to pip: it changes")


def test_entry_that_is_taken_away_while_linking_is_made_again(bench: Bench) -> None:
    failing(bench, "hardlink", 3, lambda: shutil.rmtree(bench.entry().path))
    session = bench.run()
    assert session.summary.left_to_pip == 0
    assert bench.tree() == BULK
    assert bench.installed[0] != str(bench.wheel)
    bench.entry().check()


def test_file_that_is_removed_behind_its_symlink_is_unpacked_again(
    bench: Bench,
) -> None:
    """A symlink succeeds where a hard link fails."""

    def remove() -> None:
        linked = next(path for path in bench.env.rglob("*") if path.is_symlink())
        os.unlink(os.readlink(linked))

    failing(bench, "symlink", 2, remove)
    session = bench.run(bench.settings("symlink"))
    assert session.summary.again == {"again: another process removed its entry": 1}
    assert all(path.exists() for path in bench.env.rglob("*"))
    bench.entry().check()


def test_target_that_is_taken_away_while_linking_is_pips(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    failing(bench, "hardlink", 3, lambda: shutil.rmtree(bench.site_packages))
    bench.run()
    assert bench.installed == [str(bench.wheel)]
    assert len(said()) == 1


# --- several stores -------------------------------------------------------------------


@pytest.fixture
def image(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that has the wheel, and is read-only from now on."""
    root = bench.root / "image"
    bench.run(bench.settings(stores=(str(root),)))
    shutil.rmtree(bench.env)
    bench.installed.clear()
    stock = os.access

    def access(path: Any, mode: int, **options: Any) -> bool:
        if mode & os.W_OK and Path(path).is_relative_to(root):
            return False
        return stock(path, mode, **options)

    monkeypatch.setattr(os, "access", access)
    utime = os.utime

    def set_time(path: Any, *times: Any, **options: Any) -> None:
        if isinstance(path, str) and Path(path).is_relative_to(root):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        utime(path, *times, **options)

    monkeypatch.setattr(os, "utime", set_time)
    return root


def paths(root: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))


def test_read_only_store_is_used_without_a_write(bench: Bench, image: Path) -> None:
    before = paths(image)
    session = bench.run(bench.settings(stores=(str(image),)), pycompile=True)
    assert session.summary.fresh == 0
    assert bench.tree() == sorted(BULK + COMPILED)
    assert recorded_bytecode(bench) == COMPILED
    assert paths(image) == before


def test_symlinks_into_a_read_only_store_are_not_registered(
    bench: Bench, image: Path
) -> None:
    before = paths(image)
    bench.run(bench.settings("symlink", stores=(str(image),)))
    assert (bench.site_packages / "package" / "module.py").is_symlink()
    assert paths(image) == before


@pytest.mark.parametrize("writable_first", [True, False])
def test_stores_are_asked_in_turn(
    bench: Bench, image: Path, writable_first: bool
) -> None:
    stores = (str(image), str(bench.store))
    stores = stores[::-1] if writable_first else stores
    session = bench.run(bench.settings(stores=stores))
    assert session.summary.fresh == 0
    assert (bench.site_packages / "package" / "data").samefile(
        next(image.glob("v1/wheels/*/*/files/package/data"))
    )
    assert not list(bench.store.glob("v1/wheels/*"))


def test_new_entries_go_to_the_first_store_that_is_writable(
    bench: Bench, image: Path
) -> None:
    other = make_wheel(bench.root, "other", files={"other/data": "other"})
    third = bench.root / "third"
    stores = (str(image), str(bench.store), str(third))
    bench.run(bench.settings(stores=stores), wheel=other, name="other")
    assert bench.entry().name == "other"
    assert not list(third.glob("v1/wheels/*"))


def test_wheel_that_is_in_none_of_the_read_only_stores_is_pips(
    bench: Bench, image: Path, said: Callable[..., list[str]]
) -> None:
    other = make_wheel(bench.root, "other", files={"other/data": "other"})
    bench.run(bench.settings(stores=(str(image),)), wheel=other, name="other")
    assert bench.installed == [str(other)]
    assert said() == []
    assert "read-only" in said(VERBOSE)[-1]


@pytest.mark.parametrize("with_writable", [True, False])
def test_damage_in_a_read_only_store_is_not_repaired_there(
    bench: Bench, image: Path, with_writable: bool
) -> None:
    (data,) = image.glob("v1/wheels/*/*/files/package/data")
    data.write_text("edited")
    before = paths(image)
    stores = (str(image), str(bench.store))[: 1 + with_writable]
    session = bench.run(bench.settings(stores=stores))
    assert paths(image) == before
    assert session.summary.left_to_pip == (not with_writable)
    if with_writable:
        assert (bench.site_packages / "package" / "data").read_text() == "data" * 100


def test_damage_in_one_store_does_not_hide_the_other(bench: Bench, image: Path) -> None:
    bench.run()
    shutil.rmtree(bench.env)
    (data,) = image.glob("v1/wheels/*/*/files/package/data")
    data.write_text("edited")
    session = bench.run(bench.settings(stores=(str(image), str(bench.store))))
    assert session.summary.fresh == 0
    assert (bench.site_packages / "package" / "data").read_text() == "data" * 100


def test_refused_store_is_said_once_with_the_setting(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.store.touch()
    with bench.session() as session:
        bench.install(session)
        bench.install(session)
    assert bench.installed == [str(bench.wheel)] * 2
    (message,) = said()
    assert str(bench.store) in message
    assert "PIP_LINK_STORE" in message


def test_refused_store_does_not_hide_the_next(bench: Bench) -> None:
    (bench.root / "file").touch()
    stores = (str(bench.root / "file"), str(bench.store))
    assert bench.run(bench.settings(stores=stores)).summary.wheels == {"hardlink": 1}


# --- modes ----------------------------------------------------------------------------


def test_copy_shares_nothing(bench: Bench) -> None:
    bench.run(bench.settings("copy"))
    shutil.rmtree(bench.env)
    session = bench.run(bench.settings("copy"))
    assert session.summary.files == {"copy": 5, "empty": 1}
    assert session.summary.wheels == {"copy": 1}
    assert session.summary.bytes_saved == 0
    assert (bench.site_packages / "package" / "data").stat().st_nlink == 1


@pytest.mark.parametrize("name", ["package", "PACKAGE"])
def test_excluded_package_gets_private_files(bench: Bench, name: str) -> None:
    session = bench.run(bench.settings("symlink", exclude=("other", name)))
    assert session.summary.files == {"copy": 5, "empty": 1}
    assert not list(bench.store.glob("v1/environments/*/*.symlink"))


def symlinks_in(bench: Bench) -> list[str]:
    return [path for path in bench.tree() if (bench.env / path).is_symlink()]


def test_symlink_mode_follows_the_table(bench: Bench) -> None:
    session = bench.run(bench.settings("symlink"), pycompile=True)
    assert symlinks_in(bench) == ["lib/package/module.py", "lib/package/tool.py"]
    for path in ("package/data", "single.py", COMPILED[2].removeprefix("lib/")):
        assert (bench.site_packages / path).stat().st_nlink == 2
    assert session.summary.files == {"symlink": 2, "hardlink": 7, "empty": 1}
    # One symlink is enough to need the store.
    assert session.summary.wheels == {"symlink": 1}
    assert_valid_bytecode(bench)


def test_symlink_mode_copies_what_needs_a_hard_link_and_gets_none(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    def refuse(_: Link) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    bench.primitives["hardlink"] = refuse
    session = bench.run(bench.settings("symlink"), pycompile=True)
    assert session.summary.files == {"symlink": 6, "copy": 3, "empty": 1}
    assert_valid_bytecode(bench)
    session.report()
    (line,) = (one for one in said(logging.INFO) if "Linked 1 package" in one)
    assert "by symlink (10 files, 6 of them symlinks)" in line
    assert f"; 3 files copied: no hardlink from {bench.store} (" in line
    assert said() == []


@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink", "copy"])
def test_configuration_has_an_inode_of_its_own(bench: Bench, mode: str) -> None:
    config = "package-1.0.data/data/etc/package/config.json"
    wheel = make_wheel(bench.root, "package", files={config: "{}", "package/a": "a"})
    for _ in range(2):
        bench.run(bench.settings(mode), wheel=wheel)
        installed = bench.env / "etc/package/config.json"
        assert not installed.is_symlink()
        assert installed.stat().st_nlink == 1
        installed.write_text("changed in place")
        bench.entry().check()


def test_directories_are_never_links(bench: Bench) -> None:
    bench.run(bench.settings("symlink"), pycompile=True)
    for path in bench.env.rglob("*"):
        if path.is_dir():
            assert not path.is_symlink()


@pytest.mark.parametrize("name", ["pip", "pip-linkmode", "pip_Linkmode", "wrapt"])
def test_projects_that_repair_get_no_symlinks(bench: Bench, name: str) -> None:
    files: dict[str, bytes | str] = {"package/__main__.py": "X = 1\n"}
    wheel = make_wheel(bench.root, name.replace("-", "_"), files=files)
    session = bench.run(bench.settings("symlink"), wheel=wheel, name=name)
    assert session.summary.files == {"hardlink": 1}


def registered(bench: Bench) -> list[str]:
    users = registry.registrations(str(bench.store))
    return [user.site_packages for user in users]


@pytest.mark.parametrize("mode", ["auto", "hardlink", "symlink", "copy"])
@pytest.mark.parametrize("target", [None, "/target"])
def test_environment_is_registered(bench: Bench, target: str | None, mode: str) -> None:
    """Before pip moves to the target, too, if there are symlinks."""
    bench.run(bench.settings(mode, target=target))
    users = {target or str(bench.site_packages)}
    if mode == "symlink":
        users.add(str(bench.site_packages))
    assert registered(bench) == sorted(users)
    markers = bench.store.glob(f"v1/environments/*/{bench.entry().sha256}.{mode}")
    assert len(list(markers)) == len(users)


def test_environment_is_registered_before_the_first_symlink(bench: Bench) -> None:
    failing(bench, "symlink", 1, raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        bench.run(bench.settings("symlink"))
    assert len(registered(bench)) == 1


def test_temporary_environment_without_symlinks_is_not_registered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(bench.root))
    bench.run()
    assert registered(bench) == []


def test_registration_that_fails_matters_to_symlinks_only(bench: Bench) -> None:
    bench.run()
    shutil.rmtree(bench.env)
    shutil.rmtree(bench.store / "v1" / "environments")
    (bench.store / "v1" / "environments").touch()
    assert bench.run().summary.wheels == {"hardlink": 1}
    assert bench.run(bench.settings("symlink")).summary.left_to_pip == 1


def test_entry_that_is_cleared_away_while_it_is_linked_is_unpacked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean-up that has seen no symlink yet cannot leave dangling ones."""
    bench.run(bench.settings("symlink"))
    shutil.rmtree(bench.env)
    entry, aside = Path(bench.entry().path), bench.root / "aside"
    register = register_module.register

    def clear(*arguments: str) -> None:
        register(*arguments)
        if not aside.exists():
            (entry / "manifest.json").rename(aside)

    monkeypatch.setattr(linking, "register", clear)
    session = bench.run(bench.settings("symlink"))
    assert session.summary.wheels == {"symlink": 1}
    assert session.summary.again == {"again: another process removed its entry": 1}
    bench.entry().check()


def test_symlinks_that_a_relink_forgets_before_they_are_made_are_noted_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    register, forgotten = register_module.register, list[str]()

    def forget(*arguments: str) -> None:
        register(*arguments)
        if not forgotten:
            (one,) = registry.registrations(str(bench.store))
            forgotten.extend(one.entries(depends=True))
            one.forget_symlinks(forgotten)

    monkeypatch.setattr(linking, "register", forget)
    bench.run(bench.settings("symlink"))
    (one,) = registry.registrations(str(bench.store))
    assert one.entries(depends=True) == set(forgotten) == {bench.entry().sha256}


@pytest.mark.parametrize("mask", [0o077, 0o002])
def test_modes_are_those_of_the_umask_in_force(bench: Bench, mask: int) -> None:
    bench.run(pycompile=True)
    shutil.rmtree(bench.env)
    os.umask(mask)
    session = bench.run(pycompile=True)
    assert session.summary.files == {"copy": 9, "empty": 1}
    for path in bench.tree():
        executable = path == "lib/package/tool.py"
        wanted = (0o777 & ~mask) | 0o111 if executable else 0o666 & ~mask
        assert stat.S_IMODE((bench.env / path).lstat().st_mode) == wanted
    bench.entry().check()


def refuse_links(bench: Bench) -> None:
    def refuse(_: Link) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    bench.primitives |= dict.fromkeys(("clone", "hardlink", "symlink"), refuse)


@pytest.mark.parametrize("mode", ["clone", "hardlink", "symlink"])
def test_explicit_mode_that_is_refused_is_explained_once(
    bench: Bench, said: Callable[..., list[str]], mode: str
) -> None:
    refuse_links(bench)
    with bench.session(bench.settings(mode)) as session:
        bench.install(session)
        bench.install(session)
    assert session.summary.files["copy"] == 10
    explained = [message for message in said() if f"no {mode} " in message]
    for message in explained:
        assert os.strerror(errno.EXDEV) in message
        assert str(bench.store) in message
        assert "mount one directory that holds both" in message
        assert file_system(str(bench.store)) in message
    # Once for each area, of which this wheel has two.
    assert sum(str(bench.site_packages) in message for message in explained) == 1
    assert len(explained) == len(said())


def test_auto_is_not_explained(bench: Bench, said: Callable[..., list[str]]) -> None:
    refuse_links(bench)
    bench.run(bench.settings("auto"))
    assert said() == []


def test_reason_of_the_settings_is_said(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.run(bench.settings("copy", requested="symlink", reason="it would dangle"))
    assert said() == ["pip-linkmode: it would dangle"]


def test_reason_of_root_is_in_the_summary_and_not_a_warning(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    reason = "symlinks would dangle: --root"
    settings = bench.settings(requested="symlink", reason=reason, is_staging=True)
    bench.run(settings).report()
    assert said() == []
    (line,) = (one for one in said(logging.INFO) if "Linked 1 package" in one)
    assert line.endswith(f"; {reason}")


def test_nobody_asked_for_what_is_the_default(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.run(bench.settings("auto", stores=(), reason="there is no store"))
    assert said() == []


# --- sessions -------------------------------------------------------------------------


def test_session_is_active_while_it_is_entered(bench: Bench) -> None:
    active: list[Session] = []
    outer = Session(bench.settings(), active)
    inner = Session(bench.settings(), active)
    with outer:
        with inner:
            assert active == [outer, inner]
        assert active == [outer]
    assert active == []


def test_machine_that_does_not_tell_its_processors(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK + COMPILED)


def test_wheels_are_announced(bench: Bench) -> None:
    other = make_wheel(bench.root, "other", files={"other/data": "other"})
    session = bench.session()
    session.ahead = [str(bench.wheel), str(other)]
    with session:
        # In whatever order pip then comes, and if it never does.
        bench.install(session, other, "other")
    assert session.summary.fresh == 1
    assert bench.tree() == ["lib/other/data"]
    assert no_temporary_files(bench)


def test_session_that_pip_leaves_early_leaves_nothing(bench: Bench) -> None:
    session = bench.session()
    session.ahead = [str(bench.wheel)] * 3 + [str(bench.root / "missing.whl")]
    with session:
        pass
    assert not list(bench.store.glob("v1/staging/*"))
    assert session.active == []
    assert no_temporary_files(bench)


# --- the report -----------------------------------------------------------------------


def reported(bench: Bench, caplog: pytest.LogCaptureFixture, **state: Any) -> list[str]:
    settings, linker = state.pop("settings", None), state.pop("linker", Linker())
    session = Session(settings or bench.settings(), [], linker=linker)
    session.linker.exceptions = Counter(state.pop("exceptions", {}))
    for name, value in state.items():
        setattr(session.summary, name, value)
    caplog.set_level(logging.INFO, "pip_linkmode")
    caplog.clear()
    session.summary.report()
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.INFO
    ]


def test_nothing_is_reported_if_nothing_was_linked(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert reported(bench, caplog) == []


def test_wheels_that_were_all_left_to_pip_are_reported(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = reported(bench, caplog, left_to_pip=3)
    assert line == "Linked nothing; 3 by pip alone"
    (line,) = reported(bench, caplog, left_to_pip=3, reasons=Counter({"it is odd": 3}))
    assert line == "Linked nothing; 3 by pip alone: it is odd"
    reasons = Counter({"it is odd": 2, "it is even": 1})
    (line,) = reported(bench, caplog, left_to_pip=3, reasons=reasons)
    assert line == "Linked nothing; 3 by pip alone (-v tells why)"


def report_line(
    bench: Bench, caplog: pytest.LogCaptureFixture, wheels: dict[str, int], **state: Any
) -> str:
    files = Counter({"hardlink": 1234, "empty": 1})
    (line,) = reported(bench, caplog, wheels=Counter(wheels), files=files, **state)
    return line


def test_report_of_a_first_installation(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert report_line(bench, caplog, {"hardlink": 2}, fresh=2) == (
        "Linked 2 packages by hardlink (1,235 files); 2 unpacked for the first time"
    )


def test_report_of_a_second_installation(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert report_line(bench, caplog, {"clone": 1}, bytes_saved=4_200_000) == (
        "Linked 1 package by clone (1,235 files, 4.2 MB not written again)"
    )


def test_report_of_copies(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    line = report_line(bench, caplog, {"copy": 3})
    assert line.startswith("Copied 3 packages from the store (")


def test_report_of_several_modes(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    line = report_line(bench, caplog, {"copy": 1, "hardlink": 12})
    assert line.startswith("Linked 12 packages by hardlink, 1 by copy (")


def test_report_of_what_was_not_linked(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    exceptions = {"Too many links": 1000, "another umask": 1}
    line = report_line(
        bench, caplog, {"hardlink": 1}, left_to_pip=2, exceptions=exceptions
    )
    assert "; 2 by pip alone; " in line
    assert "; 1,000 files not shared: Too many links" in line
    assert "1,000 files without a hardlink: Too many links" in caplog.text
    assert line.endswith("; 1 file not shared: another umask")


@pytest.mark.parametrize("requested", ["auto", "copy"])
def test_auto_says_in_its_line_why_it_had_to_copy(
    bench: Bench, caplog: pytest.LogCaptureFixture, requested: str
) -> None:
    refusals = {
        (primitive, "/", "/"): Refusal(primitive, OSError(18, "Cross"), "/", "/")
        for primitive in ("clone", "hardlink")
    }
    line = report_line(
        bench,
        caplog,
        {"copy": 1},
        linker=Linker(refusals=refusals),
        settings=replace(bench.settings(), requested=requested),
    )
    told = line.endswith("): Cross") and "; no hardlink from / (" in line
    assert told == (requested == "auto")


def test_wheel_with_nothing_to_link_is_not_said_to_be_linked(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    wheel = make_wheel(bench.root, "nothing")
    session = bench.run(wheel=wheel, name="nothing")
    session.summary.report()
    assert not session.summary.wheels
    assert not any("inked" in message for message in said(logging.INFO))


def test_each_package_is_told_to_the_curious(
    bench: Bench, said: Callable[..., list[str]]
) -> None:
    bench.run()
    shutil.rmtree(bench.env)
    bench.run()
    first, second = said(VERBOSE)
    assert first == (
        "package 1.0: 5 files by hardlink, 1 empty; unpacked for the first time"
    )
    assert second == "package 1.0: 5 files by hardlink, 1 empty"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_000, "999 kB"),
        (5_000_000, "5.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (13_000_000_000, "13.0 GB"),
        (2_500_000_000_000, "2,500.0 GB"),
    ],
)
def test_sizes_are_decimal_as_pips(count: int, text: str) -> None:
    assert size(count) == text


def test_verbose_level_is_between_pips(bench: Bench) -> None:
    assert bench.root.exists()
    assert logging.DEBUG < summary._VERBOSE < logging.INFO


def test_a_session_that_cannot_begin_leaves_nothing_behind(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads may not be had, where processes are counted."""

    def start(self: object, wheels: object) -> None:
        del self, wheels
        msg = "can't start new thread"
        raise RuntimeError(msg)

    directory = bench.root / "temporary"
    monkeypatch.setattr(Preparer, "start", start)
    session = bench.session()
    with pytest.raises(RuntimeError), session:
        pass
    assert list(directory.iterdir()) == []
    assert session.active == []


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EOPNOTSUPP])
def test_hint_fits_the_reason(code: int) -> None:
    refusal = Refusal("clone", OSError(code, os.strerror(code)), "/", "/")
    is_mount = code == errno.EXDEV
    assert ("mount one directory" in summary._reason(refusal)) is is_mount
    away = Refusal("clone", refusal.error, "/", "/proc/self")
    assert ("--link-store" in summary._reason(away)) is is_mount


def test_where_a_directory_gives_its_own_group_nothing_is_shared(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "why_not_shared", lambda _: "its own group")
    session = bench.run()
    assert not session.summary.files["hardlink"]
    assert session.linker.exceptions["its own group"] == sum(
        session.summary.files.values()
    )


def test_what_does_not_compile_in_place_gets_no_row(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "finish", fail_to_keep)
    monkeypatch.setattr(linking, "compile_in_place", lambda *_: False)
    bench.run(pycompile=True)
    assert bench.tree() == sorted(BULK)
    assert recorded_bytecode(bench) == []


# --- bytecode that is not with its entry ----------------------------------------------


@pytest.mark.parametrize("mode", ["hardlink", "symlink", "copy"])
def test_bytecode_beside_its_entry_is_never_behind_a_symlink(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """It may be cleared away; the entry of the read-only store stays."""
    bench.run()
    shutil.rmtree(bench.env)
    shutil.rmtree(Path(bench.entry().path) / "bytecode")
    image, home = bench.store, bench.root / "home"
    before = sorted(image.rglob("*"))
    stock = os.access

    def access(path: str, how: int) -> bool:
        if how & os.W_OK and Path(path).is_relative_to(image):
            return False
        return stock(path, how)

    monkeypatch.setattr(os, "access", access)
    # On the file system of the target there would be no need for the other store.
    monkeypatch.setattr(
        session_module, "arrange", lambda found, *_, **__: (found, None)
    )
    stores = (str(image), str(home))
    session = bench.run(bench.settings(mode, stores=stores), pycompile=True)
    assert sorted(image.rglob("*")) == before
    assert session.summary.left_to_pip == 0
    assert len(list(home.glob("v1/bytecode/*"))) == 1
    shutil.rmtree(home)
    for path in COMPILED:
        assert not (bench.env / path).is_symlink()
        assert (bench.env / path).is_file()
    assert (bench.site_packages / "package" / "module.py").is_symlink() == (
        mode == "symlink"
    )
    assert_valid_bytecode(bench)


@pytest.mark.parametrize("requested", ["auto", "copy", "hardlink"])
def test_who_asked_for_links_is_warned_of_each_file_without(
    bench: Bench, caplog: pytest.LogCaptureFixture, requested: str
) -> None:
    line = report_line(
        bench,
        caplog,
        {"hardlink": 1},
        exceptions={"Too many links": 7},
        settings=replace(bench.settings(), requested=requested),
    )
    assert line.endswith("; 7 files not shared: Too many links")
    warned = "7 files without a hardlink" in caplog.text
    assert warned == (requested == "hardlink")


def test_auto_has_nothing_to_add_if_nothing_was_refused(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    settings = replace(bench.settings(), requested="auto")
    line = report_line(bench, caplog, {"copy": 1}, settings=settings)
    assert line.endswith(" files)")


@pytest.mark.parametrize("far", [False, True])
def test_links_to_another_file_system_dangle_without_it(
    bench: Bench,
    said: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    far: bool,
) -> None:
    """A container build's cache mount: that is told, not warned of."""
    session = bench.session(bench.settings("symlink"))
    stock = os.stat

    def stat_(path: Any, **options: Any) -> Any:
        status = stock(path, **options)
        if path != str(bench.store):
            return status
        fields = list(status)
        fields[stat.ST_DEV] += far
        return os.stat_result(fields)

    with session:
        monkeypatch.setattr(os, "stat", stat_)
        bench.install(session)
        monkeypatch.setattr(os, "stat", stock)
    session.summary.report()
    (line,) = (one for one in said(logging.INFO) if "Linked 1 package" in one)
    assert ("the links dangle while" in line) == far


def test_download_that_was_skipped_is_in_the_summary(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    session = bench.run()
    entry = replace(bench.entry(), wheel_size=2_000_000)
    linked = LinkedWheel(
        entry, fresh=False, used=Counter(hardlink=1), bytes_shared=9, is_stand_in=True
    )
    session.summary.count("other", linked)
    caplog.set_level(logging.INFO)
    session.report()
    assert "2.0 MB not downloaded" in caplog.text


def test_symlinks_are_registered_for_the_whole_command_before_the_first(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = make_wheel(bench.root / "wheels", "second", files={"second.py": "x = 1\n"})
    session = bench.session(bench.settings("symlink"))
    session.ahead = [str(bench.wheel), str(second)]
    noted: list[set[str]] = []
    link = Linker.link

    def look(self: Linker, *args: Any, **kwargs: Any) -> Counter[str]:
        (user,) = registry.registrations(str(bench.store))
        noted.append(user.entries(depends=True))
        return link(self, *args, **kwargs)

    monkeypatch.setattr(Linker, "link", look)
    with session:
        bench.install(session)
        expected = session.links.expected()[str(bench.store)]
    assert len(expected) == 2
    assert noted[0] == expected
