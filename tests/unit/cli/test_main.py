"""The command line: what is said, to whom, and with which exit code."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import text as text_module
from pip_linkmode.cli import console, prune
from pip_linkmode.cli import list as list_module
from pip_linkmode.cli import progress as progress_module
from pip_linkmode.cli.main import COMMANDS, main
from pip_linkmode.environments.register import register
from pip_linkmode.environments.registry import registrations
from pip_linkmode.maintenance.prune import Pruned

if TYPE_CHECKING:
    from pip_linkmode.cli.command import Command
    from tests.support.house import House
    from tests.unit.conftest import Run


# --- all commands ---------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_has_an_example(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command.name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"example:\n  pip-linkmode {command.name}" in text
    assert "--json" in text


def test_help_explains_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "exit codes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [
        ("unknown",),
        ("prune", "--max-size", "much"),
        ("prune", "--older-than", "30"),
    ],
)
def test_invalid_arguments_are_a_usage_error(
    args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_value_that_is_no_size_is_explained(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["prune", "--max-size", "much"])
    assert "'much' is not a size. Examples: 500M, 20G, 20GiB" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["list", "usage", "verify", "prune"])
def test_command_says_that_there_is_no_store(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    text = run.text(command)
    assert f"There is no store yet: {house.root} does not exist." in text
    assert not house.root.exists()
    monkeypatch.setenv("PIP_LINK_MODE", "off")
    text = run.text(command)
    assert "There is no store: the link mode is off (PIP_LINK_MODE)." in text


def test_store_that_cannot_be_meant(house: House, run: Run) -> None:
    del house
    error = run.error("list", "--link-store", "relative", code=2)
    assert error.startswith("ERROR: the store 'relative' is a relative path")


def test_store_that_was_named_and_cannot_be_used(house: House, run: Run) -> None:
    house.root.touch()
    error = run.error("list", "--link-store", str(house.root), code=1)
    assert error == f"ERROR: the store {house.root} is not a directory\n"


def test_store_that_was_named_is_looked_after_whatever_the_mode(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setenv("PIP_LINK_MODE", "off")
    assert run.data("list") == []
    (row,) = run.data("list", "--link-store", str(house.root))
    assert row["name"] == "a"


def test_empty_store_is_the_default_one_as_for_pip(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setenv("PIP_CACHE_DIR", str(house.path / "cache"))
    assert len(run.data("list")) == 1
    assert run.data("list", "--link-store", "") == []
    (store,) = run.data("status", "--link-store", "", code=1)["stores"]
    assert store["path"] == str(house.path / "cache" / "link-store")


def test_lost_packages_are_a_problem(house: House, run: Run) -> None:
    site_packages = house.install("env", "symlink", house.entry("a"))
    environment = str(site_packages.parents[2])
    before = run.data("status", environment, code=1)
    assert before["lost"] == {}
    shutil.rmtree(house.root)
    assert run.data("status", environment, code=1)["lost"] == {str(house.root): 1}
    text = run.text("status", environment, code=1)
    assert f"Lost         1 package: symlinks into {house.root} lead to no file" in text


def test_store_that_was_named_is_not_made(house: House, run: Run) -> None:
    error = run.error("prune", "--link-store", str(house.root), code=1)
    assert error == f"ERROR: the store {house.root} does not exist\n"
    assert not house.root.exists()


def test_path_that_is_no_environment(house: House, run: Run) -> None:
    house.entry("a")
    for args in (("usage", "/nothing"), ("verify", "/nothing")):
        assert "/nothing is not an environment" in run.error(*args, code=2)
    assert "/nothing" in run.error("prune", "--release", "/nothing", code=2)


def test_error_of_the_system_has_its_path(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/some/path")

    monkeypatch.setattr(list_module, "items", fail)
    assert run.error("list", code=1) == "ERROR: /some/path: Permission denied\n"


def test_interruption_is_no_traceback(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(list_module, "items", interrupt)
    assert run.error("list", code=1) == "ERROR: interrupted\n"


def test_output_may_go_anywhere(house: House) -> None:
    del house
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["usage"]) == 0
    assert out.getvalue().startswith("There is no store yet: ")


def test_reader_that_has_gone_is_no_traceback(house: House) -> None:
    for name in "abc":
        house.entry(name)
    command = f"{sys.executable} -m pip_linkmode list | true"
    result = subprocess.run(
        ["sh", "-c", command], check=True, capture_output=True, text=True
    )
    assert result.stderr == ""


# --- list -----------------------------------------------------------------------------


def test_list_tells_what_is_there(house: House, run: Run) -> None:
    house.install("one", "symlink", house.entry("a", size=100_000))
    house.install("two", "hardlink", house.entry("a", size=100_000), house.entry("b"))
    first, second = run.data("list")
    assert (first["name"], first["version"]) == ("a", "1.0")
    assert first["tags"] == "py3-none-any"
    assert first["users"] == [str(house.path / "one"), str(house.path / "two")]
    assert second["users"] == [str(house.path / "two")]
    assert first["size"] > 100_000
    assert len(first["bytecode"]) == 1
    header, _, *rows = run.text("list").splitlines()
    assert header.split()[:3] == ["Package", "Version", "Tags"]
    tag = "cpython-3" + str(sys.version_info[1])
    assert rows[0].split()[:2] == ["a", "1.0"]
    assert tag in rows[0].split()


def test_list_counts_an_environment_of_two_paths_once(house: House, run: Run) -> None:
    entry = house.entry("a")
    site_packages = house.install("one", "hardlink", entry)
    (house.path / "one" / "lib64").symlink_to("lib")
    alias = str(site_packages).replace("/lib/", "/lib64/")
    register(str(house.root), alias, entry.sha256, "hardlink")
    (row,) = run.data("list")
    assert row["users"] == [str(house.path / "one")]


def test_list_is_sorted_as_asked(house: House, run: Run) -> None:
    big, small = house.entry("big", size=200_000), house.entry("small")
    house.install("one", "hardlink", small)
    os.utime(os.path.join(big.path, "manifest.json"), (1, 1))
    orders = {
        order: [row["name"] for row in run.data("list", "--sort", order)]
        for order in ("name", "size", "users", "used")
    }
    assert orders == {
        "name": ["big", "small"],
        "size": ["big", "small"],
        "users": ["small", "big"],
        "used": ["big", "small"],
    }


def test_damaged_entry_is_listed_by_what_there_is(house: House, run: Run) -> None:
    manifest = os.path.join(house.entry("a").path, "manifest.json")
    os.truncate(manifest, 1)
    (row,) = run.data("list")
    assert (row["name"], row["version"], row["tags"]) == ("a", "1.0", "")
    shutil.rmtree(os.path.join(house.store.entries()[0], "files"))
    (row,) = run.data("list")
    assert row["name"] == f"sha256:{row['sha256'][:12]}"


def test_list_of_an_empty_store(house: House, run: Run) -> None:
    house.root.mkdir()
    assert run.text("list") == f"The store {house.root} is empty.\n"


# --- usage ----------------------------------------------------------------------------


def test_usage_draws_what_is_shared(house: House, run: Run) -> None:
    for name in ("one", "two"):
        house.install(name, "hardlink", house.entry("a", size=1_000_000))
    house.install("gone", "hardlink", house.entry("a", size=1_000_000))
    (house.path / "gone").rename(house.path / "aside")
    text = run.text("usage")
    assert sum("░░░░░" in line for line in text.splitlines()) == 3
    assert f"{house.path / 'one'} " in text
    assert "Saved" in text
    assert "Not seen: " in text
    data = run.data("usage", str(house.path / "one"))
    (one,) = data["environments"]
    assert one["size"] == one["shared"] + one["private"]
    assert data["saved"] == data["without_links"] - data["spent"]


def test_usage_is_drawn_for_old_terminals_too(house: House) -> None:
    house.install("e\N{SNOWMAN}", "hardlink", house.entry("a"))
    result = subprocess.run(
        [sys.executable, "-m", "pip_linkmode", "usage"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=True,
        capture_output=True,
        encoding="ascii",
    )
    assert "# private   - shared" in result.stdout
    assert "/e\\u2603 " in result.stdout


def test_usage_of_nothing(house: House, run: Run) -> None:
    text = run.text("usage")
    assert text.startswith(f"There is no store yet: {house.root} does not exist.")


# --- prune ----------------------------------------------------------------------------


def test_prune_says_what_has_gone_and_what_came_back(house: House, run: Run) -> None:
    house.install("e", "symlink", house.entry("used"))
    house.entry("unused", size=200_000)
    planned = run.text("prune", "--dry-run")
    assert "Would remove 1 entry" in planned
    assert "would come back" in planned
    text = run.text("prune")
    assert "unused  1.0" in text
    assert f"Removed 1 entry of {house.root}; 2" in text
    assert "came back" in text
    assert house.present() == ["used"]


def test_prune_warns_of_unknown_users(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have links to a store in which they cannot be registered."""
    house.entry("a")
    warning = f"Environments of users without write access to {house.root} are not "
    stock, is_open = os.stat, True

    def status(path: str, *args: object, **more: object) -> object:
        found = stock(path, *args, **more)  # type: ignore[arg-type]  # handed on
        if path not in map(str, (house.root, *house.root.parents)):
            return found
        bits = found.st_mode | 0o001 if is_open else found.st_mode & ~0o001
        return os.stat_result((bits, *found[1:]))

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", status)
        assert warning in run.text("prune", "--dry-run")
        patched.setenv("HOME", str(house.root.parent))
        assert warning not in run.text("prune", "--dry-run")
        patched.setenv("HOME", str(house.root / "elsewhere"))
        is_open = False
        assert warning not in run.text("prune", "--dry-run")


