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

It runs before the node takes new objects, and touches this node's folder only.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import xxhash
from sqlalchemy import select

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Arrival, Header, Routing, Source, TagPath
from mapdr.kernel.output import place
from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions
from mapdr.store.index.fault import fault_of_the_index
from mapdr.store.index.recipes import Recipes
from mapdr.store.queue.ingest import Enrolment, Route
from mapdr.store.queue.inhand import InHand
from mapdr.store.queue.ledger import Ledger
from mapdr.store.spool import filemeta
from mapdr.store.spool.files import Spool
from mapdr.store.spool.folder import DAMAGED, PART
from mapdr.store.spool.headers import (
    INDEX_TAGS,
    PREFIX,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    identity,
    read_header,
)
from mapdr.store.spool.ids import id_milliseconds

log = logging.getLogger("mapdr.store")

_AT_ONCE = 500
_CHUNK = 1 << 20
_LAST_SECONDS = 60.0  # before the last sign of life: what a kill may have left began after that
_instance = schema.instance


class Router(Protocol):
    """What the store needs of the rules."""

    @property
    def wanted(self) -> frozenset[TagPath]:
        """The tags that the rules read."""

    def route(self, header: Header, source: Source) -> Routing:
        """What the rules decide for one image; pure."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A configuration revision's rules, and the recipes that they name by hash."""

    router: Router
    recipes: Mapping[str, Mapping[str, Any]]


RulesFor = Callable[[str, Path], Rules | None]
"""Gives the rules of a revision, of which `Path` is the text (it may be missing); None if it cannot."""


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


class _NotSealed(Permanent):
    """A file whose bytes are not those of its seal, or that has none."""


