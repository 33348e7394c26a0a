"""How a DICOMweb receiver is configured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mapdr.config.character_set import ReadsText
from mapdr.config.secret import Secret
from mapdr.config.units import Duration
from mapdr.net.host import Host
from mapdr.net.http.config import is_loopback
from mapdr.net.silence import WatchesSilence
from mapdr.net.tls import ServerTls


def _name(text: str) -> str:
    if not (0 < len(text) <= 64 and text.isascii() and text.isprintable()) or set(text) & set(':" '):
        raise ValueError("is not a name; use up to 64 letters, digits and signs, no colon and no blank")
    return text


Name = Annotated[str, AfterValidator(_name)]
PositiveDuration = Annotated[Duration, Field(gt=0)]


class DicomwebReceiveConfig(ReadsText, WatchesSilence):
    """`tokens` are bearer tokens by what they are called here, `users` passwords by the user's name."""

    type: Literal["dicomweb"] = "dicomweb"
    host: Host = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    tokens: dict[Name, Secret] = Field(default_factory=dict)
    users: dict[Name, Secret] = Field(default_factory=dict)
    tls: ServerTls | None = None
    max_requests: int = Field(default=32, ge=1, le=256)
    max_requests_per_peer: int = Field(default=16, ge=1, le=256)
    idle_timeout: PositiveDuration = 60.0
    request_timeout: PositiveDuration = 3600.0

    @property
    def asks(self) -> bool:
        """Whether a request must carry an `Authorization`."""
        return bool(self.tokens or self.users)

    @property
    def open(self) -> bool:
        """Whether everybody who reaches the port is let in."""
        return not self.asks and (self.tls is None or self.tls.ca is None)

    @model_validator(mode="after")
    def _not_open_to_a_network(self) -> DicomwebReceiveConfig:
        if self.open and not is_loopback(self.host):
            raise ValueError(
                "takes images from everybody who reaches it; "
                'add tokens = { NAME = "env:NAME" }, or users, or tls with ca, or write host = "127.0.0.1"'
            )
        return self
