"""A package index on loopback that counts requests and bytes.

It serves the pages of :pep:`503` or :pep:`691`, the metadata files of :pep:`658` and
byte ranges, with the caching headers of PyPI: an ``ETag`` on pages, which clients ask
about each time, and files that are ``immutable``.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import ssl
import threading
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote

from packaging.utils import canonicalize_name, parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Collection,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from pathlib import Path

    from typing_extensions import Self

_JSON = "application/vnd.pypi.simple.v1+json"
_HTML = "text/html; charset=utf-8"
_CHUNK = 1 << 20


class Request(NamedTuple):
    """A request that was answered."""

    method: str
    path: str
    status: int
    size: int
    """Bytes of the body that was sent."""


@dataclass
class File:
    """A wheel or source distribution on the index."""

    path: Path
    hashes: dict[str, str]
    """Digests that the index names, by algorithm and in this order."""
    metadata: bytes | None = None
    """Content of the metadata file, if the index has one."""
    metadata_hashes: dict[str, str] | bool = False
    """Digests of it that the index names; true to name none."""
    yanked: str | None = None
    content: bytes | None = None
    """What to send in place of the file."""

    @property
    def name(self) -> str:
        """The file name."""
        return self.path.name

    @cached_property
    def project(self) -> str:
        """The normalised name of its project."""
        if self.name.endswith(".whl"):
            return str(parse_wheel_filename(self.name)[0])
        return str(canonicalize_name(self.name.rpartition("-")[0]))

    @cached_property
    def requires_python(self) -> str | None:
        """The ``Requires-Python`` of a wheel."""
        for line in _metadata(self.path).decode("utf-8").splitlines():
            if line.startswith("Requires-Python:"):
                return line.partition(":")[2].strip()
        return None


def file_hashes(path: Path, algorithms: Iterable[str] = ("sha256",)) -> dict[str, str]:
    """Compute digests of a file, all in one pass."""
    made = {name: hashlib.new(name) for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for one in made.values():
                one.update(chunk)
    return {name: one.hexdigest() for name, one in made.items()}


def _metadata(path: Path) -> bytes:
    if path.suffix != ".whl":
        return b""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
                return archive.read(name)
    return b""


@dataclass
class Index:
    """A package index, serving while it is entered.

    :param paths: wheels and source distributions
    :param algorithms: digests that its pages name
    :param metadata: whether it has metadata files (:pep:`658`)
    :param as_json: whether its pages are JSON (:pep:`691`)
    :param login: ``user:password`` that every request must carry
    :param certificate: PEM file with key and certificate, to serve by TLS
    """

    paths: Sequence[Path]
    algorithms: Sequence[str] = ("sha256",)
    metadata: bool = True
    as_json: bool = True
    login: str | None = None
    certificate: Path | None = None
    on_request: Callable[[Request], object] = lambda _: None
    """Called before each answer is sent."""
    cut: set[str] = field(default_factory=set)
    """File names whose next transfer is broken off in the middle."""
    requests: list[Request] = field(default_factory=list)
    """Answered requests, in order; clear it at will."""

    def __post_init__(self) -> None:
        self.files: dict[str, File] = {}
        for path in self.paths:
            self.add(path)

    def add(self, path: Path) -> File:
        """Put a file on the index."""
        hashes = file_hashes(path, self.algorithms)
        file = self.files[path.name] = File(path, hashes)
        if self.metadata and path.suffix == ".whl":
            file.metadata = _metadata(path)
            digest = hashlib.sha256(file.metadata).hexdigest()
            file.metadata_hashes = {"sha256": digest}
        return file

    def __enter__(self) -> Self:
        """Begin to serve."""
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        """The address and port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def base(self) -> str:
        """The URL of the server, with the login."""
        scheme = "http" if self.certificate is None else "https"
        login = f"{self.login}@" if self.login else ""
        return f"{scheme}://{login}{self.host}"

    @property
    def url(self) -> str:
        """The URL for ``--index-url``."""
        return f"{self.base}/simple/"

    @property
    def options(self) -> tuple[str, ...]:
        """The options of pip that make it the only index."""
        # pip caches nothing of a host that is reached by plain HTTP and not trusted.
        return ("--index-url", self.url, "--trusted-host", self.host)

    def file_url(self, name: str) -> str:
        """Return the URL of a file, without a fragment."""
        return f"{self.base}/files/{quote(name)}"

    def asked_for(self, suffixes: Collection[str] = (".whl", ".metadata")) -> list[str]:
        """Return the paths of the requests for files, without those for pages."""
        return [
            request.path
            for request in self.requests
            if request.path.endswith(tuple(suffixes))
        ]

    @property
    def sent(self) -> int:
        """Bytes of all bodies."""
        return sum(request.size for request in self.requests)

    def page(self, project: str) -> tuple[str, bytes] | None:
        """Return content type and content of a project's page."""
        files = [file for file in self.files.values() if file.project == project]
        if not files:
            return None
        return _json_page(project, files) if self.as_json else _html_page(files)


def _json_page(project: str, files: Iterable[File]) -> tuple[str, bytes]:
    rows = []
    for file in files:
        row: dict[str, Any] = {
            "filename": file.name,
            "url": f"/files/{quote(file.name)}",
            "hashes": file.hashes,
            "size": file.path.stat().st_size,
            "yanked": file.yanked if file.yanked is not None else False,
        }
        if file.requires_python:
            row["requires-python"] = file.requires_python
        if file.metadata is not None:
            # As PyPI names it; pip 22.3 fails on a table by the name of the PEP.
            row["core-metadata"] = row["data-dist-info-metadata"] = file.metadata_hashes
        rows.append(row)
    page = {"meta": {"api-version": "1.1"}, "name": project, "files": rows}
    return _JSON, json.dumps(page).encode()


