"""The walk over the codes of a JPEG's scan, by both twins: scans that are made here code by code."""

from __future__ import annotations

from random import Random
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fast.test_twins import compiled
from mapdr._fast import _jpeg_scan_py
from mapdr._fast._jpeg_scan_py import CUT, DAMAGED, Table, codes

EOI = b"\xff\xd9"
DIRECT = (bytes([0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]), bytes(range(17)))
"""DC codes of all sizes, up to the 16 bits of lossless JPEG."""
OTHERS = (bytes([1, 1, 1, 1, 1, *[0] * 10, 1]), bytes([0x00, 0x01, 0xF0, 0x32, 0x0A, 0x1F]))
"""AC codes: end of block, 16 zeros, and runs before coefficients of some sizes; one of 16 bits."""


def both(*args: Any) -> int:
    found: int = compiled("_jpeg_scan").scan_end(*args)
    assert found == _jpeg_scan_py.scan_end(*args)
    return found


def unit(random: Random, *, lossless: bool) -> str:
    """The bits of one data unit."""
    words = [
        {value: f"{code:0{length}b}" for code, length, value in codes(table)} for table in (DIRECT, OTHERS)
    ]

    def some(size: int) -> str:
        return "".join(random.choices("01", k=size))

    size = random.choice(DIRECT[1][: 17 if lossless else 16])
    made = words[0][size] + some(size % 16)
    place = 64 if lossless else 1
    while place < 64:
        value = random.choice(OTHERS[1])
        if not value & 15 and value >> 4 != 15:
            return made + words[1][value]
        step = (value >> 4) + 1
        if place + step > 64:
            return made + words[1][0]
        made += words[1][value] + some(value & 15)
        place += step
    return made


def scan(random: Random, count: int, units: int, interval: int, *, lossless: bool) -> bytes:
    """The data of a scan, filled up with ones, FF stuffed (B.1.1.5), restart markers between intervals."""
    made, bits, number = b"", "", 0
    for mcu in range(count):
        bits += "".join(unit(random, lossless=lossless) for _ in range(units))
        is_last = mcu + 1 == count
        if is_last or (interval and (mcu + 1) % interval == 0):
            bits += "1" * (-len(bits) % 8)
            made += int(bits or "0", 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
            bits = ""
            if not is_last:
                made += bytes([0xFF, 0xD0 + number % 8])
                number += 1
    return made


scans = st.tuples(
    st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 4), st.integers(0, 12), st.booleans()
)


@settings(max_examples=150)
@given(scans, st.integers(0, 5), st.floats(0, 1, exclude_max=True))
def test_a_scan_is_whole_or_cut_alike(
    form: tuple[int, int, int, int, bool], before: int, part: float
) -> None:
    seed, count, units, interval, lossless = form
    data = scan(Random(seed), count, units, interval, lossless=lossless)
    rest = (b"\0\1" * units, [DIRECT, OTHERS], count, interval, lossless)
    head = bytes(before)
    assert both(head + data + EOI, before, *rest) == before + len(data)
    assert both(head + data + b"\0\x5a" + EOI, before, *rest) == before + len(data) + 2  # no part of it
    short = data[: int(part * len(data))].rstrip(b"\xff")
    # The last interval's bits are filled up with fewer than a byte, so a byte less is a code less.
    for end in (EOI, b"", b"\xff", b"\xff\xff" + EOI):
        assert both(head + short + end, before, *rest) == CUT


@settings(max_examples=150)
@given(scans, st.data())
def test_damaged_scans_are_judged_alike(form: tuple[int, int, int, int, bool], data: st.DataObject) -> None:
    seed, count, units, interval, lossless = form
    stream = bytearray(scan(Random(seed), count, units, interval, lossless=lossless) + EOI)
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    both(bytes(stream), 0, b"\0\1" * units, [DIRECT, OTHERS], count, interval, lossless)


@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 20), st.integers(0, 3), st.booleans())
def test_any_bytes_are_judged_alike(
    stream: bytes, at: int, count: int, interval: int, lossless: bool
) -> None:
    args = (min(at, len(stream)), b"\0\1", [DIRECT, OTHERS], count, interval, lossless)
    assert both(stream, *args) >= DAMAGED
    assert both(memoryview(b"0" + stream)[1:], *args) >= DAMAGED


def test_a_restart_marker_of_another_number_is_damage() -> None:
    data = scan(Random(1), 6, 1, 2, lossless=True)
    args = (0, b"\0\1", [DIRECT, OTHERS], 6, 2, True)
    assert both(data + EOI, *args) == len(data)
    swapped = data.replace(b"\xff\xd1", b"\xff\xd4")
    assert both(swapped + EOI, *args) == DAMAGED
    cut = data[: data.index(b"\xff\xd1")]
    assert both(cut + EOI, *args) == CUT


def test_bits_that_are_no_code_and_coefficients_beyond_the_block_are_damage() -> None:
    ones: Table = (bytes([1, *[0] * 15]), b"\0")
    assert both(b"\xff\0" * 8 + EOI, 0, b"\0\0", [ones], 1, 0, True) == DAMAGED
    far: Table = (bytes([1, *[0] * 15]), b"\xe1")  # 14 zeros, and one bit
    assert both(bytes(9) + EOI, 0, b"\0\1", [ones, far], 1, 0, False) == DAMAGED


