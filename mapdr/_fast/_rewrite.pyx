# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The walk and the joining of `_rewrite_py`, in C.

What is not regular gives None at once: `_rewrite_py` says what regular means, and both twins draw the same
line. Offsets that come from outside are checked against the buffer before a byte is copied.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy

from mapdr._fast._rewrite_py import Located
from mapdr._fast.scan_tables import MAX_ELEMENTS

include "numbers.pxi"
include "heads.pxi"
include "walk.pxi"


cdef inline tuple absent(int64_t offset, int64_t group_at):
    return offset, offset, None, None, group_at


cdef object regular(const unsigned char *data, int64_t available, int64_t size, bint explicit, tuple tags,
                    int64_t left):
    """The places of `tags` (ascending) in a regular data set as `Located`; None if it is not regular."""
    cdef list spans = []
    cdef Py_ssize_t next_tag = 0, count = len(tags)
    cdef int64_t seek = tags[0] if count else NO_TAG
    cdef int64_t offset, pixel_offset = size, pixel_end = size
    cdef int64_t group = -1, group_at = -1  # of the last group length, and where its value is
    cdef Walker w
    cdef Head element
    cdef object raw
    if not walk_from_start(&w, data, available, size, explicit, left):
        return None
    while w.offset < size:
        offset = w.offset
        if not read_element(&w, &element) or not pass_element(&w, &element):
            return None
        if pixel_offset == size:
            if is_pixel_data(element.tag):
                pixel_offset, pixel_end = offset, w.offset
            else:
                while seek < element.tag:
                    spans.append(absent(offset, group_at if group == seek >> 16 else -1))
                    next_tag += 1
                    seek = tags[next_tag] if next_tag < count else NO_TAG
                if seek == element.tag:
                    if w.offset > available:
                        return None
                    raw = None
                    if element.length != UNDEFINED:
                        raw = PyBytes_FromStringAndSize(<const char *>data + element.value, element.length)
                    spans.append((offset, w.offset, vr_of(&element), raw, group_at if group == seek >> 16 else -1))
                    next_tag += 1
                    seek = tags[next_tag] if next_tag < count else NO_TAG
        if not element.tag & 0xFFFF and element.length == 4:
            group, group_at = element.tag >> 16, element.value
    if not ends_right(&w):
        return None
    if pixel_offset > available or (pixel_end < size and size > available):
        return None
    while next_tag < count:
        seek = tags[next_tag]
        spans.append(absent(pixel_offset, group_at if group == seek >> 16 else -1))
        next_tag += 1
    return Located(pixel_offset, pixel_end, spans)


def locate(buffer, int64_t size, int flags, tags):
    """As `_rewrite_py.locate`."""
    cdef const unsigned char[::1] view
    if flags & 2 or size <= 0 or not len(buffer):
        return None
    view = buffer
    return regular(&view[0], min(view.shape[0], size), size, flags & 1, tuple(tags), MAX_ELEMENTS)


cdef inline int64_t head_size(const char *vr, bint explicit) noexcept nogil:
    return 12 if explicit and vr_kind(vr[0], vr[1]) == 2 else 8


cdef int64_t measure(int64_t header_end, bint explicit, list changes):
    """The length of the new header; -1 if a value is too long. Raises ValueError as `assemble`."""
    cdef int64_t at = 0, offset, end, group_at, length, size, total = header_end, patched = -1
    cdef bytes vr, raw
    cdef tuple change, span
    for change in changes:
        span = change[2]
        offset, end, group_at = span[0], span[1], span[4]
        if not at <= offset <= end <= header_end:
            raise ValueError("places that are not in the order of the header")
        if group_at >= 0 and group_at != patched:
            if not at <= group_at <= offset - 4:
                raise ValueError("places that are not in the order of the header")
            patched = group_at
        vr, raw = change[1], change[3]
        total -= end - offset
        at = end
        if raw is None:
            continue
        length = PyBytes_GET_SIZE(raw)
        if vr is None or (explicit and PyBytes_GET_SIZE(vr) != 2):
            raise ValueError("a VR has two letters")
        size = head_size(PyBytes_AS_STRING(vr), explicit)
        if length >= UNDEFINED or (explicit and size == 8 and length > 0xFFFE):
            return -1
        total += size + length
    return total


def assemble(buffer, int64_t header_end, int flags, changes):
    """As `_rewrite_py.assemble`."""
    cdef const unsigned char[::1] view = buffer
    cdef const unsigned char *data
    cdef bint explicit = flags & 1
    cdef int64_t at = 0, to = 0, start, offset, end, group_at, size, length, total
    cdef int64_t patched = -1, before = 0
    cdef uint32_t tag
    cdef list ordered = list(changes)
    cdef tuple change, span
    cdef bytes vr, raw, out
    cdef unsigned char *target
    if not 0 <= header_end <= view.shape[0]:
        raise ValueError("places that are not in the order of the header")
    total = measure(header_end, explicit, ordered)
    if total < 0:
        return None
    if not header_end and not ordered:
        return b""
    data = &view[0] if view.shape[0] else NULL
    out = PyBytes_FromStringAndSize(NULL, total)
    target = <unsigned char *>PyBytes_AS_STRING(out)
    for change in ordered:
        span = change[2]
        tag, vr, raw = change[0], change[1], change[3]
        offset, end, group_at = span[0], span[1], span[4]
        if offset > at:
            memcpy(target + to, data + at, offset - at)
        to += offset - at
        if group_at >= 0 and group_at != patched:
            patched, before = group_at, to - offset
        if raw is not None:
            length = PyBytes_GET_SIZE(raw)
            put_u16(target + to, tag >> 16)
            put_u16(target + to + 2, tag & 0xFFFF)
            size = head_size(PyBytes_AS_STRING(vr), explicit)
            if not explicit:
                put_u32(target + to + 4, <uint32_t>length)
            else:
                memcpy(target + to + 4, PyBytes_AS_STRING(vr), 2)
                put_u16(target + to + 6, 0 if size == 12 else <uint32_t>length)
                if size == 12:
                    put_u32(target + to + 8, <uint32_t>length)
            to += size
            memcpy(target + to, PyBytes_AS_STRING(raw), length)
            to += length
        at = end
        if group_at >= 0:
            put_u32(target + group_at + before, u32(data + group_at) + <uint32_t>(to - at - before))
    if header_end > at:
        memcpy(target + to, data + at, header_end - at)
    return out