def _html_page(files: Iterable[File]) -> tuple[str, bytes]:
    lines = ["<!DOCTYPE html><html><body>"]
    for file in files:
        # A fragment names one digest.
        fragment = "".join(f"#{name}={one}" for name, one in [*file.hashes.items()][:1])
        attributes = {}
        if file.requires_python:
            attributes["data-requires-python"] = file.requires_python
        if file.yanked is not None:
            attributes["data-yanked"] = file.yanked
        if file.metadata is not None:
            hashes = file.metadata_hashes
            named = "true"
            if isinstance(hashes, dict):
                named = "".join(f"{name}={one}" for name, one in hashes.items())
            attributes["data-dist-info-metadata"] = named
            attributes["data-core-metadata"] = named
        more = "".join(f' {key}="{html.escape(v)}"' for key, v in attributes.items())
        url = f"/files/{quote(file.name)}{fragment}"
        lines.append(f'<a href="{url}"{more}>{html.escape(file.name)}</a><br>')
    return _HTML, "\n".join([*lines, "</body></html>"]).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about clients that hang up, or that refuse our certificate."""


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        served = index

    return Handler


class _Handler(BaseHTTPRequestHandler):
    served: Index
    protocol_version = "HTTP/1.1"
    # Without it each answer waits 40 ms for the client's acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def do_GET(self) -> None:
        """Answer with a body."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(body=False)

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _answer(self, *, body: bool) -> None:
        if not self._is_allowed():
            challenge = {"WWW-Authenticate": 'Basic realm="index"'}
            self._send(HTTPStatus.UNAUTHORIZED, b"", challenge, body=body)
            return
        _, kind, name, *_ = [*unquote(self.path).split("/"), "", ""]
        if kind == "simple":
            self._page(name, body=body)
        elif kind == "files":
            self._file(name, body=body)
        else:
            self._send(HTTPStatus.NOT_FOUND, b"", {}, body=body)

    def _is_allowed(self) -> bool:
        if self.served.login is None:
            return True
        expected = base64.b64encode(self.served.login.encode()).decode("ascii")
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _page(self, project: str, *, body: bool) -> None:
        page = self.served.page(project)
        if page is None:
            self._send(HTTPStatus.NOT_FOUND, b"", {}, body=body)
            return
        kind, content = page
        tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {
            "Content-Type": kind,
            "ETag": tag,
            "Cache-Control": "max-age=600, public",
            "Vary": "Accept",
        }
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, None, headers, body=False)
        else:
            self._send(HTTPStatus.OK, content, headers, body=body)

    def _file(self, name: str, *, body: bool) -> None:
        file = self.served.files.get(name.removesuffix(".metadata"))
        is_metadata = name.endswith(".metadata")
        if file is None or (is_metadata and file.metadata is None):
            self._send(HTTPStatus.NOT_FOUND, b"", {}, body=body)
            return
        content = file.metadata if is_metadata else file.content
        headers = {
            "Content-Type": "application/octet-stream",
            "ETag": f'"{name}"',
            "Cache-Control": "max-age=365000000, immutable, public",
            "Accept-Ranges": "bytes",
        }
        if content is not None:
            self._send(HTTPStatus.OK, content, headers, body=body)
        else:
            self._stream(file.path, headers, body=body)

    def _stream(self, path: Path, headers: dict[str, str], *, body: bool) -> None:
        """Send a file, or the range of it that was asked for, without reading it."""
        size = path.stat().st_size
        start, stop = _range(self.headers.get("Range"), size)
        status = HTTPStatus.OK
        if (start, stop) != (0, size):
            status = HTTPStatus.PARTIAL_CONTENT
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        length = stop - start
        is_cut = path.name in self.served.cut
        count = length // 2 if is_cut else length
        # Counted first: a client may have ended when the last byte is sent.
        self._count(status, count if body else 0)
        self._head(status, length, headers)
        self.wfile.flush()
        if body and count:
            with path.open("rb") as file:
                self.connection.sendfile(file, start, count)
        if is_cut and body:
            self.served.cut.discard(path.name)
            self.close_connection = True

    def _send(
        self,
        status: HTTPStatus,
        content: bytes | None,
        headers: Mapping[str, str],
        *,
        body: bool,
    ) -> None:
        sent = content if body and content else b""
        self._count(status, len(sent))
        self._head(status, None if content is None else len(content), headers)
        self.wfile.write(sent)
        self.wfile.flush()

    def _head(
        self, status: HTTPStatus, length: int | None, headers: Mapping[str, str]
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _count(self, status: HTTPStatus, size: int) -> None:
        request = Request(self.command, unquote(self.path), int(status), size)
        self.served.requests.append(request)
        self.served.on_request(request)


def _range(header: str | None, size: int) -> tuple[int, int]:
    """Return start and stop of the one range that a client may ask for."""
    if header is None or not header.startswith("bytes="):
        return 0, size
    first, _, last = header.removeprefix("bytes=").partition("-")
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


def wheels_of(*directories: Path) -> Iterator[Path]:
    """List the wheels in some directories."""
    for directory in directories:
        yield from sorted(directory.glob("*.whl"))
