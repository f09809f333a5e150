"""What a look at an entry has found counts for a moment, and for that entry only."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pip_linkmode import interpreters
from pip_linkmode.errors import EntryDamagedError
from pip_linkmode.prepare import checker, lookahead, pool
from pip_linkmode.prepare.lookahead import AheadChecker
from pip_linkmode.prepare.preparer import Preparer
from pip_linkmode.store import bytecode, entry, manifest
from pip_linkmode.store.layout import BYTECODE, FILES, MANIFEST
from pip_linkmode.store.manifest import NO_CHECKS
from tests.support.wheels import make_wheel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pip_linkmode.store.entry import Entry
    from tests.support.house import House

NAMES = [f"package{number}" for number in range(4)]


@pytest.fixture
def stored(house: House) -> list[Entry]:
    return [house.entry(name) for name in NAMES]


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[AheadChecker]:
    """One for which four entries are enough, and that takes two at a time."""
    monkeypatch.setattr(lookahead, "FEWEST", len(NAMES))
    monkeypatch.setattr(lookahead, "_LEAD", 1)
    monkeypatch.setattr(lookahead, "_CHUNK", 2)
    monkeypatch.setattr(lookahead, "cores", lambda: 2)
    created = AheadChecker(interpreters.interpreter())
    yield created
    created.stop()


def compiled(one: Entry) -> str:
    return os.path.join(one.path, BYTECODE, interpreters.interpreter())


def wait(ahead: AheadChecker, last: Entry) -> None:
    deadline = time.monotonic() + 30
    while last.path not in ahead._seen:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def damage(one: Entry) -> None:
    path = Path(one.path, FILES, one.name, "data")
    path.chmod(0o644)
    path.write_text("edited")


def test_entries_are_looked_at_with_their_bytecode(
    ahead: AheadChecker, stored: list[Entry]
) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    for one in stored[1:]:
        seen = ahead.seen(one.path)
        assert set(seen.stamps) == {one.path, compiled(one)}
        assert all(map(seen.covers, seen.stamps))


def test_first_ones_have_their_turn_before_a_process_has_started(
    ahead: AheadChecker, stored: list[Entry]
) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    assert ahead.seen(stored[0].path) == NO_CHECKS


def test_it_counts_once(ahead: AheadChecker, stored: list[Entry]) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    assert ahead.seen(stored[-1].path) != NO_CHECKS
    assert ahead.seen(stored[-1].path) == NO_CHECKS


def test_it_is_not_done_earlier_than_it_is_of_use(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "_CHUNK", 1)
    jobs = []
    submit = ahead._workers.submit

    def noted(*job: object) -> Future[Any]:
        jobs.append(job[1:])
        return submit(*job)

    monkeypatch.setattr(ahead._workers, "submit", noted)
    paths = [one.path for one in stored]
    ahead.begin(paths)
    assert jobs == [(paths[1],), (paths[2],)]
    ahead.seen(paths[0])
    assert len(jobs) == 2
    ahead.seen(paths[1])
    assert jobs[2:] == [(paths[3],)]
    ahead.seen(paths[2])
    assert len(jobs) == 3


def test_what_was_seen_is_not_looked_at_again(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    monkeypatch.setattr(entry, "check_files", None)
    monkeypatch.setattr(bytecode, "check_files", None)
    seen = ahead.seen(stored[-1].path)
    stored[-1].check(seen)
    assert bytecode.load(compiled(stored[-1]), stored[-1].sources, seen) is not None


def test_it_counts_for_a_moment(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    monkeypatch.setattr(lookahead, "SECONDS", 0)
    assert ahead.seen(stored[-1].path) == NO_CHECKS


def test_its_age_is_that_of_the_question(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is stopped before the answer, or waits for a disk, has seen it before."""
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    ahead._submit()
    ahead.begin([one.path for one in stored])
    monkeypatch.undo()
    wait(ahead, stored[-1])
    assert ahead._seen[stored[-1].path][0] == now


def test_it_counts_for_that_manifest(ahead: AheadChecker, stored: list[Entry]) -> None:
    ahead.begin([one.path for one in stored])
    wait(ahead, stored[-1])
    seen = ahead.seen(stored[-1].path)
    os.utime(os.path.join(stored[-1].path, MANIFEST))
    damage(stored[-1])
    with pytest.raises(EntryDamagedError, match="not as it was written"):
        stored[-1].check(seen)
    os.unlink(os.path.join(stored[-1].path, MANIFEST))
    with pytest.raises(EntryDamagedError, match="not as it was written"):
        stored[-1].check(seen)


