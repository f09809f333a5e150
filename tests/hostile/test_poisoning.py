"""A store that somebody has written to gives nothing away, and takes nothing along."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest

from pip_linkmode import files
from pip_linkmode.prepare import preparer
from pip_linkmode.prepare import wheel as wheel_module
from pip_linkmode.prepare.pool import Workers, WorkersError
from tests.hostile.bench import FILES, MODULE, Bench, look
from tests.hostile.corpus import build
from tests.support.parity import assert_parity, store_digest
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.parity import Step

EVIL = MODULE.replace("pristine", "poisoned")
assert len(EVIL) == len(MODULE)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A store with one entry, which nobody uses any more."""
    wheel = make_wheel(tmp_path / "wheels", "pkg", files=FILES)
    filled = Bench(tmp_path, wheel)
    filled.assert_pristine(filled.install("first"))
    shutil.rmtree(tmp_path / "first")
    return filled


# --- bytes decide, not names ----------------------------------------------------------


def twins(directory: Path) -> tuple[Path, Path]:
    """Make two wheels of one name and size; only their bytes differ."""
    good, evil = (
        build(
            directory / kind, "pkg", ("pkg/module.py", f"VALUE = '{kind}'\n".encode())
        )
        for kind in ("good", "evil")
    )
    assert good.name == evil.name
    assert good.stat().st_size == evil.stat().st_size
    return good, evil


def digest(wheel: Path) -> str:
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def value(environment: Environment) -> str:
    path = environment.site_packages / "pkg" / "module.py"
    return path.read_text() if path.exists() else ""


@pytest.mark.parametrize("stored", ["good", "evil"])
def test_hash_of_the_user_wins(bed: Bed, tmp_path: Path, stored: str) -> None:
    """Whatever is in the store under the same name and size."""
    good, evil = twins(tmp_path)
    wheels = {"good": good, "evil": evil}
    env = {"PIP_LINK_MODE": "hardlink", "PIP_LINK_STORE": str(tmp_path / "store")}
    filler = bed.environment(tmp_path / "filler", shim=True)
    filler.pip("install", "--no-index", str(wheels[stored]), env=env)
    requirement = tmp_path / "requirement.txt"
    claims = tmp_path / "claims.html"
    claims.write_text(
        f'<a href="{evil.as_uri()}#sha256={digest(good)}">{evil.name}</a>'
    )
    requirement.write_text(f"pkg==1.0 --hash=sha256:{digest(good)}\n")

    def nothing(environment: Environment) -> None:
        assert value(environment) == ""

    def the_good_one(environment: Environment) -> None:
        assert value(environment) == "VALUE = 'good'\n"

    install = ["install", "--no-index", "--require-hashes", "-r", str(requirement)]
    steps: list[Step] = [
        [*install, "--find-links", str(evil.parent)],
        [*install, "--find-links", str(claims)],
        nothing,
        [*install, "--find-links", str(good.parent)],
        the_good_one,
    ]
    assert_parity(bed, tmp_path, steps, env=env, output=True)
    assert len(list((tmp_path / "store").glob("v1/wheels/*/*"))) == (
        1 if stored == "good" else 2
    )


def rewrite(wheel: Path, content: bytes) -> None:
    """Change a file where it is."""
    with wheel.open("r+b") as file:
        file.write(content)


@pytest.mark.parametrize("moment", ["before unpacking", "while unpacking"])
def test_wheel_that_changes_is_not_stored_under_the_hash_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    good, evil = twins(tmp_path)
    os.utime(good, (0, 0))
    bench = Bench(tmp_path, good)
    sha256, content = bench.sha256, evil.read_bytes()
    module: Any = preparer if moment == "before unpacking" else wheel_module
    stock = files.file_digest

    def digest_and_change(wheel: Any) -> str:
        found = stock(wheel)
        rewrite(good, content)
        return found

    def no_worker(*_: object) -> None:
        raise WorkersError

    monkeypatch.setattr(Workers, "submit", no_worker)
    monkeypatch.setattr(module, "file_digest", digest_and_change)
    installed = bench.install("environment")
    monkeypatch.undo()
    assert not (bench.store / "v1" / "wheels" / sha256[:2] / sha256).exists()
    # The next attempt may have had the new wheel; that is what pip would install.
    if installed is not None:
        assert (installed / "pkg/module.py").read_text() == "VALUE = 'evil'\n"


# --- manifests ------------------------------------------------------------------------


