"""`[web]`: where the page listens, and by which names it is called."""

from __future__ import annotations

from pydantic import Field, model_validator

from mapdr.kernel.stage import StageConfig
from mapdr.net.host import Host
from mapdr.net.http.config import is_loopback
from mapdr.net.tls import ServerTls

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  compared, not bound


class WebConfig(StageConfig):
    """`hosts` are the names and addresses, beside `host`, by which browsers call the page; `behind_proxy`
    says that all requests come through a proxy, which speaks TLS and adds X-Forwarded-For."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: int = Field(default=8484, ge=0, le=65535)
    hosts: tuple[Host, ...] = ()
    behind_proxy: bool = False
    tls: ServerTls | None = None

    @property
    def secure(self) -> bool:
        """Whether browsers speak TLS."""
        return self.tls is not None or self.behind_proxy

    @property
    def names(self) -> frozenset[str]:
        """What may stand in `Host`, in small letters and without a port."""
        own = () if self.host in ANYWHERE else (self.host,)
        here = LOOPBACK if is_loopback(self.host) else ()
        return frozenset(each.lower() for each in (*own, *here, *self.hosts))

    @model_validator(mode="after")
    def _not_open_to_a_network(self) -> WebConfig:
        if not is_loopback(self.host) and not self.secure:
            raise ValueError(
                "is reached over a network without TLS; add tls = { cert = ..., key = ... }, or "
                'behind_proxy = true where a proxy in front speaks TLS, or write host = "127.0.0.1"'
            )
        if not self.hosts and (self.behind_proxy or self.host in ANYWHERE):
            raise ValueError(
                "does not say by which name browsers call it; "
                'add hosts = ["router.clinic.example"], with every name that is used'
            )
        return self
