"""Whom a DIMSE receiver lets in, by AE titles and addresses."""

from __future__ import annotations

import ipaddress

from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.wire import acceptor, pdu

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
