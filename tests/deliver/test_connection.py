"""A sender's session: what goes on it, what is asked for anew, and what one that says too little becomes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deliver.fakes import CT, EXPLICIT, IMPLICIT, JPEG2000, LOST, MR, OK, FakeEgress, make_instance
from mapdr.deliver.feed.ready import QueuedImage
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.send.connection import ENDED, ONE, STALE, Connection, OpenSessions
from mapdr.kernel.errors import LocalProtocolError, MapdrError, Temporary
from mapdr.kernel.item import Acceptance, Need, Outcome, Payload, Sent, Verdict
from mapdr.kernel.stage import Batch
from mapdr.store.queue.ledger import LeasedDelivery

NEED, OTHER = Need(CT, EXPLICIT), Need(MR, EXPLICIT)
RETRY_FIRST = 30.0


class Clock:
    """Stands still until it is moved; for `time.monotonic` of the module."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 5000.0 + self.now

    def perf_counter(self) -> float:
        self.now += 0.25
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("mapdr.deliver.send.connection.time", made)
    return made


def make(egress: Any = None) -> tuple[Connection, Any, OpenSessions]:
    egress, opened = egress or FakeEgress(), OpenSessions()
    return Connection("pacs", egress, Syntaxes(), opened, RETRY_FIRST), egress, opened


def image(*, alone: bool = False, need: Need = NEED) -> QueuedImage:
    delivery = LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", 0, 0.0)
    return QueuedImage(delivery, payload(), need, alone=alone)


def payload(number: int = 1) -> Payload:
    return Payload(CT, f"2.25.{number}", EXPLICIT, (), 10)


def test_one_session_is_open_at_a_time_and_counted() -> None:
    connection, egress, opened = make()
    assert connection.covers is None
    assert (connection.refusal(NEED), connection.fallback(NEED)) == (ENDED, "")
    connection.open(NEED, [OTHER, NEED])
    assert egress.connects == [[NEED, OTHER]], "each need is proposed once"
    assert (egress.open, opened.count, connection.others_open) == (1, 1, True)
    assert connection.covers is not None
    assert (connection.covers(NEED), connection.covers(Need("1.9", EXPLICIT))) == (True, False)
    connection.open(OTHER, [])
    assert (egress.open, opened.count) == (1, 1), "the one before is closed first"
    connection.close()
    connection.close()
    assert (egress.open, opened.count, connection.covers) == (0, 0, None)
    connection.abort()


def test_a_session_that_cannot_be_had_counts_as_none() -> None:
    connection, egress, opened = make()

    def refuse() -> None:
        raise Temporary("busy")

    egress.refuse = refuse
    with pytest.raises(Temporary):
        connection.open(NEED, [OTHER])
    assert (opened.count, len(egress.connects)) == (0, 1), "the receiver said so: it is not asked again"


def test_a_fault_of_our_own_over_what_others_need_leaves_the_first(caplog: pytest.LogCaptureFixture) -> None:
    connection, egress, _ = make()

    def refuse() -> None:
        if len(egress.connects[-1]) > 1:
            sys.exit("SECRET")

    egress.refuse = refuse
    connection.open(NEED, [OTHER])
    assert egress.connects == [[NEED, OTHER], [NEED]]
    assert "no session for all that waits" in caplog.text
    assert "SECRET" not in caplog.text
    egress.refuse = lambda: sys.exit("SECRET")
    with pytest.raises(MapdrError):
        connection.open(NEED, [])


def test_what_was_sent_lately_is_proposed_again() -> None:
    connection, egress, _ = make()
    connection._syntaxes.needed(OTHER)
    connection.open(NEED, [])
    assert egress.connects == [[NEED, OTHER]]


def test_a_refused_syntax_is_remembered_with_what_is_taken_instead() -> None:
    connection, _, _ = make(FakeEgress(takes=[IMPLICIT]))
    connection.open(NEED, [])
    refusal = connection.refusal(NEED)
    assert refusal is not None
    assert refusal.verdict is Verdict.SYNTAX_REFUSED
    assert (connection.accepts(NEED), connection.accepts(Need(CT, IMPLICIT))) == (False, True)
    assert connection.fallback(NEED) == IMPLICIT
    assert connection._syntaxes.instead(NEED) == IMPLICIT
    nothing, _, _ = make(FakeEgress(takes=[JPEG2000], syntaxes=[EXPLICIT]))
    nothing.open(NEED, [])
    assert nothing.fallback(NEED) == ""
    assert nothing._syntaxes.instead(NEED) == ""


