"""Counts and reports of days: against what was counted, and against what a purge leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapdr.operate import counts as counted
from mapdr.operate.access import Access
from mapdr.operate.answer import plain
from mapdr.operate.errors import RequestError
from mapdr.operate.flow import last_hour
from mapdr.operate.model import Counted
from mapdr.operate.plots import scale
from mapdr.operate.report import (
    Arrived,
    Reached,
    Reason,
    Report,
    ReportedDestination,
    SourceArrived,
    SourceReached,
    lines,
    period,
    report,
    title,
)
from mapdr.operate.report_page import page
from mapdr.operate.selection import Selection
from mapdr.store.index.commands import Heartbeat
from paper import months, nodes

OCTOBER = date(2026, 10, 1), date(2026, 10, 31)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> nodes.NodeFolder:
    """A node with the figures of October 2026."""
    node = nodes.new(tmp_path_factory.mktemp("october"))
    store = node.store()
    months.fill(store, OCTOBER[0], 31)
    store.close()
    return node


@pytest.fixture
def october(month: nodes.NodeFolder) -> Iterator[Access]:
    """The way to that node."""
    opened = Access.of(month.config)
    yield opened
    opened.close()


def test_a_report_says_what_became_of_the_images(opened: Access) -> None:
    today = date.today()
    told = report(opened, today, today)
    assert (told.received.images, told.received.studies) == (7, 3)
    assert [(one.source, one.modality, one.arrived.images) for one in told.received_from] == [
        ("CT1", "CT", 4),
        ("CT1", "MR", 2),
        ("CT1", "US", 1),
    ]
    (telepacs,) = told.destinations
    whole = telepacs.total
    assert (telepacs.name, whole.images, whole.studies) == ("telepacs", 2, 1)
    assert whole.bytes_sent == 2000
    assert whole.bytes_received == whole.bytes_sent + whole.bytes_saved
    assert whole.failures == [Reason("refused", 1, 1)]
    assert whole.median_seconds is not None
    assert 0 < whole.median_seconds <= (whole.p95_seconds or 0) < 600
    assert [(one.source, one.modality, one.reached) for one in telepacs.sources] == [("CT1", "CT", whole)]
    assert not told.over
    assert told.by_day.received == [Counted(7, 3)]
    assert sum(told.by_hour.delivered["telepacs"]) == 2


def test_the_whole_is_the_sum_of_its_parts_but_for_studies(october: Access) -> None:
    told = report(october, *OCTOBER)
    assert told.over
    assert told.received.images == sum(one.arrived.images for one in told.received_from)
    assert told.received.bytes == sum(one.arrived.bytes for one in told.received_from)
    # Each CT study has a dose report, which is no study of its own.
    assert told.received.studies < sum(one.arrived.studies for one in told.received_from)
    assert sum(told.by_hour.received) == told.received.images
    assert [one.name for one in told.destinations] == ["archive", "telepacs"]
    for one in told.destinations:
        assert one.total.images == sum(part.reached.images for part in one.sources)
        assert one.total.bytes_saved == sum(part.reached.bytes_saved for part in one.sources)
        days = told.by_day.delivered[one.name]
        assert (sum(day.images for day in days), sum(day.studies for day in days)) == (
            one.total.images,
            one.total.studies,
        )
        failed = sum(each.attempts for part in one.sources for each in part.reached.failures)
        assert failed == sum(each.attempts for each in one.total.failures)
    assert [one.reason for one in told.destinations[1].total.failures] == ["refused", "unreachable"]


def test_a_destination_that_only_failed_is_in_the_report(used: nodes.NodeFolder) -> None:
    used.settle("archive", "pending", 2, reason="unreachable", status=None, verdict="retry")
    opened = Access.of(used.config)
    told = report(opened, date.today(), date.today())
    opened.close()
    archive = told.destinations[0]
    assert (archive.name, archive.total.images, archive.total.median_seconds) == ("archive", 0, None)
    assert archive.total.failures == [Reason("unreachable", 2, 0)]
    assert "archive" in page(told)


def test_a_purge_does_not_change_a_report(used: nodes.NodeFolder) -> None:
    used.settle("archive", "delivered", 6)
    used.settle("telepacs", "delivered", 3)
    before = _of_today(used)
    assert before["received"]["images"] == 7
    store = used.store()
    try:
        store.actions.dismiss(Selection(state="parked"))
        assert store.retention.purge(time.time() + 100 * 86_400, 86_400).images == 6
        assert store.erasure.erase(store.erasure.choose(Selection())) == []
    finally:
        store.close()
    assert _of_today(used) == before


def _of_today(node: nodes.NodeFolder) -> dict[str, dict[str, int]]:
    opened = Access.of(node.config)
    try:
        told = plain(report(opened, date.today(), date.today()))
    finally:
        opened.close()
    assert isinstance(told, dict)
    return told


def test_counts_of_a_period_by_source_hour_and_day(october: Access) -> None:
    whole = counted.counts(october, *OCTOBER)
    by_source = counted.counts_by_source(october, *OCTOBER)
    assert set(by_source) == {"CT1", "MR2", "US_ER"}
    assert by_source["CT1"] == counted.counts(october, *OCTOBER, source="CT1")
    assert set(by_source["CT1"].received) == {"CT", "SR"}
    assert by_source["CT1"].received_all.studies == whole.received["CT"].studies
    assert sum(one.received_all.images for one in by_source.values()) == whole.received_all.images
    assert whole.delivered_all["telepacs"] == whole.received_all
    assert counted.counts_of_month(october, 2026, 10) == whole
    assert counted.counts(october, *OCTOBER, source="nobody").received_all == Counted(0, 0)
    hours = counted.counts_by_hour(october, *OCTOBER)
    assert (len(hours.received), sum(hours.received)) == (24, whole.received_all.images)
    days = counted.counts_by_day(october, *OCTOBER)
    assert days.days[0] == "2026-10-01"
    assert days.days[-1] == "2026-10-31"
    assert sum(one.studies for one in days.received) == whole.received_all.studies


def test_the_last_days_end_with_today(opened: Access) -> None:
    days = counted.last_days(opened)
    assert (len(days.days), days.days[-1]) == (30, str(date.today()))
    assert days.received[-1] == Counted(7, 3)
    assert days.delivered["telepacs"][-1] == Counted(2, 1)
    assert not any(one.images for one in days.received[:-1])


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        ({"of_month": "2026-11"}, date(2026, 11, 1), date(2026, 11, 30)),
        ({"of_month": "2028-02"}, date(2028, 2, 1), date(2028, 2, 29)),
        ({"first": "2026-11-03", "last": "2026-11-03"}, date(2026, 11, 3), date(2026, 11, 3)),
        ({"first": "today"}, date.today(), date.today()),
    ],
)
def test_a_period_is_a_month_or_days(given: dict[str, str], first: date, last: date) -> None:
    assert period(**given) == (first, last)


def test_without_a_word_the_period_is_this_month() -> None:
    first, last = period()
    assert first.day == 1
    assert first <= date.today() <= last
    assert (last + timedelta(days=1)).day == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"of_month": "November"}, "month"),
        ({"of_month": "2026-13"}, "month"),
        ({"of_month": "2026"}, "month"),
        ({"of_month": "2026-11", "first": "2026-11-01"}, "month"),
        ({"first": "soon"}, "from"),
        ({"last": "2026-11-01"}, "from"),
        ({"first": "2026-11-02", "last": "2026-11-01"}, "to"),
        ({"first": "2999-01-01"}, "from"),
        ({"first": "1900-01-01"}, "from"),
    ],
)
def test_what_is_no_period_names_its_option(given: dict[str, str], field: str) -> None:
    with pytest.raises(RequestError) as raised:
        period(**given)
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("2026-10-01", "2026-10-31", "October 2026"),
        ("2026-10-02", "2026-10-31", "2026-10-02 to 2026-10-31"),
        ("2026-10-02", "2026-10-02", "2026-10-02"),
    ],
)
def test_a_month_goes_by_its_name(october: Access, first: str, last: str, text: str) -> None:
    assert title(replace(report(october, *OCTOBER), first=first, last=last)) == text


def test_lines_say_the_whole_before_its_parts(october: Access) -> None:
    found = [(one.destination, one.source, one.modality) for one in lines(report(october, *OCTOBER))]
    assert found[:2] == [("", "(all)", "(all)"), ("", "CT1", "CT")]
    assert found[5:7] == [("archive", "(all)", "(all)"), ("archive", "CT1", "CT")]
    assert len(found) == 15


@given(st.integers(0, 10**12))
def test_an_axis_holds_its_values_and_is_not_much_higher(highest: int) -> None:
    top = scale(highest)
    assert top >= highest
    assert top <= max(4, highest * 2)
    assert top % 4 == 0, "its four marks are whole numbers"


def test_a_name_from_elsewhere_is_no_markup() -> None:
    hostile = '<script>alert("x")</script>&'
    told = _named(hostile)
    drawn = page(told)
    assert "<script" not in drawn
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;" in drawn


def _named(name: str) -> Report:
    arrived = Arrived(1, 1, 1, 1, 10)
    reached = Reached(1, 1, 0, 0, 10, 20, -10, None, None, [Reason(name, 1, 0)])
    days = counted.DayCounts(["2026-10-01", "2026-10-02"], [Counted(1, 1)] * 2, {name: [Counted(1, 1)] * 2})
    destination = ReportedDestination(name, reached, [SourceReached(name, name, reached)])
    hours = counted.HourCounts([1] * 24, {})
    sources = [SourceArrived(name, name, arrived)]
    return Report(name, "2026-10-01", "2026-10-02", True, arrived, sources, [destination], days, hours)


def test_a_long_period_is_drawn_by_the_month(october: Access) -> None:
    drawn = page(report(october, date(2026, 1, 1), date(2026, 12, 31)))
    assert "by month" in drawn
    assert "Oct 2026" in drawn
    assert "by day" not in drawn


def beat(at: float, elapsed: float, images: list[int]) -> Heartbeat:
    flow = {"elapsed": elapsed, "sources": {"CT1": images}, "destinations": {}}
    return Heartbeat("node", at, at - 100, 1, {"state": "running", "flow": flow})


def test_the_last_hour_moves_on_with_the_clock() -> None:
    images = [0] * 57 + [60, 120, 6]
    now = last_hour(beat(1000.0, 12.0, images), 1000.0)
    assert now.sources["CT1"][-3:] == [1.0, 2.0, 0.5]
    later = last_hour(beat(1000.0, 12.0, images), 1000.0 + 120)
    assert later.sources["CT1"][-5:] == [1.0, 2.0, 0.1, 0.0, 0.0]
    assert len(later.sources["CT1"]) == 60
    assert not any(last_hour(beat(1000.0, 12.0, images), 1000.0 + 7200).sources["CT1"])
    assert last_hour(None, 1000.0).sources == {}


def test_a_minute_that_has_just_begun_is_no_peak() -> None:
    assert last_hour(beat(1000.0, 0.1, [0] * 59 + [5]), 1000.0).sources["CT1"][-1] == 1.0
