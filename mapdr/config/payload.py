"""A webhook's payload: any JSON-like TOML, whose texts may have placeholders."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mapdr.dicom.template import Template
from mapdr.kernel.finding import Finding, Place

PLACEHOLDERS = frozenset({"destination", "event", "images", "reason", "series", "state"})
"""What a payload may name besides tags, as `{images}`."""


def check_payload(payload: Any, place: Place) -> Iterator[Finding]:
    """What is wrong in the payload at `place`: unknown placeholders, values that JSON does not have."""
    if isinstance(payload, dict):
        for key, value in payload.items():
            yield from check_payload(value, (*place, key))
    elif isinstance(payload, list | tuple):
        for index, value in enumerate(payload):
            yield from check_payload(value, (*place, index))
    elif isinstance(payload, str):
        try:
            Template.parse(payload, PLACEHOLDERS)
        except ValueError as error:
            what, _, cure = str(error).partition("; ")
            known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
            yield Finding(place, what, cure or f"write a tag such as {{AccessionNumber}}, or one of {known}")
    elif not isinstance(payload, bool | int | float) or (
        isinstance(payload, float) and not math.isfinite(payload)
    ):
        yield Finding(place, "is not a JSON value", "write it as a text, in quotes")
