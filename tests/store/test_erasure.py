"""Purging on a person's word: nothing that identifies anybody stays, nothing that is owed goes, and no image
that came later; whenever the process is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import schema
from mapdr.store.messages import MessageSelection, OutboxEntry, OutboxSettlement
from store.conftest import Opener
from store.world import To, push

PATIENT, ACCESSION, STUDY, SERIES, UID = "QXPATQX", "ACC1", "1.2.77.1", "1.2.77.2", "1.2.77.3"
FIRST = Selection(patient_id=PATIENT)


def arrive(store: Store, number: int, *, patient: str = PATIENT, study: str = STUDY) -> str:
    id_ = push(store, f"{UID}.{number}", study=study, series=f"{study}.5", patient=patient)
    assert store.writer.flush()
    return id_


def settle(store: Store, state: str = "delivered", comment: str = "", limit: int = 1000) -> int:
    rows = store.ledger.lease("pacs", limit, 60, "node")
    store.ledger.settle(
        [Settlement(row.id, state, comment=comment, sop_instance_uid=f"{UID}.9.{row.id}") for row in rows]
    )
    return len(rows)


def erase(store: Store, chosen: Selection = FIRST) -> list[bytes]:
    return store.erasure.erase(store.erasure.choose(chosen))


def traces(folder: Path, *marks: str) -> list[str]:
    """Which marks stand in any file of the data folder, the database and its log among them."""
    found = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return [mark for mark in marks if mark.encode() in found]


def test_nothing_that_identifies_anybody_stays(store: Store) -> None:
    ids = [arrive(store, number) for number in range(3)]
    settle(store, comment=f"refused {PATIENT}")
    (number,) = [row.number for row in store.overview.studies(FIRST)]
    entries = [
        OutboxEntry(f"study.received:{number}:0:0:ris", "ris", "study.received", {"patient": PATIENT}),
        OutboxEntry(f"study.received:{number}7:0:0:ris", "ris", "study.received", {"patient": "another"}),
    ]
    store.outbox.add(entries, 1.0)
    for update in ("UPDATE study SET tags = replace(tags, '}', ', \"00100010\": \"QXNAMEQX\"}')",):
        with store.database.write() as connection:
            connection.exec_driver_sql(update)
    marks = (PATIENT, "QXNAMEQX", STUDY, SERIES[:-1], UID, "refused")
    assert traces(store.data, *marks) == list(marks)
    counts = store.counts.today()
    found = store.erasure.look(store.erasure.choose(FIRST))
    assert (found.images, found.studies, found.owed, found.leased) == (3, 1, {}, 0)
    assert found.bytes > 0
    assert erase(store) == []
    assert store.database.empty_log()
    assert not traces(store.data, *marks)
    assert not any(store.spool.path(id_).exists() for id_ in ids)
    assert store.counts.today() == counts
    assert len(store.listing.select(Selection(state="delivered"))) == 3, "that there were so many"
    assert store.erasure.choose(FIRST) == store.erasure.choose(Selection(modality="CT")) == []
    states = {message.key: (message.state, message.payload) for message in store.outbox.list()}
    assert states == {
        entries[0].key: ("dismissed", {}),
        entries[1].key: ("pending", {"patient": "another"}),
    }


def test_what_was_purged_by_time_before_is_erased_too(store: Store) -> None:
    arrive(store, 1)
    settle(store)
    assert store.retention.purge(5e9, 1).images == 1
    found = store.erasure.look(store.erasure.choose(FIRST))
    assert (found.images, found.bytes) == (1, 0)
    erase(store)
    store.database.empty_log()
    assert not traces(store.data, PATIENT, STUDY, UID)


def test_another_image_of_the_study_keeps_the_study(store: Store) -> None:
    arrive(store, 1)
    kept = arrive(store, 2)
    settle(store)
    assert store.erasure.erase(store.erasure.choose(Selection(sop_instance_uid=f"{UID}.1"))) == []
    assert store.spool.path(kept).exists()
    (row,) = store.overview.studies(FIRST)
    assert (row.study_instance_uid, row.images) == (STUDY, 2)
    assert store.instances.get(kept).study_instance_uid == STUDY


def owed(store: Store, state: str) -> None:
    if state == "held":
        store.actions.hold(FIRST)
    elif state == "leased":
        store.ledger.lease("pacs", 9, 600, "node")
    elif state == "parked":
        settle(store, "parked")


@pytest.mark.parametrize("state", ["pending", "held", "leased", "parked"])
def test_what_is_owed_stays_until_it_is_dismissed_and_what_is_on_its_way_until_it_ends(
    store: Store, state: str
) -> None:
    id_ = arrive(store, 1)
    owed(store, state)
    found = store.erasure.look(store.erasure.choose(FIRST))
    assert (found.owed, found.leased) == ({"pacs": 1}, state == "leased")
    (left,) = erase(store)
    assert left.hex() == id_
    assert store.spool.path(id_).exists()
    assert store.listing.select(FIRST)[0].state == state
    ended = store.erasure.dismiss([left])
    if state == "leased":
        assert not ended
        assert erase(store) == [left]
        store.ledger.settle([Settlement(store.listing.select(FIRST)[0].id, "delivered")])
    else:
        assert ended == {"pacs": 1}
        (row,) = store.listing.select(FIRST)
        assert (row.state, row.reason) == ("dismissed", "dismissed by the operator")
        assert row.comment == f"it was {state} when its image was purged"
    assert erase(store) == []
    assert not store.spool.path(id_).exists()


def test_what_comes_after_the_choice_is_not_erased_and_begins_a_new_study(store: Store) -> None:
    arrive(store, 1)
    settle(store)
    keys = store.erasure.choose(FIRST)
    store.erasure.erase(keys)
    later = arrive(store, 2)
    (row,) = store.overview.studies(FIRST)
    assert (row.study_instance_uid, row.images) == (STUDY, 1)
    (lease,) = store.ledger.lease("pacs", 9, 60, "node")
    assert (lease.instance.id, lease.instance.study_instance_uid) == (later, STUDY)
    assert lease.instance.series_instance_uid == f"{STUDY}.5"


def test_what_comes_while_it_is_erased_stays_whole(opener: Opener) -> None:
    """An intake of the same study, and one purge after the other by a second process: what was chosen goes,
    everything else is there, of the study that it says, and is delivered."""
    store, other = opener(), opener(start=False)
    pushed: list[str] = []
    ended = threading.Event()

    def intake() -> None:
        for number in range(300):
            pushed.append(push(store, f"{UID}.{number}", study=STUDY, series=f"{STUDY}.5", patient=PATIENT))
        ended.set()

    thread = threading.Thread(target=intake)
    thread.start()
    gone: set[str] = set()
    while not ended.is_set() or not gone:
        keys = other.erasure.choose(FIRST)
        other.erasure.dismiss(keys)
        gone |= {key.hex() for key in keys} - {key.hex() for key in other.erasure.erase(keys)}
    thread.join()
    assert store.writer.flush()
    kept = set(pushed) - gone
    push_last = arrive(store, 999)
    leased = store.ledger.lease("pacs", 1000, 60, "node")
    assert {row.instance.id for row in leased} == {*kept, push_last}
    assert {row.instance.study_instance_uid for row in leased} == {STUDY}
    assert {row.instance.sop_instance_uid.rpartition(".")[0] for row in leased} == {UID}
    assert all(row.instance.path.exists() for row in leased)
    assert not any(store.spool.path(id_).exists() for id_ in gone)


def test_the_same_image_pushed_again_is_a_new_one(store: Store) -> None:
    arrive(store, 1)
    settle(store)
    erase(store)
    arrive(store, 1)
    assert settle(store) == 1


def test_a_late_answer_for_an_erased_image_changes_no_other(store: Store) -> None:
    arrive(store, 1)
    (lease,) = store.ledger.lease("pacs", 9, -1, "node")
    store.ledger.release_expired(5e9)
    store.erasure.dismiss(store.erasure.choose(FIRST))
    erase(store)
    arrive(store, 2, patient="other", study="1.2.88")
    store.ledger.settle([Settlement(lease.id, "delivered")])
    (row,) = store.listing.select(Selection(patient_id="other"))
    assert row.state == "pending"


def test_a_message_that_was_being_told_is_not_told_again(store: Store) -> None:
    arrive(store, 1)
    settle(store)
    (number,) = [row.number for row in store.overview.studies(FIRST)]
    store.outbox.add(
        [OutboxEntry(f"study.delivered:{number}:1:0:ris", "ris", "study.delivered", {"a": 1})], 1.0
    )
    (message,) = store.outbox.lease("ris", 9, 60, 2.0)
    erase(store)
    store.outbox.settle([OutboxSettlement(message.id, "pending")], 3.0)
    assert [each.state for each in store.outbox.list()] == ["dismissed"]


def test_a_message_that_was_erased_is_never_sent_again(store: Store) -> None:
    arrive(store, 1)
    settle(store)
    (number,) = [row.number for row in store.overview.studies(FIRST)]
    keys = [f"study.received:{number}:0:0:ris", f"study.delivered:{number}:1:0:ris", "of another study"]
    store.outbox.add([OutboxEntry(key, "ris", "study.received", {"a": 1}) for key in keys], 1.0)
    (message, *_) = store.outbox.lease("ris", 1, 60, 2.0)
    store.outbox.settle([OutboxSettlement(message.id, "delivered")], 3.0)
    erase(store)
    everything = MessageSelection(hooks=("ris",))
    assert store.outbox.repeatable(everything) == {("ris", "pending"): 1}
    assert store.outbox.again(everything) == 1
    assert [each.payload for each in store.outbox.lease("ris", 9, 60, 4.0)] == [{"a": 1}]


def test_files_that_cannot_be_removed_are_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = arrive(store, 1)
    settle(store)

    def denied(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "denied", "/secret/path")

    monkeypatch.setattr(Path, "unlink", denied)
    erase(store)
    monkeypatch.undo()
    assert store.spool.path(id_).exists()
    assert "could not be purged (denied)" in caplog.text
    assert "secret" not in caplog.text
    store.erasure.finish()
    assert not store.spool.path(id_).exists()
    with store.database.read() as connection:
        names = connection.scalars(select(schema.fact.c.name)).all()
    assert not [name for name in names if name.startswith("erasing:")]


def test_a_file_that_cannot_be_removed_keeps_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = sorted(arrive(store, number) for number in (1, 2, 3))
    settle(store, limit=2)
    unlink = Path.unlink

    def denied(path: Path, missing_ok: bool = False) -> None:
        if any(path.stem == id_ for id_ in ids):
            raise PermissionError(13, "denied")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", denied)
    keys = sorted(store.erasure.choose(FIRST))
    left = store.erasure.erase(keys)
    assert len(left) == 1
    settle(store)
    # What is left begins as the first call did, whose note is still there.
    assert store.erasure.erase(sorted({*left, *keys})) == []
    ids = ids[:1]
    store.erasure.finish()
    assert [path.stem for path in store.spool.folder.rglob("*.dcm")] == ids
    monkeypatch.undo()
    store.erasure.finish()
    assert not list(store.spool.folder.rglob("*.dcm"))


def test_another_study_and_its_messages_keep_every_value(store: Store) -> None:
    arrive(store, 1)
    arrive(store, 2, patient="other", study="1.2.88")
    settle(store, comment="refused")
    numbers = {row.study_instance_uid: row.number for row in store.overview.studies(Selection())}
    entries = [
        OutboxEntry(f"{kind}:{number}:1:0:ris", "ris", kind, {"study": uid}, number)
        for uid, number in numbers.items()
        for kind in ("study.received", "study.delivered", "study.parked")
    ]
    store.outbox.add(entries, 1.0)
    taken = store.outbox.lease("ris", 2, 60, 2.0)
    store.outbox.settle([OutboxSettlement(message.id, "delivered", comment="said") for message in taken], 3.0)
    erase(store)
    (row,) = store.overview.studies(Selection(study_instance_uid="1.2.88"))
    assert (row.number, row.study_date) == (numbers["1.2.88"], "20261123")
    assert store.studies.tags(row.number)
    assert store.studies.tags(numbers[STUDY]) == {}
    (delivery,) = store.listing.select(Selection(study_instance_uid="1.2.88"))
    assert delivery.comment == "refused"
    assert store.listing.attempts([delivery.id])[delivery.id][0].comment == "refused"
    told = {message.key: message for message in store.outbox.list()}
    for entry in entries:
        message = told[entry.key]
        was_taken = entry.key in {each.key for each in taken}
        if entry.study == row.number:
            assert (message.payload, message.state) == (
                entry.payload,
                "delivered" if was_taken else "pending",
            )
        else:
            assert (message.payload, message.comment) == ({}, "")
            assert message.state == ("delivered" if was_taken else "dismissed")


def test_when_an_image_was_purged_stays_known_and_a_study_that_lost_its_promises_is_judged_anew(
    store: Store,
) -> None:
    arrive(store, 1)
    settle(store)
    assert store.retention.purge(5e9, 1).images == 1
    late = arrive(store, 2)
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE progress SET due = 0")
    keys = store.erasure.choose(FIRST)
    assert store.erasure.dismiss(keys) == {"pacs": 1}
    with store.database.read() as connection:
        due = connection.exec_driver_sql("SELECT destination <> 0 FROM progress WHERE due = 1").scalars()
        assert list(due) == [1]
    assert store.erasure.erase(keys) == []
    with store.database.read() as connection:
        times = dict(connection.execute(select(schema.instance.c.id, schema.instance.c.purged_at)).all())
        notes = connection.scalars(select(schema.fact.c.name)).all()
    assert sorted(at == 5e9 for at in times.values()) == [False, True]
    assert times[bytes.fromhex(late)] < 5e9
    assert not [name for name in notes if name.startswith("erasing:")]


CHILD = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from mapdr.store import Selection, Store

folder, point, nth = sys.argv[1:]
store = Store.open(Path(folder), "node", durability="process-crash")
seen = []

def die(*_):
    seen.append(1)
    if len(seen) == int(nth):
        os._exit(9)

keys = store.erasure.choose(Selection(patient_id="QXPATQX"))
if point == "commit":
    event.listen(store.database._writer, "commit", die)
else:
    unlink = Path.unlink
    def counted(self, **options):
        if point == "before":
            die()
        unlink(self, **options)
        if point == "after":
            die()
    Path.unlink = counted
store.erasure.erase(keys)
print("end")
"""


