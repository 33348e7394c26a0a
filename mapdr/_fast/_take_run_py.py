"""Runs of C-STORE messages, from the socket into the spool: the plain twin takes none of them.

The reference of the compiled twin is the ordinary way of a message: `Channel.read_command` and `read_data`,
`Incoming.write` and `Incoming.commit`. A run does what they do, byte for byte but for the blanks behind the
time in the File Meta group. Whatever is not plain and regular ends a run before the message, or is handed
over read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mapdr._fast._pdata_py import Channel

BACKEND = "python"

MOST = 1000
"""Messages in one run: its ids are reserved before it begins."""

MOST_TAGS = 256
"""Wanted tags, as walk.pxi has room for."""

SECONDS = 0.25
"""How long a run lasts at most: then the association looks after its counters and its end."""


class Left(NamedTuple):
    """A message that a run has read and not taken: its presentation context, command set and data set.

    `data_set` is a view of the receive buffer, valid until the next read.
    """

    context: int
    command: bytes
    data_set: memoryview


class Run(NamedTuple):
    """What a run took: how many images, and the bytes of their data sets.

    `again`: nothing stands against another run; else the next message goes the ordinary way. `unsent` is what
    the peer did not take of the last response. `stuck` is the id of a file that could not be removed after it
    could not be made safe: an image no more.
    """

    stored: int = 0
    size: int = 0
    again: bool = False
    unsent: bytes = b""
    left: Left | None = None
    stuck: str = ""


class Passage(NamedTuple):
    """What the objects of one presentation context share: the parts of `mapdr.store.spool.filemeta.frame`.

    `study`: a Study Instance UID is asked for (`mapdr.dicom.gate.has_study`).
    """

    sop_class_uid: bytes
    explicit: bool
    study: bool
    before: bytes
    after: bytes


class Taken(NamedTuple):
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


class Untold(NamedTuple):
    """An image that is safe and of which the index could not be told, and why. Recovery finds it."""

    id: str
    error: Exception


class Shared:
    """What all runs of a spool share: one queue of what they took, in the order of their answers.

    Never do more than `limit` images wait for the index. A run takes a place before it takes a message, and
    leaves the message to the ordinary way if there is none before its time is over; whoever else hands
    images to the index asks `admit`. `backlog` are the images that were admitted or drained and are not yet
    written: `drain` and `admit` count them, the writer says how many are left.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.backlog = 0
        self.turns = 0
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """Images that were taken and not drained."""
        return 0

    @property
    def in_use(self) -> bool:
        """Whether any association may take something without a word, or has."""
        return False

    def admit(self) -> bool:
        """Count one more image in, if there is room for it."""
        with self._lock:
            room = self.backlog < self.limit
            self.backlog += room
            return room

    def drain(self) -> Sequence[tuple[Any, Taken | Untold]]:
        """What was taken since the last call, each with its taker's owner, the first answered first.

        All of it: what cannot be told is there as `Untold`, and what an exception leaves behind comes with
        the next call.
        """
        return ()

    def turn(self) -> None:
        """Let the runs that are under way end before their next message."""
        self.turns += 1

    def open(self) -> None:
        """The index takes images."""

    def close(self) -> None:
        """The index takes no more: what comes now is left to the ordinary way, which refuses it."""


class Taker:
    """Takes runs of one association, under one reading of its headers.

    `passages`: presentation context id to what its objects share; `tags`: the top level of the wanted tree,
    at most MOST_TAGS; `durable`: whether file and folder are flushed before Success; `owner` comes with each
    image that is drained.
    """

    possible = False
    """Whether runs take anything here."""

    def __init__(
        self,
        shared: Shared,
        passages: Mapping[int, Passage],
        tags: Mapping[int, Any],
        durable: bool,
        owner: object,
    ) -> None:
        self.shared = shared

    def take(self, channel: Channel, folder: int, id_: int, count: int, turn: int) -> Run:
        """Take messages that are whole and regular, as long as `turn` is the shared one.

        `folder` is the descriptor of a folder, `id_` the first of `count` ids.
        """
        return Run()

    def end(self) -> None:
        """There will be no more runs; what was taken is still to be drained."""
