"""One association over a pair of sockets: what is counted and told of it, and whose it is."""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mapdr.kernel.certificate import Certificate
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Source
from mapdr.kernel.stage import RunResult
from mapdr.kernel.watch import Event, Watch
from mapdr.receive.dicom import session
from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.receive.dicom.doorkeeper import Doorkeeper
from mapdr.receive.dicom.session import LONGEST_RESPONSE, Session
from mapdr.receive.rejections import Rejections
from mapdr.testing import peer
from mapdr.testing.peer import CT, EXPLICIT, VERIFICATION, Line
from mapdr.wire import acceptor, dimse, pdu
from mapdr.wire.link import Limits
from mapdr.wire.tls import TlsCause, TlsFailure
from peers.httpd import certificate
from receive.fakes import FakeIntake

HELLO = b"\x16\x03\x01\x00\x05hello"
"""How TLS begins."""


class Call:
    """A session in a thread of its own, and the peer's line to it."""

    def __init__(self, intake: FakeIntake) -> None:
        self.intake = intake
        self.watch = Watch()
        self.events: list[Event] = []
        self.watch.observe(self.events.append)
        self.rejections = Rejections()
        self.shown: list[Certificate] = []
        self.room: Callable[[Session], bool] = lambda session: True
        self.config = DimseReceiveConfig()
        self.limits = Limits(linger=0)

    def begin(self) -> Line:
        ours, theirs = socket.socketpair()
        self.session = Session(
            theirs,
            ipaddress.IPv4Address("10.1.2.3"),
            serial=1,
            receiver="modalities",
            intake=self.intake,
            doorkeeper=Doorkeeper(self.config),
            limits=self.limits,
            tls=None,
            shown=self.shown.append,
            watch=self.watch,
            has_room=self.room,
            rejections=self.rejections,
        )
        self.thread = threading.Thread(target=self.session.run)
        self.line = Line(ours)
        return self.line

    def associated(self, **facts: Any) -> Line:
        line = self.begin()
        self.thread.start()
        line.send(peer.request(calling="CT1", **facts))
        assert isinstance(line.decoded(), pdu.AssociateAccept)
        return line

    def ended(self) -> None:
        self.line.close()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def told(self) -> list[tuple[str, Mapping[str, object]]]:
        return [(event.kind, event.facts) for event in self.events]


@pytest.fixture
def call(intake: FakeIntake) -> Iterator[Call]:
    made = Call(intake)
    yield made
    made.ended()


def levels(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.levelname for each in caplog.records if each.levelno > logging.DEBUG]


def test_the_first_refusal_of_each_kind_is_told_and_all_are_counted(
    call: Call, intake: FakeIntake, caplog: pytest.LogCaptureFixture
) -> None:
    line = call.associated()
    for number, status in enumerate((0xA700, 0xA700, 0xC000, 0xA700, 0)):
        intake.commit_error = Refused(status, "so") if status else None
        line.send(peer.store(b"data", number))
        assert line.response().status == status
    line.send(pdu.RELEASE_RQ_BYTES)
    assert line.decoded() == pdu.ReleaseReply()
    call.ended()
    who = {"receiver": "modalities", "peer": "CT1 at 10.1.2.3", "cause": "so"}
    assert call.told() == [
        ("images.refused", {**who, "status": 0xA700}),
        ("images.refused", {**who, "status": 0xC000}),
    ]
    assert levels(caplog) == ["WARNING"] * 2
    assert call.watch.counters() == {
        "receive.modalities.refused": 4,
        "receive.modalities.stored": 1,
        "receive.modalities.bytes": 4,
    }
    assert intake.kept[0].source == Source("modalities", "CT1", "MAPDR", "10.1.2.3")


def test_a_refused_object_without_a_data_set_leaves_the_next_message_alone(call: Call) -> None:
    """There is nothing to be read over: what follows is a command set."""
    line = call.associated()
    line.send(peer.p_data((3, 3, peer.command(dimse.C_STORE_RQ))) + peer.store(b"data", 2))
    assert [line.response().status for _ in range(2)] == [0xC000, 0]


