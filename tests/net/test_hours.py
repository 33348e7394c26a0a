"""Hours of destinations, across changes of daylight-saving time, against the calendar of `zoneinfo`."""

from __future__ import annotations

import math
import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from mapdr.net.hours import DAYS, WEEK, Hours, HoursField

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Pacific/Apia",  # left out a day
)
known = zoneinfo.available_timezones()
zones = st.sampled_from([name for name in ZONES if name in known] or ["UTC"])
times = st.integers(0, 1439)
days = st.sets(st.integers(0, 6), min_size=1)
moments = st.one_of(
    st.integers(1_262_304_000, 1_893_456_000),  # 2010 to 2030
    # Around the changes of 2026 in Europe and America, and of Samoa's day.
    st.sampled_from([1_774_746_000, 1_792_890_000, 1_772_953_200, 1_793_512_800, 1_325_239_200]).flatmap(
        lambda change: st.integers(change - 90_000, change + 90_000)
    ),
)


def written(week: set[int], begins: int, ends: int) -> str:
    names = ",".join(DAYS[day] for day in sorted(week))
    return f"{names} {begins // 60:02}:{begins % 60:02}-{ends // 60:02}:{ends % 60:02}"


def zone_of(name: str) -> Any:
    return UTC if name == "UTC" else zoneinfo.ZoneInfo(name)


@given(week=days, begins=times, length=st.integers(1, 1439), moment=moments, zone=zones)
@example({5}, 120, 60, 1_774_746_000 - 1, "UTC")
def test_it_is_open_when_the_clock_on_the_wall_shows_a_time_within(
    week: set[int], begins: int, length: int, moment: int, zone: str
) -> None:
    hours = Hours.of([written(week, begins, (begins + length) % 1440)])
    wall = datetime.fromtimestamp(moment, zone_of(zone)).replace(tzinfo=None)
    midnight = wall.replace(hour=0, minute=0, second=0)
    starts = [midnight - timedelta(days=back) for back in (0, 1)]
    within = any(
        start.weekday() in week
        and timedelta(minutes=begins) <= wall - start < timedelta(minutes=begins + length)
        for start in starts
    )
    assert hours.open_at(moment, zone_of(zone)) is within


@given(week=days, begins=times, length=st.integers(1, 1439), moment=moments, zone=zones)
def test_it_changes_when_it_says_and_not_before(
    week: set[int], begins: int, length: int, moment: int, zone: str
) -> None:
    hours, there = Hours.of([written(week, begins, (begins + length) % 1440)]), zone_of(zone)
    changes = hours.changes_at(moment, there)
    assert changes is not None
    now = hours.open_at(moment, there)
    assert hours.open_at(changes, there) is not now
    step = max(1.0, (changes - moment) / 50)
    before = [moment + step * number for number in range(50)]
    assert all(hours.open_at(each, there) is now for each in [*before, changes - 1] if each < changes)


