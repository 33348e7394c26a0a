"""Order, overtaking, and what is drained."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mapdr.deliver.feed.ready import PATIENCE, QueuedImage, ReadyQueue, weigh
from mapdr.kernel.item import FileSlice, Need, Payload, Priority
from mapdr.kernel.stage import Batch
from mapdr.testing.wait import until


def queued(
    number: int,
    sop_class: str = "1.2",
    held: int = 0,
    prepared: bool = True,
    priority: int = Priority.ROUTINE,
) -> QueuedImage:
    made = QueuedImage(delivery=delivery(number, priority))
    if prepared:
        made.payload = payload(sop_class, held)
        made.need = Need(sop_class, "1.2.840.10008.1.2.1")
    return made


def delivery(number: int, priority: int = Priority.ROUTINE) -> Any:
    return SimpleNamespace(id=number, priority=priority)


def payload(sop_class: str = "1.2", held: int = 0) -> Payload:
    return Payload(sop_class, "1.2.3", "1.2.840.10008.1.2.1", (bytes(held),), held)


def taken(ready: ReadyQueue, covers: Any = None) -> QueuedImage | None:
    """The next image, for which a session is opened if no session covers it."""
    found = ready.take(covers, 0)
    if found is None:
        return None
    assert not found.reserved or ready.claim(found.image)
    return found.image


def numbers(ready: ReadyQueue, covers: Any = None) -> list[int]:
    found = []
    while (image := taken(ready, covers)) is not None:
        found.append(image.delivery.id)
    return found


def test_images_leave_in_the_order_of_the_ledger() -> None:
    ready = ReadyQueue()
    ready.add([queued(3), queued(1), queued(2)])
    assert numbers(ready) == [3, 1, 2]


def test_an_image_whose_codec_is_at_work_delays_none_behind_it() -> None:
    ready = ReadyQueue()
    slow = queued(1, prepared=False)
    ready.add([slow, queued(2), queued(3)])
    assert taken(ready).delivery.id == 2  # type: ignore[union-attr]
    assert ready.prepared(slow, payload())
    assert numbers(ready) == [1, 3]


def test_a_session_first_takes_what_it_covers() -> None:
    ready = ReadyQueue()
    ready.add([queued(1, "1.1"), queued(2, "1.2"), queued(3, "1.2"), queued(4, "1.1")])
    assert numbers(ready, lambda need: need.sop_class_uid == "1.2") == [2, 3, 1, 4]


def test_an_image_that_needs_another_association_is_overtaken_only_so_often() -> None:
    ready = ReadyQueue()
    ready.add([queued(0, "1.1"), *(queued(number, "1.2") for number in range(1, 3 * PATIENCE))])
    order = numbers(ready, lambda need: need.sop_class_uid == "1.2")
    assert order.index(0) == PATIENCE


def test_the_weight_is_what_prepared_payloads_hold_in_memory() -> None:
    ready = ReadyQueue()
    late = queued(2, prepared=False)
    ready.add([queued(1, held=100), late])
    ready.prepared(late, payload(held=50))
    assert ready.weight == 150
    first = taken(ready)
    assert ready.weight == 50
    assert first is not None
    ready.put_back([first])
    assert ready.weight == 150
    ready.drain()
    assert ready.weight == 0
    assert weigh(None) == 0


def test_a_temporary_file_weighs_what_it_holds_for_it_takes_room_as_long_as_the_image_waits() -> None:
    slices = [FileSlice(Path("spool"), 0, 1000), FileSlice(Path("made"), 0, 100, keeper=object())]
    large = replace(payload(), parts=(b"head", *slices, slices[1].cut(0, 10)), length=1114)
    assert (weigh(large), large.in_memory) == (114, 4)


def test_what_was_drained_is_not_taken_although_its_codec_ends() -> None:
    ready = ReadyQueue()
    late = queued(1, prepared=False)
    ready.add([late, queued(2)])
    assert [gone.delivery.id for gone in ready.drain()] == [1, 2]
    assert not ready.prepared(late, payload())
    assert not ready.claim(late)
    assert len(ready) == 0


def test_a_slot_that_was_put_back_comes_first() -> None:
    ready = ReadyQueue()
    ready.add([queued(1), queued(2)])
    first = taken(ready)
    assert first is not None
    ready.put_back([first])
    assert numbers(ready) == [1, 2]


def test_needs_are_told_once_in_order() -> None:
    ready = ReadyQueue()
    ready.add([queued(1, "1.1"), queued(2, "1.2"), queued(3, "1.1"), queued(4, prepared=False)])
    assert [need.sop_class_uid for need in ready.needs()] == ["1.1", "1.2"]


def test_closing_ends_those_who_wait() -> None:
    ready = ReadyQueue()
    ended = threading.Event()

    def wait() -> None:
        assert ready.take(None, 60) is None
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    ready.close()
    assert ended.wait(5)
    thread.join(5)
    assert ready.take(None, 60) is None


def test_an_image_for_which_a_session_is_opened_goes_to_whoever_has_one() -> None:
    ready = ReadyQueue()
    first = queued(1, "1.1")
    ready.add([first, queued(2, "1.1")])
    assert ready.take(None, 0) == (first, True)
    assert taken(ready, lambda need: need.sop_class_uid == "1.2").delivery.id == 2  # type: ignore[union-attr]
    assert ready.take(None, 0) is None, "nobody else opens a session for it"
    assert ready.take(lambda need: True, 0) == (first, False)
    assert not ready.claim(first)
    ready.put_back([first], reserved=True)
    assert ready.take(None, 0) is None
    assert ready.claim(first)
    ready.put_back([first])
    assert ready.take(None, 0) == (first, True)


def test_a_reserved_image_stays_in_its_place_until_it_is_claimed() -> None:
    ready = ReadyQueue()
    first = queued(1, "1.1", held=10)
    ready.add([first, queued(2, "1.2")])
    assert ready.take(lambda need: False, 0) == (first, True)
    assert (len(ready), ready.weight) == (2, 10)
    assert [need.sop_class_uid for need in ready.needs()] == ["1.1", "1.2"]
    assert ready.claim(first)
    assert (len(ready), ready.weight) == (1, 0)
    ready.put_back([first], reserved=True)
    ready.drain()
    assert not ready.claim(first)


def test_a_sender_that_waits_with_a_session_is_told_of_an_image_that_another_reserves() -> None:
    """Who reserved it knows that it did, although the other has it long since."""
    ready, found = ReadyQueue(), {}
    senders = {"without": None, "with": lambda need: True}

    def take(name: str) -> None:
        found[name] = ready.take(senders[name], 10)

    threads = [threading.Thread(target=take, args=(name,)) for name in senders]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: len(ready._changed._waiters) == number)  # type: ignore[attr-defined,misc]
    wanted = queued(1)
    ready.add([wanted])  # wakes the one that has waited longest, who has no session
    for thread in threads:
        thread.join(5)
    assert found == {"without": (wanted, True), "with": (wanted, False)}
    assert not ready.claim(wanted)


def test_images_that_were_not_begun_come_first_in_their_order() -> None:
    ready = ReadyQueue()
    ready.add([queued(number) for number in (1, 2, 3, 4)])
    first = taken(ready, lambda need: True)
    assert first is not None
    ready.put_back([first, *ready.following(first, lambda need: True, Batch(3), 1)])
    assert numbers(ready) == [1, 2, 3, 4]


def test_a_batch_is_bounded_by_images_by_bytes_and_by_what_other_senders_may_take() -> None:
    def given(batch: Batch, senders: int = 1, *, alone: int = 0, other: int = 0) -> list[int]:
        ready = ReadyQueue()
        images = [queued(number, "1.9" if number == other else "1.2", held=100) for number in range(1, 9)]
        for image in images:
            image.alone = image.delivery.id == alone
        ready.add(images)
        first = taken(ready, lambda need: True)
        assert first is not None
        taken_with_it = ready.following(first, lambda need: need.sop_class_uid == "1.2", batch, senders)
        assert ready.weight == 100 * (7 - len(taken_with_it))
        return [image.delivery.id for image in (first, *taken_with_it)]

    assert given(Batch(5)) == [1, 2, 3, 4, 5]
    assert given(Batch(100)) == [1, 2, 3, 4, 5, 6, 7]
    assert given(Batch(100, 399)) == [1, 2, 3]
    assert given(Batch(100, 400)) == [1, 2, 3, 4]
    assert given(Batch(100, 10)) == [1]
    assert given(Batch(100), senders=2) == [1, 2, 3]
    assert given(Batch(1)) == [1]
    assert given(Batch(100), alone=4) == [1, 2, 3]
    assert given(Batch(100), other=3) == [1, 2]


def test_who_feeds_is_told_of_what_was_taken_and_not_of_what_is_reserved() -> None:
    takes: list[int] = []
    ready = ReadyQueue(lambda: takes.append(len(ready)))
    ready.add([queued(1), queued(2)])
    assert ready.take(None, 0) is not None
    assert takes == []
    assert ready.take(lambda need: True, 0) is not None
    assert takes == [1]


def test_stat_images_come_before_what_was_leased_earlier() -> None:
    ready = ReadyQueue()
    ready.add([queued(1), queued(2)])
    ready.add([queued(3, priority=Priority.STAT), queued(4)])
    ready.add([queued(5, priority=Priority.STAT)])
    assert numbers(ready) == [3, 5, 1, 2, 4]
    assert ready.others_taken == 3


def test_for_a_stat_image_another_session_is_opened_at_once() -> None:
    ready = ReadyQueue()
    ready.add([queued(1), queued(2, sop_class="1.3", priority=Priority.STAT), queued(3)])
    found = ready.take(lambda need: need.sop_class_uid == "1.2", 0)
    assert found is not None
    assert (found.image.delivery.id, found.reserved) == (2, True)
    assert ready.claim(found.image)
    assert numbers(ready, lambda need: need.sop_class_uid == "1.2") == [1, 3]


def test_images_that_are_prepared_in_any_order_leave_in_that_of_the_ledger() -> None:
    ready = ReadyQueue()
    images = [queued(number, prepared=False) for number in range(6)]
    images[4].delivery.priority = Priority.STAT
    ready.add(images)
    for number in (3, 5, 0, 4):
        assert ready.prepared(images[number], payload())
    assert ready.unprepared() == 2
    assert numbers(ready) == [4, 0, 3, 5]
    for number in (2, 1):
        assert ready.prepared(images[number], payload())
    ready.put_back([images[5]])
    assert numbers(ready) == [5, 1, 2]
    assert not len(ready)


def test_a_row_that_is_leased_again_while_it_waits_is_there_once() -> None:
    ready = ReadyQueue()
    before, after = queued(1, held=10), queued(1, held=10)
    ready.add([before, queued(2)])
    ready.add([after])
    assert (len(ready), ready.weight) == (2, 10)
    assert not ready.claim(before)
    assert numbers(ready) == [2, 1]
    assert (len(ready), ready.weight) == (0, 0)


def test_nothing_leaves_a_queue_that_was_drained_or_closed() -> None:
    ready = ReadyQueue()
    images = [queued(1), queued(2, prepared=False), queued(3)]
    ready.add(images)
    assert ready.drain() == images
    assert (len(ready), ready.unprepared(), ready.needs(), ready.weight) == (0, 0, [], 0)
    assert numbers(ready) == []
    ready.add([queued(4)])
    ready.close()
    assert taken(ready) is None, "a destination that stops begins no image"
    assert taken(ready, lambda need: True) is None
    assert len(ready) == 1


def test_who_waits_without_end_gets_what_comes() -> None:
    ready, found = ReadyQueue(), []
    waiter = threading.Thread(target=lambda: found.append(ready.take(lambda need: True, None)))
    waiter.start()
    until(lambda: ready._changed._waiters, 5)  # type: ignore[attr-defined]
    ready.add([queued(1)])
    waiter.join(5)
    assert [each.image.delivery.id for each in found if each] == [1]


def test_what_leaves_is_what_was_prepared() -> None:
    ready, image, made = ReadyQueue(), queued(1, prepared=False), payload("1.3")
    ready.add([image])
    assert taken(ready) is None
    assert ready.prepared(image, made)
    found = taken(ready)
    assert found is image
    assert found.payload is made
    assert found.need == made.need
