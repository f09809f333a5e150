"""File systems to test on, made by root and gone afterwards.

The tests make their own, in a mount namespace that nobody else sees and that the kernel
takes away with their last process, whatever ends it.  Somebody who is not root is given
them by ``sudo python3 -m tests.filesystem.mounts up DIRECTORY``, which prints the
variables that tell the tests where they are, and takes them away by ``down``.

Needs ``mkfs.btrfs``, ``mkfs.xfs`` and ``mksquashfs`` (btrfs-progs, xfsprogs and
squashfs-tools on Debian).  Only the standard library is used.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shlex
import shutil
import subprocess
from pathlib import Path

from pip_linkmode.files import current_umask
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.store.store import Store
from tests.support.wheels import make_wheel

PREFIX = "PIP_LINKMODE_TEST_"
_CLONE_NEWNS = 0x00020000
_FILES = 96
_FILE_SIZE = 64 << 10

WRITABLE = {
    "ext4": "ext4",
    "xfs": "xfs",
    "xfs_bind": "the same xfs, through a bind mount",
    "xfs_plain": "xfs without reflinks",
    "btrfs": "btrfs",
    "btrfs_subvolume": "a subvolume of the same btrfs",
    "tmpfs": "tmpfs",
    "overlay": "overlayfs on ext4",
    "overlay_xfs": "overlayfs on xfs",
}
"""File systems by name, with what the documentation calls them."""

PUBLISHED = {
    "overlay_lower": "the lower layer of that overlayfs on ext4",
    "overlay_xfs_lower": "the lower layer of that overlayfs on xfs",
    "readonly": "a read-only bind mount of ext4",
    "squashfs": "squashfs",
}
"""Directories that hold what :func:`publish` makes, before they are mounted."""

NAMES = (*WRITABLE, *PUBLISHED)


def variable(name: str) -> str:
    """Return the environment variable that says where a file system is."""
    return PREFIX + name.upper()


def enter_private_namespace() -> None:
    """Let what this process mounts from now on be seen by its children only.

    :raises PermissionError: if it may not mount at all
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    run("mount", "--make-rslave", "/")


