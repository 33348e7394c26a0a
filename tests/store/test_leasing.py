"""Which rows are leased, for how long, and how they come back: by a clock that a test sets, without files."""

from __future__ import annotations

from itertools import product

import pytest

from mapdr.kernel.item import Priority
from mapdr.store import Selection, Settlement, Store
from mapdr.store.queue import ledger
from mapdr.store.queue.ledger import SHARE
from store.conftest import Opener
from store.entered import facts, image, to


class Clock:
    """The seconds that the ledger reads."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("mapdr.store.queue.ledger.time", found)
    return found


@pytest.fixture
def store(opener: Opener, clock: Clock) -> Store:
    return opener(start=False)


def owe(store: Store, *numbers: int, priority: Priority = Priority.ROUTINE, study: str = "9") -> None:
    priorities = {"pacs": priority} if priority is not Priority.ROUTINE else {}
    pushed = [image(number, study=study) for number in numbers]
    store.ingest.enter(pushed, to("pacs", priorities=priorities))


def leased(
    store: Store, limit: int = 99, seconds: float = 60.0, owner: str = "node", **how: object
) -> list[int]:
    """The numbers of the images that are leased now."""
    rows = store.ledger.lease("pacs", limit, seconds, owner, **how)  # type: ignore[arg-type]
    return [int(row.instance.sop_instance_uid.rpartition(".")[2]) for row in rows]


def rows(store: Store, columns: str) -> list[tuple[object, ...]]:
    return facts(store, f"SELECT {columns} FROM delivery ORDER BY id")


def test_a_row_is_leased_from_the_moment_it_is_due_until_its_lease_ends(store: Store, clock: Clock) -> None:
    owe(store, 1, 2)
    (row, _) = store.ledger.lease("pacs", 2, 60, "node")
    assert (row.leased_until, row.batch, row.priority, row.destination) == (
        1060.0,
        0,
        int(Priority.ROUTINE),
        "pacs",
    )
    assert rows(store, "state, leased_until, attempts, tries") == [(1, 1060.0, 0, 0)] * 2
    assert {store.strings.text(owner) for (owner,) in rows(store, "owner")} == {"node"}
    store.ledger.settle([Settlement(row.id, "pending", not_before=1500.0)])
    clock.now = 1499.0
    assert leased(store) == []
    assert store.ledger.next_due("pacs") == 1500.0
    clock.now = 1500.0
    assert leased(store, seconds=5) == [1]
    assert store.ledger.release_expired(1060.0) == 0, "a lease holds to its last moment"
    assert store.ledger.release_expired(1060.1) == 1
    assert leased(store) == [2]
    assert store.ledger.release_expired(9000.0) == 2


def test_rows_come_by_priority_then_study_then_age(store: Store) -> None:
    owe(store, 1, study="9")
    owe(store, 2, study="8")
    owe(store, 3, study="9")
    owe(store, 4, study="8", priority=Priority.BULK)
    owe(store, 5, study="7", priority=Priority.STAT)
    assert leased(store, stat_only=True) == [5]
    store.ledger.release_expired(1e9)
    assert leased(store, 4) == [5, 1, 3, 2]
    assert leased(store, 4) == [4]


def test_with_the_least_tried_first_what_failed_goes_last_whatever_its_priority(store: Store) -> None:
    owe(store, *range(1, 9))
    owe(store, 9, priority=Priority.STAT)
    (stat,) = store.ledger.lease("pacs", 1, 60, "node", stat_only=True)
    store.ledger.settle([Settlement(stat.id, "pending")])
    order = leased(store, untried_first=True)
    assert order[-1] == 9
    assert sorted(order) == list(range(1, 10))
    assert order[:8] != sorted(order[:8]), "neighbours are far apart"


def test_waiting_for_a_quiet_study_is_to_the_second(store: Store, clock: Clock) -> None:
    owe(store, 1)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET changed_at = 1000.0 WHERE destination = 0")
        connection.exec_driver_sql("UPDATE progress SET changed_at = 5.0 WHERE destination <> 0")
    clock.now = 1029.5
    assert leased(store, quiet_seconds=30) == []
    clock.now = 1030.0
    assert leased(store, quiet_seconds=30) == [1]


@pytest.mark.parametrize("full", [True, False])
def test_lower_priorities_have_a_share_of_a_lease_that_is_full(store: Store, full: bool) -> None:
    """One row in SHARE of each that waits, and none where a lease has room for all, or they are not due."""
    many = 2 * SHARE
    owe(store, *range(many), priority=Priority.STAT)
    owe(store, 100, 101, 102, study="7")
    owe(store, 200, 201, study="6", priority=Priority.BULK)
    limit = many if full else many + 6
    order = leased(store, limit)
    if full:
        assert order == [*range(many - 4), 100, 101, 200, 201]
        assert leased(store, many) == [*range(many - 4, many), 102]
    else:
        assert order == [*range(many), 100, 101, 102, 200, 201]


def test_a_share_is_of_what_is_due_now_and_of_lower_priorities_alone(store: Store, clock: Clock) -> None:
    owe(store, *range(SHARE))
    owe(store, 100, study="7", priority=Priority.BULK)
    (bulk,) = store.listing.select(Selection(sop_instance_uid="1.2.100"))
    store.ledger.settle([Settlement(bulk.id, "pending", not_before=2000.0)])
    assert leased(store, SHARE) == list(range(SHARE))
    store.ledger.release_expired(1e9)
    clock.now = 2000.0
    assert leased(store, SHARE) == [*range(SHARE - 1), 100]
    store.ledger.release_expired(1e9)
    assert leased(store, SHARE - 1) == list(range(SHARE - 1)), "of so few there is no share"
    store.ledger.release_expired(1e9)
    assert len(leased(store, SHARE, untried_first=True)) == SHARE


def test_with_the_least_tried_first_there_is_no_share(store: Store) -> None:
    owe(store, *range(SHARE))
    owe(store, 100, study="7", priority=Priority.BULK)
    assert sorted(leased(store, SHARE, untried_first=True)) == list(range(SHARE))


def test_of_an_owner_that_is_lost_each_row_says_that_it_may_have_been_sent(
    store: Store, clock: Clock
) -> None:
    owe(store, 1, 2, 3)
    owners = ("node", "node/pacs", "node2")
    for owner in owners:
        assert len(leased(store, 1, owner=owner)) == 1
    clock.now = 1234.0
    assert store.ledger.release_owner("node") == 2
    assert rows(store, "state, leased_until, tries, attempts, not_before") == [
        *[(0, None, 1, 0, 0.0)] * 2,
        (1, 1060.0, 0, 0, 0.0),
    ]
    assert [owner for (owner,) in rows(store, "owner")][:2] == [None, None]
    told = facts(
        store,
        "SELECT number, started_at, milliseconds, verdict, status, reason, bytes, syntax, sop_instance_uid"
        " FROM attempt",
    )
    assert told == [(1, 1234.0, 0, "retry", None, "interrupted", 0, 0, None)] * 2
    assert store.ledger.release_owner("node") == 0
    assert store.ledger.release_owner("nobody") == 0
    assert store.ledger.release_expired(5e9) == 1
    assert leased(store) == [1, 2, 3]


def test_what_was_not_tried_comes_back_as_it_was(store: Store) -> None:
    owe(store, 1, 2, 3)
    one, two, three = store.ledger.lease("pacs", 9, 60, "node")
    before = rows(store, "not_before, syntax, attempts, tries, reason, comment, settled_at, priority")
    store.ledger.settle([Settlement(three.id, "delivered")])
    store.ledger.give_back([])
    store.ledger.give_back([one.id, three.id, 999])
    assert rows(store, "state, leased_until") == [(0, None), (1, 1060.0), (4, None)]
    assert (
        rows(store, "not_before, syntax, attempts, tries, reason, comment, settled_at, priority")[:2]
        == (before[:2])
    )
    assert store.listing.attempts([one.id])[one.id] == []
    assert leased(store) == [1]
    assert two.id


def test_a_lease_is_renewed_from_now_while_it_is_the_owners(store: Store, clock: Clock) -> None:
    owe(store, 1, 2, 3)
    one, two, three = store.ledger.lease("pacs", 9, 60, "node")
    store.ledger.give_back([three.id])
    clock.now = 1050.0
    store.ledger.extend([one.id, three.id], 100, "node")
    store.ledger.extend([two.id], 100, "other")
    store.ledger.extend([], 100, "node")
    assert rows(store, "state, leased_until") == [(1, 1150.0), (1, 1060.0), (0, None)]


def test_when_the_next_row_is_due(store: Store, clock: Clock) -> None:
    assert store.ledger.next_due("pacs") is None
    owe(store, 1, 2, 3)
    assert store.ledger.next_due("pacs") == 0.0
    first, second, third = store.ledger.lease("pacs", 9, 60, "node")
    assert store.ledger.next_due("pacs") is None, "what is leased is not due"
    for row, at in ((first, 3000.0), (second, 2000.0)):
        store.ledger.settle([Settlement(row.id, "pending", not_before=at)])
    store.ledger.settle([Settlement(third.id, "parked")])
    assert store.ledger.next_due("pacs") == 2000.0
    clock.now = 2500.0
    assert store.ledger.next_due("pacs") == 2000.0
    store.ledger.hold_destination("other")
    assert store.ledger.next_due("pacs") == 2000.0
    store.ledger.hold_destination("pacs")
    clock.now = 2600.0
    store.ledger.hold_destination("pacs")
    assert store.ledger.next_due("pacs") is None
    assert leased(store) == []
    assert store.ledger.held_destinations() == {"other": 2500.0, "pacs": 2500.0}
    store.ledger.release_destination("pacs")
    assert store.ledger.held_destinations() == {"other": 2500.0}
    assert leased(store) == [2]


@pytest.mark.parametrize(("quiet", "untried_first", "stat_only"), list(product((False, True), repeat=3)))
def test_each_way_to_lease_takes_what_its_statement_gives_through_the_library(
    store: Store, quiet: bool, untried_first: bool, stat_only: bool
) -> None:
    """Prepared once and run by position, or built and run by SQLAlchemy: the same rows in the same order."""
    for nth, (study, priority) in enumerate(product(("9", "7", "8"), Priority)):
        owe(store, *range(4 * nth + 1, 4 * nth + 5), priority=priority, study=study)
    put_back = store.ledger.lease("pacs", 7, 60, "node")
    store.ledger.settle([Settlement(row.id, "pending") for row in put_back])
    # The clock of the index itself is not set by the test: what came there counts as quiet here.
    moment = 4e9 if quiet else 0.0
    due = ledger._due(quiet=quiet, untried_first=untried_first, stat_only=stat_only)
    asked = {"target": store.strings.number("pacs"), "now": 1000.0, "most": 5, "quiet": moment}
    with store.database.read() as connection:
        plain = connection.execute(due, asked).all()
    how = {"untried_first": untried_first, "stat_only": stat_only}
    rows = store.ledger.lease("pacs", 5, 60, "node", quiet_seconds=1000.0 - moment if quiet else 0.0, **how)
    assert [row.id for row in rows] == [row.id for row in plain]
    assert [(row.batch, row.priority, row.attempts) for row in rows] == [
        (row.batch, row.priority, row.attempts) for row in plain
    ]
    assert len(rows) == 5
