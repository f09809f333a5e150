"""The command, with real pips: nothing that is used goes, and damage is undone."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import schemas
from tests.support.environments import NEWEST
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.support.environments import Bed, Environment
    from tests.support.wheels import Files

NAMES = ("one", "two")


@dataclass
class House:
    """Some environments that share a store."""

    bed: Bed
    path: Path
    wheels: dict[str, Path]

    @property
    def store(self) -> Path:
        return self.path / "store"

    def environment(self, name: str, mode: str, *wheels: str) -> Environment:
        """Make an environment and install into it."""
        private = self.path / "private"
        environment = self.bed.environment(self.path / name, shim=True, private=private)
        for record in environment.site_packages.glob("*.dist-info/RECORD"):
            # The bed has taken the scripts away.
            lines = record.read_text().splitlines(keepends=True)
            record.write_text("".join(line for line in lines if "/bin/" not in line))
        if wheels:
            self.install(environment, mode, *wheels)
        return environment

    def install(self, environment: Environment, mode: str, *wheels: str) -> None:
        paths = (str(self.wheels[name]) for name in wheels)
        arguments = ("install", "--no-index", "--force-reinstall", *paths)
        result = environment.pip(*arguments, env=self.variables(mode))
        assert "WARNING" not in result.stderr

    def large(self) -> Path:
        """Return a wheel beside which all else is little."""
        files: Files = {
            "large/__init__.py": "NAME = 'large'\n",
            "large/data": random.Random(0).randbytes(64 << 20),
            "large-1.0.data/data/share/large/table": "large",
        }
        return make_wheel(self.path / "wheels", "large", files=files)

    def variables(self, mode: str = "auto") -> dict[str, str]:
        return {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(self.store)}

    def run(self, environment: Environment, *args: str) -> CompletedProcess[str]:
        """Run the command in an environment."""
        return environment.run(
            "-m", "pip_linkmode", *args, env=self.variables(), check=False
        )

    def data(self, environment: Environment, *args: str, code: int = 0) -> Any:
        result = self.run(environment, *args, "--json")
        assert result.returncode == code, result.stdout + result.stderr
        assert result.stderr == ""
        data = json.loads(result.stdout)
        schemas.check(args[0], data)
        return data

    def prune(self, environment: Environment, *args: str, code: int = 0) -> list[str]:
        """Prune, and return the names of what has gone."""
        (pruned,) = self.data(environment, "prune", *args, code=code)
        return sorted(one["name"] for one in pruned["removed"])

    def entries(self) -> list[str]:
        """Return the names of what is in the store, by looking."""
        manifests = self.store.glob("v1/wheels/*/*/manifest.json")
        return sorted(json.loads(path.read_bytes())["name"] for path in manifests)


@pytest.fixture
def house(bed: Bed, tmp_path: Path) -> House:
    # Not where temporary files are, or symlinks would be refused.
    wheels = {
        name: make_wheel(
            tmp_path / "wheels",
            name,
            files={
                f"{name}/__init__.py": f"NAME = {name!r}\n",
                f"{name}/data": name * 5000,
                f"{name}-1.0.data/data/share/{name}/table": name * 1000,
            },
        )
        for name in NAMES
    }
    return House(bed, tmp_path, wheels)


def works(environment: Environment, *names: str) -> None:
    for name in names:
        program = f"import {name}; print({name}.NAME)"
        assert environment.run("-c", program).stdout.strip() == name
        assert (environment.path / "share" / name / "table").read_text()


# --- status ---------------------------------------------------------------------------


def test_pip_that_links_says_so(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    found = house.data(environment, "status")
    assert found["hook"]["problem"] is None
    assert found["hook"]["pip"] == NEWEST
    assert found["effective_settings"]["settings"]["stores"] == [str(house.store)]
    assert found["effective_settings"]["sources"]["store"] == "PIP_LINK_STORE"
    (store,) = found["stores"]
    assert store["entries"] == 1
    assert store["modes"]["symlink"] is None
    text = house.run(environment, "status").stdout
    assert f"pip {NEWEST}, links the wheels that it installs" in text
    assert "(set by PIP_LINK_MODE)" in text


def test_command_is_installed_with_us(house: House, bed: Bed) -> None:
    environment = house.environment("e", "copy")
    wheel = str(bed.shim_wheel())
    environment.pip("install", "--no-index", "--no-deps", "--force-reinstall", wheel)
    program = "import subprocess, sys; subprocess.run([sys.argv[1], '--version'])"
    script = environment.scripts / "pip-linkmode"
    assert environment.run("-c", program, script).stdout.startswith("pip-linkmode 0")


def test_status_is_that_of_pip(house: House) -> None:
    environment = house.environment("e", "copy")
    configuration = house.path / "pip.conf"
    configuration.write_text("[global]\nlink-mode = symlink\n[install]\nlink-mode=copy")
    variables = {"PIP_CONFIG_FILE": str(configuration)}
    result = environment.run("-m", "pip_linkmode", "status", env=variables)
    assert f"Mode         copy (set by {configuration} [install])" in result.stdout
    store = environment.cache / "link-store"
    assert f"Store        {store} (set by cache-dir in PIP_CACHE_DIR)" in result.stdout


def test_environment_without_us_is_seen_from_elsewhere(house: House, bed: Bed) -> None:
    environment = house.environment("e", "copy")
    other = bed.environment(house.path / "other", shim=False)
    found = house.data(environment, "status", "--environment", str(other.path), code=1)
    assert "pip-linkmode is not installed" in found["hook"]["problem"]


@pytest.mark.parametrize("command", ["status", "list", "usage", "verify", "prune"])
def test_command_answers_without_pip(house: House, command: str) -> None:
    environment = house.environment("e", "hardlink", "one")
    shutil.rmtree(environment.site_packages / "pip")
    shutil.rmtree(next(environment.site_packages.glob("pip-*.dist-info")))
    result = house.run(environment, command)
    assert result.returncode == (1 if command == "status" else 0)
    assert result.stderr == ""
    if command == "status":
        assert "not linking: there is no pip" in result.stdout


# --- prune ----------------------------------------------------------------------------


def test_what_no_environment_uses_goes(house: House) -> None:
    environment = house.environment("e", "hardlink", *NAMES)
    assert house.prune(environment) == []
    environment.pip("uninstall", "--yes", "two")
    assert house.prune(environment, "--dry-run") == ["two"]
    assert house.entries() == [*NAMES]
    result = house.run(environment, "prune")
    assert "two     1.0" in result.stdout
    assert "Removed 1 entry" in result.stdout
    assert house.entries() == ["one"]
    works(environment, "one")


def test_environment_that_was_deleted_releases_what_it_used(house: House) -> None:
    kept = house.environment("kept", "symlink", "one")
    gone = house.environment("gone", "symlink", *NAMES)
    site_packages = str(gone.site_packages)
    shutil.rmtree(gone.path)
    (pruned,) = house.data(kept, "prune")
    assert pruned["released"] == [site_packages]
    assert house.entries() == ["one"]
    works(kept, "one")


@pytest.mark.parametrize("arguments", [(), ("--max-size", "0"), ("--older-than", "0h")])
def test_symlinks_keep_what_they_lead_to(
    house: House, arguments: tuple[str, ...]
) -> None:
    environment = house.environment("e", "symlink", *NAMES)
    code = 1 if "--max-size" in arguments else 0
    assert house.prune(environment, *arguments, code=code) == []
    works(environment, *NAMES)


def test_cap_that_cannot_be_reached_names_who_holds_the_store(house: House) -> None:
    linked = house.environment("linked", "symlink", "one")
    house.environment("shared", "hardlink", "two")
    (pruned,) = house.data(linked, "prune", "--max-size", "0", code=1)
    assert [one["name"] for one in pruned["removed"]] == ["two"]
    assert [one["path"] for one in pruned["holders"]] == [str(linked.path)]
    result = house.run(linked, "prune", "--max-size", "0")
    assert str(linked.path) in result.stdout
    assert str(house.path / "shared") not in result.stdout


def test_least_recently_used_goes_first(house: House) -> None:
    environment = house.environment("e", "hardlink", *NAMES)
    for manifest in house.store.glob("v1/wheels/*/*/manifest.json"):
        if json.loads(manifest.read_bytes())["name"] == "two":
            os.utime(manifest, (1, 1))
    sizes = {row["name"]: row["size"] for row in house.data(environment, "list")}
    assert house.prune(environment, "--max-size", str(sizes["one"])) == ["two"]
    works(environment, *NAMES)


def test_only_what_was_not_used_for_long_goes(house: House) -> None:
    environment = house.environment("e", "hardlink", *NAMES)
    environment.pip("uninstall", "--yes", *NAMES)
    (old, _) = sorted(house.store.glob("v1/wheels/*/*/manifest.json"))
    name = json.loads(old.read_bytes())["name"]
    os.utime(old, (time.time(), time.time() - 31 * 86400))
    assert house.prune(environment, "--older-than", "30d") == [name]
    assert len(house.entries()) == 1


def test_installing_is_using(house: House) -> None:
    environment = house.environment("e", "hardlink", "one")
    (manifest,) = house.store.glob("v1/wheels/*/*/manifest.json")
    os.utime(manifest, (1, 1))
    files = house.store.glob("v1/wheels/*/*/files/**/*")
    before = {path: path.stat().st_mtime_ns for path in files if path.is_file()}
    house.install(environment, "hardlink", "one")
    assert manifest.stat().st_mtime > time.time() - 60
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_moved_environment_comes_back_to_what_it_had(house: House) -> None:
    other = house.environment("other", "copy")
    environment = house.environment("e", "symlink", "one")
    aside = house.path / "aside"
    environment.path.rename(aside)
    (pruned,) = house.data(other, "prune")
    assert [one["state"] for one in pruned["unreachable"]] == ["moved"]
    assert house.prune(other, "--max-size", "0", code=1) == []
    assert house.run(other, "prune", "--all").returncode == 1
    aside.rename(environment.path)
    works(environment, "one")


def test_missing_environment_can_be_forgotten(house: House) -> None:
    other = house.environment("other", "copy")
    environment = house.environment("e", "symlink", "one")
    environment.path.rename(house.path / "aside")
    assert house.prune(other) == []
    result = house.run(other, "prune", "--release", str(environment.path))
    assert f"Forgotten: {environment.path}" in result.stdout
    assert house.entries() == []
    again = house.run(other, "prune", "--release", str(environment.path))
    assert again.returncode == 2
    assert "is not known" in again.stderr


def test_environment_that_is_there_is_not_forgotten(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    result = house.run(environment, "prune", "--release", str(environment.path))
    assert result.returncode == 1
    assert "is there" in result.stderr
    works(environment, "one")


def test_clearing_everything_is_refused_with_the_names(house: House) -> None:
    linked = house.environment("linked", "symlink", "one")
    house.environment("shared", "hardlink", "two")
    result = house.run(linked, "prune", "--all")
    assert result.returncode == 1
    assert str(linked.path) in result.stderr
    assert str(house.path / "shared") not in result.stderr
    assert "--force" in result.stderr
    assert house.entries() == [*NAMES]
    assert house.prune(linked, "--all", "--force") == [*NAMES]
    assert house.entries() == []


def test_no_race_with_installations_breaks_an_environment(house: House) -> None:
    """Whatever is being pruned, who has installed has what was installed."""
    pruner = house.environment("pruner", "copy")
    environments = [house.environment(f"e{n}", "copy") for n in range(3)]
    done = threading.Event()

    def install(environment: Environment) -> None:
        for _ in range(3):
            house.install(environment, "symlink", *NAMES)
            works(environment, *NAMES)

    def prune() -> int:
        count = 0
        while not done.is_set():
            house.run(pruner, "prune", "--max-size", "0")
            count += 1
        return count

    with ThreadPoolExecutor() as pool:
        pruned = pool.submit(prune)
        installed = [pool.submit(install, one) for one in environments]
        try:
            for future in installed:
                future.result()
        finally:
            done.set()
    assert pruned.result() > 1
    for environment in environments:
        works(environment, *NAMES)
    assert house.entries() == [*NAMES]


def test_store_by_another_name_is_the_same_store(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    (house.path / "alias").symlink_to(house.store)
    arguments = ("prune", "--link-store", str(house.path / "alias"))
    assert house.run(environment, *arguments).returncode == 0
    works(environment, "one")


# --- verify ---------------------------------------------------------------------------


def damage(environment: Environment, name: str = "one") -> Path:
    """Edit an installed file in place."""
    path = environment.site_packages / name / "data"
    with path.open("r+") as file:
        file.write("edited")
    return path


def test_sound_store_and_environments(house: House) -> None:
    environment = house.environment("e", "hardlink", *NAMES)
    house.environment("f", "symlink", *NAMES)
    result = house.run(environment, "verify")
    assert result.stdout.startswith("All files are as they were installed: ")
    assert result.returncode == 0


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_all_who_share_an_edit_are_named(house: House, mode: str) -> None:
    environments = [house.environment(name, mode, "one") for name in ("a", "b", "c")]
    other = house.environment("other", "copy", "one")
    damage(environments[1])
    (found,) = house.data(other, "verify", code=1)["damages"]
    assert found["kind"] == "modified"
    assert found["package"] == "one 1.0"
    assert found["environments"] == [str(one.path) for one in environments]
    assert len(found["stored"]) == 1
    text = house.run(other, "verify").stdout
    for one in environments:
        assert str(one.path) in text
    assert str(other.path) not in text


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_repair_brings_pristine_files_back(house: House, mode: str) -> None:
    one, two = (house.environment(name, mode, "one") for name in ("a", "b"))
    # Somebody has to have the bytes.
    witness = house.environment("witness", "copy", "one")
    damage(one)
    (found,) = house.data(witness, "verify", "--repair")["damages"]
    assert found["repaired"]
    for environment in (one, two, witness):
        text = (environment.site_packages / "one" / "data").read_text()
        assert text == "one" * 5000
    assert house.data(witness, "verify")["damages"] == []
    works(two, "one")
    # The entry is good again: nothing is unpacked for the next one.
    result = house.bed.environment(house.path / "n", shim=True).pip(
        *("install", "--no-index", str(house.wheels["one"])), env=house.variables(mode)
    )
    assert "unpacked for the first time" not in result.stdout


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_environment_keeps_the_edit_that_it_asks_for(house: House, mode: str) -> None:
    one, two = (house.environment(name, mode, "one") for name in ("a", "b"))
    witness = house.environment("witness", "copy", "one")
    path = damage(one)
    house.data(witness, "verify", "--repair", "--keep", str(one.path))
    assert path.read_text().startswith("edited")
    assert not path.is_symlink()
    assert path.stat().st_nlink == 1
    assert (two.site_packages / "one" / "data").read_text() == "one" * 5000


def test_damaged_entry_that_nobody_depends_on_is_set_aside(house: House) -> None:
    environment = house.environment("e", "hardlink", "one")
    damage(environment)
    (found,) = house.data(environment, "verify", "--repair", code=1)["damages"]
    assert "recreates it" in found["outcome"]
    assert house.entries() == []
    house.install(environment, "hardlink", "one")
    assert house.data(environment, "verify")["damages"] == []


def test_damaged_entry_that_somebody_depends_on_stays(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    damage(environment)
    (found,) = house.data(environment, "verify", "--repair", code=1)["damages"]
    assert "pip-linkmode fill one==1.0 --link-store" in found["outcome"]
    assert house.entries() == ["one"]
    works(environment, "one")


def test_private_edit_is_left_alone_unless_its_environment_is_named(
    house: House,
) -> None:
    environment = house.environment("e", "copy", "one")
    path = damage(environment)
    (found,) = house.data(environment, "verify", "--repair", code=1)["damages"]
    assert found["environments"] == [str(environment.path)]
    assert path.read_text().startswith("edited")
    named = ("verify", str(environment.path), "--repair")
    assert house.data(environment, *named, "--keep", str(environment.path), code=1)
    assert path.read_text().startswith("edited")
    house.data(environment, *named)
    assert path.read_text() == "one" * 5000


def test_dangling_links_are_repaired(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    house.environment("witness", "copy", "one")
    shutil.rmtree(house.store / "v1" / "wheels")
    found = house.data(environment, "verify", code=1)["damages"]
    assert {one["kind"] for one in found} == {"dangling"}
    house.data(environment, "verify", "--repair")
    works(environment, "one")
    assert house.data(environment, "verify")["damages"] == []


def test_modified_bytecode_is_compiled_again(house: House) -> None:
    environment = house.environment("e", "symlink", "one")
    (pyc,) = house.store.glob("v1/wheels/*/*/bytecode/*/one/__init__.pyc")
    pyc.write_bytes(b"")
    (found,) = house.data(environment, "verify", code=1)["damages"]
    assert found["environments"] == [str(environment.path)]
    house.data(environment, "verify", "--repair")
    works(environment, "one")
    house.install(environment, "symlink", "one")
    assert pyc.stat().st_size
    assert house.data(environment, "verify")["damages"] == []


# --- the whole way --------------------------------------------------------------------


def test_from_environments_of_their_own_to_one_and_back(house: House, bed: Bed) -> None:
    """The way that docs/environments.md goes."""
    private = house.path / "private"
    environments = []
    for name in ("a", "b", "c"):
        one = bed.environment(house.path / name, shim=False, private=private)
        # Much, as torch is, beside which an interpreter and its pip are little.
        one.pip("install", "--no-index", str(house.large()))
        environments.append(one)
    paths = [str(one.path) for one in environments]
    care = bed.environment(house.path / "care", shim=True, private=private)
    assert house.run(care, "relink", "--dry-run", *paths).returncode == 0
    assert house.entries() == []

    assert house.run(care, "relink", *paths).returncode == 0
    used = house.data(care, "usage")
    sizes = {row["path"]: row["size"] for row in used["environments"]}
    assert sorted(sizes) == paths
    assert used["spent"] < 1.2 * sizes[paths[0]]
    assert used["saved"] > 1.8 * sizes[paths[0]]
    named = {row["name"]: row for row in house.data(care, "list")}
    assert named["large"]["users"] == paths

    # Nothing of it is damage, or waste.
    damages = house.data(care, "verify", code=1)["damages"]
    assert {one["kind"] for one in damages} == {"missing"}  # the bed's scripts
    assert house.prune(care) == []
    assert house.prune(care, "--max-size", "0") == sorted(named)
    for one in environments:
        works(one, "large")

    assert house.run(care, "enable", *paths).returncode == 0
    for one in environments:
        found = house.data(care, "status", "--environment", str(one.path))
        assert found["hook"]["problem"] is None
    assert house.run(care, "materialize", *paths).returncode == 0
    assert house.data(care, "usage", paths[0])["environments"][0]["shared"] == 0
    assert house.run(care, "prune", "--all").returncode == 0
    assert house.entries() == []
    for one in environments:
        works(one, "large")
