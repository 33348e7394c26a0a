# Element heads of regular data sets and the skipping of undefined lengths, in C.
#
# Needs numbers.pxi. Regular as walk.pxi says. Offsets are 64-bit and signed; a length from the data is compared
# with what is left before it is added.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t

DEF STACK = 128

cdef uint32_t UNDEFINED = 0xFFFFFFFF
cdef uint32_t ITEM = 0xFFFEE000
cdef uint32_t ITEM_END = 0xFFFEE00D
cdef uint32_t SEQUENCE_END = 0xFFFEE0DD


cdef inline int vr_kind(unsigned char a, unsigned char b) noexcept nogil:
    """1 for a VR with a 16-bit length, 2 for one with a 32-bit length, 0 for none (PS3.5, section 7.1.2)."""
    if a == c'A':
        return b == c'E' or b == c'S' or b == c'T'
    if a == c'C' or a == c'P' or a == c'T':
        return (a == c'C' and b == c'S') or (a == c'P' and b == c'N') or (a == c'T' and b == c'M')
    if a == c'D':
        return b == c'A' or b == c'S' or b == c'T'
    if a == c'F':
        return b == c'L' or b == c'D'
    if a == c'I':
        return b == c'S'
    if a == c'L':
        return b == c'O' or b == c'T'
    if a == c'O':
        return 2 if (b == c'B' or b == c'D' or b == c'F' or b == c'L' or b == c'V' or b == c'W') else 0
    if a == c'S':
        if b == c'H' or b == c'L' or b == c'S' or b == c'T':
            return 1
        return 2 if (b == c'Q' or b == c'V') else 0
    if a == c'U':
        if b == c'I' or b == c'L' or b == c'S':
            return 1
        return 2 if (b == c'C' or b == c'N' or b == c'R' or b == c'T' or b == c'V') else 0
    return 0


cdef struct Head:
    uint32_t tag
    unsigned char a
    unsigned char b
    int64_t value
    uint32_t length


cdef inline bint head(const unsigned char *data, int64_t offset, int64_t end, bint explicit, Head *out) noexcept nogil:
    """Read one element head that lies before `end`; False for anything that is not regular."""
    cdef int kind
    if end - offset < 8:
        return False
    data += offset
    out.tag = (u16(data) << 16) | u16(data + 2)
    if not explicit or out.tag >> 16 == 0xFFFE:
        out.a = out.b = 0
        out.length = u32(data + 4)
        out.value = offset + 8
        return True
    out.a, out.b = data[4], data[5]
    kind = vr_kind(out.a, out.b)
    if kind == 1:
        out.length = u16(data + 6)
        out.value = offset + 8
        return True
    if kind == 0 or end - offset < 12:
        return False
    out.length = u32(data + 8)
    out.value = offset + 12
    return True


cdef inline bytes vr_of(const Head *element):
    """The VR as Python has it: b"" in implicit VR."""
    return PyBytes_FromStringAndSize(<const char *>&element.a, 2) if element.a else b""


cdef inline bint is_pixel_data(uint32_t tag) noexcept nogil:
    return tag == 0x7FE00008 or tag == 0x7FE00009 or tag == 0x7FE00010


cdef inline bint is_fragmented(const Head *element) noexcept nogil:
    """Whether undefined length means fragments, and not items with elements (PS3.5, section A.4)."""
    return is_pixel_data(element.tag) or (element.a == c'O' and (element.b == c'B' or element.b == c'W'))


cdef inline bint is_unknown(const Head *element) noexcept nogil:
    """Whether its VR is UN: of undefined length, its items are implicit VR (PS3.5, section 6.2.2)."""
    return element.a == c'U' and element.b == c'N'


cdef inline bint is_doubtful(const unsigned char *data, int64_t value, int64_t end) noexcept nogil:
    """Whether the items at `value` of a UN, implicit by the standard, may be explicit VR: the reference decides."""
    if end - value < 8 or u16(data + value) != 0xFFFE or u16(data + value + 2) != 0xE000 or not u32(data + value + 4):
        return False
    return end - value < 16 or vr_kind(data[value + 12], data[value + 13]) != 0


cdef int64_t skip(const unsigned char *data, int64_t offset, int64_t end, bint explicit, bint fragments,
                  int64_t *left) noexcept nogil:
    """The end of undefined-length content whose delimiters lie before `end`; -1 if it is not regular."""
    cdef bint in_item[STACK]
    cdef bint as_fragments[STACK]
    cdef bint as_explicit[STACK]
    cdef int depth = 1
    cdef Head element
    in_item[0], as_fragments[0], as_explicit[0] = False, fragments, explicit
    while depth:
        if not head(data, offset, end, as_explicit[depth - 1], &element):
            return -1
        left[0] -= 1
        if left[0] < 0:
            return -1
        offset = element.value
        if element.tag == SEQUENCE_END:
            if in_item[depth - 1]:
                return -1
            depth -= 1
        elif in_item[depth - 1]:
            if element.tag == ITEM_END:
                depth -= 1
            elif element.tag == ITEM:
                return -1
            elif element.length != UNDEFINED:
                if element.length & 1 or element.length > end - offset:
                    return -1
                offset += element.length
            else:
                if depth == STACK:
                    return -1
                if as_explicit[depth - 1] and is_unknown(&element) and is_doubtful(data, offset, end):
                    return -1
                as_explicit[depth] = as_explicit[depth - 1] and not is_unknown(&element)
                as_fragments[depth] = is_fragmented(&element)
                in_item[depth] = False
                depth += 1
        elif element.tag != ITEM:
            return -1
        elif element.length != UNDEFINED:
            if element.length & 1 or element.length > end - offset:
                return -1
            offset += element.length
        elif as_fragments[depth - 1] or depth == STACK:
            return -1
        else:
            as_explicit[depth], as_fragments[depth], in_item[depth] = as_explicit[depth - 1], False, True
            depth += 1
    return offset
