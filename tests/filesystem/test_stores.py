"""Several stores, several users, several hosts."""

from __future__ import annotations

import os
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import entries, left_over, settings, under
from tests.support.parity import delta
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.filesystem.conftest import FileSystems
    from tests.support.environments import Bed, Environment

INSTALL = ("install", "--no-index")
GROUP = 54321


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    files = {"pkg/module.py": "x = 1\n", "pkg/data": "data" * 1000}
    return make_wheel(tmp_path / "wheels", "pkg", files=files)


def inodes(environment: Environment) -> set[tuple[int, int]]:
    package = environment.site_packages / "pkg"
    return {
        (path.stat().st_dev, path.stat().st_ino)
        for path in package.rglob("*")
        if path.is_file()
    }


def inodes_of_store(store: Path) -> set[tuple[int, int]]:
    found = (path.stat() for path in store.rglob("*") if path.is_file())
    return {(status.st_dev, status.st_ino) for status in found}


@pytest.mark.parametrize("mode", ["auto", "hardlink"])
def test_one_store_per_disk_just_works(
    bed: Bed, on: Callable[[str], Path], wheel: Path, mode: str
) -> None:
    """Each environment is linked from the store on its own disk, in any order."""
    places = {name: on(name) for name in ("ext4", "xfs_plain", "tmpfs")}
    stores = os.pathsep.join(str(place / "store") for place in places.values())
    env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": stores}
    for place in places.values():
        environment = bed.environment(place / "e", shim=True, private=place / "private")
        done = environment.pip(*INSTALL, wheel, env=env)
        assert "Linked 1 package by hardlink" in done.stdout
        assert inodes(environment) <= inodes_of_store(place / "store")


@pytest.mark.parametrize("published", ["readonly", "squashfs"])
@pytest.mark.parametrize("mode", ["symlink", "hardlink"])
def test_bytecode_for_a_read_only_store_is_kept_in_the_writable_one(
    bed: Bed,
    file_systems: FileSystems,
    tmp_path: Path,
    published: str,
    mode: str,
) -> None:
    """The files come from the one, the bytecode from the other."""
    image = file_systems[published] / "store"
    wheel = mounts.published_wheel(tmp_path / "wheels")
    own = tmp_path / "own"
    # Optimised bytecode is what nobody has made there.
    env = {
        "PIP_LINK_MODE": mode,
        "PIP_LINK_STORE": os.pathsep.join((str(image), str(own))),
        "PYTHONOPTIMIZE": "1",
    }
    created = []
    for name in ("first", "second"):
        environment = bed.environment(tmp_path / name, shim=True)
        environment.pip(*INSTALL, wheel, env=env)
        package = environment.site_packages / "pkg"
        assert (package / "module.py").is_symlink() == (mode == "symlink")
        pycs = sorted((package / "__pycache__").glob("*.opt-1.pyc"))
        assert len(pycs) == 2
        assert not any(pyc.is_symlink() for pyc in pycs)
        environment.run("-O", "-c", "import pkg.module")
        created.append([pyc.stat().st_ino for pyc in pycs])
    if mode == "symlink":
        # Compiled once, for both.
        assert created[0] == created[1]
        assert not list(own.glob("v1/wheels/*/*"))


# --- several users --------------------------------------------------------------------


