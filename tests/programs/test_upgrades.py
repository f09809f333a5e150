"""Programs that look at times: an upgrade is noticed as after stock pip.

Hard links and symlinks have the time of their store entry, which may be older than a
build. These modes have the symptoms and the remedies that docs/differences.md names.
A clone of a module has it too: its bytecode holds the time of the source.
"""

from __future__ import annotations

import signal
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from tests.programs.oracle import (
    PATIENCE,
    STOCK,
    Lab,
    Program,
    assert_used,
    digests,
    free_port,
    next_second,
    serving,
    wait_for,
)
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.programs.oracle import Server

pytestmark = pytest.mark.index

OLD_TIMES = ("auto", "hardlink", "symlink")
"""Modes that link files with the time of the entry; ``auto`` where clones fail."""

SETTINGS = """\
import debug_toolbar
from django.http import HttpResponse
from django.urls import path

DEBUG = True
SECRET_KEY = "key"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "settings"
INSTALLED_APPS = ["django.contrib.staticfiles", "debug_toolbar"]
STATIC_URL = "static/"
STATIC_ROOT = "collected"
urlpatterns = [path("version", lambda request: HttpResponse(debug_toolbar.VERSION))]
"""
TOOLBAR = ("7.1.1", "8.0.0")
HEADERS = ("3.0.0", "3.0.1")


def refill(lab: Lab, program: Program, name: str, old: str, new: str) -> None:
    """Unpack two versions, the newer one first: it gets the earlier time."""
    for version in (new, old):
        program.fill(lab.wheel(name, version))


REMEDY = {"PIP_LINK_EXCLUDE": "django-debug-toolbar"}
"""The package gets files of its own, with the time of installation."""


# --- Django ---------------------------------------------------------------------------


class Django:
    """A project with the debug toolbar, as an application that has static files."""

    def __init__(self, lab: Lab, program: Program) -> None:
        self.program = program
        self.directory = program.private / "project"
        self.directory.mkdir(parents=True)
        (self.directory / "settings.py").write_text(SETTINGS)
        program.install("django", PIP_LINK_STORE=str(lab.store(program)))
        refill(lab, program, "django_debug_toolbar", *TOOLBAR)

    def install(self, version: str, **settings: str) -> None:
        self.program.install(f"django-debug-toolbar=={version}", **settings)

    def collect(self, *args: str) -> dict[str, str]:
        """Return the digests of the static files that were collected."""
        command = ("-m", "django", "collectstatic", "--noinput", *args)
        env = {"DJANGO_SETTINGS_MODULE": "settings"}
        place = ("--pythonpath", ".")
        self.program.run(*command, *place, cwd=self.directory, env=env)
        return digests(self.directory / "collected", "debug_toolbar/**/*")

    def upgrade(self, **settings: str) -> dict[str, Any]:
        """Upgrade the toolbar while a development server runs.

        :param settings: of pip-linkmode, for both versions
        :returns: what was collected before and after, and the version that the server
            answers with
        """
        self.install(TOOLBAR[0], **settings)
        found: dict[str, Any] = {"before": self.collect("--clear")}
        with self.serving() as server:

            def version() -> str:
                try:
                    return server.get("/version")[1].decode()
                except OSError:  # while it starts again
                    return ""

            assert wait_for(version) == TOOLBAR[0]
            # Its reloader looks at all files once a second.
            next_second()
            next_second()
            # It must not start again while files change.
            server.signal(signal.SIGSTOP)
            self.install(TOOLBAR[1], **settings)
            server.signal(signal.SIGCONT)
            # An absent restart can only be waited for.
            restarts = settings or self.program.mode in (STOCK, "copy")
            seconds = PATIENCE if restarts else 5
            wait_for(
                lambda: server.log.read_text().count("Starting") > 1,
                seconds,
                fail=False,
            )
            found["version"] = wait_for(version)
        return {**found, "after": self.collect()}

    def serving(self) -> AbstractContextManager[Server]:
        """Run the development server."""
        port = free_port()
        options = ("--settings", "settings", "--nothreading", "--skip-checks")
        place = ("--pythonpath", self.directory, f"127.0.0.1:{port}")

        def listens(output: str) -> int | None:
            return port if "Starting development server" in output else None

        command = ("-m", "django", "runserver", *options, *place)
        return serving(self.program, *command, port=listens)


def upgraded_django(lab: Lab) -> Callable[[Program], Any]:
    def observe(program: Program) -> dict[str, Any]:
        project = Django(lab, program)
        found = project.upgrade()
        found["cleared"] = project.collect("--clear")
        if program.mode in (*OLD_TIMES, "clone"):
            found["remedy"] = project.upgrade(**REMEDY)
        return found

    return observe


