"""The plain loop: what a disk and a loopback connection allow a Python program at best.

The server takes byte strings of known length from loopback, one thread per connection; each is written
to a file of its own, fsynced, renamed, its folder fsynced, and answered with one byte. No protocol, no
header, no index: a floor that cannot be cheated, for the rows that sync.

    python -m benchmarks.plain serve FOLDER            prints its port, ends with its standard input
    python -m benchmarks.plain send PORT IMAGES SIZE   prints one line of JSON
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import threading
import time
from pathlib import Path


def keep(sock: socket.socket, folder: Path, name: str) -> None:
    """Every object of one connection, made durable and answered."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    descriptor = os.open(folder, os.O_RDONLY)
    buffer = memoryview(bytearray(1 << 20))
    number = 0
    while header := sock.recv(8, socket.MSG_WAITALL):
        left = struct.unpack(">Q", header)[0]
        part = folder / f"{name}-{number}.part"
        with part.open("wb", buffering=0) as file:
            while left:
                count = sock.recv_into(buffer, min(left, len(buffer)))
                file.write(buffer[:count])
                left -= count
            os.fsync(file.fileno())
        part.rename(part.with_suffix(".dcm"))
        os.fsync(descriptor)
        sock.sendall(b"\x01")
        number += 1
    os.close(descriptor)


def serve(folder: Path) -> None:
    """Accept connections until standard input closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        number = 0
        while True:
            sock, _ = listener.accept()
            number += 1
            threading.Thread(target=keep, args=(sock, folder, str(number)), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


def send(port: int, images: int, size: int) -> dict[str, object]:
    """Send `images` objects of `size` bytes one after the other, each answered before the next.

    `latencies`: milliseconds from the first byte of each to its answer.
    """
    latencies = []
    message = struct.pack(">Q", size) + os.urandom(size)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = before = time.perf_counter()
        for _ in range(images):
            sock.sendall(message)
            if sock.recv(1) != b"\x01":
                raise EOFError("the plain loop ended")
            now = time.perf_counter()
            latencies.append(1000 * (now - before))
            before = now
    return {"images": images, "seconds": before - began, "latencies": latencies}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        print(json.dumps(send(*map(int, sys.argv[2:5]))))
