"""A webhook's payload: any JSON-like TOML, whose texts may have placeholders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from mapdr.dicom.template import Template
from mapdr.kernel.alarm import NODE_EVENTS
from mapdr.kernel.finding import Finding, Place

PLACEHOLDERS = frozenset({"destination", "event", "images", "reason", "series", "state"})
"""What a payload may name besides tags, as `{images}`, of an event of a study."""

ALL_PLACEHOLDERS = PLACEHOLDERS.union(*NODE_EVENTS.values())
"""The same of any event; `placeholders` says which event has which."""


def check_payload(payload: Any, place: Place, on: Iterable[str] = ()) -> Iterator[Finding]:
    """What is wrong in the payload at `place`: unknown placeholders, those that an event of `on` has not,
    values that JSON does not have."""
    if isinstance(payload, dict):
        for key, value in payload.items():
            yield from check_payload(value, (*place, key), on)
    elif isinstance(payload, list | tuple):
        for index, value in enumerate(payload):
            yield from check_payload(value, (*place, index), on)
    elif isinstance(payload, str):
        try:
            template = Template.parse(payload, ALL_PLACEHOLDERS)
        except ValueError as error:
            what, _, cure = str(error).partition("; ")
            events = list(on) or [""]
            known = _listed(frozenset.intersection(*map(placeholders, events)))
            if any(event not in NODE_EVENTS for event in events):
                known = f"a tag such as {{AccessionNumber}}, or one of {known}"
            yield Finding(place, what, cure or f"write {known}")
        else:
            yield from _missing(template, place, on)
    elif not isinstance(payload, bool | int | float) or (
        isinstance(payload, float) and not math.isfinite(payload)
    ):
        yield Finding(place, "is not a JSON value", "write it as a text, in quotes")


def placeholders(event: str) -> frozenset[str]:
    """What a payload may name of an event besides tags, which only those of studies have."""
    facts = NODE_EVENTS.get(event)
    return PLACEHOLDERS if facts is None else frozenset(facts) | {"event", "state"}


def _missing(template: Template, place: Place, on: Iterable[str]) -> Iterator[Finding]:
    """The first event of `on` that has not what the template names."""
    for event in on:
        lacks = sorted(template.names - placeholders(event))
        if template.paths and event in NODE_EVENTS:
            what = f"names a tag, and {event} tells of this node, not of a study"
        elif lacks:
            what = f"names {{{lacks[0]}}}, which {event} does not tell"
        else:
            continue
        yield Finding(
            place, what, f"{event} has {_listed(placeholders(event))}; or give it a webhook of its own"
        )
        return


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))
