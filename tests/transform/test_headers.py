"""What a codestream says of its size is read by us as by its codec, and a lie is refused undecoded."""

from __future__ import annotations

import struct
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.kernel.codec import Figures, Mismatch
from mapdr.kernel.errors import Permanent
from mapdr.transform.codecs import headers
from mapdr.transform.codecs.foreign import Decoders
from mapdr.transform.codecs.worker import decode
from transform.helpers import picture
from transform.test_foreign import BYTES, COLOUR, GREY, LOSSLESS, SIGNED, job, rle

READERS = {
    "4.50": headers.jpeg,
    "4.57": headers.jpeg,
    "4.80": headers.jpegls,
    "4.90": headers.jpeg2000,
    "4.201": headers.jpeg2000,
    "4.110": headers.jpegxl,
}
ENCODERS = {**LOSSLESS, "4.50": lambda frame: imagecodecs.jpeg_encode(frame, level=90)}
SMALL = np.zeros((16, 16), "u1")


def container(*boxes: tuple[bytes, bytes]) -> bytes:
    return b"".join(struct.pack(">I", 8 + len(data)) + kind + data for kind, data in boxes)


def jp2(stream: bytes) -> bytes:
    return container((b"jP  ", b"\r\n\x87\n"), (b"ftyp", b"jp2 \0\0\0\0jp2 "), (b"jp2c", stream))


def jxl(*boxes: tuple[bytes, bytes]) -> bytes:
    return container((b"JXL ", b"\r\n\x87\n"), (b"ftyp", b"jxl \0\0\0\0jxl "), *boxes)


def enlarged(syntax: str, side: int) -> bytes:
    """A small stream whose header says `side` x `side`."""
    if syntax == "4.110":
        return bytes(imagecodecs.jpegxl_encode(np.zeros((side, side), "u1"), lossless=True, effort=1))
    stream = bytearray(ENCODERS[syntax](SMALL))
    if syntax in ("4.90", "4.201"):
        struct.pack_into(">II", stream, 8, side, side)
        struct.pack_into(">II", stream, 24, side, side)
    else:
        at = next(i for i in range(len(stream)) if stream[i] == 0xFF and stream[i + 1] in (0xC0, 0xC3, 0xF7))
        struct.pack_into(">HH", stream, at + 5, side, side)
    return bytes(stream)


@pytest.mark.parametrize("syntax", READERS)
@pytest.mark.parametrize("frame", [GREY, SIGNED, BYTES, COLOUR], ids=["grey", "signed", "bytes", "colour"])
def test_the_figures_are_those_of_the_encoder(syntax: str, frame: np.ndarray) -> None:
    if (syntax == "4.50" and frame.itemsize > 1) or (syntax == "4.110" and frame.dtype.kind == "i"):
        pytest.skip("the codec has no such streams")
    samples = 3 if frame.ndim == 3 else 1
    found = READERS[syntax](ENCODERS[syntax](frame))
    assert found == Figures(*frame.shape[:2], samples, 8 * frame.itemsize)


@pytest.mark.parametrize("bits", [9, 12, 15])
def test_the_precision_is_the_streams(bits: int) -> None:
    frame = picture(20, 30, 0, (1 << bits) - 1).astype("u2")
    stream = imagecodecs.jpeg2k_encode(frame, level=0, codecformat="j2k", bitspersample=bits)
    assert headers.jpeg2000(stream) == Figures(20, 30, 1, bits)


