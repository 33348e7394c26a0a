"""A lane by itself: what a receiver of runs is given, when it is asked, and what becomes of what it has."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mapdr._fast._receive_run_py import MAX_MESSAGES, MAX_SECONDS, StoredObject, UnindexedObject
from mapdr._fast.scan_tables import Walk
from mapdr.kernel.durable import FlushFailed
from mapdr.kernel.errors import Refused
from mapdr.kernel.runs import RunResult
from mapdr.store.spool import runs
from mapdr.store.spool.folder import FINAL
from mapdr.store.spool.headers import MODALITY, Reading
from mapdr.store.spool.ids import hour_of, id_text
from mapdr.store.spool.runs import Lane, LaneJournal, Origin, gather
from store.world import CT, EXPLICIT, IMPLICIT, SOURCE

DEFLATED = "1.2.840.10008.1.2.1.99"
PROTOCOL = "1.2.840.10008.5.1.4.38.1"
"""Hanging Protocol Storage, which is of no study."""
STORED = RunResult(stored=3, size=300)
FIRST = 0x0699E991A80070008000000000000000
"""The first id of the first block; each block is an hour later."""
POSIX = pytest.mark.skipif(os.name == "nt", reason="folders are not opened there")


class Receiver:
    """Stands in for the compiled receiver: notes what it is made of and asked."""

    def __init__(self, *made_of: Any, journal: Any = None) -> None:
        self.queue, self.contexts, self.tags, self.durable, self.owner = made_of
        self.journal = journal
        self.asked: list[tuple[Any, ...]] = []
        self.ended = 0
        self.result = STORED

    def receive(self, channel: Any, folder: int, id_: int, count: int, generation: int) -> RunResult:
        self.asked.append((channel, os.fstat(folder).st_ino, id_, count, generation))
        self.folder = folder
        return self.result

    def end(self) -> None:
        self.ended += 1


class World:
    """A spool as a lane sees it, and the receivers that were made."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.reading = Reading("rev1")
        self.durability: Any = "power-loss"
        self.journal: Any = None
        self.by_priority = False
        self.distrusted = 0
        self.made: list[Receiver] = []
        self.hours: list[tuple[str, bool]] = []
        self.raises: Exception | None = None
        self.check: Callable[[], None] = lambda: None
        self.queue: Any = SimpleNamespace(generation=5)
        self.number = FIRST
        monkeypatch.setattr(runs, "RunReceiver", self._receiver)

    def _receiver(self, *made_of: Any, **more: Any) -> Receiver:
        self.made.append(Receiver(*made_of, **more))
        return self.made[-1]

    def lane(self) -> Lane:
        contexts = {1: (CT, EXPLICIT), 3: (CT, DEFLATED), 5: (PROTOCOL, IMPLICIT)}
        return Lane(cast(Any, self), self.queue, SOURCE, contexts)

    def check_room(self) -> None:
        if self.raises is not None:
            raise self.raises
        self.check()

    def distrust(self) -> None:
        self.distrusted += 1

    def block(self, count: int) -> int:
        assert count == MAX_MESSAGES
        return self.number

    def make_hour(self, hour: str, *, again: bool = False) -> Path:
        self.hours.append((hour, again))
        path = self.folder / hour
        path.mkdir(exist_ok=True)
        return path

    def next_hour(self) -> None:
        self.number += 3_600_000 << 80


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


CHANNEL: Any = object()


@POSIX
def test_a_run_gets_its_ids_the_folder_of_their_hour_and_the_generation_from_before_it_looked(
    world: World,
) -> None:
    """What changes while it is looked whether there is room must end the run."""

    def changes() -> None:
        world.queue.generation = 6

    world.check = changes
    lane = world.lane()
    assert lane.take(CHANNEL) is STORED
    (receiver,) = world.made
    hour = world.folder / hour_of(id_text(FIRST))
    assert receiver.asked == [(CHANNEL, hour.stat().st_ino, FIRST, MAX_MESSAGES, 5)]
    lane.close()


