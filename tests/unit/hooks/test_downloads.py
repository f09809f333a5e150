"""Stand-ins, on the pip that runs these tests; the others are in tests/compat."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import sys
import tempfile
import zipfile
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pip_linkmode.errors import WheelDeclinedError
from pip_linkmode.hooks import downloads, stand_ins
from pip_linkmode.hooks.stand_ins import MEMBER, StandIns
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.settings import Settings
from pip_linkmode.store import selection
from pip_linkmode.store.store import Store
from tests.support.index import Index, file_hashes
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WRONG = "0" * 64
MODULES = ("network.download", "utils.hashes", "operations.prepare")


class Bench:
    """A wheel that is on an index, and in a store."""

    def __init__(self, root: Path, index: Index, pip: dict[str, Any]) -> None:
        self.root, self.index, self.pip = root, index, pip
        self.wheel = make_wheel(root / "wheels", "one", files={"one/data": "1\n"})
        self.file = index.add(self.wheel)
        self.sha256 = self.file.hashes["sha256"]
        self.store = Store.open(str(root / "store"))
        preparer = Preparer([self.store], umask=0o022, pycompile=False, count=1)
        try:
            self.entry = preparer.prepare(str(self.wheel)).entry
        finally:
            preparer.stop()
        self.settings = Settings("copy", "copy", (self.store.root,), ())
        self.wheels = downloads.PipWheels()
        session = importlib.import_module("pip._internal.network.session").PipSession
        self.session = session(trusted_hosts=[index.host])
        self.session.resume_retries = 0

    def stand_ins(self) -> StandIns:
        return StandIns(self.settings)

    def link(self, fragment: str | None = None) -> Any:
        link = importlib.import_module("pip._internal.models.link").Link
        if fragment is None:
            fragment = f"#sha256={self.sha256}"
        return link(f"{self.index.file_url(self.wheel.name)}{fragment}")

    @property
    def downloader(self) -> Any:
        return self.pip["network.download"].Downloader(self.session, "on")

    def download(self, link: Any = None) -> Path:
        """Download to a fresh directory, as pip does."""
        location = self.root / f"unpack-{len([*self.root.iterdir()])}"
        location.mkdir()
        path, _ = self.downloader(link or self.link(), str(location))
        assert path == str(location / self.wheel.name)
        return location / self.wheel.name

    def hashes(self, **allowed: list[str]) -> Any:
        return self.pip["utils.hashes"].Hashes(allowed)

    def is_wheel(self, path: Path) -> bool:
        return path.read_bytes() == self.wheel.read_bytes()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Pip's modules, as they were afterwards."""
    modules: dict[str, Any] = {
        name: importlib.import_module(f"pip._internal.{name}") for name in MODULES
    }
    for owner, name in (
        (modules["network.download"].Downloader, "__call__"),
        (modules["utils.hashes"].Hashes, "check_against_path"),
        (modules["operations.prepare"], "hash_file"),
        (
            modules["operations.prepare"].RequirementPreparer,
            "_fetch_metadata_using_link_data_attr",
        ),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(downloads, "_wrapped", set())
    monkeypatch.setattr(downloads, "_given", {})
    return modules


@pytest.fixture
def bench(tmp_path: Path, pip: dict[str, Any]) -> Iterator[Bench]:
    with Index([]) as index:
        yield Bench(tmp_path, index, pip)


@pytest.fixture
def active(bench: Bench) -> Iterator[None]:
    with downloads.active(bench.stand_ins):
        yield


@pytest.mark.usefixtures("active")
def test_a_stored_wheel_is_not_requested(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = bench.download()
    assert bench.index.requests == []
    size = bench.wheel.stat().st_size
    assert caplog.messages == [f"Using stored {path.name} ({size} bytes)"]
    with zipfile.ZipFile(path) as stand_in, zipfile.ZipFile(bench.wheel) as wheel:
        first, *rest = stand_in.namelist()
        assert first == MEMBER
        assert rest == ["one-1.0.dist-info/METADATA", "one-1.0.dist-info/WHEEL"]
        for name in rest:
            assert stand_in.read(name) == wheel.read(name)
    assert bench.wheels.is_stand_in(str(path))
    assert bench.wheels.digest(str(path)) == bench.sha256


@pytest.mark.usefixtures("active")
def test_its_digest_is_known(bench: Bench) -> None:
    path = bench.download()
    bench.hashes(sha256=[bench.sha256, WRONG]).check_against_path(str(path))
    hashed, length = bench.pip["operations.prepare"].hash_file(str(path))
    assert (hashed.name, hashed.hexdigest()) == ("sha256", bench.sha256)
    assert length == bench.wheel.stat().st_size
    assert bench.wheels.is_stand_in(str(path))
    assert bench.index.requests == []


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize(
    ("allowed", "error"),
    [
        ({"sha256": [WRONG]}, "HashMismatch"),
        ({"sha512": ["right"]}, None),
        ({"sha256": [WRONG], "sha512": ["right"]}, None),
        ({"sha256": []}, "HashMismatch"),
    ],
    ids=str,
)
def test_pip_checks_other_digests_on_the_wheel(
    bench: Bench, allowed: dict[str, list[str]], error: str | None
) -> None:
    path = bench.download()
    right = file_hashes(bench.wheel, ["sha256", "sha512"])
    allowed = {
        name: [right[name] if value == "right" else value for value in values]
        for name, values in allowed.items()
    }
    try:
        bench.hashes(**allowed).check_against_path(str(path))
    except Exception as raised:
        assert type(raised).__name__ == error  # noqa: PT017  # pip's own
    else:
        assert error is None
    assert bench.is_wheel(path)
    assert not bench.wheels.is_stand_in(str(path))


@pytest.mark.usefixtures("active")
def test_one_right_digest_is_enough_as_for_pip(bench: Bench) -> None:
    path = bench.download()
    allowed = {"md5": [WRONG], "sha256": [WRONG, bench.sha256], "sha512": [WRONG]}
    bench.hashes(**allowed).check_against_path(str(path))
    assert bench.wheels.is_stand_in(str(path))


@pytest.mark.usefixtures("active")
def test_a_missing_hash_is_computed_of_the_wheel(bench: Bench) -> None:
    path = bench.download()
    missing = bench.pip["utils.hashes"].MissingHashes()
    with pytest.raises(Exception, match=bench.sha256):
        missing.check_against_path(str(path))


@pytest.mark.usefixtures("active")
def test_a_stand_in_is_replaced_by_its_wheel(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.download()
    # It is downloaded beside its place: /tmp may be another file system.
    monkeypatch.setattr(tempfile, "tempdir", str(bench.root / "nowhere"))
    bench.wheels.fetch(str(path))
    assert bench.is_wheel(path)
    assert [*path.parent.iterdir()] == [path]
    bench.wheels.fetch(str(path))
    assert len(bench.index.requests) == 1
    hashed, _ = bench.pip["operations.prepare"].hash_file(str(path))
    assert hashed.hexdigest() == bench.sha256


@pytest.mark.usefixtures("active")
def test_a_stand_in_is_forgotten_when_pip_writes_in_its_place(bench: Bench) -> None:
    path = bench.download()
    bench.downloader(bench.link(""), str(path.parent))
    assert not bench.wheels.is_stand_in(str(path))
    assert bench.is_wheel(path)


def test_a_digest_that_pip_has_computed_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "known", {"/file": bench.sha256}.get)
    assert bench.wheels.digest("/file") == bench.sha256


def test_stores_are_opened_once_and_for_the_first_digest(bench: Bench) -> None:
    opened: list[None] = []

    def load() -> StandIns:
        opened.append(None)
        return bench.stand_ins()

    with downloads.active(load):
        bench.download(bench.link(""))
        assert opened == []
        for _ in range(2):
            assert not bench.is_wheel(bench.download())
    assert len(opened) == 1


def test_a_wheel_of_unknown_size_is_announced_without_it(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    downloads._say(bench.wheel.name, 0)
    assert caplog.messages == [f"Using stored {bench.wheel.name}"]


@pytest.mark.usefixtures("active")
def test_another_file_never_replaces_a_stand_in(bench: Bench) -> None:
    """Each attempt fails, so that the stand-in is never installed either."""
    path = bench.download()
    bench.file.content = b"another file"
    for _ in range(2):
        with pytest.raises(Exception, match="DO NOT MATCH THE HASHES"):
            bench.wheels.fetch(str(path))
        assert bench.wheels.is_stand_in(str(path))
    assert zipfile.is_zipfile(path)


@pytest.mark.usefixtures("active")
def test_a_stand_in_is_not_stored(bench: Bench) -> None:
    path = bench.download()
    store = Store.open(str(bench.root / "other"))
    preparer = Preparer([store], umask=0o022, pycompile=False, count=1)
    try:
        with pytest.raises(WheelDeclinedError, match="not a plain file name"):
            preparer.prepare(str(path))
    finally:
        preparer.stop()
    assert store.entries() == []


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("fragment", ["", f"#sha256={WRONG}", "#md5=0", "#sha256=../x"])
def test_without_the_digest_of_an_entry_pip_downloads(
    bench: Bench, fragment: str
) -> None:
    path = bench.download(bench.link(fragment))
    assert bench.is_wheel(path)
    assert not bench.wheels.is_stand_in(str(path))
    assert bench.wheels.digest(str(path)) is None


@pytest.mark.usefixtures("active")
def test_digests_of_a_page_in_json_count_on_pip_22(bench: Bench) -> None:
    """There ``link.hash`` is that of the fragment alone."""
    link = SimpleNamespace(
        url=bench.index.file_url(bench.wheel.name),
        filename=bench.wheel.name,
        is_wheel=True,
        hash=None,
        hash_name=None,
        _hashes={"sha256": bench.sha256},
    )
    assert bench.wheels.is_stand_in(str(bench.download(link)))


@pytest.mark.usefixtures("active")
def test_a_wheel_of_another_name_is_downloaded(bench: Bench) -> None:
    """An index may name the digest of another wheel."""
    other = make_wheel(bench.root / "wheels", "two")
    bench.index.add(other)
    link = importlib.import_module("pip._internal.models.link").Link
    url = f"{bench.index.file_url(other.name)}#sha256={bench.sha256}"
    path, _ = bench.downloader(link(url), str(bench.root))
    assert not bench.wheels.is_stand_in(path)


@pytest.mark.usefixtures("active")
def test_a_source_distribution_is_downloaded(bench: Bench) -> None:
    link = importlib.import_module("pip._internal.models.link").Link
    sdist = bench.root / "one-1.0.tar.gz"
    sdist.write_bytes(b"sdist")
    bench.index.add(sdist)
    url = f"{bench.index.file_url(sdist.name)}#sha256={bench.sha256}"
    location = bench.root / "unpack"
    location.mkdir()
    path, _ = bench.downloader(link(url), str(location))
    assert (location / sdist.name).read_bytes() == b"sdist"
    assert path == str(location / sdist.name)


@pytest.mark.usefixtures("active")
@pytest.mark.parametrize("name", ["METADATA", "WHEEL"])
def test_damaged_metadata_is_not_used(bench: Bench, name: str) -> None:
    path = bench.entry.source(f"one-1.0.dist-info/{name}")
    with open(path, "a") as file:
        file.write("Requires-Dist: another\n")
    os.utime(path, (bench.entry.mtime, bench.entry.mtime))
    assert bench.is_wheel(bench.download())


def test_nothing_is_left_of_a_stand_in_of_a_damaged_entry(bench: Bench) -> None:
    with open(bench.entry.source("one-1.0.dist-info/WHEEL"), "a") as file:
        file.write("Tag: another\n")
    assert not StandIns.write(str(bench.root / "one.whl"), bench.entry)
    assert not (bench.root / "one.whl").exists()


def test_nothing_is_left_where_a_stand_in_cannot_be_written(bench: Bench) -> None:
    assert not StandIns.write(str(bench.root / "missing" / "one.whl"), bench.entry)
    assert not (bench.root / "missing").exists()


@pytest.mark.usefixtures("active")
def test_a_store_that_was_restored_without_times_has_no_stand_ins(bench: Bench) -> None:
    """Else the wheel would be downloaded in the middle of the installation."""
    os.utime(bench.entry.source("one-1.0.dist-info/METADATA"))
    assert bench.is_wheel(bench.download())


@pytest.mark.usefixtures("active")
def test_whatever_fails_pip_downloads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIns, "entry", None)
    assert bench.is_wheel(bench.download())


@pytest.mark.usefixtures("active")
def test_a_stand_in_has_no_date_of_the_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.14 refuses a ``SOURCE_DATE_EPOCH`` before 1980."""
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with zipfile.ZipFile(bench.download()) as stand_in:
        dates = {info.date_time for info in stand_in.infolist()}
    assert dates == {(1980, 1, 1, 0, 0, 0)}


def test_a_stand_in_has_the_requirements_of_an_egg(bench: Bench) -> None:
    name = "one-1.0.dist-info/requires.txt"
    path = bench.root / "one.whl"
    content = b"two\n"
    source = bench.root / "store" / bench.entry.source(name)
    source.write_bytes(content)
    os.utime(source, (bench.entry.mtime, bench.entry.mtime))
    digest = hashlib.sha256(content).hexdigest()
    row = bench.entry.files[0]._replace(path=name, size=4, sha256=digest)
    entry = replace(bench.entry, files=(*bench.entry.files, row))
    assert StandIns.write(str(path), entry)
    with zipfile.ZipFile(path) as stand_in:
        assert stand_in.read(name) == content


def test_without_a_run_of_install_pip_downloads(bench: Bench) -> None:
    with downloads.active(bench.stand_ins):
        pass
    assert bench.is_wheel(bench.download())


def test_without_a_wrapped_installer_pip_downloads(bench: Bench) -> None:
    with downloads.active(lambda: None):
        assert bench.is_wheel(bench.download())


def test_a_run_within_a_run(bench: Bench) -> None:
    with downloads.active(bench.stand_ins):
        wrapped = type(bench.downloader).__call__
        with downloads.active(lambda: None):
            assert type(bench.downloader).__call__ is wrapped
            assert bench.is_wheel(bench.download())
        assert not bench.is_wheel(bench.download())


class TestMetadata:
    """The metadata file that an index has beside a wheel (:pep:`658`)."""

    def fetch(self, bench: Bench, hashes: dict[str, str] | None) -> Any:
        module = bench.pip["operations.prepare"]
        link = importlib.import_module("pip._internal.models.link")
        preparer = object.__new__(module.RequirementPreparer)
        preparer._download = bench.downloader
        wheel = bench.link()
        wheel.metadata_file_data = link.MetadataFile(hashes)
        req = SimpleNamespace(link=wheel, req=SimpleNamespace(name="one"))
        return preparer._fetch_metadata_using_link_data_attr(req)

    @pytest.fixture(autouse=True)
    def directories(self) -> Iterator[None]:
        temporary = importlib.import_module("pip._internal.utils.temp_dir")
        with (
            temporary.tempdir_registry(),
            temporary.global_tempdir_manager(),
        ):
            yield

    @pytest.mark.usefixtures("active")
    @pytest.mark.parametrize("named", [True, False])
    def test_is_that_of_the_entry(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, named: bool
    ) -> None:
        caplog.set_level(logging.INFO)
        assert bench.file.metadata is not None
        digest = hashlib.sha256(bench.file.metadata).hexdigest()
        found = self.fetch(bench, {"sha256": digest} if named else None)
        assert (found.raw_name, str(found.version)) == ("one", "1.0")
        assert bench.index.requests == []
        size = len(bench.file.metadata)
        assert caplog.messages == [
            f"Using stored {bench.wheel.name}.metadata ({size} bytes)"
        ]

    @pytest.mark.usefixtures("active")
    def test_is_downloaded_if_the_index_names_another_one(self, bench: Bench) -> None:
        """Pip sees that it differs from the wheel, and says so."""
        other = b"Metadata-Version: 2.1\nName: one\nVersion: 1.0\nRequires-Dist: x\n"
        bench.file.metadata = other
        found = self.fetch(bench, {"sha256": hashlib.sha256(other).hexdigest()})
        assert [str(one) for one in found.iter_dependencies()] == ["x"]
        assert len(bench.index.requests) == 1

    @pytest.mark.usefixtures("active")
    def test_is_given_for_the_metadata_file_alone(self, bench: Bench) -> None:
        run = downloads._Run.current
        assert run is not None
        with run.metadata_of(bench.link()):
            assert bench.wheels.is_stand_in(str(bench.download()))
            assert run._wheel is not None
        assert run._wheel is None

    @pytest.mark.usefixtures("active")
    @pytest.mark.parametrize("damage", ["edited", "unreadable"])
    def test_is_downloaded_if_the_entry_is_damaged(
        self, bench: Bench, damage: str
    ) -> None:
        metadata = bench.entry.source("one-1.0.dist-info/METADATA")
        with open(metadata, "a") as file:
            file.write("Requires-Dist: another\n")
        if damage == "unreadable":
            os.unlink(metadata)
            os.mkdir(metadata)
        assert [*self.fetch(bench, None).iter_dependencies()] == []
        assert len(bench.index.requests) == 1

    @pytest.mark.usefixtures("active")
    def test_is_downloaded_if_there_is_no_entry(self, bench: Bench) -> None:
        bench.sha256 = WRONG
        self.fetch(bench, None)
        assert len(bench.index.requests) == 1

    def test_is_downloaded_outside_of_install(self, bench: Bench) -> None:
        with downloads.active(bench.stand_ins):
            pass
        self.fetch(bench, None)
        assert len(bench.index.requests) == 1


class TestStores:
    """Which entries are found."""

    def test_a_missing_store_is_not_made(self, bench: Bench) -> None:
        missing = bench.root / "missing"
        settings = Settings("copy", "copy", (str(missing), bench.store.root), ())
        found = StandIns(settings)
        assert found.entry(bench.sha256, bench.wheel.name) == bench.entry
        assert found.entry(WRONG, bench.wheel.name) is None
        assert not missing.exists()

    def test_a_refused_store_is_not_searched(self, bench: Bench) -> None:
        (bench.root / "store").chmod(0o777)
        found = bench.stand_ins()
        assert found.entry(bench.sha256, bench.wheel.name) is None

    def test_an_entry_that_cannot_be_read_is_passed_over(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> NoReturn:
            raise PermissionError

        monkeypatch.setattr(Store, "entry", refuse)
        assert bench.stand_ins().entry(bench.sha256, bench.wheel.name) is None

    @pytest.mark.parametrize("trust_group", [False, True])
    def test_a_store_of_a_group_is_searched_if_it_is_trusted(
        self, bench: Bench, *, trust_group: bool
    ) -> None:
        (bench.root / "store").chmod(0o2775)
        bench.settings = replace(bench.settings, trust_group=trust_group)
        found = bench.stand_ins().entry(bench.sha256, bench.wheel.name)
        assert (found is not None) is trust_group

    @pytest.mark.parametrize("mode", ["hardlink", "symlink", "copy"])
    def test_stores_are_arranged_once_and_as_for_the_installation(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        """Its own look-up would miss an entry of a store that it does not search."""
        seen: list[object] = []

        def arrange(stores: list[Store], destination: str, **options: object) -> Any:
            seen.append(options)
            assert destination == bench.settings.destination
            return stores, None

        before = os.umask(0o027)
        try:
            monkeypatch.setattr(stand_ins, "arrange", arrange)
            bench.settings = replace(bench.settings, mode=mode)
            found = bench.stand_ins()
            for _ in range(2):
                assert found.entry(bench.sha256, bench.wheel.name) is not None
        finally:
            os.umask(before)
        options = {"any_file_system": mode != "hardlink", "umask": 0o027}
        assert seen == [{**options, "planned": []}]

    def test_a_store_that_will_be_made_nearer_has_none_of_the_others(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The installation will unpack the wheel into the nearer one."""
        near = str(bench.root / "near")
        roots = (near, bench.store.root)
        settings = Settings("hardlink", "hardlink", roots, (), destination=near)
        devices = {bench.store.root: 1}
        monkeypatch.setattr(selection, "_device", lambda path: devices.get(path, 2))
        assert StandIns(settings).entry(bench.sha256, bench.wheel.name) is None
        devices[near] = 1
        assert StandIns(settings).entry(bench.sha256, bench.wheel.name) is not None

    def test_pip_itself_is_downloaded(self, bench: Bench) -> None:
        """It could not download while it replaces itself."""
        (path,) = (bench.root / "store" / "v1" / "wheels").glob("*/*/manifest.json")
        path.write_text(path.read_text().replace('"name":"one"', '"name":"Pip"'))
        assert bench.stand_ins().entry(bench.sha256, bench.wheel.name) is None

    def test_a_damaged_manifest_is_passed_over(self, bench: Bench) -> None:
        manifest = bench.root / "store" / "v1" / "wheels"
        (path,) = manifest.glob("*/*/manifest.json")
        path.write_text("{}")
        assert bench.stand_ins().entry(bench.sha256, bench.wheel.name) is None

    def test_an_entry_is_read_once(self, bench: Bench) -> None:
        first = bench.stand_ins().entry(bench.sha256, bench.wheel.name)
        assert bench.store.entry(bench.sha256) is first
        (path,) = (bench.root / "store" / "v1" / "wheels").glob("*/*/manifest.json")
        path.write_text(path.read_text().replace('"one"', '"two"'))
        again = bench.store.entry(bench.sha256)
        assert again is not None
        assert again.name == "two"


class TestShapes:
    """A pip of another shape is left alone."""

    @pytest.mark.parametrize(
        ("module", "path"),
        [
            ("network.download", "Downloader"),
            ("network.download", "Downloader.__call__"),
            ("utils.hashes", "Hashes.check_against_path"),
            ("operations.prepare", "hash_file"),
            (
                "operations.prepare",
                "RequirementPreparer._fetch_metadata_using_link_data_attr",
            ),
        ],
    )
    def test_nothing_is_patched(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, module: str, path: str
    ) -> None:
        owner, _, name = path.rpartition(".")
        target = bench.pip[module]
        target = getattr(target, owner) if owner else target
        downloader = bench.pip["network.download"].Downloader
        stock = downloader.__call__
        if name == "Downloader":
            monkeypatch.delattr(target, name)
        else:
            monkeypatch.setattr(target, name, lambda other: other)
            stock = downloader.__call__
        with downloads.active(bench.stand_ins):
            assert downloads._Run.current is None
        assert downloader.__call__ is stock

    def test_a_module_is_missing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "pip._internal.operations.prepare")
        with downloads.active(bench.stand_ins):
            assert downloads._Run.current is None

    def test_many_files_at_once_on_pip_25_0_and_older(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[Any, str]] = []

        class BatchDownloader:
            """As pip's; it does not call ``Downloader``."""

            _progress_bar = "on"

            def __call__(self, links: list[Any], location: str) -> Iterator[Any]:
                for link in links:
                    seen.append((link, self._progress_bar))
                    path = f"{location}/{link.filename}"
                    with open(path, "wb") as file:
                        file.write(bench.wheel.read_bytes())
                    yield link, (path, self._progress_bar)

        module = bench.pip["network.download"]
        monkeypatch.setattr(module, "BatchDownloader", BatchDownloader, raising=False)
        links = [bench.link(), bench.link("")]
        (bench.root / "one").mkdir()
        with downloads.active(bench.stand_ins):
            one, two = BatchDownloader()(links, str(bench.root / "one"))
        assert [one[0], two[0]] == links
        # Both have one path: the second one is the wheel.
        assert two[1] == (one[1][0], "on")
        assert not bench.wheels.is_stand_in(two[1][0])
        with downloads.active(bench.stand_ins):
            other = type(links[0])("https://localhost/two-1.0-py3-none-any.whl")
            both = [links[0], other]
            (_, (path, _)), _ = BatchDownloader()(both, str(bench.root / "one"))
        assert bench.wheels.is_stand_in(path)
        assert seen == [(links[1], "on"), (other, "on")]
        bench.wheels.fetch(path)
        assert seen[2:] == [(links[0], "off")]
        assert not bench.wheels.is_stand_in(path)


def test_modules_of_this_pip_are_those_of_the_seams() -> None:
    """Else the shapes above would say nothing."""
    assert all(
        isinstance(sys.modules[f"pip._internal.{m}"], ModuleType) for m in MODULES
    )
