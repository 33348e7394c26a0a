from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.exc import DataError, OperationalError

from mapdr.kernel.errors import LocalProtocolError, Permanent
from mapdr.store import Selection, Settlement, Store
from mapdr.store.index.schema import AFTER_ATTEMPT
from mapdr.store.queue.listing import DeliveryRow
from store.conftest import Opener
from store.world import EXPLICIT, To, push


def filled(store: Store, count: int, **facts: Any) -> None:
    for number in range(count):
        push(store, f"1.2.3.{number}", **facts)
    assert store.writer.flush()


def test_rows_are_leased_once_by_study_and_age(store: Store) -> None:
    for number in range(4):
        push(store, f"1.2.{number}", study=f"9.{number % 2}", series=f"9.{number % 2}.1")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 3, 60, "node")
    assert [row.instance.sop_instance_uid for row in rows] == ["1.2.0", "1.2.2", "1.2.1"]
    assert [row.attempts for row in rows] == [0, 0, 0]
    assert rows[0].recipe == "r0"
    assert rows[0].instance.path.exists()
    assert [r.instance.sop_instance_uid for r in store.ledger.lease("pacs", 3, 60, "b")] == ["1.2.3"]
    assert store.ledger.lease("pacs", 3, 60, "c") == []
    assert store.ledger.lease("nobody", 3, 60, "c") == []


def test_a_row_that_must_wait_is_leased_when_it_is_due(store: Store) -> None:
    filled(store, 1)
    (row,) = store.ledger.lease("pacs", 1, 60, "node")
    later = time.time() + 100
    store.ledger.settle(
        [Settlement(row.id, "pending", not_before=later, verdict="retry", status=0xA700, syntax="1.2.840.1")]
    )
    assert store.ledger.lease("pacs", 1, 60, "node") == []
    assert store.ledger.next_due("pacs") == later
    assert store.actions.retry(Selection(destination="pacs")) == 1
    (again,) = store.ledger.lease("pacs", 1, 60, "node")
    assert again.syntax == "1.2.840.1"
    assert again.attempts == 0, "a retry by hand begins anew"


def test_attempts_that_do_not_count_are_kept_all_the_same(store: Store) -> None:
    filled(store, 1)
    for counts in (True, False, True):
        (row,) = store.ledger.lease("pacs", 1, 60, "node")
        store.ledger.settle([Settlement(row.id, "pending", verdict="retry", count_attempt=counts)])
    (row,) = store.ledger.lease("pacs", 1, 60, "node")
    assert row.attempts == 2
    store.ledger.settle(
        [
            Settlement(
                row.id, "delivered", verdict="delivered", status=0xB000, comment="coerced", bytes=77,
                milliseconds=5, transfer_syntax_uid=EXPLICIT, sop_instance_uid="2.25.1", treatment="edited",
                credential="certificate:pacs.clinic.example",
            )
        ]
    )  # fmt: skip
    attempts = store.listing.attempts([row.id])[row.id]
    assert [attempt.number for attempt in attempts] == [1, 2, 3, 4]
    last = attempts[-1]
    assert (last.status, last.comment, last.bytes, last.treatment) == (0xB000, "coerced", 77, "edited")
    assert (last.sop_instance_uid, last.transfer_syntax_uid) == ("2.25.1", EXPLICIT)
    assert [each.credential for each in attempts] == ["", "", "", "certificate:pacs.clinic.example"]
    (listed,) = store.listing.select(Selection(state="delivered"))
    assert listed.last == last


def test_a_lost_lease_is_due_again_and_the_late_answer_counts(store: Store) -> None:
    filled(store, 1)
    (row,) = store.ledger.lease("pacs", 1, 0.0, "a")
    assert store.ledger.release_expired(time.time() + 1) == 1
    (again,) = store.ledger.lease("pacs", 1, 60, "b")
    assert again.id == row.id
    store.ledger.settle([Settlement(row.id, "delivered", status=0)])
    store.ledger.settle([Settlement(row.id, "pending", not_before=time.time() + 9)])
    store.ledger.settle([Settlement(row.id, "parked", reason="late")])
    (listed,) = store.listing.select(Selection())
    assert listed.state == "delivered", "nothing takes a delivery back"
    attempts = store.listing.attempts([row.id])[row.id]
    assert [each.reason for each in attempts] == ["interrupted", "", "", "late"]
    interrupted = attempts[0]
    assert (interrupted.number, interrupted.milliseconds, interrupted.bytes) == (1, 0, 0)
    assert (interrupted.status, interrupted.transfer_syntax_uid) == (None, "")
    assert store.counts.today()["delivered"]["pacs"]["CT"]["images"] == 1


