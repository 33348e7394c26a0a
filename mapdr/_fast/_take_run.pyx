# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""Runs of C-STORE messages that are whole and regular, from the socket into the spool without the interpreter.

A run receives, looks at headers, writes the file, flushes it, answers, and puts down what the index needs, in C
and without the GIL; the index's writer drains it later. Only what fits into the receive buffer as a whole is
taken. A message that is anything but regular is left to the ordinary way: unread where its PDVs or its command
set are odd, read where its data set is, and after any trouble with the file.

The steps and their order are those of `mapdr.store.spool.files`; an object that comes whole is written, sealed, under
its final name (docs/decisions/0010). POSIX only: elsewhere `Taker.possible` is False.
"""

import os
from sys import byteorder

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from mapdr._fast import _take_run_py
from mapdr._fast._take_run_py import Left, Run, Taken, Untold
from mapdr._fast.scan_tables import Pixels, Walk

include "heads.pxi"
include "walk.pxi"
include "network.pxi"
include "fences.pxi"

BACKEND = "cython"

cdef extern from *:
    """
    #define XXH_INLINE_ALL
    #include "vendor/xxhash.h"
    static void mapdr_digest(const unsigned char *data, size_t size, unsigned char *out) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, size));
        memcpy(out, canonical.digest, 16);
    }
    #ifdef _WIN32
    #define MAPDR_RUNS 0
    typedef int mapdr_mutex;
    static void mapdr_init(mapdr_mutex *mutex) {}
    static void mapdr_lock(mapdr_mutex *mutex) {}
    static void mapdr_unlock(mapdr_mutex *mutex) {}
    static int mapdr_load(const int *at) { return *at; }
    static int64_t mapdr_now(int real) { return 0; }
    static void mapdr_nap(void) {}
    static int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) { return -1; }
    static int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) { return -1; }
    static int mapdr_keep(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                          const unsigned char *data, int64_t size, int durable) { return -1; }
    static int mapdr_forget(int folder, const char *name) { return 0; }
    #else
    #define MAPDR_RUNS 1
    #define MAPDR_PIECE (1 << 18)
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <pthread.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #include <time.h>
    #include <unistd.h>
    typedef pthread_mutex_t mapdr_mutex;
    static void mapdr_init(mapdr_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
    static void mapdr_lock(mapdr_mutex *mutex) { pthread_mutex_lock(mutex); }
    static void mapdr_unlock(mapdr_mutex *mutex) { pthread_mutex_unlock(mutex); }
    static int mapdr_load(const int *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    /* Microseconds: since the epoch, or of a clock that never goes back. */
    static int64_t mapdr_now(int real) {
        struct timespec now;
        clock_gettime(real ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    }
    static void mapdr_nap(void) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    /* One read: its bytes, 0 at the end of the stream, -1 for a time-out, or the error's number, negative and
       less one. A peer with Nagle's algorithm holds back the rest of a message until its beginning is
       acknowledged. */
    static int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) {
    #ifdef TCP_QUICKACK
        int one = 1;
        if (acknowledge) setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    #endif
        ssize_t got = recv(socket, to, (size_t)room, 0);
        if (got >= 0) return got;
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? -1 : -1 - (int64_t)errno;
    }
    static int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) {
        return send(socket, data, (size_t)size, 0);
    }
    /* Take a file back: 0, or -1 if its name stays. Then it is emptied, so that no start takes it for an image. */
    static int mapdr_forget(int folder, const char *name) {
        int file;
        if (!unlinkat(folder, name, 0) || errno == ENOENT) return 0;
        file = openat(folder, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
        if (file >= 0) close(file);
        return -1;
    }
    /* Make one file, and flush it and its name if `durable`: 0; -1, and nothing is left of it; or -2, and its
       name is. The device begins to write what has been written, where the system can be asked for that, while the rest is. */
    static int mapdr_keep(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                          const unsigned char *data, int64_t size, int durable) {
        int64_t piece = durable && size > MAPDR_PIECE ? MAPDR_PIECE : size, sent = piece;
        struct iovec parts[2] = {{(void *)meta, (size_t)meta_size}, {(void *)data, (size_t)piece}};
        int file = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640), failed;
        if (file < 0) return -1;
        failed = writev(file, parts, 2) != (ssize_t)(meta_size + piece);
        for (; !failed && sent < size; sent += piece) {
    #ifdef SYNC_FILE_RANGE_WRITE
            sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
    #endif
            piece = size - sent < MAPDR_PIECE ? size - sent : MAPDR_PIECE;
            failed = write(file, data + sent, (size_t)piece) != (ssize_t)piece;
        }
        failed = failed || (durable && fsync(file));
        failed |= close(file) != 0;
        if (!failed && durable) failed = fsync(folder) != 0;
        if (!failed) return 0;
        return mapdr_forget(folder, name) ? -2 : -1;
    }
    #endif
    """
    const bint MAPDR_RUNS
    ctypedef struct mapdr_mutex:
        pass
    void mapdr_init(mapdr_mutex *mutex) noexcept nogil
    void mapdr_lock(mapdr_mutex *mutex) noexcept nogil
    void mapdr_unlock(mapdr_mutex *mutex) noexcept nogil
    int mapdr_load(const int *at) noexcept nogil
    int64_t mapdr_now(int real) noexcept nogil
    void mapdr_nap() noexcept nogil
    int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) noexcept nogil
    int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) noexcept nogil
    void mapdr_digest(const unsigned char *data, size_t size, unsigned char *out) noexcept nogil
    int mapdr_forget(int folder, const char *name) noexcept nogil
    int mapdr_keep(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                   const unsigned char *data, int64_t size, int durable) noexcept nogil


SANITIZED = bool(MAPDR_FENCES)
"""Whether this is the build of `make sanitize`, whose inbox is a heap buffer as long as what has come."""

DEF EMPTY = 1000            # mapdr._fast.pdata_signals.MAX_EMPTY
DEF UID = 64                # bytes of the longest UID (PS3.5, section 9.1)
DEF NAME = 36               # <id>.dcm
DEF PREFIX = 65536          # mapdr.store.spool.headers.PREFIX
DEF KEPT = 65536            # bytes of wanted values that one image may hand to the index
DEF VALUE = 1048576         # mapdr.dicom.scan.MAX_VALUE
DEF ELEMENTS = 10000000     # mapdr._fast.scan_tables.MAX_ELEMENTS
DEF TIME = 24               # the widths of mapdr.store.spool.filemeta's tail
DEF TAIL = 69
DEF PREAMBLE = 132

cdef uint32_t SOP_CLASS_UID = 0x00080016
cdef uint32_t SOP_INSTANCE_UID = 0x00080018
cdef uint32_t STUDY_INSTANCE_UID = 0x0020000D


cdef struct Record:  # followed by its wanted elements and the bytes that they and the UID stand in
    Record *next
    void *taker  # which stands in `Shared.takers` as long as it has a record
    uint64_t id[2]
    int64_t microseconds
    int64_t offset
    int64_t size
    unsigned char digest[16]
    int context
    int uid
    Walked walked

cdef struct Context:
    bint usable
    bint explicit
    bint study
    const unsigned char *uid
    int uid_length
    const unsigned char *before
    int before_length
    const unsigned char *after
    int after_length

cdef struct Message:  # offsets into the buffer
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

cdef enum Stop:
    WHOLE = 0
    MORE = 1
    ODD = 2

cdef enum End:
    PAUSED = 0
    ORDINARY = 1
    HANDED = 2
    UNSENT = 3


cdef inline unsigned char *put_element(unsigned char *at, uint32_t element, const unsigned char *value,
                                       uint32_t length) noexcept nogil:
    """One element of a command set; where the next begins."""
    at[0] = at[1] = 0
    at[2], at[3] = <unsigned char>element, <unsigned char>(element >> 8)
    at[4], at[5] = <unsigned char>length, <unsigned char>(length >> 8)
    at[6], at[7] = <unsigned char>(length >> 16), <unsigned char>(length >> 24)
    memcpy(at + 8, value, length)
    return at + 8 + length


cdef inline unsigned char *put_short(unsigned char *at, uint32_t element, uint32_t value) noexcept nogil:
    cdef unsigned char two[2]
    two[0], two[1] = <unsigned char>value, <unsigned char>(value >> 8)
    return put_element(at, element, two, 2)


cdef inline int stripped(const unsigned char *text, int64_t length) noexcept nogil:
    """The length of a UID without its padding; 0 if it is not one that is plain (PS3.5, section 9.1)."""
    cdef int64_t at
    while length > 0 and (text[length - 1] == 0 or text[length - 1] == c" "):
        length -= 1
    if length > UID:
        return 0
    for at in range(length):
        if not (c"0" <= text[at] <= c"9" or text[at] == c"."):
            return 0
    return <int>length


cdef Stop pdv(const unsigned char *data, int64_t end, int64_t most, int64_t *at, int64_t *pdu_left, int context,
              int *control, int64_t *length) noexcept nogil:
    """The header of the next PDV, and of the P-DATA around it if one begins; `at` goes to the PDV's payload.

    WHOLE only if the payload is here. `context` below 0 takes any, and `control` says which it was.
    """
    cdef uint32_t size
    if pdu_left[0] == 0:
        if end - at[0] < 6:
            return MORE
        if data[at[0]] != 4:
            return ODD
        size = net32(data + at[0] + 2)
        if size < 6 or size > most:
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
    return WHOLE if end - at[0] >= length[0] else MORE


cdef Stop examine(const unsigned char *data, int64_t at, int64_t end, int64_t cap, int64_t most,
                  Message *m) noexcept nogil:
    """Whether a whole C-STORE-RQ with its data set stands at `at`; nothing is changed."""
    cdef int64_t begin = at, pdu_left = 0, length = 0
    cdef int control = 0, empty = 0
    cdef Stop stop = pdv(data, end, most, &at, &pdu_left, -1, &control, &length)
    if stop != WHOLE:
        return stop
    if control & 3 != 3 or length > 1024:
        return ODD
    m.context = control >> 8
    m.command, m.command_length = at, <int>length
    if not command(data + at, length, m):
        return ODD
    at += length
    m.size = 0
    m.data = -1
    control = 0
    while not control & 2:
        length = 0
        stop = pdv(data, end, most, &at, &pdu_left, m.context, &control, &length)
        if at - begin + length > cap:
            return ODD
        if stop != WHOLE:
            return stop
        if control & 1:
            return ODD
        empty += length == 0 and not control & 2
        if empty > EMPTY:
            return ODD
        at += length
        m.size += length
        if m.data < 0:
            m.data, m.data_length = at - length, length
            m.second, m.pdu_left = at, pdu_left
    if pdu_left:
        return ODD
    m.end = at
    return WHOLE


cdef bint command(const unsigned char *data, int64_t left, Message *m) noexcept nogil:
    """Take a regular C-STORE-RQ apart (PS3.7, table 9.3-1); False for any other command set."""
    cdef uint32_t length, element
    cdef int64_t last = -1
    cdef bint store = False, with_data = False
    m.number = -1
    m.uid_length = m.class_length = 0
    while left >= 8:
        if data[0] or data[1]:
            return False
        element = u16(data + 2)
        length = u32(data + 4)
        if length > left - 8 or length & 1 or element <= last:
            return False
        last = element
        data += 8
        if element == 0x0002:
            m.sop_class, m.class_length = data, <int>length
        elif element == 0x1000:
            m.uid, m.uid_length = data, <int>length
        elif element == 0x0100 or element == 0x0110 or element == 0x0800:
            if length != 2:
                return False
            if element == 0x0100:
                store = u16(data) == 0x0001
            elif element == 0x0110:
                m.number = <int>u16(data)
            else:
                with_data = u16(data) != 0x0101
        data += length
        left -= 8 + <int64_t>length
    return left == 0 and store and with_data and m.number >= 0 and 0 < m.class_length <= UID \
        and 0 < m.uid_length <= UID


cdef void join(unsigned char *data, int64_t most, const Message *m) noexcept nogil:
    """Close the gaps between the PDVs of a data set that `examine` found whole."""
    cdef int64_t at = m.second, target = m.data + m.data_length, pdu_left = m.pdu_left, length = 0
    cdef int control = 0
    while at < m.end:
        pdv(data, m.end, most, &at, &pdu_left, m.context, &control, &length)
        memmove(data + target, data + at, <size_t>length)
        target += length
        at += length


cdef int64_t respond(unsigned char *out, const Message *m) noexcept nogil:
    """A C-STORE-RSP with Success in a P-DATA of its own (PS3.7, table 9.3-2); its length."""
    cdef unsigned char *at = out + 24
    at = put_element(at, 0x0002, m.sop_class, m.class_length)
    at = put_short(at, 0x0100, 0x8001)
    at = put_short(at, 0x0120, m.number)
    at = put_short(at, 0x0800, 0x0101)
    at = put_short(at, 0x0900, 0x0000)
    at = put_element(at, 0x1000, m.uid, m.uid_length)
    cdef int64_t size = at - out
    cdef uint32_t group = <uint32_t>(size - 24)
    cdef unsigned char value[4]
    value[0], value[1], value[2], value[3] = <unsigned char>group, <unsigned char>(group >> 8), 0, 0
    put_element(out + 12, 0x0000, value, 4)
    out[0], out[1] = 4, 0
    put_net32(out + 2, <uint32_t>(size - 6))
    put_net32(out + 6, <uint32_t>(size - 10))
    out[10], out[11] = <unsigned char>m.context, 3
    return size


cdef void put_hex(char *out, const unsigned char *data, int count) noexcept nogil:
    cdef const char *digits = "0123456789abcdef"
    cdef int at
    for at in range(count):
        out[2 * at] = digits[data[at] >> 4]
        out[2 * at + 1] = digits[data[at] & 15]


cdef int64_t put_meta(unsigned char *out, const Context *c, const unsigned char *uid, const Record *r) noexcept nogil:
    """Preamble and sealed File Meta group, as `mapdr.store.spool.filemeta` writes them; their length."""
    cdef uint32_t padded = r.uid + (r.uid & 1)
    cdef uint32_t group = c.before_length + 8 + padded + c.after_length + TAIL
    cdef unsigned char *at = out
    cdef char moment[40]
    memset(at, 0, 128)
    memcpy(at + 128, b"DICM\x02\x00\x00\x00UL\x04\x00", 12)
    at += 140
    at[0], at[1] = <unsigned char>group, <unsigned char>(group >> 8)
    at[2], at[3] = <unsigned char>(group >> 16), <unsigned char>(group >> 24)
    at += 4
    memcpy(at, c.before, c.before_length)
    at += c.before_length
    memcpy(at, b"\x02\x00\x03\x00UI", 6)
    at[6], at[7] = <unsigned char>padded, 0
    memcpy(at + 8, uid, r.uid)
    if padded != <uint32_t>r.uid:
        at[8 + r.uid] = 0
    at += 8 + padded
    memcpy(at, c.after, c.after_length)
    at += c.after_length
    snprintf(moment, 40, "%lld.%06lld                ", <long long>(r.microseconds // 1000000),
             <long long>(r.microseconds % 1000000))
    memcpy(at, moment, TIME)
    memcpy(at + TIME, b',"digest":"', 11)
    put_hex(<char *>at + TIME + 11, r.digest, 16)
    memcpy(at + TAIL - 2, b'"}', 2)
    return at + TAIL - out


cdef void put_name(char *out, const Record *r) noexcept nogil:
    cdef unsigned char id[16]
    put_net32(id, <uint32_t>(r.id[0] >> 32))
    put_net32(id + 4, <uint32_t>r.id[0])
    put_net32(id + 8, <uint32_t>(r.id[1] >> 32))
    put_net32(id + 12, <uint32_t>r.id[1])
    put_hex(out, id, 16)
    memcpy(out + 32, b".dcm\0", 5)


cdef class Taker


cdef class Shared:
    """As `_take_run_py.Shared`."""

    cdef readonly int limit
    cdef int turned
    cdef bint closed
    cdef int taken     # in the queue
    cdef int reserved  # on their way into it
    cdef int behind    # drained, or taken by others, and not yet written
    cdef Record *first
    cdef Record *last
    cdef set takers
    cdef list ready
    cdef mapdr_mutex mutex

    def __cinit__(self, int limit):
        self.limit = limit
        self.closed = True
        self.takers = set()
        self.ready = []
        mapdr_init(&self.mutex)

    def __dealloc__(self):
        cdef Record *record = self.first
        while record != NULL:
            self.first = record.next
            free(record)
            record = self.first

    @property
    def turns(self):
        """As `_take_run_py.Shared.turns`."""
        return mapdr_load(&self.turned)

    @property
    def backlog(self):
        """As `_take_run_py.Shared.backlog`."""
        return mapdr_load(&self.behind)

    @backlog.setter
    def backlog(self, int count):
        with nogil:
            mapdr_lock(&self.mutex)
            self.behind = count
            mapdr_unlock(&self.mutex)

    @property
    def waiting(self):
        """As `_take_run_py.Shared.waiting`."""
        return mapdr_load(&self.taken)

    @property
    def in_use(self):
        """As `_take_run_py.Shared.in_use`."""
        return bool(self.takers)

    def turn(self):
        """As `_take_run_py.Shared.turn`."""
        with nogil:
            mapdr_lock(&self.mutex)
            self.turned += 1
            mapdr_unlock(&self.mutex)

    def open(self):
        """As `_take_run_py.Shared.open`."""
        self.set_closed(False)

    def close(self):
        """As `_take_run_py.Shared.close`."""
        self.set_closed(True)

    cdef set_closed(self, bint closed):
        with nogil:
            mapdr_lock(&self.mutex)
            self.closed = closed
            mapdr_unlock(&self.mutex)

    def admit(self):
        """As `_take_run_py.Shared.admit`."""
        cdef bint room
        with nogil:
            mapdr_lock(&self.mutex)
            room = self.has_room()
            self.behind += room
            mapdr_unlock(&self.mutex)
        return room

    def drain(self):
        """As `_take_run_py.Shared.drain`."""
        cdef Record *record = self.detach()
        cdef Record *after
        cdef Taker taker
        try:
            while record != NULL:
                taker = <Taker>record.taker
                self.ready.append((taker.owner, taker.told_or_why(record)))
                taker.drained += 1
                if taker.ended and taker.drained == taker.put_down:
                    self.takers.discard(taker)
                after = record.next
                free(record)
                record = after
        finally:
            self.attach(record)
        ready, self.ready = self.ready, []
        return ready

    cdef Record *detach(self):
        """Take the whole queue: from now on it counts as drained."""
        cdef Record *record
        with nogil:
            mapdr_lock(&self.mutex)
            record = self.first
            self.first = self.last = NULL
            self.behind += self.taken
            self.taken = 0
            mapdr_unlock(&self.mutex)
        return record

    cdef void attach(self, Record *record) noexcept:
        """Put what could not be drained back before what has come since."""
        cdef Record *last = record
        cdef int count = 1
        if record == NULL:
            return
        while last.next != NULL:
            last = last.next
            count += 1
        mapdr_lock(&self.mutex)
        last.next = self.first
        self.first = record
        if self.last == NULL:
            self.last = last
        self.taken += count
        self.behind -= count
        mapdr_unlock(&self.mutex)

    cdef inline bint has_room(self) noexcept nogil:
        return self.taken + self.reserved + self.behind < self.limit

    cdef bint reserve(self, int turn, int64_t until) noexcept nogil:
        """Wait for a place in the queue; False if there is none by `until`, or the run has to end before."""
        cdef bint over, room
        while True:
            mapdr_lock(&self.mutex)
            over = self.closed or self.turned != turn
            room = not over and self.has_room()
            self.reserved += room
            mapdr_unlock(&self.mutex)
            if room or over or mapdr_now(0) > until:
                return room
            mapdr_nap()

    cdef void give_back(self) noexcept nogil:
        """Nothing came to a place that was reserved."""
        mapdr_lock(&self.mutex)
        self.reserved -= 1
        mapdr_unlock(&self.mutex)

    cdef bint put(self, Record *record) noexcept nogil:
        """Queue a record in the place that is reserved for it; False if the index takes no more."""
        mapdr_lock(&self.mutex)
        if self.closed:
            mapdr_unlock(&self.mutex)
            return False
        if self.last == NULL:
            self.first = record
        else:
            self.last.next = record
        self.last = record
        self.taken += 1
        self.reserved -= 1
        mapdr_unlock(&self.mutex)
        return True


cdef class Taker:
    """As `_take_run_py.Taker`."""

    possible = bool(MAPDR_RUNS)

    cdef Shared shared
    cdef Context contexts[256]
    cdef tuple paths
    cdef Py_ssize_t count
    cdef const uint32_t *tags
    cdef unsigned char nested[WANTED]
    cdef list keep
    cdef bint durable
    cdef int sop_class
    cdef int sop_instance
    cdef int study
    cdef object owner
    cdef bint ended
    cdef bint stuck  # whether the file of the message that is handed over could not be removed
    cdef int64_t put_down  # records; those that were drained
    cdef int64_t drained
    cdef unsigned char *meta

    def __cinit__(self, Shared shared, passages, tags, bint durable, owner):
        cdef Context *context
        cdef bytes uid, before, after, packed
        cdef int longest = 0
        memset(self.contexts, 0, sizeof(self.contexts))
        self.shared = shared
        self.durable = durable
        ordered = sorted(tags)
        if len(ordered) > WANTED:
            raise ValueError(f"at most {WANTED} tags can be wanted")
        packed = b"".join(tag.to_bytes(4, byteorder) for tag in ordered)
        self.keep = [packed]
        self.tags = <const uint32_t *>PyBytes_AS_STRING(packed)
        self.count = len(ordered)
        self.paths = tuple((tag,) for tag in ordered)
        for number, tag in enumerate(ordered):
            self.nested[number] = bool(tags[tag])
        self.sop_class = ordered.index(SOP_CLASS_UID)
        self.sop_instance = ordered.index(SOP_INSTANCE_UID)
        self.study = ordered.index(STUDY_INSTANCE_UID)
        for number, passage in passages.items():
            uid, before, after = passage.sop_class_uid, passage.before, passage.after
            self.keep += [uid, before, after]
            context = &self.contexts[<unsigned char>number]
            context.usable, context.explicit, context.study = True, passage.explicit, passage.study
            context.uid, context.uid_length = <const unsigned char *>PyBytes_AS_STRING(uid), len(uid)
            context.before, context.before_length = <const unsigned char *>PyBytes_AS_STRING(before), len(before)
            context.after, context.after_length = <const unsigned char *>PyBytes_AS_STRING(after), len(after)
            longest = max(longest, context.before_length + context.after_length)
        self.meta = <unsigned char *>malloc(PREAMBLE + 12 + 8 + UID + TAIL + longest)
        if self.meta == NULL:
            raise MemoryError
        self.owner = owner
        shared.takers.add(self)

    def __dealloc__(self):
        free(self.meta)

    def end(self):
        """As `_take_run_py.Taker.end`."""
        self.ended = True
        if self.drained == self.put_down:
            self.shared.takers.discard(self)

    def take(self, channel, int folder, id_, int count, int turn):
        """As `_take_run_py.Taker.take`."""
        if not channel.between_messages:
            return Run()
        cdef unsigned char[::1] buffer = channel._buffer
        cdef unsigned char *inbox = &buffer[0]
        cdef unsigned char *data = mapdr_fenced(NULL, inbox, channel._end)
        cdef int64_t cap = buffer.shape[0], at = channel._at, end = channel._end, most = channel._max_receive
        cdef int64_t size = 0, got = 0, response = 0, sent = 0
        cdef int64_t stop_at = mapdr_now(0) + <int64_t>(_take_run_py.SECONDS * 1000000)
        cdef int socket = channel._sock.fileno(), stored = 0
        cdef uint64_t high = id_ >> 64, low = id_ & 0xFFFFFFFFFFFFFFFF
        cdef unsigned char out[512]
        cdef Message message
        cdef Stop stop
        cdef End why = PAUSED
        with nogil:
            while stored < count and mapdr_load(&self.shared.turned) == turn:
                if stored and mapdr_now(0) > stop_at:
                    break
                stop = MORE if at == end else examine(data, at, end, cap, most, &message)
                if stop == ODD:
                    why = ORDINARY
                    break
                if stop == MORE:
                    if mapdr_now(0) > stop_at:
                        why = PAUSED if at == end else ORDINARY
                        break
                    if at:
                        memmove(inbox, inbox + at, <size_t>(end - at))
                        end -= at
                        at = 0
                    got = mapdr_receive(socket, inbox + end, cap - end, end) if end < cap else 0
                    if got <= 0:
                        why = ORDINARY
                        break
                    end += got
                    data = mapdr_fenced(data, inbox, end)
                    continue
                if not self.contexts[message.context].usable:
                    why = ORDINARY
                    break
                if not self.shared.reserve(turn, stop_at):
                    why = PAUSED if mapdr_load(&self.shared.turned) != turn else ORDINARY
                    break
                at = message.end
                join(data, most, &message)
                if not self.keep_one(data, &message, folder, high, low + stored):
                    self.shared.give_back()
                    why = HANDED
                    break
                stored += 1
                size += message.size
                response = respond(out, &message)
                sent = mapdr_send(socket, out, response)
                if sent != response:
                    why = UNSENT
                    break
        mapdr_unfence(data, inbox, end if why == HANDED else 0)  # what is left has been joined there
        if got < -1:
            channel.broke(OSError(-1 - got, os.strerror(-1 - got)))
        if why != UNSENT:
            response = sent = 0
        channel._at, channel._end = at, end
        unsent = PyBytes_FromStringAndSize(<char *>out + max(sent, 0), response - max(sent, 0))
        left = None
        if why == HANDED:
            whole = channel._view
            channel.took_data(message.context)
            left = Left(
                message.context,
                bytes(whole[message.command:message.command + message.command_length]),
                whole[message.data:message.data + message.size],
            )
        stuck, self.stuck = self.stuck, False
        return Run(stored, size, why != ORDINARY, unsent, left, f"{id_ + stored:032x}" if stuck else "")

    cdef bint keep_one(self, const unsigned char *data, Message *m, int folder, uint64_t high,
                       uint64_t low) noexcept nogil:
        """Make one object safe and put its record down; False if that cannot be, and nothing is left of it or,
        where a file cannot be removed (`stuck`), no image."""
        cdef Context *context = &self.contexts[m.context]
        cdef int uid = stripped(m.uid, m.uid_length)
        cdef Record *record
        cdef unsigned char *fenced
        cdef int failed
        cdef char name[NAME + 1]
        if not uid or stripped(m.sop_class, m.class_length) != context.uid_length:
            return False
        if memcmp(m.sop_class, context.uid, context.uid_length):
            return False
        fenced = mapdr_fenced(NULL, data + m.data, m.size)
        record = self.scan(fenced, m.size, context.explicit, m.uid, uid, context)
        mapdr_unfence(fenced, NULL, 0)
        if record == NULL:
            return False
        record.id[0], record.id[1] = high, low
        record.context = m.context
        record.size = m.size
        record.microseconds = mapdr_now(1)
        mapdr_digest(data + m.data, <size_t>m.size, record.digest)
        record.offset = put_meta(self.meta, context, m.uid, record)
        put_name(name, record)
        failed = mapdr_keep(folder, name, self.meta, record.offset, data + m.data, m.size, self.durable)
        record.taker = <void *>self
        if failed or not self.shared.put(record):
            self.stuck = failed == -2 or (not failed and mapdr_forget(folder, name))
            free(record)
            return False
        self.put_down += 1
        return True

    cdef Record *scan(self, const unsigned char *data, int64_t size, bint explicit, const unsigned char *uid,
                      int uid_length, const Context *context) noexcept nogil:
        """What the index wants of a data set; NULL if that is not regular, or nothing that `mapdr.dicom.gate` passes."""
        cdef Seen seen[WANTED]
        cdef Walked walked, behind
        cdef Py_ssize_t number, count = self.count
        cdef int64_t kept = uid_length, at
        cdef Record *record
        cdef Seen *wanted
        cdef unsigned char *bytes_
        # As the ordinary way reads it: what is longer than the prefix is not searched behind its pixel data.
        if not walk_regular(data, min(size, PREFIX), size, explicit, self.tags, count, size <= PREFIX, VALUE,
                            ELEMENTS, seen, &walked):
            return NULL
        # To its end all the same: an object that is cut short is none of those that are taken here.
        if walked.end < size and not walk_regular(data + walked.end, size - walked.end, size - walked.end, explicit,
                                                  NULL, 0, True, 0, ELEMENTS, NULL, &behind):
            return NULL
        if not same(data, &seen[self.sop_class], context.uid, context.uid_length):
            return NULL
        if not same(data, &seen[self.sop_instance], uid, uid_length):
            return NULL
        if seen[self.study].offset < 0:
            if context.study:
                return NULL
        elif not stripped(data + seen[self.study].value, seen[self.study].held):
            return NULL
        for number in range(count):
            if seen[number].offset >= 0:
                if self.nested[number] or not 0 <= seen[number].held <= KEPT:
                    return NULL
                kept += seen[number].held
        if kept > KEPT:
            return NULL
        record = <Record *>malloc(sizeof(Record) + count * sizeof(Seen) + <size_t>kept)
        if record == NULL:
            return NULL
        wanted = <Seen *>(record + 1)
        bytes_ = <unsigned char *>(wanted + count)
        memcpy(bytes_, uid, uid_length)
        at = uid_length
        for number in range(count):
            wanted[number] = seen[number]
            if seen[number].offset >= 0:
                memcpy(bytes_ + at, data + seen[number].value, <size_t>seen[number].held)
                wanted[number].value = at
                at += seen[number].held
        record.uid = uid_length
        record.walked = walked
        record.next = NULL
        return record

    cdef object told_or_why(self, Record *record):
        """A record as `Taken`, or as `Untold` where that fails: its image is safe and was answered."""
        cdef char name[NAME + 1]
        try:
            return self.told(record)
        except Exception as error:
            put_name(name, record)
            return Untold(name[:32].decode("ascii"), error)

    cdef object told(self, Record *record):
        """A record as `Taken`."""
        cdef Seen *wanted = <Seen *>(record + 1)
        cdef Py_ssize_t number, count = self.count
        cdef const char *bytes_ = <const char *>(wanted + count)
        cdef char name[NAME + 1]
        cdef dict values = {}
        cdef bytes vr
        put_name(name, record)
        for number in range(count):
            if wanted[number].offset >= 0:
                vr = PyBytes_FromStringAndSize(<const char *>&wanted[number].a, 2) if wanted[number].a else b""
                raw = PyBytes_FromStringAndSize(bytes_ + wanted[number].value, wanted[number].held)
                values[self.paths[number]] = [(vr, raw, False, None)]
        pixels = None
        if record.walked.pixels >= 0:
            vr = b""
            if record.walked.pixels_head.a:
                vr = PyBytes_FromStringAndSize(<const char *>&record.walked.pixels_head.a, 2)
            pixels = Pixels(
                record.walked.pixels_head.tag, vr, record.walked.pixels, record.walked.pixels_head.value,
                record.walked.pixels_head.length, None if record.walked.pixels_end < 0 else record.walked.pixels_end
            )
        return Taken(
            name[:32].decode("ascii"),
            record.context,
            bytes_[:record.uid].decode("ascii"),
            record.offset,
            record.size,
            PyBytes_FromStringAndSize(<const char *>record.digest, 16),
            record.microseconds / 1e6,
            values,
            Walk([], pixels, record.walked.end, 1 if self.contexts[record.context].explicit else 0, False, 0),
        )


cdef inline bint same(const unsigned char *data, const Seen *element, const unsigned char *uid,
                      int length) noexcept nogil:
    """Whether an element is there and holds this UID."""
    return element.offset >= 0 and element.held >= 0 and stripped(data + element.value, element.held) == length \
        and not memcmp(data + element.value, uid, length)
