"""Whom a DICOMweb receiver lets in: by bearer token (RFC 6750), by user and password (RFC 7617), or by the
certificate that TLS has asked for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging

from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError
from mapdr.kernel.guard import Trouble
from mapdr.net.http.config import is_loopback
from mapdr.receive.dicomweb.config import DicomwebReceiveConfig

log = logging.getLogger("mapdr.receive")

NO_LOGIN = "rejected: it does not log in"
BAD_LOGIN = "rejected: its token, or its user and password, is none of this receiver's"
OTHER_HOST = "rejected: it calls this machine by a name that is not local"


class Login:
    """Built once per receiver. Secrets are read for each request, so that a file that changed counts at once;
    they are compared as digests, all of them, in constant time."""

    def __init__(self, receiver: str, config: DicomwebReceiveConfig) -> None:
        self._receiver = receiver
        self._config = config
        self._trouble = Trouble(log)

    @property
    def challenges(self) -> list[str]:
        """The values of `WWW-Authenticate`."""
        ways = (("Bearer", self._config.tokens), ("Basic", self._config.users))
        return [f'{scheme} realm="MAPDR"' for scheme, known in ways if known]

    def foreign(self, host: str) -> bool:
        """Whether a request to an open receiver names a host that is not this machine: then a page from
        elsewhere may have sent it through a browser here (DNS rebinding)."""
        if not self._config.open or not host:
            return False
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return not is_loopback(name)

    def credential(self, authorization: list[str], certificate: str) -> str | None:
        """What the peer has proved to be, as in `Source.credential`; None if it is not let in.

        Where a login is asked for, it counts; else `certificate`, the credential of the one that TLS has
        checked, or nothing.
        """
        if not self._config.asks:
            return certificate
        if len(authorization) != 1:
            return None
        scheme, _, value = authorization[0].strip().partition(" ")
        found = ""
        if scheme.lower() == "bearer":
            for name, secret in self._config.tokens.items():
                if self._same(value.strip(), self._reveal(secret)):
                    found = f"token:{name}"
        elif scheme.lower() == "basic":
            given = _decoded(value.strip())
            for name, secret in self._config.users.items():
                password = self._reveal(secret)
                if self._same(given, None if password is None else f"{name}:{password}"):
                    found = f"user:{name}"
        return found or None

    def _reveal(self, secret: Secret) -> str | None:
        try:
            return secret.reveal()
        except ConfigurationError as error:
            self._trouble.tell(f"{self._receiver}: nobody can log in by it: {error}")
            return None

    @staticmethod
    def _same(given: str, known: str | None) -> bool:
        """In a time that says nothing of `known`; None is like no text."""
        digests = [
            hashlib.sha256((text or "").encode("utf-8", "replace")).digest() for text in (given, known)
        ]
        return hmac.compare_digest(*digests) and bool(known)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return ""
