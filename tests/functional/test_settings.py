"""The options are pip's own: command line, environment, pip.conf, help, precedence."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.parity import blocks
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from tests.support.environments import Bed, Environment

COMMANDS = ("install", "wheel", "download", "lock")


@pytest.fixture
def environment(bed: Bed, tmp_path: Path) -> Environment:
    return bed.environment(tmp_path / "environment", shim=True)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    files = {"pkg/__init__.py": "", "pkg/a.py": "a = 1\n", "pkg/data": "x" * 5000}
    return make_wheel(tmp_path, "pkg", files=files)


def install(
    environment: Environment,
    wheel: Path,
    *args: str,
    env: dict[str, str] | None = None,
    check: bool = True,
) -> CompletedProcess[str]:
    return environment.pip(
        *("install", "--no-index", "--force-reinstall", str(wheel)),
        *args,
        env=env,
        check=check,
    )


def mode_of(path: Path) -> str:
    if path.is_symlink():
        return "symlink"
    return "hardlink" if path.stat().st_nlink > 1 else "copy"


def installed_mode(environment: Environment) -> str:
    return mode_of(environment.site_packages / "pkg" / "a.py")


def test_the_command_line_wins_over_the_environment_over_pip_conf(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    config = tmp_path / "pip.conf"
    env = {"PIP_CONFIG_FILE": str(config), "PIP_LINK_STORE": store}
    config.write_text("[global]\nlink-mode = symlink\n")
    install(environment, wheel, env=env)
    assert installed_mode(environment) == "symlink"
    config.write_text("[global]\nlink-mode = symlink\n[install]\nlink-mode = copy\n")
    install(environment, wheel, env=env)
    assert installed_mode(environment) == "copy"
    install(environment, wheel, env={**env, "PIP_LINK_MODE": "symlink"})
    assert installed_mode(environment) == "symlink"
    install(
        environment,
        wheel,
        "--link-mode=hardlink",
        env={**env, "PIP_LINK_MODE": "symlink"},
    )
    assert installed_mode(environment) == "hardlink"


def test_pip_config_set_is_obeyed(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    env = {"PIP_CONFIG_FILE": str(tmp_path / "none")}
    for key, value in (("mode", "symlink"), ("store", str(tmp_path / "store"))):
        name = f"global.link-{key}"
        environment.pip("config", "--user", "set", name, value, env=env)
    install(environment, wheel, env=env)
    assert installed_mode(environment) == "symlink"
    install(environment, wheel, "--isolated", env=env)
    assert installed_mode(environment) == "hardlink"


def test_the_store_is_in_pips_cache_directory_unless_told_otherwise(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    install(environment, wheel)
    assert (environment.cache / "link-store" / "v1").is_dir()
    install(environment, wheel, "--cache-dir", str(tmp_path / "cache"))
    assert (tmp_path / "cache" / "link-store" / "v1").is_dir()
    environment.pip("cache", "purge", check=False)
    assert (environment.cache / "link-store" / "v1").is_dir()


def test_excluded_packages_get_files_of_their_own(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    other = make_wheel(tmp_path, "Other.Pkg", files={"other/a.py": "a = 2\n"})
    store = ("--link-store", str(tmp_path / "store"))
    install(environment, wheel, str(other), *store, env={"PIP_LINK_EXCLUDE": "x pkg"})
    assert installed_mode(environment) == "copy"
    assert mode_of(environment.site_packages / "other" / "a.py") == "hardlink"
    install(environment, wheel, str(other), *store, "--link-exclude", "other_pkg")
    assert installed_mode(environment) == "hardlink"
    assert mode_of(environment.site_packages / "other" / "a.py") == "copy"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_build_have_the_options(
    environment: Environment, command: str
) -> None:
    help_ = environment.pip(command, "--help", env={"PIP_LINK_MODE": "copy"}).stdout
    for option in ("--link-mode", "--link-store", "--link-exclude"):
        assert option in help_
    assert "(default: copy)" in " ".join(help_.split())


@pytest.mark.parametrize("command", ["list", "uninstall", "freeze", "check", "debug"])
def test_other_commands_are_untouched(
    bed: Bed, tmp_path: Path, environment: Environment, command: str
) -> None:
    stock = bed.environment(tmp_path / "stock", shim=False)
    env = {"PIP_LINK_MODE": "nonsense", "PIP_LINK_STORE": "relative"}
    env["PYTHONHASHSEED"] = "0"  # pip prints sets
    expected, actual = (
        one.pip(command, "--help", env=env).stdout.partition("Description:")[2]
        for one in (stock, environment)
    )
    assert actual == expected != ""
    if command in ("list", "check"):
        assert environment.pip(command, env=env).stderr == ""


def test_off_leaves_pip_alone(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    result = install(environment, wheel, "--link-mode=off", "--link-store", str(store))
    assert not store.exists()
    assert "inked" not in result.stdout


# --- what the user sees ---------------------------------------------------------------


def test_one_line_before_the_last_says_what_was_done(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    settings = ("--link-mode=hardlink", "--link-store", str(tmp_path / "store"))
    cold = install(environment, wheel, *settings).stdout.splitlines()
    assert cold[-1] == "Successfully installed pkg-1.0"
    expected = "Linked 1 package by hardlink (5 files); 1 unpacked for the first time"
    assert cold[-2] == expected
    warm = install(environment, wheel, *settings).stdout.splitlines()
    expected = r"Linked 1 package by hardlink \(5 files, [56] kB not written again\)"
    assert re.fullmatch(expected, warm[-2])
    assert install(environment, wheel, *settings, "-q").stdout == ""
    verbose = install(environment, wheel, *settings, "-v").stdout
    assert "pkg 1.0: 4 files by hardlink, 1 empty\n" in verbose


def test_copies_are_called_copies(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    settings = ("--link-mode=copy", "--link-store", str(tmp_path / "store"))
    output = install(environment, wheel, *settings).stdout
    assert "Copied 1 package from the store (5 files); 1 unpacked" in output


# --- what cannot be meant -------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "env", "code"),
    [
        (["--link-mode=hard"], {}, 2),
        ([], {"PIP_LINK_MODE": "hard"}, 3),
    ],
)
def test_an_unknown_mode_is_a_usage_error_that_lists_the_choices(
    environment: Environment,
    wheel: Path,
    args: list[str],
    env: dict[str, str],
    code: int,
) -> None:
    result = install(environment, wheel, *args, env=env, check=False)
    assert result.returncode == code
    for mode in ("auto", "clone", "hardlink", "symlink", "copy", "off"):
        assert f"'{mode}'" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (environment.site_packages / "pkg").exists()


def test_a_relative_store_is_refused(environment: Environment, wheel: Path) -> None:
    result = install(environment, wheel, "--link-store=a/store", check=False)
    assert result.returncode == 1
    assert result.stderr == (
        "ERROR: the store 'a/store' is a relative path; give --link-store "
        "(PIP_LINK_STORE) an absolute one\n"
    )
    assert not (environment.site_packages / "pkg").exists()


def as_a_file(store: Path) -> None:
    store.write_text("")


def writable_for_others(store: Path) -> None:
    store.mkdir()
    store.chmod(0o777)


def of_somebody_else(store: Path) -> None:
    store.mkdir()
    os.chown(store, 12345, 12345)


def below_a_file(store: Path) -> None:
    store.parent.write_text("")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (as_a_file, "is not a directory"),
        (writable_for_others, "can be written to by others"),
        (of_somebody_else, "belongs to another user"),
        (below_a_file, "cannot be made: Not a directory"),
    ],
)
@pytest.mark.parametrize("mode", ["auto", "symlink"])
def test_a_store_that_cannot_be_used_leaves_pip_alone_and_says_so_once(
    environment: Environment,
    wheel: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    reason: str,
    *,
    mode: str,
) -> None:
    if spoil is of_somebody_else and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    store = tmp_path / "place" / "store"
    if spoil is not below_a_file:
        store.parent.mkdir()
    spoil(store)
    other = make_wheel(tmp_path, "other", files={"other.py": ""})
    result = install(
        environment,
        wheel,
        str(other),
        f"--link-mode={mode}",
        f"--link-store={store}",
    )
    assert result.stderr == (
        f"WARNING: pip-linkmode: the store {store} {reason}; set --link-store "
        "(PIP_LINK_STORE) to a directory of your own\n"
    )
    assert installed_mode(environment) == "copy"
    assert "inked" not in result.stdout
    if spoil is writable_for_others:
        assert list(store.iterdir()) == []


def test_symlinks_without_a_store_are_refused_with_the_reason(
    environment: Environment, wheel: Path
) -> None:
    result = install(environment, wheel, "--no-cache-dir", "--link-mode=symlink")
    assert result.stderr == (
        "WARNING: pip-linkmode: nothing linked: there is no cache directory; "
        "set --link-store\n"
    )
    assert installed_mode(environment) == "copy"
    result = install(environment, wheel, "--no-cache-dir")
    assert result.stderr == ""
    line = "pip-linkmode: nothing linked: there is no cache directory; set --link-store"
    assert result.stdout.splitlines().count(line) == 1


def test_symlinks_to_another_file_system_dangle_while_it_is_away(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    """As those into the cache mount of a container build do, once it is built."""
    here = tmp_path.stat().st_dev
    found = [
        place
        for place in (Path("/dev/shm"), Path("/var/tmp"), Path("/tmp"))
        if os.access(place, os.W_OK) and place.stat().st_dev != here
    ]
    if not found:
        pytest.skip("needs two file systems")
    store = Path(tempfile.mkdtemp(prefix="pip-linkmode-", dir=found[0]))
    try:
        for mode in ("symlink", "copy"):
            result = install(
                environment, wheel, f"--link-mode={mode}", f"--link-store={store}"
            )
            assert installed_mode(environment) == mode
            told = f"; the links dangle while {store} (" in result.stdout
            assert told is (mode == "symlink")
    finally:
        shutil.rmtree(store)
    near = f"--link-store={tmp_path / 'store'}"
    result = install(environment, wheel, "--link-mode=symlink", near)
    assert "the links dangle" not in result.stdout


def test_symlinks_that_would_dangle_are_hard_links(
    environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    temporary = environment.private / "tmp" / "store"
    result = install(
        environment, wheel, "--link-mode=symlink", f"--link-store={temporary}"
    )
    assert "symlinks would dangle: the store" in result.stderr
    assert installed_mode(environment) == "hardlink"
    result = environment.pip(
        *("install", "--no-index", "--ignore-installed", str(wheel)),
        *("--root", str(tmp_path / "root")),
        *("--link-mode=symlink", f"--link-store={tmp_path / 'store'}"),
    )
    assert "--root stages files for another root" in result.stdout
    # pip's own tests of --root demand it (tests/functional/test_install.py,
    # test_install_package_with_root).
    assert result.stderr == ""
    assert not any(path.is_symlink() for path in (tmp_path / "root").rglob("*"))


def test_a_corrupt_zip_gets_pips_own_answer_and_no_entry(
    bed: Bed, environment: Environment, wheel: Path, tmp_path: Path
) -> None:
    checksum = zlib.crc32(b"x" * 5000).to_bytes(4, "little")
    data = wheel.read_bytes()
    assert data.count(checksum) == 2
    wheel.write_bytes(data.replace(checksum, b"\xff\xff\xff\xff"))
    stock = bed.environment(tmp_path / "stock", shim=False)
    expected = install(stock, wheel, check=False)
    store = tmp_path / "store"
    result = install(environment, wheel, f"--link-store={store}", check=False)
    assert result.returncode == expected.returncode != 0
    assert result.stderr.splitlines()[-1:] == expected.stderr.splitlines()[-1:]
    assert not list((store / "v1").glob("wheels/*/*"))
    assert not list((store / "v1" / "staging").iterdir())


# --- what it saves --------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_the_second_installation_writes_less_than_two_percent_of_pips(
    bed: Bed, tmp_path: Path, mode: str
) -> None:
    """By blocks on disk of files that are not links."""
    wheels = [wheel for trait in TRAITS.values() for wheel in trait(tmp_path)]
    # Real wheels weigh more than their metadata: the hand-made ones get a heavy one.
    bulk = {f"bulk/part_{n}.bin": bytes([n]) * (1 << 20) for n in range(50)}
    wheels.append(make_wheel(tmp_path, "bulk", files=bulk))
    environments = [
        bed.environment(tmp_path / name, shim=name != "stock")
        for name in ("stock", "first", "second")
    ]
    written = []
    for environment in environments:
        before = blocks(environment.path)
        env = {"PIP_LINK_MODE": mode, "PIP_LINK_STORE": str(tmp_path / "store")}
        environment.pip("install", "--no-index", *map(str, wheels), env=env)
        written.append(blocks(environment.path) - before)
    stock, _, second = written
    print(f"{mode}: stock pip writes {stock:,} bytes, the second install {second:,}")
    assert second < 0.02 * stock
