"""Environments of stock pip become links, and nothing else about them changes."""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.parity import delta, store_digest
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

MODES = ("hardlink", "symlink")
MIB = 1 << 20


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one big package, and one that needs it."""
    directory = tmp_path_factory.mktemp("house")
    blob = random.Random(0).randbytes
    files: dict[str, bytes | str] = {
        "big/__init__.py": "from big.module import VALUE\n",
        "big/module.py": "VALUE = 42\n",
        "big/tool.sh": "#!/bin/sh\n",
        "single.py": "SINGLE = 1\n",
        **{f"big/lib/{number}.so": blob(4 * MIB) for number in range(6)},
        "big-1.0.data/data/share/big/data.bin": blob(MIB),
        "big-1.0.data/headers/big.h": "#pragma once\n",
        "big-1.0.data/scripts/big-run": "#!python\nprint('run')\n",
    }
    points = "[console_scripts]\nbig = big:VALUE\n"
    make_wheel(directory, "big", "1.0", files, executable=["big/tool.sh"])
    make_wheel(
        directory,
        "small",
        files={"small/__init__.py": "import big\n"},
        metadata="Requires-Dist: big\n",
        entry_points=points,
    )
    make_wheel(directory, "big", "2.0", {"big/__init__.py": "VALUE = 43\n"})
    return directory


@pytest.fixture(scope="session")
def tool(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return an environment that has the command."""
    return bed.environment(tmp_path_factory.mktemp("tool") / "environment", shim=True)


class Bench:
    """Environments of stock pip, and a store that they have never heard of."""

    def __init__(self, bed: Bed, root: Path, tool: Environment) -> None:
        self._bed, self._root, self._tool = bed, root, tool
        self.store = root / "store"

    def environment(self, name: str, *args: str | Path) -> Environment:
        """Make an environment, and install something into it."""
        created = self._bed.environment(self._root / name, shim=False)
        if args:
            created.pip("install", "--no-index", *args)
        return created

    def command(self, *args: str | Path, check: bool = True) -> Any:
        """Run the command; return what it says."""
        store = ("--link-store", self.store, "--json")
        result = self._tool.run("-m", "pip_linkmode", *args, *store, check=check)
        return json.loads(result.stdout)

    def relink(self, *environments: Environment, mode: str = "hardlink") -> Any:
        paths = [environment.path for environment in environments]
        return self.command("relink", *paths, "--mode", mode)


@pytest.fixture
def bench(bed: Bed, tmp_path: Path, tool: Environment) -> Bench:
    return Bench(bed, tmp_path, tool)


def stored(bench: Bench, environment: Environment) -> dict[str, str]:
    """Tell how each file that is shared with the store has come there, by path."""
    known = {
        (status.st_dev, status.st_ino)
        for path in bench.store.glob("v1/wheels/**/*")
        for status in [path.lstat()]
        if stat.S_ISREG(status.st_mode)
    }
    found = {}
    for path in sorted(environment.path.rglob("*")):
        name = path.relative_to(environment.path).as_posix()
        status = path.lstat()
        if path.is_symlink() and str(bench.store) in os.readlink(path):
            found[name] = "symlink"
        elif (status.st_dev, status.st_ino) in known:
            found[name] = "hardlink"
    return found


def taken(*roots: Path) -> int:
    """Return the bytes on the disk of some trees, each inode once."""
    inodes = {}
    for root in roots:
        for path in root.rglob("*"):
            status = path.lstat()
            inodes[status.st_dev, status.st_ino] = status.st_blocks * 512
    return sum(inodes.values())


def assert_record_holds(environment: Environment) -> None:
    """Compare every file with the hash in its RECORD."""
    count = 0
    for record in environment.site_packages.glob("*.dist-info/RECORD"):
        for path, digest, _ in csv.reader(record.read_text().splitlines()):
            if digest and "/bin/" not in path:  # the bed has none
                content = (environment.site_packages / path).read_bytes()
                value = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
                assert digest == f"sha256={value.decode().rstrip('=')}"
                count += 1
    assert count > 100


def left_over(environment: Environment) -> list[Path]:
    return [*environment.path.rglob(".pip-linkmode-*")]