@pytest.mark.parametrize(
    ("said", "outcome", "level", "who"),
    [
        ([], "", [], ""),
        ([peer.request(calling="CT1")], "lost", ["WARNING"], "CT1 at 10.1.2.3"),
        ([peer.request()[:20]], "lost", ["WARNING"], "10.1.2.3"),
        ([b"\x99" * 6], "broken", ["WARNING"], "10.1.2.3"),
        ([HELLO], "broken", ["WARNING"], "10.1.2.3"),
        ([peer.request(called="NOBODY")], "rejected", ["WARNING"], "10.1.2.3"),
    ],
)
def test_how_a_connection_ended_is_told_once(
    call: Call, caplog: pytest.LogCaptureFixture, said: list[bytes], outcome: str, level: list[str], who: str
) -> None:
    line = call.begin()
    call.thread.start()
    for each in said:
        line.send(each)
    line.sock.shutdown(socket.SHUT_WR)
    line.closed()
    call.ended()
    assert [(kind, facts["peer"]) for kind, facts in call.told()] == (
        [(f"association.{outcome}", who)] if outcome else []
    )
    assert call.watch.counters() == ({f"receive.modalities.{outcome}": 1} if outcome else {})
    assert levels(caplog) == level
    shown = {one.cause.partition(":")[0] for one in call.rejections.all()}
    assert shown == ({"rejected"} if outcome == "rejected" or HELLO in said else set())


@pytest.mark.parametrize(
    ("error", "outcome", "level"),
    [
        (KeyError("a value"), "failed", "ERROR"),
        (OSError(5, "a value"), "lost", "WARNING"),
        (TimeoutError("a value"), "lost", "WARNING"),
    ],
)
def test_whatever_is_raised_ends_this_connection_and_is_told_without_a_value(
    call: Call, caplog: pytest.LogCaptureFixture, error: Exception, outcome: str, level: str
) -> None:
    def room(session: Session) -> bool:
        raise error

    call.room = room
    line = call.begin()
    call.thread.start()
    line.send(peer.request())
    line.closed()
    call.ended()
    assert [kind for kind, _ in call.told()] == [f"association.{outcome}"]
    assert call.watch.counters() == {f"receive.modalities.{outcome}": 1}
    assert levels(caplog) == [level]
    assert "a value" not in caplog.text + str(call.told())


def test_a_connection_is_cut_before_it_has_said_anything(call: Call) -> None:
    line = call.begin()
    call.session.kill()  # before its thread has begun
    assert line.closed() == b""
    call.thread.start()
    call.ended()
    assert call.told() == []


def test_room_is_asked_for_by_those_alone_who_may_come_in(call: Call) -> None:
    asked: list[Session] = []
    call.room = lambda session: bool(asked.append(session))
    for called, reason in (("NOBODY", acceptor.CALLED_AE_UNKNOWN), ("MAPDR", acceptor.LIMIT_EXCEEDED)):
        assert not asked
        line = call.begin()
        call.thread.start()
        line.send(peer.request(called=called))
        assert line.decoded() == reason
        call.ended()
    assert asked == [call.session]


