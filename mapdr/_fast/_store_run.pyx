# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The run of `_store_run_py` in C, without the interpreter's lock from its first message to its last answer.

Offsets are 64-bit and signed; a length from the peer is compared with what is there before it is added.
"""

import os

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcpy

from mapdr._fast import _pdata_py, _store_run_py

include "network.pxi"
include "fences.pxi"

cdef extern from *:
    """
    #ifdef _WIN32
    /* Not called there: the sockets of Windows have no time-out that this could rely on. */
    #define MAPDR_NEVER { return -1; }
    static int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) MAPDR_NEVER
    static int64_t mapdr_recv(int socket, unsigned char *to, int64_t size, int quick) MAPDR_NEVER
    static int mapdr_open(const char *path) MAPDR_NEVER
    static int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) MAPDR_NEVER
    static void mapdr_close(int file) {}
    static double mapdr_now(void) MAPDR_NEVER
    #else
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>
    #include <time.h>
    #include <unistd.h>
    /* One write; -1 for any trouble, which the next attempt will meet again. */
    static int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) {
        return send(socket, data, (size_t)size, 0);
    }
    /* One read; `quick`: acknowledge what came, for a peer with Nagle's algorithm waits for that. */
    static int64_t mapdr_recv(int socket, unsigned char *to, int64_t size, int quick) {
    #ifdef TCP_QUICKACK
        int one = 1;
        if (quick) setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    #endif
        return recv(socket, to, (size_t)size, 0);
    }
    /* A descriptor; or the error's number, negative. */
    static int mapdr_open(const char *path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        return file < 0 ? -errno : file;
    }
    /* 0; the error's number; or -1 when the file ends early. */
    static int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) {
        while (size > 0) {
            ssize_t got = pread(file, to, (size_t)size, (off_t)offset);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return got ? errno : -1;
            to += got; offset += got; size -= got;
        }
        return 0;
    }
    static void mapdr_close(int file) { close(file); }
    static double mapdr_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
    }
    #endif
    """
    int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) noexcept nogil
    int64_t mapdr_recv(int socket, unsigned char *to, int64_t size, int quick) noexcept nogil
    int mapdr_open(const char *path) noexcept nogil
    int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) noexcept nogil
    void mapdr_close(int file) noexcept nogil
    double mapdr_now() noexcept nogil

cdef enum Stop:
    OVER = 0
    UNANSWERED = 1
    STUCK = 2
    UNREADABLE = 3

cdef struct Piece:
    # Bytes at `data`; or, where that is NULL, those of the file `path` from `offset`.
    const unsigned char *data
    const char *path
    int64_t offset
    int64_t length

cdef struct Letter:
    int context
    int id
    const unsigned char *head
    int64_t head_length
    int64_t length
    int64_t first
    int64_t end
    int status
    double seconds

cdef struct Run:
    int socket
    double until
    double began
    int64_t most
    Letter *letters
    int64_t count
    int64_t answered
    # What goes out: the buffer, and how much of the letter is not in it yet.
    unsigned char *out
    int64_t room
    int64_t used
    int64_t sent
    int64_t left
    bint packed
    bint begun
    Piece *pieces
    int64_t piece
    int64_t done
    int file
    int error
    # What comes in.
    unsigned char *into
    int64_t space
    int64_t at
    int64_t end
    int64_t longest


cdef int fill(Run *run, unsigned char *to, int64_t size) noexcept nogil:
    """The next `size` bytes of the letter's pieces: 0, the error's number, or -1 when they end early."""
    cdef Piece *piece
    cdef int64_t some
    cdef int error
    while size:
        if run.piece == run.letters[run.answered].end:
            return -1
        piece = &run.pieces[run.piece]
        some = piece.length - run.done
        if some > size:
            some = size
        if piece.data != NULL:
            memcpy(to, piece.data + run.done, <size_t>some)
        elif some:
            if run.file < 0:
                run.file = mapdr_open(piece.path)
                if run.file < 0:
                    return -run.file
            error = mapdr_pread(run.file, to, some, piece.offset + run.done)
            if error:
                return error
        to += some
        size -= some
        run.done += some
        if run.done == piece.length:
            shut(run)
            run.piece += 1
            run.done = 0
    return 0


cdef void shut(Run *run) noexcept nogil:
    if run.file >= 0:
        mapdr_close(run.file)
    run.file = -1


cdef void begin(Run *run) noexcept nogil:
    """Put the next letter's command set into the buffer, as P-DATA."""
    cdef Letter *letter = &run.letters[run.answered]
    shut(run)
    memcpy(run.out, letter.head, <size_t>letter.head_length)
    run.used, run.sent = letter.head_length, 0
    run.left, run.piece, run.done = letter.length, letter.first, 0
    run.packed = run.begun = False


