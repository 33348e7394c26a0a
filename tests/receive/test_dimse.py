"""The DIMSE receiver against scripted peers: what is kept, what is answered, and what ends what."""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import socket
import struct
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mapdr.kernel.errors import Refused
from mapdr.kernel.watch import Watch
from mapdr.testing import peer
from mapdr.testing.peer import CT, EXPLICIT, IMPLICIT, VERIFICATION, Line
from mapdr.testing.wait import until
from mapdr.wire import dimse, pdu
from receive.conftest import Start
from receive.fakes import FakeIntake

STORE = dimse.store_request(1, CT, "1.2")
RELEASED = pdu.RELEASE_RP_BYTES


def causes(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def release(line: Line) -> None:
    line.send(pdu.RELEASE_RQ_BYTES)
    assert line.decoded() == pdu.ReleaseReply()
    line.close()


def test_objects_are_kept_and_answered(start: Start, intake: FakeIntake, watch: Watch) -> None:
    receiver = start()
    with Line.associated(receiver.port, calling="CT1") as line:
        for number in range(3):
            data = bytes([number]) * (number * 40_000)
            command = dimse.store_request(number, CT, f"1.2.{number}")
            line.send(peer.p_data((3, 3, command)))
            for at in range(0, len(data), 10_000):
                last = at + 10_000 >= len(data)
                line.send(peer.p_data((3, 2 if last else 0, data[at : at + 10_000])))
            if not data:
                line.send(peer.p_data((3, 2, b"")))
            answer = line.response()
            assert (answer.field, answer.message_id, answer.status) == (dimse.C_STORE_RSP, number, 0)
            assert answer.sop_instance_uid == f"1.2.{number}"
        release(line)
    assert [len(kept.data) for kept in intake.kept] == [0, 40_000, 80_000]
    kept = intake.kept[2]
    assert kept.data == bytes([2]) * 80_000
    assert (kept.sop_class_uid, kept.sop_instance_uid, kept.transfer_syntax_uid) == (CT, "1.2.2", EXPLICIT)
    source = kept.source
    assert (source.receiver, source.calling_ae, source.called_ae) == ("modalities", "CT1", "MAPDR")
    assert source.address == "127.0.0.1"
    until(lambda: receiver.associations == 0, 5)
    assert watch.counters()["receive.modalities.stored"] == 3


def test_a_listener_wakes_for_nobody_but_connections_that_are_late(start: Start) -> None:
    receiver = start(acse_timeout=1)
    assert receiver._patience() is None
    with Line.connect(receiver.port) as line:
        until(lambda: receiver.associations == 1, 5)
        patience = receiver._patience()
        assert patience is not None
        assert 0.1 <= patience <= 2.0
        line.sock.settimeout(10)
        assert line.sock.recv(1) == b"", "cut, for it asked for no association"
    until(lambda: receiver.associations == 0, 5)
    with Line.associated(receiver.port) as line:
        until(lambda: receiver._patience() is None, 5)
        release(line)
    began = time.monotonic()
    receiver.stop(began + 30)
    assert time.monotonic() - began < 20, "a wait without an end was ended"


def test_success_is_not_answered_before_commit(start: Start, intake: FakeIntake) -> None:
    intake.gate = threading.Event()
    with Line.associated(start().port) as line:
        line.send(peer.store(b"data"))
        assert intake.committing.wait(5)
        line.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            line.read(1)
        line.sock.settimeout(5)
        intake.gate.set()
        assert line.response().status == 0


def test_echo(start: Start) -> None:
    with Line.associated(start().port) as line:
        line.send(peer.p_data((1, 3, dimse.echo_request(5))))
        answer = line.response()
        assert (answer.field, answer.message_id, answer.status) == (dimse.C_ECHO_RSP, 5, 0)
        release(line)


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
def test_a_refused_object_costs_one_status(start: Start, intake: FakeIntake, phase: str) -> None:
    setattr(intake, phase, Refused(0xA700, "no room"))
    data = bytes(50_000)
    with Line.associated(start().port) as line:
        line.send(peer.p_data((3, 3, dimse.store_request(1, CT, "1.2.3"))))
        for at in range(0, len(data), 10_000):
            line.send(peer.p_data((3, 2 if at == 40_000 else 0, data[at : at + 10_000])))
        answer = line.response()
        assert (answer.status, answer.comment) == (0xA700, b"no room ")
        setattr(intake, phase, None)
        line.send(peer.store(b"data", 2))
        assert line.response().status == 0
    assert len(intake.kept) == 1
    assert intake.aborted == intake.begun - 1


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
def test_an_unknown_error_is_never_success_and_shows_no_value(
    start: Start, intake: FakeIntake, phase: str, caplog: pytest.LogCaptureFixture
) -> None:
    setattr(intake, phase, RuntimeError("MUELLER^ANNA"))
    with Line.associated(start().port) as line:
        line.send(peer.store(bytes(5000)))
        assert line.response().status == 0x0110
        setattr(intake, phase, None)
        line.send(peer.store(b"data"))
        assert line.response().status == 0
    assert "RuntimeError" in caplog.text
    assert "MUELLER" not in caplog.text


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (peer.p_data((3, 3, peer.command(dimse.C_FIND_RQ, data_set=True)), (3, 2, b"identifier")), 0x0122),
        (peer.p_data((3, 3, peer.command(dimse.C_MOVE_RQ))), 0x0122),
        (
            peer.p_data((3, 3, peer.command(0x0140, data_set=True))) + peer.p_data((3, 2, b"attributes")),
            0x0211,
        ),
        (peer.p_data((3, 3, peer.command(0x0100))), 0x0211),
        (peer.p_data((3, 3, peer.command(0x0222))), 0x0211),
        (peer.store(b"data", context=1), 0x0122),
        (peer.p_data((3, 3, peer.command(dimse.C_STORE_RQ))), 0xC000),
        (peer.store(b"data", sop_instance="../../etc"), 0x0117),
        (peer.store(b"data", sop_instance=""), 0x0117),
        (peer.store(b"data", sop_class="no uid"), 0x0118),
    ],
)
def test_what_is_not_taken_is_answered(
    start: Start, intake: FakeIntake, request_: bytes, status: int
) -> None:
    with Line.associated(start().port) as line:
        line.send(request_)
        answer = line.response()
        assert answer.status == status
        assert answer.field & dimse.RESPONSE
        assert answer.message_id == 1
        line.send(peer.store(b"data"))
        assert line.response().status == 0
    assert [kept.data for kept in intake.kept] == [b"data"]


