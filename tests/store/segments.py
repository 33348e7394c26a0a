"""Segments of a journal as bytes, as `mapdr.store.spool.journal.segment` writes them, or nearly."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

import xxhash

from mapdr.store.spool.journal import record
from mapdr.store.spool.journal.record import BLOCK, Image, Record

FIRST = 7
"""The sequence number of the first record."""
_LENGTHS = (0, 1, BLOCK, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
_SIZE_AT = 36  # in a record's head; the lengths before the data set are four bytes before


def image(number: int, body: bytes) -> Image:
    """An image with this data set."""
    return Image(f"{number:032x}", b"before" * 20, body, xxhash.xxh3_128_digest(body))


def segment(key: int, bodies: Sequence[bytes]) -> bytearray:
    """A segment with these data sets, and a block of zeros behind the last record."""
    whole = bytearray(record.segment_block(key, FIRST))
    for number, body in enumerate(bodies, FIRST):
        one = image(number, body)
        whole += record.head(key, number, one) + one.before + one.data
        whole += bytes(record.blocks(len(whole)) - len(whole))
    return whole + bytes(BLOCK)


def read_records(data: bytes | bytearray) -> list[tuple[Record, bytes]]:
    """What is whole in a segment, with its data sets."""

    def read(at: int, count: int) -> bytes:
        return bytes(data[at : at + count])

    return [
        (each, b"".join(record.data_set(each, read)))
        for each in record.records(read, len(data))
        if record.whole(each, read)
    ]


def draw(chance: Random) -> bytes:
    """A segment whose records may lie about their lengths, under a check that is right."""
    key = chance.getrandbits(64)
    bodies = [chance.randbytes(chance.choice((1, 40, 4000, 9000))) for _ in range(chance.randrange(4))]
    whole = segment(key, bodies)
    at = BLOCK
    for body in bodies:
        if chance.random() < 0.3:
            place, kind = chance.choice(((_SIZE_AT - 4, "<I"), (_SIZE_AT, "<Q")))
            struct.pack_into(kind, whole, at + place, chance.choice(_LENGTHS))
            head = bytes(whole[at : at + record.HEAD - 16])
            (before,) = struct.unpack_from("<I", head, _SIZE_AT - 4)
            covered = head + bytes(whole[at + record.HEAD : at + record.HEAD + before])
            whole[at + record.HEAD - 16 : at + record.HEAD] = xxhash.xxh3_128_digest(covered, key)
        at = record.blocks(at + record.HEAD + len(image(0, body).before) + len(body))
    if chance.random() < 0.3:
        del whole[chance.randrange(len(whole)) :]
    return bytes(whole)
