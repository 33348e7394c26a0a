"""How often each image was not taken, and what that says about who is the cause: the image or its receiver.

An image that ends sessions while its receiver takes others is the cause itself (design, decision 24); several
images in a row that are not taken are the receiver's trouble. A session that ends without a word of the
receiver may have been cut by the network, which cuts whatever is on the way: that proves less, and nothing at
all unless something else came through since the image was lost before. Counted since the node's start, for
one destination.
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

CUTS = 2, 5
"""After this many times its tries, at least and at most, an image is the cause of sessions that were cut."""


class _Failed(NamedTuple):
    """The failures of one image.

    `answers` is how many images had been answered at the first of them, `innocent` how many had been taken
    that had ended a session before, `last` how many had been answered at the latest. `cuts` counts those by
    which a session was cut while something came through, `probes` those of them where it was a probe alone.
    `was_cut` is said of the latest; `probed`: a probe was answered since.
    """

    times: int
    answers: int
    innocent: int
    last: int
    ended_session: bool = False
    was_cut: bool = False
    probed: bool = False
    cuts: int = 0
    probes: int = 0


class Failures:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._images: dict[int, _Failed] = {}
        self._answers = 0
        self._innocent = 0
        self._in_a_row: Counter[int] = Counter()

    def count(
        self,
        delivery: LeasedDelivery,
        *,
        ended_session: bool = False,
        cut: bool = False,
        against: bool = False,
    ) -> int:
        """An image was not taken once more, or could not be prepared; how often that was.

        `ended_session`: the session ended by it, so that it is sent on one of its own next time. `cut`: it
        did so without a word of the receiver; `against`: that counts against the image (`limit` was not 0).
        """
        with self._lock:
            answers = self._answers
            known = self._images.pop(delivery.id, None) or _Failed(0, answers, self._innocent, answers)
            self._images[delivery.id] = known._replace(
                times=known.times + 1,
                last=answers,
                ended_session=ended_session,
                was_cut=cut,
                probed=False,
                cuts=known.cuts + (cut and against),
                probes=known.probes + (cut and against and known.probed and answers == known.last),
            )
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

    def wants_probe(self, delivery: LeasedDelivery) -> bool:
        """Whether an image was cut, and nothing that would show whose fault it was came through since."""
        known = self._images.get(delivery.id)
        return known is not None and known.was_cut and not known.probed and self._answers == known.last

    def probe_answered(self, delivery: LeasedDelivery) -> None:
        """The receiver has answered a probe, before the image is sent again."""
        with self._lock:
            known = self._images.get(delivery.id)
            if known is not None:
                self._images[delivery.id] = known._replace(probed=True)

    def cuts(self, delivery: LeasedDelivery) -> int:
        """How often a session was cut by an image while something else came through."""
        known = self._images.get(delivery.id)
        return known.cuts if known is not None else 0

    def limit(self, delivery: LeasedDelivery, tries: int, *, cut: bool = False) -> int:
        """After how many failures in all an image is parked as the cause of them; 0: nothing says that it is.

        `tries` if the receiver has answered others since the first failure, twice as many if only before it.

        Where the session was `cut` now, nothing says so unless another image, or a probe, was answered since
        the image was lost before. Then it is `CUTS`: the more of them the more images were lost in the same
        way meanwhile and then taken, for each of these shows that sessions are cut here for no image's fault;
        and one more for each cut of which a probe alone says that the way was good, for it is short.
        """
        with self._lock:
            known = self._images.get(delivery.id)
            if known is None or not self._answers:
                return 0
            others_taken = self._answers > known.answers
            if not cut:
                return tries if others_taken else 2 * tries
            taken_since = self._answers > known.last
            if not taken_since and not known.probed:
                return 0
            least, most = (times * tries for times in CUTS)
            allowed = self._innocent - known.innocent + known.probes + (not taken_since)
            return min(least + allowed, most) if others_taken else most

    def forget(self, ended: Iterable[tuple[int, bool]]) -> None:
        """These rows, by their id, have ended, those with True as delivered: a retry begins anew."""
        if not self._images:  # the usual case, without the lock
            return
        with self._lock:
            for id_, delivered in ended:
                known = self._images.pop(id_, None)
                if known is not None and delivered:
                    self._innocent += known.ended_session
