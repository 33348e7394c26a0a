/* What a process asks of the file system, written down: preloaded into the store under test, whichever of its
   calls come from Python, from the compiled runs, or from SQLite.

   MAPDR_RECORD names the file that the record is appended to, MAPDR_RECORD_ROOT the folder whose files are
   recorded. Calls that change something are made and written down under one lock: the record has the order in
   which they took effect. A record is `struct head`, then both paths, then the bytes, without padding; a number
   of an open file is told by its inode. Not seen: writes through a memory map, io_uring, sendfile. A test
   compares the folder with what the record says it holds, so nothing that changes it is missed in silence. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, MKDIR, LINK, RENAME, UNLINK, RMDIR, WRITE, LENGTH, FSYNC, FDATASYNC, MARK, SEND, SYNCFS };

struct head {
    uint32_t call, path, other, size;
    uint64_t inode;
    int64_t at;
};

static int record = -1;
static char root[PATH_MAX];
static size_t root_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define BEGIN int kept; pthread_mutex_lock(&lock)
#define END(done) kept = errno; pthread_mutex_unlock(&lock); errno = kept; return done

__attribute__((constructor)) static void begin(void) {
    const char *to = getenv("MAPDR_RECORD"), *of = getenv("MAPDR_RECORD_ROOT");
    if (!to || !of || !realpath(of, root)) return;
    root_length = strlen(root);
    record = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void put(uint32_t call, uint64_t inode, int64_t at, const char *path, const char *other,
                const struct iovec *data, int count, size_t size) {
    struct head head = {call, path ? strlen(path) : 0, other ? strlen(other) : 0, size, inode, at};
    size_t whole = sizeof head + head.path + head.other + size, filled = 0;
    char *line = malloc(whole), *end = line + sizeof head;
    memcpy(line, &head, sizeof head);
    if (path) end = mempcpy(end, path, head.path);
    if (other) end = mempcpy(end, other, head.other);
    for (int part = 0; part < count && filled < size; part++) {
        size_t some = data[part].iov_len < size - filled ? data[part].iov_len : size - filled;
        end = mempcpy(end, data[part].iov_base, some);
        filled += some;
    }
    if (REAL(write)(record, line, whole) != (ssize_t)whole) abort();  /* a record with a gap says nothing */
    free(line);
}

/* The path below the root in `found`, and 1; 0 if it is not below it. */
static int below(char *path, char *found) {
    if (strncmp(path, root, root_length) || (path[root_length] != '/' && path[root_length])) return 0;
    path += root_length;
    while (*path == '/') path++;
    strcpy(found, path);
    return 1;
}

static int of_file(int file, char *found) {
    char link[40], path[PATH_MAX];
    ssize_t size;
    if (record < 0 || file < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return below(path, found);
}

static int of_path(int folder, const char *name, char *found) {
    char path[3 * PATH_MAX], base[PATH_MAX];
    if (record < 0 || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, sizeof path, "%s", name);
    } else if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
        snprintf(path, sizeof path, "%s/%s", base, name);
    } else {
        if (!of_file(folder, base)) return 0;
        snprintf(path, sizeof path, "%s/%s/%s", root, base, name);
    }
    return below(path, found);
}

static uint64_t inode_of(int file) {
    struct stat facts;
    return fstat(file, &facts) ? 0 : facts.st_ino;
}

static uint64_t inode_at(int folder, const char *name) {
    struct stat facts;
    return fstatat(folder, name, &facts, AT_SYMLINK_NOFOLLOW) ? 0 : facts.st_ino;
}

/* Opening: a name that was not there is one more, and O_TRUNC is a length. */
static int opened(int file, int flags, uint64_t before, const char *path) {
    if (file < 0) return file;
    if (!before && flags & O_CREAT) put(CREATE, inode_of(file), 0, path, NULL, NULL, 0, 0);
    if (before && flags & O_TRUNC) put(LENGTH, inode_of(file), 0, NULL, NULL, NULL, 0, 0);
    return file;
}

