"""The PDUs that are not P-DATA (PS3.8, section 9.3): reading, writing, and what they say in plain words.

Items are decoded and encoded by pynetdicom's classes. Before they see a byte, the length is capped, the item
structure is walked here, and what MAPDR neither uses nor knows is dropped (PS3.8, section 9.3.1: unknown
items are ignored): user identity, extended negotiation, items of later editions. Whatever a peer sends, only
RemoteProtocolError leaves this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from types import MappingProxyType
from typing import Any

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.uids import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
)

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07

MAX_ASSOCIATE = 1 << 18
"""Bytes; the longest A-ASSOCIATE that is read. 128 contexts with 30 transfer syntaxes each make 120 kB."""
MAX_CONTEXTS = 128
LENGTHS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        ASSOCIATE_RQ: (68, MAX_ASSOCIATE),
        ASSOCIATE_AC: (68, MAX_ASSOCIATE),
        ASSOCIATE_RJ: (4, 4),
        RELEASE_RQ: (4, 4),
        RELEASE_RP: (4, 4),
        ABORT: (4, 4),
    }
)
"""PDU type to the shortest and longest PDU length that is read."""

_APPLICATION_ITEM = 0x10
_CONTEXT_RQ_ITEM = 0x20
_CONTEXT_AC_ITEM = 0x21
_ABSTRACT_ITEM = 0x30
_TRANSFER_ITEM = 0x40
_USER_ITEM = 0x50
_MAXIMUM_LENGTH_ITEM = 0x51
IMPLEMENTATION_CLASS_ITEM = 0x52
WINDOW_ITEM = 0x53
_ROLE_ITEM = 0x54
IMPLEMENTATION_VERSION_ITEM = 0x55
_USED_SUB_ITEMS = frozenset((_MAXIMUM_LENGTH_ITEM, _ROLE_ITEM))

_UID_BYTES = frozenset(b"0123456789.")
_ITEM = Struct(">BxH")
_FIXED = Struct(">HH16s16s32x")
_PDU = Struct(">BxL")
_SMALL_PDU = Struct(">BxLBBBB")


@dataclass(frozen=True, slots=True)
class Context:
    """A presentation context as proposed: id, abstract syntax, and transfer syntaxes in the peer's order."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to a proposed context: `result` 0 is acceptance (PS3.8, table 9-18)."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ. `max_length` is what the requestor receives at most in one P-DATA (0: no limit).

    `roles` maps a SOP class UID to the proposed (SCU, SCP) roles. `window` are the operations that the
    requestor would invoke and perform at a time (PS3.7, annex D.3.3.3), None to say nothing of it; of a
    peer's request it is not read.
    """

    calling_ae: str
    called_ae: str
    contexts: tuple[Context, ...]
    max_length: int = 0
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    protocol_version: int = 1
    application_context: str = APPLICATION_CONTEXT
    window: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC. `calling_ae` and `called_ae` repeat the request and are not looked at when read."""

    calling_ae: str
    called_ae: str
    results: tuple[ContextResult, ...]
    max_length: int = 0
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ (PS3.8, table 9-21)."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT: source 0 is the service user, 2 the provider (PS3.8, table 9-26)."""

    source: int
    reason: int


Pdu = AssociateRequest | AssociateAccept | AssociateReject | ReleaseRequest | ReleaseReply | Abort


def check_header(head: bytes) -> tuple[int, int]:
    """Type and length of the PDU whose first six bytes are `head`, refused before its body is read.

    Raises RemoteProtocolError with the cause. P-DATA is not allowed here: its limit is negotiated.
    """
    pdu_type, length = _PDU.unpack(head)
    limits = LENGTHS.get(pdu_type)
    if limits is None:
        raise RemoteProtocolError(_foreign_protocol(head), abort_reason=1)
    shortest, longest = limits
    if not shortest <= length <= longest:
        raise RemoteProtocolError(
            f"a PDU of type 0x{pdu_type:02X} claims {length} bytes; {shortest} to {longest} are possible",
            abort_reason=6,
        )
    return pdu_type, length


