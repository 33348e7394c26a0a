"""The few PDUs and messages of PS3.7 and PS3.8 that the scripted peers need, written from the standard.

Nothing here comes from MAPDR's own wire: a mistake made twice would be seen by nobody.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"
IMPLEMENTATION = b"2.25.312867301482647"
VERIFICATION = "1.2.840.10008.1.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP = 0x0001, 0x8001, 0x0030, 0x8030
NO_DATA_SET = 0x0101

Context = tuple[str, Sequence[str]]
"""An abstract syntax and the transfer syntaxes proposed for it."""

_SHORT = {0x00000100, 0x00000110, 0x00000120, 0x00000700, 0x00000800, 0x00000900}


class PeerGone(ConnectionError):
    """The other side ended the connection."""


def send(connection: socket.socket, kind: int, body: bytes) -> None:
    connection.sendall(struct.pack(">BxI", kind, len(body)) + body)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """One PDU: its type and body. Raises PeerGone at the end of the stream."""
    kind, length = struct.unpack(">BxI", exactly(connection, 6))
    return kind, exactly(connection, length)


def exactly(connection: socket.socket, count: int) -> bytes:
    buffer = bytearray(count)
    view, have = memoryview(buffer), 0
    while have < count:
        got = connection.recv_into(view[have:])
        if not got:
            raise PeerGone(f"the stream ended after {have} of {count} bytes")
        have += got
    return bytes(buffer)


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def _user_information(max_pdu: int) -> bytes:
    return _item(0x50, _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, IMPLEMENTATION))


def _associate(called: str, calling: str, items: bytes, max_pdu: int) -> bytes:
    names = called.encode().ljust(16) + calling.encode().ljust(16)
    fixed = struct.pack(">HH", 1, 0) + names + bytes(32)
    return fixed + _item(0x10, APPLICATION_CONTEXT) + items + _user_information(max_pdu)


def associate_rq(called: str, calling: str, contexts: Mapping[int, Context], max_pdu: int) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8, 9.3.2) with the presentation contexts by id."""
    items = b"".join(
        _item(
            0x20,
            bytes((number, 0, 0, 0))
            + _item(0x30, abstract.encode())
            + b"".join(_item(0x40, syntax.encode()) for syntax in syntaxes),
        )
        for number, (abstract, syntaxes) in contexts.items()
    )
    return _associate(called, calling, items, max_pdu)


def associate_ac(
    called: str,
    calling: str,
    answers: Mapping[int, str | None],
    max_pdu: int,
    results: Mapping[int, int] | None = None,
) -> bytes:
    """A-ASSOCIATE-AC (PS3.8, 9.3.3); None refuses a context's transfer syntaxes, `results` say how else."""
    told = results or {}
    items = b"".join(
        _item(
            0x21,
            bytes((number, 0, told.get(number, 0) or (0 if syntax else 4), 0))
            + _item(0x40, (syntax or "1.2.840.10008.1.2").encode()),
        )
        for number, syntax in answers.items()
    )
    return _associate(called, calling, items, max_pdu)


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found, position = [], 0
    while position < len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        found.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


@dataclass(frozen=True)
class Association:
    """What an A-ASSOCIATE PDU says; `contexts` holds (result, abstract syntax or "", transfer syntaxes)."""

    called: str
    calling: str
    max_pdu: int
    contexts: dict[int, tuple[int, str, list[str]]]


def parse_associate(body: bytes) -> Association:
    contexts, max_pdu = {}, 0
    for kind, value in _items(body[68:]):
        if kind in (0x20, 0x21):
            sub = _items(value[4:])
            abstract = next((data.decode() for sub_kind, data in sub if sub_kind == 0x30), "")
            contexts[value[0]] = (
                value[2],
                abstract,
                [data.decode() for sub_kind, data in sub if sub_kind == 0x40],
            )
        elif kind == 0x50:
            max_pdu = next(
                struct.unpack(">I", data)[0] for sub_kind, data in _items(value) if sub_kind == 0x51
            )
    return Association(body[4:20].decode().strip(), body[20:36].decode().strip(), max_pdu, contexts)


def p_data(context: int, fragment: bytes, *, command: bool, last: bool) -> bytes:
    """One P-DATA-TF body with one PDV (PS3.8, 9.3.5 and E.2)."""
    return struct.pack(">IBB", len(fragment) + 2, context, int(command) | int(last) << 1) + fragment


def pdvs(body: bytes) -> list[tuple[int, bool, bool, bytes]]:
    """(context, is command, is last, fragment) for each PDV."""
    found, position = [], 0
    while position < len(body):
        length, context, control = struct.unpack_from(">IBB", body, position)
        found.append(
            (context, bool(control & 1), bool(control & 2), body[position + 6 : position + 4 + length])
        )
        position += 4 + length
    return found


def command_set(elements: Mapping[int, int | str]) -> bytes:
    """A command set in implicit little endian, group length first (PS3.7, 6.3)."""
    encoded = b""
    for tag, value in sorted(elements.items()):
        data = (
            struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
        )
        encoded += struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(data)) + data
    return struct.pack("<HHII", 0, 0, 4, len(encoded)) + encoded


def parse_command(data: bytes) -> dict[int, int | str]:
    found: dict[int, int | str] = {}
    position = 0
    while position < len(data):
        group, element, length = struct.unpack_from("<HHI", data, position)
        value = data[position + 8 : position + 8 + length]
        tag = group << 16 | element
        if tag in _SHORT:
            found[tag] = struct.unpack("<H", value)[0]
        else:
            found[tag] = value.rstrip(b"\0 ").decode("ascii", "replace")
        position += 8 + length
    return found