@settings(max_examples=30)
@given(week=days, begins=times, length=st.integers(1, 1439), moment=moments, seconds=st.integers(1, 5 * 3600))
@example({2}, 600, 30, 1_774_746_000, 1800)
def test_so_much_of_it_has_passed_at_the_moment_that_it_says(
    week: set[int], begins: int, length: int, moment: int, seconds: int
) -> None:
    hours = Hours.of([written(week, begins, (begins + length) % 1440)])
    there, wanted = zone_of("Europe/Berlin") if "Europe/Berlin" in known else UTC, float(seconds)
    wanted = min(wanted, hours.seconds_a_week)
    ends = hours.after(moment, wanted, there)
    passed, at = 0.0, float(moment)
    while at < ends:
        following = min(ends, (at // 60 + 1) * 60)
        passed += (following - at) * hours.open_at(at, there)
        at = following
    assert passed == wanted
    assert hours.open_at(ends - 0.5, there)


def test_what_never_opens_never_passes_and_what_is_always_open_does_at_once() -> None:
    assert Hours(bytes(WEEK)).after(0.0, 60.0) == math.inf
    assert Hours.of(["00:00-24:00"]).after(1_774_746_000.0, 86_400.0) == 1_774_746_000.0 + 86_400.0


def berlin(text: str) -> float:
    if "Europe/Berlin" not in known:
        pytest.skip("this system knows no time zones")
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("windows", "at", "until"),
    [
        # An ordinary night, and one over the weekend.
        ("Mon-Fri 18:00-06:00", "2026-06-02T12:00+02:00", "2026-06-02T18:00+02:00"),
        ("Mon-Fri 18:00-06:00", "2026-06-05T20:00+02:00", "2026-06-06T06:00+02:00"),
        ("Mon-Fri 18:00-06:00", "2026-06-06T07:00+02:00", "2026-06-08T18:00+02:00"),
        # Set forward at 02:00 on 29 March 2026: the night has an hour less, and 02:30 does not come.
        ("18:00-06:00", "2026-03-28T18:00+01:00", "2026-03-29T06:00+02:00"),
        ("02:30-04:00", "2026-03-29T01:59+01:00", "2026-03-29T03:00+02:00"),
        ("02:00-03:00", "2026-03-29T01:59+01:00", "2026-03-30T02:00+02:00"),
        # Set back at 03:00 on 25 October 2026: what begins at 02:30 begins twice.
        ("18:00-06:00", "2026-10-24T18:00+02:00", "2026-10-25T06:00+01:00"),
        ("02:30-03:00", "2026-10-25T02:15+02:00", "2026-10-25T02:30+02:00"),
        ("02:30-03:00", "2026-10-25T02:45+02:00", "2026-10-25T02:00+01:00"),
        ("02:30-03:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00"),
    ],
)
def test_nights_in_which_the_clock_is_set(windows: str, at: str, until: str) -> None:
    moment, there = berlin(at), zone_of("Europe/Berlin")
    assert Hours.of([windows]).changes_at(moment, there) == berlin(until)


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of a process cannot be set here")
    berlin("2026-01-01")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_the_time_zone_is_that_of_the_node(in_berlin: None) -> None:
    hours = Hours.of(["Mon-Fri 18:00-06:00", "Sun 02:30-04:15"])
    first = int(berlin("2026-03-27T00:00+01:00"))
    there = zone_of("Europe/Berlin")
    for moment in range(first, first + 4 * 86400, 600):
        assert hours.open_at(moment) is hours.open_at(moment, there)
    assert hours.changes_at(first) == hours.changes_at(first, there)


def test_windows_are_written_as_people_write_them() -> None:
    night = Hours.of(["Mon-Fri 18:00-06:00"])
    assert sum(night.minutes) == 5 * 12 * 60
    assert Hours.of(["mon-fri 18:00 - 6:00"]) == night
    assert Hours.of(["Mon,Tue, Wed-Fri 18:00-24:00", "Tue-Sat 00:00-06:00"]) == night
    assert sum(Hours.of(["Sat-Mon 00:00-24:00"]).minutes) == 3 * 24 * 60
    assert Hours.of(["18:00-06:00"]) == Hours.of(["Mon-Sun 18:00-06:00"])
    always = Hours.of(["00:00-24:00"])
    assert (sum(always.minutes), always.changes_at(0.0, UTC)) == (WEEK, None)


class Table(BaseModel):
    hours: HoursField = None


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("nights", "is not a window"),
        (["Mon-Fri 18:00-06:00", 7], "is not a window"),
        (18, "is not a window"),
        ([], "has no window"),
        ("Mon-Fri 18:00-18:00", "begins and ends at one time"),
        ("Mo-Fr 18:00-06:00", 'there is no day "Mo"; days: Mon, Tue, Wed, Thu, Fri, Sat, Sun'),
        ("Mon 18:61-20:00", "has a time that no clock shows"),
        ("Mon 24:00-06:00", "has a time that no clock shows"),
    ],
)
def test_what_is_no_window_is_said(value: Any, what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        Table(hours=value)
    assert Table().hours is None
    assert Table(hours="18:00-06:00").hours == Hours.of(["18:00-06:00"])
