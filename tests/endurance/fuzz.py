"""Damaged manifests, registrations and RECORDs, through every command.

Each variant is a scene made afresh: a store, environments that use it by hard links and
by symlinks, one of files of its own, and one that stock pip has made. One file of it is
damaged, and all commands run. None may end with a traceback or run for ever; after each
of them every installed file has the content that it had, and nothing outside changed.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.endurance.fork_server import ForkServer
from tests.endurance.mutations import Mutator, remove
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from typing_extensions import Self

    from tests.endurance.fork_server import Finished
    from tests.support.environments import Bed, Environment

NAMES = ("hard", "soft", "copied", "stock")
"""The environments."""
LINKED = {"hard": "hardlink", "soft": "symlink"}
TARGETS = ("manifest", "bytecode", "registration", "marker", "record")
PIP_EVERY = 5
"""How often a variant is met by a real pip too; that takes a second."""
TIMEOUT = 60
"""Seconds after which a command is killed."""
SLOW = 5
"""Seconds of processor time that no command needs for a scene of this size."""

Contents = dict[str, str]


@dataclass(frozen=True)
class Finding:
    """A promise that a command has broken."""

    variant: int
    damage: str
    command: str
    broken: str

    def __str__(self) -> str:
        return f"variant {self.variant}: {self.damage}\n  {self.command}\n" + "\n".join(
            f"    {line}" for line in self.broken.splitlines()
        )


@dataclass
class Report:
    """The results of some variants."""

    variants: int = 0
    runs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    targets: Counter[str] = field(default_factory=Counter)
    slowest: float = 0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        codes = ", ".join(f"{n} times {code}" for code, n in sorted(self.codes.items()))
        targets = ", ".join(f"{n} {name}" for name, n in sorted(self.targets.items()))
        return (
            f"{self.variants} variants ({targets}), {self.runs} runs of a command, "
            f"exit codes {codes}, slowest {self.slowest:.1f} s, "
            f"{len(self.findings)} findings"
        )


def _nothing(_: object) -> None:
    """Say nothing."""


class Fuzzer:
    """Makes scenes, damages them and runs the commands.

    :param directory: an empty one, on a file system with links, not a temporary one to
        pip-linkmode: symlinks into a temporary store are refused
    """

    def __init__(self, bed: Bed, directory: Path, seed: int) -> None:
        self._seed = seed
        self._pristine = directory / "pristine"
        self._scene = directory / "scene"
        self._outside = directory / "outside"
        self._wheels = self._make_wheels(directory / "wheels")
        self._pip = bed.environment(directory / "pip", shim=True)
        self._make_pristine(bed)
        self._expected = self._contents(self._pristine)
        self._server = ForkServer(self._variables(directory), directory)
        self._fill_store()

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(None, None, None)

    def run(
        self, variants: Iterable[int], say: Callable[[object], None] = _nothing
    ) -> Report:
        """Run some variants, by number; the same number is the same damage.

        :param say: is told each finding at once, and from time to time how far it is
        """
        report = Report()
        for variant in variants:
            found = len(report.findings)
            self._variant(variant, report)
            for finding in report.findings[found:]:
                say(finding)
            if report.variants % 25 == 0:
                say(report)
        return report

    # --- the scene --------------------------------------------------------------------

    def _variables(self, directory: Path) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PIP_", "XDG_", "COVERAGE_", "VIRTUAL_ENV"))
        }
        for name in ("home", "tmp"):
            (directory / name).mkdir()
        return kept | {
            "HOME": str(directory / "home"),
            "TMPDIR": str(directory / "tmp"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_LINK_STORE": str(self._scene / "store"),
        }

    @staticmethod
    def _make_wheels(directory: Path) -> list[Path]:
        return [
            make_wheel(
                directory,
                name,
                files={
                    f"{name}/__init__.py": f"NAME = {name!r}\n",
                    f"{name}/sub/module.py": "def f():\n    return 1\n",
                    f"{name}/data": name * 3000,
                    f"{name}_module.py": "x = 1\n",
                    f"{name}-1.0.data/data/share/{name}/table": name * 1000,
                },
                entry_points=f"[console_scripts]\n{name}-main = {name}:NAME\n",
            )
            for name in ("one", "two")
        ]

    def _make_pristine(self, bed: Bed) -> None:
        """Let stock pip make the environments; they are linked in each scene anew."""
        self._pristine.mkdir()
        for name in NAMES:
            environment = bed.environment(self._scene / name, shim=False)
            environment.pip("install", "--no-index", *self._wheels)
            environment.pip("uninstall", "--yes", "pip")
        for name in NAMES:
            (self._scene / name).rename(self._pristine / name)
        remove(self._scene)

    def _fill_store(self) -> None:
        """Make a store that has all: one entry of a wheel, one of installed files."""
        self._lay()
        self._must("fill", str(self._wheels[0]))
        self._link()
        remove(self._scene / "store" / "v1" / "environments")
        (self._scene / "store").rename(self._pristine / "store")

    def _set(self) -> None:
        """Make the scene."""
        self._lay()
        self._link()
        assert (self._scene / "soft" / "share" / "one" / "table").stat().st_nlink > 1
        assert next(self._scene.glob("soft/lib/*/*/one/__init__.py")).is_symlink()
        assert self._contents(self._scene) == self._expected

    def _lay(self) -> None:
        remove(self._scene)
        remove(self._outside)
        shutil.copytree(self._pristine, self._scene, symlinks=True)
        self._outside.mkdir()
        for name in ("file", "__init__.py"):
            (self._outside / name).write_text("NAME = 'outside'\n")
            os.utime(self._outside / name, (1_000_000_000, 1_000_000_000))

    def _link(self) -> None:
        for name, mode in LINKED.items():
            self._must("relink", "--mode", mode, str(self._scene / name))

    def _must(self, *arguments: str) -> None:
        done = self._server.run(*arguments, timeout=TIMEOUT)
        assert done.code == 0, done

    def _contents(self, root: Path) -> Contents:
        """Return the digest of each installed file, as programs see it."""
        found = {}
        for name in NAMES:
            for folder, directories, files in os.walk(root / name):
                directories[:] = [one for one in directories if one != "__pycache__"]
                for file in files:
                    path = Path(folder, file)
                    if path.suffix == ".pth" or path.name in ("RECORD", "python"):
                        continue
                    try:
                        content = path.read_bytes()
                    except OSError as error:
                        content = str(error).encode()
                    key = path.relative_to(root).as_posix()
                    found[key] = hashlib.sha256(content).hexdigest()
        return found

    def _around(self) -> dict[str, tuple[object, ...]]:
        """Describe all that is outside, hard links and times included."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (self._outside, *sorted(self._outside.rglob("*"))):
            status = path.lstat()
            content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            links = status.st_nlink if content else 0
            found[path.name] = (status.st_mode, status.st_uid, links, content)
            found[path.name] += (status.st_mtime_ns,)
        return found

    # --- one variant ------------------------------------------------------------------

    def _variant(self, number: int, report: Report) -> None:
        chance = random.Random(f"{self._seed} {number}")
        self._set()
        target = chance.choice(TARGETS)
        path = chance.choice(self._candidates(target))
        others = [self._scene / name for name in (*NAMES, "store")]
        mutator = Mutator(chance, self._outside / "file", others)
        damage = f"{path.relative_to(self._scene)}: {mutator.mutate(path)}"
        report.variants += 1
        report.targets[target] += 1
        around = self._around()
        if number % PIP_EVERY == 0:
            broken = self._install(chance)
            if broken or (broken := self._broken(around)):
                finding = Finding(number, damage, "pip install", broken)
                report.findings.append(finding)
                return
        for arguments in self._commands(chance):
            done = self._server.run(*arguments, timeout=TIMEOUT)
            report.runs += 1
            report.codes[done.code] += 1
            report.slowest = max(report.slowest, done.seconds)
            broken = _fault(done) or self._broken(around)
            if broken:
                command = f"pip-linkmode {' '.join(arguments)} (exit {done.code})"
                report.findings.append(Finding(number, damage, command, broken))
                return

    def _candidates(self, target: str) -> list[Path]:
        pattern = {
            "manifest": "store/v1/wheels/*/*/manifest.json",
            "bytecode": "store/v1/wheels/*/*/bytecode/*/manifest.json",
            "registration": "store/v1/environments/*/environment.json",
            "marker": "store/v1/environments/*/*",
            "record": "*/lib/*/site-packages/*.dist-info/RECORD",
        }[target]
        return sorted(self._scene.glob(pattern))

    def _commands(self, chance: random.Random) -> list[list[str]]:
        """Return all commands; those that take links away are the last."""
        paths = {name: str(self._scene / name) for name in NAMES}
        every = [*paths.values()]
        some = chance.choice((every, [], [chance.choice(every)]))
        commands = [
            ["status", "--environment", chance.choice(every)],
            ["list", "--sort", chance.choice(("name", "size", "users", "used"))],
            ["usage", *some],
            ["verify", *some],
            ["relink", "--dry-run", *every],
            ["prune", "--dry-run"],
            ["prune"],
            ["prune", "--all"],
            ["fill", *map(str, self._wheels)],
            ["verify", "--repair", *some],
            ["verify", "--repair", "--keep", paths["hard"]],
            ["relink", "--mode", chance.choice(("hardlink", "symlink")), *every],
            ["prune", "--max-size", "0"],
            ["enable", paths["stock"]],
            ["disable", paths["stock"]],
            ["materialize", *every],
            ["prune", "--older-than", "0d"],
            ["verify"],
        ]
        return [
            [*command, *(["--json"] if chance.random() < 0.5 else [])]
            for command in commands
        ]

    def _broken(self, around: dict[str, tuple[object, ...]]) -> str:
        """Return a line for each file that changed, installed or outside."""
        found = self._contents(self._scene)
        lines = [
            f"{path} {'is gone or leads nowhere' if path not in found else 'changed'}"
            for path, digest in self._expected.items()
            if found.get(path) != digest
        ]
        now = self._around()
        lines += [
            f"outside/{name}: {around.get(name)} -> {now.get(name)}"
            for name in sorted({*around, *now})
            if around.get(name) != now.get(name)
        ]
        return "\n".join(lines[:5])

    def _install(self, chance: random.Random) -> str:
        """Let a real pip meet the damage, in an environment of its own."""
        environment: Environment = self._pip
        target = self._scene / "target"
        mode = chance.choice(("hardlink", "symlink", "copy"))
        arguments: list[str | Path] = ["install", "--no-index", "--target", target]
        done = environment.pip(
            *arguments,
            *self._wheels,
            env={"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(self._scene / "store")},
            check=False,
        )
        if done.returncode or "Traceback" in done.stderr:
            return f"exit {done.returncode}\n{done.stderr[-2000:]}"
        (installed,) = self._scene.glob("stock/lib/*/site-packages")
        return "\n".join(
            f"{path} differs from stock pip's"
            for path in sorted(installed.rglob("*"))
            if path.is_file()
            and path.relative_to(installed).parts[0] in ("one", "two", "one_module.py")
            and "__pycache__" not in path.parts
            and (target / path.relative_to(installed)).read_bytes() != path.read_bytes()
        )


def _fault(done: Finished) -> str:
    fault = done.fault
    if fault is None and done.seconds > SLOW:
        fault = f"took {done.seconds:.1f} s"
    return f"{fault}\n{done.stderr[-3000:]}" if fault else ""
