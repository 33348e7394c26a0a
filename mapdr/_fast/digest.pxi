# The digest that the index keeps of each data set, in C: XXH3 of 128 bits in its canonical form, 16 bytes.
#
# Of bytes that are there as a whole, or of a stream of them. Needs nothing but vendor/xxhash.h.

cdef extern from *:
    """
    #define XXH_INLINE_ALL
    #include <string.h>
    #include "vendor/xxhash.h"
    static inline void mapdr_canonical(XXH128_hash_t hash, unsigned char *out) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, hash);
        memcpy(out, canonical.digest, 16);
    }
    static inline void mapdr_digest(const void *data, size_t size, unsigned char *out) {
        mapdr_canonical(XXH3_128bits(data, size), out);
    }
    static inline void mapdr_digest_of(const XXH3_state_t *state, unsigned char *out) {
        mapdr_canonical(XXH3_128bits_digest(state), out);
    }
    """
    ctypedef struct XXH3_state_t:
        pass
    XXH3_state_t *XXH3_createState() noexcept nogil
    int XXH3_freeState(XXH3_state_t *state) noexcept nogil
    int XXH3_128bits_reset(XXH3_state_t *state) noexcept nogil
    int XXH3_128bits_update(XXH3_state_t *state, const void *data, size_t size) noexcept nogil
    void mapdr_digest(const void *data, size_t size, unsigned char *out) noexcept nogil
    void mapdr_digest_of(const XXH3_state_t *state, unsigned char *out) noexcept nogil
