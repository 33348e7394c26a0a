"""What the end of an attempt writes: the row, the attempt, and what is counted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from mapdr.kernel.item import NOWHERE
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index.delays import bucket_of
from mapdr.store.index.figures import Where
from mapdr.store.index.schema import State
from mapdr.store.queue.settle import _ended, _is_too_late
from store.conftest import Opener
from store.entered import facts, image, to
from store.world import To, push


@pytest.mark.parametrize(
    ("before", "changed_by"),
    [
        (State.PENDING, {State.PENDING, State.PARKED, State.DELIVERED}),  # its lease ran out meanwhile
        (State.LEASED, {State.PENDING, State.PARKED, State.DELIVERED}),
        (State.HELD, {State.PARKED, State.DELIVERED}),
        (State.PARKED, {State.PARKED, State.DELIVERED}),
        (State.DELIVERED, set()),
        (State.SUPERSEDED, {State.DELIVERED}),
        (State.DISMISSED, {State.DELIVERED}),
    ],
)
def test_which_rows_an_answer_changes_that_comes_late(before: State, changed_by: set[State]) -> None:
    ends = (State.PENDING, State.PARKED, State.DELIVERED)
    assert {after for after in ends if not _is_too_late(before, after)} == changed_by


@dataclass
class Row:
    """One image's delivery, leased, and what the index says of it."""

    store: Store
    id: int

    def settle(self, *ends: Settlement) -> None:
        self.store.ledger.settle(ends)

    @property
    def listed(self) -> Any:
        (row,) = [row for row in self.store.listing.select(Selection()) if row.id == self.id]
        return row

    def facts(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.database.read() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    @property
    def failures(self) -> dict[str, tuple[int, int]]:
        """Attempts that failed and images that they parked, by reason."""
        rows = self.facts("SELECT reason, attempts, parked FROM failure")
        return {reason: (attempts, parked) for reason, attempts, parked in rows}


@pytest.fixture
def row(store: Store) -> Row:
    push(store, "1.2.3.1")
    assert store.writer.flush()
    (leased,) = store.ledger.lease("pacs", 9, 60, "node")
    return Row(store, leased.id)


def test_two_answers_for_one_row_in_a_batch_count_once_and_are_both_kept(row: Row) -> None:
    end = Settlement(row.id, "delivered", status=0, started_at=5.0, bytes=10)
    row.settle(end, end._replace(started_at=6.0), end._replace(state="parked", reason="refused"))
    assert [(each.number, each.started_at) for each in row.store.listing.attempts([row.id])[row.id]] == [
        (1, 5.0),
        (2, 6.0),
        (3, 5.0),
    ]
    assert (row.listed.state, row.listed.reason) == ("delivered", "")
    assert row.listed.attempts == 1, "only what changed the row is one of its tries"
    assert row.listed.last.number == 3
    counts = row.store.counts.today()["delivered"]["pacs"]["CT"]
    assert (counts["images"], counts["repeats"]) == (1, 0)
    assert row.failures == {"refused": (1, 0)}, "a late failure has parked nothing"


def test_what_an_attempt_leaves_undone_is_as_it_was(row: Row) -> None:
    """Nothing of the lease, of an earlier reason, or of when it ended stays with a row that goes on."""
    row.settle(Settlement(row.id, "parked", reason="refused", comment="no", not_before=3.0))
    assert row.listed.settled_at is not None
    assert (row.listed.reason, row.listed.comment) == ("refused", "no")
    row.store.actions.retry(Selection())
    row.store.ledger.lease("pacs", 9, 60, "node")
    row.settle(Settlement(row.id, "pending", not_before=5e9, count_attempt=False))
    listed = row.listed
    assert (listed.state, listed.not_before, listed.settled_at) == ("pending", 5e9, None)
    assert (listed.reason, listed.comment, listed.attempts) == ("", "", 0)
    assert row.facts("SELECT leased_until, owner, tries FROM delivery") == [(None, None, 2)]


def test_a_syntax_that_is_overridden_stays_until_it_is_taken_back(row: Row) -> None:
    for syntax, expected in (("1.2.840.1", "1.2.840.1"), (None, "1.2.840.1"), ("", "")):
        row.settle(Settlement(row.id, "pending", syntax=syntax))
        (leased,) = row.store.ledger.lease("pacs", 9, 60, "node")
        assert leased.syntax == expected


def test_failures_are_counted_by_reason_but_for_a_change_of_syntax(row: Row) -> None:
    retry = Settlement(row.id, "pending", reason="receiver-busy")
    row.settle(retry)
    row.settle(retry, retry._replace(reason="refused"))
    row.settle(retry._replace(reason="syntax-refused", syntax="1.2.840.1"))
    assert row.failures == {"receiver-busy": (2, 0), "refused": (1, 0)}
    row.settle(retry._replace(state="parked", reason="syntax-refused", syntax=""))
    assert row.failures["syntax-refused"] == (1, 1)
    assert row.store.counts.today()["delivered"] == {}


def test_a_study_is_judged_anew_where_a_row_has_ended_and_only_there(row: Row) -> None:
    def due() -> int:
        (found,) = row.facts("SELECT count(*) FROM progress WHERE due = 1 AND destination <> 0")
        return int(found[0])

    with row.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET due = 0")
    row.settle(Settlement(row.id, "pending"))
    assert due() == 0
    row.settle(Settlement(row.id, "parked", reason="refused"))
    assert due() == 1


def test_how_long_an_image_took_is_counted_to_the_end_of_its_attempt(store: Store) -> None:
    push(store, "1.2.3.1")
    assert store.writer.flush()
    (leased,) = store.ledger.lease("pacs", 9, 60, "node")
    began = leased.instance.received_at + 100
    row = Row(store, leased.id)
    row.settle(Settlement(leased.id, "delivered", started_at=began, milliseconds=28_000))
    assert row.facts("SELECT bucket, images FROM delay") == [(bucket_of(128.0), 1)]
    push(store, "1.2.3.1")
    assert store.writer.flush()
    (again,) = store.ledger.lease("pacs", 9, 60, "node")
    row.settle(Settlement(again.id, "delivered", started_at=began, milliseconds=28_000))
    assert row.facts("SELECT bucket, images FROM delay") == [(bucket_of(128.0), 1)], "a repeat is none"


def test_what_was_promised_anew_did_not_wait_since_it_came(store: Store) -> None:
    push(store, "1.2.3.1")
    assert store.writer.flush()
    (leased,) = store.ledger.lease("pacs", 9, 60, "node")
    row = Row(store, leased.id)
    row.settle(Settlement(leased.id, "parked", reason="refused"))
    store.rerouting.reroute(Selection(state="parked"), To("pacs").route, frozenset())
    (again,) = store.ledger.lease("pacs", 9, 60, "node")
    row.settle(Settlement(again.id, "delivered", bytes=7))
    assert row.facts("SELECT bucket FROM delay") == []
    assert row.facts("SELECT sum(bytes_sent) FROM tally WHERE origin = 0 AND destination <> 0") == [(7,)]


def test_an_attempt_names_the_uid_that_was_sent_only_where_it_is_another(row: Row) -> None:
    row.settle(Settlement(row.id, "pending", sop_instance_uid="1.2.3.1"))
    row.settle(
        Settlement(row.id, "pending", sop_instance_uid="2.25.7", credential="tls:CN=PACS", treatment="lossy")
    )
    assert row.facts("SELECT sop_instance_uid FROM attempt ORDER BY number") == [(None,), ("2.25.7",)]
    assert [each.sop_instance_uid for each in row.store.listing.attempts([row.id])[row.id]] == [
        "1.2.3.1",
        "2.25.7",
    ]
    assert [each.credential for each in row.store.listing.attempts([row.id])[row.id]] == ["", "tls:CN=PACS"]
    assert row.facts("SELECT treatment FROM attempt ORDER BY number") == [(None,), ("lossy",)]


def test_the_same_image_twice_in_one_batch_of_ends_is_a_repeat_there(opener: Opener) -> None:
    """Each of two promises under one UID is delivered: the second is a repeat, with other bytes a version."""
    store = opener()
    names = ("A", "B")
    for name in names:
        push(store, "1.2.3.1", name=name)
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "node")
    assert len(rows) == len(names)
    store.ledger.settle([Settlement(each.id, "delivered", bytes=5) for each in rows])
    counts = store.counts.today()["delivered"]["pacs"]["CT"]
    assert (counts["images"], counts["repeats"], counts["versions"]) == (1, 0, 1)
    for name in names:
        push(store, "1.2.3.1", name=name)
        assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "node")
    store.ledger.settle([Settlement(each.id, "delivered", bytes=5) for each in rows])
    counts = store.counts.today()["delivered"]["pacs"]["CT"]
    assert (counts["images"], counts["repeats"], counts["versions"]) == (1, 2, 1)


