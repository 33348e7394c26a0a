"""What transforms have found is kept before the payload is handed out, that of many images at once."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from deliver.fakes import FakeLedger, FakePipeline, make_instance
from mapdr.deliver.feed import facts_writer
from mapdr.deliver.feed.facts_writer import FactsWriter, Kept, Noted
from mapdr.deliver.feed.preparer import Preparer
from mapdr.kernel.item import Instance, Payload
from mapdr.store.index.fault import IndexFault
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.testing.wait import until


class Finding(FakePipeline):
    """Keeps the image's id, and for some of them nothing."""

    def __init__(self, quick: bool = False) -> None:
        super().__init__(quick=quick)
        self.silent: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        assert self.go.wait(10)
        if instance.id not in self.silent:
            memory.keep({"id": "an earlier step's"})
            assert memory.recall() == {"id": "an earlier step's"}
            memory.keep({"id": instance.id})
        return super().prepare(instance, memory, syntax_override)


class Notes(FakeLedger):
    """Keeps what it is given, one transaction in each list of `kept`, while `go` is set."""

    def __init__(self) -> None:
        super().__init__([])
        self.kept: list[list[str]] = []
        self.refused: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def memory(self, instance_id: str, recipe: str, syntax: str) -> Any:
        return instance_id

    def keep(self, kept: Kept) -> None:
        assert self.go.wait(10)
        assert all(memory == facts["id"] for memory, facts in kept)
        ids = [facts["id"] for _, facts in kept]
        if self.refused & set(ids):
            raise OSError(28, "No space left on device")
        self.kept.append(ids)


def delivery(number: int) -> LeasedDelivery:
    return LeasedDelivery(number, make_instance(number), "a", 0, 0, "r", "", 0, 0.0)


def id_of(number: int) -> str:
    return make_instance(number).id


def together(preparer: Preparer, chain: Finding, *numbers: int) -> list[Future[Payload]]:
    """The images are asked for before the first of them is worked on."""
    chain.go.clear()
    asked: list[Future[Payload]] = [preparer.request(delivery(number), "") for number in numbers]
    chain.go.set()
    return asked


def test_a_payload_is_handed_out_once_its_facts_are_kept() -> None:
    notes, chain = Notes(), Finding()
    chain.silent.add(id_of(2))
    notes.go.clear()
    with ThreadPoolExecutor(2) as pool:
        preparer = Preparer(notes, lambda steps: chain, pool)
        waits, goes = (preparer.request(delivery(number), "") for number in (1, 2))
        assert goes.result(10), "it has nothing to wait for"
        until(lambda: len(chain.prepared) == 2)
        assert not waits.done()
        assert not preparer.at_once(delivery(1), "")
        notes.go.set()
        assert waits.result(10)
        preparer.close()
    assert notes.kept == [[id_of(1)]], "and what the last step has kept, once"


def test_facts_of_images_that_come_together_are_kept_in_one_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts_writer, "SECONDS", 600.0)
    notes, chain = Notes(), Finding()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(notes, lambda steps: chain, pool)
        preparer.request(delivery(1), "").result(10)
        assert notes.kept == [[id_of(1)]], "a lone image waits for none"
        assert all(each.result(10) for each in together(preparer, chain, *range(2, 8)))
        preparer.close()
    assert [sorted(ids) for ids in notes.kept[1:]] == [sorted(map(id_of, range(2, 8)))]


def test_the_last_image_at_work_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_writer, "SECONDS", 600.0)
    notes, chain = Notes(), Finding()
    chain.silent.add(id_of(5))
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(notes, lambda steps: chain, pool)
        preparer.request(delivery(1), "").result(10)
        for number in (2, 3):
            assert all(each.result(10) for each in together(preparer, chain, number, number + 2))
        preparer.close()
    assert notes.kept == [[id_of(1)], [id_of(2), id_of(4)], [id_of(3)]], "whether the last has facts or none"


def test_what_cannot_be_kept_is_told_to_who_asked_and_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(facts_writer, "SECONDS", 0.5)
    notes, chain = Notes(), Finding()
    notes.refused.add(id_of(3))
    with ThreadPoolExecutor(4) as pool:
        preparer = Preparer(notes, lambda steps: chain, pool)
        preparer.request(delivery(1), "").result(10)
        one, refused, other = together(preparer, chain, 2, 3, 4)
        with pytest.raises(OSError, match="No space left"):
            refused.result(10)
        assert all(each.result(10) for each in (one, other))
        preparer.close()
    assert sorted(notes.kept[1:]) == [[id_of(2)], [id_of(4)]]


def test_what_takes_no_thread_is_kept_before_it_is_given_too() -> None:
    notes, chain = Notes(), Finding(quick=True)
    preparer = Preparer(notes, lambda steps: chain, ThreadPoolExecutor(1))
    assert preparer.now(delivery(1), "")
    assert notes.kept == [[id_of(1)]]
    notes.refused.add(id_of(2))
    with pytest.raises(OSError, match="No space left"):
        preparer.now(delivery(2), "")


def test_a_step_is_told_of_its_series_what_the_memory_behind_it_knows() -> None:
    known = SimpleNamespace(recall=lambda: None, keep=print, of_series=lambda: [{"id": "another's"}])
    assert Noted(known).of_series() == [{"id": "another's"}]
    assert list(Noted(SimpleNamespace(recall=lambda: None, keep=print)).of_series()) == []


def test_nothing_is_handed_out_behind_the_end() -> None:
    notes, chain = Notes(), Finding()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(notes, lambda steps: chain, pool)
        preparer.close()
        asked = preparer.request(delivery(1), "")
        until(asked.cancelled)
    assert not notes.kept


def told_of(writer: FactsWriter, count: int) -> tuple[list[Exception | None], int]:
    """What each of so many images is told, once they wait; and how many are refused at once."""
    told: list[Exception | None] = []
    refused = 0
    for number in range(count):
        noted = Noted(Notes().memory(str(number), "r", ""))
        noted.keep({"id": str(number)})
        try:
            writer.soon(noted, told.append)
        except RuntimeError:
            refused += 1
    return told, refused


def test_what_waits_at_the_end_is_told_so_and_what_comes_later_refused() -> None:
    under_way, go = threading.Event(), threading.Event()
    written: list[int] = []

    def write(kept: Kept) -> None:
        under_way.set()
        assert go.wait(20)
        written.append(len(kept))

    writer = FactsWriter(write)
    first, _ = told_of(writer, 1)
    assert under_way.wait(20)
    waiting, refused = told_of(writer, 3)
    assert (waiting, refused) == ([], 0)
    writer.close()
    assert [type(each) for each in waiting] == [CancelledError] * 3
    assert told_of(writer, 2) == ([], 2)
    go.set()
    until(lambda: first == [None])
    assert written == [1]


@pytest.mark.parametrize(("error", "tries"), [(IndexFault("locked"), 1), (ValueError("one of them"), 4)])
def test_facts_are_tried_one_by_one_only_where_one_may_be_the_cause(
    error: Exception, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def write(kept: Kept) -> None:
        tried.append(len(kept))
        if len(tried) > 1:
            raise error

    monkeypatch.setattr(facts_writer, "SECONDS", 0.5)
    writer = FactsWriter(write)
    first, _ = told_of(writer, 1)
    until(lambda: first == [None])
    told, _ = told_of(writer, 3)
    until(lambda: len(told) == 3)
    assert told == [error] * 3
    assert len(tried) - 1 == tries
    writer.close()
