# 32-bit numbers in network byte order, as PDUs and PDVs have them (PS3.8, section 9.3.1).

from libc.stdint cimport uint32_t


cdef inline uint32_t net32(const unsigned char *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | <uint32_t>at[3]


cdef inline void put_net32(unsigned char *at, uint32_t value) noexcept nogil:
    at[0] = <unsigned char>(value >> 24)
    at[1] = <unsigned char>(value >> 16)
    at[2] = <unsigned char>(value >> 8)
    at[3] = <unsigned char>value
