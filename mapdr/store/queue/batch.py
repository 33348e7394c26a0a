"""What one transaction of the ingest works on: arrivals as entries, and what they lead to; and how rows of
deliveries are written, here and by a re-route."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mapdr.kernel.item import Arrival
from mapdr.store.index.counters import CounterKey, Increment

DELIVERY_COLUMNS = ("instance", "study", "destination", "batch", "priority", "recipe", "state", "not_before")
"""What is written of a delivery that is promised, in this order."""


@dataclass(slots=True)
class Entry:
    """An arrival with what is known of it before the transaction; names are numbers already."""

    arrival: Arrival
    promises: list[tuple[int, int]]  # destination, recipe
    priorities: Mapping[int, int]  # of destinations that are not of routine priority
    taken: bool  # by a rule, be it one that sends nowhere
    study_uid: str
    series_uid: str
    uid: str
    uid_hash: int
    source: int
    origin: int
    modality: int
    sop_class: int
    syntax: int
    revision: int
    study: int = 0
    series: int = 0
    fresh: bool = False  # its series is new: nothing can have come before


@dataclass(slots=True)
class Batch:
    """What a transaction gathers before it writes; `intact` says which kept files are, as far as they
    were looked at."""

    intact: Mapping[bytes, bool]
    unread: set[bytes] = field(default_factory=set)
    instances: list[tuple[Any, ...]] = field(default_factory=list)
    deliveries: list[tuple[Any, ...]] = field(default_factory=list)
    counts: dict[CounterKey, Increment] = field(default_factory=lambda: defaultdict(Increment))
    progress: set[tuple[int, int]] = field(default_factory=set)
    arrived: dict[int, float] = field(default_factory=dict)  # study, its last image's time
    sent: dict[int, float] = field(default_factory=dict)  # source, the same
    destinations: set[int] = field(default_factory=set)
    absorbed: list[str] = field(default_factory=list)