def only(value: int) -> Table:
    """A table of one code, which is a bit of 0."""
    return bytes([1, *[0] * 15]), bytes([value])


def takes(bits: int, *tables: Table, lossless: bool) -> None:
    """Eight data units are so many bytes, no more and no less, or damage if 0."""
    rest = (b"\0\1", list(tables), 8, 0, lossless)
    if not bits:
        assert both(bytes(2000) + EOI, 0, *rest) == DAMAGED
        return
    assert both(bytes(bits) + EOI, 0, *rest) == bits
    assert both(bytes(bits - 1) + EOI, 0, *rest) == CUT


@pytest.mark.parametrize("size", range(19))
def test_a_difference_has_the_bits_that_its_code_says(size: int) -> None:
    """Of lossless JPEG up to 16, which is one value alone (H.1.2.2); a DC coefficient has up to 15."""
    takes(1 + size % 16 if size <= 16 else 0, only(size), only(0), lossless=True)
    takes(1 + size + 1 if size <= 15 else 0, only(size), only(0), lossless=False)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (0x00, 1),  # the end of the block
        (0x50, 1),
        (0xE0, 1),
        (0xF0, 4),  # 16 zeros, four times
        (0x01, 63 * 2),
        (0x0F, 63 * 16),
        (0x11, 0),  # an odd number of them are left
        (0x23, 21 * 4),
        (0x61, 9 * 2),
        (0x8A, 7 * 11),
        (0xF1, 0),
        (0x31, 0),
    ],
)
def test_a_block_has_63_coefficients_behind_the_first(value: int, bits: int) -> None:
    takes(1 + bits if bits else 0, only(0), only(value), lossless=False)


def test_restart_markers_are_counted_from_0_to_7_again() -> None:
    args = (0, b"\0\0", [only(7)], 20, 2, True)  # two bytes of codes between two
    data = b"".join(b"\1\2" + bytes([0xFF, 0xD0 + number % 8]) for number in range(10))
    assert both(data[:-2] + EOI, *args) == len(data) - 2
    for at in range(3, len(data) - 2, 4):
        for marker in range(0xC0, 0x100):
            other = data[:at] + bytes([marker]) + data[at + 1 :]
            expected = DAMAGED if 0xD0 <= marker <= 0xD7 else CUT
            if marker == data[at]:
                expected = len(data) - 2
            elif marker == 0xFF:
                expected = CUT  # a fill byte, and a byte of codes behind it for a marker
            assert both(other[:-2] + EOI, *args) == expected
    filled = data.replace(b"\xff", b"\xff\xff\xff")
    assert both(filled[:-4] + EOI, *args) == len(filled) - 4
    skipped = data.replace(b"\xff", b"\x55\xff\0\xff")  # what no code stands in
    assert both(skipped[:-2] + EOI, *args) == len(skipped) - 2


def test_a_byte_of_ones_is_stuffed_and_may_be_filled() -> None:
    for byte in (b"\xff\0", b"\xff\xff\0", b"\xff\xff\xff\0"):
        data = b"\x7f" + byte + b"\x12\x34"
        assert both(data + EOI, 0, b"\0\0", [only(15)], 2, 0, True) == len(data)
        assert both(data[:-1] + EOI, 0, b"\0\0", [only(15)], 2, 0, True) == CUT


@pytest.mark.parametrize(
    ("table", "units", "at"),
    [
        ((bytes([3, *[0] * 15]), b"\0\1\2"), b"\0\0", 0),
        ((bytes([1, *[0] * 15]), b""), b"\0\0", 0),
        ((b"\1", b"\0"), b"\0\0", 0),
        (DIRECT, b"\0\1", 0),
        (DIRECT, b"\0", 0),
        (DIRECT, b"", 0),
        (DIRECT, b"\0\0", 3),
        (DIRECT, b"\0\0", -1),
    ],
)
def test_what_is_no_scan_is_refused_alike(table: Table, units: bytes, at: int) -> None:
    for twin in (_jpeg_scan_py, compiled("_jpeg_scan")):
        with pytest.raises(ValueError, match=r"Huffman|counted"):
            twin.scan_end(b"\0\0", at, units, [table], 1, 0, True)


def test_a_frame_of_libjpeg_is_gone_through_alike() -> None:
    frame = np.add.outer(np.arange(40), 7 * np.arange(50)).astype("<u2") % 1000
    stream = imagecodecs.jpeg_encode(frame, lossless=True, predictor=1, bitspersample=12)
    start, table = stream.index(b"\xff\xda") + 10, stream.index(b"\xff\xc4")
    length = int.from_bytes(stream[table + 2 : table + 4], "big")
    lengths = stream[table + 5 : table + 21]
    found = both(stream, start, b"\0\0", [(lengths, stream[table + 21 : table + 2 + length])], 2000, 0, True)
    assert stream[found:] == EOI
    assert (
        both(stream, start, b"\0\0", [(lengths, stream[table + 21 : table + 2 + length])], 2001, 0, True)
        == CUT
    )
