# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The walk of `_scan_py` for regular data sets, in C.

Regular means: little endian, ascending tags, known VRs, even lengths, right group lengths, all there. At
the first thing that is not, `walk` gives up and the reference walks the data set from its beginning: what
is odd has one meaning, and it is written down once.

Offsets are 64-bit and signed; a length from the data is compared with what is left before it is added.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t

from mapdr._fast import _scan_py
from mapdr._fast.scan_tables import MAX_DEPTH, MAX_ELEMENTS, Found, Pixels, Walk

include "heads.pxi"

cdef dict _sorted = {}
"""Wanted tags as sorted tuples, by the identity of their tree, which is kept alive beside them."""


cdef tuple wanted_tags(dict tree):
    """The tree's tags in order, and their paths."""
    entry = _sorted.get(id(tree))
    if entry is None or entry[0] is not tree:
        if len(_sorted) > 64:
            _sorted.clear()
        tags = tuple(sorted(tree))
        entry = (tree, tags, tuple((tag,) for tag in tags))
        _sorted[id(tree)] = entry
    return entry


cdef inline bytes vr_of(Head *element):
    return PyBytes_FromStringAndSize(<const char *>&element.a, 2) if element.a else b""


cdef object regular(const unsigned char *data, int64_t available, int64_t size, bint explicit, dict wanted,
                    bint beyond, int64_t max_value, int64_t left, dict values):
    """The Walk of a regular data set, or None. Wanted elements go to `values`, or to `found` if that is None."""
    cdef list found = []
    cdef tuple entry = wanted_tags(wanted)
    cdef tuple tags = entry[1], paths = entry[2]
    cdef Py_ssize_t next_tag = 0, count = len(tags)
    # Beyond every tag once none is wanted any more: (FFFF,FFFF) is a tag too.
    cdef int64_t seek = tags[0] if count else 0x100000000
    cdef int64_t offset = 0, after, group_end = -1
    cdef int64_t last = -1
    cdef Head element
    cdef bint fragments
    cdef object pixels = None, raw
    if not explicit and available >= 8 and vr_kind(data[4], data[5]):
        return None
    while offset < size:
        if not head(data, offset, available, explicit, &element):
            return None
        left -= 1
        if left < 0 or element.tag <= last or element.tag >> 16 <= 2 or element.tag >> 16 == 0xFFFE:
            return None
        if element.length & 1 and element.length != UNDEFINED:
            return None
        if last >= 0 and element.tag >> 16 != last >> 16:
            if group_end != -1 and group_end != offset:
                return None
            group_end = -1
        last = element.tag
        fragments = is_fragmented(&element)
        if pixels is None and element.tag >= 0x7FE00008 and fragments and element.tag <= 0x7FE00010 \
                and (element.tag == 0x7FE00008 or element.tag == 0x7FE00009 or element.tag == 0x7FE00010):
            pixels = Pixels(element.tag, vr_of(&element), offset, element.value, element.length, None)
            if not beyond:
                break
        while element.tag > seek:
            next_tag += 1
            seek = tags[next_tag] if next_tag < count else 0x100000000
        if element.tag == seek:
            if wanted[element.tag]:
                return None
            if element.length <= max_value and element.length > available - element.value:
                return None
            if values is None:
                found.append(Found(
                    paths[next_tag], vr_of(&element), offset, element.value, element.length, False, None
                ))
            else:
                raw = None
                if element.length <= max_value:
                    raw = PyBytes_FromStringAndSize(<const char *>data + element.value, element.length)
                values[paths[next_tag]] = [(vr_of(&element), raw, False, None)]
        if not element.tag & 0xFFFF and element.length == 4:
            if available - element.value < 4:
                return None
            group_end = element.value + 4 + u32(data + element.value)
        if element.length == UNDEFINED:
            after = skip(data, element.value, available, explicit and not (element.a == c'U' and element.b == c'N'),
                         fragments, &left)
            if after < 0:
                return None
        else:
            if element.length > size - element.value:
                return None
            after = element.value + element.length
        offset = after
        if pixels is not None and pixels.end is None:
            pixels = pixels._replace(end=offset)
    if offset == size and group_end != -1 and group_end != offset:
        return None
    return Walk(found, pixels, offset, 1 if explicit else 0, False, 0)


cdef object attempt(buffer, int64_t available, int64_t size, int flags, dict wanted, bint beyond,
                    int64_t max_value, int64_t max_elements, dict values):
    cdef const unsigned char[::1] view
    if flags & 2 or available <= 0:
        return None
    view = buffer
    if view.shape[0] < available:
        return None
    return regular(&view[0], available, size, flags & 1, wanted, beyond, max_value, max_elements, values)


def walk(buffer, int64_t available, int64_t size, int flags, dict wanted, *, bint beyond, int64_t max_value,
         int64_t max_depth=MAX_DEPTH, int64_t max_elements=MAX_ELEMENTS):
    """As `_scan_py.walk`, which is also what answers for anything irregular."""
    if max_depth == MAX_DEPTH:
        answer = attempt(buffer, available, size, flags, wanted, beyond, max_value, max_elements, None)
        if answer is not None:
            return answer
    return _scan_py.walk(
        buffer, available, size, flags, wanted, beyond=beyond, max_value=max_value, max_depth=max_depth,
        max_elements=max_elements,
    )


def collect(buffer, int64_t available, int64_t size, int flags, dict wanted, *, bint beyond, int64_t max_value):
    """As `_scan_py.collect`, which is also what answers for anything irregular."""
    values = {}
    answer = attempt(buffer, available, size, flags, wanted, beyond, max_value, MAX_ELEMENTS, values)
    if answer is not None:
        return values, answer
    return _scan_py.collect(buffer, available, size, flags, wanted, beyond=beyond, max_value=max_value)
