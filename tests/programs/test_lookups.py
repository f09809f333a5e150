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
for language in sorted(path.parts[-2] for path in root.glob("*/LC_MESSAGES")):
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
    """Run and list plugins of Ansible, by its plugin loader.

    Its list, not its loader, leaves out symlinks (docs/differences.md).
    """
    exclude = "ansible-core" if program.mode == "symlink" else ""
    program.install("ansible-core")
    assert_used(program)
    found: dict[str, Any] = {}
    if exclude:
        assert not listed(program, "lookup")
        found["copied"] = played(program)
        program.install(
            "--force-reinstall", "--no-deps", "ansible-core", PIP_LINK_EXCLUDE=exclude
        )
    else:
        found["copied"] = played(program)
    for kind in ("lookup", "callback"):
        found[kind] = listed(program, kind)
        assert len(found[kind]) > 2
    return found


def listed(program: Program, kind: str) -> dict[str, str]:
    """Return the descriptions of all plugins of a kind."""
    command = ("-m", "ansible.cli.doc", "--list", "--json", "--type", kind)
    return dict(json.loads(program.run(*command).stdout))


def played(program: Program) -> str:
    """Return the file that a playbook has written by an action plugin and a module."""
    playbook = program.private / "playbook.json"
    destination = program.private / "copied"
    task = {"copy": {"content": "text", "dest": str(destination)}}
    play = {"hosts": "localhost", "connection": "local", "tasks": [task]}
    playbook.write_text(json.dumps([play]))
    program.run("-m", "ansible.cli.playbook", playbook)
    return destination.read_text()


def messages_and_resources(program: Program) -> list[dict[str, Any]]:
    """Translate words into all languages of Django, and read all time zones."""
    program.install("django", "tzdata")
    assert_used(program)
    messages = json.loads(program.run("-c", GETTEXT).stdout)
    assert messages["de"][0] == "Montag"
    env = {"PYTHONTZPATH": ""}
    resources = json.loads(program.run("-c", RESOURCES, env=env).stdout)
    assert len(resources) > 500
    return [messages, resources]


@pytest.mark.parametrize("look", [plugins, messages_and_resources])
def test_program_finds_what_it_finds_in_the_environment_of_stock_pip(
    lab: Lab, mode: str, look: Callable[[Program], Any]
) -> None:
    expected = lab.stock(look.__name__, look)
    program = lab.program(mode)
    assert look(program) == expected
