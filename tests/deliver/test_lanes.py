"""Order, overtaking, and what is drained."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

from mapdr.deliver.ready import PATIENCE, Lanes, Slot, weigh
from mapdr.kernel.item import Need, Payload


def slot(number: int, sop_class: str = "1.2", held: int = 0, prepared: bool = True) -> Slot:
    made = Slot(delivery=delivery(number))
    if prepared:
        made.payload = payload(sop_class, held)
        made.need = Need(sop_class, "1.2.840.10008.1.2.1")
    return made


def delivery(number: int) -> Any:
    return SimpleNamespace(id=number)


def payload(sop_class: str = "1.2", held: int = 0) -> Payload:
    return Payload(sop_class, "1.2.3", "1.2.840.10008.1.2.1", (bytes(held),), held)


def numbers(lanes: Lanes, covers: Any = None) -> list[int]:
    taken = []
    while (found := lanes.take(covers, 0)) is not None:
        taken.append(found.delivery.id)
    return taken


def test_images_leave_in_the_order_of_the_ledger() -> None:
    lanes = Lanes()
    lanes.add([slot(3), slot(1), slot(2)])
    assert numbers(lanes) == [3, 1, 2]


def test_an_image_whose_codec_is_at_work_delays_none_behind_it() -> None:
    lanes = Lanes()
    slow = slot(1, prepared=False)
    lanes.add([slow, slot(2), slot(3)])
    assert lanes.take(None, 0).delivery.id == 2  # type: ignore[union-attr]
    assert lanes.prepared(slow, payload())
    assert numbers(lanes) == [1, 3]


def test_a_session_first_takes_what_it_covers() -> None:
    lanes = Lanes()
    lanes.add([slot(1, "1.1"), slot(2, "1.2"), slot(3, "1.2"), slot(4, "1.1")])
    assert numbers(lanes, lambda need: need.sop_class_uid == "1.2") == [2, 3, 1, 4]


def test_an_image_that_needs_another_association_is_overtaken_only_so_often() -> None:
    lanes = Lanes()
    lanes.add([slot(0, "1.1"), *(slot(number, "1.2") for number in range(1, 3 * PATIENCE))])
    order = numbers(lanes, lambda need: need.sop_class_uid == "1.2")
    assert order.index(0) == PATIENCE


def test_the_weight_is_what_prepared_payloads_hold_in_memory() -> None:
    lanes = Lanes()
    late = slot(2, prepared=False)
    lanes.add([slot(1, held=100), late])
    lanes.prepared(late, payload(held=50))
    assert lanes.weight == 150
    first = lanes.take(None, 0)
    assert lanes.weight == 50
    assert first is not None
    lanes.put_back(first)
    assert lanes.weight == 150
    lanes.drain()
    assert lanes.weight == 0
    assert weigh(None) == 0


def test_what_was_drained_is_not_taken_although_its_codec_ends() -> None:
    lanes = Lanes()
    late = slot(1, prepared=False)
    lanes.add([late, slot(2)])
    assert [gone.delivery.id for gone in lanes.drain()] == [1, 2]
    assert not lanes.prepared(late, payload())
    assert not lanes.remove(late)
    assert len(lanes) == 0


def test_a_slot_that_was_put_back_comes_first() -> None:
    lanes = Lanes()
    lanes.add([slot(1), slot(2)])
    first = lanes.take(None, 0)
    assert first is not None
    lanes.put_back(first)
    assert numbers(lanes) == [1, 2]


def test_needs_are_told_once_in_order() -> None:
    lanes = Lanes()
    lanes.add([slot(1, "1.1"), slot(2, "1.2"), slot(3, "1.1"), slot(4, prepared=False)])
    assert [need.sop_class_uid for need in lanes.needs()] == ["1.1", "1.2"]


def test_closing_ends_those_who_wait() -> None:
    lanes = Lanes()
    ended = threading.Event()

    def wait() -> None:
        assert lanes.take(None, 60) is None
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    lanes.close()
    assert ended.wait(5)
    thread.join(5)
    assert lanes.take(None, 60) is None


def test_an_image_for_which_a_session_is_opened_goes_to_whoever_has_one() -> None:
    lanes = Lanes()
    first = slot(1, "1.1")
    lanes.add([first, slot(2, "1.1")])
    assert lanes.take(None, 0) is first
    lanes.put_back(first, awaited=True)
    assert lanes.take(lambda need: need.sop_class_uid == "1.2", 0).delivery.id == 2  # type: ignore[union-attr]
    assert lanes.take(None, 0) is None, "nobody else opens a session for it"
    assert lanes.take(lambda need: True, 0) is first
    assert not lanes.reclaim(first)
    lanes.put_back(first, awaited=True)
    assert lanes.reclaim(first)
    lanes.put_back(first)
    assert lanes.take(None, 0) is first
