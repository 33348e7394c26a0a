"""The sink: a receiver that reads, counts and answers Success, and does nothing else.

    python -m benchmarks.sink [PORT [CERT KEY]]   prints its port, then serves until its standard input closes

It answers every line on its standard input with the number of data sets received so far and the times
of the first and the last one.
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import time

from benchmarks.load import PDU_HEADER, receive_pdu

MAX_PDU = 1 << 20
received, first, last = 0, 0.0, 0.0
lock = threading.Lock()


def associate_ac(request: bytes) -> bytes:
    """Accept every presentation context with its first transfer syntax (PS3.8, section 9.3.3)."""
    body = bytearray(request[PDU_HEADER : PDU_HEADER + 68])
    at, contexts = PDU_HEADER + 68, b""
    while at < len(request):
        kind, length = request[at], int.from_bytes(request[at + 2 : at + 4], "big")
        item = request[at + 4 : at + 4 + length]
        if kind == 0x20:
            inner = 4
            while item[inner] != 0x40:
                inner += 4 + int.from_bytes(item[inner + 2 : inner + 4], "big")
            end = inner + 4 + int.from_bytes(item[inner + 2 : inner + 4], "big")
            contexts += struct.pack(">BxHBxBx", 0x21, 4 + end - inner, item[0], 0) + item[inner:end]
        at += 4 + length
    name = b"1.2.840.10008.3.1.1.1"
    body += struct.pack(">BxH", 0x10, len(name)) + name + contexts
    user = struct.pack(">BxHI", 0x51, 4, MAX_PDU) + struct.pack(">BxH", 0x52, 6) + b"2.25.1"
    body += struct.pack(">BxH", 0x50, len(user)) + user
    return struct.pack(">BxI", 2, len(body)) + bytes(body)


def response(command: bytes) -> bytes:
    """C-STORE-RSP, Success, to the C-STORE-RQ `command` (PS3.7, section 9.3.1.2)."""
    at, values = 0, {}
    while at < len(command):
        number, length = struct.unpack_from("<xxHI", command, at)
        values[number] = command[at + 8 : at + 8 + length]
        at += 8 + length

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = (
        element(0x0002, values[0x0002])
        + element(0x0100, b"\x01\x80")
        + element(0x0120, values[0x0110])
        + element(0x0800, b"\x01\x01")
        + element(0x0900, b"\0\0")
        + element(0x1000, values[0x1000])
    )
    return element(0, struct.pack("<I", len(body))) + body


def serve(sock: socket.socket) -> None:
    """One association: PDUs in, one response per data set."""
    global received, first, last  # noqa: PLW0603
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(associate_ac(receive_pdu(sock)))
    buffer = bytearray(MAX_PDU * 4)
    view, have, command = memoryview(buffer), 0, b""
    answer, context = b"", 1
    while True:
        count = sock.recv_into(view[have:])
        if not count:
            return
        have += count
        at = 0
        while have - at >= PDU_HEADER:
            length = int.from_bytes(buffer[at + 2 : at + 6], "big")
            if have - at < PDU_HEADER + length:
                break
            if buffer[at] != 4:
                sock.sendall(b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00")
                return
            pdv, end = at + PDU_HEADER, at + PDU_HEADER + length
            while pdv < end:
                size = int.from_bytes(buffer[pdv : pdv + 4], "big")
                context, control = buffer[pdv + 4], buffer[pdv + 5]
                if control & 1:
                    command += buffer[pdv + 6 : pdv + 4 + size]
                    if control & 2:
                        answer, command = response(command), b""
                elif control & 2:
                    with lock:
                        received += 1
                        last = time.time()
                        first = first or last
                    sock.sendall(
                        struct.pack(">BxIIBB", 4, len(answer) + 6, len(answer) + 2, context, 3) + answer
                    )
                pdv += 4 + size
            at = end
        if at:
            view[: have - at] = bytes(view[at:have])
            have -= at


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    print(listener.getsockname()[1], flush=True)
    tls = None
    if len(sys.argv) > 2:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[2], sys.argv[3])

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve_quietly, args=(sock, tls), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    for _line in sys.stdin:
        print(received, first, last, flush=True)


def _serve_quietly(sock: socket.socket, tls: ssl.SSLContext | None) -> None:
    try:
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True)
        serve(sock)
    except (OSError, EOFError) as error:
        print(f"sink: {error}", file=sys.stderr)
    finally:
        sock.close()


if __name__ == "__main__":
    main()
