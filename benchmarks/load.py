"""The load generator: one sender that answers to nobody's speed but its own.

Everything that can be made before the clock starts is made before: the association, and one message per
image size, command set and data set in a single byte string whose SOP Instance UID is overwritten in
place. Per image there is one `sendall`, one `recv` and one comparison.

    python -m benchmarks.load HOST PORT --called MAPDR --images 2000 --size 524288

prints one line of JSON: images, seconds, the latency of each in milliseconds, in order, failed.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

CT_IMAGE = b"1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_LE = b"1.2.840.10008.1.2.1"
UID_DIGITS = 12
PDU_HEADER = 6


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def associate_rq(called: str, calling: str, max_pdu: int) -> bytes:
    """An A-ASSOCIATE-RQ for CT Image Storage in Explicit VR Little Endian (PS3.8, section 9.3.2)."""
    context = struct.pack(">BxBx", 1, 0) + _item(0x30, CT_IMAGE) + _item(0x40, EXPLICIT_LE)
    user = _item(0x51, struct.pack(">I", max_pdu)) + _item(0x52, b"2.25.1") + _item(0x55, b"MAPDR-BENCH")
    body = struct.pack(">Hxx16s16s32x", 1, called.encode().ljust(16), calling.encode().ljust(16))
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, context) + _item(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b" " if vr not in (b"UI", b"OW") else b"\0"
    if vr == b"OW":
        return struct.pack("<HH2sxxI", group, element, vr, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def data_set(size: int, uid: bytes, study: bytes) -> bytes:
    """A CT image of about `size` bytes in Explicit VR Little Endian."""
    side = max(16, int(((size - 700) / 2) ** 0.5))
    text = [
        (0x0008, 0x0005, b"CS", b"ISO_IR 100"),
        (0x0008, 0x0008, b"CS", b"ORIGINAL\\PRIMARY\\AXIAL"),
        (0x0008, 0x0016, b"UI", CT_IMAGE),
        (0x0008, 0x0018, b"UI", uid),
        (0x0008, 0x0020, b"DA", b"20261123"),
        (0x0008, 0x0030, b"TM", b"101500"),
        (0x0008, 0x0050, b"SH", b"BENCH01"),
        (0x0008, 0x0060, b"CS", b"CT"),
        (0x0008, 0x0070, b"LO", b"MAPDR"),
        (0x0008, 0x1010, b"SH", b"ER1"),
        (0x0010, 0x0010, b"PN", b"Bench^Mark"),
        (0x0010, 0x0020, b"LO", b"BENCH"),
        (0x0018, 0x0050, b"DS", b"5"),
        (0x0020, 0x000D, b"UI", study),
        (0x0020, 0x000E, b"UI", study + b".1"),
        (0x0020, 0x0013, b"IS", b"1"),
    ]
    parts = [_element(*item) for item in text]
    for element, value in (
        (2, 1),
        (0x10, side),
        (0x11, side),
        (0x100, 16),
        (0x101, 12),
        (0x102, 11),
        (0x103, 0),
    ):
        parts.append(_element(0x0028, element, b"US", struct.pack("<H", value)))
    parts.insert(-6, _element(0x0028, 4, b"CS", b"MONOCHROME2"))
    row = bytes(range(256)) * (2 * side // 256 + 2)
    pixels = b"".join(row[index % 251 : index % 251 + 2 * side] for index in range(side))
    parts.append(_element(0x7FE0, 0x0010, b"OW", pixels))
    return b"".join(parts)


def files(folder: Path, size: int, count: int) -> list[str]:
    """DICOM files of different images, for senders that read files; their names."""
    prefix = b"2.25.%d." % time.time_ns()
    names = []
    for index in range(count):
        uid = prefix + b"%d" % (1_000_000 + index)  # no leading zero: pydicom would warn of each
        head = b"".join(
            _element(2, number, b"UI", value)
            for number, value in ((2, CT_IMAGE), (3, uid), (0x10, EXPLICIT_LE), (0x12, b"2.25.1"))
        )
        name = folder / f"{index}.dcm"
        name.write_bytes(
            bytes(128)
            + b"DICM"
            + _element(2, 0, b"UL", len(head).to_bytes(4, "little"))
            + head
            + data_set(size, uid, prefix + b"1")
        )
        names.append(str(name))
    return names


def command_set(uid: bytes, message_id: int) -> bytes:
    """A C-STORE-RQ command set (PS3.7, section 9.3.1.1)."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    even = lambda value: value + b"\0" * (len(value) % 2)  # noqa: E731
    body = (
        element(0x0002, even(CT_IMAGE))
        + element(0x0100, b"\1\0")
        + element(0x0110, struct.pack("<H", message_id))
        + element(0x0700, b"\0\0")
        + element(0x0800, b"\0\0")
        + element(0x1000, even(uid))
    )
    return element(0, struct.pack("<I", len(body))) + body


