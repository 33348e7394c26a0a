"""What a codestream says beside its pixels, where it says it, and how that is made empty.

Encoders and cameras write comments, Exif data, thumbnails and profiles into codestreams, which no attribute
of a data set shows. Each reader here goes through the marker segments or boxes of one codestream, and names
the spans of bytes that a decoder does not need, each with what fills it. Lengths stay, so that neither
fragments nor offset tables move. A reader raises Broken for what it cannot walk: of that nobody knows what
else it says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from mapdr.dicom import uids
from mapdr.transform.codecs.headers import boxes


class Broken(Exception):
    """A codestream that cannot be walked; the text says where, by offset."""


class Remark(NamedTuple):
    """A span of bytes that holds no pixels, and what it is filled with: one byte, repeated, or as many."""

    start: int
    stop: int
    filling: bytes = b"\0"


class Walk(NamedTuple):
    """What a reader found: the remarks of a codestream, and where it ends."""

    remarks: list[Remark]
    end: int


Reader = Callable[[bytes, int], Walk]
"""Walks the codestream that begins at an offset. Raises Broken."""

_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_TEM, _APP0, _APP8, _APP14, _SOF55, _LSE = 0x01, 0xE0, 0xE8, 0xEE, 0xF7, 0xF8
_NEEDED = frozenset((*range(0xC0, 0xD0), *range(0xDA, 0xE0), _SOF55, _LSE))
"""Marker segments of JPEG and JPEG-LS that a decoder reads: frames, tables, scans, restart intervals."""
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A marker in the entropy-coded data of JPEG, where 00 is stuffed behind FF (ISO/IEC 10918-1, B.1.1.5)."""
_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
"""The same in JPEG-LS, which stuffs a bit (ISO/IEC 14495-1, C.2.1)."""


def jpeg(stream: bytes, at: int) -> Walk:
    """JPEG and JPEG-LS: comments and application data, between its segments and behind it.

    Of application data stays what changes how a decoder shows colour: JFIF without its thumbnail, Adobe's
    transform, Hewlett-Packard's of JPEG-LS, the header of SPIFF.
    """
    if stream[at : at + 2] != b"\xff\xd8":
        raise Broken(f"no JPEG begins at byte {at}")
    remarks: list[Remark] = []
    marker_of, at = _MARKER, at + 2
    while True:
        found = stream.find(b"\xff", at)
        if found < 0:
            raise Broken(f"no marker behind byte {at}")
        if found > at:
            remarks.append(Remark(at, found, b"\xff"))  # any number of FF may stand before a marker
        at = found
        while stream[at : at + 1] == b"\xff":
            at += 1
        kind, at = stream[at] if at < len(stream) else _EOI, at + 1
        if kind == _EOI:
            return Walk(remarks, min(at, len(stream)))
        if kind == _TEM or 0xD0 <= kind <= 0xD7:
            continue
        stop = at + int.from_bytes(stream[at : at + 2], "big")
        if stop < at + 2 or stop > len(stream) or kind in (0, _SOI):
            raise Broken(f"no whole segment at byte {at}")
        if kind == _SOF55:
            marker_of = _LS_MARKER
        if kind not in _NEEDED:
            remarks += _application(stream, kind, at + 2, stop)
        at = stop
        if kind == _SOS:
            scanned = marker_of.search(stream, at)
            if scanned is None:
                return Walk(remarks, len(stream))  # cut off, which decoders take
            at = scanned.start()


def _application(stream: bytes, kind: int, start: int, stop: int) -> list[Remark]:
    kept = 0
    if kind == _APP0 and stream[start : start + 5] == b"JFIF\0" and stop - start >= 14:
        thumbnail = start + 12  # its two sizes, and its pixels
        return [Remark(thumbnail, stop)] if any(stream[thumbnail:stop]) else []
    if kind == _APP14 and stream[start : start + 5] == b"Adobe":
        kept = 12
    elif kind == _APP8 and stream[start : start + 4] == b"mrfx":
        kept = 5
    elif kind == _APP8 and stream[start : start + 6] == b"SPIFF\0":
        kept = 30
    elif kind == _APP8 and stream[start:stop] == b"\0\0\0\1\xff\xd8":
        kept = 6  # the end of SPIFF's directory; its other entries are text and thumbnails
    start += kept
    return [Remark(start, stop)] if start < stop else []


_SOC, _SOT, _SOD, _EOC = b"\xff\x4f", b"\xff\x90", b"\xff\x93", b"\xff\xd9"
_COMMENT = b"\xff\x64"
_J2K_NEEDED = frozenset(
    (0x50, 0x51, 0x52, 0x53, 0x55, 0x57, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x63)
)
"""Marker segments of JPEG 2000 and HTJ2K that a decoder reads (ISO/IEC 15444-1, table A.2; 15444-15)."""


def jpeg2000(stream: bytes, at: int) -> Walk:
    """JPEG 2000 and HTJ2K, bare or in a JP2 file: comments in the main header and those of tile-parts; boxes
    that are none of the image."""
    if stream[at + 4 : at + 8] == b"jP  ":
        return _in_boxes(stream, at, b"jp2c", _JP2_BOXES, _codestream)
    return _codestream(stream, at)