def test_collectstatic_and_stat_reloader_see_an_upgrade(lab: Lab, mode: str) -> None:
    observe = upgraded_django(lab)
    expected = lab.stock("django", observe)
    before, after = expected["before"], expected["after"]
    changed = {path for path in before if after[path] != before[path]}
    assert changed
    assert expected["version"] == TOOLBAR[1]
    # Files that only the old version has stay there until they are cleared.
    assert after.items() >= expected["cleared"].items()
    found = observe(lab.program(mode, own_store=True))
    remedy = found.pop("remedy", None)
    if remedy:
        assert remedy == {key: expected[key] for key in remedy}
        assert found["version"] == TOOLBAR[0]
        expected["version"] = TOOLBAR[0]
    if mode in OLD_TIMES:
        assert {
            path for path in changed if found["after"][path] == before[path]
        } == changed
        found["after"] = after
    assert found["version"] == expected["version"]
    assert found == expected


# --- ninja ----------------------------------------------------------------------------

BUILD = """\
rule grep
  command = grep -hE "define PYBIND11_VERSION_(MINOR|MICRO|PATCH)" $in > $out
build out: grep {header}
"""


def built(lab: Lab) -> Callable[[Program], Any]:
    def observe(program: Program) -> dict[str, str]:
        refill(lab, program, "pybind11", *HEADERS)
        program.install("ninja", PIP_LINK_STORE=str(lab.store(program)))
        program.install(f"pybind11=={HEADERS[0]}")
        directory = program.private / "build"
        directory.mkdir()
        include = program.site_packages / "pybind11" / "include" / "pybind11"
        header = include / "detail" / "common.h"
        (directory / "build.ninja").write_text(BUILD.format(header=header))

        def build(*args: str) -> str:
            for words in (args, ()) if args else ((),):
                program.run("-m", "ninja", *words, cwd=directory)
            return (directory / "out").read_text()

        found = {"before": build()}
        next_second()
        program.install(f"pybind11=={HEADERS[1]}")
        found["after"] = build()
        found["cleaned"] = build("-t", "clean")
        return found

    return observe


def test_ninja_builds_again_after_the_upgrade_of_a_header(lab: Lab, mode: str) -> None:
    observe = built(lab)
    expected = lab.stock("ninja", observe)
    assert expected["before"] != expected["after"] == expected["cleaned"]
    program = lab.program(mode, own_store=True)
    found = observe(program)
    assert_used(program)
    if mode in OLD_TIMES:
        assert found.pop("after") == expected.pop("before") == found.pop("before")
        del expected["after"]
    assert found == expected


# --- caches by time and size ----------------------------------------------------------


def two_versions(program: Program, old: str, new: str) -> None:
    """Unpack two versions of a package within one second, if the store lets them be."""
    assert len(old) == len(new)
    house = program.private / "wheels"
    wheels = [
        make_wheel(
            house,
            "demo",
            version,
            files={
                "demo/__init__.py": textwrap.dedent(text),
                "demo/py.typed": "",
            },
        )
        for version, text in (("1.0", old), ("1.1", new))
    ]
    program.fill(*wheels)


def upgraded(program: Program, run: Callable[[], str]) -> list[str]:
    """Return the output of a program before and after the upgrade."""
    found = []
    for version in ("1.0", "1.1"):
        # Not before: the fill must not have made a cache.
        program.install("--find-links", program.private / "wheels", f"demo=={version}")
        found.append(run())
        next_second()
    return found


def numba(lab: Lab) -> Callable[[Program], Any]:
    def observe(program: Program) -> list[str]:
        program.install("numba", PIP_LINK_STORE=str(lab.store(program)))
        text = """\
            from numba import njit

            @njit(cache=True)
            def answer():
                return {}
            """
        two_versions(program, text.format(10), text.format(11))
        code = "import demo; print(demo.answer())"
        return upgraded(program, lambda: program.run("-c", code).stdout)

    return observe


def mypy(lab: Lab) -> Callable[[Program], Any]:
    def observe(program: Program) -> list[str]:
        program.install("mypy", PIP_LINK_STORE=str(lab.store(program)))
        text = "def answer() -> {}:\n    raise NotImplementedError\n"
        two_versions(program, text.format("int"), text.format("str"))
        source = program.private / "source"
        source.mkdir()
        (source / "main.py").write_text("import demo\n\nx: int = demo.answer()\n")

        def run() -> str:
            return program.run("-m", "mypy", "main.py", cwd=source, check=False).stdout

        return upgraded(program, run)

    return observe


@pytest.mark.parametrize("program", [numba, mypy])
def test_program_with_a_cache_sees_an_upgrade(
    lab: Lab, mode: str, program: Callable[[Lab], Callable[[Program], Any]]
) -> None:
    observe = program(lab)
    expected = lab.stock(program.__name__, observe)
    assert expected[0] != expected[1]
    linked = lab.program(mode, own_store=True)
    assert observe(linked) == expected
