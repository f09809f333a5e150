"""Several hosts, one store on a network file system."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.filesystem.support import entries, left_over
from tests.filesystem.support import start as start_python
from tests.network.beds import wait_for
from tests.network.conftest import tree

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.network.conftest import Network, Node, Tree

MODES = ("auto", "clone", "hardlink", "symlink", "copy")
ENVIRONMENTS = 20


def assert_whole(network: Network, count: int) -> None:
    """Compare every file of the store with its manifest, as a third host sees it."""
    with network.share.inspector() as host:
        store = host.see(network.store)
        assert entries(store) == count
        assert left_over(store) == []


def assert_complete(network: Network, environment: Path, stock: Tree) -> None:
    """Compare what is installed with stock pip's, as a third host sees it."""
    with network.share.inspector() as host:
        assert tree(host, environment) == stock


@pytest.mark.parametrize("mode", MODES)
def test_concurrent_cold_installs_equal_stock_pips(
    network: Network, wheels: list[Path], stock: Tree, mode: str
) -> None:
    """One pip on each host, an empty store, environments on the same file system."""
    jobs = [
        (node, network.environment(network.place / node.host.name))
        for node in (network.first, network.second)
    ]

    def install(job: tuple[Node, Path]) -> str:
        node, environment = job
        return node.install(environment, wheels, mode=mode, store=network.store)

    with ThreadPoolExecutor(len(jobs)) as pool:
        said = list(pool.map(install, jobs))
    for (_, environment), output in zip(jobs, said, strict=True):
        assert "3 packages" in output
        assert "by pip alone" not in output
        assert_complete(network, environment, stock)
    assert_whole(network, len(wheels))


def test_prune_on_one_host_does_not_break_installs_on_another(
    network: Network, wheels: list[Path], stock: Tree
) -> None:
    """Everything that no environment depends on is removed, again and again."""
    place = network.place if network.share.reads_symlinks else network.private
    environments = [network.environment(place / f"new-{n}") for n in range(2)]
    network.first.linkmode("fill", *wheels, "--link-store", network.store)
    done, removed = threading.Event(), 0

    def clean() -> None:
        nonlocal removed
        while not done.is_set():
            said = network.second.driver.run(
                *("-m", "pip_linkmode", "prune", "--max-size", "0", "--json"),
                *("--link-store", network.store),
                check=False,
            )
            (result,) = json.loads(said.stdout)
            removed += len(result["removed"])

    def install(environment: Path) -> None:
        for _ in range(2):
            network.first.install(
                environment, wheels, mode="symlink", store=network.store
            )

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(install, environments))
    finally:
        done.set()
        thread.join()
    assert removed
    for environment in environments:
        assert_complete(network, environment, stock)


@pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "local"])
def test_prune_sees_what_was_installed_after_a_dry_run(
    network: Network, wheels: list[Path], stock: Tree, is_shared: bool
) -> None:
    """One after the other: only the caches of the first host are older."""
    shared = is_shared and network.share.reads_symlinks
    place = network.place if shared else network.private
    old, new = (network.environment(place / name) for name in ("old", "new"))
    network.first.install(old, wheels, mode="symlink", store=network.store)
    network.first.install(new, wheels[:1], mode="symlink", store=network.store)
    network.first.host.run("rm", "-r", old)

    cleaner = network.node(network.share.host("cleaner", cached=True))
    prune = ("prune", "--link-store", network.store)
    before = cleaner.linkmode(*prune, "--dry-run")
    network.second.install(new, wheels[1:], mode="symlink", store=network.store)
    after = cleaner.linkmode(*prune)
    assert "Would remove" in before, after

    assert_complete(network, new, stock)
    assert_whole(network, len(wheels))


