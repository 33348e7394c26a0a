"""The File Meta Information of a spooled file (PS3.10, section 7.1), and back again.

The data set's bytes stay as received; what they do not know stands here: who sent them, to whom, through
which receiver and under which configuration. The AE elements serve other programs; the private information
is what MAPDR reads, because it holds every value whole.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Source, is_ae_title
from mapdr.kernel.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PRIVATE_CREATOR_UID = IMPLEMENTATION_CLASS_UID + ".1"

_LONG_VRS = {b"OB", b"OW", b"UN", b"UT", b"UR", b"UC", b"OD", b"OF", b"OL", b"OV", b"SQ", b"SV", b"UV"}
_SOP_INSTANCE = struct.Struct("<HH2sH")
_PREAMBLE = bytes(128) + b"DICM"
_GROUP_LENGTH = struct.Struct("<HH2sHI")
_TIME_WIDTH = 24  # characters of the longest float; JSON allows blanks behind a shorter one
_SEAL_WIDTH = 32
_BLANK = " " * _SEAL_WIDTH
_TAIL = f'{{:<{_TIME_WIDTH}}},"digest":"{{}}"}}}}'
_TAIL_WIDTH = len(_TAIL.format("", _BLANK))
SEAL_FROM_END = _SEAL_WIDTH + 2
"""Bytes: how far before the data set the seal begins."""
_LARGEST = 1 << 20  # no File Meta group that MAPDR writes comes near


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What stands before the data set: identity, origin, and where the data set begins in the file.

    `digest` is the seal's; empty while the file is not finished.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source: Source
    revision: str
    received_at: float
    data_offset: int
    digest: bytes


def encode(
    source: Source,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    *,
    revision: str,
    received_at: float,
) -> bytes:
    """Preamble and File Meta group, not sealed; the data set follows at once."""
    before, after = frame(source, sop_class_uid, transfer_syntax_uid, revision)
    uid = _text(sop_instance_uid)
    if len(uid) % 2:
        uid += b"\0"
    uid = _SOP_INSTANCE.pack(0x0002, 0x0003, b"UI", len(uid)) + uid
    size = len(before) + len(uid) + len(after) + _TAIL_WIDTH
    group = _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, size)
    return b"".join((_PREAMBLE, group, before, uid, after, _TAIL.format(repr(received_at), _BLANK).encode()))


def seal(digest: bytes) -> bytes:
    """What is written SEAL_FROM_END bytes before the data set, once it is whole."""
    return digest.hex().encode()


@lru_cache(maxsize=256)
def frame(source: Source, sop_class_uid: str, transfer_syntax_uid: str, revision: str) -> tuple[bytes, bytes]:
    """What the objects of an association share: the elements before the instance's UID, and those after it
    up to the time."""
    facts = {
        "receiver": source.receiver,
        "calling_ae": source.calling_ae,
        "called_ae": source.called_ae,
        "address": source.address,
        "revision": revision,
    }
    if source.protocol != "dicom":
        facts["protocol"] = source.protocol
    if source.credential:
        facts["credential"] = source.credential
    calling, called = _title(source.calling_ae), _title(source.called_ae)
    by_dimse = bool(source.address) and source.protocol == "dicom"
    private = json.dumps(facts, separators=(",", ":")).encode()[:-1] + b',"received_at":'
    private += b" " * ((len(private) + _TAIL_WIDTH) % 2)
    before = _element(0x0001, b"OB", b"\x00\x01") + _element(0x0002, b"UI", _text(sop_class_uid))
    after = b"".join(
        (
            _element(0x0010, b"UI", _text(transfer_syntax_uid)),
            _element(0x0012, b"UI", _text(IMPLEMENTATION_CLASS_UID)),
            _element(0x0013, b"SH", _text(IMPLEMENTATION_VERSION_NAME)),
            _element(0x0016, b"AE", calling) if calling else b"",
            _element(0x0017, b"AE", calling) if calling else b"",
            _element(0x0018, b"AE", called) if called else b"",
            _element(0x0026, b"UR", _text(f"dicom://{source.address}")) if by_dimse else b"",
            _element(0x0100, b"UI", _text(PRIVATE_CREATOR_UID)),
            struct.pack("<HH2sHI", 0x0002, 0x0102, b"OB", 0, len(private) + _TAIL_WIDTH),
            private,
        )
    )
    return before, after


def decode(file: BinaryIO) -> FileMeta:
    """Read back what `encode` wrote. Raises Permanent(reason="spool-file") if it is not MAPDR's."""
    head = file.read(len(_PREAMBLE) + 12)
    if len(head) < len(_PREAMBLE) + 12 or head[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00":
        raise Permanent("the file does not begin with File Meta Information", reason="spool-file")
    (length,) = struct.unpack_from("<I", head, 140)
    body = file.read(length) if length <= _LARGEST else b""
    if len(body) < length:
        raise Permanent("the File Meta Information is cut short", reason="spool-file")
    try:
        return _meta(_elements(body), len(head) + length)
    except (struct.error, KeyError, ValueError, TypeError) as error:
        raise Permanent(
            f"the File Meta Information is not MAPDR's ({type(error).__name__})", reason="spool-file"
        ) from None


def _meta(values: dict[int, bytes], data_offset: int) -> FileMeta:
    facts = json.loads(values[0x0102].rstrip(b"\0 "))
    return FileMeta(
        sop_class_uid=_uid(values.get(0x0002, b"")),
        sop_instance_uid=_uid(values.get(0x0003, b"")),
        transfer_syntax_uid=_uid(values[0x0010]),
        source=Source(
            facts["receiver"],
            facts["calling_ae"],
            facts["called_ae"],
            facts["address"],
            facts.get("protocol", "dicom"),
            facts.get("credential", ""),
        ),
        revision=str(facts["revision"]),
        received_at=float(facts["received_at"]),
        data_offset=data_offset,
        digest=bytes.fromhex(facts["digest"]),
    )


def _elements(body: bytes) -> dict[int, bytes]:
    values: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        group, element = struct.unpack_from("<HH", body, at)
        vr = body[at + 4 : at + 6]
        if vr in _LONG_VRS:
            (length,) = struct.unpack_from("<I", body, at + 8)
            at += 12
        else:
            (length,) = struct.unpack_from("<H", body, at + 6)
            at += 8
        if group != 0x0002 or length > len(body) - at:
            raise ValueError("an element runs over the group's end")
        values[element] = body[at : at + length]
        at += length
    return values


def _element(element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr in (b"UI", b"OB") else b" "
    if vr in _LONG_VRS:
        return struct.pack("<HH2sHI", 0x0002, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 0x0002, element, vr, len(value)) + value


def _text(value: str) -> bytes:
    return value.encode("ascii", "replace")


def _title(value: str) -> bytes:
    # What PS3.5 would not call an AE title stays out of the element; the private information has it.
    return value.encode("ascii") if is_ae_title(value) else b""


def _uid(value: bytes) -> str:
    return value.decode("ascii").rstrip("\0 ")
