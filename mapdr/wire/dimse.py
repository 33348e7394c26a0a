"""Command sets: the part of a DIMSE message that says what is asked (PS3.7, sections 6.3 and 9.3, annex E).

A command set is implicit VR little endian, group 0000 only. What a peer sends is read leniently (order,
missing group length) and bounded; only RemoteProtocolError is raised. What MAPDR sends comes from templates
that are built once per SOP class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from mapdr import _fast
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.uids import VERIFICATION

C_STORE_RQ = 0x0001
C_GET_RQ = 0x0010
C_FIND_RQ = 0x0020
C_MOVE_RQ = 0x0021
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
C_STORE_RSP = C_STORE_RQ | RESPONSE
C_ECHO_RSP = C_ECHO_RQ | RESPONSE
NO_DATA_SET = 0x0101

AFFECTED_SOP_CLASS_UID = 0x0002
REQUESTED_SOP_CLASS_UID = 0x0003
COMMAND_FIELD = 0x0100
MESSAGE_ID = 0x0110
MESSAGE_ID_RESPONDED_TO = 0x0120
PRIORITY = 0x0700
DATA_SET_TYPE = 0x0800
STATUS = 0x0900
ERROR_COMMENT = 0x0902
AFFECTED_SOP_INSTANCE_UID = 0x1000
MOVE_ORIGINATOR_AE = 0x1030
MOVE_ORIGINATOR_MESSAGE_ID = 0x1031

MAX_COMMAND = 1 << 16
"""Bytes; the longest command set that is read. Those of the standard stay under 1 KiB."""

_HEADER = Struct("<HHL")
_US = Struct("<H")
_US_ELEMENT = Struct("<HHLH")
_VERIFICATION = VERIFICATION.encode("ascii") + b"\0"
_UID_BYTES = b"0123456789."


@dataclass(slots=True)
class Command:
    """What a command set says. UIDs are kept as received, padding included, for the echo in a response.

    `message_id` of a response is the one it responds to. `has_data_set` is whether a data set follows.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class: bytes = b""
    sop_instance: bytes = b""
    status: int = 0
    comment: bytes = b""

    @property
    def sop_class_uid(self) -> str:
        """The SOP class UID without padding. Raises RemoteProtocolError if it is not a UID."""
        return uid_text(self.sop_class)

    @property
    def sop_instance_uid(self) -> str:
        """The SOP instance UID without padding. Raises RemoteProtocolError if it is not a UID."""
        return uid_text(self.sop_instance)


def uid_text(value: bytes) -> str:
    """A UID element's text: digits and dots, at most 64. Raises RemoteProtocolError for anything else."""
    text = value.rstrip(b"\0 ")
    if not 0 < len(text) <= 64 or text.translate(None, _UID_BYTES):
        raise RemoteProtocolError("a UID in a command set is not one", abort_reason=6)
    return text.decode("ascii")


def parse(data: bytes) -> Command:
    """The command set in `data` (all of it). Raises RemoteProtocolError.

    PS3.7 section 6.3.1: ascending tags of group 0000 in implicit VR little endian. The order and the group
    length (0000,0000) are not held against a peer: both are wrong in the field.
    """
    return _command(_fast.command_elements(data))


def _command(elements: dict[int, bytes]) -> Command:
    field = _number(elements, COMMAND_FIELD)
    sop_class = elements.get(AFFECTED_SOP_CLASS_UID)
    if sop_class is None:
        sop_class = elements.get(REQUESTED_SOP_CLASS_UID, b"")
    command = Command(
        field,
        _number(
            elements, MESSAGE_ID if field < RESPONSE and field != C_CANCEL_RQ else MESSAGE_ID_RESPONDED_TO
        ),
        _number(elements, DATA_SET_TYPE) != NO_DATA_SET,
        sop_class,
        elements.get(AFFECTED_SOP_INSTANCE_UID, b""),
    )
    if field & RESPONSE:
        command.status = _number(elements, STATUS)
        command.comment = elements.get(ERROR_COMMENT, b"")
    return command


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element)
    if value is None or len(value) != 2:
        raise RemoteProtocolError(f"a command set lacks (0000,{element:04X}) or has it wrong", abort_reason=6)
    return value[0] | value[1] << 8


def padded(uid: str | bytes) -> bytes:
    """A UID's value field: ASCII, padded to an even length with one NUL (PS3.5, section 9.1)."""
    value = uid.encode("ascii") if isinstance(uid, str) else uid
    return value if len(value) % 2 == 0 else value + b"\0"


