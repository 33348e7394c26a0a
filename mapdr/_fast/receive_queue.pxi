# The queue between runs and the index, in C: what runs have stored waits here until the index's writer drains it.
#
# Needs clock.pxi, receive_records.pxi and receive_files.pxi (`id_of`), and UnindexedObject of `_receive_run_py`. Runs
# put records in without the interpreter's lock, under the queue's own; everything else holds the interpreter's.

from libc.stdint cimport int64_t
from libc.stdlib cimport free

cdef extern from *:
    """
    #ifdef _WIN32
    typedef int mapdr_mutex;
    static inline void mapdr_init(mapdr_mutex *mutex) {}
    static inline void mapdr_lock(mapdr_mutex *mutex) {}
    static inline void mapdr_unlock(mapdr_mutex *mutex) {}
    static inline int mapdr_load(const int *at) { return *at; }
    static inline void mapdr_sleep(void) {}
    #else
    #include <pthread.h>
    #include <time.h>
    typedef pthread_mutex_t mapdr_mutex;
    static inline void mapdr_init(mapdr_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
    static inline void mapdr_lock(mapdr_mutex *mutex) { pthread_mutex_lock(mutex); }
    static inline void mapdr_unlock(mapdr_mutex *mutex) { pthread_mutex_unlock(mutex); }
    static inline int mapdr_load(const int *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
    /* For a millisecond. */
    static inline void mapdr_sleep(void) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    #endif
    """
    ctypedef struct mapdr_mutex:
        pass
    void mapdr_init(mapdr_mutex *mutex) noexcept nogil
    void mapdr_lock(mapdr_mutex *mutex) noexcept nogil
    void mapdr_unlock(mapdr_mutex *mutex) noexcept nogil
    int mapdr_load(const int *at) noexcept nogil
    void mapdr_sleep() noexcept nogil


cdef class _Producer:
    """Who puts records into the queue: what the queue needs to know of a `RunReceiver`."""

    cdef object owner
    cdef bint ended        # it puts no more
    cdef int64_t queued    # records; those of them that were drained
    cdef int64_t drained

    cdef object as_object(self, Record *record):
        """A record as `StoredObject`."""
        raise NotImplementedError

    cdef object object_or_why_not(self, Record *record):
        """A record as `StoredObject`, or as `UnindexedObject` where that fails: its image is safe and was answered."""
        try:
            return self.as_object(record)
        except Exception as error:
            return UnindexedObject(id_of(record), error)


cdef class RunQueue:
    """As `_receive_run_py.RunQueue`."""

    cdef readonly int limit
    cdef int ended  # calls of `end_runs`
    cdef bint closed
    cdef int taken     # in the queue
    cdef int reserved  # on their way into it
    cdef int behind    # drained, or taken by others, and not yet written
    cdef Record *first
    cdef Record *last
    cdef set producers
    cdef list ready
    cdef mapdr_mutex mutex

    def __cinit__(self, int limit):
        self.limit = limit
        self.closed = True
        self.producers = set()
        self.ready = []
        mapdr_init(&self.mutex)

    def __dealloc__(self):
        cdef Record *record = self.first
        while record != NULL:
            self.first = record.next
            free(record)
            record = self.first

    @property
    def generation(self):
        """As `_receive_run_py.RunQueue.generation`."""
        return mapdr_load(&self.ended)

    @property
    def backlog(self):
        """As `_receive_run_py.RunQueue.backlog`."""
        return mapdr_load(&self.behind)

    @backlog.setter
    def backlog(self, int count):
        with nogil:
            mapdr_lock(&self.mutex)
            self.behind = count
            mapdr_unlock(&self.mutex)

    @property
    def waiting(self):
        """As `_receive_run_py.RunQueue.waiting`."""
        return mapdr_load(&self.taken)

    @property
    def in_use(self):
        """As `_receive_run_py.RunQueue.in_use`."""
        return bool(self.producers)

    def end_runs(self):
        """As `_receive_run_py.RunQueue.end_runs`."""
        with nogil:
            mapdr_lock(&self.mutex)
            self.ended += 1
            mapdr_unlock(&self.mutex)

    def open(self):
        """As `_receive_run_py.RunQueue.open`."""
        self.set_closed(False)

    def close(self):
        """As `_receive_run_py.RunQueue.close`."""
        self.set_closed(True)

    cdef set_closed(self, bint closed):
        with nogil:
            mapdr_lock(&self.mutex)
            self.closed = closed
            mapdr_unlock(&self.mutex)

    def admit(self):
        """As `_receive_run_py.RunQueue.admit`."""
        cdef bint room
        with nogil:
            mapdr_lock(&self.mutex)
            room = self.has_room()
            self.behind += room
            mapdr_unlock(&self.mutex)
        return room

    def drain(self):
        """As `_receive_run_py.RunQueue.drain`."""
        cdef Record *record = self.detach()
        cdef Record *after
        cdef _Producer producer
        try:
            while record != NULL:
                producer = <_Producer>record.producer
                self.ready.append((producer.owner, producer.object_or_why_not(record)))
                producer.drained += 1
                self.drop_if_done(producer)
                after = record.next
                free(record)
                record = after
        finally:
            self.attach(record)
        ready, self.ready = self.ready, []
        return ready

    cdef drop_if_done(self, _Producer producer):
        """Let go of a producer that ends, once nothing of it waits any more."""
        if producer.ended and producer.drained == producer.queued:
            self.producers.discard(producer)

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

    cdef inline bint has_ended(self, int generation) noexcept nogil:
        """Whether the runs of a generation have to end."""
        return mapdr_load(&self.ended) != generation

    cdef bint reserve(self, int generation, int64_t until) noexcept nogil:
        """Wait for a place in the queue; False if there is none by `until`, or the run has to end before.

        `until`: microseconds of `mapdr_now(0)`.
        """
        cdef bint over, room
        while True:
            mapdr_lock(&self.mutex)
            over = self.closed or self.ended != generation
            room = not over and self.has_room()
            self.reserved += room
            mapdr_unlock(&self.mutex)
            if room or over or mapdr_now(0) > until:
                return room
            mapdr_sleep()

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
