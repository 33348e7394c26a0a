"""The command reader in plain Python: the reference and the documentation of its compiled twin."""

from __future__ import annotations

from struct import Struct

from mapdr.kernel.errors import RemoteProtocolError

_HEADER = Struct("<HHL")


def command_elements(data: bytes) -> dict[int, bytes]:
    """Element number to value of a command set (PS3.7, section 6.3.1): group 0000, implicit VR little endian.

    Raises RemoteProtocolError, for an element that comes twice too: nobody can say which of them is meant.
    """
    elements: dict[int, bytes] = {}
    end = len(data)
    at = 0
    unpack = _HEADER.unpack_from
    while at < end:
        if end - at < 8:
            raise RemoteProtocolError("a command set ends inside an element's header", abort_reason=6)
        group, element, length = unpack(data, at)
        at += 8
        if group != 0:
            raise RemoteProtocolError("a command set holds an element outside of group 0000", abort_reason=6)
        if length > end - at:
            raise RemoteProtocolError("a command set's element is longer than the set", abort_reason=6)
        if element in elements:
            raise RemoteProtocolError("a command set holds an element twice", abort_reason=6)
        elements[element] = data[at : at + length]
        at += length
    return elements
