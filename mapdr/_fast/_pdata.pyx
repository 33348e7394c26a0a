# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The P-DATA path of `_pdata_py` with its loops over PDVs in C, without the GIL.

Only what runs once a PDV is here: taking data sets out of their PDVs, and putting payloads into PDVs. All
else, and everything irregular, is the reference's: it is inherited.
"""

import os

from libc.stdint cimport int64_t
from libc.string cimport memmove

from mapdr._fast import _pdata_py
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.proof import unreadable

include "numbers.pxi"
include "pdata.pxi"
include "sockets.pxi"
include "reading.pxi"
include "fences.pxi"

BACKEND = "cython"

cdef enum Unwrapped:
    DONE = 0
    SHORT = 1
    HEADER = 2
    EMPTY = 3

cdef struct Stream:
    int64_t at
    int64_t end
    int64_t target
    int64_t pdu_left
    int64_t pdv_left
    int64_t max_receive
    int64_t empty
    int64_t max_empty
    int context
    bint last
    bint begun


cdef Unwrapped unwrap(unsigned char *data, Stream *s) noexcept nogil:
    """Close the gaps between the payloads of the PDVs that are here, up to the data set's end (DONE).

    SHORT: more of a payload is to come. HEADER: the next header is not whole, or not what a data set goes on
    with; nothing of it is taken. EMPTY: one more PDV without a byte than may be.
    """
    cdef int64_t size, pdu_left, at, length
    cdef int control
    while True:
        if s.pdv_left == 0:
            at, pdu_left = s.at, s.pdu_left
            if pdv_head(data, s.end, s.max_receive, &at, &pdu_left, s.context, &control, &length) != WHOLE \
                    or control & 1:
                return HEADER
            s.begun = True
            s.last = control & 2 != 0
            s.pdu_left, s.pdv_left, s.at = pdu_left, length, at
            if s.pdv_left == 0 and not s.last:
                s.empty += 1
                if s.empty > s.max_empty:
                    return EMPTY
        size = s.end - s.at
        if size > s.pdv_left:
            size = s.pdv_left
        if size and s.target != s.at:
            memmove(data + s.target, data + s.at, <size_t>size)
        s.target += size
        s.at += size
        s.pdv_left -= size
        if s.pdv_left:
            return SHORT
        if s.last:
            return DONE


cdef void wrap(unsigned char *data, int64_t pdus, int64_t size, int64_t most, int context, bint final) noexcept nogil:
    """Spread `size` bytes that stand behind the room for `pdus` headers over as many P-DATA of one PDV."""
    cdef unsigned char *source = data + 12 * pdus
    cdef int64_t piece
    while pdus:
        piece = size if size < most else most
        memmove(data + 12, source, <size_t>piece)
        put_pdata_head(data, piece, context, 2 if final and pdus == 1 else 0)
        data += 12 + piece
        source += piece
        size -= piece
        pdus -= 1


class Channel(_pdata_py.Channel):
    """As `_pdata_py.Channel`."""

    def read_data(self, context, write):
        """As `_pdata_py.Channel.read_data`."""
        cdef Stream s
        cdef unsigned char[::1] data
        cdef unsigned char *fenced
        cdef int64_t base, total = 0
        cdef Unwrapped stop
        s.max_receive, s.context, s.last = self._max_receive, context, self._pdv_last
        s.empty, s.max_empty = 0, _pdata_py.MAX_EMPTY
        while True:
            data = self._buffer
            s.at, s.end = self._at, self._end
            s.pdu_left, s.pdv_left = self._pdu_left, self._pdv_left
            base = s.target = s.at
            s.begun = False
            if s.at < s.end:
                fenced = mapdr_fenced(NULL, &data[0], s.end)
                with nogil:
                    stop = unwrap(fenced, &s)
                mapdr_unfence(fenced, &data[0], s.end)
            else:
                stop = SHORT if s.pdv_left else HEADER
            self._at, self._pdu_left, self._pdv_left, self._pdv_last = s.at, s.pdu_left, s.pdv_left, s.last
            if s.begun:
                self._pdv_command, self._pdv_context = False, context
            if s.target > base:
                total += s.target - base
                write(self._view[base:s.target])
            if stop == DONE:
                return total
            if stop == SHORT:
                self._receive()
                continue
            if stop == EMPTY:
                raise RemoteProtocolError(_pdata_py.TOO_MANY_EMPTY, abort_reason=6)
            self._begin_pdv()
            if self._pdv_command:
                raise RemoteProtocolError("a command set came inside a data set", abort_reason=5)
            if self._pdv_context != context:
                raise RemoteProtocolError("a data set changes its presentation context", abort_reason=5)
            s.last = self._pdv_last
            if not self._pdv_left:
                if self._pdv_last:
                    return total
                s.empty += 1
                if s.empty > s.max_empty:
                    raise RemoteProtocolError(_pdata_py.TOO_MANY_EMPTY, abort_reason=6)

    def send_message(self, context, command, parts, length, max_length, pace=None):
        """As `_pdata_py.Channel.send_message`."""
        if self._plain and pace is None and len(command) + length + 24 <= _pdata_py.BUFFER:
            if max(len(command), length) + 6 <= max_length:
                return self._send_whole(context, command, parts, length)
        cdef unsigned char[::1] data
        cdef int64_t used = 0, left = length, most, fit, size, pdus
        cdef int number = context
        cdef bint final
        out = self._out
        if not out:
            out = self._out = bytearray(_pdata_py.BUFFER)
        view = memoryview(out)
        data = out
        source = _pdata_py._Source(parts)
        try:
            for fragment in _pdata_py._fragments(context, command, max_length):
                view[used:used + len(fragment)] = fragment
                used += len(fragment)
            most = (min(max_length, len(out) - 6) - 6) & ~1
            while True:
                fit = (len(out) - used) // (12 + most)
                if not fit and left > len(out) - used - 12:
                    if pace is not None:
                        pace(used)
                    self._unfinished = True
                    self.send(view[:used])
                    used = 0
                    continue
                pdus = min(max(fit, 1), (left + most - 1) // most) or 1
                size = min(left, pdus * most)
                left -= size
                final = left == 0
                source.fill(view[used + 12 * pdus:used + 12 * pdus + size])
                with nogil:
                    wrap(&data[used], pdus, size, most, number, final)
                used += 12 * pdus + size
                if final:
                    if pace is not None:
                        pace(used)
                    self._spoke_early = self._unfinished and self.readable
                    self.send(view[:used])
                    self._unfinished = False
                    return
        finally:
            source.close()

    def _send_whole(self, context, command, parts, length):
        """`send_message` for what fits into the buffer as one PDU: its last file is read and all sent at once."""
        cdef unsigned char[::1] data
        cdef int64_t used, at, end, offset = 0, size = 0, sent = 0, whole = length
        cdef int error = 0, number = context, socket = self._sock.fileno()
        cdef const char *name = NULL
        self._spoke_early = False
        out = self._out
        if not out:
            out = self._out = bytearray(_pdata_py.BUFFER)
        data = out
        view = memoryview(out)
        head = _pdata_py._fragments(context, command, len(command) + 7)[0]
        used = len(head)
        view[:used] = head
        used += 12
        end = at = used
        used += length
        path = proof = None
        for part in parts:
            if not (len(part) if isinstance(part, bytes) else part.length):
                continue
            if path is not None:
                read(path, offset, &data[at], size, proof)
                path = None
            at = end
            size = len(part) if isinstance(part, bytes) else part.length
            if not 0 <= size <= used - end:
                raise ValueError("a payload's parts are longer than its length")
            end += size
            if isinstance(part, bytes):
                view[at:end] = part
            else:
                if part.proof is not None:
                    part.proof.check()
                path, offset, proof = os.fsencode(part.path), part.offset, part.proof
        if end != used:
            raise EOFError(f"a payload's parts ended {used - end} bytes early")
        if path is not None:
            name = path
        with nogil:
            if name:
                error = read_at(name, offset, &data[at], size)
            if not error:
                wrap(&data[used - whole - 12], 1, whole, whole, number, True)
                sent = mapdr_send(socket, &data[0], used)
        if error:
            fail(error, path, proof)
        if sent != used:
            self._unfinished = True
            self.send(view[max(sent, 0):used])
        self._unfinished = False


cdef int read_at(const char *path, int64_t offset, unsigned char *to, int64_t size) noexcept nogil:
    """Read `size` bytes of a file: 0; the error's number; or -1 when the file ends early."""
    cdef int file = mapdr_open(path), error
    if file < 0:
        return -file
    error = mapdr_pread(file, to, size, offset)
    mapdr_close(file)
    return error


cdef read(bytes path, int64_t offset, unsigned char *to, int64_t size, proof):
    """Read `size` bytes of a file. Raises OSError, EOFError, Permanent; see `mapdr.kernel.proof.unreadable`."""
    cdef const char *name = path
    cdef int error
    with nogil:
        error = read_at(name, offset, to, size)
    if error:
        fail(error, path, proof)


cdef fail(int error, bytes path, proof):
    if error < 0:
        raise unreadable(EOFError("a payload's file ended early"), proof)
    raise unreadable(OSError(error, os.strerror(error), os.fsdecode(path)), proof)
