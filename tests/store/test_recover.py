from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Arrival, Header, Routing, Source
from mapdr.store import Rules, Selection, Settlement, Store
from mapdr.store.index.commands import RESTS
from mapdr.store.index.database import Database
from mapdr.store.recover import _LAST_SECONDS, Recovered, Recovery, _killed_after
from store.conftest import Opener
from store.world import CT, EXPLICIT, SOURCE, To, data_set, push


def rules(revision: str) -> Rules | None:
    return Rules(To("pacs"), {"r0": {"steps": []}}) if revision == "rev1" else None


def no_rules(revision: str) -> Rules | None:
    raise AssertionError("there is nothing to route")


def lose_index(store: Store) -> None:
    store.close()
    for path in store.data.glob("index.db*"):
        path.unlink()


def images(store: Store) -> dict[str, tuple[object, ...]]:
    with store.database.read() as connection:
        keys = [row[0] for row in connection.exec_driver_sql("SELECT id FROM instance")]
    facts = store.instances.by_key(keys).values()
    return {
        i.id: (
            i.source,
            i.sop_instance_uid,
            i.study_instance_uid,
            i.data_offset,
            i.size,
            i.received_at,
            i.path,
        )
        for i in facts
    }


def test_a_lost_index_is_made_again_from_the_spool(opener: Opener) -> None:
    store = opener()
    for number in range(40):
        push(store, f"1.2.{number}", study=f"9.{number % 3}", name="Ünïcode")
    push(store, "1.2.5", name="other bytes")
    assert store.writer.flush()
    before, counts = images(store), store.counts.today()["received"]
    lose_index(store)

    again = opener(start=False)
    done = again.recover(rules)
    assert done == Recovered(indexed=41)
    assert images(again) == before
    assert again.counts.today()["received"] == counts
    assert len(again.listing.select(Selection(state="pending"))) == 41
    assert again.recover(no_rules) == Recovered(), "it is idempotent"
    assert again.counts.today()["received"] == counts


def test_unfinished_objects_go_and_only_ours(opener: Opener) -> None:
    store = opener()
    mine = store.spool.begin(SOURCE, CT, "1.2", EXPLICIT)
    mine.abort()
    part = store.spool.path(mine.id).with_suffix(".part")
    part.write_bytes(b"some")
    other = store.data / "spool" / "other" / "2026112301" / part.name
    other.parent.mkdir(parents=True)
    other.touch()
    store.stop(0)
    assert store.recover(no_rules) == Recovered(parts=1)
    assert not part.exists()
    assert other.exists()


def test_leases_of_this_node_are_given_back(opener: Opener) -> None:
    store = opener()
    push(store, "1.2.1")
    push(store, "1.2.2")
    assert store.writer.flush()
    store.ledger.lease("pacs", 1, 1000, "node/pacs")
    store.ledger.lease("pacs", 1, 1000, "other/pacs")
    store.close()
    assert opener(start=False).recover(no_rules).leases == 1


def test_what_is_gone_in_the_index_goes_in_the_spool(opener: Opener) -> None:
    store = opener()
    id_ = push(store, "1.2.1")
    assert store.writer.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE instance SET purged_at = 1.0")
    store.stop(0)
    assert store.recover(no_rules) == Recovered(leftovers=1)
    assert not store.spool.path(id_).exists()


def test_the_rules_are_those_of_the_recorded_revision(opener: Opener) -> None:
    store = opener()
    push(store, "1.1")
    store.use("rev2", To("other"), {"r0": {}})
    push(store, "1.2")
    assert store.writer.flush()
    lose_index(store)
    again = opener(start=False)

    def by_revision(revision: str) -> Rules | None:
        return Rules(To("old" if revision == "rev1" else "new", recipe=revision), {revision: {"a": 1}})

    again.recover(by_revision)
    rows = {row.sop_instance_uid: row.destination for row in again.listing.select(Selection())}
    assert rows == {"1.1": "old", "1.2": "new"}
    assert again.recipes.recipe("rev1") == {"a": 1}


