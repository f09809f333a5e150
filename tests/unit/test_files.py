"""What is no regular file is not waited for, and what has no end is not read."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments import register as register_module
from pip_linkmode.environments.distribution import Distribution, why_not
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.users import users
from pip_linkmode.files import open_regular, read_regular
from pip_linkmode.link.primitives import Link, clone, copy
from pip_linkmode.relink.adopt import propose
from pip_linkmode.relink.materialize import Materializing
from pip_linkmode.relink.report import Relinked
from pip_linkmode.relink.survey import (
    Digests,
    InstalledDistribution,
    RelinkedEnvironment,
    files_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.house import House

NONE = "Not a regular file|Too many levels"


def plant_a_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def plant_a_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


plants = pytest.mark.parametrize("plant", [plant_a_pipe, plant_a_device])


# --- one file -------------------------------------------------------------------------


def test_regular_file_is_read_also_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        assert read_regular(str(tmp_path / name), 7) == b"content"
    with open_regular(str(tmp_path / "file"), follow=False) as file:
        assert file.read() == b"content"


def test_link_is_not_followed_if_it_must_not_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    with (
        pytest.raises(OSError, match="link") as caught,
        open_regular(str(tmp_path / "link"), follow=False),
    ):
        pass
    assert caught.value.errno == errno.ELOOP


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        read_regular(str(tmp_path / "file"), 1 << 20)


@plants
def test_anything_else_is_refused(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    plant(tmp_path / "file")
    with pytest.raises(OSError, match=NONE):
        read_regular(str(tmp_path / "file"), 1)


@plants
@pytest.mark.parametrize("primitive", [copy, clone])
def test_it_is_not_copied_either(
    tmp_path: Path, plant: Callable[[Path], None], primitive: Callable[[Link], None]
) -> None:
    plant(tmp_path / "file")
    link = Link(str(tmp_path / "file"), str(tmp_path / "copy"), 1, 0, 0o644, 0o644)
    with pytest.raises(OSError, match=r"."):
        primitive(link)
    assert not (tmp_path / "copy").exists()


# --- metadata of an environment -------------------------------------------------------


@pytest.fixture
def site_packages(house: House) -> Path:
    return house.install("e", "copy", house.entry("a"))


@pytest.fixture
def info(site_packages: Path) -> Path:
    return site_packages / "a-1.0.dist-info"


@plants
def test_record_is_none(
    house: House, site_packages: Path, info: Path, plant: Callable[[Path], None]
) -> None:
    plant(info / "RECORD")
    distribution = Distribution(str(site_packages), info.name)
    with pytest.raises(OSError, match=NONE):
        files_of(Environment(str(site_packages)), distribution)
    materializing = Materializing([str(site_packages)], [str(house.root)])
    materializing.survey()
    (report,) = materializing.run()
    ((path, reason),) = report.failed.items()
    assert path == str(info / "RECORD")
    assert re.match(NONE, reason)


@plants
def test_clean_up_takes_it_for_what_cannot_be_read(
    house: House, info: Path, plant: Callable[[Path], None]
) -> None:
    target = house.path / "target"
    target.mkdir()
    register_module.register(
        str(house.root), str(target), house.entry("a").sha256, "symlink"
    )
    info.rename(target / info.name)
    plant(target / info.name / "RECORD")
    states = {user.path: user.state for user in users(house.store)}
    assert states[str(target)] == "unreadable"


@plants
@pytest.mark.parametrize("name", ["INSTALLER", "direct_url.json"])
def test_nothing_is_known_of_who_has_installed_it(
    site_packages: Path, info: Path, plant: Callable[[Path], None], name: str
) -> None:
    plant(info / name)
    assert why_not(Distribution(str(site_packages), info.name)) is None


@plants
@pytest.mark.parametrize("name", ["METADATA", "WHEEL", "RECORD"])
def test_it_is_not_adopted(
    house: House,
    site_packages: Path,
    info: Path,
    plant: Callable[[Path], None],
    name: str,
) -> None:
    distribution = Distribution(str(site_packages), info.name)
    environment = RelinkedEnvironment(str(site_packages), Relinked(""))
    files = files_of(environment, distribution)
    member = InstalledDistribution(environment, distribution, files)
    plant(info / name)
    with pytest.raises(OSError, match=NONE):
        propose(house.store, [member], Digests())
