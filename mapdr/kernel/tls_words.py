"""Why TLS was not agreed on, for DICOM and HTTP: the kind of cause, and words, in which "it" is the peer."""

from __future__ import annotations

import ssl
from enum import Enum, auto

TLS = "TLS"
"""In every one of these words, and in no other cause of a receiver for turning a peer away."""

NOT_TLS = "it does not speak TLS, this receiver does"
SPEAKS_TLS = "it speaks TLS, this receiver does not"
PLAIN = "it does not speak TLS, this connection does: set up TLS on both sides or on neither"
GONE = "it closed the connection during the TLS handshake: is TLS set up there?"
NO_CERTIFICATE = "it shows no TLS certificate, and this receiver asks for one"
NOT_ACCEPTED = "it does not accept this side's TLS certificate"
NOTHING_IN_COMMON = "there is no version or cipher suite of TLS that both sides take"
NOT_TRUSTED = "its TLS certificate is not trusted: no CA that this side trusts has signed it"


class TlsCause(Enum):
    """What kind of failure it is, as far as the cures differ."""

    NOT_TLS = auto()
    """The peer does not speak TLS at all."""
    CLOSED = auto()
    """It has just closed the connection."""
    NOT_VALID_NOW = auto()
    """A certificate, of whichever side, has expired, or is not valid yet."""
    NOT_TRUSTED = auto()
    """Nobody who is trusted has signed its certificate."""
    OTHER_NAME = auto()
    """Its certificate names another system."""
    OWN_CERTIFICATE = auto()
    """It wants another certificate of this side, or one at all."""
    OTHER = auto()


_VERIFICATION = {
    9: (TlsCause.NOT_VALID_NOW, "its TLS certificate is not yet valid: are the clocks right?"),
    10: (TlsCause.NOT_VALID_NOW, "its TLS certificate has expired"),
    **dict.fromkeys((18, 19, 20, 21), (TlsCause.NOT_TRUSTED, NOT_TRUSTED)),
    62: (
        TlsCause.OTHER_NAME,
        "its TLS certificate names another host; if it is the right one, write its name as tls.name",
    ),
    64: (
        TlsCause.OTHER_NAME,
        "its TLS certificate does not name this address; if it is the right one, write its name as tls.name",
    ),
}
"""The verification errors of OpenSSL (X509_V_ERR_...) that people meet."""

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (TlsCause.OTHER, NO_CERTIFICATE),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        TlsCause.OWN_CERTIFICATE,
        "it asks for a TLS certificate, and this side shows none",
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (TlsCause.OWN_CERTIFICATE, f"{NOT_ACCEPTED}: it does not know the CA"),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": (TlsCause.NOT_VALID_NOW, f"{NOT_ACCEPTED}: it has expired"),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": (TlsCause.OWN_CERTIFICATE, f"{NOT_ACCEPTED}: it was revoked"),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        TlsCause.OWN_CERTIFICATE,
        f"{NOTHING_IN_COMMON}, or it wants a certificate",
    ),
    **dict.fromkeys(
        (
            "SSLV3_ALERT_BAD_CERTIFICATE",
            "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
            "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
            "TLSV1_ALERT_DECRYPT_ERROR",
        ),
        (TlsCause.OWN_CERTIFICATE, NOT_ACCEPTED),
    ),
    **dict.fromkeys(
        (
            "NO_SHARED_CIPHER",
            "NO_SHARED_GROUP",
            "NO_SUITABLE_KEY_SHARE",
            "NO_SUITABLE_SIGNATURE_ALGORITHM",
            "TLSV1_ALERT_PROTOCOL_VERSION",
            "TLSV1_ALERT_INSUFFICIENT_SECURITY",
            "UNSUPPORTED_PROTOCOL",
            "VERSION_TOO_LOW",
        ),
        (TlsCause.OTHER, NOTHING_IN_COMMON),
    ),
}
"""OpenSSL's reasons that people meet: what this side found, or an alert of the peer."""

_NO_RECORD = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
    }
)
"""OpenSSL's reasons over first bytes that are no record of TLS."""


def explain(error: ssl.SSLError) -> tuple[TlsCause, str]:
    """What the peer did in a handshake that began with TLS, or what could not be verified."""
    if isinstance(error, ssl.SSLCertVerificationError):
        unknown = TlsCause.OTHER, f"its TLS certificate cannot be verified: {error.verify_message}"
        return _VERIFICATION.get(error.verify_code, unknown)
    if isinstance(error, ssl.SSLEOFError):
        return TlsCause.CLOSED, GONE
    reason = _reason(error) or type(error).__name__
    return _REASONS.get(reason, (TlsCause.OTHER, f"TLS could not be agreed on, or broke ({reason})"))


def is_no_tls(error: ssl.SSLError) -> bool:
    """Whether the peer does not speak TLS, where only OpenSSL has seen its first bytes."""
    return _reason(error) in _NO_RECORD


def of_client(error: ssl.SSLError) -> str:
    """The words for a client whose first bytes only OpenSSL has seen."""
    return NOT_TLS if is_no_tls(error) else explain(error)[1]


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's word for it; empty where Python itself raises, as for a connection that ended."""
    return getattr(error, "reason", None) or ""
