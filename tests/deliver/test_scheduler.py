"""What becomes of an image that could not be prepared, and what is learned of one that was."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from deliver.fakes import IMPLICIT, JPEG2000, make_instance
from mapdr.deliver.feed import scheduler
from mapdr.deliver.feed.preparer import Preparation
from mapdr.deliver.feed.ready import QueuedImage, ReadyQueue
from mapdr.deliver.feed.scheduler import Scheduler
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.settle.failures import Failures
from mapdr.deliver.settle.leases import EndedAttempt
from mapdr.kernel.errors import Permanent, Temporary
from mapdr.kernel.item import Need, Payload, Priority, Verdict
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery

ROW = LeasedDelivery(1, make_instance(1), "pacs", 0, 0, "r", "", 0, 0.0)


def row(number: int, priority: int = Priority.ROUTINE) -> LeasedDelivery:
    return replace(ROW, id=number, instance=make_instance(number), priority=priority)


RETRY = Retry(first=10.0, factor=2.0, cap=60.0, tries=3)


class Around:
    """A scheduler with a preparer that raises `error` at once, or leaves an image to `futures`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ended: list[EndedAttempt] = []
        self.futures: list[tuple[str, Preparation]] = []
        self.progress = 0
        self.asked: list[int] = []
        self.given_back: list[int] = []
        self.made: set[tuple[int, str]] = set()  # before they are asked for, for another destination
        self.ready, self.syntaxes = ReadyQueue(), Syntaxes()

        def now(delivery: LeasedDelivery, syntax: str) -> None:
            if error:
                raise error

        def request(delivery: LeasedDelivery, syntax: str) -> Preparation:
            self.asked.append(delivery.id)
            self.futures.append((syntax, Preparation()))
            if (delivery.id, syntax) in self.made:
                self.futures[-1][1].made()
            return self.futures[-1][1]

        leases: Any = SimpleNamespace(
            settle=lambda attempts: self.ended.extend(attempts) or attempts,
            give_back=lambda rows: self.given_back.extend(each.id for each in rows),
        )
        preparer: Any = SimpleNamespace(now=now, request=request, crowded=lambda: False, share=4)
        self.scheduler = Scheduler(
            "pacs",
            preparer,
            self.ready,
            leases,
            failures=Failures(),
            syntaxes=self.syntaxes,
            retry=RETRY,
            watch=Watch(),
            on_progress=self._count,
        )

    def _count(self) -> None:
        self.progress += 1

    def taken(self) -> QueuedImage | None:
        found = self.ready.take(lambda need: True, 0)
        return found.image if found else None


def test_what_is_not_there_at_present_is_tried_again_later_each_time() -> None:
    around = Around(Temporary("no scratch file"))
    began = time.time()
    waits = []
    for _ in range(3):
        around.scheduler.add([ROW])
        attempt = around.ended.pop()
        assert (attempt.decision.state, attempt.decision.count_attempt) == ("pending", False)
        assert (attempt.sent.outcome.verdict, attempt.sent.seconds) == (Verdict.RETRY, 0.0)
        waits.append(attempt.decision.not_before - began)
    assert 8 <= waits[0] < 15 < waits[1] < 31 < waits[2] < 60
    assert around.taken() is None


def test_what_can_never_be_prepared_is_parked_with_its_reason_and_not_sent() -> None:
    around = Around(Permanent("no", reason="value-too-long"))
    around.scheduler.add([ROW])
    (attempt,) = around.ended
    assert (attempt.decision.state, attempt.decision.reason) == ("parked", "value-too-long")
    assert attempt.sent.outcome.verdict is Verdict.REFUSED
    assert around.taken() is None


def test_what_a_codec_thread_prepared_is_known_to_be_needed() -> None:
    around = Around()
    around.scheduler.add([ROW])
    ((_, future),) = around.futures
    future.set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    assert around.syntaxes.recent() == [Need("1.2", IMPLICIT)]
    taken = around.taken()
    assert taken is not None
    assert taken.delivery is ROW
    assert around.ended == []


