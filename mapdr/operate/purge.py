"""Purging chosen images for good, on a person's word: their files, and what identifies them in the index."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from mapdr.kernel.errors import MapdrError
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.orders import note
from mapdr.operate.selection import Selection
from mapdr.operate.words import count, many

PATIENCE = 30.0
"""Seconds to wait for images that are on their way, where what is owed ends."""
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Purge:
    """Images that are gone for good, in how many studies, and how many bytes their files had.

    `to`: deliveries that were still owed of them, by destination. `on_the_way`: images that are being sent at
    this moment, and stay. `traces`: the database's log still holds what was purged, for another program reads
    it; that ends with its next checkpoint.
    """

    images: int
    studies: int
    bytes: int
    to: Mapping[str, int]
    on_the_way: int
    traces: bool
    dry_run: bool


def purge(
    opened: Access,
    chosen: Selection,
    *,
    even_undelivered: bool = False,
    dry_run: bool = False,
    patience: float = PATIENCE,
) -> Purge:
    """Purge what is chosen at this moment; what comes later is another image, also of the same study.

    Raises MapdrError while something is owed of one of them, and purges nothing, unless `even_undelivered`:
    then what is owed ends as dismissed, and what is on its way is waited for, for `patience` seconds. Raises
    RequestError for a selection without a condition; a limit alone is none.
    """
    if replace(chosen, limit=None).of_everything:
        raise RequestError("say what is purged, e.g. --patient ID or --state unrouted")
    store = opened.index(chosen)
    keys = store.erasure.choose(chosen)
    found = store.erasure.look(keys)
    to = Counter(found.owed)
    if dry_run or not found.images:
        traces = not dry_run and not store.database.empty_log()
        return Purge(found.images, found.studies, found.bytes, to, found.leased, traces, dry_run)
    if to and not even_undelivered:
        where = ", ".join(f"{name} {count(number)}" for name, number in sorted(to.items()))
        owed = many(to.total(), "delivery of it is", "deliveries of it are")
        raise MapdrError(f"{owed} still owed ({where}): nothing is purged; --even-undelivered ends them")
    # Before the first is gone: who is killed now has begun it.
    action = "purge --even-undelivered" if to else "purge"
    note(opened, action, found.images, to, of="images", chosen=chosen, done=False)
    left, until = keys, time.monotonic() + patience
    while True:
        if even_undelivered:
            store.erasure.dismiss(left)
        left = store.erasure.erase(left)
        if not left or not even_undelivered or time.monotonic() > until:
            break
        time.sleep(_PAUSE)
    stays = store.erasure.look(left)
    return Purge(
        images=found.images - stays.images,
        studies=found.studies,
        bytes=found.bytes - stays.bytes,
        to=to,
        on_the_way=stays.images,
        traces=not store.database.empty_log(),
        dry_run=False,
    )
