"""Payloads are worked out once for all destinations that share a recipe, and kept within bounds."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from deliver.fakes import FakeLedger, FakePipeline, make_instance
from mapdr.deliver.feed.preparer import PIPELINES, QUICK, Preparer
from mapdr.deliver.feed.syntaxes import FORGET_AFTER, REMEMBERED, Syntaxes
from mapdr.kernel import budget
from mapdr.kernel.budget import Budget
from mapdr.kernel.errors import MapdrError, Permanent
from mapdr.kernel.item import Instance, Need, Payload
from mapdr.store.queue.inhand import Key
from mapdr.store.queue.ledger import LeasedDelivery
from mapdr.testing.wait import until


class Encoder(FakePipeline):
    """A slow chain whose payload lies in memory."""

    def __init__(self, size: int = 1000) -> None:
        super().__init__(quick=False)
        self.size = size
        self.go = threading.Event()

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        assert self.go.wait(10)
        relayed = super().prepare(instance, memory, syntax_override)
        return Payload("1.2", relayed.sop_instance_uid, "1.2.3", (bytes(self.size),), self.size)


def delivery(number: int, destination: str) -> LeasedDelivery:
    return LeasedDelivery(number, make_instance(number), destination, 0, 0, "r", "", 0, 0.0)


def test_two_destinations_that_ask_together_share_the_work() -> None:
    chain = Encoder()
    with ThreadPoolExecutor(4) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        futures = [preparer.request(delivery(1, name), "") for name in ("a", "b", "c")]
        chain.go.set()
        payloads = [future.result(10) for future in futures]
    assert payloads[0] is payloads[1] is payloads[2]
    assert len(chain.prepared) == 1


def test_what_was_begun_before_a_reload_is_for_nobody_who_asks_after_it() -> None:
    chains = [Encoder(1), Encoder(2)]
    made = iter(chains)
    with ThreadPoolExecutor(2) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: next(made), pool)
        before = preparer.request(delivery(1, "a"), "")
        until(lambda: preparer._pipelines)
        preparer.renew()
        chains[1].go.set()
        assert preparer.request(delivery(1, "b"), "").result(10).length == 2
        chains[0].go.set()
        assert before.result(10).length == 1
        assert preparer.request(delivery(1, "c"), "").result(10).length == 2
    assert len(chains[1].prepared) == 1, "it was kept for who asks later"


def test_one_that_asks_later_gets_what_is_kept_and_another_syntax_is_another_payload() -> None:
    chain = Encoder()
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        first = preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        assert preparer.at_once(delivery(1, "b"), "")
        assert preparer.prepare(delivery(1, "b"), "") is first
        assert not preparer.at_once(delivery(1, "b"), "1.2.840.10008.1.2")
        assert not preparer.at_once(delivery(2, "b"), "")


def test_what_is_kept_is_bounded_in_bytes() -> None:
    chain = Encoder(size=1000)
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=4000)
        for number in range(10):
            preparer.request(delivery(number, "a"), "").result(10)
        pool.submit(int).result(10)
        kept = [number for number in range(10) if preparer.at_once(delivery(number, "b"), "")]
    assert kept == [6, 7, 8, 9]


def test_a_payload_that_is_large_is_not_kept() -> None:
    chain = Encoder(size=2000)
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=4000)
        preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        assert not preparer.at_once(delivery(1, "b"), "")


def test_a_failure_is_told_to_all_and_forgotten() -> None:
    chain = FakePipeline(quick=False)

    def fail(instance: Instance) -> None:
        raise Permanent("the codec refuses", reason="codec")

    chain.fail = fail
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        with pytest.raises(Permanent):
            preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        chain.fail = lambda instance: None
        assert preparer.request(delivery(1, "a"), "").result(10).length == 1000


@pytest.mark.parametrize("quick", [False, True])
def test_a_step_that_would_end_the_thread_fails_like_any_other(quick: bool) -> None:
    chain = FakePipeline(quick=quick)

    def leave(instance: Instance) -> None:
        raise SystemExit(3)

    def build(steps: Any) -> FakePipeline:
        raise SystemExit(3)

    chain.fail = leave
    with ThreadPoolExecutor(1) as pool:
        for made in (lambda steps: chain, build):
            preparer = Preparer(FakeLedger(), made, pool)
            with pytest.raises(MapdrError, match="SystemExit"):
                preparer.now(delivery(1, "a"), "") or preparer.request(delivery(1, "a"), "").result(10)


def test_a_recipe_that_cannot_be_built_here_says_so() -> None:
    def build(steps: Any) -> FakePipeline:
        raise Permanent("reroute the images", reason="recipe")

    with ThreadPoolExecutor(1) as pool, pytest.raises(Permanent, match="reroute"):
        Preparer(FakeLedger(), build, pool).at_once(delivery(1, "a"), "")


def test_needs_are_remembered_the_latest_first_and_not_without_end() -> None:
    syntaxes = Syntaxes()
    for number in range(REMEMBERED + 10):
        syntaxes.needed(Need(f"1.{number}", "1.2.840.10008.1.2"))
    recent = syntaxes.recent()
    assert len(recent) == REMEMBERED
    assert recent[0].sop_class_uid == f"1.{REMEMBERED + 9}"
    syntaxes.needed(recent[-1])
    assert syntaxes.recent() == [recent[-1], *recent[:-1]], "needed again, it is the latest"


def test_a_refusal_is_forgotten_after_a_while() -> None:
    now = [0.0]
    syntaxes = Syntaxes(clock=lambda: now[0])
    need = Need("1.2", "1.2.840.10008.1.2.4.90")
    assert syntaxes.instead(need) == ""
    syntaxes.refused(need, "1.2.840.10008.1.2")
    assert syntaxes.instead(need) == "1.2.840.10008.1.2"
    now[0] = FORGET_AFTER + 1
    assert syntaxes.instead(need) == ""


# --- memory, and deaths


class Hungry(FakePipeline):
    """Needs as many bytes for an image as `needs` says, and works until it may go on."""

    def __init__(self, needs: dict[int, int], result: int = 0) -> None:
        super().__init__(quick=False)
        self.needs = needs
        self.result = result
        self.begun: list[int] = []
        self.at_work: set[int] = set()
        self.together: dict[int, set[int]] = {}
        self.go: dict[int, threading.Event] = {number: threading.Event() for number in needs}
        self.lock = threading.Lock()

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        number = int(instance.id, 16)
        budget.need(self.needs[number])
        with self.lock:
            self.begun.append(number)
            self.at_work.add(number)
            for other in self.at_work:
                self.together.setdefault(other, set()).update(self.at_work - {other})
            self.together.setdefault(number, set()).update(self.at_work - {number})
        try:
            assert self.go[number].wait(10)
            super().prepare(instance, memory, syntax_override)
        finally:
            with self.lock:
                self.at_work.discard(number)
        return Payload("1.2", instance.sop_instance_uid, "1.2.3", (bytes(self.result),), self.result)


class Marks:
    """The contract of `store.inhand.InHand`."""

    def __init__(self, deaths: dict[int, int]) -> None:
        self.died = {(f"{number:032x}", "r", ""): count for number, count in deaths.items()}
        self.marked: dict[int, Key] = {}
        self.seen: list[Key] = []

    def begin(self, key: Key) -> int:
        self.seen.append(key)
        self.marked[len(self.seen)] = key
        return len(self.seen)

    def end(self, mark: int) -> None:
        del self.marked[mark]

    def deaths(self, key: Key) -> int:
        return self.died.get(key, 0)

    def survived(self, key: Key) -> None:
        self.died.pop(key, None)


def begun(chain: Hungry, *numbers: int) -> None:
    until(lambda: set(numbers) <= set(chain.begun), 10, f"the beginning of {numbers}")


def test_an_image_waits_for_its_share_and_holds_no_thread_meanwhile() -> None:
    chain, memory = Hungry({1: 60, 2: 60, 3: 10}, result=50), Budget(100)
    with ThreadPoolExecutor(2) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=0, budget=memory)
        first = preparer.request(delivery(1, "a"), "")
        begun(chain, 1)
        second = preparer.request(delivery(2, "b"), "")
        until(lambda: memory.waiting == 1, 10, "the second, which waits")
        assert pool.submit(int).result(10) == 0, "there is a thread for others"
        chain.go[1].set()
        payload = first.result(10)
        assert memory.used == 50
        assert memory.waiting == 1, "what is prepared holds its memory"
        del first, payload
        # Its thread may hold it a moment longer; who asks for more images asks again and again.
        until(lambda: (preparer.crowded(), 2 in chain.begun)[1], 10, "the beginning of the second")
        chain.go[2].set()
        assert second.result(10).in_memory == 50
    assert chain.begun == [1, 2]
    del second
    memory.tend()
    assert memory.used == 0, "nobody has anything any more"


def test_what_can_never_have_its_share_is_refused_and_gives_back_what_it_had() -> None:
    chain, memory = Hungry({1: 101}), Budget(100)
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        with pytest.raises(Permanent) as caught:
            preparer.request(delivery(1, "a"), "").result(10)
    assert caught.value.reason == "memory"
    assert chain.begun == []
    assert memory.used == 0


def test_what_fails_gives_its_share_back() -> None:
    chain, memory = Hungry({1: 80, 2: 80}), Budget(100)
    chain.fail = lambda instance: 1 / 0
    chain.go[1].set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        with pytest.raises(ZeroDivisionError):
            preparer.request(delivery(1, "a"), "").result(10)
        assert memory.used == 0


def test_what_is_kept_for_others_is_dropped_when_somebody_waits() -> None:
    chain, memory = Hungry({1: 0, 2: 100}, result=2), Budget(100)
    for event in chain.go.values():
        event.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
        assert preparer.at_once(delivery(1, "b"), "")
        assert memory.used == 2
        assert preparer.request(delivery(2, "b"), "").result(10).in_memory == 2
        assert not preparer.at_once(delivery(1, "b"), "")


def test_what_is_kept_does_not_keep_its_own_destination_waiting() -> None:
    chain, memory = Hungry({1: 0, 2: 49, 3: 99}, result=2), Budget(100)
    for event in chain.go.values():
        event.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        for number in (1, 2, 3):
            preparer.request(delivery(number, "a"), "").result(10)
            pool.submit(int).result(10)


def test_a_result_that_cannot_be_kept_account_of_is_a_failure_that_is_told() -> None:
    class Faulty(Budget):
        def rest(self, claim: Any, amount: int) -> None:
            raise OverflowError

    chain, memory = Hungry({1: 10}), Faulty(100)
    chain.go[1].set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        with pytest.raises(OverflowError):
            preparer.request(delivery(1, "a"), "").result(10)
    assert memory.used == 0


def test_what_a_callback_raises_reaches_no_log_with_what_it_quotes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(payload: Payload) -> int:
        raise ValueError("SECRET^NAME")

    monkeypatch.setattr("mapdr.deliver.feed.preparer.weigh", fails)
    chain = Encoder()
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        preparer.request(delivery(1, "a"), "").result(10)
    assert "ValueError at" in caplog.text
    assert "SECRET" not in caplog.text


def test_work_that_is_queued_though_no_thread_could_be_started_is_not_done_twice() -> None:
    class NoThread(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            self.queued = lambda: args[0](*args[1:], **kwargs)
            raise RuntimeError("can't start new thread")

    chain, memory, pool = Hungry({1: 10}, result=5), Budget(100), NoThread(1)
    chain.go[1].set()
    preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
    assert preparer.request(delivery(1, "a"), "").cancelled()
    pool.queued()
    assert chain.begun == []
    assert memory.used == 0


def test_a_long_header_is_left_to_the_threads() -> None:
    chain = Hungry({1: QUICK, 2: QUICK + 1})
    chain.is_quick = True
    for event in chain.go.values():
        event.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        assert preparer.now(delivery(1, "a"), "") is not None
        assert preparer.now(delivery(2, "a"), "") is None


def test_only_what_is_at_work_is_marked_as_in_hand() -> None:
    chain, memory, marks = Hungry({1: 60, 2: 60}), Budget(100), Marks({})
    with ThreadPoolExecutor(2) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory, in_hand=marks)
        first = preparer.request(delivery(1, "a"), "")
        begun(chain, 1)
        second = preparer.request(delivery(2, "a"), "")
        until(lambda: memory.waiting == 1, 10, "the second, which waits")
        assert [key[0] for key in marks.marked.values()] == [f"{1:032x}"], "waiting is not in hand"
        chain.go[1].set()
        chain.go[2].set()
        first.result(10)
        second.result(10)
    assert marks.marked == {}


def test_an_image_with_which_the_node_died_twice_is_tried_alone_and_survives() -> None:
    chain, marks = Hungry(dict.fromkeys(range(1, 6), 0)), Marks({3: 2})
    for event in chain.go.values():
        event.set()
    chain.go[1].clear()
    chain.go[3].clear()
    with ThreadPoolExecutor(4) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, in_hand=marks)
        futures = [preparer.request(delivery(number, "a"), "") for number in range(1, 6)]
        begun(chain, 1, 2)
        assert sorted(chain.begun) == [1, 2], "it waits until nothing is at work, and others wait for it"
        chain.go[1].set()
        begun(chain, 3)
        assert len(chain.begun) == 3
        chain.go[3].set()
        for future in futures:
            future.result(10)
    assert chain.together[3] == set()
    assert marks.died == {}, "its deaths were not its fault"


def test_an_image_that_finds_no_memory_is_tried_alone_before_anybody_hears_of_it() -> None:
    chain, memory = Hungry({1: 0, 2: 40}, result=2), Budget(100)
    left = [MemoryError(), MemoryError()]

    def short(instance: Instance) -> None:
        if left and instance.id == f"{2:032x}":
            raise left.pop()

    chain.fail = short
    chain.go[2].set()
    with ThreadPoolExecutor(2) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, budget=memory)
        other = preparer.request(delivery(1, "a"), "")
        begun(chain, 1)
        hungry = preparer.request(delivery(2, "b"), "")
        until(lambda: len(left) == 1, 10, "its first try")
        assert not hungry.done()
        until(lambda: memory.waiting == 1, 10, "its wait for the others")
        chain.go[1].set()
        other.result(10)
        with pytest.raises(MemoryError):
            hungry.result(10)
        assert chain.begun == [1, 2, 2]
        assert preparer.request(delivery(2, "b"), "").result(10).in_memory == 2


def test_an_image_with_which_the_node_died_alone_is_not_tried_any_more() -> None:
    chain, marks = Hungry({1: 0, 2: 0}), Marks({1: 3})
    chain.go[2].set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, in_hand=marks)
        with pytest.raises(Permanent, match="3 times") as caught:
            preparer.request(delivery(1, "a"), "").result(10)
        assert preparer.request(delivery(2, "a"), "").result(10) is not None
    assert caught.value.reason == "deadly"
    assert chain.begun == [2]
    assert marks.seen == [(f"{2:032x}", "r", "")]


def test_an_image_with_which_the_node_died_is_not_prepared_in_passing() -> None:
    chain, marks = Hungry({1: 0, 2: 0}), Marks({1: 1})
    chain.is_quick = True
    for event in chain.go.values():
        event.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, in_hand=marks)
        assert preparer.now(delivery(1, "a"), "") is None
        assert preparer.now(delivery(2, "a"), "") is not None


def test_a_node_that_stops_leaves_no_share() -> None:
    memory = Budget(100)
    pool = ThreadPoolExecutor(1)
    preparer = Preparer(FakeLedger(), lambda steps: FakePipeline(quick=False), pool, budget=memory)
    pool.shutdown()
    assert preparer.request(delivery(1, "a"), "").cancelled()
    assert memory.used == 0


def test_recipes_that_are_gone_are_forgotten() -> None:
    built: list[Any] = []

    def build(steps: Any) -> FakePipeline:
        built.append(weakref.ref(chain := FakePipeline()))
        return chain

    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), build, pool)
        for number in range(PIPELINES + 10):
            preparer.at_once(replace(delivery(1, "a"), recipe=f"r{number}"), "")
    assert len(built) == PIPELINES + 10
    assert sum(reference() is not None for reference in built) == PIPELINES


def test_an_image_that_fails_without_the_node_dying_has_no_deaths_any_more() -> None:
    """Else a codec's plain error would come, after a restart, to be refused as deadly."""
    chain, marks = FakePipeline(quick=False), Marks({1: 2})

    def fail(instance: Instance) -> None:
        raise Permanent("the codec refuses", reason="codec")

    chain.fail = fail
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, in_hand=marks)
        with pytest.raises(Permanent):
            preparer.request(delivery(1, "a"), "").result(10)
    assert marks.died == {}


