"""Root maintains the environment of a user that tries to gain by it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.environments.distribution import Distribution
from pip_linkmode.environments.environment import OUTSIDE, Environment
from pip_linkmode.files import TEMPORARY
from pip_linkmode.relink.materialize import Materializing
from pip_linkmode.relink.relink import Relinking
from tests.support.house import House

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives files to users"
)
USER, OTHER = 4321, 4323


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that each user can reach."""
    path = Path(tempfile.mkdtemp(prefix="hostile-", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def chown_tree(path: Path, user: int) -> None:
    for directory, _, names in os.walk(path):
        for name in (".", *names):
            os.lchown(os.path.join(directory, name), user, user)


@pytest.fixture
def bed(place: Path) -> House:
    return House(place)


@pytest.fixture
def site_packages(bed: House) -> Path:
    return bed.install("env", "copy", bed.entry("a"))


@pytest.mark.parametrize("private", [True, False])
def test_file_of_a_private_store_does_not_get_into_an_environment(
    bed: House, site_packages: Path, *, private: bool
) -> None:
    entry = bed.entry("a")
    chown_tree(bed.root, OTHER)
    bed.root.chmod(0o700 if private else 0o755)
    data = site_packages / "a" / "data"
    data.unlink()
    data.symlink_to(entry.source("a/data"))
    chown_tree(bed.path / "env", USER)
    materializing = Materializing([str(site_packages)], [])
    materializing.survey()
    (report,) = materializing.run()
    assert data.is_symlink() is private
    if private:
        assert report.failed == {str(data): "Permission denied"}
    else:
        status = data.lstat()
        assert (status.st_uid, status.st_gid) == (USER, USER)


def test_materialized_link_gives_no_privileges_of_the_stored_file(
    bed: House, site_packages: Path
) -> None:
    """The user has another store, and has made the file there a setuid one."""
    source = bed.entry("a").source("a/data")
    chown_tree(bed.root, USER)
    os.chmod(source, 0o4755)
    data = site_packages / "a" / "data"
    data.unlink()
    data.symlink_to(source)
    chown_tree(bed.path / "env", USER)
    os.lchown(data, 0, 0)
    materializing = Materializing([str(site_packages)], [])
    materializing.survey()
    materializing.run()
    status = data.lstat()
    assert (status.st_uid, status.st_mode & 0o7777) == (USER, 0o755)


def test_sweep_does_not_follow_a_link_in_place_of_a_cache(
    bed: House, site_packages: Path
) -> None:
    outside = bed.path / "outside"
    outside.mkdir()
    kept, swept = outside / f"{TEMPORARY}x", site_packages / "a" / f"{TEMPORARY}x"
    kept.touch()
    swept.touch()
    (site_packages / "a" / "__pycache__").symlink_to(outside)
    relinking = Relinking([bed.store])
    relinking.survey([str(site_packages)])
    relinking.run()
    assert kept.exists()
    assert not swept.exists()


@pytest.mark.parametrize("name", ["INSTALLER", "RECORD", "direct_url.json"])
@pytest.mark.parametrize("part", ["file", "directory"])
def test_link_in_place_of_metadata_is_not_followed(
    bed: House, site_packages: Path, name: str, part: str
) -> None:
    outside = bed.path / "outside"
    outside.mkdir()
    (outside / name).write_text("secret")
    info = site_packages / "a-1.0.dist-info"
    if part == "file":
        (info / name).unlink(missing_ok=True)
        (info / name).symlink_to(outside / name)
    else:
        shutil.rmtree(info)
        info.symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        Distribution(str(site_packages), info.name).read(name)


def test_environment_opens_nothing_of_another_user(
    bed: House, site_packages: Path
) -> None:
    secret = bed.path / "secret"
    secret.write_text("secret")
    link = site_packages / "link"
    link.symlink_to(secret)
    chown_tree(bed.path / "env", USER)
    environment = Environment(str(site_packages))
    with pytest.raises(PermissionError), environment.open(str(link)):
        pass
    os.chown(secret, USER, USER)
    with environment.open(str(link)) as file:
        assert file.read() == b"secret"
    with environment.open(str(site_packages / "a" / "data")) as file:
        assert file.read(1) == b"a"


def test_nothing_is_held_outside_of_an_environment(
    bed: House, site_packages: Path
) -> None:
    (site_packages / "link").symlink_to(bed.path)
    path = str(site_packages / "link" / "file")
    with (
        pytest.raises(PermissionError, match=OUTSIDE),
        Environment(str(site_packages)).hold(path),
    ):
        pass


def test_new_content_belongs_to_the_owner_of_the_environment(
    bed: House, site_packages: Path
) -> None:
    chown_tree(bed.path / "env", USER)
    data, environment = site_packages / "a" / "data", Environment(str(site_packages))
    os.chown(data, USER, OTHER)
    assert environment.owner_of(data.lstat()) == (USER, OTHER)
    os.chown(data, 0, OTHER)
    assert environment.owner_of(data.lstat()) == (USER, USER)
    assert environment.owner_of(None) == (USER, USER)
