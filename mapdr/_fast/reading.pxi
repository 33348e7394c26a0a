# Reading bytes of a file, in C: what is called without the interpreter's lock. Needs nothing.
#
# POSIX only: elsewhere each call fails with -1. Its callers do not go this way there.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef _WIN32
    static inline int mapdr_open(const char *path) { return -1; }
    static inline int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) { return -1; }
    static inline void mapdr_close(int file) {}
    #else
    #include <errno.h>
    #include <fcntl.h>
    #include <unistd.h>
    /* A descriptor; or the error's number, negative. */
    static inline int mapdr_open(const char *path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        return file < 0 ? -errno : file;
    }
    /* Read all `size` bytes: 0; the error's number; or -1 when the file ends early. */
    static inline int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) {
        while (size > 0) {
            ssize_t got = pread(file, to, (size_t)size, (off_t)offset);
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return got ? errno : -1;
            to += got; offset += got; size -= got;
        }
        return 0;
    }
    static inline void mapdr_close(int file) { close(file); }
    #endif
    """
    int mapdr_open(const char *path) noexcept nogil
    int mapdr_pread(int file, unsigned char *to, int64_t size, int64_t offset) noexcept nogil
    void mapdr_close(int file) noexcept nogil