@POSIX
def test_a_folder_stays_open_for_its_hour_as_long_as_it_is_there(world: World) -> None:
    lane = world.lane()
    first = hour_of(id_text(FIRST))
    lane.take(CHANNEL)
    lane.take(CHANNEL)
    assert world.hours == [(first, False)]
    (receiver,) = world.made
    open_before = receiver.folder
    shutil.rmtree(world.folder / first)
    lane.take(CHANNEL)
    assert world.hours == [(first, False), (first, True)], "gone: it is made again"
    (world.folder / first).rename(world.folder / "away")
    (world.folder / first).mkdir()
    lane.take(CHANNEL)
    assert world.hours[2:] == [(first, True)], "moved away: images are looked for under its name"
    world.next_hour()
    lane.take(CHANNEL)
    second = hour_of(id_text(world.number))
    assert world.hours[3:] == [(second, False)]
    assert [inode for _, inode, *_ in receiver.asked[3:]] == [
        (world.folder / each).stat().st_ino for each in (first, second)
    ]
    assert receiver.folder == open_before, "each was closed when the next was opened"
    lane.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(receiver.folder)
    assert receiver.ended == 1
    lane.close()
    assert receiver.ended == 1


@POSIX
def test_a_folder_that_cannot_be_opened_is_not_taken_for_the_one_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = world.lane()
    lane.take(CHANNEL)
    world.next_hour()

    def fails(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        assert lane.take(CHANNEL) == RunResult()
        assert lane.take(CHANNEL) == RunResult()
    assert lane.take(CHANNEL) is STORED
    assert [again for _, again in world.hours] == [False] * 4
    lane.close()


@pytest.mark.parametrize(
    ("error", "distrusted"),
    [
        (Refused(0xA700, "no room"), 0),
        (OSError(errno.ENOSPC, "full"), 0),
        (FlushFailed(errno.EIO, "error"), 1),
    ],
)
def test_what_keeps_a_run_from_beginning_is_left_to_the_ordinary_way(
    world: World, error: Exception, distrusted: int
) -> None:
    """But for a flush that failed: the ordinary way would flush again, and believe it."""
    lane = world.lane()
    world.raises = error
    assert lane.take(CHANNEL) == RunResult()
    assert world.distrusted == distrusted
    assert not world.made[0].asked
    lane.close()


@POSIX
def test_no_run_begins_where_it_depends_on_the_priority_what_is_taken(world: World) -> None:
    lane = world.lane()
    world.by_priority = True
    assert lane.take(CHANNEL) == RunResult()
    world.by_priority = False
    assert lane.take(CHANNEL) is STORED
    lane.close()


@POSIX
def test_a_flush_that_failed_in_a_run_is_believed_no_more_and_a_stuck_file_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    lane = world.lane()
    lane.take(CHANNEL)
    assert (world.distrusted, caplog.text) == (0, "")
    world.made[0].result = RunResult(stuck="f" * 32)
    lane.take(CHANNEL)
    assert world.distrusted == 0
    assert "f" * 32 in caplog.text
    world.made[0].result = RunResult(unflushed=True)
    assert lane.take(CHANNEL).unflushed
    assert world.distrusted == 1
    lane.close()


@POSIX
def test_another_reading_has_a_receiver_of_its_own_before_the_old_one_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer looks for images only while there is a receiver."""
    lane = world.lane()
    lane.take(CHANNEL)
    made: list[int] = []
    monkeypatch.setattr(Receiver, "end", lambda self: made.append(len(world.made)))
    world.reading = Reading("rev2", frozenset({MODALITY}))
    for _ in range(2):
        assert lane.take(CHANNEL) is STORED
    assert made == [2]
    old, new = world.made
    assert (len(old.asked), len(new.asked)) == (1, 2)
    assert (old.owner.revision, new.owner.revision) == ("rev1", "rev2")
    assert set(new.tags) == {0x00080005, MODALITY[0]}
    lane.close()
    assert made == [2, 2]


@POSIX
def test_with_more_tags_than_a_run_has_room_for_there_is_none_until_there_are_fewer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = frozenset((0x00100000 + number,) for number in range(runs.MAX_TAGS))
    world.reading = Reading("many", many)
    lane = world.lane()
    assert lane.take(CHANNEL) == RunResult()
    assert not world.made
    world.reading = Reading("fewer", many - {(0x00100000,)})
    assert lane.take(CHANNEL) is STORED
    world.reading = Reading("many", many)
    assert lane.take(CHANNEL) == RunResult()
    assert [each.ended for each in world.made] == [1]
    lane.close()


@pytest.mark.parametrize("durability", ["power-loss", "process-crash"])
def test_what_a_receiver_is_made_of(world: World, durability: str) -> None:
    world.durability = durability
    world.journal = SimpleNamespace(largest=77)
    lane = world.lane()
    (receiver,) = world.made
    assert (receiver.queue, receiver.durable) == (world.queue, durability == "power-loss")
    assert set(receiver.contexts) == {1, 5}, "a deflated data set is no regular one"
    one, five = receiver.contexts[1], receiver.contexts[5]
    assert (one.sop_class_uid, one.explicit, one.study) == (CT.encode(), True, True)
    assert (five.sop_class_uid, five.explicit, five.study) == (PROTOCOL.encode(), False, False)
    assert b"CT1" in one.after
    assert b"rev1" in one.after
    assert receiver.journal.largest == 77
    lane.close()


@POSIX
def test_a_journal_is_told_where_the_files_of_the_run_are(world: World) -> None:
    appended: list[Any] = []
    world.journal = SimpleNamespace(
        largest=77, append=lambda path, image, *, patience: appended.append((path, image, patience))
    )
    lane = world.lane()
    lane.take(CHANNEL)
    journal: LaneJournal = world.made[0].journal
    journal.append("a" * 32, b"before", memoryview(b"data"), b"digest")
    ((path, image, patience),) = appended
    assert path == world.folder / hour_of(id_text(FIRST)) / ("a" * 32 + FINAL)
    assert (image.id, image.before, bytes(image.data), image.digest) == (
        "a" * 32,
        b"before",
        b"data",
        b"digest",
    )
    assert patience == MAX_SECONDS, "longer the association would not look after its end"
    lane.close()


def stored(number: int, *, context: int = 1) -> StoredObject:
    walk = Walk(found=[], end=0, truncated=False, flags=0, pixels=None, remarks=0)
    return StoredObject(f"{number:032x}", context, f"1.2.{number}", 600, 64, bytes(16), 5.0, {}, walk)


def test_what_cannot_be_told_to_the_index_keeps_nothing_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    origin = Origin(SOURCE, {1: (CT, EXPLICIT)}, "rev1")
    lost = UnindexedObject("b" * 32, ValueError("SECRET"))
    came: list[Any] = [(origin, each) for each in (stored(1), lost, stored(2, context=9), stored(3))]
    arrivals = gather(cast(Any, SimpleNamespace(drain=lambda: came)))
    assert [each.id for each in arrivals] == [f"{number:032x}" for number in (1, 3)]
    assert f"{'b' * 32}: set aside" in caplog.text
    assert "(ValueError)" in caplog.text
    assert f"{2:032x}" in caplog.text
    assert "SECRET" not in caplog.text
    first = arrivals[0]
    assert (first.source, first.sop_class_uid, first.transfer_syntax_uid) == (SOURCE, CT, EXPLICIT)
    assert (first.sop_instance_uid, first.data_offset, first.size) == ("1.2.1", 600, 64)
    assert (first.digest, first.received_at, first.revision) == (bytes(16), 5.0, "rev1")
