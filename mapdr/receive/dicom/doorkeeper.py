"""Whom a DIMSE receiver lets in, by AE titles and addresses."""

from __future__ import annotations

import ipaddress

from mapdr.receive.dicom.config import DimseReceiveConfig
from mapdr.wire import acceptor, pdu

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

CAUSES = {
    acceptor.CALLED_AE_UNKNOWN: "rejected: it calls an AE title that is not ours",
    acceptor.CALLING_AE_UNKNOWN: "rejected: its AE title is not in the allow list for its address",
    acceptor.NO_REASON: "rejected: its address is not in the allow list",
    acceptor.LIMIT_EXCEEDED: "rejected for now: too many associations",
    acceptor.VERSION_UNKNOWN: "rejected: it asks for an unknown protocol version",
    acceptor.CONTEXT_NAME_UNKNOWN: "rejected: it asks for an unknown application context",
}
"""The rejections that a receiver gives, in words."""

ALLOWED = frozenset(
    CAUSES[one] for one in (acceptor.CALLED_AE_UNKNOWN, acceptor.CALLING_AE_UNKNOWN, acceptor.NO_REASON)
)
"""The causes that `Doorkeeper.objection` gives."""


class Doorkeeper:
    """Whom a receiver lets in. Built once per receiver."""

    def __init__(self, config: DimseReceiveConfig) -> None:
        called = config.called_ae_titles
        self._called = None if called == "any" else frozenset((config.ae_title, *called))
        self._allowed = [
            (entry.ae_title, ipaddress.ip_network(entry.host, strict=False) if entry.host else None)
            for entry in config.allow
        ]

    def objection(self, address: Address, calling_ae: str, called_ae: str) -> pdu.AssociateReject | None:
        """The rejection for a peer that may not come in, None for one that may."""
        if self._called is not None and called_ae not in self._called:
            return acceptor.CALLED_AE_UNKNOWN
        if not self._allowed:
            return None
        here = [title for title, network in self._allowed if network is None or address in network]
        if not here:
            return acceptor.NO_REASON
        if None in here or calling_ae in here:
            return None
        return acceptor.CALLING_AE_UNKNOWN


def cure(
    rejection: pdu.AssociateReject, calling_ae: str, called_ae: str, receiver: str, address: Address
) -> str:
    """What in the receiver's table would let this peer in; empty where nothing would."""
    if not all(title.isprintable() and not set(title) & set('"\\') for title in (calling_ae, called_ae)):
        return ""
    where = f"of [receive.{receiver}]"
    if rejection == acceptor.CALLED_AE_UNKNOWN:
        return f'add "{called_ae}" to called_ae_titles {where}'
    if rejection in (acceptor.CALLING_AE_UNKNOWN, acceptor.NO_REASON):
        return f'add {{ ae_title = "{calling_ae}", host = "{address}" }} to allow {where}'
    if rejection == acceptor.LIMIT_EXCEEDED:
        return f"raise max_associations or max_associations_per_peer {where}"
    return ""