def test_an_image_that_goes_alone_goes_on_a_session_on_which_nothing_was_sent() -> None:
    connection, _, _ = make()
    connection.open(NEED, [])
    assert connection.serves(image(alone=True))
    connection.send([payload()], [])
    assert not connection.serves(image(alone=True))
    assert connection.serves(image())
    connection.open(NEED, [])
    assert connection.serves(image(alone=True))


NOT_NOW = Outcome(Verdict.RETRY, not_now=True)


@pytest.mark.parametrize(
    ("refusal", "at_once", "later"),
    [(None, True, True), (NOT_NOW, True, False), (Outcome(Verdict.SYNTAX_REFUSED), True, True)],
)
def test_a_receiver_is_asked_anew_after_a_while_for_what_it_did_not_accept_for_now(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, refusal: Outcome | None, at_once: bool, later: bool
) -> None:
    connection, _, _ = make()
    connection.open(NEED, [])
    monkeypatch.setattr(connection, "_said", lambda need: Acceptance(refusal))
    assert connection.serves(image()) is at_once
    clock.now += RETRY_FIRST - 1
    assert connection.serves(image()) is at_once
    clock.now += 1
    assert connection.serves(image()) is later


def test_a_session_that_rested_is_stale_until_it_is_used(clock: Clock) -> None:
    connection, _, _ = make()
    connection.open(NEED, [])
    clock.now += STALE
    assert not connection.stale
    clock.now += 0.1
    assert connection.stale
    sent: list[Sent] = []
    connection.send([payload()], sent)
    assert not connection.stale
    assert sent == [Sent(OK, 5100.0 + STALE + 0.1, 0.25)]


class Batches:
    """An egress whose sessions take batches and append what they are told to."""

    sessions = 1

    def __init__(self, told: Sequence[Any], error: Exception | None = None) -> None:
        self._told, self._error = told, error
        self.batch = Batch(5, 1000)

    def connect(self, needs: Sequence[Need]) -> Batches:
        return self

    def acceptance(self, need: Need) -> Acceptance:
        return Acceptance()

    def send(self, payload: Payload) -> Outcome:
        raise AssertionError("one at a time")

    def send_batch(self, payloads: Sequence[Payload], sent: list[Any]) -> None:
        sent += self._told
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        if self._error is not None:
            raise SystemExit("SECRET")


TAKEN = Sent(OK, 1.0, 2.0)
ODD = cast(Sent, SimpleNamespace(outcome=OK))


def test_a_session_of_batches_is_given_all() -> None:
    connection, _, _ = make(Batches([TAKEN] * 2))
    assert connection.batch is ONE
    connection.open(NEED, [])
    assert connection.batch == Batch(5, 1000)
    sent: list[Sent] = []
    connection.send([payload(1), payload(2), payload(3)], sent)
    assert sent == [TAKEN] * 2, "those behind may be left"
    connection.close()
    assert connection.batch is ONE


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ([], 0),
        ([ODD], 0),
        ([TAKEN, ODD, TAKEN], 1),
        ([TAKEN, Sent(cast(Outcome, "taken"), 1.0, 1.0)], 1),
        ([TAKEN] * 4, 3),
    ],
)
def test_what_is_no_answer_or_one_too_many_is_the_sessions_fault(told: list[Any], kept: int) -> None:
    connection, _, _ = make(Batches(told))
    connection.open(NEED, [])
    sent: list[Sent] = []
    with pytest.raises(LocalProtocolError):
        connection.send([payload(number) for number in range(3)], sent)
    assert sent == [TAKEN] * kept


def test_what_was_answered_before_a_session_failed_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    connection, _, opened = make(Batches([TAKEN, ODD], OverflowError("SECRET")))
    connection.open(NEED, [])
    sent: list[Sent] = []
    with pytest.raises(OverflowError):
        connection.send([payload(1), payload(2), payload(3)], sent)
    assert sent == [TAKEN]
    with caplog.at_level(logging.ERROR):
        connection.close()
    assert opened.count == 0, "it is gone either way"
    assert "could not be closed" in caplog.text
    assert "SECRET" not in caplog.text


@pytest.fixture
def aborted() -> Iterator[tuple[Connection, Any]]:
    connection, egress, _ = make()
    connection.open(NEED, [])
    yield connection, egress
    connection.close()


def test_an_abort_ends_the_session_and_leaves_its_sender_to_close_it(aborted: tuple[Connection, Any]) -> None:
    connection, egress = aborted
    connection.abort()
    assert egress.open == 0
    sent: list[Sent] = []
    connection.send([payload()], sent)
    assert [each.outcome for each in sent] == [LOST]
