"""From a ledger row to the payload that one destination is promised; worked out once for those who share it.

Recipes come from the ledger by hash, so that a changed configuration never changes what was promised.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any, Protocol

from mapdr.deliver.lanes import weigh
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.stage import Memory
from mapdr.store.ledger import Delivery


class Chain(Protocol):
    """The transforms of one recipe."""

    def quick(self, instance: Instance) -> bool:
        """Whether `prepare`, without an override, takes no time worth a thread."""

    def prepare(self, instance: Instance, memory: Memory, syntax_override: str = "") -> Payload:
        """The payload; raises Permanent or Temporary, and then nothing may leave."""


class Recipes(Protocol):
    """The part of the ledger that is needed here."""

    def recipe(self, hash_: str) -> Mapping[str, Any]:
        """The steps that a recipe's hash stands for."""

    def memory(self, instance_id: str, recipe: str, syntax: str) -> Memory:
        """What transforms remember about one image."""


KEEP = 64 << 20
"""Bytes of prepared payloads kept for the next destination with the same recipe."""

Key = tuple[str, str, str]


class Preparer:
    """Shared by the destinations of a node. `build` makes the chain of a recipe's steps.

    What several destinations want is worked out once, on the threads of `pool`; at most `share` requests of
    one destination should wait there, so that none keeps the others from the codecs.
    """

    def __init__(
        self,
        recipes: Recipes,
        build: Callable[[Mapping[str, Any]], Chain],
        pool: Executor,
        *,
        share: int = 3,
        keep: int = KEEP,
    ) -> None:
        self.share = share
        self._recipes = recipes
        self._build = build
        self._pool = pool
        self._keep = keep
        self._lock = threading.Lock()
        self._chains: dict[str, Chain] = {}
        self._running: dict[Key, Future[Payload]] = {}
        self._done: OrderedDict[Key, Payload] = OrderedDict()
        self._kept = 0

    def at_once(self, delivery: Delivery, syntax: str) -> bool:
        """Whether `prepare` takes no time worth a thread: only the header changes, or the result is at hand.

        Raises Permanent when the recipe cannot be built here.
        """
        if not syntax and self._chain(delivery.recipe).quick(delivery.instance):
            return True
        return _key(delivery, syntax) in self._done

    def prepare(self, delivery: Delivery, syntax: str) -> Payload:
        """The payload in `syntax` (a transfer syntax UID that overrides the recipe's, or empty).

        Raises Permanent, Temporary, or whatever a faulty transform raises.
        """
        with self._lock:
            done = self._done.get(_key(delivery, syntax))
        if done is not None:
            return done
        chain = self._chain(delivery.recipe)
        memory = self._recipes.memory(delivery.instance.id, delivery.recipe, syntax)
        return chain.prepare(delivery.instance, memory, syntax)

    def request(self, delivery: Delivery, syntax: str) -> Future[Payload]:
        """`prepare` on a worker thread; who asks for the same payload meanwhile gets the same future."""
        key = _key(delivery, syntax)
        with self._lock:
            future = self._running.get(key)
            if future is not None:
                return future
            future = self._pool.submit(self.prepare, delivery, syntax)
            self._running[key] = future
        future.add_done_callback(lambda ended: self._ended(key, ended))
        return future

    def _ended(self, key: Key, future: Future[Payload]) -> None:
        with self._lock:
            self._running.pop(key, None)
            if future.cancelled() or future.exception() is not None:
                return
            payload = future.result()
            weight = weigh(payload)
            if weight > self._keep // 4 or key in self._done:
                return
            self._done[key] = payload
            self._kept += weight
            while self._kept > self._keep:
                _, oldest = self._done.popitem(last=False)
                self._kept -= weigh(oldest)

    def _chain(self, recipe: str) -> Chain:
        found = self._chains.get(recipe)
        if found is None:
            found = self._chains[recipe] = self._build(self._recipes.recipe(recipe))
        return found


def _key(delivery: Delivery, syntax: str) -> Key:
    return (delivery.instance.id, delivery.recipe, syntax)
