"""What people are told of a certificate: whose it is, which one, and when it ends."""

from __future__ import annotations

from dataclasses import dataclass

WARN_BEFORE = 30 * 86400.0
"""Seconds before its end at which a certificate is warned about."""

OWN, TRUSTED, PEER = "own", "ca", "peer"


@dataclass(frozen=True, slots=True)
class Certificate:
    """An X.509 certificate. `whose`: "own", "ca" (one that is trusted), or "peer" (shown by one).

    `name` is the system that it names, `fingerprint` SHA-256 over its DER form in hexadecimal digits,
    `expires_at` seconds since the epoch.
    """

    whose: str
    name: str
    fingerprint: str
    expires_at: float

    @property
    def credential(self) -> str:
        """As `mapdr.kernel.item.Source.credential` has it."""
        return f"certificate:{self.name} sha256:{self.fingerprint}"

    def days_left(self, now: float) -> float:
        """Days until it ends; negative when it has ended."""
        return (self.expires_at - now) / 86400

    def ends_soon(self, now: float) -> bool:
        """Whether it is to be warned about: it has ended, or will within WARN_BEFORE."""
        return self.expires_at - now < WARN_BEFORE


def ending(whose: str, name: str, days: float) -> str:
    """When a certificate ends, as a sentence; `days` from now."""
    subject = {
        OWN: f"its own TLS certificate, {name},",
        TRUSTED: f"the certificate {name}, which it trusts,",
        PEER: f"the TLS certificate of {name}",
    }[whose]
    if days <= 0:
        return f"{subject} has EXPIRED"
    if days < 1:
        return f"{subject} expires within a day"
    return f"{subject} expires in {int(days)} day{'s' * (int(days) != 1)}"
