"""The table `tls` of a stage: whose certificates are trusted, and which one is shown."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from mapdr.config.units import LocalPath
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.finding import Finding
from mapdr.kernel.stage import StageConfig

_WHERE = "name a file that is there; a relative path starts from the configuration's folder"
_PEM = "use files in PEM form, the key without a passphrase"


class ClientTls(StageConfig):
    """`tls = true`, or `{ ca, cert, key, check_host }`, of who connects.

    `ca` holds the certificates that are trusted (default: the system's), `cert` and `key` are shown to a peer
    that asks.
    """

    ca: LocalPath | None = None
    cert: LocalPath | None = None
    key: LocalPath | None = None
    check_host: bool = True

    @model_validator(mode="after")
    def _pair(self) -> ClientTls:
        if self.key is not None and self.cert is None:
            raise ValueError("has a key without its cert; add cert")
        return self

    def context(self) -> ssl.SSLContext:
        """A client's context; the files are read now. Raises ConfigurationError naming the file."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(self.ca, error) from None
        context.check_hostname = self.check_host
        if self.cert is not None:
            _show(context, self.cert, self.key)
        return context

    def faults(self) -> Iterator[Finding]:
        """See `tls_faults`."""
        return tls_faults(self.cert, self.key, self.ca)


class ServerTls(StageConfig):
    """`tls = { cert, key, ca }` of who listens: its certificate; with `ca`, peers must show one of its."""

    cert: LocalPath
    key: LocalPath
    ca: LocalPath | None = None

    def context(self) -> ssl.SSLContext:
        """A server's context, TLS 1.2 at least (BCP 195); the files are read now. Raises as `ClientTls`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        _show(context, self.cert, self.key)
        if self.ca is not None:
            try:
                context.load_verify_locations(self.ca)
            except (OSError, ssl.SSLError) as error:
                raise _unusable(self.ca, error) from None
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


def _show(context: ssl.SSLContext, cert: Path, key: Path | None) -> None:
    """Have `context` show a certificate. Raises ConfigurationError naming the files."""
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(cert if key is None else f"{cert} with {key}", error) from None


def _unusable(files: object, error: OSError) -> ConfigurationError:
    if isinstance(error, ssl.SSLError):
        cause = error.reason or "it is not what TLS expects"
    else:
        cause = error.strerror or type(error).__name__
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
        return f"names a file that cannot be read ({error.strerror or type(error).__name__})"
    return ""
