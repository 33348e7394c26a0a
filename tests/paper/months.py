"""A month of figures in a node's index, as a teleradiology office would see it: invented, always the same."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

from mapdr.store import Store
from mapdr.store.index.counters import RECEIVED, CounterKey, FailureKey, Failures, Increment
from mapdr.store.index.delays import bucket_of

SENDERS = (("CT1", "CT", 300, 524_288), ("MR2", "MR", 240, 131_072), ("US_ER", "US", 12, 900_000))
"""Who sends: source, modality, images of a study, bytes of an image."""

DESTINATIONS = {"telepacs": 8, "archive": 1}
"""By how much images become smaller on their way there."""


def fill(store: Store, first: date, days: int) -> None:
    """Count `days` from `first` on: busy weekdays, an outage on the fifth day, some studies refused."""
    chance = random.Random(1)
    study = 0
    for number in range(days):
        day = first + timedelta(days=number)
        busy = 2 if day.weekday() >= 5 else 9
        for source, modality, images, size in SENDERS:
            for _ in range(busy if modality != "US" else busy * 2):
                study += 1
                hour = min(23, max(0, round(chance.gauss(12, 3))))
                facts: dict[str, Any] = {"slow": number == 4, "chance": chance}
                _study(store, day, hour, (source, modality, images, size), study, **facts)
                if modality == "CT":
                    _study(store, day, hour, (source, "SR", 1, 40_000), study, **facts)


def _study(
    store: Store,
    day: date,
    hour: int,
    sender: tuple[str, str, int, int],
    study: int,
    *,
    slow: bool,
    chance: random.Random,
) -> None:
    source, modality, images, size = sender
    word = store.strings.number
    when = int(f"{day:%Y%m%d}{hour:02}")
    origin, kind = word(source), word(modality)
    images = max(1, round(images * chance.uniform(0.6, 1.4)))
    came = Increment(images=images, moved=images, bytes_received=images * size)
    counts = {CounterKey(when, RECEIVED, origin, kind, study): came}
    failures: dict[FailureKey, Failures] = {}
    for name, smaller in DESTINATIONS.items():
        delays: dict[int, int] = {}
        for _ in range(images):
            bucket = bucket_of(chance.lognormvariate(0.7, 0.6) + (5400 if slow and name == "telepacs" else 0))
            delays[bucket] = delays.get(bucket, 0) + 1
        sent = images * size // (smaller if modality != "SR" else 1)
        counts[CounterKey(when, word(name), origin, kind, study)] = Increment(
            images=images, moved=images, bytes_received=images * size, bytes_sent=sent, delays=delays
        )
        if name == "telepacs" and slow:
            failures[FailureKey(when // 100, word(name), origin, kind, "unreachable")] = Failures(
                images // 50
            )
        if name == "telepacs" and modality == "US" and chance.random() < 0.1:
            failures[FailureKey(when // 100, word(name), origin, kind, "refused")] = Failures(9, 3)
    with store.database.write() as connection:
        counted = store.counters.add(connection, counts, failures)
    store.counters.remember(counted)
