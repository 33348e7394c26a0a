"""Reading the header of an object that stands in a file, as far as the scan wants it.

The beginning that is already in memory serves nearly always; a header that is longer is scanned where it
is, through a memory map, so that its length does not matter.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mapdr.dicom import gate, tags
from mapdr.dicom.scan import (
    NeedMore,
    ScannedHeader,
    deflated_ends_early,
    ends_early,
    fragments_end,
    scan,
)
from mapdr.dicom.transfer_syntax import is_deflated
from mapdr.dicom.uids import is_valid_uid
from mapdr.kernel.errors import Permanent
from mapdr.kernel.files import READ, read_at
from mapdr.kernel.item import TagPath

SOP_CLASS_UID = gate.SOP_CLASS_UID
SOP_INSTANCE_UID = gate.SOP_INSTANCE_UID
STUDY_DATE: TagPath = (tags.STUDY_DATE,)
ACCESSION_NUMBER: TagPath = (tags.ACCESSION_NUMBER,)
MODALITY: TagPath = (tags.MODALITY,)
PATIENT_ID: TagPath = (tags.PATIENT_ID,)
STUDY_INSTANCE_UID = gate.STUDY_INSTANCE_UID
SERIES_INSTANCE_UID: TagPath = (tags.SERIES_INSTANCE_UID,)

STUDY_TAGS: frozenset[TagPath] = frozenset({ACCESSION_NUMBER, PATIENT_ID})
"""What the index keeps of a study besides its UID and date, so that people find it."""

INDEX_TAGS: frozenset[TagPath] = STUDY_TAGS | {
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_DATE,
    MODALITY,
    STUDY_INSTANCE_UID,
    SERIES_INSTANCE_UID,
}
"""What the index itself reads of every header."""

PREFIX = 1 << 16
"""Bytes: the beginning of a data set that is read first; most headers end before."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of each header, and the configuration revision that asks for it."""

    revision: str = ""
    wanted: frozenset[TagPath] = INDEX_TAGS


def identity(found: str, said: str) -> str:
    """The UID that an object goes by: the data set's, or the command's where that is none."""
    if not found or (said and found != said and not is_valid_uid(found)):
        return said
    return found


def read_header(
    file: int,
    offset: int,
    size: int,
    begun: bytes,
    *,
    transfer_syntax_uid: str,
    wanted: frozenset[TagPath],
) -> ScannedHeader:
    """Scan the data set of `size` bytes at `offset` of an open file; `begun` is its beginning.

    Raises what the scan raises for bytes that are no data set (Permanent), and OSError.
    """
    try:
        return scan(begun, transfer_syntax_uid, wanted, complete=len(begun) >= size, size=size)
    except NeedMore:
        with (
            mmap.mmap(file, offset + size, access=mmap.ACCESS_READ) as whole,
            memoryview(whole) as view,
            view[offset:] as data_set,
        ):
            return scan(data_set, transfer_syntax_uid, wanted, complete=True, size=size)


def is_cut(file: int, offset: int, size: int, header: ScannedHeader, transfer_syntax_uid: str) -> bool:
    """Whether the data set of `size` bytes at `offset` of an open file ends before it should.

    What `header` was read from is not read again. Behind it: native pixel data must lie within the file,
    fragments are followed by their heads (8 bytes read for each), and so are the elements behind the pixel
    data. A deflated one is inflated, within bounds. Raises Unreadable, OSError.
    """
    if header.truncated or not size:
        return True
    value, length = header.pixel_value, header.pixel_length
    if is_deflated(transfer_syntax_uid):
        return deflated_ends_early(_pieces(file, offset, size), (value or 0) + (length or 0))
    if value is None or header.walked != header.pixel_offset:
        return False
    if length is not None:
        end = value + length
    else:
        end = fragments_end(lambda at: read_at(file, 8, offset + at), value, size, header.flags)
    if end >= size:
        return end > size
    with (
        mmap.mmap(file, offset + size, access=mmap.ACCESS_READ) as whole,
        memoryview(whole) as view,
        view[offset + end :] as tail,
    ):
        return ends_early(tail, header.flags)


def _pieces(file: int, offset: int, size: int) -> Iterator[bytes]:
    for at in range(offset, offset + size, PREFIX):
        yield read_at(file, min(PREFIX, offset + size - at), at)


def read_file_header(
    path: Path, offset: int, size: int, *, transfer_syntax_uid: str, wanted: frozenset[TagPath]
) -> ScannedHeader:
    """The same for a file by name; Permanent is raised, too, where that has been cut."""
    file = os.open(path, READ)
    try:
        if os.fstat(file).st_size < offset + size:
            raise Permanent("the file is shorter than what was received", reason="damaged")
        begun = read_at(file, min(PREFIX, size), offset)
        return read_header(file, offset, size, begun, transfer_syntax_uid=transfer_syntax_uid, wanted=wanted)
    finally:
        os.close(file)