class Template:
    """One message whose SOP Instance UID can be overwritten in place."""

    def __init__(self, size: int, max_pdu: int, prefix: bytes) -> None:
        marker = prefix + b"9" * UID_DIGITS
        study = prefix + b"1"
        pdvs = [(3, command_set(marker, 1))]
        data = data_set(size, marker, study)
        step = (max_pdu or 1 << 30) - PDU_HEADER
        step -= step % 2
        chunks = [data[at : at + step] for at in range(0, len(data), step)]
        pdvs += [(2 if index == len(chunks) - 1 else 0, chunk) for index, chunk in enumerate(chunks)]
        self.message = bytearray()
        for control, chunk in pdvs:
            length = len(chunk)
            self.message += struct.pack(">BxIIBB", 4, length + 6, length + 2, 1, control) + chunk
        self.places = []
        at = self.message.find(marker)
        while at >= 0:
            self.places.append(at + len(prefix))
            at = self.message.find(marker, at + 1)
        self.bytes = len(data)

    def number(self, value: int) -> None:
        digits = b"%0*d" % (UID_DIGITS, value + 10 ** (UID_DIGITS - 1))
        for at in self.places:
            self.message[at : at + UID_DIGITS] = digits


def receive_pdu(sock: socket.socket) -> bytes:
    """One whole PDU. Raises EOFError."""
    data = b""
    while len(data) < PDU_HEADER or len(data) < PDU_HEADER + int.from_bytes(data[2:6], "big"):
        piece = sock.recv(65536)
        if not piece:
            raise EOFError("the peer closed the connection")
        data += piece
    return data


def peer_max_pdu(accept: bytes) -> int:
    """The maximum length that the peer asked for (PS3.8, annex D.1)."""
    at = accept.find(b"\x51\x00\x00\x04")
    return int.from_bytes(accept[at + 4 : at + 8], "big") if at >= 0 else 16384


def send(
    host: str,
    port: int,
    called: str,
    images: int,
    size: int,
    start: int = 0,
    calling: str = "BENCH",
    tls: str = "",
    rate: float = 0.0,
) -> dict[str, object]:
    """Send `images` images on one association, each after its response; over TLS if `tls` is a CA's file.

    `rate` is how many a second are sent at most, 0 as many as are answered.
    """
    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        sock = ssl.create_default_context(cafile=tls).wrap_socket(sock, server_hostname=host)
    quick = getattr(socket, "TCP_QUICKACK", None)
    sock.sendall(associate_rq(called, calling, 1 << 20))
    accept = receive_pdu(sock)
    if accept[0] != 2:
        raise SystemExit(f"the association was not accepted (PDU type {accept[0]})")
    prefix = b"2.25.%d." % (time.time_ns() // 1000 + start)
    template = Template(size, peer_max_pdu(accept), prefix)
    message, status = template.message, b"\x00\x00\x00\x09\x02\x00\x00\x00"
    latencies, failed = [], 0
    at_once = time.time()
    clock = time.perf_counter
    began = clock()
    for index in range(images):
        template.number(index)
        if rate:
            time.sleep(max(0.0, began + index / rate - clock()))
        sent = clock()
        sock.sendall(message)
        answer = b""
        while len(answer) < PDU_HEADER or len(answer) < PDU_HEADER + int.from_bytes(answer[2:6], "big"):
            if quick is not None:
                sock.setsockopt(socket.IPPROTO_TCP, quick, 1)
            answer += sock.recv(4096)
        latencies.append(clock() - sent)
        if status + b"\x00\x00" not in answer:
            failed += 1
    seconds = clock() - began
    sock.sendall(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00")
    sock.settimeout(5)
    try:
        sock.recv(64)
    finally:
        sock.close()
    return {
        "images": images,
        "began": at_once,
        "seconds": seconds,
        "rate": images / seconds,
        "bytes": template.bytes,
        "latencies": [round(1000 * each, 3) for each in latencies],
        "failed": failed,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--called", default="MAPDR")
    parser.add_argument("--calling", default="BENCH")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=1 << 19)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--tls", default="")
    parser.add_argument("--rate", type=float, default=0.0)
    args = parser.parse_args()
    given = args.called, args.images, args.size, args.start, args.calling, args.tls, args.rate
    json.dump(send(args.host, args.port, *given), sys.stdout)


if __name__ == "__main__":
    main()
