# Exact copies on the heap for the build of `make sanitize` (docs/decisions/0015); nothing in any other.
#
# AddressSanitizer has red zones around what was allocated: inside of the map that a connection receives into it
# does not see an access behind the bytes that have come.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef MAPDR_SANITIZED
    #define MAPDR_FENCES 1
    #include <stdlib.h>
    #include <string.h>
    /* `size` bytes as a heap buffer of that size, in place of `old`. */
    static inline unsigned char *mapdr_fenced(unsigned char *old, const unsigned char *data, int64_t size) {
        unsigned char *fenced = malloc((size_t)size);
        if (fenced == NULL) abort();
        memcpy(fenced, data, (size_t)size);
        free(old);
        return fenced;
    }
    /* Free it, after its first `size` bytes went back to `data`. */
    static inline void mapdr_unfence(unsigned char *fenced, unsigned char *data, int64_t size) {
        if (size) memcpy(data, fenced, (size_t)size);
        free(fenced);
    }
    #else
    #define MAPDR_FENCES 0
    #define mapdr_fenced(old, data, size) ((unsigned char *)(data))
    #define mapdr_unfence(fenced, data, size) ((void)0)
    #endif
    """
    const bint MAPDR_FENCES
    unsigned char *mapdr_fenced(unsigned char *old, const unsigned char *data, int64_t size) noexcept nogil
    void mapdr_unfence(unsigned char *fenced, unsigned char *data, int64_t size) noexcept nogil
