"""RLE Lossless, the encoder (PS3.5 annex G): the reference of `_rle.pyx`."""

from __future__ import annotations

import struct
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

MOST_SEGMENTS = 15
"""Offsets that the header has room for (PS3.5, G.5)."""
MOST_BYTES = 128
"""Bytes of one run."""


def encode(cells: Buffer, rows: int, columns: int, samples: int, size: int) -> bytes:
    """The codestream of a frame: a segment for each byte of each sample, the most significant byte first.

    `cells`: little endian, `size` bytes for each sample, samples interleaved. Raises ValueError for cells of
    another length, and for more segments or bytes than the header can count.
    """
    segments = samples * size
    if min(rows, columns, samples, size) < 1 or segments > MOST_SEGMENTS:
        raise ValueError("a frame has 1 to 15 bytes a pixel, and at least one pixel")
    if len(cells) != rows * columns * segments:
        raise ValueError("the cells are not those of the frame")
    data = bytes(cells)
    offsets, made = [], bytearray(64)
    for sample in range(samples):
        for byte in reversed(range(size)):
            offsets.append(len(made))
            plane = data[sample * size + byte :: segments]
            for row in range(rows):
                made += encoded_row(plane[row * columns : (row + 1) * columns])
            made += bytes(len(made) % 2)
    if len(made) >= 1 << 32:
        raise ValueError("the frame has 4 GiB or more")
    struct.pack_into(f"<{1 + segments}L", made, 0, segments, *offsets)
    return bytes(made)


def encoded_row(row: bytes) -> bytes:
    """The runs of one row, which end with it (PS3.5, G.3.1).

    Three equal bytes or more make a replicate run, and two where no literal run is open: within one they
    would cost a byte more.
    """
    out = bytearray()
    start = at = 0  # of the literal run; what is looked at
    while at < len(row):
        end = at + 1
        while end < len(row) and end - at < MOST_BYTES and row[end] == row[at]:
            end += 1
        if end - at > 2 or (end - at == 2 and start == at):
            out += literal_runs(row[start:at])
            out += bytes((257 - (end - at), row[at]))
            start = end
        at = end
    return bytes(out + literal_runs(row[start:]))


def literal_runs(row: bytes) -> bytes:
    """Bytes as they are, in runs of at most 128."""
    runs = (row[at : at + MOST_BYTES] for at in range(0, len(row), MOST_BYTES))
    return b"".join(bytes((len(run) - 1,)) + run for run in runs)
