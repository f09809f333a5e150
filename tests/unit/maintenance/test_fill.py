"""``pip-linkmode fill``: wheels get into a store, and nothing is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode.cli.main import main
from pip_linkmode.interpreters import Interpreter
from pip_linkmode.maintenance import gather as gather_module
from pip_linkmode.maintenance.fill import fill
from pip_linkmode.maintenance.gather import Wanted, gather
from pip_linkmode.store.store import Store
from tests.compat.matrix import pythons
from tests.functional.projects import make_project, make_sdist
from tests.support.index import Index
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed

FILES: dict[str, bytes | str] = {
    "package/__init__.py": "VALUE = 1\n",
    "package/data": "data",
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "wheels", "package", files=FILES)


class Command:
    """The command, with a store of its own; pip finds wheels in one directory."""

    def __init__(self, directory: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.store = directory / "store"
        self.variables = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_CACHE_DIR": str(directory / "cache"),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(directory / "wheels"),
        }
        self._capfd = capfd

    def __call__(self, *arguments: object, code: int = 0) -> tuple[str, str]:
        """Run it; return what it says, and its errors."""
        if "--link-store" not in arguments:
            arguments += ("--link-store", self.store)
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("PIP_")]:
                patch.delenv(name)
            for name, value in self.variables.items():
                patch.setenv(name, value)
            assert main(["fill", *map(str, arguments)]) == code
        said = self._capfd.readouterr()
        return said.out, said.err

    def data(self, *arguments: object, code: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", code=code)[0])


@pytest.fixture
def command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capfd)


def interpreters(store: Path) -> set[str]:
    """Return whose bytecode is in a store."""
    return {path.name for path in store.glob("v1/wheels/*/*/bytecode/*")}


def test_wheel_and_its_bytecode_are_in_the_store(command: Command, wheel: Path) -> None:
    text, _ = command(wheel)
    assert "package 1.0" in " ".join(text.split())
    assert text.splitlines()[-1] == "Unpacked 1 wheel; 0 were there before"
    (entry,) = command.store.glob("v1/wheels/*/*")
    assert (entry / "files/package/data").read_text() == "data"
    assert interpreters(command.store) == {Interpreter.running().name}


def test_environment_installs_what_is_there(
    command: Command, wheel: Path, bed: Bed, tmp_path: Path
) -> None:
    command(wheel)
    environment = bed.environment(tmp_path / "environment", shim=True)
    store = ("--link-mode", "hardlink", "--link-store", str(command.store))
    said = environment.pip("install", "--no-index", *store, wheel).stdout
    assert "Linked 1 package by hardlink" in said
    assert "first time" not in said


def test_what_is_there_is_not_unpacked_again(command: Command, wheel: Path) -> None:
    first, second = (command.data(wheel)["wheels"][0] for _ in range(2))
    assert (first.pop("fresh"), second.pop("fresh")) == (True, False)
    assert first == second


def test_wheelhouse_is_all_wheels_in_it(command: Command, wheel: Path) -> None:
    make_wheel(wheel.parent, "another", files={"another.py": ""})
    names = [one["name"] for one in command.data(wheel.parent)["wheels"]]
    assert names == ["another", "package"]


def test_pip_gets_requirements_and_what_they_need(
    command: Command, wheel: Path, tmp_path: Path
) -> None:
    make_wheel(
        wheel.parent, "outer", files={"outer.py": ""}, metadata="Requires-Dist: package"
    )
    (tmp_path / "requirements.txt").write_text("outer\n")
    names = [
        one["name"]
        for one in command.data("-r", tmp_path / "requirements.txt")["wheels"]
    ]
    assert names == ["outer", "package"]


def test_constraints_are_kept(command: Command, wheel: Path, tmp_path: Path) -> None:
    make_wheel(wheel.parent, "package", "2.0", files=FILES)
    (tmp_path / "constraints.txt").write_text("package<2\n")
    found = command.data("package", "-c", tmp_path / "constraints.txt")
    assert [one["version"] for one in found["wheels"]] == ["1.0"]


def test_what_pip_has_built_is_found_by_an_installation(
    command: Command, bed: Bed, tmp_path: Path
) -> None:
    """By pip's own cache of what it has built: the wheel has the same bytes."""
    sdist = make_sdist(make_project(tmp_path / "sdists", "built"))
    environment = bed.environment(tmp_path / "environment", shim=True)
    command.variables["PIP_FIND_LINKS"] = str(sdist.parent)
    command.variables["PIP_CACHE_DIR"] = str(environment.cache)
    command("built")
    said = environment.pip(
        *("install", "--no-index", "--find-links", str(sdist.parent), "built"),
        *("--link-mode", "hardlink", "--link-store", str(command.store)),
    ).stdout
    assert "Linked 1 package by hardlink" in said
    assert "first time" not in said


