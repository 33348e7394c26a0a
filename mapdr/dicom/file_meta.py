"""Reads the beginning of a DICOM file, as it comes: preamble and File Meta group (PS3.10, section 7.1).

What a peer sends can only raise RemoteProtocolError, and no message repeats any of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mapdr.kernel.errors import RemoteProtocolError

LONGEST = 1 << 20
"""Bytes that preamble and group may have."""

PREAMBLE = 128
"""Bytes before the prefix ..."""

PREFIX = b"DICM"
"""... which stands before the group."""

_START = PREAMBLE + len(PREFIX)
_GROUP = b"\x02\x00"
_LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
_GROUP_LENGTH, _SOP_CLASS, _SOP_INSTANCE, _SYNTAX = 0x0000, 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the group says; `length` is how many bytes stand before the data set. UIDs that it lacks are
    empty."""

    length: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def read_file_meta(head: bytes | bytearray, *, ended: bool = False) -> FileMeta | None:
    """The group behind the preamble at the beginning of `head`; else as `read_group`.

    Raises RemoteProtocolError also for what is no DICOM file; one without a preamble is taken for none.
    """
    short = len(head) < _START
    if not PREFIX.startswith(bytes(head[PREAMBLE:_START])) or (short and ended):
        raise RemoteProtocolError("it is not a DICOM file: no DICM stands behind a preamble of 128 bytes")
    if short:
        return None
    return read_group(head, _START, ended=ended)


def read_group(head: bytes | bytearray, at: int, *, ended: bool) -> FileMeta | None:
    """The group that begins at `at`; None if more bytes are needed, never if the file has `ended`.

    The group ends where its length says, if an element begins or the file ends there and the transfer syntax
    was before it, and else before the first element of another group: there are files with a wrong length,
    and with none. Raises RemoteProtocolError for a group that is cut, and for one longer than LONGEST.
    """
    values: dict[int, str] = {}
    end = -1
    while at != end or _SYNTAX not in values:
        if len(head) - at < len(_GROUP) and not (ended and len(head) == at):
            _check_end(head, ended)
            return None
        if head[at : at + 2] != _GROUP:
            break
        found = _element(head, at)
        if found is None:
            _check_end(head, ended)
            return None
        element, value, at = found
        if element == _GROUP_LENGTH and len(value) == 4:
            end = at + int.from_bytes(value, "little")
        elif element in (_SOP_CLASS, _SOP_INSTANCE, _SYNTAX):
            values[element] = value.decode("ascii", "replace").strip("\0 ")
    return FileMeta(at, *(values.get(each, "") for each in (_SOP_CLASS, _SOP_INSTANCE, _SYNTAX)))


def _check_end(head: bytes | bytearray, ended: bool) -> None:
    """More bytes are needed: can there be any? Raises RemoteProtocolError if not."""
    if ended:
        raise RemoteProtocolError("the file ends within its File Meta Information")
    if len(head) > LONGEST:
        raise RemoteProtocolError(f"the File Meta Information is longer than {LONGEST} bytes")


def _element(head: bytes | bytearray, at: int) -> tuple[int, bytes, int] | None:
    """Element number, value, and end of the element at `at`; None if it does not end within `head`.

    PS3.10 wants explicit VR; an element without a VR is read in implicit VR, as DCMTK and GDCM do.
    """
    if len(head) - at < 12:
        return None
    (element,) = struct.unpack_from("<H", head, at + 2)
    vr = bytes(head[at + 4 : at + 6])
    if not (vr.isalpha() and vr.isupper()):
        start, (length,) = at + 8, struct.unpack_from("<I", head, at + 4)
    elif vr in _LONG:
        start, (length,) = at + 12, struct.unpack_from("<I", head, at + 8)
    else:
        start, (length,) = at + 8, struct.unpack_from("<H", head, at + 6)
    if start + length > LONGEST:
        raise RemoteProtocolError(f"the File Meta Information is longer than {LONGEST} bytes")
    end = start + length
    return (element, bytes(head[start:end]), end) if end <= len(head) else None
