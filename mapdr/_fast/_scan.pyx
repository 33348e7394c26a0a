# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The walk of `_scan_py` for regular data sets, in C: the search of search.pxi, with what it found for Python.

Regular is what walk.pxi says. At the first thing that is not, the search gives up and the reference walks the
data set from its beginning.

Offsets are 64-bit and signed; a length from the data is compared with what is left before it is added.
"""

from sys import byteorder

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint32_t

from mapdr._fast import _scan_py
from mapdr._fast.scan_tables import MAX_DEPTH, MAX_ELEMENTS, Element, Found, Pixels, Walk

include "numbers.pxi"
include "heads.pxi"
include "walk.pxi"
include "search.pxi"

cdef dict _sorted = {}
"""Wanted tags in order, by the identity of their tree, which is kept alive beside them."""


cdef tuple wanted_tags(dict tree):
    """The tree, its tags in order as C has them, their paths, and whether any goes into sequences."""
    entry = _sorted.get(id(tree))
    if entry is None or entry[0] is not tree:
        if len(_sorted) > 64:
            _sorted.clear()
        tags = sorted(tree)
        entry = (tree, packed_tags(tags), tuple((tag,) for tag in tags), any(tree.values()))
        _sorted[id(tree)] = entry
    return entry


cdef object regular(const unsigned char *data, int64_t available, int64_t size, bint explicit, dict wanted,
                    bint beyond, int64_t max_value, int64_t left, dict values):
    """The Walk of a regular data set, or None. Wanted elements go to `values`, or to `found` if that is None."""
    cdef tuple entry = wanted_tags(wanted)
    cdef tuple paths = entry[2]
    cdef Seen seen[WANTED]
    cdef Walked walked
    cdef Py_ssize_t number, count = len(paths)
    cdef list found = []
    if count > WANTED or not search(
        data, available, size, explicit, <const uint32_t *>PyBytes_AS_STRING(entry[1]), count, beyond, max_value,
        left, seen, &walked,
    ):
        return None
    for number in range(count):
        if seen[number].offset < 0:
            continue
        if entry[3] and wanted[paths[number][0]]:
            return None
        if values is None:
            found.append(Found(
                paths[number], vr_of(&seen[number].head), seen[number].offset, seen[number].value,
                seen[number].head.length, False, None
            ))
        else:
            values[paths[number]] = kept_value(&seen[number], data, max_value)
    return walk_of(found, &walked, explicit)


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


cdef object new = tuple.__new__


cdef object level(const unsigned char *data, int64_t offset, int64_t end, bint explicit, bint nested):
    """The elements of a level in which nothing is odd, or None; they may stand in any order. `nested`: only
    those that may hold others."""
    cdef int64_t left = MAX_ELEMENTS, after
    cdef Head element
    cdef list found = []
    while offset < end:
        if not head(data, offset, end, explicit, &element) or not element.tag or element.tag >> 16 == 0xFFFE:
            return None
        left -= 1
        if element.length != UNDEFINED:
            if element.length & 1 or element.length > end - element.value:
                return None
            after = element.value + element.length
        else:
            if explicit and is_unknown(&element) and is_doubtful(data, element.value, end):
                return None
            after = skip(data, element.value, end, explicit and not is_unknown(&element), is_fragmented(&element),
                         &left)
        if left < 0 or after < 0:
            return None
        if not nested or element.length == UNDEFINED or (element.a == c'S' and element.b == c'Q'):
            # As Element itself does it, without a call of Python's.
            found.append(
                new(Element, (element.tag, vr_of(&element), offset, element.value, after, element.length))
            )
        offset = after
    return found


def elements(
    buffer, int64_t offset, int64_t end, int flags, *, int64_t base=0, int64_t within=-1, bint nested=False
):
    """As `_scan_py.elements`, which is also what answers for anything irregular."""
    cdef const unsigned char[::1] view
    if flags in (0, 1) and 0 <= offset < end <= len(buffer):
        view = buffer
        found = level(&view[0], offset, end, flags, nested)
        if found is not None:
            return found, end, 0
    return _scan_py.elements(buffer, offset, end, flags, base=base, within=within, nested=nested)
