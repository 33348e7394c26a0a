"""What one batch of arrivals writes, and what it tells: the ingest alone, without files and threads."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from mapdr.kernel.item import Header, Priority, Routing, Source
from mapdr.store import Store
from mapdr.store.index.counters import day_of, hour_of
from mapdr.store.index.studies import count_generation
from mapdr.store.queue import ingest
from mapdr.store.queue.ingest import Entered
from store.conftest import Opener
from store.entered import NOON, facts, image, to
from store.test_index_parts import Says
from store.world import SOURCE


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener(start=False)


def test_what_is_promised_is_written_as_the_rules_say(store: Store) -> None:
    routes = to("pacs", "archive", priorities={"archive": Priority.STAT})
    began = time.time()
    assert store.ingest.enter([image(1)], routes) == Entered(frozenset({"pacs", "archive"}), ())
    rows = facts(
        store,
        "SELECT word.text, batch, priority, hash, state, not_before, attempts, tries, study FROM delivery"
        " JOIN word ON word.id = destination JOIN recipe ON recipe.id = recipe ORDER BY delivery.id",
    )
    assert rows == [
        ("pacs", 0, int(Priority.ROUTINE), "r0", 0, 0.0, 0, 0, 1),
        ("archive", 0, int(Priority.STAT), "r0", 0, 0.0, 0, 0, 1),
    ]
    columns = "sop_instance_uid, data_offset, size, digest, received_at, kind, routed, purged_at"
    assert facts(store, f"SELECT {columns} FROM instance") == [("1.2.1", 0, 10, bytes(16), NOON, 0, 1, None)]
    progress = facts(store, "SELECT study, destination, due, changed_at FROM progress ORDER BY destination")
    pacs, archive = (store.strings.number(name) for name in ("pacs", "archive"))
    assert [row[:3] for row in progress] == [(1, 0, 1), *sorted([(1, pacs, 1), (1, archive, 1)])]
    assert all(began <= row[3] <= time.time() for row in progress)
    (last,) = facts(store, "SELECT at FROM last_arrival")
    assert last == (NOON,)


@pytest.mark.parametrize(
    ("routing", "routed"),
    [
        (Routing(), 0),
        (Routing(rules=("keep it",)), 1),  # a rule that sends nowhere has taken it
        (ValueError("a rule that cannot be evaluated"), 0),
    ],
)
def test_only_what_no_rule_took_is_unrouted(
    store: Store, routing: Routing | Exception, routed: int, caplog: pytest.LogCaptureFixture
) -> None:
    def route(header: Header, source: Source) -> Routing:
        if isinstance(routing, Exception):
            raise routing
        return routing

    assert store.ingest.enter([image(1)], {"r": route}) == Entered()
    assert facts(store, "SELECT routed, kind, purged_at FROM instance") == [(routed, 0, None)]
    assert store.counts.unrouted() == 1 - routed
    assert facts(store, "SELECT destination FROM progress") == [(0,)]
    assert "cannot be evaluated" not in caplog.text


def test_a_repeat_that_is_absorbed_is_no_image_to_keep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file goes, and what is kept of it says so; an image that no rule took is not unrouted twice."""
    asked: list[set[bytes]] = []

    def intact(keys: set[bytes]) -> dict[bytes, bool]:
        asked.append(set(keys))
        return dict.fromkeys(keys, True)

    monkeypatch.setattr(store.ingest, "_intact", intact)
    for routes in (to("pacs"), to()):
        study = "9" if routes["r"](Says(), SOURCE).deliveries else "8"
        first, again = (
            image(int(study), study=study),
            image(int(study), study=study)._replace(id=f"{study:0>31}a"),
        )
        store.ingest.enter([first], routes)
        entered = store.ingest.enter([again._replace(received_at=NOON + 5)], routes)
        assert entered == Entered(frozenset(), (again.id,))
        assert asked.pop() == {bytes.fromhex(first.id)}
        (row,) = facts(
            store, f"SELECT kind, routed, purged_at FROM instance WHERE hex(id) = '{again.id.upper()}'"
        )
        assert row == (1, 1, NOON + 5)
    assert store.counts.unrouted() == 1
    assert facts(store, "SELECT count(*) FROM delivery") == [(1,)]


