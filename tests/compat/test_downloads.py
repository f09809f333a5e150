"""A stored wheel is not downloaded, and pip does the same as if it were.

Every case is done by stock pip first, at the same path and from the same index.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

import pytest

from tests.compat.matrix import PIPS, pythons
from tests.functional.projects import make_project
from tests.support.environments import EVERYTHING, NEWEST, OLDEST
from tests.support.index import Index, file_hashes
from tests.support.parity import assert_parity
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.index import Request
    from tests.support.parity import Step

pytestmark = pytest.mark.compat

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta")
WRONG = "0" * 64
# 25.1 is the last that changed which functions are patched; a run with all is long.
SOME = PIPS if EVERYTHING else (OLDEST, "25.0.1", NEWEST)


def runs(pip: str) -> bool:
    (python,) = (one for one in pythons() if one.path == sys.executable)
    return python.starts(pip)


RUNNING = [pip for pip in SOME if runs(pip)]
_turn = itertools.cycle(RUNNING)
_ends = itertools.cycle([pip for pip in RUNNING if pip in (OLDEST, NEWEST)])


def some_pips(
    test: Callable[..., None], turn: Iterator[str] = _turn
) -> Callable[..., None]:
    """Run a test with the next pip in turn, or with all."""
    pips = RUNNING if EVERYTHING else [next(turn)]
    marked: Callable[..., None] = pytest.mark.parametrize("pip", pips)(test)
    return marked


def ends(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with the oldest or the newest pip in turn, or with all."""
    return some_pips(test, _ends)


@pytest.fixture
def wheels(tmp_path: Path) -> dict[str, Path]:
    """Some wheels by name; alpha has an extra that needs beta."""
    made = {}
    for name in NAMES:
        more = {"alpha": 'Provides-Extra: more\nRequires-Dist: beta; extra == "more"\n'}
        made[name] = make_wheel(
            tmp_path / "wheels",
            name,
            files={f"{name}/__init__.py": f"NAME = {name!r}\n", f"{name}/data": name},
            entry_points=f"[console_scripts]\n{name}-run = {name}:print\n",
            metadata=more.get(name, ""),
        )
    return made


@pytest.fixture
def index(wheels: dict[str, Path]) -> Iterator[Index]:
    with Index([*wheels.values()]) as made:
        yield made


class Case:
    """Steps in an environment, with and without us, from one index."""

    def __init__(self, bed: Bed, tmp_path: Path, index: Index, pip: str) -> None:
        self.bed, self.tmp_path, self.index, self.pip = bed, tmp_path, index, pip
        self.store = tmp_path / "store"
        self.reports = tmp_path / "reports"
        self.also: list[Path] = []
        self.steps: list[Step] = []

    def install(
        self,
        *args: str,
        fetches: Sequence[str] | None = None,
        pip: Sequence[str] = (),
    ) -> None:
        """Add an installation.

        :param args: arguments of ``pip install``
        :param pip: arguments of pip itself
        :param fetches: names of the wheels that our pip must ask the index for;
            ``None`` if that does not matter
        """
        number = len(self.steps)

        def begin(_: Environment) -> None:
            self.reports.mkdir(exist_ok=True)
            self.index.requests.clear()

        def end(environment: Environment) -> None:
            if fetches is None or not is_ours(environment):
                return
            asked = {
                path.split("/")[2].split("-")[0] for path in self.index.asked_for()
            }
            assert asked == set(fetches), f"step {number}: {self.index.requests}"

        report = ("--report", str(self.reports / f"{number}.json"))
        options = ("--no-cache-dir", *self.index.options, *report)
        command = (*pip, "install", *options, *args)
        self.steps += [begin, command, end]

    def uninstall(self, *names: str) -> None:
        """Remove distributions."""
        self.steps.append(("uninstall", "--yes", *names))

    def claim(self, wheel: Path, hashes: dict[str, str]) -> None:
        """Let the index name other digests of a wheel from now on."""
        file = self.index.files[wheel.name]
        true = file.hashes

        def do(_: Environment) -> None:
            file.hashes = hashes

        self.steps.insert(0, lambda _: setattr(file, "hashes", true))
        self.steps.append(do)

    def damage(self, pattern: str, *, remove: bool = False) -> None:
        """Change files of the store that match a pattern, where there is a store."""

        def do(environment: Environment) -> None:
            if not is_ours(environment):
                return
            found = [*self.store.glob(f"v1/wheels/*/*/files/{pattern}")]
            assert found, pattern
            for path in found:
                path.unlink()
                if not remove:
                    path.write_text("damaged")

        self.steps.append(do)

    def requirements(self, *lines: str) -> str:
        """Write a requirements file and return its path."""
        text = "\n".join(lines)
        name = hashlib.sha256(text.encode()).hexdigest()[:8]
        path = self.tmp_path / f"{name}.txt"
        path.write_text(text + "\n")
        return str(path)

    def check(self, ignore: Sequence[str] = ()) -> Environment:
        """Take the steps in both environments and compare."""
        return assert_parity(
            self.bed,
            self.tmp_path,
            self.steps,
            env={"PIP_LINK_STORE": str(self.store), "PIP_LINK_MODE": "hardlink"},
            pip=self.pip,
            also=[self.reports, *self.also],
            ignore=ignore,
            output=True,
        )


