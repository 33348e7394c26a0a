"""The pool of decoder processes, and frames that it decodes, without processes: what each answer means, which
process serves which frame, and what is kept."""

from __future__ import annotations

import atexit
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mapdr.dicom.write import Element
from mapdr.kernel.codec import Decoder, FrameFormat, Recompressor
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.transform.codecs import foreign
from mapdr.transform.codecs.foreign import MAX_FRAME, Decoders, ForeignFrames, foreign_frames
from mapdr.transform.codecs.worker import Job, Repacking, serve
from mapdr.transform.fragments import encapsulate
from mapdr.transform.image import LeaveAsIs

from .toy import described, ramp

FORM = FrameFormat(1, 2, 1, 16, 12, False, "MONOCHROME2")
JOB = Job(Decoder(lambda form, stream: np.zeros((1, 2), "u2")), FORM)
REPACKS = Recompressor((), bytes, bytes, lambda stream: None)
OK = ({"ok": ""}, b"\1\0\2\0")
Answer = tuple[dict[str, Any], bytes] | Exception


class Process:
    """In the place of `_Worker`: it gives the answers that are set, or raises them."""

    made: list[Process]
    answers: list[Answer]
    exits: int | None

    def __init__(self, target: Any) -> None:
        self.target = target
        self.asked: list[tuple[Any, bytes, float]] = []
        self.ended = 0
        self.alive = True
        self.process = SimpleNamespace(is_alive=lambda: self.alive)
        self.made.append(self)

    def ask(self, job: Any, stream: bytes, seconds: float) -> Any:
        self.asked.append((job, stream, seconds))
        answer = self.answers.pop(0) if self.answers else OK
        if isinstance(answer, Exception):
            raise answer
        return answer

    def exit_code(self) -> int | None:
        assert not self.ended, "it is asked before it is killed"
        return self.exits

    def end(self) -> None:
        self.ended += 1


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> type[Process]:
    monkeypatch.setattr(Process, "made", [], raising=False)
    monkeypatch.setattr(Process, "answers", [], raising=False)
    monkeypatch.setattr(Process, "exits", None, raising=False)
    monkeypatch.setattr(foreign, "_Worker", Process)
    return Process


# --- Which process serves a frame


def test_a_process_begins_with_the_first_frame_and_serves_the_next(processes: type[Process]) -> None:
    pool = Decoders(2, seconds=7.0)
    assert not processes.made
    for stream in (b"a", b"b"):
        assert pool.decode(JOB, stream) == OK[1]
    (worker,) = processes.made
    assert worker.asked == [(JOB, b"a", 7.0), (JOB, b"b", 7.0)]
    assert worker.target is serve
    assert not worker.ended
    assert Decoders(1)._seconds == foreign.SECONDS_PER_FRAME


@pytest.mark.parametrize(("size", "count"), [(-1, 1), (0, 1), (1, 1), (3, 3)])
def test_how_many_frames_are_decoded_at_once(size: int, count: int) -> None:
    assert Decoders(size)._idle.qsize() == count


def test_one_that_died_while_it_was_idle_is_replaced(processes: type[Process]) -> None:
    pool = Decoders(1)
    pool.decode(JOB, b"a")
    processes.made[0].alive = False
    assert pool.decode(JOB, b"b") == OK[1]
    assert [each.ended for each in processes.made] == [1, 0]


