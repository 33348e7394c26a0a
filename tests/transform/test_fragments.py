"""Encapsulation both ways, checked by pydicom."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate as pydicom_encapsulate
from pydicom.encaps import generate_frames, parse_basic_offsets

from mapdr.dicom.write import EXPLICIT_LITTLE, walk
from mapdr.kernel.budget import Limited, Short
from mapdr.kernel.errors import Permanent
from mapdr.transform.fragments import (
    EXTENDED_OFFSETS,
    begins_frame,
    encapsulate,
    encapsulated,
    fragments,
    frame_spans,
)

FRAMES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6)
HEAD = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def joined(frames: list[bytes], **options: int) -> tuple[bytes, bytes]:
    before, parts = encapsulate(frames, **options)
    return before, b"".join(part for part in parts if isinstance(part, bytes))


def item(content: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content


def pixel_of(blob: bytes):
    return next(found for found in walk(blob, EXPLICIT_LITTLE) if found.tag == 0x7FE00010)


def padded(frames: list[bytes]) -> list[bytes]:
    return [frame + b"\0" * (len(frame) % 2) for frame in frames]


@given(FRAMES)
def test_pydicom_reads_our_frames_and_table(frames: list[bytes]) -> None:
    before, blob = joined(frames)
    assert before == b""
    assert blob.startswith(HEAD)
    assert blob.endswith(END)
    assert list(generate_frames(blob[12:], number_of_frames=len(frames))) == padded(frames)
    offsets = parse_basic_offsets(blob[12:])
    assert offsets[0] == 0
    assert [blob[12 + 8 + 4 * len(frames) :][at : at + 4] for at in offsets] == [b"\xfe\xff\x00\xe0"] * len(
        frames
    )


@given(FRAMES, st.booleans())
def test_we_read_pydicoms(frames: list[bytes], table: bool) -> None:
    blob = HEAD + pydicom_encapsulate(padded(frames), has_bot=table) + END
    spans = frame_spans(blob, pixel_of(blob), len(frames))
    assert [b"".join(blob[a:b] for a, b in frame) for frame in spans] == padded(frames)


@given(
    st.lists(
        st.lists(st.binary(max_size=9).map(b"..".__add__), min_size=1, max_size=3), min_size=1, max_size=4
    )
)
def test_fragments_are_grouped_by_the_table(frames: list[list[bytes]]) -> None:
    frames = [padded(frame) for frame in frames]
    offsets, body = [], b""
    for frame in frames:
        offsets.append(len(body))
        body += b"".join(map(item, frame))
    blob = HEAD + item(struct.pack(f"<{len(offsets)}I", *offsets)) + body + END
    spans = frame_spans(blob, pixel_of(blob), len(frames))
    assert [[blob[a:b] for a, b in frame] for frame in spans] == frames


def test_without_tables_frames_are_told_by_how_they_begin() -> None:
    frames = [[b"\xff\xd8\xff\xe0", b"more"], [b"\xff\xd8\xff\xc3", b"and", b"more"]]
    body = b"".join(item(part + b"\0" * (len(part) % 2)) for frame in frames for part in frame)
    blob = HEAD + item(b"") + body + END
    assert [len(frame) for frame in frame_spans(blob, pixel_of(blob), 2)] == [2, 3]


def test_what_begins_as_another_codec_does_is_within_a_codestream() -> None:
    one, jpeg_xl = b"\xff\x4f\xff\x51" + bytes(20), b"\xff\x0a" + bytes(20)
    blob = HEAD + item(b"") + item(one) + item(jpeg_xl) + END
    assert [len(spans) for spans in frame_spans(blob, pixel_of(blob), 1)] == [2]
    for other in (one, bytes(4) + one):
        blob = HEAD + item(b"") + item(one) + item(jpeg_xl) + item(other) + END
        if other is one:
            with pytest.raises(Permanent, match="more codestreams"):
                frame_spans(blob, pixel_of(blob), 1)
        else:
            assert [len(spans) for spans in frame_spans(blob, pixel_of(blob), 1)] == [3]


def test_many_fragments_take_little_memory() -> None:
    """16 bytes for each, and 8 more for each frame where one has several."""
    count = 20_000
    body = item(b"") + item(b"\xff\xd8\xff\0") * count
    blob = HEAD + body + item(b"more") + END
    pixel = pixel_of(blob)
    tracemalloc.start()
    try:
        spans = frame_spans(blob, pixel, count)
        held, _ = tracemalloc.get_traced_memory()
        assert len(spans[count - 1]) == 2
        assert held < 32 * count
    finally:
        tracemalloc.stop()
    assert [len(frame) for frame in spans] == [1] * (count - 1) + [2]
    with pytest.raises(IndexError):
        spans[count]


def test_of_very_many_fragments_the_budget_is_told_before_they_are_all_there() -> None:
    blob = HEAD + item(b"") + item(b"ab") * (2 << 16) + END
    pixel = pixel_of(blob)
    for most in (6 << 20, (6 << 20) - 1):
        with Limited(most).held(), pytest.raises(Short) if most < 6 << 20 else nullcontext():
            assert len(fragments(blob, pixel)[1]) == 2 << 16


def test_there_is_no_fragment_and_no_frame_before_the_first_or_behind_the_last() -> None:
    blob = HEAD + item(b"") + item(b"\xff\xd8\xff\0") + item(b"more") + item(b"\xff\xd8\xff\0") + END
    _, spans = fragments(blob, pixel_of(blob))
    frames = frame_spans(blob, pixel_of(blob), 2)
    assert (spans[2], list(frames[1])) == (list(spans)[2], [spans[2]])
    for index in (-4, -3, -1, 3):
        with pytest.raises(IndexError):
            spans[index]
    for index in (-3, -2, -1, 2):
        with pytest.raises(IndexError):
            frames[index]


def test_offsets_are_whole_numbers_of_32_bits_and_what_is_left_is_none() -> None:
    blob = HEAD + item(struct.pack("<2IH", 0, 12, 5)) + item(b"abcd") + item(b"efgh") + END
    assert fragments(blob, pixel_of(blob))[0] == (0, 12)


@pytest.mark.parametrize(
    ("head", "begins"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (b"\xff\x4f\xff\x51\0", True),
        (b"\xff\x0a", True),
        (b"\0\0\0\x0cjP  \r\n\x87\n", True),
        (b"\0\0\0\x0cJXL \r\n\x87\n", True),
        (b"\xff\xd8", False),
        (b"\0\xff\xd8\xff", False),
        (b"", False),
    ],
)
def test_a_frame_begins_where_a_codestream_does(head: bytes, begins: bool) -> None:
    assert begins_frame(head) is begins


def test_one_frame_takes_all_fragments() -> None:
    blob = HEAD + item(b"") + item(b"ab") + item(b"cd") + END
    assert len(frame_spans(blob, pixel_of(blob), 1)[0]) == 2


def test_the_extended_table_comes_only_when_offsets_need_64_bits() -> None:
    frames = [b"abcd", b"efg", b"hi"]
    before, blob = joined(frames, limit=20)
    found = {each.tag: before[each.value : each.end] for each in walk(before, EXPLICIT_LITTLE)}
    assert struct.unpack("<3Q", found[EXTENDED_OFFSETS]) == (0, 12, 24)
    assert struct.unpack("<3Q", found[0x7FE00002]) == (4, 4, 2)
    table, spans = fragments(blob, pixel_of(blob))
    assert table == ()
    assert [blob[a:b] for a, b in spans] == padded(frames)
    grouped = frame_spans(blob, pixel_of(blob), 3, found[EXTENDED_OFFSETS])
    assert [blob[a:b] for ((a, b),) in grouped] == padded(frames)


def test_offsets_that_fill_their_32_bits_need_no_other_table() -> None:
    frames = [b"abcd", b"ef", b"gh"]  # the last of which begins at byte 22
    before, blob = joined(frames, limit=23)
    assert (before, blob[12:32]) == (b"", item(struct.pack("<3I", 0, 12, 22)))
    before, blob = joined(frames, limit=22)
    assert (len(before), blob[12:20]) == (2 * (12 + 24), item(b""))


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_fragments_are_grouped_by_the_extended_table(frames: int) -> None:
    """Whatever they begin with; a table that has not one offset for each frame tells nothing."""
    parts = [[b"%d%d" % (frame, part) for part in range(1 + frame % 2)] for frame in range(frames)]
    offsets, body = [], b""
    for each in parts:
        offsets.append(len(body))
        body += b"".join(map(item, each))
    blob = HEAD + item(b"") + body + END
    extended = struct.pack(f"<{frames}Q", *offsets)
    spans = frame_spans(blob, pixel_of(blob), frames, extended)
    assert [[blob[a:b] for a, b in frame] for frame in spans] == parts
    for other in (b"", extended[:-8], extended + bytes(8), extended[:-1]):
        with pytest.raises(Permanent, match="begins no frame"):
            frame_spans(blob, pixel_of(blob), frames, other)


def test_fragments_are_put_together_again_with_their_table_and_padded() -> None:
    parts = encapsulated((0, 12), [((b"abc",), 3), ((b"d", b"e"), 2), ((b"",), 0)])
    assert b"".join(map(bytes, parts)) == (  # type: ignore[arg-type]
        HEAD + item(struct.pack("<2I", 0, 12)) + item(b"abc\0") + item(b"de") + item(b"") + END
    )


@pytest.mark.parametrize(
    ("at", "data"),
    [
        (20, b"\xfe\xff\x01\xe0"),  # no item
        (24, b"\x0b\0\0\0"),  # one that ends behind the element
        (24, b"\xff\xff\xff\xff"),
    ],
)
def test_an_item_that_is_none_or_ends_behind_the_element_is_refused(at: int, data: bytes) -> None:
    blob = bytearray(HEAD + item(b"") + item(b"ab") + END)
    pixel = pixel_of(bytes(blob))
    blob[at : at + 4] = data
    with pytest.raises(Permanent, match="an item was expected at byte 20"):
        fragments(bytes(blob) + bytes(100), pixel)


@pytest.mark.parametrize(
    ("body", "frames"),
    [
        (b"", 1),
        (item(b""), 1),
        (item(b"") + item(b"ab") + item(b"cd"), 3),
        (item(b"") + item(b"ab") + item(b"\xff\xd8\xff\0") + item(b"cd"), 2),
        (item(b"") + item(b"\xff\xd8\xff\0") + item(b"\xff\xd8\xff\0"), 1),
        (
            item(struct.pack("<2I", 0, 24))
            + item(b"\xff\xd8\xff\0")
            + item(b"\xff\xd8\xff\0")
            + item(b"\xff\xd8\xff\0"),
            2,
        ),
    ],
)
def test_what_makes_no_frames_is_refused(body: bytes, frames: int) -> None:
    blob = HEAD + body + END
    with pytest.raises(Permanent) as caught:
        frame_spans(blob, pixel_of(blob), frames)
    assert caught.value.reason == "fragments"
