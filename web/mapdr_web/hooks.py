"""Webhooks as the page shows and tests them: functions of the API, as those of `mapdr_web.api`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapdr.node.plan import Plan
from mapdr.operate import webhooks as operate
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.orders import note
from mapdr.operate.trial import Trial, trial
from mapdr.operate.webhooks import Message, MessageSelection, Replayed, Webhook


@dataclass(frozen=True, slots=True)
class KnownWebhooks:
    """The webhooks that are configured or have messages, by name."""

    webhooks: Sequence[Webhook]


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages, the newest first."""

    messages: Sequence[Message]


def webhooks(opened: Access) -> KnownWebhooks:
    """How every webhook stands, with its last answer."""
    return KnownWebhooks(operate.webhooks(opened))


def messages(opened: Access, name: str, *, limit: int = 20) -> Messages:
    """The newest messages of a webhook, with placeholders for what identifies a patient or a study."""
    if not 0 < limit <= 200:
        raise RequestError("a number between 1 and 200", field="limit")
    return Messages(operate.messages(opened, operate.choose_messages(opened, webhook=name, limit=limit)))


def replay(opened: Access, name: str, *, dry_run: bool = False) -> Replayed:
    """Send the messages of a webhook again that were given up."""
    chosen = MessageSelection(hooks=(name,), state="parked")
    return operate.replay(opened, chosen, dry_run=dry_run)


def test(opened: Access, name: str) -> Trial:
    """Send a webhook's receiver one example, marked as a test, and tell its answer."""
    assert isinstance(opened.plan, Plan)  # of the node that runs
    tried = trial(opened.plan, name)
    note(opened, "webhook test", 1, {name: 1}, of="webhook messages")
    return tried
