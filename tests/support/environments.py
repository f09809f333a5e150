"""Real environments with real pips, made fast.

A ``Bed`` builds each kind of environment once and copies it from then on. Whatever runs
in an environment sees nothing of this machine's pip configuration and writes nothing
outside the directories that the test gave it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tests.support import debian

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.snapshot import Entry

NEWEST = "26.3"
# The pips before 23.2 do not start on Python 3.12.
OLDEST = "22.3.1" if sys.version_info < (3, 12) else "23.2.1"

DEBIAN = "+debian"
"""What the version of a pip ends with that is not of the index, but Debian's."""

CHECKOUT = Path(__file__).parents[2]
EVERYTHING = bool(os.environ.get("PIP_LINKMODE_TEST_EVERYTHING"))
"""Whether to run each test with every pip and every mode; else a part of them does."""


def if_everything(*values: str) -> tuple[str, ...]:
    """Return parameters that only a run of everything has."""
    return values if EVERYTHING else ()


_SNAPSHOT = Path(__file__).with_name("snapshot.py")
_FOREIGN = ("PIP_", "PYTHON", "XDG_", "SOURCE_DATE_EPOCH", "VIRTUAL_ENV", "_PIP_")
_COVERAGE = bool({"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"} & {*os.environ})
_MEASURE = ("coverage",) if _COVERAGE else ()
_COVERAGE_PTH = """\
import sys; exec("try:\\n import coverage\\nexcept ImportError:\\n pass\\n\
else:\\n coverage.process_startup()")
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and the private places of the processes that run in it."""

    path: Path
    private: Path
    described: Path | None = field(default=None, kw_only=True)
    """The digests of code that ``snapshot.py`` keeps for the session."""

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.scripts / ("python.exe" if os.name == "nt" else "python")

    @property
    def scripts(self) -> Path:
        """The directory of the interpreter and of the installed scripts."""
        return self.path / ("Scripts" if os.name == "nt" else "bin")

    @property
    def site_packages(self) -> Path:
        """The directory of the installed packages."""
        if os.name == "nt":
            return self.path / "Lib" / "site-packages"
        return next(self.path.glob("lib/*/site-packages"))

    @property
    def cache(self) -> Path:
        """The cache directory of pip."""
        return self.private / "cache"

    def pip(
        self,
        *args: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        check: bool = True,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the environment's pip; see ``run``."""
        return self.run("-m", "pip", *args, env=env, check=check, cwd=cwd)

    def run(
        self,
        *args: str | os.PathLike[str],
        env: Mapping[str, str] | None = None,
        check: bool = True,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the environment's interpreter, sheltered from the machine's settings.

        :param args: the arguments of the interpreter
        :param env: variables to add to the clean ones
        :param check: fail the test if the exit code is not zero
        :param cwd: the working directory, a private and empty one unless given
        :returns: the finished process, with its output
        """
        home = self.private / "home"
        result = subprocess.run(
            [self.python, *args],
            env={**self._variables(home), **(env or {})},
            cwd=cwd or home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if check and result.returncode:
            command = " ".join(map(str, args))
            message = f"{command}: {result.returncode}\n{result.stdout}{result.stderr}"
            raise AssertionError(message)
        return result

    def _variables(self, home: Path) -> dict[str, str]:
        temporary = self.private / "tmp"
        for directory in (home, temporary):
            directory.mkdir(parents=True, exist_ok=True)
        kept = {
            name: value
            for name, value in os.environ.items()
            if name == "PIP_CERT" or not name.startswith(_FOREIGN)
        }
        if _COVERAGE:
            kept.setdefault("COVERAGE_FILE", str(CHECKOUT / ".coverage"))
        return kept | {
            **dict.fromkeys(("HOME", "USERPROFILE"), str(home)),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
            "PIP_CACHE_DIR": str(self.cache),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
        }

    def snapshot(self, root: Path | None = None) -> dict[str, Entry]:
        """Describe a tree as this environment's interpreter sees it.

        :param root: a directory, the whole environment unless given
        :returns: the entries by relative path, as in ``snapshot.py``
        """
        known = [self.described] if self.described else []
        seen = self.run("-I", "-S", _SNAPSHOT, root or self.path, *known).stdout
        return {
            path: (kind, mode, digest)
            for path, (kind, mode, digest) in json.loads(seen).items()
        }


class Bed:
    """Where the environments of one test session come from.

    :param root: a directory that all workers of the session share
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root

    def environment(
        self,
        path: Path,
        *,
        shim: bool,
        pip: str = NEWEST,
        python: str = sys.executable,
        private: Path | None = None,
    ) -> Environment:
        """Make a fresh environment.

        :param path: where; the directory must not exist
        :param shim: install pip-linkmode, as built from this checkout
        :param pip: the version of pip
        :param python: the interpreter
        :param private: home, temporary files and pip's cache, beside it unless given;
            environments that are to share pip's cache are given the same
        """
        template = self._template(python, pip, shim=shim)
        # Copies, not links: no test may reach another one through a shared file.
        shutil.copytree(template, path, symlinks=True)
        private = private or path.with_name(f"{path.name}-private")
        return Environment(path, private, described=self._root / "described")

    def pip_wheel(self, version: str) -> Path:
        """Return the wheel of one version of pip.

        :param version: of the index, or the one that Debian's Pythons bring
        """
        if version.endswith(DEBIAN):
            return debian.bundled_pip(self.debian())

        def download(directory: Path) -> None:
            requirement = ("--no-deps", f"pip=={version}")
            run_outside(
                sys.executable, "-m", "pip", "download", "-d", directory, *requirement
            )

        return _only_wheel(self._once(f"pip-{version}", download))

    def debian(self) -> Path:
        """Return a directory with newer Pythons from Debian's archive.

        :raises UnavailableError: if there are none here
        """
        final = self._root / "debian"
        return self._once(final.name, lambda path: debian.unpack(path, final))

    def shim_wheel(self) -> Path:
        """Return the wheel of pip-linkmode, built from this checkout."""

        def build(directory: Path) -> None:
            source = ("--no-deps", str(CHECKOUT))
            run_outside(sys.executable, "-m", "pip", "wheel", "-w", directory, *source)

        return _only_wheel(self._once("pip-linkmode", build))

    def wheelhouse(self, requirements: Sequence[str]) -> Path:
        """Return a directory with the wheels of some requirements and their needs.

        :param requirements: names or specifiers, for the running interpreter
        """

        def download(directory: Path) -> None:
            pip = self.pip_wheel(NEWEST) / "pip"
            flags = ("--only-binary", ":all:", "-d", directory)
            run_outside(sys.executable, pip, "download", *flags, *requirements)

        key = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:8]
        return self._once(f"house-{key}", download)

    def _dependencies(self, python: str) -> Path:
        def download(directory: Path) -> None:
            pip = self.pip_wheel(NEWEST) / "pip"
            wanted = (self.shim_wheel(), *_MEASURE)
            run_outside(python, pip, "download", "-d", directory, *wanted)

        return self._once(f"dependencies-{_key(python)}", download)

    def _template(self, python: str, pip: str, *, shim: bool) -> Path:
        def build(directory: Path) -> None:
            installer = self.pip_wheel(NEWEST) / "pip"
            template = Environment(directory, self._root / "private")
            if shim:
                # Not made by venv anew: pip need not be compiled twice.
                stock = self._template(python, pip, shim=False)
                shutil.copytree(stock, directory, symlinks=True, dirs_exist_ok=True)
                wanted = ("--find-links", self._dependencies(python), self.shim_wheel())
                template.run(installer, "install", "--no-index", *wanted, *_MEASURE)
            else:
                run_outside(python, "-m", "venv", "--without-pip", directory)
                template.run(installer, "install", "--no-index", self.pip_wheel(pip))
            if shim and _COVERAGE:
                # Sorts before pip_linkmode.pth, so that start-up is measured as well.
                pth = template.site_packages / "_coverage.pth"
                pth.write_text(_COVERAGE_PTH, encoding="ascii")
            for script in template.scripts.iterdir():
                # They hold the template's path, and `python -m pip` needs none.
                if not script.name.startswith("python"):
                    script.unlink()

        kind = "linked" if shim else "stock"
        return self._once(f"{kind}-{pip}-{_key(python)}", build)

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        target = self._root / name
        with FileLock(f"{target}.lock"):
            if not target.exists():
                staging = self._root / f"{name}.part"
                shutil.rmtree(staging, ignore_errors=True)
                staging.mkdir()
                make(staging)
                staging.rename(target)
        return target


def run_outside(*command: str | Path) -> str:
    """Run a command with the machine's own settings, and return what it printed.

    They say where its packages come from.
    """
    result = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        message = f"{' '.join(map(str, command))}: {result.returncode}\n{result.stdout}"
        raise RuntimeError(message)
    return result.stdout


def _only_wheel(directory: Path) -> Path:
    (wheel,) = directory.glob("*.whl")
    return wheel


def _key(python: str) -> str:
    return hashlib.sha256(python.encode()).hexdigest()[:8]
