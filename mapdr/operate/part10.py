"""Finds the data set in a DICOM file (PS3.10), or takes the file as a bare data set."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel.errors import Permanent

_LONG = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"))
_MOST = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """Where a file's data set begins, how long it is, and what its File Meta group says of it.

    UIDs that the group does not give are empty.
    """

    path: Path
    offset: int
    length: int
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def locate(path: Path) -> File:
    """The data set in `path`. Raises Permanent(reason="not-dicom"), and OSError if it cannot be read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_MOST)
    if head[128:132] == b"DICM":
        start = 132
    elif head[:2] == b"\x02\x00" and head[3:4] == b"\x00":
        start = 0  # File Meta without a preamble: older files have that
    else:
        return File(path, 0, size, _guess(path, head), "", "")
    values: dict[int, str] = {}
    offset = start
    for element, value, end in _meta(head, start):
        offset = end
        if element in (0x0002, 0x0003, 0x0010):
            values[element] = value.decode("ascii", "replace").rstrip("\0 ")
    syntax = values.get(0x0010) or _guess(path, head[offset:])
    return File(path, offset, size - offset, syntax, values.get(0x0002, ""), values.get(0x0003, ""))


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files named, and all files below the folders named, in order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(one for one in path.rglob("*") if one.is_file())
        else:
            yield path


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


def _guess(path: Path, head: bytes) -> str:
    """The transfer syntax of a bare data set, from its first element."""
    if len(head) < 8:
        raise Permanent(f"{path.name} is not a DICOM file", reason="not-dicom")
    group, _ = struct.unpack_from("<HH", head)
    if group not in (0x0002, 0x0008):
        raise Permanent(f"{path.name} is not a DICOM file", reason="not-dicom")
    return (
        EXPLICIT_VR_LITTLE_ENDIAN
        if head[4:6].isalpha() and head[4:6].isupper()
        else IMPLICIT_VR_LITTLE_ENDIAN
    )
