"""What `mapdr webhooks test` sends: a message that says of itself that nothing happened."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from mapdr.dicom.path import tag_vr
from mapdr.kernel.alarm import NODE_EVENTS, Fact
from mapdr.kernel.item import TagPath
from mapdr.notify.alarms import body
from mapdr.notify.events import Told, default_payload, render
from mapdr.store.study_events import SeriesPart, StudyEvent

MARK = "test"
"""The key that says so: `"test": true` beside those of the body."""

_UID = "2.25.0"
_VALUES = {
    "UI": _UID,
    "DA": "20000101",
    "TM": "000000",
    "DT": "20000101000000",
    "PN": "TEST^TEST",
    "AS": "000D",
}
_NUMBERS = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})

_KINDS = {
    "study.received": ("study.received", 0),
    "study.updated": ("study.received", 1),
    "study.delivered": ("study.delivered", 0),
    "delivery.parked": ("study.parked", 0),
}
"""Event of a study -> kind and update of the `StudyEvent` that it comes from."""

_MOMENT = "2000-01-01T00:00:00+00:00"
_FACTS: dict[str, Fact] = {
    "address": "",
    "comment": "this is a test",
    "days": 30.0,
    "destination": "test",
    "expires_at": _MOMENT,
    "fingerprint": "0" * 64,
    "free": 0,
    "images": 1,
    "last_at": _MOMENT,
    "name": "test",
    "peer": "TEST",
    "purge_at": _MOMENT,
    "reason": "unreachable",
    "receiver": "test",
    "seconds": 0.0,
    "share": 0.0,
    "stage": "egress.test",
    "standing": "grace",
    "status": None,
    "status_protocol": "",
    "step": "low",
    "until": _MOMENT,
    "whose": "own",
}
"""What the facts of alarms are in an example."""


class _Values(Mapping[TagPath, str]):
    """A value of its VR for every tag: a receiver may look at the form."""

    def __getitem__(self, path: TagPath) -> str:
        vr = tag_vr(path[-1])
        return "0" if vr in _NUMBERS else _VALUES.get(vr, "TEST")

    def __iter__(self) -> Iterator[TagPath]:
        return iter(())

    def __len__(self) -> int:
        return 0


def example(hook: Told, node: str) -> dict[str, Any]:
    """The body of an example for a hook, of the first event that it is told of, marked."""
    name, now = hook.on[0], time.time()
    if name in NODE_EVENTS:
        told = body(name, hook.payload, {fact: _FACTS[fact] for fact in NODE_EVENTS[name]}, node, now)
    else:
        event = _study_event(*_KINDS[name], now)
        told = render(hook.payload, event) if hook.payload else default_payload(event, node)
    return {**told, MARK: True}


def _study_event(kind: str, update: int, now: float) -> StudyEvent:
    parked = kind == "study.parked"
    return StudyEvent(
        key="",
        kind=kind,
        study=1,
        study_instance_uid=_UID,
        study_date=_VALUES["DA"],
        destination="" if kind == "study.received" else "test",
        tags=_Values(),
        modalities=("OT",),
        series=1,
        images=1,
        delivered=0,
        parked=int(parked),
        reason="refused" if parked else "",
        update=update,
        first_at=0.0,
        last_at=0.0,
        at=now,
        by_series=(SeriesPart(_UID, "OT", 1, int(parked)),),
    )