@pytest.mark.parametrize(
    "size",
    [(1, 1), (8, 8), (256, 8), (100, 120), (300, 400), (9, 16), (16, 9), (700, 20), (2048, 1), (3, 9000)],
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_sizes_of_jpeg_xl_in_every_form(size: tuple[int, int], dtype: str) -> None:
    stream = imagecodecs.jpegxl_encode(np.zeros(size, dtype), lossless=True, effort=1)
    wanted = Figures(*size, 1, 8 * np.dtype(dtype).itemsize)
    assert headers.jpegxl(stream) == wanted
    if stream[:2] == b"\xff\x0a":
        assert headers.jpegxl(jxl((b"Exif", bytes(9)), (b"jxlc", stream))) == wanted
        pieces = [(b"jxlp", struct.pack(">I", n) + stream[n : n + 1]) for n in range(len(stream))]
        assert headers.jpegxl(jxl(*pieces)) == wanted


def test_a_jpeg_xl_with_extra_channels_is_not_read() -> None:
    assert headers.jpegxl(imagecodecs.jpegxl_encode(np.zeros((9, 9, 4), "u1"), lossless=True)) is None


def test_a_jp2_file_is_read_as_the_codestream_in_it() -> None:
    stream = imagecodecs.jpeg2k_encode(GREY, level=0, codecformat="jp2")
    assert headers.jpeg2000(stream) == Figures(40, 50, 1, 16)
    assert headers.jpeg2000(jp2(LOSSLESS["4.90"](GREY))) == Figures(40, 50, 1, 16)


def test_the_frame_of_a_thumbnail_and_fill_bytes_are_passed_over() -> None:
    stream = imagecodecs.jpeg_encode(BYTES)
    inner = imagecodecs.jpeg_encode(SMALL)
    thumb = b"\xff\xe1" + struct.pack(">H", 2 + len(inner)) + inner
    assert headers.jpeg(stream[:2] + thumb + b"\xff\xff\xff" + stream[3:]) == Figures(40, 50, 1, 8)


@pytest.mark.parametrize("syntax", READERS)
def test_a_stream_that_lies_about_its_size_is_refused_undecoded(syntax: str) -> None:
    side = 2000 if syntax == "4.110" else 60000
    stream = enlarged(syntax, side)

    def never(*_: Any) -> None:
        raise AssertionError("it was decoded")

    task = job(syntax, SMALL)
    task = replace(task, decoder=replace(task.decoder, decode=never))
    with pytest.raises(Mismatch, match=f"{side} x {side} x 1, where the data set says 16 x 16 x 1"):
        decode(task, stream)


def test_a_lie_is_parked_with_the_figures() -> None:
    pool = Decoders(1, seconds=20)
    try:
        with pytest.raises(Permanent, match="60000 x 60000 x 1") as caught:
            pool.decode(job("4.50", SMALL), enlarged("4.50", 60000))
        assert caught.value.reason == "codec-mismatch"
        assert pool.decode(job("4.90", GREY), LOSSLESS["4.90"](GREY)) == GREY.tobytes()
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process maps")
def test_what_no_header_tells_is_limited_by_the_system() -> None:
    # 120 MB of runs unpack to 7.7 GB.
    stream = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 60_000_000
    pool = Decoders(1, seconds=60)
    try:
        with pytest.raises(Permanent) as caught:
            pool.decode(job("5", SMALL), stream)
        assert caught.value.reason in ("codec", "codec-mismatch")
        assert pool.decode(job("5", GREY), rle(GREY)) == GREY.tobytes()
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process maps")
@pytest.mark.parametrize("syntax", ["4.57", "4.80", "4.90", "4.110", "5"])
def test_large_frames_are_decoded_within_the_limit(syntax: str) -> None:
    frame = np.tile(GREY, (60, 50))  # 2400 x 2500
    pool = Decoders(1, seconds=120)
    try:
        assert pool.decode(job(syntax, frame), ENCODERS[syntax](frame)) == frame.tobytes()
    finally:
        pool.close()


@given(st.data())
def test_any_bytes_give_figures_or_none(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(sorted(READERS)))
    stream = bytearray(STREAMS[syntax] if data.draw(st.booleans()) else b"")
    for _ in range(data.draw(st.integers(0, 4))):
        if stream:
            at = data.draw(st.integers(0, min(len(stream), 150) - 1))
            stream[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    stream = stream[: data.draw(st.integers(0, 400))] or bytearray(data.draw(st.binary(max_size=200)))
    found = READERS[syntax](bytes(stream))
    assert found is None or min(found.rows, found.columns, found.samples) > -(1 << 32)


@given(
    st.sampled_from([b"\xff\xd8", b"\xff\x0a", b"\xff\x4f\xff\x51", jp2(b""), jxl()]),
    st.binary(max_size=120),
)
def test_any_bytes_behind_a_signature_give_figures_or_none(start: bytes, rest: bytes) -> None:
    for reader in READERS.values():
        assert isinstance(reader(start + rest), Figures | None)


STREAMS = {syntax: bytes(encode(BYTES)) for syntax, encode in ENCODERS.items() if syntax in READERS}


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"", b"\xff", b"\xff\xff", b"junk", b"\xff\0", b"\xff\x01", b"\xff\xd7"]),
            st.sampled_from([0xC0, 0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xF7, 0xFE]),
            st.binary(max_size=12),
        )
    ),
    st.sampled_from([b"\xff\xda", b"\xff\xd9", b"\xff\xd8", b"", b"\xff", b"\xff\xfe\0"]),
)
def test_the_segments_of_a_jpeg_are_found_whatever_stands_between(
    written: list[tuple[bytes, int, bytes]], end: bytes
) -> None:
    stream = b"\xff\xd8"
    for between, marker, body in written:
        stream += between + bytes([0xFF, marker]) + (2 + len(body)).to_bytes(2, "big") + body
    found = [(marker, stream[start:stop]) for marker, start, stop in headers.segments(stream + end)]
    assert found == [(marker, body) for _, marker, body in written]


@given(
    st.lists(st.sampled_from([b"\xff", b"\0", b"\1", b"\2", b"\xc0", b"\xd8", b"\xe0", b"ab"])).map(b"".join)
)
def test_of_any_bytes_segments_follow_one_another(stream: bytes) -> None:
    found = list(headers.segments(stream))
    assert all(marker not in (0, 1, 0xFF, *range(0xD0, 0xDB)) for marker, _, _ in found)
    assert all(start <= stop for _, start, stop in found[:-1])
    assert all(before[2] + 4 <= after[1] <= len(stream) for before, after in pairwise(found))