def is_ours(environment: Environment) -> bool:
    return (environment.site_packages / "pip_linkmode").exists()


def digest(path: Path, name: str = "sha256") -> str:
    return file_hashes(path, [name])[name]


@some_pips
def test_digests_right_and_wrong(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], index: Index, pip: str
) -> None:
    """What an index and a user say of one file, in every combination."""
    case = Case(bed, tmp_path, index, pip)
    case.install("alpha[more]", *NAMES[2:])
    case.uninstall(*NAMES)
    case.install("alpha[more]", "eta", fetches=[])
    case.install("--force-reinstall", "--no-deps", "beta", fetches=[])
    case.uninstall("alpha", "beta")

    def pinned(*hashes: str) -> str:
        options = " ".join(f"--hash={one}" for one in hashes)
        return case.requirements(f"alpha==1.0 {options}")

    right, other = digest(wheels["alpha"]), digest(wheels["beta"])
    right512 = digest(wheels["alpha"], "sha512")
    case.install("-r", pinned(f"sha256:{right}"), fetches=[])
    case.uninstall("alpha")
    case.install("-r", pinned(f"sha256:{WRONG}", f"sha256:{right}"), fetches=[])
    case.uninstall("alpha")
    # No file has these: pip reads it to say what it got.
    case.install("-r", pinned(f"sha256:{WRONG}"))
    case.install("-r", pinned(f"sha256:{other}"))
    case.install("-r", pinned(f"sha512:{right512}"), fetches=["alpha"])
    case.uninstall("alpha")
    case.install("-r", pinned(f"sha256:{WRONG}", f"sha512:{right512}"))
    # It prints the digest to pin.
    case.install("--require-hashes", "-r", case.requirements("beta==1.0"))

    case.claim(wheels["gamma"], file_hashes(wheels["gamma"], ["md5", "sha256"]))
    case.claim(wheels["delta"], file_hashes(wheels["delta"], ["sha512"]))
    case.claim(wheels["epsilon"], {})
    right512 = digest(wheels["zeta"], "sha512")
    case.claim(wheels["zeta"], {"sha256": WRONG, "sha512": right512})
    right512 = digest(wheels["eta"], "sha512")
    case.claim(wheels["eta"], {"sha512": right512, "sha256": WRONG})
    plain = ("--force-reinstall", "--no-deps")
    case.install(*plain, "gamma", "delta", "epsilon")
    case.install(*plain, "zeta")
    case.install(*plain, "eta")
    case.check()


@some_pips
def test_index_and_user_name_different_files(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], index: Index, pip: str
) -> None:
    """The index still names a file that the store has, but serves another one."""
    case = Case(bed, tmp_path, index, pip)
    case.install("alpha")
    case.uninstall("alpha")
    files = {"alpha/__init__.py": "NEW = True\n"}
    new = make_wheel(tmp_path / "new", "alpha", files=files)

    def replace(_: Environment) -> None:
        index.files[new.name].content = new.read_bytes()

    def put_back(_: Environment) -> None:
        index.files[new.name].content = None

    line = f"alpha==1.0 --hash=sha256:{digest(new)}"
    case.steps.append(replace)
    case.install("--no-deps", "-r", case.requirements(line), fetches=["alpha"])
    url = index.file_url(new.name)
    case.uninstall("alpha")
    case.install("--no-deps", f"alpha @ {url}#sha256={digest(new)}")
    case.steps.append(put_back)
    case.uninstall("alpha")
    url += f"#sha256={digest(wheels['alpha'])}"
    case.install("--no-deps", f"alpha @ {url}", fetches=[])
    case.check()


@ends
@pytest.mark.parametrize("damage", ["edited", "removed", "metadata"])
def test_damaged_entries_are_downloaded_again(
    bed: Bed, tmp_path: Path, index: Index, pip: str, damage: str
) -> None:
    """Between the stand-in and the link, where pip 26.3 has blocked all imports."""
    case = Case(bed, tmp_path, index, pip)
    case.install("alpha", "beta")
    case.uninstall("alpha", "beta")
    pattern = "alpha-*/METADATA" if damage == "metadata" else "alpha/data"
    case.damage(pattern, remove=damage == "removed")
    case.install("alpha", "beta", fetches=["alpha"])
    case.uninstall("alpha", "beta")
    case.install("alpha", "beta", fetches=[])
    case.check()


