"""A pause of all forwarding: nothing goes out, nothing is tried or given up, and all goes once it ends."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from deliver.fakes import FakeEgress, FakeLedger, FakePipeline, settled
from deliver.test_decide import delivery
from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.settle.decide import decide
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.kernel.item import Outcome, Priority, Verdict
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.testing.wait import until


class Permit:
    """Pauses until `why` is empty; each time that it is asked can be waited for."""

    resumed_at = 0.0

    def __init__(self) -> None:
        self.why = "license"
        self.asked = threading.Semaphore(0)

    @property
    def pause(self) -> str:
        self.asked.release()
        return self.why


def test_while_it_pauses_nothing_is_leased_and_then_all_goes() -> None:
    ledger, egress, permit = FakeLedger(), FakeEgress(), Permit()
    ledger.add(50)
    ledger.add(5, priority=Priority.STAT)
    pool = ThreadPoolExecutor(2)
    preparer = Preparer(ledger, lambda steps: FakePipeline(), pool)
    deliverer = Deliverer(
        "pacs", egress, ledger, preparer, owner="node", watch=Watch(), permit=permit, tick=0.01
    )
    deliverer.start()
    try:
        for _ in range(20):
            assert permit.asked.acquire(timeout=10)
        assert ledger.states() == {"pending": 55}, "stat images wait too"
        assert (egress.connects, ledger.history, deliverer.facts()["pause"]) == ([], [], "license")
        permit.why = ""
        assert settled(ledger) == {"delivered": 55}
        permit.why = "license"
        until(lambda: deliverer.facts()["pause"] == "license", 5)
    finally:
        deliverer.stop(time.monotonic() + 2)
        pool.shutdown()


def test_a_pause_makes_no_image_older() -> None:
    gone = Outcome(Verdict.RETRY, None, "gone", peer_fault=True)
    policy = Retry(give_up=3600.0)
    now = time.time() + 4000
    for since, state in ((0.0, "parked"), (now - 3599, "pending"), (now - 3601, "parked")):
        decision = decide(delivery(), gone, policy, failures=1, now=now, waits_since=since)
        assert decision.state == state, since
