"""The sink of STOW-RS: a server that reads, finds the images' UIDs, says that all are stored, keeps nothing.

    python -m benchmarks.stow_sink [PORT]   prints its port, then serves until its standard input closes

It answers every line on its standard input like `benchmarks.sink`; the first image counts from when its
request begins.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from typing import BinaryIO

SOP_INSTANCE_UID = b"\x08\x00\x18\x00UI"
"""As explicit VR little endian has it, which is what all sides send here."""
received, first, last = 0, 0.0, 0.0
lock = threading.Lock()


def uids(body: bytearray) -> list[bytes]:
    """SOP Instance UID of each file in a body."""
    found, at = [], 0
    while (at := body.find(SOP_INSTANCE_UID, at)) >= 0:
        length = int.from_bytes(body[at + 6 : at + 8], "little")
        found.append(bytes(body[at + 8 : at + 8 + length]).rstrip(b"\0"))
        at += 8 + length
    return found


def request(stream: BinaryIO) -> bytearray | None:
    """The body of the next request; None at the end. dicomweb-client sends large ones in chunks."""
    length, chunked = 0, False
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        chunked = chunked or (name.lower() == b"transfer-encoding" and value.strip() == b"chunked")
    if not line:
        return None
    begin()
    body = bytearray()
    if not chunked:
        fill(stream, body, length)
    while chunked and (length := int(stream.readline() or b"0", 16)):
        fill(stream, body, length)
        stream.readline()
    if chunked:
        stream.readline()
    return body


def fill(stream: BinaryIO, body: bytearray, length: int) -> None:
    """Append `length` bytes. Raises ConnectionError if they do not come."""
    have = len(body)
    body.extend(bytes(length))
    with memoryview(body) as view:
        while have < len(view):
            count = stream.readinto(view[have:])  # type: ignore[attr-defined]
            if not count:
                raise ConnectionError
            have += count


def begin() -> None:
    """A request has begun."""
    global first  # noqa: PLW0603
    with lock:
        first = first or time.time()


def serve(sock: socket.socket) -> None:
    """One connection."""
    global received, last  # noqa: PLW0603
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # dicomweb-client ends each connection with a reset.
    with contextlib.suppress(ConnectionError), sock, sock.makefile("rb") as stream:
        while (body := request(stream)) is not None:
            found = uids(body)
            items = b",".join(b'{"00081155":{"vr":"UI","Value":["%b"]}}' % uid for uid in found)
            answer = b'{"00081199":{"vr":"SQ","Value":[%b]}}' % items
            with lock:
                received += len(found)
                last = time.time()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: %d\r\n\r\n"
            sock.sendall(head % len(answer) + answer)


def accept(listener: socket.socket) -> None:
    """Serve every connection in a thread of its own."""
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock,), daemon=True).start()


def main() -> None:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), backlog=64)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener,), daemon=True).start()
    for _ in sys.stdin:
        with lock:
            print(received, first, last, flush=True)


if __name__ == "__main__":
    main()