def test_prune_says_whom_it_could_not_look_at(house: House, run: Run) -> None:
    house.install("e", "symlink", house.entry("used"))
    (house.path / "e").rename(house.path / "aside")
    text = run.text("prune")
    assert "Kept 1 entry for " in text
    assert "which was moved, or was deleted and is in another" in text
    assert "--release" in text
    (data,) = run.data("prune")
    assert len(data["unreachable"][0]["depends_on"]) == 1
    shutil.rmtree(house.path / "aside")
    assert "Gone, and forgotten: " in run.text("prune")


def test_prune_is_silent_on_environments_for_which_it_keeps_nothing(
    house: House, run: Run
) -> None:
    """As in each job of a CI that restores a store."""
    house.install("e", "symlink", house.entry("used"))
    (registration,) = registrations(str(house.root))
    for marker in Path(registration.directory).glob("*.symlink"):
        marker.unlink()
    (house.path / "e").rename(house.path / "aside")
    text = run.text("prune")
    assert "Kept" not in text
    assert "Removed 1 entry" in text


def test_prune_of_both_stores_forgets_who_was_in_both(house: House, run: Run) -> None:
    entry, other = house.entry("a"), house.path / "other"
    site_packages = house.install("e", "symlink", entry)
    other.mkdir()
    register(str(other), str(site_packages), entry.sha256, "symlink")
    shutil.rmtree(house.path / "e")
    (data,) = run.data("prune")
    assert [one["state"] for one in data["unreachable"]] == ["moved"]
    both = f"{house.root}{os.pathsep}{other}"
    for dry_run in (("--dry-run",), ()):
        found = run.data("prune", *dry_run, "--link-store", both)
        assert [one["released"] for one in found] == [[str(site_packages)]] * 2
        assert [one["name"] for one in found[0]["removed"]] == ["a"]
    assert run.data("usage", "--link-store", both)["unreachable"] == []


