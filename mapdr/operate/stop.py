"""Ending a node in order from another process, with or without a console.

The node is asked by the order `drain` through its index (`operate.orders`), on Windows as elsewhere, and
waited for. A node that cannot write its index takes no order: a service manager or a signal ends it.
"""

from __future__ import annotations

import time

from mapdr.kernel.errors import MapdrError
from mapdr.node.assembly import DRAIN
from mapdr.operate.access import Access
from mapdr.operate.facts import SILENT
from mapdr.store.index.commands import Heartbeat

TAKEN = 30.0
"""Seconds within which a node takes an order: it looks twice a second, unless its disk is very slow."""
SPARE = 30.0
"""Seconds that a node may need beyond those of its drain: to write its last rows and close its index."""
PAUSE = 0.1


def stop(opened: Access) -> bool:
    """Have the running node drain and end, and wait until it has; whether one ran.

    Raises MapdrError if a node is still starting after TAKEN seconds, gives no sign of life, does not take
    the order within TAKEN seconds (it is withdrawn then), or has not ended SPARE seconds after the time that
    its drain has.
    """
    opened.look_for_the_index()
    beat = _begun(opened)
    if beat is None:
        if opened.alive:
            raise MapdrError(
                f"the node runs, and has given no sign of life for {SILENT:.0f} seconds: it would not see "
                "the request; end it by its service manager, or by a signal to its process"
            )
        return False
    if beat.counters.get("state") != "draining":
        _ask(opened, beat)
    seconds = float(beat.counters.get("drain", DRAIN)) + SPARE
    deadline = time.monotonic() + seconds
    while not _ended(opened, beat):
        if time.monotonic() > deadline:
            raise MapdrError(
                f"the node was asked to end and has not ended within {seconds:.0f} seconds; see its log"
            )
        time.sleep(PAUSE)
    return True


def _begun(opened: Access) -> Heartbeat | None:
    """The sign of life of the node that runs; of one that has been started, as soon as it gives it."""
    deadline = time.monotonic() + TAKEN
    while opened.begins:
        if time.monotonic() > deadline:
            raise MapdrError(
                f"the node is starting, and does not run yet after {TAKEN:.0f} seconds; ask again later"
            )
        time.sleep(PAUSE)
    return opened.running()


def _ask(opened: Access, beat: Heartbeat) -> None:
    """Give the order, and wait until the node has taken it or has ended."""
    commands = opened.index().commands
    order = commands.give("drain", {"process": beat.process}, node=beat.node)
    deadline = time.monotonic() + TAKEN
    while commands.get(order).taken_at is None:
        if _ended(opened, beat):
            commands.withdraw(order)  # whoever starts next need not read it
            return
        if time.monotonic() > deadline and commands.withdraw(order):
            raise MapdrError(
                f"the node did not take the request within {TAKEN:.0f} seconds; it is withdrawn; see its log"
            )
        time.sleep(PAUSE)


def _ended(opened: Access, beat: Heartbeat) -> bool:
    """Whether the process that gave this sign of life has given back all that it held."""
    alive = opened.alive
    if alive is False:
        return True
    last = opened.last_beat()
    another = last is not None and last.process != beat.process
    # Of a node elsewhere only its own last word is known.
    return another or (alive is None and (last is None or last.counters.get("state") == "stopped"))