def test_bytecode_is_for_the_interpreter_that_is_named(
    command: Command, wheel: Path
) -> None:
    others = [one for one in pythons() if one.path != sys.executable]
    if not others:
        pytest.skip("there is only one Python")
    other = "".join(map(str, others[-1].version[:2]))
    command(wheel)
    command("package", "--python", others[-1].path)
    tags = {
        name.partition("-")[2].partition("-")[0] for name in interpreters(command.store)
    }
    assert tags == {f"3{sys.version_info[1]}", other}


def test_environment_stands_for_its_interpreter(
    command: Command, wheel: Path, bed: Bed, tmp_path: Path
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=False)
    command(wheel, "--python", environment.path)
    assert interpreters(command.store) == {Interpreter.running().name}


def test_wheel_that_pip_has_to_judge_is_told(command: Command, tmp_path: Path) -> None:
    bad = tmp_path / "wheels" / "bad-1.0-py3-none-any.whl"
    bad.parent.mkdir(exist_ok=True)
    bad.write_bytes(b"no wheel")
    good = make_wheel(tmp_path / "wheels", "package", files=FILES)
    text, _ = command(bad, good, code=1)
    assert text.splitlines()[-2] == "Unpacked 1 wheel; 0 were there before"
    assert text.splitlines()[-1].startswith(f"Left to pip: {bad.name}: ")
    text, _ = command(bad, code=1)
    assert text.splitlines()[0] == "Unpacked 0 wheels; 0 were there before"


def test_damaged_entry_is_rebuilt(command: Command, wheel: Path) -> None:
    command(wheel)
    (entry,) = command.store.glob("v1/wheels/*/*")
    (entry / "files/package/data").write_text("another")
    assert command.data(wheel)["wheels"][0]["fresh"] is True
    assert (entry / "files/package/data").read_text() == "data"


