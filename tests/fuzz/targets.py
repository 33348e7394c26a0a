"""What is fuzzed: each target takes any bytes, and may raise nothing but what its contract names.

Every input is given three ways: whole, byte by byte, and with trailing bytes that must be left alone.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import pydicom.data
from pydicom.filereader import dcmread
from pydicom.filewriter import write_dataset

from mapdr._fast import _scan_py
from mapdr.dicom.scan import NeedMore, Unreadable, scan
from mapdr.kernel.errors import RemoteProtocolError
from mapdr.testing import peer
from mapdr.wire import dimse, pdu
from mapdr.wire.acceptor import Acceptor
from mapdr.wire.driver import Limits, LinkLost
from receive.conversation import converse
from store.world import data_set
from wire.streams import Tape, ways

SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
WANTED = frozenset(
    [
        (0x00080018,),
        (0x00080060,),
        (0x00100010,),
        (0x0020000D,),
        (0x00400275, 0x00400009),
        (0x00081140, 0x00081155),
    ]
)
LIMITS = Limits(max_pdu=4096, linger=0)


def pdus(data: bytes) -> None:
    """The PDU reader: a header, a body; what decodes can be encoded, and decodes to the same again."""
    if len(data) < 6:
        return  # the stream reader never hands over less
    try:
        kind, _ = pdu.check_header(data[:6])
        decoded = pdu.decode(kind, data[6:])
    except RemoteProtocolError:
        return
    if isinstance(decoded, pdu.AssociateAccept) and not all(each.transfer_syntax for each in decoded.results):
        return  # a UID that is none was left out: it cannot come back
    if isinstance(decoded, pdu.AssociateRequest) and not all(
        each.abstract_syntax for each in decoded.contexts
    ):
        return
    try:
        encoded = pdu.encode(decoded)
    except (ValueError, RemoteProtocolError):
        return  # what a peer may say and MAPDR would not: too long a title, too many contexts
    # What MAPDR does not repeat (a version, an odd title) is lost the first time, and nothing the second.
    again = pdu.decode(encoded[0], encoded[6:])
    encoded = pdu.encode(again)
    assert pdu.decode(encoded[0], encoded[6:]) == again


def commands(data: bytes) -> None:
    """The command reader: a command, of which a response can be made, or a protocol error."""
    try:
        command = dimse.parse(data)
    except RemoteProtocolError:
        return
    try:
        answer = dimse.response(command, 0x0110, "comment")
    except RemoteProtocolError:
        return
    assert dimse.parse(answer).field == command.field | dimse.RESPONSE


def associations(data: bytes) -> None:
    """The state machine with the P-DATA path: a peer's whole conversation, as a receiver has it."""
    for pieces in ways(data, b"\5\0\0\0\0\4\0\0\0\0"):
        with Tape(pieces) as tape:
            link = Acceptor(tape, LIMITS)
            try:
                link.accept(link.wait())
                while (message := link.read_message(5)) is not None:
                    context, command = message
                    if command.has_data_set:
                        link.read_data(context, len)
                    link.send_command(context, dimse.response(command, 0))
            except (LinkLost, RemoteProtocolError):
                pass
            link.abort()
            assert link.machine.idle


def runs(data: bytes) -> None:
    """What follows an association request, in runs and in the ordinary way: the same comes of it."""
    half = len(data) // 2
    one, other = (converse([data[:half], data[half:]], runs=runs) for runs in (True, False))
    assert (one.answers, one.kept, one.counters) == (other.answers, other.kept, other.counters)


def headers(data: bytes) -> None:
    """The header scan: every encoding, whole and by growing pieces; both twins say the same."""
    for syntax in SYNTAXES:
        whole = said(lambda syntax=syntax: scan(data, syntax, WANTED, complete=True))
        assert whole != "more", "a complete data set asked for more"
        available = min(len(data), 64)
        while True:
            part = data[:available]
            answer = said(
                lambda part=part, syntax=syntax: scan(part, syntax, WANTED, complete=False, size=len(data))
            )
            if answer != "more" or available == len(data):
                break
            available = min(len(data), available * 2)
    for flags in (0, 1, 2, 3):
        for beyond in (False, True):
            walk(data, flags, beyond)


