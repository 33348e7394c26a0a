"""What stands in a segment of the journal, as bytes; no files here. All numbers are little endian.

A segment begins with a block that says its key and its first sequence number. Records follow, each at a
multiple of BLOCK bytes, so that no write touches a block that holds what was flushed before:

    head   magic (8), sequence (8), id (16), bytes before the data set (4), of the data set (8), its
           digest (16), 4 zero bytes, check (16)
    body   the image's file, from its first byte to its last
    zeros  up to the next block, or what stood there

The check is XXH3-128 over the head and what stands before the data set (preamble and File Meta group), seeded
with the segment's key; the digest is XXH3-128 of the data set, as taken on receive. The key is drawn anew
whenever a segment is used again: what it held before is no record any more, and no peer can make an image
whose bytes are one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

import xxhash

BLOCK = 4096
"""Bytes: records begin at a multiple of it. No device that is sold writes larger pieces of its medium."""

_MAGIC, _SEGMENT_MAGIC, _CHECKPOINT_MAGIC = b"MAPDRJR1", b"MAPDRJS1", b"MAPDRJC1"
_HEAD = struct.Struct("<8sQ16sIQ16s4x")
_TWO = struct.Struct("<8sQQ")
_CHECK = 16
HEAD = _HEAD.size + _CHECK
"""Bytes of a record before its body."""
_MOST_BEFORE = 1 << 20  # no File Meta group that MAPDR writes comes near

Buffer = bytes | bytearray | memoryview

Read = Callable[[int, int], bytes]
"""Gives some bytes at an offset, fewer at the end; raises OSError."""


class Image(NamedTuple):
    """An image on its way into a segment: `before` and `data` are its file, `data` is the data set, `digest`
    XXH3-128 of that."""

    id: str
    before: bytes
    data: Buffer
    digest: bytes

    @property
    def length(self) -> int:
        """Bytes of its file."""
        return len(self.before) + len(self.data)


class Record(NamedTuple):
    """An image in a segment: `at` is where its file's bytes begin there, `offset` how many stand before the
    data set, `size` those of the data set, of which `digest` is XXH3-128."""

    sequence: int
    id: str
    at: int
    offset: int
    size: int
    digest: bytes

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return blocks(self.at + self.offset + self.size)


def blocks(length: int) -> int:
    """`length`, rounded up to whole blocks."""
    return -(-length // BLOCK) * BLOCK


def segment_block(key: int, first: int) -> bytes:
    """The first block of a segment whose first record has the sequence number `first`."""
    return _checked(_TWO.pack(_SEGMENT_MAGIC, key, first)).ljust(BLOCK, b"\0")


def read_segment_block(block: bytes) -> tuple[int, int] | None:
    """Key and first sequence number; None if it is not whole."""
    return _read_two(block, _SEGMENT_MAGIC)


def is_blank(block: bytes) -> bool:
    """Whether it is the first block of a segment that was never used."""
    return not any(block)


def is_of_another_version(block: bytes) -> bool:
    """Whether this is whole, the first block of a segment or one of a checkpoint, and not of this version.

    For that, whatever a later version writes must begin with seven such letters and have its check here.
    """
    end = _TWO.size + _CHECK
    known = block[:8] in (_SEGMENT_MAGIC, _CHECKPOINT_MAGIC)
    ours = block[:7] in (_SEGMENT_MAGIC[:7], _CHECKPOINT_MAGIC[:7])
    return ours and not known and block[:end] == _checked(block[: _TWO.size])


def checkpoint_block(number: int, sequence: int) -> bytes:
    """A block that says that all files up to that of `sequence` are safe; `number` counts such blocks."""
    return _checked(_TWO.pack(_CHECKPOINT_MAGIC, number, sequence)).ljust(BLOCK, b"\0")


def read_checkpoint_block(block: bytes) -> tuple[int, int] | None:
    """Number and sequence; None if it is not whole."""
    return _read_two(block, _CHECKPOINT_MAGIC)


def head(key: int, sequence: int, image: Image) -> bytes:
    """The head of an image's record."""
    id_, before = bytes.fromhex(image.id), image.before
    packed = _HEAD.pack(_MAGIC, sequence, id_, len(before), len(image.data), image.digest)
    return packed + xxhash.xxh3_128_digest(packed + before, key)


def records(read: Read, length: int) -> Iterator[Record]:
    """The records of a segment of `length` bytes, in order, whose heads are whole.

    A head that is torn, or left from an earlier use, is passed over. What was acknowledged stands before
    one that is torn, for records are written in order and a flush takes all that was written before; but the
    medium may have lost one that others follow. Data sets are not read: see `whole`.
    """
    found = read_segment_block(read(0, BLOCK))
    if found is None:
        return
    key, sequence = found
    at = BLOCK
    while at + HEAD <= length:
        record = _record(read, key, sequence, at, length)
        if record is None:
            at += BLOCK
            continue
        yield record
        at, sequence = record.end, record.sequence + 1


def whole(record: Record, read: Read) -> bool:
    """Whether the data set of a record gives its digest."""
    digest = xxhash.xxh3_128()
    for piece in data_set(record, read):
        digest.update(piece)
    return digest.digest() == record.digest


def data_set(record: Record, read: Read, piece: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a record's data set, in pieces."""
    at, end = record.at + record.offset, record.at + record.offset + record.size
    for start in range(at, end, piece):
        yield read(start, min(piece, end - start))


def _record(read: Read, key: int, least: int, at: int, length: int) -> Record | None:
    """The record that begins at `at`, with the sequence number `least` or a later one."""
    start = read(at, HEAD)
    if len(start) < HEAD:
        return None
    magic, number, id_, offset, size, digest = _HEAD.unpack_from(start)
    at += HEAD
    # The lengths are not to be trusted before the check is, and it covers bytes that they measure.
    if magic != _MAGIC or number < least or offset > min(_MOST_BEFORE, length - at):
        return None
    if size > length - at - offset:
        return None
    check = xxhash.xxh3_128_digest(start[: _HEAD.size] + read(at, offset), key)
    return Record(number, id_.hex(), at, offset, size, digest) if check == start[_HEAD.size :] else None


def _checked(data: bytes) -> bytes:
    return data + xxhash.xxh3_128_digest(data)


def _read_two(block: bytes, magic: bytes) -> tuple[int, int] | None:
    end = _TWO.size + _CHECK
    if len(block) < end or block[:8] != magic or block[:end] != _checked(block[: _TWO.size]):
        return None
    _, first, second = _TWO.unpack_from(block)
    return first, second
