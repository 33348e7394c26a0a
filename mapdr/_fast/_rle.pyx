# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The encoder of `_rle_py`, in C and without the interpreter's lock; the reference says what it refuses.

A row of one byte plane is gathered into a buffer, and its runs are written behind those before it. The room
for them is taken beforehand: a literal run costs one byte beyond what it holds, and is followed by a
replicate run that saves one, or by the next of 128 bytes, or by the row's end.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from mapdr._fast import _rle_py


cdef int64_t literal(const unsigned char *row, int64_t count, unsigned char *out) noexcept nogil:
    """Bytes as they are, in runs of at most 128: how many were written."""
    cdef int64_t made = 0, size
    while count > 0:
        size = count if count < 128 else 128
        out[made] = <unsigned char>(size - 1)
        memcpy(out + made + 1, row, <size_t>size)
        made += size + 1
        row += size
        count -= size
    return made


cdef int64_t encoded_row(const unsigned char *row, int64_t columns, unsigned char *out) noexcept nogil:
    """The runs of one row: how many bytes were written."""
    cdef int64_t start = 0, at = 0, end, most, made = 0
    cdef unsigned char value
    while at < columns:
        value = row[at]
        end = at + 1
        if end < columns and row[end] == value:
            most = at + 128 if at + 128 < columns else columns
            end += 1
            while end < most and row[end] == value:
                end += 1
            if end - at > 2 or start == at:
                made += literal(row + start, at - start, out + made)
                out[made] = <unsigned char>(257 - (end - at))
                out[made + 1] = value
                made += 2
                start = end
        at = end
    return made + literal(row + start, columns - start, out + made)


cdef int64_t plane(const unsigned char *cells, int64_t rows, int64_t columns, int64_t step, unsigned char *row,
                   unsigned char *out) noexcept nogil:
    """The runs of every `step`-th byte, padded to an even length: how many bytes were written."""
    cdef int64_t made = 0, number, column
    for number in range(rows):
        if step == 1:
            made += encoded_row(cells, columns, out + made)
        else:
            for column in range(columns):
                row[column] = cells[column * step]
            made += encoded_row(row, columns, out + made)
        cells += columns * step
    if made & 1:
        out[made] = 0
        made += 1
    return made


cdef void number_at(unsigned char *out, int64_t value) noexcept nogil:
    """A number of 32 bits, little endian."""
    cdef int byte
    for byte in range(4):
        out[byte] = <unsigned char>(value >> (8 * byte) & 0xFF)


def encode(cells, int64_t rows, int64_t columns, int64_t samples, int64_t size):
    """As `_rle_py.encode`."""
    cdef const unsigned char[::1] view = memoryview(cells).cast("B")
    cdef int64_t segments, room, made = 64, sample, byte, index, header
    cdef unsigned char *out
    cdef unsigned char *row
    if (
        min(rows, columns, samples, size) < 1 or max(samples, size) > 15 or samples * size > 15
        or max(rows, columns) > 1 << 28 or len(cells) != rows * columns * samples * size
    ):
        return _rle_py.encode(cells, rows, columns, samples, size)
    segments = samples * size
    room = 64 + segments * (rows * (columns + columns // 128 + 2) + 1)
    out = <unsigned char *>malloc(<size_t>room)
    row = <unsigned char *>malloc(<size_t>columns)
    try:
        if out == NULL or row == NULL:
            raise MemoryError
        with nogil:
            for header in range(64):
                out[header] = 0
            number_at(out, segments)
            index = 0
            for sample in range(samples):
                for byte in range(size - 1, -1, -1):
                    index += 1
                    number_at(out + 4 * index, made)
                    made += plane(&view[sample * size + byte], rows, columns, segments, row, out + made)
        if made >= 1 << 32:
            raise ValueError("the frame has 4 GiB or more")
        return PyBytes_FromStringAndSize(<char *>out, made)
    finally:
        free(out)
        free(row)