# --- the result -----------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_everything_is_as_before_but_for_the_disk(
    bench: Bench, house: Path, mode: str
) -> None:
    one, two = (
        bench.environment(name, "--find-links", house, "small", "big==1.0")
        for name in ("one", "two")
    )
    before = [environment.snapshot() for environment in (one, two)]
    report = bench.relink(one, two, mode=mode)
    assert [environment.snapshot() for environment in (one, two)] == before
    assert {entry["name"] for entry in report["adopted"]} == {"big", "small", "pip"}
    site_packages = two.site_packages.relative_to(two.path).as_posix()
    seen = stored(bench, two)
    tag = sys.implementation.cache_tag
    for path in ("lib/0.so", "module.py"):
        assert seen[f"{site_packages}/big/{path}"] == mode
    # A program may ask for the real place of the others.
    for path in (
        f"{site_packages}/big/__pycache__/module.{tag}.pyc",
        f"{site_packages}/big/tool.sh",
        "share/big/data.bin",
        f"include/site/{Path(site_packages).parent.name}/big/big.h",
    ):
        assert seen[path] == "hardlink"
    # pip's --target does not replace links that are directly in it.
    assert seen[f"{site_packages}/single.py"] == "hardlink"
    # pip resolves its own path.
    assert seen[f"{site_packages}/pip/__main__.py"] == "hardlink"
    assert not any(path.startswith("bin/") for path in seen)
    for environment in (one, two):
        environment.pip("check")
        environment.run("-c", "import small, single; assert small.big.VALUE == 42")
        assert_record_holds(environment)
        assert left_over(environment) == []


def test_sum_of_five_is_that_of_one(bench: Bench, house: Path) -> None:
    created = [
        bench.environment(f"env{number}", "--find-links", house, "small", "big==1.0")
        for number in range(5)
    ]
    paths = [environment.path for environment in created]
    one, five = taken(paths[0]), taken(*paths)
    assert five > 4.9 * one
    report = bench.relink(*created)
    after = taken(*paths, bench.store)
    assert after < 1.05 * one
    # What it says is what came of it, but for directories.
    saved = report["bytes_freed"] - report["bytes_stored"]
    assert abs((five - after) - saved) < 0.05 * one


@pytest.mark.parametrize("mode", MODES)
def test_every_trait_survives(bench: Bench, tmp_path: Path, mode: str) -> None:
    wheels = [
        wheel
        for name, trait in TRAITS.items()
        if name != "double_target"  # stock pip refuses it
        for wheel in trait(tmp_path / "wheels")
    ]
    stock = bench.environment("one", "--no-deps", *wheels)
    two = bench.environment("two")
    shutil.rmtree(two.path)
    shutil.copytree(stock.path, two.path, symlinks=True)
    before = two.snapshot()
    bench.relink(two, mode=mode)
    assert two.snapshot() == before
    assert len(stored(bench, two)) > 100
    digest = store_digest(bench.store)
    names = [wheel.name.split("-")[0] for wheel in wheels]
    two.pip("uninstall", "--yes", *names)
    assert store_digest(bench.store) == digest
    # What is left is what stock pip leaves: what no RECORD has.
    stock.pip("uninstall", "--yes", *names)
    assert two.snapshot() == stock.snapshot()


def test_stock_pip_upgrades_and_uninstalls(bench: Bench, house: Path) -> None:
    one = bench.environment("one")
    before = one.snapshot()
    one.pip("install", "--no-index", "--find-links", house, "small", "big==1.0")
    bench.relink(one, mode="symlink")
    digest = store_digest(bench.store)
    one.pip("install", "--no-index", "--find-links", house, "big==2.0")
    one.run("-c", "import big; assert big.VALUE == 43")
    one.pip("uninstall", "--yes", "big", "small")
    left = delta(before, one.snapshot())
    assert {entry and entry[0] for entry in left.values()} == {"dir"}  # as ever
    assert store_digest(bench.store) == digest


