"""Runs: many objects of one association from the socket into the spool, without Python for each.

What is taken, and how, is `mapdr._fast.Taker`'s; here is what it needs of the store: ids, the hour's folder,
what stands before a data set, and the way of what was taken into the index.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from mapdr._fast import Channel, Shared, Taker
from mapdr._fast._take_run_py import MOST, Passage, Run
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom.scan import ScannedHeader, encoding_flags, header_tree, is_regular
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival, Source
from mapdr.store import filemeta
from mapdr.store.durable import Durability
from mapdr.store.headers import Reading
from mapdr.store.ids import hour_of, id_text

MOST_WAITING = 2000
"""Images that are safe and not yet in the index; more delay Success."""

Contexts = Mapping[int, tuple[str, str]]
"""Presentation context id to abstract syntax and transfer syntax."""


class Ground(Protocol):
    """What a lane needs of the spool."""

    reading: Reading
    durability: Durability

    def check_room(self) -> None:
        """Raise Refused(0xA700) when there is no room."""

    def block(self, count: int) -> int:
        """The first of `count` ids that follow each other, as a number."""

    def make_hour(self, hour: str) -> Path:
        """The folder of an hour, made if it is not there. Raises OSError."""


class Lane:
    """The runs of one association; implements `mapdr.kernel.stage.Lane`. For one thread, but for `drain`."""

    def __init__(self, spool: Ground, shared: Shared, source: Source, contexts: Contexts) -> None:
        self.closed = False
        self._spool = spool
        self._shared = shared
        self._source = source
        self._contexts = contexts
        self._reading: Reading | None = None
        self._takers: list[tuple[Taker, Reading]] = []
        self._hour = ""
        self._folder = -1

    def take(self, channel: Channel) -> Run:
        """Take what comes whole and regular. What stands against a run the ordinary way will tell."""
        spool = self._spool
        turn = self._shared.turns
        if self._reading is not spool.reading:
            self._read_anew(spool.reading)
        first = spool.block(MOST)
        try:
            spool.check_room()
            folder = self._open_folder(id_text(first))
        except (Refused, OSError):
            return Run()
        return self._takers[-1][0].take(channel, folder, first, turn)

    def drain(self) -> list[Arrival]:
        """What was taken since the last call, oldest first."""
        taken = [(each, reading) for taker, reading in self._takers for each in taker.drain()]
        return [
            Arrival(
                id=each.id,
                source=self._source,
                sop_class_uid=self._contexts[each.context][0],
                sop_instance_uid=each.sop_instance_uid,
                transfer_syntax_uid=self._contexts[each.context][1],
                data_offset=each.data_offset,
                size=each.size,
                digest=each.digest,
                received_at=each.received_at,
                revision=reading.revision,
                header=ScannedHeader(each.values, each.walk),
            )
            for each, reading in taken
        ]

    def close(self) -> None:
        """The association is over. What was taken is still to be drained."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self.closed = True

    def _read_anew(self, reading: Reading) -> None:
        passages = {
            number: Passage(
                abstract.encode(),
                bool(encoding_flags(syntax) & EXPLICIT),
                *filemeta.frame(self._source, abstract, syntax, reading.revision),
            )
            for number, (abstract, syntax) in self._contexts.items()
            if is_regular(syntax)
        }
        tree = header_tree(reading.wanted)
        taker = Taker(self._shared, passages, tree, self._spool.durability == "power-loss")
        self._takers = [*self._takers, (taker, reading)]
        self._reading = reading

    def _open_folder(self, id_: str) -> int:
        hour = hour_of(id_)
        if hour != self._hour:
            path = self._spool.make_hour(hour)
            if self._folder >= 0:
                os.close(self._folder)
            self._folder = -1
            self._folder = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._hour = hour
        return self._folder


class Runs:
    """All lanes of a spool: hands them out, and gathers what they took."""

    def __init__(self) -> None:
        self.shared = Shared(MOST_WAITING)
        self.on_open: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._lanes: set[Lane] = set()

    @property
    def waiting(self) -> int:
        """Images that are safe and still to be gathered."""
        return self.shared.waiting

    @property
    def open(self) -> bool:
        """Whether any association may take something without a word."""
        return bool(self._lanes)

    def add(self, lane: Lane) -> None:
        """From now on `gather` asks this lane too, until it is closed and empty."""
        with self._lock:
            self._lanes.add(lane)
        self.on_open()

    def gather(self) -> list[Arrival]:
        """What was taken since the last call, each association's oldest first."""
        with self._lock:
            lanes = list(self._lanes)
        arrivals: list[Arrival] = []
        for lane in lanes:
            ended = lane.closed
            arrivals += lane.drain()
            if ended:
                with self._lock:
                    self._lanes.discard(lane)
        return arrivals