@ends
@pytest.mark.parametrize("trouble", ["entry", "store", "unwritable"])
def test_trouble_between_stand_in_and_link(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], index: Index, pip: str,
    trouble: str,
) -> None:  # fmt: skip
    """The stand-in is never installed: pip gets the wheel, or an error of its own."""
    case = Case(bed, tmp_path, index, pip)
    case.install("alpha", "beta")
    case.uninstall("alpha", "beta")
    # Then stand-ins are made while pip resolves.
    for file in index.files.values():
        file.metadata = None

    def on_request(request: Request) -> None:
        if request.path != "/simple/beta/" or not armed:
            return
        if trouble == "entry":
            (entry,) = case.store.glob(f"v1/wheels/*/{digest(wheels['alpha'])}")
            shutil.rmtree(entry)
        elif trouble == "store":
            case.store.chmod(0o777)
        else:
            shutil.rmtree(case.store)
            case.store.write_text("not a directory")

    armed: list[bool] = []
    index.on_request = on_request
    case.steps.append(lambda environment: armed.extend([True] * is_ours(environment)))
    # In this order: beta's page is asked for when alpha has its stand-in.
    fetched = ["alpha"] if trouble == "entry" else ["alpha", "beta"]
    case.install("alpha[more]", fetches=fetched)
    case.steps.append(lambda _: armed.clear())
    case.check()


@ends
def test_a_login_and_no_request_before_the_fallback(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], pip: str
) -> None:
    """The first request of the process is made where pip 26.3 blocks imports."""
    wheel = wheels["alpha"]
    with Index([wheel], login="user:secret") as index:
        case = Case(bed, tmp_path, index, pip)
        requirement = f"alpha @ {index.file_url(wheel.name)}#sha256={digest(wheel)}"
        case.install("--no-deps", requirement, fetches=["alpha"])
        case.uninstall("alpha")
        case.install("--no-deps", requirement, fetches=[])
        case.uninstall("alpha")
        case.damage("alpha/data")
        case.install("--no-deps", requirement, fetches=["alpha"])
        case.check()


@ends
def test_if_the_fallback_fails_the_old_version_stays(
    bed: Bed, tmp_path: Path, index: Index, pip: str
) -> None:
    case = Case(bed, tmp_path, index, pip)
    new = make_wheel(
        tmp_path / "new", "alpha", "2.0", {"alpha/__init__.py": "", "alpha/data": "2"}
    )
    index.add(new)
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    settings = {"PIP_LINK_STORE": str(case.store), "PIP_NO_CACHE_DIR": "1"}
    for version in ("2.0", "1.0"):
        environment.pip("install", *index.options, f"alpha=={version}", env=settings)
    before = environment.snapshot()
    for path in case.store.glob("v1/wheels/*/*/files/alpha/data"):
        if path.read_text() == "2":
            path.unlink()
    index.files[new.name].content = b"no wheel"
    failed = environment.pip(
        "install", *index.options, "--upgrade", "alpha", env=settings, check=False
    )
    assert failed.returncode != 0
    assert "ERROR" in failed.stderr
    assert environment.snapshot() == before


@some_pips
def test_ways_to_install(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], pip: str
) -> None:
    """Options that change what pip fetches, and in which order."""
    for as_json, metadata in ((True, True), (False, True), (True, False)):
        place = tmp_path / f"{as_json}-{metadata}"
        place.mkdir()
        with Index([*wheels.values()], metadata=metadata, as_json=as_json) as index:
            case = Case(bed, place, index, pip)
            case.install("alpha[more]", "gamma")
            case.uninstall("alpha", "beta", "gamma")
            limits = case.requirements("beta<2")
            if as_json and metadata:
                case.install("alpha[more]", "-c", limits, fetches=[])
                case.install("--dry-run", "-I", "alpha[more]", "gamma", fetches=[])
                case.also = [place / "target", place / "prefix"]
                case.install("--target", str(case.also[0]), "gamma", fetches=[])
                legacy = ("--use-deprecated", "legacy-resolver")
                case.install(*legacy, "--force-reinstall", "alpha[more]", fetches=[])
                case.install("--no-binary", "gamma", "alpha", "gamma")
                case.install("--prefix", str(case.also[1]), "-I", "gamma", fetches=[])
            else:
                fast = ("--use-feature", "fast-deps")
                case.install("alpha[more]", fetches=[])
                case.install(*fast, "--force-reinstall", "alpha[more]", "gamma")
            case.check()


@ends
def test_build_environments_get_stored_wheels(
    bed: Bed, tmp_path: Path, index: Index, pip: str
) -> None:
    case = Case(bed, tmp_path, index, pip)
    case.install("beta")
    case.uninstall("beta")
    project = make_project(
        tmp_path / "projects", "project", requires="'beta'", check="import beta"
    )
    case.install("--no-deps", str(project), fetches=[])
    case.check()


