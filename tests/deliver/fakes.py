"""A ledger in memory, an egress with a script, and a deliverer between them."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.item import (
    Acceptance,
    FileSlice,
    Instance,
    Need,
    Outcome,
    Payload,
    Priority,
    Source,
    Verdict,
)
from mapdr.kernel.stage import Description
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.store.queue.settle import Settlement
from mapdr.testing.wait import until

EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
JPEG2000 = "1.2.840.10008.1.2.4.91"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"

QUICK = Retry(first=0.02, factor=2.0, cap=0.1, tries=3)

OK = Outcome(Verdict.DELIVERED, 0)
LOST = Outcome(Verdict.RETRY, comment="the receiver closed the connection", peer_fault=True)
BUSY = Outcome(Verdict.RETRY, 0xA700, "out of resources", peer_fault=True)
NOT_SO = Outcome(Verdict.SYNTAX_REFUSED, comment="the receiver does not accept it in this transfer syntax")
FAULT = Outcome(Verdict.REFUSED, 0xC000, "cannot understand")


@dataclass
class Row:
    """One delivery as the fake ledger keeps it."""

    delivery: LeasedDelivery
    state: str = "pending"
    not_before: float = 0.0
    leased_until: float = 0.0
    owner: str = ""
    reason: str = ""
    comment: str = ""
    status: int | None = None


class FakeLedger:
    """The contract of `store.ledger.Ledger` in memory; every settlement is kept in `history`."""

    def __init__(self, recipe: Mapping[str, Any] | None = None) -> None:
        self.lock = threading.RLock()
        self.rows: dict[int, Row] = {}
        self.history: list[Settlement] = []
        self.leases = 0
        self.looks = 0
        self.renewed: Counter[int] = Counter()
        self.broken = False
        self.expired: Counter[int] = Counter()
        self.other_bytes: set[int] = set()
        self._recipe = recipe or {"steps": []}

    def add(
        self,
        count: int,
        *,
        sop_class: str = CT,
        syntax: str = EXPLICIT,
        destination: str = "pacs",
        priority: Priority = Priority.ROUTINE,
    ) -> list[int]:
        with self.lock:
            first = len(self.rows) + 1
            for number in range(first, first + count):
                instance = make_instance(number, sop_class, syntax)
                delivery = LeasedDelivery(number, instance, destination, 0, priority, "r", "", 0, 0.0)
                self.rows[number] = Row(delivery)
            return list(range(first, first + count))

    def lease(
        self,
        destination: str,
        limit: int,
        seconds: float,
        owner: str,
        *,
        quiet_seconds: float = 0.0,
        untried_first: bool = False,
        stat_only: bool = False,
    ) -> list[LeasedDelivery]:
        self._check()
        now = time.time()
        with self.lock:
            self._expire(now)
            self.leases += 1
            due = [
                row
                for row in self.rows.values()
                if row.delivery.destination == destination
                and row.state == "pending"
                and row.not_before <= now
                and (not stat_only or row.delivery.priority == Priority.STAT)
            ]
            due = sorted(due, key=lambda row: row.delivery.priority)[:limit]
            for row in due:
                row.state, row.leased_until, row.owner = "leased", now + seconds, owner
            return [row.delivery for row in due]

    def extend(self, delivery_ids: Iterable[int], seconds: float, owner: str) -> None:
        self._check()
        with self.lock:
            for id_ in delivery_ids:
                row = self.rows[id_]
                if row.state == "leased" and row.owner == owner:
                    row.leased_until = time.time() + seconds
                    self.renewed[id_] += 1

    def give_back(self, delivery_ids: Iterable[int]) -> None:
        self._check()
        with self.lock:
            for id_ in delivery_ids:
                if self.rows[id_].state == "leased":
                    self.rows[id_].state = "pending"

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._check()
        with self.lock:
            self.history += settlements
            for item in settlements:
                row = self.rows[item.delivery_id]
                row.state = item.state
                row.not_before = item.not_before
                row.reason, row.comment, row.status = item.reason, item.comment, item.status
                attempts = row.delivery.attempts + bool(item.count_attempt)
                syntax = row.delivery.syntax if item.syntax is None else item.syntax
                row.delivery = replace(row.delivery, attempts=attempts, syntax=syntax)

    def differs(self, delivery: LeasedDelivery) -> bool:
        return delivery.id in self.other_bytes

    def next_due(self, destination: str) -> float | None:
        self._check()
        with self.lock:
            self.looks += 1
            self._expire(time.time())
            due = [
                row.not_before
                for row in self.rows.values()
                if row.state == "pending" and row.delivery.destination == destination
            ]
            return min(due, default=None)

    def recipe(self, hash_: str) -> Mapping[str, Any]:
        return self._recipe

    def memory(self, instance_id: str, recipe: str, syntax: str) -> Any:
        return None

    def keep(self, kept: Any) -> None:
        raise AssertionError("its transforms keep nothing")

    def states(self) -> Counter[str]:
        with self.lock:
            return Counter(row.state for row in self.rows.values())

    def of(self, id_: int) -> list[Settlement]:
        """The settlements of one row, in order."""
        with self.lock:
            return [item for item in self.history if item.delivery_id == id_]

    def _expire(self, now: float) -> None:
        """What `Ledger.release_expired` does in a node's upkeep: leases that ran out are pending again."""
        for row in self.rows.values():
            if row.state == "leased" and row.leased_until <= now:
                row.state = "pending"
                self.expired[row.delivery.id] += 1

    def _check(self) -> None:
        if self.broken:
            raise OSError(5, "the disk is gone")


