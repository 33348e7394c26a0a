"""Recovery: what a crash left is put in order at start-up. It may be interrupted at any point and run again.

    1  `.part` files of this node were never answered: removed
    2  files whose row says that they may go: unlinked (a purge or a repeat that was interrupted)
    3  files that the index does not know: indexed by id, with the rules of the configuration revision that
       their File Meta names; also when the index is lost altogether. A file whose bytes do not give the
       digest of its seal was never answered if the node was killed while it wrote it: removed. Else it was
       cut by a power failure, or damaged since: it is set aside as `<id>.damaged` and logged, once.
       One that is whole and cannot be indexed stays, is logged, and is tried again at the next start
    4  what was in hand when the node died: counted; an image that kills it is tried alone, and then parked
    5  leases of this node: given back

Under "power-loss" files of 3 are flushed before the index is told of them: of a process that was killed
nobody knows what it had flushed, and a repeat of an image that the index knows is not kept
(docs/decisions/0090).

It runs before the node takes new objects, and touches this node's folder only.
"""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from mapdr.kernel.durable import sync_file, sync_folder
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Arrival, TagPath
from mapdr.kernel.privacy import place
from mapdr.store.index import schema
from mapdr.store.index.commands import RESTS
from mapdr.store.index.database import Database, portions
from mapdr.store.index.fault import fault_of_the_index
from mapdr.store.queue.ingest import Ingest
from mapdr.store.queue.inhand import InHand
from mapdr.store.queue.ledger import Ledger
from mapdr.store.rules import EarlierRules
from mapdr.store.spool.durable import make_folder
from mapdr.store.spool.files import Spool
from mapdr.store.spool.folder import DAMAGED, PART
from mapdr.store.spool.headers import INDEX_TAGS
from mapdr.store.spool.ids import id_milliseconds
from mapdr.store.spool.sealed import NotSealed, read_arrival

log = logging.getLogger("mapdr.store")

