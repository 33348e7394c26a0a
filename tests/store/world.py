"""A small world for the store's tests: data sets, routers, and pushing objects in."""

from __future__ import annotations

import struct
from typing import Any

from mapdr.kernel.item import Header, Priority, Routing, Source, TagPath
from mapdr.store import Store

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SOURCE = Source("modalities", "CT1", "MAPDR", "10.1.2.3")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One explicit VR little endian element of a short VR, padded."""
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(
    uid: str,
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    modality: str = "CT",
    name: str = "A",
    patient: str = "P0",
    pixels: int = 64,
) -> bytes:
    """A small explicit VR little endian data set."""
    head = b"".join(
        (
            element(0x00080016, b"UI", CT.encode()),
            element(0x00080018, b"UI", uid.encode()),
            element(0x00080020, b"DA", b"20261123"),
            element(0x00080050, b"SH", b"ACC1"),
            element(0x00080060, b"CS", modality.encode()),
            element(0x00100010, b"PN", name.encode()),
            element(0x00100020, b"LO", patient.encode()),
            element(0x0020000D, b"UI", study.encode()),
            element(0x0020000E, b"UI", series.encode()),
        )
    )
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixels) + bytes(pixels)


class To:
    """A router that sends everything to the same destinations, pass-through."""

    def __init__(self, *destinations: str, recipe: str = "r0", priority: Priority = Priority.ROUTINE) -> None:
        self.destinations = destinations
        self.recipe = recipe
        self.priorities = dict.fromkeys(destinations, priority) if priority else {}
        self.wanted: frozenset[TagPath] = frozenset()

    def route(self, header: Header, source: Source) -> Routing:
        deliveries = tuple((name, self.recipe) for name in self.destinations)
        return Routing(deliveries, priorities=self.priorities)


def push(store: Store, uid: str, *, source: Source = SOURCE, **facts: Any) -> str:
    """Push one object into the spool; its id."""
    data = data_set(uid, **facts)
    incoming = store.spool.begin(source, CT, uid, EXPLICIT)
    incoming.write(data)
    incoming.commit()
    return incoming.id
