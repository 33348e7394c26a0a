# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""Runs of `_send_run_py` in C, without the interpreter's lock from the first message to the last answer.

Its parts: send_parts.pxi reads a data set's parts and compares what was read with its proof, send_answers.pxi reads
an answer. Here they are put together: the session with one peer.

Offsets are 64-bit and signed; a length from the peer is compared with what is there before it is added.
"""

import os

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from mapdr._fast import _pdata_py, _send_run_py
from mapdr.kernel.proof import damaged, unreadable

include "numbers.pxi"
include "uids.pxi"
include "commands.pxi"
include "pdata.pxi"
include "clock.pxi"
include "digest.pxi"
include "sockets.pxi"
include "reading.pxi"
include "fences.pxi"
include "send_parts.pxi"
include "send_answers.pxi"

cdef enum Ending:  # why the run stands still
    OVER = 0
    UNANSWERED = 1  # the last message was sent; its answer is for the ordinary way
    STUCK = 2       # the socket did not take all that was to go out
    UNREADABLE = 3  # the data set of the next message: see `error`

cdef struct Message:
    const unsigned char *head  # its command set as P-DATA
    int64_t head_length
    int64_t length             # of its data set
    int64_t first              # of its parts, and the number behind the last
    int64_t end
    Expected expected
    int status                 # of its answer
    double seconds             # until then

cdef struct Run:
    int socket
    double until        # seconds of the clock: after that no message is begun
    double began        # when the message that is sent was begun
    int64_t most        # bytes of a PDV's payload
    Message *messages
    int64_t count
    int64_t answered    # messages: the number of the one that is sent
    # What goes out: the buffer of `room` bytes, of which those from `sent` to `used` are to go.
    unsigned char *out
    int64_t room
    int64_t used
    int64_t sent
    int64_t left        # bytes of the message's data set that are not in the buffer yet
    bint packed         # whether none is left
    bint begun          # whether anything of the message went out
    bint early          # whether the peer said something before its last byte went out
    Source source
    int error           # of the source
    # What comes in: the buffer of `space` bytes, of which those from `at` to `end` are not taken.
    unsigned char *into
    int64_t space
    int64_t at
    int64_t end
    int64_t longest     # bytes of the P-DATA that a regular answer is in


cdef inline double seconds_now() noexcept nogil:
    """Seconds of a clock that never goes back."""
    return <double>mapdr_now(0) * 1e-6


cdef void begin_message(Run *run) noexcept nogil:
    """Put the next message's command set into the buffer, as P-DATA."""
    cdef Message *message = &run.messages[run.answered]
    close_file(&run.source)
    memcpy(run.out, message.head, <size_t>message.head_length)
    run.used, run.sent = message.head_length, 0
    run.left = message.length
    run.source.part, run.source.end, run.source.done = message.first, message.end, 0
    run.packed = run.begun = run.early = False


cdef int pack_pdata(Run *run) noexcept nogil:
    """Put as many P-DATA of the message's data set into the buffer as fit whole; 0, or why they cannot be read."""
    cdef unsigned char *to
    cdef int64_t size
    cdef int error
    while not run.packed:
        size = run.left if run.left < run.most else run.most
        if size > run.room - run.used - 12:
            return 0
        to = run.out + run.used
        error = read_parts(&run.source, to + 12, size)
        if error:
            return error
        run.left -= size
        run.packed = run.left == 0
        put_pdata_head(to, size, run.messages[run.answered].expected.context, 2 if run.packed else 0)
        run.used += 12 + size
    return 0


cdef Ending send_message(Run *run) noexcept nogil:
    """Send what is left of the message; OVER when it is out."""
    cdef int64_t went
    while True:
        run.error = pack_pdata(run)
        if run.error:
            return UNREADABLE
        if run.packed and run.begun and run.used > run.sent:
            run.early = run.at < run.end or mapdr_has_input(run.socket)
        run.begun = True
        went = mapdr_send(run.socket, run.out + run.sent, run.used - run.sent)
        if went > 0:
            run.sent += went
        if run.sent != run.used:
            return STUCK
        run.used = run.sent = 0
        if run.packed:
            return OVER


cdef bint take_answer(Run *run) noexcept nogil:
    """Take the message's answer; False, with nothing taken, when it is not regular or not here in time."""
    cdef Message *message = &run.messages[run.answered]
    cdef int64_t size
    cdef unsigned char *fenced
    while True:
        fenced = mapdr_fenced(NULL, run.into + run.at, run.end - run.at)
        size = read_answer(fenced, run.end - run.at, run.longest, &message.expected, &message.status)
        mapdr_unfence(fenced, NULL, 0)
        if size:
            if size < 0:
                return False
            run.at += size
            return True
        if run.at == run.end:
            run.at = run.end = 0
        size = mapdr_receive(run.socket, run.into + run.end, run.space - run.end, run.end > run.at)
        if size <= 0:
            return False
        run.end += size


cdef Ending send_all(Run *run) noexcept nogil:
    """Send messages and take their answers until the run is over, or needs help."""
    cdef Message *message
    cdef Ending ending
    cdef double now
    while True:
        ending = send_message(run)
        if ending != OVER:
            return ending
        message = &run.messages[run.answered]
        if run.early or not take_answer(run):
            return UNANSWERED
        now = seconds_now()
        message.seconds = now - run.began
        run.began = now
        run.answered += 1
        if run.answered == run.count or now >= run.until or run.at < run.end:
            return OVER
        if message.status != 0 and not 0xB000 <= message.status <= 0xBFFF:
            return OVER
        begin_message(run)