def test_a_file_of_which_nothing_is_said_counts_as_damaged(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image was erased meanwhile, say: the fresh copy takes its place, and is not absorbed for it."""
    monkeypatch.setattr(store.ingest, "_intact", lambda keys: {})
    first, again = image(1), image(1)._replace(id=f"{7:032x}")
    store.ingest.enter([first], to("pacs"))
    assert store.ingest.enter([again], to("pacs")) == Entered(frozenset({"pacs"}), (first.id,))
    assert facts(store, "SELECT hex(instance) FROM delivery") == [(again.id.upper(),)]


def test_two_uids_of_one_hash_are_two_images(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "xxhash", SimpleNamespace(xxh3_64_intdigest=lambda _: 0))
    monkeypatch.setattr(store.ingest, "_intact", lambda keys: dict.fromkeys(keys, True))
    store.ingest.enter([image(1), image(2)], to("pacs"))
    assert store.ingest.enter([image(3)], to("pacs")).absorbed == ()
    assert facts(store, "SELECT kind, uid_hash FROM instance") == [(0, -(1 << 63))] * 3
    assert facts(store, "SELECT count(*) FROM delivery") == [(3,)]


def test_the_greatest_hash_is_one_that_a_database_takes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "xxhash", SimpleNamespace(xxh3_64_intdigest=lambda _: (1 << 64) - 1))
    store.ingest.enter([image(1)], to())
    assert facts(store, "SELECT uid_hash FROM instance") == [((1 << 63) - 1,)]


def test_images_are_counted_once_a_day_with_their_repeats_and_versions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.ingest, "_intact", lambda keys: dict.fromkeys(keys, True))
    pushed = [(0, NOON), (0, NOON), (1, NOON), (1, NOON + 86_400), (1, NOON + 86_400)]
    for number, (content, at) in enumerate(pushed):
        one = image(1, content=content, received_at=at, size=100 + content)._replace(id=f"{number + 10:032x}")
        store.ingest.enter([one], to("pacs"))
    store.ingest.enter([image(2, size=7, received_at=NOON + 86_400)], to("pacs"))
    day, next_day = day_of(NOON), day_of(NOON + 86_400)
    assert store.counts.day(day)["received"] == {
        "CT": {"images": 1, "studies": 1, "repeats": 1, "versions": 1}
    }
    assert store.counts.day(next_day)["received"] == {
        "CT": {"images": 2, "studies": 0, "repeats": 2, "versions": 0}
    }
    told = {one.day: one.bytes_received for one in store.figures.days(0, 99999999)}
    assert told == {day: 301, next_day: 209}
    hours = {one.hour: one.images for one in store.figures.hours(day, next_day)}
    assert hours == {hour_of(NOON) % 100: 3}
    (flow,) = store.counters.sources.told().values()
    assert sum(flow) == 6, "all that came, repeats too"
    assert store.counts.received_today() == {}, "these came on other days"


def test_a_study_has_the_time_of_its_last_image_alone(store: Store) -> None:
    store.ingest.enter([image(1), image(2, received_at=NOON + 3), image(3, study="8")], to())
    assert facts(store, "SELECT uid, first_at, last_at FROM study ORDER BY uid") == [
        ("8", NOON, NOON),
        ("9", NOON, NOON + 3),
    ]
    (source,) = facts(store, "SELECT at FROM last_arrival")
    assert source == (NOON,), "that of its last image in the batch"


def test_a_study_that_was_erased_is_made_anew(store: Store) -> None:
    """Its numbers, which are kept in memory, are those of no study any more."""
    store.ingest.enter([image(1)], to("pacs"))
    store.ingest.enter([image(2)], to("pacs"))
    assert facts(store, "SELECT count(*) FROM series") == [(1,)]
    with store.database.write() as connection:
        for table in ("delivery", "instance", "series", "study"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        count_generation(connection)
    store.ingest.enter([image(3)], to("pacs"))
    assert [one.id for one in store.instances.find("9")] == [image(3).id]
    with store.database.read() as connection:
        at = connection.exec_driver_sql("SELECT value FROM fact WHERE name = 'erasures'").scalar()
    assert store.ingest._generation == at == "1"
    assert len(store.ingest._series) == 1


def test_the_series_in_memory_are_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_LARGEST_CACHE", 2)
    for number in range(4):
        store.ingest.enter([image(number, study=f"9.{number}")], to())
    assert sorted(store.ingest._series) == [("9.3", "9.3.1")]
    store.ingest.enter([image(7, study="9.0")], to())
    assert facts(store, "SELECT count(*) FROM series") == [(4,)]


def test_a_batch_that_cannot_be_written_leaves_no_trace(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all no number of a series that the database does not know, and no count."""

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(store.arrivals, "add", fail)
    with pytest.raises(OSError, match="full"):
        store.ingest.enter([image(1)], to("pacs"))
    monkeypatch.undo()
    assert store.ingest._series == {}
    assert store.counters.sources.told() == {}
    store.ingest.enter([image(1)], to("pacs"))
    assert [one.id for one in store.instances.find("9")] == [image(1).id]
    assert facts(store, "SELECT images, studies FROM tally WHERE origin = 0 AND modality <> -1") == [(1, 1)]
