"""Runs: many objects of one association from the socket into the spool, without the interpreter for each.

`mapdr._fast.RunReceiver` parses the messages and writes the files. This module gives it what it needs of the
store (ids, the hour's folder, the File Meta group of each presentation context) and turns what it stored into
arrivals for the index. A *lane* is an association's way in for runs; where it takes nothing (no compiled
code, an irregular message, no room), messages go one at a time through `Spool.begin`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mapdr._fast import Channel, RunQueue, RunReceiver
from mapdr._fast._receive_run_py import (
    MAX_MESSAGES,
    MAX_SECONDS,
    MAX_TAGS,
    RunContext,
    StoredObject,
    UnindexedObject,
)
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom import gate
from mapdr.dicom.scan import ScannedHeader, encoding_flags, header_tree, is_regular
from mapdr.kernel.durable import Durability, FlushFailed
from mapdr.kernel.errors import Refused
from mapdr.kernel.item import Arrival, Source
from mapdr.kernel.runs import RunResult
from mapdr.store.spool import filemeta
from mapdr.store.spool.folder import FINAL
from mapdr.store.spool.headers import Reading
from mapdr.store.spool.ids import hour_of, id_text
from mapdr.store.spool.journal.journal import Journal
from mapdr.store.spool.journal.record import Image

log = logging.getLogger("mapdr.store")

Contexts = Mapping[int, tuple[str, str]]
"""Presentation context id to abstract syntax and transfer syntax."""


class LaneSpool(Protocol):
    """The part of `mapdr.store.spool.files.Spool` that a lane needs."""

    reading: Reading
    durability: Durability
    journal: Journal | None

    @property
    def by_priority(self) -> bool:
        """Whether it depends on an object's priority whether it is taken."""

    def check_room(self) -> None:
        """Raise Refused(0xA700) when there is no room."""

    def distrust(self) -> None:
        """A flush failed: take nothing more."""

    def block(self, count: int) -> int:
        """The first of `count` ids that follow each other, as a number."""

    def make_hour(self, hour: str, *, again: bool = False) -> Path:
        """The folder of an hour, made if it is not there; `again`: it is known to be gone. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the images of one receiver of runs share; it comes back with each image that is drained."""

    source: Source
    contexts: Contexts
    revision: str

    def arrival(self, stored: StoredObject) -> Arrival:
        """An image that was stored, as the index is told of it."""
        sop_class_uid, transfer_syntax_uid = self.contexts[stored.context]
        return Arrival(
            id=stored.id,
            source=self.source,
            sop_class_uid=sop_class_uid,
            sop_instance_uid=stored.sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            data_offset=stored.data_offset,
            size=stored.size,
            digest=stored.digest,
            received_at=stored.received_at,
            revision=self.revision,
            header=ScannedHeader(stored.values, stored.walk),
        )


def gather(queue: RunQueue) -> list[Arrival]:
    """What runs stored since the last call, in the order of their answers.

    What cannot be made an arrival is set aside in sight: its file is safe, and recovery indexes it.
    """
    arrivals: list[Arrival] = []
    for origin, stored in queue.drain():
        try:
            if isinstance(stored, UnindexedObject):
                raise stored.error
            arrivals.append(origin.arrival(stored))
        except Exception as error:  # noqa: BLE001  those behind it were answered Success as well
            log.error(
                "%s: set aside until the next start, the index cannot be told of it (%s)",
                stored.id,
                type(error).__name__,
            )
    return arrivals


class LaneJournal:
    """The journal as a run sees it: implements `mapdr._fast._receive_run_py.RunJournal`."""

    def __init__(self, journal: Journal) -> None:
        self.largest = journal.largest
        self.folder = Path()
        """Where the run's files are."""
        self._journal = journal

    def append(self, id_: str, before: bytes, data: memoryview, digest: bytes) -> None:
        """Make an object safe, of which the file is written. Raises Refused."""
        image = Image(id_, before, data, digest)
        self._journal.append(self.folder / f"{id_}{FINAL}", image, patience=MAX_SECONDS)


class Lane:
    """The runs of one association; implements `mapdr.kernel.stage.Lane`. For one thread."""

    def __init__(self, spool: LaneSpool, queue: RunQueue, source: Source, contexts: Contexts) -> None:
        self._spool = spool
        self._queue = queue
        self._source = source
        self._contexts = contexts
        self._hour = ""
        self._folder = -1
        self._path = Path()
        self._journal = None if spool.journal is None else LaneJournal(spool.journal)
        self._reading = spool.reading
        self._run_receiver = self._receiver_for(self._reading)

    def take(self, channel: Channel) -> RunResult:
        """Take messages from `channel` for a moment, as many as are complete and regular.

        An empty run is no error: the next message then goes through `Spool.begin`, which says what is wrong.
        """
        spool = self._spool
        generation = self._queue.generation
        if self._reading is not spool.reading:
            self._read_anew(spool.reading)
        if self._run_receiver is None:
            return RunResult()
        first = spool.block(MAX_MESSAGES)
        try:
            spool.check_room()
            folder = self._open_folder(id_text(first))
        except FlushFailed:  # the ordinary way would flush again, and believe it
            spool.distrust()
            return RunResult()
        except (Refused, OSError):  # the ordinary way meets it again, and says so
            return RunResult()
        if spool.by_priority:  # a run knows no rules
            return RunResult()
        if self._journal is not None:
            self._journal.folder = self._path
        run = self._run_receiver.receive(channel, folder, first, MAX_MESSAGES, generation)
        if run.unflushed:
            spool.distrust()
        if run.stuck:
            log.warning("%s: could not be removed; it was not answered, and is no image any more", run.stuck)
        return run

    def close(self) -> None:
        """The association is over. What was stored is still to be gathered."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        if self._run_receiver is not None:
            self._run_receiver.end()
            self._run_receiver = None

    def _read_anew(self, reading: Reading) -> None:
        # The new one is there before the old one goes: the writer looks only while there is any.
        before, self._run_receiver = self._run_receiver, self._receiver_for(reading)
        self._reading = reading
        if before is not None:
            before.end()

    def _receiver_for(self, reading: Reading) -> RunReceiver | None:
        """One that reads this of each header; None if it wants more tags than one has room for."""
        tree = header_tree(reading.wanted)
        if len(tree) > MAX_TAGS:
            return None
        contexts = {
            number: RunContext(
                abstract.encode(),
                bool(encoding_flags(syntax) & EXPLICIT),
                gate.has_study(abstract),
                *filemeta.frame(self._source, abstract, syntax, reading.revision),
            )
            for number, (abstract, syntax) in self._contexts.items()
            if is_regular(syntax)
        }
        origin = Origin(self._source, self._contexts, reading.revision)
        durable = self._spool.durability == "power-loss"
        return RunReceiver(self._queue, contexts, tree, durable, origin, journal=self._journal)

    def _open_folder(self, id_: str) -> int:
        """The open folder of an id's hour, made if it is not there or was removed. Raises OSError."""
        hour = hour_of(id_)
        gone = hour == self._hour and not self._is_in_place()
        if hour != self._hour or gone:
            path = self._path = self._spool.make_hour(hour, again=gone)
            if self._folder >= 0:
                os.close(self._folder)
            self._folder = -1
            self._folder = os.open(path, os.O_RDONLY)
            self._hour = hour
        return self._folder

    def _is_in_place(self) -> bool:
        """Whether the open folder is still where images are looked for: it may be removed, or moved away."""
        try:
            return os.path.samestat(os.fstat(self._folder), os.stat(self._path))
        except OSError:
            return False
