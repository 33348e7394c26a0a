"""Streams from outside: decoded apart, refused when they contradict the data set, never taking us along."""

from __future__ import annotations

import operator
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, cast

import imagecodecs
import numpy as np
import pytest

from mapdr.kernel.codec import FrameFormat, Mismatch
from mapdr.kernel.errors import Permanent
from mapdr.testing.wait import until
from mapdr.transform.codecs.calls import Calling
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.worker import Job, _answer, decode

from .helpers import CODECS, picture

UID = "1.2.840.10008.1.2."


def job(syntax: str, frame: np.ndarray, **changes: object) -> Job:
    samples = 3 if frame.ndim == 3 else 1
    facts = {
        "rows": frame.shape[0],
        "columns": frame.shape[1],
        "samples": samples,
        "allocated": frame.dtype.itemsize * 8,
        "stored": frame.dtype.itemsize * 8,
        "signed": frame.dtype.kind == "i",
        "photometric": "RGB" if samples == 3 else "MONOCHROME2",
    }
    return Job(CODECS.decoder(UID + syntax), FrameFormat(**{**facts, **changes}))


def rle(frame: np.ndarray) -> bytes:
    """RLE with literal runs only (PS3.5 annex G)."""
    planes = frame[..., None] if frame.ndim == 2 else frame
    segments = []
    for sample in range(planes.shape[-1]):
        cells = np.ascontiguousarray(planes[..., sample])
        for byte in reversed(range(cells.itemsize)):
            raw = cells.view("u1")[:, byte :: cells.itemsize].tobytes()
            runs = [raw[at : at + 128] for at in range(0, len(raw), 128)]
            packed = b"".join(bytes([len(run) - 1]) + run for run in runs)
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets, at = [], 64
    for segment in segments:
        offsets.append(at)
        at += len(segment)
    head = np.array([len(segments), *offsets] + [0] * (15 - len(segments)), "<u4").tobytes()
    return head + b"".join(segments)


GREY = picture(40, 50, 0, 60000).astype(np.uint16)
SIGNED = picture(40, 50, -30000, 30000).astype(np.int16)
BYTES = picture(40, 50, 0, 255).astype(np.uint8)
COLOUR = np.stack([BYTES, BYTES[::-1], BYTES[:, ::-1]], -1).copy()
FRAMES = {"grey": GREY, "signed": SIGNED, "bytes": BYTES, "colour": COLOUR}

LOSSLESS = {
    "5": rle,
    "4.57": lambda x: imagecodecs.jpeg_encode(
        x.view(f"u{x.itemsize}"), lossless=True, predictor=1, bitspersample=8 * x.itemsize
    ),
    "4.80": lambda x: imagecodecs.jpegls_encode(x.view(f"u{x.itemsize}")),
    "4.90": lambda x: imagecodecs.jpeg2k_encode(x, level=0, codecformat="j2k", reversible=True),
    "4.201": imagecodecs.htj2k_encode,
    "4.110": lambda x: imagecodecs.jpegxl_encode(x, lossless=True),
}


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("kind", FRAMES)
def test_lossless_streams_come_back_as_cells(syntax: str, kind: str) -> None:
    frame = FRAMES[kind]
    if (syntax, kind) in {("4.110", "signed")}:
        pytest.skip("imagecodecs' JPEG XL is unsigned")
    if syntax == "4.57" and kind == "colour":
        stream = imagecodecs.jpeg_encode(
            frame, lossless=True, predictor=1, bitspersample=8, colorspace="RGB", outcolorspace="RGB"
        )
    else:
        stream = LOSSLESS[syntax](frame)
    cells = decode(job(syntax, frame), stream)
    assert cells.dtype.kind == "u"
    assert np.array_equal(cells.view(frame.dtype), frame)


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("padding", [b"\x20", b"\x00\x00\x41", b"\xff\x41", b"\x80", b"\xff" * 5])
def test_rle_planes_end_when_they_are_full(kind: str, padding: bytes) -> None:
    # PS3.5 G.3.1 asks for one zero at most; some write other bytes behind a segment.
    frame = FRAMES[kind]
    stream = rle(frame)
    count = stream[0]
    offsets = [int.from_bytes(stream[4 * step : 4 * step + 4], "little") for step in range(1, count + 1)]
    ends = [*offsets[1:], len(stream)]
    segments = [stream[start:end] + padding for start, end in zip(offsets, ends, strict=True)]
    starts = [64 + sum(map(len, segments[:step])) for step in range(count)]
    head = np.array([count, *starts] + [0] * (15 - count), "<u4").tobytes()
    cells = decode(job("5", frame), head + b"".join(segments))
    assert np.array_equal(cells.view(frame.dtype), frame)


def test_an_rle_plane_that_is_not_full_is_refused() -> None:
    stream = rle(BYTES)
    for cut in (stream[:-100], stream[:-100] + b"\x20"):
        with pytest.raises(Mismatch):
            decode(job("5", BYTES), cut)


