"""What an arrival is to those before it, and which deliveries it needs (design, decisions 5 and 25).

An arrival of the same UID and bytes is absorbed where the same promise is still open, and promised again
where it is settled; one with the same UID and other bytes is a version of its own. A version is recognised
within its series: an SOP Instance UID that turns up in another series is another image.

A repeat is absorbed only if the file that is kept for it is intact. If that file is damaged or gone, the
fresh copy takes its place: deliveries of the old file become deliveries of the new one, and those that were
parked because of the old file are pending again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Connection, bindparam, update

from mapdr.kernel.proof import SPOILED
from mapdr.store.index import schema
from mapdr.store.index.schema import ENDED, REPLACEABLE, UNDER_WAY, Kind, State
from mapdr.store.queue.batch import Batch, Entry
from mapdr.store.queue.repeats import KnownInstance, Promise, promises_of

log = logging.getLogger("mapdr.store")

Repeats = Literal["forward", "absorb"]

_MOVE = (
    update(schema.delivery).where(schema.delivery.c.id == bindparam("row")).values(instance=bindparam("to"))
)
_AGAIN = _MOVE.values(
    state=int(State.PENDING), not_before=0.0, attempts=0, settled_at=None, reason=None, comment=None
)
_GONE = (
    update(schema.instance).where(schema.instance.c.id == bindparam("key")).values(purged_at=bindparam("at"))
)


class Comparison:
    """Compares arrivals with what the index has under their UIDs. `repeats`: whether an image that was
    delivered before and is pushed again is delivered again."""

    def __init__(self, repeats: Repeats) -> None:
        self._repeats = repeats

    def compare(
        self, connection: Connection, batch: Batch, entry: Entry, known: list[KnownInstance]
    ) -> tuple[Kind, list[tuple[int, int]]]:
        """What an arrival is to the instances `known` under its UID, and which deliveries it needs.

        Files that must be read first are put into `batch.unread`: the answer then means nothing.
        """
        same = [one for one in known if one.digest == entry.arrival.digest and not one.absorbed]
        if not same:
            return Kind.VERSION, entry.promises
        made = promises_of(connection, entry.study, [one.id for one in same])
        promises = self._missing(entry, made)
        owing = {promise.instance for promise in made if promise.state < ENDED}
        asked = [one.id for one in same if one.kept and (one.id in owing or not promises)]
        batch.unread.update(key for key in asked if key not in batch.intact)
        spoiled = {key for key in asked if not batch.intact.get(key, True)}
        self._heal(connection, batch, entry, spoiled, made)
        if spoiled:
            # What is being sent from such a file at this moment will not arrive.
            lost = [each for each in made if each.state is State.LEASED and each.instance in spoiled]
            return Kind.REPEAT, self._missing(entry, [each for each in made if each not in lost])
        kept = any(one.kept for one in same)
        if not promises and (entry.promises or kept):
            return Kind.ABSORBED, []
        return Kind.REPEAT, promises

    def _missing(self, entry: Entry, made: Sequence[Promise]) -> list[tuple[int, int]]:
        """The deliveries that the rules name for an arrival and that no earlier one stands for."""
        states: dict[tuple[int, int], list[State]] = defaultdict(list)
        for each in made:
            state = State.PENDING if _is_spoiled(each) else each.state
            states[each.destination, each.recipe].append(state)
        return [promise for promise in entry.promises if not self._is_promised(states.get(promise, ()))]

    def _heal(
        self,
        connection: Connection,
        batch: Batch,
        entry: Entry,
        spoiled: set[bytes],
        made: Sequence[Promise],
    ) -> None:
        """Let the fresh copy take the place of files that are damaged or gone (`spoiled`)."""
        new = bytes.fromhex(entry.arrival.id)
        busy = {each.instance for each in made if each.state is State.LEASED}
        for each in made:
            again = _is_spoiled(each)
            moves = each.instance in spoiled and each.state in REPLACEABLE
            if again or moves:
                to = new if moves else each.instance
                connection.execute(_AGAIN if again else _MOVE, {"row": each.id, "to": to})
                batch.destinations.add(each.destination)
                batch.progress.add((entry.study, each.destination))
        for key in spoiled - busy:
            connection.execute(_GONE, {"key": key, "at": entry.arrival.received_at})
            batch.absorbed.append(key.hex())
            log.warning("%s: in the place of %s, whose file is damaged or gone", entry.arrival.id, key.hex())

    def _is_promised(self, states: Sequence[State]) -> bool:
        """Whether deliveries in these states make a new one for the same destination and recipe needless."""
        if any(state in UNDER_WAY for state in states):
            return True
        return self._repeats == "absorb" and State.DELIVERED in states


def _is_spoiled(promise: Promise) -> bool:
    """Whether it is parked because of its file: what a fresh copy puts right."""
    return promise.state is State.PARKED and promise.reason in SPOILED
