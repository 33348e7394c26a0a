"""Headers of codestreams that are made by hand, field by field: every marker, every limit, every way to write
a number. What an encoder makes is read in `test_headers.py`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest

from mapdr.kernel.codec import Figures
from mapdr.transform.codecs import headers

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
Reader = Callable[[bytes], Figures | None]
NO_LENGTH = (0x00, 0x01, *range(0xD0, 0xD8))
"""A stuffed byte, TEM and RSTn (ISO/IEC 10918-1, table B.1)."""
FRAMES: dict[Reader, tuple[int, ...]] = {
    headers.jpeg: (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)),
    headers.jpegls: (0xF7,),
}


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    return (
        b"\xff"
        + bytes([marker])
        + struct.pack(">H", len(content) + 2 if length is None else length)
        + content
    )


def sof(marker: int, rows: int = 7, columns: int = 5, samples: int = 3) -> bytes:
    return segment(marker, struct.pack(">BHHB", 12, rows, columns, samples) + bytes(3 * samples))


# --- JPEG and JPEG-LS


@pytest.mark.parametrize("reader", FRAMES, ids=["jpeg", "jpegls"])
def test_each_marker_of_jpeg_is_a_frame_is_passed_over_or_ends_the_search(reader: Reader) -> None:
    kind = FRAMES[reader][0]
    inner, real = Figures(7, 9, 3, 12), Figures(7, 5, 3, 12)
    for marker in range(0xFF):
        stream = SOI + segment(marker, sof(kind, columns=9)) + sof(kind) + EOI
        if marker in (0xD8, 0xD9, 0xDA):
            expected = None
        elif marker in FRAMES[reader]:
            body = stream[6:]
            expected = Figures(*struct.unpack(">HHB", body[1:6]), body[0])
        else:
            expected = inner if marker in NO_LENGTH else real
        assert reader(stream) == expected, hex(marker)


@pytest.mark.parametrize("reader", FRAMES, ids=["jpeg", "jpegls"])
def test_a_frame_of_jpeg_is_read_from_ten_bytes_and_from_no_fewer(reader: Reader) -> None:
    (kind, *_) = FRAMES[reader]
    start = SOI + segment(0xFE, b"text") + b"between" + b"\xff\xff"
    stream = start + sof(kind)[1:]
    for size in range(len(stream) + 1):
        enough = size >= len(start) - 1 + 10
        assert reader(stream[:size]) == (Figures(7, 5, 3, 12) if enough else None), size
    for length in range(20):
        written = SOI + segment(kind, sof(kind)[4:], length)
        assert (reader(written) is not None) is (length >= 8), length
        passed = SOI + segment(0xFE, bytes(max(length - 2, 0)), length) + sof(kind)
        assert (reader(passed) is not None) is (length >= 2), length
    assert reader(b"\xff\xd9" + sof(kind)) is None


# --- JPEG 2000


def siz(
    right: int = 17,
    bottom: int = 23,
    left: int = 0,
    top: int = 0,
    parts: bytes = b"\x0b\1\1",
    length: int = -1,
) -> bytes:
    count = len(parts) // 3
    length = 38 + 3 * count if length < 0 else length
    sizes = struct.pack(">HHIIIIIIIIH", length, 0, right, bottom, left, top, right, bottom, 0, 0, count)
    return b"\xff\x4f\xff\x51" + sizes + parts


def test_a_frame_of_jpeg_2000_is_read_from_its_siz_and_from_nothing_less() -> None:
    stream = siz(parts=b"\x0b\1\1" * 2)
    for size in range(len(stream) + 1):
        assert headers.jpeg2000(stream[:size]) == (Figures(23, 17, 2, 12) if size == len(stream) else None)
    for length in range(60):
        found = headers.jpeg2000(siz(length=length) + bytes(30))
        assert found == (Figures(23, 17, 1, 12) if length == 41 else None)
    assert headers.jpeg2000(siz(parts=b"") + bytes(9)) is None
    assert headers.jpeg2000(siz(parts=b"\x0b\0\1")) is None
    assert headers.jpeg2000(siz(parts=b"\x0b\1\0")) is None
    assert headers.jpeg2000(siz(parts=b"\x87\1\1")) == Figures(23, 17, 1, 8), "a sign is no bit more"


@pytest.mark.parametrize(
    ("right", "bottom", "left", "top", "parts", "rows", "columns"),
    [
        (17, 23, 0, 0, b"\7\2\3", 8, 9),
        (17, 23, 3, 5, b"\7\1\1", 18, 14),
        (17, 23, 3, 5, b"\7\2\3", 6, 7),  # ceil(23 / 3) - ceil(5 / 3), ceil(17 / 2) - ceil(3 / 2)
        (17, 23, 0, 0, b"\7\2\2\7\1\3", 12, 17),  # the largest of its components
        (1 << 31, 1 << 30, 0, 0, b"\7\1\1", 1 << 30, 1 << 31),
    ],
)
def test_the_size_of_jpeg_2000_is_that_of_its_grid(
    right: int, bottom: int, left: int, top: int, parts: bytes, rows: int, columns: int
) -> None:
    found = headers.jpeg2000(siz(right, bottom, left, top, parts))
    assert found == Figures(rows, columns, len(parts) // 3, 8)
    mixed = headers.jpeg2000(siz(parts=b"\7\1\1\x0f\1\1\3\1\1"))
    assert mixed == Figures(23, 17, 3, 16), "the deepest of its components"


# --- Boxes (ISO/IEC 15444-1, I.4)


def box(kind: bytes, content: bytes, length: int | None = None, large: int | None = None) -> bytes:
    if large is not None:
        return struct.pack(">I4sQ", 1, kind, large) + content
    return struct.pack(">I4s", 8 + len(content) if length is None else length, kind) + content


def test_boxes_say_where_they_end() -> None:
    rest = box(b"last", b"xy")
    one = box(b"aaaa", b"abc")
    assert list(headers.boxes(one + rest)) == [(b"aaaa", 8, 11), (b"last", 19, 21)]
    assert list(headers.boxes(b"!!" + one, 2)) == [(b"aaaa", 10, 13)]
    assert list(headers.boxes(box(b"aaaa", b"abc", large=19) + rest))[1:] == [(b"last", 27, 29)]
    assert next(headers.boxes(box(b"aaaa", b"abc", large=19))) == (b"aaaa", 16, 19)
    assert list(headers.boxes(box(b"open", b"abc", length=0) + rest)) == [(b"open", 8, 21)]
    assert list(headers.boxes(box(b"long", b"abc", length=500))) == [(b"long", 8, 11)]
    assert next(headers.boxes(box(b"none", b""))) == (b"none", 8, 8)
    assert next(headers.boxes(box(b"none", b"", large=16))) == (b"none", 16, 16)
    for length in range(2, 8):
        assert not list(headers.boxes(box(b"less", b"abc", length=length) + rest))
    for large in range(16):
        found = list(headers.boxes(box(b"less", b"abc", large=large) + rest))
        assert found == ([(b"less", 16, 29)] if not large else []), large
    assert not list(headers.boxes(one[:7]))
    assert not list(headers.boxes(box(b"long", b"", large=99)[:15]))


def test_the_codestream_of_a_jp2_file_is_that_of_its_box() -> None:
    start = box(b"jP  ", b"\r\n\x87\n") + box(b"jp2h", siz())
    assert headers.jpeg2000(start + box(b"jp2c", siz(9, 8))) == Figures(8, 9, 1, 12)
    assert headers.jpeg2000(start) is None


# --- JPEG XL (ISO/IEC 18181-1, annex D)


class Bits:
    """Numbers of so many bits, the least significant first."""

    def __init__(self) -> None:
        self.value = self.count = 0

    def put(self, *fields: tuple[int, int]) -> Bits:
        """Each field is (value, bits)."""
        for value, bits in fields:
            assert 0 <= value < 1 << bits or (value, bits) == (0, 0)
            self.value |= value << self.count
            self.count += bits
        return self

    def stream(self) -> bytes:
        return b"\xff\x0a" + self.value.to_bytes((self.count + 7) // 8, "little")


def side(size: int) -> Iterator[tuple[int, int]]:
    """A side that is written out (U32 of SizeHeader)."""
    way, bits = next((way, bits) for way, bits in enumerate((9, 13, 18, 30)) if size <= 1 << bits)
    yield from ((way, 2), (size - 1, bits))


SIZE = ((0, 1), *side(70), (0, 3), *side(50))
"""70 rows, 50 columns."""
DEPTH = ((0, 1), (0, 2))
"""Eight bits of integers."""
AFTER = ((0, 1), (0, 2), (0, 1))
"""16 bits are enough or not, no extra channels, no XYB."""
GREY = ((0, 1), (0, 1), (1, 2))
"""Colours not by default, no ICC profile, grey."""


def figures(*fields: tuple[int, int]) -> Figures | None:
    return headers.jpegxl(Bits().put(*fields).stream() + bytes(8))


@pytest.mark.parametrize("size", [1, 512, 513, 1 << 13, (1 << 13) + 1, 1 << 18, (1 << 18) + 1, 1 << 30])
def test_a_size_of_jpeg_xl_is_written_in_four_ways(size: int) -> None:
    assert figures((0, 1), *side(size), (0, 3), *side(9), (1, 1)) == Figures(size, 9, 3, 8)
    assert figures((0, 1), *side(9), (0, 3), *side(size), (1, 1)) == Figures(9, size, 3, 8)


def test_a_small_size_of_jpeg_xl_counts_in_eights_and_a_ratio_stands_for_the_columns() -> None:
    assert figures((1, 1), (4, 5), (0, 3), (31, 5), (1, 1)) == Figures(40, 256, 3, 8)
    # ISO/IEC 18181-1, table D.2: 1:1, 12:10, 4:3, 3:2, 16:9, 5:4, 2:1
    for ratio, columns in enumerate((120, 144, 160, 180, 213, 150, 240), 1):
        assert figures((1, 1), (14, 5), (ratio, 3), (1, 1)) == Figures(120, columns, 3, 8)


def test_what_jpeg_xl_says_of_depth_and_colour() -> None:
    plain = (*SIZE, (0, 1), (0, 1))
    for depth, precision in (
        (((0, 1), (0, 2)), 8),
        (((0, 1), (1, 2)), 10),
        (((0, 1), (2, 2)), 12),
        (((0, 1), (3, 2), (6, 6)), 7),
        (((1, 1), (0, 2), (8, 4)), 32),
        (((1, 1), (1, 2), (5, 4)), 16),
        (((1, 1), (2, 2), (15, 4)), 24),
        (((1, 1), (3, 2), (62, 6), (15, 4)), 63),
    ):
        assert figures(*plain, *depth, *AFTER, *GREY) == Figures(70, 50, 1, precision)
        assert figures(*plain, *depth, *AFTER, (1, 1)) == Figures(70, 50, 3, precision)
    for enough, xyb in ((0, 0), (0, 1), (1, 0), (1, 1)):
        after = ((enough, 1), (0, 2), (xyb, 1))
        assert figures(*plain, *DEPTH, *after, *GREY) == Figures(70, 50, 1, 8)
    for icc in (0, 1):
        for colour, samples in (
            (((0, 2),), 3),  # RGB
            (((1, 2),), 1),  # grey
            (((2, 2), (0, 4)), 3),  # 2: XYB
            (((3, 2), (0, 6)), 3),
        ):
            found = figures(*plain, *DEPTH, *AFTER, (0, 1), (icc, 1), *colour)
            assert found == Figures(70, 50, samples, 8)
    for extra in (((1, 2),), ((2, 2), (0, 4)), ((3, 2), (0, 12))):
        assert figures(*plain, *DEPTH, (0, 1), *extra, (0, 1), *GREY) is None


def test_what_jpeg_xl_says_of_how_it_is_shown() -> None:
    for orientation in range(8):
        turned = orientation >= 4
        for intrinsic in ((), ((0, 1), *side(3), (0, 3), *side(4))):
            shown = ((orientation, 3), (1 if intrinsic else 0, 1), *intrinsic)
            fields = (*SIZE, (0, 1), (1, 1), *shown, (0, 2), *DEPTH, *AFTER, *GREY)
            assert figures(*fields) == (Figures(50, 70, 1, 8) if turned else Figures(70, 50, 1, 8))
            for animation in (1, 2, 3):
                assert figures(*SIZE, (0, 1), (1, 1), *shown, (animation, 2), *DEPTH, *AFTER, *GREY) is None


def test_a_header_of_jpeg_xl_ends_with_its_last_bit() -> None:
    made = Bits().put(*SIZE, (0, 1), (0, 1), *DEPTH, *AFTER, *GREY)
    stream = made.stream()
    for size in range(len(stream) + 1):
        assert headers.jpegxl(stream[:size]) == (Figures(70, 50, 1, 8) if size == len(stream) else None)
    start = box(b"JXL ", b"\r\n\x87\n")
    assert headers.jpegxl(start + box(b"jxlc", stream)) == Figures(70, 50, 1, 8)
    assert headers.jpegxl(start + box(b"jxlc", stream[:-1]) + box(b"jxlp", bytes(4) + stream)) is None
    pieces = b"".join(box(b"jxlp", bytes(4) + stream[at : at + 2]) for at in range(0, len(stream), 2))
    assert headers.jpegxl(start + pieces) == Figures(70, 50, 1, 8)
    assert headers.jpegxl(start) is None
