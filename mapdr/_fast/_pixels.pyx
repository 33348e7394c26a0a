# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""`_pixels_py` in C and without the interpreter's lock, in one pass; the reference says what it refuses."""

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t

from libc.math cimport log2, pow
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from array import array as array_of

from mapdr._fast import _pixels_py

cdef extern from "pixels.h" nogil:
    const int MAPDR_BEYOND
    struct mapdr_found:
        int64_t count
        int64_t most
        int64_t squares
        int64_t least
        int64_t greatest
    struct mapdr_gap:
        int64_t low
        int64_t high
        int64_t below
        int64_t above
    struct mapdr_kind:
        int64_t size
        int least
        int most
        void (*compared)(const void *, const void *, int64_t, int, int, mapdr_found *) noexcept nogil
        void (*gap)(const void *, const void *, int64_t, int, int, mapdr_gap *) noexcept nogil
        void (*row)(const void *, int64_t, int64_t, int32_t *, int32_t *) noexcept nogil
    const mapdr_kind mapdr_kinds[4]
    void mapdr_count_details(int32_t *const *, int32_t *const *, int64_t, int32_t *, int64_t *)

cdef array.array NUMBERS = array_of("q")
cdef double FINEST = _pixels_py.FINEST

cdef enum:
    STRIP = 8
    EVERY = 32
    BINS = 160
    TABLES = 4


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


cdef bint comparable(original, decoded, str kind):
    """Whether two buffers hold as many cells of this kind, and at least one."""
    cdef int64_t length = len(original)
    return kind in _pixels_py.KINDS and len(decoded) == length and length and not (kind in "hH" and length & 1)


cdef const mapdr_kind *loops(str kind):
    """The loops over one of `_pixels_py.KINDS`."""
    return &mapdr_kinds[<int>_pixels_py.KINDS.index(kind)]


cdef const unsigned char[::1] octets(frame, int64_t length):
    """The bytes of a frame. Raises ValueError where they are not as many as it says to have cells."""
    cdef const unsigned char[::1] view = memoryview(frame).cast("B")
    if view.shape[0] != length:
        raise ValueError("the cells of two frames are to be compared")
    return view


