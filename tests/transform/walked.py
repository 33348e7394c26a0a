"""The bytes of a data set, walked as PS3.5 says, without MAPDR and without pydicom."""

from __future__ import annotations

import struct

_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_OPEN = 0xFFFFFFFF


def elements(data: bytes, *, ordered: bool = True) -> dict[int, bytes]:
    """Each element at the top of an explicit VR little endian data set, whole, by its tag.

    They have to be there once, in order if `ordered` (PS3.5 section 7.1), and nothing else between them.
    """
    found: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        start = at
        group, number = struct.unpack_from("<HH", data, at)
        tag = group << 16 | number
        assert tag > last or not ordered, f"{tag:08x} stands behind {last:08x}"
        assert tag not in found, f"{tag:08x} is there twice"
        at = _end(data, at)
        found[tag], last = data[start:at], tag
    assert at == len(data)
    return found


def _end(data: bytes, at: int) -> int:
    """Where the element at `at` ends."""
    if data[at + 4 : at + 6] in _LONG:
        value, length = at + 12, struct.unpack_from("<I", data, at + 8)[0]
    else:
        value, length = at + 8, struct.unpack_from("<H", data, at + 6)[0]
    if length != _OPEN:
        assert value + length <= len(data)
        return value + length
    at = value
    while True:
        tag, length = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        at += 8
        if tag == b"\xfe\xff\xdd\xe0":
            return at
        assert tag == b"\xfe\xff\x00\xe0"
        if length != _OPEN:
            at += length
            continue
        while data[at : at + 4] != b"\xfe\xff\x0d\xe0":
            at = _end(data, at)
        at += 8


def streams(pixels: bytes, frames: int) -> list[bytes]:
    """The codestreams of encapsulated Pixel Data, one fragment of even length a frame, whose Basic Offset
    Table is empty or tells where they begin (PS3.5 section A.4)."""
    assert pixels[4:12] == b"OB\0\0\xff\xff\xff\xff"
    items: list[tuple[int, bytes]] = []
    at = 12
    while pixels[at : at + 4] == b"\xfe\xff\x00\xe0":
        (length,) = struct.unpack_from("<I", pixels, at + 4)
        assert not length & 1
        items.append((at, pixels[at + 8 : at + 8 + length]))
        at += 8 + length
    assert pixels[at:] == b"\xfe\xff\xdd\xe0\0\0\0\0"
    (_, table), *fragments = items
    assert len(fragments) == frames
    begins = [begin - fragments[0][0] for begin, _ in fragments]
    assert not table or list(struct.unpack(f"<{frames}I", table)) == begins
    return [fragment for _, fragment in fragments]
