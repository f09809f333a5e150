"""Link one file to another: four primitives, and what to do when one is refused.

A *mode* is a chain of primitives, tried in order:

========  ==========================
auto      clone → hardlink → copy
clone     clone → hardlink → copy
hardlink  hardlink → copy
symlink   symlink → copy
private   hardlink → copy
own       clone → copy
copy      copy
========  ==========================

The first real link from a store to an *area* (a directory tree that is being filled)
decides: a primitive that is refused before it ever worked there is given up for that
area.  Whether two paths can be linked is never guessed from names or device numbers;
bind mounts have equal device numbers and refuse, btrfs subvolumes have different ones
and can clone.  A primitive that has worked is given up only for the one file that is
refused (the link limit of a file, a source of another owner, a mount inside the area).
Errors that no other primitive could help (no space, I/O) are raised as they are.

All differences between operating systems are here.  Cloning is ``FICLONE`` on Linux
(:manpage:`ioctl_ficlonerange(2)`), ``clonefile(2)`` on macOS and ``CopyFile2`` on
Windows volumes that share blocks; the latter two were not run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import struct
import sys
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

if sys.platform == "linux":
    import fcntl
elif sys.platform == "darwin":
    import ctypes

    _libc = ctypes.CDLL(None, use_errno=True)
elif sys.platform == "win32":
    import _winapi
    import ctypes

CHAINS = {
    "auto": ("clone", "hardlink", "copy"),
    "clone": ("clone", "hardlink", "copy"),
    "hardlink": ("hardlink", "copy"),
    "symlink": ("symlink", "copy"),
    "private": ("hardlink", "copy"),
    "own": ("clone", "copy"),
    "copy": ("copy",),
}

REFUSED = frozenset(
    {
        errno.EXDEV,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EPERM,
        errno.EACCES,
        errno.EMLINK,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
    }
)
"""Errors that mean "not in this way", for which the next primitive may work."""

TEMPORARY = ".pip-linkmode-"
"""How the names of our files begin that are not to stay."""

_FICLONE = 0x40049409
_FIEMAP = 0xC020660B
_FIEMAP_SYNC = 0x1
_FIEMAP_HEADER, _FIEMAP_EXTENT = struct.Struct("=QQIIII"), struct.Struct("=QQQQQIIII")
_FIEMAP_COUNT = 64
_LAST, _UNKNOWN, _ENCODED, _INLINE, _SHARED = 0x1, 0x6, 0x8, 0x200, 0x2000
_BY_DESCRIPTOR = {os.chmod, os.utime} <= os.supports_fd
"""Whether a file is given mode and time without its path: not on Windows.

By path, root would follow a link that the directory's owner has put there meanwhile.
"""
_CARRIED = ("security.capability", "system.posix_acl_access", "user.")
"""Attributes that somebody has given to one file (:manpage:`xattr(7)`)."""
_CLONING = frozenset({"btrfs", "xfs", "bcachefs", "ocfs2", "overlay"})
_SIMPLE = frozenset({"ext2", "ext3", "ext4", "btrfs", "xfs", "tmpfs", "f2fs"})
_FILE_SUPPORTS_BLOCK_REFCOUNTING = 0x08000000


class Link(NamedTuple):
    """One file to be linked."""

    source: str
    """Absolute path in the store."""
    target: str
    """Absolute path to be created; whatever is there is replaced."""
    size: int
    """Bytes."""
    mtime_ns: int
    """Modification time of the source, which every target gets, in ns."""
    mode: int
    """Permission bits of the source."""
    wanted: int
    """Permission bits that pip would give the target under the current umask."""


def _create(link: Link, fill: Callable[[int], None]) -> None:
    """Create the target with pip's permissions, fill it, and give it the mtime.

    The mode comes from the umask and a directory's default ACL, as in pip; only
    executables are changed afterwards, as in pip.  A target that could not be filled
    is removed: a refused ``FICLONE`` leaves an empty file behind.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(link.target, flags, 0o666)
    try:
        try:
            fill(descriptor)
            if _BY_DESCRIPTOR:
                _finish(descriptor, link)
        finally:
            os.close(descriptor)
        if not _BY_DESCRIPTOR:
            _finish(link.target, link)
    except BaseException:
        os.unlink(link.target)
        raise


