# The data set of a message in its parts, in C: bytes and slices of files, each file compared with its proof.
#
# Needs digest.pxi and reading.pxi. Proof: `mapdr.kernel.item`, of which digest the bytes have to be that are sent.

from libc.stdint cimport int64_t
from libc.string cimport memcmp, memcpy

DEF SCRATCH = 16384
DEF DAMAGED = -2            # beside the errors of `mapdr_pread`

cdef struct Proof:
    # A part's file has to hold bytes of this digest there; `proved` when they were compared.
    int64_t offset
    int64_t end
    int64_t at
    bint wanted
    bint proved
    unsigned char digest[16]

cdef struct Part:
    # Bytes at `data`; or, where that is NULL, those of the file `path` from `offset`.
    const unsigned char *data
    const char *path
    int64_t offset
    int64_t length
    Proof proof

cdef struct Source:
    Part *parts
    int64_t part        # the one that is read: its number, and how much of it is read
    int64_t done
    int64_t end         # the number behind the message's last
    int file            # of this part; below 0 while it is not open
    XXH3_state_t *hash  # of what its proof speaks of, as far as it is read


cdef int hash_file(Source *source, Proof *proof, int64_t end) noexcept nogil:
    """Take in what lies before `end` in the open file; 0, or why it cannot be read."""
    cdef unsigned char scratch[SCRATCH]
    cdef int64_t some
    cdef int error
    while proof.at < end:
        some = end - proof.at if end - proof.at < SCRATCH else SCRATCH
        error = mapdr_pread(source.file, scratch, some, proof.at)
        if error:
            return error
        XXH3_128bits_update(source.hash, scratch, <size_t>some)
        proof.at += some
    return 0


cdef int compare_digest(Source *source, Part *part) noexcept nogil:
    """Compare what was sent of a file, and what lies around it; 0, or why that is not what was received."""
    cdef unsigned char found[16]
    cdef int error = hash_file(source, &part.proof, part.proof.end)
    if error:
        return error
    mapdr_digest_of(source.hash, found)
    if memcmp(found, part.proof.digest, 16):
        return DAMAGED
    part.proof.proved = True
    return 0


cdef int read_parts(Source *source, unsigned char *to, int64_t size) noexcept nogil:
    """The next `size` bytes of the parts: 0, DAMAGED, the error's number, or -1 when they end early."""
    cdef Part *part
    cdef int64_t some
    cdef int error
    while size:
        if source.part == source.end:
            return -1
        part = &source.parts[source.part]
        some = part.length - source.done
        if some > size:
            some = size
        if part.data != NULL:
            memcpy(to, part.data + source.done, <size_t>some)
        elif some:
            if source.file < 0:
                source.file = mapdr_open(part.path)
                if source.file < 0:
                    return -source.file
                if part.proof.wanted:
                    XXH3_128bits_reset(source.hash)
                    part.proof.at = part.proof.offset
                    error = hash_file(source, &part.proof, part.offset)
                    if error:
                        return error
            error = mapdr_pread(source.file, to, some, part.offset + source.done)
            if error:
                return error
            if part.proof.wanted:
                XXH3_128bits_update(source.hash, to, <size_t>some)
                part.proof.at += some
        to += some
        size -= some
        source.done += some
        if source.done == part.length:
            if part.proof.wanted and source.file >= 0:
                error = compare_digest(source, part)
                if error:
                    return error
            close_file(source)
            source.part += 1
            source.done = 0
    return 0


cdef void close_file(Source *source) noexcept nogil:
    """Close the file of a part that was not read to its end, if there is one."""
    if source.file >= 0:
        mapdr_close(source.file)
    source.file = -1
