"""Source projects that build without any requirement, in no time."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_BACKEND = '''\
"""A PEP 517 backend for one module."""
import base64, hashlib, os, zipfile

NAME, VERSION = {name!r}, {version!r}
INFO = f"{{NAME}}-{{VERSION}}.dist-info"


def _wheel(directory, files):
    files = dict(files)
    files[f"{{INFO}}/METADATA"] = (
        f"Metadata-Version: 2.1\\nName: {{NAME}}\\nVersion: {{VERSION}}\\n"
    )
    files[f"{{INFO}}/WHEEL"] = (
        "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\n"
        "Tag: py3-none-any\\n"
    )
    rows = []
    for path, text in files.items():
        digest = hashlib.sha256(text.encode()).digest()
        value = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        rows.append(f"{{path}},sha256={{value}},{{len(text.encode())}}\\n")
    files[f"{{INFO}}/RECORD"] = "".join(rows) + f"{{INFO}}/RECORD,,\\n"
    name = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    {check}
    with open(f"{{NAME}}.py") as module:
        return _wheel(wheel_directory, {{f"{{NAME}}.py": module.read()}})


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {{f"__editable__{{NAME}}.pth": os.getcwd() + "\\n"}})
'''


def make_project(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: str = "",
    check: str = "pass",
) -> Path:
    """Write a source project of one module and return its directory.

    :param requires: the build requirements, as a TOML list has them
    :param check: a Python statement that the backend executes when it builds
    """
    project = directory / name
    project.mkdir(parents=True)
    (project / f"{name}.py").write_text(f"version = {version!r}\n")
    backend = _BACKEND.format(name=name, version=version, check=check)
    (project / "backend.py").write_text(backend)
    (project / "pyproject.toml").write_text(
        f"[build-system]\nrequires = [{requires}]\n"
        'build-backend = "backend"\nbackend-path = ["."]\n'
    )
    return project


def make_sdist(project: Path, version: str = "1.0") -> Path:
    """Pack a project into an sdist beside it."""
    stem = f"{project.name}-{version}"
    sdist = project.with_name(f"{stem}.tar.gz")
    info = f"Metadata-Version: 2.1\nName: {project.name}\nVersion: {version}\n"
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(project, arcname=stem)
        member = tarfile.TarInfo(f"{stem}/PKG-INFO")
        member.size = len(info)
        archive.addfile(member, io.BytesIO(info.encode()))
    return sdist