cdef int pack(Run *run) noexcept nogil:
    """Put as many P-DATA of the letter's data set into the buffer as fit whole; 0, or why they cannot be read."""
    cdef unsigned char *to
    cdef int64_t size
    cdef int error
    while not run.packed:
        size = run.left if run.left < run.most else run.most
        if size > run.room - run.used - 12:
            return 0
        to = run.out + run.used
        error = fill(run, to + 12, size)
        if error:
            return error
        run.left -= size
        run.packed = run.left == 0
        to[0], to[1] = 4, 0
        put_net32(to + 2, <uint32_t>(size + 6))
        put_net32(to + 6, <uint32_t>(size + 2))
        to[10] = <unsigned char>run.letters[run.answered].context
        to[11] = 2 if run.packed else 0
        run.used += 12 + size
    return 0


cdef Stop send(Run *run) noexcept nogil:
    """Send what is left of the letter; OVER when it is out."""
    cdef int64_t went
    while True:
        run.error = pack(run)
        if run.error:
            return UNREADABLE
        run.begun = True
        went = mapdr_send(run.socket, run.out + run.sent, run.used - run.sent)
        if went > 0:
            run.sent += went
        if run.sent != run.used:
            return STUCK
        run.used = run.sent = 0
        if run.packed:
            return OVER


cdef int status_of(const unsigned char *data, int64_t left, int id) noexcept nogil:
    """The status in the command set of a regular answer, -1 for any other."""
    cdef int seen = 0, bit, value, status = -1
    cdef uint32_t length, element
    while left >= 8:
        if data[0] or data[1]:
            return -1
        element = <uint32_t>data[2] | (<uint32_t>data[3] << 8)
        length = <uint32_t>data[4] | (<uint32_t>data[5] << 8) | (<uint32_t>data[6] << 16) | (<uint32_t>data[7] << 24)
        data += 8
        left -= 8
        if length > left or element == 0x0902:
            return -1
        bit = 1 if element == 0x0100 else 2 if element == 0x0120 else 4 if element == 0x0800 else 0
        if element == 0x0900:
            bit = 8
        if bit:
            if length != 2 or seen & bit:
                return -1
            seen |= bit
            value = <int>data[0] | (<int>data[1] << 8)
            if bit == 8:
                status = value
            elif value != (0x8001 if bit == 1 else id if bit == 2 else 0x0101):
                return -1
        data += length
        left -= length
    return status if seen == 15 and left == 0 else -1


cdef int64_t examine(const unsigned char *data, int64_t size, int64_t longest, Letter *letter) noexcept nogil:
    """The size of the regular answer at `data`, its status put into `letter`; 0 if more bytes may make it one, or -1."""
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
    if net32(data + 6) != length - 4 or data[10] != letter.context or data[11] & 3 != 3:
        return -1
    letter.status = status_of(data + 12, <int64_t>length - 6, letter.id)
    return -1 if letter.status < 0 else 6 + <int64_t>length


cdef bint take_answer(Run *run) noexcept nogil:
    """Take the letter's answer; False, with nothing taken, when it is not regular or not here in time."""
    cdef int64_t size
    cdef unsigned char *fenced
    while True:
        fenced = mapdr_fenced(NULL, run.into + run.at, run.end - run.at)
        size = examine(fenced, run.end - run.at, run.longest, &run.letters[run.answered])
        mapdr_unfence(fenced, NULL, 0)
        if size:
            if size < 0:
                return False
            run.at += size
            return True
        if run.at == run.end:
            run.at = run.end = 0
        size = mapdr_recv(run.socket, run.into + run.end, run.space - run.end, run.end > run.at)
        if size <= 0:
            return False
        run.end += size