def test_leases_are_renewed_by_their_owner_only(store: Store) -> None:
    filled(store, 2)
    rows = store.ledger.lease("pacs", 2, 1, "a")
    store.ledger.extend([rows[0].id], 1000, "a")
    store.ledger.extend([rows[1].id], 1000, "b")
    assert store.ledger.release_expired(time.time() + 100) == 1
    assert [row.id for row in store.ledger.lease("pacs", 9, 9, "c")] == [rows[1].id]


def test_an_owner_gives_back_what_it_has(store: Store) -> None:
    filled(store, 3)
    store.ledger.lease("pacs", 1, 60, "node")
    store.ledger.lease("pacs", 1, 60, "node/pacs")
    (other,) = store.ledger.lease("pacs", 1, 60, "node2")
    assert store.ledger.release_owner("node") == 2
    store.ledger.give_back([other.id])
    assert len(store.ledger.lease("pacs", 9, 60, "x")) == 3


def test_a_destination_on_hold_leases_nothing(opener: Opener) -> None:
    store = opener()
    filled(store, 2)
    store.ledger.hold_destination("pacs")
    store.ledger.hold_destination("pacs")
    push(store, "1.9")
    assert store.writer.flush()
    assert store.ledger.lease("pacs", 9, 60, "n") == []
    assert store.ledger.next_due("pacs") is None
    assert list(opener(start=False).ledger.held_destinations()) == ["pacs"]
    store.ledger.release_destination("pacs")
    assert len(store.ledger.lease("pacs", 9, 60, "n")) == 3


def test_rows_are_held_and_let_go(store: Store) -> None:
    filled(store, 3)
    (leased,) = store.ledger.lease("pacs", 1, 60, "n")
    assert store.actions.hold(Selection(destination="pacs")) == 2
    assert store.ledger.lease("pacs", 9, 60, "n") == []
    assert store.counts.pending() == 3
    store.ledger.settle([Settlement(leased.id, "pending")])
    assert store.actions.release(Selection(state="held")) == 2
    assert len(store.ledger.lease("pacs", 9, 60, "n")) == 3


def test_waiting_for_a_quiet_study_is_the_destinations_choice(store: Store) -> None:
    filled(store, 2)
    assert store.ledger.lease("pacs", 9, 60, "n", quiet_seconds=3600) == []
    assert len(store.ledger.lease("pacs", 9, 60, "n", quiet_seconds=0.000001)) == 2


def test_what_cannot_be_settled(store: Store) -> None:
    filled(store, 1)
    with pytest.raises(LocalProtocolError):
        store.ledger.settle([Settlement(12345, "delivered")])
    with pytest.raises(LocalProtocolError):
        store.ledger.settle([Settlement(1, "done")])
    store.ledger.settle([])


def test_a_batch_of_settlements_is_all_or_nothing(store: Store) -> None:
    filled(store, 2)
    one, two = store.ledger.lease("pacs", 2, 60, "n")
    with pytest.raises(LocalProtocolError):
        store.ledger.settle([Settlement(one.id, "delivered"), Settlement(999, "delivered")])
    assert {row.state for row in store.listing.select(Selection())} == {"leased"}
    assert store.listing.attempts([one.id])[one.id] == []
    assert store.counts.today()["delivered"] == {}
    assert two.id


def test_recipes_are_kept_for_good(opener: Opener) -> None:
    store = opener()
    store.recipes.add({"r7": {"steps": [{"type": "tags"}]}})
    store.recipes.add({"r7": {"steps": ["changed"]}})
    assert opener(start=False).recipes.recipe("r7") == {"steps": [{"type": "tags"}]}
    with pytest.raises(Permanent) as caught:
        store.recipes.recipe("unknown")
    assert caught.value.reason == "recipe-missing"


def test_memory_is_kept_per_image_recipe_and_syntax(opener: Opener) -> None:
    store = opener()
    id_ = push(store, "1.2.3.1")
    memory = store.recipes.memory(id_, "r0", "")
    assert memory.recall() is None
    memory.keep({"ratio": 10.5, "uid": "2.25.1"})
    memory.keep({"ratio": 11, "uid": "2.25.1"})
    again = opener(start=False).recipes
    assert again.memory(id_, "r0", "").recall() == {"ratio": 11, "uid": "2.25.1"}
    assert again.memory(id_, "r0", EXPLICIT).recall() is None
    assert again.memory(id_, "r1", "").recall() is None


