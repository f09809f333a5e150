"""The data of each command: every key is documented, and every document is true.

``Run.data`` in the fixtures checks each answer of each test against its schema; here
are the answers that no other test asks for.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pip_linkmode.cli.main import COMMANDS
from tests.support import schemas
from tests.support.environments import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.house import House
    from tests.unit.conftest import Run

NAMES = sorted(command.name for command in COMMANDS)
ANSWERED = ("status", "store", "list", "usage", "verify", "prune")
"""Commands that need no argument."""


def objects(schema: Any) -> list[Any]:
    """Return all objects with named keys in a schema."""
    found = [schema] if "properties" in schema else []
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    below += [schema["items"]] if "items" in schema else []
    for one in below:
        found += objects(one)
    return found


def test_each_command_has_a_schema() -> None:
    assert sorted(path.stem for path in schemas.SCHEMAS.glob("*")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_valid_and_strict(name: str) -> None:
    schema = schemas.load(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    for one in objects(schema):
        assert one["additionalProperties"] is False
        assert one["required"] == [*one["properties"]]
        assert all("description" in value for value in one["properties"].values())


@pytest.mark.parametrize("name", NAMES)
def test_schema_refuses_another_key(name: str) -> None:
    broken = {"unknown": 1}
    for data in (broken, [broken]):
        with pytest.raises(AssertionError, match="differ"):
            schemas.check(name, data)


def test_page_has_the_keys_of_the_schemas() -> None:
    page = (CHECKOUT / "docs" / "json.md").read_text(encoding="utf-8")
    begin, end = map(re.escape, schemas.MARKS)
    (text,) = re.findall(f"{begin}\n(.*)\n{end}", page, re.DOTALL)
    assert text == schemas.tables(NAMES)


@pytest.mark.parametrize("name", ANSWERED)
def test_answer_about_nothing_is_as_the_schema_says(
    run: Run, house: House, name: str
) -> None:
    house.site_packages("environment")
    data = run.data(name, code=1 if name == "status" else 0)
    assert data is not None


@pytest.mark.parametrize("name", ANSWERED)
def test_answer_about_damage_is_as_the_schema_says(
    run: Run, house: House, name: str
) -> None:
    one, two = house.entry("one"), house.entry("two")
    house.install("linked", "hardlink", one)
    library = house.install("bound", "symlink", two)
    house.entry("unused")
    (library / "two" / "data").unlink()
    (house.path / "linked" / "lib" / "python3.11" / "site-packages" / "one").rename(
        house.path / "aside"
    )
    data = run.data(name, code=1 if name in ("status", "verify") else 0)
    if name == "verify":
        assert data["damages"]
    if name == "prune":
        assert data[0]["removed"]


def test_answer_of_a_prune_that_keeps_is_as_the_schema_says(
    run: Run, house: House
) -> None:
    house.install("bound", "symlink", house.entry("one"))
    (data,) = run.data("prune", "--max-size", "0", code=1)
    assert data["holders"]


def test_answer_about_an_environment_that_is_away_is_as_the_schema_says(
    run: Run, house: House
) -> None:
    house.install("away", "hardlink", house.entry("one"))
    (house.path / "away").rename(house.path / "elsewhere")
    (data,) = run.data("prune")
    assert data["unreachable"]
    assert run.data("usage")["unreachable"]


def test_answer_about_a_damaged_registration_is_as_the_schema_says(
    run: Run, house: House
) -> None:
    house.install("bound", "symlink", house.entry("one"))
    (registration,) = house.root.glob("v1/environments/*/environment.json")
    registration.write_bytes(b"")
    (data,) = run.data("prune")
    assert [user["state"] for user in data["unreachable"]] == ["damaged"]
    run.data("usage")
    run.data("list")


def test_answers_of_commands_that_change_are_as_the_schemas_say(
    run: Run, house: House, template: Path
) -> None:
    environment = house.path / "environment"
    shutil.copytree(template, environment, symlinks=True)
    (house.path / "tmp").mkdir()
    house.entry("one")
    (wheel,) = (house.path / "wheels").glob("*.whl")
    assert run.data("fill", str(wheel))["wheels"]
    # There is no pip in it, which enable warns of.
    for name, code in {
        "relink": 0,
        "materialize": 0,
        "enable": 1,
        "disable": 0,
    }.items():
        assert run.data(name, str(environment), code=code)
