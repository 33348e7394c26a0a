# The clocks, in C: what is called without the interpreter's lock. Needs nothing. POSIX only: elsewhere always 0.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef _WIN32
    static inline int64_t mapdr_now(int real) { return 0; }
    #else
    #include <time.h>
    /* Microseconds: since the epoch if `real`, else of a clock that never goes back. */
    static inline int64_t mapdr_now(int real) {
        struct timespec now;
        clock_gettime(real ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    }
    #endif
    """
    int64_t mapdr_now(int real) noexcept nogil
