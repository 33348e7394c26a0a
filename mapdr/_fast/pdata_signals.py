"""What both twins of the P-DATA path share: how they report what is not P-DATA, and their constants."""

from __future__ import annotations

P_DATA = 0x04
MAX_COMMAND = 1 << 16
"""Bytes, fragment headers included: the longest command set that is read; the standard's stay under 1 KiB."""

MIN_RATE = 1024.0
"""Bytes per second: slower than this on average, after the grace of the PDU time-out, is a stalled peer."""

MAX_EMPTY = 1000
"""PDVs without a byte in one data set, besides its last: more make no progress and never will."""

LENGTH_TOLERANCE = 12
"""Bytes: some peers count the PDU's or the PDV's header in the maximum length, some do not."""


class Signal(Exception):
    """The P-DATA path has met something that its caller must handle."""


class OtherPdu(Signal):
    """A PDU that is not P-DATA: `head` is its first six bytes, consumed; its body is still to be read."""

    def __init__(self, head: bytes) -> None:
        super().__init__(f"PDU type 0x{head[0]:02X}")
        self.head = head


class EndOfStream(Signal):
    """The peer closed the connection, or the network did. `clean` is whether it was between two messages."""

    def __init__(self, cause: str, *, clean: bool = False) -> None:
        super().__init__(cause)
        self.clean = clean


class TimedOut(Signal):
    """The peer was silent or too slow for too long."""


class Interrupted(Signal):
    """`Channel.interrupt` was called while nothing of a message had arrived."""
