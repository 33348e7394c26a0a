# The walk over the top level of a regular data set, in C, one element a step.
#
# Needs numbers.pxi and heads.pxi. Regular means: little endian, ascending tags, known VRs, even lengths, right
# group lengths, all there. What is odd has one meaning, and it is written down once, in `_scan_py`.

from libc.stdint cimport int64_t, uint32_t

DEF NO_TAG = 0x100000000    # beyond every tag: (FFFF,FFFF) is a tag too

cdef struct Walker:
    const unsigned char *data
    int64_t available  # bytes at `data`
    int64_t size       # of the data set; more than `available` where only its beginning is there
    bint explicit
    int64_t left       # element, item and fragment heads that may still be read
    int64_t offset     # where the next element begins
    int64_t last       # the tag before it; -1 at the beginning
    int64_t group_end  # where the group length that was read lets its group end; -1 without one


cdef inline bint walk_from_start(Walker *w, const unsigned char *data, int64_t available, int64_t size,
                                 bint explicit, int64_t left) noexcept nogil:
    """Stand before the first element; False if it is explicit VR where implicit VR is declared."""
    w.data, w.available, w.size, w.explicit, w.left = data, available, size, explicit, left
    w.offset, w.last, w.group_end = 0, -1, -1
    return explicit or available < 8 or not vr_kind(data[4], data[5])


cdef inline bint read_element(Walker *w, Head *element) noexcept nogil:
    """Read the head of the element at `offset`, which is not the end; False if it is not regular there."""
    if not head(w.data, w.offset, w.available, w.explicit, element):
        return False
    w.left -= 1
    if w.left < 0 or element.tag <= w.last or element.tag >> 16 <= 2 or element.tag >> 16 == 0xFFFE:
        return False
    if element.length & 1 and element.length != UNDEFINED:
        return False
    if w.last >= 0 and element.tag >> 16 != w.last >> 16:
        if w.group_end != -1 and w.group_end != w.offset:
            return False
        w.group_end = -1
    w.last = element.tag
    return True


cdef inline bint pass_element(Walker *w, const Head *element) noexcept nogil:
    """Go on behind the value of the element that was read; False if that is not regular."""
    if not element.tag & 0xFFFF and element.length == 4:
        if w.available - element.value < 4:
            return False
        w.group_end = element.value + 4 + u32(w.data + element.value)
    if element.length != UNDEFINED:
        if element.length > w.size - element.value:
            return False
        w.offset = element.value + element.length
        return True
    if w.explicit and is_unknown(element) and is_doubtful(w.data, element.value, w.available):
        return False
    w.offset = skip(w.data, element.value, w.available, w.explicit and not is_unknown(element),
                    is_fragmented(element), &w.left)
    return w.offset >= 0


cdef inline bint ends_right(const Walker *w) noexcept nogil:
    """Whether the last group ends where its length says, if the walk went to the end of the data set."""
    return w.offset != w.size or w.group_end == -1 or w.group_end == w.offset
