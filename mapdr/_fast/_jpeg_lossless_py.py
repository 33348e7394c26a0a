"""JPEG lossless, the encoder of grey frames (ISO/IEC 10918-1, annex H): the reference is libjpeg-turbo.

`_jpeg_lossless.pyx` writes the same frame header, table and scan, in a fourth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Buffer = bytes | bytearray | memoryview
"""Anything with the buffer protocol."""


def encode(cells: Buffer, rows: int, columns: int, bits: int) -> bytes:
    """The codestream of a frame: process 14, selection value 1 (each value told from the one to its left).

    `cells`: unsigned, little endian, of one byte up to 8 `bits` and two above, none with more bits. Raises
    ValueError for another number of cells, and for sizes and precisions that JPEG has not.
    """
    import imagecodecs  # here, for commands that only look import this module with the others
    import numpy as np

    codec: Any = imagecodecs
    if not 2 <= bits <= 16 or min(rows, columns) < 1 or max(rows, columns) >= 1 << 16:
        raise ValueError("lossless JPEG has 2 to 16 bits, and 1 to 65,535 rows and columns")
    size = 1 if bits <= 8 else 2
    if len(memoryview(cells).cast("B")) != rows * columns * size:
        raise ValueError("the cells are not those of the frame")
    frame = np.frombuffer(cells, f"<u{size}")
    return bytes(
        codec.jpeg_encode(frame.reshape(rows, columns), lossless=True, predictor=1, bitspersample=bits)
    )


def table(counts: Sequence[int]) -> tuple[list[int], list[int]]:
    """How many codes there are of each length from 1 to 16, and their categories in order (K.2).

    One code is made too many, and taken away: none may be all ones.
    """
    weights = {symbol: count for symbol, count in enumerate(counts) if count} | {256: 1}
    sizes = dict.fromkeys(weights, 0)
    joined = {symbol: [symbol] for symbol in weights}
    while len(weights) > 1:
        # Of equal weights the highest symbol, as libjpeg has it.
        least, next_least = sorted(weights, key=lambda symbol: (weights[symbol], -symbol))[:2]
        weights[least] += weights.pop(next_least)
        joined[least] += joined.pop(next_least)
        for symbol in joined[least]:
            sizes[symbol] += 1
    lengths = [0] * 33
    for size in sizes.values():
        lengths[size] += 1
    for size in range(32, 16, -1):
        while lengths[size]:
            shorter = size - 2
            while not lengths[shorter]:
                shorter -= 1
            lengths[size] -= 2
            lengths[size - 1] += 1
            lengths[shorter + 1] += 2
            lengths[shorter] -= 1
    lengths[max(size for size in range(17) if lengths[size])] -= 1
    del sizes[256]
    return lengths[1:17], sorted(sizes, key=lambda symbol: (sizes[symbol], symbol))


def head(rows: int, columns: int, bits: int, of_length: Sequence[int], symbols: Sequence[int]) -> bytes:
    """All that stands before the scan's data: SOI, JFIF, SOF3, DHT, SOS (B.2)."""
    jfif = b"JFIF\0\1\1\0\0\1\0\1\0\0"
    frame = bytes([bits]) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + b"\1\1\x11\0"
    table = b"\0" + bytes(of_length) + bytes(symbols)
    parts = [(0xE0, jfif), (0xC3, frame), (0xC4, table), (0xDA, b"\1\1\0\1\0\0")]
    segments = [bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body for marker, body in parts]
    return b"".join([b"\xff\xd8", *segments])