SPEAKS_TLS = "the peer speaks TLS, this connection does not: set up TLS on both sides or on neither"


def _foreign_protocol(head: bytes) -> str:
    """What the first six bytes of something that is not a PDU look like, in plain words."""
    if head[0] in range(0x14, 0x18) and head[1] == 3:
        return SPEAKS_TLS
    if all(byte in b"\r\n" or 0x20 <= byte < 0x7F for byte in head):
        return "the peer speaks HTTP or another text protocol, not DICOM"
    return f"the peer does not speak DICOM: it sent a PDU of type 0x{head[0]:02X}"


def decode(pdu_type: int, body: bytes) -> Pdu:
    """The PDU with this type and body (what follows the six bytes of its header).

    Raises RemoteProtocolError for a P-DATA, an unknown type, a wrong length or wrong content.
    """
    check_header(_PDU.pack(pdu_type, len(body)))
    if pdu_type == RELEASE_RQ:
        return ReleaseRequest()
    if pdu_type == RELEASE_RP:
        return ReleaseReply()
    if pdu_type == ABORT:
        return Abort(body[2], body[3])
    if pdu_type == ASSOCIATE_RJ:
        return AssociateReject(body[1], body[2], body[3])
    try:
        return _decode_request(body) if pdu_type == ASSOCIATE_RQ else _decode_accept(body)
    except RemoteProtocolError:
        raise
    except Exception as error:  # noqa: BLE001  pynetdicom raises KeyError, AssertionError, struct.error and more
        raise RemoteProtocolError(
            f"an A-ASSOCIATE cannot be read ({type(error).__name__})", abort_reason=6
        ) from None


@lru_cache(maxsize=1)
def _pynetdicom() -> Any:
    """Imported here, for that takes longer than most commands, and they speak to nobody."""
    import pynetdicom.pdu

    return pynetdicom


def load() -> None:
    """Import what associations need, before a peer waits for it."""
    _pynetdicom()


def _decode_request(body: bytes) -> AssociateRequest:
    version, _, called, calling = _FIXED.unpack_from(body)
    contexts: list[Context] = []
    application, maximum = "", 0
    roles: dict[str, tuple[bool, bool]] = {}
    for type_, item in _items(body, 68):
        if type_ == _APPLICATION_ITEM:
            application = item[4:].rstrip(b"\0 ").decode("ascii", "replace")
        elif type_ == _CONTEXT_RQ_ITEM:
            if len(contexts) == MAX_CONTEXTS:
                raise RemoteProtocolError("more than 128 presentation contexts are proposed", abort_reason=6)
            contexts.append(_context(item))
        elif type_ == _USER_ITEM:
            maximum, roles = _user_information(item)
    ids = {context.id for context in contexts}
    if len(ids) != len(contexts) or any(id_ % 2 == 0 for id_ in ids):
        raise RemoteProtocolError("presentation context ids are even or not unique", abort_reason=6)
    return AssociateRequest(
        title(calling), title(called), tuple(contexts), maximum, roles, version, application
    )


def _decode_accept(body: bytes) -> AssociateAccept:
    _, _, called, calling = _FIXED.unpack_from(body)
    results: list[ContextResult] = []
    maximum = 0
    roles: dict[str, tuple[bool, bool]] = {}
    for type_, item in _items(body, 68):
        if type_ == _CONTEXT_AC_ITEM:
            known = _without_unknown(item, 8, {_TRANSFER_ITEM})
            context = _decoded(_pynetdicom().pdu_items.PresentationContextItemAC(), known)
            results.append(ContextResult(context.context_id, context.result, _text(context.transfer_syntax)))
        elif type_ == _USER_ITEM:
            maximum, roles = _user_information(item)
    return AssociateAccept(title(calling), title(called), tuple(results), maximum, roles)


def _context(item: bytes) -> Context:
    known = _without_unknown(item, 8, {_ABSTRACT_ITEM, _TRANSFER_ITEM})
    context = _decoded(_pynetdicom().pdu_items.PresentationContextItemRQ(), known)
    syntaxes = tuple(_text(uid) for uid in context.transfer_syntax)
    return Context(context.context_id, _text(context.abstract_syntax), syntaxes)


