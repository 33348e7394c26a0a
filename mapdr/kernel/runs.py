"""What comes of a run: objects of one association, stored one after the other (`kernel.stage.Lane`)."""

from __future__ import annotations

from typing import NamedTuple


class UnstoredMessage(NamedTuple):
    """A C-STORE request that was read during a run and is not stored: it is to be stored like a single one.

    Its presentation context, its command set, and its data set, whole: a view of the receive buffer, valid
    until the next read from the connection.
    """

    context: int
    command: bytes
    data_set: memoryview


class RunResult(NamedTuple):
    """How many objects a run has made safe, the bytes of their data sets, and what is left to do.

    `again`: another run may follow at once; if not, the next message is read like a single one. `unsent`: the
    bytes of the last response that the connection did not take; they are to be sent first. `unstored`: a
    message that was read and not stored. `stuck`: the id of that message in the store where its file could be
    neither made safe nor removed; it is emptied, and no image. `unflushed`: a flush has failed, so that no
    other is to be trusted.
    """

    stored: int = 0
    size: int = 0
    again: bool = False
    unsent: bytes = b""
    unstored: UnstoredMessage | None = None
    stuck: str = ""
    unflushed: bool = False
