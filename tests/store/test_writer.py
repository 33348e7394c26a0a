from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DataError, OperationalError

from mapdr._fast import RunQueue
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival, Header, Routing, Source
from mapdr.store import Selection, Store
from mapdr.store.queue.ingest import Entered
from mapdr.store.spool.files import MOST_WAITING
from mapdr.store.writer import BATCH, Writer
from mapdr.testing.wait import until
from store.conftest import Opener
from store.world import CT, EXPLICIT, To, push

OPEN_FILES = pytest.mark.skipif(os.name == "nt", reason="a file that is open cannot be renamed there")


class FakeIngest:
    """Records batches; `errors` are raised first, one per call; `gate` closed makes it wait."""

    def __init__(self, *errors: Exception) -> None:
        self.batches: list[list[Arrival]] = []
        self.errors = list(errors)
        self.poison: str | frozenset[str] = ""
        self.broken: Exception | None = None
        self.poison_error: Exception = DataError("INSERT", {}, ValueError("wrong"))
        self.gate = threading.Event()
        self.gate.set()
        self.entered = 0

    def enter(self, arrivals: Sequence[Arrival], route: Any) -> Entered:
        self.entered += 1
        assert self.gate.wait(10)
        if self.errors:
            raise self.errors.pop(0)
        if self.broken is not None:
            raise self.broken
        poison = {self.poison} if isinstance(self.poison, str) else self.poison
        if any(arrival.id in poison for arrival in arrivals):
            # As a new one would be: an exception that is raised again keeps its traceback, which grows.
            raise self.poison_error.with_traceback(None)
        self.batches.append(list(arrivals))
        return Entered(frozenset({"pacs"}), ())


class NoHeader:
    pixel_offset = None

    def texts(self, path: object) -> tuple[str, ...]:
        return ()

    def text(self, path: object) -> str:
        return ""

    def has(self, path: object) -> bool:
        return False


def arrival(number: int, uid: str = "") -> Arrival:
    return Arrival(
        id=f"{number:032x}",
        source=Source("in", "CT1", "MAPDR", "::1"),
        sop_class_uid=CT,
        sop_instance_uid=uid or f"1.2.{number}",
        transfer_syntax_uid=EXPLICIT,
        data_offset=0,
        size=1,
        digest=bytes(16),
        received_at=0.0,
        revision="r",
        header=NoHeader(),
    )


@pytest.fixture
def make(request: pytest.FixtureRequest) -> Any:
    def writer(ingest: FakeIngest, **options: Any) -> Writer:
        made = Writer(ingest, lambda id_: None, RunQueue(MOST_WAITING), **options)  # type: ignore[arg-type]
        made.start()

        def end() -> None:
            ingest.gate.set()
            made.stop(time.monotonic() + 10)

        request.addfinalizer(end)
        return made

    return writer


def busy(error: str = "database is locked") -> OperationalError:
    return OperationalError("INSERT secret", {"name": "SECRET"}, Exception(error))


def test_what_comes_together_is_written_together(make: Any) -> None:
    ingest = FakeIngest()
    writer = make(ingest)
    for number in range(100):
        writer.submit(arrival(number))
    assert writer.flush()
    assert [a.id for batch in ingest.batches for a in batch] == [f"{n:032x}" for n in range(100)]
    assert len(ingest.batches) < 20


def test_a_lone_row_is_written_without_waiting_for_a_full_batch(make: Any) -> None:
    """How long it waits for others is in test_writer_steps.py."""
    heard = threading.Event()
    writer = make(FakeIngest(), on_commit=lambda destinations: heard.set())
    writer.submit(arrival(1))
    assert heard.wait(10)


def test_a_uid_comes_once_in_a_batch(make: Any) -> None:
    ingest = FakeIngest()
    writer = make(ingest)
    for number in range(6):
        writer.submit(arrival(number, "1.2.3"))
    assert writer.flush()
    assert [len(batch) for batch in ingest.batches] == [1] * 6


def test_submitting_blocks_while_too_many_wait(make: Any) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    writer = make(ingest)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    for number in range(1, MOST_WAITING):
        writer.submit(arrival(number))
    late = threading.Thread(target=writer.submit, args=(arrival(MOST_WAITING),))
    late.start()
    late.join(0.1)
    assert late.is_alive(), "one more than may wait was taken"
    ingest.gate.set()
    late.join(10)
    assert not late.is_alive()
    assert writer.flush()
    assert writer.written == MOST_WAITING + 1
    assert max(map(len, ingest.batches)) <= BATCH


