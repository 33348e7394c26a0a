"""The rows in hand: decided once, their leases kept, their troubles forgotten with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from deliver.fakes import LOST, OK, make_instance
from mapdr.deliver.judge import Decision
from mapdr.deliver.leases import IN_A_ROW, Hands
from mapdr.deliver.settle import Result, Settler
from mapdr.kernel.item import Payload, Sent
from mapdr.store.queue.ledger import Delivery


class Ledger:
    """Takes everything, and remembers what was renewed."""

    def __init__(self) -> None:
        self.extended: list[tuple[list[int], float, str]] = []

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        self.extended.append((list(delivery_ids), seconds, owner))

    def settle(self, settlements: Sequence[object]) -> None: ...

    def give_back(self, delivery_ids: Iterable[int]) -> None: ...


def make(lease: float = 60.0) -> tuple[Hands, Ledger]:
    ledger = Ledger()
    told: list[Result] = []
    return Hands(ledger, Settler("pacs", ledger, told.extend), "north/pacs", lease), ledger


def delivery(number: int = 1) -> Delivery:
    return Delivery(number, make_instance(number), "pacs", 0, 0, "r", "", 0, 0.0)


def payload(number: int = 1) -> Payload:
    return Payload("1.2", f"2.25.{number}", "1.2.840.10008.1.2.1", (), 0)


@pytest.mark.parametrize("state", ["parked", "delivered", "at once"])
def test_the_troubles_of_an_image_end_with_its_row(state: str) -> None:
    """`mapdr retry` begins anew: what an image did before it was parked is not held against it."""
    hands, _ = make()
    hands.hold([delivery()])
    assert hands.lost(delivery(), alone=True) == 1
    hands.took()
    assert hands.lost(delivery(), alone=True) == 2
    assert hands.goes_alone(delivery())
    assert hands.blame(delivery(), 3) == 3
    if state == "at once":
        hands.delivered([(delivery(), payload(), Sent(OK, 0.0, 0.0))])
    else:
        hands.decide(delivery(), Decision(state), OK, started_at=0.0)
    assert not hands.goes_alone(delivery())
    assert hands.blame(delivery(), 3) == 0
    assert hands.lost(delivery()) == 1


def test_the_troubles_of_an_image_that_waits_are_kept() -> None:
    hands, _ = make()
    hands.hold([delivery()])
    hands.lost(delivery(), alone=True)
    hands.decide(delivery(), Decision("pending"), LOST, started_at=0.0)
    hands.hold([delivery()])
    assert hands.goes_alone(delivery())
    assert hands.lost(delivery()) == 2


def test_a_row_is_decided_once() -> None:
    hands, _ = make()
    hands.hold([delivery()])
    assert hands.decide(delivery(), Decision("delivered"), OK, started_at=0.0)
    assert not hands.decide(delivery(), Decision("parked"), LOST, started_at=0.0)
    assert hands.delivered([(delivery(), payload(), Sent(OK, 0.0, 0.0))]) == []
    assert hands.undecided() == []


def test_a_lease_is_renewed_for_its_whole_time_after_a_third_of_it() -> None:
    hands, ledger = make(lease=0.0)
    hands.hold([delivery(1), delivery(2)])
    hands.decide(delivery(2), Decision("delivered"), OK, started_at=0.0)
    hands.renew()
    hands.renew()
    assert ledger.extended == [([1], 0.0, "north/pacs")] * 2
    hands, ledger = make(lease=1000.0)
    hands.hold([delivery()])
    hands.renew()
    assert ledger.extended == []


def test_blame_needs_that_the_receiver_takes_others() -> None:
    hands, _ = make()
    assert hands.blame(delivery(), 3) == 0
    hands.lost(delivery())
    assert hands.blame(delivery(), 3) == 0, "it has never taken any"
    hands.took()
    assert hands.blame(delivery(), 3) == 3
    hands.lost(delivery(2))
    assert hands.blame(delivery(2), 3) == 6, "it took others before only"


def test_several_images_in_a_row_are_the_receivers_trouble() -> None:
    hands, _ = make()
    for _ in range(3):
        assert not any(hands.too_many(delivery(number)) for number in range(1, IN_A_ROW))
        hands.took()
    assert [hands.too_many(delivery(number)) for number in range(IN_A_ROW)] == [False] * (IN_A_ROW - 1) + [
        True
    ]
    assert [hands.too_many(delivery(1)) for _ in range(2 * IN_A_ROW)][-1]
