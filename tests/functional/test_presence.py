"""How we come, stay and go without being noticed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.store.store import Store
from tests.support.environments import NEWEST, OLDEST
from tests.support.wheels import TRAITS, make_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.environments import Bed


@pytest.mark.parametrize("pip", ["26.1.2", "26.2.1", "26.3"])
def test_nothing_is_imported_once_pip_installs(
    bed: Bed, tmp_path: Path, pip: str
) -> None:
    """pip 26.1 and 26.2 warn of it, pip 26.3 ends the installation."""
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    wheels = [str(wheel) for trait in TRAITS.values() for wheel in trait(tmp_path)]
    for mode in ("clone", "hardlink", "symlink", "copy"):
        for verbosity in ("-q", "-vvv"):
            result = environment.pip(
                *("install", "--no-index", "--force-reinstall", verbosity, *wheels),
                *(f"--link-mode={mode}", f"--link-store={tmp_path / mode}"),
            )
            output = result.stdout + result.stderr
            for word in ("Blocked import", "Unexpected import", "nsafe import"):
                assert word not in output


def test_uninstalling_removes_everything(bed: Bed, tmp_path: Path) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    environment.pip("uninstall", "--yes", "pip-linkmode")
    assert not list(environment.site_packages.glob("pip_linkmode*"))
    assert environment.pip("list").stderr == ""
    result = environment.pip("install", "--link-mode=copy", "x", check=False)
    assert "no such option: --link-mode" in result.stderr
    # Without us pip ignores the variable.
    wheel = str(make_wheel(tmp_path, "pkg", files={"pkg.py": ""}))
    environment.pip("install", "--no-index", wheel, env={"PIP_LINK_MODE": "symlink"})


@pytest.mark.parametrize(
    "lost",
    ["pip_linkmode", "pip_linkmode/_bootstrap.py", "pip_linkmode/hooks/options.py"],
)
def test_what_an_incomplete_removal_leaves_says_nothing(
    bed: Bed, tmp_path: Path, lost: str
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    path = environment.site_packages / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    for pyc in environment.site_packages.glob(f"pip_linkmode/**/{path.stem}.*.pyc"):
        pyc.unlink()
    started = environment.run("-c", "import sys")
    assert (started.stdout, started.stderr) == ("", "")
    wheel = str(make_wheel(tmp_path, "pkg", files={"pkg.py": ""}))
    result = environment.pip("install", "--no-index", wheel)
    assert result.stderr == ""
    assert "Successfully installed pkg-1.0" in result.stdout


@pytest.mark.parametrize("missing", ["wrapt", "packaging"])
def test_a_missing_dependency_is_named_once_and_pip_works(
    bed: Bed, tmp_path: Path, missing: str
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    environment.pip("uninstall", "--yes", missing)
    wheels = [
        str(make_wheel(tmp_path, name, files={f"{name}.py": ""})) for name in ("a", "b")
    ]
    result = environment.pip("install", "--no-index", *wheels)
    assert result.stderr == (
        f"WARNING: pip-linkmode is inactive: {missing} is not installed. "
        f"Run: pip install {missing}\n"
    )
    assert "Successfully installed a-1.0 b-1.0" in result.stdout


def test_a_broken_installation_of_ours_never_breaks_pip(
    bed: Bed, tmp_path: Path
) -> None:
    environment = bed.environment(tmp_path / "environment", shim=True)
    module = environment.site_packages / "pip_linkmode" / "hooks" / "install_wheel.py"
    module.write_text("raise ValueError('broken')\n")
    wheel = str(make_wheel(tmp_path, "pkg", files={"pkg.py": ""}))
    result = environment.pip("install", "--no-index", wheel)
    assert result.stderr == ("WARNING: pip-linkmode is inactive: ValueError: broken\n")
    assert "Successfully installed pkg-1.0" in result.stdout


_NEVER_AGAIN = """\
import sys
from pip_linkmode.prepare import preparer
preparer.file_digest = None
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("pip", [NEWEST, "25.3", OLDEST])
@pytest.mark.parametrize("required", [False, True])
def test_what_pip_has_hashed_is_not_hashed_again(
    bed: Bed, tmp_path: Path, pip: str, required: bool
) -> None:
    wheel = make_wheel(tmp_path, "pkg", files={"pkg.py": "x = 1\n"})
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    line = f"pkg @ {wheel.as_uri()}" + f" --hash=sha256:{digest}" * required
    (tmp_path / "requirements.txt").write_text(line)
    environment = bed.environment(tmp_path / "environment", shim=True, pip=pip)
    arguments = ("install", "--no-index", "-r", tmp_path / "requirements.txt")
    result = environment.run("-c", _NEVER_AGAIN, *arguments)
    assert "1 unpacked for the first time" in result.stdout


def session_of(pid: int) -> int | None:
    """Return the session of a process (proc_pid_stat(5)), if it is alive."""
    try:
        state, _, _, session = (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
        )
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(session)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_who_is_interrupted_leaves_no_process_behind(
    bed: Bed, tmp_path: Path, number: signal.Signals
) -> None:
    text = "".join(f"def f{n}(x):\n    return [x, {n}]\n" for n in range(3000))
    files: dict[str, bytes | str] = {f"pkg/m{n}.py": text for n in range(60)}
    wheel = make_wheel(tmp_path, "pkg", files=files)
    environment = bed.environment(tmp_path / "environment", shim=True)
    command = [str(environment.python), "-m", "pip", "install", "--no-index"]
    process = subprocess.Popen(
        [*command, str(wheel)],
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, "TMPDIR": str(tmp_path)}
        | {"PIP_LINK_STORE": str(tmp_path / "store"), "PIP_LINK_MODE": "hardlink"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def others() -> list[int]:
        pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
        return [p for p in pids if p != process.pid and session_of(p) == process.pid]

    def wait_until(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    # A compiled file is there: the workers are in the middle of it.
    wait_until(lambda: any((tmp_path / "store").rglob("*.pyc")))
    assert others()
    process.send_signal(number)
    process.wait()
    wait_until(lambda: not others())
    # What was unpacked by then is whole.
    store = Store.open(str(tmp_path / "store"))
    for path in store.entries():
        entry = store.entry(os.path.basename(path))
        assert entry is not None
        entry.check()
