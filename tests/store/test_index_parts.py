"""Small parts of the index, each by itself: what it remembers, what it gives, and what it does not know."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pytest
from sqlalchemy import Connection

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Routing
from mapdr.store import Rules, Store
from mapdr.store.alarms import Raised, RaisedAlarms
from mapdr.store.index.flow import MINUTES, MOST, Flow
from mapdr.store.index.studies import count_generation, generation, tag_key, tag_path
from mapdr.store.outbox import OutboxEntry
from mapdr.store.rules import EarlierRules
from mapdr.store.set_aside import SetAside
from mapdr.store.spool.headers import ACCESSION_NUMBER
from store.conftest import Opener
from store.test_writer import NoHeader, arrival
from store.world import SOURCE, To, push


def test_a_flow_has_the_minutes_of_the_last_hour() -> None:
    now = [6000.0]
    flow = Flow(lambda: now[0])
    flow.add({1: 2, 2: 5})
    now[0] += 30
    flow.add({1: 1})
    assert flow.elapsed() == 30.0
    assert flow.told() == {1: [0] * 59 + [3], 2: [0] * 59 + [5]}
    now[0] += 60
    flow.add({1: 7})
    assert flow.told()[1] == [0] * 58 + [3, 7]
    now[0] = 6000.0 + 60 * (MINUTES - 1)
    assert flow.told() == {1: [3, 7] + [0] * 58, 2: [5] + [0] * 59}
    now[0] += 60
    assert flow.told() == {1: [7] + [0] * 59}
    flow.add({1: 1})
    assert sorted(flow._series[1]) == [101, 160], "what is over is forgotten"


def test_of_too_many_names_those_go_that_were_silent_longest() -> None:
    flow = Flow(lambda: 0.0)
    flow.add(dict.fromkeys(range(MOST), 1))
    flow.add({0: 1})
    flow.add({MOST: 1})
    assert sorted(flow.told()) == [0, *range(2, MOST + 1)]


def test_what_is_set_aside_is_due_once_a_minute_and_until_it_is_entered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("mapdr.store.set_aside.time.monotonic", lambda: now[0])
    monkeypatch.setattr("mapdr.store.set_aside._MOST", 2)
    aside, many = SetAside(), [arrival(number) for number in range(4)]
    assert (len(aside), aside.patience, aside.due()) == (0, None, [])
    assert [aside.add(each) for each in (many[0], many[0], many[1], many[2], many[3])] == [
        *(True, False, True, True, True)
    ]
    assert (len(aside), aside.patience) == (4, 60.0), "those that are not kept here are counted"
    now[0] += 59
    assert aside.due() == []
    now[0] += 1
    assert aside.due() == many[:2]
    assert aside.due() == [], "once a minute"
    now[0] += 60
    assert aside.due() == many[:2], "they stay until they are entered"
    aside.entered(many[0])
    aside.entered(many[3])
    assert len(aside) == 3
    now[0] += 60
    assert aside.due() == [many[1]]


def test_an_alarm_and_what_is_told_of_it_are_one_and_of_one_node(store: Store) -> None:
    mine = RaisedAlarms(store.database, store.outbox, "node")
    other = RaisedAlarms(store.database, store.outbox, "other")
    low = Raised("disk", "spool", "warning", 10.0, {"free": 5})
    silent = Raised("source", "CT1", "warning", 20.0, {})
    for alarms in (mine, other):
        alarms.keep(silent, [], 20.0)
        alarms.keep(low, [OutboxEntry(f"disk:{alarms is mine}", "ris", "disk", {"a": 1})], 10.0)
    higher = Raised("disk", "spool", "error", 99.0, {"free": 1})
    mine.keep(higher, [OutboxEntry("higher", "ris", "disk", {"a": 2})], 30.0)
    assert mine.all() == [Raised("disk", "spool", "error", 10.0, {"free": 1}), silent]
    assert other.all() == [low, silent]
    mine.remove(higher, [OutboxEntry("over", "ris", "disk", {"a": 3})], 40.0)
    assert (mine.all(), other.all()) == ([silent], [low, silent])
    assert [each.key for each in store.outbox.list()] == ["over", "higher", "disk:False", "disk:True"]


def test_instances_are_found_by_id_study_and_key(store: Store) -> None:
    assert (store.instances.newest(), store.instances.by_key([])) == ("", {})
    ids = [push(store, f"1.{number}", study=f"9.{number % 2}") for number in range(4)]
    assert store.writer.flush()
    assert [each.id for each in store.instances.find("9.1")] == [ids[1], ids[3]]
    assert store.instances.find("9.7") == []
    assert store.instances.newest() == max(ids)
    one = store.instances.get(ids[2])
    assert (one.id, one.sop_instance_uid, one.study_instance_uid, one.source) == (
        ids[2],
        "1.2",
        "9.0",
        SOURCE,
    )
    assert one.path == store.spool.path(ids[2])
    with pytest.raises(KeyError):
        store.instances.get("0" * 32)
    keys = [bytes.fromhex(id_) for id_ in ids]
    store.spool.path(ids[1]).unlink()
    store.spool.path(ids[2]).write_bytes(store.spool.path(ids[2]).read_bytes()[:-1])
    assert store.instances.intact(keys) == dict(zip(keys, (True, False, False, True), strict=True))
    assert set(store.instances.uids()) == {"9.0", "9.1", "1.2.3.1", "1.0", "1.1", "1.2", "1.3"}


PATIENT_ID = (0x00100020,)


class Says(NoHeader):
    """A header of these values."""

    def __init__(self, **values: str) -> None:
        self._values = {(int(tag.removeprefix("tag_"), 16),): value for tag, value in values.items()}

    def text(self, path: object) -> str:
        return self._values.get(path, "")  # type: ignore[call-overload, no-any-return]


def test_a_study_is_completed_by_later_images_and_nothing_of_it_is_replaced(store: Store) -> None:
    studies, tags = store.studies, {PATIENT_ID, ACCESSION_NUMBER}

    def enter(series: str, header: Header, at: float) -> tuple[tuple[int, int], bool]:
        with store.database.write() as connection:
            return studies.enter(connection, ("9", series), header, at, tags)

    (study, first), made = enter("9.1", Says(tag_00080050="ACC1", tag_00080020="20261123extra"), 5.0)
    assert made
    assert enter("9.1", Says(tag_00100020="P7", tag_00080050="ACC2"), 6.0) == ((study, first), False)
    (same, second), made = enter("9.2", Says(tag_00100020="P8"), 7.0)
    assert (same, made) == (study, True)
    assert second != first
    assert studies.tags(study) == {ACCESSION_NUMBER: "ACC1", PATIENT_ID: "P7"}
    assert studies.identifying(1) == ["ACC1", "P7"]
    assert studies.identifying(0) == []
    with pytest.raises(KeyError):
        studies.tags(study + 1)
    with store.database.write() as connection:
        studies.arrived(connection, {study: 9.0})
        studies.arrived(connection, {study: 8.0})
        row = connection.exec_driver_sql("SELECT study_date, first_at, last_at FROM study").one()
    assert tuple(row) == ("20261123", 5.0, 9.0), "an image that came before makes it no older"


def test_a_study_has_the_time_of_its_last_image(store: Store) -> None:
    for number in (1, 2):
        push(store, f"1.{number}")
        assert store.writer.flush()
    with store.database.read() as connection:
        first, last = connection.exec_driver_sql("SELECT first_at, last_at FROM study").one()
        received = connection.exec_driver_sql("SELECT received_at FROM instance ORDER BY id").scalars()
        assert [first, last] == list(received)


def test_a_study_that_changed_is_due_and_what_was_announced_of_it_stays(store: Store) -> None:
    def told(connection: Connection) -> tuple[object, ...]:
        query = "SELECT changed_at, due, announced FROM progress WHERE study = 7 AND destination = 1"
        return tuple(connection.exec_driver_sql(query).one())

    with store.database.write() as connection:
        store.studies.touch(connection, [], 9.0)
        store.studies.touch(connection, [(7, 1), (7, 2)], 10.0)
        assert told(connection) == (10.0, 1, 0)
        connection.exec_driver_sql("UPDATE progress SET due = 0, announced = 3")
        store.studies.touch(connection, {(7, 1)}, 5.0)
        assert told(connection) == (10.0, 1, 3), "a clock that was set back makes it no older"
        due = connection.exec_driver_sql("SELECT destination FROM progress WHERE due = 1").scalars()
        assert list(due) == [1]


def test_each_erasure_is_counted(store: Store) -> None:
    with store.database.write() as connection:
        facts = connection.exec_driver_sql("SELECT count(*) FROM fact").scalar()
        told = [generation(connection)]
        for _ in range(2):
            count_generation(connection)
            told.append(generation(connection))
        assert told == ["", "1", "2"]
        assert connection.exec_driver_sql("SELECT count(*) FROM fact").scalar() == (facts or 0) + 1


def test_a_tag_path_comes_back_from_its_key() -> None:
    for path in ((0x00100020,), (0x00081140, 0x00081155)):
        assert tag_path(tag_key(path)) == path
    assert tag_key((0x00081140, 0x0020000D)) == "00081140.0020000d"


def test_a_recipe_keeps_its_first_body_and_its_number(opener: Opener) -> None:
    store = opener()
    assert store.recipes.find("r7") is None
    number = store.recipes.number("r7")
    assert (store.recipes.find("r7"), store.recipes.hash(number)) == (number, "r7")
    with pytest.raises(Permanent) as caught:
        store.recipes.recipe("r7")
    assert caught.value.reason == "recipe-missing"
    for body in ({"steps": [1]}, {"steps": [2]}):
        store.recipes.add({"r7": body})
    assert store.recipes.recipe("r7") == {"steps": [1]}
    with pytest.raises(Permanent):
        store.recipes.recipe("r8")
    with pytest.raises(KeyError):
        store.recipes.hash(number + 100)
    again = opener(start=False)
    assert (again.recipes.find("r7"), again.recipes.hash(number)) == (number, "r7")
    assert again.recipes.number("r7") == number
    assert again.recipes.recipe("r7") == {"steps": [1]}


def test_the_rules_of_a_revision_are_read_once_and_those_that_are_gone_route_nothing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []
    router = To("pacs")
    router.wanted = frozenset({(0x00100020,)})

    def rules(revision: str) -> Rules | None:
        asked.append(revision)
        return Rules(router, {"r9": {"steps": [1]}}) if revision == "known" else None

    earlier = EarlierRules(rules, store.recipes)
    for _ in range(2):
        assert earlier.wanted("known") == router.wanted
        assert earlier.wanted("gone") == frozenset()
    assert asked == ["known", "gone"]
    assert store.recipes.recipe("r9") == {"steps": [1]}
    header: Header = NoHeader()
    routes = earlier.routes()
    assert routes["known"](header, SOURCE).deliveries == (("pacs", "r0"),)
    assert routes["gone"](header, SOURCE) == Routing()
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["configuration revision gone is gone: its images come back unrouted"]


def test_what_came_and_went_is_counted_for_the_last_hour(store: Store) -> None:
    def names(numbers: Iterable[int]) -> list[str]:
        return [store.strings.text(number) for number in numbers]

    began = time.monotonic() // 60
    for number in range(3):
        push(store, f"1.{number}")
    assert store.writer.flush()
    counters = store.counters
    assert names(counters.sources.told()) == [SOURCE.peer]
    assert counters.destinations.told() == {}
    if time.monotonic() // 60 == began:
        assert [sum(each) for each in counters.sources.told().values()] == [3]
