"""What the command says of the disk is what ``df`` says of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.filesystem import mounts
from tests.filesystem.support import INSTALL, settings
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.filesystem.conftest import FileSystems
    from tests.support.environments import Bed, Environment

MKFS = {
    "ext4": ("mkfs.ext4", "-q", "-F"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
}
MODES = {
    "ext4": ("hardlink", "symlink", "copy"),
    "btrfs": ("clone", "hardlink", "symlink", "copy"),
    "xfs": ("clone",),
}
NAMES = ("used", "everywhere", "alone")
_FILES, _SIZE = 24, 1 << 20


@pytest.fixture
def volume(
    root: None, file_systems: FileSystems, request: pytest.FixtureRequest
) -> Iterator[Path]:
    """Mount a file system that nobody else writes to."""
    del root
    place = Path(tempfile.mkdtemp(prefix="space-", dir=file_systems["tmpfs"]))
    yield mounts.mount_loop(place, *MKFS[request.param], size="2G")
    mounts.unmount(place)
    place.rmdir()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("wheels")
    return {
        name: make_wheel(
            directory,
            name,
            files={
                f"{name}/__init__.py": "VALUE = 1\n" * 2000,
                **{
                    f"{name}/data_{n}": random.Random(f"{name}{n}").randbytes(_SIZE)
                    for n in range(_FILES)
                },
            },
        )
        for name in NAMES
    }


def used(volume: Path) -> int:
    """Return how many bytes of a file system are in use, when it has come to rest."""
    seen = [-1]
    while seen[-1] not in seen[:-1]:
        # xfs lets go of what was deleted in its own time.
        time.sleep(0.3)
        mounts.run("sync", "-f", volume)
        status = os.statvfs(volume)
        seen.append((status.f_blocks - status.f_bfree) * status.f_frsize)
    return seen[-1]


@pytest.mark.parametrize(
    ("volume", "mode"),
    [(name, mode) for name, modes in MODES.items() for mode in modes],
    indirect=["volume"],
)
def test_figures_are_those_of_df(
    bed: Bed,
    tmp_path: Path,
    volume: Path,
    mode: str,
    wheels: dict[str, Path],
    say: Callable[[object], None],
) -> None:
    empty = used(volume)
    store = volume / "store"
    env = settings(mode, store)
    private = tmp_path / "private"
    environments: list[Environment] = []
    for name, wanted in (("one", NAMES), ("two", NAMES[:2]), ("three", NAMES[1:2])):
        one = bed.environment(volume / name, shim=True, private=private)
        one.pip(*INSTALL, *(str(wheels[wheel]) for wheel in wanted), env=env)
        # Of small files alone more than 1 % is a file system's own affair.
        (one.path / "model").write_bytes(random.Random(name).randbytes(16 << 20))
        environments.append(one)
    one, two, _ = environments
    # An edit in place: a clone has its own extents for that part then.
    if mode == "clone":
        with (two.site_packages / "used" / "data_0").open("r+b") as file:
            file.write(b"edited" * 10_000)

    def command(*args: str) -> Any:
        result = two.run("-m", "pip_linkmode", *args, "--json", env=env, check=False)
        assert result.stderr == ""
        return json.loads(result.stdout)

    def close(figure: int, before: int, after: int, what: str) -> None:
        difference = before - after
        say(f"{volume.name} {mode} {what}: {figure:,}, df {difference:,}")
        # btrfs and XFS keep inodes and names in trees that are not counted: up to eight
        # nodes of 16 KiB come back with the last entry.
        rel = 0.01 if volume.name == "ext4" else 0.1
        nodes = (4 if volume.name == "ext4" else 8) * (16 << 10)
        assert figure == pytest.approx(difference, rel=rel, abs=nodes), what

    full = used(volume)
    found = command("usage")
    close(found["spent"], full, empty, "spent")
    by_path = {row["path"]: row for row in found["environments"]}
    assert sorted(by_path) == sorted(str(e.path) for e in environments)

    promised = by_path[str(one.path)]["deleting_frees"]
    shutil.rmtree(one.path)
    without_one = used(volume)
    close(promised, full, without_one, "deleting an environment")

    (planned,) = command("prune", "--dry-run")
    assert [gone["name"] for gone in planned["removed"]] == ["alone"]
    (pruned,) = command("prune")
    assert [gone["name"] for gone in pruned["removed"]] == ["alone"]
    assert pruned["freed"] == planned["freed"]
    without_alone = used(volume)
    close(pruned["freed"], without_one, without_alone, "prune")

    (planned,) = command("prune", "--max-size", "0", "--dry-run")
    (emptied,) = command("prune", "--max-size", "0")
    assert emptied["freed"] == planned["freed"]
    close(emptied["freed"], without_alone, used(volume), "prune --max-size 0")
    assert len(emptied["removed"]) == (0 if mode == "symlink" else 2)
    close(command("usage")["spent"], used(volume), empty, "spent in the end")
