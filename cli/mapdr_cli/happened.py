"""Events of the node as lines for an operator: plain words, a level, and no value of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdr_cli import words

TEXTS: dict[str, tuple[str, str]] = {
    "node.started": ("good", "the node started"),
    "node.draining": ("warn", "the node is draining"),
    "node.reloaded": ("good", "a changed configuration is in use"),
    "association.opened": ("info", "{calling_ae} at {address} opened an association with {receiver}"),
    "association.rejected": ("warn", "{receiver} rejected an association: {cause}"),
    "association.failed": ("bad", "an association with {receiver} failed: {cause}"),
    "association.aborted": ("warn", "an association with {receiver} was aborted: {cause}"),
    "association.lost": ("warn", "an association with {receiver} was lost: {cause}"),
    "destination.waits": ("bad", "{destination} waits: {reason}"),
    "destination.back": ("good", "{destination} takes images again"),
    "delivery.parked": ("bad", "an image was parked for {destination}: {reason}"),
    "study.received": ("info", "a study of {images} images has come"),
    "study.delivered": ("good", "a study of {images} images was delivered to {destination}"),
    "study.parked": ("bad", "a study was not delivered whole to {destination}: {parked} images are parked"),
    "webhook.failed": ("warn", "webhook {hook} was not taken: {reason}"),
    "webhook.parked": ("bad", "webhook {hook} was given up: {reason}"),
    "store.full": ("bad", "images are refused: the disk is full"),
}
"""Kind to level and sentence; kinds that are not here are shown with their facts."""


def event_line(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of the heartbeat as `at`, `level` and `text`."""
    kind = str(event.get("kind", "event"))
    facts = {key: value for key, value in event.items() if key not in ("at", "kind")}
    level, text = TEXTS.get(kind, ("info", ""))
    said = text.format_map(_Facts(facts)) if text else _plain(kind, facts)
    return {"at": event.get("at"), "level": level, "kind": kind, "text": words.plain(said)}


def _plain(kind: str, facts: Mapping[str, Any]) -> str:
    told = ", ".join(f"{key} {value}" for key, value in facts.items())
    return f"{kind}: {told}" if told else kind


class _Facts(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return "?"
