"""What a message's row has of what may be shown, and what is read of it."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from mapdr.store.index.schema import State
from mapdr.store.messages import OutboxEntry, message_of, shown_text

PAYLOAD = {"study": {"uid": "1.2"}, "images": 3}


@pytest.mark.parametrize(
    ("shown", "kept"), [(None, None), (dict(PAYLOAD), ""), ({"images": 3}, '{"images": 3}'), ({}, "{}")]
)
def test_what_may_be_shown_is_kept_once(shown: Any, kept: str | None) -> None:
    """None where nobody knows what identifies a patient in it: then nothing is shown."""
    entry = OutboxEntry("k", "ris", "study.received", PAYLOAD, shown=shown)
    assert shown_text(entry) == kept
    row: Any = SimpleNamespace(
        id=1,
        key="k",
        hook="ris",
        kind="study.received",
        payload=json.dumps(PAYLOAD),
        created_at=5.0,
        state=State.PARKED,
        not_before=6.0,
        attempts=2,
        settled_at=7.0,
        status=503,
        comment=None,
        study=9,
        shown=kept,
        tried_at=8.0,
        asked_at=None,
    )
    message = message_of(row)
    assert message.shown == shown
    assert (message.payload, message.state, message.comment) == (PAYLOAD, "parked", "")
    row.created_at = 5.5
    assert message_of(row).webhook_id != message.webhook_id
    assert message.webhook_id.startswith("msg_")
