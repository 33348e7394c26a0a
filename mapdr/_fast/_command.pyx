# cython: language_level=3, boundscheck=True, wraparound=False, initializedcheck=False
"""The command reader of `_command_py` for right command sets, in C; the reference says what is wrong with others."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t

from mapdr._fast import _command_py

include "numbers.pxi"
include "commands.pxi"


def command_elements(bytes data not None):
    """As `_command_py.command_elements`."""
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(data)
    cdef int64_t left = len(data)
    cdef uint32_t element, length
    cdef int64_t count = 0
    cdef dict elements = {}
    while left >= 8 and command_element(at, left, &element, &length):
        elements[element] = PyBytes_FromStringAndSize(<const char *>at + 8, length)
        count += 1
        at += 8 + length
        left -= 8 + <int64_t>length
    if left or len(elements) != count:
        return _command_py.command_elements(data)
    return elements