def differences(original, decoded, str kind, low, high):
    """As `_pixels_py.differences`."""
    if not comparable(original, decoded, kind):
        return _pixels_py.differences(original, decoded, kind, low, high)
    cdef int64_t length = len(original)
    cdef const unsigned char[::1] one = octets(original, length), other = octets(decoded, length)
    cdef const mapdr_kind *cells = loops(kind)
    cdef bint all_count = low > high or low > cells.most or high < cells.least
    cdef int least = 1 if all_count else max(low, cells.least), most = 0 if all_count else min(high, cells.most)
    cdef mapdr_found found
    with nogil:
        cells.compared(&one[0], &other[0], length // cells.size, least, most, &found)
    if not found.count:
        return _pixels_py.NEITHER
    return found.count, found.most, found.squares, found.least, found.greatest


def padding_gap(original, decoded, str kind, low, high):
    """As `_pixels_py.padding_gap`."""
    if not comparable(original, decoded, kind) or low > high:
        return _pixels_py.padding_gap(original, decoded, kind, low, high)
    cdef int64_t length = len(original)
    cdef const unsigned char[::1] one = octets(original, length), other = octets(decoded, length)
    cdef const mapdr_kind *cells = loops(kind)
    cdef bint is_beyond = low > cells.most or high < cells.least
    cdef int least = 0 if is_beyond else max(low, cells.least), most = 0 if is_beyond else min(high, cells.most)
    cdef mapdr_found all_of
    cdef mapdr_gap found
    with nogil:
        if is_beyond:  # no cell can be padding: the ends of all values are what is next to it
            cells.compared(&other[0], &other[0], length // cells.size, 1, 0, &all_of)
        else:
            cells.gap(&one[0], &other[0], length // cells.size, least, most, &found)
    if is_beyond:
        return (low, high, all_of.greatest, None) if low > cells.most else (low, high, None, all_of.least)
    below = None if found.below == -MAPDR_BEYOND else found.below
    above = None if found.above == MAPDR_BEYOND else found.above
    if low < cells.least:  # nothing lies below the range: what is its lowest cell lies in it, or is next above
        return low, max(high, found.high), None, above if below is None else below
    return found.low, max(high, found.high), below, above


cdef void strip(
    const unsigned char *cells, const mapdr_kind *kind, int64_t rows, int64_t columns, int64_t samples,
    int32_t *room, int64_t *counts,
) noexcept nogil:
    """Count the details of rows that follow each other; `room` is for nine times half a row."""
    cdef int64_t pairs = (columns - 1) // 2, count = pairs * samples, row
    cdef int32_t *high[3]
    cdef int32_t *low[3]
    for row in range(3):
        high[row] = room + row * count
        low[row] = room + (3 + row) * count
    for row in range(2 * ((rows - 1) // 2) + 1):
        place = 2 if row and row % 2 == 0 else row % 2
        kind.row(cells + row * columns * samples * kind.size, pairs, samples, high[place], low[place])
        if place == 2:
            mapdr_count_details(high, low, count, room + 6 * count, counts)
            high[0], high[2] = high[2], high[0]
            low[0], low[2] = low[2], low[0]


def details(cells, str kind, rows, columns, samples):
    """As `_pixels_py.details`."""
    cdef int64_t size = 1 if kind in "bB" else 2, group, each
    cdef bint fits = kind in _pixels_py.KINDS and 2 < columns and 2 < rows and 0 < samples < 5
    # In Python's numbers, for those of C might not hold the product.
    if not fits or len(cells) != rows * columns * samples * size:
        return _pixels_py.details(cells, kind, rows, columns, samples)
    cdef int64_t height = rows, width = columns, depth = samples, groups = height // EVERY
    cdef const unsigned char[::1] view = memoryview(cells).cast("B")
    if view.shape[0] != height * width * depth * size:
        raise ValueError("the cells are no frame of this shape")
    cdef const mapdr_kind *found = loops(kind)
    cdef int64_t counts[TABLES * BINS]
    cdef int32_t *room = <int32_t *>malloc(9 * ((width - 1) // 2) * depth * sizeof(int32_t))
    if room == NULL:
        raise MemoryError
    memset(counts, 0, sizeof(counts))
    with nogil:
        if groups == 0:
            strip(&view[0], found, height, width, depth, room, counts)
        for group in range(groups):
            strip(&view[group * EVERY * width * depth * size], found, STRIP, width, depth, room, counts)
        free(room)
    cdef array.array made = array.clone(NUMBERS, BINS, zero=False)
    cdef int64_t[::1] sums = made
    for each in range(BINS):
        sums[each] = counts[each] + counts[BINS + each] + counts[2 * BINS + each] + counts[3 * BINS + each]
    return made


cdef double sizes[BINS]
for _bin, _size in enumerate(_pixels_py.SIZES):
    sizes[_bin] = _size


cdef double bits_of(const int64_t *counts, double step) noexcept nogil:
    """As `_pixels_py.detail_bits`."""
    cdef double found = 0
    cdef int64_t each
    for each in range(BINS):
        if counts[each] != 0:
            found += counts[each] * log2(1 + sizes[each] / step)
    return found


def detail_bits(counts, double step):
    """As `_pixels_py.detail_bits`."""
    cdef const int64_t[::1] view = counts
    if view.shape[0] != BINS:
        return _pixels_py.detail_bits(counts, step)
    return bits_of(&view[0], step)


def detail_level(counts, double scale, double bits, double least, double most):
    """As `_pixels_py.detail_level`."""
    cdef const int64_t[::1] view = counts
    cdef double middle
    if view.shape[0] != BINS:
        return _pixels_py.detail_level(counts, scale, bits, least, most)
    while most - least > FINEST:
        middle = (least + most) / 2
        if bits_of(&view[0], scale * pow(10, -middle / 20)) < bits:
            least = middle
        else:
            most = middle
    return least