def begin(
    node: Node, environment: Path, wheels: list[Path], store: Path
) -> subprocess.Popen[bytes]:
    """Start a cold installation, and return while it unpacks."""
    process = start_python(
        node.driver,
        *("-m", "pip", "install", "--no-index", "--no-deps", "--ignore-installed"),
        *("--prefix", str(environment), *map(str, wheels)),
        env={"PIP_LINK_MODE": "symlink", "PIP_LINK_STORE": str(store)},
    )
    staging = node.host.see(store / "v1" / "staging")
    wait_for(
        lambda: process.poll() is not None or any(staging.glob("*/files")),
        "nothing is unpacked",
    )
    assert process.poll() is None
    return process


@pytest.mark.parametrize("kernel", ["another", "the same"])
def test_hosts_of_one_name_leave_each_others_staging_alone(
    network: Network, wheels: list[Path], stock: Tree, kernel: str
) -> None:
    """Two hosts, or two containers on one: each has mounted the file system itself."""
    share = network.share
    one = network.node(share.host("twin"))
    same = one.host.boot_id if kernel == "the same" else None
    other = network.node(share.host("twin", boot_id=same))
    first, second = (
        network.environment(network.private / name) for name in ("first", "second")
    )
    staging = network.store / "v1" / "staging"

    process = begin(one, first, wheels, network.store)
    try:
        os.killpg(process.pid, signal.SIGSTOP)
        held = set(os.listdir(one.host.see(staging)))
        assert held
        other.install(second, wheels[-1:], mode="symlink", store=network.store)
        with share.inspector() as host:
            assert held <= set(os.listdir(host.see(staging)))
    finally:
        os.killpg(process.pid, signal.SIGCONT)
        code = process.wait()
    assert code == 0
    assert_complete(network, first, stock)
    assert_whole(network, len(wheels))


@pytest.mark.parametrize("killed", ["server", "client"])
def test_installs_after_a_kill_midway_equal_stock_pips(
    network: Network, wheels: list[Path], stock: Tree, killed: str
) -> None:
    """What was killed comes back, and the next installation ends what was begun."""
    share = network.share
    node = network.node(share.host("node"))
    first, again = (
        network.environment(network.private / name) for name in ("first", "again")
    )
    process = begin(node, first, wheels, network.store)
    if killed == "client":
        node.host.kill_client()
        process.wait()
        node.host.mount_again()
    elif share.loses_clients:
        share.kill_server()
        process.wait()
        share.restart_server()
    else:
        share.kill_server()
        time.sleep(0.3)
        share.restart_server()
    code = process.wait()
    probe = network.place / "probe"
    ask = ("sh", "-c", f"echo yes >{probe}; cat {probe}")
    wait_for(lambda: node.host.run(*ask, check=False), "the server does not answer")
    if code == 0:
        # Linked after all, or installed by pip alone: in both cases it is complete.
        assert_complete(network, first, stock)
    node.install(again, wheels, mode="symlink", store=network.store)
    assert_complete(network, again, stock)
    with share.inspector() as host:
        assert entries(host.see(network.store)) == len(wheels)


def test_environments_on_a_read_only_export_equal_stock_pips(
    network: Network, wheels: list[Path], stock: Tree
) -> None:
    share = network.share
    network.first.linkmode("fill", *wheels, "--link-store", network.store)
    reader = network.node(share.host("reader", read_only=True))
    with share.inspector() as host:
        before = state(host.see(network.store))

    def install(number: int) -> Path:
        path = network.environment(network.private / f"environment-{number}")
        said = reader.install(path, wheels, mode="symlink", store=network.store)
        assert "Linked 3 packages by symlink" in said
        assert "first time" not in said
        return path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        environments = list(pool.map(install, range(ENVIRONMENTS)))
    for environment in environments:
        assert reader.tree(environment) == stock
    with share.inspector() as host:
        assert state(host.see(network.store)) == before


def state(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return mode, size and mtime of everything below a directory."""
    found = {}
    for path in root.rglob("*"):
        status = path.lstat()
        found[str(path.relative_to(root))] = (
            *(status.st_mode, status.st_size, status.st_mtime_ns),
        )
    return found