def test_who_asks_while_the_receiver_ends_is_told_to_come_again(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no trouble of the peer's, so nobody is told of it; the rejection is counted."""
    line = call.begin()
    line.send(peer.request())
    call.session._stopping = True
    call.thread.start()
    line.closed()
    call.ended()
    assert call.told() == []
    assert levels(caplog) == []


def test_an_association_ends_between_messages_when_the_receiver_does(
    call: Call, intake: FakeIntake, caplog: pytest.LogCaptureFixture
) -> None:
    intake.gate = threading.Event()
    line = call.associated()
    line.send(peer.store(b"data", 1) + peer.store(b"data", 2))
    assert intake.committing.wait(10)
    call.session.interrupt()
    intake.gate.set()
    assert line.response().status == 0
    kind, _ = line.read_pdu()
    assert kind == pdu.ABORT
    call.ended()
    assert len(intake.kept) == 1
    assert call.told() == []
    assert levels(caplog) == []
    assert call.watch.counters()["receive.modalities.lost"] == 1


def test_an_answer_arrives_though_the_next_object_is_cut_off(call: Call, intake: FakeIntake) -> None:
    """A reset, which unread bytes cause, would take it from a peer that has not read it yet."""
    intake.gate = threading.Event()
    call.limits = Limits(linger=10)
    line = call.associated()
    line.send(peer.store(b"data", 1))
    assert intake.committing.wait(10)
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(line.send, peer.store(bytes(4 << 20), 2))
        call.session.interrupt()
        intake.gate.set()
        sent.result(10)
    call.thread.join(10)
    assert line.response().status == 0
    kind, _ = line.read_pdu()
    assert kind == pdu.ABORT
    assert line.closed() == b""
    assert [kept.data for kept in intake.kept] == [b"data"]


def test_an_association_that_waits_ends_at_once_when_the_receiver_does(call: Call) -> None:
    line = call.associated()
    line.send(peer.p_data((1, 3, dimse.echo_request(9))))
    assert line.response().message_id == 9
    call.session.interrupt()
    kind, _ = line.read_pdu()
    assert kind == pdu.ABORT
    assert line.closed() == b""


def test_a_connection_is_cut_unless_it_has_an_association(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    line = call.associated()
    call.session.associated = True
    call.session.expire("it came too late")
    assert call.session.expired == ""
    line.send(peer.p_data((1, 3, dimse.echo_request(9))))
    assert line.response().message_id == 9
    call.session.associated = False
    call.session.expire("no association was asked for in time")
    call.session.expire("another cause")
    assert line.closed() == b""
    call.ended()
    ((kind, facts),) = call.told()
    assert (kind, facts["cause"]) == ("association.lost", "no association was asked for in time")
    assert levels(caplog) == [], "the listener warns of many, once"


@dataclass
class Lanes(FakeIntake):
    """An intake whose lane says what it is told to say, one for each look."""

    results: list[RunResult] = field(default_factory=list)
    contexts: Mapping[int, tuple[str, str]] | None = None
    closed: int = 0
    taken: int = 0
    opens: threading.Event | None = None

    def lane(self, source: Source, contexts: Mapping[int, tuple[str, str]]) -> Lanes:
        self.contexts = contexts
        if self.opens:
            assert self.opens.wait(10)
        return self

    def take(self, channel: Any) -> RunResult:
        self.taken += 1
        return self.results.pop(0) if self.results else RunResult()

    def close(self) -> None:
        self.closed += 1


def test_what_a_run_stored_is_counted_and_what_it_left_is_stored_and_answered() -> None:
    rest = dimse.response(dimse.parse(dimse.store_request(7, CT, "1.2")), 0)
    answer = peer.p_data((3, 3, rest))
    left = (3, dimse.store_request(8, CT, "1.2.8"), memoryview(b"left"))
    intake = Lanes(
        results=[
            RunResult(stored=3, size=30, again=True),
            RunResult(stored=1, size=10, unsent=answer, again=True),
            RunResult(unstored=left),
        ]
    )
    call = Call(intake)
    line = call.associated()
    assert [line.response().message_id for _ in range(2)] == [7, 8]
    line.send(peer.p_data((1, 3, dimse.echo_request(9))))
    assert line.response().message_id == 9
    line.send(pdu.RELEASE_RQ_BYTES)
    line.decoded()
    call.ended()
    assert intake.contexts == {3: (CT, EXPLICIT)}, f"{VERIFICATION} stores nothing"
    assert (intake.taken, intake.closed) == (4, 1)
    assert [(kept.sop_instance_uid, kept.data) for kept in intake.kept] == [("1.2.8", b"left")]
    assert call.watch.counters() == {"receive.modalities.stored": 5, "receive.modalities.bytes": 44}


def test_an_object_that_waits_to_be_read_is_stored_when_the_receiver_ends() -> None:
    opens = threading.Event()
    intake = Lanes(opens=opens)
    call = Call(intake)
    line = call.associated()
    line.send(peer.store(b"data", 1) + peer.store(b"data", 2))
    call.session.interrupt()
    opens.set()
    assert line.response().status == 0
    kind, _ = line.read_pdu()
    assert kind == pdu.ABORT
    call.ended()
    assert [kept.data for kept in intake.kept] == [b"data"]
    assert intake.taken == 0


@pytest.mark.parametrize("length", [LONGEST_RESPONSE - 1, LONGEST_RESPONSE, 0])
def test_runs_are_for_peers_that_take_an_answer_whole(length: int) -> None:
    intake = Lanes()
    call = Call(intake)
    call.associated(max_length=length)
    call.ended()
    assert (intake.contexts is not None) == (length == 0 or length >= LONGEST_RESPONSE)
    assert intake.closed == (intake.contexts is not None)


def test_each_message_has_its_own_answer_or_none(call: Call, intake: FakeIntake) -> None:
    """What a message brings beside its command set is read over, whatever is answered."""
    line = call.associated()
    identifier = (3, 2, b"identifier")
    messages = [
        (peer.p_data((3, 3, peer.command(dimse.C_FIND_RQ, 1, data_set=True)), identifier), 0x0122),
        (peer.p_data((3, 3, peer.command(0x0140, 2, data_set=True)), identifier), 0x0211),
        (peer.p_data((3, 3, peer.command(dimse.C_CANCEL_RQ, 3))), None),
        (peer.p_data((3, 3, peer.command(dimse.C_STORE_RSP, 4))), None),
        (peer.p_data((3, 3, peer.command(0x8020, 5, data_set=True)), identifier), None),
        (peer.store(b"data", 6, context=1), 0x0122),
        (peer.store(b"data", 7, sop_class="no uid"), 0x0118),
        (peer.store(b"data", 8, sop_instance="no uid"), 0x0117),
        (peer.p_data((1, 3, dimse.echo_request(9))), 0),
        (peer.store(b"data", 10), 0),
    ]
    line.send(b"".join(message for message, _ in messages))
    wanted = [(number, status) for number, (_, status) in enumerate(messages, 1) if status is not None]
    answers = [line.response() for _ in wanted]
    assert [(each.message_id, each.status) for each in answers] == wanted
    assert [kept.data for kept in intake.kept] == [b"data"]
    assert intake.begun == 1


@pytest.mark.parametrize("phase", ["begin_error", "write_error", "commit_error"])
@pytest.mark.parametrize("error", [Refused(0xA700, "no room"), RuntimeError("a fault of ours")])
def test_an_object_that_is_not_kept_leaves_nothing_and_the_next_one_is_taken(
    call: Call, intake: FakeIntake, phase: str, error: Exception
) -> None:
    line = call.associated()
    setattr(intake, phase, error)
    line.send(peer.store(bytes(2000), 1))
    assert line.response().status == (0xA700 if isinstance(error, Refused) else 0x0110)
    assert (intake.kept, intake.aborted) == ([], intake.begun)
    setattr(intake, phase, None)
    line.send(peer.store(bytes(2000), 2))
    assert line.response().status == 0
    assert len(intake.kept) == 1


def test_an_object_that_is_cut_off_leaves_nothing(call: Call, intake: FakeIntake) -> None:
    call.associated().send(peer.store(bytes(2000), 1)[:-500])
    call.ended()
    assert (intake.kept, intake.begun, intake.aborted) == ([], 1, 1)


class Tls:
    """In the place of a TLS socket."""

    heard = False

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("cause", "heard", "outcome", "shown"),
    [
        (TlsCause.CLOSED, False, "", False),
        (TlsCause.CLOSED, True, "lost", False),
        (TlsCause.NOT_TLS, False, "broken", True),
        (TlsCause.NOT_TLS, True, "broken", True),
    ],
)
def test_who_does_not_agree_on_tls_is_shown_unless_it_only_went(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    cause: TlsCause,
    heard: bool,
    outcome: str,
    shown: bool,
) -> None:
    call.begin()
    call.thread.start()
    call.ended()
    monkeypatch.setattr(session, "TlsSocket", Tls)
    sock: Any = Tls()
    sock.heard = heard
    call.session._sock = sock
    before = dict(call.watch.counters())

    def fails() -> None:
        raise TlsFailure("it shows no certificate", cause)

    monkeypatch.setattr(call.session, "_serve", fails)
    call.session.run()
    counted = {name for name, times in call.watch.counters().items() if times != before.get(name, 0)}
    assert counted == ({f"receive.modalities.{outcome}"} if outcome else set())
    causes = [each.cause for each in call.rejections.all()]
    assert causes == ["rejected: it shows no certificate"] * shown


def test_a_certificate_is_what_its_peer_has_proved_and_is_shown(call: Call, tmp_path: Path) -> None:
    call.begin()
    call.thread.start()
    file, _ = certificate(tmp_path, "ct1.example")
    proved = call.session._proved(ssl.PEM_cert_to_DER_cert(file.read_text()))
    assert [(each.name, each.credential) for each in call.shown] == [("ct1.example", proved)]
    assert proved.startswith("certificate:ct1.example sha256:")
    assert call.session._proved(None) == call.session._proved(b"no certificate") == ""
    assert len(call.shown) == 1