def _user_information(item: bytes) -> tuple[int, dict[str, tuple[bool, bool]]]:
    known = _without_unknown(item, 4, _USED_SUB_ITEMS)
    information = _decoded(_pynetdicom().pdu_items.UserInformationItem(), known)
    roles = {
        _text(uid): (bool(role.scu_role), bool(role.scp_role))
        for uid, role in information.role_selection.items()
        if uid is not None
    }
    return information.maximum_length or 0, roles


def user_items(body: bytes) -> dict[int, bytes]:
    """The sub-items of user information of an A-ASSOCIATE's body by type, as they came; the last of each.

    Raises RemoteProtocolError.
    """
    found = (item for type_, item in _items(body, 68) if type_ == _USER_ITEM)
    return {type_: item[4:] for each in found for type_, item in _items(each, 4)}


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Type and bytes (header included) of each item from offset `at`."""
    end = len(data)
    while at < end:
        if end - at < 4:
            raise RemoteProtocolError("an item's header is cut short", abort_reason=6)
        type_, length = _ITEM.unpack_from(data, at)
        if length > end - at - 4:
            raise RemoteProtocolError("an item is longer than what holds it", abort_reason=6)
        yield type_, data[at : at + 4 + length]
        at += 4 + length


def _without_unknown(item: bytes, at: int, used: frozenset[int] | set[int]) -> bytes:
    """`item` with only those sub-items (from offset `at`) that are used and can be read.

    A UID that is none is left out, not held against the rest: one bad context must not cost the others.
    """
    if len(item) < at:
        raise RemoteProtocolError("an item lacks its fixed fields", abort_reason=6)
    kept = b"".join(_usable(type_, sub_item) for type_, sub_item in _items(item, at) if type_ in used)
    return item[:2] + (at - 4 + len(kept)).to_bytes(2, "big") + item[4:at] + kept


def _usable(type_: int, item: bytes) -> bytes:
    """The sub-item as it may be decoded, its UID without padding; nothing if it cannot be."""
    if type_ in (_ABSTRACT_ITEM, _TRANSFER_ITEM):
        uid = item[4:].rstrip(b"\0 ")
        return _ITEM.pack(type_, len(uid)) + uid if _is_uid(uid) else b""
    if type_ == _ROLE_ITEM:
        roles = item[-2:] in (b"\0\0", b"\0\1", b"\1\0", b"\1\1")
        length = int.from_bytes(item[4:6], "big")
        return item if roles and len(item) == 8 + length and _is_uid(item[6:-2].rstrip(b"\0 ")) else b""
    return item


def _is_uid(value: bytes) -> bool:
    return 0 < len(value) <= 64 and _UID_BYTES.issuperset(value)


def _decoded(item: Any, data: bytes) -> Any:
    item.decode(data)
    return item


def _text(uid: Any) -> str:
    return "" if uid is None else str(uid).strip("\0 ")


def title(value: bytes) -> str:
    """An AE title as compared and shown: ISO 646, leading and trailing spaces (and NULs) not significant.

    What is not printable ASCII is shown as `?`, so that it can equal no configured title.
    """
    text = value.strip(b" \0").decode("latin-1")
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def encode_request(request: AssociateRequest) -> bytes:
    """The bytes of an A-ASSOCIATE-RQ. Raises ValueError if an AE title or UID is not one."""
    pdu = _pynetdicom().pdu.A_ASSOCIATE_RQ()
    pdu.calling_ae_title = request.calling_ae
    pdu.called_ae_title = request.called_ae
    application = _pynetdicom().pdu_items.ApplicationContextItem()
    application.application_context_name = request.application_context
    pdu.variable_items = [application]
    for context in request.contexts:
        item = _pynetdicom().pdu_items.PresentationContextItemRQ()
        item.presentation_context_id = context.id
        abstract = _pynetdicom().pdu_items.AbstractSyntaxSubItem()
        abstract.abstract_syntax_name = context.abstract_syntax
        item.abstract_transfer_syntax_sub_items = [abstract, *map(_transfer, context.transfer_syntaxes)]
        pdu.variable_items.append(item)
    pdu.variable_items.append(_user_item(request.max_length, request.roles, request.window))
    return bytes(pdu.encode())


def encode_accept(accept: AssociateAccept) -> bytes:
    """The bytes of an A-ASSOCIATE-AC."""
    pdu = _pynetdicom().pdu.A_ASSOCIATE_AC()
    application = _pynetdicom().pdu_items.ApplicationContextItem()
    application.application_context_name = APPLICATION_CONTEXT
    pdu.variable_items = [application]
    for result in accept.results:
        item = _pynetdicom().pdu_items.PresentationContextItemAC()
        item.presentation_context_id = result.id
        item.result_reason = result.result
        item.transfer_syntax_sub_item = [_transfer(result.transfer_syntax)]
        pdu.variable_items.append(item)
    pdu.variable_items.append(_user_item(accept.max_length, accept.roles))
    encoded = bytearray(pdu.encode())
    # PS3.8 table 9-17: these fields repeat the request's, whatever they held; pynetdicom would check them.
    encoded[10:26] = accept.called_ae.encode("ascii", "replace")[:16].ljust(16)
    encoded[26:42] = accept.calling_ae.encode("ascii", "replace")[:16].ljust(16)
    return bytes(encoded)


def _transfer(uid: str) -> Any:
    item = _pynetdicom().pdu_items.TransferSyntaxSubItem()
    item.transfer_syntax_name = uid
    return item


def _user_item(
    max_length: int, roles: Mapping[str, tuple[bool, bool]], window: tuple[int, int] | None = None
) -> Any:
    """User information (PS3.7, annex D.3.3). Images are sent one after another: only who asks for what a peer
    could do proposes an asynchronous operations window."""
    maximum = _pynetdicom().pdu_items.MaximumLengthSubItem()
    maximum.maximum_length_received = max_length
    class_uid = _pynetdicom().pdu_items.ImplementationClassUIDSubItem()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    items: list[Any] = [maximum, class_uid]
    if window is not None:
        operations = _pynetdicom().pdu_items.AsynchronousOperationsWindowSubItem()
        operations.maximum_number_operations_invoked = window[0]
        operations.maximum_number_operations_performed = window[1]
        items.append(operations)
    for uid, (scu, scp) in roles.items():
        role = _pynetdicom().pdu_items.SCP_SCU_RoleSelectionSubItem()
        role.sop_class_uid = uid
        role.scu_role = int(scu)
        role.scp_role = int(scp)
        items.append(role)
    version = _pynetdicom().pdu_items.ImplementationVersionNameSubItem()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    items.append(version)
    information = _pynetdicom().pdu_items.UserInformationItem()
    information.user_data = items
    return information


def encode_reject(reject: AssociateReject) -> bytes:
    """The bytes of an A-ASSOCIATE-RJ."""
    return _SMALL_PDU.pack(ASSOCIATE_RJ, 4, 0, reject.result, reject.source, reject.reason)


def encode_abort(abort: Abort) -> bytes:
    """The bytes of an A-ABORT."""
    return _SMALL_PDU.pack(ABORT, 4, 0, 0, abort.source, abort.reason)


RELEASE_RQ_BYTES = _SMALL_PDU.pack(RELEASE_RQ, 4, 0, 0, 0, 0)
RELEASE_RP_BYTES = _SMALL_PDU.pack(RELEASE_RP, 4, 0, 0, 0, 0)


def encode(pdu: Pdu) -> bytes:
    """The bytes of any PDU that is not P-DATA."""
    if isinstance(pdu, AssociateRequest):
        return encode_request(pdu)
    if isinstance(pdu, AssociateAccept):
        return encode_accept(pdu)
    if isinstance(pdu, AssociateReject):
        return encode_reject(pdu)
    if isinstance(pdu, Abort):
        return encode_abort(pdu)
    return RELEASE_RQ_BYTES if isinstance(pdu, ReleaseRequest) else RELEASE_RP_BYTES
