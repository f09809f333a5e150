"""Programs that look for their files: plugins, catalogues of messages, resources."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs.oracle import Lab, Program, assert_used

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.index

GETTEXT = """\
import gettext, json, pathlib
import django.conf
from django.conf import settings
from django.utils import translation

settings.configure(USE_I18N=True)
django.setup()
words = {}
root = pathlib.Path(django.conf.__file__).parent / "locale"
for language in sorted(path.name for path in root.iterdir() if path.is_dir()):
    found = gettext.find("django", str(root), [language])
    assert found, language
    with translation.override(language):
        words[language] = [translation.gettext(word) for word in ("Monday", "yes,no")]
print(json.dumps(words))
"""
RESOURCES = """\
import hashlib, importlib.resources, json, zoneinfo
from importlib.resources import as_file, files

assert zoneinfo.TZPATH == ()
found = {}
for zone in sorted(zoneinfo.available_timezones()):
    with files("tzdata").joinpath("zoneinfo", *zone.split("/")).open("rb") as file:
        found[zone] = hashlib.sha256(file.read()).hexdigest()
    assert zoneinfo.ZoneInfo(zone).key == zone
with as_file(files("tzdata") / "zones") as path:
    found["zones"] = path.read_text()
for child in sorted(files("django.contrib.admin").iterdir(), key=lambda c: c.name):
    found[f"admin/{child.name}"] = [child.is_dir(), child.is_file()]
print(json.dumps(found))
"""


def plugins(program: Program) -> dict[str, Any]:
    """List all plugins of Ansible, with their documentation, by its plugin loader."""
    program.install("ansible-core")
    found = {}
    for kind in ("module", "lookup", "filter", "callback", "connection"):
        command = ("-m", "ansible.cli.doc", "--list", "--json", "--type", kind)
        found[kind] = json.loads(program.run(*command).stdout)
        assert len(found[kind]) > 2
    playbook = program.private / "playbook.json"
    destination = program.private / "copied"
    task = {"copy": {"content": "text", "dest": str(destination)}}
    play = {"hosts": "localhost", "connection": "local", "tasks": [task]}
    playbook.write_text(json.dumps([play]))
    program.run("-m", "ansible.cli.playbook", playbook)
    return {**found, "copied": destination.read_text()}


def catalogues(program: Program) -> dict[str, Any]:
    """Translate words into all languages of Django."""
    program.install("django")
    found = json.loads(program.run("-c", GETTEXT).stdout)
    assert found["de"][0] == "Montag"
    return dict(found)


def resources(program: Program) -> dict[str, Any]:
    """Read all time zones and a directory listing by importlib.resources."""
    program.install("django", "tzdata")
    env = {"PYTHONTZPATH": ""}
    found = json.loads(program.run("-c", RESOURCES, env=env).stdout)
    assert len(found) > 500
    return dict(found)


@pytest.mark.parametrize("look", [plugins, catalogues, resources])
def test_program_finds_what_it_finds_in_the_environment_of_stock_pip(
    lab: Lab, mode: str, look: Callable[[Program], dict[str, Any]]
) -> None:
    expected = lab.stock(look.__name__, look)
    program = lab.program(mode)
    assert look(program) == expected
    assert_used(program)