#define OPEN(name, folder, parameters, arguments)                                       \
    int name parameters {                                                               \
        char found[PATH_MAX];                                                           \
        mode_t mode = 0;                                                                \
        if (flags & (O_CREAT | O_TMPFILE)) {                                            \
            va_list more;                                                               \
            va_start(more, flags);                                                      \
            mode = va_arg(more, mode_t);                                                \
            va_end(more);                                                               \
        }                                                                               \
        if (!(flags & (O_CREAT | O_TRUNC)) || !of_path(folder, path, found)) return REAL(name) arguments; \
        BEGIN;                                                                          \
        uint64_t before = inode_at(folder, path);                                       \
        int file = opened(REAL(name) arguments, flags, before, found);                  \
        END(file);                                                                      \
    }
OPEN(open, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), (path, flags, mode))
OPEN(openat, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPEN(openat64, folder, (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

/* A write of `done` bytes that ended at `end`; with O_DSYNC or RWF_DSYNC it is a flush too. */
static void wrote(int file, int64_t at, const struct iovec *parts, int count, ssize_t done, int flags) {
    int synced = fcntl(file, F_GETFL) & O_SYNC;
    if (done <= 0) return;
    put(WRITE, inode_of(file), at, NULL, NULL, parts, count, (size_t)done);
    if (synced == O_SYNC || flags & RWF_SYNC) put(FSYNC, inode_of(file), 0, NULL, NULL, NULL, 0, 0);
    else if (synced || flags & RWF_DSYNC) put(FDATASYNC, inode_of(file), 0, NULL, NULL, NULL, 0, 0);
}

#define WRITES(name, parameters, arguments, parts, count, where, flags)                 \
    ssize_t name parameters {                                                           \
        char found[PATH_MAX];                                                           \
        if (!of_file(file, found)) return REAL(name) arguments;                         \
        BEGIN;                                                                          \
        ssize_t done = REAL(name) arguments;                                            \
        wrote(file, where, parts, count, done, flags);                                  \
        END(done);                                                                      \
    }
#define ONE (&(struct iovec){(void *)data, size})
#define PLACE (lseek(file, 0, SEEK_CUR) - done)
WRITES(write, (int file, const void *data, size_t size), (file, data, size), ONE, 1, PLACE, 0)
WRITES(writev, (int file, const struct iovec *parts, int count), (file, parts, count), parts, count, PLACE, 0)
WRITES(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), ONE, 1, at, 0)
WRITES(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), ONE, 1, at, 0)
WRITES(pwritev, (int file, const struct iovec *parts, int count, off_t at), (file, parts, count, at), parts, count, at, 0)
WRITES(pwritev64, (int file, const struct iovec *parts, int count, off64_t at), (file, parts, count, at), parts, count, at, 0)
WRITES(pwritev2, (int file, const struct iovec *parts, int count, off_t at, int how), (file, parts, count, at, how),
       parts, count, at < 0 ? PLACE : at, how)
WRITES(pwritev64v2, (int file, const struct iovec *parts, int count, off64_t at, int how), (file, parts, count, at, how),
       parts, count, at < 0 ? PLACE : at, how)

/* What changes a file's length: the length that it has then is written down. */
static int64_t length_of(int file) {
    struct stat facts;
    return fstat(file, &facts) ? 0 : facts.st_size;
}
#define LENGTHS(name, parameters, arguments)                                            \
    int name parameters {                                                               \
        char found[PATH_MAX];                                                           \
        if (!of_file(file, found)) return REAL(name) arguments;                         \
        BEGIN;                                                                          \
        int done = REAL(name) arguments;                                                \
        if (!done) put(LENGTH, inode_of(file), length_of(file), NULL, NULL, NULL, 0, 0); \
        END(done);                                                                      \
    }
LENGTHS(ftruncate, (int file, off_t size), (file, size))
LENGTHS(ftruncate64, (int file, off64_t size), (file, size))
LENGTHS(posix_fallocate, (int file, off_t at, off_t size), (file, at, size))
LENGTHS(posix_fallocate64, (int file, off64_t at, off64_t size), (file, at, size))
LENGTHS(fallocate, (int file, int how, off_t at, off_t size), (file, how, at, size))
LENGTHS(fallocate64, (int file, int how, off64_t at, off64_t size), (file, how, at, size))

#define TRUNCATES(name, parameters)                                                     \
    int name parameters {                                                               \
        char found[PATH_MAX];                                                           \
        if (!of_path(AT_FDCWD, path, found)) return REAL(name)(path, size);             \
        BEGIN;                                                                          \
        int done = REAL(name)(path, size);                                              \
        if (!done) put(LENGTH, inode_at(AT_FDCWD, path), size, NULL, NULL, NULL, 0, 0); \
        END(done);                                                                      \
    }
TRUNCATES(truncate, (const char *path, off_t size))
TRUNCATES(truncate64, (const char *path, off64_t size))

/* One name more, less, or another. */
#define NAMES(name, parameters, arguments, folder, path, call)                          \
    int name parameters {                                                               \
        char found[PATH_MAX];                                                           \
        if (!of_path(folder, path, found)) return REAL(name) arguments;                 \
        BEGIN;                                                                          \
        uint64_t before = inode_at(folder, path);                                       \
        int done = REAL(name) arguments;                                                \
        if (!done) put(call, before ? before : inode_at(folder, path), 0, found, NULL, NULL, 0, 0); \
        END(done);                                                                      \
    }
NAMES(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, MKDIR)
NAMES(mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), folder, path, MKDIR)
NAMES(unlink, (const char *path), (path), AT_FDCWD, path, UNLINK)
NAMES(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), folder, path,
      flags & AT_REMOVEDIR ? RMDIR : UNLINK)
