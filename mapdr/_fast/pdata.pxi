# The headers of P-DATA-TF PDUs and of their PDVs, in C (PS3.8, sections 9.3.5 and E.2): one reader and one writer.
#
# Needs numbers.pxi. Offsets are 64-bit and signed; a length from the peer is compared with what is there before
# it is added.

from libc.stdint cimport int64_t, uint32_t

cdef enum Outcome:  # of reading something that a peer sends in pieces
    WHOLE = 0
    MORE = 1        # it may be regular once more bytes have come
    ODD = 2         # it is not regular


cdef inline Outcome pdv_head(const unsigned char *data, int64_t end, int64_t max_length, int64_t *at,
                             int64_t *pdu_left, int context, int *control, int64_t *length) noexcept nogil:
    """Read the header of the next PDV, and of the P-DATA around it if one begins (`pdu_left` is 0).

    `end`: where the bytes end that are here; `max_length`: of a PDU; `context`: the presentation context that it
    has to have, below 0 for any. WHOLE: `at` is at the payload, `length` its length, `control` the message control
    header with the context id in bits 8 to 15, `pdu_left` what the PDU holds behind this PDV. Otherwise what `at`
    and `pdu_left` point to is of no use any more.
    """
    cdef uint32_t size
    if pdu_left[0] == 0:
        if end - at[0] < 6:
            return MORE
        if data[at[0]] != 4:
            return ODD
        size = net32(data + at[0] + 2)
        if size < 6 or size > max_length:
            return ODD
        pdu_left[0] = size
        at[0] += 6
    if pdu_left[0] < 6:
        return ODD
    if end - at[0] < 6:
        return MORE
    size = net32(data + at[0])
    if size < 2 or size > pdu_left[0] - 4:
        return ODD
    if context >= 0 and data[at[0] + 4] != context:
        return ODD
    control[0] = data[at[0] + 5] | <int>data[at[0] + 4] << 8
    length[0] = <int64_t>size - 2
    pdu_left[0] -= 4 + <int64_t>size
    at[0] += 6
    return WHOLE


cdef inline void put_pdata_head(unsigned char *at, int64_t size, int context, int control) noexcept nogil:
    """The 12 bytes before `size` bytes that are the one PDV of a P-DATA-TF PDU."""
    at[0], at[1] = 4, 0
    put_net32(at + 2, <uint32_t>(size + 6))
    put_net32(at + 6, <uint32_t>(size + 2))
    at[10], at[11] = <unsigned char>context, <unsigned char>control
