"""Runs of images on one association: each has its own answer, and what was not begun says so."""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from egress.test_dimse import CT, EXPLICIT, NEED, make, payload
from mapdr.egress.dicom.destination import SECONDS_AT_ONCE, DimseBatchSession
from mapdr.kernel.item import FileSlice, Payload, Sent, Verdict
from mapdr.kernel.stage import SendsBatches
from mapdr.testing import peer
from mapdr.testing.wait import until
from mapdr.wire import dimse
from peers.certificates import self_signed
from peers.rawsink import Answer, RawSink, Received


def opened(port: int, **config: Any) -> DimseBatchSession:
    egress = make(port, **config)
    egress.start()
    session = egress.connect([NEED])
    assert isinstance(session, DimseBatchSession)
    session.seconds = 60.0
    return session


def numbered(answers: dict[int, Answer]) -> RawSink:
    """A receiver that answers the requests with these numbers so, and all others well."""

    def script(request: Received) -> Answer:
        return answers.get(request.number, Answer())

    return RawSink(script)


def run(session: DimseBatchSession, payloads: list[Payload], seconds: float = 60.0) -> list[Sent]:
    sent: list[Sent] = []
    session.seconds = seconds
    session.send_batch(payloads, sent)
    return sent


def images(count: int) -> list[Payload]:
    return [payload(f"1.2.{number}") for number in range(count)]


def test_each_image_of_a_run_has_its_own_status_and_time() -> None:
    with numbered({1: Answer(0xB000), 3: Answer(after=0.05), 4: Answer(0xA900)}) as sink:
        session = opened(sink.port)
        before = time.time()
        sent = run(session, images(7))
        after = time.time()
        assert session.acceptance(NEED) is not None, "a refused image costs no association"
        session.close()
    assert [one.outcome.status for one in sent] == [0, 0xB000, 0, 0, 0xA900]
    assert [one.outcome.verdict for one in sent] == [Verdict.DELIVERED] * 4 + [Verdict.REFUSED]
    assert len(sink.received) == 5
    assert sent[3].seconds >= 0.05
    for one, following in itertools.pairwise(sent):
        assert one.started_at + one.seconds == pytest.approx(following.started_at, abs=1e-3)
    assert before <= sent[0].started_at
    assert sent[-1].started_at + sent[-1].seconds <= after + 1e-3


def test_the_receivers_words_are_kept_and_end_a_run() -> None:
    with numbered({1: Answer(0xB007, comment="coerced")}) as sink:
        session = opened(sink.port)
        sent = run(session, images(4))
        assert [one.outcome.comment for one in sent] == ["", "coerced"]
        assert [one.outcome.status for one in run(session, images(2))] == [0, 0]
        session.close()


@pytest.mark.parametrize("answer", [Answer(hang_up="abort"), Answer(hang_up="reset"), Answer(None)])
def test_what_breaks_an_association_is_of_the_image_on_the_wire(answer: Answer) -> None:
    with numbered({2: answer}) as sink:
        session = opened(sink.port, dimse_timeout=0.3)
        sent = run(session, images(5))
        session.close()
    assert [(one.outcome.verdict, one.outcome.status) for one in sent] == [
        (Verdict.DELIVERED, 0),
        (Verdict.DELIVERED, 0),
        (Verdict.RETRY, None),
    ]
    assert sent[2].outcome.peer_fault
    assert sent[2].outcome.comment
    assert len(sink.received) == 3


def test_an_answer_to_something_else_is_not_taken_for_one() -> None:
    said = []

    def script(line: peer.Line) -> None:
        peer.accept(line)
        for more in (0, 1):
            context, command, _, _ = peer.read_message(line)
            command.message_id += more
            line.send(peer.p_data((context, 3, dimse.response(command, 0))))
        said.append(line.closed()[:1])

    with peer.Listener(script) as listener:
        session = opened(listener.port)
        sent = run(session, images(4))
        session.close()
    assert [one.outcome.status for one in sent] == [0, None]
    assert sent[1].outcome.peer_fault
    assert said == [b"\x07"], "the peer is told with an A-ABORT"