def test_wheel_that_the_store_has_is_used(
    bench: Bench, bed: Bed, house: Path, tmp_path: Path
) -> None:
    linked = bed.environment(tmp_path / "linked", shim=True)
    env = {"PIP_LINK_STORE": str(bench.store), "PIP_LINK_MODE": "hardlink"}
    wheels = ("--no-index", "--find-links", house, "small", "big==1.0")
    linked.pip("install", *wheels, env=env)
    one = bench.environment("one", *wheels[1:])
    before = one.snapshot()
    report = bench.relink(one)
    assert {entry["name"] for entry in report["adopted"]} == {"pip"}
    data = linked.path / "share/big/data.bin"
    assert data.samefile(one.path / "share/big/data.bin")
    assert one.snapshot() == before


def test_installation_without_bytecode_gets_none(bench: Bench, house: Path) -> None:
    wheels = ("--find-links", house, "--no-compile", "small", "big==1.0")
    one = bench.environment("one", *wheels)
    before = one.snapshot()
    bench.relink(one)
    assert one.snapshot() == before


def test_second_time_is_nothing_to_do(bench: Bench, house: Path) -> None:
    one = bench.environment("one", "--find-links", house, "big==1.0")
    (first,) = bench.relink(one)["environments"]
    again = bench.relink(one)
    (second,) = again["environments"]
    assert second["files"] == {}
    # Files are counted with their bytecode only when they are linked.
    assert 0 < second["already"] <= sum(first["files"].values())
    assert again["adopted"] == []


def test_wheel_is_in_the_store_once_after_relink_and_installation(
    bench: Bench, house: Path
) -> None:
    wheels = ("--no-index", "--find-links", house, "small", "big==1.0")
    one = bench.environment("one", *wheels[1:])
    two = bench.environment("two")
    size = taken(one.path / "lib")
    bench.relink(one)
    bench.command("enable", one.path, two.path)
    env = {"PIP_LINK_STORE": str(bench.store), "PIP_LINK_MODE": "hardlink"}
    two.pip("install", *wheels, env=env)
    one.pip("install", "--force-reinstall", *wheels, env=env)
    data = "big/lib/0.so"
    assert (one.site_packages / data).samefile(two.site_packages / data)
    bench.relink(one, two)
    bench.command("prune")
    names = sorted(
        json.loads(path.read_text())["name"]
        for path in bench.store.glob("v1/wheels/*/*/manifest.json")
    )
    assert names == ["big", "pip", "small"]
    usage = bench.command("usage", one.path, two.path)
    assert usage["spent"] < 1.1 * size
    assert usage["saved"] > 0.8 * size
    for environment in (one, two):
        environment.run("-c", "import small, single; assert small.big.VALUE == 42")


# --- what is not lost -----------------------------------------------------------------


def test_edited_file_stays_and_is_reported(bench: Bench, house: Path) -> None:
    one, two = (
        bench.environment(name, "--find-links", house, "big==1.0")
        for name in ("one", "two")
    )
    edited = one.site_packages / "big" / "module.py"
    edited.write_text("VALUE = 99\n")
    patched = one.site_packages / "big" / "lib" / "0.so"
    patched.write_bytes(bytes(4 * MIB))  # of the same size
    before = [one.snapshot(), two.snapshot()]
    report = bench.relink(one, two)
    assert [one.snapshot(), two.snapshot()] == before
    assert sorted(report["environments"][0]["edited"]) == [str(patched), str(edited)]
    assert report["environments"][1]["edited"] == []
    assert edited.stat().st_nlink == patched.stat().st_nlink == 1
    # What the one has not, the other has given to the store.
    theirs = two.site_packages / "big" / "lib" / "0.so"
    assert theirs.stat().st_nlink == 2
    for path in bench.store.glob("v1/wheels/*/*/files/big/module.py"):
        assert path.read_text() == "VALUE = 42\n"


def test_dry_run_tells_and_does_nothing(bench: Bench, house: Path) -> None:
    one, two = (
        bench.environment(name, "--find-links", house, "big==1.0")
        for name in ("one", "two")
    )
    inodes = {path: path.lstat().st_ino for path in one.path.rglob("*")}
    told = bench.command("relink", one.path, two.path, "--dry-run")
    assert {path: path.lstat().st_ino for path in one.path.rglob("*")} == inodes
    assert not bench.store.exists()
    done = bench.relink(one, two)
    for key in ("bytes_freed", "bytes_stored"):
        assert told[key] == pytest.approx(done[key], rel=0.05)
    for before, after in zip(told["environments"], done["environments"], strict=True):
        assert before["files"] == after["files"]