def _codestream(stream: bytes, at: int, end: int | None = None) -> Walk:
    end = len(stream) if end is None else end
    if stream[at : at + 2] != _SOC:
        raise Broken(f"no JPEG 2000 begins at byte {at}")
    remarks: list[Remark] = []
    at, tile_end = _segments(stream, at + 2, end, remarks), 0
    while stream[at : at + 2] == _SOT:
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        tile_end = at + length if length else _last_end(stream, end)
        header_end = _segments(stream, at + 12, end, remarks)
        if stream[header_end : header_end + 2] != _SOD or tile_end < header_end + 2:
            raise Broken(f"no tile-part at byte {at}")
        if tile_end >= end:
            return Walk(remarks, end)  # cut off, or without its end: decoders take both
        at = tile_end
    if not tile_end or stream[at : at + 2] != _EOC:
        raise Broken(f"no tile-part at byte {at}")
    return Walk(remarks, at + 2)


def _segments(stream: bytes, at: int, end: int, remarks: list[Remark]) -> int:
    """Where the marker segments from `at` on end: at SOT or SOD."""
    while (marker := stream[at : at + 2]) not in (_SOT, _SOD):
        stop = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker[:1] != b"\xff" or stop < at + 4 or stop > end:
            raise Broken(f"no segment at byte {at}")
        if marker == _COMMENT:
            remarks.append(Remark(at + 6, stop, b" "))  # behind the word that says whether it is text
        elif marker[1] not in _J2K_NEEDED:
            remarks.append(Remark(at + 4, stop))
        at = stop
    return at


def _last_end(stream: bytes, end: int) -> int:
    """Where a tile-part ends that says it is the last: before the EOC marker."""
    found = stream.rfind(_EOC, 0, end)
    return found if found >= 0 else end


_SIGNATURES = frozenset((b"jP  ", b"JXL "))
_JP2_BOXES = frozenset((b"jP  ", b"ftyp", b"jp2h"))
_JXL_BOXES = frozenset((b"JXL ", b"ftyp", b"jxll", b"jxli", b"jxlp"))


def jpegxl(stream: bytes, at: int) -> Walk:
    """JPEG XL, bare, where it says nothing, or in a container: Exif, XML, and what rebuilds a JPEG with all
    that it said."""
    if stream[at : at + 2] == b"\xff\x0a":
        return Walk([], len(stream))
    if stream[at + 4 : at + 8] != b"JXL ":
        raise Broken(f"no JPEG XL begins at byte {at}")
    return _in_boxes(stream, at, b"jxlc", _JXL_BOXES, None)


def _in_boxes(
    stream: bytes,
    at: int,
    image: bytes,
    needed: frozenset[bytes],
    read: Callable[[bytes, int, int], Walk] | None,
) -> Walk:
    """A file of boxes; `read` walks the one with the codestream. What nobody needs becomes free space."""
    remarks: list[Remark] = []
    end = at
    for kind, start, stop in boxes(stream, at):
        if kind in _SIGNATURES and end > at:
            break  # of another file: there are several frames in these bytes
        if kind == image:
            remarks += read(stream, start, stop).remarks if read is not None else ()
        elif kind not in needed:
            remarks += [Remark(end + 4, end + 8, b"free"), Remark(start, stop)]
        end = stop
    else:
        if end < len(stream) - 7:
            raise Broken(f"no box at byte {end}")
    return Walk(remarks, end)


_JPEG = (
    uids.JPEG_BASELINE,
    uids.JPEG_EXTENDED,
    uids.JPEG_SPECTRAL_SELECTION,
    uids.JPEG_FULL_PROGRESSION,
    uids.JPEG_LOSSLESS,
    uids.JPEG_LOSSLESS_SV1,
    uids.JPEG_LS_LOSSLESS,
    uids.JPEG_LS_NEAR_LOSSLESS,
)
_J2K = (
    uids.JPEG2000_LOSSLESS,
    uids.JPEG2000,
    uids.HTJ2K_LOSSLESS,
    uids.HTJ2K_LOSSLESS_RPCL,
    uids.HTJ2K,
)
_JXL = (uids.JPEG_XL_LOSSLESS, uids.JPEG_XL_JPEG_RECOMPRESSION, uids.JPEG_XL)
READERS: dict[str, Reader] = {
    **dict.fromkeys(_JPEG, jpeg),
    **dict.fromkeys(_J2K, jpeg2000),
    **dict.fromkeys(_JXL, jpegxl),
}
"""The reader of each transfer syntax whose codestreams may say something. RLE cannot."""


def reader_of(head: bytes) -> Reader | None:
    """The reader for a codestream that begins so, whatever its syntax is; None for an unknown one."""
    if head.startswith(b"\xff\xd8\xff"):
        return jpeg
    if head.startswith(b"\xff\x4f\xff\x51") or head[4:8] == b"jP  ":
        return jpeg2000
    return jpegxl if head[4:8] == b"JXL " else None


def remarks(stream: bytes, read: Reader) -> Iterator[Remark]:
    """What the codestreams of a frame, or of several one behind the other, say beside their pixels, and what
    stands behind the last. Raises Broken."""
    at = 0
    while True:
        walk = read(stream, at)
        yield from (each for each in walk.remarks if stream[each.start : each.stop].strip(each.filling))
        at = walk.end
        rest = stream[at:].lstrip(b"\0\xff") if at < len(stream) else b""
        if not rest:
            return
        # FF and zeros may be padding before a codestream, or its first bytes.
        begin = len(stream) - len(rest)
        first = b"\0\0\0" if rest[:1] == b"\x0c" and rest[1:5] in _SIGNATURES else b"\xff"
        begin -= len(first) if stream[at:begin].endswith(first) else 0
        try:
            read(stream, begin)
        except Broken:
            yield Remark(at, len(stream))
            return
        at = begin
