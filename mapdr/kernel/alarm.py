"""Alarms: what is wrong at a node from one moment to another, and the events that tell both.

An event of a study happens; an alarm holds. It is told once when it begins, once more for each other `level`
of it, and once when it ends, however often it is looked at and however often the node restarts meanwhile
(`mapdr.notify.alarms`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Fact = str | int | float | None
"""Names from the configuration, numbers, and what identifies a peer; never a value of an image."""


@dataclass(frozen=True, slots=True)
class AlarmKind:
    """`begins` and `ends` are the events, with the names of their facts; without `ends` its end is not told.

    `end_facts` may hold "seconds": how long it held. `emits` is False where whoever notices it has emitted
    it to the node's watch already, under a name of its own.
    """

    begins: str
    facts: tuple[str, ...]
    ends: str = ""
    end_facts: tuple[str, ...] = ()
    emits: bool = True


DESTINATION = AlarmKind(
    "destination.waits",
    ("destination", "reason", "status", "status_protocol", "comment"),
    "destination.back",
    ("destination", "seconds"),
    emits=False,
)
DISK = AlarmKind(
    "disk.low", ("step", "free", "share"), "disk.back", ("free", "share", "seconds"), emits=False
)
SILENCE = AlarmKind(
    "source.silent",
    ("receiver", "peer", "address", "last_at", "seconds"),
    "source.back",
    ("receiver", "peer", "address", "seconds"),
)
CERTIFICATE = AlarmKind(
    "certificate.ends", ("stage", "whose", "name", "fingerprint", "days", "expires_at"), emits=False
)
EXPIRING = AlarmKind("images.expiring", ("images", "purge_at"), emits=False)
LICENSE = AlarmKind("license.ends", ("standing", "reason", "until"), "license.holds", ("seconds",))

KINDS = (DESTINATION, DISK, SILENCE, CERTIFICATE, EXPIRING, LICENSE)

NODE_EVENTS: Mapping[str, tuple[str, ...]] = {
    event: facts
    for kind in KINDS
    for event, facts in ((kind.begins, kind.facts), (kind.ends, kind.end_facts))
    if event
}
"""The events of a node that webhooks may be told of, each with the names of its facts."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that holds now: of what (`subject` tells two of a kind apart), how bad, and its facts."""

    kind: AlarmKind
    subject: str
    facts: Mapping[str, Fact]
    level: str = ""

    def __post_init__(self) -> None:
        if set(self.facts) != set(self.kind.facts):
            raise ValueError(f"the facts of {self.kind.begins} are {', '.join(self.kind.facts)}")