@pytest.mark.parametrize(
    ("point", "nth", "gone"),
    [("commit", 1, False), ("before", 1, True), ("after", 1, True), ("before", 3, True), ("commit", 2, True)],
)
@pytest.mark.parametrize("way", ["the node's round", "the next start"])
def test_a_kill_leaves_all_or_nothing_and_no_orphan(
    opener: Opener, point: str, nth: int, gone: bool, way: str
) -> None:
    store = opener()
    ids = [arrive(store, number) for number in range(4)]
    settle(store)
    data = store.data
    if way == "the next start":
        store.close()
    child = [sys.executable, "-c", CHILD, str(data), point, str(nth)]
    assert subprocess.run(child, check=False).returncode == 9
    found: Any = None
    if way == "the next start":
        store = opener(start=False)
        found = store.recover(lambda revision: None)
        store.start()
    store.erasure.finish()
    there = [id_ for id_ in ids if store.spool.path(id_).exists()]
    assert there == ([] if gone else ids)
    assert len(store.erasure.choose(FIRST)) == len(there)
    assert store.counts.unrouted() == 0
    assert found is None or found.indexed == 0, "no file came in again as a new image"
    if gone:
        store.database.empty_log()
        assert not traces(data, PATIENT, STUDY, UID)
    store.close()
    again = opener(start=False)
    assert again.recover(lambda revision: None).indexed == 0
    assert len(again.erasure.choose(Selection(modality="CT"))) == len(there)


def test_an_unrouted_image(opener: Opener) -> None:
    store = opener(router=To())
    id_ = arrive(store, 1)
    assert store.erasure.erase(store.erasure.choose(Selection(state="unrouted"))) == []
    assert store.counts.unrouted() == 0
    assert not store.spool.path(id_).exists()