def test_an_answer_that_comes_in_pieces_is_waited_for() -> None:
    def script(line: peer.Line) -> None:
        peer.accept(line)
        for _ in range(3):
            context, command, _, _ = peer.read_message(line)
            line.trickle(peer.p_data((context, 3, dimse.response(command, 0xB006))))

    with peer.Listener(script) as listener:
        session = opened(listener.port)
        sent: list[Sent] = []
        while len(sent) < 3:
            session.send_batch(images(3 - len(sent)), sent)
        session.close()
    assert [one.outcome.status for one in sent] == [0xB006] * 3


def test_a_receiver_that_stops_reading_is_left(tmp_path: Path) -> None:
    going = threading.Event()

    def script(line: peer.Line) -> None:
        peer.accept(line)
        assert going.wait(20)

    large = tmp_path / "large"
    large.write_bytes(bytes(30_000_000))
    with peer.Listener(script) as listener:
        session = opened(listener.port, pdu_timeout=0.2)
        sent = run(
            session, [Payload(CT, "1.2.3", EXPLICIT, (FileSlice(large, 0, 30_000_000),), 30_000_000)] * 2
        )
        going.set()
        session.close()
    assert [(one.outcome.verdict, one.outcome.peer_fault) for one in sent] == [(Verdict.RETRY, True)]
    assert "stopped reading" in sent[0].outcome.comment


def test_closing_from_another_thread_ends_a_run() -> None:
    with numbered({2: Answer(None)}) as sink:
        session = opened(sink.port)
        closer = threading.Thread(
            target=lambda: until(lambda: len(sink.received) == 3, 5) and session.close()
        )
        closer.start()
        sent = run(session, images(5))
        closer.join(5)
    assert [one.outcome.status for one in sent] == [0, 0, None]
    assert sent[2].seconds < 5


def test_a_file_that_vanishes_is_of_its_image_alone(tmp_path: Path) -> None:
    gone = Payload(CT, "1.2.9", EXPLICIT, (FileSlice(tmp_path / "gone", 0, 10),), 10)
    sent: list[Sent] = []
    with RawSink() as sink:
        session = opened(sink.port)
        with pytest.raises(FileNotFoundError):
            session.send_batch([*images(2), gone, payload()], sent)
        assert [one.outcome.status for one in sent] == [0, 0]
        assert [one.outcome.status for one in run(session, images(1))] == [0], "nothing of it was sent"
        session.close()
    assert len(sink.received) == 3


def test_a_payload_that_does_not_add_up_ends_a_run_before_it() -> None:
    bad = Payload(CT, "1.2.9", EXPLICIT, (bytes(5),), 10)
    with RawSink() as sink:
        session = opened(sink.port)
        assert len(run(session, [*images(2), bad, payload()])) == 2
        with pytest.raises(ValueError, match="add up"):
            run(session, [bad, payload()])
        session.close()


def test_a_run_without_time_sends_one_image() -> None:
    with RawSink() as sink:
        session = opened(sink.port)
        assert len(run(session, images(3), 0.0)) == 1
        session.close()


def test_batches_grow_with_the_receivers_speed() -> None:
    with RawSink() as sink:
        session = opened(sink.port)
        session.seconds = SECONDS_AT_ONCE
        wanted, numbers = [], itertools.count()
        while max(wanted, default=0) <= 10:
            wanted.append(session.batch.images)
            sent: list[Sent] = []
            session.send_batch([payload(f"1.2.{next(numbers)}") for _ in range(wanted[-1])], sent)
        session.close()
    assert wanted[0] == 1
    uids = [request.sop_instance_uid for request in sink.received]
    assert uids == sorted(uids, key=lambda uid: int(uid.split(".")[-1]))


def test_a_slow_receiver_is_given_one_image_at_a_time() -> None:
    with RawSink(lambda request: Answer(after=0.06)) as sink:
        session = opened(sink.port)
        session.seconds = SECONDS_AT_ONCE
        for number in range(4):
            assert session.batch.images == 1
            session.send_batch([payload(f"1.2.{number}")], [])
        session.close()


def test_a_limit_on_bandwidth_wants_a_look_between_two_images() -> None:
    with RawSink() as sink:
        session = make(sink.port, bandwidth="16 Mbit/s").connect([NEED])
        assert not isinstance(session, SendsBatches)
        session.close()


