"""Run by test_processes: the command line's part, in a process of its own, while a node works.

`processes_child.py FOLDER ROUNDS`: holds and releases, retries, gives orders and reads counts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mapdr.store import Selection, Store


def main(folder: str, rounds: str) -> None:
    store = Store.open(Path(folder), "cli", durability="process-crash")
    for number in range(int(rounds)):
        store.actions.hold(Selection(destination="pacs", limit=20))
        store.commands.give("reload", {"number": number})
        status = store.counts.status()
        assert status["parked"] >= 0
        store.actions.release(Selection(state="held"))
        store.actions.retry(Selection(state="parked"))
        print(number, flush=True)
    store.close()
    print("end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
