"""Foreign owners, files that no manifest lists, and wheels that are got again."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from pip_linkmode.environments.environment import Environment
from pip_linkmode.maintenance import fetch
from pip_linkmode.maintenance.repair import Repair
from pip_linkmode.maintenance.verify import Verification
from pip_linkmode.prepare.preparer import Preparer
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pip_linkmode.maintenance.damage import Damage
    from tests.support.house import House
    from tests.unit.conftest import Run

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files away"
)
USER = 4321


def verify(house: House, *named: str) -> Verification:
    verification = Verification([house.store])
    verification.run([str(house.path / one) for one in named])
    return verification


def repair(house: House, *named: str) -> Verification:
    verification = verify(house, *named)
    Repair(verification).run()
    return verification


def only(verification: Verification) -> Damage:
    (damage,) = verification.damages
    return damage


def edit(path: str | Path) -> None:
    with open(path, "r+") as file:
        file.write("edited")


# --- owners ---------------------------------------------------------------------------


@as_root
def test_files_given_away_with_one_environment_are_found_and_taken_back(
    house: House,
) -> None:
    """``chown -R`` of one environment reaches the files of all."""
    entry = house.entry("a")
    one, other = (house.install(name, "hardlink", entry) for name in ("one", "other"))
    for directory, _, names in os.walk(house.path / "one"):
        for name in (".", *names):
            os.lchown(os.path.join(directory, name), USER, USER)
    found = repair(house)
    kinds = {damage.kind for damage in found.damages}
    assert kinds == {"foreign"}
    assert all(damage.is_repaired for damage in found.damages)
    assert os.stat(entry.source("a/data")).st_uid == 0
    assert (other / "a" / "data").stat().st_uid == 0
    assert (one / "a" / "data").stat().st_uid == USER
    assert (other / "a" / "data").samefile(entry.source("a/data"))
    assert verify(house).damages == []


@as_root
def test_foreign_owner_is_found_where_no_store_has_the_file(house: House) -> None:
    entry = house.entry("a")
    site_packages = house.install("e", "copy", entry)
    shutil.rmtree(house.root / "v1" / "wheels")
    data = site_packages / "a" / "data"
    os.link(data, house.path / "other")
    os.chown(data, USER, USER)
    damage = only(found := verify(house, "e"))
    assert (damage.kind, damage.owner) == ("foreign", USER)
    Repair(found).run()
    assert (data.stat().st_uid, data.stat().st_nlink) == (0, 1)
    assert verify(house, "e").damages == []


@as_root
def test_bytecode_of_another_user_is_removed(house: House) -> None:
    entry = house.entry("a")
    (pyc,) = Path(entry.path).glob("bytecode/*/a/__init__.pyc")
    os.chown(pyc, USER, USER)
    assert only(verify(house)).kind == "foreign"
    repair(house)
    assert not pyc.exists()


# --- what a manifest does not list ----------------------------------------------------


def test_file_that_a_program_has_written_into_an_entry_is_found(
    house: House, run: Run
) -> None:
    entry = house.entry("a")
    Path(entry.source("a/new")).write_text("state")
    Path(entry.source("a/link")).symlink_to("new")
    Path(entry.source("a/directory")).symlink_to(house.path)
    found = repair(house)
    assert {damage.kind for damage in found.damages} == {"unlisted"}
    assert sorted(os.path.basename(one.path) for one in found.damages) == [
        *("directory", "link", "new")
    ]
    assert not any(damage.is_repaired for damage in found.damages)
    assert Path(entry.source("a/new")).exists()
    assert "is not in the manifest of the entry" in run.text("verify", code=1)


def test_bytecode_in_the_files_of_an_entry_is_a_note(house: House, run: Run) -> None:
    entry = house.entry("a")
    cache = Path(entry.source("a/__pycache__"))
    cache.mkdir()
    (cache / "x.cpython-311.pyc").touch()
    said = f"Bytecode that no installation uses: {cache}"
    found = verify(house)
    assert (found.damages, found.notes) == ([], [said])
    out = run.text("verify")
    counts = "1 stored wheel, 0 installed packages"
    assert out == f"{said}\nAll files are as they were installed: {counts}.\n"


@pytest.mark.parametrize("tag", ["cpython-311", "cpython-311.opt-1", "pypy310"])
def test_bytecode_of_a_listed_source_is_not_judged_by_record(
    house: House, tag: str
) -> None:
    """pip compiles over the bytecode of a wheel, with its hash in RECORD."""
    site_packages = house.install("e", "copy", house.entry("a"))
    cache = site_packages / "a" / "__pycache__"
    cache.mkdir(exist_ok=True)
    for stem in ("__init__", "sourceless"):
        (cache / f"{stem}.{tag}.pyc").write_bytes(b"compiled")
    with (site_packages / "a-1.0.dist-info" / "RECORD").open("a") as record:
        rows = csv.writer(record, lineterminator="\n")
        for stem in ("__init__", "sourceless"):
            rows.writerow(
                [f"a/__pycache__/{stem}.{tag}.pyc", f"sha256={'A' * 43}", "8"]
            )
    assert only(verify(house, "e")).path == str(cache / f"sourceless.{tag}.pyc")


@pytest.mark.parametrize("mtime", [-1, 1 << 33, 1 << 63, 10**300])
def test_time_that_no_file_has_makes_an_entry_damaged(house: House, mtime: int) -> None:
    manifest = Path(house.entry("a").path, "manifest.json")
    text = manifest.read_text()
    now = text.partition('"mtime":')[2].partition(",")[0]
    manifest.write_text(text.replace(f'"mtime":{now}', f'"mtime":{mtime}'))
    assert only(verify(house)).kind == "manifest"
    repair(house)
    assert house.present() == []


def test_manifest_that_contradicts_record_repairs_nothing(house: House) -> None:
    """Two paths of a manifest are swapped."""
    entry = house.entry("a")
    site_packages = house.install("e", "hardlink", entry)
    path = Path(entry.path, "manifest.json")
    data = json.loads(path.read_text())
    one, two = (row for row in data["files"] if row[0] in ("a/data", "a/__init__.py"))
    one[0], two[0] = two[0], one[0]
    path.write_text(json.dumps(data))
    before = (site_packages / "a/data").read_bytes()
    damage = only(repair(house))
    assert damage.kind == "manifest"
    assert house.present() == []
    assert (site_packages / "a/data").read_bytes() == before


def test_record_that_cannot_be_read_contradicts_nothing(house: House) -> None:
    entry = house.entry("a")
    Path(entry.source(f"{entry.dist_info}/RECORD")).write_bytes(b"\xff")
    assert only(verify(house)).kind == "modified"


def test_wheel_whose_record_is_wrong_contradicts_nothing(house: House) -> None:
    """pip installs such a wheel, and the manifest has the bytes that it had."""
    wrong = make_wheel(
        house.path / "wheels", "wrong", files={"wrong/a": "a", "wrong/b": "b"}
    )
    with zipfile.ZipFile(wrong) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(wrong, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, b"c" if name == "wrong/a" else content)
    preparer = Preparer([house.store], umask=0o022, pycompile=False, count=1)
    preparer.prepare(str(wrong))
    preparer.stop()
    assert verify(house).damages == []


# --- wheels that are got again --------------------------------------------------------


@pytest.fixture
def index(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of wheels in place of an index, and a shared file that is edited."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house.path / "wheels"))
    Path(house.path, "tmp").mkdir()
    entry = house.entry("a")
    for name in ("one", "two"):
        scripts = house.site_packages(name).parents[2] / "bin"
        scripts.mkdir()
        (scripts / "python").symlink_to(sys.executable)
        home = os.path.dirname(os.path.realpath(sys.executable))
        (scripts.parent / "pyvenv.cfg").write_text(f"home = {home}\n")
        house.install(name, "hardlink", entry)
    edit(entry.source("a/data"))
    return house.path / "wheels"


@pytest.mark.usefixtures("index")
def test_wheel_is_got_again_where_no_intact_copy_is_left(house: House) -> None:
    damage = only(repair(house))
    assert (damage.outcome, damage.is_repaired) == ("repaired", True)
    assert verify(house).damages == []
    data = [house.site_packages(name) / "a" / "data" for name in ("one", "two")]
    assert data[0].read_text() == "a" * 9000
    assert data[0].samefile(data[1])


@pytest.mark.usefixtures("index")
def test_file_is_known_by_its_digest_where_no_store_has_the_wheel(house: House) -> None:
    shutil.rmtree(house.root / "v1" / "wheels")
    assert only(repair(house)).outcome == "repaired"
    assert verify(house).damages == []


def test_wheel_with_another_hash_is_not_taken(house: House, index: Path) -> None:
    (wheel,) = index.glob("a-1.0*.whl")
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("a/more", "more")
    damage = only(repair(house))
    assert not damage.is_repaired
    assert "pip download failed" in str(damage.outcome)
    for name in ("one", "two"):
        python = house.path / name / "bin" / "python"
        command = f"{python} -m pip install --force-reinstall --no-deps a==1.0"
        assert command in str(damage.outcome).splitlines()


def test_wheel_with_other_files_repairs_nothing(house: House, index: Path) -> None:
    shutil.rmtree(house.root / "v1" / "wheels")
    make_wheel(
        index, "a", files={"a/data": "other", "a/__init__.py": "", "a/empty": ""}
    )
    outcome = str(only(repair(house)).outcome)
    assert "the wheel that was downloaded has other files" in outcome
    (wheel,) = index.glob("a-1.0*.whl")
    wheel.write_bytes(b"not a wheel")
    outcome = str(only(repair(house)).outcome)
    assert "cannot be read" in outcome or "pip download failed" in outcome


def refuse(*_: object, **__: object) -> NoReturn:
    raise AssertionError


@as_root
@pytest.mark.usefixtures("index")
def test_root_gets_nothing_for_an_environment_of_another_user(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", refuse)
    for name in ("one", "two"):
        os.chown(house.site_packages(name), USER, USER)
    outcome = str(only(repair(house)).outcome)
    assert "nothing is downloaded for an environment of another user" in outcome
    assert outcome.count("-m pip install --force-reinstall") == 2


@pytest.mark.usefixtures("index")
def test_without_an_interpreter_nothing_is_got(house: House) -> None:
    for name in ("one", "two"):
        (house.path / name / "bin" / "python").unlink()
    assert "no interpreter of an environment answers" in str(
        only(repair(house)).outcome
    )


@pytest.mark.usefixtures("index")
def test_pip_of_the_environment_is_used_if_it_has_one(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    (house.site_packages("one") / "pip").mkdir()

    def run(line: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        lines.append(line)
        return subprocess.CompletedProcess(line, 1, "", "")

    site = Environment(str(house.site_packages("one")))
    assert site.interpreter is not None
    monkeypatch.setattr(subprocess, "run", run)
    problem = fetch._download(site, "/python", "a 1.0", None, str(house.path))
    assert lines[0][:3] == ["/python", "-m", "pip"]
    assert problem == "pip download failed: no reason was given"


@pytest.mark.parametrize("how", ["cut", "other bytes"])
def test_wheel_that_cannot_be_read_repairs_nothing(
    house: House, index: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """pip does not compare files with their RECORD; repair does."""
    (wheel,) = index.glob("a-1.0*.whl")

    def download(*args: str) -> None:
        copy = Path(shutil.copy(wheel, args[-1]))
        with zipfile.ZipFile(wheel) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        if how == "cut":
            os.truncate(copy, 100)
            return
        with zipfile.ZipFile(copy, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, b"other" if name == "a/data" else content)

    monkeypatch.setattr(fetch, "_download", download)
    outcome = str(only(repair(house)).outcome)
    reason = {
        "cut": "the wheel cannot be read",
        "other bytes": "the wheel that was downloaded has other files",
    }
    assert reason[how] in outcome


def test_registration_without_a_path_is_passed_over(house: House) -> None:
    house.install("one", "hardlink", house.entry("a"))
    (file,) = house.root.glob("v1/environments/*/environment.json")
    file.write_text("")
    assert verify(house).damages == []
