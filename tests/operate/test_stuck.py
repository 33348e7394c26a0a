"""What is stuck, with what it means and what cures it."""

from __future__ import annotations

import re
from pathlib import Path

import mapdr
from mapdr.operate.access import Access
from mapdr.operate.actions import hold, hold_destinations
from mapdr.operate.selection import Selection
from mapdr.operate.stuck import CURES, HeldDestination, stuck


def test_what_is_parked_has_its_cure_and_what_is_held_is_counted(opened: Access) -> None:
    found = stuck(opened)
    (group,) = found.parked
    assert (group.reason, group.deliveries, group.to) == ("refused", 1, {"telepacs": 1})
    assert (group.meaning, group.cure) == (CURES["refused"].meaning, CURES["refused"].cure)
    assert (found.destinations, found.held, found.unrouted) == ([], {}, 1)
    hold_destinations(opened, ["archive"])
    hold(opened, Selection(destination="telepacs", modality="MR"))
    found = stuck(opened)
    assert found.held == {"telepacs": 2}
    (held,) = found.destinations
    assert held == HeldDestination("archive", held.held_at, 6)


def test_every_cure_is_two_sentences() -> None:
    for reason, cure in CURES.items():
        for text in (cure.meaning, cure.cure):
            assert text[0].isupper(), reason
            assert text.endswith("."), reason


def test_the_reasons_are_those_of_the_code() -> None:
    others = [path for path in Path(mapdr.__file__).parent.rglob("*.py") if path.name != "stuck.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in others)
    assert not CURES.keys() - set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', source))
