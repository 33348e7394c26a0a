from __future__ import annotations

from mapdr.receive.rejections import KEPT, Rejections


def test_the_same_peer_and_cause_are_one_with_a_count() -> None:
    moments = iter([1.0, 2.0, 3.0])
    rejections = Rejections(clock=lambda: next(moments))
    for calling_ae in ("A", "B", "A"):
        rejections.note("10.1.2.3", calling_ae, "MAPDR", "rejected: so", "")
    assert [(one.calling_ae, one.times, one.last_at) for one in rejections.all()] == [
        ("A", 2, 3.0),
        ("B", 1, 2.0),
    ]


def test_a_stranger_who_invents_titles_fills_no_memory() -> None:
    rejections = Rejections()
    for number in range(KEPT * 3):
        rejections.note("10.1.2.3", f"A{number}", "MAPDR", "rejected: so", "")
    told = rejections.all()
    assert len(told) == KEPT
    assert told[0].calling_ae == f"A{KEPT * 3 - 1}"


def test_what_another_knew_is_carried_over_in_its_order() -> None:
    before, after = Rejections(clock=lambda: 1.0), Rejections(clock=lambda: 2.0)
    for calling_ae in ("A", "B", "B"):
        before.note("10.1.2.3", calling_ae, "MAPDR", "rejected: so", "")
    after.carry_over(before.all())
    assert after.all() == before.all()
    after.note("10.1.2.3", "A", "MAPDR", "rejected: so", "")
    assert [(one.calling_ae, one.times, one.last_at) for one in after.all()] == [("A", 2, 2.0), ("B", 2, 1.0)]
    for _ in range(2):
        after.carry_over(before.all())
    assert {one.times for one in after.all()} == {4, 6}


def test_what_is_carried_over_fills_no_memory_either() -> None:
    before, after = Rejections(), Rejections()
    for number in range(KEPT):
        before.note("10.1.2.3", f"A{number}", "MAPDR", "rejected: so", "")
    after.carry_over(before.all())
    assert after.all() == before.all(), "as many as may be known"
    after.note("10.1.2.4", "B", "MAPDR", "rejected: so", "")
    after.carry_over(before.all())
    assert len(after.all()) == KEPT
