"""Sockets whose bytes are written down: whole, byte by byte, or in any pieces."""

from __future__ import annotations

import socket
from collections.abc import Sequence


class Tape(socket.socket):
    """A socket that gives `pieces`, then the end of the stream; what is sent is kept in `sent`."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        super().__init__()
        self._pieces = [piece for piece in pieces if piece]
        self.sent = bytearray()

    def recv_into(self, buffer: memoryview, *_: int) -> int:  # type: ignore[override]
        if not self._pieces:
            return 0
        piece = self._pieces[0]
        size = min(len(piece), len(buffer))
        buffer[:size] = piece[:size]
        if size == len(piece):
            del self._pieces[0]
        else:
            self._pieces[0] = piece[size:]
        return size

    def send(self, data: bytes, *_: int) -> int:  # type: ignore[override]
        self.sent += data
        return len(data)

    @property
    def left(self) -> bytes:
        """What nobody has read."""
        return b"".join(self._pieces)


def ways(data: bytes, trailing: bytes = b"") -> list[list[bytes]]:
    """`data` whole, byte by byte, in uneven pieces, and with `trailing` bytes in the same piece."""
    return [
        [data, trailing],
        [data[i : i + 1] for i in range(len(data))] + [trailing],
        [data[i : i + 7] for i in range(0, len(data), 7)] + [trailing],
        [data + trailing],
    ]
