"""A sender's steps, one by one: what it takes, what it opens, and what each image in its hand becomes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from deliver.fakes import BUSY, CT, EXPLICIT, FAULT, IMPLICIT, LOST, MR, OK, FakeEgress, make_instance
from mapdr.deliver.backoff import Backoff
from mapdr.deliver.feed.ready import QueuedImage, ReadyQueue
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.send.breaker import Breaker, BreakerState
from mapdr.deliver.send.connection import Connection, OpenSessions
from mapdr.deliver.send.faults import Faults
from mapdr.deliver.send.outcomes import OutcomeHandler
from mapdr.deliver.send.sender import LIMITED, Sender
from mapdr.deliver.settle.decide import LATER
from mapdr.deliver.settle.leases import Leases
from mapdr.kernel.errors import OWN_FAULT, OwnFault, Permanent, Temporary
from mapdr.kernel.item import Acceptance, Need, Outcome, Pause, Payload, Sent
from mapdr.kernel.stage import Batch
from mapdr.kernel.watch import Watch
from mapdr.net.rate import Rate
from mapdr.store.queue.ledger import LeasedDelivery


def image(number: int, *, alone: bool = False, sop_class: str = CT) -> QueuedImage:
    delivery = LeasedDelivery(number, make_instance(number), "pacs", 0, 0, "r", "", 0, 0.0)
    made = Payload(sop_class, f"2.25.{number}", EXPLICIT, (), 10)
    return QueuedImage(delivery, made, Need(sop_class, EXPLICIT), alone=alone)


def numbers(images: Sequence[QueuedImage]) -> list[int]:
    return [each.delivery.id for each in images]


class Outcomes:
    """What the sender handed on; `error` is raised instead."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.error: Exception | None = None
        self.probe_first = False

    def delivered(self, images: Sequence[QueuedImage], sent: Sequence[Sent]) -> None:
        if self.error is not None:
            raise self.error
        assert len(images) == len(sent)
        self.done.append(("delivered", *numbers(images)))

    def answered(self, image: QueuedImage, sent: Sent, **facts: Any) -> None:
        told = {name: value for name, value in facts.items() if value}
        self.done.append(("answered", image.delivery.id, sent.outcome, told))

    def raised(self, image: QueuedImage, error: Exception) -> None:
        self.done.append(("raised", image.delivery.id, type(error)))

    def unreachable(self, image: QueuedImage) -> None:
        self.done.append(("unreachable", image.delivery.id))

    def wants_probe(self, image: QueuedImage) -> bool:
        return self.probe_first

    def probe_answered(self, image: QueuedImage) -> None:
        self.done.append(("probe answered", image.delivery.id))


