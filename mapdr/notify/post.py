"""One request of a webhook: its headers, its signature, and what the receiver's answer means.

Requests are signed as Standard Webhooks (standardwebhooks.com) when a secret is set. `webhook-id` is the same
for every try, so that a receiver can tell a repeat; `Idempotency-Key` says the same to servers that go by it
(draft-ietf-httpapi-idempotency-key-header). Nothing of a URL, a body or a secret is in any error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

from mapdr.config.model import WebhookConfig
from mapdr.config.secret import Secret
from mapdr.kernel.errors import ConfigurationError, LocalProtocolError, Temporary
from mapdr.net.http.client import Body, HttpClient, Server
from mapdr.net.http.status import Kind, kind, meaning, retry_after

MOST = 1 << 16
"""Bytes of an answer that are read, so that its connection can be used again; they say nothing."""

_ALL = frozenset({Kind.NOT_LET_IN, Kind.REDIRECTED, Kind.TROUBLE})
"""What would keep every message of a hook from being taken, and not this one alone."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request ended. `hook_fault`: no other message would fare better now; `wait`: as it asked."""

    taken: bool
    status: int | None
    comment: str
    hook_fault: bool = False
    wait: float = 0.0


class HookPost:
    """Sends bodies to the receiver of one webhook, one at a time; `close` may come from another thread."""

    def __init__(self, name: str, config: WebhookConfig) -> None:
        self._config = config
        self._server = Server(config, f"webhook.{name}")
        self._client: HttpClient | None = None

    def acquire(self) -> None:
        """Read TLS files and secrets. Raises ConfigurationError when one cannot be used. Safe twice."""
        if self._client is not None:
            return
        self._headers()
        self._signer()
        self._server.acquire()
        self._client = self._server.client()

    def send(self, webhook_id: str, payload: Mapping[str, Any]) -> Answer:
        """One request; whatever happens is in the answer."""
        try:
            self.acquire()
            assert self._client is not None
            body = encode(payload)
            headers = self._headers() | signature_headers(webhook_id, body, self._signer())
            said = self._client.request(
                self._config.method,
                self._config.url,
                headers=headers,
                body=Body((body,), len(body)),
                most=MOST,
            )
        except (ConfigurationError, LocalProtocolError, Temporary) as error:
            # The next one is another connection: with the TLS files as they are then.
            self.close()
            self._client = None
            return Answer(False, None, str(error), hook_fault=True)
        return judge(said.status, said.headers.get("retry-after", ""), said.headers.get("date", ""))

    def close(self) -> None:
        """Give the connection back. Safe twice; a request that is under way ends with an error."""
        if self._client is not None:
            self._client.close()

    def _headers(self) -> dict[str, str]:
        found = {"content-type": "application/json"}
        for name, value in self._config.headers.items():
            text = value.reveal() if isinstance(value, Secret) else value
            if not text.isascii() or not text.isprintable():
                raise ConfigurationError(f"the header {name} holds characters that HTTP cannot send")
            found[name.lower()] = text
        return found

    def _signer(self) -> Webhook | None:
        secret = self._config.secret
        return None if secret is None else signer(secret.reveal())


def judge(status: int, after: str = "", date: str = "") -> Answer:
    """What a status means: only 2xx takes a message, with any body; 408, 429 and 5xx say that the hook is
    unwell, 401, 403, 407 that it does not let this node in.

    `after` and `date` are the headers Retry-After and Date of the answer.
    """
    found = kind(status)
    if found is Kind.TAKEN:
        return Answer(True, status, "")
    words = meaning(status) if found in (Kind.NOT_LET_IN, Kind.REDIRECTED) else f"answered {status}"
    return Answer(False, status, words, found in _ALL or status >= 500, retry_after(after, date))


def encode(payload: Mapping[str, Any]) -> bytes:
    """The body: the same bytes for every try."""
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def signer(secret: str) -> Webhook:
    """What signs with `secret`: `whsec_` and base64, or any text, whose UTF-8 bytes are then the key.

    Raises ConfigurationError for a `whsec_` that is not base64.
    """
    try:
        return Webhook(secret if secret.startswith("whsec_") else secret.encode())
    except Exception:  # noqa: BLE001  whatever the library says of it could hold the secret
        raise ConfigurationError("the webhook's secret begins with whsec_ but is not base64") from None


def signature_headers(webhook_id: str, body: bytes, signer: Webhook | None) -> dict[str, str]:
    """The headers that name the message, and its time and signature."""
    now = datetime.now(UTC)
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "idempotency-key": f'"{webhook_id}"',
    }
    if signer is not None:
        headers["webhook-signature"] = signer.sign(webhook_id, now, body.decode())
    return headers
