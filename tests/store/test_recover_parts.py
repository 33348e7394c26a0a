"""Recovery step by step, without an index: what goes, what is entered, in which order, what is counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from mapdr.kernel.errors import Permanent
from mapdr.store import recover
from mapdr.store.index import schema
from mapdr.store.index.database import Database
from mapdr.store.queue.ingest import Entered
from mapdr.store.recover import Recovery, _killed_after, _without_repeats
from mapdr.store.spool.folder import DAMAGED, PART, SpoolFolder
from mapdr.store.spool.headers import INDEX_TAGS
from mapdr.store.spool.ids import id_floor
from mapdr.store.spool.sealed import NotSealed
from store.memory import Memory

IDS = [id_floor(1_000_000.0 + number) for number in range(6)]


def arrival(id_: str, uid: str = "") -> Any:
    return SimpleNamespace(id=id_, sop_instance_uid=uid or id_)


class World:
    """A spool of empty files, an ingest that does what the test says, and what was done, in order."""

    def __init__(self, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.spool: Any = SpoolFolder(data, "node")
        self.spool.durability = "process-crash"
        for id_ in IDS:
            self.spool.path(id_).parent.mkdir(parents=True, exist_ok=True)
            self.spool.path(id_).touch()
        self.done: list[Any] = []
        self.refused: dict[str, Exception] = {}
        self.absorbed: set[str] = set()
        self.unread: dict[str, Exception] = {}
        self.known: dict[str, float | None] = {}
        monkeypatch.setattr(recover, "read_arrival", self._read)
        monkeypatch.setattr(recover, "sync_file", lambda path: self.done.append(("file", path.stem)))
        monkeypatch.setattr(recover, "sync_folder", lambda path: self.done.append(("names", path)))
        monkeypatch.setattr(
            recover,
            "make_folder",
            lambda path, durability, *, within: self.done.append(("made", path, within)),
        )
        monkeypatch.setattr(Recovery, "_known", lambda _, ids: self.known)
        ingest: Any = SimpleNamespace(enter=self._enter, study_tags=frozenset({(1,)}))
        rules: Any = SimpleNamespace(
            routes=lambda: "routes", wanted=lambda revision: frozenset({(2, len(revision))})
        )
        in_hand: Any = SimpleNamespace(count=lambda: self.done.append("hands") or 3)
        ledger: Any = SimpleNamespace(release_owner=lambda node: self.done.append(node) or 4)
        self.recovery = Recovery(
            cast(Database, None),
            spool=self.spool,
            ingest=ingest,
            ledger=ledger,
            in_hand=in_hand,
            rules=rules,
            last_beat=None,
        )

    def _read(self, path: Path, id_: str, wanted: Callable[[str], Any]) -> Any:
        assert path == self.spool.path(id_)
        assert wanted("rev") == INDEX_TAGS | {(1,), (2, 3)}
        if id_ in self.unread:
            raise self.unread[id_]
        return arrival(id_)

    def _enter(self, batch: Sequence[Any], routes: object) -> Entered:
        assert routes == "routes"
        ids = [each.id for each in batch]
        for id_ in ids:
            if id_ in self.refused:
                raise self.refused[id_]
        self.done.append(ids)
        return Entered(absorbed=tuple(self.absorbed.intersection(ids)))

    def left(self) -> list[str]:
        return [id_ for id_ in IDS if self.spool.path(id_).exists()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_no_uid_comes_twice_in_a_batch() -> None:
    arrivals = [arrival(str(number), uid) for number, uid in enumerate("abacbb")]
    batches = [[each.id for each in batch] for batch in _without_repeats(arrivals)]
    assert batches == [["0", "1"], ["2", "3", "4"], ["5"]]
    assert list(_without_repeats([])) == []


def test_what_the_index_knows_stays_and_what_it_gave_up_goes(world: World) -> None:
    world.known = {IDS[0]: None, IDS[1]: 5.0, IDS[2]: None}
    world.absorbed = {IDS[4]}
    found = world.recovery.run()
    assert world.left() == [IDS[0], IDS[2], IDS[3], IDS[5]]
    assert world.done == [IDS[3:], "hands", "node"]
    assert found == recover.Recovered(leftovers=1, indexed=3, died=3, leases=4)


def test_all_that_the_index_has_of_some_ids_is_known_with_the_time_of_its_purge() -> None:
    index = Memory()
    purged = {IDS[1]: None, IDS[2]: 5.0, IDS[4]: None}
    for id_, at in purged.items():
        index.put(schema.instance, id=bytes.fromhex(id_), purged_at=at)
    nothing: dict[str, Any] = dict.fromkeys(("spool", "ingest", "ledger", "in_hand", "rules"))
    recovery = Recovery(index, **nothing, last_beat=None)
    assert recovery._known(IDS) == purged
    assert recovery._known(IDS[1:3]) == {IDS[1]: None, IDS[2]: 5.0}
    assert recovery._known(IDS[3:4]) == {}
    index.close()


def test_unfinished_files_go_first(world: World) -> None:
    for id_ in IDS[:2]:
        world.spool.path(id_).rename(world.spool.path(id_).with_suffix(PART))
    found = world.recovery.run()
    assert (found.parts, found.indexed) == (2, 4)
    assert not list(world.spool.folder.rglob(f"*{PART}"))


@pytest.mark.parametrize("durability", ["power-loss", "process-crash"])
def test_files_are_safe_with_their_names_before_they_are_entered(world: World, durability: str) -> None:
    world.spool.durability = durability
    world.recovery._compare(IDS[:3])
    hour = world.spool.path(IDS[0]).parent
    flushed = [
        *(("file", id_) for id_ in IDS[:3]),
        ("made", hour, world.spool.data),
        ("names", hour),
    ]
    assert world.done == [*(flushed if durability == "power-loss" else []), IDS[:3]]


@pytest.mark.parametrize("number", range(6))
def test_an_arrival_that_is_refused_keeps_no_other(
    world: World, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    world.refused = {IDS[number]: ValueError("SECRET")}
    found = world.recovery.run()
    assert (found.indexed, found.unreadable) == (5, 1)
    entered = [id_ for batch in world.done[:-2] for id_ in batch]
    assert entered == [id_ for id_ in IDS if id_ != IDS[number]], "in order, each once"
    assert world.left() == IDS
    assert IDS[number] in caplog.text
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    "error", [OSError("gone"), OperationalError("SECRET", {}, Exception("database is locked"))]
)
def test_where_the_index_is_at_fault_all_is_tried_again_later(world: World, error: Exception) -> None:
    world.refused = {IDS[3]: error}
    with pytest.raises(type(error)):
        world.recovery.run()
    assert world.done == []


@pytest.mark.parametrize("written", [True, False])
def test_what_does_not_hold_what_was_received_goes_only_if_it_was_being_written(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, written: bool
) -> None:
    monkeypatch.setattr(Recovery, "_was_being_written", lambda _, id_: written)
    world.unread = {
        IDS[1]: NotSealed("torn", reason="spool-file"),
        IDS[2]: Permanent("unreadable", reason="x"),
    }
    found = world.recovery.run()
    assert (found.parts, found.unreadable, found.indexed) == ((1, 1, 4) if written else (0, 2, 4))
    assert world.left() == [IDS[0], *IDS[2:]]
    assert world.spool.path(IDS[1]).with_suffix(DAMAGED).exists() is not written
    assert [each.getMessage()[:32] for each in caplog.records] == (IDS[2:3] if written else IDS[1:3])


def test_what_cannot_be_removed_or_set_aside_is_told_and_counted_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def in_use(*_: object, **__: object) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr(Path, "unlink", in_use)
    monkeypatch.setattr(recover.os, "replace", in_use)
    world.known = {IDS[0]: 5.0}
    world.unread = {IDS[1]: NotSealed("torn", reason="spool-file")}
    found = world.recovery.run()
    assert (found.leftovers, found.unreadable, found.indexed) == (0, 1, 4)
    monkeypatch.setattr(Recovery, "_was_being_written", lambda _, id_: True)
    found = world.recovery.run()
    assert (found.parts, found.unreadable) == (0, 2), "one of each round"
    assert [each.levelname for each in caplog.records] == ["WARNING", "ERROR", "WARNING", "WARNING"]


def test_a_sign_of_life_says_something_a_minute_after_the_start_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recover, "time", SimpleNamespace(time=lambda: 1000.0, monotonic=lambda: 300.0))
    assert [_killed_after(at) for at in (None, 700.0, 759.9, 760.0, 900.0)] == [
        None,
        None,
        None,
        700.0,
        840.0,
    ]


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(-0.001, False), (0.0, True), (120.0 + recover.RESTS, True), (120.001 + recover.RESTS, False)],
)
def test_what_a_kill_may_have_left_is_of_the_time_around_it(
    world: World, seconds: float, written: bool
) -> None:
    world.recovery._killed_after = 5000.0
    assert world.recovery._was_being_written(id_floor(5000.0 + seconds)) is written
    world.recovery._killed_after = None
    assert not world.recovery._was_being_written(id_floor(5000.0 + seconds))