@ends
def test_another_environment_gets_stored_wheels(
    bed: Bed, tmp_path: Path, index: Index, pip: str
) -> None:
    """``pip --python OTHER install``."""
    case = Case(bed, tmp_path, index, pip)
    other = tmp_path / "other"
    case.also = [other]
    python = ("--python", str(other))
    case.steps.append(lambda _: venv.create(other, symlinks=True))
    case.install("alpha[more]", "gamma", pip=python)
    case.steps.append((*python, "uninstall", "--yes", "alpha", "beta", "gamma"))
    case.install("alpha[more]", "gamma", pip=python, fetches=[])
    case.check()


@pytest.mark.index
def test_pip_compile_gets_no_stand_ins(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], index: Index
) -> None:
    """It makes an install command that it never runs, and hashes files."""
    house = bed.wheelhouse(["pip-tools"])
    case = Case(bed, tmp_path, index, "25.3")
    tools = ("install", "--no-index", "--find-links", str(house), "pip-tools")
    case.steps.append(lambda environment: environment.pip(*tools))
    case.install("alpha[more]")
    case.uninstall("alpha", "beta")
    wanted = case.requirements("alpha[more]")

    def compile_requirements(environment: Environment) -> None:
        index.requests.clear()
        environment.run(
            *("-m", "piptools", "compile", "--quiet", "--generate-hashes"),
            *(*index.options, "--no-header", wanted),
            *("--output-file", case.reports / "compiled.txt"),
            env={"PIP_LINK_STORE": str(case.store)} if is_ours(environment) else None,
        )
        assert len(index.asked_for([".whl"])) == 2

    case.claim(wheels["alpha"], {})
    case.claim(wheels["beta"], {})
    case.steps.append(compile_requirements)
    # The environment with the shim has it already.
    case.check(ignore=["*/packaging*"])


@ends
def test_without_wrapt_everything_is_downloaded(
    bed: Bed, tmp_path: Path, index: Index, pip: str
) -> None:
    case = Case(bed, tmp_path, index, pip)
    case.install("alpha")
    case.uninstall("alpha")

    def remove(environment: Environment) -> None:
        shutil.rmtree(environment.site_packages / "wrapt", ignore_errors=True)

    case.steps.append(remove)
    case.install("alpha", fetches=["alpha"])
    assert_parity(
        bed,
        tmp_path,
        [*case.steps],
        env={"PIP_LINK_STORE": str(case.store), "PIP_NO_CACHE_DIR": "1"},
        pip=pip,
        ignore=["*/wrapt/*", "*/wrapt"],
    )


@pytest.mark.parametrize("command", ["download", "wheel"])
@ends
def test_where_the_file_is_the_product_it_is_downloaded(
    bed: Bed, tmp_path: Path, wheels: dict[str, Path], index: Index, pip: str,
    command: str,
) -> None:  # fmt: skip
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    settings = {"PIP_LINK_STORE": str(tmp_path / "store"), "PIP_NO_CACHE_DIR": "1"}
    environment.pip("install", *index.options, "alpha", env=settings)
    index.requests.clear()
    environment.pip(
        command, *index.options, "alpha", env=settings, cwd=tmp_path / "environment"
    )
    (made,) = (tmp_path / "environment").glob("alpha*.whl")
    assert made.read_bytes() == wheels["alpha"].read_bytes()
    assert len(index.asked_for([".whl"])) == 1


@pytest.mark.parametrize("pip", [OLDEST, NEWEST])
def test_killed_between_stand_in_and_link(
    bed: Bed, tmp_path: Path, index: Index, pip: str
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    settings = {"PIP_LINK_STORE": str(tmp_path / "store"), "PIP_NO_CACHE_DIR": "1"}
    install = ("install", *index.options, "alpha[more]")
    environment.pip(*install, env=settings)
    environment.pip("uninstall", "--yes", "alpha", "beta")
    before = environment.snapshot()
    for file in index.files.values():
        file.metadata = None
    script = (
        "import os, sys; print(os.getpid(), flush=True); "
        "from pip._internal.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [environment.python, "-c", script, *install],
        env={**environment._variables(environment.private / "home"), **settings},
        stdout=subprocess.PIPE,
        text=True,
    )
    index.on_request = lambda request: (
        process.kill() if request.path == "/simple/beta/" else None
    )
    output = process.communicate()[0]
    index.on_request = lambda _: None
    assert process.returncode == -9
    assert "Using stored alpha" in output
    assert environment.snapshot() == before
    index.requests.clear()
    environment.pip(*install, env=settings)
    assert index.asked_for() == []
    environment.run("-c", "import alpha, beta")
