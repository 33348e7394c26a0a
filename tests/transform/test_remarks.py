"""What stands beside the pixels of codestreams that are made by hand: every segment, and where it ends. What
encoders write is looked at in `test_deidentify_codestreams.py`."""

from __future__ import annotations

import struct

import pytest

from mapdr.transform.codecs.remarks import Broken, Remark, jpeg, jpeg2000, jpegxl, reader_of, remarks

from .test_header_fields import EOI, NO_LENGTH, SOI, box, segment

KEPT = (*range(0xC0, 0xD0), *range(0xDB, 0xE0), 0xF7, 0xF8)
"""Tables, frames, scans, restart intervals (ISO/IEC 10918-1, table B.1; 14495-1, table C.1)."""


def test_of_each_segment_of_jpeg_it_is_known_whether_a_decoder_needs_it() -> None:
    content = b"what stands here" * 20
    for marker in range(0xFF):
        stream = SOI + segment(marker, content) + EOI
        if marker in (0x00, 0xD8):
            with pytest.raises(Broken):
                list(remarks(stream, jpeg))
            continue
        found = list(remarks(stream, jpeg))
        if marker == 0xD9:
            assert found == [Remark(4, len(stream))]
        elif marker in (*NO_LENGTH, 0x01):
            assert found == [Remark(4, len(stream) - 2, b"\xff")]
        elif marker in (*KEPT, 0xDA):
            assert found == [], hex(marker)
        else:
            assert found == [Remark(6, len(stream) - 2)], hex(marker)


@pytest.mark.parametrize(
    ("marker", "known", "kept"),
    [
        (0xEE, b"Adobe\0\x64\0\0\0\0\1", 12),
        (0xE8, b"mrfx\5", 5),
        (0xE8, b"SPIFF\0" + bytes(range(24)), 30),
        (0xE8, b"\0\0\0\1\xff\xd8", 6),
    ],
)
def test_what_changes_colours_stays_and_what_stands_behind_it_does_not(
    marker: int, known: bytes, kept: int
) -> None:
    assert len(known) == kept
    stream = SOI + segment(marker, known) + EOI
    assert list(remarks(stream, jpeg)) == []
    behind = SOI + segment(marker, known + b"NAME") + EOI
    found = list(remarks(behind, jpeg))
    whole = marker == 0xE8 and kept == 6  # that is known only by being nothing else
    assert found == [Remark(6 if whole else 6 + kept, len(behind) - 2)]
    other = SOI + segment(0xE5, known + b"NAME") + EOI
    assert list(remarks(other, jpeg)) == [Remark(6, len(other) - 2)]


def test_a_jfif_without_its_thumbnail_stays_and_a_short_one_says_nothing() -> None:
    jfif = b"JFIF\0\1\2\0\0\1\0\1"
    for rest, first in ((b"\0\0", None), (b"\1\1abc", 6 + 12), (b"N", 6), (b"", 6)):
        stream = SOI + segment(0xE0, jfif + rest) + EOI
        found = list(remarks(stream, jpeg))
        assert found == ([] if first is None else [Remark(first, len(stream) - 2)])


def test_a_segment_of_jpeg_that_is_not_whole_is_not_walked() -> None:
    for length in (0, 1):
        with pytest.raises(Broken):
            list(remarks(SOI + segment(0xFE, b"NAME", length) + EOI, jpeg))
    assert list(remarks(SOI + segment(0xFE, b"") + EOI, jpeg)) == []
    whole = SOI + segment(0xFE, b"NAME")
    for size in {*range(len(whole))} - {3}:
        with pytest.raises(Broken):
            list(remarks(whole[:size], jpeg))
    with pytest.raises(Broken):
        list(remarks(whole, jpeg))  # nothing ends it
    assert list(remarks(whole + b"\xff", jpeg)) == [Remark(6, 10)]  # its end is cut off, within the marker


SCAN = segment(0xDA, b"\0\0")


@pytest.mark.parametrize(
    ("marker", "in_jpeg", "in_jpegls"),
    [
        (0x00, False, False),
        (0x7F, True, False),
        (0xD0, False, False),
        (0xD7, False, False),
        (0xFE, True, True),
    ],
)
def test_a_scan_ends_with_a_marker_of_its_syntax(marker: int, in_jpeg: int, in_jpegls: int) -> None:
    rest = segment(marker, b"NAME") + EOI
    for start, ends in ((SOI, in_jpeg), (SOI + segment(0xF7, b"frame"), in_jpegls)):
        stream = start + SCAN + b"data" + rest
        at = len(start + SCAN) + 4
        assert list(remarks(stream, jpeg)) == ([Remark(at + 4, at + 8)] if ends else [])
    for start in (SOI, SOI + segment(0xF7, b"frame")):
        assert list(remarks(start + SCAN + b"cut off", jpeg)) == []


# --- JPEG 2000 (ISO/IEC 15444-1, table A.2)

SOC, SOD, EOC = b"\xff\x4f", b"\xff\x93", b"\xff\xd9"
NEEDED = (*range(0x50, 0x54), 0x55, 0x57, 0x58, 0x59, *range(0x5C, 0x62), 0x63)


def tile_part(head: bytes = b"", data: bytes = b"data", length: int | None = None) -> bytes:
    whole = 12 + len(head) + 2 + len(data)
    sot = struct.pack(">HHHIBB", 0xFF90, 10, 0, whole if length is None else length, 0, 1)
    return sot + head + SOD + data


