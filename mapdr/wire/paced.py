"""A channel that keeps to a bandwidth: it asks before each piece of all that it sends."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mapdr._fast import Channel
from mapdr._fast._pdata_py import Slice


class Pace(Protocol):
    """Says when bytes may go out, `piece` of them at a time."""

    piece: int

    def __call__(self, size: int) -> object:
        """Return when `size` bytes may go out."""


class PacedChannel(Channel):
    """As `Channel`, with a `pace`."""

    def __init__(self, sock: socket.socket, *, pace: Pace, **options: Any) -> None:
        super().__init__(sock, **options)
        self._pace = pace

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """As `Channel.send`, in pieces."""
        whole, size = memoryview(data), self._pace.piece
        for at in range(0, len(whole), size):
            piece = whole[at : at + size]
            self._pace(len(piece))
            super().send(piece)

    def send_message(  # noqa: PLR0917  positional, as it is called
        self,
        context: int,
        command: bytes,
        parts: Sequence[bytes | Slice],
        length: int,
        max_length: int,
        pace: Callable[[int], object] | None = None,
    ) -> None:
        """As `Channel.send_message`. With a `pace` of its own even a short message goes through `send`."""
        super().send_message(context, command, parts, length, max_length, pace or _at_once)


def _at_once(size: int) -> None:
    """`send` asks for itself."""
