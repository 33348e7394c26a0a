"""Deaths with an image in hand are counted, once for each, and outlive nothing that they should not."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import schema
from mapdr.store.queue.inhand import ALONE, RECORD, InHand, Key
from store.conftest import Opener
from store.world import push

ONE: Key = ("0" * 31 + "1", "recipe-a", "")
OTHER: Key = ("0" * 31 + "2", "recipe-a", "1.2.840.10008.1.2")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "data", "north", durability="process-crash")
    opened.spool.folder.mkdir(parents=True, exist_ok=True)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while LATER:
        LATER.pop().stop()


LATER: list[InHand] = []
"""The marks of later processes of the test that runs."""


def again(store: Store) -> InHand:
    """The marks as the next process sees them."""
    LATER.append(InHand(store.spool.folder / "in-hand", store.database, store.strings, store.recipes))
    return LATER[-1]


def test_what_was_in_hand_at_the_end_is_counted_and_what_was_done_is_not(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.in_hand.start()
    done = store.in_hand.begin(OTHER)
    store.in_hand.begin(ONE)
    store.in_hand.end(done)
    after = again(store)
    with caplog.at_level(logging.ERROR):
        assert after.count() == 1
    assert ONE[0] in caplog.text
    after.start()
    assert (after.deaths(ONE), after.deaths(OTHER)) == (1, 0)
    assert again(store).count() == 0, "a death is counted once"


def test_deaths_add_up_and_end_with_the_first_survival(store: Store) -> None:
    for number in range(3):
        hands = again(store)
        assert hands.count() == (2 if number else 0)
        hands.start()
        hands.begin(ONE)
        hands.begin(OTHER)
    hands = again(store)
    hands.count()
    hands.start()
    assert (hands.deaths(ONE), hands.deaths(OTHER)) == (3, 3)
    hands.survived(ONE)
    assert (hands.deaths(ONE), hands.deaths(OTHER)) == (0, 3)
    last = again(store)
    last.start()
    assert (last.deaths(ONE), last.deaths(OTHER)) == (0, 3)


def test_an_ordered_end_is_no_death(store: Store) -> None:
    store.in_hand.start()
    mark = store.in_hand.begin(ONE)
    store.in_hand.stop()
    store.in_hand.end(mark)
    assert again(store).count() == 0
    store.in_hand.stop()


def test_marks_are_used_again_and_a_broken_file_says_nothing(store: Store) -> None:
    path = store.spool.folder / "in-hand"
    store.in_hand.start()
    for _ in range(100):
        store.in_hand.end(store.in_hand.begin(ONE))
    assert path.stat().st_size == RECORD
    path.write_bytes(b"\xff\x00 what\n" + b"0" * 40 + b"\nx y z\n")
    assert again(store).count() == 0


def test_a_disk_that_fails_stops_no_image(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.in_hand.start()
    file = store.in_hand._file
    assert file is not None
    store.in_hand._file = -1
    store.in_hand.end(store.in_hand.begin(ONE))
    assert "cannot be marked" in caplog.text
    store.in_hand._file = file


def test_a_person_who_retries_has_it_tried_alone_again(opener: Opener) -> None:
    store = opener()
    key = (push(store, "1.2.3"), "r0", "")
    assert store.writer.flush()
    for _ in range(3):
        again(store).start()
        LATER[-1].begin(key)
        assert again(store).count() == 1
    hands = again(store)
    hands.start()
    assert hands.deaths(key) == 3
    (row,) = store.ledger.lease("pacs", 1, 60, "node")
    store.ledger.settle([Settlement(row.id, "parked", reason="deadly")])
    assert store.actions.retry(Selection(destination="pacs")) == 1
    assert hands.deaths(key) == ALONE


def test_an_index_that_was_made_before_gets_the_table(store: Store, tmp_path: Path) -> None:
    with store.database.write() as connection:
        schema.death.drop(connection)
    store.close()
    reopened = Store.open(tmp_path / "data", "north", durability="process-crash")
    with reopened.database.read() as connection:
        assert connection.execute(select(schema.death)).all() == []
    reopened.close()