@pytest.mark.parametrize(
    "request_",
    [
        peer.p_data((3, 3, peer.command(dimse.C_CANCEL_RQ))),
        peer.p_data((3, 3, peer.command(dimse.C_STORE_RSP))),
        peer.p_data((3, 3, peer.command(0x8020, data_set=True)), (3, 2, b"identifier")),
    ],
)
def test_what_has_no_answer_is_ignored(start: Start, request_: bytes) -> None:
    with Line.associated(start().port) as line:
        line.send(request_)
        line.send(peer.p_data((1, 3, dimse.echo_request(9))))
        assert line.response().message_id == 9
        release(line)


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (peer.p_data((3, 2, b"data")), 5, "where a command set was due"),
        (peer.p_data((9, 3, dimse.echo_request(1))), 6, "context that was not accepted"),
        (peer.p_data((3, 3, b"garbage!")), 6, "command set"),
        (b"\4\0\xff\xff\xff\xff", 6, "claims 4294967295 bytes"),
        (b"\1\0\xff\xff\xff\xff", 6, "claims 4294967295 bytes"),
        (peer.request(), 2, "type 0x01 came when it may not"),
        (RELEASED, 2, "type 0x06 came when it may not"),
        (pdu.encode(pdu.AssociateReject(1, 1, 1)), 2, "type 0x03 came when it may not"),
        (b"\x99\0\0\0\0\4abcd", 1, "type 0x99"),
        (peer.p_data((3, 3, dimse.store_request(1, CT, "1.2")), (3, 3, b"x")), 5, "inside a data set"),
        (peer.p_data((3, 3, dimse.store_request(1, CT, "1.2")), (3, 0, b"x")) + b"\x99" * 6, 1, "type 0x99"),
        (peer.p_data((3, 1, bytes(9000))) * 8, 6, "exceeds 65536"),
        (peer.p_data((3, 1, b"")) * 12_000, 6, "exceeds 65536"),
        (
            peer.p_data((3, 3, STORE)) + peer.p_data((3, 0, b"")) * 1001,
            6,
            "more than 1000 PDVs without a byte",
        ),
        (
            peer.p_data((3, 3, STORE)) + peer.p_data((3, 0, b"a"), (3, 0, b"")) * 1001,
            6,
            "more than 1000 PDVs without a byte",
        ),
    ],
)
def test_a_breach_is_answered_with_an_abort_and_one_line(
    start: Start, intake: FakeIntake, caplog: pytest.LogCaptureFixture, data: bytes, reason: int, words: str
) -> None:
    receiver = start()
    with Line.associated(receiver.port) as other, Line.associated(receiver.port) as line:
        line.send(data)
        assert line.decoded() == pdu.Abort(2, reason)
        line.close()
        until(lambda: receiver.associations == 1, 5)
        other.send(peer.store(b"data"))
        assert other.response().status == 0
        release(other)
    assert len(causes(caplog)) == 1
    assert words in causes(caplog)[0]
    assert len(intake.kept) == 1
    assert intake.aborted == intake.begun - 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), "speaks TLS"),
        (b"GET / HTTP/1.1\r\nHost: mapdr\r\n\r\n", "HTTP"),
        (b"\1\0\xff\xff\xff\xff" + bytes(100), "claims 4294967295 bytes"),
        (b"\1\0\0\0\0\5aaaaa", "claims 5 bytes"),
        (b"\1\0\0\0\0\x80" + b"\xff" * 128, "longer than what holds it"),
        (peer.store(b"data"), "before an association"),
        (bytes(100), "type 0x00"),
        (b"\xff" * 100, "type 0xFF"),
    ],
)
def test_what_is_not_dicom_ends_with_its_connection_and_one_line(
    start: Start, caplog: pytest.LogCaptureFixture, data: bytes, words: str
) -> None:
    receiver = start()
    with Line.connect(receiver.port) as line:
        line.send(data)
        last = line.closed()
        assert last in (b"", pdu.encode(pdu.Abort(0, 0)))
    until(lambda: receiver.associations == 0, 5)
    assert len(causes(caplog)) == 1
    assert re.search(words, causes(caplog)[0])
    with Line.associated(receiver.port) as line:
        release(line)


