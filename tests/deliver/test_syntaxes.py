"""What is remembered of the transfer syntaxes that a receiver was sent, and refused."""

from __future__ import annotations

from deliver.fakes import CT, EXPLICIT, IMPLICIT, JPEG2000, MR
from mapdr.deliver.feed.syntaxes import FORGET_AFTER, REMEMBERED, Syntaxes
from mapdr.kernel.item import Need


def test_what_was_needed_lately_comes_first_and_no_more_of_it_than_is_proposed() -> None:
    syntaxes = Syntaxes()
    first, second = Need(CT, EXPLICIT), Need(CT, IMPLICIT)
    for need in (first, first, second, first):
        syntaxes.needed(need)
    assert syntaxes.recent() == [first, second]
    others = [Need(f"1.2.{number}", EXPLICIT) for number in range(REMEMBERED)]
    for need in others[:-2]:
        syntaxes.needed(need)
    assert len(syntaxes.recent()) == REMEMBERED
    syntaxes.needed(others[-2])
    assert syntaxes.recent()[0] == others[-2]
    assert second not in syntaxes.recent(), "the one that was not needed for longest"
    assert first in syntaxes.recent()


def test_a_refused_syntax_is_tried_again_after_a_while() -> None:
    now = [1000.0]
    syntaxes = Syntaxes(lambda: now[0])
    need = Need(CT, JPEG2000)
    syntaxes.refused(need, EXPLICIT)
    assert (syntaxes.instead(need), syntaxes.instead(Need(MR, JPEG2000))) == (EXPLICIT, "")
    now[0] += FORGET_AFTER - 1
    assert syntaxes.instead(need) == EXPLICIT
    now[0] += 1
    assert syntaxes.instead(need) == ""
    syntaxes.refused(need, IMPLICIT)
    assert syntaxes.instead(need) == IMPLICIT
