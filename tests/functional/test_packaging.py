"""The wheel and the sdist of a release: contents, metadata, installation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from packaging.metadata import parse_email

from tests.support.environments import CHECKOUT, run_outside

if TYPE_CHECKING:
    from tests.support.environments import Bed

START_UP_FILES = {"pip_linkmode.pth", "pip_linkmode.start"}
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
SDIST_ONLY = {"PKG-INFO"}
"""Made by the build backend; no file of the checkout has that name."""


@pytest.fixture(scope="module")
def wheel(bed: Bed) -> Path:
    return bed.shim_wheel()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sdist")
    run_outside(
        sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", directory
    )
    (path,) = directory.iterdir()
    return path


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (path,) = directory.iterdir()
    return path


def wheel_files(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


# --- contents -------------------------------------------------------------------------


def test_wheel_has_three_top_level_names_and_its_metadata(wheel: Path) -> None:
    files = wheel_files(wheel)
    (info,) = {name.partition("/")[0] for name in files if ".dist-info/" in name}
    top_level = {name.partition("/")[0] for name in files}
    assert top_level == {"pip_linkmode", info, *START_UP_FILES}
    assert {name for name in files if name.startswith(f"{info}/")} == {
        f"{info}/{name}" for name in METADATA
    }


def test_wheel_has_the_python_files_of_the_package_and_nothing_else(
    wheel: Path,
) -> None:
    """An API would need ``py.typed``; the interface is the command and ``--json``."""
    package = {name for name in wheel_files(wheel) if name.startswith("pip_linkmode/")}
    sources = {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "pip_linkmode").rglob("*.py")
    }
    assert package == sources
    assert "pip_linkmode/_bootstrap.py" in package


def test_sdist_has_every_tracked_file(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = [PurePosixPath(one.name) for one in archive if one.isfile()]
    files = {path.relative_to(path.parts[0]).as_posix() for path in members}
    assert len({path.parts[0] for path in members}) == 1
    listed = subprocess.run(
        # CI may run as another user than the owner of the checkout.
        ["git", "-c", "safe.directory=*", "ls-files", "-z"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode or not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout: the tracked files are unknown")
    tracked = {name for name in listed.stdout.split("\0") if name}
    present = {name for name in tracked if (CHECKOUT / name).exists()}
    assert present - files == set()
    assert {name for name in files - tracked if "/" not in name} == SDIST_ONLY


# --- from the unpacked sdist ----------------------------------------------------------


def run_tests(checkout: Path, tmp_path: Path, *arguments: str) -> str:
    variables = {
        name: value
        for name, value in os.environ.items()
        # A run inside a worker, or one that is measured, would report to the outer one.
        if not name.startswith(("PYTEST_", "COVERAGE_", "COV_"))
    }
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "no:xdist", f"--basetemp={tmp_path / 'inner'}", *arguments),
        ],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_tests_pass_from_the_unpacked_sdist(unpacked: Path, tmp_path: Path) -> None:
    """Import all of them, and run those that read the checkout."""
    reading = [
        path.stem
        for path in sorted((unpacked / "tests" / "unit").rglob("test_*.py"))
        if "CHECKOUT" in path.read_text(encoding="utf-8")
    ]
    assert len(reading) > 1
    output = run_tests(unpacked, tmp_path, "tests", "-k", " or ".join(reading))
    passed = re.search(r"(\d+) passed", output)
    assert passed is not None
    assert int(passed[1]) > 20


# --- metadata -------------------------------------------------------------------------


def test_index_accepts_the_metadata_and_the_description(
    wheel: Path, sdist: Path
) -> None:
    output = run_outside(
        sys.executable, "-m", "twine", "--no-color", "check", "--strict", wheel, sdist
    )
    assert output.count("PASSED") == 2


def test_metadata_names_the_places_of_the_project(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        metadata, unknown = parse_email(archive.read(name))
    assert unknown == {}
    urls = metadata["project_urls"]
    assert urls.keys() == {"Homepage", "Documentation", "Issues", "Changelog"}
    assert all(url.startswith(urls["Homepage"]) for url in urls.values())
    assert metadata["license_expression"] == "MIT"
    assert metadata["license_files"] == ["LICENSE"]
    assert "pip" in metadata["keywords"]
    # There is no API to be typed.
    assert not [one for one in metadata["classifiers"] if one.startswith("Typing")]


# --- installation ---------------------------------------------------------------------


def test_wheel_and_sdist_install_the_same_files_in_a_bare_environment(
    bed: Bed, tmp_path: Path, wheel: Path, sdist: Path
) -> None:
    """With build isolation, and with a package index for what both need."""
    installed = []
    for source in (wheel, sdist):
        environment = bed.environment(tmp_path / "environment", shim=False)
        python = environment.python
        run_outside(python, "-m", "pip", "install", "--quiet", source)
        run_outside(python, "-m", "pip", "check")
        assert "--link-mode" in run_outside(python, "-m", "pip", "install", "--help")
        version = run_outside(environment.scripts / "pip-linkmode", "--version")
        assert version.split()[-1] == wheel.name.split("-")[1]
        site_packages = environment.site_packages
        installed.append(
            {
                path.relative_to(site_packages).as_posix(): path.read_bytes()
                for path in site_packages.rglob("*")
                if path.is_file()
                and path.relative_to(site_packages).parts[0].startswith("pip_link")
                # They hold the name of the file that was installed, or a time.
                and path.name not in ("direct_url.json", "RECORD")
                and path.suffix != ".pyc"
            }
        )
        environment.path.rename(tmp_path / source.name)
    assert installed[0] == installed[1]
    assert installed[0].keys() > START_UP_FILES


# --- the public CI --------------------------------------------------------------------


def test_public_ci_calls_the_commands_of_the_project_and_forgets_no_test() -> None:
    text = (CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    commands = re.findall(r"- run: (.+)", text)
    assert commands
    assert all(one.startswith(("python3 -m tests", ".ci/run")) for one in commands)
    words = [word for one in commands for word in one.split()]
    named = {word for word in words if word.startswith("tests/")}
    left_out = {word.partition("=")[2] for word in words if word.startswith("--ignore")}
    assert named == left_out
    assert all((CHECKOUT / name).is_dir() for name in named)


def test_public_ci_runs_the_unit_tests_on_every_released_python(wheel: Path) -> None:
    text = (CHECKOUT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    (versions,) = re.findall(r"python: \[(.+)\]", text)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/METADATA"))
        metadata, _ = parse_email(archive.read(name))
    classified = [
        one.rpartition(" ")[2]
        for one in metadata["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", one)
    ]
    # The last one may be a prerelease that the forge does not have.
    assert re.findall(r"3\.\d+", versions) == classified[:-1]