def reject(port: int, request: bytes) -> pdu.AssociateReject:
    with Line.connect(port) as line:
        line.send(request)
        answer = line.decoded()
        assert isinstance(answer, pdu.AssociateReject)
        return answer


def test_called_titles(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    receiver = start(ae_title="ROUTER", called_ae_titles=["OLDNAME"])
    assert reject(receiver.port, peer.request(called="MAPDR")) == pdu.AssociateReject(1, 1, 7)
    assert "calls an AE title that is not ours" in causes(caplog)[0]
    for called in ("ROUTER", "OLDNAME"):
        Line.associated(receiver.port, called=called).close()
    anything = start(ae_title="ROUTER", called_ae_titles="any")
    Line.associated(anything.port, called="WHATEVER").close()


def test_who_is_rejected_is_told_with_the_line_that_lets_it_in(start: Start) -> None:
    receiver = start(allow=[{"ae_title": "CT1", "host": "127.0.0.1"}])
    for _ in range(2):
        reject(receiver.port, peer.request(calling="CT9"))
    reject(receiver.port, peer.request(calling="CT1", called="NOBODY"))
    told = receiver.describe()
    assert (told.port, told.ae_title, told.tls) == (receiver.port, "MAPDR", False)
    wrong, stranger = told.rejected
    assert (stranger.calling_ae, stranger.address, stranger.times) == ("CT9", "127.0.0.1", 2)
    assert stranger.cure.startswith('add { ae_title = "CT9", host = "127.0.0.1" } to allow of [receive.')
    assert wrong.cure.startswith('add "NOBODY" to called_ae_titles of [receive.')


@pytest.mark.parametrize(
    ("allow", "calling", "answer"),
    [
        ([{"ae_title": "CT1", "host": "127.0.0.0/8"}], "CT1", None),
        ([{"ae_title": "CT1"}], "CT1", None),
        ([{"host": "127.0.0.1"}], "ANY", None),
        ([{"ae_title": "CT1", "host": "127.0.0.0/8"}], "CT2", (1, 1, 3)),
        ([{"ae_title": "CT1", "host": "10.0.0.0/8"}], "CT1", (1, 1, 1)),
        (
            [{"ae_title": "CT1", "host": "10.0.0.0/8"}, {"ae_title": "CT2", "host": "127.0.0.1"}],
            "CT1",
            (1, 1, 3),
        ),
    ],
)
def test_the_allow_list(
    start: Start, allow: list[dict[str, str]], calling: str, answer: tuple[int, int, int] | None
) -> None:
    receiver = start(allow=allow)
    if answer is None:
        Line.associated(receiver.port, calling=calling).close()
    else:
        assert reject(receiver.port, peer.request(calling=calling)) == pdu.AssociateReject(*answer)


def test_version_and_application_context(start: Start) -> None:
    receiver = start()
    whole = peer.request()
    assert reject(receiver.port, whole[:6] + b"\0\2" + whole[8:]) == pdu.AssociateReject(1, 2, 2)
    other = whole.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")
    assert reject(receiver.port, other) == pdu.AssociateReject(1, 1, 2)


def test_128_contexts_are_accepted_and_the_last_is_used(start: Start, intake: FakeIntake) -> None:
    contexts = tuple(pdu.Context(id_, f"1.2.840.99999.{id_}", (EXPLICIT,)) for id_ in range(1, 256, 2))
    with Line.connect(start().port) as line:
        line.send(peer.request(contexts=contexts))
        accepted = line.decoded()
        assert isinstance(accepted, pdu.AssociateAccept)
        assert [(each.id, each.result) for each in accepted.results] == [(each.id, 0) for each in contexts]
        line.send(peer.store(b"data", context=255, sop_class="1.2.840.99999.255"))
        assert line.response().status == 0
    assert intake.kept[0].sop_class_uid == "1.2.840.99999.255"


def test_limits_are_told_in_the_protocols_way(start: Start) -> None:
    receiver = start(max_associations=2)
    lines = [Line.associated(receiver.port) for _ in range(2)]
    assert reject(receiver.port, peer.request()) == pdu.AssociateReject(2, 3, 2)
    release(lines.pop())
    until(lambda: receiver.associations == 1, 5)
    lines.append(Line.associated(receiver.port))
    for line in lines:
        line.close()


def test_one_peer_cannot_take_every_place(start: Start) -> None:
    receiver = start(max_associations_per_peer=1)
    with Line.associated(receiver.port):
        assert reject(receiver.port, peer.request()) == pdu.AssociateReject(2, 3, 2)


def test_silent_connections_take_no_place_of_an_association(start: Start, intake: FakeIntake) -> None:
    receiver = start(max_associations=2, max_associations_per_peer=1, acse_timeout=60)
    silent = [Line.connect(receiver.port) for _ in range(40)]
    until(lambda: receiver.associations == 17, 5)  # those of the limit, and the spare ones
    with Line.associated(receiver.port) as line:
        line.send(peer.store(b"data"))
        assert line.response().status == 0
        assert reject(receiver.port, peer.request()) == pdu.AssociateReject(2, 3, 2)
        assert silent[0].closed() == b"", "the oldest go first"
    for line in silent:
        line.close()
    until(lambda: receiver.associations == 0, 5)


def test_silent_connections_of_many_addresses_keep_no_peer_out(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = start(host="0.0.0.0", max_associations=2, acse_timeout=60)
    silent = []
    for number in range(60):
        sock = socket.socket()
        sock.bind((f"127.0.0.{2 + number % 20}", 0))
        sock.connect(("127.0.0.1", receiver.port))
        silent.append(sock)
    with Line.associated(receiver.port) as line:
        release(line)
    until(lambda: receiver.associations <= 18, 5)
    assert sum("holds too many connections" in cause for cause in causes(caplog)) == 1
    for sock in silent:
        sock.close()


def test_a_request_that_never_ends_is_cut_in_time(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mapdr.receive.dicom.receiver.LATE", 0.2)
    receiver = start(acse_timeout=0.5, pdu_timeout=60)
    with Line.connect(receiver.port) as line:
        began = time.monotonic()
        line.trickle(peer.request(), 0.05)  # 200 bytes and more: 10 seconds
        assert time.monotonic() - began < 5
        assert line.closed() == b""
    until(lambda: receiver.associations == 0, 5)


def test_an_idle_association_is_aborted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    with Line.associated(start(idle_timeout=0.2).port) as line:
        assert line.decoded() == pdu.Abort(0, 0)
        assert line.closed() == b""
    until(lambda: causes(caplog), 5)
    assert "silent for too long" in causes(caplog)[0]


def test_a_connection_without_a_request_is_closed(start: Start) -> None:
    with Line.connect(start(acse_timeout=0.2).port) as line:
        assert line.closed() == b""


@pytest.mark.parametrize("beginning", [b"", "associated"])
def test_a_byte_now_and_then_is_closed_in_bounded_time(
    start: Start, intake: FakeIntake, beginning: object
) -> None:
    receiver = start(acse_timeout=0.3, pdu_timeout=0.3, idle_timeout=0.3)
    line = Line.associated(receiver.port) if beginning else Line.connect(receiver.port)
    data = peer.store(bytes(2000)) if beginning else peer.request()
    with line:
        began = time.monotonic()
        line.trickle(data, 0.02)
        line.closed()
        assert time.monotonic() - began < 5
    until(lambda: receiver.associations == 0, 5)
    assert not intake.kept


def test_a_peer_that_stops_reading_is_closed(start: Start, intake: FakeIntake) -> None:
    receiver = start(pdu_timeout=0.3)
    line = Line.connect(receiver.port, receive_buffer=2048)
    with line:
        line.send(peer.request())
        line.read_pdu()
        echo = peer.p_data((1, 3, dimse.echo_request(1))) * 1000
        line.sock.settimeout(0.1)
        deadline = time.monotonic() + 20
        while receiver.associations and time.monotonic() < deadline:
            try:
                line.sock.send(echo)
            except TimeoutError:
                continue
            except OSError:
                break
        until(lambda: receiver.associations == 0, 5)


@pytest.mark.parametrize("end", ["close", "reset", "abort", "release"])
def test_a_message_that_breaks_off_is_not_kept(
    start: Start, intake: FakeIntake, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    receiver = start()
    line = Line.associated(receiver.port)
    with line:
        line.send(peer.store(b"whole"))
        assert line.response().status == 0
        line.send(peer.p_data((3, 3, dimse.store_request(2, CT, "1.2"))) + peer.p_data((3, 0, bytes(5000))))
        until(lambda: intake.begun == 2, 5)
        if end == "abort":
            line.send(pdu.encode(pdu.Abort(0, 0)))
        elif end == "release":
            line.send(pdu.RELEASE_RQ_BYTES)
            assert line.decoded() == pdu.ReleaseReply()
        elif end == "reset":
            line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: receiver.associations == 0, 5)
    assert [kept.data for kept in intake.kept] == [b"whole"]
    assert intake.aborted == 1
    assert len(causes(caplog)) == 1


def test_a_port_check_is_no_warning(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Load balancers and monitors connect and close, all day."""
    caplog.set_level("DEBUG")
    receiver = start()
    Line.connect(receiver.port).close()
    until(lambda: "without a word" in caplog.text, 5)
    assert not causes(caplog)


def test_stop_lets_a_message_end_and_then_aborts(start: Start, intake: FakeIntake) -> None:
    receiver = start()
    intake.gate = threading.Event()
    with Line.associated(receiver.port) as busy, Line.associated(receiver.port) as idle:
        busy.send(peer.store(b"data"))
        assert intake.committing.wait(5)
        stopper = threading.Thread(target=receiver.stop, args=(time.monotonic() + 10,))
        stopper.start()
        assert idle.decoded() == pdu.Abort(0, 0)
        intake.gate.set()
        assert busy.response().status == 0
        assert busy.decoded() == pdu.Abort(0, 0)
        busy.close()
        idle.close()
        stopper.join(5)
        assert not stopper.is_alive()
    assert len(intake.kept) == 1


def test_stop_ends_at_its_deadline(start: Start, intake: FakeIntake) -> None:
    receiver = start(pdu_timeout=60)
    with Line.associated(receiver.port) as line:
        line.send(peer.store(bytes(5000))[:1000])
        until(lambda: intake.begun == 1, 5)
        began = time.monotonic()
        receiver.stop(began + 0.3)
        assert time.monotonic() - began < 3
        line.closed()
    assert not intake.kept
    assert intake.aborted == 1
    receiver.stop(time.monotonic())


def test_stop_before_start_and_start_again(start: Start, intake: FakeIntake) -> None:
    receiver = start()
    receiver.stop(time.monotonic() + 1)
    receiver.start()
    with Line.associated(receiver.port) as line:
        release(line)


def test_a_port_that_is_taken_is_an_error(start: Start) -> None:
    receiver = start()
    with pytest.raises(OSError) as caught:  # noqa: PT011  its text depends on the system
        start(port=receiver.port)
    assert caught.value.errno == errno.EADDRINUSE


def test_every_transfer_syntax_and_private_class(start: Start, intake: FakeIntake) -> None:
    contexts = (
        pdu.Context(1, "1.3.12.2.1107.5.9.1", ("1.2.840.113619.5.2",)),
        pdu.Context(3, CT, ("1.2.840.10008.1.2.4.203",)),
        pdu.Context(5, "1.2.840.10008.5.1.4.31", (IMPLICIT,)),
        pdu.Context(7, VERIFICATION, (IMPLICIT,)),
    )
    with Line.connect(start().port) as line:
        line.send(peer.request(contexts=contexts))
        accept = line.decoded()
        assert isinstance(accept, pdu.AssociateAccept)
        assert [(result.id, result.result) for result in accept.results] == [(1, 0), (3, 0), (5, 3), (7, 0)]
        line.send(peer.store(b"data", context=1, sop_class="1.3.12.2.1107.5.9.1"))
        assert line.response().status == 0
    assert intake.kept[0].transfer_syntax_uid == "1.2.840.113619.5.2"


def test_responses_keep_to_a_small_maximum_length(start: Start) -> None:
    with Line.associated(start().port, max_length=130) as line:
        line.send(peer.store(b"data", sop_instance="1." + "2" * 62))
        seen = []
        while not seen or not seen[-1][1][5] & 2:
            seen.append(line.read_pdu())
        assert len(seen) == 2
        assert all(len(body) <= 130 for _, body in seen)


def test_tiny_maximum_length_is_refused(start: Start) -> None:
    with Line.connect(start().port) as line:
        line.send(peer.request(max_length=20))
        assert line.decoded() == pdu.Abort(2, 6)


chunks = st.sampled_from(
    [
        peer.request(),
        peer.store(b"data"),
        peer.store(bytes(300))[:150],
        peer.p_data((1, 3, dimse.echo_request(1))),
        peer.p_data((3, 3, peer.command(dimse.C_FIND_RQ, data_set=True)), (3, 2, b"identifier")),
        pdu.RELEASE_RQ_BYTES,
        RELEASED,
        pdu.encode(pdu.Abort(0, 0)),
    ]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.booleans(), st.lists(chunks | st.binary(max_size=30), max_size=6), st.booleans())
def test_no_conversation_breaks_the_receiver(
    start: Start,
    intake: FakeIntake,
    caplog: pytest.LogCaptureFixture,
    opened: bool,
    some: list[bytes],
    dribble: bool,
) -> None:
    caplog.clear()
    receiver = start.receiver if hasattr(start, "receiver") else start()  # type: ignore[attr-defined]
    start.receiver = receiver  # type: ignore[attr-defined]
    with Line.connect(receiver.port) as line:
        stream = (peer.request() if opened else b"") + b"".join(some)
        if dribble:
            line.trickle(stream)
        else:
            line.send(stream)
        with contextlib.suppress(OSError):
            line.sock.shutdown(socket.SHUT_WR)
        line.closed()
    until(lambda: receiver.associations == 0, 5)
    assert "internal error" not in caplog.text
    assert intake.begun == len(intake.kept) + intake.aborted
