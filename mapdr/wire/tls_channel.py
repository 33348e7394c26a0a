"""A `Channel` over a `TlsSocket`, and how compiled runs work on it.

Runs read and write a connection's descriptor, which carries records here. So they are given the channel
without a descriptor (`Buffers`): a run then takes what has been decrypted into the receive buffer, or fills
the send buffer, and leaves to the channel what it could not send, as where a socket takes no more.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from mapdr._fast import BACKENDS, Channel, send_run
from mapdr._fast._pdata_py import Slice
from mapdr._fast._receive_run_py import MAX_SECONDS
from mapdr._fast._send_run_py import Message
from mapdr._fast.pdata_signals import P_DATA
from mapdr.wire.tls import TlsSocket

_LENGTH = struct.Struct(">L")
_PDV = struct.Struct(">LxB")
_NO_DATA_SET = b"\0\0\0\x08\2\0\0\0\1\1"
"""Command Data Set Type (0000,0800) where no data set follows (PS3.7, annex E)."""
_SENDS_RUNS = os.name == "posix" and BACKENDS["C-STORE runs out"] == "cython"


class OverTls(Channel):
    """What a channel does in another way over a `TlsSocket`; the first base of one that does more."""

    _sock: TlsSocket

    @property
    def readable(self) -> bool:
        """As `Channel.readable`. Records without data, such as session tickets, are none."""
        if self._end > self._at:
            return True
        while not self._sock.has_input:
            if not super().readable:
                return False
            try:
                self._sock.fill()
            except (BlockingIOError, TimeoutError):
                return False
            except OSError:
                return True  # the next read says what it is
        return True

    def linger(self, seconds: float) -> None:
        """As `Channel.linger`, with TLS ended first."""
        self._sock.say_goodbye()
        super().linger(seconds)


class TlsChannel(OverTls):
    """A `Channel` over a `TlsSocket`."""

    def send_message(  # noqa: PLR0917  positional, as it is called
        self,
        context: int,
        command: bytes,
        parts: Sequence[bytes | Slice],
        length: int,
        max_length: int,
        pace: Callable[[int], object] | None = None,
    ) -> None:
        """As `Channel.send_message`, packed by compiled code, which compares a file while it is read."""
        if pace is not None or not _SENDS_RUNS:
            super().send_message(context, command, parts, length, max_length, pace)
            return
        buffers = Buffers(self)
        send_run(
            _as_channel(buffers), [Message(context, 0, command, parts, length, b"", b"")], max_length, 0, []
        )
        self._spoke_early = self._spoke_early or buffers.early

    def decrypted(self) -> Channel:
        """Decrypt until a message is whole, as far as it comes soon and fits, for a run to take it."""
        until = time.monotonic() + MAX_SECONDS
        begin = at = self._at
        while time.monotonic() < until:
            at, done = _unread(self._view[: self._end], at)
            if done or not self._decrypt_more():
                break
            at += self._at - begin  # it may have been moved to the front
            begin = self._at
        return _as_channel(Buffers(self))

    def _decrypt_more(self) -> bool:
        """Get more into the buffer; False if there is no room, nothing came in time, or the stream ended."""
        if self._at == self._end:
            self._at = self._end = 0
        elif self._end == len(self._buffer):
            self._make_room(0)
        if self._end == len(self._buffer) or self._broken is not None:
            return False
        if self._quick_ack and self._end:
            self._acknowledge()
        try:
            size = self._sock.recv_into(self._view[self._end :])
        except (BlockingIOError, TimeoutError):
            return False
        except OSError as error:
            self.broke(error)
            return False
        self._end += size
        return size > 0


def _of_channel(name: str) -> property:
    """An attribute of the channel, read and written there."""

    def read(buffers: Buffers) -> Any:
        return getattr(buffers._channel, name)

    def write(buffers: Buffers, value: Any) -> None:
        setattr(buffers._channel, name, value)

    return property(read, write)


class Buffers:
    """A `TlsChannel` as compiled runs use it: its state, its buffers, and a socket that carries nothing.

    It has what runs touch of a channel, and no more. `early` is whether the peer had said something before
    the last buffer of a message went out.
    """

    _sock = socket.socket()
    _sock.close()
    _plain = True

    _buffer, _view, _out = _of_channel("_buffer"), _of_channel("_view"), _of_channel("_out")
    _at, _end, _max_receive = _of_channel("_at"), _of_channel("_end"), _of_channel("_max_receive")
    _pdu_left, _unfinished = _of_channel("_pdu_left"), _of_channel("_unfinished")
    _spoke_early = _of_channel("_spoke_early")

    def __init__(self, channel: TlsChannel) -> None:
        self._channel = channel
        self._begun = False
        self.early = False

    @property
    def between_messages(self) -> bool:
        """Whether the next byte begins a PDU."""
        return not self._pdu_left and not self._channel._pdv_left

    def took_data(self, context: int) -> None:
        """As `Channel.took_data`."""
        self._channel.took_data(context)

    def broke(self, error: OSError) -> None:
        """A run wanted more than is here: that it cannot read is no trouble of the connection."""

    def send(self, data: memoryview) -> None:
        """Send a buffer of a message."""
        self.early = self._begun and self._channel.readable
        self._begun = True
        self._channel.send(data)


def _as_channel(buffers: Buffers) -> Channel:
    return cast("Channel", buffers)


def _unread(view: memoryview, at: int) -> tuple[int, bool]:
    """Where the first PDU from `at` on begins that is not whole, and whether nothing is to be waited for.

    Nothing is where a message has ended before it, or something else than P-DATA begins there.
    """
    while at < len(view):
        if view[at] != P_DATA:
            return at, True
        if len(view) - at < 6:
            break
        stop = at + 6 + _LENGTH.unpack_from(view, at + 2)[0]
        if stop > len(view):
            break
        pdv = at + 6
        while pdv + 6 <= stop:
            length, control = _PDV.unpack_from(view, pdv)
            end = pdv + 4 + length
            if control & 2 and (not control & 1 or _NO_DATA_SET in bytes(view[pdv:end])):
                return at, True
            pdv = end
        at = stop
    return at, False
