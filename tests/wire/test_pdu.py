"""The PDUs: round trips, pynetdicom as the independent reader, and wrong bytes in every way."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from mapdr.kernel.errors import RemoteProtocolError
from mapdr.kernel.uids import APPLICATION_CONTEXT, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from mapdr.testing import peer
from mapdr.wire import pdu
from mapdr.wire.words import abortion, rejection

uids = st.lists(st.integers(1, 999_999), min_size=2, max_size=7).map(lambda parts: ".".join(map(str, parts)))
titles = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\\"), min_size=1, max_size=16
)
contexts = st.lists(st.tuples(uids, st.lists(uids, min_size=1, max_size=4)), min_size=1, max_size=20).map(
    lambda pairs: tuple(
        pdu.Context(2 * index + 1, abstract, tuple(syntaxes))
        for index, (abstract, syntaxes) in enumerate(pairs)
    )
)
roles = st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()), max_size=3)


def body(data: bytes) -> bytes:
    assert struct.unpack(">L", data[2:6])[0] == len(data) - 6
    return data[6:]


@settings(max_examples=40)
@given(titles, titles, contexts, st.integers(0, 0xFFFFFFFF), roles)
def test_request_round_trip(
    calling: str,
    called: str,
    proposed: tuple[pdu.Context, ...],
    length: int,
    role: dict[str, tuple[bool, bool]],
) -> None:
    request = pdu.AssociateRequest(calling, called, proposed, length, role)
    assert pdu.decode(pdu.ASSOCIATE_RQ, body(pdu.encode(request))) == request


@settings(max_examples=40)
@given(titles, titles, st.lists(st.tuples(st.integers(0, 4), uids), max_size=20), st.integers(0, 0xFFFFFFFF))
def test_accept_round_trip(calling: str, called: str, given_: list[tuple[int, str]], length: int) -> None:
    results = tuple(pdu.ContextResult(2 * i + 1, result, uid) for i, (result, uid) in enumerate(given_))
    accept = pdu.AssociateAccept(calling, called, results, length)
    assert pdu.decode(pdu.ASSOCIATE_AC, body(pdu.encode(accept))) == accept


@pytest.mark.parametrize(
    ("message", "golden"),
    [
        (pdu.AssociateReject(1, 1, 7), "03 00 00000004 00 01 01 07"),
        (pdu.ReleaseRequest(), "05 00 00000004 00000000"),
        (pdu.ReleaseReply(), "06 00 00000004 00000000"),
        (pdu.Abort(2, 6), "07 00 00000004 0000 02 06"),
    ],
)
def test_small_pdus_are_golden(message: pdu.Pdu, golden: str) -> None:
    """PS3.8, tables 9-21, 9-24, 9-25, 9-26."""
    data = bytes.fromhex(golden)
    assert pdu.encode(message) == data
    assert pdu.decode(data[0], data[6:]) == message


def test_pynetdicom_reads_our_request_and_finds_no_async_window() -> None:
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(peer.request(calling="ME", called="YOU", max_length=32768))
    assert (theirs.calling_ae_title, theirs.called_ae_title) == ("ME", "YOU")
    information = theirs.user_information
    assert information.maximum_length == 32768
    assert information.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert information.implementation_version_name == IMPLEMENTATION_VERSION_NAME
    assert information.async_ops_window is None
    assert information.user_identity is None


def test_pynetdicom_reads_our_accept() -> None:
    results = (pdu.ContextResult(1, 0, peer.EXPLICIT), pdu.ContextResult(3, 4, peer.IMPLICIT))
    theirs = A_ASSOCIATE_AC()
    theirs.decode(pdu.encode(pdu.AssociateAccept("ME", "YOU", results, 16384, {peer.CT: (True, False)})))
    assert [(item.context_id, item.result) for item in theirs.presentation_context] == [(1, 0), (3, 4)]
    role = theirs.user_information.role_selection[peer.CT]
    assert (role.scu_role, role.scp_role) == (1, 0)


def test_a_request_with_everything_is_read() -> None:
    """User identity, extended negotiation, an asynchronous window: accepted and ignored."""
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(peer.request())
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field = b"somebody"
    identity.secondary_field = b"secret"
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = peer.CT
    extended.service_class_application_information = b"\x02\x00\x01"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = peer.CT
    common.service_class_uid = "1.2.840.10008.4.2"
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    for item in (identity, extended, common, window):
        theirs.user_information.user_data.append(item.from_primitive())
    read = pdu.decode(pdu.ASSOCIATE_RQ, body(theirs.encode()))
    assert isinstance(read, pdu.AssociateRequest)
    assert read.contexts == peer.CONTEXTS
    assert read.max_length == 16384


def items(*, ae: bytes = b"X" * 16, version: int = 1, user: bytes = b"", more: bytes = b"") -> bytes:
    """An A-ASSOCIATE-RQ's body by hand."""
    fixed = struct.pack(">HH", version, 0) + ae + b"CALLER          " + bytes(32)
    user_item = b"\x51\0\0\4\0\0\x40\0" + user
    return (
        fixed
        + b"\x10\0\0\x15"
        + APPLICATION_CONTEXT.encode()
        + more
        + b"\x50\0"
        + struct.pack(">H", len(user_item))
        + user_item
    )


