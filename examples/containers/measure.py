"""Build images in each way that there is, and print what their layers take.

Usage: ``python3 examples/containers/measure.py [--engine podman]``

Needs podman, docker or buildah, and a network, unless ``--base`` and ``--wheels`` say
where everything is.  All wheels are downloaded beforehand, so the network is not in the
figures.  A time is that of the layer with the packages alone, the others being there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
BASE = "docker.io/library/python:3.13-slim"
TOOLS = "pip-linkmode-measure-"
CACHE = "--mount=type=cache,id=pip-linkmode-measure,target=/var/cache/measure"
INSTALL = """\
FROM {base}
ARG XDG_CACHE_HOME=/var/cache/measure
WORKDIR /app
COPY requirements.txt .
{env}
RUN {mount} {command} -r requirements.txt
"""


class Engine:
    """podman, docker or buildah."""

    def __init__(self, command: str, options: list[str], context: Path) -> None:
        self.command, self.options = shlex.split(command), options
        self.kind = Path(self.command[0]).name
        self.context = context
        if self.kind == "buildah":
            self.options = ["--layers", *options]

    def _run(self, *arguments: str) -> str:
        result = subprocess.run(
            [*self.command, *arguments],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode:
            sys.exit(f"{shlex.join(arguments)}:\n{result.stdout}")
        return result.stdout

    def build(self, name: str, dockerfile: Path, **arguments: str) -> float:
        """Build an image, and return the seconds that it takes."""
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        start = time.perf_counter()
        self._run(
            *("build", "-t", TOOLS + name, "-f", str(dockerfile)),
            *(*given, *self.options, str(self.context)),
        )
        return time.perf_counter() - start

    def last_layer(self, name: str) -> int:
        """Return the bytes of the layer with the packages."""
        name = TOOLS + name
        if self.kind == "buildah":
            image = json.loads(self._run("inspect", "--type", "image", name))
            return int(json.loads(image["Manifest"])["layers"][-1]["size"])
        if self.kind == "podman":
            history = json.loads(self._run("history", "--format", "json", name))
            sizes = [layer["size"] for layer in history]
        else:
            options = ("--human=false", "--format", "{{.Size}}")
            sizes = self._run("history", *options, name).split()
        # Others than those of files have a layer of nothing.
        return next(filter(None, map(int, sizes)))

    def remove(self, names: list[str]) -> None:
        """Remove images."""
        self._run("rmi", *(TOOLS + name for name in names))


def main() -> None:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    engines = filter(shutil.which, ("podman", "docker", "buildah"))
    parser.add_argument("--engine", default=next(engines, "podman"))
    parser.add_argument("--base", default=BASE, help="default: %(default)s")
    parser.add_argument(
        "--option", action="append", default=[], help="one more option of build"
    )
    parser.add_argument("--wheels", type=Path, help="a directory with all wheels")
    parser.add_argument("--requirements", type=Path, default=HERE / "requirements.txt")
    parser.add_argument("--no-uv", action="store_true", help="leave uv out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-") as temporary:
        context = Path(temporary)
        for path in (*HERE.glob("*.Dockerfile"), options.requirements):
            shutil.copy(path, context)
        prepare_wheels(context / "wheels", options.wheels)
        measure(Engine(options.engine, options.option, context), options)


def prepare_wheels(directory: Path, given: Path | None) -> None:
    """Put the wheels that the images need into the build context."""
    if given:
        shutil.copytree(given, directory)
        return
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--wheel-dir", directory, CHECKOUT),
        ],
        check=True,
    )


def measure(engine: Engine, options: argparse.Namespace) -> None:
    """Build everything and print the table."""
    context = engine.context
    arguments = {"BASE": options.base, "DOWNLOAD": "no" if options.wheels else "yes"}
    engine.build("base", context / "measure.Dockerfile", **arguments)
    (context / "tools.Dockerfile").write_text(
        f"FROM {TOOLS}base\nRUN pip install pip-linkmode"
        + ("" if options.no_uv else " uv")
    )
    engine.build("tools", context / "tools.Dockerfile")
    engine.build("store", context / "store.Dockerfile", BASE=f"{TOOLS}tools")
    uv = "uv pip install --no-index --system --break-system-packages"
    ways = {
        "pip": ("tools", "", "PIP_LINK_MODE=off", "pip install"),
        "pip, cache mount": ("tools", CACHE, "PIP_LINK_MODE=off", "pip install"),
        "uv, cache mount": ("tools", CACHE, "UV_COMPILE_BYTECODE=0", uv),
        "uv, cache mount, compiled": ("tools", CACHE, "UV_COMPILE_BYTECODE=1", uv),
        "auto, cache mount": ("tools", CACHE, "PIP_LINK_MODE=auto", "pip install"),
        "pip, on the base with a store": (
            *("store", "", "PIP_LINK_MODE=off"),
            "pip install",
        ),
        **{
            f"{mode}, store in the base": (
                *("store", "", f"PIP_LINK_MODE={mode}"),
                "pip install",
            )
            for mode in ("copy", "hardlink", "symlink")
        },
    }
    requirements = context / "requirements.txt"
    wanted = requirements.read_text()
    print("| way | MB in the layer | seconds | seconds, again |")
    print("|---|---:|---:|---:|")
    for number, (way, (base, mount, env, command)) in enumerate(ways.items()):
        if options.no_uv and "uv" in command:
            continue
        dockerfile = context / "way.Dockerfile"
        dockerfile.write_text(
            INSTALL.format(
                base=TOOLS + base, mount=mount, env=f"ENV {env}", command=command
            )
        )
        seconds = []
        for time_ in range(2):
            # Another file, so that the layer is made anew; the cache mount stays.
            requirements.write_text(f"{wanted}\n# {number}.{time_}\n")
            seconds.append(engine.build("way", dockerfile))
        size = engine.last_layer("way") / 1e6
        times = " | ".join(f"{one:.1f}" for one in seconds)
        print(f"| {way} | {size:.1f} | {times} |", flush=True)
    engine.remove(["way", "store", "tools", "base"])


if __name__ == "__main__":
    main()
