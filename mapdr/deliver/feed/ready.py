"""The ready queue of one destination: images that are leased and not yet sent, in the order of the ledger.

The ledger hands out rows by priority, study and arrival; this keeps that order, and puts STAT images before
what was leased earlier. A sender takes the first image that is prepared and that its session covers, so that
an image whose codec is still at work, or that needs another session, delays none behind it; for a STAT
image another session is opened at once.

```
  ledger --lease--> add --> [ prepared | at work | prepared | ... ] --take--> senders
                                      drain --> back to the ledger
```
An image that no open session covers stays here, reserved for the sender that opens one for it; another sender
that has a session for it may take it meanwhile.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from mapdr.kernel.item import Need, Payload, Priority
from mapdr.kernel.stage import Batch
from mapdr.store.queue.ledger import LeasedDelivery

PATIENCE = 64
"""How many images may overtake one that needs another session before it is taken all the same; none a STAT
one."""

STAT = int(Priority.STAT)
"""A plain number, since it is asked of every image: to compare it with a member of the enumeration takes
three times as long."""


@dataclass(slots=True, eq=False)
class QueuedImage:
    """One leased row; `payload` and `need` are set once it is prepared, in transfer syntax `syntax` if set.

    `reserved`: it is in the queue, and a sender opens a session for it. `alone`: it is sent on a new session
    of its own, for the last one may have ended by it. `rank`: its place in the queue.
    """

    delivery: LeasedDelivery
    payload: Payload | None = None
    need: Need | None = None
    syntax: str = ""
    reserved: bool = False
    alone: bool = False
    rank: tuple[bool, int] = (True, 0)


_rank = attrgetter("rank")


class Taken(NamedTuple):
    """An image for the caller of `take`: out of the queue, or `reserved` in it.

    The same word of the image itself is the queue's: another sender may have taken it since.
    """

    image: QueuedImage
    reserved: bool


class ReadyQueue:
    """Thread-safe; bounded by whoever adds, who asks `len` and `weight`. `on_take` is called after a take."""

    def __init__(self, on_take: Callable[[], None] = lambda: None) -> None:
        self._on_take = on_take
        self._changed = threading.Condition()
        self._images: dict[int, QueuedImage] = {}
        self._prepared: list[QueuedImage] = []  # by rank: few of many while codecs are at work
        self._first_place = self._next_place = 0
        self._weight = 0
        self._overtaken = 0
        self.wanted = 1
        """How many images a session last wanted at once: who fills the queue leases as many for each."""
        self.others_taken = 0
        """How many images that are not STAT have left the queue to be sent."""
        self._closed = False

    def add(self, images: list[QueuedImage]) -> None:
        """Append images, prepared or not; STAT ones come before all others."""
        with self._changed:
            for image in images:
                self._put(image, self._next_place)
                self._next_place += 1
            self._changed.notify(len(images))

    def prepared(self, image: QueuedImage, payload: Payload) -> bool:
        """The payload of `image` is there; False if it was drained meanwhile."""
        with self._changed:
            if not self._has(image):
                return False
            image.payload = payload
            image.need = payload.need
            insort(self._prepared, image, key=_rank)
            self._weight += weigh(payload)
            self._changed.notify()
            return True

    def take(self, covers: Callable[[Need], bool] | None, timeout: float | None) -> Taken | None:
        """The first prepared image whose need `covers`, or else the first prepared one.

        The former leaves the queue. The latter, for which the caller has no session (`covers` is None where
        it has none at all), is `reserved` for it: it opens one, and then calls `claim`. Waits up to `timeout`
        seconds for an image, without one as long as it takes; None then, or when closed. Raises what `covers`
        raises; nothing is taken then.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while (found := self._first(covers)) is None and not self._closed:
                left = None if deadline is None else deadline - time.monotonic()
                if (left is not None and left <= 0) or not self._changed.wait(left):
                    return None
            if found is None or self._closed:
                return None
            image, covered = found
            if not covered:
                image.reserved = True
                self._changed.notify_all()  # a sender that waits may have a session for it
                return Taken(image, reserved=True)
            self._pop(image)
        self._on_take()
        return Taken(image, reserved=False)

    def following(
        self, first: QueuedImage, fits: Callable[[Need], bool], batch: Batch, senders: int
    ) -> list[QueuedImage]:
        """Take prepared images that follow `first`, which was just taken, as far as each need `fits`.

        They are no more than `batch` with `first`, nor than a fair share if `senders` take from here.
        """
        found: list[QueuedImage] = []
        known: Need | None = None
        self.wanted = batch.images
        most = min(batch.images, len(self._images) // senders) - 1
        room = batch.bytes - _length(first)
        if most < 1:
            return found
        with self._changed:
            for image in self._prepared:
                need = image.need
                assert need is not None
                if len(found) >= most or image.alone:
                    break
                if need != known and not fits(need):
                    break
                room -= _length(image)
                if room < 0:
                    break
                known = need
                found.append(image)
            for image in found:
                self._pop(image)
        return found

    def put_back(self, images: Iterable[QueuedImage], *, reserved: bool = False) -> None:
        """Images that were taken come first again, in their order; `reserved` until `claim`, as by `take`."""
        with self._changed:
            for image in reversed(list(images)):
                self._first_place -= 1
                self._put(image, self._first_place)
                image.reserved = reserved
            # All of them: the one that `notify` would choose may be one that may not take it.
            self._changed.notify_all()

    def claim(self, image: QueuedImage) -> bool:
        """Take an image out, such as a reserved one; False if somebody took it before, or it was drained."""
        with self._changed:
            if not self._has(image):
                return False
            self._pop(image)
            return True

    def drain(self) -> list[QueuedImage]:
        """Remove and return every image; what is still being prepared is then refused by `prepared`."""
        with self._changed:
            images = sorted(self._images.values(), key=_rank)
            self._images.clear()
            self._prepared.clear()
            self._weight = 0
            return images

    def close(self) -> None:
        """End every `take`, now and later."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def needs(self) -> list[Need]:
        """The distinct needs of prepared images, in order."""
        with self._changed:
            return list(dict.fromkeys(image.need for image in self._prepared if image.need))

    def unprepared(self) -> int:
        """How many images in it wait for a codec or for memory."""
        with self._changed:
            return len(self._images) - len(self._prepared)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def weight(self) -> int:
        """Bytes that were made for prepared payloads (`weigh`)."""
        return self._weight

    def _first(self, covers: Callable[[Need], bool] | None) -> tuple[QueuedImage, bool] | None:
        """The image to take next, and whether its need is covered."""
        first = None
        for image in self._prepared:
            assert image.need is not None
            if image.reserved:
                if covers is not None and not image.alone and covers(image.need):
                    return image, True
                continue
            if covers is not None and covers(image.need):
                self._overtaken = 0 if first is None else self._overtaken + 1
                return image, True
            if first is None:
                first = image
                if covers is None or self._overtaken >= PATIENCE or image.delivery.priority == STAT:
                    break
        self._overtaken = 0
        return None if first is None else (first, False)

    def _has(self, image: QueuedImage) -> bool:
        return self._images.get(image.delivery.id) is image

    def _put(self, image: QueuedImage, place: int) -> None:
        """Put it in, before what has a later place; all STAT ones before all others."""
        if (before := self._images.get(image.delivery.id)) is not None:
            self._remove(before)  # its lease had run out, and the row was leased again
        image.rank = image.delivery.priority != STAT, place
        self._images[image.delivery.id] = image
        if image.need is not None:
            insort(self._prepared, image, key=_rank)
        self._weight += weigh(image.payload)

    def _pop(self, image: QueuedImage) -> None:
        image.reserved = False
        if image.delivery.priority != STAT:
            self.others_taken += 1
        self._remove(image)

    def _remove(self, image: QueuedImage) -> None:
        if image.need is not None:
            del self._prepared[bisect_left(self._prepared, image.rank, key=_rank)]
        del self._images[image.delivery.id]
        self._weight -= weigh(image.payload)


def _length(image: QueuedImage) -> int:
    return 0 if image.payload is None else image.payload.length


def weigh(payload: Payload | None) -> int:
    """The bytes that were made for a payload, in memory or in temporary files; not those of the spool."""
    return 0 if payload is None else payload.made
