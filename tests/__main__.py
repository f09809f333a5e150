"""Set up and run everything that has to hold: ``python3 -m tests [pytest arguments]``.

``python3 -m tests --lint`` stops before the tests.

Makes ``.venv`` in the checkout, installs the development dependencies, and runs the
linter, the type checker and all tests.  Without arguments for pytest, branch coverage
is measured too; but of the unit tests alone, which have to have all of it, because it
makes each of thousands of pips slower.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
ENVIRONMENT = CHECKOUT / ".venv"
SCRIPTS = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
COVERAGE = ENVIRONMENT / "coverage"
MEASURED = "tests/unit"
LEAST_COVERED = 100


def run(program: str, *arguments: str, **variables: str) -> bool:
    """Run a program of the environment and return whether it succeeded."""
    print(f"+ {program} {' '.join(arguments)}", flush=True)
    command = [str(SCRIPTS / program), *arguments]
    env = {**os.environ, **variables}
    return subprocess.run(command, check=False, cwd=CHECKOUT, env=env).returncode == 0


def main(arguments: list[str]) -> int:
    """Run all checks; go on after a failure, so that all failures are seen."""
    if not ENVIRONMENT.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    # Dependency groups are read by pip 25.1 and newer.
    pip = ("-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    ready = run("python", *pip, "--upgrade", "pip") and run(
        "python", *pip, "--group", "dev"
    )
    if not ready:
        return 1
    passed = [
        run("ruff", "check", "."),
        run("ruff", "format", "--check", "."),
        run("mypy"),
    ]
    # At the end a worker takes tests from another one, which may have the long ones.
    workers = ("-n", str(os.cpu_count() or 1), "--dist", "worksteal")
    if arguments == ["--lint"]:
        pass
    elif arguments:
        passed.append(run("pytest", *workers, *arguments))
    else:
        shutil.rmtree(COVERAGE, ignore_errors=True)
        COVERAGE.mkdir()
        data = {"COVERAGE_FILE": str(COVERAGE / "data")}
        passed += [
            run("pytest", *workers, f"--ignore={MEASURED}"),
            run("coverage", "run", "-m", "pytest", *workers, MEASURED, **data),
            run("coverage", "combine", "--quiet", **data),
            run("coverage", "report", f"--fail-under={LEAST_COVERED}", **data),
        ]
    print("all checks passed" if all(passed) else "not all checks passed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