def rows(change: Callable[[list[list[Any]]], list[list[Any]]]) -> Callable[..., None]:
    def edit(manifest: dict[str, Any], outside: Path) -> None:
        del outside
        manifest["files"] = change(manifest["files"])

    return edit


def column(number: int, new: object) -> Callable[..., None]:
    """Change one column of the row of ``pkg/module.py``."""

    def edit(manifest: dict[str, Any], outside: Path) -> None:
        place = outside if new == "outside" else new
        for row in manifest["files"]:
            if row[0] == "pkg/module.py":
                row[number] = str(place) if new == "outside" else new

    return edit


def key(name: str, new: object) -> Callable[..., None]:
    def edit(manifest: dict[str, Any], outside: Path) -> None:
        del outside
        manifest[name] = new

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(column(0, "../../../../../../outside/evil.py"), id="escapes"),
        pytest.param(column(0, "outside"), id="absolute"),
        pytest.param(column(0, "pkg/../pkg/module.py"), id="not-normal"),
        pytest.param(column(0, "pkg/ghost.py"), id="no-such-file"),
        pytest.param(column(0, "../manifest.json"), id="itself"),
        pytest.param(column(1, len(MODULE) + 1), id="longer"),
        pytest.param(column(1, 0), id="empty"),
        pytest.param(column(1, -1), id="negative"),
        pytest.param(column(3, 0o755), id="executable"),
        pytest.param(column(3, 0o4755), id="set-user-id"),
        pytest.param(column(3, 0o600), id="private"),
        pytest.param(key("mtime", 1), id="mtime"),
        pytest.param(key("sha256", "0" * 64), id="sha256"),
        pytest.param(key("dist_info", "../../../outside"), id="dist-info-escapes"),
        pytest.param(key("dist_info", "pkg"), id="dist-info-of-another-directory"),
        pytest.param(key("files", []), id="no-files"),
        pytest.param(rows(lambda files: files[:-3]), id="no-metadata"),
        pytest.param(rows(lambda files: files * 2), id="all-twice"),
    ],
)
def test_edited_manifest_is_refused_and_rebuilt(
    bench: Bench, tmp_path: Path, edit: Callable[..., None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    evil = outside / "evil.py"
    path = bench.entry / "manifest.json"
    sound = path.read_bytes()
    manifest = json.loads(sound)
    evil.write_text(EVIL)
    evil.chmod(0o644)
    os.utime(evil, ns=(manifest["mtime"] * 10**9,) * 2)
    before = look(outside)
    edit(manifest, evil)
    path.write_text(json.dumps(manifest))
    installed = bench.install("environment")
    assert installed is not None
    bench.assert_pristine(installed)
    rebuilt = {**json.loads(path.read_bytes()), "mtime": 0}
    assert rebuilt == {**json.loads(sound), "mtime": 0}
    assert look(outside) == before


# --- links ----------------------------------------------------------------------------

PLACES = [
    "v1",
    "v1/wheels",
    "v1/wheels/xx",
    "v1/staging",
    "v1/environments",
    "entry",
    "entry/manifest.json",
    "entry/files",
    "entry/files/pkg",
    "entry/files/pkg/sub",
    "entry/files/pkg/module.py",
    "entry/bytecode",
    "entry/bytecode/interpreter",
    "entry/bytecode/interpreter/pkg",
    "entry/bytecode/interpreter/pkg/module.pyc",
]


def placed(bench: Bench, place: str) -> Path:
    first, _, rest = place.partition("/")
    if first == "v1":
        return bench.store / place.replace("xx", bench.sha256[:2])
    below = rest.replace("interpreter", bench.bytecode.name)
    return bench.entry / below if below else bench.entry


def poison(root: Path) -> None:
    """Change files so that no look at size, time and mode tells."""
    for path in [root] if root.is_file() else root.rglob("*"):
        if path.is_file():
            before = path.stat()
            path.write_bytes(path.read_bytes().replace(b"pristine", b"poisoned"))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("sound", [True, False], ids=["sound", "damaged"])
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
@pytest.mark.parametrize("place", PLACES)
def test_planted_link_is_not_followed(
    bench: Bench, tmp_path: Path, place: str, mode: str, *, sound: bool
) -> None:
    """Neither to read, nor to write, nor to delete."""
    path = placed(bench, place)
    path.mkdir(exist_ok=True, parents=True) if not path.exists() else None
    outside = tmp_path / "outside" / path.name
    outside.parent.mkdir()
    shutil.move(path, outside)
    poison(outside)
    for file in () if sound else outside.parent.rglob("*.py*"):
        os.utime(file, (0, 0))
    path.symlink_to(outside)
    before = look(outside.parent)
    for name in ("one", "two"):
        bench.assert_pristine(bench.install(name, mode))
        assert look(outside.parent) == before


@pytest.mark.parametrize("place", PLACES[6:])
def test_planted_link_in_an_entry_is_repaired(
    bench: Bench, tmp_path: Path, place: str
) -> None:
    path = placed(bench, place)
    shutil.move(path, tmp_path / "outside")
    path.symlink_to(tmp_path / "outside")
    installed = bench.install("environment")
    assert installed is not None
    bench.assert_pristine(installed)
    assert not any(one.is_symlink() for one in bench.store.rglob("*"))


@pytest.mark.parametrize("name", ["CACHEDIR.TAG", "v1/environments/{}"])
def test_planted_link_is_not_written_through(
    bench: Bench, tmp_path: Path, name: str
) -> None:
    """Dangling ones neither."""
    key_ = hashlib.sha256(os.fsencode(tmp_path / "environment")).hexdigest()
    path = bench.store / name.format(key_)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "written")
    shutil.rmtree(bench.entry)
    bench.assert_pristine(bench.install("environment", "symlink"))
    assert not (tmp_path / "written").exists()


def test_planted_directory_is_not_written_into(bench: Bench, tmp_path: Path) -> None:
    bench.assert_pristine(bench.install("environment", "symlink"))
    outside = tmp_path / "outside"
    outside.mkdir()
    for directory in (bench.store / "v1" / "environments").iterdir():
        shutil.rmtree(directory)
        directory.symlink_to(outside)
    bench.assert_pristine(bench.install("environment", "symlink"))
    assert not any(outside.iterdir())


def test_planted_hard_link_is_let_go(bench: Bench, tmp_path: Path) -> None:
    """The name in the store is removed; what it named lives on as it was."""
    precious = tmp_path / "outside" / "precious"
    precious.parent.mkdir()
    precious.write_text("of the user")
    precious.chmod(0o600)
    before = look(precious.parent)
    for name in (
        "files/pkg/module.py",
        f"bytecode/{bench.bytecode.name}/pkg/module.pyc",
    ):
        path = bench.entry / name
        path.unlink()
        path.hardlink_to(precious)
    installed = bench.install("environment")
    assert installed is not None
    bench.assert_pristine(installed)
    assert look(precious.parent) == before
    assert precious.stat().st_nlink == 1


@pytest.fixture
def in_time() -> Iterator[None]:
    """Give a test a minute."""

    def too_late(*_: object) -> None:
        message = "it waits"
        raise AssertionError(message)

    before = signal.signal(signal.SIGALRM, too_late)
    signal.setitimer(signal.ITIMER_REAL, 60)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
@pytest.mark.usefixtures("in_time")
def test_planted_pipe_is_not_waited_for(bench: Bench, kind: int) -> None:
    for name in ("files/pkg/module.py", "manifest.json"):
        path = bench.entry / name
        path.unlink()
        os.mknod(path, kind | 0o644)
        installed = bench.install(f"environment-{path.name}")
        assert installed is not None
        bench.assert_pristine(installed)


# --- what nobody notices --------------------------------------------------------------


@pytest.mark.parametrize("name", ["files/pkg/module.py", "bytecode/{}/pkg/module.pyc"])
def test_swap_that_keeps_size_and_time_is_not_noticed(bench: Bench, name: str) -> None:
    """Who can do this can write to our files; the threat model says so."""
    path = bench.entry / name.format(bench.bytecode.name)
    poison(path)
    installed = bench.install("environment")
    assert installed is not None
    (pyc,) = (installed / "pkg" / "__pycache__").glob("module.*.pyc")
    shared = pyc if path.suffix == ".pyc" else installed / "pkg" / "module.py"
    assert b"poisoned" in shared.read_bytes()


def test_missing_row_of_a_manifest_is_not_noticed(bench: Bench) -> None:
    path = bench.entry / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["files"] = [row for row in manifest["files"] if row[0] != "pkg/data.bin"]
    path.write_text(json.dumps(manifest))
    installed = bench.install("environment")
    assert installed is not None
    assert not (installed / "pkg" / "data.bin").exists()


def test_store_is_never_written_to_when_all_is_well(bench: Bench) -> None:
    before = store_digest(bench.store)
    for mode in ("hardlink", "symlink", "copy"):
        bench.assert_pristine(bench.install(mode, mode))
    assert store_digest(bench.store) == before
