# The answers to the messages of a run, in C: C-STORE responses (PS3.7, table 9.3-2), regular as `_send_run_py` says.
#
# Needs numbers.pxi, uids.pxi and commands.pxi.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp

cdef struct Expected:  # what an answer has to be about, and may name; the UIDs without padding
    int context
    int id             # Message ID
    const unsigned char *sop_class
    int64_t class_length
    const unsigned char *sop_instance
    int64_t instance_length


cdef bint names(const unsigned char *data, int64_t size, const unsigned char *uid, int64_t length) noexcept nogil:
    """Whether a UID's value, padded or empty, is `uid` or nothing."""
    size = unpadded(data, size)
    return size == 0 or (size == length and memcmp(data, uid, <size_t>size) == 0)


cdef int status_of(const unsigned char *data, int64_t left, const Expected *expected) noexcept nogil:
    """The status in the command set of a regular answer, -1 for any other."""
    cdef int seen = 0, bit, value, status = -1
    cdef uint32_t length, element
    while left >= 8:
        if not command_element(data, left, &element, &length) or element == 0x0902:
            return -1
        data += 8
        left -= 8
        bit = 1 if element == 0x0100 else 2 if element == 0x0120 else 4 if element == 0x0800 else 0
        if element == 0x0900:
            bit = 8
        if element == 0x0002 or element == 0x1000:
            bit = 16 if element == 0x0002 else 32
            if seen & bit:
                return -1
            seen |= bit
            if not (names(data, length, expected.sop_class, expected.class_length) if bit == 16
                    else names(data, length, expected.sop_instance, expected.instance_length)):
                return -1
        elif bit:
            if length != 2 or seen & bit:
                return -1
            seen |= bit
            value = <int>u16(data)
            if bit == 8:
                status = value
            elif value != (0x8001 if bit == 1 else expected.id if bit == 2 else 0x0101):
                return -1
        data += length
        left -= length
    return status if seen & 15 == 15 and left == 0 else -1


cdef int64_t read_answer(const unsigned char *data, int64_t size, int64_t longest, const Expected *expected,
                         int *status) noexcept nogil:
    """The size of the regular answer at `data`, of which `size` bytes are here, and its `status`.

    0 if more bytes may make it one; -1 if it is none, or longer than `longest` (of its P-DATA).
    """
    cdef uint32_t length
    if size and data[0] != 4:
        return -1
    if size < 6:
        return 0
    length = net32(data + 2)
    if length < 6 or length > longest:
        return -1
    if size - 6 < length:
        return 0
    if net32(data + 6) != length - 4 or data[10] != expected.context or data[11] & 3 != 3:
        return -1
    status[0] = status_of(data + 12, <int64_t>length - 6, expected)
    return -1 if status[0] < 0 else 6 + <int64_t>length
