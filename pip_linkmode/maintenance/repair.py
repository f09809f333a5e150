"""Put intact files in the place of damaged ones.

Each environment that is repaired gets a new file, by one rename.  An existing file is
never written to.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from pip_linkmode.environments.environment import OUTSIDE, Environment
from pip_linkmode.environments.registry import registrations
from pip_linkmode.environments.symlinks import is_stored
from pip_linkmode.environments.users import may_have_unknown_users
from pip_linkmode.files import file_digest
from pip_linkmode.guard import open_real, path_of
from pip_linkmode.link.linker import Linker
from pip_linkmode.link.primitives import Link
from pip_linkmode.link.replace import ConcurrentChangeError, Replacer
from pip_linkmode.maintenance.fetch import fetch, fill_command, reinstall_command
from pip_linkmode.maintenance.intact import find_intact
from pip_linkmode.store.layout import BYTECODE, MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pip_linkmode.maintenance.damage import Damage, InstalledFile
    from pip_linkmode.maintenance.verify import Verification


class Repair:
    """The repair of the damages of one verification."""

    def __init__(self, verification: Verification) -> None:
        """Prepare; :meth:`run` does the work."""
        self._found = verification
        self._pristine: dict[str, str] = {}
        """Absolute paths of intact files, by their digests."""
        self._fetched: set[str] = set()
        """Those that were downloaded."""

    def run(self) -> None:
        """Repair; each damage gets its outcome.

        A file that one environment alone has is repaired if that environment was named.
        """
        damages, unread = self._found.damages, self._found.unread
        wanted = {one.sha256 for one in damages if one.sha256}
        self._pristine = find_intact(self._found, wanted)
        untold = sorted(unread.keys() & self._paths_of_edits())
        with contextlib.ExitStack() as stack:
            if not untold:
                self._fetch(stack)
            for damage in damages:
                if untold:
                    damage.outcome = (
                        f"not repaired: {untold[0]} cannot be read, so the edits to "
                        "keep are unknown"
                    )
                    continue
                try:
                    self._repair(damage)
                except ConcurrentChangeError as error:
                    damage.outcome = f"not repaired: {error}"
                except OSError as error:
                    place = error.filename or damage.path
                    damage.outcome = f"not repaired: {place}: {error.strerror}"

    def _paths_of_edits(self) -> set[str]:
        """Return the paths that must be readable to know which edits to keep.

        An edit behind a symlink is known by RECORD only.
        """
        found = self._found.distributions
        kept = [one for one in found if self._found.name_of(one) in self._found.kept]
        records = {one.record for each in kept for one in found[each]}
        return records | {one.site_packages for one in kept}

    # --- one damage -------------------------------------------------------------------

    def _split(self, damage: Damage) -> tuple[list[InstalledFile], list[InstalledFile]]:
        """Return the files that keep their edits, and those to repair."""
        installed = [one for one in damage.installed if one.site.contains(one.path)]
        edited = [one for one in installed if one.environment in self._found.kept]
        others = [one for one in installed if one.environment not in self._found.kept]
        if damage.kind == "foreign":
            # The owner of the file may keep it.
            return [], [one for one in installed if one.site.owner != damage.owner]
        if not damage.stored and damage.kind != "dangling":
            others = [
                one
                for one in others
                if damage.is_shared or one.environment in self._found.asked
            ]
        return edited, others

    def _repair(self, damage: Damage) -> None:
        edited, others = self._split(damage)
        if damage.kind == "unlisted":
            damage.outcome = (
                "left alone: a program has written it into the store; move it away"
            )
            return
        if not (edited or others or damage.stored):
            is_inside = any(one.site.contains(one.path) for one in damage.installed)
            damage.outcome = "left alone: " + (
                "no other environment shares it" if is_inside else OUTSIDE
            )
            return
        if not (others or damage.stored):
            damage.outcome = "left alone: no other environment shares it"
            return
        if damage.sha256 is None:
            self._drop_bytecode(damage, others)
            return
        source = self._pristine.get(damage.sha256)
        if source is None:
            self._give_up(damage, others)
            return
        if damage.kind != "dangling":
            for one in edited:
                _keep(one.site, one.path)
        source = _restore(damage, source)
        for one in others:
            leads_here = damage.stored and os.path.islink(one.path)
            if not leads_here:
                self._put(damage, source, one)
        damage.is_repaired = True
        damage.outcome = "repaired" + (
            f"; {', '.join(one.environment for one in edited)} keeps its own"
            if edited
            else ""
        )

    def _put(self, damage: Damage, source: str, one: InstalledFile) -> None:
        # An environment that gave the bytes must not share the inode.
        mode = "auto" if self._is_stored(source) else "no_shared_inode"
        # Another name of a stored file is no secret to the environment.  Other files
        # are read with its rights, since its RECORD may name any digest.
        reader = os.stat(source).st_uid if damage.stored else one.site.owner
        if source in self._fetched:
            reader = os.stat(source).st_uid
        _put(
            one.site,
            source,
            one.path,
            mode,
            damage.sha256,
            reader=reader,
            keeps_mode=not damage.stored,
        )

    def _is_stored(self, path: str) -> bool:
        return any(
            path.startswith(f"{store.root}{os.sep}") for store in self._found.stores
        )

    def _drop_bytecode(self, damage: Damage, others: Sequence[InstalledFile]) -> None:
        """Remove bytecode; Python and the next installation compile it again."""
        if damage.kind == "manifest":
            self._give_up(damage, others)
            return
        for one in others:
            with (
                contextlib.suppress(FileNotFoundError),
                one.site.hold(one.path) as held,
            ):
                os.unlink(held)
        for stored in damage.stored:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stored.path)
            directory = os.path.join(stored.store.path(stored.sha256), BYTECODE)
            interpreter = os.path.relpath(stored.path, directory).split(os.sep)[0]
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, interpreter, MANIFEST))
        damage.is_repaired = True
        damage.outcome = "removed, to be compiled again"

    def _give_up(self, damage: Damage, others: Sequence[InstalledFile]) -> None:
        """Remove an entry that cannot be repaired, if no environment needs it.

        Other users may have symlinks to it that the store does not know.
        """
        sites = dict.fromkeys(one.site for one in others or damage.installed)
        commands = [reinstall_command(site, damage.package) for site in sites]
        reason = "no intact copy was found"
        if damage.outcome:  # of the download
            reason += f", and {damage.outcome}"
        damage.outcome = "\n".join([f"{reason}. Run:", *commands])
        for store, sha256 in {(one.store, one.sha256) for one in damage.stored}:
            if may_have_unknown_users(store.root) or any(
                one.may_depend_on(sha256) for one in registrations(store.root)
            ):
                command = fill_command(store.root, damage.package)
                damage.outcome = f"{reason}. Run, and verify --repair again:\n{command}"
                continue
            with store.staging() as staged:
                away = store.take_away(sha256, staged)
                if away is not None:
                    store.delete(away)
            damage.is_repaired = not damage.installed
            removed = "entry removed; the next installation recreates it"
            damage.outcome = (
                f"{removed}; {damage.outcome}" if damage.installed else removed
            )

    def _fetch(self, stack: contextlib.ExitStack) -> None:
        """Get wheels again for files of which there is no intact copy.

        :param stack: removes the directory of the files when they are not needed
        """
        wanted: dict[tuple[str, str | None], list[Damage]] = {}
        for damage in self._found.damages:
            if damage.sha256 and damage.sha256 not in self._pristine:
                _, others = self._split(damage)
                if others:
                    entries = [one.store.entry(one.sha256) for one in damage.stored]
                    digests = [one.sha256 for one in entries if one and one.wheel]
                    key = damage.package, next(iter(digests), None)
                    wanted.setdefault(key, []).append(damage)
        for (package, sha256), damages in wanted.items():
            sites = dict.fromkeys(
                one.site for damage in damages for one in self._split(damage)[1]
            )
            digests_of_files = {one.sha256 for one in damages if one.sha256}
            files, problem = fetch(
                list(sites), package, sha256, digests_of_files, stack
            )
            self._pristine |= files
            self._fetched.update(files.values())
            for damage in damages:
                if damage.sha256 not in files:
                    damage.outcome = problem


def _restore(damage: Damage, source: str) -> str:
    """Put an intact file into damaged entries; return the best source."""
    for stored in damage.stored:
        with stored.store.staging() as staged:
            copy = os.path.join(staged, "pristine")
            status = os.stat(source)
            bits = stat.S_IMODE(status.st_mode)
            link = Link(
                source, copy, status.st_size, stored.mtime_ns, bits, stored.mode
            )
            Linker().link([link], mode="copy", store="", target_root="", created=[])
            # The environment that gives the bytes may be hostile.
            with open(copy, "rb") as file:
                if file_digest(file) != damage.sha256:
                    msg = f"{source} was changed by another process"
                    raise ConcurrentChangeError(msg)
            os.chmod(copy, stored.mode)
            os.utime(copy, ns=(stored.mtime_ns, stored.mtime_ns))
            os.makedirs(os.path.dirname(stored.path), exist_ok=True)
            os.replace(copy, stored.path)
        source = stored.path
    return source


def _keep(site: Environment, path: str) -> None:
    """Make a file private, unless it is a link that leads elsewhere than to a store."""
    if not os.path.islink(path) or is_stored(os.path.realpath(path)):
        _put(site, path, path, "copy", None, reader=site.owner, keeps_mode=True)


def _put(
    site: Environment,
    source: str,
    target: str,
    mode: str,
    sha256: str | None,
    *,
    reader: int,
    keeps_mode: bool,
) -> None:
    """Put a file in the place of another one, or where there is none.

    :param target: absolute path
    :param mode: a key of :data:`pip_linkmode.link.linker.CHAINS`
    :param sha256: the digest that it must have, hexadecimal, if that is known
    :param reader: the user with whose rights root reads the source
    :param keeps_mode: whether it gets the permission bits of the old file
    :raises ConcurrentChangeError: if another process has changed one of the two
    :raises OSError: if it cannot be done
    """
    real, old = os.path.realpath(source), None
    with open_real(real, owner=reader) as file:
        status = os.fstat(file.fileno())
        bits = wanted = stat.S_IMODE(status.st_mode)
        with contextlib.suppress(FileNotFoundError):
            old = os.lstat(target)
            if keeps_mode and stat.S_ISREG(old.st_mode):
                wanted = stat.S_IMODE(old.st_mode)
        if site.owner_of(old) != (status.st_uid, status.st_gid):
            mode = "no_shared_inode"  # a hard link would have another owner
        held = (
            path_of(file.fileno(), real)
            if mode in ("copy", "no_shared_inode")
            else real
        )
        link = Link(held, target, status.st_size, status.st_mtime_ns, bits, wanted)
        # Only the very bytes of a file may have its privileges.
        same = sha256 is None and old is not None and stat.S_ISREG(old.st_mode)
        try:
            Replacer(Linker()).replace(
                link,
                old,
                mode=mode,
                sha256=sha256,
                owner=None if same else site.owner_of(old),
                hold=site.hold,
            )
        except ConcurrentChangeError as error:
            raise ConcurrentChangeError(str(error).replace(held, source)) from error
