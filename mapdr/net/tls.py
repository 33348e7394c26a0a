"""The table `tls` of a stage: whose certificates are trusted, which one is shown, and what TLS is spoken.

The profiles are those of PS3.15: B.12 (BCP 195, RFC 8996 and 9325) and B.13 (modified). Python's ssl module
lets cipher suites be chosen for TLS 1.2; those of TLS 1.3 are OpenSSL's three, which both profiles have.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from mapdr.config.units import LocalPath
from mapdr.kernel.certificate import OWN, TRUSTED, Certificate
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding
from mapdr.kernel.privacy import system_says
from mapdr.kernel.stage import StageConfig
from mapdr.net.certificate import MOST_TRUSTED, certificates_in
from mapdr.net.host import Host

_WHERE = "name a file that is there; a relative path starts from the configuration's folder"
_PEM = "use files in PEM form, the key without a passphrase"

_BCP195 = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_MODIFIED = (
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-CCM",
    "ECDHE-ECDSA-AES256-CCM8",
    "ECDHE-ECDSA-AES128-CCM",
    "ECDHE-ECDSA-AES128-CCM8",
)
SUITES = {"bcp195": _BCP195, "bcp195-modified": _BCP195 + _MODIFIED}
"""Profile to cipher suites of TLS 1.2: those that RFC 9325 recommends (section 4.2); for B.13 also those that
it asks servers for, as far as OpenSSL has them (not Camellia)."""

SECURITY = "@SECLEVEL=2"
"""OpenSSL's level: keys of 2048 bits (RSA) and 224 bits (curves) at least, no SHA-1 in signatures."""


def _version(value: Any) -> Any:
    """TLS 1.2 is written as 1.2 or "1.2"."""
    return str(value) if isinstance(value, float) else value


class _Tls(StageConfig):
    """What both sides have: the profile and the oldest version that is spoken."""

    profile: Literal["bcp195", "bcp195-modified"] = "bcp195"
    min_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(_version)] = "1.2"

    def _restrict(self, context: ssl.SSLContext) -> None:
        """Hold `context` to the profile."""
        newest = self.min_version == "1.3"
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join((*SUITES[self.profile], SECURITY)))
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        # The same on every Python: 3.13 refuses certificates by old tools that lack key identifiers. `ca` may
        # hold the very certificate that the peer shows.
        context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


