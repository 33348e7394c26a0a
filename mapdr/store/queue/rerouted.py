"""What a re-route is told of corrections, and what it says that it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from mapdr.kernel.item import TagPath


@dataclass(frozen=True, slots=True)
class ImageRerouted:
    """What became of one image: "promised" to those destinations `to`; "standing", for what the rules say of
    it is owed already, was not chosen, or is that it stays here; "unrouted", as no rule takes it; or
    "missing", its file gone or unreadable. `size` is its data set's, in bytes."""

    instance: str
    study_instance_uid: str
    sop_instance_uid: str
    state: str
    to: Sequence[str]
    size: int


@dataclass(frozen=True, slots=True)
class Rerouted:
    """What a re-route did: images read, deliveries promised, images whose file is gone or unreadable,
    images that no rule takes, deliveries that were superseded, and those that stay parked because today's
    rules do not name their destination. `to`: the promised deliveries by destination, and `bytes_to` the
    bytes of their data sets; `again`: how many of them are of an image that their destination has confirmed
    before. `uncorrected`: images that are promised as the rules say and were corrected before."""

    images: int = 0
    deliveries: int = 0
    missing: int = 0
    unrouted: int = 0
    superseded: int = 0
    still_parked: int = 0
    to: Mapping[str, int] = field(default_factory=dict)
    bytes_to: Mapping[str, int] = field(default_factory=dict)
    again: int = 0
    uncorrected: int = 0

    def __add__(self, other: Rerouted) -> Rerouted:
        sums: dict[str, Any] = {}
        for name in (each.name for each in fields(self)):
            mine, its = getattr(self, name), getattr(other, name)
            sums[name] = Counter(mine) + Counter(its) if isinstance(mine, Mapping) else mine + its
        return Rerouted(**sums)


@dataclass(frozen=True, slots=True)
class Corrections:
    """Values that an operator corrects before the rules' recipe: the new one by tag path, and who says so.

    The recipes that are promised must make them; here it is kept what each image had in their place.
    """

    operator: str
    values: Mapping[TagPath, str]
