"""``--target``: pip installs in a temporary directory and moves; links stay links."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import CHECKOUT, NEWEST
from tests.support.parity import delta, store_digest
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.environments import Bed, Environment

pytestmark = pytest.mark.compat


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system than ``tmp_path``."""
    for place in ("/dev/shm", tempfile.gettempdir(), "/var/tmp", CHECKOUT.parent):
        usable = os.path.isdir(place) and os.access(place, os.W_OK)
        if usable and os.stat(place).st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=place) as directory:
                yield Path(directory)
            return
    pytest.skip("there is only one file system that can be written to")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    directory = tmp_path / "house"
    for version in ("1.0", "2.0"):
        files: dict[str, bytes | str] = {
            "pkg/__init__.py": f"version = {version!r}\n",
            "pkg/same.py": "x = 1\n",
            f"pkg/only_{version[0]}.py": "y = 1\n",
            "pkg_module.py": f"version = {version!r}\n",
            f"pkg-{version}.data/data/share/pkg/{version}.txt": version,
            f"pkg-{version}.data/scripts/pkg-tool": "#!python\n",
        }
        points = "[console_scripts]\npkg = pkg:version\n"
        make_wheel(directory, "pkg", version, files, entry_points=points)
    for trait in ("plain", "namespace", "top_level", "schemes"):
        TRAITS[trait](directory)
    return directory


@pytest.mark.parametrize(
    ("pip", "mode", "systems"),
    [
        ("23.2.1", "hardlink", "two"),
        ("26.2.1", "symlink", "two"),
        (NEWEST, "hardlink", "two"),
        (NEWEST, "symlink", "two"),
        (NEWEST, "hardlink", "one"),
    ],
)
def test_what_is_moved_stays_linked(
    bed: Bed,
    tmp_path: Path,
    elsewhere: Path,
    house: Path,
    pip: str,
    mode: str,
    systems: str,
) -> None:
    """With ``TMPDIR`` on the file system of the target, and on another one."""
    store, target = tmp_path / "store", tmp_path / "out" / "target"
    temporary = {"one": tmp_path, "two": elsewhere}[systems]
    settings = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    install = ("install", "--no-index", "--find-links", str(house))
    into = ("--target", str(target))
    commands = (
        (*install, *into, "pkg==1.0", "plain", "namespace-one"),
        # pip warns that it does not replace what is there.
        (*install, *into, "pkg==2.0", "namespace-two"),
        (*install, *into, "--upgrade", "pkg==2.0", "top-level", "schemes"),
        (*install, *into, "--upgrade", "--force-reinstall", "pkg==1.0"),
    )

    def run(environment: Environment) -> list[dict[str, tuple[str, str, str]]]:
        seen = []
        for command in commands:
            temp = Path(tempfile.mkdtemp(dir=temporary))
            where = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temp))
            environment.pip(*command, env={**settings, **where})
            assert list(temp.iterdir()) == []
            assert not list(target.glob("pip-target-*"))
            seen.append(environment.snapshot(target))
        return seen

    here = tmp_path / "here"
    stock = run(bed.environment(here, shim=False, pip=pip))
    here.rename(tmp_path / "stock")
    target.rename(tmp_path / "stock-target")
    environment = bed.environment(here, shim=True, pip=pip)
    linked = run(environment)
    assert [delta(*pair) for pair in zip(stock, linked, strict=True)] == [{}] * 4

    before = store_digest(store)
    modules = [
        path
        for name in ("pkg", "plain", "namespace", "share")
        for path in (target / name).rglob("*")
        if path.is_file() and path.stat().st_size
    ]
    assert len(modules) > 10
    for path in modules:
        is_source = path.suffix == ".py"
        assert path.is_symlink() == (mode == "symlink" and is_source)
        assert path.is_symlink() or path.stat().st_nlink > 1, path
    environment.pip(*commands[2], env=settings)
    after = store_digest(store)
    assert {path: after.get(path) for path in before} == before


def test_nothing_is_left_in_the_target_when_pip_fails(
    bed: Bed, tmp_path: Path, elsewhere: Path
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    broken = make_wheel(
        tmp_path,
        "broken",
        files={"broken.py": ""},
        entry_points="[console_scripts]\nbroken = broken\n",
    )
    target = tmp_path / "out"
    target.mkdir()
    result = environment.pip(
        *("install", "--no-index", "--target", target, broken),
        env={"TMPDIR": str(elsewhere)},
        check=False,
    )
    assert result.returncode
    assert list(target.iterdir()) == list(elsewhere.iterdir()) == []
