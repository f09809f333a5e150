"""The table: which chain each file gets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pip_linkmode.link import placement
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.placement import LARGE, SYMLINK_RULES, Place, by_chain
from pip_linkmode.link.primitives import Link

if TYPE_CHECKING:
    from pathlib import Path

SYMLINK, BYTECODE, PLAIN = "symlink", "hardlink_or_symlink", "no_symlink"
STATE = "no_shared_inode"


class Bench:
    """A directory of a scheme, and the files that are linked to it."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.linker = Linker()

    def chain(
        self,
        path: str,
        *,
        mode: str = "symlink",
        project: str = "package",
        size: int = 10,
        bits: int = 0o644,
    ) -> str:
        target = os.path.join(self.root, path)
        link = Link(f"/store/{path}", target, size, 0, bits, bits)
        groups = by_chain(
            [Place(self.root, link, path)],
            project=project,
            site_packages=self.root,
            mode=mode,
            linker=self.linker,
        )
        (((chain, target_root), links),) = groups.items()
        assert (target_root, links) == (self.root, [link])
        return chain


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    ("path", "chain"),
    [
        # Directly in site-packages.
        ("single.py", PLAIN),
        ("_extension.so", PLAIN),
        # Sources, stubs, shared libraries; wherever they are.
        ("package/module.py", SYMLINK),
        ("package/module.pyi", SYMLINK),
        ("package/static/server.py", SYMLINK),
        ("package/_c.cpython-311-x86_64-linux-gnu.so", SYMLINK),
        ("package/lib/libcublas.so.12", SYMLINK),
        ("package.libs/libgfortran-040039e1.so.5.0.0", SYMLINK),
        ("package/_c.pyd", SYMLINK),
        ("package/libx.DLL", SYMLINK),
        ("package/libx.dylib", SYMLINK),
        # Not shared libraries.
        ("package/soup.sox", PLAIN),
        ("package/x.so.txt", PLAIN),
        # Bytecode.
        ("package/__pycache__/module.cpython-311.pyc", BYTECODE),
        ("package/module.pyc", BYTECODE),
        # Everything else that is small.
        ("package/data", PLAIN),
        ("package/py.typed", PLAIN),
        ("package/locale/de/LC_MESSAGES/package.mo", PLAIN),
        ("package-1.0.dist-info/licenses/LICENSE", PLAIN),
        ("package-1.0.data/headers/package.h", PLAIN),
        ("package-1.0.data/data/share/jupyter/kernel.json", PLAIN),
    ],
)
def test_kind_of_a_small_file(bench: Bench, path: str, chain: str) -> None:
    assert bench.chain(path) == chain


@pytest.mark.parametrize("size", [LARGE - 1, LARGE, 1 << 40])
@pytest.mark.parametrize(
    "path",
    [
        *("package/app.js", "package/app.JS", "package/app.min.js.map"),
        *("package/app.js.gz", "package/app.css.br", "package/types.d.ts"),
        *("package/index.html", "package/x.svg", "package/x.woff2", "package/x.mp4"),
        *("package/x.mp3", "package/x.png", "package/x.json", "package/x.wasm"),
        *("package/manual.pdf", "package/static/model.bin"),
        *("package/Static/model.bin", "package/assets/a/b/c", "package/www/x"),
        *("package/public/x", "package/dist/x", "package/labextension/x"),
        *("package/labextensions/x", "package/nbextension/x", "package/share/x"),
        "package-1.0.data/data/share/jupyter/labextensions/x/model.bin",
    ],
)
def test_served_files_are_never_symlinks(bench: Bench, path: str, size: int) -> None:
    assert bench.chain(path, size=size) == PLAIN
    assert bench.chain(path, size=size, bits=0o755) == PLAIN


@pytest.mark.parametrize(
    "path",
    [
        "package/model.bin",
        "package/model.bin.gz",
        "package/statics/model.bin",
        "package/static",
        "package/distant/model.bin",
    ],
)
def test_large_file_that_is_not_served_is_a_symlink(bench: Bench, path: str) -> None:
    assert bench.chain(path, size=LARGE) == SYMLINK
    assert bench.chain(path, size=LARGE - 1) == PLAIN


def test_executable_is_hardlinked_if_possible(bench: Bench) -> None:
    for size in (10, LARGE):
        assert bench.chain("torch/bin/protoc", bits=0o755, size=size) == BYTECODE
        # A library that is marked executable is found by its loader.
        assert bench.chain("torch/lib/x.so", bits=0o755, size=size) == SYMLINK


@pytest.mark.parametrize("project", ["pip", "pip-linkmode", "wrapt", "packaging"])
def test_projects_that_repair_get_no_symlinks(bench: Bench, project: str) -> None:
    assert bench.chain("package/module.py", project=project) == PLAIN
    assert bench.chain("package/model.bin", project=project, size=LARGE) == PLAIN


@pytest.mark.parametrize("mode", ["auto", "clone", "hardlink", "copy"])
def test_other_modes_have_one_chain_for_all(bench: Bench, mode: str) -> None:
    for path in ("single.py", "package/x.js", "package/x.so", "package/x.pyc", "data"):
        assert bench.chain(path, mode=mode) == mode


@pytest.mark.parametrize("mode", ["auto", "clone", "hardlink", "symlink", "no_symlink"])
@pytest.mark.parametrize(
    ("path", "is_state"),
    [
        ("package-1.0.data/data/etc/jupyter/jupyter_server_config.d/x.json", True),
        ("package-1.0.data/data/etc/package.py", True),
        ("package-1.0.data/data/etc/package.pyc", True),
        ("package/etc/config.json", False),
        ("etc/config.json", False),
        ("package-1.0.data/data/share/etc/x.json", False),
        ("package-1.0.data/purelib/etc/x.json", False),
        ("package/package-1.0.data/data/etc/x.json", False),
    ],
)
def test_configuration_has_an_inode_of_its_own(
    bench: Bench, path: str, mode: str, is_state: bool
) -> None:
    assert (bench.chain(path, mode=mode) == STATE) == is_state
    assert (bench.chain(path, mode=mode, project="pip") == STATE) == is_state


def test_copies_are_not_cloned(bench: Bench) -> None:
    assert bench.chain("package-1.0.data/data/etc/x", mode="copy") == "copy"


def test_directory_that_gives_its_files_a_group_shares_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "why_not_shared", lambda _: "a group of its own")
    assert bench.chain("package/module.py") == STATE
    assert bench.linker.exceptions == {"a group of its own": 1}
    assert bench.chain("package/module.py", mode="copy") == "copy"


def test_table_ends_with_a_row_for_all() -> None:
    link = Link("", "", 0, 0, 0, 0)
    assert SYMLINK_RULES[-1].applies("", link)
    assert {rule.chain for rule in SYMLINK_RULES} <= CHAINS.keys()
