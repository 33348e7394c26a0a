"""Where the data set begins in a DICOM file (PS3.10), and what stands before it; or that there is only it."""

from __future__ import annotations

import struct
from dataclasses import replace

from mapdr.dicom.file_meta import LONGEST, PREAMBLE, PREFIX, FileMeta, read_group
from mapdr.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from mapdr.kernel.errors import Permanent, RemoteProtocolError

HEAD = LONGEST
"""Bytes of a file that are looked at: no File Meta group comes near."""


def find(head: bytes) -> FileMeta:
    """The data set of a file that begins with `head`, its first HEAD bytes or all of it.

    The preamble may be missing, and so may the File Meta group; a transfer syntax that it lacks is that of
    the data set's first element. Raises Permanent(reason="not-dicom").
    """
    start = PREAMBLE + len(PREFIX)
    if head[PREAMBLE:start] != PREFIX:
        if not (head[:2] == b"\x02\x00" and head[3:4] == b"\x00"):
            return FileMeta(0, "", "", _guess(head))
        start = 0  # File Meta without a preamble: older files have that
    try:
        meta = read_group(head, start, ended=True)
    except RemoteProtocolError:
        raise Permanent("has File Meta Information that does not end", reason="not-dicom") from None
    assert meta is not None
    return (
        meta if meta.transfer_syntax_uid else replace(meta, transfer_syntax_uid=_guess(head[meta.length :]))
    )


def _guess(head: bytes) -> str:
    """The transfer syntax of a bare data set, from its first element."""
    if len(head) >= 8 and struct.unpack_from("<H", head)[0] in (0x0002, 0x0008):
        explicit = head[4:6].isalpha() and head[4:6].isupper()
        return EXPLICIT_VR_LITTLE_ENDIAN if explicit else IMPLICIT_VR_LITTLE_ENDIAN
    raise Permanent("is not a DICOM file", reason="not-dicom")
