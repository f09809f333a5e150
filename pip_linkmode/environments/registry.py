"""Which environments use a store, and what is installed in an environment.

Each environment that has files from a store is one directory there::

    <store>/v1/environments/<key>/environment.json   {"site_packages": path, "place": …}
                                  <sha256>.<mode>    an entry it was linked to, and how
                                  witness-<inode>    a hard link to its pyvenv.cfg,
                                                     and one to its bin/python

``<key>`` is the sha256 of path and place.  A registration is of a *directory* and not
of a path: the same path may be another environment tomorrow, or on another host.  All
of it is written before the first link is, so that no clean-up can miss a user of an
entry.  The witnesses tell an environment that was deleted from one that was moved away:
a file has another name as long as the environment is anywhere on the file system.  One
is not enough: who moves an environment edits its ``pyvenv.cfg``, and ``sed -i`` writes
another file.  The name of the interpreter, mostly a symlink, stays what it is.

That other name may also be the witness of another store.  A store by itself cannot
tell: an environment that is in two stores and was deleted, and one that is in one store
and was moved, both leave a witness with two names and a path with nothing there.  So
all names of all witnesses have to be seen, which needs all stores that have one, and
until then it is *moved*.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pip_linkmode.environments.identity import (
    NOT_YET,
    host_name,
    identity_files,
    identity_links,
    inode_of,
    link_identity,
    location,
)
from pip_linkmode.files import make_directory, open_regular
from pip_linkmode.store.layout import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    State = Literal["present", "unreadable", "moved", "missing", "gone"]


_NAME = "environment.json"
_SYMLINK = ".symlink"


def register(store: str, site_packages: str, sha256: str, mode: str) -> None:
    """Note that an environment is about to get files of an entry.

    :param store: absolute path of the store
    :param site_packages: absolute path of the directory that holds the dist-info
    :param sha256: of the entry
    :param mode: the link mode
    :raises PermissionError: if the store is read-only
    :raises OSError: if it cannot be written
    """
    place = location(site_packages)
    key = hashlib.sha256(os.fsencode(f"{site_packages}\0{place}")).hexdigest()
    directory = os.path.join(store, DIRECTORY, key)
    marker = os.path.join(directory, f"{sha256}.{mode}")
    known = _is_known(directory)
    if known and os.path.lexists(marker):
        return
    if not os.access(store, os.W_OK):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), store)
    if os.path.islink(directory):
        raise NotADirectoryError(errno.ENOTDIR, "Is a link", directory)
    if not known:
        _introduce(directory, site_packages, place)
    link_identity(directory, site_packages)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def _is_known(directory: str) -> bool:
    """Tell whether the name is there, and was not emptied by a power cut."""
    try:
        return os.lstat(os.path.join(directory, _NAME)).st_size > 0
    except OSError:
        return False


def _introduce(directory: str, site_packages: str, place: str) -> None:
    make_directory(directory)
    with contextlib.suppress(OSError):  # a group's, if what it is in is
        mode = os.stat(os.path.dirname(directory)).st_mode
        os.chmod(directory, stat.S_IMODE(mode))
    unfinished = os.path.join(directory, os.urandom(8).hex())
    with open(unfinished, "x", encoding="utf-8") as file:
        json.dump({"site_packages": site_packages, "place": place}, file)
    os.replace(unfinished, os.path.join(directory, _NAME))


@dataclass(frozen=True)
class Registration:
    """What a store knows of one environment."""

    directory: str
    """Absolute path of the directory in the store."""
    site_packages: str
    place: str
    """Host and inode of *site_packages* when it was linked first."""
    related_stores: tuple[str, ...] = ()
    """Absolute paths of other stores that may have a witness as well."""

    def state(self) -> State:
        """Return what has become of the environment.

        :returns: ``gone`` if it was deleted; ``moved`` if it is elsewhere on the file
            system; ``missing`` if it cannot be told which; ``unreadable`` if it is not
            to be had for another reason
        """
        witnesses = identity_links(self.directory)
        try:
            os.listdir(self.site_packages)
            if self._is_it(witnesses):
                return "present"
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return "unreadable"
        if witnesses:
            return "gone" if self._has_all_names(witnesses) else "moved"
        # pip itself removes the directory in which it prepares --target.
        prepared = "pip-target-" in self.site_packages and self._host() == host_name()
        return "gone" if prepared else "missing"

    def _is_it(self, witnesses: list[os.stat_result]) -> bool:
        """Tell whether what is at the path now is what was linked.

        It may be another environment: made anew after the old one was moved away, or
        on another host that has the same store.
        """
        found = map(inode_of, identity_files(self.site_packages).values())
        if not set(found).isdisjoint(map(inode_of, witnesses)):
            return True
        # That of --target is made when all is installed.
        return self.place in (location(self.site_packages), f"{host_name()}:{NOT_YET}")

    def _host(self) -> str:
        return self.place.rpartition(":")[0]

    def _has_all_names(self, witnesses: list[os.stat_result]) -> bool:
        """Tell whether each name of each witness is one that was seen in a store."""
        names = self._names()
        again = identity_links(self.directory)
        # Another store may have let go of a name that was counted.
        return len(again) == len(witnesses) and all(
            one.st_nlink <= names[inode_of(one)] for one in (*witnesses, *again)
        )

    def _names(self) -> Counter[tuple[int, int]]:
        """Count the names of witnesses in the stores; lib64 has its own."""
        found, counted = Counter[tuple[int, int]](), set()
        paths = (os.path.join(store, DIRECTORY) for store in self.related_stores)
        for path in (os.path.dirname(self.directory), *paths):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                # By any of its paths, a store counts once.
                if inode_of(status) not in counted:
                    counted.add(inode_of(status))
                    for name in os.listdir(path):
                        found.update(map(inode_of, identity_links(f"{path}/{name}")))
        return found

    def refresh(self) -> None:
        """Look for a witness anew, in an environment that is present."""
        link_identity(self.directory, self.site_packages)

    def entries(self, *, depends: bool = False) -> set[str]:
        """Return the entries that were linked, by sha256.

        :param depends: only those that were linked by symlinks
        """
        with contextlib.suppress(FileNotFoundError):
            return {
                name.partition(".")[0]
                for name in os.listdir(self.directory)
                if len(name.partition(".")[0]) == hashlib.sha256().digest_size * 2
                and (name.endswith(_SYMLINK) or not depends)
            }
        return set()

    def forget_symlinks(self, sha256s: Iterable[str]) -> None:
        """Forget that entries were linked by symlinks.

        :raises OSError: if the store cannot be changed
        """
        for sha256 in sha256s:
            os.unlink(os.path.join(self.directory, f"{sha256}{_SYMLINK}"))

    def is_of(self, site_packages: str) -> bool:
        """Tell whether it was made for a directory, by any of its paths.

        :param site_packages: absolute path of a site-packages directory
        """
        return os.path.realpath(self.site_packages) == os.path.realpath(site_packages)

    def release(self) -> None:
        """Forget the environment, and with it what it uses."""
        with contextlib.suppress(FileNotFoundError):
            # The name goes first: without it the rest means nothing.
            os.unlink(os.path.join(self.directory, _NAME))
            for name in os.listdir(self.directory):
                os.unlink(os.path.join(self.directory, name))
            os.rmdir(self.directory)


def registrations(
    store: str, related_stores: Iterable[str] = ()
) -> Iterator[Registration]:
    """List the environments that are known to use a store, by path.

    :param store: absolute path of the store
    :param related_stores: absolute paths of other stores that these may use as well
    """
    found = []
    with (
        contextlib.suppress(FileNotFoundError),
        os.scandir(os.path.join(store, DIRECTORY)) as directories,
    ):
        for one in directories:
            if not one.is_dir(follow_symlinks=False):
                continue
            with (
                contextlib.suppress(OSError, TypeError, ValueError, LookupError),
                open_regular(os.path.join(one.path, _NAME), follow=False) as file,
            ):
                data = json.load(file)
                path, place = data["site_packages"], data["place"]
                found.append(Registration(one.path, path, place, tuple(related_stores)))
    yield from sorted(found, key=lambda registration: registration.site_packages)
