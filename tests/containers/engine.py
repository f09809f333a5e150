"""An engine that builds and runs images, and an image to begin with; no registry.

``buildah`` needs neither a daemon nor a runtime, and takes a Dockerfile as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.filesystem import mounts

if TYPE_CHECKING:
    from collections.abc import Iterable

BASE = "localhost/python:slim"
_LOG = "/said/log"
_PROGRAMS = ("sh", "cat", "env", "ls", "mkdir", "rm")
_LIBRARIES = (
    *("stdc++.so.6", "gcc_s.so.1", "z.so.1", "m.so.6"),
    *("dl.so.2", "pthread.so.0", "rt.so.1", "util.so.1"),
)
"""What wheels of compiled code expect of every system."""
_UNWANTED = ("site-packages", "dist-packages", "test", "idlelib", "*.a", "EXTERNALLY-*")
_DOCKERFILE = """\
FROM scratch
ADD base.tar /
COPY wheels /wheels
ENV PATH=/usr/local/bin:{scripts}:/usr/bin:/bin
ENV PIP_LOG={log} PIP_ROOT_USER_ACTION=ignore
RUN python /wheels/{pip}/pip install --no-index /wheels/{pip}
RUN printf '[global]\\nno-index = true\\nfind-links = /wheels\\n' > /etc/pip.conf
CMD ["python"]
"""


@dataclass(frozen=True)
class Image:
    """An image, and how it was made."""

    name: str
    layers: list[int]
    """Bytes of each layer's archive, from the lowest up."""
    output: str
    """What pip has said: its log."""


class Buildah:
    """Images in a directory of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        self.temporary.mkdir()
        self.wheels = root / "base" / "wheels"
        # What comes through buildah's own pipes is not always all of it.
        self.log = root / "said" / "log"
        self.log.parent.mkdir()
        self.log.parent.chmod(0o777)
        self.volume = f"--volume={self.log.parent}:{Path(_LOG).parent}"

    @property
    def command(self) -> list[str]:
        """Of the engine, with the options that keep it in its directory."""
        places = ("--root", str(self.root / "images"), "--runroot", str(self.root))
        return ["buildah", *places, "--storage-driver", "overlay"]

    @property
    def environment(self) -> dict[str, str]:
        """The cache mounts are in the directory for temporary files."""
        return {
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "TMPDIR": str(self.temporary),
            "BUILDAH_ISOLATION": "chroot",
            "BUILDAH_LAYERS": "true",
        }

    def _run(self, *arguments: str) -> str:
        result = subprocess.run(
            [*self.command, *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )
        if result.returncode:
            message = f"buildah {' '.join(arguments)}: {result.returncode}\n"
            raise RuntimeError(message + result.stdout)
        return result.stdout

    def build(
        self, name: str, dockerfile: Path, *options: str, **arguments: str
    ) -> Image:
        """Build an image, in the directory of its Dockerfile.

        :param arguments: of the build
        """
        given = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        self.log.unlink(missing_ok=True)
        self._run(
            *("build", "--pull-never", "--network", "host", self.volume, "-t", name),
            *("-f", str(dockerfile), *given, *options, str(dockerfile.parent)),
        )
        image = json.loads(self._run("inspect", "--type", "image", name))
        layers = json.loads(image["Manifest"])["layers"]
        said = self.log.read_text() if self.log.exists() else ""
        return Image(name, [layer["size"] for layer in layers], said)

    def run(self, image: Image, *command: str) -> str:
        """Run a program in a container, and return what it prints.

        :raises RuntimeError: if it fails, with what it prints
        """
        container = self._run("from", "--pull-never", image.name).strip()
        try:
            script = '"$@" >/tmp/said 2>&1 || echo $? >/tmp/code'
            self._run("run", container, "--", "sh", "-c", script, "sh", *command)
            place = Path(self._run("mount", container).strip(), "tmp")
            said = (place / "said").read_text()
            if (place / "code").exists():
                raise RuntimeError(said)
            return said
        finally:
            self._run("rm", container)

    def make_base(self, pip: Path, wheels: Iterable[Path]) -> Image:
        """Make an image of the Python that runs this, like ``python:3.x-slim``.

        Its pip finds some wheels, and no index.

        :param pip: the wheel of its pip
        """
        context = self.wheels.parent
        root = context / "root"
        scripts = _copy_python(root)
        self.wheels.mkdir(parents=True)
        for wheel in {pip, *wheels}:
            shutil.copy(wheel, self.wheels)
        mounts.run("tar", "-C", root, "-cf", context / "base.tar", ".")
        shutil.rmtree(root)
        (context / "Dockerfile").write_text(
            _DOCKERFILE.format(pip=pip.name, scripts=scripts, log=_LOG)
        )
        return self.build(BASE, context / "Dockerfile")


def _copy_python(root: Path) -> Path:
    """Copy this Python and what it needs of its system; return where its scripts go."""
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "etc", "opt", "proc", "root", "sys", "tmp", "usr/local/bin"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    python = Path(os.path.realpath(sys.executable))
    site_packages = Path(sysconfig.get_path("stdlib"))
    for name in ("python", "python3"):
        (root / "usr/local/bin" / name).symlink_to(python)
    shutil.copytree(
        site_packages,
        _inside(root, site_packages),
        symlinks=True,
        ignore=shutil.ignore_patterns(*_UNWANTED),
    )
    programs = [Path(path) for path in map(shutil.which, _PROGRAMS) if path]
    modules = list(site_packages.glob("lib-dynload/*.so"))
    for program in (python, *programs):
        _copy(root, program)
    for needed in _needed([python, *programs, *modules]):
        _copy(root, needed)
    prefix = Path(sys.base_prefix)
    return prefix / "bin"


def _needed(programs: list[Path]) -> set[Path]:
    """Return the shared libraries that some programs load."""
    output = subprocess.run(
        ["ldd", *programs], check=False, capture_output=True, text=True
    ).stdout
    found = {Path(path) for path in re.findall(r"(/\S+) \(0x", output)}
    (libc,) = {path.parent for path in found if path.name == "libc.so.6"}
    wanted = {libc / f"lib{name}" for name in _LIBRARIES}
    return found | {path for path in wanted if path.exists()}


def _inside(root: Path, path: Path) -> Path:
    return root / str(path).lstrip("/")


def _copy(root: Path, path: Path) -> None:
    target = _inside(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
