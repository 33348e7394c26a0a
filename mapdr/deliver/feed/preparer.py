"""From a ledger row to the payload that one destination is promised; worked out once for those who share it.

Recipes come from the index by hash, so that a changed configuration never changes what was promised.
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from mapdr.deliver.feed.facts_writer import FactsWriter, Kept, Noted
from mapdr.deliver.feed.ready import weigh
from mapdr.kernel.budget import Budget, Limited, Share, Short
from mapdr.kernel.errors import Permanent
from mapdr.kernel.guard import contained
from mapdr.kernel.item import Instance, Payload
from mapdr.kernel.privacy import in_words
from mapdr.kernel.step import Memory
from mapdr.store.queue.inhand import ALONE, DEADLY, Key
from mapdr.store.queue.ledger import LeasedDelivery

log = logging.getLogger("mapdr.deliver")


class Pipeline(Protocol):
    """The transforms of one recipe."""

    def quick(self, instance: Instance) -> bool:
        """Whether `prepare`, without an override, takes no time worth a thread."""

    def prepare(self, instance: Instance, memory: Memory, syntax_override: str = "") -> Payload:
        """The payload; raises Permanent or Temporary, and then nothing may leave."""


class Recipes(Protocol):
    """The part of `mapdr.store.index.recipes.Recipes` that is needed here."""

    def recipe(self, hash_: str) -> Mapping[str, Any]:
        """The steps that a recipe's hash stands for."""

    def memory(self, instance_id: str, recipe: str, syntax: str) -> Memory:
        """What transforms remember about one image."""

    def keep(self, kept: Kept) -> None:
        """Store facts for what `memory` gave, durably and in one transaction."""


class InHand(Protocol):
    """What is noted of images whose bytes are worked on, should the node die of it: `store.queue.inhand`."""

    def begin(self, key: Key) -> int:
        """An image is in hand; gives the mark that `end` takes away."""

    def end(self, mark: int) -> None:
        """An image is no longer in hand."""

    def deaths(self, key: Key) -> int:
        """How often the node has died with it in hand."""

    def survived(self, key: Key) -> None:
        """Its deaths were not its fault."""


KEEP = 64 << 20
"""Bytes of prepared payloads kept for the next destination with the same recipe."""

QUICK = 64 << 10
"""Bytes that may be prepared without a share of the budget: the headers of nearly all images."""

PIPELINES = 256
"""Recipes that are kept ready: those of a configuration, and of some before it."""


class Preparation(Future[Payload]):
    """The payload that somebody asked for. Thread-safe."""

    def __init__(self) -> None:
        super().__init__()
        self._is_made = False
        self._then: list[Callable[[], None]] = []
        self._turn = threading.Lock()

    @property
    def is_made(self) -> bool:
        """Whether a codec thread has made the payload, which is sooner than it is handed out where something
        has to be kept first."""
        return self._is_made

    def when_made(self, then: Callable[[], None]) -> bool:
        """Have `then` called on the codec thread once it has made the payload, which is never where none is
        made; False if that was before. `then` raises nothing."""
        with self._turn:
            if not self._is_made:
                self._then.append(then)
            return not self._is_made

    def made(self) -> None:
        """The codec thread has made the payload."""
        with self._turn:
            self._is_made = True
        for then in self._then:
            then()


