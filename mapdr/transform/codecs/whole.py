"""Whether a JPEG holds all the pixels that it claims, told before it is decoded.

libjpeg makes up what a cut stream lacks, also where an end marker was put behind it, and only warns. So each
scan of the sequential Huffman processes (1, 2, 4 and 14: ISO/IEC 10918-1, F and H) is gone through and its
codes are counted. Other processes are not looked at, nor are streams whose segments the standard does not
know; codecs of other families refuse what is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mapdr._fast import jpeg_scan_end
from mapdr._fast._jpeg_scan_py import CUT, Table
from mapdr.kernel.codec import Mismatch

_SEQUENTIAL, _LOSSLESS = (0xC0, 0xC1), 0xC3
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC3, 0xC4, 0xC8, 0xCC}
_DHT, _DRI, _SOS, _EOI = 0xC4, 0xDD, 0xDA, 0xD9
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""A marker that has a length, or EOI. libjpeg skips what is between segments, and TEM, SOI and RSTn there."""
_CUT_OFF, _DAMAGED = "end: the stream is cut off", "codes: the stream is damaged"
_MOST_COMPONENTS = 4
"""Of a scan (B.2.3)."""

_OF_STANDARD: dict[int, Table] = {
    0x00: (bytes.fromhex("00010501010101010100000000000000"), bytes(range(12))),
    0x01: (bytes.fromhex("00030101010101010101010000000000"), bytes(range(12))),
    0x10: (
        bytes.fromhex("0002010303020403050504040000017d"),
        bytes.fromhex(
            "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a"
            "25262728292a3435363738393a434445464748494a535455565758595a636465666768696a73747576777879"
            "7a838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9"
            "cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
        ),
    ),
    0x11: (
        bytes.fromhex("00020102040403040705040400010277"),
        bytes.fromhex(
            "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f117"
            "18191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778"
            "797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7"
            "c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
        ),
    ),
}
"""Tables K.3 to K.6, by class and place: what libjpeg takes for those that a stream does not have."""


def whole_jpeg(stream: bytes) -> bytes:
    """The stream of a JPEG, with an end marker where it lacks nothing but that.

    Raises Mismatch where its scans are not whole: cut off, or of codes that no encoder writes.
    """
    try:
        return stream if _is_closed(stream) else stream + b"\xff\xd9"
    except Mismatch:
        raise
    except (IndexError, ValueError):  # no such tables, components or lengths: mostly libjpeg says so
        return stream


def _ceil_div(whole: int, size: int) -> int:
    """How many of a size it takes to cover a whole."""
    return -(-whole // size)


@dataclass(slots=True)
class _Frame:
    """What the segments before a scan say. `components`: by number, their sampling factors (across, down)."""

    rows: int = 0
    columns: int = 0
    side: int = 8
    components: dict[int, tuple[int, int]] = field(default_factory=dict)

    def data_units(self, component: int) -> int:
        """How many a component has in a scan of its own (A.2.2)."""
        across, down = self.components[component]
        most_across, most_down = self._most
        columns = _ceil_div(self.columns * across, most_across)
        rows = _ceil_div(self.rows * down, most_down)
        return _ceil_div(columns, self.side) * _ceil_div(rows, self.side)

    def mcus(self) -> int:
        """How many MCUs there are where components are interleaved (A.2.3)."""
        across, down = self._most
        return _ceil_div(self.columns, self.side * across) * _ceil_div(self.rows, self.side * down)

    @property
    def _most(self) -> tuple[int, int]:
        factors = self.components.values()
        return max(across for across, _ in factors), max(down for _, down in factors)


@dataclass(slots=True)
class _Said:
    """What a stream has said so far. `tables`: by class and place (B.2.4.2); `missing`: components whose scan
    is still to come."""

    frame: _Frame = field(default_factory=_Frame)
    tables: dict[int, Table] = field(default_factory=_OF_STANDARD.copy)
    interval: int = 0
    missing: set[int] = field(default_factory=set)


def _is_closed(stream: bytes) -> bool:
    """Whether an end marker closes a stream, or it is of a process that is not looked at. Raises Mismatch."""
    said = _Said()
    at = 2
    while (found := _MARKER.search(stream, at)) is not None:
        marker, at = stream[found.end() - 1], found.end()
        if marker == _EOI:
            if said.missing:
                raise Mismatch(_CUT_OFF)
            return True
        if marker in _OTHER_FRAMES:
            return True
        length = int.from_bytes(stream[at : at + 2], "big")
        body, at = stream[at + 2 : at + length], at + max(length, 2)
        if at > len(stream):
            break  # within a segment, which means nothing behind the last scan
        if marker in (*_SEQUENTIAL, _LOSSLESS):
            said.frame = _frame(body, 1 if marker == _LOSSLESS else 8)
            said.missing = set(said.frame.components)
        elif marker == _DHT:
            said.tables |= _tables(body)
        elif marker == _DRI:
            said.interval = int.from_bytes(body[:2], "big")
        elif marker == _SOS:
            at = _scan(stream, at, body, said)
    if said.frame.components and not said.missing:
        return False
    raise Mismatch(_CUT_OFF)


def _frame(body: bytes, side: int) -> _Frame:
    """SOFn (B.2.2). Raises ValueError for what it does not allow."""
    count = body[5]
    components = {
        body[6 + 3 * each]: (body[7 + 3 * each] >> 4, body[7 + 3 * each] & 15) for each in range(count)
    }
    if not components or not all(0 < across < 5 and 0 < down < 5 for across, down in components.values()):
        raise ValueError("sampling factors")
    if len(components) != count:
        raise ValueError("components of one number")
    return _Frame(int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big"), side, components)


def _tables(body: bytes) -> dict[int, Table]:
    """The tables of a DHT segment, by their class and place (B.2.4.2)."""
    found, at = {}, 0
    while at < len(body):
        lengths = body[at + 1 : at + 17]
        end = at + 17 + sum(lengths)
        found[body[at]] = (lengths, body[at + 17 : end])
        at = end
    return found


def _scan(stream: bytes, at: int, body: bytes, said: _Said) -> int:
    """Go over the scan whose SOS segment (B.2.3) has this `body`: where it ends. Raises Mismatch."""
    frame, tables = said.frame, said.tables
    lossless = frame.side == 1
    parts = [(body[1 + 2 * each], body[2 + 2 * each]) for each in range(body[0])]
    numbers = {component for component, _ in parts}
    if not numbers <= frame.components.keys():
        raise ValueError("no such component")
    if not 0 < len(parts) <= _MOST_COMPONENTS or not numbers <= said.missing:
        raise Mismatch(_DAMAGED)  # each component has one scan
    alone = len(parts) == 1
    used: list[Table] = []
    units = b""
    for component, places in parts:
        direct = tables.get(places >> 4)
        others = direct if lossless else tables.get(0x10 | places & 15)
        if direct is None or others is None:
            raise ValueError("no such table")
        pair = bytes(_place(used, table) for table in (direct, others))
        across, down = frame.components[component]
        units += pair * (1 if alone else across * down)
    count = frame.data_units(parts[0][0]) if alone else frame.mcus()
    end = jpeg_scan_end(stream, at, units, used, count, said.interval, lossless)
    if end < 0:
        raise Mismatch(_CUT_OFF if end == CUT else _DAMAGED)
    said.missing -= numbers
    return end


def _place(used: list[Table], table: Table) -> int:
    """Where a table is in `used`, at whose end it is put if it is not there."""
    if table not in used:
        used.append(table)
    return used.index(table)
