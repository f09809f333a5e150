"""Carry plans out, and make the entries and the bytecode that they need.

Files are replaced one by one, each by a rename.  A process that is killed leaves every
file whole, and the next run goes on.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from pip_linkmode.environments.probe import probe
from pip_linkmode.environments.register import register
from pip_linkmode.errors import EntryGoneError
from pip_linkmode.files import TEMPORARY, allocated, file_stamp
from pip_linkmode.link.linker import CHAINS, Linker
from pip_linkmode.link.replace import (
    ConcurrentChangeError,
    NothingSharedError,
    Replacer,
)
from pip_linkmode.prepare.compiler import ensure_bytecode
from pip_linkmode.prepare.pool import Workers
from pip_linkmode.relink.actions import Share, account, reason_to_keep
from pip_linkmode.relink.adopt import adopt
from pip_linkmode.relink.report import Adopted, ReplacedFiles
from pip_linkmode.store.layout import BYTECODE, MANIFEST
from pip_linkmode.store.manifest import use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pip_linkmode.environments.environment import Environment
    from pip_linkmode.environments.layout import Target
    from pip_linkmode.interpreters import Interpreter
    from pip_linkmode.relink.actions import Action
    from pip_linkmode.relink.adopt import Proposal
    from pip_linkmode.relink.match import Match
    from pip_linkmode.relink.report import RelinkReport
    from pip_linkmode.relink.survey import InstalledDistribution, RelinkedEnvironment
    from pip_linkmode.store.bytecode import Bytecode
    from pip_linkmode.store.entry import Entry
    from pip_linkmode.store.store import Store


class Applier:
    """Makes the entries and links that are planned."""

    def __init__(self, linker: Linker, mode: str, report: RelinkReport) -> None:
        """Change nothing yet.

        :param linker: raises :exc:`NothingSharedError` instead of copying
        :param mode: the link mode
        :param report: receives the counts
        """
        self._replacer = Replacer(linker)
        self._emptier = Replacer(Linker())
        self._mode = mode
        self._report = report
        self._replaced = ReplacedFiles()
        self._workers: dict[str, Workers] = {}
        """By interpreter: environments with the same one share them."""

    # --- the store --------------------------------------------------------------------

    @staticmethod
    def ways(store: Store, site_packages: str) -> dict[str, str | None]:
        """Find out by which primitives files can be linked."""
        return probe(store, site_packages)

    def adopt(self, store: Store, proposal: Proposal) -> Entry | None:
        """Make an entry of installed files."""
        entry, is_new = adopt(store, proposal)
        if entry is not None and is_new:
            size = sum(
                allocated(os.lstat(entry.source(file.path))) for file in entry.files
            )
            self._report.bytes_stored += size
            adopted = Adopted(entry.name, entry.version, entry.sha256, size)
            self._report.adopted.append(adopted)
        return entry

    def compile(
        self, python: Interpreter, match: Match, _: Mapping[Target, str]
    ) -> Bytecode | None:
        """Load the bytecode of an entry, compiled if needed."""
        if python.name not in self._workers:
            self._workers[python.name] = Workers(interpreter=python)
        path = os.path.join(match.entry.path, BYTECODE, python.name)
        is_new = not os.path.exists(path)
        workers = self._workers[python.name]
        compiled = ensure_bytecode(workers, match.store, match.entry)
        if compiled is not None and is_new:
            self._report.bytes_stored += sum(
                allocated(os.lstat(compiled.source(source)))
                for source in compiled.files
            )
        return compiled

    @contextlib.contextmanager
    def registered(self, member: InstalledDistribution, match: Match) -> Iterator[bool]:
        """Register the environment as a user of an entry.

        A clean-up that comes later finds an environment with a symlink into the entry,
        before the first file is replaced by one, and leaves the entry where it is.

        :returns: whether the entry is still there
        """
        environment, entry = member.environment, match.entry
        site_packages, store = environment.site_packages, match.store.root
        manifest = os.path.join(entry.path, MANIFEST)
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(PermissionError):
                # A store that cannot be written is not cleaned up here either.
                register(store, site_packages, entry.sha256, self._mode)
                use(entry.path)
                environment.linked[store].add(entry.sha256)
            if self._mode == "symlink":
                pin = os.path.join(site_packages, TEMPORARY + os.urandom(8).hex())
                os.symlink(manifest, pin)
                stack.callback(os.unlink, pin)
            yield os.path.lexists(manifest)

    # --- the environment --------------------------------------------------------------

    def apply(
        self, member: InstalledDistribution, match: Match, actions: Sequence[Action]
    ) -> None:
        """Carry a plan out, and count.

        :raises EntryGoneError: if the entry was removed by another process
        """
        for action in actions:
            if isinstance(action, Share):
                self._share(member.environment, match.store.root, action)
            else:
                account(member.report, action)

    def _share(self, environment: RelinkedEnvironment, store: str, one: Share) -> None:
        pyc = one.bytecode
        if pyc is None or self._replace(environment, store, pyc, is_optional=True):
            self._replace(environment, store, one)

    def _replace(
        self,
        environment: RelinkedEnvironment,
        store: str,
        one: Share,
        *,
        is_optional: bool = False,
    ) -> bool:
        """Replace one file; return whether its plan is fulfilled.

        :param is_optional: whether a file that is gone needs no replacement
        """
        report, link = environment.report, one.link
        replacer = self._replacer if link.size else self._emptier
        try:
            if file_stamp(os.lstat(link.target)) != file_stamp(one.old):
                raise ConcurrentChangeError(link.target)
            primitive = replacer.replace(
                link,
                one.old,
                mode=one.chain,
                store=store,
                target_root=one.target_root,
                owner=_new_owner(environment, one.old),
                hold=environment.hold,
            )
        except NothingSharedError:
            keys = ((name, store, one.target_root) for name in CHAINS[one.chain])
            refusals = filter(None, map(replacer.linker.refusals.get, keys))
            errors = [refusal.error.strerror for refusal in refusals]
            report.skip(reason_to_keep(link, one.chain, errors))
        except ConcurrentChangeError:
            report.skip("were changed by another process")
        except OSError as error:
            if not os.path.lexists(link.source):
                msg = f"{link.source} is gone"
                raise EntryGoneError(msg) from error
            if not os.path.lexists(link.target):
                return is_optional
            report.fail(f"cannot be replaced: {error.strerror}")
        else:
            if link.size:
                report.share(primitive, link.size)
            self._replaced.add(one.old)
            return True
        return False

    def finish(self) -> None:
        """Stop the workers, and report the bytes that were freed."""
        for workers in self._workers.values():
            workers.stop()
        self._replaced.settle(self._report)


def _new_owner(environment: Environment, old: os.stat_result) -> tuple[int, int] | None:
    """Return the owner of the file that replaces a symlink; ``None`` for a file.

    A regular file is replaced by the same bytes, and keeps its attributes.
    """
    return None if stat.S_ISREG(old.st_mode) else environment.owner_of(old)
