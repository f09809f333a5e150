"""Damage is found under all of its names, and undone without touching what is kept."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from pip_linkmode.environments.register import register
from pip_linkmode.environments.registry import registrations
from pip_linkmode.errors import EnvironmentUnknownError
from pip_linkmode.link.linker import Linker
from pip_linkmode.maintenance import repair as repair_module
from pip_linkmode.maintenance import verify
from pip_linkmode.maintenance.damage import Findings
from pip_linkmode.maintenance.repair import Repair
from pip_linkmode.maintenance.verify import Verification
from pip_linkmode.store.store import Store
from tests.support.house import House, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pip_linkmode.link.primitives import Link
    from pip_linkmode.maintenance.damage import Damage
    from pip_linkmode.store.entry import Entry

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return House(tmp_path)


def verified(
    stores: Sequence[Store], named: Sequence[str] = (), keep: Sequence[str] = ()
) -> Verification:
    verification = Verification(stores)
    verification.run(named, keep)
    return verification


def look(house: House, *named: str, keep: Sequence[str] = ()) -> Verification:
    asked, kept = ([str(house.path / one) for one in paths] for paths in (named, keep))
    return verified([house.store], asked, kept)


def only(verification: Verification) -> Damage:
    (damage,) = verification.damages
    return damage


def edit(path: str | Path) -> None:
    with open(path, "r+") as file:
        file.write("edited")


def environments(damage: Damage) -> list[str]:
    return [os.path.basename(one.environment) for one in damage.installed]


def add_row(site_packages: Path, dist_info: str, path: str, content: str) -> None:
    """Let a RECORD say what a file should be."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest())
    (site_packages / dist_info).mkdir(exist_ok=True)
    with (site_packages / dist_info / "RECORD").open("a") as record:
        record.write(f"{path},sha256={digest.decode().rstrip('=')},{len(content)}\n")


def move_behind_a_link(path: Path, elsewhere: Path) -> Path:
    """Let a directory be somewhere else, and nobody notice."""
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return elsewhere


def other_store(house: House, entry: Entry) -> Store:
    """Make another store that has an entry."""
    second = house.path / "second"
    store = Store.open(str(second))
    shutil.copytree(entry.path, store.path(entry.sha256))
    return store


# --- what is found --------------------------------------------------------------------


def test_all_is_well(house: House) -> None:
    for mode in ("hardlink", "symlink", "copy"):
        house.install(mode, mode, house.entry("a"))
    assert look(house).damages == []


def test_modified_file_is_one_damage_under_all_its_names(house: House) -> None:
    entry = house.entry("a")
    for name, mode in {"a": "hardlink", "b": "symlink", "c": "copy"}.items():
        house.install(name, mode, entry)
    edit(entry.source("a/data"))
    damage = only(look(house))
    assert (damage.kind, damage.package) == ("modified", "a 1.0")
    assert environments(damage) == ["a", "b"]
    assert [one.path for one in damage.stored] == [entry.source("a/data")]


def test_those_who_share_are_named_if_only_one_was_asked_for(house: House) -> None:
    entry = house.entry("a")
    for name in ("a", "b"):
        house.install(name, "hardlink", entry)
    house.entry("unrelated")
    edit(house.site_packages("a") / "a" / "data")
    damage = only(look(house, "a"))
    assert environments(damage) == ["a", "b"]
    assert len(damage.stored) == 1


def test_kinds_of_damage_in_the_store(house: House) -> None:
    entry = house.entry("a")
    os.truncate(entry.source("a/data"), 5)
    assert only(look(house)).kind == "modified"
    os.unlink(entry.source("a/data"))
    assert only(look(house)).kind == "missing"
    os.symlink("/etc/passwd", entry.source("a/data"))
    assert only(look(house)).kind == "modified"
    Path(entry.path, "manifest.json").write_text("{")
    assert only(look(house)).kind == "manifest"


def test_time_and_mode_of_a_stored_file_matter(house: House) -> None:
    entry = house.entry("a")
    os.utime(entry.source("a/data"))
    assert only(look(house)).kind == "restamped"
    os.utime(entry.source("a/data"), (entry.mtime, entry.mtime))
    os.chmod(entry.source("a/data"), 0o755)
    assert only(look(house)).kind == "restamped"