@pytest.mark.parametrize("syntax", [*LOSSLESS, "4.50"])
@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
def test_a_cut_stream_gives_no_pixels(syntax: str, cut: float) -> None:
    frame = BYTES if syntax == "4.50" else GREY
    stream = imagecodecs.jpeg_encode(frame, level=95) if syntax == "4.50" else LOSSLESS[syntax](frame)
    decode(job(syntax, frame), stream)
    with pytest.raises(Exception) as caught:  # noqa: PT011  each library has its own
        decode(job(syntax, frame), stream[: int(len(stream) * cut)])
    assert not isinstance(caught.value, AssertionError)


def test_the_end_of_a_thumbnail_is_not_that_of_the_image() -> None:
    stream = imagecodecs.jpeg_encode(BYTES, level=95)
    thumbnail = imagecodecs.jpeg_encode(BYTES[:8, :8])
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    whole = stream[:2] + segment + stream[2:]
    assert np.array_equal(decode(job("4.50", BYTES), whole), decode(job("4.50", BYTES), stream))
    assert np.array_equal(decode(job("4.50", BYTES), whole + b"\0\0"), decode(job("4.50", BYTES), stream))
    with pytest.raises(Mismatch, match="cut off"):
        decode(job("4.50", BYTES), whole[:-20])


@pytest.mark.parametrize(
    ("kept", "between"), [(0, b""), (10, b""), (11, b""), (0, b"\xff\xff"), (11, b"\xff"), (0, b"between")]
)
def test_a_baseline_jpeg_without_colour_marks_is_what_the_data_set_says(kept: int, between: bytes) -> None:
    """Of an Adobe segment of fewer than 12 bytes libjpeg makes nothing either; fill bytes, and others that
    are no segment, it passes over."""
    stream = bytearray(imagecodecs.jpeg_encode(COLOUR, level=95, colorspace="RGB", outcolorspace="RGB"))
    frame = stream.index(b"\xff\xc0")
    scan = stream.index(b"\xff\xda")
    adobe = stream.index(b"\xff\xee")
    for step in range(3):
        stream[frame + 10 + 3 * step] = stream[scan + 5 + 2 * step] = step
    length = int.from_bytes(stream[adobe + 2 : adobe + 4], "big")
    body = stream[adobe + 4 : adobe + 4 + kept]
    segment = b"\xff\xee" + (2 + kept).to_bytes(2, "big") + body if kept else b""
    stream[adobe : adobe + 2 + length] = between + segment + between
    found = decode(job("4.50", COLOUR), bytes(stream)).astype(int)
    assert np.abs(found - COLOUR).mean() < 8
    other = decode(job("4.50", COLOUR, photometric="YBR_FULL"), bytes(stream)).astype(int)
    assert np.abs(other - COLOUR).mean() > 20


def test_a_marked_jpeg_is_believed_before_the_data_set() -> None:
    stream = imagecodecs.jpeg_encode(COLOUR, level=95)
    assert np.abs(decode(job("4.50", COLOUR), stream).astype(int) - COLOUR).mean() < 8


@pytest.mark.parametrize(
    ("frame", "changes", "what"),
    [
        (GREY, {"rows": 41}, "shape"),
        (GREY, {"samples": 3}, "shape"),
        (SIGNED, {"signed": False}, "sign"),
        (GREY, {"signed": True}, "sign"),
        (SIGNED, {"stored": 12}, "depth"),
        (GREY, {"allocated": 8, "stored": 8}, "depth"),
    ],
)
def test_a_stream_that_contradicts_the_data_set_is_refused(
    frame: np.ndarray, changes: dict[str, object], what: str
) -> None:
    stream = LOSSLESS["4.90"](frame)
    with pytest.raises(Mismatch, match=what):
        decode(job("4.90", frame, **changes), stream)


@pytest.fixture
def pool() -> Iterator[Decoders]:
    found = Decoders(1, seconds=20)
    yield found
    found.close()


def test_frames_come_back_from_another_process(pool: Decoders) -> None:
    for frame in (GREY, SIGNED, COLOUR):
        cells = pool.decode(job("4.90", frame), LOSSLESS["4.90"](frame))
        assert cells == frame.tobytes()


@pytest.mark.parametrize(
    ("syntax", "stream", "reason"),
    [("4.90", b"\xff\x4f\xff\x51 garbage", "codec"), ("4.80", b"", "codec")],
)
def test_what_a_codec_refuses_is_permanent(pool: Decoders, syntax: str, stream: bytes, reason: str) -> None:
    with pytest.raises(Permanent) as caught:
        pool.decode(job(syntax, GREY), stream)
    assert caught.value.reason == reason


def test_a_syntax_that_no_codec_reads_is_permanent() -> None:
    with pytest.raises(Permanent) as caught:
        job("4.100", GREY)
    assert caught.value.reason == "syntax"