def test_runs_go_over_tls(tmp_path: Path) -> None:
    import ssl

    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def script(line: peer.Line) -> None:
        with peer.Line(context.wrap_socket(line.sock, server_side=True)) as inner:
            peer.accept(inner)
            for _ in range(3):
                number, command, _, _ = peer.read_message(inner)
                inner.send(peer.p_data((number, 3, dimse.response(command, 0))))

    with peer.Listener(script) as listener:
        session = opened(listener.port, tls={"ca": str(cert)})
        sent = run(session, images(3))
        session.close()
    assert [one.outcome.status for one in sent] == [0] * 3


def lies(**wrong: Any) -> Callable[[peer.Line], None]:
    """A receiver whose second answer is `wrong`, and all others right."""

    def script(line: peer.Line) -> None:
        peer.accept(line)
        for number in range(3):
            context, command, _, _ = peer.read_message(line)
            if number == 1:
                command.sop_instance = wrong.get("instance", command.sop_instance)
                command.sop_class = wrong.get("sop_class", command.sop_class)
                context = wrong.get("context", context)
            said = dimse.response(command, 0)
            if number == 1 and "twice" in wrong:
                said += struct.pack("<HHLH", 0, dimse.STATUS, 2, 0)
            line.send(peer.p_data((context, 3, said)))
            if number == 1:
                line.closed()
                return

    return script


LIES = {
    "another SOP instance": {"instance": b"1.2.77\0"},
    "another SOP class": {"sop_class": b"1.2.840.10008.5.1.4.1.1.4\0"},
    "another presentation context": {"context": 3},
    "an element twice": {"twice": True},
}


@pytest.mark.parametrize("words", LIES)
@pytest.mark.parametrize("runs", [True, False])
def test_a_success_that_cannot_be_this_images_is_not_believed(words: str, runs: bool) -> None:
    with peer.Listener(lies(**LIES[words])) as listener:
        session = make(listener.port).connect([NEED])
        if runs:
            assert isinstance(session, DimseBatchSession)
            outcomes = [one.outcome for one in run(session, images(3))]
        else:
            outcomes = [session.send(payload(f"1.2.{number}")) for number in range(2)]
        session.close()
    assert [outcome.verdict for outcome in outcomes] == [Verdict.DELIVERED, Verdict.RETRY]
    assert (outcomes[1].status, outcomes[1].peer_fault) == (None, True)
    assert words in outcomes[1].comment


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xA700])
@pytest.mark.parametrize("runs", [True, False])
def test_a_success_before_the_data_set_was_sent_is_not_believed(runs: bool, status: int) -> None:
    """A refusal may come early: a receiver need not read what it will not keep."""

    def script(line: peer.Line) -> None:
        peer.accept(line)
        _, body = line.read_pdu()
        asked = dimse.parse(body[6:])
        line.send(peer.p_data((1, 3, dimse.response(asked, status))))
        line.closed()

    with peer.Listener(script) as listener:
        session = make(listener.port, acse_timeout=0.5).connect([NEED])
        large = payload("1.2.1", 20_000_000)
        if runs:
            assert isinstance(session, DimseBatchSession)
            outcome = run(session, [large])[0].outcome
        else:
            outcome = session.send(large)
        session.close()
    if status == 0xA700:
        assert outcome.status == status
    else:
        assert (outcome.verdict, outcome.status) == (Verdict.RETRY, None)
        assert "before it had been sent" in outcome.comment


@pytest.mark.parametrize("runs", [True, False])
def test_a_message_that_nobody_asked_for_confirms_nothing(runs: bool) -> None:
    def script(line: peer.Line) -> None:
        peer.accept(line)
        line.send(peer.p_data((1, 3, dimse.response(dimse.parse(dimse.store_request(1, CT, "1.2.1")), 0))))
        line.closed()

    with peer.Listener(script) as listener:
        session = make(listener.port).connect([NEED])
        until(lambda: session._requestor.channel.readable, 5)  # type: ignore[attr-defined]
        if runs:
            assert isinstance(session, DimseBatchSession)
            outcome = run(session, images(2)[1:])[0].outcome
        else:
            outcome = session.send(payload("1.2.1"))
        session.close()
    assert (outcome.verdict, outcome.status) == (Verdict.RETRY, None)
    assert not outcome.begun