class Preparer:
    """Shared by the destinations of a node. `build` makes the pipeline of a recipe's steps.

    What several destinations want is worked out once, on the threads of `pool`; at most `share` requests of
    one destination should wait there, so that none keeps the others from the codecs. All that is worked on or
    prepared has its share of `budget`: who waits for it holds no thread.

    An image with which the node has died twice is tried alone; after the third time it is refused. One that
    found no memory, though it had its share, is tried alone at once: what else was at work may have had it.
    """

    def __init__(
        self,
        recipes: Recipes,
        build: Callable[[Mapping[str, Any]], Pipeline],
        pool: Executor,
        *,
        share: int = 3,
        keep: int = KEEP,
        budget: Budget | None = None,
        in_hand: InHand | None = None,
    ) -> None:
        self.share = share
        self._recipes = recipes
        self._build = contained(build)
        self._pool = pool
        self._facts = FactsWriter(recipes.keep)
        self._budget = budget or Budget()
        self._in_hand = in_hand
        self._keep = min(keep, self._budget.total // 8)
        self._lock = threading.Lock()
        self._pipelines: OrderedDict[str, Pipeline] = OrderedDict()
        self._running: dict[Key, Preparation] = {}
        self._done: OrderedDict[Key, Payload] = OrderedDict()
        self._kept = 0
        self._renewals = 0

    def close(self) -> None:
        """Hand out nothing more of which something must be kept first."""
        self._facts.close()

    def renew(self) -> None:
        """Make the pipelines anew before their next image, and keep nothing that the old ones made: what a
        recipe names outside of itself, such as a table's file, is as the configuration found it now."""
        with self._lock:
            self._pipelines.clear()
            self._running.clear()
            self._done.clear()
            self._kept = 0
            self._renewals += 1

    def crowded(self) -> bool:
        """Whether memory is so short that no destination should have more prepared than it sends next.

        To be asked now and then: whoever waits for memory is served then.
        """
        self._budget.tend()
        return self._budget.crowded

    @property
    def short_of_memory(self) -> bool:
        """Whether an image of any destination waits for its share of memory."""
        return self._budget.waiting > 0

    def at_once(self, delivery: LeasedDelivery, syntax: str) -> bool:
        """Whether `prepare` takes no time worth a thread: only the header changes, or the result is at hand.

        Raises Permanent when the recipe cannot be built here.
        """
        if not syntax and self._pipeline(delivery.recipe).quick(delivery.instance):
            return True
        return _key(delivery, syntax) in self._done

    def now(self, delivery: LeasedDelivery, syntax: str) -> Payload | None:
        """The payload if it takes neither time nor memory worth a thread and a share, else None.

        Raises as `prepare`.
        """
        if not self.at_once(delivery, syntax):
            return None
        if self._in_hand and self._in_hand.deaths(_key(delivery, syntax)):
            return None  # `request` marks it, tries it alone, or refuses it
        try:
            with Limited(QUICK).held():
                return self.prepare(delivery, syntax)
        except Short:
            return None

    def prepare(self, delivery: LeasedDelivery, syntax: str) -> Payload:
        """The payload in `syntax` (a transfer syntax UID that overrides the recipe's, or empty).

        Raises Permanent, Temporary, or whatever a faulty transform raises.
        """
        payload, noted = self._prepared(delivery, syntax)
        if noted is not None:
            self._facts.now(noted)
        return payload

    @contained
    def _prepared(self, delivery: LeasedDelivery, syntax: str) -> tuple[Payload, Noted | None]:
        """As `prepare`, with what must be kept before the payload is handed out; None of one at hand."""
        with self._lock:
            done = self._done.get(_key(delivery, syntax))
        if done is not None:
            return done, None
        pipeline = self._pipeline(delivery.recipe)
        noted = Noted(self._recipes.memory(delivery.instance.id, delivery.recipe, syntax))
        return pipeline.prepare(delivery.instance, noted, syntax), noted

    def request(self, delivery: LeasedDelivery, syntax: str) -> Preparation:
        """`prepare` on a worker thread; who asks for the same payload meanwhile gets the same future."""
        key = _key(delivery, syntax)
        future = Preparation()
        with self._lock:
            running = self._running.get(key)
            if running is not None:
                return running
            self._running[key] = future
        future.add_done_callback(lambda ended: self._ended(key, ended))
        self._ask(delivery, syntax, future, 0)
        return future

    def _ask(
        self,
        delivery: LeasedDelivery,
        syntax: str,
        future: Preparation,
        amount: int,
        *,
        alone: bool = False,
    ) -> None:
        """Have it worked on with `amount` bytes, once there are as many; `alone`, while nothing else is."""
        try:
            deaths = self._in_hand.deaths(_key(delivery, syntax)) if self._in_hand else 0
            if deaths >= DEADLY:
                raise _deadly(deaths)
            work = partial(self._begin, delivery, syntax, future)
            owner = delivery.destination
            self._budget.ask(amount, work, owner=owner, alone=alone or deaths >= ALONE)
        except Exception as error:  # noqa: BLE001  told to who asked for it
            future.set_exception(error)
            return
        if self._budget.waiting:
            self._forget()

    def _begin(self, delivery: LeasedDelivery, syntax: str, future: Preparation, share: Share) -> None:
        try:
            self._pool.submit(self._work, delivery, syntax, future, share)
        except RuntimeError:
            # The node stops, and takes no more work; or there is no thread, and it is queued all the same.
            share.release()
            future.cancel()

    def _work(self, delivery: LeasedDelivery, syntax: str, future: Preparation, share: Share) -> None:
        if future.cancelled():
            return
        key = _key(delivery, syntax)
        try:
            with self._marked(key), share.held():
                payload, noted = self._prepared(delivery, syntax)
            self._survived(key)
            if payload.share is not None:
                share.release()  # it was at hand, and has one
            else:
                share.rest(payload.in_memory)
                payload = replace(payload, share=share)
        except Short as short:
            share.release()
            self._ask(delivery, syntax, future, short.amount, alone=share.alone)
            return
        except BaseException as error:  # noqa: BLE001  told to who asked for it
            _clear_frames(error)
            share.release()
            if isinstance(error, MemoryError) and not share.alone:
                self._forget()
                self._ask(delivery, syntax, future, share.amount, alone=True)
                return
            self._survived(key)
            future.set_exception(error)
            del future  # its exception's traceback holds this very frame
            return
        if noted is None:
            future.set_result(payload)
            return
        future.made()
        try:
            then = partial(self._hand_out, payload, share, future)
            self._facts.soon(noted, then, last=not self._is_at_work())
        except RuntimeError:  # the node stops
            share.release()
            future.cancel()

    def _is_at_work(self) -> bool:
        """Whether an image is at work, or waits for a thread or for memory."""
        with self._lock:
            return any(not each.is_made for each in reversed(self._running.values()))

    def _hand_out(
        self, payload: Payload, share: Share, future: Future[Payload], error: Exception | None
    ) -> None:
        """What was to be kept of an image is, or could not be for `error`."""
        if error is None:
            future.set_result(payload)
        else:
            share.release()
            future.set_exception(error)

    @contextmanager
    def _marked(self, key: Key) -> Iterator[None]:
        """In hand, within the block."""
        if self._in_hand is None:
            yield
            return
        mark = self._in_hand.begin(key)
        try:
            yield
        finally:
            self._in_hand.end(mark)

    def _survived(self, key: Key) -> None:
        if self._in_hand is None:
            return
        try:
            self._in_hand.survived(key)
        except Exception as error:  # noqa: BLE001  the index is away: it is tried alone once more than it need be
            log.error("%s: its deaths stay counted: %s", key[0], in_words(error, places=False))

    def _forget(self) -> None:
        """Keep nothing for others while somebody waits for memory."""
        with self._lock:
            self._done.clear()
            self._kept = 0
        self._budget.tend()

    def _ended(self, key: Key, future: Future[Payload]) -> None:
        try:
            with self._lock:
                is_of_today = self._running.get(key) is future
                if is_of_today:
                    del self._running[key]
            if is_of_today:
                self._keep_for_others(key, future)
        except Exception as error:  # noqa: BLE001  `concurrent.futures` would log it, with what it quotes
            log.error("%s: a prepared image is not kept for others: %s", key[0], in_words(error))

    def _keep_for_others(self, key: Key, future: Future[Payload]) -> None:
        with self._lock:
            if future.cancelled() or future.exception() is not None:
                return
            payload = future.result()
            weight = weigh(payload)
            if weight > self._keep // 4 or key in self._done or self._budget.waiting:
                return
            self._done[key] = payload
            self._kept += weight
            while self._kept > self._keep:
                _, oldest = self._done.popitem(last=False)
                self._kept -= weigh(oldest)

    def _pipeline(self, recipe: str) -> Pipeline:
        with self._lock:
            found = self._pipelines.get(recipe)
            if found is not None:
                self._pipelines.move_to_end(recipe)
                return found
            renewals = self._renewals
        body = self._recipes.recipe(recipe)
        made = self._build(body)
        with self._lock:
            if renewals != self._renewals:
                return made  # of what was there before: for this image, which was begun then
            found = self._pipelines.setdefault(recipe, made)
            while len(self._pipelines) > PIPELINES:
                self._pipelines.popitem(last=False)
        return found


def _key(delivery: LeasedDelivery, syntax: str) -> Key:
    return (delivery.instance.id, delivery.recipe, syntax)


def _clear_frames(error: BaseException | None) -> None:
    """Let go of the pixels that the frames of an exception hold, for it lives longer than their share."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _deadly(deaths: int) -> Permanent:
    return Permanent(
        f"the node has ended {deaths} times while it worked on this image, the last time with nothing else "
        "at work; a retry tries it alone once more",
        reason="deadly",
    )
