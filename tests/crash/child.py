"""Run under the recorder: a store at work, told by marks what its senders and receivers are told.

`child.py DATA SCENARIO FAULT`: the scenarios are the functions in SCENARIOS; FAULT is one of
`crash.planted.WRITING`, or "none". Each scenario may run on what another one, or its own earlier half,
left.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import mapdr.store
from crash import planted
from crash.promise import NODE, RULES, image
from mapdr.kernel.watch import Watch
from mapdr.store import Settlement, Store
from mapdr.store.spool.journal import keeper
from mapdr.store.spool.journal.journal import Journal
from mapdr.testing import peer
from mapdr.wire import pdu
from mapdr.wire.link import Limits
from receive.conversation import CONTEXTS, session_over
from store.world import CT, EXPLICIT, SOURCE

_shim = ctypes.CDLL(None)


def mark(what: str, uid: str, *number: int) -> None:
    """Put into the record what is said now, of an image."""
    _shim.mapdr_mark(" ".join((what, uid, *map(str, number))).encode())


def die() -> None:
    """End at once, as if killed."""
    _shim.mapdr_die(9)


JOURNAL = [False]
"""Whether stores have a journal."""


def opened(data: Path) -> Store:
    """A store that takes images, after recovery."""
    store = Store.open(data, NODE, durability="power-loss", repeats="absorb", journal=JOURNAL[0])
    store.use("rev1", RULES.router, dict(RULES.recipes))
    store.recover(lambda revision: RULES)
    store.start()
    return store


def push(store: Store, uid: str, pieces: int = 1) -> None:
    """Push an image in the ordinary way."""
    data = image(uid)
    mark("begun", uid)
    incoming = store.spool.begin(SOURCE, CT, uid, EXPLICIT)
    step = -(-len(data) // pieces)
    for at in range(0, len(data), step):
        incoming.write(data[at : at + step])
    incoming.commit()
    mark("taken", uid)


def push_all(store: Store, uids: Iterable[str]) -> None:
    """Push images one after the other."""
    for number, uid in enumerate(uids):
        push(store, uid, pieces=1 + number % 3)


def deliver(store: Store, most: int) -> None:
    """Send some images, be told that they came, and purge them."""
    assert store.writer.flush()
    rows = store.ledger.lease("pacs", most, 600, "node/pacs")
    for row in rows:
        mark("sent", row.instance.sop_instance_uid)
    store.ledger.settle([Settlement(row.id, "delivered", status=0) for row in rows])
    for row in rows:
        mark("settled", row.instance.sop_instance_uid)
    store.retention.purge(time.time() + 10_000, 1)


def ordinary(data: Path) -> None:
    """Two senders side by side, an image that is given up, deliveries, a repeat, and a purge."""
    store = opened(data)
    senders = [
        threading.Thread(target=push_all, args=(store, [f"1.2.{first + n}" for n in range(3)]))
        for first in (10, 20)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    given_up = store.spool.begin(SOURCE, CT, "1.2.99", EXPLICIT)
    given_up.write(image("1.2.99")[:5000])
    given_up.abort()
    deliver(store, 3)
    push(store, "1.2.20")
    push(store, "1.2.30")
    store.close()


def runs(data: Path) -> None:
    """One association whose images are taken in runs, over the compiled code."""
    store = opened(data)
    uids = [f"1.3.{number}" for number in range(6)]
    for number, uid in enumerate(uids, 1):
        mark("begun", uid, number)
    ours, theirs = socket.socketpair()
    session = session_over(theirs, store.spool, Watch(), Limits(linger=0))
    receiver = threading.Thread(target=session.run)
    receiver.start()
    messages = [peer.store(image(uid), number, sop_instance=uid) for number, uid in enumerate(uids, 1)]
    ours.sendall(b"".join((peer.request(contexts=CONTEXTS), *messages, pdu.RELEASE_RQ_BYTES)))
    while ours.recv(65536):
        pass
    receiver.join()
    ours.close()
    deliver(store, 2)
    store.close()


def killed(data: Path, call: str = "fsync", nth: int = 2) -> None:
    """Killed when a call is made on the way of the second image."""
    store = opened(data)
    push(store, "1.4.1")
    real, seen = getattr(os, call), []

    def counted(*arguments: Any) -> Any:
        seen.append(1)
        return die() if len(seen) == nth else real(*arguments)

    setattr(os, call, counted)
    push(store, "1.4.2")
    push(store, "1.4.3")
    raise AssertionError("not killed")


def killed_before_the_flush(data: Path) -> None:
    """An image has its name and not its flush when the node is killed."""
    killed(data, "fsync", 1)


def killed_in_a_new_hour(data: Path) -> None:
    """The hour's folder is made, and its name not flushed, when the node is killed."""
    store = opened(data)
    push_hour = store.spool.folder

    real = os.fsync

    def dies(file: int) -> None:
        if os.path.samestat(os.fstat(file), os.stat(push_hour)):
            die()
        real(file)

    os.fsync = dies
    push(store, "1.4.2")
    raise AssertionError("not killed")


def again(data: Path) -> None:
    """What was killed starts again, and its sender pushes all that it has no answer of, and what it has one
    of.
    """
    store = opened(data)
    push_all(store, ["1.4.2", "1.4.1", "1.4.3"])
    assert store.writer.flush()
    push(store, "1.4.4")
    store.close()


def recovers(data: Path) -> None:
    """Recovery alone, on what is there."""
    store = Store.open(data, NODE, durability="power-loss", repeats="absorb")
    store.use("rev1", RULES.router, dict(RULES.recipes))
    store.recover(lambda revision: RULES)
    store.close()


def with_a_journal(scenario: Callable[[Path], None], data: Path, *, together: bool = False) -> None:
    """The same, over a journal of small segments and with a keeper that is at work all the time; `together`:
    it flushes the whole file system, be it one of a kind that MAPDR would not flush so.
    """
    JOURNAL[0] = True
    if together:
        keeper._WHOLE.add("tmpfs")
        keeper._FEW = 0
    mapdr.store.Journal = partial(Journal, size=32 << 10, most=3)  # type: ignore[misc,assignment]
    keeper.QUIET_SECONDS = 0.01
    scenario(data)


def killed_before_the_flush_of_a_segment(data: Path) -> None:
    """An image is in the journal, and not flushed, when the node is killed."""
    killed(data, "fdatasync", 1)


SCENARIOS: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (ordinary, runs, killed, killed_before_the_flush, killed_in_a_new_hour, again, recovers)
}

SCENARIOS |= {
    f"{function.__name__}_journal": partial(with_a_journal, function)
    for function in (ordinary, runs, killed_before_the_flush_of_a_segment, again)
}
SCENARIOS["ordinary_together"] = partial(with_a_journal, ordinary, together=True)


def main(data: str, scenario: str, fault: str) -> None:
    """Let it happen."""
    if fault != "none":
        planted.WRITING[fault][1](setattr)
    SCENARIOS[scenario](Path(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