def test_prune_says_whom_it_has_forgotten(house: House, run: Run) -> None:
    site_packages = house.install("e", "symlink", house.entry("used"))
    (house.path / "e").rename(house.path / "aside")
    text = run.text("prune", "--release", str(house.path / "e"))
    assert text.startswith(f"Forgotten: {site_packages}\n")
    assert house.present() == []


def test_prune_counts_whom_it_has_forgotten(house: House, run: Run) -> None:
    entry = house.entry("a")
    site_packages = str(house.install("e", "symlink", entry))
    (house.path / "e").rename(house.path / "aside")
    release = ("--release", str(house.path / "e"))
    for dry_run in (("--dry-run",), ()):
        (data,) = run.data("prune", *release, *dry_run)
        assert data["released"] == [site_packages]
        assert [one["name"] for one in data["removed"]] == ["a"]
        assert data["unreachable"] == []


def test_prune_says_who_holds_the_store(house: House, run: Run) -> None:
    house.install("e", "symlink", house.entry("used"))
    text = run.text("prune", "--max-size", "1k", code=1)
    assert f"{house.path / 'e'} cannot do without it" in text


def test_prune_says_that_something_came_into_use(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setattr(prune, "prune", lambda *_: Pruned("/store", restored=1))
    assert "Kept 1 entry that came into use during the clean-up" in run.text("prune")


def test_prune_says_whose_bytecode_has_gone(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setattr(prune, "prune", lambda *_: Pruned("/store", spare=2))
    assert "Removed bytecode for 2 wheels of read-only stores" in run.text("prune")


@pytest.mark.parametrize("option", ["--older-than=30d", "--max-size=1G"])
def test_everything_has_no_conditions(house: House, run: Run, option: str) -> None:
    house.entry("a")
    assert "--all removes everything" in run.error("prune", "--all", option, code=2)
    assert house.present() == ["a"]


def test_store_that_is_read_only_is_passed_over(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.entry("a")
    monkeypatch.setattr(os, "access", lambda *_: False)
    line = f"Passed over the read-only store {house.root}.\n"
    assert run.text("prune") == line
    assert "read-only" in run.error("prune", "--link-store", str(house.root), code=1)


# --- verify ---------------------------------------------------------------------------


def test_verify_says_where_a_damaged_file_is(house: House, run: Run) -> None:
    site_packages = house.install("e", "hardlink", house.entry("a"))
    assert "All files are as they were" in run.text("verify")
    with (site_packages / "a" / "data").open("r+") as file:
        file.write("edited")
    text = run.text("verify", code=1)
    assert f"a 1.0: {site_packages / 'a' / 'data'} was modified" in text
    assert f"    in {house.path / 'e'}\n" in text
    assert "    in the store: " in text
    assert "1 file is not as installed; 0 repaired" in text
    assert text.endswith("To repair, run: pip-linkmode verify --repair\n")
    text = run.text("verify", "--link-store", str(house.root), code=1)
    assert f"verify --repair --link-store {house.root}\n" in text
    text = run.text("verify", "--repair", code=1)
    assert "entry removed; the next installation recreates it" in text
    shutil.rmtree(house.root)
    shutil.rmtree(site_packages)
    assert "There is no store yet" in run.text("verify")
    house.root.mkdir()
    assert "Nothing to compare" in run.text("verify")
    (house.path / "empty/lib/python3.11/site-packages").mkdir(parents=True)
    text = run.text("verify", str(house.path / "empty"))
    assert "no package is installed there" in text
    site_packages = house.install("e", "copy", house.entry("a"))
    (site_packages / "b-1.dist-info").mkdir()
    (site_packages / "b-1.dist-info" / "RECORD").write_text("a,b,c\n")
    text = run.text("verify", "--repair", code=1)
    assert text.startswith("Not readable: ")
    assert "--ignore-installed --no-deps b==1" in text
    assert len(text.splitlines()) == 1


# --- what a person sees ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("500M", 500_000_000),
        ("20 GB", 20_000_000_000),
        ("1.5GiB", 3 << 29),
        ("2k", 2000),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert console.parse_size(text) == expected


def test_spans() -> None:
    assert console.parse_span("30d") == 30 * 86400
    assert console.parse_span("1.5h") == 5400


def test_sizes_are_said_as_pip_says_them() -> None:
    assert [text_module.size(n) for n in (1, 12_345, 2_000_000, 13e9)] == [
        "1 bytes",
        "12 kB",
        "2.0 MB",
        "13.0 GB",
    ]


def test_bars_have_the_length_of_what_they_stand_for() -> None:
    assert console.bar([(1, "a"), (1, "b")], 4, room=8) == "aabb"
    assert console.bar([(1, "a")], 0) == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, bars: object = None) -> Terminal:
    """Let stderr be a terminal from now on.

    :param bars: the module that draws
    """
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress_module, "progress", bars)
    monkeypatch.setattr(progress_module, "_PATIENCE", 0.01)
    return terminal


def work(terminal: io.StringIO) -> None:
    """Show two packages; the first one is in work until there is a bar, or longer."""
    with progress_module.Progress("Reading") as progress:
        progress.show("alpha", 0.25)
        for _ in range(100):
            if "alpha" in terminal.getvalue():
                break
            time.sleep(0.01)
        progress.show("b\x1b[2Jeta", 0.5)


def test_short_operation_shows_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_a_terminal(monkeypatch)
    monkeypatch.setattr(progress_module, "_PATIENCE", 60)
    with progress_module.Progress("Reading") as progress:
        progress.show("alpha", 0.25)
    assert terminal.getvalue() == ""


def test_without_a_terminal_there_is_no_progress(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress_module, "_PATIENCE", 0)
    with progress_module.Progress("Reading") as progress:
        progress.show("alpha", 0.25)
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_progress_without_pip_names_the_package_in_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_a_terminal(monkeypatch)
    work(terminal)
    assert terminal.getvalue() == (
        "\rReading alpha  25%\x1b[K\rReading b\\x1b[2Jeta  50%\x1b[K\r\x1b[K"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_bars_of_pip_are_loaded_for_a_terminal_only() -> None:
    pytest.importorskip("pip._vendor.rich.progress")
    program = (
        "from pip_linkmode.cli.progress import progress; print(progress is not None)"
    )
    master, slave = os.openpty()
    for stderr, expected in ((slave, "True"), (subprocess.DEVNULL, "False")):
        command = [sys.executable, "-c", program]
        result = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
        assert result.stdout.strip() == expected
    os.close(master)
    os.close(slave)


def test_progress_with_pip_is_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    bars = pytest.importorskip("pip._vendor.rich.progress")
    terminal = on_a_terminal(monkeypatch, bars)
    monkeypatch.setenv("TERM", "xterm")
    work(terminal)
    for text in ("Reading alpha", "25%", "Reading b\\x1b[2Jeta", "50%"):
        assert text in terminal.getvalue()


def test_status_has_the_size_that_list_adds_up_to(house: House, run: Run) -> None:
    house.entry("a", size=100_000)
    house.entry("b", size=200_000)
    (store,) = run.data("status", code=1)["stores"]
    assert store["bytes"] == sum(row["size"] for row in run.data("list"))
    assert run.text("list").endswith(f"2 entries, {text_module.size(store['bytes'])}\n")


def test_list_and_usage_fit_the_terminal(
    house: House, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.install("environment-with-a-long-name" * 2, "hardlink", house.entry("a" * 30))
    for columns in (80, 120):
        monkeypatch.setenv("COLUMNS", str(columns))
        for command in ("list", "usage"):
            lines = run.text(command).splitlines()
            assert max(len(line) for line in lines if "----" not in line) <= columns
    assert "Tags" in run.text("list")
    monkeypatch.setenv("COLUMNS", "80")
    assert "Tags" not in run.text("list")


def test_usage_of_a_store_that_symlinks_need(house: House, run: Run) -> None:
    house.install("one", "symlink", house.entry("a", size=1_000_000))
    text = run.text("usage")
    assert f"{house.root} is needed by {house.path / 'one'}" in text
    assert " needed" in text
    (store,) = run.data("usage")["stores"]
    assert store["needed_by"] == [str(house.path / "one")]


def test_usage_of_the_first_environment_saves_nothing_yet(
    house: House, run: Run
) -> None:
    house.install("one", "hardlink", house.entry("a", size=1_000_000))
    text = run.text("usage")
    assert "One environment saves nothing; lists" in text
    assert "Saved" not in text


def test_usage_adds_up_the_rows_shown(house: House, run: Run) -> None:
    for name in ("one", "two"):
        house.install(name, "hardlink", house.entry("a", size=1_000_000))
    house.install("other", "copy", house.entry("b", size=3_000_000))
    data = run.data("usage", str(house.path / "one"))
    (one,), (store,) = data["environments"], data["stores"]
    assert data["without_links"] == one["size"]
    assert data["spent"] == store["size"] + one["private"]


def test_errors_are_red_on_a_terminal_with_colours(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert house.path.exists()
    for variable, value, is_red in (
        ("TERM", "xterm", True),
        ("NO_COLOR", "1", False),
        ("TERM", "dumb", False),
    ):
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv(variable, value)
        terminal = on_a_terminal(monkeypatch)
        assert main(["prune", "--force"]) == 2
        error = "ERROR: --force needs --all"
        expected = f"\x1b[31m{error}\x1b[0m" if is_red else error
        assert terminal.getvalue() == f"{expected}\n"


def test_long_path_keeps_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert console.abbreviate("/home/me/env", 20) == "/home/me/env"
    assert console.abbreviate("/home/me/env", 8) == "~/env"
    assert console.abbreviate("/home/me/project/env", 10) == "...ect/env"


def test_usage_of_rows_that_share_with_others(house: House, run: Run) -> None:
    for name in ("one", "two"):
        house.install(name, "hardlink", house.entry("a"))
    text = run.text("usage", str(house.path / "one"))
    assert "Nothing saved by these rows alone; the other files of the store" in text


def test_cap_that_costs_sharing_is_told_first(house: House, run: Run) -> None:
    house.install("one", "hardlink", house.entry("a", size=500_000))
    text = run.text("prune", "--max-size", "1k", "--dry-run")
    first = "1 kB cannot be reached without losing the sharing of 1 entry: "
    assert text.startswith(first)
