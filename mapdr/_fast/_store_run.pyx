# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The run of `_store_run_py` in C, without the interpreter's lock from its first message to its last answer.

Offsets are 64-bit and signed; a length from the peer is compared with what is there before it is added.
"""

import os

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp, memcpy

from mapdr._fast import _pdata_py, _store_run_py
from mapdr.kernel.item import damaged, unreadable

include "network.pxi"
include "fences.pxi"

cdef extern from *:
    """
    #define XXH_INLINE_ALL
    #include "vendor/xxhash.h"
    static void mapdr_digest(XXH3_state_t *state, unsigned char *out) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
        memcpy(out, canonical.digest, 16);
    }
    """
    ctypedef struct XXH3_state_t:
        pass
    XXH3_state_t *XXH3_createState() noexcept nogil
    int XXH3_freeState(XXH3_state_t *state) noexcept nogil
    int XXH3_128bits_reset(XXH3_state_t *state) noexcept nogil
    int XXH3_128bits_update(XXH3_state_t *state, const void *data, size_t size) noexcept nogil
    void mapdr_digest(XXH3_state_t *state, unsigned char *out) noexcept nogil

DEF SCRATCH = 16384
DEF DAMAGED = -2            # beside the errors of `mapdr_pread`

cdef struct Proof:
    # A piece's file has to hold bytes of this digest there; `proved` when they were compared.
    int64_t offset
    int64_t end
    int64_t at
    bint wanted
    bint proved
    unsigned char digest[16]

cdef extern from *:
    """
    #ifdef _WIN32
    /* Not called there: the sockets of Windows have no time-out that this could rely on. */
    #define MAPDR_NEVER { return -1; }
    static int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) MAPDR_NEVER
    static int64_t mapdr_recv(int socket, unsigned char *to, int64_t size, int quick) MAPDR_NEVER
    static int mapdr_spoke(int socket) MAPDR_NEVER
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
    /* Whether the peer has sent anything, or has gone; never waits. */
    static int mapdr_spoke(int socket) {
        char byte;
        return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
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
    int mapdr_spoke(int socket) noexcept nogil
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
    Proof proof

cdef struct Letter:
    int context
    int id
    const unsigned char *head
    int64_t head_length
    int64_t length
    int64_t first
    int64_t end
    const unsigned char *sop_class
    int64_t class_length
    const unsigned char *sop_instance
    int64_t instance_length
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
    bint early
    Piece *pieces
    int64_t piece
    int64_t done
    int file
    int error
    XXH3_state_t *hash
    # What comes in.
    unsigned char *into
    int64_t space
    int64_t at
    int64_t end
    int64_t longest


cdef int hash_file(Run *run, Proof *proof, int64_t end) noexcept nogil:
    """Take in what lies before `end` in the open file; 0, or why it cannot be read."""
    cdef unsigned char scratch[SCRATCH]
    cdef int64_t some
    cdef int error
    while proof.at < end:
        some = end - proof.at if end - proof.at < SCRATCH else SCRATCH
        error = mapdr_pread(run.file, scratch, some, proof.at)
        if error:
            return error
        XXH3_128bits_update(run.hash, scratch, <size_t>some)
        proof.at += some
    return 0


cdef int compare(Run *run, Piece *piece) noexcept nogil:
    """Compare what was sent of a file, and what lies around it; 0, or why that is not what was received."""
    cdef unsigned char found[16]
    cdef int error = hash_file(run, &piece.proof, piece.proof.end)
    if error:
        return error
    mapdr_digest(run.hash, found)
    if memcmp(found, piece.proof.digest, 16):
        return DAMAGED
    piece.proof.proved = True
    return 0


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
                if piece.proof.wanted:
                    XXH3_128bits_reset(run.hash)
                    piece.proof.at = piece.proof.offset
                    error = hash_file(run, &piece.proof, piece.offset)
                    if error:
                        return error
            error = mapdr_pread(run.file, to, some, piece.offset + run.done)
            if error:
                return error
            if piece.proof.wanted:
                XXH3_128bits_update(run.hash, to, <size_t>some)
                piece.proof.at += some
        to += some
        size -= some
        run.done += some
        if run.done == piece.length:
            if piece.proof.wanted and run.file >= 0:
                error = compare(run, piece)
                if error:
                    return error
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
    run.packed = run.begun = run.early = False


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
        if run.packed and run.begun and run.used > run.sent:
            run.early = run.at < run.end or mapdr_spoke(run.socket)
        run.begun = True
        went = mapdr_send(run.socket, run.out + run.sent, run.used - run.sent)
        if went > 0:
            run.sent += went
        if run.sent != run.used:
            return STUCK
        run.used = run.sent = 0
        if run.packed:
            return OVER


cdef bint names(const unsigned char *data, int64_t size, const unsigned char *uid, int64_t length) noexcept nogil:
    """Whether a UID's value, padded or empty, is `uid` or nothing."""
    while size and (data[size - 1] == 0 or data[size - 1] == 32):
        size -= 1
    return size == 0 or (size == length and memcmp(data, uid, <size_t>size) == 0)


cdef int status_of(const unsigned char *data, int64_t left, Letter *letter) noexcept nogil:
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
        if element == 0x0002 or element == 0x1000:
            bit = 16 if element == 0x0002 else 32
            if seen & bit:
                return -1
            seen |= bit
            if not (names(data, length, letter.sop_class, letter.class_length) if bit == 16
                    else names(data, length, letter.sop_instance, letter.instance_length)):
                return -1
        elif bit:
            if length != 2 or seen & bit:
                return -1
            seen |= bit
            value = <int>data[0] | (<int>data[1] << 8)
            if bit == 8:
                status = value
            elif value != (0x8001 if bit == 1 else letter.id if bit == 2 else 0x0101):
                return -1
        data += length
        left -= length
    return status if seen & 15 == 15 and left == 0 else -1


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
    letter.status = status_of(data + 12, <int64_t>length - 6, letter)
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
        if run.early or not take_answer(run):
            return UNANSWERED
        now = mapdr_now()
        letter.seconds = now - run.began
        run.began = now
        run.answered += 1
        if run.answered == run.count or now >= run.until or run.at < run.end:
            return OVER
        if letter.status != 0 and not 0xB000 <= letter.status <= 0xBFFF:
            return OVER
        begin(run)


cdef class _Letters:
    """The messages of a run as C sees them; keeps alive what it points to."""

    cdef bytearray letters, pieces
    cdef list kept, proofs

    def __init__(self, messages, int64_t max_length):
        cdef Letter *letter
        cdef Piece *piece
        cdef int64_t number = 0
        self.kept = list(messages)
        self.proofs = []
        self.letters = bytearray(len(self.kept) * sizeof(Letter))
        self.pieces = bytearray(sum([len(message.parts) for message in messages]) * sizeof(Piece))
        letter = <Letter *>PyByteArray_AS_STRING(self.letters)
        piece = <Piece *>PyByteArray_AS_STRING(self.pieces)
        for context, id_, command, parts, length, sop_class, sop_instance in messages:
            letter.context, letter.id, letter.length = context, id_, length
            head = self.keep(b"".join(_pdata_py._fragments(context, command, max_length)))
            if len(head) > _pdata_py.BUFFER or length < 0:
                raise ValueError("a message's command set or length is none")
            letter.head, letter.head_length = <const unsigned char *>PyBytes_AS_STRING(head), len(head)
            letter.sop_class = <const unsigned char *>PyBytes_AS_STRING(self.keep(sop_class))
            letter.sop_instance = <const unsigned char *>PyBytes_AS_STRING(self.keep(sop_instance))
            letter.class_length, letter.instance_length = len(sop_class), len(sop_instance)
            letter.first = number
            for part in parts:
                if isinstance(part, bytes):
                    piece.data, piece.length = <const unsigned char *>PyBytes_AS_STRING(part), len(part)
                else:
                    piece.path = PyBytes_AS_STRING(self.keep(os.fsencode(part.path)))
                    piece.offset, piece.length = part.offset, part.length
                    if piece.offset < 0 or piece.length < 0:
                        raise ValueError("a slice of a file has a negative offset or length")
                    self.ask(piece, part, number)
                piece += 1
                number += 1
            letter.end = number
            letter += 1

    cdef ask(self, Piece *piece, part, int64_t number):
        """Have a piece compared with what was received, if that was not done before."""
        proof = part.proof
        if proof is None or proof.proved or not piece.length:
            return
        piece.proof.offset, piece.proof.end = proof.offset, proof.offset + proof.size
        if piece.proof.offset < 0 or piece.offset < piece.proof.offset \
                or piece.offset + piece.length > piece.proof.end or len(proof.digest) != 16:
            raise ValueError("a slice of a file is not within what its proof speaks of")
        memcpy(piece.proof.digest, PyBytes_AS_STRING(proof.digest), 16)
        piece.proof.wanted = True
        self.proofs.append((number, proof))

    cdef void tell(self):
        """Remember what was compared."""
        cdef Piece *piece = <Piece *>PyByteArray_AS_STRING(self.pieces)
        for number, proof in self.proofs:
            if piece[<int64_t>number].proof.proved:
                proof.proved = True

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
    run.hash = XXH3_createState()
    if run.hash == NULL:
        raise MemoryError
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
        XXH3_freeState(run.hash)
        all_.tell()
        channel._at, channel._end = run.at, run.end
        for number in range(run.answered):
            answers.append((letters[number].status, letters[number].seconds))
    channel._unfinished = stop == UNREADABLE and run.begun
    channel._spoke_early = stop == UNANSWERED and run.early
    if stop == UNREADABLE:
        if run.error == DAMAGED:
            raise damaged()
        parts = messages[run.answered].parts
        number = run.piece - letters[run.answered].first
        # Beyond the last one, where the message is longer than its parts, no file is at fault.
        proof = parts[number].proof if number < len(parts) else None
        if run.error < 0:
            raise unreadable(EOFError("a payload's file ended early"), proof)
        raise unreadable(OSError(run.error, os.strerror(run.error)), proof)
    return stop == UNANSWERED
