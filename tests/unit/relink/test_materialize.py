"""Environments get files of their own back."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pip_linkmode.environments import registry
from pip_linkmode.environments.environment import OUTSIDE
from pip_linkmode.files import TEMPORARY
from pip_linkmode.link.attributes import preserved_xattrs
from pip_linkmode.link.primitives import PRIMITIVES, Link
from pip_linkmode.relink.materialize import Materializing
from tests.support.house import note
from tests.unit.relink.conftest import (
    BIG,
    MODULE,
    Bench,
    assert_valid_bytecode,
    content,
)

# --- and back -------------------------------------------------------------------------


def prepare(
    bench: Bench, *all_site_packages: Path, stores: list[str] | None = None
) -> Materializing:
    stores = [bench.store.root] if stores is None else stores
    created = Materializing([str(path) for path in all_site_packages], stores)
    created.survey()
    return created


def materialize(bench: Bench, *all_site_packages: Path) -> list[Any]:
    created = prepare(bench, *all_site_packages)
    seen: list[float] = []
    found = created.run(lambda _, share: seen.append(share))
    assert seen == sorted(seen)
    assert all(0 <= share < 1 for share in seen)
    return found


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_nothing_is_shared_any_more(
    bench: Bench, site_packages: Path, mode: str
) -> None:
    bench.relink(site_packages, mode=mode)
    before = content(site_packages)
    times = {path: path.stat().st_mtime_ns for path in site_packages.rglob("*.py")}
    (site_packages / "package" / f"{TEMPORARY}0123").symlink_to(
        bench.entries()[0].source(BIG)
    )
    (found,) = materialize(bench, site_packages)
    assert content(site_packages) == before
    assert {
        path: path.stat().st_mtime_ns for path in site_packages.rglob("*.py")
    } == times
    for path in site_packages.parents[2].rglob("*"):
        if path.is_file() and "bin" not in path.parts:
            assert not path.is_symlink()
            assert path.stat().st_nlink == 1
    assert found.released == [bench.store.root]
    assert found.files >= 7
    assert (found.dangling, found.failed) == ([], {})
    assert list(registry.registrations(bench.store.root)) == []
    assert (site_packages / "package/tool").stat().st_mode & 0o777 == 0o755
    assert_valid_bytecode(site_packages)


def test_store_behind_symlinks_need_not_be_named(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    (found,) = prepare(bench, site_packages, stores=[]).run()
    assert found.released == [bench.store.root]


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_no_store_keeps_an_inode_whether_it_is_named_or_not(
    bench: Bench, site_packages: Path, *, named: bool, copies: bool
) -> None:
    interpreter = site_packages.parents[2] / "bin/python"
    if copies:
        shutil.copy2(interpreter, interpreter.with_name("copy"))
        interpreter.with_name("copy").replace(interpreter)
    before = interpreter.resolve()
    bench.relink(site_packages)
    assert interpreter.lstat().st_nlink == 2
    stores = [bench.store.root] if named else []
    (found,) = prepare(bench, site_packages, stores=stores).run()
    assert (found.released, found.failed) == (stores, {})
    assert (site_packages.parents[2] / "pyvenv.cfg").stat().st_nlink == 1
    assert interpreter.lstat().st_nlink == 1
    assert interpreter.resolve() == before
    assert not list(interpreter.parent.glob(f"{TEMPORARY}*"))


def test_symlink_that_cannot_be_made_anew_is_told(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)
    interpreter, replace = str(site_packages.parents[2] / "bin/python"), os.replace

    def refuse(source: str, target: str) -> None:
        directory, name = os.path.split(target)
        if os.path.join(os.path.realpath(directory), name) == interpreter:
            raise OSError(errno.EIO, os.strerror(errno.EIO), target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    (found,) = prepare(bench, site_packages, stores=[]).run()
    assert found.failed == {interpreter: os.strerror(errno.EIO)}
    assert not list(Path(interpreter).parent.glob(f"{TEMPORARY}*"))


def test_link_that_leads_nowhere_stays(bench: Bench, site_packages: Path) -> None:
    bench.relink(site_packages, mode="symlink")
    (entry,) = bench.entries()
    os.unlink(entry.source(MODULE))
    (found,) = materialize(bench, site_packages)
    assert found.dangling == [str(site_packages / MODULE)]
    assert found.released == []
    assert (site_packages / MODULE).is_symlink()


def test_what_goes_wrong_is_told_by_path(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)

    def refuse(link: Link) -> None:
        if "package" in os.path.realpath(link.source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), link.target)
        Path(link.source).write_text("edited")

    monkeypatch.setitem(PRIMITIVES, "copy", refuse)
    monkeypatch.setitem(PRIMITIVES, "clone", refuse)
    (found,) = materialize(bench, site_packages)
    assert found.failed[str(site_packages / BIG)] == os.strerror(errno.ENOSPC)
    assert found.released == []


def test_others_keep_what_they_have(bench: Bench, site_packages: Path) -> None:
    other = bench.environment("two")
    bench.relink(site_packages, other)
    materialize(bench, site_packages)
    (left,) = registry.registrations(bench.store.root)
    assert left.site_packages == str(other)
    assert bench.is_shared(other / BIG)


def test_edit_while_it_is_materialized_wins(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)
    copy = PRIMITIVES["copy"]

    def copy_and_edit(link: Link) -> None:
        source = os.path.realpath(link.source)
        copy(link)
        if source == str(site_packages / BIG):
            os.unlink(source)
            Path(source).write_text("edited")

    monkeypatch.setitem(PRIMITIVES, "copy", copy_and_edit)
    monkeypatch.setitem(PRIMITIVES, "clone", copy_and_edit)
    (found,) = materialize(bench, site_packages)
    assert found.failed == {
        str(site_packages / BIG): "it was changed by another process"
    }
    assert (site_packages / BIG).read_text() == "edited"


def test_registration_that_cannot_be_released_is_told(
    bench: Bench, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.relink(site_packages)

    def refuse(_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(registry.Registration, "release", refuse)
    (found,) = materialize(bench, site_packages)
    assert list(found.failed.values()) == [os.strerror(errno.EROFS)]


def test_edit_before_it_is_materialized_stays(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages)
    created = prepare(bench, site_packages)
    path = site_packages / BIG
    path.write_text("edited")
    edited = path.stat()
    (site_packages / "single.py").unlink()
    (site_packages / "package/tool").unlink()
    (site_packages / "package/tool").touch()
    (found,) = created.run()
    assert found.failed == {}
    assert path.read_text() == "edited"
    assert path.stat().st_mtime_ns == edited.st_mtime_ns
    assert path.stat().st_nlink == 1


def test_file_that_goes_while_it_is_materialized_is_no_failure(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages)
    created = prepare(bench, site_packages)
    (site_packages / BIG).unlink()
    (found,) = created.run()
    assert (found.dangling, found.failed) == ([], {})


def test_link_that_comes_while_it_is_materialized_is_told(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    late, source = site_packages / "late", bench.entries()[0].source(BIG)

    def link(*_: object) -> None:
        if not late.is_symlink():
            late.symlink_to(source)

    (found,) = prepare(bench, site_packages).run(link)
    assert found.failed == {str(late): "it was linked by another process"}
    assert found.released == []


def test_what_a_file_was_given_is_carried_over(
    bench: Bench, site_packages: Path
) -> None:
    given = note(site_packages / BIG)
    os.link(site_packages / BIG, bench.root / "other")
    materialize(bench, site_packages)
    assert not (site_packages / BIG).samefile(bench.root / "other")
    assert preserved_xattrs(str(site_packages / BIG)) == given


def test_package_that_was_moved_behind_a_link_is_told(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    outside = bench.root / "outside"
    (site_packages / "package").rename(outside)
    (site_packages / "package").symlink_to(outside)
    (found,) = materialize(bench, site_packages)
    assert found.failed[str(site_packages / MODULE)] == OUTSIDE
    assert found.released == []
    assert (outside / "module.py").is_symlink()


def test_packages_that_were_moved_elsewhere_are_materialized(
    bench: Bench, site_packages: Path
) -> None:
    bench.relink(site_packages, mode="symlink")
    outside = bench.root / "outside"
    site_packages.rename(outside)
    site_packages.symlink_to(outside)
    (found,) = materialize(bench, site_packages)
    assert found.failed == {}
    assert not (site_packages / MODULE).is_symlink()
    assert found.released == [bench.store.root]


def stored(bench: Bench, name: str) -> Path:
    """Return a path that looks as if it were in a store."""
    path = bench.root / "fake" / "v1/wheels/aa" / ("a" * 64) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def test_only_what_is_in_a_store_is_copied(bench: Bench, site_packages: Path) -> None:
    """Who owns the environment need not be allowed to read what a link leads to."""
    secret = bench.root / "secret"
    secret.write_text("secret")
    stored(bench, "chain").symlink_to(secret)
    stored(bench, "loop").symlink_to("loop")
    os.mkfifo(stored(bench, "pipe"))
    links = {name: site_packages / name for name in ("around", "chain", "loop", "pipe")}
    for name, link in links.items():
        link.symlink_to(stored(bench, name))
    links["around"].unlink()
    links["around"].symlink_to(f"{stored(bench, '')}/../../../../../secret")
    (found,) = materialize(bench, site_packages)
    assert found.failed == {
        str(links["chain"]): f"it does not lead into a store but to {secret}",
        str(links["loop"]): os.strerror(errno.ELOOP),
        str(links["pipe"]): "it does not lead to a regular file",
    }
    assert all(link.is_symlink() for link in links.values())


def test_record_that_cannot_be_read_is_told(bench: Bench, site_packages: Path) -> None:
    (site_packages / "zeros-1.0.dist-info").mkdir()
    (site_packages / "zeros-1.0.dist-info/RECORD").write_bytes(b"\0" * 80)
    (site_packages / "directory-1.0.dist-info/RECORD").mkdir(parents=True)
    (found,) = materialize(bench, site_packages)
    zeros = found.failed.pop(str(site_packages / "zeros-1.0.dist-info/RECORD"))
    assert zeros.startswith("cannot be parsed: ")
    assert found.failed == {
        str(site_packages / "directory-1.0.dist-info/RECORD"): os.strerror(errno.EISDIR)
    }


def test_outside_of_a_prefix_only_what_was_installed_is_looked_at(
    bench: Bench,
) -> None:
    site_packages = bench.root / "prefix/lib/python3.99/site-packages"
    site_packages.mkdir(parents=True)
    bench.install(site_packages, compiled=False)
    bench.relink(site_packages)
    shared, other = bench.root / "prefix/share/data", bench.root / "prefix/other"
    os.link(shared, other)
    materialize(bench, site_packages)
    assert not shared.samefile(other)
    assert bench.is_shared(other)
