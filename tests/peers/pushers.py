"""Modalities that send every image until it is acknowledged, over as many connections as it takes.

`acknowledged` is the sender's own record: what is in it, the node has said that it has.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from json import JSONDecodeError

from peers.part10 import MemoryObject
from peers.rawsender import RawSender
from peers.stow_client import store

PAUSE = 0.02
"""Seconds between one connection and the next ..."""
AGAIN = 0.1
"""... and these more after one that failed: a node that is away is not worn out."""


class Pusher:
    """Sends to a port of loopback. It may not send more than `allowed` of its images."""

    def __init__(
        self, port: int, items: Sequence[MemoryObject], *, allowed: int | None = None, timeout: float = 30
    ) -> None:
        self._port, self._items, self._timeout = port, items, timeout
        self._stop = threading.Event()
        self.allowed = len(items) if allowed is None else allowed
        self.acknowledged: set[str] = set()
        self.sent: Counter[str] = Counter()
        self.refused: list[int] = []
        self._thread = threading.Thread(target=self._push, name="pusher")

    @contextmanager
    def pushing(self) -> Iterator[Pusher]:
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(30)

    @property
    def done(self) -> bool:
        return len(self.acknowledged) == len(self._items)

    def _push(self) -> None:
        while not self.done and not self._stop.wait(PAUSE):
            try:
                self._one_connection()
            except (OSError, HTTPException, JSONDecodeError):
                self._stop.wait(AGAIN)  # it was cut, or the node killed: what is not acknowledged goes again

    def _one_connection(self) -> None:
        raise NotImplementedError

    def _owed(self) -> list[MemoryObject]:
        """The images that may be sent and are not acknowledged; none when it is to stop."""
        if self._stop.is_set():
            return []
        may = self._items[: self.allowed]
        return [item for item in may if item.sop_instance_uid not in self.acknowledged]


class StorePusher(Pusher):
    """By C-STORE, many images an association."""

    def __init__(
        self,
        port: int,
        items: Sequence[MemoryObject],
        *,
        calling: str = "RAWSENDER",
        allowed: int | None = None,
        timeout: float = 30,
    ) -> None:
        super().__init__(port, items, allowed=allowed, timeout=timeout)
        self._calling = calling

    def _one_connection(self) -> None:
        contexts = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in self._items})
        with RawSender(self._port, contexts, calling=self._calling, timeout=self._timeout) as sender:
            while owed := self._owed():
                item = owed[0]
                self.sent[item.sop_instance_uid] += 1
                status = sender.store(item)
                if status == 0:
                    self.acknowledged.add(item.sop_instance_uid)
                else:
                    self.refused.append(status)


class StowPusher(Pusher):
    """By STOW-RS, up to `together` images a request."""

    together = 7

    def _one_connection(self) -> None:
        here = self._owed()[: self.together]
        if not here:
            return
        self.sent.update(item.sop_instance_uid for item in here)
        answer = store(self._port, [item.part10() for item in here], timeout=self._timeout)
        if not answer.headers.keys() >= {"content-type", "content-length"}:
            raise ConnectionError("the answer was cut within its headers, which http.client does not mind")
        if "json" not in answer.headers["content-type"]:
            self.refused.append(answer.status)
            return
        self.acknowledged |= set(answer.stored)
        self.refused += [*answer.failed.values(), *answer.others]
