"""What a codestream's own header says of its size, read before any codec allocates by it.

A codec takes memory by the header, and a stream of 2 kB can say 60000 x 60000. So every reader here takes any
bytes, goes through them once at most, and gives figures, or None for what it does not understand: that is not
decoded either. Where the standards leave a choice, a reader is as strict as the codec, or stricter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from mapdr.kernel.codec import Figures

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers SOFn of JPEG (ISO/IEC 10918-1, table B.1)."""


def jpeg(stream: bytes) -> Figures | None:
    """The first SOFn of a JPEG (ISO/IEC 10918-1, B.2.2), found as libjpeg does: what is between segments is
    skipped. A height of 0, to be told by DNL, stays 0: libjpeg refuses it."""
    return _frame(stream, FRAMES)


def jpegls(stream: bytes) -> Figures | None:
    """SOF55 of a JPEG-LS (ISO/IEC 14495-1, C.2.2). Sizes beyond 65535 (LSE) and DNL are not read."""
    return _frame(stream, frozenset({0xF7}))


def _frame(stream: bytes, kinds: frozenset[int]) -> Figures | None:
    if stream[:2] != b"\xff\xd8":
        return None
    for marker, start, stop in segments(stream):
        if marker in kinds:
            if stop - start < 6 or start + 6 > len(stream):
                return None
            precision, rows, columns, samples = struct.unpack_from(">BHHB", stream, start)
            return Figures(rows, columns, samples, precision)
    return None


def segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker segment of a JPEG or JPEG-LS before its first scan, found as libjpeg does: its marker, and
    where its contents start and stop by its length, which may be beyond the stream. The last may be of a
    length that is none: its stop lies before its start."""
    at = 2
    while (at := stream.find(b"\xff", at)) >= 0 and at + 1 < len(stream):
        marker = stream[at + 1]
        if marker == 0xFF:  # any number may stand before a marker (ISO/IEC 10918-1, B.1.1.2)
            at += 1
            continue
        at += 2
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD7:
            continue  # a stuffed byte, TEM and RSTn have no length
        if marker in (0xD8, 0xD9, 0xDA) or at + 2 > len(stream):
            return
        stop = at + int.from_bytes(stream[at : at + 2], "big")
        yield marker, at + 2, stop
        if stop < at + 2:
            return
        at = stop


def jpeg2000(stream: bytes) -> Figures | None:
    """SIZ of a JPEG 2000 or HTJ2K codestream, bare or in a JP2 file (ISO/IEC 15444-1, A.5.1 and I.5.4)."""
    at = 0
    if stream[4:8] == b"jP  ":
        found = next((start for kind, start, _ in boxes(stream) if kind == b"jp2c"), None)
        if found is None:
            return None
        at = found
    if stream[at : at + 4] != b"\xff\x4f\xff\x51" or at + 42 > len(stream):
        return None
    length, _, right, bottom, left, top = struct.unpack_from(">HHIIII", stream, at + 4)
    count = int.from_bytes(stream[at + 40 : at + 42], "big")
    parts = stream[at + 42 : at + 42 + 3 * count]
    if not count or length != 38 + 3 * count or len(parts) != 3 * count:
        return None
    steps = [(parts[index + 1], parts[index + 2]) for index in range(0, len(parts), 3)]
    if not all(x and y for x, y in steps):
        return None
    return Figures(
        max(-(-bottom // y) + (-top // y) for _, y in steps),
        max(-(-right // x) + (-left // x) for x, _ in steps),
        count,
        max((depth & 0x7F) + 1 for depth in parts[::3]),
    )


def jpegxl(stream: bytes) -> Figures | None:
    """The basic info of a JPEG XL codestream, bare or in a container (ISO/IEC 18181-1, D; 18181-2).

    Animations, previews and extra channels, which DICOM has no use for, are not read.
    """
    if stream[:12] == b"\0\0\0\x0cJXL \r\n\x87\n":
        stream = _jpegxl_start(stream)
    if stream[:2] != b"\xff\x0a":
        return None
    try:
        return _basic_info(_Bits(stream[2:_START]))
    except EOFError:
        return None


_START = 64
"""Bytes that hold all of a JPEG XL's header that is read here."""


def _jpegxl_start(stream: bytes) -> bytes:
    """The first bytes of the codestream that a container holds whole (jxlc) or in pieces (jxlp)."""
    found = b""
    for kind, start, stop in boxes(stream):
        if kind == b"jxlc":
            return stream[start : min(stop, start + _START)]
        if kind == b"jxlp":
            found += stream[start + 4 : min(stop, start + 4 + _START)]
            if len(found) >= _START:
                break
    return found


def boxes(stream: bytes, at: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Each box of an ISO base media file from `at` on: its type, and where its contents start and stop."""
    while at + 8 <= len(stream):
        length, start = int.from_bytes(stream[at : at + 4], "big"), at + 8
        if length == 1:
            length, start = int.from_bytes(stream[at + 8 : at + 16], "big"), at + 16
        stop = at + length if length else len(stream)
        if stop < start or start > len(stream):
            return
        yield stream[at + 4 : at + 8], start, min(stop, len(stream))
        at = stop


class _Bits:
    """Bits from the least significant on, as JPEG XL has them. Raises EOFError behind the last."""

    def __init__(self, data: bytes) -> None:
        self._left = int.from_bytes(data, "little")
        self._count = 8 * len(data)

    def take(self, count: int) -> int:
        """The next `count` bits as a number."""
        if count > self._count:
            raise EOFError
        value = self._left & (1 << count) - 1
        self._left >>= count
        self._count -= count
        return value

    def choice(self, *ways: tuple[int, int]) -> int:
        """U32: two bits choose one of four (offset, bits that are added)."""
        offset, bits = ways[self.take(2)]
        return offset + self.take(bits)


_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def _jpegxl_size(bits: _Bits) -> tuple[int, int]:
    """SizeHeader: rows and columns."""

    def side() -> int:
        return 8 * (1 + bits.take(5)) if small else bits.choice((1, 9), (1, 13), (1, 18), (1, 30))

    small = bits.take(1)
    rows = side()
    ratio = bits.take(3)
    if not ratio:
        return rows, side()
    wide, high = _RATIOS[ratio - 1]
    return rows, rows * wide // high


def _basic_info(bits: _Bits) -> Figures | None:
    rows, columns = _jpegxl_size(bits)
    if bits.take(1):  # all of ImageMetadata by default
        return Figures(rows, columns, 3, 8)
    if bits.take(1):
        if bits.take(3) >= 4:  # orientations 5 to 8 are turned by a quarter, which the codec undoes
            rows, columns = columns, rows
        if bits.take(1):
            _jpegxl_size(bits)  # the intrinsic size is advice for a display
        if bits.take(2):
            return None
    if bits.take(1):
        precision = bits.choice((32, 0), (16, 0), (24, 0), (1, 6))
        bits.take(4)
    else:
        precision = bits.choice((8, 0), (10, 0), (12, 0), (1, 6))
    bits.take(1)  # whether 16 bits are enough for modular buffers
    if bits.choice((0, 0), (1, 0), (2, 4), (1, 12)):
        return None
    bits.take(1)  # whether it is XYB
    if bits.take(1):  # the colour encoding by default, sRGB
        return Figures(rows, columns, 3, precision)
    bits.take(1)  # whether there is an ICC profile
    grey = bits.choice((0, 0), (1, 0), (2, 4), (18, 6)) == 1
    return Figures(rows, columns, 1 if grey else 3, precision)