class Stopping(threading.Event):
    """Notes how long it would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


class Batches(FakeEgress):
    """Sessions of batches: `tell` appends to `sent` what became of the payloads, by their UIDs."""

    def __init__(self, tell: Callable[[list[str], list[Sent]], None]) -> None:
        super().__init__()
        self.given: list[list[str]] = []
        self._tell = tell

    def connect(self, needs: Sequence[Need]) -> Any:
        session: Any = super().connect(needs)
        session.batch = Batch(10)
        session.send_batch = self._send
        return session

    def _send(self, payloads: Sequence[Payload], sent: list[Sent]) -> None:
        uids = [each.sop_instance_uid for each in payloads]
        self.given.append(uids)
        self._tell(uids, sent)


class World:
    """A sender that was not started, and everything around it."""

    def __init__(self, egress: Any = None, sessions: int = 1) -> None:
        self.egress, self.opened = egress or FakeEgress(), OpenSessions()
        self.ready, self.outcomes, self.stopping = ReadyQueue(), Outcomes(), Stopping()
        self.faults = Faults("pacs")
        self.breaker = Breaker(
            Backoff(1.0, 2.0, 60.0, 0.0), Backoff(30.0, 2.0, 300.0, 0.0), clock=lambda: 0.0, wall=lambda: 0.0
        )
        self.returned: list[int] = []
        self.probes: list[int] = []
        self.is_there = True
        self.connection = Connection("pacs", self.egress, Syntaxes(), self.opened, 30.0)
        self.sender = Sender(
            "pacs-0",
            self.ready,
            self.connection,
            cast(OutcomeHandler, self.outcomes),
            leases=cast(Leases, self),
            breaker=self.breaker,
            faults=self.faults,
            refusals=Rate(10.0, burst=0.0, clock=lambda: 0.0),
            probe=self._probe,
            sessions=sessions,
            stopping=self.stopping,
            watch=Watch(),
            idle=0.01,
        )

    def give_back(self, deliveries: Any) -> None:
        """As of `Leases`."""
        self.returned += [each.id for each in deliveries]

    def _probe(self) -> bool:
        self.probes.append(self.opened.count)
        return self.is_there

    def put(self, *images: QueuedImage) -> None:
        self.ready.add(list(images))

    def take(self) -> list[int]:
        taken = self.sender._take()
        return [] if taken is None else [taken.delivery.id]

    def send(self, first: QueuedImage) -> list[tuple[Any, ...]]:
        """Send an image on a session that is open; what was handed on."""
        if self.connection.covers is None:
            self.connection.open(Need(CT, EXPLICIT), [])
        self.outcomes.done.clear()
        self.sender._send(first)
        return self.outcomes.done

    @property
    def waiting(self) -> list[int]:
        return numbers(list(self.ready._prepared))


@pytest.fixture
def world() -> World:
    return World()


def test_a_session_is_opened_for_what_waits_and_kept(world: World) -> None:
    world.put(image(1), image(2, sop_class=MR), image(3))
    assert world.take() == [1]
    assert [[need.sop_class_uid for need in needs] for needs in world.egress.connects] == [[CT, MR]]
    assert world.take() == [2]
    assert world.take() == [3]
    assert len(world.egress.connects) == 1
    assert world.take() == []
    assert world.opened.count == 0, "nothing came for so long: it is released"


def test_while_a_receiver_is_away_images_go_back_untried(world: World) -> None:
    world.breaker.trip("unreachable", "")
    world.put(image(1))
    assert world.take() == []
    assert (world.returned, world.waiting, world.egress.connects) == ([1], [], [])
    world.breaker.heard()
    world.put(image(2))
    assert world.take() == [2]
    world.breaker.trip("unreachable", "")
    world.put(image(3))
    assert world.take() == []
    assert world.returned == [1, 3]


def test_an_image_that_another_sender_took_meanwhile_is_not_given_back(world: World) -> None:
    world.breaker.trip("unreachable", "")
    one = image(1)
    world.put(one)
    claim = world.ready.claim
    world.ready.claim = lambda image: claim(image) and False  # type: ignore[method-assign]
    assert world.take() == []
    assert world.returned == []


def test_an_image_that_goes_alone_goes_on_a_new_session(world: World) -> None:
    world.put(image(1))
    world.send(image(1))
    one = image(2, alone=True)
    world.put(one)
    assert world.take() == [1]
    kept: list[tuple[list[int], bool]] = []
    world.egress.refuse = lambda: kept.append((world.waiting, one.reserved))
    assert world.take() == [2]
    assert len(world.egress.connects) == 2
    assert kept == [([2], True)], "who has a session for it may take it meanwhile, and nobody opens another"


def test_an_egress_that_cannot_say_whether_it_serves_an_image_is_held_against_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(image(1))
    world.connection.open(Need(CT, EXPLICIT), [])

    def fails(image: QueuedImage) -> bool:
        raise OverflowError

    monkeypatch.setattr(world.connection, "serves", fails)
    assert world.take() == []
    assert world.outcomes.done == [("raised", 1, OverflowError)]
    assert world.opened.count == 0


def test_a_receiver_is_asked_first_with_no_session_open_where_it_must_be(world: World) -> None:
    world.outcomes.probe_first = True
    world.connection.open(Need(CT, EXPLICIT), [])
    world.put(image(1, alone=True))
    world.send(image(7))
    world.outcomes.done.clear()
    assert world.take() == [1]
    assert world.probes == [0]
    assert world.outcomes.done == [("probe answered", 1)]
    world.is_there = False
    world.put(image(2, alone=True))
    world.send(image(7))
    world.outcomes.done.clear()
    assert world.take() == []
    assert len(world.egress.connects) == 2, "nothing was opened"
    assert world.outcomes.done == [("unreachable", 2)]
    assert world.breaker.view().reason == "unreachable"


@pytest.mark.parametrize(
    ("error", "reason", "wait"),
    [
        (Permanent("we are not known", reason="association-rejected"), "association-rejected", 30.0),
        (Temporary("no route"), "unreachable", 1.0),
        (ConnectionRefusedError(111, "refused"), "unreachable", 1.0),
        (OwnFault("no files left"), OWN_FAULT, 1.0),
    ],
)
def test_without_a_session_the_receiver_is_left_alone(
    world: World, error: Exception, reason: str, wait: float
) -> None:
    def refuse() -> None:
        raise error

    world.egress.refuse = refuse
    world.put(image(1), image(2))
    assert world.take() == []
    assert (world.breaker.view().reason, world.breaker.wait()) == (reason, wait)
    assert world.outcomes.done == [("unreachable", 1)]
    assert (world.waiting, world.stopping.waits) == ([2], [])


def test_a_receiver_that_serves_others_has_a_limit_and_the_image_waits(world: World) -> None:
    def refuse() -> None:
        raise Temporary("too many associations")

    world.egress.refuse = refuse
    world.opened.add(1)
    world.put(image(1))
    assert world.take() == []
    assert world.take() == []
    assert world.breaker.state is BreakerState.CLOSED
    assert (world.waiting, world.outcomes.done) == ([1], [])
    first, second = world.stopping.waits
    assert LIMITED.first * 0.7 <= first <= LIMITED.first < second <= LIMITED.first * LIMITED.factor
    world.egress.refuse = lambda: None
    assert world.take() == [1]
    world.connection.close()
    world.egress.refuse = refuse
    world.put(image(2))
    assert world.take() == []
    assert world.stopping.waits[2] <= LIMITED.first, "it begins anew"


def test_a_fault_of_ours_in_opening_is_the_images(world: World) -> None:
    def refuse() -> None:
        raise OverflowError("SECRET")

    world.egress.refuse = refuse
    world.put(image(1))
    assert world.take() == []
    assert world.outcomes.done == [("raised", 1, OverflowError)]
    assert "OverflowError" in world.faults.last
    assert world.returned == [1], "which does nothing where it was settled"
    assert world.breaker.state is BreakerState.CLOSED


def test_what_a_session_refuses_is_answered_without_being_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = replace(BUSY, status=None, not_now=True)
    world.connection.open(Need(CT, EXPLICIT), [])
    monkeypatch.setattr(world.connection, "_said", lambda need: Acceptance(refusal, IMPLICIT))
    assert world.send(image(1)) == [("answered", 1, refusal, {"fallback": IMPLICIT})]
    assert world.egress.sent == []


def tells(*outcomes: Outcome, error: Exception | None = None) -> Batches:
    """Sessions that answer the first payloads so, and leave those behind or raise."""

    def tell(uids: list[str], sent: list[Sent]) -> None:
        sent += [Sent(outcome, 1.0, 2.0) for outcome in outcomes[: len(uids)]]
        if error is not None:
            raise error

    return Batches(tell)


def test_what_was_taken_is_handed_on_together_and_what_was_left_comes_first_again() -> None:
    world = World(tells(OK, OK))
    world.put(*(image(number) for number in range(2, 6)))
    assert world.send(image(1)) == [("delivered", 1, 2)]
    assert world.egress.given == [["2.25.1", "2.25.2", "2.25.3", "2.25.4"]]
    assert world.waiting == [3, 4, 5]
    assert (world.opened.count, world.stopping.waits) == (1, [])


def test_senders_share_what_waits_and_an_image_alone_has_nothing_behind_it() -> None:
    world = World(tells(OK, OK, OK, OK), sessions=2)
    world.put(*(image(number) for number in range(2, 8)))
    assert world.send(image(1)) == [("delivered", 1, 2, 3)]
    world.connection.open(Need(CT, EXPLICIT), [])
    assert world.send(image(9, alone=True)) == [("delivered", 9)]


def test_each_answer_behind_those_that_were_taken_is_handed_on_by_itself() -> None:
    duplicate = replace(OK, duplicate=True, status=0x0111)
    world = World(tells(OK, duplicate, FAULT, OK, FAULT))
    world.faults.last = "it failed"
    world.put(*(image(number) for number in range(2, 7)))
    assert world.send(image(1)) == [
        ("delivered", 1),
        ("answered", 2, duplicate, {}),
        ("answered", 3, FAULT, {}),
        ("answered", 4, OK, {}),
        ("answered", 5, FAULT, {}),
    ]
    assert world.faults.last == "", "it has sent"
    assert world.stopping.waits == [0.0]
    world.put(image(7))
    world.sender._hand_on([image(8)], [Sent(FAULT, 1.0, 1.0)], stale=False)
    assert world.stopping.waits == [0.0, 0.2], "two refused images at ten a second"


def test_a_session_that_is_lost_is_lost_once_and_closed() -> None:
    world = World(tells(LOST, LOST, LOST))
    world.put(image(2), image(3), image(4))
    assert world.send(image(1)) == [
        ("answered", 1, LOST, {}),
        ("answered", 2, LOST, {"known_lost": True}),
        ("answered", 3, LOST, {"known_lost": True}),
    ]
    assert world.opened.count == 0


@pytest.mark.parametrize("taken", [0, 1])
def test_a_session_that_rested_is_stale_for_what_comes_first(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tells(*[OK] * taken, LOST))
    world.put(image(2), image(3))
    world.connection.open(Need(CT, EXPLICIT), [])
    monkeypatch.setattr("mapdr.deliver.send.connection.STALE", -1.0)
    assert world.send(image(1))[-1] == ("answered", 1 + taken, LOST, {} if taken else {"stale": True})


@pytest.mark.parametrize(
    ("outcome", "opened"),
    [(replace(BUSY, pause=Pause("busy")), 0), (BUSY, 1), (FAULT, 1), (OK, 1)],
    ids=["takes nothing", "busy", "refused", "taken"],
)
def test_a_receiver_that_takes_nothing_is_left_without_a_session(outcome: Outcome, opened: int) -> None:
    world = World(tells(outcome))
    world.send(image(1))
    assert world.opened.count == opened


def test_what_raises_is_held_against_the_image_that_has_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    world = World(tells(OK, error=OverflowError("SECRET")))
    world.put(*(image(number) for number in range(2, 6)))
    assert world.send(image(1)) == [("raised", 2, OverflowError), ("delivered", 1)]
    assert world.waiting == [3, 4, 5]
    assert world.opened.count == 0
    world = World(tells(error=Permanent("its file is gone", reason="missing")))
    world.put(image(2), image(3))
    assert world.send(image(1)) == [("raised", 1, Permanent)]
    assert world.waiting == [2, 3]
    assert world.faults.last == "", "the fault of the file, and not of the program"
    caplog.clear()
    world = World(tells(OK, OK, error=OverflowError()))
    world.put(image(2), image(3))
    assert world.send(image(1)) == [("delivered", 1, 2)]
    assert "OverflowError" in caplog.text
    assert world.stopping.waits == [LATER], "no image has a pause of its own then"


def test_where_an_answer_cannot_be_handed_on_its_images_go_back() -> None:
    world = World(tells(OK, OK))
    world.put(image(2), image(3))
    world.outcomes.error = OverflowError()
    with pytest.raises(OverflowError):
        world.send(image(1))
    assert world.returned == [1, 2]


def test_a_sender_goes_on_after_what_nobody_foresaw(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [image(1), image(2)]

    def take() -> QueuedImage:
        if len(images) == 1:
            world.stopping.set()
        return images.pop(0)

    def fails(image: QueuedImage) -> None:
        raise KeyError(image.delivery.id)

    monkeypatch.setattr(world.sender, "_take", take)
    monkeypatch.setattr(world.sender, "_send", fails)
    world.sender._run()
    assert world.outcomes.done == [("raised", 1, KeyError), ("raised", 2, KeyError)]
    assert world.returned == [1, 2]
    assert world.opened.count == 0
