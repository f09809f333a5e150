"""Debian's own pip: other schemes, ``dist-packages``, an externally managed system.

Nothing is written to the system: packages go to a target, to the user site of a private
home, and into environments that see the system's packages, its pip among them.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import NEWEST, Environment, run_outside
from tests.support.parity import differences, perform, store_digest
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.environments import Bed

SYSTEM = Path("/usr/bin/python3")
MANAGED = "--break-system-packages"
"""Understood by pip 23.0.1 and newer, and by Debian's since there is a need for it."""


def missing() -> str | None:
    """Return why there is nothing to try here, if so."""
    if not Path("/etc/debian_version").exists():
        return "this is not Debian"
    for module, package in (("pip", "python3-pip"), ("ensurepip", "python3-venv")):
        command = [
            str(SYSTEM),
            "-I",
            "-c",
            f"import {module}; print({module}.__path__[0])",
        ]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.returncode or not found.stdout.startswith("/usr/lib/"):
            return f"{package} is not installed"
    return None


pytestmark = [
    pytest.mark.compat,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]


@dataclass(frozen=True)
class User(Environment):
    """Somebody who uses Debian's interpreter; the path is that of the user base."""

    @property
    def python(self) -> Path:
        return SYSTEM

    @property
    def site_packages(self) -> Path:
        return next(self.path.glob("lib/python3*/site-packages"))


@pytest.fixture(autouse=True)
def system() -> Iterator[None]:
    """Fail if the directories of the system change."""

    def look() -> dict[str, float]:
        code = "import site, sysconfig; print(*site.getsitepackages(), sep='\\n')"
        roots = [*run_outside(SYSTEM, "-c", code).split(), "/usr/local/bin", "/usr/bin"]
        return {
            str(path): path.lstat().st_mtime
            for root in roots
            if os.path.isdir(root)
            for path in (Path(root), *Path(root).rglob("*"))
            if "__pycache__" not in path.parts
        }

    before = look()
    yield
    assert look() == before


