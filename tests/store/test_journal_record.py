"""The journal's records as bytes: what was written is read back, and nothing else, whatever a disk gives."""

from __future__ import annotations

import struct

import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from mapdr.store.spool.journal import record
from mapdr.store.spool.journal.record import BLOCK
from store.segments import FIRST, image, read_records, segment

BODIES = st.lists(st.binary(min_size=1, max_size=6000), min_size=1, max_size=4)


def read_all(data: bytes | bytearray) -> list[tuple[int, str, bytes]]:
    """What is whole in a segment."""
    return [(each.sequence, each.id, body) for each, body in read_records(data)]


def expected(bodies: list[bytes]) -> list[tuple[int, str, bytes]]:
    return [(number, f"{number:032x}", body) for number, body in enumerate(bodies, FIRST)]


@given(st.integers(0, (1 << 64) - 1), BODIES)
@example(1, [bytes(2 * BLOCK), b"behind it"])
def test_what_was_written_is_read(key: int, bodies: list[bytes]) -> None:
    assert read_all(segment(key, bodies)) == expected(bodies)


@given(BODIES, st.data())
def test_a_torn_end_leaves_what_stands_before_it(bodies: list[bytes], data: st.DataObject) -> None:
    """Any sector behind a flush may be new or old: records before it are read, of others only whole ones."""
    new, old = segment(1, bodies), segment(2, data.draw(BODIES))
    kept = data.draw(st.integers(0, len(bodies)))
    flushed = len(segment(1, bodies[:kept])) - BLOCK
    torn = bytearray(max(len(new), len(old)))
    torn[: len(old)] = old
    for at in range(0, len(new), 512):
        if at < flushed or data.draw(st.booleans()):
            torn[at : at + 512] = new[at : at + 512]
    found = read_all(torn)
    if kept:
        assert found[:kept] == expected(bodies)[:kept]
    if new[:512] == torn[:512]:
        assert all(each in expected(bodies) for each in found)


@given(BODIES, BODIES)
def test_what_an_earlier_use_left_is_no_record(before: list[bytes], bodies: list[bytes]) -> None:
    left = segment(2, before)
    now = segment(1, bodies)[:-BLOCK]
    assert read_all(now + left[len(now) :]) == expected(bodies)


def test_no_image_makes_a_record_of_its_bytes() -> None:
    """A peer that knows the format and the sequence, and not the key, sends what could be a record."""
    forged = segment(2, [b"forged"])[BLOCK:]
    whole = segment(1, [b"first"])[:-BLOCK] + bytes(BLOCK)
    whole[2 * BLOCK : 2 * BLOCK + len(forged)] = forged
    assert read_all(whole) == expected([b"first"])


@given(st.binary(max_size=3 * BLOCK))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert read_all(data) == []
    block = record.segment_block(3, FIRST)
    assert read_all(block + data) == []
    assert record.read_checkpoint_block(data) is None


@given(BODIES, st.data())
def test_a_changed_byte_never_makes_another_image(bodies: list[bytes], data: st.DataObject) -> None:
    whole = segment(1, bodies)
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found = read_all(whole)
    assert all(each in expected(bodies) for each in found)
    if at >= BLOCK:  # the others are read all the same
        assert len(found) >= len(bodies) - 1


@pytest.mark.parametrize("length", [1, BLOCK, 3 * BLOCK])
def test_a_torn_head_costs_its_own_image_alone(length: int) -> None:
    bodies = [bytes([number]) * length for number in range(1, 5)]
    whole = segment(1, bodies)
    heads = [each.at - record.HEAD for each, _ in read_records(whole)]
    assert heads == [BLOCK, *(each.end for each, _ in read_records(whole)[:-1])]
    for number, at in enumerate(heads):
        torn = bytearray(whole)
        torn[at + 20] ^= 1
        assert read_all(torn) == [*expected(bodies)[:number], *expected(bodies)[number + 1 :]]


@given(st.integers(0, (1 << 64) - 1), st.sampled_from([b"MAPDRJS", b"MAPDRJC"]), st.integers(0, 255))
@example(5, b"MAPDRJS", ord("1"))
@example(5, b"MAPDRJC", ord("1"))
def test_a_block_of_another_version_is_told_from_a_damaged_one(
    number: int, magic: bytes, version: int
) -> None:
    """Its check says that it is whole: what a medium has changed is not taken for it."""
    start = magic + bytes([version]) + bytes(8) + number.to_bytes(8, "little")
    block = (start + xxhash.xxh3_128_digest(start)).ljust(BLOCK, b"\0")
    assert record.is_of_another_version(block) == (version != ord("1"))
    assert not record.is_of_another_version(block[:30] + bytes([block[30] ^ 1]) + block[31:])
    assert not record.is_of_another_version(bytes(BLOCK))
    assert (record.is_blank(bytes(BLOCK)), record.is_blank(block)) == (True, False)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_a_checkpoint_is_read_if_it_is_whole(number: int, sequence: int) -> None:
    block = record.checkpoint_block(number, sequence)
    assert record.read_checkpoint_block(block) == (number, sequence)
    assert record.read_checkpoint_block(block[:20] + b"\1" + block[21:]) in (None, (number, sequence))
    assert record.read_segment_block(block) is None


def test_a_record_that_would_reach_beyond_its_segment_is_none() -> None:
    """Whatever its digest: what stands there is not the segment's."""
    data = bytes(segment(1, [b"x" * 100, b"y" * 5000]))

    def read(at: int, size: int) -> bytes:
        return data[at : at + size]

    first, second = record.records(read, len(data))
    end = second.at + second.offset + second.size
    assert [each.id for each in record.records(read, end)] == [first.id, second.id]
    for length in (end - 1, end - second.size, second.at + 1, second.at - 1):
        assert [each.id for each in record.records(read, length)] == [first.id]


def test_only_a_later_number_under_the_right_name_is_a_record() -> None:
    """However right its check is: numbers say what the checkpoint covers, and one may be lost between two."""
    for number in (FIRST - 1, FIRST, FIRST + 1, FIRST + 2):
        one = image(number, b"second")
        data = segment(1, [b"first"])[:-BLOCK] + record.head(1, number, one) + one.before + one.data
        also = [(number, one.id, b"second")] if number > FIRST else []
        assert read_all(data) == expected([b"first"]) + also
    other = bytearray(segment(1, [b"first"]))
    other[BLOCK : BLOCK + 8] = b"MAPDRJR2"
    _check_anew(other)
    assert read_all(other) == []
    _check_anew(other, magic=b"MAPDRJR1")
    assert read_all(other) == expected([b"first"])


def test_a_head_that_lies_takes_no_more_memory_than_a_head_may() -> None:
    data = segment(1, [bytes(3 << 20)])
    struct.pack_into("<I", data, BLOCK + 32, 2 << 20)  # so many bytes before the data set
    _check_anew(data)
    asked: list[int] = []

    def read(at: int, count: int) -> bytes:
        asked.append(count)
        return bytes(data[at : at + count])

    assert list(record.records(read, len(data))) == []
    assert max(asked) == BLOCK


def _check_anew(data: bytearray, magic: bytes = b"") -> None:
    """Give the first record a check that is right."""
    data[BLOCK : BLOCK + len(magic)] = magic
    head = bytes(data[BLOCK : BLOCK + record.HEAD - 16])
    (before,) = struct.unpack_from("<I", head, 32)
    covered = head + bytes(data[BLOCK + record.HEAD : BLOCK + record.HEAD + before])
    data[BLOCK + record.HEAD - 16 : BLOCK + record.HEAD] = xxhash.xxh3_128_digest(covered, 1)