NAMES(rmdir, (const char *path), (path), AT_FDCWD, path, RMDIR)

#define PAIRS(name, parameters, arguments, of, from, at, to, call)                      \
    int name parameters {                                                               \
        char found[PATH_MAX], other[PATH_MAX];                                          \
        if (!of_path(of, from, found) || !of_path(at, to, other)) return REAL(name) arguments; \
        BEGIN;                                                                          \
        uint64_t inode = inode_at(of, from);                                            \
        int done = REAL(name) arguments;                                                \
        if (!done) put(call, inode, 0, found, other, NULL, 0, 0);                       \
        END(done);                                                                      \
    }
PAIRS(rename, (const char *from, const char *to), (from, to), AT_FDCWD, from, AT_FDCWD, to, RENAME)
PAIRS(renameat, (int of, const char *from, int at, const char *to), (of, from, at, to), of, from, at, to, RENAME)
PAIRS(renameat2, (int of, const char *from, int at, const char *to, unsigned flags), (of, from, at, to, flags),
      of, from, at, to, RENAME)
PAIRS(link, (const char *from, const char *to), (from, to), AT_FDCWD, from, AT_FDCWD, to, LINK)
PAIRS(linkat, (int of, const char *from, int at, const char *to, int flags), (of, from, at, to, flags),
      of, from, at, to, LINK)

#define FLUSHES(name, call)                                                             \
    int name(int file) {                                                                \
        char found[PATH_MAX];                                                           \
        if (!of_file(file, found)) return REAL(name)(file);                             \
        BEGIN;                                                                          \
        int done = REAL(name)(file);                                                    \
        if (!done) put(call, inode_of(file), 0, NULL, NULL, NULL, 0, 0);                \
        END(done);                                                                      \
    }
FLUSHES(fsync, FSYNC)
FLUSHES(fdatasync, FDATASYNC)
FLUSHES(syncfs, SYNCFS)

/* What a peer is told: written down before it goes out. */
ssize_t send(int socket, const void *data, size_t size, int flags) {
    if (record < 0) return REAL(send)(socket, data, size, flags);
    BEGIN;
    put(SEND, 0, 0, NULL, NULL, ONE, 1, size);
    ssize_t done = REAL(send)(socket, data, size, flags);
    END(done);
}

/* For the child: a remark in the record, and an end of the process that leaves no call unwritten. */
void mapdr_mark(const char *text) {
    if (record < 0) return;
    pthread_mutex_lock(&lock);
    put(MARK, 0, 0, text, NULL, NULL, 0, 0);
    pthread_mutex_unlock(&lock);
}
void mapdr_die(int code) {
    pthread_mutex_lock(&lock);
    _exit(code);
}