def test_without_processes_the_image_waits_and_the_place_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(target: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(foreign, "_Worker", failing)
    pool = Decoders(1)
    for _ in range(2):
        with pytest.raises(Temporary, match="cannot be started"):
            pool.decode(JOB, b"a")
    assert pool._idle.qsize() == 1


# --- What an answer means


@pytest.mark.parametrize("error", [EOFError(), OSError(), TimeoutError(), ValueError()])
@pytest.mark.parametrize("exits", [None, 1, -11, -15])
def test_a_process_that_dies_or_hangs_is_the_frames_doing(
    error: Exception, exits: int | None, processes: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "exits", exits)
    processes.answers.append(error)
    pool = Decoders(1)
    with pytest.raises(Permanent, match="died or hung") as caught:
        pool.decode(JOB, b"a")
    assert caught.value.reason == "codec-crash"
    assert pool.decode(JOB, b"b") == OK[1]
    assert [each.ended for each in processes.made] == [1, 0]


def test_one_that_was_told_to_stop_blames_no_frame_once(
    processes: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "exits", 0)
    pool = Decoders(1)
    processes.answers.append(EOFError())
    assert pool.decode(JOB, b"a") == OK[1]
    assert [(each.ended, len(each.asked)) for each in processes.made] == [(1, 1), (0, 1)]
    processes.answers.extend([EOFError(), EOFError()])
    with pytest.raises(Permanent) as caught:
        pool.decode(JOB, b"a")
    assert caught.value.reason == "codec-crash"
    assert len(processes.made) == 3
    assert pool._idle.qsize() == 1


def test_one_that_the_system_killed_is_want_of_memory(
    processes: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "exits", -9)
    processes.answers.append(EOFError())
    pool = Decoders(1)
    with pytest.raises(MemoryError):
        pool.decode(JOB, b"a")
    assert len(processes.made) == processes.made[0].ended == 1
    assert pool._idle.queue == [None]


def test_what_a_process_answers(processes: type[Process]) -> None:
    pool = Decoders(1)
    repacked = ({"ok": ""}, b"packed")
    for answer, reason, words in (
        (({"mismatch": "depth"}, b""), "codec-mismatch", r"contradicts the data set \(depth\)"),
        (({"error": "ValueError"}, b""), "codec", "cannot decode a frame: ValueError"),
        (({"ok": ""}, OK[1][:-1]), "codec", "cannot decode a frame"),
        (({"ok": ""}, OK[1] + b"\0"), "codec", "cannot decode a frame"),
    ):
        processes.answers.append(answer)
        with pytest.raises(Permanent, match=words) as caught:
            pool.decode(JOB, b"a")
        assert caught.value.reason == reason
    for answer, reason, words in (
        (({"mismatch": "it grows"}, b""), "codec-mismatch", r"cannot be recompressed \(it grows\)"),
        (({"error": "ValueError"}, b""), "codec", "cannot recompress a frame: ValueError"),
        (({"ok": ""}, b""), "codec", "cannot recompress a frame"),
    ):
        processes.answers.append(answer)
        with pytest.raises(Permanent, match=words) as caught:
            pool.recompress(REPACKS, FORM, b"a")
        assert caught.value.reason == reason
    for ask in (lambda: pool.decode(JOB, b"a"), lambda: pool.recompress(REPACKS, FORM, b"a")):
        processes.answers.append(({"memory": ""}, b""))
        with pytest.raises(MemoryError):
            ask()
    processes.answers.append(repacked)
    assert pool.recompress(REPACKS, FORM, b"abc") == b"packed"
    (worker,) = processes.made  # none of this ends it
    assert not worker.ended
    assert worker.asked[-1][:2] == (Repacking(REPACKS, FORM, 3), b"abc")


def test_a_frame_of_more_than_a_gib_is_never_asked_for(processes: type[Process]) -> None:
    pool = Decoders(1)
    largest = replace(FORM, rows=1 << 15, columns=1 << 14)
    assert largest.size == MAX_FRAME
    for form in (replace(largest, columns=(1 << 14) + 1), replace(FORM, rows=0)):
        with pytest.raises(Permanent, match="1 GiB") as caught:
            pool.decode(Job(JOB.decoder, form), b"")
        assert caught.value.reason == "codec"
        with pytest.raises(Permanent, match="1 GiB"):
            pool.recompress(REPACKS, form, b"")
    assert not processes.made
    assert pool.recompress(REPACKS, largest, b"") == OK[1]
    tiny = replace(FORM, columns=1, allocated=8)
    processes.answers.append(({"ok": ""}, b"\7"))
    assert pool.decode(Job(JOB.decoder, tiny), b"") == b"\7"


# --- The pool of the node


def test_closing_ends_who_is_idle_and_may_be_done_twice(processes: type[Process]) -> None:
    pool = Decoders(3)
    pool.decode(JOB, b"a")
    pool.close()
    pool.close()
    assert [each.ended for each in processes.made] == [1]


def test_the_node_has_one_pool_and_its_first_user_says_its_size(
    processes: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr(foreign, "_shared", [])
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    pool = foreign.decoders(3)
    assert foreign.decoders(1) is pool
    assert pool._idle.qsize() == 3
    assert at_exit == [pool.close]
    pool.decode(JOB, b"a")
    foreign.close_decoders()
    assert [each.ended for each in processes.made] == [1]
    assert at_exit == []
    other = foreign.decoders(1)
    assert other is not pool
    assert other._idle.qsize() == 1
    foreign.close_decoders()


# --- Frames


class Cells:
    """In the place of a pool: the cells of a frame are its codestream, without padding."""

    def __init__(self) -> None:
        self.decoded: list[bytes] = []

    def decode(self, job: Job, stream: bytes) -> bytes:
        self.decoded.append(stream)
        return stream


VALUES = [each.tobytes() for each in ramp(3, 1, 2)]
_PARTS = cast(tuple[bytes, ...], encapsulate(VALUES)[1])
DATA = b"".join(_PARTS)
PIXEL = Element(0x7FE00010, "OB", 0, 12, len(DATA), True)


def of_frames(keep: int) -> tuple[ForeignFrames, Cells]:
    """Three frames of four bytes."""
    pool = Cells()
    frames = ForeignFrames(described(ramp(3, 1, 2)), DATA, PIXEL, JOB, cast(Decoders, pool), keep=keep)
    return frames, pool


@pytest.mark.parametrize(
    ("keep", "decoded"),
    [(0, [0, 1, 0, 1]), (3, [0, 1, 0, 1]), (4, [0, 1, 1]), (7, [0, 1, 1]), (8, [0, 1])],
)
def test_as_many_decoded_frames_are_kept_as_fit(keep: int, decoded: list[int]) -> None:
    frames, pool = of_frames(keep)
    for index in (0, 1, 0, 1):
        assert frames.cells(index) == VALUES[index]
    assert pool.decoded == [VALUES[index] for index in decoded]
    assert frames.stream(2) == VALUES[2]


def test_a_frame_in_many_fragments_takes_little_more_memory_than_its_bytes() -> None:
    count = 50_000
    image = described(ramp(1, 1, 2))
    body = b"\xfe\xff\x00\xe0\x02\0\0\0ab" * count
    data = DATA[:12] + b"\xfe\xff\x00\xe0\0\0\0\0" + body + b"\xfe\xff\xdd\xe0\0\0\0\0"
    tracemalloc.start()
    try:
        frames = ForeignFrames(image, data, PIXEL._replace(end=len(data)), JOB, cast(Decoders, Cells()))
        stream = frames.stream(0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stream == b"ab" * count
    assert most < 48 * count


def test_decoded_cells_are_interleaved_whatever_the_header_says() -> None:
    values = np.arange(12, dtype="u2").reshape(2, 2, 3)
    data = b"".join(cast(tuple[bytes, ...], encapsulate([values.tobytes()])[1]))
    pixel = PIXEL._replace(end=len(data))
    frames = ForeignFrames(described([values], planar=1), data, pixel, JOB, cast(Decoders, Cells()))
    assert np.array_equal(frames.frame(0), values)


def test_pixel_data_that_is_cut_off_is_left() -> None:
    image = described(ramp(3, 1, 2))
    for pixel, data in ((PIXEL._replace(undefined=False), DATA), (PIXEL, DATA[:-1])):
        with pytest.raises(LeaveAsIs) as caught:
            ForeignFrames(image, data, pixel, JOB, cast(Decoders, Cells()))
        assert caught.value.reason == "pixel-length"


def test_frames_are_decoded_by_the_nodes_pool(
    processes: type[Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Decoders(1)
    monkeypatch.setattr(foreign, "_shared", [pool])
    image = described(ramp(3, 1, 2))
    frames = foreign_frames(image, DATA, PIXEL, JOB.decoder, workers=2, keep=4)
    processes.answers.extend(({"ok": ""}, each) for each in (b"aaaa", b"bbbb", b"cccc"))
    assert [frames.cells(index) for index in (1, 0, 1, 0)] == [b"aaaa", b"bbbb", b"aaaa", b"cccc"]
    (worker,) = processes.made
    assert [each[:2] for each in worker.asked] == [
        (Job(JOB.decoder, image.format), VALUES[index]) for index in (1, 0, 0)
    ]
