"""Registrations: the environments that use a store.

Each environment that has files from a store is one directory there::

    <store>/v1/environments/<key>/environment.json   {"site_packages": path, "place": …}
                                  <sha256>.<mode>    a marker: an entry, and its mode
                                  witness-<inode>    an identity link: a hard link to
                                                     pyvenv.cfg, one to bin/python

``<key>`` is the sha256 of path and location.  A registration is of a *directory* and
not of a path: the same path may be another environment tomorrow, or on another host.
All of it is written before the first link is, so that no clean-up can miss a user of
an entry; for symlinks it is on the disk by then too.

Identity links distinguish a deleted environment from a moved one: the linked file has
another name as long as the environment is anywhere on the file system.  A single link
does not suffice: moving an environment includes an edit of ``pyvenv.cfg``, and
``sed -i`` writes another file.  The interpreter, mostly a symlink, stays as it is.

That other name may also be the identity link of another store.  One store cannot
distinguish an environment in two stores that was deleted from an environment in one
store that was moved: both leave a link with two names and an empty path.  Therefore
all names in all stores are counted, and until then the environment is *moved*.

A registration with an unreadable ``environment.json`` keeps the entries of its markers.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.identity import (
    NOT_YET,
    count_names,
    host_name,
    identity_links,
    inode_of,
    link_identity,
    location,
)
from pip_linkmode.files import open_regular, read_limited, refresh_listing
from pip_linkmode.store.layout import DIGEST, DIRECTORY
from pip_linkmode.store.manifest import IMPOSSIBLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    State = Literal["present", "unreadable", "moved", "missing", "gone", "damaged"]


NAME = "environment.json"
SYMLINK = ".symlink"
_LARGEST = 1 << 20
"""Bytes of a registration: two paths."""


@dataclass(frozen=True)
class Registration:
    """One environment that uses a store."""

    directory: str
    """Absolute path of the directory in the store."""
    site_packages: str
    """Absolute path; empty if ``environment.json`` cannot be read."""
    place: str
    """Host and inode of *site_packages* when it was linked first."""
    related_stores: tuple[str, ...] = ()
    """Absolute paths of other stores that may have an identity link as well."""

    @property
    def name(self) -> str:
        """The name of its directory, which is given to ``prune --release``."""
        return os.path.basename(self.directory)

    @property
    def environment(self) -> Environment:
        """The environment, whether it is there or not."""
        return Environment(self.site_packages)

    def state(self) -> State:
        """Return the state of the environment: see :func:`states`."""
        return states([self])[0]

    def seen(self) -> State:
        """Return the state as far as one registration shows it.

        :returns: see :func:`states`
        """
        if not self.site_packages:
            return "damaged"
        links = identity_links(self.directory)
        try:
            os.listdir(self.site_packages)
            if self._is_here(links):
                return "present"
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError:
            return "unreadable"
        if links:
            return "moved"
        # pip itself removes the directory in which it prepares --target.
        host, _, _ = self.place.rpartition(":")
        prepared = "pip-target-" in self.site_packages and host == host_name()
        return "gone" if prepared else "missing"

    def _is_here(self, links: Iterable[os.stat_result]) -> bool:
        """Return whether the directory at the path is the one that was linked.

        It may be another one: made after the old one was moved away, or on another host
        that has the same store.

        :param links: its identity links
        """
        found = map(inode_of, self.environment.identity_files.values())
        if not set(found).isdisjoint(map(inode_of, links)):
            return True
        # That of --target is made when all is installed.
        return self.place in (location(self.site_packages), f"{host_name()}:{NOT_YET}")

    def refresh(self) -> None:
        """Make the missing identity links of an environment that is present."""
        link_identity(self.directory, self.site_packages)

    def entries(self, *, depends: bool = False) -> set[str]:
        """Return the entries that were linked, by sha256.

        :param depends: only those that were linked by symlinks
        :raises OSError: if the directory cannot be listed: then any entry may be in use
        """
        with contextlib.suppress(FileNotFoundError):
            return {
                name.partition(".")[0]
                for name in os.listdir(self.directory)
                if len(name.partition(".")[0]) == hashlib.sha256().digest_size * 2
                and (name.endswith(SYMLINK) or not depends)
            }
        return set()

    def may_depend_on(self, sha256: str) -> bool:
        """Return whether symlinks may lead to an entry.

        :param sha256: of the entry
        """
        try:
            return sha256 in self.entries(depends=True)
        except OSError:
            return True

    def marker(self, sha256: str) -> str:
        """Return the path of the marker of an entry that is linked by symlinks."""
        return os.path.join(self.directory, f"{sha256}{SYMLINK}")

    def forget_symlinks(self, sha256s: Iterable[str]) -> None:
        """Forget that entries were linked by symlinks.

        :raises OSError: if the store cannot be changed
        """
        for sha256 in sha256s:
            os.unlink(self.marker(sha256))

    def forget_uses(self, sha256s: Iterable[str]) -> None:
        """Forget that entries were linked, except by symlinks.

        :raises OSError: if the store cannot be changed
        """
        for sha256, path in self._uses():
            if sha256 in sha256s:
                os.unlink(path)

    def move_use(self, old: str, new: str) -> None:
        """Note that files of one entry belong to another one, too; forget the first.

        Symlinks lead to the first one still.

        :param old: sha256 of the first entry
        :param new: sha256 of the other
        :raises OSError: if the store cannot be changed
        """
        for sha256, path in self._uses():
            if sha256 == old:
                mode = path.rpartition(".")[2]
                create_marker(os.path.join(self.directory, f"{new}.{mode}"))
                os.unlink(path)

    def _uses(self) -> list[tuple[str, str]]:
        """Return the markers of links that are not symlinks, by sha256."""
        return [
            (name.partition(".")[0], os.path.join(self.directory, name))
            for name in os.listdir(self.directory)
            if len(name.partition(".")[0]) == DIGEST and not name.endswith(SYMLINK)
        ]

    def is_of(self, site_packages: str) -> bool:
        """Return whether it was made for a directory, by any of its paths.

        :param site_packages: absolute path of a site-packages directory
        """
        mine = self.site_packages
        return bool(mine) and self.environment == Environment(site_packages)

    def release(self) -> None:
        """Forget the environment, and with it the entries that it uses.

        :raises OSError: if the store cannot be changed
        """
        with contextlib.suppress(FileNotFoundError):
            # The name goes last: markers without a name keep their entries.
            for name in sorted(os.listdir(self.directory), key=NAME.__eq__):
                path = os.path.join(self.directory, name)
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)
                else:
                    os.unlink(path)
            os.rmdir(self.directory)


def create_marker(path: str) -> None:
    """Create a marker, unless it exists.

    :raises OSError: if the store cannot be changed
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))