def run(*command: str | Path) -> None:
    """Run a program of the system; what it says is in the error, if it fails."""
    result = subprocess.run(
        command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if result.returncode:
        said = f"{result.stdout}{result.stderr}"
        message = f"{shlex.join(map(str, command))}: {result.returncode}\n{said}"
        raise RuntimeError(message)


def mount_tmpfs(path: Path, *options: str) -> Path:
    """Mount a small file system in memory.

    :param options: such as ``size=1m``
    """
    path.mkdir(parents=True, exist_ok=True)
    chosen = ",".join(("mode=1777", *options))
    run("mount", "-t", "tmpfs", "-o", chosen, "none", path)
    return path


def mount_loop(path: Path, *mkfs: str, size: str = "1G", options: str = "loop") -> Path:
    """Make a file system in a sparse file that goes when it is unmounted.

    :param mkfs: a program and its options
    :param options: of mount
    """
    path.mkdir(parents=True, exist_ok=True)
    image = path.with_suffix(".img")
    run("truncate", "-s", size, image)
    run(*mkfs, image)
    run("mount", "-o", options, image, path)
    image.unlink()  # The loop device holds it.
    path.chmod(0o1777)
    return path


def mount_overlay(path: Path, below: Path) -> Path:
    """Mount a file system whose lower layer holds what was published.

    :param below: on the file system of both layers; has the directory ``lower``
    """
    for directory in (path, below / "upper", below / "work"):
        directory.mkdir()
    layers = [f"{name}dir={below / name}" for name in ("lower", "upper", "work")]
    run("mount", "-t", "overlay", "-o", ",".join(layers), "overlay", path)
    path.chmod(0o1777)
    return path


def unmount(path: Path) -> None:
    """Unmount a tree, also while somebody still has a file open there."""
    run("umount", "--recursive", "--lazy", path)


def published_wheel(directory: Path) -> Path:
    """Make the wheel that is in all published stores; always the same one."""
    return make_wheel(
        directory,
        "pkg",
        files={
            "pkg/__init__.py": "def main() -> None:\n    print('main')\n",
            "pkg/module.py": "".join(f"value_{n} = {n}\n" for n in range(900)),
            "pkg/data.bin": random.Random(0).randbytes(_FILE_SIZE),
            "pkg/tool": "#!/bin/sh\n" + "# a tool\n" * 900,
            "pkg/empty": "",
            "pkg-1.0.data/data/share/pkg/table.csv": "a,b\n" * 3000,
        },
        executable=["pkg/tool"],
        entry_points="[console_scripts]\npkg = pkg:main\n",
    )


def publish(directory: Path) -> None:
    """Make what a read-only file system is to hold: a store, and files to link."""
    (directory / "files").mkdir(parents=True)
    for number in range(_FILES):
        content = random.Random(number).randbytes(_FILE_SIZE)
        (directory / "files" / str(number)).write_bytes(content)
    fill(directory / "store", published_wheel(directory / "wheels"))


def fill(root: Path, *wheels: Path) -> None:
    """Unpack and compile some wheels into a store."""
    store = Store.open(str(root))
    preparer = Preparer([store], umask=current_umask(), pycompile=True, count=1)
    try:
        for wheel in wheels:
            preparer.prepare(str(wheel))
    finally:
        preparer.stop()


def make(root: Path) -> dict[str, Path]:
    """Mount everything below one directory.

    :returns: where each of :data:`NAMES` is
    """
    before = os.umask(0o022)
    try:
        return _make(root)
    finally:
        os.umask(before)


def _make(root: Path) -> dict[str, Path]:
    run("mount", "-t", "tmpfs", "-o", "mode=755", "none", root)
    found = {
        "ext4": mount_loop(root / "ext4", "mkfs.ext4", "-q", "-F"),
        "xfs": mount_loop(root / "xfs", "mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
        "xfs_plain": mount_loop(
            root / "xfs_plain", "mkfs.xfs", "-q", "-f", "-m", "reflink=0"
        ),
        # What is small enough is kept in the metadata, where it is not shared.
        "btrfs": mount_loop(
            root / "btrfs", "mkfs.btrfs", "-q", "-f", options="loop,max_inline=0"
        ),
        "tmpfs": mount_tmpfs(root / "tmpfs", "size=1g"),
    }
    bind = root / "xfs_bind"
    bind.mkdir()
    run("mount", "--bind", found["xfs"], bind)
    subvolume = found["btrfs"] / "subvolume"
    run("btrfs", "subvolume", "create", subvolume)
    subvolume.chmod(0o1777)
    found |= {"xfs_bind": bind, "btrfs_subvolume": subvolume}

    published = root / "published"
    publish(published)
    for name, below in (("overlay", "ext4"), ("overlay_xfs", "xfs")):
        layers = found[below] / name
        shutil.copytree(published, layers / "lower")
        found[name] = mount_overlay(root / name, layers)
        found[f"{name}_lower"] = found[name]
    readonly = root / "readonly"
    readonly.mkdir()
    shutil.copytree(published, found["ext4"] / "published")
    run("mount", "-o", "bind,ro", found["ext4"] / "published", readonly)
    image, squashfs = root / "squashfs.img", root / "squashfs"
    squashfs.mkdir()
    run("mksquashfs", published, image, "-noappend", "-quiet", "-no-progress")
    run("mount", "-o", "loop,ro", image, squashfs)
    image.unlink()
    shutil.rmtree(published)
    # Clones of what was never written out are slow.
    run("sync", "-f", found["xfs"], found["btrfs"])
    return found | {"readonly": readonly, "squashfs": squashfs}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    root: Path = options.directory.resolve()
    if options.action == "down":
        unmount(root)
        root.rmdir()
        return
    root.mkdir(parents=True, exist_ok=True)
    try:
        found = make(root)
    except BaseException:
        subprocess.run(["umount", "--recursive", "--lazy", root], check=False)
        raise
    for name, path in found.items():
        print(f"export {variable(name)}={shlex.quote(str(path))}")


if __name__ == "__main__":
    main()