class ClientTls(_Tls):
    """`tls = true`, or `{ ca, cert, key, name, check_host, profile, min_version }`, of who connects.

    `ca` holds the certificates that are trusted (default: the system's), `cert` and `key` are shown to a peer
    that asks. The peer's certificate has to name `name`, or else the host that is connected to.
    """

    ca: LocalPath | None = None
    cert: LocalPath | None = None
    key: LocalPath | None = None
    name: Host | None = None
    check_host: bool = True

    @model_validator(mode="after")
    def _pair(self) -> ClientTls:
        if self.key is not None and self.cert is None:
            raise ValueError("has a key without its cert; add cert")
        if self.name is not None and not self.check_host:
            raise ValueError("has a name that is not checked; leave out check_host, or the name")
        return self

    def context(self) -> ssl.SSLContext:
        """A client's context; the files are read now. Raises ConfigurationError naming the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._restrict(context)
        context.check_hostname = self.check_host
        if self.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            _trust(context, self.ca)
        if self.cert is not None:
            _show(context, self.cert, self.key)
        return context

    def faults(self) -> Iterator[Finding]:
        """See `tls_faults`."""
        return tls_faults(self.cert, self.key, self.ca)


class ServerTls(_Tls):
    """`tls = { cert, key, ca, profile, min_version }` of who listens: its certificate.

    With `ca`, peers must show one that it has signed.
    """

    cert: LocalPath
    key: LocalPath
    ca: LocalPath | None = None

    def context(self) -> ssl.SSLContext:
        """A server's context; the files are read now. Raises as `ClientTls`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._restrict(context)
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0  # associations last: nobody comes back within seconds
        _show(context, self.cert, self.key)
        if self.ca is not None:
            _trust(context, self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def faults(self) -> Iterator[Finding]:
        """See `tls_faults`."""
        return tls_faults(self.cert, self.key, self.ca)


def _switch(value: Any) -> Any:
    """`tls = true` means the system's certificates, `false` no TLS."""
    if value is True:
        return {}
    return None if value is False else value


ClientTlsField = Annotated[ClientTls | None, BeforeValidator(_switch)]
"""The field `tls` of a stage that connects to a peer."""


def certificates(tls: ClientTls | ServerTls | None) -> list[Certificate]:
    """The certificate that is shown, and those that are trusted, as the files have them now.

    What cannot be read has none: that is told as a fault.
    """
    found: list[Certificate] = []
    if tls is not None and tls.cert is not None:
        found += _read(tls.cert, OWN)[:1]  # those behind it lead to the CA
    if tls is not None and tls.ca is not None:
        trusted = _read(tls.ca, TRUSTED)
        found += trusted if len(trusted) <= MOST_TRUSTED else ()
    return found


def ending_soon(tls: ClientTls | ServerTls | None, now: float) -> Iterator[Finding]:
    """A warning for each certificate of the table that has ended, or soon will."""
    for each in certificates(tls):
        if each.ends_soon(now):
            days = each.days_left(now)
            what = "holds a certificate that has expired" if days <= 0 else f"ends in {int(days)} days"
            cure = "get a new one; it is taken into use without a restart"
            yield Finding(("tls", "cert" if each.whose == OWN else "ca"), what, cure)


def _read(path: Path, whose: str) -> list[Certificate]:
    try:
        return certificates_in(path, whose)
    except (OSError, ValueError):
        return []


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    """Have `context` trust the certificates of a file. Raises ConfigurationError naming it."""
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(ca, error) from None


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Have `context` show a certificate. Raises ConfigurationError naming the files."""
    try:
        # The passphrase is given, and wrong, so that OpenSSL does not ask a terminal for it.
        context.load_cert_chain(cert, key, password=lambda: "-")
    except (OSError, ssl.SSLError) as error:
        raise _unusable(cert if key is None else f"{cert} with {key}", error) from None


def _unusable(files: object, error: OSError) -> ConfigurationError:
    if isinstance(error, ssl.SSLError):
        cause = error.reason or "it is not what TLS expects"
    else:
        cause = system_says(error)
    return ConfigurationError(f"{files} cannot be used: {cause}")


def tls_faults(cert: Path | None, key: Path | None, ca: Path | None) -> Iterator[Finding]:
    """What is wrong with the files, at `tls.cert`, `tls.key` and `tls.ca`, before `run` would fail on them.

    They are read, nothing else is done.
    """
    given = {"cert": cert, "key": key, "ca": ca}
    unread = {name: why for name, path in given.items() if path is not None and (why := _unreadable(path))}
    for name, why in unread.items():
        yield Finding(("tls", name), why, _WHERE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca is not None and "ca" not in unread:
        try:
            context.load_verify_locations(ca)
        except (OSError, ssl.SSLError):
            yield Finding(("tls", "ca"), "holds no certificate that can be read", "use a file in PEM form")
    if cert is None or unread.keys() & {"cert", "key"}:
        return
    try:
        # The passphrase is given, and wrong, so that OpenSSL does not ask a terminal for it.
        context.load_cert_chain(cert, key, password=lambda: "-")
    except (OSError, ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or ""
        if reason == "KEY_VALUES_MISMATCH":
            yield Finding(("tls", "key" if key else "cert"), "is not the key of cert", "name its own key")
        elif key is None:
            yield Finding(("tls", "cert"), "cannot be used without its key", "add key = ...; " + _PEM)
        else:
            yield Finding(("tls", "cert"), "cannot be used with key", _PEM)


def _unreadable(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError:
        return "names a file that does not exist"
    except OSError as error:
        return f"names a file that cannot be read ({system_says(error)})"
    return ""
