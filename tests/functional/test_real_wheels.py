"""Real packages from the index, at once: what people install."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import CHECKOUT, NEWEST, run_outside
from tests.support.parity import differences, perform, store_digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.environments import Bed
    from tests.support.parity import Outcome

pytestmark = pytest.mark.index

PACKAGES = ("numpy", "pandas", "jupyterlab", "black", "setuptools", "pip")


@pytest.fixture(scope="module")
def house(bed: Bed) -> Path:
    return bed.wheelhouse(PACKAGES)


def test_real_packages_are_installed_as_pip_does(
    bed: Bed, tmp_path: Path, house: Path
) -> None:
    """Cold and warm; then they run, and are uninstalled."""
    index = ("--no-index", "--find-links", str(house))
    steps = [
        ["install", *index, *PACKAGES],
        ["uninstall", "--yes", "numpy", "jupyterlab", "setuptools"],
    ]
    store = tmp_path / "store"
    here = tmp_path / "here"

    def act(mode: str) -> Outcome:
        environment = bed.environment(here / "environment", shim=mode != "stock")
        settings = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(store)}
        install = perform(
            environment, steps[:1], env=settings if mode != "stock" else None
        )
        code = "import pandas, jupyterlab, black; print(pandas.Series([1, 2]).sum())"
        assert environment.run("-c", code, cwd=tmp_path).stdout == "3\n"
        uninstall = perform(environment, steps[1:])
        shutil.rmtree(here)
        return type(install)(
            # What Python compiles when the packages are imported is not pip's.
            {**install.changes, **{f"- {k}": v for k, v in uninstall.changes.items()}},
            install.codes + uninstall.codes,
            install.output + uninstall.output,
        )

    stock = act("stock")
    assert len(stock.changes) > 10_000
    digests = None
    for mode in ("hardlink", "symlink"):
        linked = act(mode)
        # The environments with the shim have packaging already.
        found = differences(stock, linked, ignore=["*/site-packages/packaging*"])
        assert not found, "\n".join(found[:50])
        digests = digests or store_digest(store)
        assert store_digest(store) == digests


def test_everything_we_stand_on_can_be_upgraded_through_us(
    bed: Bed, tmp_path: Path
) -> None:
    """``pip install -U pip pip-linkmode wrapt packaging``, and the next pip runs."""
    environment = bed.environment(tmp_path / "environment", shim=True, pip="25.3")
    env = {
        "PIP_LINK_MODE": "symlink",
        "PIP_LINK_STORE": str(tmp_path / "store"),
        "PIP_FIND_LINKS": str(bed.shim_wheel().parent),
    }
    environment.pip("install", "wrapt==1.17.3", "packaging==25.0", env=env)
    upgrade = ("install", "--upgrade", "--force-reinstall", f"pip=={NEWEST}")
    result = environment.pip(*upgrade, "pip-linkmode", "wrapt", "packaging", env=env)
    assert result.stderr == ""
    assert "Linked 4 packages by hardlink" in result.stdout
    assert f"pip {NEWEST} " in environment.pip("--version").stdout
    result = environment.pip("install", "--force-reinstall", "wrapt", env=env)
    assert result.stderr == ""
    assert "Linked 1 package by hardlink" in result.stdout


def test_the_quick_start_runs(tmp_path: Path) -> None:
    """The example, as the README calls it."""
    example = CHECKOUT / "examples" / "quickstart.py"
    output = run_outside(sys.executable, example, "--directory", tmp_path / "work")
    assert output.startswith("Link mode auto; ")
    table = output.splitlines()[-4:]
    header = ["environment", "seconds", "megabytes", "(link", "mode", "auto)"]
    assert table[0].split() == header
    assert [line[:12].strip() for line in table[1:]] == ["first", "second", "pip alone"]
    first, second, alone = (float(line.split()[-1]) for line in table[1:])
    assert second < alone / 50
    assert alone < first * 1.1
