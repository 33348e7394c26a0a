# UIDs as they stand in command sets and data sets, in C (PS3.5, section 9.1). Needs nothing.

from libc.stdint cimport int64_t

DEF UID = 64                # bytes of the longest UID


cdef inline int64_t unpadded(const unsigned char *text, int64_t length) noexcept nogil:
    """The length of a UID without its padding: NUL, or blanks as some peers write them."""
    while length > 0 and (text[length - 1] == 0 or text[length - 1] == c" "):
        length -= 1
    return length


cdef inline int plain_uid(const unsigned char *text, int64_t length) noexcept nogil:
    """The length of a UID without its padding; 0 if it is empty, too long, or not of digits and dots."""
    cdef int64_t at
    length = unpadded(text, length)
    if length > UID:
        return 0
    for at in range(length):
        if not (c"0" <= text[at] <= c"9" or text[at] == c"."):
            return 0
    return <int>length
