# The walk over the top level of a regular data set, in C: what the header scan and the intake share.
#
# Needs heads.pxi. Regular means: little endian, ascending tags, known VRs, even lengths, right group lengths,
# all there. What is odd has one meaning, and it is written down once, in `_scan_py`.

DEF WANTED = 256

cdef struct Seen:  # a wanted element; `offset` is -1 where there is none
    int64_t offset
    int64_t value
    int64_t held      # bytes at `value` that may be read: all of the value's, or -1
    uint32_t stated   # the length of its head, which nothing may be read by
    unsigned char a
    unsigned char b

cdef struct Walked:  # `pixels` is -1 without pixel data, `pixels_end` where the walk did not go past it
    int64_t end
    int64_t pixels
    int64_t pixels_end
    Head pixels_head


cdef bint walk_regular(const unsigned char *data, int64_t available, int64_t size, bint explicit,
                       const uint32_t *tags, Py_ssize_t count, bint beyond, int64_t max_value, int64_t left,
                       Seen *seen, Walked *out) noexcept nogil:
    """Find `tags` (ascending, at most WANTED); False at the first thing that is not regular."""
    cdef Py_ssize_t next_tag = 0, number
    # Beyond every tag once none is wanted any more: (FFFF,FFFF) is a tag too.
    cdef int64_t seek = tags[0] if count else 0x100000000
    cdef int64_t offset = 0, group_end = -1, last = -1, held
    cdef Head element
    cdef bint fragments
    for number in range(count):
        seen[number].offset = -1
    out.pixels = out.pixels_end = -1
    if not explicit and available >= 8 and vr_kind(data[4], data[5]):
        return False
    while offset < size:
        if not head(data, offset, available, explicit, &element):
            return False
        left -= 1
        if left < 0 or element.tag <= last or element.tag >> 16 <= 2 or element.tag >> 16 == 0xFFFE:
            return False
        if element.length & 1 and element.length != UNDEFINED:
            return False
        if last >= 0 and element.tag >> 16 != last >> 16:
            if group_end != -1 and group_end != offset:
                return False
            group_end = -1
        last = element.tag
        fragments = is_fragmented(&element)
        if out.pixels < 0 and (element.tag == 0x7FE00008 or element.tag == 0x7FE00009 or element.tag == 0x7FE00010):
            out.pixels = offset
            out.pixels_head = element
            if not beyond:
                break
        while element.tag > seek:
            next_tag += 1
            seek = tags[next_tag] if next_tag < count else 0x100000000
        if element.tag == seek:
            held = element.length
            if element.length == UNDEFINED or held > available - element.value:
                held = -1
                if element.length <= max_value:
                    return False
            seen[next_tag] = Seen(offset, element.value, held, element.length, element.a, element.b)
        if not element.tag & 0xFFFF and element.length == 4:
            if available - element.value < 4:
                return False
            group_end = element.value + 4 + u32(data + element.value)
        if element.length == UNDEFINED:
            if explicit and element.a == c'U' and element.b == c'N' and is_doubtful(data, element.value, available):
                return False
            offset = skip(data, element.value, available,
                          explicit and not (element.a == c'U' and element.b == c'N'), fragments, &left)
            if offset < 0:
                return False
        else:
            if element.length > size - element.value:
                return False
            offset = element.value + element.length
        if out.pixels >= 0 and out.pixels_end < 0:
            out.pixels_end = offset
    out.end = offset
    return not (offset == size and group_end != -1 and group_end != offset)
