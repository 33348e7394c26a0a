"""Runs of C-STORE messages, from the socket into the spool: the plain twin takes none of them.

The reference of the compiled twin is the ordinary way of a message: `Channel.read_command` and `read_data`,
`Incoming.write` and `Incoming.commit`. A run does what they do, byte for byte but for the blanks behind the
time in the File Meta group. Whatever is not plain and regular ends a run before the message, or is handed
over read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from mapdr.kernel.runs import RunResult

if TYPE_CHECKING:
    from mapdr._fast._pdata_py import Channel

BACKEND = "python"

MAX_MESSAGES = 1000
"""Messages in one run: its ids are reserved before it begins."""

MAX_TAGS = 256
"""Wanted tags, as search.pxi has room for."""

MAX_SECONDS = 0.25
"""How long a run lasts at most: then the association looks after its counters and its end."""


class RunContext(NamedTuple):
    """What the objects of one presentation context share: the parts of `mapdr.store.spool.filemeta.frame`.

    `study`: a Study Instance UID is asked for (`mapdr.dicom.gate.has_study`).
    """

    sop_class_uid: bytes
    explicit: bool
    study: bool
    before: bytes
    after: bytes


class StoredObject(NamedTuple):
    """An image that is safe: what the index needs to know of it. `received_at` is seconds since the epoch."""

    id: str
    context: int
    sop_instance_uid: str
    data_offset: int
    size: int
    digest: bytes
    received_at: float
    values: dict[Any, Any]
    walk: Any


class UnindexedObject(NamedTuple):
    """An image that is safe and that the index cannot be given, and why; recovery finds it at a start."""

    id: str
    error: Exception


class RunJournal(Protocol):
    """What makes an object safe whose file is written, and not flushed."""

    largest: int
    """Bytes of the largest data set that it takes."""

    def append(self, id_: str, before: bytes, data: memoryview, digest: bytes) -> None:
        """Come back when the object is safe: `before` and `data` are its file, `digest` is that of `data`.

        Raises whatever it likes, and then it may not be; `data` is not there any more afterwards.
        """


class RunQueue:
    """What the runs of a spool have stored and the index does not have, in the order of their answers.

    Never do more than `limit` images wait for the index. A run takes a place before it stores an object, and
    leaves the message to the ordinary way if there is none before its time is over; whoever else hands
    images to the index asks `admit`. `backlog` are the images that were admitted or drained and are not yet
    written: `drain` and `admit` count them, the writer says how many are left.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.backlog = 0
        self.generation = 0
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """Images that were stored and not drained."""
        return 0

    @property
    def in_use(self) -> bool:
        """Whether any association may still store something, or has stored what was not drained."""
        return False

    def admit(self) -> bool:
        """Count one more image in, if there is room for it."""
        with self._lock:
            room = self.backlog < self.limit
            self.backlog += room
            return room

    def drain(self) -> Sequence[tuple[Any, StoredObject | UnindexedObject]]:
        """What was stored since the last call, each with its receiver's owner, the first answered first.

        All of it: what cannot be handed over is there as `UnindexedObject`, and what an exception leaves
        behind comes with the next call.
        """
        return ()

    def end_runs(self) -> None:
        """Let the runs that are under way, those of this `generation`, end before their next message."""
        self.generation += 1

    def open(self) -> None:
        """The index takes images."""

    def close(self) -> None:
        """The index takes no more: what comes now is left to the ordinary way, which refuses it."""


class RunReceiver:
    """Receives the runs of one association, under one reading of its headers.

    `contexts`: presentation context id to what its objects share; `tags`: the top level of the wanted tree,
    at most MAX_TAGS; `durable`: whether file and folder are flushed before Success; `owner` comes with each
    image that is drained; `journal` makes safe what it has room for, and such a file is not flushed.
    """

    possible = False
    """Whether runs take anything here."""

    def __init__(
        self,
        queue: RunQueue,
        contexts: Mapping[int, RunContext],
        tags: Mapping[int, Any],
        durable: bool,
        owner: object,
        *,
        journal: RunJournal | None = None,
    ) -> None:
        self.queue = queue

    def receive(self, channel: Channel, folder: int, id_: int, count: int, generation: int) -> RunResult:
        """Take messages that are whole and regular, as long as the queue is at this `generation`.

        `folder` is the descriptor of a folder, `id_` the first of `count` ids.
        """
        return RunResult()

    def end(self) -> None:
        """There will be no more runs; what was stored is still to be drained."""
