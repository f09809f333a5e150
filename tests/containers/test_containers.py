"""The Dockerfiles of the examples are built, and what is in the images is run."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.containers.engine import BASE
from tests.filesystem.test_clusters import PACKAGES, PROGRAM
from tests.support.environments import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.containers.engine import Buildah, Image

SMALL = 0.05
COPIED = 0.12
"""The most that symlink mode copies of these wheels: small files of other kinds."""
"""The share of a layer's bytes that is nothing to speak of."""
STOCK = """\
FROM {base}
COPY requirements.txt .
RUN PIP_LINK_MODE=off pip install -r requirements.txt
"""


def stock(engine: Buildah, context: Path, base: str = BASE) -> Image:
    """Build what pip makes of it alone."""
    dockerfile = context / "stock.Dockerfile"
    dockerfile.write_text(STOCK.format(base=base))
    return engine.build("stock", dockerfile)


@pytest.fixture(scope="module")
def store(engine: Buildah, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Return the base image with a store."""
    context = tmp_path_factory.mktemp("store")
    dockerfile = CHECKOUT / "examples" / "containers" / "store.Dockerfile"
    (context / dockerfile.name).write_bytes(dockerfile.read_bytes())
    (context / "requirements.txt").write_text("\n".join(PACKAGES))
    return engine.build("python-store", context / dockerfile.name, BASE=BASE)


# --- 1. a cache mount -----------------------------------------------------------------


def test_cache_mount_makes_the_layer_that_pip_makes(
    engine: Buildah, context: Path
) -> None:
    alone = stock(engine, context)
    dockerfile = context / "cache-mount.Dockerfile"
    first = engine.build("cached", dockerfile, BASE=BASE)
    assert "3 unpacked for the first time" in first.output
    (context / "requirements.txt").write_text("post\nmesh\nsolver\n")
    second = engine.build("cached", dockerfile, BASE=BASE)
    assert "Copied 3 packages from the store" in second.output
    assert "first time" not in second.output
    for image in (first, second):
        # uv warns in such a place, so that people say `copy` to be rid of it.
        assert "WARNING" not in image.output
        assert image.layers[-1] == pytest.approx(alone.layers[-1], rel=SMALL)
    assert engine.run(second, "python", "-c", PROGRAM).startswith("/")


def test_symlinks_into_a_cache_mount_dangle_and_are_told(
    engine: Buildah, context: Path
) -> None:
    dockerfile = context / "cache-mount.Dockerfile"
    image = engine.build("dangling", dockerfile, BASE=BASE, PIP_LINK_MODE="symlink")
    said = r"the links dangle while /var/cache/pip/link-store \(\w+\) is not mounted"
    assert re.search(said, image.output)
    with pytest.raises(RuntimeError, match="ImportError"):
        engine.run(image, "python", "-c", PROGRAM)


# --- 2. a store in the base image -----------------------------------------------------


def test_applications_on_a_store_take_next_to_nothing(
    engine: Buildah, context: Path, store: Image
) -> None:
    alone = stock(engine, context, store.name)
    dockerfile = context / "application.Dockerfile"
    for number, wanted in enumerate((PACKAGES, ("post", "solver"))):
        (context / "requirements.txt").write_text("\n".join(wanted))
        image = engine.build(f"application-{number}", dockerfile, BASE=store.name)
        assert "by symlink" in image.output
        assert "WARNING" not in image.output
        assert "the links dangle" not in image.output
        assert "first time" not in image.output
        # Whatever of the store is written to is copied up.
        assert image.layers[-1] < COPIED * alone.layers[-1]
        program = PROGRAM.replace(", ".join(PACKAGES), ", ".join(wanted))
        result = engine.run(image, "python", "-c", program)
        assert result.startswith("/opt/wheels/")


def test_user_without_rights_has_links_to_the_store(
    engine: Buildah, context: Path, store: Image
) -> None:
    """It is root's, and so it is read-only, whatever the layers are."""
    dockerfile = context / "user.Dockerfile"
    dockerfile.write_text(
        f"FROM {store.name}\n"
        "COPY requirements.txt /\n"
        "USER 65534\n"
        "ENV HOME=/tmp/home\n"
        "RUN python -m venv --without-pip /tmp/venv && "
        "pip --python /tmp/venv install -r /requirements.txt\n"
    )
    image = engine.build("user", dockerfile)
    assert "Linked 3 packages by symlink" in image.output
    assert "WARNING" not in image.output
    result = engine.run(image, "/tmp/venv/bin/python", "-c", PROGRAM)
    assert result.startswith("/opt/wheels/")
    # Nothing of it was written to.
    assert image.layers[-1] < SMALL * store.layers[-1]


def test_what_the_store_lacks_is_in_the_layer_of_the_application(
    engine: Buildah, context: Path, store: Image
) -> None:
    dockerfile = context / "application.Dockerfile"
    text = dockerfile.read_text()
    wanted = "--force-reinstall --no-deps wrapt solver"
    dockerfile.write_text(text.replace("-r requirements.txt", wanted))
    image = engine.build("more", dockerfile, BASE=store.name)
    # wrapt repairs what symlinks broke, so it is never behind one.
    assert "Linked 1 package by symlink, 1 by " in image.output
    assert "1 unpacked for the first time" in image.output
    program = "import os, wrapt; print(os.path.realpath(wrapt.__file__))"
    assert not engine.run(image, "python", "-c", program).startswith("/opt/wheels/")


def test_hard_links_to_a_lower_layer_are_copies(
    engine: Buildah, context: Path, store: Image
) -> None:
    alone = stock(engine, context, store.name)
    dockerfile = context / "application.Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text.replace("install", "install --link-mode hardlink"))
    image = engine.build("hard", dockerfile, BASE=store.name)
    assert "by hardlink" in image.output
    assert image.layers[-1] > (1 - SMALL) * alone.layers[-1]
    assert engine.run(image, "python", "-c", PROGRAM).strip()


# --- 3. several stages ----------------------------------------------------------------


@pytest.mark.parametrize("target", ["application", "materialized", "with-store"])
def test_final_stage_runs(engine: Buildah, context: Path, target: str) -> None:
    dockerfile = context / "multi-stage.Dockerfile"
    image = engine.build(target, dockerfile, "--target", target, BASE=BASE)
    assert "WARNING" not in image.output
    result = engine.run(image, "/app/bin/python", "-c", PROGRAM)
    place = "/opt/wheels/" if target == "with-store" else "/app/"
    assert result.startswith(place)
    if target != "with-store":
        assert engine.run(image, "ls", "/opt") == ""


def test_links_do_not_reach_the_final_stage_by_themselves(
    engine: Buildah, context: Path
) -> None:
    """Neither of the two ways of the example is more than is needed."""
    dockerfile = context / "multi-stage.Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text.replace("RUN pip-linkmode materialize /app", ""))
    image = engine.build("bare", dockerfile, "--target", "materialized", BASE=BASE)
    with pytest.raises(RuntimeError, match="ImportError"):
        engine.run(image, "/app/bin/python", "-c", PROGRAM)


# --- 4. several environments ----------------------------------------------------------


def test_environments_of_an_image_share_their_files(
    engine: Buildah, context: Path
) -> None:
    alone = stock(engine, context)
    image = engine.build("many", context / "environments.Dockerfile", BASE=BASE)
    assert image.layers[-1] < (1 + SMALL) * alone.layers[-1]
    for name in ("web", "worker", "tools"):
        result = engine.run(image, f"/opt/{name}/bin/python", "-c", PROGRAM)
        assert result.startswith(f"/opt/{name}/")


# --- the table ------------------------------------------------------------------------


def test_measurement_prints_a_table(engine: Buildah, tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(PACKAGES))
    result = subprocess.run(
        [
            *(sys.executable, CHECKOUT / "examples" / "containers" / "measure.py"),
            *("--engine", " ".join(engine.command), "--base", BASE),
            *("--option=--pull-never", "--option=--network=host"),
            f"--option={engine.volume}",
            *("--wheels", engine.wheels, "--no-uv"),
            *("--requirements", requirements),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=engine.environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines()]
    found = {name.strip(): float(size) for name, size, *_ in rows[2:]}
    alone = found["pip"]
    assert found["auto, cache mount"] == pytest.approx(alone, rel=SMALL)
    assert found["hardlink, store in the base"] == pytest.approx(alone, rel=SMALL)
    assert found["symlink, store in the base"] < COPIED * alone
