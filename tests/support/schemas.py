"""The JSON schemas of the command, and the tables of their keys in ``docs/json.md``.

``python -m tests.support.schemas --write docs/json.md`` puts the tables between two
marks in that file; without ``--write`` they are printed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema

from tests.support.environments import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = CHECKOUT / "docs" / "schemas"
MARKS = ("<!-- keys -->", "<!-- /keys -->")


def load(command: str) -> Any:
    """Return the schema of a command's ``--json``."""
    return json.loads((SCHEMAS / f"{command}.json").read_text(encoding="utf-8"))


def check(command: str, data: Any) -> None:
    """Fail if data is not as the schema of a command has it."""
    validator = jsonschema.Draft202012Validator(load(command))
    errors = [f"{one.json_path}: {one.message}" for one in validator.iter_errors(data)]
    assert errors == [], f"{command} --json and docs/schemas/{command}.json differ"


def tables(commands: list[str]) -> str:
    """Return a section of Markdown for each command."""
    return "\n\n".join(_section(name, load(name)) for name in commands)


def _section(command: str, schema: Any) -> str:
    lines = [
        f"### {command}",
        "",
        f"[Schema](schemas/{command}.json); {schema['description']}.",
        "",
        "| key | type | meaning |",
        "|---|---|---|",
    ]
    for path, kind, meaning in _keys(schema, ""):
        lines.append(f"| `{path}` | {kind} | {meaning} |")
    return "\n".join(lines)


def _keys(schema: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    if schema.get("type") == "array":
        schema, prefix = schema["items"], f"{prefix}[]"
    for name, one in schema.get("properties", {}).items():
        path = f"{prefix}.{name}".lstrip(".")
        yield path, _kind(one), one["description"]
        yield from _keys(one, path)


def _kind(schema: Any) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "array":
        return f"array of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    kind: str = schema["type"]
    return kind


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, metavar="file")
    target = parser.parse_args().write
    commands = sorted(path.stem for path in SCHEMAS.glob("*.json"))
    text = tables(commands)
    if target is None:
        print(text)
        return
    begin, end = MARKS
    page = target.read_text("utf-8")
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    target.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


if __name__ == "__main__":
    _main()