@pytest.fixture(scope="session")
def house(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shim and what it needs, for Debian's Python."""
    directory = tmp_path_factory.mktemp("debian")
    pip = bed.pip_wheel(NEWEST) / "pip"
    run_outside(SYSTEM, pip, "download", "-q", "-d", directory, bed.shim_wheel())
    return directory


@pytest.fixture
def wheels(tmp_path: Path) -> list[str]:
    directory = tmp_path / "wheels"
    chosen = [wheel for trait in TRAITS.values() for wheel in trait(directory)]
    return list(map(str, chosen))


@pytest.fixture
def packages(tmp_path: Path) -> list[str]:
    return [
        str(
            make_wheel(
                tmp_path / "packages",
                "pkg",
                version,
                {"pkg/__init__.py": "x = 1\n", f"pkg/only_{version[0]}.py": "y = 1\n"},
                entry_points="[console_scripts]\npkg = pkg:x\n",
            )
        )
        for version in ("1.0", "2.0")
    ]


def user(tmp_path: Path) -> User:
    private = tmp_path / "here"
    return User(private / "home" / ".local", private)


def install_shim(environment: Environment, house: Path, *flags: str) -> None:
    without = "--no-warn-script-location"
    environment.pip(
        *("install", "--no-index", "--find-links", str(house), without, *flags),
        "pip-linkmode",
    )


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_the_user_site_of_an_externally_managed_python(
    tmp_path: Path, house: Path, wheels: list[str], packages: list[str], mode: str
) -> None:
    """We are installed there too, as a user would do it."""
    target = tmp_path / "target"
    store = tmp_path / "store"
    one, two = packages
    install = ["install", MANAGED, "--no-index"]
    steps = [
        [*install, "--user", *wheels, one],
        [*install, "--user", two],
        [*install, "--user", "--force-reinstall", *wheels],
        ["uninstall", MANAGED, "--yes", "plain", "schemes"],
        [*install, "--target", str(target), *wheels],
        [*install, "--target", str(target), "--upgrade", *wheels],
        # Without the flag Debian refuses, with the same words.
        ["install", "--no-index", one],
    ]
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    outcomes = []
    for shim in (False, True):
        somebody = user(tmp_path)
        for directory in (somebody.run("-m", "site", "--user-site").stdout, "bin"):
            (somebody.path / directory.strip()).mkdir(parents=True)
        if shim:
            install_shim(somebody, house, "--user", MANAGED)
        outcomes.append(perform(somebody, steps, env=env, also=[target]))
        if shim:
            for place in (somebody.site_packages, target):
                module = place / "namespace" / "one" / "__init__.py"
                assert module.is_symlink() == (mode == "symlink")
                assert module.is_symlink() or module.stat().st_nlink > 1
        somebody.private.rename(tmp_path / f"there-{shim}")
        target.rename(tmp_path / f"target-{shim}")
    assert outcomes[0].codes == [0, 0, 0, 0, 0, 0, 1]
    assert differences(*outcomes, output=True) == []


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_an_environment_that_uses_the_systems_pip(
    tmp_path: Path, house: Path, wheels: list[str], packages: list[str], mode: str
) -> None:
    """We are installed into the environment, pip is not."""
    store = tmp_path / "store"
    one, two = packages
    steps = [
        ["install", "--no-index", *wheels, one],
        ["install", "--no-index", "--upgrade", two],
        ["install", "--no-index", "--force-reinstall", *wheels],
        ["uninstall", "--yes", "plain", "schemes"],
    ]
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    outcomes, digests = [], []
    for shim in (False, True):
        path = tmp_path / "here" / "environment"
        run_outside(
            *(SYSTEM, "-m", "venv", "--without-pip", "--system-site-packages", path)
        )
        environment = Environment(path, tmp_path / "here" / "private")
        where = environment.run("-c", "import pip; print(pip.__path__[0])").stdout
        assert where.startswith("/usr/lib/")
        if shim:
            install_shim(environment, house)
        outcomes.append(perform(environment, steps[:1], env=env))
        digests.append(store_digest(store))
        outcomes.append(perform(environment, steps[1:], env=env))
        digests.append(store_digest(store))
        module = environment.site_packages / "namespace" / "one" / "__init__.py"
        assert module.is_symlink() == (shim and mode == "symlink")
        assert module.stat().st_nlink > 1 or not shim or module.is_symlink()
        (tmp_path / "here").rename(tmp_path / f"there-{shim}")
    for stock, linked in ((0, 2), (1, 3)):
        assert differences(outcomes[stock], outcomes[linked], output=True) == []
    before, after = digests[2:]
    assert {path: after.get(path) for path in before} == before


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_an_environment_made_by_debian(
    tmp_path: Path, house: Path, wheels: list[str], mode: str
) -> None:
    """Its pip comes from ``ensurepip``, and is Debian's too."""
    path = tmp_path / "environment"
    run_outside(SYSTEM, "-m", "venv", path)
    environment = Environment(path, tmp_path / "private")
    install_shim(environment, house)
    settings = (f"--link-mode={mode}", f"--link-store={tmp_path / 'store'}")
    for flags in ((), ("--force-reinstall",)):
        result = environment.pip("install", "--no-index", *settings, *flags, *wheels)
        assert f"by {mode}" in result.stdout
    package = environment.site_packages / "plain"
    module = package / "deep" / "__init__.py"
    assert module.is_symlink() == (mode == "symlink")
    assert module.is_symlink() or module.stat().st_nlink > 1
    environment.pip("uninstall", "--yes", "plain", "pip-linkmode")
    assert not package.exists()
    assert not list(environment.site_packages.glob("pip_linkmode*"))


def test_what_the_system_has_is_not_removed_from_it(
    tmp_path: Path, house: Path, packages: list[str]
) -> None:
    """A user without the shim in the system gets stock pip there, and no word."""
    somebody = replace(user(tmp_path), private=tmp_path / "private")
    home = {"PYTHONUSERBASE": str(somebody.path)}
    somebody.path.mkdir(parents=True)
    flags = ("--no-index", "--find-links", str(house), "--no-warn-script-location")
    somebody.pip("install", "--user", MANAGED, *flags, "pip-linkmode", env=home)
    linked = somebody.pip("install", "--user", MANAGED, *flags, packages[0], env=home)
    assert "by hardlink" in linked.stdout
    alone = somebody.run("-s", "-m", "pip", "install", "--help", env=home)
    assert "--link-mode" not in alone.stdout
