"""What became of one image, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mapdr.operate.access import Access
from mapdr.operate.deliveries import Delivery, deliveries
from mapdr.operate.selection import Selection


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened to an image.

    `kind` is "received", "attempt" (`word` is its verdict) or "settled" (`word` is the delivery's state).
    `batch` tells promises to one destination apart; `destination` is empty for what concerns all.
    """

    at: float
    kind: str
    destination: str
    batch: int
    word: str
    status: int | None
    reason: str
    comment: str


def timeline(opened: Access, sop_instance_uid: str, *, identify: bool = False) -> list[Step]:
    """Every step of the images with a SOP Instance UID, the oldest first; empty where there is none.

    An image that no rule took has no deliveries, and no steps. A receiver's own words as for `deliveries`.
    Raises MapdrError if there is no index.
    """
    chosen = Selection(sop_instance_uid=sop_instance_uid)
    superseded = Selection(sop_instance_uid=sop_instance_uid, state="superseded")
    rows = [
        row
        for each in (chosen, superseded)
        for row in deliveries(opened, each, identify=identify, attempts=True)
    ]
    came = {row.instance: Step(row.received_at, "received", "", 0, "", None, "", "") for row in rows}
    return sorted([*came.values(), *(step for row in rows for step in _steps(row))], key=lambda step: step.at)


def _steps(row: Delivery) -> Iterator[Step]:
    to = (row.destination, row.batch)
    for one in row.attempts_made or ():
        yield Step(one.started_at, "attempt", *to, one.verdict, one.status, one.reason, one.comment)
    if row.settled_at is not None:
        yield Step(row.settled_at, "settled", *to, row.state, row.status, row.reason, row.comment)
