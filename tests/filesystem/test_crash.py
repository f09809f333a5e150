"""Killed at any point: the store stays whole, and the next installation succeeds."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import (
    INSTALL,
    Bench,
    compare,
    digests,
    entries,
    left_over,
    settings,
    start,
    under,
)
from tests.support.environments import EVERYTHING
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

MODES = ("auto", "clone", "hardlink", "symlink", "copy")
KILLS = 20 if EVERYTHING else 5
"""For each mode, cold and warm: 200 or 50 in all."""
REPAIR_EVERY = 5
SEED = int(os.environ.get("PIP_LINKMODE_TEST_SEED", "20261122"))
"""Another one for each round of ``python -m tests.endurance kills``."""

STAGES = {
    b"b": "before the store",
    b"s": "between wheels",
    b"u": "unpacking, compiling, checking",
    b"r": "publishing",
    b"l": "linking",
    b"p": "in pip's own part",
    b"a": "after",
}
TRACER = '''\
"""Keep in a file, which outlives us, at which stage an installation is."""
import os, sys
from importlib.machinery import PathFinder

_file = os.open(os.environ.get("TEST_STAGE", os.devnull), os.O_RDWR)


def around(before, function, after):
    def wrapped(*args, **kwargs):
        os.pwrite(_file, before, 0)
        try:
            return function(*args, **kwargs)
        finally:
            os.pwrite(_file, after, 0)
    return wrapped


def patch(module):
    session = module.Session
    session.__enter__ = around(b"s", session.__enter__, b"s")
    session.__exit__ = around(b"a", session.__exit__, b"a")
    module.Preparer.prepare = around(b"u", module.Preparer.prepare, b"s")
    module.Store.publish = around(b"r", module.Store.publish, b"u")
    module.Linker.link = around(b"l", module.Linker.link, b"s")
    install = session.install
    session.install = lambda self, pips, *args, **kwargs: install(
        self, around(b"p", pips, b"s"), *args, **kwargs
    )


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "pip_linkmode.install.session":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), patch(module))
        return spec


sys.meta_path.insert(0, Finder())
'''


@pytest.fixture
def wheels(tmp_path: Path) -> list[Path]:
    """A few small wheels, with something to compile, to link and to leave to pip."""
    text = "".join(f"def function_{n}():\n    return {n}\n" for n in range(60))
    return [
        make_wheel(
            tmp_path / "wheels",
            f"crash-{name}",
            files={
                **{f"crash_{name}/module_{n}.py": text for n in range(8)},
                f"crash_{name}/data": random.Random(name).randbytes(100_000),
                f"crash_{name}-1.0.data/data/share/{name}/table": "a,b\n" * 2000,
                f"crash_{name}-1.0.data/scripts/crash-{name}": "#!python\n",
            },
            entry_points=f"[console_scripts]\ncrash-{name}-main = crash_{name}:main\n",
        )
        for name in "abcd"
    ]


@dataclass
class Counts:
    """What a run of kills has come to."""

    kills: int = 0
    entries: int = 0
    lost: int = 0
    repaired: int = 0
    stages: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        stages = (f"{self.stages[stage]} {stage}" for stage in STAGES.values())
        return (
            f"{self.kills} kills ({'; '.join(stages)}), {self.entries} entries "
            f"checked, lost: {self.lost}; {self.repaired} installations over what was "
            "left"
        )

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.kills + other.kills,
            self.entries + other.entries,
            self.lost + other.lost,
            self.repaired + other.repaired,
            self.stages + other.stages,
        )


@dataclass
class Log:
    """What all processes of this test session have counted."""

    directory: Path
    say: Callable[[str], None]

    def add(self, name: str, counts: Counts) -> None:
        """Print some counts, and the sum with the last of them."""
        self.say(f"{name}: {counts}")
        self.directory.mkdir(exist_ok=True)
        path = self.directory / f"{name}.json"
        path.with_suffix(".part").write_text(json.dumps(vars(counts)))
        path.with_suffix(".part").rename(path)
        noted = [json.loads(one.read_text()) for one in self.directory.glob("*.json")]
        if len(noted) == 2 * len(MODES):
            each = (Counts(**{**n, "stages": Counter(n["stages"])}) for n in noted)
            self.say(f"in all: {sum(each, Counts())}")


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory, say: Callable[[str], None]) -> Log:
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    return Log(base / "kills", say)


@dataclass
class Victim:
    """An environment whose pip is killed again and again."""

    environment: Environment
    args: list[str]
    env: dict[str, str]
    stage_file: Path

    def trace(self) -> None:
        """Have every pip that is started here tell its stage."""
        tracer = self.stage_file.with_name("tracer")
        tracer.mkdir()
        (tracer / "sitecustomize.py").write_text(TRACER)
        self.env |= {"PYTHONPATH": str(tracer), "TEST_STAGE": str(self.stage_file)}

    def stage(self) -> bytes:
        """Return the stage that the last pip has reached."""
        return self.stage_file.read_bytes()[:1]

    def start(self) -> subprocess.Popen[bytes]:
        """Start pip."""
        self.stage_file.write_bytes(b"b")
        return start(self.environment, *self.args, env=self.env)

    def is_killed(self, stage: bytes, seconds: float, *, group: bool) -> bool:
        """Run pip and kill it.

        :param stage: when it has reached this
        :param seconds: how long to let it go on before that, since it was started or,
            for a later stage, since it has opened the store
        :param group: kill what it has started at the same time
        :returns: whether it was still running
        """
        process = self.start()
        if stage != b"b":
            self.wait(process, lambda now: now != b"b")
        time.sleep(seconds)
        # A stage that has been missed is not waited for.
        self.wait(process, lambda now: now in (stage, b"a"))
        if process.poll() is not None:
            return False
        if group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        return process.wait() == -signal.SIGKILL

    def wait(
        self, process: subprocess.Popen[bytes], until: Callable[[bytes], bool]
    ) -> None:
        """Wait for a stage, or for the end."""
        while not until(self.stage()) and process.poll() is None:
            time.sleep(0.0002)

    def duration(self) -> tuple[float, float]:
        """Let pip finish; return seconds until the store is opened, and after."""
        began = time.monotonic()
        process = self.start()
        self.wait(process, lambda now: now != b"b")
        opened = time.monotonic()
        assert process.wait() == 0
        assert self.stage() == b"a"
        return opened - began, time.monotonic() - opened


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("mode", MODES)
def test_kill_9_at_random_points(
    bed: Bed,
    tmp_path: Path,
    on: Callable[[str], Path],
    wheels: list[Path],
    log: Log,
    mode: str,
    *,
    warm: bool,
) -> None:
    place = on("xfs") if mode in ("auto", "clone") else tmp_path
    store = place / "store"
    bench = Bench(bed, place, [*INSTALL, *map(str, wheels)])
    environment = bench.fresh()
    command = ["-m", "pip", *bench.args]
    victim = Victim(environment, command, settings(mode, store), tmp_path / "stage")
    victim.trace()
    early, late = victim.duration()
    assert entries(store) == len(wheels)

    chance = random.Random(f"{SEED} {mode} {warm}")
    counts = Counts()

    while counts.kills < KILLS:
        if not warm:
            shutil.rmtree(store, ignore_errors=True)
        if chance.random() < 0.5:
            forget(environment, bench.before)
        stage = chance.choice([*STAGES])
        longest = early if stage == b"b" else late / 2
        seconds = chance.uniform(0, longest) * chance.choice((0, 1))
        if not victim.is_killed(stage, seconds, group=chance.random() < 0.5):
            continue
        counts.kills += 1
        counts.stages[STAGES[victim.stage()]] += 1
        if store.exists():
            counts.entries += whole_entries(store, counts)
        assert not warm or entries(store) == len(wheels)
        if counts.kills % REPAIR_EVERY == 0:
            environment.pip(*bench.args, env=settings(mode, store))
            bench.assert_parity(environment)
            assert entries(store) == len(wheels)
            assert left_over(store) == []
            counts.repaired += 1
    log.add(f"{mode}, {'warm' if warm else 'cold'}", counts)
    assert counts.lost == 0


def whole_entries(store: Path, counts: Counts) -> int:
    try:
        return entries(store)
    except (AssertionError, OSError, ValueError, EOFError):
        counts.lost += 1
        raise


def forget(environment: Environment, before: dict[str, Entry]) -> None:
    """Remove all that was installed since."""
    for folder, directories, files in os.walk(environment.path, topdown=False):
        for name in files + directories:
            path = os.path.join(folder, name)
            if os.path.relpath(path, environment.path) not in before:
                is_real = os.path.isdir(path) and not os.path.islink(path)
                (os.rmdir if is_real else os.unlink)(path)


# --- at chosen points -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "call", "number"),
    [
        ("hardlink", "rename", 1),  # an entry is published
        ("hardlink", "rename", 2),
        ("hardlink", "link", 1),
        ("hardlink", "link", 30),
        ("symlink", "symlink", 1),
        ("symlink", "symlink", 30),
        ("copy", "mkdir", 3),
        ("copy", "unlink", 2),
    ],
)
@pytest.mark.usefixtures("strace")
def test_kill_9_before_a_system_call_takes_effect(
    bed: Bed, tmp_path: Path, wheels: list[Path], mode: str, call: str, number: int
) -> None:
    store = tmp_path / "store"
    environment = bed.environment(tmp_path / "killed", shim=True)
    calls = f"{call},{call}at" if call != "mkdir" else "mkdir,mkdirat"
    traced = under(
        environment,
        *("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"),
        *("-e", f"inject={calls}:signal=SIGKILL:when={number}"),
    )
    args = [*INSTALL, *map(str, wheels)]
    killed = traced.pip(*args, env=settings(mode, store), check=False)
    assert killed.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert entries(store) <= len(wheels)
    compare(bed, tmp_path, args, settings(mode, store))
    assert entries(store) == len(wheels)
    assert left_over(store) == []


# --- damage ---------------------------------------------------------------------------


def entry(store: Path) -> Path:
    (found,) = store.glob("v1/wheels/*/*")
    return found


def module(store: Path) -> Path:
    return entry(store) / "files" / "pkg" / "module.py"


def pyc(store: Path) -> Path:
    (found,) = entry(store).glob("bytecode/*/pkg/module.pyc")
    return found


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    """As after a power cut: what was renamed but not synced has its name only."""
    status = path.stat()
    os.truncate(path, 0)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def delete(path: Path) -> None:
    path.unlink()


def make_executable(path: Path) -> None:
    path.chmod(0o755)


def replace_by_a_link(path: Path) -> None:
    elsewhere = path.parents[8] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def replace_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (
    truncate,
    empty,
    flip_a_byte,
    delete,
    make_executable,
    replace_by_a_link,
    replace_by_a_directory,
)


@dataclass
class Mended:
    """A wheel, and a place where it is installed from a damaged store."""

    bench: Bench
    wheel: Path

    def check(self, store: Path, mode: str, damage: Callable[[], None]) -> str:
        """Damage a store, install from it, and compare all with how it has to be.

        :returns: what pip printed
        """
        mounts.fill(store, self.wheel)
        pristine = digests(entry(store) / "files")
        damage()
        environment = self.bench.fresh()
        done = environment.pip(*self.bench.args, env=settings(mode, store))
        self.bench.assert_parity(environment)
        assert done.stderr == ""
        assert entries(store) == 1
        assert digests(entry(store) / "files") == pristine
        assert left_over(store) == []
        return done.stdout


@pytest.fixture(scope="module")
def mended(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Mended:
    place = tmp_path_factory.mktemp("mended")
    wheel = mounts.published_wheel(place)
    return Mended(Bench(bed, place, [*INSTALL, str(wheel)]), wheel)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("victim", [module, pyc], ids=["file", "bytecode"])
def test_damage_is_noticed_and_mended(
    tmp_path: Path,
    mended: Mended,
    victim: Callable[[Path], Path],
    damage: Callable[[Path], None],
) -> None:
    store = tmp_path / "store"
    said = mended.check(store, "hardlink", lambda: damage(victim(store)))
    assert ("; 1 unpacked again: " in said) is (victim is module)


def empty_manifest(store: Path) -> None:
    empty(entry(store) / "manifest.json")


def truncated_manifest(store: Path) -> None:
    truncate(entry(store) / "manifest.json")


def no_manifest(store: Path) -> None:
    (entry(store) / "manifest.json").unlink()


def empty_manifest_of_bytecode(store: Path) -> None:
    (manifest,) = entry(store).glob("bytecode/*/manifest.json")
    empty(manifest)


def no_directory(store: Path) -> None:
    shutil.rmtree(entry(store) / "files" / "pkg")


def no_files(store: Path) -> None:
    shutil.rmtree(entry(store) / "files")


def empty_entry(store: Path) -> None:
    path = entry(store)
    shutil.rmtree(path)
    path.mkdir()


def everything_empty(store: Path) -> None:
    for path in store.rglob("*"):
        if path.is_file():
            empty(path)


@pytest.mark.parametrize(
    "damage",
    [
        empty_manifest,
        truncated_manifest,
        no_manifest,
        empty_manifest_of_bytecode,
        no_directory,
        no_files,
        empty_entry,
        everything_empty,
    ],
    ids=lambda damage: damage.__name__,
)
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_an_entry_that_a_power_cut_has_left_is_rebuilt(
    tmp_path: Path, mended: Mended, mode: str, damage: Callable[[Path], None]
) -> None:
    store = tmp_path / "store"
    mended.check(store, mode, lambda: damage(store))
