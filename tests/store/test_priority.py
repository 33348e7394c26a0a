"""Priorities in the ledger: what is more urgent goes first, and nothing waits for ever."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert

from mapdr.kernel.item import Priority
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index import schema
from mapdr.store.queue.batch import DELIVERY_COLUMNS
from mapdr.store.queue.ledger import SHARE
from store.world import To, push

STAT, ROUTINE, BULK = Priority


def owe(store: Store, uid: str, priority: Priority) -> None:
    """An image for "pacs" of this priority, in a study of its own."""
    store.use(f"rules-{priority.word}", To("pacs", priority=priority), {"r0": {"steps": []}})
    push(store, uid, study=f"{uid}.1", series=f"{uid}.2")
    assert store.writer.flush()


def leased(store: Store, limit: int, **how: bool) -> list[Priority]:
    return [Priority(row.priority) for row in store.ledger.lease("pacs", limit, 60, "node", **how)]


def test_what_is_more_urgent_is_leased_first(store: Store) -> None:
    for number, priority in enumerate((BULK, ROUTINE, STAT, ROUTINE)):
        owe(store, f"1.2.{number}", priority)
    assert leased(store, 9) == [STAT, ROUTINE, ROUTINE, BULK]
    assert [row.priority for row in store.listing.select(Selection())] == [
        "routine", "stat", "routine", "bulk",
    ]  # fmt: skip


def test_stat_alone_is_leased_where_nothing_else_may_go(store: Store) -> None:
    owe(store, "1.2.1", ROUTINE)
    assert leased(store, 9, stat_only=True) == []
    owe(store, "1.2.2", STAT)
    assert leased(store, 9, stat_only=True) == [STAT]
    assert leased(store, 9) == [ROUTINE]


def test_a_person_makes_deliveries_more_urgent_or_less(store: Store) -> None:
    for number in range(3):
        owe(store, f"1.2.{number}", ROUTINE)
    chosen = Selection(study_instance_uid="1.2.2.1")
    assert store.listing.of_other_priority(chosen, STAT) == Counter(pacs=1)
    assert store.actions.prioritize(chosen, STAT) == 1
    assert store.listing.of_other_priority(chosen, STAT) == Counter()
    assert store.actions.prioritize(chosen, STAT) == 0
    (row,) = store.ledger.lease("pacs", 1, 60, "node")
    assert row.instance.sop_instance_uid == "1.2.2"
    store.ledger.settle([Settlement(row.id, "delivered", verdict="delivered", status=0)])
    assert store.actions.prioritize(Selection(), BULK) == 2, "what has ended stays what it was"


def promise(store: Store, instance: bytes, priorities: Sequence[Priority], study: int) -> None:
    """Rows of these priorities for "slow", all of one image."""
    destination = store.strings.number("slow")
    rows = [
        dict(zip(DELIVERY_COLUMNS, (instance, study, destination, 0, int(each), 1, 0, 0.0), strict=True))
        for each in priorities
    ]
    with store.database.write() as connection:
        connection.execute(insert(schema.delivery), rows)


arrivals = st.lists(st.lists(st.sampled_from(list(Priority)), max_size=12), min_size=5, max_size=25)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(arrivals=arrivals, per_second=st.integers(SHARE, 3 * SHARE), flood=st.sampled_from([STAT, ROUTINE]))
def test_nothing_starves_while_more_urgent_images_come_for_ever(
    arrivals: list[list[Priority]], per_second: int, flood: Priority
) -> None:
    """In simulated seconds: whatever comes, and however much of `flood`, each row that waits is leased by the
    time that its share of the receiver's rate has taken those of its own priority before it."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), "node", durability="process-crash")
        try:
            store.use("rules", To("pacs"), {"r0": {"steps": []}})
            store.start()
            instance = bytes.fromhex(push(store, "1.2.3"))
            assert store.writer.flush()
            waiting: Counter[Priority] = Counter()
            due: dict[Priority, list[int]] = {priority: [] for priority in Priority}
            share = per_second // SHARE
            seconds = itertools.count()
            for second, came in zip(seconds, [*arrivals, *[[]] * 400], strict=False):
                flooded = [flood] * per_second
                promise(store, instance, [*came, *flooded], second)
                for priority in came:
                    if priority > flood:
                        waiting[priority] += 1
                        due[priority].append(second + waiting[priority] // share + 1)
                rows = store.ledger.lease("slow", per_second, 60, "node")
                assert len(rows) == per_second, "no room is left unused while something waits"
                for row in rows:
                    priority = Priority(row.priority)
                    if priority > flood:
                        waiting[priority] -= 1
                        assert second <= due[priority].pop(0), "it waited longer than its share allows"
                if second >= len(arrivals) and not waiting.total():
                    break
            assert not waiting.total()
        finally:
            store.close()
