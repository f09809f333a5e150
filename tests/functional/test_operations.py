"""Every way to call pip does with links what it does without."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from tests.functional.projects import make_project, make_sdist
from tests.support.environments import if_everything
from tests.support.parity import assert_parity, store_digest
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed, Environment
    from tests.support.parity import Step

MODES = ("symlink", *if_everything("hardlink", "copy"))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a package that needs another one."""
    directory = tmp_path_factory.mktemp("house")
    for version in ("1.0", "2.0"):
        files: dict[str, bytes | str] = {
            "pkg/__init__.py": f"version = {version!r}\n",
            "pkg/common.py": "x = 1\n",
            f"pkg/only_{version[0]}.py": "",
            "pkg/data.bin": version.encode() * 1000,
            f"pkg-{version}.data/data/share/pkg/{version}.txt": version,
            f"pkg-{version}.data/scripts/pkg-tool": "#!python\nprint('tool')\n",
        }
        make_wheel(
            directory,
            "pkg",
            version,
            files,
            entry_points="[console_scripts]\npkg = pkg:version\n",
            metadata="Requires-Dist: dep\nProvides-Extra: more\n"
            "Requires-Dist: extra ; extra == 'more'\n",
        )
    make_wheel(directory, "dep", files={"dep.py": "import sys\n", "dep_data/x": "x"})
    make_wheel(directory, "extra", files={"extra/__init__.py": "y = 2\n"})
    return directory


def parity(
    bed: Bed,
    tmp_path: Path,
    house: Path,
    mode: str,
    *steps: Step,
    also: tuple[Path, ...] = (),
    ignore: tuple[str, ...] = (),
    output: bool = True,
) -> Environment:
    """Compare with stock pip, and the store with itself."""
    store = tmp_path / "store"
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    filler = bed.environment(tmp_path / "filler", shim=True)
    wheels = sorted(map(str, house.glob("*.whl")))
    for wheel in wheels:
        filler.pip("install", "--no-index", "--no-deps", wheel, env=env)
    before = store_digest(store)
    index = ["--no-index", "--find-links", str(house)]
    taken = [
        step
        if callable(step)
        else [step[0], *(index if step[0] == "install" else ()), *step[1:]]
        for step in steps
    ]
    environment = assert_parity(
        bed, tmp_path, taken, env=env, also=also, ignore=ignore, output=output
    )
    after = store_digest(store)
    assert {path: after.get(path) for path in before} == before
    return environment


