"""Install 195 pinned wheels in every way, side by side: time, memory, disk.

Usage: ``python -m tests.benchmarks.install [--runs N] [--directory DIR] [--json FILE]
[--svg FILE] [--only NAME …] [--index SET] [--wheels DIR]``

With ``--index`` the same is done from a package index on loopback, with resolution: a
stack of jupyterlab, pandas and web frameworks (``common``), one with torch (``torch``),
or torch and torchvision alone (``cuda``).  pip's HTTP cache is warm, unless the name of
a way says otherwise, and the requests and bytes that the index answers are counted.

Downloads the wheels once, then installs them offline: stock pip, pip with the shim
(each mode, cold and warm), uv with the same link modes with and without bytecode, and
``cp`` of the same tree, as hard links and as clones, as the floor.  The ways take
turns, each in a fresh directory, on one file system (memory, unless ``--directory``
says otherwise); medians are reported.  Nothing is deleted between runs on a disk: on
ext4 that would slow down what comes after.  Cloning needs a file system that can:
``truncate -s 24G IMAGE``, ``mkfs.btrfs IMAGE`` and ``mount -o loop IMAGE DIR`` make
one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pip_linkmode.files import file_system
from pip_linkmode.link.filesystems import sharing
from tests.support.environments import Bed, Environment, run_outside
from tests.support.index import Index, wheels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
MODES = ("hardlink", "symlink", "clone", "copy")
SETS = {
    "common": (
        *("jupyterlab", "pandas", "scikit-learn", "seaborn", "statsmodels"),
        *("fastapi", "uvicorn", "django", "flask", "sqlalchemy"),
        *("networkx", "requests", "pytest"),
    ),
    "torch": (
        *("torch", "transformers", "scikit-learn", "opencv-python-headless"),
        "pandas",
    ),
    "cuda": ("torch==2.14.1", "torchvision==0.29.1"),
}
"""What is installed from an index, without what it needs."""
# Runs pip and says how long its installer took.
DRIVER = """\
import sys, time
from pip._internal.req.req_install import InstallRequirement
stock, spent = InstallRequirement.install, 0.0
def install(self, *args, **kwargs):
    global spent
    start = time.perf_counter()
    try:
        return stock(self, *args, **kwargs)
    finally:
        spent += time.perf_counter() - start
InstallRequirement.install = install
from pip._internal.cli.main import main
code = main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(spent))
sys.exit(code)
"""


@dataclass
class Run:
    """One installation, measured from outside; seconds and bytes."""

    wall: float
    user: float
    system: float
    memory: int
    """Peak of the largest process."""
    written: int
    """What the file system has less of than before."""
    inside: float | None
    """Inside pip's installer."""
    requests: int = 0
    """Requests to the index."""
    files: int = 0
    """Requests for wheels and their metadata among these."""
    received: int = 0
    """Bytes of the answers."""


@dataclass(frozen=True)
class Way:
    """A way to install everything."""

    name: str
    tool: str
    mode: str = ""
    cold: bool = False
    compiled: bool = True
    empty: bool = False
    """Whether the HTTP cache is empty."""


CLONES = Way("cp -a --reflink", "cp", "clone")
WAYS = (
    Way("stock pip", "pip"),
    *(Way(f"{mode}, warm", "shim", mode) for mode in MODES),
    Way("hardlink, cold", "shim", "hardlink", cold=True),
    *(Way(f"uv, {mode}", "uv", mode, compiled=False) for mode in MODES),
    Way("uv, hardlink, compiled", "uv", "hardlink"),
    Way("cp -al", "cp"),
    CLONES,
)


INDEX_WAYS = (
    Way("stock pip", "pip"),
    Way("stock pip, HTTP cache empty", "pip", empty=True),
    Way("auto, warm", "shim", "auto"),
    Way("auto, warm, HTTP cache empty", "shim", "auto", empty=True),
    *(Way(f"{mode}, warm", "shim", mode) for mode in MODES),
    Way("auto, cold", "shim", "auto", cold=True),
    Way("auto, cold, HTTP cache empty", "shim", "auto", cold=True, empty=True),
    Way("uv, hardlink", "uv", "hardlink", compiled=False),
    Way("uv, hardlink, compiled", "uv", "hardlink"),
    Way("uv, hardlink, compiled, cache empty", "uv", "hardlink", empty=True),
    Way("cp -al", "cp"),
)


