"""How a DIMSE receiver is configured."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mapdr.config.character_set import ReadsText
from mapdr.config.units import Duration, Size
from mapdr.kernel.stage import StageConfig
from mapdr.net.ae_title import AeTitle
from mapdr.net.host import Host
from mapdr.net.silence import WatchesSilence
from mapdr.net.tls import ServerTls
from mapdr.wire.link import Limits


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


class DimseReceiveConfig(ReadsText, WatchesSilence):
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