def member(user: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={user}", f"--regid={user}", f"--groups={GROUP}")


def give(environment: Environment, user: int) -> Environment:
    for place in (environment.path, environment.private):
        place.mkdir(parents=True, exist_ok=True)
        mounts.run("chown", "-R", f"{user}:{user}", place)
    return under(environment, *member(user))


@pytest.mark.parametrize("mode", ["symlink", "copy"])
def test_members_of_a_group_share_a_store(
    bed: Bed,
    on: Callable[[str], Path],
    public_python: str,
    mode: str,
) -> None:
    """If they say that they trust one another; otherwise each is told why not."""
    place = on("ext4")
    store = place / "store"
    store.mkdir()
    os.chown(store, 0, GROUP)
    store.chmod(0o2775)
    wheels = [
        make_wheel(place / "wheels", name, files={f"{name}/module.py": "x = 1\n"})
        for name in ("one", "two", "three")
    ]
    found = []
    for user, chosen in ((60001, wheels[:2]), (60002, wheels[1:])):
        home = place / str(user)
        environment = give(
            bed.environment(
                home / "e", shim=True, private=home / "private", python=public_python
            ),
            user,
        )
        plain = environment.pip(*INSTALL, chosen[0], env=settings(mode, store))
        assert f"the store {store} belongs to another user" in plain.stderr
        env = {**settings(mode, store), "PIP_LINK_TRUST_GROUP": "1"}
        done = environment.pip(*INSTALL, "--force-reinstall", *chosen, env=env)
        assert done.stderr == ""
        found.append(done.stdout)
    assert "2 unpacked for the first time" in found[0]
    assert "1 unpacked for the first time" in found[1]
    assert entries(store) == 3


# --- several hosts --------------------------------------------------------------------


@pytest.mark.usefixtures("strace", "root")
@pytest.mark.skipif(sys.platform != "linux", reason="has no other host name")
def test_two_hosts_without_locks_fill_one_store(bed: Bed, tmp_path: Path) -> None:
    """A network file system is *simulated*: two host names, and no lock is to be had.

    What is left is rename, which is atomic there too.
    """
    chance = random.Random(7)
    wheels = [
        make_wheel(
            tmp_path / "wheels",
            f"net-{n}",
            files={f"net_{n}/data": chance.randbytes(20_000), f"net_{n}/m.py": ""},
        )
        for n in range(6)
    ]
    store = tmp_path / "store"

    def on_host(environment: Environment, host: str) -> Environment:
        return under(
            environment,
            *("unshare", "--uts", "sh", "-c", f'hostname {host}; exec "$@"', "sh"),
            *("strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf"),
            *("-e", "trace=flock,rename", "-e", "inject=flock:error=ENOLCK"),
            *("-e", "inject=rename:delay_enter=200000"),
        )

    environments = [bed.environment(tmp_path / f"e{n}", shim=True) for n in range(4)]
    before = environments[0].snapshot()

    def install(number: int) -> str:
        host = on_host(environments[number], f"host-{number % 2}")
        done = host.pip(*INSTALL, *wheels, env=settings("hardlink", store))
        return done.stdout + done.stderr

    with ThreadPoolExecutor(len(environments)) as pool:
        said = list(pool.map(install, range(len(environments))))
    for output in said:
        assert "Linked 6 packages by hardlink" in output
        assert "WARNING" not in output
    stock = bed.environment(tmp_path / "stock", shim=False)
    unlinked = stock.snapshot()
    stock.pip(*INSTALL, *wheels)
    for environment in environments:
        changes = delta(before, environment.snapshot())
        assert changes.keys() == delta(unlinked, stock.snapshot()).keys()
    assert entries(store) == len(wheels)
    assert left_over(store) == []


@pytest.mark.usefixtures("strace", "root")
def test_handle_that_has_gone_stale_is_looked_up_again(
    bed: Bed, tmp_path: Path, wheel: Path
) -> None:
    """As when another host has replaced an entry (``ESTALE``); simulated."""
    store = tmp_path / "store"
    first, second = (bed.environment(tmp_path / name, shim=True) for name in "ab")
    first.pip(*INSTALL, wheel, env=settings("hardlink", store))
    source = next(store.glob("v1/wheels/*/*/files/pkg/data"))
    environment = under(
        second,
        *("strace", "-f", "-qq", "-o", "/dev/null"),
        *("-e", "trace=linkat", "-e", "inject=linkat:error=ESTALE:when=2"),
    )
    done = environment.pip(*INSTALL, wheel, env=settings("hardlink", store))
    assert "Linked 1 package by hardlink" in done.stdout
    assert "WARNING" not in done.stderr
    assert source.exists()
