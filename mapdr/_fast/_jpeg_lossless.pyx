# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The encoder of `_jpeg_lossless_py`, in C and without the interpreter's lock.

Two passes, as ISO/IEC 10918-1 has them: the differences are made and counted by category (H.1.2.1, the bits of
their magnitude, table H.2), then written by the Huffman codes that fit the counts best (K.2, as libjpeg does
it). The room for the scan follows from the counts, twice over for bytes that have to be stuffed (B.1.1.5).
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from mapdr._fast import _jpeg_lossless_py

DEF CATEGORIES = 17

ctypedef fused Cell:
    uint8_t
    uint16_t

cdef uint8_t category[65536]
"""Of each difference modulo 65,536."""


cdef void fill_categories() noexcept:
    cdef uint32_t difference, magnitude, bits
    for difference in range(65536):
        magnitude = difference if difference < 0x8000 else 0x10000 - difference
        bits = 0
        while magnitude >> bits:
            bits += 1
        category[difference] = <uint8_t>bits


fill_categories()


cdef void differ(const Cell *cells, int64_t rows, int64_t columns, int bits, uint16_t *out,
                 int64_t *counts) noexcept nogil:
    """The differences modulo 65,536 (H.1.2.1), and how many there are of each category."""
    cdef int64_t row, column
    cdef uint32_t before = 1u << (bits - 1), difference
    for row in range(rows):
        for column in range(columns):
            difference = (cells[column] - before) & 0xFFFF
            before = cells[column]
            out[column] = <uint16_t>difference
            counts[category[difference]] += 1
        before = cells[0]
        cells += columns
        out += columns


cdef int64_t put_scan(const uint16_t *differences, int64_t count, const uint32_t *codes, const int *lengths,
                      uint8_t *out) noexcept nogil:
    """The entropy-coded data (H.1.2.2), filled up with ones: how many bytes were written."""
    cdef int64_t index, made = 0
    cdef uint64_t held = 0  # of which the lowest `waiting` bits are to be written, fewer than 32 of them
    cdef int waiting = 0, bits, extra
    cdef uint32_t difference, word
    for index in range(count):
        difference = differences[index]
        bits = category[difference]
        extra = bits if bits < 16 else 0
        held = held << (lengths[bits] + extra) | (
            <uint64_t>codes[bits] << extra | ((difference - (difference >> 15)) & ((1u << extra) - 1))
        )
        waiting += lengths[bits] + extra
        if waiting >= 32:
            waiting -= 32
            word = <uint32_t>(held >> waiting)
            made += put_word(word, 4, out + made)
    if waiting & 7:
        bits = 8 - (waiting & 7)
        held = held << bits | ((1u << bits) - 1)
        waiting += bits
    return made + put_word(<uint32_t>(held << (32 - waiting)), waiting // 8, out + made)


cdef inline int64_t put_word(uint32_t word, int size, uint8_t *out) noexcept nogil:
    """The first `size` bytes of a word, each FF with the zero that marks it as data."""
    cdef int64_t made = 0
    cdef int number
    cdef uint8_t byte
    for number in range(size):
        byte = <uint8_t>(word >> (24 - 8 * number) & 0xFF)
        out[made] = byte
        made += 1
        if byte == 0xFF:
            out[made] = 0
            made += 1
    return made


def encode(cells, int64_t rows, int64_t columns, int bits):
    """As `_jpeg_lossless_py.encode`."""
    cdef const unsigned char[::1] view = memoryview(cells).cast("B")
    cdef int64_t count = rows * columns, size = 1 if bits <= 8 else 2, made, written = 0
    cdef int64_t counts[CATEGORIES]
    cdef uint32_t codes[CATEGORIES]
    cdef int lengths[CATEGORIES]
    cdef uint16_t *differences
    cdef uint8_t *out = NULL
    cdef int number
    if not 2 <= bits <= 16 or min(rows, columns) < 1 or max(rows, columns) >= 1 << 16 or len(view) != count * size:
        return _jpeg_lossless_py.encode(cells, rows, columns, bits)
    if size == 2 and <size_t>&view[0] & 1:  # not where a number of two bytes may stand in C
        cells = bytes(view)
        view = cells
    differences = <uint16_t *>malloc(<size_t>(2 * count))
    try:
        if differences == NULL:
            raise MemoryError
        for number in range(CATEGORIES):
            counts[number], codes[number], lengths[number] = 0, 0, 0
        with nogil:
            if size == 1:
                differ[uint8_t](&view[0], rows, columns, bits, differences, counts)
            else:
                differ[uint16_t](<const uint16_t *>&view[0], rows, columns, bits, differences, counts)
        tally = []
        for number in range(CATEGORIES):
            tally.append(counts[number])
        of_length, symbols = _jpeg_lossless_py.table(tally)
        code, at = 0, 0
        for length, many in enumerate(of_length, 1):
            for symbol in symbols[at : at + many]:
                codes[symbol], lengths[symbol] = code, length
                written += counts[symbol] * (length + (symbol if symbol < 16 else 0))
                code += 1
            code, at = 2 * code, at + many
        out = <uint8_t *>malloc(<size_t>(2 * (written // 8 + 8)))
        if out == NULL:
            raise MemoryError
        with nogil:
            made = put_scan(differences, count, codes, lengths, out)
        head = _jpeg_lossless_py.head(rows, columns, bits, of_length, symbols)
        return b"".join((head, PyBytes_FromStringAndSize(<char *>out, made), b"\xff\xd9"))
    finally:
        free(differences)
        free(out)