@pytest.mark.parametrize("mode", MODES)
def test_upgrade_downgrade_reinstall_uninstall(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    parity(
        bed,
        tmp_path,
        house,
        mode,
        ["install", "pkg==1.0"],
        ["install", "--upgrade", "pkg"],
        ["install", "pkg==1.0"],
        ["install", "--force-reinstall", "pkg==1.0"],
        ["install", "--ignore-installed", "pkg==2.0"],
        ["install", "pkg[more]"],
        ["uninstall", "--yes", "pkg", "dep"],
    )


@pytest.mark.parametrize("mode", MODES)
def test_no_compile_and_no_deps(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    parity(
        bed,
        tmp_path,
        house,
        mode,
        ["install", "--no-compile", "--no-deps", "pkg==1.0"],
        ["install", "--no-compile", "--upgrade", "pkg"],
    )


@pytest.mark.parametrize("mode", MODES)
def test_constraints_requirements_hashes_reports_and_dry_runs(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    (tmp_path / "constraints.txt").write_text("pkg<2\n")
    constraint = ("-c", str(tmp_path / "constraints.txt"))
    wheel = next(house.glob("dep-*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned, wrong = tmp_path / "pinned.txt", tmp_path / "wrong.txt"
    pinned.write_text(f"dep==1.0 --hash=sha256:{digest}\n")
    wrong.write_text(f"dep==1.0 --hash=sha256:{'0' * 64}\n")
    parity(
        bed,
        tmp_path,
        house,
        mode,
        ["install", "--dry-run", "pkg"],
        ["install", "--require-hashes", "-r", str(wrong)],
        ["install", "--require-hashes", "-r", str(pinned)],
        ["install", "--report", str(tmp_path / "report.json"), "pkg", *constraint],
        ["install", "nothing-of-that-name"],
        ["install", wheel.as_uri(), str(next(house.glob("extra-*.whl")))],
    )


@pytest.mark.parametrize("mode", MODES)
def test_target_prefix_root_user(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    places = {name: tmp_path / "out" / name for name in ("target", "prefix", "root")}
    parity(
        bed,
        tmp_path,
        house,
        mode,
        ["install", "--target", str(places["target"]), "pkg==1.0"],
        ["install", "--target", str(places["target"]), "pkg==2.0"],
        ["install", "--target", str(places["target"]), "--upgrade", "pkg==2.0"],
        ["install", "--prefix", str(places["prefix"]), "pkg"],
        ["install", "--root", str(places["root"]), "pkg"],
        ["install", "--user", "pkg"],
        also=tuple(places.values()),
        output=False,
    )


@pytest.mark.parametrize("mode", MODES)
def test_user_site_of_an_environment_that_sees_the_system(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    def see_the_system(environment: Environment) -> None:
        config = environment.path / "pyvenv.cfg"
        text = config.read_text()
        config.write_text(
            text.replace(
                "include-system-site-packages = false",
                "include-system-site-packages = true",
            )
        )

    environment = parity(
        bed,
        tmp_path,
        house,
        mode,
        see_the_system,
        ["install", "--user", "pkg==1.0"],
        ["install", "--user", "--upgrade", "pkg"],
        # It says by which command the template was made.
        ignore=("pyvenv.cfg",),
        output=False,
    )
    assert list((environment.private / "home").glob(".local/lib/*/*/pkg/common.py"))


@pytest.mark.parametrize("mode", MODES)
def test_editables_directories_and_sdists(
    bed: Bed, tmp_path: Path, house: Path, mode: str
) -> None:
    project = make_project(tmp_path / "src", "editable")
    local = make_project(tmp_path / "src", "local")
    sdist = make_sdist(make_project(tmp_path / "src", "source"))
    parity(
        bed,
        tmp_path,
        house,
        mode,
        ["install", "-e", str(project)],
        ["install", str(local)],
        ["install", str(sdist)],
        ["uninstall", "--yes", "editable", "local", "source"],
        output=False,
    )


def test_wheels_of_local_directories_do_not_fill_the_store(
    bed: Bed, tmp_path: Path
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    store = tmp_path / "store"
    env = {"PIP_LINK_MODE": "hardlink", "PIP_LINK_STORE": str(store)}
    for flags in ([], ["-e"]):
        name = f"local{len(flags)}"
        project = make_project(tmp_path / "src", name)
        environment.pip("install", "--no-index", *flags, str(project), env=env)
        environment.run("-c", f"import {name}")
    assert not store_digest(store)


def test_a_failed_upgrade_leaves_the_old_version(
    bed: Bed, tmp_path: Path, house: Path
) -> None:
    """A wheel that pip refuses at the end is pip's alone, with what it leaves."""
    broken = make_wheel(
        tmp_path,
        "dep",
        "3.0",
        {"dep.py": "", "dep_new/__init__.py": "", "dep_new/deep/x.py": "z = 1\n"},
        # Without a callable, pip refuses when it comes to write the script.
        entry_points="[console_scripts]\ndep = dep\n",
    )
    environment = parity(
        bed,
        tmp_path,
        house,
        "hardlink",
        ["install", "dep"],
        ["install", str(broken)],
        output=False,
    )
    assert (environment.site_packages / "dep.py").read_text() == "import sys\n"


def test_a_dangling_link_is_uninstalled_and_replaced_never_written_through(
    bed: Bed, tmp_path: Path, house: Path
) -> None:
    store, moved = tmp_path / "store", tmp_path / "moved"
    env = {"PIP_LINK_MODE": "symlink", "PIP_LINK_STORE": str(store)}
    environment = bed.environment(tmp_path / "environment", shim=True)
    install = ["install", "--no-index", "--find-links", str(house), "pkg==1.0"]
    environment.pip(*install, env=env)
    module = environment.site_packages / "pkg" / "common.py"
    assert module.is_symlink()
    store.rename(moved)
    assert not module.exists()
    before = store_digest(moved)

    environment.pip("uninstall", "--yes", "pkg")
    assert not os.path.lexists(module)
    assert not module.parent.exists()

    moved.rename(store)
    environment.pip(*install, env=env)
    store.rename(moved)
    environment.pip(*install, "--force-reinstall", env={**env, "PIP_LINK_MODE": "off"})
    assert module.read_text() == "x = 1\n"
    assert not module.is_symlink()
    assert store_digest(moved) == before


@pytest.mark.parametrize("mode", MODES)
def test_many_wheels_some_of_them_damaged(bed: Bed, tmp_path: Path, mode: str) -> None:
    # So many are looked at ahead of their turn.
    wheels = [
        str(
            make_wheel(
                tmp_path / "wheels",
                f"many{number:02}",
                files={
                    f"many{number:02}/__init__.py": f"number = {number}\n",
                    f"many{number:02}/data": "data",
                },
            )
        )
        for number in range(60)
    ]
    store = tmp_path / "store"
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
    install = ["install", "--no-index", "--no-deps", *wheels]
    bed.environment(tmp_path / "filler", shim=True).pip(*install, env=env)
    for number in (2, 33, 59):
        (path,) = store.glob(f"v1/wheels/*/*/files/many{number:02}/data")
        path.write_text("edit")
        (path,) = store.glob(f"v1/wheels/*/*/bytecode/*/many{number - 1:02}/*.pyc")
        path.unlink()
    assert_parity(bed, tmp_path, [install], env=env, output=True)
