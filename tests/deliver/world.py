"""A real store with images in it, a real DICOM egress, and a deliverer between them."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from mapdr.deliver.feed.preparer import Pipeline, Preparer
from mapdr.deliver.supervise.deliverer import Deliverer
from mapdr.egress.dicom.destination import DimseEgress, DimseEgressConfig
from mapdr.kernel.item import FileSlice, Header, Instance, Payload, Routing, Source, TagPath
from mapdr.kernel.stage import Egress, Settings
from mapdr.kernel.status import from_number
from mapdr.kernel.watch import Watch
from mapdr.store import Store
from mapdr.store.index import schema
from mapdr.store.index.schema import State
from mapdr.testing.wait import until

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
SOURCE = Source("modalities", "CT1", "MAPDR", "10.1.2.3")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """One explicit VR little endian element of a short VR, padded."""
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(uid: str, pixels: int = 64, sop_class: str = CT) -> bytes:
    """A small explicit VR little endian data set."""
    head = (
        element(0x00080016, b"UI", sop_class.encode())
        + element(0x00080018, b"UI", uid.encode())
        + element(0x00080060, b"CS", b"CT")
        + element(0x0020000D, b"UI", b"1.2.3")
        + element(0x0020000E, b"UI", b"1.2.3.1")
    )
    return head + struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, pixels) + bytes(pixels)


@dataclass
class To:
    """A router that sends everything to the same destinations."""

    destinations: tuple[str, ...]
    wanted: frozenset[TagPath] = frozenset()

    def route(self, header: Header, source: Source) -> Routing:
        return Routing(tuple((name, "relay") for name in self.destinations))


class Relay:
    """The empty recipe; a syntax override only renames."""

    def quick(self, instance: Instance) -> bool:
        return True

    def prepare(self, instance: Instance, memory: Any, syntax_override: str = "") -> Payload:
        return Payload(
            instance.sop_class_uid,
            instance.sop_instance_uid,
            syntax_override or instance.transfer_syntax_uid,
            (FileSlice(instance.path, instance.data_offset, instance.size, instance.proof),),
            instance.size,
        )


@dataclass(frozen=True)
class Row:
    """What the index says of one delivery."""

    uid: str
    state: str
    attempts: int
    tries: int
    reason: str
    comment: str


@dataclass
class World:
    """The store, and what it says."""

    store: Store
    folder: Path

    def push(self, *uids: str, pixels: int = 64, sop_class: str = CT) -> None:
        self.push_classes(dict.fromkeys(uids, sop_class), pixels)

    def push_classes(self, sop_classes: Mapping[str, str], pixels: int = 64) -> None:
        """Images by UID, of a SOP class each; all are written together."""
        self.push_data({uid: (of, data_set(uid, pixels, of)) for uid, of in sop_classes.items()})

    def push_data(self, images: Mapping[str, tuple[str, bytes]]) -> None:
        """Images by UID: SOP class and data set (explicit VR little endian); all are written together."""
        for uid, (sop_class, data) in images.items():
            incoming = self.store.spool.begin(SOURCE, sop_class, uid, EXPLICIT)
            incoming.write(data)
            incoming.commit()
        until(lambda: images.keys() <= {row.uid for row in self.rows()}, 10, "the index of what was pushed")

    def rows(self, destination: str = "pacs") -> list[Row]:
        d, i = schema.delivery, schema.instance
        number = self.store.strings.find(destination)
        query = (
            select(d, i.c.sop_instance_uid).join(i, i.c.id == d.c.instance).where(d.c.destination == number)
        )
        with self.store.database.read() as connection:
            return [
                Row(
                    row.sop_instance_uid, State(row.state).name.lower(), row.attempts, row.tries,
                    row.reason or "", row.comment or "",
                )
                for row in connection.execute(query.order_by(d.c.id))
            ]  # fmt: skip

    def attempts(self, uid: str, destination: str = "pacs") -> list[tuple[str, int | None, str]]:
        """(verdict, status, comment) of each attempt for an instance, in order."""
        d, i, a = schema.delivery, schema.instance, schema.attempt
        query = (
            select(a)
            .join(d, d.c.id == a.c.delivery)
            .join(i, i.c.id == d.c.instance)
            .where(i.c.sop_instance_uid == uid, d.c.destination == self.store.strings.find(destination))
            .order_by(a.c.delivery, a.c.number)
        )
        with self.store.database.read() as connection:
            found = connection.execute(query).all()
        return [(row.verdict, from_number(row.status), row.comment or "") for row in found]

    def settled(self, destination: str = "pacs", seconds: float = 15.0) -> dict[str, Row]:
        """Wait until nothing of a destination is pending or leased; its rows by UID."""

        def done() -> bool:
            return not {"pending", "leased"} & {row.state for row in self.rows(destination)}

        until(done, seconds, f"the end of every row of {destination}")
        return {row.uid: row for row in self.rows(destination)}


@contextmanager
def world(folder: Path, destinations: Sequence[str] = ("pacs",)) -> Iterator[World]:
    """An open store that routes to `destinations`."""
    store = Store.open(folder / "data", "north", durability="process-crash")
    store.use("rev", To(tuple(destinations)), {"relay": {"steps": []}})
    store.start()
    try:
        yield World(store, folder)
    finally:
        store.close()


def settings(name: str, folder: Path) -> Settings:
    return Settings(name, "north", folder, bytes(32), Watch())


def egress(folder: Path, port: int, name: str = "pacs", **config: Any) -> DimseEgress:
    """A DICOM egress to a receiver on loopback that retries soon."""
    made = DimseEgressConfig.model_validate(
        {
            "ae_title": "SINK",
            "host": "127.0.0.1",
            "port": port,
            "retry": {"first": 0.05, "max": 0.2},
            "acse_timeout": 5.0,
            "dimse_timeout": 5.0,
            **config,
        }
    )
    return DimseEgress(settings(name, folder), made)


@contextmanager
def delivering(
    made: World,
    egresses: Mapping[str, Egress],
    *,
    tick: float = 0.05,
    build: Callable[[Mapping[str, Any]], Pipeline] = lambda recipe: Relay(),
) -> Iterator[dict[str, Deliverer]]:
    """Deliverers for several destinations by name, as a node runs them; `build` makes the pipelines."""
    pool = ThreadPoolExecutor(2)
    preparer = Preparer(made.store.recipes, build, pool)
    deliverers = {
        name: Deliverer(
            name, each, made.store.ledger, preparer, owner="north", watch=Watch(), tick=tick, rest=tick
        )
        for name, each in egresses.items()
    }
    for deliverer in deliverers.values():
        deliverer.start()
    try:
        yield deliverers
    finally:
        for deliverer in deliverers.values():
            deliverer.stop(time.monotonic() + 2)
        pool.shutdown()
