"""The index on loopback: what it serves, and what it counts."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.index import Index, Request
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    files: dict[str, bytes | str] = {"one/data.bin": bytes(range(256)) * 1000}
    return make_wheel(tmp_path, "One", files=files, metadata="Requires-Python: >=3.9\n")


def get(url: str, **headers: str) -> tuple[int, bytes, Message]:
    """Send a request with a connection of its own."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=given)) as got:
            return got.status, got.read(), got.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), error.headers


def test_a_page_in_json_names_digest_size_and_metadata(wheel: Path) -> None:
    with Index([wheel], ("md5", "sha256")) as index:
        status, content, headers = get(f"{index.url}one/")
        page: dict[str, Any] = json.loads(content)
    assert (status, headers["Content-Type"]) == (200, JSON)
    (row,) = page["files"]
    data = wheel.read_bytes()
    assert row["filename"] == wheel.name
    assert list(row["hashes"].items()) == [
        ("md5", hashlib.md5(data).hexdigest()),
        ("sha256", hashlib.sha256(data).hexdigest()),
    ]
    assert row["size"] == len(data)
    assert row["requires-python"] == ">=3.9"
    assert row["core-metadata"].keys() == {"sha256"}


def test_a_page_in_html_has_one_digest_in_the_fragment(wheel: Path) -> None:
    with Index([wheel], as_json=False) as index:
        index.files[wheel.name].yanked = "by <mistake>"
        _, content, headers = get(f"{index.url}one/")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert headers["Content-Type"].startswith("text/html")
    assert f'href="/files/{wheel.name}#sha256={digest}"' in content.decode()
    assert 'data-yanked="by &lt;mistake&gt;"' in content.decode()
    assert 'data-requires-python="&gt;=3.9"' in content.decode()
    assert 'data-core-metadata="sha256=' in content.decode()


def test_a_page_that_has_not_changed_is_not_sent_again(wheel: Path) -> None:
    with Index([wheel]) as index:
        url = f"{index.url}one/"
        tag = get(url)[2]["ETag"]
        status, content, _ = get(url, If_None_Match=tag)
        index.files[wheel.name].yanked = ""
        assert get(url, If_None_Match=tag)[0] == 200
    assert (status, content) == (304, b"")


def test_files_metadata_and_ranges(wheel: Path) -> None:
    data = wheel.read_bytes()
    with Index([wheel]) as index:
        url = index.file_url(wheel.name)
        assert get(url)[1] == data
        assert get(url, Range="bytes=10-19")[:2] == (206, data[10:20])
        assert get(url, Range="bytes=-10")[:2] == (206, data[-10:])
        assert get(url, Range="bytes=10-")[:2] == (206, data[10:])
        metadata = get(f"{url}.metadata")[1]
        assert b"Name: One" in metadata
        assert "immutable" in get(url)[2]["Cache-Control"]
        index.files[wheel.name].content = b"other"
        assert get(url)[1] == b"other"
        assert index.requests[0] == Request(
            "GET", f"/files/{wheel.name}", 200, len(data)
        )
        assert index.requests[1].size == 10
        assert index.sent == sum(r.size for r in index.requests) > 3 * len(data)
        assert len(index.asked_for()) == 7
        assert index.asked_for([".metadata"]) == [f"/files/{wheel.name}.metadata"]
        assert get(f"{index.url}one/")[0] == 200
        assert len(index.asked_for()) == 7


@pytest.mark.parametrize("path", ["simple/two/", "files/two.whl", "else", "simple/"])
def test_what_is_not_there_is_not_found(wheel: Path, path: str) -> None:
    with Index([wheel], metadata=False) as index:
        assert get(f"{index.base}/{path}")[0] == 404
        assert get(f"{index.file_url(wheel.name)}.metadata")[0] == 404
        page = json.loads(get(f"{index.url}one/")[1])
    assert "core-metadata" not in page["files"][0]


def test_a_head_request_has_the_length_and_no_body(wheel: Path) -> None:
    with Index([wheel]) as index:
        request = urllib.request.Request(index.file_url(wheel.name), method="HEAD")
        with urllib.request.urlopen(request) as answer:
            assert answer.read() == b""
            assert int(answer.headers["Content-Length"]) == wheel.stat().st_size
        assert index.sent == 0


def test_without_the_login_nothing_is_sent(wheel: Path) -> None:
    with Index([wheel], login="user:secret") as index:
        url = f"http://{index.host}/files/{wheel.name}"
        status, content, headers = get(url)
        assert (status, content) == (401, b"")
        assert headers["WWW-Authenticate"].startswith("Basic")
        login = base64.b64encode(b"user:secret").decode()
        assert get(url, Authorization=f"Basic {login}")[0] == 200


def test_a_transfer_is_cut_once(wheel: Path) -> None:
    with Index([wheel]) as index:
        index.cut.add(wheel.name)
        with pytest.raises(http.client.IncompleteRead):
            get(index.file_url(wheel.name))
        assert get(index.file_url(wheel.name))[1] == wheel.read_bytes()


def test_a_login_is_in_the_url(wheel: Path) -> None:
    with Index([wheel], login="user:secret") as index:
        assert index.url == f"http://user:secret@{index.host}/simple/"
        assert index.options[-1] == index.host