def _finish(made: int | str, link: Link) -> None:
    if link.wanted & 0o111:
        os.chmod(made, link.wanted)
    os.utime(made, ns=(link.mtime_ns, link.mtime_ns))


def hardlink(link: Link) -> None:
    """Give the source's inode a second name."""
    os.link(link.source, link.target, follow_symlinks=False)


def symlink(link: Link) -> None:
    """Point to the source by its absolute path."""
    os.symlink(link.source, link.target)


def copy(link: Link) -> None:
    """Write the bytes again."""

    def fill(descriptor: int) -> None:
        with (
            open_regular(link.source) as source,
            open(descriptor, "wb", closefd=False) as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    _create(link, fill)


if sys.platform == "linux":

    def clone(link: Link) -> None:
        """Share the source's extents until one of the two is written to."""

        def fill(descriptor: int) -> None:
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # it may be a pipe
            source = os.open(link.source, flags)
            try:
                fcntl.ioctl(descriptor, _FICLONE, source)
            finally:
                os.close(source)

        _create(link, fill)

elif sys.platform == "darwin":

    def clone(link: Link) -> None:
        """Share the source's extents until one of the two is written to."""
        if _libc.clonefile(os.fsencode(link.source), os.fsencode(link.target), 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), link.source, None, link.target)
        os.chmod(link.target, link.wanted, follow_symlinks=False)
        mtime_ns = link.mtime_ns
        os.utime(link.target, ns=(mtime_ns, mtime_ns), follow_symlinks=False)

elif sys.platform == "win32":

    def clone(link: Link) -> None:
        """Share the source's blocks, on a volume that can (ReFS, Dev Drive)."""
        volume, flags = ctypes.create_unicode_buffer(261), ctypes.c_uint32()
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        if (
            not hasattr(_winapi, "CopyFile2")
            or not kernel32.GetVolumePathNameW(link.target, volume, 261)
            or not kernel32.GetVolumeInformationW(
                volume, None, 0, None, None, ctypes.byref(flags), None, 0
            )
            or not flags.value & _FILE_SUPPORTS_BLOCK_REFCOUNTING
        ):
            raise OSError(
                errno.ENOTSUP, "the volume does not clone blocks", link.target
            )
        _winapi.CopyFile2(link.source, link.target, 1)  # 1: fail if it exists
        os.utime(link.target, ns=(link.mtime_ns, link.mtime_ns))

else:  # pragma: no cover  # another operating system

    def clone(link: Link) -> None:
        """Refuse: this operating system is not known to clone."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), link.target)


@contextlib.contextmanager
def below(directory: str) -> Iterator[Callable[[str], os.stat_result]]:
    """Give an ``lstat`` for paths below a directory, which need not be walked to anew.

    :param directory: absolute path; a link is not followed
    :raises OSError: if it cannot be opened
    """
    with contextlib.ExitStack() as stack:
        if os.stat in os.supports_dir_fd:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(directory, flags)
            stack.callback(os.close, descriptor)
            yield partial(os.stat, dir_fd=descriptor, follow_symlinks=False)
        else:  # Windows
            yield lambda path: os.lstat(f"{directory}/{path}")


def attributes(path: str) -> dict[str, bytes]:
    """Return what a file has been given besides: capabilities, an ACL, notes.

    :param path: absolute path; a link is not followed
    :raises OSError: if they cannot be read
    """
    if not hasattr(os, "listxattr"):  # pragma: no cover  # not Linux
        return {}
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:  # the file system has none
        return {}
    return {
        name: os.getxattr(path, name, follow_symlinks=False)
        for name in names
        if name.startswith(_CARRIED)
    }


if sys.platform == "win32":

    def dress(
        path: str, mode: int, old: os.stat_result, carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file the mode of the one that it is to replace."""
        del old, carried
        if stat.S_IMODE(os.lstat(path).st_mode) != mode:
            os.chmod(path, mode)

