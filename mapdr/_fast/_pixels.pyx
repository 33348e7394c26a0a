# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""`_pixels_py` in C and without the interpreter's lock, in one pass; the reference says what it refuses."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int64_t, int8_t, uint16_t, uint8_t

from mapdr._fast import _pixels_py

ctypedef fused cell:
    int8_t
    uint8_t
    int16_t
    uint16_t

cdef struct Found:
    int64_t count
    int64_t most
    int64_t squares
    int64_t least
    int64_t greatest


def whole_pixels(pairs):
    """As `_pixels_py.whole_pixels`."""
    if not len(pairs) or len(pairs) % 4:
        return _pixels_py.whole_pixels(pairs)
    cdef const unsigned char[::1] view = memoryview(pairs).cast("B")
    cdef int64_t count = view.shape[0] // 4, index
    cdef const unsigned char *source = &view[0]
    cdef bytes made = PyBytes_FromStringAndSize(NULL, count * 6)
    cdef unsigned char *target = <unsigned char *>PyBytes_AS_STRING(made)
    with nogil:
        for index in range(count):
            target[0] = source[0]
            target[1] = source[2]
            target[2] = source[3]
            target[3] = source[1]
            target[4] = source[2]
            target[5] = source[3]
            source += 4
            target += 6
    return made


cdef inline int in_byte(int millionths) noexcept nogil:
    """The nearest whole number, halves up; what is below zero or above 255 stays so."""
    # Division in C cuts towards zero: 1,024 whole numbers are added before it and taken away again.
    return (millionths + 1024500000) // 1000000 - 1024


def ybr_to_rgb(samples, *, bint full=True):
    """As `_pixels_py.ybr_to_rgb`."""
    if not len(samples) or len(samples) % 3:
        return _pixels_py.ybr_to_rgb(samples, full=full)
    cdef const unsigned char[::1] view = memoryview(samples).cast("B")
    cdef int64_t count = view.shape[0] // 3, index, outside = 0
    cdef const unsigned char *source = &view[0]
    cdef bytes made = PyBytes_FromStringAndSize(NULL, count * 3)
    cdef unsigned char *target = <unsigned char *>PyBytes_AS_STRING(made)
    cdef int black, luminance, red, green_b, green_r, blue, y, cb, cr, r, g, b
    black, luminance, red, green_b, green_r, blue = _pixels_py.FULL_RANGE if full else _pixels_py.STUDIO_RANGE
    with nogil:
        for index in range(count):
            y = luminance * (<int>source[0] - black)
            cb = <int>source[1] - 128
            cr = <int>source[2] - 128
            r = in_byte(y + red * cr)
            g = in_byte(y - green_b * cb - green_r * cr)
            b = in_byte(y + blue * cb)
            if (r | g | b) & ~255:
                outside += 1
                r = 0 if r < 0 else 255 if r > 255 else r
                g = 0 if g < 0 else 255 if g > 255 else g
                b = 0 if b < 0 else 255 if b > 255 else b
            target[0] = <unsigned char>r
            target[1] = <unsigned char>g
            target[2] = <unsigned char>b
            source += 3
            target += 3
    return made, outside


cdef Found compared(
    const cell *original, const cell *decoded, int64_t count, int64_t low, int64_t high
) noexcept nogil:
    """What `differences` tells of `count` cells."""
    cdef Found found
    cdef int64_t index
    cdef int value, off
    cdef bint all_count = low > high
    found.count = found.most = found.squares = 0
    found.least = 1 << 16
    found.greatest = -(1 << 16)
    for index in range(count):
        value = original[index]
        if not all_count and low <= value <= high:
            continue
        off = value - <int>decoded[index]
        if off < 0:
            off = -off
        found.count += 1
        found.squares += <int64_t>off * off
        if off > found.most:
            found.most = off
        if value < found.least:
            found.least = value
        if value > found.greatest:
            found.greatest = value
    return found


def differences(original, decoded, str kind, int64_t low, int64_t high):
    """As `_pixels_py.differences`."""
    cdef int64_t length = len(original)
    cdef bint is_byte = kind in ("b", "B"), is_signed = kind in ("b", "h")
    if kind not in _pixels_py.KINDS or len(decoded) != length or not length or not (is_byte or length % 2 == 0):
        return _pixels_py.differences(original, decoded, kind, low, high)
    cdef const unsigned char[::1] first = memoryview(original).cast("B")
    cdef const unsigned char[::1] second = memoryview(decoded).cast("B")
    if first.shape[0] != length or second.shape[0] != length:
        raise ValueError("the cells of two frames are to be compared")
    cdef const void *one = &first[0]
    cdef const void *other = &second[0]
    cdef Found found
    with nogil:
        if is_byte and is_signed:
            found = compared[int8_t](<const int8_t *>one, <const int8_t *>other, length, low, high)
        elif is_byte:
            found = compared[uint8_t](<const uint8_t *>one, <const uint8_t *>other, length, low, high)
        elif is_signed:
            found = compared[int16_t](<const int16_t *>one, <const int16_t *>other, length // 2, low, high)
        else:
            found = compared[uint16_t](<const uint16_t *>one, <const uint16_t *>other, length // 2, low, high)
    if not found.count:
        return _pixels_py.NEITHER
    return found.count, found.most, found.squares, found.least, found.greatest
