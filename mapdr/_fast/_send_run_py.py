"""A run of C-STORE messages in plain Python: the reference and the documentation of its compiled twin.

A run sends one message after the other on one association and takes each answer before the next, as PS3.7
section 9.3.1 and a negotiated window of one operation ask for. Only what is plainly regular is dealt with
here; the rest stays in the channel, unread, for the ordinary way, which knows what to do about it.

An answer is regular if it is one P-DATA of one PDV, at most LONGEST_ANSWER bytes, in the context of its
message, and holds a C-STORE-RSP (PS3.7, table 9.3-2) to that message id, without data set and without error
comment, each of the elements that say so once. If it names a SOP class or instance, it is the message's, and
it begins after the last part of the message went out. Bytes behind an answer end the run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from mapdr._fast._pdata_py import Channel, Slice
from mapdr._fast.pdata_signals import P_DATA

LONGEST_ANSWER = 1024
"""Bytes of a P-DATA: a regular answer has two UIDs of 64 characters and some numbers, under 300 bytes."""

_PDU = Struct(">BxL")
_PDV = Struct(">LBB")
_ELEMENT = Struct("<HHL")
_FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _STATUS, _COMMENT = 0x0100, 0x0120, 0x0800, 0x0900, 0x0902
_SOP_CLASS, _SOP_INSTANCE = 0x0002, 0x1000
_WANTED = frozenset((_FIELD, _MESSAGE_ID, _DATA_SET_TYPE, _STATUS))
_C_STORE_RSP, _NO_DATA_SET = 0x8001, 0x0101


class Message(NamedTuple):
    """One C-STORE: its context and message id, its command set, its data set in parts (`length` bytes).

    `sop_class` and `sop_instance` are the UIDs that an answer may name, without padding.
    """

    context: int
    id: int
    command: bytes
    parts: Sequence[bytes | Slice]
    length: int
    sop_class: bytes
    sop_instance: bytes


def send_run(
    channel: Channel,
    messages: Sequence[Message],
    max_length: int,
    seconds: float,
    answers: list[tuple[int, float]],
) -> bool:
    """Send `messages` and append (status, seconds from its beginning to its answer) of each to `answers`.

    The first is always sent; no other is begun after `seconds`, or after a status that is neither success
    nor a warning of the range 0xB000. Whether one more was sent, whose answer is still to be read with
    `channel.read_command`. Raises what `Channel.send_message` raises; this then concerns the message after
    those that are answered. No answer is waited for longer than the socket's own time-out.
    """
    clock = time.perf_counter
    began = now = clock()
    for message in messages:
        channel.send_message(message.context, message.command, message.parts, message.length, max_length)
        status = None if channel.spoke_early else _take_answer(channel, message)
        if status is None:
            return True
        before, now = now, clock()
        answers.append((status, now - before))
        if not goes_on(status) or now - began >= seconds or channel._end > channel._at:
            break
    return False


def goes_on(status: int) -> bool:
    """Whether a status gives no reason to think before the next image: success, or the image with changes."""
    return status == 0 or 0xB000 <= status <= 0xBFFF


def _take_answer(channel: Channel, message: Message) -> int | None:
    """The status of a regular answer; None, with nothing taken, for other bytes or none in time."""
    while True:
        unread = channel._view[channel._at : channel._end]
        size, status = examine(unread, message, longest_answer(channel))
        if size:
            channel._at += max(size, 0)
            return status
        if not unread:
            channel._at = channel._end = 0
        elif channel._quick_ack:
            channel._acknowledge()
        if not _receive_some(channel):
            return None


def longest_answer(channel: Channel) -> int:
    """The longest P-DATA that may be a regular answer; none while the last P-DATA is not read to its end."""
    return 0 if channel._pdu_left else min(LONGEST_ANSWER, channel._max_receive)


def _receive_some(channel: Channel) -> bool:
    """Whether more bytes came; if not, the ordinary way meets the reason again."""
    try:
        size = channel._sock.recv_into(channel._view[channel._end :])
    except OSError:
        return False
    channel._end += size
    return size > 0


def examine(data: bytes | memoryview, message: Message, longest: int) -> tuple[int, int | None]:
    """The size and the status of the regular answer to `message` that `data` begins with.

    (0, None) when it may become one with more bytes, (-1, None) when it is none.
    """
    if len(data) and data[0] != P_DATA:
        return -1, None
    if len(data) < 6:
        return 0, None
    length = _PDU.unpack_from(data)[1]
    if not 6 <= length <= longest:
        return -1, None
    if len(data) < 6 + length:
        return 0, None
    inner, number, control = _PDV.unpack_from(data, 6)
    if inner != length - 4 or number != message.context or control & 3 != 3:
        return -1, None
    status = _status(bytes(data[12 : 6 + length]), message)
    return (-1, None) if status is None else (6 + length, status)


def _status(command: bytes, message: Message) -> int | None:
    """The status in the command set of a regular answer, None for any other."""
    found: dict[int, int] = {}
    names = {_SOP_CLASS: message.sop_class, _SOP_INSTANCE: message.sop_instance}
    at = 0
    while len(command) - at >= 8:
        group, element, length = _ELEMENT.unpack_from(command, at)
        at += 8
        if group != 0 or length > len(command) - at or element == _COMMENT:
            return None
        if element in _WANTED:
            if length != 2 or element in found:
                return None
            found[element] = command[at] | command[at + 1] << 8
        elif element in names:
            if command[at : at + length].rstrip(b"\0 ") not in (b"", names.pop(element)):
                return None
        elif element in (_SOP_CLASS, _SOP_INSTANCE):
            return None
        at += length
    if at != len(command) or len(found) != len(_WANTED) or found[_FIELD] != _C_STORE_RSP:
        return None
    if found[_MESSAGE_ID] != message.id or found[_DATA_SET_TYPE] != _NO_DATA_SET:
        return None
    return found[_STATUS]
