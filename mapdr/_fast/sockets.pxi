# One read from a socket and one write to it, in C: what is called without the interpreter's lock. Needs nothing.
#
# POSIX only: elsewhere each call fails, and the callers' plain way does the work. A socket's time-out is its own.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifdef _WIN32
    static inline int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) { return -1; }
    static inline int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) { return -1; }
    static inline int mapdr_has_input(int socket) { return -1; }
    #else
    #include <errno.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/socket.h>
    /* One read: its bytes, 0 at the end of the stream, -1 for a time-out, or the error's number, negative and
       less one. `acknowledge` what came before, at once: a peer with Nagle's algorithm holds back the rest of a
       message until its beginning is acknowledged. */
    static inline int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) {
    #ifdef TCP_QUICKACK
        int one = 1;
        if (acknowledge) setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
    #endif
        ssize_t got = recv(socket, to, (size_t)room, 0);
        if (got >= 0) return got;
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? -1 : -1 - (int64_t)errno;
    }
    /* One write: the bytes that went; -1 for any trouble, which the next attempt will meet again. */
    static inline int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) {
        return send(socket, data, (size_t)size, 0);
    }
    /* Whether the peer has sent anything, or has gone; never waits. */
    static inline int mapdr_has_input(int socket) {
        char byte;
        return recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
    }
    #endif
    """
    int64_t mapdr_receive(int socket, unsigned char *to, int64_t room, int acknowledge) noexcept nogil
    int64_t mapdr_send(int socket, const unsigned char *data, int64_t size) noexcept nogil
    int mapdr_has_input(int socket) noexcept nogil