def states(known: Sequence[Registration]) -> list[State]:
    """Return the states of environments, in time linear in their number.

    An environment is ``gone`` only if every name of each of its identity links was seen
    in a store.  Names are counted before and after the links are looked at, and the
    smaller count is taken: another store may remove its link in between.

    :returns: ``present``; ``gone`` if it was deleted; ``moved`` if it is elsewhere on
        the file system; ``missing`` if neither is certain; ``unreadable`` if the
        environment cannot be read; ``damaged`` if the registration cannot be read
    """
    directories = {os.path.dirname(one.directory) for one in known}
    directories |= {
        os.path.join(store, DIRECTORY) for one in known for store in one.related_stores
    }
    found = [one.seen() for one in known]
    absent = [index for index, state in enumerate(found) if state == "moved"]
    before = count_names(directories) if absent else Counter()
    links = {index: identity_links(known[index].directory) for index in absent}
    names = before & count_names(directories) if absent else before
    for index in absent:
        if links[index] and all(
            one.st_nlink <= names[inode_of(one)] for one in links[index]
        ):
            found[index] = "gone"
    return found


def registrations(
    store: str, related_stores: Iterable[str] = (), *, refresh: bool = False
) -> Iterator[Registration]:
    """List the environments that are registered in a store, by path.

    A registration that cannot be read comes first, without a path.

    :param store: absolute path of the store
    :param related_stores: absolute paths of other stores that these may use as well
    :param refresh: see also recent registrations of other hosts
    :raises OSError: if the registrations cannot be listed
    """
    related_stores = tuple(related_stores)
    if refresh:
        refresh_listing(os.path.join(store, DIRECTORY))
    found = []
    with (
        contextlib.suppress(FileNotFoundError),
        os.scandir(os.path.join(store, DIRECTORY)) as directories,
    ):
        for one in directories:
            if one.is_dir(follow_symlinks=False):
                if refresh:
                    refresh_listing(one.path)
                path, place = _read(os.path.join(one.path, NAME))
                found.append(Registration(one.path, path, place, related_stores))
    yield from sorted(found, key=lambda registration: registration.site_packages)


def _read(path: str) -> tuple[str, str]:
    """Return site-packages and location; empty strings if they cannot be read."""
    with (
        contextlib.suppress(OSError, *IMPOSSIBLE),
        open_regular(path, follow=False) as file,
    ):
        data = json.loads(read_limited(file, _LARGEST, path))
        site_packages, place = data["site_packages"], data["place"]
        os.fsencode(site_packages + place)  # neither another type nor a surrogate
        is_root = not os.path.basename(os.path.normpath(site_packages))
        if os.path.isabs(site_packages) and "\0" not in site_packages and not is_root:
            return site_packages, place
    return "", ""
