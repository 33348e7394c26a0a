/* System calls that fail when a test says so: preloaded into a node, told by a file that both have mapped.

   Each of the RULES says which calls fail, and how: those of a kind whose file's path holds a text, or whose
   socket has a local port; every n-th of them, MOST times at most. `error` is an errno, or SHORT: then a write
   or a send takes, and a read gives, less than it was asked for. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, WRITE, FSYNC, RENAME, UNLINK, CLOSE, RECV, SEND, TRUNCATE };
enum { RULES = 8, SHORT = -1 };

struct rule {
    int call, error, every, most, seen, hits, port;
    char path[36];
};

static struct rule *rules;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("MAPDR_FAULTS");
    int file = name ? open(name, O_RDWR) : -1;
    if (file < 0) return;
    void *map = mmap(NULL, RULES * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) rules = map;
}

static int of_port(int socket, int port) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    return !getsockname(socket, (struct sockaddr *)&address, &size) && address.sin_family == AF_INET
        && ntohs(address.sin_port) == port;
}

static int of_path(int file, const char *name, const char *part) {
    char link[32], path[4096];
    ssize_t size;
    if (name) return strstr(name, part) != NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return strstr(path, part) != NULL;
}

/* The errno of this call, SHORT, or 0 if it is to go as ever. */
static int fault(int call, int file, const char *name) {
    int kept = errno, number, error = 0;
    for (number = 0; rules && number < RULES && !error; number++) {
        struct rule *rule = &rules[number];
        if (rule->call != call) continue;
        if (rule->port ? !of_port(file, rule->port) : !of_path(file, name, rule->path)) continue;
        if (__sync_add_and_fetch(&rule->seen, 1) % rule->every) continue;
        if (rule->most && rule->hits >= rule->most) continue;
        __sync_add_and_fetch(&rule->hits, 1);
        error = rule->error;
    }
    errno = error > 0 ? error : kept;
    return error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPENS(name)                                                       \
    int name(const char *path, int flags, ...) {                          \
        va_list more;                                                     \
        va_start(more, flags);                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                     \
        return fault(OPEN, -1, path) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENATS(name)                                                     \
    int name(int folder, const char *path, int flags, ...) {              \
        va_list more;                                                     \
        va_start(more, flags);                                            \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                     \
        return fault(OPEN, -1, path) ? -1 : REAL(name)(folder, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)
OPENATS(openat)
OPENATS(openat64)

static size_t less(size_t size) { return size > 1 ? size / 2 : size; }

ssize_t write(int file, const void *data, size_t size) {
    int error = fault(WRITE, file, NULL);
    return error > 0 ? -1 : REAL(write)(file, data, error ? less(size) : size);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) {
    int error = fault(WRITE, file, NULL);
    return error > 0 ? -1 : REAL(pwrite64)(file, data, error ? less(size) : size, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    int error = fault(WRITE, file, NULL);
    if (error > 0) return -1;
    return error ? REAL(write)(file, parts[0].iov_base, less(parts[0].iov_len)) : REAL(writev)(file, parts, count);
}
int fsync(int file) { return fault(FSYNC, file, NULL) ? -1 : REAL(fsync)(file); }
int fdatasync(int file) { return fault(FSYNC, file, NULL) ? -1 : REAL(fdatasync)(file); }
int syncfs(int file) { return fault(FSYNC, file, NULL) ? -1 : REAL(syncfs)(file); }
int rename(const char *from, const char *to) { return fault(RENAME, -1, from) ? -1 : REAL(rename)(from, to); }
int unlink(const char *path) { return fault(UNLINK, -1, path) ? -1 : REAL(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) {
    return fault(UNLINK, -1, path) ? -1 : REAL(unlinkat)(folder, path, flags);
}
int ftruncate64(int file, off64_t size) { return fault(TRUNCATE, file, NULL) ? -1 : REAL(ftruncate64)(file, size); }
int ftruncate(int file, off_t size) { return fault(TRUNCATE, file, NULL) ? -1 : REAL(ftruncate)(file, size); }
int close(int file) {
    int error = fault(CLOSE, file, NULL), done = REAL(close)(file);
    if (error > 0) errno = error;
    return error > 0 ? -1 : done;
}
ssize_t recv(int socket, void *to, size_t size, int flags) {
    int error = fault(RECV, socket, NULL);
    return error > 0 ? -1 : REAL(recv)(socket, to, error ? (size > 7 ? 7 : size) : size, flags);
}
ssize_t send(int socket, const void *data, size_t size, int flags) {
    int error = fault(SEND, socket, NULL);
    return error > 0 ? -1 : REAL(send)(socket, data, error ? less(size) : size, flags);
}
