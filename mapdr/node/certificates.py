"""Certificates that end soon: what a node's sign of life knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mapdr.kernel.certificate import Certificate

_FIELDS = ("whose", "name", "fingerprint", "expires_at")


class Ending(NamedTuple):
    """A certificate that has ended or soon will, of the stage `stage` ("receive.modalities")."""

    stage: str
    certificate: Certificate


def ending_soon(counters: Mapping[str, Any], now: float) -> Iterator[Ending]:
    """By a sign of life (`Node.counters`): what a stage shows or trusts, and what peers have shown it."""
    for kind, group in (("receive", "receivers"), ("egress", "destinations")):
        for name, told in counters.get(group, {}).items():
            for facts in told.get("certificates", ()):
                certificate = Certificate(*(facts[key] for key in _FIELDS))
                if certificate.ends_soon(now):
                    yield Ending(f"{kind}.{name}", certificate)


def troubles(counters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each stage whose changed TLS files are not in use, and why, by a sign of life."""
    for kind, group in (("receive", "receivers"), ("egress", "destinations")):
        for name, told in counters.get(group, {}).items():
            if told.get("tls_trouble"):
                yield f"{kind}.{name}", str(told["tls_trouble"])
