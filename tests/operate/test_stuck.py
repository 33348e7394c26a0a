"""What is stuck, with what cures it."""

from __future__ import annotations

from mapdr.operate.access import Access
from mapdr.operate.actions import hold, hold_destinations
from mapdr.operate.cures import cure
from mapdr.operate.selection import Selection
from mapdr.operate.stuck import HeldDestination, stuck


def test_what_is_parked_has_its_cure_and_what_is_held_is_counted(opened: Access) -> None:
    found = stuck(opened)
    (group,) = found.parked
    assert (group.reason, group.deliveries, group.to) == ("refused", 1, {"telepacs": 1})
    assert group.cure == cure("refused")
    assert (found.destinations, found.held, found.unrouted) == ([], {}, 1)
    hold_destinations(opened, ["archive"])
    hold(opened, Selection(destination="telepacs", modality="MR"))
    found = stuck(opened)
    assert found.held == {"telepacs": 2}
    (held,) = found.destinations
    assert held == HeldDestination("archive", held.held_at, 6)