def _element(element: int, value: bytes) -> bytes:
    return _HEADER.pack(0, element, len(value)) + value


def _short(element: int, value: int) -> bytes:
    return _US_ELEMENT.pack(0, element, 2, value)


def _with_group_length(elements: bytes) -> bytes:
    return _HEADER.pack(0, 0, 4) + len(elements).to_bytes(4, "little") + elements


@lru_cache(maxsize=1024)
def _store_request_template(sop_class: bytes, instance_length: int, extra: int) -> tuple[bytes, bytes]:
    """What stands before and after the message id in a C-STORE-RQ; the instance UID follows."""
    head = _element(AFFECTED_SOP_CLASS_UID, sop_class) + _short(COMMAND_FIELD, C_STORE_RQ)
    message = _HEADER.pack(0, MESSAGE_ID, 2)
    tail = (
        _short(PRIORITY, 0)
        + _short(DATA_SET_TYPE, 1)
        + _HEADER.pack(0, AFFECTED_SOP_INSTANCE_UID, instance_length)
    )
    length = len(head) + len(message) + 2 + len(tail) + instance_length + extra
    return _HEADER.pack(0, 0, 4) + length.to_bytes(4, "little") + head + message, tail


def store_request(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, originator: tuple[str, int] | None = None
) -> bytes:
    """A C-STORE-RQ (PS3.7, table 9.3-1), medium priority.

    `originator` is the AE title and message id of the C-MOVE that asked for it, if one did.
    """
    instance = padded(sop_instance_uid)
    extra = b""
    if originator is not None:
        title, move_id = originator
        title_value = title.encode("ascii")
        title_value += b" " * (len(title_value) % 2)
        extra = _element(MOVE_ORIGINATOR_AE, title_value) + _short(MOVE_ORIGINATOR_MESSAGE_ID, move_id)
    head, tail = _store_request_template(padded(sop_class_uid), len(instance), len(extra))
    return b"".join((head, _US.pack(message_id), tail, instance, extra))


@lru_cache(maxsize=1024)
def _response_template(
    field: int, sop_class: bytes, instance_length: int, status: int
) -> tuple[bytes, bytes]:
    """What stands before and after the message id in a response; the instance UID, if any, follows."""
    head = _element(AFFECTED_SOP_CLASS_UID, sop_class) if sop_class else b""
    head += _short(COMMAND_FIELD, field | RESPONSE) + _HEADER.pack(0, MESSAGE_ID_RESPONDED_TO, 2)
    tail = _short(DATA_SET_TYPE, NO_DATA_SET) + _short(STATUS, status)
    if instance_length:
        tail += _HEADER.pack(0, AFFECTED_SOP_INSTANCE_UID, instance_length)
    length = len(head) + 2 + len(tail) + instance_length
    return _HEADER.pack(0, 0, 4) + length.to_bytes(4, "little") + head, tail


def response(request: Command, status: int, comment: str = "") -> bytes:
    """The response to `request`, whatever operation it asks for, without a data set."""
    instance = padded(request.sop_instance)
    sop_class = padded(request.sop_class)
    # The templates are cached by what the peer sent: only what has a UID's length may stay in memory.
    if not comment and len(sop_class) <= 64 and len(instance) <= 64:
        head, tail = _response_template(request.field, sop_class, len(instance), status)
        return b"".join((head, _US.pack(request.message_id), tail, instance))
    text = comment.encode("ascii", "replace")[:64]
    text += b" " * (len(text) % 2)
    return _with_group_length(
        (_element(AFFECTED_SOP_CLASS_UID, sop_class) if sop_class else b"")
        + _short(COMMAND_FIELD, request.field | RESPONSE)
        + _short(MESSAGE_ID_RESPONDED_TO, request.message_id)
        + _short(DATA_SET_TYPE, NO_DATA_SET)
        + _short(STATUS, status)
        + (_element(ERROR_COMMENT, text) if text else b"")
        + (_element(AFFECTED_SOP_INSTANCE_UID, instance) if instance else b"")
    )


def echo_request(message_id: int) -> bytes:
    """A C-ECHO-RQ (PS3.7, table 9.3-12)."""
    return _with_group_length(
        _element(AFFECTED_SOP_CLASS_UID, _VERIFICATION)
        + _short(COMMAND_FIELD, C_ECHO_RQ)
        + _short(MESSAGE_ID, message_id)
        + _short(DATA_SET_TYPE, NO_DATA_SET)
    )
