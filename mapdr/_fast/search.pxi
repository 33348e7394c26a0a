# The search for wanted elements in a regular data set, in C, and what is made of it for Python.
#
# Needs numbers.pxi, heads.pxi and walk.pxi; and Pixels and Walk of `scan_tables`, byteorder of `sys`.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t

DEF WANTED = 256

cdef struct Seen:  # a wanted element; `offset` is -1 where there is none
    int64_t offset
    int64_t value
    int64_t held  # bytes at `value` that may be read: all of the value's, or -1
    Head head     # whose length nothing may be read by

cdef struct Walked:  # `pixels` is -1 without pixel data, `pixels_end` where the walk did not go past it
    int64_t end
    int64_t pixels
    int64_t pixels_end
    Head pixels_head


cdef bint search(const unsigned char *data, int64_t available, int64_t size, bint explicit,
                 const uint32_t *tags, Py_ssize_t count, bint beyond, int64_t max_value, int64_t left,
                 Seen *seen, Walked *out) noexcept nogil:
    """Find `tags` (ascending, at most WANTED), up to the pixel data or `beyond` it.

    False at the first thing that is not regular, and if a wanted value of at most `max_value` bytes is not there.
    """
    cdef Py_ssize_t next_tag = 0, number
    cdef int64_t seek = tags[0] if count else NO_TAG, held
    cdef Walker w
    cdef Head element
    for number in range(count):
        seen[number].offset = -1
    out.pixels = out.pixels_end = -1
    if not walk_from_start(&w, data, available, size, explicit, left):
        return False
    while w.offset < size:
        if not read_element(&w, &element):
            return False
        if out.pixels < 0 and is_pixel_data(element.tag):
            out.pixels = w.offset
            out.pixels_head = element
            if not beyond:
                break
        while element.tag > seek:
            next_tag += 1
            seek = tags[next_tag] if next_tag < count else NO_TAG
        if element.tag == seek:
            held = element.length
            if element.length == UNDEFINED or held > available - element.value:
                held = -1
                if element.length <= max_value:
                    return False
            seen[next_tag].offset, seen[next_tag].value, seen[next_tag].held = w.offset, element.value, held
            seen[next_tag].head = element
        if not pass_element(&w, &element):
            return False
        if out.pixels >= 0 and out.pixels_end < 0:
            out.pixels_end = w.offset
    out.end = w.offset
    return ends_right(&w)


cdef bytes packed_tags(list ordered):
    """Tags as C has them."""
    return b"".join([tag.to_bytes(4, byteorder) for tag in ordered])


cdef inline list kept_value(const Seen *seen, const unsigned char *data, int64_t max_value):
    """A wanted element as `_scan_py.collect` keeps it; `seen.value` is an offset into `data`."""
    raw = None
    if 0 <= seen.held <= max_value:
        raw = PyBytes_FromStringAndSize(<const char *>data + seen.value, seen.held)
    return [(vr_of(&seen.head), raw, False, None)]


cdef object walk_of(list found, const Walked *walked, bint explicit):
    """What a search found, as a `Walk`."""
    cdef const Head *element = &walked.pixels_head
    pixels = None
    if walked.pixels >= 0:
        pixels = Pixels(
            element.tag, vr_of(element), walked.pixels, element.value, element.length,
            None if walked.pixels_end < 0 else walked.pixels_end
        )
    return Walk(found, pixels, walked.end, 1 if explicit else 0, False, 0)
