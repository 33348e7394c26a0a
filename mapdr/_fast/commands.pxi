# Elements of command sets, in C: implicit VR little endian, group 0000 (PS3.7, section 6.3.1). Needs numbers.pxi.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy


cdef inline bint command_element(const unsigned char *data, int64_t left, uint32_t *element,
                                 uint32_t *length) noexcept nogil:
    """Read the element head at `data`, of which `left` bytes (at least 8) are there.

    False if it is not of group 0000, or its value, which begins at `data + 8`, is not there whole.
    """
    if data[0] or data[1]:
        return False
    element[0] = u16(data + 2)
    length[0] = u32(data + 4)
    return length[0] <= left - 8


cdef inline unsigned char *put_command_element(unsigned char *at, uint32_t element, const unsigned char *value,
                                               uint32_t length) noexcept nogil:
    """Write an element; where the next begins."""
    put_u16(at, 0x0000)
    put_u16(at + 2, element)
    put_u32(at + 4, length)
    memcpy(at + 8, value, length)
    return at + 8 + length


cdef inline unsigned char *put_command_number(unsigned char *at, uint32_t element, uint32_t value) noexcept nogil:
    """Write an element of VR US; where the next begins."""
    cdef unsigned char two[2]
    put_u16(two, value)
    return put_command_element(at, element, two, 2)
