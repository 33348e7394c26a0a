"""The requestor against scripted peers, pynetdicom and DCMTK."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from mapdr.kernel.errors import LocalProtocolError, OwnFault, Permanent, RemoteProtocolError, Temporary
from mapdr.kernel.item import FileSlice, Payload
from mapdr.testing import peer
from mapdr.testing.peer import CT, EXPLICIT, IMPLICIT, VERIFICATION, Line, Listener, Script
from mapdr.wire import dimse, pdu
from mapdr.wire.link import Limits, LinkLost
from mapdr.wire.requestor import Requestor
from peers import processes
from wire.streams import Tape, ways

LIMITS = Limits(
    connect_timeout=2, network_timeout=5, acse_timeout=2, pdu_timeout=2, dimse_timeout=2, linger=0.5
)
PROPOSALS = ((VERIFICATION, (IMPLICIT,)), (CT, (EXPLICIT,)))


def connect(port: int, limits: Limits = LIMITS, called: str = "PACS", **more: object) -> Requestor:
    return Requestor.connect(
        "127.0.0.1",
        port,
        calling_ae="MAPDR",
        called_ae=called,
        proposals=more.pop("proposals", PROPOSALS),  # type: ignore[arg-type]
        limits=limits,
        **more,  # type: ignore[arg-type]
    )


def payload(data: bytes = b"\0" * 100, uid: str = "1.2.3.4") -> Payload:
    return Payload(CT, uid, EXPLICIT, (data,), len(data))


def answer(line: Line, status: int = 0, comment: str = "") -> bytes:
    """Take one message and answer it; its data set."""
    context, command, data, _ = peer.read_message(line)
    line.send(peer.p_data((context, 3, dimse.response(command, status, comment))))
    return data


@pytest.fixture
def listen() -> Iterator[Callable[[Script], Listener]]:
    listeners: list[Listener] = []

    def start(script: Script) -> Listener:
        listeners.append(Listener(script))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.stop()


def test_store_echo_release(listen: Callable[[Script], Listener]) -> None:
    got: list[bytes] = []

    def script(line: Line) -> None:
        asked = peer.accept(line)
        assert (asked.calling_ae, asked.called_ae) == ("MAPDR", "PACS")
        got.append(answer(line))
        answer(line)
        got.append(answer(line, 0xA700, "disk full"))
        assert line.decoded() == pdu.ReleaseRequest()
        line.send(pdu.RELEASE_RP_BYTES)
        line.closed()

    requestor = connect(listen(script).port)
    assert requestor.accepted == {(VERIFICATION, IMPLICIT): 1, (CT, EXPLICIT): 3}
    assert requestor.c_store(payload(b"first")).status == 0
    assert requestor.c_echo() == 0
    refused = requestor.c_store(payload(b"second"))
    assert (refused.status, refused.comment) == (0xA700, "disk full")
    assert requestor.alive
    requestor.release()
    assert not requestor.alive
    requestor.release()
    assert got == [b"first", b"second"]


@pytest.mark.parametrize("limit", [0, 129, 1000, 16384, 1 << 20])
def test_the_peers_maximum_length_is_kept_and_fragments_are_even(
    listen: Callable[[Script], Listener], limit: int
) -> None:
    data = bytes(range(256)) * 2000
    seen: list[int] = []
    got: list[bytes] = []

    def script(line: Line) -> None:
        peer.accept(line, max_length=limit)
        context, command, body, lengths = peer.read_message(line)
        seen.extend(lengths)
        got.append(body)
        line.send(peer.p_data((context, 3, dimse.response(command, 0))))
        line.closed()

    requestor = connect(listen(script).port)
    requestor.c_store(payload(data))
    requestor.abort()
    assert got == [data]
    assert all(length % 2 == 0 for length in seen)
    assert max(seen) + 4 <= (limit or LIMITS.max_pdu)


@pytest.mark.parametrize(
    ("theirs", "sent"), [(0, 4096), (128, 128), (4095, 4095), (4096, 4096), (16384, 4096), (1 << 20, 4096)]
)
def test_no_pdu_is_longer_than_this_side_s_own_maximum(
    listen: Callable[[Script], Listener], theirs: int, sent: int
) -> None:
    """What is sent is capped, so that a buffer serves: a receiver may well say that it takes gigabytes."""
    seen: list[int] = []

    def script(line: Line) -> None:
        peer.accept(line, max_length=theirs)
        context, command, _, lengths = peer.read_message(line)
        seen.extend(lengths)
        line.send(peer.p_data((context, 3, dimse.response(command, 0))))
        line.closed()

    requestor = connect(listen(script).port, replace(LIMITS, max_pdu=4096))
    assert requestor.max_send == sent
    requestor.c_store(payload(bytes(50_000)))
    requestor.abort()
    assert max(seen) == (sent - 6 & ~1) + 2


@pytest.mark.parametrize("limit", [1, 7, 127])
def test_a_peer_that_takes_no_message_is_not_talked_to(
    listen: Callable[[Script], Listener], limit: int
) -> None:
    def script(line: Line) -> None:
        peer.accept(line, max_length=limit)
        assert line.decoded() == pdu.Abort(2, 6)

    with pytest.raises(Temporary, match="too few"):
        connect(listen(script).port)


@pytest.mark.parametrize(
    ("reject", "error", "words"),
    [
        (pdu.AssociateReject(1, 1, 7), Permanent, "for good: called AE title not recognized"),
        (pdu.AssociateReject(1, 1, 3), Permanent, "for good: calling AE title not recognized"),
        (pdu.AssociateReject(2, 3, 2), Temporary, "for now: local limit exceeded"),
        (pdu.AssociateReject(2, 3, 1), Temporary, "for now: temporary congestion"),
    ],
)
def test_rejections_say_why(
    listen: Callable[[Script], Listener], reject: pdu.AssociateReject, error: type[Exception], words: str
) -> None:
    def script(line: Line) -> None:
        line.decoded()
        line.send(pdu.encode(reject))
        line.closed()

    with pytest.raises(error, match=words) as caught:
        connect(listen(script).port)
    if isinstance(caught.value, Permanent):
        assert caught.value.reason == "association-rejected"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x16", "speaks TLS"),
        (b"\2\0\xff\xff\xff\xff", "claims 4294967295 bytes"),
        (pdu.encode(pdu.Abort(2, 2)), "aborted the association: unexpected PDU"),
        (peer.store(b"abcd"), "P-DATA came when it may not"),
        (pdu.RELEASE_RP_BYTES, "type 0x06 came when it may not"),
        (peer.request(), "type 0x01 came when it may not"),
    ],
)
def test_wrong_answers_to_a_request_are_named(
    listen: Callable[[Script], Listener], reply: bytes, words: str
) -> None:
    def script(line: Line) -> None:
        line.decoded()
        line.send(reply)
        if reply:
            line.closed()

    with pytest.raises(Temporary, match=words):
        connect(listen(script).port)


def test_no_answer_to_a_request_times_out(listen: Callable[[Script], Listener]) -> None:
    limits = Limits(acse_timeout=0.2, pdu_timeout=0.2)
    began = time.monotonic()
    with pytest.raises(Temporary, match="silent"):
        connect(listen(lambda line: line.closed() and None).port, limits)
    assert time.monotonic() - began < 2


def test_nobody_there(free_port: int) -> None:
    with pytest.raises(Temporary, match=r"127\.0\.0\.1:\d+ cannot be reached: .*refused"):
        connect(free_port)


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, "no more") for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)),
        socket.gaierror(socket.EAI_MEMORY, "no more"),
    ],
)
def test_what_this_side_has_no_more_of_is_no_fault_of_the_peer(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(OwnFault, match="no connection can be opened here: no more"):
        connect(104)


@pytest.mark.parametrize("error", [OSError(errno.EHOSTUNREACH, "no way"), socket.gaierror(errno.ENOMEM, "x")])
def test_what_the_network_says_is_not_our_fault(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with pytest.raises(Temporary, match="cannot be reached") as raised:
        connect(104)
    assert not isinstance(raised.value, OwnFault)


def test_a_full_backlog_times_out_as_configured() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        crowd = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(server.getsockname())
                crowd.append(sock)
            began = time.monotonic()
            with pytest.raises(Temporary, match="did not answer in time"):
                connect(server.getsockname()[1], Limits(connect_timeout=0.3))
            assert time.monotonic() - began < 2
        finally:
            for sock in crowd:
                sock.close()


def test_contexts_are_accepted_one_by_one(listen: Callable[[Script], Listener]) -> None:
    def script(line: Line) -> None:
        peer.accept(line, refuse=(CT,))
        line.closed()

    requestor = connect(listen(script).port)
    assert requestor.accepted == {(VERIFICATION, IMPLICIT): 1}
    with pytest.raises(LocalProtocolError, match="no context"):
        requestor.c_store(payload())
    assert requestor.alive
    requestor.abort()


def test_a_syntax_that_was_not_proposed_is_not_accepted(listen: Callable[[Script], Listener]) -> None:
    def script(line: Line) -> None:
        asked = line.decoded()
        assert isinstance(asked, pdu.AssociateRequest)
        results = tuple(pdu.ContextResult(context.id, 0, "1.2.3") for context in asked.contexts)
        line.send(pdu.encode(pdu.AssociateAccept("A", "B", results)))
        line.closed()

    requestor = connect(listen(script).port)
    assert not requestor.accepted
    requestor.abort()


def test_128_contexts_are_proposed_and_the_last_is_used(listen: Callable[[Script], Listener]) -> None:
    classes = [f"1.2.840.99999.{number}" for number in range(127)] + [CT]
    contexts: list[int] = []

    def script(line: Line) -> None:
        asked = peer.accept(line)
        contexts.extend(context.id for context in asked.contexts)
        context, command, _, _ = peer.read_message(line)
        contexts.append(context)
        line.send(peer.p_data((context, 3, dimse.response(command, 0))))
        line.closed()

    requestor = connect(listen(script).port, proposals=[(each, (EXPLICIT,)) for each in classes])
    assert requestor.c_store(payload()).status == 0
    requestor.abort()
    assert contexts == [*range(1, 256, 2), 255]


def test_more_than_128_proposals_are_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="129"):
        connect(1, proposals=((CT, (EXPLICIT,)),) * 129)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (b"", LinkLost, "closed the connection"),
        (pdu.encode(pdu.Abort(0, 0)), LinkLost, "the peer aborted the association"),
        (pdu.encode(pdu.Abort(2, 6)), LinkLost, "invalid PDU parameter"),
        (pdu.RELEASE_RQ_BYTES, LinkLost, "released the association instead of answering"),
        (peer.p_data((9, 3, peer.command(0x8001))), RemoteProtocolError, "context that was not accepted"),
        (peer.p_data((3, 3, peer.command(0x8001, 77))), RemoteProtocolError, "was not asked"),
        (peer.p_data((3, 3, peer.command(0x8030, 1))), RemoteProtocolError, "was not asked"),
        (peer.p_data((3, 3, peer.command(0x0001, 1))), RemoteProtocolError, "was not asked"),
        (peer.p_data((3, 3, b"garbage!")), RemoteProtocolError, "command set"),
        (b"\4\0\xff\xff\xff\xff", RemoteProtocolError, "claims 4294967295"),
        (b"garbage", RemoteProtocolError, "does not speak DICOM|text protocol"),
    ],
)
def test_wrong_answers_to_a_store(
    listen: Callable[[Script], Listener], reply: bytes, error: type[Exception], words: str
) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        peer.read_message(line)
        line.send(reply)
        if reply:
            line.closed()

    requestor = connect(listen(script).port)
    with pytest.raises(error, match=words):
        requestor.c_store(payload())
    assert not requestor.alive
    with pytest.raises(LinkLost):
        requestor.c_store(payload())


def test_no_status_times_out_and_aborts(listen: Callable[[Script], Listener]) -> None:
    last: list[bytes] = []

    def script(line: Line) -> None:
        peer.accept(line)
        peer.read_message(line)
        last.append(line.closed())

    listener = listen(script)
    requestor = connect(listener.port, Limits(dimse_timeout=0.2))
    with pytest.raises(LinkLost, match="silent"):
        requestor.c_store(payload())
    listener.stop()
    assert last == [pdu.encode(pdu.Abort(0, 0))]


def test_a_response_with_a_data_set_is_taken(listen: Callable[[Script], Listener]) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        peer.read_message(line)
        line.send(peer.p_data((3, 3, peer.command(0x8001, 1, data_set=True)), (3, 2, b"surplus")))
        answer(line)
        line.closed()

    requestor = connect(listen(script).port)
    assert requestor.c_store(payload()).status == 0
    assert requestor.c_store(payload()).status == 0
    requestor.abort()


def test_an_abort_in_the_middle_of_a_send_is_the_cause(listen: Callable[[Script], Listener]) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        line.read(100_000)
        line.send(pdu.encode(pdu.Abort(0, 0)))
        line.sock.shutdown(socket.SHUT_WR)
        line.closed()

    requestor = connect(listen(script).port)
    with pytest.raises(LinkLost, match="aborted"):
        requestor.c_store(payload(bytes(20_000_000)))


def test_a_peer_that_stops_reading_is_left(listen: Callable[[Script], Listener]) -> None:
    release = threading.Event()

    def script(line: Line) -> None:
        peer.accept(line)
        release.wait(10)

    requestor = connect(listen(script).port, Limits(pdu_timeout=0.3))
    began = time.monotonic()
    with pytest.raises(LinkLost, match="stopped reading"):
        requestor.c_store(payload(bytes(50_000_000)))
    assert time.monotonic() - began < 5
    release.set()


@pytest.mark.parametrize("farewell", [b"", pdu.encode(pdu.Abort(0, 0)), pdu.RELEASE_RQ_BYTES])
def test_an_association_that_the_peer_ended_while_idle_is_not_alive(
    listen: Callable[[Script], Listener], farewell: bytes
) -> None:
    sent = threading.Event()

    def script(line: Line) -> None:
        peer.accept(line)
        answer(line)
        line.send(farewell)
        sent.set()
        if farewell == pdu.RELEASE_RQ_BYTES:
            assert line.decoded() == pdu.ReleaseReply()

    listener = listen(script)
    requestor = connect(listener.port)
    requestor.c_store(payload())
    sent.wait(5)
    deadline = time.monotonic() + 5
    while requestor.alive:
        assert time.monotonic() < deadline
    listener.stop()


def test_late_p_data_and_a_collision_do_not_spoil_a_release(listen: Callable[[Script], Listener]) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        assert line.decoded() == pdu.ReleaseRequest()
        line.send(peer.store(b"late") + pdu.RELEASE_RQ_BYTES)
        assert line.decoded() == pdu.ReleaseReply()
        line.send(pdu.RELEASE_RP_BYTES)
        assert line.closed() == b""

    requestor = connect(listen(script).port)
    requestor.release()
    assert not requestor.alive


@pytest.mark.parametrize("reply", [b"", b"\4\0\xff\xff\xff\xff", peer.request(), b"garbage"])
def test_a_release_ends_whatever_the_peer_says(listen: Callable[[Script], Listener], reply: bytes) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        line.decoded()
        line.send(reply)
        line.closed()

    requestor = connect(listen(script).port, Limits(acse_timeout=0.3, linger=0.3))
    requestor.release()
    assert not requestor.alive


def test_a_payload_that_cannot_be_read_costs_the_association_only_if_it_was_begun(
    listen: Callable[[Script], Listener], tmp_path: Path
) -> None:
    last: list[bytes] = []

    def script(line: Line) -> None:
        peer.accept(line)
        last.append(line.closed())

    requestor = connect(listen(script).port)
    gone = Payload(CT, "1.2.3", EXPLICIT, (FileSlice(tmp_path / "gone", 0, 10),), 10)
    with pytest.raises(FileNotFoundError):
        requestor.c_store(gone)
    assert requestor.alive
    (tmp_path / "short").write_bytes(bytes(1_000_000))
    short = Payload(CT, "1.2.3", EXPLICIT, (FileSlice(tmp_path / "short", 0, 2_000_000),), 2_000_000)
    with pytest.raises(EOFError):
        requestor.c_store(short)
    assert not requestor.alive
    wrong = Payload(CT, "1.2.3", EXPLICIT, (b"abc",), 10)
    with pytest.raises(ValueError, match="add up"):
        requestor.c_store(wrong)


@pytest.mark.parametrize("comment", [b"\x1b[31mred\n", b"x" * 500, "Größe".encode("latin-1")])
def test_a_comment_is_one_short_printable_line(listen: Callable[[Script], Listener], comment: bytes) -> None:
    def script(line: Line) -> None:
        peer.accept(line)
        context, _, _, _ = peer.read_message(line)
        more = struct.pack("<HHL", 0, dimse.ERROR_COMMENT, len(comment)) + comment
        line.send(peer.p_data((context, 3, peer.command(0x8001) + more)))
        line.closed()

    requestor = connect(listen(script).port)
    told = requestor.c_store(payload()).comment
    assert told.isprintable()
    assert 0 < len(told) <= 64
    requestor.abort()


pieces = st.sampled_from(
    [
        pdu.encode(
            pdu.AssociateAccept(
                "A", "B", (pdu.ContextResult(1, 0, IMPLICIT), pdu.ContextResult(3, 0, EXPLICIT))
            )
        ),
        peer.p_data((3, 3, peer.command(0x8001, 1))),
        peer.p_data((1, 3, peer.command(0x8030, 2))),
        peer.p_data((3, 1, peer.command(0x8001, 1)[:20]), (3, 3, peer.command(0x8001, 1)[20:])),
        peer.store(b"data"),
        pdu.RELEASE_RP_BYTES,
        pdu.RELEASE_RQ_BYTES,
        pdu.encode(pdu.Abort(2, 1)),
        pdu.encode(pdu.AssociateReject(1, 1, 1)),
        b"\4\0\xff\xff\xff\xff",
        b"HTTP/1.1 200",
    ]
)


@settings(max_examples=100)
@given(st.booleans(), st.lists(pieces | st.binary(max_size=20), max_size=5), st.data())
def test_any_peer_leads_to_a_status_or_one_of_our_errors(
    accepted: bool, some: list[bytes], data: st.DataObject
) -> None:
    accept = pdu.encode(
        pdu.AssociateAccept("A", "B", (pdu.ContextResult(1, 0, IMPLICIT), pdu.ContextResult(3, 0, EXPLICIT)))
    )
    stream = bytearray((accept if accepted else b"") + b"".join(some))
    for _ in range(data.draw(st.integers(0, 2)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    contexts = (pdu.Context(1, VERIFICATION, (IMPLICIT,)), pdu.Context(3, CT, (EXPLICIT,)))
    asked = pdu.AssociateRequest("A", "B", contexts)
    for way in ways(bytes(stream)):
        with Tape(way) as tape:
            requestor = Requestor(tape, LIMITS)
            try:
                requestor._negotiate(pdu.encode(asked), asked)
                requestor.c_store(payload())
                requestor.c_echo()
            except LocalProtocolError as error:
                if "no context" not in str(error):
                    raise
            except (Temporary, Permanent, RemoteProtocolError):
                pass
            requestor.release()
            assert requestor.machine.idle


def test_pynetdicom_takes_what_we_send() -> None:
    got: list[tuple[bytes, str]] = []

    def handle(event: evt.Event) -> int:
        got.append((event.request.DataSet.getvalue(), event.request.AffectedSOPInstanceUID))
        return 0xB007 if len(got) == 2 else 0

    ae = AE("PACS")
    ae.maximum_pdu_size = 8192
    ae.add_supported_context(CT, EXPLICIT)
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, handle)])
    try:
        requestor = connect(server.server_address[1])
        data = bytes(range(250)) * 1000
        assert requestor.c_store(payload(data, "1.2.3.45")).status == 0
        assert requestor.c_store(payload(b"", "1.2.3.4")).status == 0xB007
        assert requestor.c_echo() == 0
        requestor.release()
    finally:
        server.shutdown()
    assert got == [(data, "1.2.3.45"), (b"", "1.2.3.4")]


@pytest.mark.peer("storescp")
def test_storescp_takes_what_we_send(tmp_path: Path, free_port: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    command = [str(processes.program("storescp")), "-od", str(out), "+B", str(free_port)]
    process = processes.Process(command, tmp_path / "log")
    try:
        process.wait_for_port(free_port)
        requestor = connect(free_port)
        for number in range(1, 21):
            uid = f"1.2.3.{number}"
            value = uid.encode() + b"\0" * (len(uid) % 2)
            data = (
                struct.pack("<HH2sH", 8, 0x16, b"UI", 26) + CT.encode() + b"\0"
                + struct.pack("<HH2sH", 8, 0x18, b"UI", len(value)) + value
                + struct.pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 100_000) + bytes(100_000)
            )  # fmt: skip
            assert requestor.c_store(payload(data, uid)).status == 0
        assert requestor.c_echo() == 0
        requestor.release()
    finally:
        process.end()
    files = list(out.iterdir())
    assert len(files) == 20
    assert all(bytes(100_000) in file.read_bytes() for file in files)
