"""Sixteen pips install, upgrade and uninstall while a clean-up runs all the time.

After each installation every file has the content that stock pip gives it, links
followed.  At the end all environments are compared with stock pip's, byte for byte.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.filesystem.support import INSTALL, entries, left_over, settings
from tests.support.parity import delta
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.snapshot import Entry

PIPS = 16
NAMES = "abcdefgh"
VERSIONS = ("1.0", "2.0")
MODES = ("auto", "clone", "hardlink", "symlink", "copy")
CLEAN_UPS = (
    ("prune",),
    ("prune", "--max-size", "0"),
    ("prune", "--older-than", "0h"),
    ("prune", "--max-size", "200k"),
    ("verify",),
)
Changes = dict[str, "Entry | None"]


@dataclass
class Report:
    """The results of a run."""

    pips: int = 0
    seconds: float = 0
    installed: Counter[str] = field(default_factory=Counter)
    uninstalled: int = 0
    clean_ups: Counter[str] = field(default_factory=Counter)
    removed: int = 0
    entries: int = 0
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        modes = ", ".join(f"{n} {mode}" for mode, n in sorted(self.installed.items()))
        clean_ups = ", ".join(f"{n} {name}" for name, n in self.clean_ups.items())
        text = (
            f"{self.pips} pips, {self.seconds / 60:.0f} minutes: "
            f"{self.installed.total()} installations ({modes}), "
            f"{self.uninstalled} times everything uninstalled; "
            f"{self.clean_ups.total()} clean-ups ({clean_ups}) removed {self.removed} "
            f"entries; {self.entries} are left, whole; {len(self.findings)} findings"
        )
        return "\n".join([text, *self.findings[:50]])


class CleanUp:
    """The store, the pips and the clean-up.

    :param place: an empty directory; symlinks into it must be possible
    """

    def __init__(self, bed: Bed, place: Path, pips: int) -> None:
        self._store = place / "store"
        self._wheels = {
            (name, version): _wheel(place / "wheels", name, version)
            for name in NAMES
            for version in VERSIONS
        }
        self._stock = self._expected(bed, place / "stock")
        self._environments = [
            bed.environment(place / f"e{number}", shim=True) for number in range(pips)
        ]
        self._before = self._environments[0].snapshot()
        self._cleaner = bed.environment(place / "cleaner", shim=True)
        self._report = Report(pips)
        self._lock = threading.Lock()

    def run(self, seconds: float, say: Callable[[object], None]) -> Report:
        """Let all of them work for a time."""
        self._store.mkdir()
        began = time.monotonic()
        until = began + seconds
        cleaner = threading.Thread(target=self._clean, args=(until,))
        cleaner.start()
        with ThreadPoolExecutor(len(self._environments)) as pool:
            jobs = [
                pool.submit(self._work, number, until)
                for number in range(len(self._environments))
            ]
            while time.monotonic() < until:
                time.sleep(min(60, max(0.0, until - time.monotonic())))
                self._report.seconds = time.monotonic() - began
                say(self._report)
            for job in jobs:
                job.result()
        cleaner.join()
        self._report.seconds = time.monotonic() - began
        self._finish()
        return self._report

    def _expected(self, bed: Bed, path: Path) -> dict[tuple[str, str], Changes]:
        """Let stock pip install each wheel; return what it makes of it."""
        environment = bed.environment(path, shim=False)
        before, found = environment.snapshot(), {}
        for key, wheel in self._wheels.items():
            environment.pip(*INSTALL, wheel)
            found[key] = delta(before, environment.snapshot())
            environment.pip("uninstall", "--yes", f"care-{key[0]}")
        # pip leaves an empty directory.
        assert delta(before, environment.snapshot()).keys() == {"share"}
        return found

    def _work(self, number: int, until: float) -> None:
        """Install at random, one pip after the other, and look after each."""
        environment, chance = self._environments[number], random.Random(number)
        has: dict[str, str] = {}
        while time.monotonic() < until:
            if has and chance.random() < 0.25:
                self._uninstall(environment, has)
                continue
            mode = chance.choice(MODES)
            chosen = {
                name: chance.choice(VERSIONS)
                for name in chance.sample(NAMES, chance.randint(1, 4))
            }
            paths = (str(self._wheels[item]) for item in chosen.items())
            flags = ("--no-index", "--force-reinstall")
            done = environment.pip(
                *("install", *flags, *paths),
                env=settings(mode, self._store),
                check=False,
            )
            has |= chosen
            with self._lock:
                self._report.installed[mode] += 1
            if done.returncode or done.stderr:
                self._find(f"e{number}, {mode}: {done.returncode} {done.stderr}")
            self._look(number, environment, has)
        self._look(number, environment, has)

    def _uninstall(self, environment: Environment, has: dict[str, str]) -> None:
        projects = [f"care-{name}" for name in has]
        done = environment.pip("uninstall", "--yes", *projects, check=False)
        if done.returncode:
            self._find(f"uninstall: {done.stderr}")
        has.clear()
        with self._lock:
            self._report.uninstalled += 1

    def _look(self, number: int, environment: Environment, has: dict[str, str]) -> None:
        """Compare an environment with stock pip's; a dangling link has no content."""
        expected: Changes = {}
        for item in has.items():
            expected |= self._stock[item]
        found = delta(self._before, environment.snapshot())
        if not has:
            found.pop("share", None)
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path):
                self._find(f"e{number}: {path}: {expected.get(path)} {found.get(path)}")

    def _clean(self, until: float) -> None:
        chance = random.Random("clean-up")
        while time.monotonic() < until:
            command = chance.choice(CLEAN_UPS)
            done = self._cleaner.run(
                *("-m", "pip_linkmode", *command, "--json"),
                *("--link-store", self._store),
                check=False,
            )
            with self._lock:
                self._report.clean_ups[" ".join(command)] += 1
                if "Traceback" in done.stderr or done.returncode not in (0, 1):
                    self._report.findings.append(f"{command}: {done.stderr}")
                elif command[0] == "prune":
                    (result,) = json.loads(done.stdout or '[{"removed": []}]')
                    self._report.removed += len(result["removed"])

    def _finish(self) -> None:
        if left_over(self._store):
            self._find(f"left in staging: {left_over(self._store)}")
        try:
            self._report.entries = entries(self._store)
        except (AssertionError, OSError, ValueError) as error:
            self._find(f"the store: {error!r}")

    def _find(self, finding: str) -> None:
        with self._lock:
            self._report.findings.append(finding)


def _wheel(directory: Path, name: str, version: str) -> Path:
    """Make a wheel without scripts, whose first line would name the environment."""
    text = "".join(f"def function_{n}():\n    return {n}\n" for n in range(60))
    return make_wheel(
        directory,
        f"care-{name}",
        version,
        files={
            **{f"care_{name}/module_{n}.py": text + version for n in range(6)},
            f"care_{name}/data": random.Random(name + version).randbytes(30_000),
            f"care_{name}/only_{version[0]}.py": "x = 1\n",
            f"care_{name}-{version}.data/data/share/{name}/table": version * 500,
        },
    )
