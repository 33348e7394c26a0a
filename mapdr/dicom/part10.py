"""Where the data set begins in a DICOM file (PS3.10), and what stands before it; or that there is only it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel.errors import Permanent

HEAD = 1 << 20
"""Bytes of a file that are looked at: no File Meta group comes near."""

_LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))


@dataclass(frozen=True, slots=True)
class Beginning:
    """Bytes before a file's data set, and what its File Meta group says of it.

    UIDs that the group does not give are empty.
    """

    offset: int
    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


def find(head: bytes) -> Beginning:
    """The data set of a file that begins with `head`, its first HEAD bytes or all of it.

    The preamble may be missing, and so may the File Meta group. Raises Permanent(reason="not-dicom").
    """
    if head[128:132] == b"DICM":
        start = 132
    elif head[:2] == b"\x02\x00" and head[3:4] == b"\x00":
        start = 0  # File Meta without a preamble: older files have that
    else:
        return Beginning(0, _guess(head))
    values: dict[int, str] = {}
    offset = start
    for element, value, end in _meta(head, start):
        offset = end
        if element in (0x0002, 0x0003, 0x0010):
            values[element] = value.decode("ascii", "replace").rstrip("\0 ")
    syntax = values.get(0x0010) or _guess(head[offset:])
    return Beginning(offset, syntax, values.get(0x0002, ""), values.get(0x0003, ""))


def _meta(head: bytes, at: int) -> Iterator[tuple[int, bytes, int]]:
    """Element number, value and end of each element of group 0002, whatever its group length says.

    PS3.10 wants explicit VR; an element without a VR is read in implicit VR, as DCMTK and GDCM do.
    """
    while head[at : at + 2] == b"\x02\x00" and len(head) - at >= 8:
        (element,) = struct.unpack_from("<H", head, at + 2)
        vr = head[at + 4 : at + 6]
        if not (vr.isalpha() and vr.isupper()):
            start, (length,) = at + 8, struct.unpack_from("<I", head, at + 4)
        elif vr in _LONG:
            if len(head) - at < 12:
                return
            start, (length,) = at + 12, struct.unpack_from("<I", head, at + 8)
        else:
            start, (length,) = at + 8, struct.unpack_from("<H", head, at + 6)
        if length > len(head) - start:
            return
        at = start + length
        yield element, head[start:at], at


def _guess(head: bytes) -> str:
    """The transfer syntax of a bare data set, from its first element."""
    if len(head) >= 8 and struct.unpack_from("<H", head)[0] in (0x0002, 0x0008):
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        return EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
    raise Permanent("is not a DICOM file", reason="not-dicom")
