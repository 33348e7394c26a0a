# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""Runs of C-STORE messages that are whole and regular, from the socket into the spool without the interpreter.

A run receives, looks at headers, writes the file, flushes it, answers, and queues what the index needs, in C
and without the GIL (but for a journal, if that makes objects safe); the index's writer drains the queue later. Only what fits into the receive buffer as a whole
is taken. A message that is anything but regular is left to the ordinary way: unread where its PDVs or its command
set are odd, read where its data set is, and after any trouble with the file.

Its parts: receive_requests.pxi reads requests and writes responses, receive_records.pxi what the index needs of an
object, receive_files.pxi its file, receive_queue.pxi is the queue to the index. Here they are put together: the
session with one peer. POSIX only: elsewhere `RunReceiver.possible` is False.
"""

import os
from sys import byteorder

from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memmove, memset

from mapdr._fast import _receive_run_py
from mapdr._fast._receive_run_py import StoredObject, UnindexedObject
from mapdr._fast.scan_tables import Pixels, Walk
from mapdr.kernel.runs import RunResult, UnstoredMessage

include "numbers.pxi"
include "heads.pxi"
include "walk.pxi"
include "search.pxi"
include "uids.pxi"
include "commands.pxi"
include "pdata.pxi"
include "clock.pxi"
include "digest.pxi"
include "sockets.pxi"
include "fences.pxi"
include "receive_requests.pxi"
include "receive_records.pxi"
include "receive_files.pxi"
include "receive_queue.pxi"

BACKEND = "cython"

SANITIZED = bool(MAPDR_FENCES)
"""Whether this is the build of `make sanitize`, whose inbox is a heap buffer as long as what has come."""

cdef enum End:  # why a run ended
    PAUSED = 0      # its time or its count is over, or the runs have to end
    ORDINARY = 1    # the next message, or what there is of it, is for the ordinary way, unread
    HANDED = 2      # its last message is for the ordinary way, read
    UNSENT = 3      # the socket did not take the whole of a response

cdef struct Run:
    int socket
    int folder
    int generation         # of the queue's runs
    int64_t stop_at        # microseconds of the clock
    unsigned char *inbox   # the receive buffer: `room` bytes, of which those from `at` to `end` are not taken
    unsigned char *data    # the same bytes; a fenced copy in the sanitizer build
    int64_t room
    int64_t at
    int64_t end
    int64_t max_length     # of a PDU
    uint64_t id[2]         # of the first object
    int64_t stored
    int64_t size
    int64_t got            # by the last read
    int64_t sent           # of the last response
    int64_t response_length
    unsigned char response[RESPONSE]
    Request request        # the last one that was read


cdef bint receive_more(Run *run) noexcept nogil:
    """Read once more into the buffer, at whose beginning is then what is not taken; False if nothing came, or there
    is no room."""
    if run.at:
        memmove(run.inbox, run.inbox + run.at, <size_t>(run.end - run.at))
        run.end -= run.at
        run.at = 0
    run.got = 0
    if run.end < run.room:
        run.got = mapdr_receive(run.socket, run.inbox + run.end, run.room - run.end, run.end != 0)
    if run.got <= 0:
        return False
    run.end += run.got
    run.data = mapdr_fenced(run.data, run.inbox, run.end)
    return True


cdef class RunReceiver(_Producer):
    """As `_receive_run_py.RunReceiver`."""

    possible = bool(MAPDR_RUNS)

    cdef RunQueue queue
    cdef Context contexts[256]
    cdef Wanted wanted
    cdef tuple paths
    cdef list kept_alive
    cdef bint durable
    cdef object journal
    cdef int64_t largest  # of the objects that `journal` makes safe; -1 without one
    cdef int unflushed  # whether a flush of it failed, so that no other is to be trusted
    cdef bint stuck  # whether the file of the message that is handed over could not be removed
    cdef unsigned char *meta

    def __cinit__(self, RunQueue queue, contexts, tags, bint durable, owner, *, journal=None):
        cdef int longest = 0
        memset(self.contexts, 0, sizeof(self.contexts))
        self.queue, self.durable, self.owner = queue, durable, owner
        self.journal, self.largest = journal, -1 if journal is None else journal.largest
        self.kept_alive = []
        self.want(tags)
        for number, context in contexts.items():
            longest = max(longest, self.know(&self.contexts[<unsigned char>number], context))
        self.meta = <unsigned char *>malloc(META + longest)
        if self.meta == NULL:
            raise MemoryError
        queue.producers.add(self)

    def __dealloc__(self):
        free(self.meta)

    cdef want(self, tags):
        """Take in the elements that are wanted of each object."""
        cdef bytes packed
        cdef list ordered = sorted(tags)
        if len(ordered) > WANTED:
            raise ValueError(f"at most {WANTED} tags can be wanted")
        packed = packed_tags(ordered)
        self.kept_alive.append(packed)
        self.paths = tuple([(tag,) for tag in ordered])
        self.wanted.tags, self.wanted.count = <const uint32_t *>PyBytes_AS_STRING(packed), len(ordered)
        for number, tag in enumerate(ordered):
            self.wanted.nested[number] = bool(tags[tag])
        self.wanted.sop_class = ordered.index(SOP_CLASS_UID)
        self.wanted.sop_instance = ordered.index(SOP_INSTANCE_UID)
        self.wanted.study = ordered.index(STUDY_INSTANCE_UID)

    cdef int know(self, Context *context, facts) except -1:
        """Take in a presentation context; how many bytes of a File Meta group it gives."""
        cdef bytes uid = facts.sop_class_uid, before = facts.before, after = facts.after
        self.kept_alive += [uid, before, after]
        context.usable, context.explicit, context.study = True, facts.explicit, facts.study
        context.uid, context.uid_length = <const unsigned char *>PyBytes_AS_STRING(uid), len(uid)
        context.before, context.before_length = <const unsigned char *>PyBytes_AS_STRING(before), len(before)
        context.after, context.after_length = <const unsigned char *>PyBytes_AS_STRING(after), len(after)
        return context.before_length + context.after_length

    cdef object as_object(self, Record *record):
        return stored_object(record, id_of(record), self.paths, self.contexts[record.context].explicit)

    def end(self):
        """As `_receive_run_py.RunReceiver.end`."""
        self.ended = True
        self.queue.drop_if_done(self)

    def receive(self, channel, int folder, id_, int count, int generation):
        """As `_receive_run_py.RunReceiver.receive`."""
        if not channel.between_messages:
            return RunResult()
        cdef Run run
        cdef End why
        cdef unsigned char[::1] buffer = channel._buffer
        run.socket, run.folder, run.generation = channel._sock.fileno(), folder, generation
        run.stop_at = mapdr_now(0) + <int64_t>(_receive_run_py.MAX_SECONDS * 1000000)
        run.inbox, run.room = &buffer[0], buffer.shape[0]
        run.at, run.end, run.max_length = channel._at, channel._end, channel._max_receive
        run.id[0], run.id[1] = id_ >> 64, id_ & 0xFFFFFFFFFFFFFFFF
        run.stored = run.size = run.got = run.sent = run.response_length = 0
        run.data = mapdr_fenced(NULL, run.inbox, run.end)
        with nogil:
            why = self.go(&run, count)
        # What is left of the last message has been joined in `data`.
        mapdr_unfence(run.data, run.inbox, run.end if why == HANDED else 0)
        if run.got < -1:
            channel.broke(OSError(-1 - run.got, os.strerror(-1 - run.got)))
        channel._at, channel._end = run.at, run.end
        return self.result(channel, &run, why, id_)

    cdef object result(self, channel, Run *run, End why, id_):
        """What came of a run, as `RunResult`."""
        cdef int64_t sent
        unsent, unstored, stuck = b"", None, ""
        if why == UNSENT:
            sent = max(run.sent, 0)
            unsent = PyBytes_FromStringAndSize(<char *>run.response + sent, run.response_length - sent)
        if why == HANDED:
            whole = channel._view
            channel.took_data(run.request.context)
            unstored = UnstoredMessage(
                run.request.context,
                bytes(whole[run.request.command:run.request.command + run.request.command_length]),
                whole[run.request.data:run.request.data + run.request.size],
            )
        if self.stuck:
            self.stuck = False
            stuck = f"{id_ + run.stored:032x}"
        unflushed, self.unflushed = bool(self.unflushed), 0
        return RunResult(run.stored, run.size, why != ORDINARY, unsent, unstored, stuck, unflushed)

    cdef End go(self, Run *run, int count) noexcept nogil:
        """Take messages from the socket until the run is over: at most `count`."""
        cdef Request *request = &run.request
        cdef Outcome found
        while run.stored < count and not self.queue.has_ended(run.generation):
            if run.stored and mapdr_now(0) > run.stop_at:
                return PAUSED
            found = MORE
            if run.at != run.end:
                found = read_request(run.data, run.at, run.end, run.room, run.max_length, request)
            if found == MORE:
                if mapdr_now(0) > run.stop_at:
                    return PAUSED if run.at == run.end else ORDINARY
                if not receive_more(run):
                    return ORDINARY
                continue
            if found == ODD or not self.contexts[request.context].usable:
                return ORDINARY
            if not self.queue.reserve(run.generation, run.stop_at):
                return PAUSED if self.queue.has_ended(run.generation) else ORDINARY
            run.at = request.end
            join_pdvs(run.data, run.max_length, request)
            if not self.store(run):
                self.queue.give_back()
                return HANDED
            run.stored += 1
            run.size += request.size
            run.response_length = put_response(run.response, request)
            run.sent = mapdr_send(run.socket, run.response, run.response_length)
            if run.sent != run.response_length:
                return UNSENT
        return PAUSED

    cdef bint store(self, Run *run) noexcept nogil:
        """Make the object of the last request safe and queue its record; False if that cannot be, and nothing is
        left of it or, where a file cannot be removed (`stuck`), no image."""
        cdef const Request *request = &run.request
        cdef const Context *context = &self.contexts[request.context]
        cdef const unsigned char *data = run.data + request.data
        cdef int uid = plain_uid(request.uid, request.uid_length), failed
        cdef bint appended = request.size <= self.largest
        cdef Record *record
        cdef unsigned char *fenced
        cdef char name[NAME + 1]
        if not uid or plain_uid(request.sop_class, request.class_length) != context.uid_length:
            return False
        if memcmp(request.sop_class, context.uid, context.uid_length):
            return False
        fenced = mapdr_fenced(NULL, data, request.size)
        record = make_record(fenced, request.size, context, request.uid, uid, &self.wanted)
        mapdr_unfence(fenced, NULL, 0)
        if record == NULL:
            return False
        record.producer = <void *>self
        record.id[0], record.id[1] = run.id[0], run.id[1] + run.stored
        record.context = request.context
        record.size = request.size
        record.microseconds = mapdr_now(1)
        mapdr_digest(data, <size_t>request.size, record.digest)
        record.offset = put_meta(self.meta, context, request.uid, record)
        put_name(name, record)
        failed = mapdr_write_file(run.folder, name, self.meta, record.offset, data, request.size,
                                  self.durable and not appended, &self.unflushed)
        if not failed and appended and not self.append(record, data):
            failed = -2 if mapdr_remove_file(run.folder, name) else -1
        if failed or not self.queue.put(record):
            self.stuck = failed == -2 or (not failed and mapdr_remove_file(run.folder, name))
            free(record)
            return False
        self.queued += 1
        return True

    cdef bint append(self, const Record *record, const unsigned char *data) noexcept with gil:
        """Make an object safe by the journal, its file being written; False if that cannot be."""
        cdef object before, view
        try:
            before = PyBytes_FromStringAndSize(<char *>self.meta, record.offset)
            view = PyMemoryView_FromMemory(<char *>data, record.size, PyBUF_READ)
            self.journal.append(id_of(record), before, view, PyBytes_FromStringAndSize(<char *>record.digest, 16))
        except Exception:
            return False  # the ordinary way says why
        return True
