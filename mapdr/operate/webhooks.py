"""The messages of webhooks: how each hook stands, what a message says, and sending messages again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mapdr.kernel.finding import instead
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.orders import note
from mapdr.operate.selection import SHOWN, choose
from mapdr.store.messages import MessageSelection, OutboxMessage

__all__ = ["MESSAGE_STATES", "Message", "MessageSelection", "Replayed", "Webhook"]

MESSAGE_STATES = ("pending", "leased", "parked", "delivered")
"""What a message may be: waiting, on its way, given up, taken by its receiver."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """How a hook stands. `configured` is false for one that the configuration no longer has: nobody sends its
    messages.

    `pending` are those that wait or are on their way, `parked` those that were given up. `tried_at` is when
    the last answer came, `status` its HTTP status (None without one), `comment` what was wrong, empty if the
    message was taken. `next_try_at` is None unless the hook is in trouble.
    """

    name: str
    configured: bool
    pending: int
    parked: int
    delivered: int
    tried_at: float | None
    status: int | None
    comment: str
    next_try_at: float | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message. `study` is MAPDR's number of the study, which bodies name too, None for none.

    `attempts` are those since it was made or sent again by a person (`asked_at`); `status` and `comment` are
    of the last one. `due_at` is None unless it waits. `webhook_id` names it to its receiver on every try.
    `body` has placeholders for what identifies a patient or a study unless that was asked for, and is None
    if it is not known what does.
    """

    id: int
    webhook: str
    event: str
    study: int | None
    state: str
    created_at: float
    asked_at: float | None
    attempts: int
    tried_at: float | None
    due_at: float | None
    status: int | None
    comment: str
    webhook_id: str
    body: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """Messages that are sent again, in all and by webhook (`to`); `again` of them were taken before."""

    messages: int
    to: Mapping[str, int]
    again: int
    dry_run: bool


def webhooks(opened: Access) -> list[Webhook]:
    """Every hook that is configured or has messages, by name. Raises MapdrError if there is no index."""
    outbox = opened.index().outbox
    totals = {one.hook: one for one in outbox.totals()}
    due = {one.hook: one.next_try for one in outbox.queues()}
    found = []
    for name in sorted({*totals, *opened.plan.webhooks}):
        states: Mapping[str, int] = totals[name].states if name in totals else {}
        last = totals[name].last if name in totals else None
        found.append(
            Webhook(
                name=name,
                configured=name in opened.plan.webhooks,
                pending=states.get("pending", 0) + states.get("leased", 0),
                parked=states.get("parked", 0),
                delivered=states.get("delivered", 0),
                tried_at=last.tried_at if last else None,
                status=last.status if last else None,
                comment=last.comment if last else "",
                next_try_at=due.get(name),
            )
        )
    return found


def choose_messages(
    opened: Access,
    *,
    ids: Sequence[int] = (),
    webhook: str = "",
    state: str = "",
    event: str = "",
    study: str = "",
    made: str = "",
    since: str = "",
    limit: int | None = None,
) -> MessageSelection:
    """What the conditions that are set choose; an empty text is no condition.

    `study` is a Study Instance UID, or MAPDR's number; `made` are days, and `since` is a moment or a length
    of time ago, as `selection.choose` reads them. Raises RequestError for what is not there, with what is.
    """
    known = {one.name for one in webhooks(opened)} if webhook else set()
    if webhook and webhook not in known:
        raise RequestError(
            f'there is no webhook "{webhook}"; {instead(webhook, known, "webhooks")}', field="webhook"
        )
    days, moment = choose(received=made), choose(since=since)
    if made and since:
        raise RequestError("--made and --since both say when a message was made; give one of them")
    return MessageSelection(
        ids=ids,
        hooks=(webhook,) if webhook else (),
        state=state,
        event=event,
        study=int(study) if study.isdecimal() else None,
        study_instance_uid="" if study.isdecimal() else study,
        since=moment.since if since else days.since,
        until=days.until,
        limit=limit,
    )


def messages(opened: Access, chosen: MessageSelection, *, identify: bool = False) -> list[Message]:
    """The chosen messages, the newest first; of many the newest SHOWN unless `chosen` says how many.

    Raises RequestError for an id that there is not, and AuditError (`identify`).
    """
    if not chosen.ids and chosen.limit is None:
        chosen = replace(chosen, limit=SHOWN)
    outbox = opened.index().outbox
    if identify:
        opened.show_who("webhook messages", chosen)
    found = outbox.choose(chosen)
    _all_there(chosen.ids, [one.id for one in found])
    return [_message(one, identify) for one in found]


def replay(opened: Access, chosen: MessageSelection, *, dry_run: bool = False) -> Replayed:
    """Send messages again now: those that were given up if nothing is chosen, else whatever is chosen.

    One keeps its body and its `webhook_id`, so that a receiver that has taken it can tell. Those that are on
    their way are left alone, and those of hooks that are not configured: nobody would send them.
    """
    outbox = opened.index().outbox
    if chosen == MessageSelection():
        chosen = replace(chosen, state="parked")
    if chosen.ids:
        _all_there(chosen.ids, [one.id for one in outbox.choose(chosen)])
    for name in chosen.hooks:
        if name not in opened.plan.webhooks:
            raise RequestError(f'"{name}" is not configured: nobody would send its messages', field="webhook")
    chosen = replace(chosen, hooks=chosen.hooks or tuple(opened.plan.webhooks))
    if not chosen.hooks:
        return Replayed(0, {}, 0, dry_run)
    counts = outbox.repeatable(chosen)
    to = Counter[str]()
    for (hook, _), number in counts.items():
        to[hook] += number
    number = to.total()
    if number and not dry_run:
        number = outbox.again(chosen)
        note(opened, "webhooks replay", number, to, of="webhook messages", chosen=chosen)
    again = sum(count for (_, state), count in counts.items() if state == "delivered")
    return Replayed(number, to, again, dry_run)


def _all_there(asked: Sequence[int], found: Sequence[int]) -> None:
    missing = sorted(set(asked) - set(found))
    if missing:
        raise RequestError(f"there is no message {missing[0]}; `mapdr webhooks show` lists them", field="ids")


def _message(message: OutboxMessage, identify: bool) -> Message:
    waits = message.state == "pending"
    return Message(
        id=message.id,
        webhook=message.hook,
        event=message.kind,
        study=message.study if message.study is not None and message.study > 0 else None,
        state=message.state,
        created_at=message.created_at,
        asked_at=message.asked_at,
        attempts=message.attempts,
        tried_at=message.tried_at,
        due_at=max(message.not_before, message.created_at) if waits else None,
        status=message.status,
        comment=message.comment,
        webhook_id=message.webhook_id,
        body=message.payload if identify else message.shown,
    )
