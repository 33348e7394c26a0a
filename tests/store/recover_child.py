"""Run by test_claim: one of two processes that start as the same node in the same moment.

`recover_child.py DATA`: puts the folder in order and begins to take images, each at a line of its input, says
what became of it, and works until its input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mapdr.store
from mapdr.kernel.errors import ConfigurationError
from mapdr.store import Store


def main(data: str) -> None:
    mapdr.store.CLAIM_SECONDS = 1.0
    store = Store.open(Path(data), "node", durability="process-crash")
    print("opened", flush=True)
    try:
        sys.stdin.readline()
        store.recover(lambda revision: None)
        print("recovered", flush=True)
        sys.stdin.readline()
        store.start()
        print("runs", flush=True)
        sys.stdin.read()
    except ConfigurationError:
        print("refused", flush=True)
    finally:
        store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
