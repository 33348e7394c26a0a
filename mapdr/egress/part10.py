"""A payload as a DICOM file (PS3.10): what stands before its data set, and the whole in pieces."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

from mapdr.kernel.item import Payload
from mapdr.kernel.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PIECE = 1 << 18
"""Bytes of a piece. With 64 kB a request over HTTP/1.1 had three quarters of the rate (measured on loopback);
much larger ones are copied again and again for HTTP/2, whose frames httpx cuts from them one by one."""

_PREAMBLE = bytes(128) + b"DICM"


class Part10:
    """The file of one payload, to be read as often as it is sent; it is never whole in memory."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._head = file_meta(payload)
        self.length = len(self._head) + payload.length

    def __iter__(self) -> Iterator[bytes]:
        """Raises as `Payload.chunks`."""
        return pieces(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """As `__iter__`, in chunks as they come."""
        yield self._head
        yield from self._payload.chunks(PIECE)


def file_meta(payload: Payload) -> bytes:
    """Preamble and File Meta group of a payload (PS3.10, section 7.1)."""
    before, after = _frame(payload.sop_class_uid, payload.transfer_syntax_uid)
    body = b"".join((before, _uid(0x0003, payload.sop_instance_uid), after))
    return b"".join((_PREAMBLE, struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(body)), body))


def pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of about PIECE: small chunks put together, large ones cut."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        if size + len(chunk) < PIECE:
            held.append(chunk)
            size += len(chunk)
            continue
        if size:
            yield b"".join(held)
        if len(chunk) < PIECE:
            held, size = [chunk], len(chunk)
            continue
        held, size = [], 0
        for at in range(0, len(chunk), PIECE):
            yield chunk[at : at + PIECE]
    if size:
        yield b"".join(held)


@lru_cache(maxsize=256)
def _frame(sop_class_uid: str, transfer_syntax_uid: str) -> tuple[bytes, bytes]:
    """The elements before the instance's UID, and those after it."""
    version = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01"
    own = _uid(0x0012, IMPLEMENTATION_CLASS_UID)
    version_name = IMPLEMENTATION_VERSION_NAME + " " * (len(IMPLEMENTATION_VERSION_NAME) % 2)
    name = struct.pack("<HH2sH", 0x0002, 0x0013, b"SH", len(version_name)) + version_name.encode("ascii")
    return version + _uid(0x0002, sop_class_uid), _uid(0x0010, transfer_syntax_uid) + own + name


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += bytes(len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, b"UI", len(value)) + value