def test_without_its_revision_an_image_comes_back_unrouted(
    opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    store = opener()
    store.use("gone", To("pacs"), {"r0": {}})
    push(store, "1.1")
    assert store.writer.flush()
    lose_index(store)
    again = opener(start=False)
    assert again.recover(rules).indexed == 1
    assert again.counts.unrouted() == 1
    assert "configuration revision gone is gone: its images come back unrouted" in caplog.text


def test_a_damaged_file_stays_and_is_told_without_values(
    opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    store = opener()
    good, bad, empty = (
        push(store, "1.1", name="SECRET"),
        push(store, "1.2", name="SECRET"),
        push(store, "1.3"),
    )
    assert store.writer.flush()
    lose_index(store)
    content = bytearray(store.spool.path(bad).read_bytes())
    content[140:160] = bytes(20)
    store.spool.path(bad).write_bytes(content)
    store.spool.path(empty).write_bytes(b"")
    again = opener(start=False)
    done = again.recover(rules)
    assert (done.indexed, done.unreadable) == (1, 2)
    assert store.spool.path(bad).with_suffix(".damaged").read_bytes() == content
    assert bad in caplog.text
    assert good not in caplog.text
    assert "SECRET" not in caplog.text
    caplog.clear()
    assert again.recover(rules) == Recovered()
    assert not caplog.records, "it is told once"


@pytest.mark.parametrize("length", [-1, -700, 300])
def test_a_file_that_a_power_failure_cut_is_not_taken_for_an_image(opener: Opener, length: int) -> None:
    store = opener()
    whole, torn = push(store, "1.1"), push(store, "1.2", pixels=5000)
    assert store.writer.flush()
    lose_index(store)
    path = store.spool.path(torn)
    content = path.read_bytes()
    path.write_bytes(content[:length])
    again = opener(start=False)
    assert again.recover(rules) == Recovered(indexed=1, unreadable=1)
    assert [row.instance for row in again.listing.select(Selection())] == [whole]
    path.write_bytes(content[:-600].ljust(len(content), b"\1"))
    assert again.recover(rules) == Recovered(unreadable=1), "as long as it was, with other bytes"
    path.write_bytes(content)
    assert again.recover(rules) == Recovered(indexed=1)


def test_a_file_that_was_never_sealed_was_never_answered(opener: Opener) -> None:
    store = opener()
    begun = store.spool.begin(SOURCE, CT, "1.1", EXPLICIT)
    begun.write(data_set("1.1"))
    part = store.spool.path(begun.id).with_suffix(".part")
    content = part.read_bytes()
    begun.abort()
    store.spool.path(begun.id).write_bytes(content)
    store.stop(0)
    assert store.recover(rules) == Recovered(unreadable=1)


@pytest.mark.parametrize(("killed", "length"), [(True, 0), (True, 200), (True, -1), (False, -1)])
def test_what_a_kill_left_half_written_goes_and_what_may_have_been_answered_stays(
    opener: Opener, caplog: pytest.LogCaptureFixture, killed: bool, length: int
) -> None:
    store = opener()
    old = push(store, "1.1")
    assert store.writer.flush()
    if killed:
        store.commands.beat({})
    torn = push(store, "1.2", pixels=5000)
    assert store.writer.flush()
    with store.database.write() as connection:  # as if neither had reached the index
        connection.exec_driver_sql("DELETE FROM instance")
    store.close()
    path = store.spool.path(torn)
    path.write_bytes(path.read_bytes()[:length])
    caplog.clear()
    again = opener(start=False)
    done = again.recover(rules)
    assert done == Recovered(indexed=1, parts=int(killed), unreadable=int(not killed))
    assert again.spool.path(old).exists()
    assert not path.exists()
    assert path.with_suffix(".damaged").exists() is not killed
    assert [record.levelname for record in caplog.records] == ([] if killed else ["ERROR"])


def forget(store: Store) -> None:
    """As if nothing had reached the index."""
    assert store.writer.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM instance")
    store.close()


@pytest.mark.parametrize("killed", [True, False])
def test_a_whole_file_that_cannot_be_read_stays_an_image(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, killed: bool
) -> None:
    """It was read when it was answered: another version reads it now, or looks for other tags."""
    store = opener()
    if killed:
        store.commands.beat({})
    id_ = push(store, "1.1", name="SECRET")
    forget(store)

    def refuses(*facts: object, **more: object) -> object:
        raise Permanent("no data set", reason="unreadable")

    monkeypatch.setattr("mapdr.store.spool.sealed.read_header", refuses)
    again = opener(start=False)
    assert again.recover(rules) == Recovered(unreadable=1)
    assert again.spool.path(id_).exists()
    assert id_ in caplog.text
    assert "SECRET" not in caplog.text
    monkeypatch.undo()
    assert again.recover(rules) == Recovered(indexed=1)


def test_an_old_sign_of_life_says_nothing_of_later_files(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index from a backup: what came since may have been answered."""
    monkeypatch.setattr("mapdr.store.recover._LAST_SECONDS", 0.0)
    monkeypatch.setattr("mapdr.store.recover.time.monotonic", lambda: 1e9)
    store = opener()
    store.commands.beat({})
    torn = push(store, "1.2")
    forget(store)
    path = store.spool.path(torn)
    path.write_bytes(path.read_bytes()[:-1])
    again = opener(start=False)
    with again.database.write() as connection:
        connection.exec_driver_sql(f"UPDATE heartbeat SET at = at - {RESTS + 1}")
    assert again.recover(rules) == Recovered(unreadable=1)
    assert path.with_suffix(".damaged").exists()


@pytest.mark.parametrize(
    "error", [OverflowError("SECRET"), OperationalError("SECRET", {}, Exception("database is locked"))]
)
def test_an_image_that_the_index_does_not_take_keeps_no_node_from_its_start(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    store = opener()
    ids = [push(store, f"1.{number}") for number in range(9)]
    lose_index(store)
    again = opener(start=False)
    enter = again.ingest.enter

    def fails(arrivals: Sequence[Arrival], route: Any) -> Any:
        if any(arrival.id == ids[4] for arrival in arrivals):
            raise error
        return enter(arrivals, route)

    monkeypatch.setattr(again.ingest, "enter", fails)
    if isinstance(error, OperationalError):
        with pytest.raises(OperationalError):
            again.recover(rules)
        return
    assert again.recover(rules) == Recovered(indexed=8, unreadable=1)
    assert sorted(images(again)) == ids[:4] + ids[5:]
    assert again.spool.path(ids[4]).exists()
    assert ids[4] in caplog.text
    assert "SECRET" not in caplog.text
    monkeypatch.undo()
    assert again.recover(rules) == Recovered(indexed=1)


@pytest.mark.parametrize("call", ["os.replace", "pathlib.Path.unlink"])
def test_a_file_that_another_program_has_open_keeps_no_node_from_its_start(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    """As on Windows: it can neither be renamed nor removed."""
    store = opener()
    good, bad = push(store, "1.1"), push(store, "1.2")
    assert store.writer.flush()
    lose_index(store)
    path = store.spool.path(bad)
    path.write_bytes(path.read_bytes()[:-1])
    part = path.with_suffix(".part")
    part.touch()

    def fails(*facts: object, **more: object) -> None:
        raise PermissionError(13, "in use")

    again = opener(start=False)
    monkeypatch.setattr(call, fails)
    done = again.recover(rules)
    monkeypatch.undo()
    assert done == Recovered(parts=int(call == "os.replace"), indexed=1, unreadable=1)
    assert list(images(again)) == [good]
    assert bad in caplog.text
    assert again.recover(rules).parts == int(call != "os.replace")
    assert not part.exists()
    assert path.with_suffix(".damaged").exists()


def test_after_a_start_of_the_system_nothing_is_taken_for_unanswered(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure may have cut what was answered: it stays to be seen."""
    store = opener()
    store.commands.beat({})
    torn = push(store, "1.2")
    assert store.writer.flush()
    with store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM instance")
    store.close()
    path = store.spool.path(torn)
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr("mapdr.store.recover.time.monotonic", lambda: 30.0)
    assert opener(start=False).recover(rules) == Recovered(unreadable=1)
    assert path.with_suffix(".damaged").exists()


def test_a_sign_of_life_just_after_the_start_of_the_system_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it would take for unanswered may have been written before the power failed."""
    now = 1_000_000.0
    monkeypatch.setattr(
        "mapdr.store.recover.time", SimpleNamespace(time=lambda: now, monotonic=lambda: 1000.0)
    )
    started = now - 1000.0
    assert _killed_after(None) is None
    assert _killed_after(started - 1) is None
    assert _killed_after(started + _LAST_SECONDS - 1) is None
    assert _killed_after(started + _LAST_SECONDS + 1) == started + 1


def test_a_kill_may_come_as_late_after_the_last_sign_as_a_node_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.store.recover._killed_after", lambda last_beat: last_beat - _LAST_SECONDS)
    nothing: dict[str, Any] = dict.fromkeys(("spool", "ingest", "ledger", "in_hand", "rules"))
    recovery = Recovery(cast(Database, None), **nothing, last_beat=1000.0)

    def written_at(seconds: float) -> bool:
        return recovery._was_being_written(f"{int(seconds * 1000):012x}".ljust(32, "0"))

    assert written_at(1000.0 + RESTS + _LAST_SECONDS)
    assert not written_at(1000.0 + RESTS + _LAST_SECONDS + 1), "by no kill: damaged since"
    assert not written_at(1000.0 - _LAST_SECONDS - 1)


def test_what_a_kill_left_is_flushed_with_its_name_before_the_index_knows_it(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next push is absorbed as a repeat, answered Success, and lost with the power."""
    store = opener(durability="power-loss")
    paths = {store.spool.path(push(store, f"1.{number}")) for number in range(3)}
    assert store.writer.flush()
    lose_index(store)
    again = opener(start=False, durability="power-loss")
    calls: list[tuple[str, Path | None]] = []
    for name in ("sync_file", "sync_folder"):
        monkeypatch.setattr(f"mapdr.store.recover.{name}", lambda path, name=name: calls.append((name, path)))
    enter = again.ingest.enter

    def entered(arrivals: Sequence[Arrival], route: Any) -> Any:
        calls.append(("enter", None))
        return enter(arrivals, route)

    monkeypatch.setattr(again.ingest, "enter", entered)
    assert again.recover(rules) == Recovered(indexed=3)
    before = set(calls[: calls.index(("enter", None))])
    assert before == {("sync_file", path) for path in paths} | {
        ("sync_folder", path.parent) for path in paths
    }


def test_repeats_in_the_spool_are_absorbed(opener: Opener) -> None:
    store = opener()
    first = push(store, "1.1")
    assert store.writer.flush()
    store.ledger.settle(
        [Settlement(row.id, "delivered") for row in store.ledger.lease("pacs", 9, 60, "node")]
    )
    second = push(store, "1.1")
    assert store.writer.flush()
    assert store.counts.today()["received"]["CT"]["repeats"] == 1
    lose_index(store)
    again = opener(start=False)
    assert again.recover(rules).indexed == 2
    assert [row.instance for row in again.listing.select(Selection())] == [first]
    assert not store.spool.path(second).exists()


def test_a_transfer_that_began_before_a_crash_is_not_in_the_way(opener: Opener) -> None:
    store = opener()
    push(store, "1.1")
    store.close()
    again = opener(start=False)
    assert again.recover(no_rules) == Recovered()
    again.start()
    push(again, "1.2")
    assert again.writer.flush()
    assert len(images(again)) == 2


def test_the_scan_error_of_a_file_is_no_end(opener: Opener) -> None:
    class Fails:
        wanted: frozenset[tuple[int, ...]] = frozenset()

        def route(self, header: Header, source: Source) -> Routing:
            raise RuntimeError

    store = opener()
    push(store, "1.1")
    assert store.writer.flush()
    lose_index(store)
    again = opener(start=False)
    assert again.recover(lambda revision: Rules(Fails(), {})).indexed == 1
    assert again.counts.unrouted() == 1


def test_a_crash_within_recovery_is_recovered(opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opener()
    for number in range(25):
        push(store, f"1.{number}")
    assert store.writer.flush()
    lose_index(store)
    monkeypatch.setattr("mapdr.store.recover._AT_ONCE", 10)
    again = opener(start=False)
    real, calls = again.ingest.enter, []

    def fails(arrivals: object, route: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("gone")
        return real(arrivals, route)  # type: ignore[arg-type]

    monkeypatch.setattr(again.ingest, "enter", fails)
    with pytest.raises(OSError, match="gone"):
        again.recover(rules)
    assert len(images(again)) == 10
    again.close()
    next_start = opener(start=False)
    assert next_start.recover(rules).indexed == 15
    assert len(images(next_start)) == 25


def test_received_at_is_the_first_answer_not_the_recovery(opener: Opener) -> None:
    store = opener()
    before = time.time()
    id_ = push(store, "1.1")
    assert store.writer.flush()
    lose_index(store)
    again = opener(start=False)
    again.recover(rules)
    assert before <= again.instances.get(id_).received_at <= time.time()
    data = data_set("1.1")
    instance = again.instances.get(id_)
    assert instance.path.read_bytes()[instance.data_offset :] == data
