"""Which hosts are this machine, and the addresses of peers."""

from __future__ import annotations

import ipaddress
import socket


def own_host(host: str) -> bool:
    """Whether `host` is this machine: a name of it, or an address that a socket can be bound to."""
    if host.lower() in {"localhost", socket.gethostname().lower()}:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True


def peer_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A socket's peer address; an IPv4 address that came in over IPv6 counts as what it is."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