@pytest.mark.parametrize("few", ["entries", "cores"])
def test_no_process_is_started_for_little(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch, few: str
) -> None:
    if few == "entries":
        del stored[0]
    else:
        monkeypatch.setattr(lookahead, "cores", lambda: 1)
    monkeypatch.setattr(ahead._workers, "submit", None)
    ahead.begin([one.path for one in stored])


def test_nothing_is_seen_where_no_process_can_be_started(
    ahead: AheadChecker, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*program: object) -> None:
        raise pool.WorkersError(program)

    monkeypatch.setattr(pool, "_start", start)
    ahead.begin([one.path for one in stored])
    ahead.stop()
    assert not ahead._seen


@pytest.mark.parametrize("answer", [3, [], {"path": 3}, {"path": {"directory": 3}}])
def test_nonsense_is_not_believed(
    ahead: AheadChecker,
    stored: list[Entry],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    answer: object,
) -> None:
    answered: Future[object] = Future()
    answered.set_result(answer)
    monkeypatch.setattr(ahead._workers, "submit", lambda *_: answered)
    ahead.begin([one.path for one in stored])
    assert not ahead._seen
    assert not caplog.records


def test_what_is_not_as_it_should_be_is_not_seen(stored: list[Entry]) -> None:
    name = interpreters.interpreter()
    sound, edited, uncompiled, gone = stored
    damage(edited)
    os.unlink(os.path.join(compiled(uncompiled), MANIFEST))
    os.unlink(os.path.join(gone.path, MANIFEST))
    answer = checker.answer([name, *(one.path for one in stored)])["done"]
    assert [set(answer[one.path]) for one in stored] == [
        {sound.path, compiled(sound)},
        set(),
        {uncompiled.path},
        set(),
    ]


@pytest.mark.parametrize("what", ["a source", "bytecode"])
def test_bytecode_that_is_not_whole_is_not_seen(stored: list[Entry], what: str) -> None:
    one = stored[0]
    if what == "bytecode":
        os.unlink(os.path.join(compiled(one), one.name, "__init__.pyc"))
    else:
        os.unlink(os.path.join(one.path, FILES, one.name, "__init__.py"))
    seen = checker.look(one.path, interpreters.interpreter())
    assert set(seen) == ({one.path} if what == "bytecode" else set())


def test_entry_that_is_not_there_is_not_seen(house: House, stored: list[Entry]) -> None:
    missing = house.store.path("0" * 64)
    assert checker.look(missing, interpreters.interpreter()) == {}
    os.makedirs(os.path.dirname(missing))
    os.rename(stored[0].path, missing)
    # It speaks of another wheel.
    assert checker.look(missing, interpreters.interpreter()) == {}


def test_entry_that_is_taken_away_meanwhile_is_not_seen(
    stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checker, "load_entry", lambda *_: None)
    assert checker.look(stored[0].path, interpreters.interpreter()) == {}


def test_intake_believes_what_was_seen(
    house: House, stored: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead, "FEWEST", 1)
    monkeypatch.setattr(lookahead, "_LEAD", 0)
    monkeypatch.setattr(lookahead, "cores", lambda: 2)
    options: dict[str, Any] = {"umask": 0o022, "pycompile": True}
    wheels = {
        str(make_wheel(house.path / "announced", one.name)): one for one in stored
    }
    digests = {wheel: one.sha256 for wheel, one in wheels.items()}
    preparer = Preparer([house.store], **options, known=digests.get, look_ahead=True)
    try:
        preparer.start(wheels)
        wait(preparer._look_ahead, stored[-1])
        looked: list[str] = []
        stock = manifest.check_files

        def check_files(base: str, files: Iterable[tuple[str, int, int, int]]) -> None:
            looked.append(base)
            stock(base, files)

        for module in (entry, bytecode):
            monkeypatch.setattr(module, "check_files", check_files)
        for wheel, one in wheels.items():
            found = preparer.prepare(wheel)
            assert (found.entry, found.fresh) == (one, False)
            assert found.bytecode is not None
        assert looked == []
        for wheel, one in wheels.items():
            damage(one)
            with pytest.raises(EntryDamagedError):
                preparer.prepare(wheel)
        assert looked == [os.path.join(one.path, FILES) for one in stored]
    finally:
        preparer.stop()
    assert workers_of(preparer) == []


def test_intake_looks_ahead_only_if_it_may(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookahead.AheadChecker, "begin", None)
    preparer = Preparer([house.store], umask=0o022, pycompile=True)
    preparer.start([])
    preparer.stop()


def workers_of(preparer: Preparer) -> list[object]:
    return [*preparer._look_ahead._workers._processes, *preparer._workers._processes]
