"""What one transaction of a re-route promises: which promises are made, and which end for them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from mapdr.kernel.item import Priority
from mapdr.store.index import schema
from mapdr.store.index.schema import REPLACEABLE, UNDER_WAY, State
from mapdr.store.queue.rerouted import ImageRerouted, Rerouted

_delivery = schema.delivery


@dataclass(frozen=True, slots=True)
class Routed:
    """An image that is to be promised: recipes by destination, and what is corrected of it (tag, old, new).

    `taken` is False if no rule takes it, `stays` is True if rules do and send it nowhere; `readable` is False
    if its file is gone.
    """

    row: Row[Any]
    to: Mapping[int, int]
    taken: bool = True
    stays: bool = False
    readable: bool = True
    changes: Sequence[tuple[str, str, str]] = ()


@dataclass(slots=True)
class Promises:
    """What one transaction writes: rows of deliveries (`batch.DELIVERY_COLUMNS`), the numbers of those that
    end, the (study, destination) pairs that change, and images that rules keep here."""

    made: list[tuple[Any, ...]] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    changed: set[tuple[int, int]] = field(default_factory=set)
    corrected: list[dict[str, Any]] = field(default_factory=list)
    staying: set[bytes] = field(default_factory=set)
    gone: set[bytes] = field(default_factory=set)
    still_parked: int = 0
    again: int = 0
    uncorrected: int = 0

    def add(self, connection: Connection, image: Routed, concerned: AbstractSet[int] | None) -> None:
        """What the rules say of one image; `concerned` are the destinations of the chosen deliveries, None
        for all."""
        row = image.row
        if image.stays:
            self.staying.add(row.id)
        standing: dict[int, list[Row[Any]]] = defaultdict(list)
        batch, before_all = 0, len(self.made)
        for delivery in connection.execute(_promises_of(row)):
            standing[delivery.destination].append(delivery)
            batch = max(batch, delivery.batch + 1)
        for destination, recipe in image.to.items():
            before = standing.pop(destination, [])
            if before and concerned is not None and destination not in concerned:
                continue
            kept = [one for one in before if one.recipe == recipe and one.state in UNDER_WAY]
            replaced = [one for one in before if one.state in REPLACEABLE and one not in kept]
            self.replaced += [one.id for one in replaced]
            if replaced or not kept:
                self.changed.add((row.study, destination))
            if not kept:
                self.again += any(one.state == State.DELIVERED for one in before)
                # What an operator has stopped stays stopped.
                state = State.HELD if any(one.state == State.HELD for one in replaced) else State.PENDING
                self.made.append(
                    (row.id, row.study, destination, batch, int(Priority.BULK), recipe, int(state), 0.0)
                )
        if image.changes and len(self.made) > before_all:
            self.corrected.append(
                {
                    "instance": row.id,
                    "batch": batch,
                    "study": row.study,
                    "changes": json.dumps(image.changes, separators=(",", ":")),
                }
            )
        self.still_parked += sum(
            one.state == State.PARKED and (concerned is None or destination in concerned)
            for destination, rows in standing.items()
            for one in rows
        )


def told(
    routed: Sequence[Routed], written: Promises, name: Callable[[int], str]
) -> tuple[Rerouted, Sequence[ImageRerouted]]:
    """What one transaction did, in all and of each image; `name` gives a destination's by its number."""
    sizes = {bytes(one.row.id): one.row.size for one in routed}
    to: Counter[str] = Counter()
    bytes_to: Counter[str] = Counter()
    by_image: dict[bytes, list[str]] = defaultdict(list)
    for key, _, destination, *_ in written.made:
        to[name(destination)] += 1
        bytes_to[name(destination)] += sizes[bytes(key)]
        by_image[bytes(key)].append(name(destination))
    images = []
    for one in routed:
        key = bytes(one.row.id)
        promised = by_image.get(key, [])
        state = "promised" if promised else "standing" if one.taken else "unrouted"
        if not one.readable or key in written.gone:
            state = "missing"
        facts = (key.hex(), one.row.study_uid, one.row.sop_instance_uid)
        images.append(ImageRerouted(*facts, state, promised, one.row.size))
    states = Counter(one.state for one in images)
    sums = Rerouted(
        images=len(images) - states["missing"],
        deliveries=len(written.made),
        missing=states["missing"],
        unrouted=states["unrouted"],
        superseded=len(written.replaced),
        still_parked=written.still_parked,
        to=to,
        bytes_to=bytes_to,
        again=written.again,
        uncorrected=written.uncorrected,
    )
    return sums, images


def _promises_of(row: Row[Any]) -> Select[Any]:
    return (
        select(
            _delivery.c.id,
            _delivery.c.destination,
            _delivery.c.recipe,
            _delivery.c.state,
            _delivery.c.batch,
        )
        .where(_delivery.c.study == row.study, _delivery.c.instance == row.id)
        .with_for_update()
    )
