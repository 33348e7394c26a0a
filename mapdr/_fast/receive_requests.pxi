# The C-STORE requests of a run and their responses, in C: what stands in the receive buffer, and what goes out.
#
# Needs numbers.pxi, pdata.pxi, commands.pxi and uids.pxi.

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memmove

DEF EMPTY = 1000            # mapdr._fast.pdata_signals.MAX_EMPTY
DEF COMMAND = 1024          # bytes of the longest command set of a run; a regular one stays under 300
DEF RESPONSE = 512          # bytes that the longest response fits into: two UIDs and some numbers

cdef struct Request:  # a C-STORE-RQ with its data set; offsets into the buffer
    int64_t command
    int command_length
    int64_t end
    int64_t data
    int64_t data_length  # of its first PDV
    int64_t size         # of all of them
    int64_t second       # where the header behind the first PDV begins
    int64_t pdu_left     # of the PDU around the first PDV
    int context
    int number           # Message ID
    const unsigned char *uid        # SOP Instance UID, as received
    int uid_length
    const unsigned char *sop_class  # SOP Class UID, as received
    int class_length


cdef inline Outcome whole_pdv(const unsigned char *data, int64_t end, int64_t max_length, int64_t *at,
                              int64_t *pdu_left, int context, int *control, int64_t *length) noexcept nogil:
    """As `pdv_head`, but WHOLE only if the payload is here as well."""
    cdef Outcome found = pdv_head(data, end, max_length, at, pdu_left, context, control, length)
    return MORE if found == WHOLE and end - at[0] < length[0] else found


cdef Outcome read_request(const unsigned char *data, int64_t at, int64_t end, int64_t room, int64_t max_length,
                          Request *request) noexcept nogil:
    """Whether a whole C-STORE-RQ with its data set stands at `at`; nothing is changed.

    `room`: bytes of the buffer, which it has to fit into; `max_length`: of a PDU.
    """
    cdef int64_t begin = at, pdu_left = 0, length = 0
    cdef int control = 0, empty = 0
    cdef Outcome found = whole_pdv(data, end, max_length, &at, &pdu_left, -1, &control, &length)
    if found != WHOLE:
        return found
    if control & 3 != 3 or length > COMMAND:
        return ODD
    request.context = control >> 8
    request.command, request.command_length = at, <int>length
    if not read_command(data + at, length, request):
        return ODD
    at += length
    request.size = 0
    request.data = -1
    control = 0
    while not control & 2:
        length = 0
        found = whole_pdv(data, end, max_length, &at, &pdu_left, request.context, &control, &length)
        if at - begin + length > room:
            return ODD
        if found != WHOLE:
            return found
        if control & 1:
            return ODD
        empty += length == 0 and not control & 2
        if empty > EMPTY:
            return ODD
        at += length
        request.size += length
        if request.data < 0:
            request.data, request.data_length = at - length, length
            request.second, request.pdu_left = at, pdu_left
    if pdu_left:
        return ODD
    request.end = at
    return WHOLE


cdef bint read_command(const unsigned char *data, int64_t left, Request *request) noexcept nogil:
    """Take a regular C-STORE-RQ apart (PS3.7, table 9.3-1); False for any other command set."""
    cdef uint32_t length, element
    cdef int64_t last = -1
    cdef bint store = False, with_data = False
    request.number = -1
    request.uid_length = request.class_length = 0
    while left >= 8:
        if not command_element(data, left, &element, &length) or length & 1 or element <= last:
            return False
        last = element
        data += 8
        if element == 0x0002:
            request.sop_class, request.class_length = data, <int>length
        elif element == 0x1000:
            request.uid, request.uid_length = data, <int>length
        elif element == 0x0100 or element == 0x0110 or element == 0x0800:
            if length != 2:
                return False
            if element == 0x0100:
                store = u16(data) == 0x0001
            elif element == 0x0110:
                request.number = <int>u16(data)
            else:
                with_data = u16(data) != 0x0101
        data += length
        left -= 8 + <int64_t>length
    return left == 0 and store and with_data and request.number >= 0 and 0 < request.class_length <= UID \
        and 0 < request.uid_length <= UID


cdef void join_pdvs(unsigned char *data, int64_t max_length, const Request *request) noexcept nogil:
    """Close the gaps between the PDVs of a data set that `read_request` found whole."""
    cdef int64_t at = request.second, target = request.data + request.data_length
    cdef int64_t pdu_left = request.pdu_left, length = 0
    cdef int control = 0
    while at < request.end:
        pdv_head(data, request.end, max_length, &at, &pdu_left, request.context, &control, &length)
        memmove(data + target, data + at, <size_t>length)
        target += length
        at += length


cdef int64_t put_response(unsigned char *out, const Request *request) noexcept nogil:
    """A C-STORE-RSP with Success in a P-DATA of its own (PS3.7, table 9.3-2); its length."""
    cdef unsigned char group_length[4]
    cdef unsigned char *at = out + 24
    at = put_command_element(at, 0x0002, request.sop_class, request.class_length)
    at = put_command_number(at, 0x0100, 0x8001)
    at = put_command_number(at, 0x0120, request.number)
    at = put_command_number(at, 0x0800, 0x0101)
    at = put_command_number(at, 0x0900, 0x0000)
    at = put_command_element(at, 0x1000, request.uid, request.uid_length)
    put_u32(group_length, <uint32_t>(at - out - 24))
    put_command_element(out + 12, 0x0000, group_length, 4)
    put_pdata_head(out, at - out - 12, request.context, 3)
    return at - out
