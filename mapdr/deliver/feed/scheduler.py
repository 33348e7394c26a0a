"""Has the leased images of one destination prepared, and puts them into its ready queue.

What takes no time (the header alone changes, or another destination had it prepared) is prepared at once.
The rest waits here for a codec thread: as much as may wait in memory, and as is fair to other destinations.
An image that cannot be prepared is settled here and never reaches a sender: it fails closed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from mapdr.deliver.feed.preparer import Preparer
from mapdr.deliver.feed.ready import STAT, QueuedImage, ReadyQueue
from mapdr.deliver.feed.syntaxes import Syntaxes
from mapdr.deliver.settle.decide import OWN_FAULTS, decide_unprepared
from mapdr.deliver.settle.failures import Failures
from mapdr.deliver.settle.leases import EndedAttempt, Leases
from mapdr.kernel.errors import Temporary
from mapdr.kernel.item import Outcome, Payload, Sent, Verdict
from mapdr.kernel.privacy import in_words
from mapdr.kernel.watch import Watch
from mapdr.net.retry import Retry
from mapdr.store.index.fault import fault_of_the_index
from mapdr.store.queue.ledger import LeasedDelivery

log = logging.getLogger("mapdr.deliver")

AHEAD = 64 << 20
"""Bytes of images that may be at work or prepared, beyond the first: in memory or in temporary files."""


class Scheduler:
    """Thread-safe. A codec thread that has done with an image is given the next one at once; `on_progress` is
    called where there is none, or no room for it."""

    def __init__(
        self,
        destination: str,
        preparer: Preparer,
        ready: ReadyQueue,
        leases: Leases,
        *,
        failures: Failures,
        syntaxes: Syntaxes,
        retry: Retry,
        watch: Watch,
        on_progress: Callable[[], None],
    ) -> None:
        self.at_once = preparer.share
        """How many images may be with the codec threads."""
        self._destination = destination
        self._preparer = preparer
        self._ready = ready
        self._leases = leases
        self._failures = failures
        self._syntaxes = syntaxes
        self._retry = retry
        self._watch = watch
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._waiting: deque[QueuedImage] = deque()
        self._at_work: set[int] = set()  # rows whose images are with the codec threads
        self._underway: dict[int, int] = {}  # row -> bytes that its image counts for, until it is ready
        self.lacks_room = False
        """Whether images wait for memory that others take until they are sent, rather than for a thread."""

    def add(self, deliveries: Iterable[LeasedDelivery]) -> None:
        """Take leased rows, in the ledger's order, into the ready queue: prepared, or to be."""
        images = []
        for delivery in deliveries:
            alone = self._failures.ended_session(delivery)
            image = QueuedImage(delivery, syntax=delivery.syntax, alone=alone)
            try:
                self._prepare_now(image)
            except Exception as error:  # noqa: BLE001  fails closed: settled with the reason, shown
                self._settle(image, error)
                continue
            images.append(image)
        # First: a codec thread may take one as soon as it waits, and have it ready.
        self._ready.add(images)
        with self._lock:
            self._waiting += [image for image in images if image.payload is None]
            if self._waiting and any(image.delivery.priority == STAT for image in images):
                by_priority = sorted(self._waiting, key=lambda image: image.delivery.priority != STAT)
                self._waiting = deque(by_priority)
        self.submit()

    def submit(self) -> None:
        """Give the codec threads work, if there is room for it."""
        crowded = self._preparer.crowded()
        while (image := self._next(crowded=crowded)) is not None:
            try:
                self._request(image)
            except Exception as error:  # noqa: BLE001  fails closed: settled with the reason, shown
                self._failed(image, error)

    def _next(self, *, crowded: bool) -> QueuedImage | None:
        """The image that a codec thread may have next; it counts as at work from now on."""
        with self._lock:
            self.lacks_room = False
            if not self._waiting or len(self._at_work) >= self.at_once:
                return None
            size = self._waiting[0].delivery.instance.size
            held = self._ready.weight + sum(self._underway.values())
            self.lacks_room = bool(held) and (crowded or held + size > AHEAD)
            if self.lacks_room:
                return None
            image = self._waiting.popleft()
            self._begun(image)
            return image

    def _begun(self, image: QueuedImage) -> None:
        self._at_work.add(image.delivery.id)
        size = image.delivery.instance.size
        # One that is larger than all that may be ahead leaves the half to those behind it.
        self._underway[image.delivery.id] = AHEAD // 2 if size > AHEAD else size

    def clear(self) -> None:
        """Forget the images that wait for a codec thread: they are given back to the ledger."""
        with self._lock:
            self._waiting.clear()

    def _prepare_now(self, image: QueuedImage) -> None:
        """Prepare an image that takes no time, unless the receiver is known to refuse its syntax."""
        payload = self._preparer.now(image.delivery, image.syntax)
        if payload is None:
            return
        need = payload.need
        instead = self._syntaxes.instead(need)
        if instead:
            image.syntax = instead
        else:
            image.payload, image.need = _urgent(image, payload), need
            self._syntaxes.needed(need)

    def _request(self, image: QueuedImage) -> None:
        future = self._preparer.request(image.delivery, image.syntax)
        if not future.when_made(partial(self._made, image)):
            with self._lock:  # for another destination; who asks goes on with the next one himself
                self._at_work.discard(image.delivery.id)
        future.add_done_callback(lambda ended: self._ended(image, ended))

    def _ended(self, image: QueuedImage, future: Future[Payload]) -> None:
        """`_prepared`; what it raises would be logged by `concurrent.futures`, with what it quotes."""
        try:
            self._prepared(image, future)
        except Exception as error:  # noqa: BLE001  the last guard
            log.error("%s: a prepared image was not taken up: %s", self._destination, in_words(error))

    def _prepared(self, image: QueuedImage, future: Future[Payload]) -> None:
        """A codec thread has ended with an image: it is ready, or has to be prepared in another syntax."""
        try:
            payload = future.result()
            need = payload.need
            instead = self._syntaxes.instead(need)
            if instead and instead != image.syntax:
                image.syntax = instead
                with self._lock:
                    self._begun(image)
                self._request(image)
                self.submit()  # where it was made before, nobody else goes on
                return
            self._syntaxes.needed(need)
            self._ready.prepared(image, _urgent(image, payload))
        except Exception as error:  # noqa: BLE001  fails closed: settled with the reason, shown
            self._failed(image, error)
            return
        self._done_with(image)

    def _failed(self, image: QueuedImage, error: Exception) -> None:
        try:
            if self._ready.claim(image):
                self._settle(image, error)
        finally:
            self._leases.give_back([image.delivery])  # does nothing if it was settled
            self._done_with(image)

    def _made(self, image: QueuedImage) -> None:
        """A codec thread has done with it, and is free for the next one."""
        try:
            with self._lock:
                self._at_work.discard(image.delivery.id)
            self.submit()
            if self.lacks_room or not self._waiting:
                self._on_progress()
        except Exception as error:  # noqa: BLE001  the last guard: the codec thread has another image to end
            log.error("%s: the next image was not taken up: %s", self._destination, in_words(error))

    def _done_with(self, image: QueuedImage) -> None:
        """It is ready, or never will be: the codec threads have nothing to do with it any more."""
        with self._lock:
            self._underway.pop(image.delivery.id, None)
            was_at_work = image.delivery.id in self._at_work
            self._at_work.discard(image.delivery.id)
        if was_at_work or self.lacks_room:
            self._on_progress()

    def _settle(self, image: QueuedImage, error: Exception) -> None:
        """End or postpone a row whose image could not be prepared."""
        if fault := fault_of_the_index(error):
            error = Temporary(f"the index cannot be used now: {fault}")  # no fault of the image
        delivery, now, words = image.delivery, time.time(), in_words(error, places=False)
        failures = self._failures.count(delivery) if isinstance(error, Temporary) else 0
        decision = decide_unprepared(delivery, error, self._retry, failures=failures, now=now)
        parked = decision.state == "parked"
        outcome = Outcome(Verdict.REFUSED if parked else Verdict.RETRY, comment=words)
        if not self._leases.settle([EndedAttempt(delivery, decision, Sent(outcome, now, 0.0))]):
            return
        self._watch.count(f"deliver.{self._destination}.{'parked' if parked else 'retries'}")
        if decision.reason in OWN_FAULTS:
            log.error("%s: %s could not be prepared: %s", self._destination, delivery.instance.id, words)


def _urgent(image: QueuedImage, payload: Payload) -> Payload:
    """The payload, marked if its delivery is STAT: what was prepared may serve others that are not."""
    return replace(payload, stat=True) if image.delivery.priority == STAT else payload
