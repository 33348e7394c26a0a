"""Whether a JPEG holds all the pixels that it claims, told before it is decoded.

libjpeg makes up what a cut stream lacks, also where an end marker was put behind it, and only warns. So each
scan of the sequential Huffman processes (1, 2, 4 and 14: ISO/IEC 10918-1, F and H) is gone through and its
codes are counted. Other processes are not looked at, nor are streams that the decoder refuses itself; codecs
of other families refuse what is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mapdr._fast import jpeg_scan_end
from mapdr._fast._jpeg_scan_py import CUT, Table
from mapdr.kernel.codec import Mismatch

_SEQUENTIAL, _LOSSLESS = (0xC0, 0xC1), 0xC3
_OTHER_FRAMES = frozenset(range(0xC2, 0xD0)) - {0xC3, 0xC4, 0xC8, 0xCC}
_DHT, _DRI, _SOS, _EOI = 0xC4, 0xDD, 0xDA, 0xD9


def whole_jpeg(stream: bytes) -> bytes:
    """The stream of a JPEG, with an end marker where it lacks nothing but that.

    Raises Mismatch where its scans are not whole: cut off, or of codes that no encoder writes.
    """
    try:
        return stream if _is_closed(stream) else stream + b"\xff\xd9"
    except Mismatch:
        raise
    except (IndexError, ValueError):  # no such tables or lengths: libjpeg says so, or knows better
        return stream


def _parts(whole: int, size: int) -> int:
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
        columns = _parts(self.columns * across, most_across)
        rows = _parts(self.rows * down, most_down)
        return _parts(columns, self.side) * _parts(rows, self.side)

    def mcus(self) -> int:
        """How many MCUs there are where components are interleaved (A.2.3)."""
        across, down = self._most
        return _parts(self.columns, self.side * across) * _parts(self.rows, self.side * down)

    @property
    def _most(self) -> tuple[int, int]:
        factors = self.components.values()
        return max(across for across, _ in factors), max(down for _, down in factors)


@dataclass(slots=True)
class _Said:
    """What a stream has said so far. `tables`: by class and place (B.2.4.2); `missing`: components whose scan
    is still to come."""

    frame: _Frame = field(default_factory=_Frame)
    tables: dict[int, Table] = field(default_factory=dict)
    interval: int = 0
    missing: set[int] = field(default_factory=set)


def _is_closed(stream: bytes) -> bool:
    """Whether an end marker closes a stream, or it is of a process that is not looked at. Raises Mismatch."""
    said = _Said()
    at = 2
    while (found := _marker(stream, at)) is not None:
        marker, at = found
        if marker == _EOI:
            if said.missing:
                break
            return True
        if marker in _OTHER_FRAMES:
            return True
        if marker in (0x01, 0xD8) or 0xD0 <= marker <= 0xD7:
            continue  # TEM, SOI and RSTn have no length
        length = int.from_bytes(stream[at : at + 2], "big")
        body, at = stream[at + 2 : at + length], at + max(length, 2)
        if at > len(stream):
            break  # within a segment
        if marker in (*_SEQUENTIAL, _LOSSLESS):
            said.frame = _frame(body, 1 if marker == _LOSSLESS else 8)
            said.missing = set(said.frame.components)
        elif marker == _DHT:
            said.tables |= _tables(body)
        elif marker == _DRI:
            said.interval = int.from_bytes(body[:2], "big")
        elif marker == _SOS:
            at = _scan(stream, at, body, said)
    if found is None and said.frame.components and not said.missing:
        return False
    raise Mismatch("end: the stream is cut off")


def _marker(stream: bytes, at: int) -> tuple[int, int] | None:
    """The next marker, found as libjpeg does, which skips what is between segments; and what is behind it."""
    while (at := stream.find(b"\xff", at)) >= 0 and at + 1 < len(stream):
        if stream[at + 1] not in (0x00, 0xFF):
            return stream[at + 1], at + 2
        at += 1
    return None


def _frame(body: bytes, side: int) -> _Frame:
    """SOFn (B.2.2)."""
    count = body[5]
    components = {
        body[6 + 3 * each]: (body[7 + 3 * each] >> 4, body[7 + 3 * each] & 15) for each in range(count)
    }
    if not components or not all(0 < across < 5 and 0 < down < 5 for across, down in components.values()):
        raise ValueError("sampling factors")
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
    alone = len(parts) == 1
    used: list[Table] = []
    units = b""
    for component, places in parts:
        if component not in frame.components or places >> 4 not in tables:
            raise ValueError("no such component or table")
        direct = tables[places >> 4]
        others = direct if lossless else tables.get(0x10 | places & 15)
        if others is None:
            raise ValueError("no such table")
        pair = bytes(_place(used, table) for table in (direct, others))
        across, down = frame.components[component]
        units += pair * (1 if alone else across * down)
    count = frame.data_units(parts[0][0]) if alone else frame.mcus()
    end = jpeg_scan_end(stream, at, units, used, count, said.interval, lossless)
    if end < 0:
        raise Mismatch("end: the stream is cut off" if end == CUT else "codes: the stream is damaged")
    said.missing -= {component for component, _ in parts}
    return end


def _place(used: list[Table], table: Table) -> int:
    """Where a table is in `used`, at whose end it is put if it is not there."""
    if table not in used:
        used.append(table)
    return used.index(table)
