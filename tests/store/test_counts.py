from __future__ import annotations

import time
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mapdr.kernel.item import Source
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index.counters import day_of
from mapdr.store.queue import settle as settling_module
from mapdr.store.spool import files as spool_module
from store.conftest import Opener
from store.world import CT, EXPLICIT, To, data_set

NOON = datetime(2026, 11, 23, 12).timestamp()
MODALITIES = ("CT", "MR")


class Clock:
    """Stands for the `time` module where days are decided."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


def push_at(store: Store, uid: str, *, study: str, modality: str, name: str, calling: str) -> None:
    incoming = store.spool.begin(Source("in", calling, "MAPDR", "h"), CT, uid, EXPLICIT)
    incoming.write(data_set(uid, study=study, series=f"{study}.{modality}", modality=modality, name=name))
    incoming.commit()
    assert store.writer.flush()


class Model:
    """Decision 14 in plain words."""

    def __init__(self) -> None:
        self.images: dict[tuple[Any, ...], set[Any]] = defaultdict(set)
        self.first: dict[tuple[Any, ...], int] = {}

    def add(self, day: int, where: str, modality: str, study: str, uid: str) -> None:
        self.images[day, where, modality].add((study, modality, uid))
        self.first.setdefault((where, modality, study), day)

    def numbers(self, day: int, where: str, modality: str) -> tuple[int, int]:
        studies = [d for (w, m, _), d in self.first.items() if (w, m) == (where, modality) and d == day]
        return len(self.images[day, where, modality]), len(studies)


events = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "deliver", "park", "retry", "next day"]),
        st.integers(0, 3),  # uid
        st.integers(0, 1),  # study
        st.sampled_from(MODALITIES),
        st.sampled_from(["A", "B"]),  # bytes
        st.sampled_from(["CT1", "WS"]),  # origin
    ),
    max_size=25,
)


PUSH = ("push", 0, 0, "CT", "A", "CT1")


@given(events)
@example([PUSH, PUSH, ("next day", *PUSH[1:]), PUSH, PUSH])  # what is absorbed counts on its day, once
@settings(max_examples=25)
def test_counts_are_those_of_a_plain_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    clock = Clock(NOON)
    with pytest.MonkeyPatch.context() as patch:
        for module in (spool_module, settling_module):
            patch.setattr(module, "time", clock)
        store = Store.open(tmp_path_factory.mktemp("counts"), "node", durability="process-crash")
        store.use("rev", To("pacs"), {"r0": {}})
        store.start()
        try:
            compare(store, clock, steps)
        finally:
            store.close()


def compare(store: Store, clock: Clock, steps: list[tuple[Any, ...]]) -> None:
    model, days = Model(), {day_of(clock.now)}
    for verb, number, study, modality, name, calling in steps:
        day = day_of(clock.now)
        uid, study_uid = f"1.2.{number}", f"9.{study}"
        if verb == "push":
            push_at(store, uid, study=study_uid, modality=modality, name=name, calling=calling)
            model.add(day, "", modality, study_uid, uid)
            model.add(day, calling, modality, study_uid, uid)
        elif verb in ("deliver", "park"):
            rows = store.ledger.lease("pacs", 2, 60, "n")
            state = "delivered" if verb == "deliver" else "parked"
            store.ledger.settle([Settlement(row.id, state) for row in rows])
            for row in rows if verb == "deliver" else ():
                i = row.instance
                model.add(day, "pacs", i.modality, i.study_instance_uid, i.sop_instance_uid)
        elif verb == "retry":
            store.actions.retry(Selection(state="parked"))
        else:
            clock.now += 86_400
            days.add(day_of(clock.now))
    for day in days:
        counts = store.counts.day(day)
        for modality in MODALITIES:
            got = counts["received"].get(modality, {"images": 0, "studies": 0})
            assert (got["images"], got["studies"]) == model.numbers(day, "", modality)
            got = counts["delivered"].get("pacs", {}).get(modality, {"images": 0, "studies": 0})
            assert (got["images"], got["studies"]) == model.numbers(day, "pacs", modality)


def test_counts_are_kept_per_origin_too(store: Store) -> None:
    for number, calling in enumerate(["CT1", "CT1", "WS"]):
        push_at(store, f"1.{number}", study="9", modality="CT", name="A", calling=calling)
    today = day_of(time.time())
    assert store.counts.day(today)["received"]["CT"]["images"] == 3
    assert store.counts.day(today)["received"]["CT"]["studies"] == 1
    assert _of_origin(store, today, "CT1") == {"CT": (2, 1), None: (0, 1)}
    assert _of_origin(store, today, "WS") == {"CT": (1, 1), None: (0, 1)}
    assert _of_origin(store, today, "nobody") == {}


def _of_origin(store: Store, day: int, origin: str) -> dict[str | None, tuple[int, int]]:
    """Images and studies by modality."""
    found = store.figures.tallies(day, day)
    return {one.where.modality: (one.images, one.studies) for one in found if one.where.origin == origin}


def test_the_status_is_what_the_command_line_promises(store: Store) -> None:
    for number in range(28):
        push_at(store, f"1.{number}", study="9", modality="CT", name="A", calling="CT1")
    rows = store.ledger.lease("pacs", 100, 60, "n")
    store.ledger.settle([Settlement(row.id, "delivered", status=0) for row in rows])
    numbers = {"images": 28, "studies": 1, "repeats": 0, "versions": 0}
    assert store.counts.status() == {
        "today": {"received": {"CT": numbers}, "delivered": {"pacs": {"CT": numbers}}},
        "pending": 0,
        "parked": 0,
        "unrouted": 0,
    }
    written = datetime.fromtimestamp(time.time()).strftime("%Y-%m-%d")
    assert store.counts.day(written) == store.counts.today()


def test_queues_say_how_much_and_how_old(opener: Opener) -> None:
    store = opener(router=To("a", "b"))
    before = time.time()
    for number in range(4):
        push_at(store, f"1.{number}", study="9", modality="CT", name="A", calling="CT1")
    rows = store.ledger.lease("a", 3, 60, "n")
    later = time.time() + 500
    store.ledger.settle(
        [
            Settlement(rows[0].id, "delivered"),
            Settlement(rows[1].id, "parked"),
            Settlement(rows[2].id, "pending", not_before=later),
        ]
    )
    store.actions.hold(Selection(destination="b"))
    a, b = store.counts.queues()
    assert (a.destination, a.pending, a.leased, a.held, a.parked) == ("a", 2, 0, 0, 1)
    assert a.oldest is not None
    assert before <= a.oldest <= time.time()
    assert a.next_due is not None
    assert a.next_due < later
    assert (b.destination, b.pending, b.held, b.oldest, b.next_due) == ("b", 0, 4, None, None)
    assert (store.counts.pending(), store.counts.parked(), store.counts.unrouted()) == (6, 1, 0)


def test_a_day_is_the_local_day() -> None:
    for moment in (NOON, NOON + 12 * 3600 - 1, NOON + 12 * 3600, NOON - 12 * 3600, 0.0, 1.7e9):
        assert day_of(moment) == int(datetime.fromtimestamp(moment).strftime("%Y%m%d"))
    tomorrow = (datetime.fromtimestamp(NOON) + timedelta(days=1)).timestamp()
    assert day_of(tomorrow) == 20261124


def test_counting_needs_no_folder(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "new", "reader", durability="process-crash")
    try:
        assert store.counts.status()["today"] == {"received": {}, "delivered": {}}
        assert store.counts.queues() == []
    finally:
        store.close()
