"""Certificates that end soon: what a node's sign of life knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mapdr.kernel.certificate import Certificate

_FIELDS = ("whose", "name", "fingerprint", "expires_at")


class Ending(NamedTuple):
    """A certificate that ends some day, of the stage `stage` ("receive.modalities")."""

    stage: str
    certificate: Certificate


def known(counters: Mapping[str, Any]) -> Iterator[Ending]:
    """By a sign of life (`Node.counters`): what a stage shows or trusts, and what peers have shown it."""
    for stage, told in _stages(counters):
        for facts in told.get("certificates", ()):
            yield Ending(stage, Certificate(*(facts[key] for key in _FIELDS)))


def ending_soon(counters: Mapping[str, Any], now: float) -> Iterator[Ending]:
    """Those of them that have ended or soon will."""
    return (one for one in known(counters) if one.certificate.ends_soon(now))


def troubles(counters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each stage whose changed TLS files are not in use, and why, by a sign of life."""
    for stage, told in _stages(counters):
        if told.get("tls_trouble"):
            yield stage, str(told["tls_trouble"])


def _stages(counters: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each stage with what it says of itself."""
    for kind, group in (("receive", "receivers"), ("egress", "destinations")):
        yield from ((f"{kind}.{name}", told) for name, told in counters.get(group, {}).items())
    if "page" in counters:
        yield "web", counters["page"]
