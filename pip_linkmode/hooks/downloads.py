"""Give pip a stand-in for a wheel that a store has, in place of the download.

An index names the sha256 of each wheel, and pip refuses a file whose digest differs.
An entry with that digest therefore is the file that pip would accept: the download is
skipped, and pip gets a *stand-in* at the path of the download.  Its digest is known: it
is that of the entry, which was computed from the bytes of the wheel.

A stand-in never becomes an installed package.  :mod:`pip_linkmode.hooks.install_wheel`
links its entry, or replaces it by the wheel (:meth:`PipWheels.fetch`) before pip's own
installer runs.  If that were circumvented, the installer would refuse it
(:mod:`pip_linkmode.hooks.stand_ins`).

Active while ``pip install`` runs, never in ``pip download``, ``wheel`` or ``lock``,
where the file itself is the product.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import logging
import os
import sys
import tempfile
from functools import wraps
from typing import TYPE_CHECKING, NamedTuple

from pip_linkmode.hooks.hashes import known
from pip_linkmode.hooks.links import plain_url, sha256_of_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pip_linkmode.hooks.stand_ins import StandIns
    from pip_linkmode.store.entry import Entry

_CONTENT_TYPE = "application/zip"
_METADATA = "_fetch_metadata_using_link_data_attr"
_log = logging.getLogger("pip_linkmode")


class _StandIn(NamedTuple):
    """A stand-in that pip was given, and how to get its wheel."""

    sha256: str
    size: int
    """Bytes of the wheel; 0 if the entry does not tell."""
    download: Callable[[str], str]
    """Download the wheel into a directory and return its path."""


_given: dict[str, _StandIn] = {}
"""Stand-ins by the path that pip was given."""


class _Digest(NamedTuple):
    """A finished sha256, as far as pip uses a hash object."""

    value: str
    name: str = "sha256"

    def hexdigest(self) -> str:
        return self.value


class _Run:
    """One run of ``pip install``."""

    current: _Run | None = None

    def __init__(self, load: Callable[[], StandIns | None]) -> None:
        self._load = load
        self._stand_ins: StandIns | None = None
        self._wheel: Any = None

    def stand_in(
        self, link: Any, location: str, download: Callable[[str], str]
    ) -> tuple[str, str] | None:
        """Write a stand-in, or METADATA, where pip would download to.

        :param link: pip's link to the file
        :param location: the directory to download to
        :param download: downloads the file into another directory, returns its path
        :returns: as pip's downloader; ``None`` if pip must download
        """
        wheel = self._wheel
        # Whatever fails, pip is never worse than alone.
        with contextlib.suppress(Exception):
            if wheel and link.url.startswith(f"{plain_url(wheel)}.metadata"):
                return self._metadata(wheel, location)
            return self._wheel_of(link, location, download)
        return None

    def _wheel_of(
        self, link: Any, location: str, download: Callable[[str], str]
    ) -> tuple[str, str] | None:
        """Write a stand-in for the wheel that a link leads to."""
        entry = self._entry(link)
        if entry is None or self._stand_ins is None:
            return None
        path = os.path.join(location, entry.wheel)
        if not self._stand_ins.write(path, entry):
            return None
        _given[path] = _StandIn(entry.sha256, entry.wheel_size, download)
        _say(entry.wheel, entry.wheel_size)
        return path, _CONTENT_TYPE

    def _metadata(self, wheel: Any, location: str) -> tuple[str, str] | None:
        """Write METADATA of an entry in place of the file that an index has of it."""
        entry = self._entry(wheel)
        if entry is None or self._stand_ins is None:
            return None
        content = self._stand_ins.metadata(entry)
        if content is None:
            return None
        # pip has to see a file that differs from the wheel, and to refuse it.
        hashes = wheel.metadata_link().as_hashes()
        digest = hashlib.sha256(content).hexdigest()
        if hashes and hashes._allowed != {"sha256": [digest]}:  # noqa: SLF001  # pip's
            return None
        path = os.path.join(location, f"{entry.wheel}.metadata")
        with open(path, "wb") as file:
            file.write(content)
        _say(os.path.basename(path), len(content))
        return path, _CONTENT_TYPE

    @contextlib.contextmanager
    def metadata_of(self, wheel: Any) -> Iterator[None]:
        """Note that pip is about to fetch the metadata file of a wheel."""
        self._wheel = wheel
        try:
            yield
        finally:
            self._wheel = None

    def _entry(self, link: Any) -> Entry | None:
        """Return the entry of the wheel that a link leads to."""
        sha256 = sha256_of_link(link)
        if sha256 is None:
            return None
        # install_wheel is wrapped, and the stores are opened, before the first one.
        self._stand_ins = self._stand_ins or self._load()
        if self._stand_ins is None:
            return None
        return self._stand_ins.entry(sha256, link.filename)


class PipWheels:
    """The wheels that pip hands to its installer: files, or stand-ins."""

    def digest(self, path: str) -> str | None:
        """Return the sha256 of a wheel, if it is known without reading it."""
        stand_in = _given.get(path)
        return known(path) if stand_in is None else stand_in.sha256

    def is_stand_in(self, path: str) -> bool:
        """Return whether it is a stand-in, which has no content to unpack."""
        return path in _given

    def fetch(self, path: str) -> None:
        """Replace a stand-in by its wheel; leave any other file alone.

        :raises Exception: pip's own, if it cannot be downloaded, or is another file
        """
        stand_in = _given.get(path)
        if stand_in is not None:
            module: Any = sys.modules["pip._internal.utils.hashes"]
            _fetch(path, stand_in, module.Hashes({"sha256": [stand_in.sha256]}))


def _fetch(path: str, stand_in: _StandIn, hashes: Any = None) -> None:
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as directory:
        wheel = stand_in.download(directory)
        if hashes is not None:
            hashes.check_against_path(wheel)
        # After a failure the stand-in stays, so that the next attempt fails too.
        os.replace(wheel, path)
    del _given[path]


@contextlib.contextmanager
def active(load: Callable[[], StandIns | None]) -> Iterator[None]:
    """Make stand-ins while one ``pip install`` runs.

    :param load: wraps ``install_wheel`` and opens the stores; ``None`` if it cannot
    """
    before = _Run.current
    _Run.current = _Run(load) if _patch() else None
    try:
        yield
    finally:
        _Run.current = before


def _patch() -> bool:
    """Wrap the functions of pip that download and hash, once.

    :returns: false if any of it is of another shape than the known one
    """
    download, hashes, prepare = (
        sys.modules.get(f"pip._internal.{name}")
        for name in ("network.download", "utils.hashes", "operations.prepare")
    )
    downloader = getattr(download, "Downloader", None)
    preparer = getattr(prepare, "RequirementPreparer", None)
    checker = getattr(hashes, "Hashes", None)
    seams = [
        _Seam(downloader, "__call__", ("self", "link", "location"), _downloading),
        _Seam(checker, "check_against_path", ("self", "path"), _checking),
        _Seam(prepare, "hash_file", ("path",), _hashing),
        _Seam(preparer, _METADATA, ("self", "req"), _fetching_metadata),
    ]
    batch = getattr(download, "BatchDownloader", None)
    if batch is not None:  # pip 25.0 and older
        leading = ("self", "links", "location")
        seams.append(_Seam(batch, "__call__", leading, _downloading_many))
    if not all(seam.has_known_shape() for seam in seams):
        return False
    for seam in seams:
        stock = getattr(seam.owner, seam.name)
        if stock not in _wrapped:
            wrapped = wraps(stock)(seam.wrap(stock))
            _wrapped.add(wrapped)
            setattr(seam.owner, seam.name, wrapped)
    return True


class _Seam(NamedTuple):
    """A function of pip to wrap."""

    owner: Any
    name: str
    leading: tuple[str, ...]
    """The parameters that it must begin with."""
    wrap: Callable[..., Callable[..., Any]]

    def has_known_shape(self) -> bool:
        try:
            parameters = inspect.signature(getattr(self.owner, self.name)).parameters
        except (AttributeError, TypeError, ValueError):
            return False
        return tuple(parameters)[: len(self.leading)] == self.leading


_wrapped: set[Callable[..., Any]] = set()  # by us


def _downloading(stock: Callable[..., tuple[str, str]]) -> Callable[..., Any]:
    def call(self: Any, link: Any, location: str, *args: Any, **kwargs: Any) -> Any:
        def download(directory: str) -> str:
            return stock(_quiet(self), link, directory, *args, **kwargs)[0]

        run = _Run.current
        made = run and run.stand_in(link, location, download)
        return made or _downloaded(*stock(self, link, location, *args, **kwargs))

    return call


def _downloading_many(stock: Callable[..., Iterable[Any]]) -> Callable[..., Any]:
    def call(self: Any, links: Iterable[Any], location: str) -> Iterator[Any]:
        for link in links:

            def download(directory: str, link: Any = link) -> str:
                return str(next(iter(stock(_quiet(self), [link], directory)))[1][0])

            run = _Run.current
            made = run and run.stand_in(link, location, download)
            if made:
                yield link, made
                continue
            for one, (path, content_type) in stock(self, [link], location):
                yield one, _downloaded(path, content_type)

    return call


def _downloaded(path: str, content_type: str) -> tuple[str, str]:
    """Forget a stand-in in whose place pip has just written a file."""
    _given.pop(path, None)
    return path, content_type


def _checking(stock: Callable[..., None]) -> Callable[..., None]:
    def check_against_path(self: Any, path: str, *args: Any, **kwargs: Any) -> None:
        stand_in = _given.get(path)
        if stand_in is not None:
            # pip accepts a file by any of its digests (utils/hashes.py:89 of 25.3).
            if stand_in.sha256 in self._allowed.get("sha256", ()):
                return
            _fetch(path, stand_in)
        stock(self, path, *args, **kwargs)

    return check_against_path


def _hashing(stock: Callable[..., tuple[Any, int]]) -> Callable[..., tuple[Any, int]]:
    def hash_file(path: str, *args: Any, **kwargs: Any) -> tuple[Any, int]:
        stand_in = _given.get(path)
        if stand_in is not None:
            return _Digest(stand_in.sha256), stand_in.size
        return stock(path, *args, **kwargs)

    return hash_file


def _fetching_metadata(stock: Callable[..., Any]) -> Callable[..., Any]:
    def fetch_metadata(self: Any, req: Any, *args: Any, **kwargs: Any) -> Any:
        run = _Run.current
        with run.metadata_of(req.link) if run else contextlib.nullcontext():
            return stock(self, req, *args, **kwargs)

    return fetch_metadata


def _quiet(downloader: Any) -> Any:
    """Return a downloader without a progress bar, which would import more of rich."""
    made = copy.copy(downloader)
    made._progress_bar = "off"  # noqa: SLF001  # pip's own instance, copied
    return made


def _say(name: str, size: int) -> None:
    """Log a line in place of pip's line on a download."""
    module: Any = sys.modules["pip._internal.network.download"]
    of_size = f" ({module.format_size(size)})" if size else ""
    _log.info("Using stored %s%s", name, of_size)
