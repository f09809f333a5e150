"""Find the environments that use a store, by looking at them.

Registrations say where to look.  Their markers count only where an environment cannot
be seen: on a disk that is not mounted, or moved away, it uses all that it ever had.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pip_linkmode.environments.caches import recent_entries
from pip_linkmode.environments.distribution import distributions
from pip_linkmode.environments.environment import Environment
from pip_linkmode.environments.register import register_all
from pip_linkmode.environments.registry import registrations, states
from pip_linkmode.environments.symlinks import entries_behind_symlinks
from pip_linkmode.errors import RecordInvalidError
from pip_linkmode.files import closed_directory, is_on_one_host, is_temporary
from pip_linkmode.store.layout import FILES

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pip_linkmode.environments.registry import Registration, State
    from pip_linkmode.store.store import Store

    Fingerprint: TypeAlias = list[int] | None


_COMPARED = ("METADATA", "WHEEL")


@dataclass(frozen=True)
class User:
    """An environment, and the entries of one store that it uses, by sha256."""

    registration: Registration
    state: State
    depends: frozenset[str]
    """Entries to which symlinks lead, or may lead."""
    shares: frozenset[str]
    """Other entries from which it was installed."""

    @property
    def path(self) -> str:
        """The directory of the environment; of the registration if that is damaged."""
        if not self.registration.site_packages:
            return self.registration.directory
        return self.registration.environment.path

    @property
    def uses(self) -> frozenset[str]:
        """All entries that it uses."""
        return self.depends | self.shares


def users(
    store: Store,
    on_progress: Callable[[str, float], object] = lambda *_: None,
    *,
    refresh: bool = False,
) -> list[User]:
    """Look at all environments that are registered in a store.

    :param on_progress: called with each, and the share that is done
    :param refresh: see also recent changes of other hosts; this writes to the store
    :raises OSError: if the registrations cannot be listed
    """
    refresh = refresh and not is_on_one_host(store.root)
    known = list(registrations(store.root, store.related_stores, refresh=refresh))
    # pip moves from a temporary directory to that of --target: looked at in this order,
    # files that are moved in between are seen at least once.
    known.sort(key=lambda one: not _is_transient(one.site_packages))
    fingerprints: dict[str, dict[str, Fingerprint]] = {}
    found: list[User] = []
    for registration, state in zip(known, states(known), strict=True):
        on_progress(registration.site_packages, len(found) / len(known))
        found.append(_look(store, registration, state, fingerprints, refresh))
    return sorted(found, key=lambda user: user.registration.site_packages)


def may_have_unknown_users(store: str) -> bool:
    """Return whether other users can link to a store without being registered in it.

    :param store: absolute path; a store below the user's home directory is private
    """
    home = os.path.realpath(os.path.expanduser("~"))
    if os.path.realpath(store).startswith(os.path.join(home, "")):
        return False
    return closed_directory(store) is None


def _is_transient(path: str) -> bool:
    return is_temporary(path) or "pip-target-" in path


def _look(
    store: Store,
    registration: Registration,
    state: State,
    fingerprints: dict[str, dict[str, Fingerprint]],
    refresh: bool,
) -> User:
    nothing: frozenset[str] = frozenset()
    if state == "gone":
        return User(registration, state, nothing, nothing)
    try:
        noted = registration.entries()
        depends = registration.entries(depends=True)
        recent = recent_entries(registration) if refresh else set()
    except OSError:
        # Any entry may be in use.
        everything = frozenset(map(os.path.basename, store.entries()))
        return User(registration, "damaged", everything, nothing)
    # The registered environment may be elsewhere, and another one at its path, or the
    # host has another name now: entries seen at the path are used, markers may be.
    elsewhere = depends if state in ("moved", "missing") else set()
    if state in ("present", "moved", "missing"):
        site_packages = registration.site_packages
        try:
            seen = _behind_symlinks(store.root, site_packages)
            if state == "present":
                registration.refresh()
            if state == "present" or seen:
                shares = _installed(store, registration, noted - seen, fingerprints)
                if _is_elsewhere(registration, shares):
                    seen |= _outside(store.root, site_packages)
                seen |= elsewhere | recent
                return User(
                    registration, "present", frozenset(seen), frozenset(shares - seen)
                )
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, RecordInvalidError):
            state = "unreadable"
    # Only an environment that may come back keeps entries that it can do without.
    shares = noted - depends if state != "missing" else set()
    return User(registration, state, frozenset(depends), frozenset(shares))


def _behind_symlinks(store: str, site_packages: str) -> set[str]:
    """Return the entries behind the symlinks of an environment, all of it."""
    found = set()
    for directory in Environment(site_packages).directories:
        found |= entries_behind_symlinks(store, directory)
    return found


def forget_symlinks(store: Store, site_packages: str, linked: set[str]) -> None:
    """Forget that an environment had symlinks, as far as none is left.

    A note goes only before a second look: an installation that makes symlinks is seen
    by it, or finds afterwards that the note is gone, and writes another one.

    :param site_packages: absolute path of its site-packages directory
    :param linked: entries that are linked in another way now, by sha256
    :raises RecordInvalidError: if it cannot be told; then nothing is forgotten
    :raises OSError: likewise
    """
    for registration in registrations(store.root):
        # Where another environment has been, the note is of that one.
        if not registration.is_of(site_packages) or registration.state() != "present":
            continue
        noted = linked & registration.entries(depends=True)
        if noted:
            missed = spare = noted - entries_of_symlinks(store.root, site_packages)
            try:
                registration.forget_symlinks(spare)
                missed = spare & entries_of_symlinks(store.root, site_packages)
            finally:
                if missed:
                    register_all(
                        store.root, registration.site_packages, missed, "symlink"
                    )


def forget_uses(store: Store, site_packages: str, left: set[str]) -> None:
    """Forget entries that an environment has left, as far as no symlink leads there.

    :param site_packages: absolute path of its site-packages directory
    :param left: entries of which it has another one now, by sha256
    :raises RecordInvalidError: if it cannot be told which symlinks are left
    :raises OSError: likewise, or if the store cannot be changed
    """
    forget_symlinks(store, site_packages, left)
    for registration in registrations(store.root):
        if registration.is_of(site_packages) and registration.state() == "present":
            registration.forget_uses(left)


def move_uses(store: str, old: str, new: str) -> None:
    """Note that environments with files of one entry have files of another one.

    :param store: absolute path of the store
    :param old: sha256 of the entry whose inodes the other one has taken over
    :param new: sha256 of the other
    :raises OSError: if the store cannot be changed
    """
    for registration in registrations(store):
        registration.move_use(old, new)


def entries_of_symlinks(store: str, site_packages: str) -> set[str]:
    """Return the entries to which symlinks of an environment lead, by sha256.

    :param store: absolute path of the store
    :param site_packages: absolute path of the site-packages directory
    :raises RecordInvalidError: if a RECORD names files outside and cannot be read
    :raises OSError: if a directory cannot be read
    """
    return _behind_symlinks(store, site_packages) | _outside(store, site_packages)


def _is_elsewhere(registration: Registration, shares: set[str]) -> bool:
    """Return whether symlinks may be outside of the directories that were searched.

    Without a root, ``share`` and ``include`` are outside; and a package may have been
    moved, with a link to its directory left in its place: then it is installed by
    symlinks of which none was found.
    """
    return not registration.environment.is_virtual or not shares.isdisjoint(
        registration.entries(depends=True)
    )


def _outside(store: str, site_packages: str) -> set[str]:
    """Return the entries behind symlinks that only a RECORD knows of."""
    is_seen = Environment(site_packages).covers
    directories = {
        os.path.dirname(row.path)
        for distribution in distributions(site_packages)
        for row in distribution.rows()
        if not is_seen(row.path)
    }
    found = set()
    for directory in sorted(directories):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found |= entries_behind_symlinks(store, directory, deep=False)
    return found


def _installed(
    store: Store,
    registration: Registration,
    noted: set[str],
    fingerprints: dict[str, dict[str, Fingerprint]],
) -> set[str]:
    """Return which of some entries are installed, by their metadata."""
    site_packages = registration.site_packages
    here = {one.dist_info for one in distributions(site_packages)}
    found = set()
    for sha256 in noted:
        files = os.path.join(store.path(sha256), FILES)
        if sha256 not in fingerprints:
            fingerprints[sha256] = _metadata(files)
        for dist_info, stored in fingerprints[sha256].items():
            if dist_info in here and stored == _fingerprint(site_packages, dist_info):
                found.add(sha256)
    return found


def _metadata(directory: str) -> dict[str, Fingerprint]:
    """Return the fingerprints of the dist-info directories in a directory."""
    try:
        names = [one.dist_info for one in distributions(directory)]
    except OSError:
        return {}
    return {name: _fingerprint(directory, name) for name in names}


def _fingerprint(directory: str, dist_info: str) -> Fingerprint:
    """Return the sizes of metadata files, which differ between wheels.

    Another build of one version with equal sizes is kept although it is not used.
    """
    path = os.path.join(directory, dist_info, "")
    try:
        return [os.lstat(path + name).st_size for name in _COMPARED]
    except OSError:
        return None