def test_bytecode_that_cannot_be_had_is_told(
    command: Command, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interpreter that dies: the wheel is unpacked by the process itself."""
    store = Store.open(str(command.store))
    report = fill([store], [str(wheel)], Interpreter("/bin/false", "none", "none"))
    assert [(one.fresh, one.compiled) for one in report.wheels] == [(True, False)]
    monkeypatch.setattr(
        "pip_linkmode.cli.fill.of_python", lambda _: report_of("/bin/false")
    )
    assert "package 1.0     none" in command(wheel)[0]


def report_of(executable: str) -> Interpreter:
    return Interpreter(executable, "none", "none")


# --- what cannot be meant -------------------------------------------------------------


@pytest.mark.parametrize("python", ["no-such-python", "/", sys.prefix + "/pyvenv.cfg"])
def test_what_is_no_interpreter_is_refused(
    command: Command, wheel: Path, python: str
) -> None:
    _, errors = command(wheel, "--python", python, code=2)
    assert errors == (f"ERROR: {python} is neither an interpreter nor an environment\n")


def test_nothing_is_no_request(command: Command) -> None:
    _, errors = command(code=2)
    assert errors == "ERROR: nothing is named that could be put into a store\n"


def test_directory_without_wheels_is_refused(command: Command, tmp_path: Path) -> None:
    _, errors = command(tmp_path, code=1)
    assert errors == f"ERROR: there are no wheels in {tmp_path}; pip wheel makes them\n"


def test_what_pip_cannot_get_ends_it(command: Command, wheel: Path) -> None:
    del wheel
    _, errors = command("missing", code=1)
    assert "No matching distribution found for missing" in errors
    assert errors.splitlines()[-1] == (
        "ERROR: pip wheel could not get the wheels: exit code 1"
    )


def test_store_that_is_named_is_filled_whatever_the_mode(
    command: Command, wheel: Path
) -> None:
    command.variables["PIP_LINK_MODE"] = "off"
    text, _ = command(wheel)
    assert text.splitlines()[-1] == "Unpacked 1 wheel; 0 were there before"


def test_without_a_store_there_is_nothing_to_fill(
    command: Command, wheel: Path
) -> None:
    command.variables["PIP_LINK_MODE"] = "off"
    _, errors = command(wheel, "--link-store", "", code=2)
    assert errors == (
        "ERROR: there is no store: the link mode is off (PIP_LINK_MODE). "
        "Name one with --link-store\n"
    )


def test_constraints_of_nothing_are_no_request(
    command: Command, wheel: Path, tmp_path: Path
) -> None:
    (tmp_path / "constraints.txt").write_text("package<2\n")
    _, errors = command(wheel, "-c", tmp_path / "constraints.txt", code=2)
    assert errors == (
        "ERROR: --constraint says nothing of wheels that are there; "
        "name a requirement\n"
    )


def test_bytecode_is_shown_with_the_version(command: Command, wheel: Path) -> None:
    text, _ = command(wheel)
    assert f"package 1.0     {sys.implementation.cache_tag} " in text


def test_store_that_cannot_be_written_is_refused(
    command: Command, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(wheel)
    monkeypatch.setattr(Store, "open", lambda root, **_: Store(root, writable=False))
    _, errors = command(wheel, code=1)
    assert errors == (
        f"ERROR: the store {command.store} is read-only; "
        "set --link-store to one of your own\n"
    )


def test_group_that_could_not_read_it_gets_nothing(
    command: Command, wheel: Path
) -> None:
    command.store.mkdir()
    command.store.chmod(0o2775)
    command.variables["PIP_LINK_TRUST_GROUP"] = "1"
    before = os.umask(0o077)
    try:
        _, errors = command(wheel, code=1)
    finally:
        os.umask(before)
    assert errors == (
        f"ERROR: the store {command.store} is its group's, "
        "which could not read it: the umask is 077\n"
    )


def test_bare_name_is_a_project_whatever_is_called_so_here(
    command: Command, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del wheel
    (tmp_path / "here" / "package").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    text, _ = command("package")
    assert "Unpacked 1 wheel" in text


def test_what_is_needed_only_to_build_is_not_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pip that builds may be one that links."""
    seen = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> Any:
        seen.append((command[4], "--dry-run" in command, env["PIP_LINK_MODE"]))
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setenv("PIP_LINK_MODE", "symlink")
    monkeypatch.setattr(subprocess, "run", run)
    gather(str(tmp_path), Wanted(["package"]), [])
    # Nothing is stored of a run that is dry, of its builds neither.
    assert seen == [("install", True, "auto"), ("wheel", False, "off")]


def on_index(command: Command, index: Index) -> None:
    del command.variables["PIP_NO_INDEX"], command.variables["PIP_FIND_LINKS"]
    command.variables["PIP_INDEX_URL"] = index.url
    command.variables["PIP_TRUSTED_HOST"] = index.host


def test_stored_wheels_are_not_downloaded(
    command: Command, wheel: Path, tmp_path: Path
) -> None:
    """The pip that runs this has no hooks: it downloads metadata."""
    other = make_wheel(tmp_path / "others", "other", metadata="Requires-Dist: package")
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("other\n")
    with Index([wheel, other]) as index:
        on_index(command, index)
        text, _ = command("package")
        assert text.splitlines()[-1] == "Unpacked 1 wheel; 0 were there before"
        index.requests.clear()
        text, _ = command("-r", requirements)
        assert text.splitlines()[-1] == "Unpacked 1 wheel; 1 were there before"
        assert index.asked_for([".whl"]) == [f"/files/{other.name}"]
        index.requests.clear()
        text, _ = command("-r", requirements)
        assert text.splitlines()[-1] == "Unpacked 0 wheels; 2 were there before"
        assert index.asked_for([".whl"]) == []


def test_damaged_entries_are_downloaded(command: Command, wheel: Path) -> None:
    with Index([wheel]) as index:
        on_index(command, index)
        command("package")
        (data,) = command.store.glob("v1/wheels/*/*/files/package/data")
        data.unlink()
        text, _ = command("package")
        assert text.splitlines()[-1] == "Unpacked 1 wheel; 0 were there before"
        assert data.read_text() == "data"
        (manifest,) = command.store.glob("v1/wheels/*/*/manifest.json")
        manifest.write_text("{}")
        command("package")
        assert data.read_text() == "data"


@pytest.mark.parametrize("line", ["package --hash=sha256:{}", "package @ {url}"])
def test_where_a_pin_says_too_little_all_are_asked_for(
    command: Command, wheel: Path, tmp_path: Path, line: str
) -> None:
    with Index([wheel]) as index:
        on_index(command, index)
        digest = index.files[wheel.name].hashes["sha256"]
        line = line.format(digest, url=index.file_url(wheel.name))
        line = line.replace("package --", "package==1.0 --")
        requirements = tmp_path / "requirements.txt"
        requirements.write_text(f"# package\n{line}\n")
        text, _ = command("-r", requirements)
        assert text.splitlines()[-1] == "Unpacked 1 wheel; 0 were there before"
        text, _ = command("-r", requirements)
        assert text.splitlines()[-1] == "Unpacked 0 wheels; 1 were there before"


def test_hashes_leave_the_stored_ones_alone(
    command: Command, wheel: Path, tmp_path: Path
) -> None:
    """Such files are what ``pip-compile --generate-hashes`` writes."""
    other = make_wheel(tmp_path / "others", "other")
    with Index([wheel, other]) as index:
        on_index(command, index)
        command("package")
        digests = [index.files[one.name].hashes["sha256"] for one in (wheel, other)]
        requirements = tmp_path / "requirements.txt"
        lines = [
            f"{name}==1.0 \\\n    --hash=sha256:{digest}\n    # via -r in.txt\n"
            for name, digest in zip(("package", "other"), digests, strict=True)
        ]
        requirements.write_text("".join(lines))
        index.requests.clear()
        command("-r", requirements)
        assert index.asked_for([".whl"]) == [f"/files/{other.name}"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("kind", ["-r", "-c"])
def test_options_of_files_choose_the_index(
    command: Command, wheel: Path, tmp_path: Path, kind: str, encoding: str
) -> None:
    """Another index may have another file of the same version."""
    other = make_wheel(tmp_path / "others", "package", files={"package/data": "other"})
    with Index([wheel]) as index, Index([other]) as wanted:
        on_index(command, index)
        command.variables["PIP_TRUSTED_HOST"] += f" {wanted.host}"
        listed = tmp_path / "listed.txt"
        listed.write_text(f"--index-url {wanted.url}\npackage==1.0\n", encoding)
        command(kind, listed, *(["package"] if kind == "-c" else []))
        (data,) = command.store.glob("v1/wheels/*/*/files/package/data")
        assert data.read_text() == "other"


def test_hash_of_a_constraint_chooses_the_file(
    command: Command, wheel: Path, tmp_path: Path
) -> None:
    """pip prefers a higher build number, where nothing else is asked for."""
    other = make_wheel(tmp_path / "others", "package", files={"package/data": "other"})
    build = other.rename(other.with_name("package-1.0-1-py3-none-any.whl"))
    with Index([wheel, build]) as index:
        on_index(command, index)
        constraints = tmp_path / "constraints.txt"
        digest = index.files[wheel.name].hashes["sha256"]
        constraints.write_text(f"package==1.0 --hash=sha256:{digest}\n")
        command("package==1.0", "-c", constraints)
    (data,) = command.store.glob("v1/wheels/*/*/files/package/data")
    assert data.read_text() == "data"


def test_report_of_an_old_pip_has_one_hash() -> None:
    item = {
        "download_info": {
            "url": "https://host/a-1-py3-none-any.whl",
            "archive_info": {"hash": "sha256=abc"},
        },
        "metadata": {"name": "a", "version": "1"},
        "is_direct": False,
    }
    assert gather_module._wheel_of(item) == (
        "a-1-py3-none-any.whl",
        "abc",
        "a==1 --hash=sha256:abc",
    )
