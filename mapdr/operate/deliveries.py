"""Deliveries: what became of each image at each destination, and the reason why it waits or is parked."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from mapdr.kernel.errors import OWN_FAULT
from mapdr.kernel.item import Priority
from mapdr.operate import waits
from mapdr.operate.access import Access
from mapdr.operate.compression import Compression, compressions_sent
from mapdr.operate.destinations import standing
from mapdr.operate.errors import RequestError
from mapdr.operate.model import Destination
from mapdr.operate.selection import UNROUTED, Selection
from mapdr.operate.studies import by_keyword
from mapdr.operate.words import answer, duration, weekday_and_clock
from mapdr.store.queue.listing import Attempt, DeliveryRow

__all__ = ["Attempt", "Delivery", "deliveries"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One image for one destination, promised once (`batch`), with the recipe of that hash.

    `reason` and `comment` say why it is in its state; of one that is owed, why it has not gone yet.
    `tries` counts its attempts, `attempts` those since it was promised or retried; `due_at` is when it may be
    tried. From `status` on, all is of its last attempt, and None or empty if there was none: `last_comment`
    is what was answered, `sent_sop_instance_uid` the UID that was sent, `credential` what the receiver has
    proved to be.

    `attempts_made` and `compression` (of the last attempt) are None unless they were asked for, as are
    `study_date` and `tags`, which identify the patient. A receiver's own words may quote a value of the
    image: unless those were asked for, they are what its status means.
    """

    id: int
    instance: str
    study_instance_uid: str
    study_date: str | None
    sop_instance_uid: str
    modality: str | None
    destination: str
    batch: int
    priority: str
    recipe: str
    state: str
    reason: str
    comment: str
    attempts: int
    due_at: float | None
    received_at: float
    settled_at: float | None
    tags: Mapping[str, str] | None
    tries: int
    status: int | None
    status_protocol: str
    treatment: str
    transfer_syntax_uid: str
    sent_sop_instance_uid: str
    bytes: int | None
    milliseconds: int | None
    last_comment: str
    credential: str = ""
    attempts_made: Sequence[Attempt] | None = None
    compression: Compression | None = None


def deliveries(
    opened: Access, chosen: Selection, *, identify: bool = False, attempts: bool = False
) -> list[Delivery]:
    """The deliveries that a selection chooses, the newest first; with `attempts`, every attempt at each.

    What identifies (`identify`) is shown once the audit has it. Raises MapdrError if there is no index,
    AuditError, and RequestError for what no delivery can be.
    """
    if chosen.state == UNROUTED:
        raise RequestError(
            "an image that no rule takes has no delivery; see: mapdr studies --state unrouted", field="state"
        )
    store = opened.index(chosen)
    if identify:
        opened.show_who("deliveries", chosen)
    found = store.listing.select(chosen)
    rows = [_delivery(row, identify) for row in found]
    waited_for = {row.destination for row in rows if row.state in ("pending", "leased")}
    if waited_for:
        last_image = {row.study_instance_uid: row.study_received_at for row in found}
        rows = with_waits(rows, standing(opened, waited_for), time.time(), last_image)
    if attempts:
        made = store.listing.attempts([row.id for row in rows])
        rows = [
            replace(
                row,
                attempts_made=[_attempt(one, identify) for one in made[row.id]],
                compression=compression,
            )
            for row, compression in zip(rows, compressions_sent(store, found), strict=True)
        ]
    return rows


def with_waits(
    rows: Iterable[Delivery],
    destinations: Iterable[Destination],
    now: float,
    last_image: Mapping[str, float] = MappingProxyType({}),
) -> list[Delivery]:
    """The rows; those that are owed say why they have not gone, in one word of `waits.REASONS`.

    What keeps a row back itself comes before what keeps its destination.
    `last_image`: when the last image of each study came, by its UID, for destinations that wait until nothing
    more comes.
    """
    known = {each.name: each for each in destinations}

    def explained(row: Delivery) -> Delivery:
        told = known.get(row.destination)
        if told is None or row.state not in ("pending", "leased"):
            return row
        if row.state == "leased":
            reason = told.reason if told.reason in (waits.CODEC, waits.MEMORY) else waits.IN_HAND
            return replace(row, reason=reason, comment="")
        if row.reason and (row.due_at or 0.0) > now:
            return row
        if told.state in ("down", "held") or told.reason in (OWN_FAULT, waits.LICENSE):
            return replace(row, reason=told.reason or told.state, comment=told.comment)
        if told.closed_until is not None and row.priority != Priority.STAT.word:
            comment = f"outside the hours of its destination until {weekday_and_clock(told.closed_until)}"
            return replace(row, reason=waits.WINDOW, comment=comment, due_at=told.closed_until)
        quiet_at = last_image.get(row.study_instance_uid, 0.0) + told.quiet_seconds
        if told.quiet_seconds and quiet_at > now:
            comment = f"sent once none of its study has come for {duration(told.quiet_seconds)}"
            return replace(row, reason=waits.QUIET, comment=comment, due_at=quiet_at)
        if row.reason:  # its last try's; it is due again
            return row
        if told.state in ("stopped", "unknown"):
            return replace(row, reason=told.reason, comment=told.comment)
        return replace(row, reason=waits.BEHIND, comment="due; others are before it")

    return [explained(row) for row in rows]


def _delivery(row: DeliveryRow, identify: bool) -> Delivery:
    last = row.last
    said = _comment(last.status, last.comment, identify) if last else ""
    return Delivery(
        id=row.id,
        instance=row.instance,
        study_instance_uid=row.study_instance_uid,
        study_date=row.study_date if identify else None,
        sop_instance_uid=row.sop_instance_uid,
        modality=row.modality or None,
        destination=row.destination,
        batch=row.batch,
        priority=row.priority,
        recipe=row.recipe,
        state=row.state,
        reason=row.reason,
        comment=said if last and row.comment == last.comment else row.comment,
        attempts=row.attempts,
        due_at=row.not_before or None,
        received_at=row.received_at,
        settled_at=row.settled_at,
        tags=by_keyword(row.tags) if identify else None,
        tries=last.number if last else 0,
        status=last.status if last else None,
        status_protocol=last.status_protocol if last else "",
        treatment=last.treatment if last else "",
        transfer_syntax_uid=last.transfer_syntax_uid if last else "",
        sent_sop_instance_uid=last.sop_instance_uid if last else "",
        bytes=last.bytes if last else None,
        milliseconds=last.milliseconds if last else None,
        last_comment=said,
        credential=last.credential if last else "",
    )


def _attempt(made: Attempt, identify: bool) -> Attempt:
    return replace(made, comment=_comment(made.status, made.comment, identify))


def _comment(status: int | None, said: str, identify: bool) -> str:
    """An attempt's comment; with a status it is the receiver's own, and only what that means is shown."""
    if status is None or identify or not said:
        return said
    return answer(status)