def test_killed_at_any_moment_every_file_is_whole(
    bench: Bench, tool: Environment, house: Path
) -> None:
    """Six times, at moments that are spread over the whole run."""
    one, two = (
        bench.environment(name, "--find-links", house, "small", "big==1.0")
        for name in ("one", "two")
    )
    before = [one.snapshot(), two.snapshot()]
    options = ("--mode", "hardlink", "--link-store", str(bench.store))
    paths = (str(one.path), str(two.path))
    program = [str(tool.python), "-m", "pip_linkmode", "relink", *paths, *options]
    seen = set()
    for count in (0, 40, 250, 600, 900, 1200):
        process = subprocess.Popen(program, stdout=subprocess.DEVNULL)
        while process.poll() is None and shared(two) < count:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(shared(two))
        for environment, expected in zip((one, two), before, strict=True):
            assert without_stale(environment) == {
                path: entry
                for path, entry in expected.items()
                if not path.endswith(".pyc")
            }
    assert len(seen) > 2
    bench.relink(one, two)
    assert [one.snapshot(), two.snapshot()] == before
    assert left_over(one) == left_over(two) == []
    assert os.listdir(bench.store / "v1" / "staging") == []


def test_no_clean_up_breaks_what_is_being_linked(bench: Bench, house: Path) -> None:
    stop = threading.Event()
    rounds = []
    bench.store.mkdir()

    def clean_up() -> None:
        while not stop.is_set():
            rounds.append(bench.command("prune", "--max-size", "0", check=False))

    created = [
        bench.environment(f"env{number}", "--find-links", house, "small", "big==1.0")
        for number in range(3)
    ]
    before = [environment.snapshot() for environment in created]
    cleaner = threading.Thread(target=clean_up)
    cleaner.start()
    try:
        for environment in created:
            bench.relink(environment, mode="symlink")
            bench.relink(environment, mode="hardlink")
            bench.relink(environment, mode="symlink")
    finally:
        stop.set()
        cleaner.join()
    # A link that leads nowhere would be a difference.
    assert [environment.snapshot() for environment in created] == before
    assert len(rounds) > 5


def shared(environment: Environment) -> int:
    """Count what has more than one name, while another process is at work."""
    count = 0
    for directory, _, files in os.walk(environment.path):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                count += os.lstat(os.path.join(directory, name)).st_nlink > 1
    return count


def without_stale(environment: Environment) -> dict[str, Entry]:
    """Describe all but bytecode, which Python makes anew if it is stale."""
    return {
        path: entry
        for path, entry in environment.snapshot().items()
        if not path.endswith(".pyc") and ".pip-linkmode-" not in path
    }


# --- and back -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_materialized_environment_shares_nothing(
    bench: Bench, house: Path, mode: str
) -> None:
    one = bench.environment("one", "--find-links", house, "small", "big==1.0")
    before = one.snapshot()
    bench.relink(one, mode=mode)
    (report,) = bench.command("materialize", one.path)
    assert report["files"] > 100
    assert report["released"] == [str(bench.store)]
    assert stored(bench, one) == {}
    assert all(
        path.lstat().st_nlink == 1 for path in one.path.rglob("*") if not path.is_dir()
    )
    assert one.snapshot() == before
    shutil.rmtree(bench.store)
    one.run("-c", "import small")
    one.pip("check")


def test_links_that_lead_nowhere_are_reported(bench: Bench, house: Path) -> None:
    one = bench.environment("one", "--find-links", house, "big==1.0")
    bench.relink(one, mode="symlink")
    for path in bench.store.glob("v1/wheels/*/*/files/big/module.py"):
        path.unlink()
    (report,) = bench.command("materialize", one.path, check=False)
    lost = one.site_packages / "big" / "module.py"
    assert report["dangling"] == [str(lost)]
    assert lost.is_symlink()
    assert report["released"] == []