def test_unknown_items_are_ignored() -> None:
    """PS3.8, section 9.3.1."""
    unknown = b"\x77\0\0\3abc"
    context = (
        b"\x20\0\0\x29\1\0\0\0"
        + b"\x30\0\0\x11"
        + b"1.2.840.10008.1.1"
        + unknown
        + b"\x40\0\0\x05"
        + b"1.2.3"
    )
    read = pdu.decode(pdu.ASSOCIATE_RQ, items(more=unknown + context, user=b"\x60\0\0\2zz"))
    assert isinstance(read, pdu.AssociateRequest)
    assert read.contexts == (pdu.Context(1, "1.2.840.10008.1.1", ("1.2.3",)),)
    assert read.max_length == 16384


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def test_one_bad_context_does_not_cost_the_others(caplog: pytest.LogCaptureFixture) -> None:
    good = item(0x30, b"1.2.840.10008.1.1") + item(0x40, b"1.2.3\0")
    contexts = (
        item(0x20, b"\1\0\0\0" + item(0x30, b"\xff\xfe") + item(0x40, b"1.2.3")),
        item(0x20, b"\3\0\0\0" + item(0x30, b"1" * 65) + item(0x40, b"1.2.3")),
        item(0x20, b"\5\0\0\0" + item(0x30, b"1.2.3 ") + item(0x40, b"\x1b[31m") + item(0x40, b"")),
        item(0x20, b"\7\0\0\0" + good),
    )
    role = item(0x54, b"\0\5\xff\xff\xff\xff\xff\1\0") + item(0x54, b"\0\5" + b"1.2.3\7\7") + item(0x54, b"")
    read = pdu.decode(pdu.ASSOCIATE_RQ, items(more=b"".join(contexts), user=role))
    assert isinstance(read, pdu.AssociateRequest)
    assert read.contexts == (
        pdu.Context(1, "", ("1.2.3",)),
        pdu.Context(3, "", ("1.2.3",)),
        pdu.Context(5, "1.2.3", ()),
        pdu.Context(7, "1.2.840.10008.1.1", ("1.2.3",)),
    )
    assert read.roles == {}
    assert not caplog.records


def test_a_role_s_padded_uid_is_the_uid() -> None:
    role = item(0x54, b"\0\7" + b"1.2.3\0\0" + b"\1\0")
    read = pdu.decode(pdu.ASSOCIATE_RQ, items(user=role))
    assert isinstance(read, pdu.AssociateRequest)
    assert read.roles == {"1.2.3": (True, False)}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"  CT 1  ".ljust(16), "CT 1"),
        (b"CT1\0".ljust(16, b"\0"), "CT1"),
        (b"\n\xe9V\x1b[0m".ljust(16), "??V?[0m"),
    ],
)
def test_titles_are_trimmed_and_never_hold_control_characters(raw: bytes, shown: str) -> None:
    read = pdu.decode(pdu.ASSOCIATE_RQ, items(ae=raw))
    assert isinstance(read, pdu.AssociateRequest)
    assert read.called_ae == shown


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (b"\x20\0", "cut short"),
        (b"\x20\0\xff\xff\1\0\0\0", "longer than what holds it"),
        (b"\x20\0\0\1\1", "lacks its fixed fields"),
        (b"\x20\0\0\4\2\0\0\0", "even"),
        (b"\x20\0\0\4\1\0\0\0" * 2, "not unique"),
        (b"\x20\0\0\4\1\0\0\0" * 129, "more than 128"),
    ],
)
def test_wrong_items_are_named(more: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        pdu.decode(pdu.ASSOCIATE_RQ, items() + more)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01", "speaks TLS"),
        (b"GET / ", "HTTP"),
        (b"POST /", "HTTP"),
        (b"\x99\0\0\0\0\0", "type 0x99"),
        (b"\1\0\xff\xff\xff\xff", "claims 4294967295 bytes"),
        (b"\5\0\0\0\0\5", "claims 5 bytes"),
        (b"\4\0\0\0\0\x0c", "type 0x04"),
    ],
)
def test_a_header_is_refused_before_its_body(head: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        pdu.check_header(head)


@given(st.integers(0, 255), st.binary(max_size=300))
def test_any_bytes_are_a_pdu_or_the_peers_fault(kind: int, data: bytes) -> None:
    try:
        pdu.decode(kind, data)
    except RemoteProtocolError:
        return


@given(st.data())
def test_a_damaged_associate_is_read_or_the_peers_fault(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC]))
    if kind == pdu.ASSOCIATE_RQ:
        whole = bytearray(
            pdu.encode(pdu.AssociateRequest("A", "B", peer.CONTEXTS, 0, {peer.CT: (True, True)}))[6:]
        )
    else:
        whole = bytearray(pdu.encode(pdu.AssociateAccept("A", "B", (pdu.ContextResult(1, 0, "1.2"),)))[6:])
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        read = pdu.decode(kind, bytes(whole[:cut]))
    except RemoteProtocolError:
        return
    if isinstance(read, pdu.AssociateRequest):
        assert all(context.id % 2 for context in read.contexts)
        assert read.called_ae.isprintable()


@pytest.mark.parametrize("source", range(4))
@pytest.mark.parametrize("reason", range(10))
def test_rejections_and_aborts_have_words(source: int, reason: int) -> None:
    assert rejection(pdu.AssociateReject(1, source, reason)).startswith(
        "the peer rejected the association for good: "
    )
    assert "abort" in abortion(pdu.Abort(source, reason))
    if (source, reason) == (1, 7):
        assert rejection(pdu.AssociateReject(1, 1, 7)).endswith("called AE title not recognized")