_AT_ONCE = 500
_LAST_SECONDS = 60.0  # before the last sign of life: what a kill may have left began after that
_instance = schema.instance


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found: unfinished objects removed, leftovers unlinked, images indexed, files that do not hold
    what was received (they are set aside, and logged), leases given back, images that the node died with in
    hand."""

    parts: int = 0
    leftovers: int = 0
    indexed: int = 0
    unreadable: int = 0
    leases: int = 0
    died: int = 0


class Recovery:
    """Puts one node's spool and index in order, once.

    `rules` are those that images were received under. `last_beat` is when the node gave its last sign of life
    (seconds since the epoch), None if it never did.
    """

    def __init__(
        self,
        database: Database,
        *,
        spool: Spool,
        ingest: Ingest,
        ledger: Ledger,
        in_hand: InHand,
        rules: EarlierRules,
        last_beat: float | None,
    ) -> None:
        self._database = database
        self._spool = spool
        self._ingest = ingest
        self._ledger = ledger
        self._in_hand = in_hand
        self._rules = rules
        self._killed_after = _killed_after(last_beat)
        self._found: Counter[str] = Counter()

    def run(self) -> Recovered:
        """Put all in order (1 to 5 above). Raises OSError and what the database raises: try again then."""
        for hour in self._spool.hours():
            for id_ in list(self._spool.files(hour, PART)):
                self._found["parts"] += self._remove(self._spool.path(id_).with_suffix(PART))
            for some in portions(list(self._spool.files(hour)), _AT_ONCE):
                self._compare(some)
        self._found["died"] = self._in_hand.count()
        self._found["leases"] = self._ledger.release_owner(self._spool.node)
        return Recovered(**self._found)

    def _compare(self, ids: Sequence[str]) -> None:
        """Unlink or index these files, by what the index knows of them."""
        known = self._known(ids)
        for id_ in ids:
            if known.get(id_) is not None:
                self._found["leftovers"] += self._remove(self._spool.path(id_))
        arrivals = self._read([id_ for id_ in ids if id_ not in known])
        if self._spool.durability == "power-loss":
            self._flush(arrivals)
        indexed = sum(map(self._enter, _without_repeats(arrivals)))
        self._found["indexed"] += indexed
        self._found["unreadable"] += len(arrivals) - indexed

    def _flush(self, arrivals: Sequence[Arrival]) -> None:
        """Make files safe with their names, as if they had just been received. Raises OSError."""
        paths = [self._spool.path(arrival.id) for arrival in arrivals]
        for path in paths:
            sync_file(path)
        for folder in {path.parent for path in paths}:
            make_folder(folder, "power-loss", within=self._spool.data)
            sync_folder(folder)

    def _enter(self, batch: Sequence[Arrival]) -> int:
        """Enter a batch, or what of it the index takes; how many."""
        try:
            absorbed = self._ingest.enter(batch, self._rules.routes()).absorbed
        except Exception as error:
            if isinstance(error, OSError) or fault_of_the_index(error):
                raise
            if len(batch) > 1:  # one of them: told, and the others are entered
                half = len(batch) // 2
                return self._enter(batch[:half]) + self._enter(batch[half:])
            log.error("%s: stays in the spool, the index refused it (%s)", batch[0].id, place(error))
            return 0
        for id_ in absorbed:
            self._remove(self._spool.path(id_))
        return len(batch)

    def _remove(self, path: Path) -> int:
        """Unlink a file; how many that were. One that is in use stays until the next start."""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: could not be removed (%s)", path.name, error.strerror)
            return 0
        return 1

    def _known(self, ids: Sequence[str]) -> dict[str, float | None]:
        """The ids that the index has, with the time of their purge."""
        query = select(_instance.c.id, _instance.c.purged_at).where(
            _instance.c.id >= bytes.fromhex(ids[0]), _instance.c.id <= bytes.fromhex(ids[-1])
        )
        with self._database.read() as connection:
            return {row.id.hex(): row.purged_at for row in connection.execute(query)}

    def _read(self, ids: Sequence[str]) -> list[Arrival]:
        """What these files hold, without those that do not hold what was received: their end is seen to."""
        arrivals: list[Arrival] = []
        for id_ in ids:
            try:
                arrivals.append(read_arrival(self._spool.path(id_), id_, self._wanted))
            except NotSealed as error:
                removed = 0
                if self._was_being_written(id_):
                    removed = self._remove(self._spool.path(id_))
                else:
                    self._set_aside(id_, error)
                self._found["parts"] += removed
                self._found["unreadable"] += 1 - removed
            except Permanent as error:
                # It is what was received, and may have been answered: another reader took it for an image.
                log.error("%s: stays in the spool, not indexed: %s", id_, error)
                self._found["unreadable"] += 1
        return arrivals

    def _wanted(self, revision: str) -> frozenset[TagPath]:
        """The tags that are read of an image's header: the index's, and those of the rules it came under."""
        return INDEX_TAGS | self._ingest.study_tags | self._rules.wanted(revision)

    def _set_aside(self, id_: str, cause: NotSealed) -> None:
        path = self._spool.path(id_)
        try:
            os.replace(path, path.with_suffix(DAMAGED))
        except OSError as error:
            log.error("%s: not indexed: %s; it could not be set aside (%s)", id_, cause, error.strerror)
            return
        log.error("%s: set aside in the spool as a %s file, not indexed: %s", id_, DAMAGED, cause)

    def _was_being_written(self, id_: str) -> bool:
        """Whether its id is of the time around the last sign of life; that may be long ago, in a backup.

        A node that had nothing to say gave none for up to RESTS seconds before it was killed.
        """
        after = self._killed_after
        if after is None:
            return False
        return after <= id_milliseconds(id_) / 1000 <= after + 2 * _LAST_SECONDS + RESTS


def _killed_after(last_beat: float | None) -> float | None:
    """When what a killed process left unfinished was begun at the earliest; None if that cannot be told.

    Success is answered when a file is whole, and what a process has written outlives it: a file from then on
    that is not whole was not answered. That cannot be told where the system was started since, for a power
    failure may have cut a file.
    """
    started = time.time() - time.monotonic()  # of the system, on every one that MAPDR runs on
    if last_beat is None or last_beat < started + _LAST_SECONDS:
        return None
    return last_beat - _LAST_SECONDS


def _without_repeats(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    """Batches in which no UID comes twice, in order."""
    batch: list[Arrival] = []
    uids: set[str] = set()
    for arrival in arrivals:
        if arrival.sop_instance_uid in uids:
            yield batch
            batch, uids = [], set()
        batch.append(arrival)
        uids.add(arrival.sop_instance_uid)
    if batch:
        yield batch