@pytest.mark.parametrize("forget", [Preparer.renew, Preparer._forget])
def test_as_much_is_kept_after_a_reload_or_a_shortage_as_before(forget: Callable[[Preparer], None]) -> None:
    chain = Encoder(size=1000)
    chain.go.set()
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool, keep=4000)

        def make(count: int) -> list[bool]:
            for number in range(count):
                preparer.request(delivery(number, "a"), "").result(10)
            pool.submit(int).result(10)
            return [preparer.at_once(delivery(number, "b"), "") for number in range(count)]

        assert make(6) == [False] * 2 + [True] * 4
        forget(preparer)
        assert not any(preparer.at_once(delivery(number, "b"), "") for number in range(6))
        assert make(4) == [True] * 4


def test_a_codec_thread_says_that_it_has_done_with_an_image() -> None:
    chain = Encoder()
    told: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: chain, pool)
        made = preparer.request(delivery(1, "a"), "")
        assert not made.is_made
        assert made.when_made(lambda: told.append("soon"))
        chain.go.set()
        made.result(10)
    assert made.is_made
    assert not made.when_made(lambda: told.append("late"))
    assert told == ["soon"]


def test_a_failure_is_kept_for_nobody_and_no_trouble(caplog: pytest.LogCaptureFixture) -> None:
    def fail(instance: Instance) -> None:
        raise ValueError("SECRET")

    with ThreadPoolExecutor(1) as pool:
        preparer = Preparer(FakeLedger(), lambda steps: FakePipeline(fail, quick=False), pool)
        with pytest.raises(ValueError, match="SECRET"):
            preparer.request(delivery(1, "a"), "").result(10)
        pool.submit(int).result(10)
    assert not caplog.records