def test_what_is_prepared_in_a_syntax_that_was_refused_meanwhile_is_prepared_anew() -> None:
    around = Around()
    around.scheduler.add([ROW])
    around.syntaxes.refused(Need("1.2", JPEG2000), IMPLICIT)
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", JPEG2000, (), 0))
    assert around.taken() is None
    assert [syntax for syntax, _ in around.futures] == [ROW.syntax, IMPLICIT]
    around.futures[1][1].set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    assert around.taken() is not None


def test_what_a_receiver_takes_instead_is_known_for_images_with_the_same_choice_alone() -> None:
    """One that its rule leaves as it came must not be asked for in what the rule makes of another: it would
    be parked; and that one not go uncompressed for the sake of the first."""
    syntaxes, htj2k = Syntaxes(), "1.2.840.10008.1.2.4.201"
    left, compressed = Need("1.2", htj2k), Need("1.2", htj2k, (JPEG2000,))
    syntaxes.refused(compressed, JPEG2000)
    assert (syntaxes.instead(compressed), syntaxes.instead(left)) == (JPEG2000, "")
    syntaxes.refused(left, IMPLICIT)
    assert (syntaxes.instead(compressed), syntaxes.instead(left)) == (JPEG2000, IMPLICIT)


def test_an_image_whose_codec_failed_is_settled_and_left_out() -> None:
    around = Around()
    around.scheduler.add([ROW])
    around.futures[0][1].set_exception(Permanent("no", reason="pixels"))
    assert [each.decision.reason for each in around.ended] == ["pixels"]
    assert around.taken() is None
    assert around.given_back == [ROW.id]


def test_no_more_is_asked_of_the_codec_threads_than_their_share() -> None:
    around = Around()
    around.scheduler.add([row(number) for number in range(1, 7)])
    assert len(around.futures) == 4
    around.scheduler.submit()
    assert len(around.futures) == 4
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    assert around.progress == 1
    around.scheduler.submit()
    assert len(around.futures) == 5
    around.scheduler.clear()
    around.futures[1][1].made()
    assert len(around.futures) == 5


def test_a_codec_thread_has_its_next_image_while_something_of_the_last_is_kept() -> None:
    around = Around()
    around.scheduler.add([row(number) for number in range(1, 6)])
    first = around.futures[0][1]
    first.made()
    assert around.asked == [1, 2, 3, 4, 5]
    assert around.progress == 1, "there is none left: more may be leased"
    assert around.taken() is None
    first.set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    assert around.taken() is not None
    assert around.progress == 1
    around.futures[1][1].made()
    around.futures[1][1].set_exception(OSError(28, "No space left on device"))
    assert [each.delivery.id for each in around.ended] == [2], "what could not be kept is not sent"


def test_what_lacks_room_says_so_and_goes_on_when_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "AHEAD", 3 * ROW.instance.size)
    around = Around()
    assert around.scheduler.lacks_room is False, "nothing is leased while it does"
    around.scheduler.add([row(number) for number in range(1, 6)])
    assert around.asked == [1, 2, 3]
    assert around.scheduler.lacks_room
    around.futures[0][1].made()
    assert around.asked == [1, 2, 3], "what is not ready yet takes its room"
    before = around.progress
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    assert around.progress == before + 1
    around.scheduler.submit()
    assert around.asked == [1, 2, 3, 4]


def sized(number: int, size: int, priority: int = Priority.ROUTINE) -> LeasedDelivery:
    of_size = replace(make_instance(number), size=size)
    return replace(ROW, id=number, instance=of_size, priority=priority)


def test_a_large_image_at_work_leaves_room_to_small_ones_and_none_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """300 frames that are compressed for half a minute must not hold up a STAT image of one."""
    monkeypatch.setattr(scheduler, "AHEAD", 1000)
    around = Around()
    around.scheduler.add([sized(1, 5000)])
    around.scheduler.add([sized(2, 300, Priority.STAT), sized(3, 300)])
    assert around.asked == [1, 2]
    assert around.scheduler.lacks_room
    around = Around()
    around.scheduler.add([sized(1, 5000), sized(2, 5000), sized(3, 300)])
    assert around.asked == [1]