def test_bytecode_is_compared_by_size_and_time(house: House) -> None:
    entry = house.entry("a")
    (pyc,) = Path(entry.path).glob("bytecode/*/a/__init__.pyc")
    os.utime(pyc, (1, 1))
    damage = only(look(house))
    assert (damage.kind, damage.sha256) == ("modified", None)


def test_bytecode_that_nobody_would_use_is_passed_over(house: House) -> None:
    entry = house.entry("a")
    (manifest,) = Path(entry.path).glob("bytecode/*/manifest.json")
    manifest.write_text("{")
    assert look(house).damages == []


def test_entry_that_goes_meanwhile_is_no_damage(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    listed = [entry.path]
    monkeypatch.setattr(Store, "entries", lambda _: listed)
    shutil.rmtree(entry.path)
    assert look(house).damages == []


def test_kinds_of_damage_in_an_environment(house: House) -> None:
    site_packages = house.install("e", "symlink", house.entry("a"))
    (site_packages / "a" / "data").unlink()
    assert only(look(house)).kind == "missing"
    (site_packages / "a" / "data").symlink_to("/nothing")
    assert only(look(house)).kind == "dangling"


def test_environment_that_is_not_there_is_not_looked_at(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    edit(site_packages / "a" / "data")
    (house.path / "e").rename(house.path / "away")
    found = look(house)
    assert (found.damages, found.unread) == ([], {})


def test_bytecode_of_an_environment_may_come_and_go(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    with (site_packages / "a-1.0.dist-info" / "RECORD").open("a") as record:
        record.write("a/__pycache__/__init__.cpython-311.pyc,,\n")
    assert look(house).damages == []


def test_record_that_was_always_wrong_is_no_damage(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "copy", entry)
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    digest = hashlib.sha256(b"a" * 9000).digest()
    right = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert right in record.read_text()
    wrong = "A" * len(right)
    record.write_text(record.read_text().replace(right, wrong))
    assert look(house).damages == []
    edit(site_packages / "a" / "data")
    assert only(look(house)).sha256 == "00" * 32


def test_digest_that_is_none_says_nothing(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    (site_packages / "b-1.0.dist-info").mkdir()
    (site_packages / "b-1.0.dist-info" / "RECORD").write_text("a/data,sha256=A,1\n")
    assert look(house).damages == []


def test_entry_of_another_environment_says_nothing_about_this_one(
    house: House,
) -> None:
    house.install("other", "copy", house.entry("a"))
    site_packages = house.install("e", "copy", house.entry("b"))
    house.link(site_packages, "copy", house.entry("a"))
    edit(site_packages / "a" / "data")
    assert environments(only(look(house))) == ["e"]


def test_entry_that_goes_while_a_record_is_judged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    edit(site_packages / "a" / "data")
    monkeypatch.setattr(Store, "entry", lambda *_: None)
    assert environments(only(look(house))) == ["e"]


def test_file_that_no_wheel_knows_is_judged_by_its_record(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    (site_packages / "a" / "more").write_text("more")
    with (site_packages / "a-1.0.dist-info" / "RECORD").open("a") as record:
        record.write(f"a/more,sha256={'A' * 43},4\n")
    assert only(look(house)).path == str(site_packages / "a" / "more")


def test_damaged_entry_cannot_speak_for_a_record(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "copy", entry)
    Path(entry.path, "manifest.json").write_text("{")
    edit(site_packages / "a" / "data")
    kinds = [damage.kind for damage in look(house).damages]
    assert sorted(kinds) == ["manifest", "modified"]


def test_file_of_two_distributions_is_as_one_of_them_has_it(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    add_row(site_packages, "a-1.0.dist-info", "both", "of a")
    add_row(site_packages, "b-1.0.dist-info", "both", "of b")
    for content in ("of a", "of b"):
        (site_packages / "both").write_text(content)
        assert look(house).damages == []
    (site_packages / "both").write_text("edited")
    assert environments(only(look(house))) == ["e"]


def test_distribution_without_a_record_claims_nothing(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    (site_packages / "b-1.0.dist-info").mkdir()
    found = look(house)
    assert (found.damages, found.unread) == ([], {})


def test_record_that_is_none_is_said(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    record.write_bytes(b"\0" * 80)
    ((path, reason),) = look(house).unread.items()
    assert path == str(record)
    assert reason.startswith("cannot be parsed: ")
    assert reason.endswith("--ignore-installed --no-deps a==1.0")


def test_record_that_cannot_be_read_is_said(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    record.unlink()
    record.mkdir()
    assert look(house).unread == {str(record): os.strerror(errno.EISDIR)}


def test_what_cannot_be_read_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    digest, inode = Findings.digest, (site_packages / "a" / "data").stat().st_ino

    def refuse(self: Findings, file: BinaryIO) -> str:
        if os.fstat(file.fileno()).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(self, file)

    monkeypatch.setattr(Findings, "digest", refuse)
    unread = {str(site_packages / "a" / "data"): os.strerror(errno.EIO)}
    assert look(house).unread == unread


def test_environment_that_cannot_be_listed_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))

    def refuse(_: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(verify, "distributions", refuse)
    assert look(house).unread == {str(site_packages): os.strerror(errno.EIO)}


# --- what is repaired -----------------------------------------------------------------


def test_bytes_come_from_another_store(house: House) -> None:
    entry = house.entry("a")
    one = house.install("one", "hardlink", entry)
    two = house.install("two", "symlink", entry)
    stores = [house.store, other_store(house, entry)]
    edit(entry.source("a/data"))
    found = verified(stores)
    Repair(found).run()
    assert only(found).is_repaired
    for path in (one / "a" / "data", two / "a" / "data"):
        assert path.read_text() == "a" * 9000
    house.entry("a").check()
    assert verified(stores).damages == []
    # They share again.
    assert (one / "a" / "data").stat().st_nlink > 1 or not hasattr(os, "link")


def test_kept_edit_becomes_a_file_of_its_own(house: House) -> None:
    entry = house.entry("a")
    all_site_packages = [
        house.install(f"{mode}-{number}", mode, entry)
        for mode in ("hardlink", "symlink")
        for number in (1, 2)
    ]
    house.install("witness", "copy", entry)
    edit(entry.source("a/data"))
    found = look(house, keep=["hardlink-1", "symlink-1"])
    Repair(found).run()
    assert "hardlink-1, " in str(only(found).outcome)
    for site_packages in all_site_packages:
        path = site_packages / "a" / "data"
        text, expected = path.read_text(), "a" * 9000
        if site_packages.parents[2].name.endswith("1"):
            expected = "edited" + expected[6:]
            assert (path.is_symlink(), path.stat().st_nlink) == (False, 1)
        assert text == expected


def test_missing_and_restamped_files_come_back_to_the_store(house: House) -> None:
    entry = house.entry("a")
    house.install("witness", "copy", entry)
    shutil.rmtree(os.path.dirname(entry.source("a/data")))
    os.utime(entry.source("a-1.0.dist-info/METADATA"))
    found = look(house)
    Repair(found).run()
    assert all(damage.is_repaired for damage in found.damages)
    house.entry("a").check()


def test_dangling_link_is_replaced_by_what_another_has(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink", entry)
    other = house.install("witness", "copy", entry)
    shutil.rmtree(house.root / "v1" / "wheels")
    found = look(house)
    Repair(found).run()
    path = site_packages / "a" / "data"
    assert path.read_text() == "a" * 9000
    assert (path.is_symlink(), path.stat().st_nlink) == (False, 1)
    assert (other / "a" / "data").stat().st_nlink == 1


@pytest.mark.parametrize(("older", "newer"), [("a", "b"), ("b", "a")])
def test_distribution_that_was_installed_last_has_won(
    house: House, older: str, newer: str
) -> None:
    site_packages = house.install("e", "copy", house.entry("c"))
    witness = house.install("witness", "copy", house.entry("c"))
    for name in "ab":
        add_row(site_packages, f"{name}-1.0.dist-info", "both", f"of {name}")
        add_row(witness, f"{name}-1.0.dist-info", f"only_{name}", f"of {name}")
        (witness / f"only_{name}").write_text(f"of {name}")
    os.utime(site_packages / f"{older}-1.0.dist-info" / "RECORD", (1, 1))
    (site_packages / "both").write_text("edited")
    Repair(look(house, "e")).run()
    assert (site_packages / "both").read_text() == f"of {newer}"


def test_file_that_is_gone_is_put_back(house: House) -> None:
    site_packages = house.install("e", "hardlink", house.entry("a"))
    (site_packages / "a" / "data").unlink()
    Repair(look(house, "e")).run()
    assert (site_packages / "a" / "data").read_text() == "a" * 9000


@as_root
def test_repaired_file_has_the_mode_it_had_and_the_owner_of_its_environment(
    house: House,
) -> None:
    entry = house.entry("a")
    all_site_packages = [
        house.install(f"e-{mode}", mode, entry) for mode in ("copy", "auto")
    ]
    for site_packages in all_site_packages:
        path = site_packages / "a" / "data"
        path.unlink()
        path.write_text("edited")
        os.chown(path, 123, 456)
        path.chmod(0o6600)
        given = note(path)
        Repair(look(house, site_packages.parents[2].name)).run()
        status = path.stat()
        assert path.read_text() == "a" * 9000
        theirs = site_packages.stat()
        assert (status.st_uid, status.st_gid) == (theirs.st_uid, theirs.st_gid)
        assert status.st_nlink == 1
        assert status.st_mode & 0o7777 == 0o600
        assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == given


def test_mode_of_a_shared_file_is_that_of_the_stored_one_again(house: House) -> None:
    entry = house.entry("a")
    path = house.install("e", "hardlink", entry) / "a" / "data"
    path.chmod(0o600)
    Repair(look(house)).run()
    assert path.stat().st_mode & 0o777 == 0o644
    assert look(house).damages == []


def test_nothing_is_written_behind_a_link_to_a_directory(house: House) -> None:
    """It may be the tree in which somebody works on the package."""
    entry = house.entry("a")
    tree = move_behind_a_link(
        house.install("one", "copy", entry) / "a", house.path / "tree"
    )
    other = house.install("two", "copy", entry)
    shutil.rmtree(other / "a")
    (other / "a").symlink_to(tree)
    edit(tree / "data")
    found = look(house, "one", "two")
    Repair(found).run()
    assert environments(only(found)) == ["one", "two"]
    assert str(only(found).outcome).startswith("left alone: it is outside of")
    assert (tree / "data").read_text().startswith("edited")


def test_nothing_outside_of_an_environment_is_written(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    (site_packages / "payload").write_text("payload")
    (site_packages / "directory").symlink_to(house.path)
    add_row(site_packages, "a-1.0.dist-info", "payload", "payload")
    add_row(site_packages, "a-1.0.dist-info", "../../../../victim", "payload")
    add_row(site_packages, "a-1.0.dist-info", "directory/victim", "payload")
    (house.path / "victim").write_text("mine")
    found = look(house, "e")
    Repair(found).run()
    assert only(found).path == str(site_packages / "directory" / "victim")
    assert not only(found).is_repaired
    assert (house.path / "victim").read_text() == "mine"


def test_nothing_outside_of_an_environment_is_given(house: House) -> None:
    entry = house.entry("a")
    victim = house.install("victim", "copy", entry) / "a" / "data"
    giver = house.install("giver", "copy", entry)
    (giver / "a" / "data").rename(house.path / "data")
    (giver / "a" / "data").symlink_to(house.path / "data")
    (giver / "directory").symlink_to(house.path)
    add_row(giver, "a-1.0.dist-info", "directory/data", "a" * 9000)
    shutil.rmtree(house.root / "v1" / "wheels")
    edit(victim)
    found = look(house, "victim")
    Repair(found).run()
    assert str(only(found).outcome).startswith("no intact copy was found")


def test_what_never_ends_is_neither_read_nor_given(house: House) -> None:
    entry = house.entry("a")
    victim = house.install("victim", "copy", entry) / "a" / "data"
    giver = house.install("giver", "copy", entry) / "a"
    shutil.rmtree(house.root / "v1" / "wheels")
    (giver / "data").unlink()
    os.mkfifo(giver / "data")
    (giver / "__init__.py").unlink()
    (giver / "__init__.py").symlink_to("/dev/zero")
    edit(victim)
    found = look(house)
    reason = "Not a regular file"
    assert found.unread[str(giver / "data")] == reason
    assert str(giver / "__init__.py") in found.unread
    Repair(found).run()
    assert str(only(found).outcome) == "left alone: no other environment shares it"
    found = look(house, "victim")
    Repair(found).run()
    assert str(only(found).outcome).startswith("no intact copy was found")


def test_link_into_another_store_gives_what_is_there(house: House) -> None:
    entry = house.entry("a")
    victim = house.install("victim", "copy", entry) / "a" / "data"
    giver = house.install("giver", "symlink", entry) / "a" / "data"
    other = other_store(house, entry)
    giver.unlink()
    giver.symlink_to(f"{other.path(entry.sha256)}/files/a/data")
    shutil.rmtree(house.root / "v1" / "wheels")
    edit(victim)
    Repair(look(house, "victim")).run()
    assert victim.read_text() == "a" * 9000


@as_root
def test_file_of_somebody_else_is_not_read_for_a_record(house: House) -> None:
    """It may be one of the system's that has no end, as ``/proc/kcore``."""
    site_packages = house.install("e", "copy", house.entry("a"))
    secret = house.path / "secret"
    secret.write_text("secret")
    (site_packages / "link").symlink_to(secret)
    add_row(site_packages, "a-1.0.dist-info", "link", "guess")
    assert only(look(house)).kind == "modified"
    os.chown(site_packages, 123, 456)
    (path,) = (found := look(house)).unread
    assert found.damages == []
    assert path == str(site_packages / "link")
    assert found.unread[path] == f"it leads to {secret}, which belongs to another user"


def test_scripts_of_a_target_are_not_looked_for_where_pip_has_prepared_them(
    house: House,
) -> None:
    """Its rows are ``../../bin/tool``, and the file is below the directory itself."""
    target = house.path / "lib" / "target"
    target.mkdir(parents=True)
    register(str(house.root), str(target), house.entry("a").sha256, "copy")
    add_row(target, "a-1.0.dist-info", "../../bin/tool", "tool")
    add_row(target, "a-1.0.dist-info", "../../bin/another", "another")
    (house.path / "bin").mkdir()
    (house.path / "bin" / "another").write_text("of somebody else")
    assert look(house).damages == []


def test_link_to_somewhere_else_is_kept_as_it_is(house: House) -> None:
    """What it leads to is perhaps not for those who own the environment."""
    entry = house.entry("a")
    secret = house.path / "secret"
    secret.write_text("secret")
    one, two = (house.install(name, "copy", entry) / "a/data" for name in ("e", "f"))
    for path in (one, two):
        path.unlink()
        path.symlink_to(secret)
    found = look(house, keep=["e"])
    Repair(found).run()
    assert only(found).is_repaired
    assert one.readlink() == secret
    assert two.read_text() == "a" * 9000


def test_bytes_that_change_on_their_way_do_not_get_into_the_store(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    witness = house.install("witness", "copy", entry)
    edit(entry.source("a/data"))
    found = look(house)
    link = Linker.link

    def change(self: Linker, links: list[Link], **options: Any) -> object:
        edit(witness / "a" / "data")
        return link(self, links, **options)

    monkeypatch.setattr(Linker, "link", change)
    Repair(found).run()
    said = f"not repaired: {witness / 'a' / 'data'} was changed by another process"
    assert only(found).outcome == said
    assert Path(entry.source("a/data")).read_text().startswith("edited")


def test_bytes_that_change_on_their_way_do_not_get_into_an_environment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    victim, giver = (
        house.install(name, "copy", entry) / "a" / "data" for name in ("e", "giver")
    )
    shutil.rmtree(house.root / "v1" / "wheels")
    edit(victim)
    found = look(house, "e")
    link = Linker.link

    def swap(self: Linker, links: list[Link], **options: Any) -> object:
        giver.write_text("b" * 9000)
        return link(self, links, **options)

    monkeypatch.setattr(Linker, "link", swap)
    Repair(found).run()
    said = f"not repaired: {giver} was changed by another process"
    assert only(found).outcome == said
    assert victim.read_text().startswith("edited")
    assert sorted(os.listdir(victim.parent)) == ["__init__.py", "data", "empty"]


def test_private_edit_is_its_environments_affair(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    edit(site_packages / "a" / "data")
    found = look(house)
    Repair(found).run()
    assert only(found).outcome == "left alone: no other environment shares it"
    found = look(house, "e")
    Repair(found).run()
    assert only(found).is_repaired
    assert (site_packages / "a" / "data").read_text() == "a" * 9000


def test_edit_that_environments_share_without_a_store_is_undone(
    house: House,
) -> None:
    """The entry was made anew, and they still have the old file."""
    entry = house.entry("a")
    all_site_packages = [house.install(name, "hardlink", entry) for name in ("a", "b")]
    os.unlink(entry.source("a/data"))
    Path(entry.source("a/data")).write_text("a" * 9000)
    os.utime(entry.source("a/data"), (entry.mtime, entry.mtime))
    edit(all_site_packages[0] / "a" / "data")
    found = look(house)
    Repair(found).run()
    assert only(found).is_repaired
    for site_packages in all_site_packages:
        assert (site_packages / "a" / "data").read_text() == "a" * 9000


# --- one environment, whatever it is called -------------------------------------------


def share_an_edit(house: House) -> list[Path]:
    """Let three environments have an edited file of an entry that was made anew.

    The one that has edited it is at ``data/a``, and at ``home/a``.
    """
    (house.path / "home").symlink_to("data")
    entry = house.entry("a")
    files = [
        house.install(name, "hardlink", entry) / "a" / "data"
        for name in ("data/a", "data/b", "c")
    ]
    os.unlink(entry.source("a/data"))
    Path(entry.source("a/data")).write_text("a" * 9000)
    os.utime(entry.source("a/data"), (entry.mtime, entry.mtime))
    edit(files[0])
    return files


@pytest.mark.parametrize("named", [(), ("home/a", "c"), ("c",), ("data/a", "home/a")])
def test_edit_is_kept_by_whatever_path_the_environment_is_named(
    house: House, named: tuple[str, ...]
) -> None:
    mine, *others = share_an_edit(house)
    found = look(house, *named, keep=["home/a"])
    Repair(found).run()
    assert str(only(found).outcome).startswith("repaired; ")
    assert (mine.read_text()[:6], mine.stat().st_nlink) == ("edited", 1)
    assert [path.read_text() for path in others] == ["a" * 9000] * 2


def test_edit_is_kept_by_an_environment_that_no_store_knows(house: House) -> None:
    mine, *_ = share_an_edit(house)
    for registration in registrations(str(house.root)):
        if registration.site_packages.startswith(str(house.path / "data" / "a")):
            registration.release()
    Repair(look(house, "c", keep=["data/a"])).run()
    assert mine.read_text().startswith("edited")


def test_edit_that_only_those_to_be_kept_share_is_left_alone(house: House) -> None:
    mine, *_ = share_an_edit(house)
    found = look(house, keep=["data/a", "data/b", "c"])
    Repair(found).run()
    assert str(only(found).outcome).startswith("left alone: ")
    assert mine.stat().st_nlink == 3


def test_nothing_is_repaired_if_it_cannot_be_told_what_to_keep(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink", entry)
    house.install("witness", "copy", entry)
    edit(site_packages / "a" / "data")
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    record.unlink()
    record.mkdir()
    found = look(house, keep=["e"])
    Repair(found).run()
    reason = f"{record} cannot be read, so the edits to keep are unknown"
    assert only(found).outcome == f"not repaired: {reason}"
    assert (site_packages / "a" / "data").read_text().startswith("edited")


def test_environment_to_be_kept_has_to_be_one(house: House) -> None:
    mine, *_ = share_an_edit(house)
    with pytest.raises(EnvironmentUnknownError, match="nowhere is not an environment"):
        look(house, keep=["nowhere"])
    assert mine.read_text().startswith("edited")


@pytest.mark.parametrize("is_link", [True, False], ids=["link", "directory"])
def test_two_libraries_of_an_environment_share_with_nobody(
    house: House, *, is_link: bool
) -> None:
    """Some systems have platform-specific packages in a directory of their own."""
    entry = house.entry("a")
    site_packages = house.install("e", "copy", entry)
    lib64 = house.path / "e" / "lib64"
    if is_link:
        lib64.symlink_to("lib")
    else:
        shutil.copytree(house.path / "e" / "lib", lib64, copy_function=os.link)
    other = lib64 / site_packages.relative_to(house.path / "e" / "lib")
    register(str(house.root), str(other), entry.sha256, "copy")
    edit(site_packages / "a" / "data")
    found = look(house)
    Repair(found).run()
    assert only(found).outcome == "left alone: no other environment shares it"
    assert set(environments(only(found))) == {"e"}
    assert (site_packages / "a" / "data").read_text().startswith("edited")


def test_environment_of_two_paths_shares_with_nobody(house: House) -> None:
    (house.path / "home").symlink_to("data")
    entry = house.entry("a")
    site_packages = house.install("data/e", "copy", entry)
    alias = str(site_packages).replace("/data/", "/home/")
    register(str(house.root), alias, entry.sha256, "copy")
    edit(site_packages / "a" / "data")
    found = look(house)
    Repair(found).run()
    assert only(found).outcome == "left alone: no other environment shares it"
    Repair(look(house, "home/e")).run()
    assert (site_packages / "a" / "data").read_text() == "a" * 9000


def test_record_of_an_environment_of_two_paths_is_judged_by_its_entry(
    house: House,
) -> None:
    (house.path / "home").symlink_to("data")
    site_packages = house.install("data/e", "copy", house.entry("a"))
    record = site_packages / "a-1.0.dist-info" / "RECORD"
    digest = hashlib.sha256(b"a" * 9000).digest()
    right = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    record.write_text(record.read_text().replace(right, "A" * len(right)))
    assert look(house, "home/e").damages == []


# --- bytecode, and what nobody has ----------------------------------------------------


def test_bytecode_is_removed_to_be_compiled_again(house: House) -> None:
    entry = house.entry("a")
    house.install("e", "symlink", entry)
    (pyc,) = Path(entry.path).glob("bytecode/*/a/__init__.pyc")
    pyc.unlink()
    found = look(house)
    Repair(found).run()
    assert only(found).outcome == "removed, to be compiled again"
    assert look(house).damages == []
    house.entry("a")
    assert pyc.exists()


def test_dangling_bytecode_of_an_environment_is_removed(house: House) -> None:
    site_packages = house.install("e", "copy", house.entry("a"))
    pyc = site_packages / "a" / "__pycache__" / "old.cpython-311.pyc"
    pyc.parent.mkdir()
    pyc.symlink_to("nowhere")
    with (site_packages / "a-1.0.dist-info" / "RECORD").open("a") as record:
        record.write(f"{pyc.relative_to(site_packages)},,\n")
    found = look(house, "e")
    assert only(found).kind == "dangling"
    Repair(found).run()
    assert only(found).outcome == "removed, to be compiled again"
    assert not pyc.is_symlink()


def test_entry_that_cannot_be_mended_is_set_aside(house: House) -> None:
    entry = house.entry("a")
    edit(entry.source("a/data"))
    found = look(house)
    Repair(found).run()
    assert only(found).is_repaired
    assert house.present() == []


def test_entry_without_a_manifest_is_set_aside(house: House) -> None:
    entry = house.entry("a")
    house.install("e", "hardlink", entry)
    Path(entry.path, "manifest.json").write_text("{")
    found = look(house)
    Repair(found).run()
    assert only(found).is_repaired
    assert house.present() == []


def test_entry_that_somebody_depends_on_is_not_set_aside(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "symlink", entry)
    edit(entry.source("a/data"))
    found = look(house)
    Repair(found).run()
    assert not only(found).is_repaired
    command = f"pip-linkmode fill a==1.0 --link-store {house.root}"
    assert str(only(found).outcome).splitlines()[1:] == [command]
    assert (site_packages / "a" / "data").exists()


def test_entry_is_not_set_aside_where_other_users_may_need_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not registered if they cannot write to the store."""
    entry = house.entry("a")
    edit(entry.source("a/data"))
    monkeypatch.setattr(repair_module, "may_have_unknown_users", lambda _: True)
    found = look(house)
    Repair(found).run()
    assert not only(found).is_repaired
    assert house.present() == ["a"]
    assert "pip-linkmode fill a==1.0" in str(only(found).outcome)


def test_entry_that_has_gone_is_not_set_aside_again(house: House) -> None:
    entry = house.entry("a")
    edit(entry.source("a/data"))
    found = look(house)
    shutil.rmtree(entry.path)
    Repair(found).run()
    assert only(found).is_repaired


def test_file_that_cannot_be_put_leaves_nothing_behind(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "copy", entry)
    edit(site_packages / "a" / "data")
    found = look(house, "e")

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", fail)
    Repair(found).run()
    assert not only(found).is_repaired
    reason = f"{site_packages / 'a' / 'data'}: {os.strerror(errno.EROFS)}"
    assert only(found).outcome == f"not repaired: {reason}"
    assert sorted(os.listdir(site_packages / "a")) == ["__init__.py", "data", "empty"]


def test_witness_that_has_changed_meanwhile_is_not_believed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = house.entry("a")
    house.install("witness", "copy", entry)
    edit(entry.source("a/data"))
    found = look(house)

    def gone(*_: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Findings, "digest", gone)
    Repair(found).run()
    assert house.present() == []
