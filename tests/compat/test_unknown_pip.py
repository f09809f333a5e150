"""A pip of an unknown shape works as if we were not there, and we say so once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.environments import NEWEST
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.environments import Bed, Environment

pytestmark = pytest.mark.compat

PIPS = ("24.0", NEWEST)
WARNING = "WARNING: pip-linkmode is inactive: "


def doctor(environment: Environment, pattern: str, replacement: str) -> None:
    """Change all of pip's own source by a regular expression."""
    changed = 0
    for path in environment.site_packages.glob("pip/_internal/**/*.py"):
        text = path.read_text("utf-8")
        new, count = re.subn(pattern, replacement, text)
        if count:
            path.write_text(new, "utf-8")
            changed += count
    assert changed


def without_install_wheel(environment: Environment) -> None:
    doctor(environment, r"\binstall_wheel\b", "put_wheel_there")


def with_another_parameter(environment: Environment) -> None:
    doctor(environment, r"\breq_description\b", "description")


def with_a_new_first_parameter(environment: Environment) -> None:
    doctor(environment, r"(?m)^def install_wheel\(", r"\g<0>plan, ")
    doctor(environment, r"\binstall_wheel\((?=\s*self\.)", r"\g<0>None, ")


def without_install_given_reqs(environment: Environment) -> None:
    doctor(environment, r"\binstall_given_reqs\b", "carry_out")


def without_requirement_command(environment: Environment) -> None:
    doctor(environment, r"\bRequirementCommand\b", "CommandWithRequirements")


def with_links_of_its_own(environment: Environment) -> None:
    doctor(
        environment,
        r"(?m)^    def add_options\(self\) -> None:\n",
        r'\g<0>        self.cmd_opts.add_option("--link-mode", default="none")\n',
    )


SHAPES: dict[Callable[[Environment], None], str] = {
    without_install_wheel: "has no install_wheel",
    with_another_parameter: "install_wheel",
    with_a_new_first_parameter: "install_wheel",
    without_install_given_reqs: "install_given_reqs",
    without_requirement_command: "RequirementCommand",
    with_links_of_its_own: "--link-mode",
}


@pytest.mark.parametrize("pip", PIPS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_one_warning_names_what_is_missing_and_pip_works(
    bed: Bed, tmp_path: Path, shape: Callable[[Environment], None], pip: str
) -> None:
    wheels = [
        str(make_wheel(tmp_path, name, files={f"{name}/__init__.py": "x = 1\n"}))
        for name in ("one", "two")
    ]
    install = ("install", "--no-index", *wheels)
    outputs, directories_of = [], []
    for shim in (False, True):
        environment = bed.environment(tmp_path / "here" / "e", shim=shim, pip=pip)
        shape(environment)
        # The doctored modules are compiled now, in both.
        environment.pip("install", "--help", env={"PYTHONWARNINGS": "ignore"})
        before = environment.snapshot()
        outputs.append(environment.pip(*install))
        environment.pip("uninstall", "--yes", "two")
        after = environment.snapshot()
        directories_of.append(
            {path: after[path] for path in after.keys() - before.keys()}
        )
        for name in ("one", "two"):
            module = environment.site_packages / name / "__init__.py"
            assert not module.exists() or module.stat().st_nlink == 1
        (tmp_path / "here").rename(tmp_path / f"there-{shim}")
    assert directories_of[0] == directories_of[1]
    stock, linked = outputs
    assert linked.stdout == stock.stdout
    assert stock.stderr == ""
    (warning,) = linked.stderr.splitlines()
    assert warning.startswith(WARNING)
    assert SHAPES[shape] in warning
    assert f"pip {pip}" in warning


def test_a_pip_without_its_runner_is_not_mentioned(bed: Bed, tmp_path: Path) -> None:
    """What is missing is then missed by nobody but ``pip --python``."""
    environment = bed.environment(tmp_path / "environment", shim=True)
    doctor(environment, r"\bget_runnable_pip\b", "runnable_pip")
    wheel = str(make_wheel(tmp_path, "one", files={"one.py": "x = 1\n"}))
    result = environment.pip("install", "--no-index", wheel)
    assert result.stderr == ""
    assert (environment.site_packages / "one.py").stat().st_nlink > 1
