# 16- and 32-bit numbers in little endian, as data sets and command sets have them (PS3.5, section 7.3), and in
# network byte order, as PDUs and PDVs have them (PS3.8, section 9.3.1). Needs nothing.

from libc.stdint cimport uint32_t


cdef inline uint32_t u16(const unsigned char *at) noexcept nogil:
    return <uint32_t>at[0] | (<uint32_t>at[1] << 8)


cdef inline uint32_t u32(const unsigned char *at) noexcept nogil:
    return <uint32_t>at[0] | (<uint32_t>at[1] << 8) | (<uint32_t>at[2] << 16) | (<uint32_t>at[3] << 24)


cdef inline void put_u16(unsigned char *at, uint32_t value) noexcept nogil:
    at[0], at[1] = <unsigned char>value, <unsigned char>(value >> 8)


cdef inline void put_u32(unsigned char *at, uint32_t value) noexcept nogil:
    put_u16(at, value)
    put_u16(at + 2, value >> 16)


cdef inline uint32_t net32(const unsigned char *at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | <uint32_t>at[3]


cdef inline void put_net32(unsigned char *at, uint32_t value) noexcept nogil:
    at[0] = <unsigned char>(value >> 24)
    at[1] = <unsigned char>(value >> 16)
    at[2] = <unsigned char>(value >> 8)
    at[3] = <unsigned char>value