@pytest.mark.parametrize("in_tile", [False, True])
def test_of_each_segment_of_jpeg_2000_it_is_known_whether_a_decoder_needs_it(in_tile: bool) -> None:
    content = b"\0\1" + b"what stands here" * 20
    for marker in range(0x100):
        if marker in (0x90, 0x93):
            continue  # a tile-part, and its data
        one = segment(marker, content)
        stream = SOC + (tile_part(one) if in_tile else one + tile_part()) + EOC
        at = len(SOC) + 12 * in_tile
        if marker == 0x64:
            expected = [Remark(at + 6, at + len(one), b" ")]
        else:
            expected = [] if marker in NEEDED else [Remark(at + 4, at + len(one))]
        assert list(remarks(stream, jpeg2000)) == expected, hex(marker)


def test_tile_parts_end_where_they_say() -> None:
    comment = segment(0x64, b"\0\1NAME")
    first, last = tile_part(comment, b"\xff\x90data"), tile_part(comment, length=0)
    stream = SOC + first + last + EOC
    second = len(SOC + first) + 12 + 6
    assert list(remarks(stream, jpeg2000)) == [Remark(20, 24, b" "), Remark(second, second + 4, b" ")]
    assert list(remarks(stream[:-2], jpeg2000)) == list(remarks(stream, jpeg2000))  # without its end
    assert list(remarks(stream + b"NAME", jpeg2000))[2:] == [Remark(len(stream), len(stream) + 4)]
    for wrong in (
        SOC + tile_part(length=13) + EOC,  # ends within its own head
        SOC + tile_part() + b"\xff\x91" + bytes(9),
        SOC + EOC,
        SOC + comment,
        SOC + segment(0x64, b"NAME", 1) + tile_part() + EOC,
        SOC + segment(0x64, b"NAME", 200) + tile_part() + EOC,
        SOC + b"\0" + comment[1:] + tile_part() + EOC,
        b"\xff\x4e" + tile_part() + EOC,
        SOC + tile_part().replace(SOD, b"\xff\x90") + EOC,
    ):
        with pytest.raises(Broken):
            list(remarks(wrong, jpeg2000))
    assert list(remarks(SOC + tile_part(data=b"", length=14) + EOC, jpeg2000)) == []
    assert list(remarks(SOC + segment(0x64, b"") + tile_part() + EOC, jpeg2000)) == []


# --- Boxes


JP2 = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 ")
JXL = box(b"JXL ", b"\r\n\x87\n") + box(b"ftyp", b"jxl ")
IMAGE = SOC + tile_part() + EOC


@pytest.mark.parametrize(
    ("start", "needed", "image", "reader"),
    [
        (JP2, (b"jp2h",), box(b"jp2c", IMAGE), jpeg2000),
        (JXL, (b"jxll", b"jxli", b"jxlp"), box(b"jxlc", b"\xff\x0a"), jpegxl),
    ],
    ids=["JP2", "JXL"],
)
def test_a_box_that_nobody_needs_becomes_free_space(
    start: bytes, needed: tuple[bytes, ...], image: bytes, reader: object
) -> None:
    known = b"".join(box(kind, b"content") for kind in needed)
    name = box(b"xml ", b"NAME")
    stream = start + known + name + image
    at = len(start + known)
    said = [Remark(at + 4, at + 8, b"free"), Remark(at + 8, at + 12)]
    assert list(remarks(stream, reader)) == said  # type: ignore[arg-type]
    second = len(stream) + at
    again = [Remark(second + 4, second + 8, b"free"), Remark(second + 8, second + 12)]
    assert list(remarks(stream + stream, reader)) == said + again  # type: ignore[arg-type]
    for rest in range(1, 8):
        behind = list(remarks(stream + b"NAMENAM"[:rest], reader))  # type: ignore[arg-type]
        assert behind == [*said, Remark(len(stream), len(stream) + rest)]
    with pytest.raises(Broken):
        list(remarks(stream + b"\0\0\0\7NAME", reader))  # type: ignore[arg-type]


def test_a_comment_in_the_codestream_of_a_jp2_file_is_found_at_its_place() -> None:
    comment = segment(0x64, b"\0\1NAME")
    stream = JP2 + box(b"jp2c", SOC + comment + tile_part() + EOC) + box(b"xml ", b"")
    at = len(JP2) + 8 + 2 + 6
    free = len(stream) - 4
    assert list(remarks(stream, jpeg2000)) == [Remark(at, at + 4, b" "), Remark(free, free + 4, b"free")]


def test_a_bare_jpeg_xl_says_nothing_and_what_is_none_is_not_walked() -> None:
    assert list(remarks(b"\xff\x0a and all behind it", jpegxl)) == []
    for wrong in (b"", b"\xff\x0b", b"\xfe\x0a", b"\0\0\0\x0cJXM "):
        with pytest.raises(Broken):
            list(remarks(wrong, jpegxl))


# --- Several codestreams


def test_codestreams_that_follow_each_other_are_all_walked() -> None:
    one = SOI + segment(0xFE, b"NAME") + EOI
    for between in (b"", b"\0", b"\xff", b"\0\0\xff\xff", b"\xff\0"):
        stream = one + between + one
        second = len(one + between)
        assert list(remarks(stream, jpeg)) == [Remark(6, 10), Remark(second + 6, second + 10)], between
    assert list(remarks(one + b"\0\xff\0", jpeg)) == [Remark(6, 10)]
    assert list(remarks(one + b"\0NAME", jpeg)) == [Remark(6, 10), Remark(len(one), len(one) + 5)]


def test_a_reader_is_known_by_the_first_bytes() -> None:
    assert reader_of(b"\xff\xd8\xff\xe0 and more") is jpeg
    assert reader_of(b"\xff\x4f\xff\x51 and more") is reader_of(JP2[:12]) is jpeg2000
    assert reader_of(JXL[:12]) is jpegxl
    for other in (b"", b"\xff\xd8\xfe\xe0", b"\xff\x4f\xff\x52", b"JXL ", b"\0\0\0\x0cjP"):
        assert reader_of(other) is None
