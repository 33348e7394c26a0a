# What the index needs of one object that a run has received: read from its data set in C, handed over in Python.
#
# Needs search.pxi and uids.pxi, and StoredObject of `_receive_run_py`. A record is one block of memory: the struct,
# what was found of each wanted element, and the bytes that the SOP Instance UID and the values of those stand in.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport malloc
from libc.string cimport memcmp, memcpy

DEF PREFIX = 65536          # mapdr.store.spool.headers.PREFIX
DEF KEPT = 65536            # bytes of wanted values that one image may hand to the index
DEF VALUE = 1048576         # mapdr.dicom.scan.MAX_VALUE
DEF ELEMENTS = 10000000     # mapdr._fast.scan_tables.MAX_ELEMENTS
DEF SOP_CLASS_UID = 0x00080016
DEF SOP_INSTANCE_UID = 0x00080018
DEF STUDY_INSTANCE_UID = 0x0020000D

cdef struct Record:
    Record *next
    void *producer  # which stands in `RunQueue.producers` as long as it has a record
    uint64_t id[2]
    int64_t microseconds
    int64_t offset
    int64_t size
    unsigned char digest[16]
    int context
    int uid
    Walked walked

cdef struct Context:  # what the objects of one presentation context share; see `_receive_run_py.RunContext`
    bint usable
    bint explicit
    bint study
    const unsigned char *uid
    int uid_length
    const unsigned char *before
    int before_length
    const unsigned char *after
    int after_length

cdef struct Wanted:  # the elements that a record holds, in the order of their tags
    const uint32_t *tags
    Py_ssize_t count
    unsigned char nested[WANTED]  # whether anything is wanted within its items
    int sop_class                 # where these stand among them
    int sop_instance
    int study


cdef inline bint holds_uid(const unsigned char *data, const Seen *element, const unsigned char *uid,
                           int length) noexcept nogil:
    """Whether an element is there and holds this UID."""
    return element.offset >= 0 and element.held >= 0 and plain_uid(data + element.value, element.held) == length \
        and not memcmp(data + element.value, uid, length)


cdef Record *make_record(const unsigned char *data, int64_t size, const Context *context, const unsigned char *uid,
                         int uid_length, const Wanted *wanted) noexcept nogil:
    """What the index wants of a data set; the caller fills in what is not of the data set, and frees it.

    NULL if the data set is not regular, nothing that `mapdr.dicom.gate` passes, or not of these SOP UIDs.
    """
    cdef Seen seen[WANTED]
    cdef Walked walked, behind
    cdef Py_ssize_t number
    cdef int64_t kept = uid_length
    # As the ordinary way reads it: what is longer than the prefix is not searched behind its pixel data.
    if not search(data, min(size, PREFIX), size, context.explicit, wanted.tags, wanted.count, size <= PREFIX, VALUE,
                  ELEMENTS, seen, &walked):
        return NULL
    # To its end all the same: an object that is cut short is none of those that are taken here.
    if walked.end < size and not search(data + walked.end, size - walked.end, size - walked.end, context.explicit,
                                        NULL, 0, True, 0, ELEMENTS, NULL, &behind):
        return NULL
    if not holds_uid(data, &seen[wanted.sop_class], context.uid, context.uid_length):
        return NULL
    if not holds_uid(data, &seen[wanted.sop_instance], uid, uid_length):
        return NULL
    if seen[wanted.study].offset < 0:
        if context.study:
            return NULL
    elif not plain_uid(data + seen[wanted.study].value, seen[wanted.study].held):
        return NULL
    for number in range(wanted.count):
        if seen[number].offset >= 0:
            if wanted.nested[number] or not 0 <= seen[number].held <= KEPT:
                return NULL
            kept += seen[number].held
    if kept > KEPT:
        return NULL
    return filled_record(data, seen, wanted.count, &walked, uid, uid_length, kept)


cdef Record *filled_record(const unsigned char *data, const Seen *seen, Py_ssize_t count, const Walked *walked,
                           const unsigned char *uid, int uid_length, int64_t kept) noexcept nogil:
    """A record of what was found, whose UID and values are `kept` bytes long; NULL if there is no memory."""
    cdef Record *record = <Record *>malloc(sizeof(Record) + count * sizeof(Seen) + <size_t>kept)
    cdef Seen *elements
    cdef unsigned char *values
    cdef int64_t at = uid_length
    cdef Py_ssize_t number
    if record == NULL:
        return NULL
    elements = <Seen *>(record + 1)
    values = <unsigned char *>(elements + count)
    memcpy(values, uid, uid_length)
    for number in range(count):
        elements[number] = seen[number]
        if seen[number].offset >= 0:
            memcpy(values + at, data + seen[number].value, <size_t>seen[number].held)
            elements[number].value = at
            at += seen[number].held
    record.uid = uid_length
    record.walked = walked[0]
    record.next = NULL
    return record


cdef object stored_object(const Record *record, str id_, tuple paths, bint explicit):
    """A record as `StoredObject`; `paths` are those of the wanted elements, in the order of their tags."""
    cdef Py_ssize_t number, count = len(paths)
    cdef const Seen *elements = <const Seen *>(record + 1)
    cdef const unsigned char *bytes_ = <const unsigned char *>(elements + count)
    cdef dict values = {}
    for number in range(count):
        if elements[number].offset >= 0:
            values[paths[number]] = kept_value(&elements[number], bytes_, KEPT)
    return StoredObject(
        id_,
        record.context,
        bytes_[:record.uid].decode("ascii"),
        record.offset,
        record.size,
        PyBytes_FromStringAndSize(<const char *>record.digest, 16),
        record.microseconds / 1e6,
        values,
        walk_of([], &record.walked, explicit),
    )