else:

    def dress(
        path: str, mode: int, old: os.stat_result, carried: Mapping[str, bytes]
    ) -> None:
        """Give a new file the owner of the one that it is to replace, and the rest.

        :param path: absolute path of the new one
        :param mode: permission bits
        :param old: the status of the other
        :param carried: its :func:`attributes`
        :raises OSError: if it cannot be done, or somebody has put another file there
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
        try:
            new = os.fstat(descriptor)
            if not stat.S_ISREG(new.st_mode) or new.st_nlink > 1:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
            if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
                os.fchown(descriptor, old.st_uid, old.st_gid)
                new = os.fstat(descriptor)
            if stat.S_IMODE(new.st_mode) != mode:
                os.fchmod(descriptor, mode)
            # Last, since the system takes capabilities from a file with a new owner.
            for name, value in carried.items():
                os.setxattr(descriptor, name, value)
        finally:
            os.close(descriptor)


PRIMITIVES: dict[str, Callable[[Link], None]] = {
    "clone": clone,
    "hardlink": hardlink,
    "symlink": symlink,
    "copy": copy,
}


def _came_out(primitive: str, link: Link) -> bool:
    """Tell whether a link is what was asked for: BeeGFS fakes hard links."""
    if primitive == "hardlink":
        return os.path.samestat(os.lstat(link.source), os.lstat(link.target))
    if primitive == "symlink":
        return os.path.islink(link.target)
    return os.lstat(link.target).st_size == link.size


@dataclass
class Refusal:
    """Why a primitive was given up between a store and an area."""

    primitive: str
    error: OSError
    source: str
    target: str


@dataclass
class Linker:
    """Link files by a mode, learning what each pair of store and area can do."""

    primitives: Mapping[str, Callable[[Link], None]] = field(
        default_factory=lambda: PRIMITIVES
    )
    refusals: dict[tuple[str, str, str], Refusal] = field(default_factory=dict)
    """By (primitive, store, area), in the order in which they were met."""
    bytes: Counter[str] = field(default_factory=Counter)
    """How many bytes each primitive has linked, in all."""
    exceptions: Counter[str] = field(default_factory=Counter)
    """How many files got an inode of their own in spite of the mode, by reason."""
    _proven: set[tuple[str, str, str]] = field(default_factory=set)
    _replaced: set[str] = field(default_factory=set)
    """Targets that were there before."""

    def link(
        self,
        links: Iterable[Link],
        *,
        mode: str,
        store: str,
        area: str,
        made: list[str],
    ) -> Counter[str]:
        """Link all files; return how many each primitive made, and how many are empty.

        :param links: what to link; parent directories exist
        :param mode: a key of :data:`CHAINS`
        :param store: the store that the sources are in
        :param area: the directory tree that the targets are in
        :param made: receives each target as soon as it exists, to take it back; but
            none that has replaced a file, which could not be put back
        :raises OSError: for what no other primitive can help
        """
        used: Counter[str] = Counter()
        proven = self._first_proven(CHAINS[mode], store, area)
        for link in links:
            if not link.size:
                # It costs nothing, and one shared by all has bitten pnpm (pnpm#3531).
                self._one(link, ("copy",), store, area, made)
                used["empty"] += 1
                continue
            # What has worked once works for nearly all: no look at anything else.
            primitive = proven if link.wanted == link.mode else None
            if primitive:
                try:
                    self.primitives[primitive](link)
                    made.append(link.target)
                except OSError as error:
                    if error.errno not in REFUSED | {errno.EEXIST}:
                        raise
                    primitive = None
            if not primitive:
                primitive = self._one(link, self.chain(mode, link), store, area, made)
                proven = self._first_proven(CHAINS[mode], store, area)
            used[primitive] += 1
            self.bytes[primitive] += link.size
        return used

    def _first_proven(
        self, chain: tuple[str, ...], store: str, area: str
    ) -> str | None:
        """Return the primitive with which a chain begins, if it has worked there."""
        for primitive in chain:
            if (primitive, store, area) not in self.refusals:
                return primitive if (primitive, store, area) in self._proven else None
        return None  # pragma: no cover  # copy is never refused

    def chain(self, mode: str, link: Link) -> tuple[str, ...]:
        """Return the primitives that are as good as each other for one file.

        :param mode: a key of :data:`CHAINS`
        :returns: in the order in which they are tried
        """
        chain = CHAINS[mode]
        if link.wanted != link.mode:
            # A shared inode has one mode; this target needs another.
            own = tuple(p for p in chain if p in ("clone", "copy"))
            if own[0] != chain[0]:
                self.exceptions["the store was filled under another umask"] += 1
            chain = own
        return chain

    def _one(
        self, link: Link, chain: tuple[str, ...], store: str, area: str, made: list[str]
    ) -> str:
        last = len(chain) - 1
        for index, primitive in enumerate(chain):
            key = (primitive, store, area)
            if key in self.refusals:
                continue
            try:
                self._replace(primitive, link)
                if key not in self._proven:
                    if not _came_out(primitive, link):
                        os.unlink(link.target)
                        raise OSError(  # handled as any refusal
                            errno.ENOTSUP, f"the result is not a {primitive}"
                        )
                    self._proven.add(key)
            except OSError as error:
                if index == last or error.errno not in REFUSED:
                    raise
                if key in self._proven or _only_this_file(error, link):
                    self.exceptions[os.strerror(error.errno)] += 1
                else:
                    self.refusals[key] = Refusal(primitive, error, store, area)
            else:
                # Where a link may come to dangle, pip would write through it.
                if primitive == "symlink" or link.target not in self._replaced:
                    made.append(link.target)
                return primitive
        # A chain ends in copy, which is never given up.
        raise AssertionError(chain)  # pragma: no cover  # so it is not reached

    def _replace(self, primitive: str, link: Link) -> None:
        # Never open what is there: a link would be written through.
        try:
            self.primitives[primitive](link)
        except FileExistsError:
            os.unlink(link.target)
            self._replaced.add(link.target)
            self.primitives[primitive](link)


def _only_this_file(error: OSError, link: Link) -> bool:
    """Tell whether an error speaks of the source rather than of the file systems.

    A file has a highest number of links (``EMLINK``), and where
    ``fs.protected_hardlinks`` is set nobody links a file of another owner (``EPERM``,
    :manpage:`proc_sys_fs(5)`).
    """
    if error.errno == errno.EMLINK:
        return True
    return (
        error.errno == errno.EPERM
        and hasattr(os, "geteuid")
        and os.lstat(link.source).st_uid != os.geteuid()
    )


def why_not_shared(directory: str) -> str | None:
    """Return why files of a directory need an inode of their own, if they do.

    New files get their group from a setgid directory, and their mode from a default
    ACL (:manpage:`acl(5)`); a shared inode has those of the store.

    :param directory: an absolute path that exists
    """
    status = os.stat(directory)
    setgid = status.st_mode & stat.S_ISGID
    if setgid and hasattr(os, "getegid") and status.st_gid != os.getegid():
        return "the directory gives its files its own group"
    if hasattr(os, "getxattr"):  # pragma: no branch  # Linux
        with contextlib.suppress(OSError):
            os.getxattr(directory, "system.posix_acl_default")
            return "the directory has a default ACL"
    return None


def file_system(path: str) -> str:
    """Return the type of the file system that holds a path, for messages.

    :param path: an absolute path that exists
    :returns: such as ``ext4``; ``"another file system"`` where it cannot be told
    """
    best, name = -1, "another file system"
    real = os.path.realpath(path)
    try:
        # proc_pid_mountinfo(5): field 5 is the mount point, the one after " - " the
        # type; the last of the longest mount points is the visible one.
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                front, _, back = line.partition(" - ")
                mount = front.split(" ")[4].replace("\\040", " ")
                prefix = mount if mount.endswith("/") else mount + "/"
                if (real + "/").startswith(prefix) and len(mount) >= best:
                    best, name = len(mount), back.split(" ")[0]
    except OSError:
        pass
    return name


def probe(source: str, directory: str) -> dict[str, str | None]:
    """Find out by which primitives a file can be linked to a directory, by doing it.

    :param source: absolute path of a file that is not empty
    :param directory: absolute path; nothing is left there
    :returns: by primitive, why it does not work, or ``None``
    """
    status = os.lstat(source)
    mode = stat.S_IMODE(status.st_mode)
    results: dict[str, str | None] = {}
    for name, primitive in PRIMITIVES.items():
        target = os.path.join(directory, TEMPORARY + os.urandom(8).hex())
        link = Link(source, target, status.st_size, status.st_mtime_ns, mode, mode)
        try:
            primitive(link)
            came_out = _came_out(name, link)
            os.unlink(target)
            results[name] = None if came_out else f"the result is not a {name}"
        except OSError as error:
            results[name] = error.strerror or str(error)
    return results


class Extent(NamedTuple):
    """Where a part of a file is on the disk."""

    start: int | None
    """Bytes from the beginning of the volume; ``None`` inside the metadata."""
    length: int
    """Bytes; of a compressed part, as it was before."""
    is_compressed: bool
    is_shared: bool
    """Whether another file, or another part of this one, has it too."""


class Overhead(NamedTuple):
    """What a file system notes in trees of its own, in bytes that ``df`` counts.

    ``st_blocks`` does not tell; without it small files look cheaper than they are.
    """

    name: int = 0
    inode: int = 0
    reference: int = 0
    """For each extent of a file."""
    extent: int = 0
    """For each extent on the disk."""
    checksums: float = 0
    """For each byte of data."""
    inline: int = 0
    """For a file whose content is there, too."""
    inline_factor: float = 1
    """For each byte of that."""


class Sharing(NamedTuple):
    """How files of a file system can share; by its name, because to try costs time."""

    clones: bool
    """Whether files may have extents in common."""
    tells_inodes: bool
    """Whether a directory names the inodes that ``stat`` does."""
    overhead: Overhead


_OVERHEAD = {
    # Measured with 10,000 files each, as mkfs makes them: metadata is there twice.
    "btrfs": Overhead(440, 440, 330, 130, 2 / 1024, 250, 2.33),
    "xfs": Overhead(inode=528),
}


def sharing(path: str) -> Sharing:
    """Return what to reckon with where a path is."""
    name = file_system(path)
    overhead = _OVERHEAD.get(name, Overhead())
    return Sharing(name in _CLONING, name in _SIMPLE, overhead)


if sys.platform == "linux":

    def extents(path: str) -> list[Extent] | None:
        """Return where a file is on the disk, or ``None`` if that is not told.

        :param path: absolute path; a link is not followed
        """
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
        try:
            found = _extents(descriptor, 0)
            if any(flag & _UNKNOWN for *_, flag in found):
                found = _extents(descriptor, _FIEMAP_SYNC)  # not written out yet
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return [
            Extent(
                None if flag & (_INLINE | _UNKNOWN) else start,
                length,
                bool(flag & _ENCODED),
                bool(flag & _SHARED),
            )
            for start, length, flag in found
        ]

    def _extents(descriptor: int, flags: int) -> list[tuple[int, int, int]]:
        """Ask by :manpage:`ioctl_fiemap(2)`."""
        found: list[tuple[int, int, int]] = []
        offset = 0
        while True:
            room = bytearray(_FIEMAP_HEADER.size + _FIEMAP_COUNT * _FIEMAP_EXTENT.size)
            _FIEMAP_HEADER.pack_into(
                room, 0, offset, 2**64 - 1 - offset, flags, 0, _FIEMAP_COUNT, 0
            )
            fcntl.ioctl(descriptor, _FIEMAP, room)
            count = _FIEMAP_HEADER.unpack_from(room)[3]
            for index in range(count):
                logical, start, length, *_, flag, _, _, _ = _FIEMAP_EXTENT.unpack_from(
                    room, _FIEMAP_HEADER.size + index * _FIEMAP_EXTENT.size
                )
                found.append((start, length, flag))
                offset = logical + length
                if flag & _LAST:
                    return found
            if not count:
                return found

else:  # pragma: no cover  # another operating system

    def extents(path: str) -> list[Extent] | None:
        """Return ``None``: this operating system is not asked."""
        del path
        return None


@dataclass
class Made:
    """What one installation has created, to take it back."""

    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)

    def directory(self, path: str) -> None:
        """Make a directory, and what leads to it, as ``os.makedirs`` does."""
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise
        except FileNotFoundError:
            self.directory(os.path.dirname(path))
            self.directory(path)
        else:
            self.directories.append(path)

    def take_back(self) -> None:
        """Remove all files, and the directories that are empty then."""
        for path in reversed(self.files):
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in reversed(self.directories):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        self.files.clear()
        self.directories.clear()
