"""The steps of a journal by themselves: one thread, waits and a clock that the test moves."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.kernel.durable import FlushFailed
from mapdr.kernel.errors import Refused
from mapdr.store.spool.journal import journal as journal_module
from mapdr.store.spool.journal import record, segment
from mapdr.store.spool.journal.journal import PATIENCE, Journal
from store.segments import image

SIZE = 4 * record.BLOCK
LARGE = bytes(SIZE // 2)
"""Of which a segment holds one."""


class Around:
    """A journal, the clock by which it waits, and what it flushed and began, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.now = 1000.0
        self.done: list[tuple[str, Any]] = []
        self.waits: list[float] = []
        self.monkeypatch = monkeypatch
        monkeypatch.setattr(journal_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        begin, flush = segment.Segment.begin, segment.Segment.flush

        def begins(self_: segment.Segment, first: int) -> None:
            self.done.append(("begin", first))
            begin(self_, first)

        def flushes(self_: segment.Segment) -> None:
            self.done.append(("flush", self_._path.name))
            # One at a time, and others append meanwhile.
            assert (self.journal._flushing, self.journal._lock.locked()) == (True, False)
            flush(self_)

        monkeypatch.setattr(segment.Segment, "begin", begins)
        monkeypatch.setattr(segment.Segment, "flush", flushes)
        self.journal = Journal(folder / "spool" / "node" / "journal", size=SIZE, **options)
        self.number = 0

    def append(self, data: bytes = b"some", **options: Any) -> Path:
        self.number += 1
        path = self.journal.folder / f"{self.number}.dcm"
        self.journal.append(path, image(self.number, data), **options)
        return path

    def appended_by_another(self, data: bytes = b"some") -> None:
        """A record of another thread, whose flush is still to come."""
        self.number += 1
        self.journal._appended += 1
        self.journal._current.append(self.journal._appended, image(self.number, data))

    def when_waiting(self, condition: str, *steps: Callable[[], object]) -> None:
        """What others do while the journal waits for a condition, one step for each wait, without its lock;
        each takes the time that is waited at most."""
        left = iter(steps)

        def wait(seconds: float | None = None) -> bool:
            self.waits.append(seconds or 0.0)
            self.now += seconds or 0.0
            self.journal._lock.release()
            try:
                next(left)()
            finally:
                self.journal._lock.acquire()
            return True

        def wait_for(holds: Callable[[], object], seconds: float | None = None) -> object:
            wait(seconds)
            return holds()

        where = getattr(self.journal, condition)
        self.monkeypatch.setattr(where, "wait", wait)
        self.monkeypatch.setattr(where, "wait_for", wait_for)


def nothing() -> None:
    """What others do who do nothing."""


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Around]:
    made = Around(tmp_path, monkeypatch)
    yield made
    monkeypatch.undo()
    if not made.journal._over:
        made.journal.close()


def test_a_segment_is_left_when_all_that_it_holds_is_flushed(around: Around) -> None:
    """The next flush is of another file: what another thread has appended here would be called safe by it."""
    around.appended_by_another(LARGE)
    around.append(LARGE)
    assert around.done == [
        ("begin", 1),
        ("flush", "001.segment"),
        ("begin", 2),
        ("flush", "002.segment"),
    ]
    assert (around.journal._flushed, around.journal._appended) == (2, 2)


def test_one_flush_takes_all_that_was_appended_before(around: Around) -> None:
    around.appended_by_another()
    around.append()
    assert around.done == [("begin", 1), ("flush", "001.segment")]
    assert around.journal._flushed == 2
    with around.journal._lock:
        around.journal._flush_up_to(1)
        around.journal._flush_up_to(2)
    assert len(around.done) == 2


def test_the_keeper_is_woken_again_when_half_of_the_segments_are_full(around: Around) -> None:
    woken: list[int] = []
    around.monkeypatch.setattr(around.journal._work_came, "notify", lambda: woken.append(around.number))
    for _ in range(4):
        around.append(LARGE)
    assert woken == [1, 3, 4], "by the first file, and with two and three of four segments full"


def test_who_finds_no_free_segment_waits_his_patience_and_no_longer(around: Around) -> None:
    for _ in range(4):
        around.append(LARGE)
    around.when_waiting("_room_made", nothing)
    with pytest.raises(Refused, match="the journal is full") as caught:
        around.append(LARGE)
    assert caught.value.status == 0xA700
    assert around.waits == [PATIENCE]
    around.when_waiting("_room_made", lambda: setattr(around, "now", around.now - 2), nothing)
    with pytest.raises(Refused, match="the journal is full"):
        around.append(LARGE, patience=5.0)
    assert around.waits[1:] == [5.0, 2.0]
    with pytest.raises(Refused, match="the journal is full"):
        around.append(LARGE, patience=0.0)
    assert len(around.waits) == 3
    assert [number for what, number in around.done if what == "begin"] == [1, 2, 3, 4]


def test_success_comes_when_a_segment_is_free(around: Around) -> None:
    paths = [around.append(LARGE) for _ in range(4)]
    around.when_waiting("_room_made", lambda: around.journal.are_safe(1))
    paths.append(around.append(LARGE))
    assert around.done[-2:] == [("begin", 5), ("flush", "001.segment")]
    assert around.journal.files() == (5, paths[1:])
    around.journal.are_safe(4)
    assert around.journal.files() == (5, paths[4:])
    assert len(around.journal._free) == 3


