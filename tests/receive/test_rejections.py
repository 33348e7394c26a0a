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