class Recovery:
    """Puts one node's spool and index in order."""

    def __init__(
        self,
        database: Database,
        *,
        spool: Spool,
        recipes: Recipes,
        enrolment: Enrolment,
        ledger: Ledger,
        in_hand: InHand,
    ) -> None:
        self._database = database
        self._recipes = recipes
        self._spool = spool
        self._enrolment = enrolment
        self._ledger = ledger
        self._in_hand = in_hand
        self._rules: dict[str, Rules | None] = {}
        self._killed_after: float | None = None

    def run(self, rules_for: RulesFor) -> Recovered:
        """Put all in order (1 to 5 above). Raises OSError and what the database raises; run it again then."""
        done = Recovered()
        self._killed_after = self._last_sign_of_life()
        for hour in self._spool.hours():
            for id_ in list(self._spool.files(hour, PART)):
                removed = self._remove(self._spool.path(id_).with_suffix(PART))
                done = replace(done, parts=done.parts + removed)
            ids = list(self._spool.files(hour))
            for some in portions(ids, _AT_ONCE):
                done = self._files(some, rules_for, done)
        died = self._in_hand.count()
        return replace(done, died=died, leases=self._ledger.release_owner(self._spool.node))

    def _files(self, ids: Sequence[str], rules_for: RulesFor, done: Recovered) -> Recovered:
        known = self._known(ids)
        for id_ in ids:
            if known.get(id_) is not None:
                removed = self._remove(self._spool.path(id_))
                done = replace(done, leftovers=done.leftovers + removed)
        lost = [id_ for id_ in ids if id_ not in known]
        arrivals, removed = self._arrivals(lost, rules_for)
        indexed = sum(map(self._enrol, _without_repeats(arrivals)))
        return replace(
            done,
            parts=done.parts + removed,
            indexed=done.indexed + indexed,
            unreadable=done.unreadable + len(lost) - indexed - removed,
        )

    def _enrol(self, batch: Sequence[Arrival]) -> int:
        """Enter a batch, or what of it the index takes; how many."""
        try:
            absorbed = self._enrolment.enrol(batch, self._routes()).absorbed
        except Exception as error:
            if isinstance(error, OSError) or fault_of_the_index(error):
                raise
            if len(batch) > 1:  # one of them: told, and the others are entered
                half = len(batch) // 2
                return self._enrol(batch[:half]) + self._enrol(batch[half:])
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

    def _arrivals(self, ids: Sequence[str], rules_for: RulesFor) -> tuple[list[Arrival], int]:
        """What these files hold, and how many of them were removed."""
        arrivals: list[Arrival] = []
        removed = 0
        for id_ in ids:
            try:
                arrivals.append(self._arrival(id_, rules_for))
            except _NotSealed as error:
                if self._was_being_written(id_):
                    removed += self._remove(self._spool.path(id_))
                else:
                    self._set_aside(id_, error)
            except Permanent as error:
                # It is what was received, and may have been answered: another reader took it for an image.
                log.error("%s: stays in the spool, not indexed: %s", id_, error)
        return arrivals, removed

    def _set_aside(self, id_: str, cause: _NotSealed) -> None:
        path = self._spool.path(id_)
        try:
            os.replace(path, path.with_suffix(DAMAGED))
        except OSError as error:
            log.error("%s: not indexed: %s; it could not be set aside (%s)", id_, cause, error.strerror)
            return
        log.error("%s: set aside in the spool as a %s file, not indexed: %s", id_, DAMAGED, cause)

    def _last_sign_of_life(self) -> float | None:
        """When this node last gave a sign of life, less _LAST_SECONDS, if no power failure was since.

        Success is answered when a file is whole, and what a process has written outlives it: a file from then
        on that is not whole was not answered. None where the system was started since, or nothing is known.
        """
        query = select(schema.heartbeat.c.at).where(schema.heartbeat.c.node == self._spool.node)
        with self._database.read() as connection:
            at = connection.execute(query).scalar()
        started = time.time() - time.monotonic()  # of the system, on every one that MAPDR runs on
        return None if at is None or at < started + _LAST_SECONDS else at - _LAST_SECONDS

    def _was_being_written(self, id_: str) -> bool:
        """Whether its id is of the time around the last sign of life; that may be long ago, in a backup."""
        after = self._killed_after
        return after is not None and after <= id_milliseconds(id_) / 1000 <= after + 2 * _LAST_SECONDS

    def _arrival(self, id_: str, rules_for: RulesFor) -> Arrival:
        with self._spool.path(id_).open("rb") as file:
            try:
                meta = filemeta.decode(file)
            except Permanent as error:
                raise _NotSealed(str(error), reason=error.reason) from None
            begun = file.read(_CHUNK)
            digest = xxhash.xxh3_128(begun)
            size = len(begun)
            while data := file.read(_CHUNK):
                digest.update(data)
                size += len(data)
            if digest.digest() != meta.digest:
                raise _NotSealed("its bytes are not those that it was sealed with", reason="spool-file")
            header = read_header(
                file.fileno(),
                meta.data_offset,
                size,
                begun[:PREFIX],
                transfer_syntax_uid=meta.transfer_syntax_uid,
                wanted=self._wanted(meta.revision, rules_for),
            )
        class_uid = identity(header.text(SOP_CLASS_UID), meta.sop_class_uid)
        instance_uid = identity(header.text(SOP_INSTANCE_UID), meta.sop_instance_uid)
        return Arrival(
            id=id_,
            source=meta.source,
            sop_class_uid=class_uid,
            sop_instance_uid=instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            data_offset=meta.data_offset,
            size=size,
            digest=meta.digest,
            received_at=meta.received_at,
            revision=meta.revision,
            header=header,
        )

    def _wanted(self, revision: str, rules_for: RulesFor) -> frozenset[TagPath]:
        if revision not in self._rules:
            path = self._spool.data / "revisions" / f"{revision}.toml"
            rules = rules_for(revision, path)
            if rules is None:
                log.error("configuration revision %s is gone: its images come back unrouted", revision)
            else:
                self._recipes.add(rules.recipes)
            self._rules[revision] = rules
        rules = self._rules[revision]
        wanted = INDEX_TAGS | self._enrolment.study_tags
        return wanted if rules is None else wanted | rules.router.wanted

    def _routes(self) -> Mapping[str, Route]:
        return {
            revision: _unrouted if rules is None else rules.router.route
            for revision, rules in self._rules.items()
        }


def _unrouted(header: Header, source: Source) -> Routing:
    return Routing()


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
