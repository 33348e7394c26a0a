# The file of one object that a run has received: its bytes before the data set, and how it is written, in C.
#
# Needs numbers.pxi, uids.pxi and receive_records.pxi. The steps and their order are those of
# `mapdr.store.spool.files`, the bytes before the data set those of `mapdr.store.spool.filemeta`; an object that
# comes whole is written, sealed, under its final name (docs/decisions/0010). POSIX only (MAPDR_RUNS).

from libc.stdint cimport int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #ifdef _WIN32
    #define MAPDR_RUNS 0
    static inline int mapdr_write_file(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                                       const unsigned char *data, int64_t size, int durable,
                                       int *unflushed) { return -1; }
    static inline int mapdr_remove_file(int folder, const char *name) { return 0; }
    #else
    #define MAPDR_RUNS 1
    #define MAPDR_PIECE (1 << 18)
    #include <errno.h>
    #include <fcntl.h>
    #include <sys/uio.h>
    #include <unistd.h>
    /* Take a file back: 0, or -1 if its name stays. Then it is emptied, so that no start takes it for an image. */
    static inline int mapdr_remove_file(int folder, const char *name) {
        int file;
        if (!unlinkat(folder, name, 0) || errno == ENOENT) return 0;
        file = openat(folder, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
        if (file >= 0) close(file);
        return -1;
    }
    /* Flush; whether that failed. `unflushed`, if no other flush is to be trusted then: as
       mapdr.store.spool.durable.flush. */
    static int mapdr_flush(int file, int *unflushed) {
        if (!fsync(file)) return 0;
        if (errno != ENOSPC && errno != EDQUOT && errno != EFBIG && errno != EINTR) *unflushed = 1;
        return 1;
    }
    /* Make one file, and flush it and its name if `durable`: 0; -1, and nothing is left of it; or -2, and its
       name is. The device begins to write what has been written, where the system can be asked for that, while
       the rest is. */
    static int mapdr_write_file(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                                const unsigned char *data, int64_t size, int durable,
                                int *unflushed) {
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
        failed = failed || (durable && mapdr_flush(file, unflushed));
        failed |= close(file) != 0;
        if (!failed && durable) failed = mapdr_flush(folder, unflushed);
        if (!failed) return 0;
        return mapdr_remove_file(folder, name) ? -2 : -1;
    }
    #endif
    """
    const bint MAPDR_RUNS
    int mapdr_remove_file(int folder, const char *name) noexcept nogil
    int mapdr_write_file(int folder, const char *name, const unsigned char *meta, int64_t meta_size,
                         const unsigned char *data, int64_t size, int durable,
                         int *unflushed) noexcept nogil

DEF NAME = 36               # <id>.dcm
DEF ID = 32
DEF TIME = 24               # the widths of mapdr.store.spool.filemeta's tail
DEF TAIL = 69
DEF META = 132 + 12 + 8 + UID + TAIL  # bytes before the data set at most, besides those that the context gives


cdef void put_hex(char *out, const unsigned char *data, int count) noexcept nogil:
    cdef const char *digits = "0123456789abcdef"
    cdef int at
    for at in range(count):
        out[2 * at] = digits[data[at] >> 4]
        out[2 * at + 1] = digits[data[at] & 15]


cdef int64_t put_meta(unsigned char *out, const Context *context, const unsigned char *uid,
                      const Record *record) noexcept nogil:
    """Preamble and sealed File Meta group; their length, at most META and what is of the context."""
    cdef uint32_t padded = record.uid + (record.uid & 1)
    cdef unsigned char *at = out
    cdef char moment[40]
    memset(at, 0, 128)
    memcpy(at + 128, b"DICM\x02\x00\x00\x00UL\x04\x00", 12)
    put_u32(at + 140, context.before_length + 8 + padded + context.after_length + TAIL)
    at += 144
    memcpy(at, context.before, context.before_length)
    at += context.before_length
    memcpy(at, b"\x02\x00\x03\x00UI", 6)
    put_u16(at + 6, padded)
    memcpy(at + 8, uid, record.uid)
    if padded != <uint32_t>record.uid:
        at[8 + record.uid] = 0
    at += 8 + padded
    memcpy(at, context.after, context.after_length)
    at += context.after_length
    snprintf(moment, 40, "%lld.%06lld                ", <long long>(record.microseconds // 1000000),
             <long long>(record.microseconds % 1000000))
    memcpy(at, moment, TIME)
    memcpy(at + TIME, b',"digest":"', 11)
    put_hex(<char *>at + TIME + 11, record.digest, 16)
    memcpy(at + TAIL - 2, b'"}', 2)
    return at + TAIL - out


cdef void put_name(char *out, const Record *record) noexcept nogil:
    """The file's name with a NUL behind it: NAME + 1 bytes."""
    cdef unsigned char id[16]
    put_net32(id, <uint32_t>(record.id[0] >> 32))
    put_net32(id + 4, <uint32_t>record.id[0])
    put_net32(id + 8, <uint32_t>(record.id[1] >> 32))
    put_net32(id + 12, <uint32_t>record.id[1])
    put_hex(out, id, 16)
    memcpy(out + ID, b".dcm\0", 5)


cdef str id_of(const Record *record):
    """The object's id in the store."""
    cdef char name[NAME + 1]
    put_name(name, record)
    return name[:ID].decode("ascii")