def make_instance(number: int, sop_class: str = CT, syntax: str = EXPLICIT) -> Instance:
    return Instance(
        id=f"{number:032x}",
        source=Source("in", "CT1", "MAPDR", "192.0.2.1"),
        sop_class_uid=sop_class,
        sop_instance_uid=f"2.25.{number}",
        study_instance_uid="2.25.1000",
        series_instance_uid="2.25.1001",
        modality="CT",
        transfer_syntax_uid=syntax,
        path=Path(f"{number}.dcm"),
        data_offset=400,
        size=1000,
        received_at=time.time(),
    )


class FakePipeline:
    """Relays, or reencodes to the override; `fail` may raise for an instance."""

    def __init__(
        self, fail: Callable[[Instance], None] = lambda instance: None, *, quick: bool = True
    ) -> None:
        self.fail = fail
        self.is_quick = quick
        self.prepared: list[tuple[str, str]] = []

    def quick(self, instance: Instance) -> bool:
        return self.is_quick

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        self.prepared.append((instance.id, syntax_override))
        self.fail(instance)
        return Payload(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            syntax_override or instance.transfer_syntax_uid,
            (FileSlice(instance.path, instance.data_offset, instance.size),),
            instance.size,
        )


Script = Callable[[Payload, "FakeSession"], Outcome]


class FakeSession:
    """A session whose answers come from a script; a closed one answers nothing."""

    def __init__(self, egress: FakeEgress, needs: Sequence[Need]) -> None:
        self.egress = egress
        self.proposed = set(needs) | {
            Need(need.sop_class_uid, syntax) for need in needs for syntax in egress.syntaxes
        }
        self.closed = threading.Event()

    def acceptance(self, need: Need) -> Acceptance | None:
        if not self.covers(need):
            return None
        others = (Need(need.sop_class_uid, syntax) for syntax in self.egress.syntaxes)
        instead = (each.transfer_syntax_uid for each in others if each != need and self.accepts(each))
        return Acceptance(None if self.accepts(need) else NOT_SO, next(instead, ""))

    def covers(self, need: Need) -> bool:
        return need in self.proposed

    def accepts(self, need: Need) -> bool:
        return need in self.proposed and need.transfer_syntax_uid in self.egress.takes

    def send(self, payload: Payload) -> Outcome:
        if self.closed.is_set():
            return LOST
        outcome = self.egress.script(payload, self)
        with self.egress.lock:
            self.egress.sent.append((payload.sop_instance_uid, payload.transfer_syntax_uid, outcome))
        return outcome

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            with self.egress.lock:
                self.egress.open -= 1


class FakeEgress:
    """A destination: `script` answers sends, `refuse` may raise on connect, `echo` answers probes."""

    def __init__(
        self,
        script: Script = lambda payload, session: OK,
        *,
        sessions: int = 2,
        syntaxes: Sequence[str] = (EXPLICIT, IMPLICIT),
        takes: Sequence[str] = (EXPLICIT, IMPLICIT, JPEG2000),
        retry: Retry = QUICK,
    ) -> None:
        self.script = script
        self.sessions = sessions
        self.syntaxes = tuple(syntaxes)
        self.takes = set(takes)
        self.retry = retry
        self.lock = threading.Lock()
        self.sent: list[tuple[str, str, Outcome]] = []
        self.connects: list[list[Need]] = []
        self.probes = 0
        self.open = 0
        self.refuse: Callable[[], None] = lambda: None
        self.echo: Callable[[], Outcome] = lambda: OK
        self.stopped = 0

    def start(self) -> None:
        pass

    def stop(self, deadline: float) -> None:
        self.stopped += 1

    def connect(self, needs: Sequence[Need]) -> FakeSession:
        with self.lock:
            self.connects.append(list(needs))
        self.refuse()
        with self.lock:
            self.open += 1
        return FakeSession(self, needs)

    def describe(self) -> Description:
        return Description(associations=self.open)

    def probe(self) -> Outcome:
        self.probes += 1
        return self.echo()


@contextmanager
def delivering(
    ledger: FakeLedger,
    egress: Any,
    chain: FakePipeline | None = None,
    *,
    tick: float = 0.05,
    stop: float = 2.0,
    watch: Watch | None = None,
    **settings: float,
) -> Iterator[Deliverer]:
    """A running deliverer for destination "pacs"; stopped at the end, with every thread gone.

    It looks every `tick` seconds for rows of others, which nobody here tells it of; see `rest`.
    """
    settings.setdefault("rest", tick)
    pool = ThreadPoolExecutor(2)
    made = chain or FakePipeline()
    preparer = Preparer(ledger, lambda steps: made, pool)
    deliverer = Deliverer(
        "pacs", egress, ledger, preparer, owner="node", watch=watch or Watch(), tick=tick, **settings
    )
    before = set(threading.enumerate())
    deliverer.start()
    try:
        yield deliverer
    finally:
        deliverer.stop(time.monotonic() + stop)
        pool.shutdown()
        left = until(
            lambda: not [t for t in threading.enumerate() if t not in before], 5, "every thread's end"
        )
        assert left


def settled(ledger: FakeLedger, seconds: float = 10.0) -> Counter[str]:
    """Wait until no row is pending or leased; the states then."""
    until(lambda: not {"pending", "leased"} & set(ledger.states()), seconds, "the end of every row")
    return ledger.states()
