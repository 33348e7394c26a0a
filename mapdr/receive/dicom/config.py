"""How a DIMSE receiver is configured, and whom it lets in."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mapdr.config.units import Duration, Size
from mapdr.kernel.stage import StageConfig
from mapdr.net.ae_title import AeTitle
from mapdr.net.host import Host
from mapdr.net.tls import ServerTls
from mapdr.wire import acceptor, pdu
from mapdr.wire.link import Limits

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError('is not an address or network; write "10.1.2.3" or "10.1.2.0/24"') from None
    return value


Network = Annotated[str, AfterValidator(_network)]
PositiveDuration = Annotated[Duration, Field(gt=0)]


class Allow(StageConfig):
    """One peer, or a network of them; what is left out matches any."""

    ae_title: AeTitle | None = None
    host: Network | None = None


class DimseReceiveConfig(StageConfig):
    """`called_ae_titles` are taken besides `ae_title`; `"any"` takes whatever a peer calls this receiver."""

    type: Literal["dicom"] = "dicom"
    ae_title: AeTitle = "MAPDR"
    host: Host = "0.0.0.0"  # noqa: S104  a receiver that nobody can reach is no receiver; `allow` narrows it
    port: int = Field(default=11112, ge=0, le=65535)
    allow: tuple[Allow, ...] = ()
    called_ae_titles: tuple[AeTitle, ...] | Literal["any"] = ()
    max_associations: int = Field(default=100, ge=1)
    max_associations_per_peer: int = Field(default=50, ge=1)
    idle_timeout: PositiveDuration = 300.0
    acse_timeout: PositiveDuration = 30.0
    pdu_timeout: PositiveDuration = 60.0
    max_pdu: Annotated[Size, Field(ge=4096, le=1 << 24)] = 1 << 18
    tls: ServerTls | None = None

    @property
    def limits(self) -> Limits:
        """What the wire needs of this."""
        return Limits(
            max_pdu=self.max_pdu,
            network_timeout=self.idle_timeout,
            acse_timeout=self.acse_timeout,
            pdu_timeout=self.pdu_timeout,
        )


class Doorkeeper:
    """Whom a receiver lets in. Built once per receiver."""

    def __init__(self, config: DimseReceiveConfig) -> None:
        called = config.called_ae_titles
        self._called = None if called == "any" else frozenset((config.ae_title, *called))
        self._allowed = [
            (entry.ae_title, ipaddress.ip_network(entry.host, strict=False) if entry.host else None)
            for entry in config.allow
        ]

    def objection(self, address: Address, request: pdu.AssociateRequest) -> pdu.AssociateReject | None:
        """The rejection for a peer that may not come in, None for one that may."""
        if self._called is not None and request.called_ae not in self._called:
            return acceptor.CALLED_AE_UNKNOWN
        if not self._allowed:
            return None
        here = [title for title, network in self._allowed if network is None or address in network]
        if not here:
            return acceptor.NO_REASON
        if None in here or request.calling_ae in here:
            return None
        return acceptor.CALLING_AE_UNKNOWN


def peer_address(text: str) -> Address:
    """A socket's peer address; an IPv4 address that came in over IPv6 counts as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
