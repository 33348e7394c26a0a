"""What is told of a node: the steps of one image, counts of days, and dates as people type them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from mapdr.operate import selection
from mapdr.operate.access import Access
from mapdr.operate.counts import counts, counts_of_month
from mapdr.operate.deliveries import deliveries, with_waits
from mapdr.operate.errors import RequestError
from mapdr.operate.model import Counted
from mapdr.operate.selection import SHOWN, Selection, choose, limited
from mapdr.operate.timeline import timeline
from mapdr.operate.verbs import reroute
from paper.states import IDLE


def test_the_steps_of_an_image_are_in_order(opened: Access) -> None:
    (parked,) = deliveries(opened, Selection(state="parked"))
    steps = timeline(opened, parked.sop_instance_uid)
    assert [step.at for step in steps] == sorted(step.at for step in steps)
    assert steps[0].kind == "received"
    assert [(step.kind, step.word, step.destination) for step in steps[1:]] == [
        ("attempt", "refused", "telepacs"),
        ("settled", "parked", "telepacs"),
    ]
    assert (steps[-1].status, steps[-1].reason) == (0xA900, "refused")
    reroute(opened, Selection(sop_instance_uid=parked.sop_instance_uid, destination="telepacs"))
    again = timeline(opened, parked.sop_instance_uid)
    assert ("settled", "superseded") in {(step.kind, step.word) for step in again}
    assert timeline(opened, "1.2.3") == []


def test_counts_of_days_add_up(opened: Access) -> None:
    today = date.today()
    one = counts(opened, today, today)
    assert one.received == {"CT": Counted(4, 1), "MR": Counted(2, 1), "US": Counted(1, 1)}
    assert one.delivered == {"telepacs": {"CT": Counted(2, 1)}}
    assert counts(opened, today - timedelta(days=3), today) == one
    assert counts_of_month(opened, today.year, today.month) == one
    assert counts(opened, today - timedelta(days=3), today - timedelta(days=1)).received == {}


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"study_date": "yesterday"}, "study_date"),
        ({"received": "2026-13-01"}, "received"),
        ({"received": ".."}, "received"),
        ({"since": "soon"}, "since"),
        ({"since": "1 h", "received": "today"}, ""),
    ],
)
def test_what_is_no_date_names_its_field(typed: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestError) as raised:
        choose(**typed)
    assert raised.value.field == field


def test_dates_bound_both_ends() -> None:
    chosen = choose(study_date="2026-11-01..2026-11-30", received="2026-11-02", modality="CT")
    assert (chosen.study_date_from, chosen.study_date_to, chosen.modality) == ("20261101", "20261130", "CT")
    assert chosen.since is not None
    assert chosen.until is not None
    assert chosen.until > chosen.since
    assert (limited(chosen).limit, limited(choose(limit=3)).limit) == (SHOWN, 3)


class WindowsTime(datetime):
    """A clock that tells local times as that of Windows does."""

    def timestamp(self) -> float:
        if self.tzinfo is None and not 1970 <= self.year <= 3000:
            raise OSError(22, "Invalid argument")
        return super().timestamp()


@pytest.mark.parametrize("clock", [datetime, WindowsTime])
def test_a_day_before_all_clocks_began_is_a_bound_like_any(
    monkeypatch: pytest.MonkeyPatch, clock: type[datetime]
) -> None:
    monkeypatch.setattr(selection, "datetime", clock)
    for text in ("1969-07-20", "1900-01-01", "0001-01-01"):
        assert choose(since=text).since == 0.0
        chosen = choose(received=f"{text}..2026-11-02")
        assert chosen.since == 0.0
        assert chosen.until == datetime(2026, 11, 3).timestamp()
        assert choose(received=text).until == 0.0
    assert choose(since="1900-01-01T10:00+01:00").since == 0.0
    assert (choose(received="..3500-01-01").until or 0.0) > 4e10
    assert choose(received="..9999-12-31").until is None


def test_a_row_says_that_it_waits_for_its_study_to_be_quiet(opened: Access) -> None:
    pending = deliveries(opened, Selection(state="pending"))
    assert pending
    (newest, *_) = sorted(pending, key=lambda row: -row.received_at)
    last_image = {newest.study_instance_uid: newest.received_at}
    patient = [replace(IDLE, name=row.destination, quiet_seconds=60.0) for row in pending]
    (told, *_) = with_waits([newest], patient, newest.received_at + 59.0, last_image)
    assert (told.reason, told.due_at) == ("study-not-quiet", newest.received_at + 60.0)
    assert "60 s" in told.comment
    assert with_waits([newest], patient, newest.received_at + 61.0, last_image) == [newest]
    hasty = [replace(one, quiet_seconds=0.0) for one in patient]
    assert with_waits([newest], hasty, newest.received_at + 1.0, last_image) == [newest]
