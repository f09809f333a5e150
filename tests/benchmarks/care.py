"""How long the command takes where there is much to look after.

``python3 -m tests.benchmarks.care DIRECTORY`` makes a store and environments there,
measures ``status``, ``usage``, ``prune`` and ``du`` over the same trees, all of it in
the cache of the system, and removes them.  What is printed is processor time, the best
of some runs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from pip_linkmode.environments import register as register_module
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.store.layout import FILES, MANIFEST
from pip_linkmode.store.manifest import write_manifest
from pip_linkmode.store.store import Store

CHECKOUT = Path(__file__).parents[2]
MODULES = 8
MTIME = 1_700_000_000


def make_entry(store: Store, number: int) -> tuple[str, str]:
    """Make an entry without a wheel; return its digest and its dist-info."""
    name = f"package_{number}"
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    info = f"{name}-1.0.dist-info"
    text = b"x" * 3000
    files = [f"{name}/module_{n}.py" for n in range(MODULES)]
    files += [f"{info}/{one}" for one in ("METADATA", "WHEEL", "RECORD")]
    entry = Path(store.path(sha256))
    (entry / FILES / name).mkdir(parents=True)
    (entry / FILES / info).mkdir()
    digest = hashlib.sha256(text).hexdigest()
    for file in files:
        path = entry / FILES / file
        path.write_bytes(text)
        os.utime(path, (MTIME, MTIME))
    write_manifest(
        str(entry / MANIFEST),
        {
            "manifest": 1,
            "sha256": sha256,
            "wheel": f"{name}-1.0-py3-none-any.whl",
            "name": name,
            "version": "1.0",
            "dist_info": info,
            "purelib": True,
            "plain_record": True,
            "mtime": MTIME,
            "files": [[file, len(text), digest, 0o644] for file in files],
        },
    )
    return sha256, info


def make_environment(
    store: Store, path: Path, entries: list[tuple[str, str]], mode: str
) -> None:
    """Link some entries into a new environment."""
    site_packages = path / "lib" / "python3" / "site-packages"
    site_packages.mkdir(parents=True)
    (path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    linker, links = Linker(), []
    for sha256, info in entries:
        register_module.register(store.root, str(site_packages), sha256, mode)
        files = Path(store.path(sha256)) / FILES
        for file in files.rglob("*"):
            target = site_packages / file.relative_to(files)
            if file.is_dir():
                target.mkdir(exist_ok=True)
            elif file.parent.name == info:
                shutil.copyfile(file, target)
            else:
                links.append(
                    Link(str(file), str(target), 3000, MTIME * 10**9, 0o644, 0o644)
                )
    linker.link(
        links, mode=mode, store=store.root, target_root=str(site_packages), created=[]
    )


def seconds(command: list[str], env: dict[str, str], runs: int = 3) -> float:
    """Return how long a command keeps a processor busy, at best, whatever it finds.

    What else the machine does is not counted.
    """
    taken = []
    for _ in range(runs):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            command, env=env, check=False, cwd=CHECKOUT, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        )
    return min(taken)


def measure(
    place: Path,
    *,
    entries: int,
    environments: int,
    packages: int,
    mode: str = "hardlink",
) -> dict[str, float]:
    """Make a store and environments, and measure each command over them.

    :param place: an empty directory
    :param packages: how many of the entries each environment has
    :returns: seconds by command, ``du`` over the same trees among them
    """
    store = Store.open(str(place / "store"))
    made = [make_entry(store, number) for number in range(entries)]
    paths = [place / f"environment-{n}" for n in range(environments)]
    for number, path in enumerate(paths):
        first = number * packages // 2 % entries
        make_environment(store, path, made[first : first + packages], mode)
    os.sync()
    env = {**os.environ, "PIP_LINK_STORE": store.root}
    command = [sys.executable, "-m", "pip_linkmode"]
    results = {"du": seconds(["du", "-s", store.root, *map(str, paths)], env)}
    for name, arguments in {
        "status": ["status", "--environment", str(paths[0])],
        "usage": ["usage"],
        "prune --dry-run": ["prune", "--dry-run"],
        "prune --max-size": ["prune", "--dry-run", "--max-size", "1T"],
    }.items():
        results[name] = seconds([*command, *arguments, "--json"], env)
    results["prune"] = seconds([*command, "prune"], env, runs=1)
    return results


def table(results: dict[str, float]) -> str:
    """Return the results as lines of text."""
    return "\n".join(
        f"{name:<20}{taken:6.2f} s{taken / results['du']:8.2f} x du"
        for name, taken in results.items()
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--environments", type=int, default=50)
    parser.add_argument("--packages", type=int, default=200, help="per environment")
    parser.add_argument("--mode", choices=CHAINS, default="hardlink")
    options = parser.parse_args()
    place: Path = options.directory.resolve() / "care"
    place.mkdir(parents=True)
    try:
        results = measure(
            place,
            entries=options.entries,
            environments=options.environments,
            packages=options.packages,
            mode=options.mode,
        )
        print(table(results))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