cdef class _Messages:
    """The messages of a run as C sees them; keeps alive what it points to."""

    cdef bytearray messages, parts
    cdef list kept_alive, proofs

    def __init__(self, messages, int64_t max_length):
        cdef Message *message
        cdef Part *part
        cdef int64_t number = 0
        self.kept_alive = list(messages)
        self.proofs = []
        self.messages = bytearray(len(self.kept_alive) * sizeof(Message))
        self.parts = bytearray(sum([len(each.parts) for each in messages]) * sizeof(Part))
        message = <Message *>PyByteArray_AS_STRING(self.messages)
        part = <Part *>PyByteArray_AS_STRING(self.parts)
        for context, id_, command, parts, length, sop_class, sop_instance in messages:
            message.length, message.expected.context, message.expected.id = length, context, id_
            head = self.keep(b"".join(_pdata_py._fragments(context, command, max_length)))
            if len(head) > _pdata_py.BUFFER or length < 0:
                raise ValueError("a message's command set or length is none")
            message.head, message.head_length = <const unsigned char *>PyBytes_AS_STRING(head), len(head)
            message.expected.sop_class = <const unsigned char *>PyBytes_AS_STRING(self.keep(sop_class))
            message.expected.sop_instance = <const unsigned char *>PyBytes_AS_STRING(self.keep(sop_instance))
            message.expected.class_length = len(sop_class)
            message.expected.instance_length = len(sop_instance)
            message.first = number
            for each in parts:
                if isinstance(each, bytes):
                    part.data, part.length = <const unsigned char *>PyBytes_AS_STRING(each), len(each)
                else:
                    part.path = PyBytes_AS_STRING(self.keep(os.fsencode(each.path)))
                    part.offset, part.length = each.offset, each.length
                    if part.offset < 0 or part.length < 0:
                        raise ValueError("a slice of a file has a negative offset or length")
                    self.want_proof(part, each.proof, number)
                part += 1
                number += 1
            message.end = number
            message += 1

    cdef want_proof(self, Part *part, proof, int64_t number):
        """Have the part of this number compared with what was received, if that was not done before."""
        if proof is None or proof.proved or not part.length:
            return
        part.proof.offset, part.proof.end = proof.offset, proof.offset + proof.size
        if part.proof.offset < 0 or part.offset < part.proof.offset \
                or part.offset + part.length > part.proof.end or len(proof.digest) != 16:
            raise ValueError("a slice of a file is not within what its proof speaks of")
        memcpy(part.proof.digest, PyBytes_AS_STRING(proof.digest), 16)
        part.proof.wanted = True
        self.proofs.append((number, proof))

    cdef void note_proofs(self):
        """Remember what was compared."""
        cdef Part *parts = <Part *>PyByteArray_AS_STRING(self.parts)
        for number, proof in self.proofs:
            if parts[<int64_t>number].proof.proved:
                proof.proved = True

    cdef bytes keep(self, bytes value):
        self.kept_alive.append(value)
        return value


def send_run(channel, messages, max_length, seconds, answers):
    """As `_send_run_py.send_run`."""
    if not channel._plain or not messages:
        return _send_run_py.send_run(channel, messages, max_length, seconds, answers)
    cdef Run run
    cdef Ending ending
    cdef _Messages all_ = _Messages(messages, max_length)
    if not channel._out:
        channel._out = bytearray(_pdata_py.BUFFER)
    cdef unsigned char[::1] out = channel._out
    cdef unsigned char[::1] into = channel._buffer
    run.socket = channel._sock.fileno()
    run.most = (min(max_length, len(channel._out) - 6) - 6) & ~1
    run.messages = <Message *>PyByteArray_AS_STRING(all_.messages)
    run.source.parts = <Part *>PyByteArray_AS_STRING(all_.parts)
    run.count, run.answered, run.source.file, run.error = len(messages), 0, -1, 0
    run.out, run.room = &out[0], out.shape[0]
    run.into, run.space = &into[0], into.shape[0]
    run.longest = _send_run_py.longest_answer(channel)
    run.at, run.end = channel._at, channel._end
    run.source.hash = XXH3_createState()
    if run.source.hash == NULL:
        raise MemoryError
    run.began = seconds_now()
    run.until = run.began + <double>seconds
    begin_message(&run)
    try:
        while True:
            with nogil:
                ending = send_all(&run)
            if ending != STUCK:
                break
            channel._unfinished = True
            channel.send(memoryview(channel._out)[run.sent:run.used])
            run.sent = run.used
            if not run.packed:
                run.used = run.sent = 0
    finally:
        close_file(&run.source)
        XXH3_freeState(run.source.hash)
        all_.note_proofs()
        channel._at, channel._end = run.at, run.end
        for number in range(run.answered):
            answers.append((run.messages[number].status, run.messages[number].seconds))
    channel._unfinished = ending == UNREADABLE and run.begun
    channel._spoke_early = ending == UNANSWERED and run.early
    if ending == UNREADABLE:
        if run.error == DAMAGED:
            raise damaged()
        parts = messages[run.answered].parts
        number = run.source.part - run.messages[run.answered].first
        # Beyond the last one, where the message is longer than its parts, no file is at fault.
        proof = parts[number].proof if number < len(parts) else None
        if run.error < 0:
            raise unreadable(EOFError("a payload's file ended early"), proof)
        raise unreadable(OSError(run.error, os.strerror(run.error)), proof)
    return ending == UNANSWERED