def test_a_stat_image_goes_to_the_codecs_before_those_that_wait_and_is_marked() -> None:
    around = Around()
    around.scheduler.add([row(number) for number in range(1, 7)])
    around.scheduler.add([row(9, Priority.STAT)])
    assert around.asked[-1] == 4
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", IMPLICIT, (), 0))
    around.scheduler.submit()
    assert around.asked[-1] == 9
    around.futures[-1][1].set_result(Payload("1.2", "2.25.9", IMPLICIT, (), 0))
    first, second = around.taken(), around.taken()
    assert first is not None
    assert first.payload is not None
    assert (first.delivery.id, first.payload.stat) == (9, True)
    assert second is not None
    assert second.payload is not None
    assert (second.delivery.id, second.payload.stat) == (1, False)


def test_an_image_that_is_ready_before_its_lease_is_all_taken_in_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A codec thread that ends takes the next image from those that wait, whatever thread adds them."""
    around = Around()
    around.scheduler.add([row(number) for number in range(1, 5)])
    add = around.ready.add

    def late(images: list[QueuedImage]) -> None:
        around.futures[0][1].made()  # on a thread of its own
        for _, future in around.futures[4:]:
            future.set_result(Payload("1.2", "2.25.5", IMPLICIT, (), 0))
        add(images)

    monkeypatch.setattr(around.ready, "add", late)
    around.scheduler.add([row(5)])
    assert 5 in around.asked
    for _, future in around.futures[4:]:
        if not future.done():
            future.set_result(Payload("1.2", "2.25.5", IMPLICIT, (), 0))
    taken = around.taken()
    assert taken is not None
    assert taken.delivery.id == 5


def test_many_that_another_destination_has_had_made_are_asked_for_one_after_the_other() -> None:
    around = Around()
    made = Preparation()
    made.made()
    asked: list[int] = []

    def request(delivery: LeasedDelivery, syntax: str) -> Preparation:
        asked.append(delivery.id)
        return made

    around.scheduler._preparer.request = request  # type: ignore[method-assign,assignment]
    around.scheduler.add([row(number) for number in range(1, 2001)])
    assert asked == list(range(1, 2001))
    assert not around.ended


def test_an_image_that_cannot_be_prepared_keeps_no_other_back(caplog: pytest.LogCaptureFixture) -> None:
    around = Around()
    errors = {1: Permanent("no", reason="pixels"), 3: ValueError("unheard of")}

    def now(delivery: LeasedDelivery, syntax: str) -> None:
        if error := errors.get(delivery.id):
            raise error

    around.scheduler._preparer.now = now  # type: ignore[method-assign,assignment]
    around.scheduler.add([row(number) for number in range(1, 5)])
    assert [each.delivery.id for each in around.ended] == [1, 3]
    assert around.asked == [2, 4]
    told = [each.getMessage() for each in caplog.records]
    assert [each.startswith(f"pacs: {row(3).instance.id} could not") for each in told] == [True], (
        "a fault that nobody knows is told, what its rule asks for is not"
    )


def test_what_takes_no_time_is_not_sent_in_a_syntax_that_is_refused() -> None:
    around = Around()
    payload = Payload("1.2", "2.25.1", JPEG2000, (), 0)
    around.scheduler._preparer.now = lambda delivery, syntax: payload  # type: ignore[method-assign]
    around.scheduler.add([row(1)])
    assert around.taken() is not None
    around.syntaxes.refused(Need("1.2", JPEG2000), IMPLICIT)
    around.scheduler.add([row(2)])
    assert around.taken() is None
    assert [syntax for syntax, _ in around.futures] == [IMPLICIT]


def test_one_that_is_prepared_anew_is_at_work_again() -> None:
    around = Around()
    around.scheduler.add([row(1)])
    around.syntaxes.refused(Need("1.2", JPEG2000), IMPLICIT)
    around.futures[0][1].made()
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", JPEG2000, (), 0))
    around.scheduler.add([row(number) for number in range(2, 7)])
    assert around.asked == [1, 1, 2, 3, 4], "no more than its share"


def test_one_that_another_destination_has_had_made_anew_leaves_its_thread_to_the_next() -> None:
    around = Around()
    around.scheduler.add([row(number) for number in range(1, 5)])
    around.scheduler.add([row(5), row(6)])
    around.syntaxes.refused(Need("1.2", JPEG2000), IMPLICIT)
    around.made.add((1, IMPLICIT))
    around.futures[0][1].set_result(Payload("1.2", "2.25.1", JPEG2000, (), 0))
    assert around.asked == [1, 2, 3, 4, 1, 5]
