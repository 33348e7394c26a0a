"""Why TLS was not agreed on, in words, for DICOM and HTTP; "it" is the peer."""

from __future__ import annotations

import ssl

TLS = "TLS"
"""In every one of these words, and in no other cause of a receiver for turning a peer away."""

NOT_TLS = "it does not speak TLS, this receiver does"
SPEAKS_TLS = "it speaks TLS, this receiver does not"
GONE = "it closed the connection during the TLS handshake: is TLS set up there?"
NO_TLS = "it does not speak TLS, {}: set up TLS on both sides or on neither"
NO_CERTIFICATE = "it shows no TLS certificate, and this receiver asks for one"
NOT_ACCEPTED = "it does not accept this side's TLS certificate"
NOTHING_IN_COMMON = "there is no version or cipher suite of TLS that both sides take"
NOT_TRUSTED = "its TLS certificate is not trusted: no CA that this side trusts has signed it"

_VERIFICATION = {
    9: "its TLS certificate is not yet valid: are the clocks right?",
    10: "its TLS certificate has expired",
    18: NOT_TRUSTED,
    19: NOT_TRUSTED,
    20: NOT_TRUSTED,
    21: NOT_TRUSTED,
    62: "its TLS certificate names another host; if it is the right one, write its name as tls.name",
    64: "its TLS certificate does not name this address; if it is the right one, write its name as tls.name",
}
"""The verification errors of OpenSSL (X509_V_ERR_...) that people meet."""

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": NO_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it asks for a TLS certificate, and this side shows none",
    "TLSV1_ALERT_UNKNOWN_CA": f"{NOT_ACCEPTED}: it does not know the CA",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{NOT_ACCEPTED}: it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{NOT_ACCEPTED}: it was revoked",
    "SSLV3_ALERT_BAD_CERTIFICATE": NOT_ACCEPTED,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": NOT_ACCEPTED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": NOT_ACCEPTED,
    "TLSV1_ALERT_DECRYPT_ERROR": NOT_ACCEPTED,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": f"{NOTHING_IN_COMMON}, or it wants a certificate",
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
        NOTHING_IN_COMMON,
    ),
}
"""OpenSSL's reasons that people meet: what this side found, or an alert of the peer."""

_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "UNKNOWN_PROTOCOL"})


def in_words(error: ssl.SSLError) -> str:
    """What the peer did, or what could not be verified."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code, message = error.verify_code, error.verify_message
        return _VERIFICATION.get(code, f"its TLS certificate cannot be verified: {message}")
    reason = error.reason or type(error).__name__
    return _REASONS.get(reason, f"TLS could not be agreed on, or broke ({reason})")


def of_client(error: ssl.SSLError) -> str:
    """As `in_words`, of a client whose first bytes only OpenSSL has seen, which may not be TLS at all."""
    return NOT_TLS if error.reason in _NOT_TLS else in_words(error)