def test_an_index_that_cannot_be_written_is_tried_again(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mapdr.store.writer._RETRY_SECONDS", 0.01)
    ingest = FakeIngest(busy(), busy(), busy("database or disk is full"))
    writer = make(ingest)
    writer.submit(arrival(1))
    assert writer.flush()
    assert len(ingest.batches) == 1
    assert not writer.failing
    told = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert len(told) == 2, "each reason is told once"
    assert "SECRET" not in caplog.text


def test_one_bad_arrival_does_not_stop_the_others(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    ingest = FakeIngest()
    ingest.poison = f"{3:032x}"
    writer = make(ingest)
    for number in range(6):
        writer.submit(arrival(number))
    assert writer.flush()
    assert {a.id for batch in ingest.batches for a in batch} == {f"{n:032x}" for n in (0, 1, 2, 4, 5)}
    assert writer.set_aside == 1
    assert ingest.poison in caplog.text


@pytest.mark.parametrize("error", [OverflowError("SECRET"), MemoryError(), KeyError("SECRET")])
@pytest.mark.parametrize("poison", [1, 2])
def test_one_of_two_that_nobody_foresaw_is_set_aside_alone(
    make: Any, caplog: pytest.LogCaptureFixture, error: Exception, poison: int
) -> None:
    ingest = FakeIngest()
    ingest.poison, ingest.poison_error = f"{poison:032x}", error
    ingest.gate.clear()
    writer = make(ingest)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    writer.submit(arrival(1))
    writer.submit(arrival(2))
    ingest.gate.set()
    assert writer.flush()
    assert [[a.id for a in batch] for batch in ingest.batches] == [[f"{0:032x}"], [f"{3 - poison:032x}"]]
    assert (writer.set_aside, writer.failing) == (1, "")
    assert ingest.poison in caplog.text
    assert "SECRET" not in caplog.text
    writer.submit(arrival(3))
    assert writer.flush()
    assert writer.written == 3


def test_what_was_set_aside_is_tried_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.store.set_aside._RETRY_SECONDS", 0.02)
    ingest = FakeIngest()
    ingest.poison = f"{1:032x}"
    writer = make(ingest)
    writer.submit(arrival(1))
    until(lambda: ingest.entered > 3)
    assert writer.set_aside == 1
    ingest.poison = ""
    until(lambda: writer.written == 1)
    until(lambda: not writer.set_aside)
    assert [a.id for batch in ingest.batches for a in batch] == [f"{1:032x}"]


def test_nothing_is_taken_while_nothing_can_be_written(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mapdr.store.writer._RETRY_SECONDS", 0.01)
    ingest = FakeIngest()
    ingest.broken = busy("database disk image is malformed")
    writer = make(ingest)
    writer.submit(arrival(1))
    until(lambda: writer.failing)
    assert writer.failing == "database disk image is malformed"
    with pytest.raises(Refused) as caught:
        writer.submit(arrival(2))
    assert caught.value.status == 0xA700
    until(lambda: ingest.entered > 20)
    assert len(caplog.records) == 1, "a trouble that lasts is one line a minute"
    ingest.broken = None
    assert writer.flush()
    assert writer.failing == ""
    writer.submit(arrival(3))
    assert writer.flush()
    assert [a.id for batch in ingest.batches for a in batch] == [f"{1:032x}", f"{3:032x}"]


def test_who_waits_for_room_is_refused_when_nothing_can_be_written(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    writer = make(ingest)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    for number in range(1, MOST_WAITING):
        writer.submit(arrival(number))
    assert writer.waiting == MOST_WAITING
    answers: list[int] = []

    def late() -> None:
        try:
            writer.submit(arrival(9999))
        except Refused as refused:
            answers.append(refused.status)

    thread = threading.Thread(target=late)
    thread.start()
    ingest.broken = busy()
    ingest.gate.set()
    thread.join(10)
    assert answers == [0xA700]
    ingest.broken = None  # or the writer tries to the deadline of its end


def test_a_fault_that_concerns_every_image_refuses_them(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.store.writer._SYSTEMIC_SECONDS", 0.5)
    monkeypatch.setattr("mapdr.store.set_aside._RETRY_SECONDS", 0.02)
    ingest = FakeIngest()
    ingest.broken = OverflowError("SECRET")
    writer = make(ingest)
    for number in range(20):
        writer.submit(arrival(number))
    until(lambda: writer.failing)
    assert "OverflowError" in writer.failing
    assert "SECRET" not in writer.failing
    with pytest.raises(Refused) as caught:
        writer.submit(arrival(99))
    assert caught.value.status == 0xA700
    ingest.broken = None
    until(lambda: not writer.set_aside and not writer.waiting, 20)
    assert {a.id for batch in ingest.batches for a in batch} == {f"{n:032x}" for n in range(20)}
    assert not writer.failing


def test_what_was_set_aside_refuses_nobody_when_it_is_tried_again(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.writer._SYSTEMIC_SECONDS", 0.01)
    monkeypatch.setattr("mapdr.store.set_aside._RETRY_SECONDS", 0.02)
    ingest = FakeIngest()
    ingest.poison = frozenset(f"{n:032x}" for n in range(20))
    told: list[str] = []
    writer = make(ingest)
    fails, recovers = writer._fails, writer._recovers
    monkeypatch.setattr(writer, "_fails", lambda cause: (told.append(cause), fails(cause)))
    monkeypatch.setattr(writer, "_recovers", lambda: (told.append(""), recovers()))
    for number in range(20):
        with contextlib.suppress(Refused):
            writer.submit(arrival(number))
    until(lambda: writer.set_aside >= 10 and not writer.waiting and not writer.failing)
    entered = ingest.entered
    told.clear()
    until(lambda: ingest.entered > entered + 100)
    assert told == []
    writer.submit(arrival(99))
    assert writer.flush()
    assert writer.written == 1


def test_many_bad_images_cost_one_pause(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    ingest = FakeIngest()
    ingest.poison = frozenset(f"{n:032x}" for n in range(1, 200))
    ingest.gate.clear()
    writer = make(ingest)
    monkeypatch.setattr(writer, "_pause", lambda seconds: pauses.append(seconds) or True)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    for number in range(1, 201):
        writer.submit(arrival(number))
    ingest.gate.set()
    assert writer.flush(60)
    assert (writer.written, writer.set_aside, writer.failing) == (2, 199, "")
    assert len(pauses) <= 1


@pytest.mark.parametrize("bad", [1, 500, 999])
def test_one_bad_image_costs_few_transactions(make: Any, bad: int) -> None:
    ingest = FakeIngest()
    ingest.poison = f"{bad:032x}"
    ingest.gate.clear()
    writer = make(ingest)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    for number in range(1, BATCH + 1):
        writer.submit(arrival(number))
    ingest.gate.set()
    assert writer.flush()
    assert (writer.written, writer.set_aside) == (BATCH, 1)
    assert ingest.entered < 40


def test_runs_are_open_just_when_the_index_can_be_written(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are opened and closed while the writer's state stands still, whoever else would change it."""
    writer = make(FakeIngest())
    states: list[tuple[bool, str]] = []

    class Runs:
        waiting = backlog = 0
        in_use = False

        def drain(self) -> tuple[()]:
            return ()

        def open(self) -> None:
            self.changed(True, lambda: writer._fails("late"))

        def close(self) -> None:
            self.changed(False, writer._recovers)

        def changed(self, opened: bool, against: Callable[[], None]) -> None:
            other = threading.Thread(target=against)
            if len(states) < 4:
                other.start()
                other.join(0.05)
            states.append((opened, writer.failing))

    monkeypatch.setattr(writer, "_runs", Runs())
    writer._fails("full")
    until(lambda: len(states) >= 5)
    assert all(opened == (not failing) for opened, failing in states)


def test_stopping_goes_on_trying_until_its_deadline(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.store.writer._RETRY_SECONDS", 0.02)
    ingest = FakeIngest()
    ingest.broken = busy()
    writer = make(ingest)
    writer.submit(arrival(1))
    until(lambda: writer.failing)
    ended = threading.Thread(target=writer.stop, args=(time.monotonic() + 30,))
    ended.start()
    before = ingest.entered
    until(lambda: ingest.entered > before + 3)
    ingest.broken = None
    ended.join(10)
    assert (writer.written, writer.waiting) == (1, 0)


def test_stopping_ends_at_its_deadline(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest = FakeIngest()
    ingest.broken = busy()
    writer = make(ingest)
    writer.submit(arrival(1))
    until(lambda: writer.failing)
    thread = writer._thread
    writer.stop(time.monotonic() + 0.1)
    until(lambda: not thread.is_alive())
    assert writer.waiting == 1


def test_a_listener_that_fails_costs_no_image_its_row(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    ingest = FakeIngest()

    def fails(destinations: frozenset[str]) -> None:
        raise RuntimeError("SECRET")

    writer = make(ingest, on_commit=fails)
    writer.submit(arrival(1))
    until(lambda: writer.written == 1)
    writer.submit(arrival(2))
    until(lambda: writer.written == 2)
    assert len(ingest.batches) == 2, "what is committed is not entered again"
    assert writer.set_aside == 0
    assert "mapdr-writer" in caplog.text
    assert "SECRET" not in caplog.text


@OPEN_FILES
def test_images_are_refused_while_the_file_of_the_index_is_gone(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mapdr.store.writer._RETRY_SECONDS", 0.02)
    store = opener()
    push(store, "1.1")
    assert store.writer.flush()
    index, aside = store.data / "index.db", store.data / "aside.db"
    index.rename(aside)
    push(store, "1.2")
    until(lambda: store.writer.failing)
    assert "index.db" in store.writer.failing
    for way in (lambda: push(store, "1.3"), store.spool.check_room):
        with pytest.raises(Refused) as caught:
            way()
        assert caught.value.status == 0xA700
    assert not list(store.spool.folder.rglob("*.part"))
    aside.rename(index)
    until(lambda: not store.writer.failing)
    push(store, "1.3")
    assert store.writer.flush()
    rows = store.listing.select(Selection())
    assert sorted(row.sop_instance_uid for row in rows) == ["1.1", "1.2", "1.3"]


@OPEN_FILES
def test_an_index_that_goes_while_nothing_comes_is_noticed(opener: Opener) -> None:
    store = opener()
    index, aside = store.data / "index.db", store.data / "aside.db"
    assert store.look_at_the_index() == ""
    index.rename(aside)
    index.write_bytes(b"")
    assert "removed or replaced" in store.look_at_the_index()
    assert store.health()["refusing"]
    with pytest.raises(Refused) as caught:
        push(store, "1.1")
    assert caught.value.status == 0xA700
    assert not list(store.spool.folder.rglob("*.dcm"))
    aside.replace(index)
    assert store.look_at_the_index() == ""
    push(store, "1.2")
    assert store.writer.flush()


def test_stopping_writes_what_waits_and_refuses_what_comes(make: Any) -> None:
    ingest = FakeIngest()
    writer = make(ingest)
    for number in range(50):
        writer.submit(arrival(number))
    writer.stop(time.monotonic() + 10)
    writer.stop(time.monotonic() + 10)
    assert sum(map(len, ingest.batches)) == 50
    with pytest.raises(Refused) as caught:
        writer.submit(arrival(51))
    assert caught.value.status == 0xA700


def test_a_blocked_receiver_is_freed_when_the_node_stops(make: Any) -> None:
    ingest = FakeIngest()
    ingest.gate.clear()
    writer = make(ingest)
    writer.submit(arrival(0))
    until(lambda: ingest.entered)
    for number in range(1, MOST_WAITING):
        writer.submit(arrival(number))
    answers: list[int] = []

    def late() -> None:
        try:
            writer.submit(arrival(9999))
        except Refused as refused:
            answers.append(refused.status)

    thread = threading.Thread(target=late)
    thread.start()
    stopping = threading.Thread(target=writer.stop, args=(time.monotonic() + 10,))
    stopping.start()
    thread.join(10)
    assert answers == [0xA700]
    ingest.gate.set()
    stopping.join(10)


def test_nothing_is_leased_before_its_row_is_committed(opener: Opener) -> None:
    store = opener()
    leased_early: list[int] = []
    writer_engine = store.database._writer

    @event.listens_for(writer_engine, "commit")
    def _before_commit(connection: Any) -> None:
        if threading.current_thread().name == "mapdr-writer":
            with store.database.read() as reading:
                leased_early.append(reading.exec_driver_sql("SELECT count(*) FROM delivery").scalar_one())

    push(store, "1.2.3.1")
    assert store.writer.flush()
    assert leased_early[-1] == 0
    assert len(store.ledger.lease("pacs", 10, 60, "node")) == 1


class Broken:
    wanted: frozenset[tuple[int, ...]] = frozenset()

    def route(self, header: Header, source: Source) -> Routing:
        raise RuntimeError("NAME^SECRET")


def test_an_image_whose_rules_fail_is_kept_and_shown(
    opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    store = opener(router=Broken())
    id_ = push(store, "1.2.3.1")
    assert store.writer.flush()
    assert store.counts.unrouted() == 1
    assert store.spool.path(id_).exists()
    assert id_ in caplog.text
    assert "SECRET" not in caplog.text


def test_objects_under_way_end_under_the_rules_they_began_with(store: Store) -> None:
    from store.world import SOURCE, data_set

    old = store.spool.begin(SOURCE, CT, "1.1", EXPLICIT)
    old.write(data_set("1.1"))
    store.use("rev2", To("other"), {"r0": {}})
    old.commit()
    push(store, "1.2")
    assert store.writer.flush()
    rows = {row.sop_instance_uid: row.destination for row in store.listing.select(Selection())}
    assert rows == {"1.1": "pacs", "1.2": "other"}


def test_text_that_no_database_takes_is_cleaned(store: Store) -> None:
    push(store, "1.2.3.1", modality="C\0T", source=Source("in", "A\udcffE", "M\0", "h"))
    assert store.writer.flush()
    assert store.writer.set_aside == 0
    (delivery,) = store.ledger.lease("pacs", 1, 1, "node")
    assert delivery.instance.source.calling_ae in ("A\udcffE", "A?E")
