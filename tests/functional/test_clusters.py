"""What the examples give an administrator: manifests, and scripts for batches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.environments import CHECKOUT, run_outside
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.environments import Bed

EXAMPLES = CHECKOUT / "examples"
SCRIPTS = sorted((EXAMPLES / "slurm").glob("*.sh"))
MANIFESTS = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))


def documents(manifest: Path) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(manifest.read_text(encoding="utf-8")))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_manifest_is_one_that_kubernetes_takes(manifest: Path) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    version = validator.latest_version()
    for document in documents(manifest):
        validator.validate(document, version, strict=True)
    broken = documents(manifest)[-1]
    broken["spec"]["template"]["spec"]["containers"][0]["image"] = 3
    with pytest.raises(validator.ValidationError):
        validator.validate(broken, version, strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_pods_see_the_store_read_only_where_pip_is_told_it_is(manifest: Path) -> None:
    (pod,) = (
        document["spec"]["template"]["spec"]
        for document in documents(manifest)
        if document["kind"] == "Deployment"
    )
    (setting,) = (
        variable["value"]
        for variable in pod["initContainers"][0]["env"]
        if variable["name"] == "PIP_LINK_STORE"
    )
    for container in (*pod["initContainers"], *pod["containers"]):
        (mount,) = (one for one in container["volumeMounts"] if one["name"] == "wheels")
        # Not the root of the volume: that may be anybody's to write to.
        assert setting.startswith(f"{mount['mountPath']}/")
        assert mount["readOnly"]
    (job,) = (one for one in documents(manifest) if one["kind"] == "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert f"--link-store {setting} " in container["command"][-1]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_what_job_and_pods_do_works(bed: Bed, tmp_path: Path, manifest: Path) -> None:
    """Their scripts are run, in other places."""
    make_wheel(
        tmp_path / "index", "pandas", files={"pandas.py": "", "pd/a.py": "A = 1\n"}
    )
    make_wheel(tmp_path / "index", "requests", files={"requests.py": ""})
    node = bed.environment(tmp_path / "node", shim=True)
    texts = {}
    for document in documents(manifest):
        if document["kind"] == "ConfigMap":
            text = document["data"]["requirements.txt"]
            (tmp_path / "requirements.txt").write_text(text)
        elif document["kind"] in ("Job", "Deployment"):
            pod = document["spec"]["template"]["spec"]
            one = pod.get("initContainers", pod["containers"])[0]
            texts[document["kind"]] = one["command"][-1]
    places: dict[str, object] = {
        # Environments of the test bed are copies: their scripts are another's.
        "pip-linkmode fill": "python -m pip_linkmode fill",
        "pip --python": "python -m pip --python",
        "pip wheel": "python -m pip wheel",
        "/opt/wheels": tmp_path / "volume",
        "/etc/requirements": tmp_path,
        "/environment": tmp_path / "pod",
        "/tmp/wheelhouse": tmp_path / "wheelhouse",
    }
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume").chmod(0o777)
    variables = {
        **node._variables(tmp_path / "home"),
        "PATH": os.pathsep.join((str(node.scripts), os.environ["PATH"])),
    }
    said = {}
    for kind, more in (
        ("Job", {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "index")}),
        (
            "Deployment",
            {
                "PIP_LINK_MODE": "symlink",
                "PIP_LINK_STORE": str(tmp_path / "volume" / "store"),
            },
        ),
    ):
        script = texts[kind]
        for place, here in places.items():
            script = script.replace(place, str(here))
        done = subprocess.run(
            ["sh", "-ec", script],
            check=False,
            capture_output=True,
            text=True,
            env={**variables, **more},
            umask=0o077,
        )
        assert done.returncode == 0, done.stderr
        said[kind] = done.stdout
    assert "by symlink" in said["Deployment"]
    assert next((tmp_path / "pod").rglob("pd/a.py")).is_symlink()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_sound(script: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("needs shellcheck")
    result = subprocess.run(
        ["shellcheck", script], check=False, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_job_runs_in_an_environment_of_links(bed: Bed, tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"pkg/__init__.py": "", "pkg/part.py": "PART = 1\n"}
    make_wheel(tmp_path / "wheels", "pkg", files=files)
    (tmp_path / "requirements.txt").write_text("pkg\n")
    program = tmp_path / "program.py"
    program.write_text("import os, pkg.part as p; print(os.path.realpath(p.__file__))")
    node = bed.environment(tmp_path / "node", shim=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    variables = {
        **node._variables(tmp_path / "home"),
        "PATH": os.pathsep.join((str(node.scripts), os.environ["PATH"])),
        "PIP_NO_CACHE_DIR": "1",
        "SLURM_TMPDIR": str(scratch),
    }

    def run(script: str, *arguments: Path, **more: str) -> str:
        return subprocess.run(
            [EXAMPLES / "slurm" / script, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env={**variables, **more},
        ).stdout

    place, requirements = tmp_path / "shared", tmp_path / "requirements.txt"
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    assert "Unpacked 1 wheel" in run("fill.sh", place, requirements, **index)
    shutil.rmtree(tmp_path / "wheels")
    for umask in (0o022, 0o027):
        os.umask(umask)
        said = run("job.sh", place, requirements, program)
        assert said.startswith(str(place / "store"))
    assert not list(scratch.iterdir())


def test_environments_of_custom_nodes_share_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_packages = os.urandom(5 << 20)
    big: dict[str, bytes | str] = {"torch/__init__.py": "", "torch/lib": site_packages}
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "torch-of-this-test", files=big)
    files = [tmp_path / f"{name}.txt" for name in ("one", "another")]
    for file in files:
        make_wheel(wheels, f"node-{file.stem}", files={f"{file.stem}.py": ""})
        file.write_text(f"torch-of-this-test\nnode-{file.stem}\n")
    links = f"{os.environ.get('PIP_FIND_LINKS', '')} {wheels}"
    monkeypatch.setenv("PIP_FIND_LINKS", links)
    example = EXAMPLES / "comfyui" / "environments.py"
    work = ("--directory", tmp_path / "work")
    said = run_outside(sys.executable, example, *work, *files)
    spent, without = (
        float(re.search(rf"^{word} +([\d.]+) MB", said, re.MULTILINE)[1])  # type: ignore[index]  # or it fails
        for word in ("Spent", "Without links")
    )
    assert without > 10
    assert spent < 0.6 * without
