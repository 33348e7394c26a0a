"""Run by test_crash: receives into a store and dies, without a word, at a numbered point.

`crash_child.py FOLDER POINT NTH COUNT [journal]`: the NTH time that POINT is reached the process ends at
once. Each object that was answered Success is printed before the next begins.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from mapdr.store import Settlement, Store
from mapdr.store.spool import files as spool
from mapdr.store.spool.folder import SpoolFolder
from mapdr.store.spool.journal import segment
from store.world import CT, EXPLICIT, SOURCE, To, data_set


def die(*_: Any) -> None:
    os._exit(9)


def at(nth: int) -> Callable[..., None]:
    seen = []

    def reached(*_: Any) -> None:
        seen.append(1)
        if len(seen) == nth:
            die()

    return reached


def arm(store: Store, point: str, nth: int) -> None:
    """Let the process die at a point."""
    reached = at(nth)
    if point.startswith(("os.", "spool.", "segment.")):
        # before or after a call: "os.fsync before"
        place, name, when = point.replace(".", " ").split()
        module = {"os": os, "spool": spool, "segment": segment}[place]
        real = getattr(module, name)

        def call(*args: Any, **options: Any) -> Any:
            if when == "before":
                reached()
            result = real(*args, **options)
            if when == "after":
                reached()
            return result

        setattr(module, name, call)
    elif point == "before row commit":
        event.listen(store.database._writer, "commit", reached)
    elif point == "after row commit":
        store.writer._on_commit = reached
    elif point == "before submit":
        store.spool.submit = reached  # type: ignore[assignment]
    elif point == "before unlink":
        SpoolFolder.discard = reached  # type: ignore[assignment,method-assign]
    elif point != "nothing":
        raise ValueError(point)


def main(folder: str, point: str, nth: str, count: str, journal: str = "") -> None:
    store = Store.open(Path(folder), "node", durability="power-loss", journal=bool(journal))
    store.use("rev1", To("pacs"), {"r0": {"steps": []}})
    store.start()
    warm = store.spool.begin(SOURCE, CT, "9.9", EXPLICIT)
    warm.abort()
    arm(store, point, int(nth))
    for number in range(int(count)):
        uid = f"1.2.{number}"
        incoming = store.spool.begin(SOURCE, CT, uid, EXPLICIT)
        incoming.write(data_set(uid, pixels=600))
        incoming.commit()
        print(uid, flush=True)
        if number % 4 == 3:
            assert store.writer.flush()
            rows = store.ledger.lease("pacs", 100, 600, "node/pacs")
            for row in rows:
                print("sent", row.instance.sop_instance_uid, flush=True)
            store.ledger.settle([Settlement(row.id, "delivered", status=0) for row in rows])
            store.retention.purge(row.instance.received_at + 10_000, 1)
    store.close()
    print("end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
