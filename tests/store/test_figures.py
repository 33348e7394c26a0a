"""What is counted of days: against the rows themselves, at the bounds of days, and after a purge."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Row, select, update

from mapdr.kernel.item import Source
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import counters as counters_module
from mapdr.store.index import schema
from mapdr.store.index.counters import day_of, hour_of
from mapdr.store.index.delays import LARGEST, bucket_of, quantile
from mapdr.store.index.figures import FailureTally, Where
from mapdr.store.index.flow import MOST, Flow
from mapdr.store.index.schema import State
from mapdr.store.queue import settle as settling_module
from mapdr.store.spool import files as spool_module
from store.conftest import Opener
from store.world import CT, EXPLICIT, To, data_set

NOON = datetime(2026, 11, 23, 12).timestamp()
REASONS = ("refused", "no-answer")
ERROR = 2 ** (1 / 16)
"""How far a quantile may be off, as a factor."""


class Clock:
    """Stands for the `time` module where moments are taken."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock(NOON)
    for module in (spool_module, settling_module):
        monkeypatch.setattr(module, "time", found)
    return found


def push(store: Store, uid: str, *, calling: str = "CT1", modality: str = "CT", **facts: Any) -> None:
    incoming = store.spool.begin(Source("in", calling, "MAPDR", "h"), CT, uid, EXPLICIT)
    study = facts.pop("study", "9")
    incoming.write(data_set(uid, study=study, series=f"{study}.{modality}", modality=modality, **facts))
    incoming.commit()
    assert store.writer.flush()


def settle(store: Store, state: str, clock: Clock, number: int = 1, **facts: Any) -> None:
    rows = store.ledger.lease("pacs", number, 1e9, "n")
    values = {"verdict": state, "started_at": clock.now - 0.5, "milliseconds": 250, "bytes": 100, **facts}
    store.ledger.settle([Settlement(row.id, state, **values) for row in rows])


event = st.tuples(
    st.sampled_from(["push", "push", "push", "deliver", "deliver", "try", "park", "retry", "wait"]),
    st.integers(0, 3),  # uid
    st.integers(0, 1),  # study
    st.sampled_from(["CT", "MR", ""]),
    st.sampled_from(["CT1", "WS"]),
    st.integers(1, 40_000),  # seconds, bytes
)