def test_a_mismatch_is_told_apart(pool: Decoders) -> None:
    with pytest.raises(Permanent) as caught:
        pool.decode(job("4.90", GREY, columns=51), LOSSLESS["4.90"](GREY))
    assert caught.value.reason == "codec-mismatch"


def test_sizes_are_capped_before_anything_is_allocated(pool: Decoders) -> None:
    with pytest.raises(Permanent, match="1 GiB"):
        pool.decode(job("4.90", GREY, rows=65535, columns=65535), b"")


def test_a_crash_parks_one_image_and_the_next_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that ends as soon as it runs is, seen from here, one that its codec killed.
    pool = Decoders(1, target=operator.methodcaller("close"))
    try:
        with pytest.raises(Permanent) as caught:
            pool.decode(job("4.90", GREY), LOSSLESS["4.90"](GREY))
        assert caught.value.reason == "codec-crash"
        monkeypatch.setattr(pool, "_target", Decoders(1)._target)
        assert pool.decode(job("4.90", GREY), LOSSLESS["4.90"](GREY)) == GREY.tobytes()
    finally:
        pool.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_process_that_died_between_images_is_replaced_without_blame(pool: Decoders) -> None:
    stream = LOSSLESS["4.90"](GREY)
    pool.decode(job("4.90", GREY), stream)
    worker = pool._idle.get()
    assert worker is not None
    os.kill(worker.process.pid, signal.SIGKILL)
    until(lambda: not worker.process.is_alive(), 5, "the end of the process")
    pool._idle.put(worker)
    assert pool.decode(job("4.90", GREY), stream) == GREY.tobytes()


class Hungry:
    """A job that takes `takes` bytes, or finds none, where decoding may take `work`."""

    def __init__(self, work: int, takes: int = 0) -> None:
        self.work, self.takes = work, takes

    def done(self, stream: bytes) -> bytes:
        if not self.takes:
            raise MemoryError
        return bytes(self.takes)


def test_no_memory_is_told_apart_from_a_stream_that_asks_for_too_much(pool: Decoders) -> None:
    with pytest.raises(MemoryError), Calling("it cannot encode"):
        raise MemoryError
    assert _answer(cast(Job, Hungry(1 << 46)), b"") == ({"memory": ""}, None)
    if sys.platform == "linux":  # elsewhere nothing limits a decoder
        assert _answer(cast(Job, Hungry(1 << 24, 1 << 28)), b"") == ({"error": "MemoryError"}, None)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_process_that_the_system_kills_for_want_of_memory_blames_no_image(
    pool: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = LOSSLESS["4.90"](GREY)
    pool.decode(job("4.90", GREY), stream)
    worker = pool._idle.get()
    assert worker is not None
    ask = worker.ask

    def killed(*question: Any) -> Any:
        os.kill(worker.process.pid, signal.SIGKILL)
        return ask(*question)

    monkeypatch.setattr(worker, "ask", killed)
    pool._idle.put(worker)
    with pytest.raises(MemoryError):
        pool.decode(job("4.90", GREY), stream)
    assert pool.decode(job("4.90", GREY), stream) == GREY.tobytes()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs signals")
def test_a_process_that_hangs_is_ended(pool: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = LOSSLESS["4.90"](GREY)
    pool.decode(job("4.90", GREY), stream)
    worker = pool._idle.get()
    assert worker is not None
    os.kill(worker.process.pid, signal.SIGSTOP)
    pool._idle.put(worker)
    monkeypatch.setattr(pool, "_seconds", 0.2)
    with pytest.raises(Permanent) as caught:
        pool.decode(job("4.90", GREY), stream)
    assert caught.value.reason == "codec-crash"


def test_many_threads_share_the_processes() -> None:
    pool = Decoders(2)
    frames = [np.roll(GREY, step) for step in range(8)]
    found: dict[int, bytes] = {}

    def work(index: int) -> None:
        found[index] = pool.decode(job("4.90", GREY), LOSSLESS["4.90"](frames[index]))

    try:
        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == {index: frame.tobytes() for index, frame in enumerate(frames)}
    finally:
        pool.close()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs signals")
def test_a_stop_that_reaches_every_process_blames_no_image(pool: Decoders) -> None:
    stream = LOSSLESS["4.90"](GREY)
    pool.decode(job("4.90", GREY), stream)
    worker = pool._idle.get()
    assert worker is not None
    pool._idle.put(worker)
    os.kill(worker.process.pid, signal.SIGINT)
    assert pool.decode(job("4.90", GREY), stream) == GREY.tobytes()
    assert pool._idle.queue[-1] is worker
    os.kill(worker.process.pid, signal.SIGTERM)
    until(lambda: not worker.process.is_alive(), 5, "the end of the process")
    assert pool.decode(job("4.90", GREY), stream) == GREY.tobytes()
