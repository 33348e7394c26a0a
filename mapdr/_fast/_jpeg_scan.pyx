# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""`_jpeg_scan_py` in C and without the interpreter's lock: codes are looked up by their next 16 bits."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free

from mapdr._fast import _jpeg_scan_py

cdef enum:
    CUT = -1
    DAMAGED = -2
    MOST_TABLES = 8


cdef struct Bits:
    const uint8_t *data
    int64_t at
    int64_t size
    uint64_t held  # of which the lowest `waiting` bits are still to come
    int waiting


cdef int64_t code_byte(const uint8_t *data, int64_t at, int64_t size) noexcept nogil:
    """What comes behind the next byte of codes, which is at `at`; 0 where a marker is, or the end."""
    cdef int64_t after = at
    if at >= size:
        return 0
    if data[at] != 0xFF:
        return at + 1
    while after < size and data[after] == 0xFF:
        after += 1
    return 0 if after == size or data[after] else after + 1


cdef void fill(Bits *bits) noexcept nogil:
    """Take as many bytes as there is room for."""
    cdef int64_t after
    while bits.waiting <= 56:
        after = code_byte(bits.data, bits.at, bits.size)
        if not after:
            return
        bits.held = bits.held << 8 | bits.data[bits.at]
        bits.waiting += 8
        bits.at = after


cdef int64_t marker(Bits *bits) noexcept nogil:
    """Where the next marker is, or the end of the stream."""
    cdef int64_t at = bits.at, after = code_byte(bits.data, at, bits.size)
    while after:
        at = after
        after = code_byte(bits.data, at, bits.size)
    return at


cdef int restart(Bits *bits, int64_t number) noexcept nogil:
    """Go on behind a restart marker: 0, or CUT, or DAMAGED where it is not the one of this number."""
    cdef int64_t at = marker(bits)
    while at < bits.size and bits.data[at] == 0xFF:
        at += 1
    if at == bits.size or not 0xD0 <= bits.data[at] <= 0xD7:
        return CUT
    bits.at = at + 1
    bits.held = 0
    bits.waiting = 0
    return 0 if bits.data[at] == 0xD0 + number % 8 else DAMAGED


cdef inline int value(Bits *bits, const uint16_t *codes) noexcept nogil:
    """What the next code stands for, or CUT, or DAMAGED for bits that are no code."""
    cdef int found, length
    if bits.waiting < 32:
        fill(bits)
    if bits.waiting >= 16:
        found = codes[bits.held >> (bits.waiting - 16) & 0xFFFF]
    else:
        found = codes[bits.held << (16 - bits.waiting) & 0xFFFF]
    length = found >> 8
    if length > bits.waiting:
        return CUT
    if not length:
        return DAMAGED if bits.waiting >= 16 else CUT
    bits.waiting -= length
    return found & 0xFF


cdef inline bint passes(Bits *bits, int count) noexcept nogil:
    """Go over up to 15 bits; False where there are fewer."""
    if bits.waiting < count:
        fill(bits)
    bits.waiting -= count
    return bits.waiting >= 0


cdef int pass_unit(Bits *bits, const uint16_t *direct, const uint16_t *others, bint lossless) noexcept nogil:
    """Go over one data unit: 0, CUT, or DAMAGED for codes that no encoder writes."""
    cdef int found = value(bits, direct), place = 1, size
    if found < 0:
        return found
    if found > (16 if lossless else 15):
        return DAMAGED
    if not passes(bits, found & 15):
        return CUT
    if lossless:
        return 0
    while place < 64:
        found = value(bits, others)
        if found < 0:
            return found
        size = found & 15
        if not size:
            if found >> 4 != 15:
                break  # the others are zeros
            place += 16
            continue
        place += (found >> 4) + 1
        if place > 64:
            return DAMAGED
        if not passes(bits, size):
            return CUT
    return 0


cdef int64_t pass_scan(Bits *bits, const uint8_t *units, int64_t pairs, uint16_t **tables, int64_t count,
                       int64_t interval, bint lossless) noexcept nogil:
    """As `_jpeg_scan_py.scan_end`."""
    cdef int64_t number, pair, left = interval
    cdef int found
    for number in range(count):
        if interval and not left:
            found = restart(bits, number // interval - 1)
            if found:
                return found
            left = interval
        left -= 1
        for pair in range(pairs):
            found = pass_unit(bits, tables[units[2 * pair]], tables[units[2 * pair + 1]], lossless)
            if found:
                return found
    return marker(bits)


cdef uint16_t *looked_up(table) except NULL:
    """Of the 65,536 ways in which 16 bits go on, the length and the value of the code they begin with."""
    cdef list codes = _jpeg_scan_py.codes(table)
    cdef uint16_t *found = <uint16_t *>calloc(65536, sizeof(uint16_t))
    cdef int code, length, value, first, each
    if found == NULL:
        raise MemoryError
    for code, length, value in codes:
        first = code << (16 - length)
        for each in range(first, first + (1 << (16 - length))):
            found[each] = <uint16_t>(length << 8 | value)
    return found


def scan_end(stream, int64_t at, bytes units, tables, int64_t count, int64_t interval, bint lossless):
    """As `_jpeg_scan_py.scan_end`."""
    if len(tables) > MOST_TABLES:
        return _jpeg_scan_py.scan_end(stream, at, units, tables, count, interval, lossless)
    cdef const uint8_t[::1] view = memoryview(stream).cast("B")
    cdef uint16_t *found[MOST_TABLES]
    cdef int number
    cdef int64_t end, pairs = len(units) // 2
    cdef const uint8_t *places = units
    cdef Bits bits
    for number in range(MOST_TABLES):
        found[number] = NULL
    try:
        for number, table in enumerate(tables):
            found[number] = looked_up(table)
        _jpeg_scan_py.check(stream, at, units, len(tables))
        bits.data = &view[0] if view.shape[0] else NULL
        bits.at, bits.size, bits.held, bits.waiting = at, view.shape[0], 0, 0
        with nogil:
            end = pass_scan(&bits, places, pairs, found, count, interval, lossless)
        return end
    finally:
        for number in range(MOST_TABLES):
            free(found[number])