def walk(data: bytes, flags: int, beyond: bool) -> None:
    from mapdr import _fast

    tree = {0x00080018: {}, 0x00400275: {0x00400009: {}}}
    one, other = (
        said(lambda twin=twin: twin(data, len(data), len(data), flags, tree, beyond=beyond, max_value=256))
        for twin in (_fast.walk, _scan_py.walk)
    )
    assert one == other, "the twins differ"


def said(call: Callable[[], object]) -> object:
    """The result, "more", or the reason of a refusal."""
    try:
        return call()
    except NeedMore:
        return "more"
    except Unreadable as error:
        return error.reason


def pdu_seeds() -> list[bytes]:
    """One of each PDU."""
    results = (pdu.ContextResult(1, 0, peer.IMPLICIT), pdu.ContextResult(3, 3, peer.IMPLICIT))
    return [
        peer.request(),
        pdu.encode(pdu.AssociateAccept("A", "B", results)),
        pdu.encode(pdu.AssociateReject(1, 1, 1)),
        pdu.RELEASE_RQ_BYTES,
        pdu.RELEASE_RP_BYTES,
        pdu.encode(pdu.Abort(2, 1)),
        peer.p_data((1, 3, peer.command(0x0030))),
    ]


def command_seeds() -> list[bytes]:
    """Requests and responses."""
    return [peer.command(field, data_set=True) for field in (0x0001, 0x0030, 0x0020, 0x8001, 0x0FFF)] + [
        dimse.store_request(1, peer.CT, "1.2.3.4"),
        dimse.echo_request(7),
    ]


def association_seeds() -> list[bytes]:
    """Conversations, whole and in parts."""
    echo = peer.p_data((1, 3, dimse.echo_request(1)))
    return [
        peer.request() + echo + peer.store(b"data" * 100) + pdu.RELEASE_RQ_BYTES,
        peer.request() + peer.store(b"") + peer.p_data((3, 2, b"late")) + pdu.encode(pdu.Abort(0, 0)),
        peer.request() + peer.p_data((3, 3, dimse.store_request(1, peer.CT, "1.2.3"))),
        echo,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]


def run_seeds() -> list[bytes]:
    """Images one after the other, in one P-DATA and in many, with something else between them."""
    small, other = data_set("1.2.3.4"), data_set("1.2.3.5", pixels=600)
    pieces = [other[at : at + 90] for at in range(0, len(other), 90)]
    command = (3, 3, dimse.store_request(2, peer.CT, "1.2.3.5"))
    parts = [(3, 2 if piece is pieces[-1] else 0, piece) for piece in pieces]
    return [
        peer.store(small) * 2 + peer.p_data((1, 3, dimse.echo_request(1))) + pdu.RELEASE_RQ_BYTES,
        peer.store(small) + b"".join(map(peer.p_data, [command, *parts])) + pdu.RELEASE_RQ_BYTES,
        peer.p_data(command, *parts) + peer.store(small, 3) + pdu.RELEASE_RQ_BYTES,
    ]


def header_seeds() -> list[bytes]:
    """Small real data sets without their pixels, in three encodings."""
    seeds = []
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "nested_priv_SQ.dcm", "reportsi.dcm"):
        path = pydicom.data.get_testdata_file(name, download=False)
        if path is None:
            continue
        data_set = dcmread(Path(str(path)), stop_before_pixels=True)
        for implicit, little in ((True, True), (False, True), (False, False)):
            out = pydicom.filebase.DicomFileLike(io.BytesIO())
            out.is_implicit_VR, out.is_little_endian = implicit, little
            write_dataset(out, data_set)
            seeds.append(out.parent.getvalue()[:6000])  # type: ignore[attr-defined]
    deep = b""
    for _ in range(200):
        deep = (
            struct.pack("<HH2sHLHHL", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) + deep
        )
    return [*seeds, deep]


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "pdu": (pdus, pdu_seeds),
    "command": (commands, command_seeds),
    "association": (associations, association_seeds),
    "scan": (headers, header_seeds),
    "runs": (runs, run_seeds),
}
"""Name to what is fuzzed and what it begins with."""