@given(st.lists(event, max_size=25))
@settings(max_examples=25)
def test_figures_are_those_of_the_rows(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    clock = Clock(NOON)
    with pytest.MonkeyPatch.context() as patch:
        for module in (spool_module, settling_module):
            patch.setattr(module, "time", clock)
        store = Store.open(tmp_path_factory.mktemp("figures"), "node", durability="process-crash")
        store.use("rev", To("pacs"), {"r0": {}})
        store.start()
        try:
            for verb, uid, study, modality, calling, number in steps:
                clock.now += number / 50
                if verb == "push":
                    facts = {"study": f"9.{study}", "pixels": number * 2}
                    push(store, f"1.2.{uid}", calling=calling, modality=modality, **facts)
                elif verb == "deliver":
                    settle(store, "delivered", clock, number % 3 + 1, bytes=number)
                elif verb == "try":
                    settle(store, "pending", clock, reason=REASONS[number % 2])
                elif verb == "park":
                    settle(store, "parked", clock, reason="refused")
                elif verb == "retry":
                    store.actions.retry(Selection(state="parked"))
                else:
                    clock.now += number
            compare(store)
        finally:
            store.close()


def compare(store: Store) -> None:
    """All figures of one day, and of all days, with what the rows say."""
    rows = _rows(store)
    days = sorted({day_of(row.received_at) for row, *_ in rows})
    for first, last in [(0, 99999999), *((day, day) for day in days)]:
        images: dict[Where, set[Any]] = defaultdict(set)
        size: Counter[Where] = Counter()
        sent: Counter[Where] = Counter()
        hours: dict[Any, set[Any]] = defaultdict(set)
        delays: dict[Where, Counter[int]] = defaultdict(Counter)
        failed: Counter[Any] = Counter()
        had: set[Any] = set()
        for moment, where, row, attempt in _happened(store, rows):
            day, image = day_of(moment), (row.series, row.sop_instance_uid)
            inside = first <= day <= last
            if attempt is not None and attempt.verdict != "delivered":
                failed[where, attempt.reason] += inside
                continue
            fresh = where.destination is not None and image not in had
            if where.destination is not None:
                had.add(image)
            if not inside:
                continue
            images[where].add((day, image))
            size[where] += row.size
            sent[where] += attempt.bytes if attempt is not None else 0
            hours[hour_of(moment) % 100, where.destination].add((day, image, where))
            if fresh:
                ended = attempt.started_at + attempt.milliseconds / 1000
                delays[where][bucket_of(ended - row.received_at)] += 1
        told = {
            one.where: one
            for one in store.figures.tallies(first, last)
            if None not in (one.where.origin, one.where.modality)
        }
        assert {where: one.bytes_received for where, one in told.items()} == dict(size)
        assert {where: one.bytes_sent for where, one in told.items()} == dict(sent)
        for (destination, modality), both in _by_modality(images).items():
            found = [
                one.images
                for one in store.figures.tallies(first, last)
                if one.where == (destination, None, modality)
            ]
            assert found == [len(both)]
        assert store.figures.delays(first, last) == {k: dict(v) for k, v in delays.items()}
        attempts = {(one.where, one.reason): one.attempts for one in store.figures.failures(first, last)}
        assert attempts == {key: number for key, number in failed.items() if number}
        assert sum(one.images for one in store.figures.hours(first, last)) == sum(
            one.images for one in store.figures.days(first, last)
        )


def _by_modality(images: dict[Where, set[Any]]) -> dict[tuple[str | None, str | None], set[Any]]:
    """Distinct images of all origins."""
    found: dict[tuple[str | None, str | None], set[Any]] = defaultdict(set)
    for where, some in images.items():
        found[where.destination, where.modality] |= some
    return found


def _rows(store: Store) -> list[tuple[Row[Any], ...]]:
    with store.database.read() as connection:
        return [(row,) for row in connection.execute(select(schema.instance).order_by(schema.instance.c.id))]


def _happened(
    store: Store, rows: list[tuple[Row[Any], ...]]
) -> Iterator[tuple[float, Where, Row[Any], Row[Any] | None]]:
    """Each arrival, and each attempt in its order, with when it was settled."""
    origin = {row.id: store.sources.source(row.source).peer for (row,) in rows}
    modality = {row.id: store.strings.text(row.modality) for (row,) in rows}
    instances = {row.id: row for (row,) in rows}
    for (row,) in rows:
        yield row.received_at, Where(None, origin[row.id], modality[row.id]), row, None
    query = select(schema.attempt, schema.delivery.c.instance).join(
        schema.delivery, schema.delivery.c.id == schema.attempt.c.delivery
    )
    with store.database.read() as connection:
        made = connection.execute(
            query.order_by(schema.attempt.c.started_at, schema.attempt.c.delivery, schema.attempt.c.number)
        ).all()
    for attempt in made:
        row = instances[attempt.instance]
        where = Where("pacs", origin[row.id], modality[row.id])
        yield attempt.started_at + 0.5, where, row, attempt


@given(st.lists(st.floats(0.001, 5e7), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_off_by_no_more_than_it_says(seconds: list[float], share: float) -> None:
    exact = sorted(seconds)[max(1, math.ceil(share * len(seconds))) - 1]
    found = quantile(Counter(map(bucket_of, seconds)), share)
    assert found is not None
    assert exact / ERROR * (1 - 1e-9) <= found <= exact * ERROR * (1 + 1e-9)


def test_what_took_no_time_or_ages_has_a_bucket_too() -> None:
    assert bucket_of(-5.0) == bucket_of(0.0) == bucket_of(0.001) == 0
    assert bucket_of(1e12) == LARGEST
    assert quantile({}, 0.5) is None
    assert quantile({0: 5}, 0.5) == pytest.approx(0.001, abs=0.0001)


@given(st.dictionaries(st.integers(0, LARGEST), st.integers(1, 50), min_size=1), st.integers(0, LARGEST))
def test_histograms_add_up(images: dict[int, int], bucket: int) -> None:
    left = {key: number for key, number in images.items() if key <= bucket}
    right = {key: number for key, number in images.items() if key > bucket}
    assert quantile(Counter(left) + Counter(right), 0.95) == quantile(images, 0.95)


def test_a_study_with_two_modalities_is_one_study(store: Store, clock: Clock) -> None:
    push(store, "1.1", modality="CT")
    push(store, "1.2", modality="SR", calling="WS")
    clock.now += 86_400
    push(store, "1.3", modality="PR")
    settle(store, "delivered", clock, 3)
    day = day_of(NOON)
    found = {one.where: one.studies for one in store.figures.tallies(day, day + 1)}
    assert found[Where(None, None, None)] == found[Where("pacs", None, None)] == 1
    assert found[Where(None, None, "CT")] == found[Where(None, None, "SR")] == 1
    assert found[Where(None, "WS", None)] == found[Where(None, "CT1", None)] == 1
    days = [(one.day, one.destination, one.images, one.studies) for one in store.figures.days(day, day + 1)]
    assert days == [(day, None, 2, 1), (day + 1, None, 1, 0), (day + 1, "pacs", 3, 1)]


def test_a_purge_takes_nothing_from_the_figures(store: Store, clock: Clock) -> None:
    for number in range(3):
        push(store, f"1.{number}")
    settle(store, "delivered", clock, 2)
    settle(store, "parked", clock, reason="refused")
    store.actions.dismiss(Selection(state="parked"))

    def told() -> list[Any]:
        period = (0, 99999999)
        figures = store.figures
        return [
            each(*period)
            for each in (figures.tallies, figures.days, figures.hours, figures.delays, figures.failures)
        ]

    before = told()
    assert all(before)
    assert store.retention.purge(NOON + 10 * 86_400, 86_400).images == 3
    assert told() == before
    store.erasure.erase(store.erasure.choose(Selection()))
    assert told() == before


def test_what_is_promised_anew_is_in_no_delay(store: Store, clock: Clock) -> None:
    push(store, "1.1")
    clock.now += 4
    settle(store, "delivered", clock)
    (delays,) = store.figures.delays(0, 99999999).values()
    assert quantile(delays, 0.5) == pytest.approx(3.75, rel=0.05)
    clock.now += 86_400
    push(store, "1.1")  # forwarded again: a repeat
    settle(store, "delivered", clock)
    assert list(store.figures.delays(0, 99999999).values()) == [delays]
    (tally,) = [one for one in store.figures.tallies(0, 99999999) if one.where == ("pacs", "CT1", "CT")]
    assert (tally.images, tally.repeats, tally.bytes_sent) == (2, 1, 200)


def test_another_syntax_is_no_failure(store: Store, clock: Clock) -> None:
    push(store, "1.1")
    settle(store, "pending", clock, reason="syntax-refused", syntax=EXPLICIT, verdict="syntax-refused")
    assert store.figures.failures(0, 99999999) == []
    settle(store, "parked", clock, reason="syntax-refused", verdict="syntax-refused")
    (failure,) = store.figures.failures(0, 99999999)
    assert failure == FailureTally(Where("pacs", "CT1", "CT"), "syntax-refused", attempts=1, parked=1)


def test_an_attempt_that_fails_after_a_hold_failed_all_the_same(store: Store, clock: Clock) -> None:
    push(store, "1.1")
    (row,) = store.ledger.lease("pacs", 1, 1e9, "n")
    store.actions.hold(Selection(destination="pacs"))
    with store.database.write() as connection:  # as where the lease ran out, and a person was faster
        connection.execute(update(schema.delivery).values(state=int(State.HELD)))
    store.ledger.settle([Settlement(row.id, "pending", verdict="retry", reason="no-answer")])
    (failure,) = store.figures.failures(0, 99999999)
    assert (failure.reason, failure.attempts, failure.parked) == ("no-answer", 1, 0)


@pytest.fixture
def central_europe(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is that of central Europe, without the system's tables."""
    if not hasattr(time, "tzset"):
        pytest.skip("the system's time zone cannot be set for one process")
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        counters_module._hour_of_quarter.cache_clear()
        yield
    time.tzset()
    counters_module._hour_of_quarter.cache_clear()


def utc(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.usefixtures("central_europe")
@pytest.mark.parametrize(
    ("moment", "hour"),
    [
        ("2026-10-24T21:59:59", 2026102423),  # 23:59:59 in summer
        ("2026-10-24T22:00:00", 2026102500),
        ("2026-10-25T00:30:00", 2026102502),  # 02:30 in summer
        ("2026-10-25T01:30:00", 2026102502),  # 02:30 again, in winter
        ("2026-10-25T22:59:59", 2026102523),
        ("2026-10-25T23:00:00", 2026102600),
        ("2026-03-29T00:59:59", 2026032901),
        ("2026-03-29T01:00:00", 2026032903),  # there is no 02:00
    ],
)
def test_hours_and_days_are_local_through_daylight_saving_time(moment: str, hour: int) -> None:
    assert hour_of(utc(moment)) == hour
    assert day_of(utc(moment)) == hour // 100


@pytest.mark.usefixtures("central_europe")
def test_a_day_of_25_hours_counts_all_of_them(opener: Opener, clock: Clock) -> None:
    store = opener()
    clock.now = utc("2026-10-24T22:00:00")
    for number in range(26):
        push(store, f"1.{number}")
        clock.now += 3600
    hours = {one.hour: one.images for one in store.figures.hours(20261025, 20261025)}
    assert hours == {hour: 2 if hour == 2 else 1 for hour in range(24)}
    assert [(one.day, one.images) for one in store.figures.days(0, 99999999)] == [
        (20261025, 25),
        (20261026, 1),
    ]


class Ticking:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_flow_keeps_an_hour() -> None:
    clock = Ticking()
    flow = Flow(clock)
    flow.add({1: 3})
    clock.now = 59.0
    flow.add({1: 1, 2: 7})
    clock.now = 150.0
    flow.add({1: 5})
    told = flow.told()
    assert told[1] == [0] * 57 + [4, 0, 5]
    assert told[2] == [0] * 57 + [7, 0, 0]
    assert flow.elapsed() == 30.0
    clock.now = 60 * 60 + 1
    assert flow.told() == {1: [0, 5] + [0] * 58} | {}
    clock.now = 62 * 60
    assert flow.told() == {}


def test_a_flow_is_bounded_whatever_names_come() -> None:
    clock = Ticking()
    flow = Flow(clock)
    flow.add({0: 1})
    for number in range(1, 10 * MOST):
        clock.now += 1
        flow.add({number: 1})
        flow.add({0: 1})
    told = flow.told()
    assert len(told) == MOST
    assert sum(told[0]) == 10 * MOST  # who sends is not dropped


def test_the_sign_of_life_tells_the_flow_at_once(store: Store, clock: Clock) -> None:
    push(store, "1.1")
    push(store, "1.2", calling="WS")
    push(store, "1.2", calling="WS")  # absorbed
    settle(store, "delivered", clock, 2)
    flow = store.flow()
    assert {name: sum(images) for name, images in flow["sources"].items()} == {"CT1": 1, "WS": 2}
    assert {name: sum(images) for name, images in flow["destinations"].items()} == {"pacs": 2}
    assert 0 <= flow["elapsed"] < 60
