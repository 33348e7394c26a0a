"""The entropy-coded data of one scan of a sequential JPEG, gone through and counted: the reference of
`_jpeg_scan.pyx`.

Decoders of JPEG make up what a cut stream lacks, and only warn of it. What Huffman codes say is not needed to
tell whether all of them are there: each gives how many bits follow it (ISO/IEC 10918-1, F.2.2 and H.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
Table: TypeAlias = tuple[bytes, bytes]
"""A Huffman table as DHT has it: how many codes there are of each length from 1 to 16, and their values."""

CUT, DAMAGED = -1, -2
"""What is told of a scan that ends before its last data unit, and of one that no encoder writes."""


def scan_end(  # noqa: PLR0917  positional, as its compiled twin is called
    stream: Buffer, at: int, units: bytes, tables: Sequence[Table], count: int, interval: int, lossless: bool
) -> int:
    """Where the marker behind a scan's data is, which begin at `at`; CUT or DAMAGED where they are not whole.

    A scan has `count` MCUs, a restart marker behind each `interval` of them (0: none). An MCU has as many
    data units as `units` has pairs of bytes: the place of the table in `tables` of the unit's DC code, and of
    its AC codes. A data unit is 64 coefficients, or one difference where it is `lossless`. Raises ValueError
    for tables that are none, and for places that they do not have.
    """
    found = [{(length, code): value for code, length, value in codes(table)} for table in tables]
    check(stream, at, units, len(tables))
    bits = _Bits(stream, at)
    try:
        for number in range(count):
            if interval and number and number % interval == 0 and not bits.restart(number // interval - 1):
                return DAMAGED
            for place in range(0, len(units), 2):
                direct, others = found[units[place]], found[units[place + 1]]
                if not _passes_unit(bits, direct, others, lossless=lossless):
                    return DAMAGED
    except EOFError:
        return CUT
    return bits.marker()


def check(stream: Buffer, at: int, units: bytes, count: int) -> None:
    """Raises ValueError for what is no scan: `count` tables."""
    if not 0 <= at <= len(stream) or not units or len(units) % 2 or max(units) >= count:
        raise ValueError("the data of a scan are to be counted")


def codes(table: Table) -> list[tuple[int, int, int]]:
    """The codes of a table, each with its length and its value (C.2). Raises ValueError where it has more
    codes than there are, or not as many values."""
    lengths, values = table
    if len(lengths) != 16 or sum(lengths) != len(values):
        raise ValueError("a Huffman table is to have 16 lengths and their values")
    found, code, at = [], 0, 0
    for length, many in enumerate(lengths, 1):
        found += [(code + number, length, values[at + number]) for number in range(many)]
        code, at = code + many, at + many
        if code > 1 << length:
            raise ValueError("a Huffman table has more codes than there are")
        code *= 2
    return found


class _Bits:
    """The bits of a scan up to the next marker. Raises EOFError behind the last."""

    def __init__(self, stream: Buffer, at: int) -> None:
        self._stream, self._at = stream, at
        self._held = self._waiting = 0

    def take(self) -> int:
        """The next bit."""
        if not self._waiting:
            start, after = _code_byte(self._stream, self._at)
            self._held, self._at, self._waiting = self._stream[start], after, 8
        self._waiting -= 1
        return self._held >> self._waiting & 1

    def marker(self) -> int:
        """Where the next marker is, or the end of the stream."""
        at, end = self._at, len(self._stream)
        while at < end:
            try:
                _, at = _code_byte(self._stream, at)
            except EOFError:
                break
        return at

    def restart(self, number: int) -> bool:
        """Go on behind a restart marker; False where it is another one than the `number` counted from 0."""
        at, end = self.marker(), len(self._stream)
        while at < end and self._stream[at] == 0xFF:
            at += 1
        if at == end or not 0xD0 <= self._stream[at] <= 0xD7:
            raise EOFError
        self._at, self._waiting = at + 1, 0
        return self._stream[at] == 0xD0 + number % 8


def _code_byte(stream: Buffer, at: int) -> tuple[int, int]:
    """Where the next byte of codes is, and what comes behind it. Raises EOFError at a marker (B.1.1.5)."""
    if at >= len(stream):
        raise EOFError
    if stream[at] != 0xFF:
        return at, at + 1
    after = at
    while after < len(stream) and stream[after] == 0xFF:
        after += 1
    if after == len(stream) or stream[after]:
        raise EOFError
    return at, after + 1


def _passes_unit(
    bits: _Bits, direct: dict[tuple[int, int], int], others: dict[tuple[int, int], int], *, lossless: bool
) -> bool:
    """Go over one data unit; False for codes that no encoder writes."""
    size = _value(bits, direct)
    if not 0 <= size <= (16 if lossless else 15):
        return False
    for _ in range(size % 16):
        bits.take()
    place = 64 if lossless else 1
    while place < 64:
        value = _value(bits, others)
        if value < 0:
            return False
        run, size = value >> 4, value & 15
        if not size:
            if run != 15:
                break  # the others are zeros
            place += 16
            continue
        place += run + 1
        if place > 64:
            return False
        for _ in range(size):
            bits.take()
    return True


def _value(bits: _Bits, table: dict[tuple[int, int], int]) -> int:
    """What the next code stands for; -1 for bits that are no code."""
    code = 0
    for length in range(1, 17):
        code = 2 * code + bits.take()
        if (length, code) in table:
            return table[length, code]
    return -1