class Bench:
    """A directory in which all of this happens.

    :param root: the directory
    :param wheels: a directory that has the wheels already
    :param requirements: what to install from an index; ``None`` to install the pinned
        wheels of :data:`REQUIREMENTS` from a directory
    """

    index: Index
    """Set while there is one."""

    def __init__(
        self,
        root: Path,
        wheels: Path | None = None,
        requirements: Sequence[str] | None = None,
    ) -> None:
        self.root = root
        self.requirements = requirements
        self.bed = Bed(root / "bed")
        self.house = wheels or root / "house"
        self.wheels = self._download()
        self.uv = self._uv()
        self.count = 0
        self.tree: Path | None = None

    def _download(self) -> Path:
        if not self.house.exists():
            wanted = self.requirements or ("--no-deps", "-r", str(REQUIREMENTS))
            flags = ("--only-binary", ":all:", "-d", self.house)
            pip = (sys.executable, "-m", "pip", "download", "-q")
            run_outside(*pip, *flags, *wanted)
        listing = self.root / "wheels.txt"
        listing.write_text("".join(f"{path}\n" for path in wheels_of(self.house)))
        return listing

    def _uv(self) -> Path:
        environment = self.root / "uv"
        if not environment.exists():
            run_outside(sys.executable, "-m", "venv", environment)
            run_outside(
                environment / "bin" / "python", "-m", "pip", "install", "-q", "uv"
            )
        return environment / "bin" / "uv"

    def measure(self, way: Way) -> Run:
        """Install once, in a fresh environment."""
        self.count += 1
        place = self.root / f"run-{self.count}"
        if way.tool == "cp":
            assert self.tree is not None  # the first way has left one
            how = "--reflink=always" if way.mode == "clone" else "--link"
            command = ["cp", "--archive", how, str(self.tree), str(place)]
            before = free(self.root)
            run = self._timed(command, place, {})
            run.written = before - free(self.root)
            if file_system(str(self.root)) == "tmpfs":
                shutil.rmtree(place)
            return run
        environment = self.bed.environment(
            place / "environment", shim=way.tool == "shim", private=place / "private"
        )
        for directory in ("home", "tmp"):
            (place / "private" / directory).mkdir(parents=True)
        before = free(self.root)
        if self.requirements:
            self.index.requests.clear()
        if way.tool == "uv":
            run = self._timed(self._uv_command(way, environment, place), place, {})
        else:
            run = self._timed(self._pip_command(way, environment, place), place, {})
            run.inside = float((place / "inside").read_text())
        if self.requirements:
            run.requests = len(self.index.requests)
            run.files = len(self.index.asked_for())
            run.received = self.index.sent
        run.written = before - free(self.root)
        if self.tree is None:
            self.tree = environment.path
        elif file_system(str(self.root)) == "tmpfs":
            # Memory is short, and forgets what was there.
            shutil.rmtree(place)
        return run

    def _pip_command(
        self, way: Way, environment: Environment, place: Path
    ) -> list[str]:
        command = [
            *(str(environment.python), "-c", DRIVER, str(place / "inside")),
            *("install", "--quiet"),
            *("--cache-dir", str((place if way.empty else self.root) / "cache")),
            *self._wanted(self.index.options if self.requirements else ()),
        ]
        if way.tool == "shim":
            store = place / "store" if way.cold else self.root / "store"
            command += ["--link-mode", way.mode, "--link-store", str(store)]
        return command

    def _wanted(self, index: Sequence[str]) -> Sequence[str]:
        if self.requirements:
            return (*index, *self.requirements)
        return ("--no-index", "--no-deps", "-r", str(self.wheels))

    def _uv_command(self, way: Way, environment: Environment, place: Path) -> list[str]:
        return [
            *(str(self.uv), "pip", "install", "--quiet"),
            *("--cache-dir", str((place if way.empty else self.root) / "uv-cache")),
            *("--python", str(environment.python), "--link-mode", way.mode),
            *(("--compile-bytecode",) if way.compiled else ()),
            *self._wanted(self.index.options[:2] if self.requirements else ()),
        ]

    @staticmethod
    def _timed(command: Sequence[str], place: Path, extra: dict[str, str]) -> Run:
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))
        }
        env = {
            **kept,
            **extra,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "TMPDIR": str(place / "private" / "tmp") if place.exists() else "/tmp",
        }
        start = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        memory = usage.ru_maxrss * 1024
        return Run(wall, usage.ru_utime, usage.ru_stime, memory, 0, None)


def free(directory: Path) -> int:
    """Return the bytes that a file system has left, all that is pending written."""
    run_outside("sync", "--file-system", directory)
    status = os.statvfs(directory)
    return status.f_bfree * status.f_frsize


def machine() -> str:
    """Describe where this is measured."""
    cores = os.cpu_count()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{cores} cores of {line.partition(':')[2].strip()}"
    return f"{cores} cores of {platform.machine()}"


