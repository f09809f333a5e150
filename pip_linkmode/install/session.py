"""One installation: find or make the entry, link the bulk, let pip do the rest.

It knows only the arguments of pip's installer: the name of the project, a
path of a wheel, the directories of the scheme, and the installer itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from pip_linkmode.environments.layout import lay_out
from pip_linkmode.errors import (
    EntryDamagedError,
    EntryGoneError,
    EntryTimesError,
    StoreRefusedError,
    WheelDeclinedError,
)
from pip_linkmode.files import current_umask
from pip_linkmode.install.linking import WheelLinker, compile_layout
from pip_linkmode.install.presence import register_this_environment
from pip_linkmode.install.rollback import Rollback
from pip_linkmode.install.skeleton import pack
from pip_linkmode.install.summary import LinkedWheel, Summary
from pip_linkmode.link.linker import Linker
from pip_linkmode.prepare.preparer import LocalWheels, Preparer
from pip_linkmode.store.selection import arrange
from pip_linkmode.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

    from pip_linkmode.prepare.preparer import PreparedWheel, WheelFiles
    from pip_linkmode.settings import Settings


_ATTEMPTS = 3


@dataclass
class Session:
    """The installations of one pip command."""

    settings: Settings
    active: list[Session]
    """The sessions that are entered, this one among them while it is."""
    ahead: Sequence[str] = ()
    """Paths of the wheels that pip is going to install, in order."""
    pycompile: bool = True
    """Whether pip is going to compile."""
    wheel_files: WheelFiles = field(default_factory=LocalWheels)

    linker: Linker = field(default_factory=Linker)

    def __post_init__(self) -> None:
        """Note the umask in force."""
        self.umask = current_umask()
        self.links = WheelLinker(self.settings, self.linker, self.umask)
        self.summary = Summary(self.settings, self.links)

    def __enter__(self) -> Self:
        """Take part in the installations of pip from now on."""
        with contextlib.ExitStack() as stack:
            is_told = self.settings.is_staging or self.settings.requested == "auto"
            if self.settings.reason and not is_told:
                self.summary.warn(self.settings.reason)
            self._preparer = self._open_stores()
            if self._preparer is not None:
                register_this_environment()
                self._directory = tempfile.mkdtemp(prefix="pip-linkmode-")
                stack.callback(shutil.rmtree, self._directory, ignore_errors=True)
                stack.callback(self._preparer.stop)
                self._preparer.start(self.ahead)
                self.links.expected = partial(self._preparer.expected, self.ahead)
            self.active.append(self)
            stack.callback(self.active.remove, self)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Leave pip alone again, and no process behind."""
        self._exit.close()

    def report(self) -> None:
        """Print the summary line."""
        self.summary.report()

    def _open_stores(self) -> Preparer | None:
        stores = []
        for root in self.settings.stores:
            try:
                trust = self.settings.trust_group
                stores.append(Store.open(root, trust_group=trust))
            except StoreRefusedError as error:
                self.summary.warn(
                    f"{error}; set --link-store (PIP_LINK_STORE) to a directory of "
                    "your own"
                )
        if not stores:
            return None
        roots = tuple(store.root for store in stores)
        stores = [dataclasses.replace(store, related_stores=roots) for store in stores]
        stores, write_store = arrange(
            stores,
            self.settings.destination,
            any_file_system=self.settings.mode in ("symlink", "copy"),
            umask=self.umask,
        )
        return Preparer(
            stores,
            umask=self.umask,
            pycompile=self.pycompile,
            write_store=write_store,
            wheel_files=self.wheel_files,
        )

    def install(
        self,
        install: Callable[[str], None],
        name: str,
        wheel_path: str,
        scheme: Mapping[str, str],
        *,
        pycompile: bool,
        reusable: bool,
    ) -> None:
        """Install one wheel, linked if that can be done, and else as pip does.

        :param install: pip's own installer, for a path of a wheel
        :param name: of the project
        :param wheel_path: of the wheel
        :param scheme: directories by key
        :param pycompile: whether pip would compile
        :param reusable: whether the wheel may be of use a second time
        """
        if not reusable or self._preparer is None:
            install(wheel_path)
            return
        created = Rollback()
        path = os.path.join(self._directory, os.path.basename(wheel_path))
        try:
            prepared = self._prepare(
                self._preparer, name, wheel_path, scheme, created, path, pycompile
            )
            install(wheel_path if prepared is None else path)
        except BaseException:
            created.undo()
            raise
        self.summary.count(name, prepared)

    def _prepare(
        self,
        preparer: Preparer,
        name: str,
        wheel_path: str,
        scheme: Mapping[str, str],
        created: Rollback,
        skeleton_path: str,
        pycompile: bool,
    ) -> LinkedWheel | None:
        """Link the bulk of a wheel and pack its skeleton; ``None`` to leave it to pip.

        Reasons to refuse are checked before the first file is touched.  If linking
        itself fails, pip gets the wheel: either it succeeds, or the error is its own.
        """
        reason, replace = "its store entry keeps changing", False
        again = None
        for _ in range(_ATTEMPTS):
            try:
                found = self._find(preparer, name, wheel_path, replace=replace)
            except EntryDamagedError as error:
                self.summary.verbose("%s is unpacked again: %s", name, error)
                reason, replace, again = str(error), True, _why_again(error)
                self.wheel_files.fetch(wheel_path)
                continue
            except WheelDeclinedError as error:
                reason = str(error)
                break
            except Exception as error:  # never worse than pip alone
                self.summary.warn(self._trouble(error))
                return None
            try:
                layout = lay_out(found.entry, scheme)
                compiled = found.bytecode if pycompile else None
                places, pycs = self.links.plan(found.entry, layout, compiled)
                pack(skeleton_path, found.entry, layout, pycs)
                before = self.links.bytes_shared
                used = self.links.link(found, layout, places, name, created)
                if pycompile and compiled is None:
                    pycs = compile_layout(layout, created)
                    pack(skeleton_path, found.entry, layout, pycs)
            except EntryDamagedError as error:
                created.undo()
                reason, replace, again = str(error), True, _why_again(error)
                self.wheel_files.fetch(wheel_path)
            except WheelDeclinedError as error:
                reason = str(error)
                break
            except Exception as error:  # the same
                created.undo()
                # A full disk is met by every wheel.
                number = getattr(error, "errno", None)
                self.summary.warn(f"{error}; {name} is installed by pip alone", number)
                return None
            else:
                size = self.links.bytes_shared - before
                is_stand_in = self.wheel_files.is_stand_in(wheel_path)
                return LinkedWheel(
                    found.entry, found.fresh, used, size, is_stand_in, again
                )
        self.summary.leave(name, reason)
        return None

    def _trouble(self, error: Exception) -> str:
        """Return a sentence with the reason why a store cannot be used."""
        stores = os.pathsep.join(self.settings.stores)
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return (
            f"the store {stores} cannot be used: {reason or type(error).__name__}; "
            "wheels that are not in it are installed by pip alone"
        )

    @staticmethod
    def _find(
        preparer: Preparer, name: str, wheel_path: str, *, replace: bool
    ) -> PreparedWheel:
        found = preparer.prepare(wheel_path, replace=replace)
        # pip refuses it before it writes (utils/wheel.py, wheel_dist_info_dir).
        dist_info = canonicalize_name(found.entry.dist_info)
        if not dist_info.startswith(canonicalize_name(name)):
            msg = f"its metadata is in {found.entry.dist_info}"
            raise WheelDeclinedError(msg)
        return found


def _why_again(error: EntryDamagedError) -> str:
    """Return the reason why a wheel is unpacked again."""
    if isinstance(error, EntryTimesError):
        reason = "modification times differ (a restored copy without times?)"
    elif isinstance(error, EntryGoneError):
        reason = "another process removed its entry"
    else:
        reason = "stored files were changed"
    return f"again: {reason}"