def test_each_image_that_goes_is_counted_for_its_sender_with_its_bytes(opener: Opener) -> None:
    """In its hour and minute too; one of nobody is counted for all together alone."""
    store = opener(start=False)
    pushed = [image(1, size=10), image(2, size=200), image(3), image(4, size=3000, source=NOWHERE)]
    store.ingest.enter(pushed, to("pacs"))
    leased = {row.instance.sop_instance_uid: row.id for row in store.ledger.lease("pacs", 9, 60, "node")}
    ended = [Settlement(leased[uid], "delivered", bytes=7) for uid in ("1.2.1", "1.2.2", "1.2.4")]
    store.ledger.settle([*ended, Settlement(leased["1.2.3"], "parked", reason="refused")])
    went = {
        one.where: (one.images, one.bytes_received, one.bytes_sent)
        for one in store.figures.tallies(0, 99999999)
        if one.where.destination and one.where.modality
    }
    assert went == {Where("pacs", "CT1", "CT"): (2, 210, 14), Where("pacs", None, "CT"): (3, 3210, 21)}
    assert [hour.images for hour in store.figures.hours(0, 99999999) if hour.destination] == [3]
    assert [sum(minutes) for minutes in store.counters.destinations.told().values()] == [3]


def test_an_attempt_ends_its_milliseconds_after_it_began() -> None:
    assert _ended(Settlement(1, "delivered", started_at=5.0, milliseconds=1500), 9.0) == 6.5
    assert _ended(Settlement(1, "delivered", milliseconds=1500), 9.0) == 9.0


def test_a_person_is_shown_the_words_of_the_try_that_parked_an_image(opener: Opener) -> None:
    """They are kept with the row, and control characters of them are not; so with each attempt."""
    store = opener(start=False)
    store.ingest.enter([image(1)], to("pacs"))
    (leased,) = store.ledger.lease("pacs", 9, 60, "node")
    store.ledger.settle([Settlement(leased.id, "parked", reason="refused", comment="out of\x00 memory")])
    ((words,),) = facts(store, "SELECT comment FROM delivery")
    assert words
    assert "\x00" not in words
    assert facts(store, "SELECT comment FROM attempt") == [(words,)]


def test_a_syntax_is_taken_back_whatever_the_attempt_was_sent_in(opener: Opener) -> None:
    store = opener(start=False)
    store.ingest.enter([image(1)], to("pacs"))
    for syntax in ("1.2.840.10008.1.2.1", ""):
        (leased,) = store.ledger.lease("pacs", 9, 60, "node")
        end = Settlement(leased.id, "pending", transfer_syntax_uid="1.2.840.10008.1.2", syntax=syntax)
        store.ledger.settle([end])
        ((number,),) = facts(store, "SELECT syntax FROM delivery")
        assert store.strings.text(number) == syntax