cdef Stop go(Run *run) noexcept nogil:
    """Send letters and take their answers until the run is over, or needs help."""
    cdef Letter *letter
    cdef Stop stop
    cdef double now
    while True:
        stop = send(run)
        if stop != OVER:
            return stop
        letter = &run.letters[run.answered]
        if not take_answer(run):
            return UNANSWERED
        now = mapdr_now()
        letter.seconds = now - run.began
        run.began = now
        run.answered += 1
        if run.answered == run.count or now >= run.until:
            return OVER
        if letter.status != 0 and not 0xB000 <= letter.status <= 0xBFFF:
            return OVER
        begin(run)


cdef class _Letters:
    """The messages of a run as C sees them; keeps alive what it points to."""

    cdef bytearray letters, pieces
    cdef list kept

    def __init__(self, messages, int64_t max_length):
        cdef Letter *letter
        cdef Piece *piece
        cdef int64_t number = 0
        self.kept = list(messages)
        self.letters = bytearray(len(self.kept) * sizeof(Letter))
        self.pieces = bytearray(sum([len(message.parts) for message in messages]) * sizeof(Piece))
        letter = <Letter *>PyByteArray_AS_STRING(self.letters)
        piece = <Piece *>PyByteArray_AS_STRING(self.pieces)
        for context, id_, command, parts, length in messages:
            letter.context, letter.id, letter.length = context, id_, length
            head = self.keep(b"".join(_pdata_py._fragments(context, command, max_length)))
            if len(head) > _pdata_py.BUFFER or length < 0:
                raise ValueError("a message's command set or length is none")
            letter.head, letter.head_length = <const unsigned char *>PyBytes_AS_STRING(head), len(head)
            letter.first = number
            for part in parts:
                if isinstance(part, bytes):
                    piece.data, piece.length = <const unsigned char *>PyBytes_AS_STRING(part), len(part)
                else:
                    piece.path = PyBytes_AS_STRING(self.keep(os.fsencode(part.path)))
                    piece.offset, piece.length = part.offset, part.length
                    if piece.offset < 0 or piece.length < 0:
                        raise ValueError("a slice of a file has a negative offset or length")
                piece += 1
                number += 1
            letter.end = number
            letter += 1

    cdef bytes keep(self, bytes value):
        self.kept.append(value)
        return value


def store_run(channel, messages, max_length, seconds, answers):
    """As `_store_run_py.store_run`."""
    if not channel._plain or not messages:
        return _store_run_py.store_run(channel, messages, max_length, seconds, answers)
    cdef Run run
    cdef Stop stop
    cdef Letter *letters
    cdef int64_t told = 0
    cdef _Letters all_ = _Letters(messages, max_length)
    if not channel._out:
        channel._out = bytearray(_pdata_py.BUFFER)
    cdef unsigned char[::1] out = channel._out
    cdef unsigned char[::1] into = channel._buffer
    run.socket = channel._sock.fileno()
    run.most = (min(max_length, len(channel._out) - 6) - 6) & ~1
    run.letters = letters = <Letter *>PyByteArray_AS_STRING(all_.letters)
    run.pieces = <Piece *>PyByteArray_AS_STRING(all_.pieces)
    run.count, run.answered, run.file, run.error = len(messages), 0, -1, 0
    run.out, run.room = &out[0], out.shape[0]
    run.into, run.space = &into[0], into.shape[0]
    run.longest = _store_run_py.longest_answer(channel)
    run.at, run.end = channel._at, channel._end
    run.began = mapdr_now()
    run.until = run.began + <double>seconds
    begin(&run)
    try:
        while True:
            with nogil:
                stop = go(&run)
            if stop != STUCK:
                break
            channel._unfinished = True
            channel.send(memoryview(channel._out)[run.sent:run.used])
            run.sent = run.used
            if not run.packed:
                run.used = run.sent = 0
    finally:
        shut(&run)
        channel._at, channel._end = run.at, run.end
        for number in range(run.answered):
            answers.append((letters[number].status, letters[number].seconds))
    channel._unfinished = stop == UNREADABLE and run.begun
    if stop == UNREADABLE:
        if run.error < 0:
            raise EOFError("a payload's file ended early")
        raise OSError(run.error, os.strerror(run.error))
    return stop == UNANSWERED
