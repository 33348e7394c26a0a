"""How often each image was not taken, and what that says about who is the cause: the image or its receiver.

An image that ends sessions while its receiver takes others is the cause itself (design, decision 24); several
images in a row that are not taken are the receiver's trouble. Counted since the node's start, for one
destination.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from mapdr.store.queue.ledger import LeasedDelivery

IN_A_ROW = 4
"""So many images in a row not taken, or twice as many attempts, are the receiver's trouble."""

REMEMBERED = 10_000
"""The most images whose failures are remembered: about 2 MB."""


class _Failed(NamedTuple):
    """The failures of one image; `answers` is how many images had been answered at the first of them."""

    times: int
    answers: int
    ended_session: bool


class Failures:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[int, _Failed] = {}
        self._answers = 0
        self._in_a_row: Counter[int] = Counter()

    def count(self, delivery: LeasedDelivery, *, ended_session: bool = False) -> int:
        """An image was not taken once more, or could not be prepared; how often that was.

        `ended_session`: the session ended by it, so that it is sent on one of its own next time.
        """
        with self._lock:
            known = self._images.pop(delivery.id, None) or _Failed(0, self._answers, False)
            self._images[delivery.id] = _Failed(known.times + 1, known.answers, ended_session)
            if len(self._images) > REMEMBERED:
                del self._images[next(iter(self._images))]
            return known.times + 1

    def answered(self, images: int = 1) -> None:
        """The receiver has given so many images a final answer."""
        # Without the lock, for every image: only whether the number is 0, and whether it grew, is asked.
        self._answers += images
        self._in_a_row.clear()

    def receiver_in_trouble(self, delivery: LeasedDelivery) -> bool:
        """Count an image that was not taken, for no cause that is known; whether enough were in a row."""
        with self._lock:
            self._in_a_row[delivery.id] += 1
            if len(self._in_a_row) < IN_A_ROW and self._in_a_row.total() < 2 * IN_A_ROW:
                return False
            self._in_a_row.clear()
            return True

    def ended_session(self, delivery: LeasedDelivery) -> bool:
        """Whether a session ended by this image when it was last sent."""
        known = self._images.get(delivery.id)
        return known is not None and known.ended_session

    def limit(self, delivery: LeasedDelivery, tries: int) -> int:
        """After how many failures in all an image is parked as the cause of them; 0: nothing says that it is.

        `tries` if the receiver has answered others since the first failure, twice as many if only before it.
        """
        with self._lock:
            known = self._images.get(delivery.id)
            if known is None or not self._answers:
                return 0
            return tries if self._answers > known.answers else 2 * tries

    def forget(self, delivery_ids: Iterable[int]) -> None:
        """These rows have ended: a retry begins anew."""
        if not self._images:  # the usual case, without the lock
            return
        with self._lock:
            for id_ in delivery_ids:
                self._images.pop(id_, None)
