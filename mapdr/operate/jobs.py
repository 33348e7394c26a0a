"""Re-routes with a name, which go on where they were, and how fast a re-route goes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.store.queue.jobs import Job
from mapdr.store.queue.rerouted import ImageRerouted, Rerouted

PORTION = 200
"""Images of one transaction: more save little, and keep the node's own writer waiting."""

Step = tuple[Rerouted, Sequence[ImageRerouted]]


@dataclass(frozen=True, slots=True)
class Named:
    """A re-route that goes on where it was: its name, and what it was asked for, word by word."""

    name: str
    asked: str


def portion(rate: float | None) -> int:
    """Images of one transaction where so many a second are promised: those of a quarter of a second."""
    return PORTION if rate is None else max(1, min(PORTION, int(rate / 4)))


def paced(steps: Iterator[Step], rate: float | None) -> Iterator[Step]:
    """The steps of a re-route, each begun when its time has come."""
    begin, images = time.monotonic(), 0
    for step in steps:
        yield step
        if rate is not None:
            images += len(step[1])
            time.sleep(max(0.0, begin + images / rate - time.monotonic()))


def _request(opened: Access, named: Named) -> str:
    """What was asked for, as a hash: it may name a patient."""
    from mapdr.config.site import site_key  # most actions need it not, and it costs

    key = site_key(opened.plan.node.data)
    return hashlib.blake2b(named.asked.encode("utf-8", "replace"), digest_size=16, key=key).hexdigest()


def known(opened: Access, named: Named | None) -> Job | None:
    """The job of a name that was used before, None if there is none. Raises RequestError if something else
    was asked for under that name."""
    found = opened.index().jobs.find(named.name) if named else None
    return _of_request(opened, named, found) if named and found else None


def begun(opened: Access, named: Named, keys: Sequence[bytes]) -> Job:
    """A new job over these images; the one of another process, if that was quicker. Raises as `known`."""
    made = opened.index().jobs.begin(named.name, _request(opened, named), opened.actor.user, keys)
    return _of_request(opened, named, made)


def _of_request(opened: Access, named: Named, job: Job) -> Job:
    if job.request != _request(opened, named):
        raise RequestError(
            f'"{named.name}" was asked for in other words; repeat those, or take another name', field="name"
        )
    return job