def test_threads_never_share_a_row(store: Store) -> None:
    filled(store, 60)
    seen: Counter[int] = Counter()
    lock = threading.Lock()

    def work(owner: str) -> None:
        while rows := store.ledger.lease("pacs", 7, 60, owner):
            with lock:
                seen.update(row.id for row in rows)
            store.ledger.settle([Settlement(row.id, "delivered", status=0) for row in rows])

    threads = [threading.Thread(target=work, args=(f"n{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 60
    assert set(seen.values()) == {1}
    assert store.counts.today()["delivered"]["pacs"]["CT"] == {
        "images": 60, "studies": 1, "repeats": 0, "versions": 0,
    }  # fmt: skip


class LedgerMachine(RuleBasedStateMachine):
    """A random sequence of verbs against a plain model: no row is lost, none is leased twice at once."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.store = Store.open(folder, "node", durability="process-crash")
        self.store.use("rev", To("a", "b"), {"r0": {}})
        self.store.start()
        self.model: dict[int, str] = {}
        self.leases: dict[int, tuple[str, float]] = {}
        self.delivered: set[int] = set()
        self.pushed = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()

    @rule(count=st.integers(1, 4))
    def push(self, count: int) -> None:
        for _ in range(count):
            push(self.store, f"1.2.{self.pushed}", study=f"3.{self.pushed % 3}")
            self.pushed += 1
        assert self.store.writer.flush()
        for row in self.store.listing.select(Selection()):
            self.model.setdefault(row.id, "pending")

    @rule(
        destination=st.sampled_from("ab"),
        limit=st.integers(1, 5),
        seconds=st.sampled_from([0.0, 1000.0]),
        owner=st.sampled_from(["x", "y"]),
    )
    def lease(self, destination: str, limit: int, seconds: float, owner: str) -> None:
        rows = self.store.ledger.lease(destination, limit, seconds, owner)
        for row in rows:
            assert self.model[row.id] == "pending", "a row was leased that was not pending"
            assert row.destination == destination
            self.model[row.id] = "leased"
            self.leases[row.id] = (owner, row.leased_until)
        assert len({row.id for row in rows}) == len(rows)

    @rule(data=st.data(), state=st.sampled_from(["delivered", "pending", "parked"]))
    def settle(self, data: st.DataObject, state: str) -> None:
        if not self.model:
            return
        ids = data.draw(st.lists(st.sampled_from(sorted(self.model)), max_size=4))
        self.store.ledger.settle([Settlement(id_, state) for id_ in ids])
        for id_ in ids:
            before = self.model[id_]
            ended = before in ("superseded", "dismissed") and state != "delivered"
            if before == "delivered" or ended or (state == "pending" and before in ("held", "parked")):
                continue
            self.model[id_] = state

    @rule(verb=st.sampled_from(["retry", "hold", "release"]), destination=st.sampled_from("ab"))
    def verb(self, verb: str, destination: str) -> None:
        of = {row.id for row in self.store.listing.select(Selection(destination=destination))}
        getattr(self.store.actions, verb)(Selection(destination=destination))
        change = {
            "retry": {"parked": "pending"},
            "hold": {"pending": "held"},
            "release": {"held": "pending"},
        }[verb]
        for id_ in of:
            self.model[id_] = change.get(self.model[id_], self.model[id_])

    @rule(destination=st.sampled_from("ab"))
    def dismiss(self, destination: str) -> None:
        chosen = Selection(destination=destination)
        parked = {row.id for row in self.store.listing.select(chosen) if row.state == "parked"}
        assert self.store.actions.dismiss(chosen) == len(parked)
        self.model |= dict.fromkeys(parked, "dismissed")

    @rule(destination=st.sampled_from("ab"), recipe=st.sampled_from(["r0", "r1"]))
    def reroute(self, destination: str, recipe: str) -> None:
        """Every image is owed to the destination, once, whatever became of it before."""
        route = To(destination, recipe=recipe).route
        self.store.rerouting.reroute(Selection(), route, frozenset(), only=[destination])
        rows = self.rows()
        for row in rows:
            before = self.model.get(row.id)
            if before is None:
                assert row.state in ("pending", "held")
                assert row.destination == destination
                self.model[row.id] = row.state
            elif row.state == "superseded" and before != "superseded":
                assert before in ("pending", "held", "parked")
                assert row.destination == destination
                self.model[row.id] = "superseded"
        waiting = Counter(
            row.instance
            for row in rows
            if row.destination == destination and row.state in ("pending", "held")
        )
        assert set(waiting.values()) <= {1}
        assert not any(row.destination == destination and row.state == "parked" for row in rows)
        again = self.store.rerouting.reroute(
            Selection(state="parked"), route, frozenset(), only=[destination]
        )
        assert again.deliveries == 0

    @rule(owner=st.sampled_from(["x", "y"]))
    def release_owner(self, owner: str) -> None:
        self.store.ledger.release_owner(owner)
        for id_, state in self.model.items():
            if state == "leased" and self.leases[id_][0] == owner:
                self.model[id_] = "pending"

    @rule()
    def expire(self) -> None:
        now = time.time()
        self.store.ledger.release_expired(now)
        for id_, state in self.model.items():
            if state == "leased" and self.leases[id_][1] < now:
                self.model[id_] = "pending"

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "store"):
            return
        rows = self.rows()
        assert {row.id: row.state for row in rows} == self.model
        assert len({(row.instance, row.destination) for row in rows}) == 2 * self.pushed
        assert self.store.counts.parked() == sum(row.state == "parked" for row in rows)
        delivered = self.store.counts.today()["delivered"]
        for destination in "ab":
            numbers = delivered.get(destination, {}).get("CT", {"images": 0})
            done = {
                row.instance for row in rows if row.destination == destination and row.state == "delivered"
            }
            assert numbers["images"] == len(done)

    def rows(self) -> list[DeliveryRow]:
        """Every row, those that were superseded as well."""
        select = self.store.listing.select
        return [*select(Selection()), *select(Selection(state="superseded"))]


def test_a_random_sequence_of_verbs_loses_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    class Machine(LedgerMachine):
        folder = tmp_path_factory.mktemp("ledger")

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Machine, settings=settings(max_examples=12, stateful_step_count=25))


def test_every_state_that_can_be_settled_is_known() -> None:
    assert sorted(AFTER_ATTEMPT) == ["delivered", "parked", "pending"]


def test_an_end_that_the_index_does_not_take_is_written_without_its_words(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        push(store, f"1.{number}")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "n")
    huge = [0, 1 << 80, 0]
    store.ledger.settle(
        [Settlement(row.id, "delivered", status=0, bytes=n) for row, n in zip(rows, huge, strict=True)]
    )
    assert {row.state for row in store.listing.select(Selection())} == {"delivered"}
    assert sorted(row.reason for row in store.listing.select(Selection())) == ["", "", "unwritten"]
    assert str(rows[1].id) in caplog.text


@pytest.mark.parametrize("comments", [["", "odd", ""], ["odd", ""]])
def test_an_end_that_breaks_a_rule_of_the_index_holds_up_no_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, comments: list[str]
) -> None:
    for number in range(len(comments)):
        push(store, f"1.{number}")
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", 9, 60, "n")
    settle = store.ledger._settlements.settle

    def refuses(settlements: Sequence[Settlement]) -> None:
        if any(one.comment for one in settlements):
            raise DataError("UPDATE", {}, ValueError("wrong"))
        settle(settlements)

    monkeypatch.setattr(store.ledger._settlements, "settle", refuses)
    store.ledger.settle(
        [
            Settlement(row.id, "pending", 0.0, "retry", comment=said, syntax=EXPLICIT, count_attempt=False)
            for row, said in zip(rows, comments, strict=True)
        ]
    )
    leased = store.ledger.lease("pacs", 9, 60, "n")
    assert [(row.id, row.syntax, row.attempts) for row in leased] == [(row.id, EXPLICIT, 0) for row in rows]
    (attempt,) = store.listing.attempts([rows[comments.index("odd")].id])[rows[comments.index("odd")].id]
    assert (attempt.verdict, attempt.reason) == ("retry", "unwritten")

    tried: list[str] = []

    def full(settlements: Sequence[Settlement]) -> None:
        tried.extend(one.comment for one in settlements)
        raise OperationalError("UPDATE", {}, Exception("database or disk is full"))

    monkeypatch.setattr(store.ledger._settlements, "settle", full)
    with pytest.raises(OperationalError):
        store.ledger.settle([Settlement(rows[0].id, "delivered", comment="words")])
    assert tried == ["words"], "what the peer said is kept for a try that may be written"


def test_a_lease_that_fails_leaves_no_row_leased(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    push(store, "1.1")
    assert store.writer.flush()

    def fails(*facts: object) -> object:
        raise RuntimeError

    monkeypatch.setattr(store.ledger._instances, "from_facts", fails)
    with pytest.raises(RuntimeError):
        store.ledger.lease("pacs", 9, 60, "n")
    monkeypatch.undo()
    assert len(store.ledger.lease("pacs", 9, 60, "n")) == 1


def test_feeders_forget_proofs_together(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each destination's feeder looks images up; what is remembered of them is bounded."""
    monkeypatch.setattr("mapdr.store.index.instances._PROOFS", 50)
    filled(store, 1)
    (row,) = store.ledger.lease("pacs", 1, 60, "n")
    facts = (row.instance.sop_instance_uid, "1.2", "1.2.3", 0, 0, 1, 0, 1, 0.0, bytes(16))
    with store.database.read() as connection:
        source = connection.exec_driver_sql("SELECT source FROM instance").scalar_one()
    errors: list[Exception] = []

    def look(first: int) -> None:
        try:
            for number in range(3000):
                store.instances.from_facts((first + number).to_bytes(16), source, 0, *facts)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=look, args=(n * 1000,)) for n in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    assert len(store.instances._proofs) == 50