def test_who_waits_for_room_until_the_end_gets_no_success(around: Around) -> None:
    for _ in range(4):
        around.append(LARGE)
    around.when_waiting("_room_made", around.journal.end)
    with pytest.raises(Refused, match="the node ends"):
        around.append(LARGE)


def test_who_waits_for_anothers_flush_flushes_himself_unless_that_took_his(around: Around) -> None:
    def takes_it() -> None:
        around.journal._flushed, around.journal._flushing = around.journal._appended, False

    around.journal._flushing = True
    around.when_waiting("_flush_ended", takes_it)
    around.append()
    assert around.done == [("begin", 1)]
    around.journal._flushing = True
    around.when_waiting("_flush_ended", lambda: setattr(around.journal, "_flushing", False))
    around.append()
    assert around.done == [("begin", 1), ("flush", "001.segment")]


def test_who_waits_for_anothers_flush_at_the_close_gets_no_success(around: Around) -> None:
    told: list[bool] = []
    real = around.journal._flush_ended.notify_all

    def notify_all() -> None:
        told.append(around.journal._over)
        real()

    def closes() -> None:
        around.journal._flushing = False
        around.monkeypatch.undo()
        around.monkeypatch.setattr(around.journal._flush_ended, "notify_all", notify_all)
        around.journal.close()

    around.journal._flushing = True
    around.when_waiting("_flush_ended", closes)
    with pytest.raises(Refused, match="the node ends"):
        around.append()
    assert told == [False, True], "who waits is woken at the end, and again when nothing can be flushed"
    assert not around.journal.trust.lost


def test_no_file_is_closed_that_another_flushes(around: Around) -> None:
    """Its number may be another file's at once, and that one's flush be taken for this one's."""

    def ends() -> None:
        assert not around.journal._over
        os.fstat(around.journal._current._file)
        around.journal._flushing = False

    around.journal._flushing = True
    around.when_waiting("_flush_ended", ends)
    around.journal.close()
    assert around.waits == [0.0]


def test_what_could_not_be_written_is_no_record(around: Around) -> None:
    path = around.append()

    def fails(self: segment.Segment, sequence: int, one: record.Image) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    around.monkeypatch.setattr(segment.Segment, "append", fails)
    for _ in range(2):
        with pytest.raises(Refused, match="the journal cannot be written"):
            around.append()
    assert (around.journal.files(), around.journal._appended) == ((1, [path]), 1)
    assert around.done == [("begin", 1), ("flush", "001.segment")]


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_without_a_journal_no_image_is_safe_by_a_flush_that_is_not_believed(
    around: Around, whose: str
) -> None:
    """Also by one that said that all was well, after another one had failed."""
    around.journal._gone = True

    def flushes(path: Path) -> None:
        if whose == "its own":
            raise FlushFailed(errno.EIO, os.strerror(errno.EIO))
        around.journal.trust.lose("a flush to the disk failed")

    around.monkeypatch.setattr(journal_module, "sync_file", flushes)
    around.monkeypatch.setattr(journal_module, "sync_folder", lambda folder: None)
    with pytest.raises(Refused, match="a flush to the disk failed"):
        around.append()


def test_the_keeper_waits_for_the_first_file_or_the_end(around: Around) -> None:
    journal = around.journal
    assert journal.wait_for_files(0.0) is False
    path = around.append()
    assert journal.wait_for_files() is True
    journal.end()
    assert journal.wait_for_files() is True, "what there is, is made safe first"
    assert journal.files() == (1, [path])
    journal.are_safe(1)
    assert journal.wait_for_files() is False


def test_files_are_flushed_when_nothing_came_for_a_while(around: Around) -> None:
    around.when_waiting("_work_came", around.append, around.append, nothing)
    around.journal.wait_for_more(0.5, 60.0)
    assert around.waits == [0.5] * 3


def test_files_are_flushed_after_a_time_though_more_come(around: Around) -> None:
    around.when_waiting("_work_came", around.append, around.append, around.append, around.append)
    around.journal.wait_for_more(2.0, 5.0)
    assert around.waits == [2.0, 2.0, 1.0, 0.0]


def test_files_are_flushed_at_once_with_half_of_the_segments_full_or_at_the_end(around: Around) -> None:
    def fills_one() -> None:
        around.append(LARGE)

    around.when_waiting("_work_came", fills_one, fills_one, fills_one, around.journal.end)
    around.journal.wait_for_more(2.0, 60.0)
    assert (around.waits, len(around.journal._full)) == ([2.0] * 3, 2)
    around.journal.wait_for_more(2.0, 60.0)
    assert len(around.waits) == 3
    around.journal.are_safe(2)
    around.journal.wait_for_more(2.0, 60.0)
    assert len(around.waits) == 4


def test_no_segment_is_made_from_the_room_that_is_to_stay_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor from as many bytes as one has beside it: the index has to be written."""
    free = [0]
    monkeypatch.setattr(journal_module.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[0]))
    folder = tmp_path / "spool" / "node" / "journal"
    free[0] = 1000 + 2 * SIZE - 1
    with pytest.raises(OSError, match="no room"):
        Journal(folder, size=SIZE, most=3, min_free=lambda: 1000)
    assert segment.segments(folder) == []
    free[0] += 1
    journal = Journal(folder, size=SIZE, most=3, min_free=lambda: 1000)
    free[0] = 0
    journal.close()
    Journal(folder, size=SIZE, most=3, min_free=lambda: 1000).close()  # those that are there take none
    with pytest.raises(OSError, match="no room"):
        Journal(folder, size=SIZE, most=4, min_free=lambda: 1000)
    assert len(segment.segments(folder)) == 3