def ratios(runs: dict[str, list[Run]]) -> list[str]:
    """Compare the medians that exist, as lines of a Markdown list."""

    def median(name: str, key: str = "wall") -> float | None:
        if name not in runs:
            return None
        return float(statistics.median(getattr(run, key) for run in runs[name]))

    wanted = [
        ("stock pip ÷ auto, warm", "stock pip", "auto, warm", "wall"),
        (
            "auto, warm: HTTP cache empty ÷ warm",
            *("auto, warm, HTTP cache empty", "auto, warm", "wall"),
        ),
        (
            "uv, compiled ÷ auto, warm",
            *("uv, hardlink, compiled", "auto, warm", "wall"),
        ),
        ("auto, cold ÷ stock pip", "auto, cold", "stock pip", "wall"),
        (
            "the same, HTTP cache empty",
            *("auto, cold, HTTP cache empty", "stock pip, HTTP cache empty", "wall"),
        ),
        ("stock pip ÷ hardlink, warm", "stock pip", "hardlink, warm", "wall"),
        (
            "the same, inside pip's installer",
            *("stock pip", "hardlink, warm", "inside"),
        ),
        ("stock pip ÷ symlink, warm", "stock pip", "symlink, warm", "wall"),
        ("stock pip ÷ clone, warm", "stock pip", "clone, warm", "wall"),
        (
            "uv, compiled ÷ hardlink, warm",
            *("uv, hardlink, compiled",),
            "hardlink, warm",
            "wall",
        ),
        ("cold ÷ stock pip", "hardlink, cold", "stock pip", "wall"),
        *(
            (
                f"bytes written, {mode} ÷ stock pip",
                f"{mode}, warm",
                "stock pip",
                "written",
            )
            for mode in ("hardlink", "symlink", "clone")
        ),
    ]
    lines = []
    for name, over, under, key in wanted:
        above, below = median(over, key), median(under, key)
        if above is not None and below:
            lines.append(f"- {name}: {above / below:.3g}")
    floors = (("auto", "cp -al"), ("hardlink", "cp -al"), ("clone", CLONES.name))
    for mode, name in floors:
        floor, inside = median(name), median(f"{mode}, warm", "inside")
        if floor and inside:
            lines.append(
                f"- {mode}, warm, inside pip's installer ÷ {name}: {inside / floor:.3g}"
            )
    return lines


def table(runs: dict[str, list[Run]]) -> list[str]:
    """Return the medians as a Markdown table."""
    heads = ["way", "wall s", "user s", "sys s", "inside s", "peak MB", "written MB"]
    asked = any(run.requests for all_ in runs.values() for run in all_)
    if asked:
        heads += ["requests", "files", "received MB"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, measured in runs.items():
        inside = [run.inside for run in measured if run.inside is not None]
        cells = [
            *(
                f"{statistics.median(getattr(run, key) for run in measured):.2f}"
                for key in ("wall", "user", "system")
            ),
            f"{statistics.median(inside):.2f}" if inside else "",
            f"{statistics.median(run.memory for run in measured) / 1e6:.0f}",
            f"{statistics.median(run.written for run in measured) / 1e6:.1f}",
        ]
        if asked:
            cells += [
                *(
                    f"{statistics.median(getattr(run, key) for run in measured):.0f}"
                    for key in ("requests", "files")
                ),
                f"{statistics.median(run.received for run in measured) / 1e6:.1f}",
            ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def bars(runs: dict[str, list[Run]]) -> str:
    """Return the medians of the wall time as an SVG bar chart."""
    medians = {
        name: statistics.median(run.wall for run in measured)
        for name, measured in runs.items()
    }
    longest, rows = max(medians.values()), []
    for index, (name, seconds) in enumerate(medians.items()):
        y, width = 24 * index + 8, max(1.0, 420 * seconds / longest)
        is_ours = not name.startswith(("stock", "uv", "cp"))
        colour, label = ("#2a7", f"pip-linkmode: {name}") if is_ours else ("#888", name)
        rows.append(
            f'<text x="252" y="{y + 12}" text-anchor="end">{label}</text>'
            f'<rect x="260" y="{y}" width="{width:.0f}" height="16" fill="{colour}"/>'
            f'<text x="{266 + width:.0f}" y="{y + 12}">{seconds:.1f} s</text>'
        )
    height = 24 * len(rows) + 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" '
        'font-family="sans-serif" font-size="12">'
        f"{''.join(rows)}</svg>\n"
    )


def _is_possible(way: Way, options: argparse.Namespace) -> bool:
    return way != CLONES or sharing(str(options.directory.resolve())).clones


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--only", nargs="*", help="names of ways", default=None)
    parser.add_argument("--index", choices=SETS)
    parser.add_argument("--wheels", type=Path, help="directory that has the wheels")
    options = parser.parse_args()
    ways = [
        way
        for way in (INDEX_WAYS if options.index else WAYS)
        if (way.name in options.only if options.only else _is_possible(way, options))
    ]
    root = Path(tempfile.mkdtemp(prefix="pip-linkmode-bench-", dir=options.directory))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        requirements = SETS[options.index] if options.index else None
        bench = Bench(root, options.wheels, requirements)
        if requirements:
            bench.index = stack.enter_context(Index([*wheels_of(bench.house)]))
        runs: dict[str, list[Run]] = {way.name: [] for way in ways}
        for number in range(-1, options.runs):
            for way in ways:
                run = bench.measure(way)
                # The first round fills the stores and warms the caches.
                if number >= 0:
                    runs[way.name].append(run)
                    print(f"{number} {way.name}: {run.wall:.2f} s", file=sys.stderr)
        print(
            f"{machine()}; {file_system(str(root))}; medians of {options.runs} runs\n"
        )
        print("\n".join((*table(runs), "", *ratios(runs))))
        if options.json:
            data = {name: [asdict(run) for run in all_] for name, all_ in runs.items()}
            options.json.write_text(json.dumps(data, indent=1) + "\n")
        if options.svg:
            options.svg.write_text(bars(runs))


if __name__ == "__main__":
    main()
