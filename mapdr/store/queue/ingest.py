"""Entering arrivals into the index: what one batch writes, in one transaction.

For each arrival: its study and series if they are new, its row, a delivery per destination that the rules
name, and its counts. What came before decides (`comparison`). Kept files are read between two attempts at the
transaction, never within it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import xxhash
from sqlalchemy import Connection

from mapdr.kernel.item import Arrival, Header, Priority, Routing, Source, TagPath
from mapdr.store.index import schema
from mapdr.store.index.arrivals import LastArrivals
from mapdr.store.index.counters import RECEIVED, Counted, CounterKey, Counters, day_of, hour_of
from mapdr.store.index.database import Database
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import Kind
from mapdr.store.index.strings import Sources, StringTable, clean
from mapdr.store.index.studies import Studies, generation
from mapdr.store.queue.batch import DELIVERY_COLUMNS, Batch, Entry
from mapdr.store.queue.comparison import Comparison, Repeats
from mapdr.store.queue.repeats import KnownInstance, find_known
from mapdr.store.spool.headers import MODALITY, SERIES_INSTANCE_UID, STUDY_INSTANCE_UID, STUDY_TAGS

log = logging.getLogger("mapdr.store")

Route = Callable[[Header, Source], Routing]
Intact = Callable[[Collection[bytes]], Mapping[bytes, bool]]
"""Which of some instances (by their key in the index) have a file in the spool that is as received."""

_LARGEST_CACHE = 20_000
_ROUTINE = int(Priority.ROUTINE)
_ALL_ROUTINE: Mapping[int, int] = {}
_INSTANCE_COLUMNS = (
    "id", "series", "uid_hash", "sop_instance_uid", "node", "source", "sop_class", "syntax", "modality",
    "data_offset", "size", "digest", "received_at", "revision", "kind", "routed", "purged_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entered:
    """What a batch led to: the destinations that have new work, and the ids of images whose files may go."""

    destinations: frozenset[str] = frozenset()
    absorbed: tuple[str, ...] = ()


class _FilesUnread(Exception):
    """Some kept files must be compared first: the transaction is rolled back and begun again."""


class Ingest:
    """Enters batches of arrivals into the index, for one node."""

    def __init__(
        self,
        database: Database,
        *,
        strings: StringTable,
        sources: Sources,
        recipes: Recipes,
        studies: Studies,
        arrivals: LastArrivals,
        counters: Counters,
        node: str,
        repeats: Repeats,
        intact: Intact,
    ) -> None:
        self._database = database
        self._intact = intact
        self._strings = strings
        self._sources = sources
        self._recipes = recipes
        self._node = strings.number(node)
        self._comparison = Comparison(repeats)
        self._studies = studies
        self._arrivals = arrivals
        self._counters = counters
        self._series: dict[tuple[str, str], tuple[int, int]] = {}
        self._generation = ""
        self._insert_instance = database.insertion(schema.instance, _INSTANCE_COLUMNS)
        self._insert_delivery = database.insertion(schema.delivery, DELIVERY_COLUMNS)
        self.study_tags: frozenset[TagPath] = STUDY_TAGS

    def use(self, study_tags: frozenset[TagPath]) -> None:
        """Keep these tags with each study, from the next batch on."""
        self.study_tags = study_tags

    def enter(self, arrivals: Sequence[Arrival], route: Mapping[str, Route]) -> Entered:
        """Write one batch; `route` by configuration revision. No SOP Instance UID may come twice in it.

        An arrival whose rules cannot be evaluated is kept and shown as unrouted.
        """
        entries = [self._prepare(arrival, route) for arrival in arrivals]
        intact: dict[bytes, bool] = {}
        while True:
            batch = Batch(intact)
            try:
                return self._transact(entries, batch)
            except _FilesUnread:
                intact |= dict.fromkeys(batch.unread, False)
                intact |= self._intact(batch.unread)

    def _transact(self, entries: Sequence[Entry], batch: Batch) -> Entered:
        """The transaction. Raises _FilesUnread, and writes nothing, if some files must be compared first."""
        with self._database.write() as connection:
            at = generation(connection)
            if at != self._generation:  # a series that is known here may be erased
                self._series, self._generation = {}, at
            fresh = self._find_series(connection, entries)
            known = find_known(connection, {(e.series, e.uid_hash) for e in entries if not e.fresh})
            for entry in entries:
                same_hash = known.get((entry.series, entry.uid_hash), ())
                self._add(connection, batch, entry, [one for one in same_hash if one.uid == entry.uid])
            if batch.unread:
                raise _FilesUnread
            counted = self._write(connection, batch)
        if len(self._series) > _LARGEST_CACHE:
            self._series = {}
        self._series |= fresh
        self._counters.remember(counted)
        return Entered(frozenset(map(self._strings.text, batch.destinations)), tuple(batch.absorbed))

    def _prepare(self, arrival: Arrival, route: Mapping[str, Route]) -> Entry:
        header, source, word = arrival.header, arrival.source, self._strings.number
        uid = clean(arrival.sop_instance_uid)
        promises: list[tuple[int, int]] = []
        priorities: Mapping[int, int] = _ALL_ROUTINE
        taken = False
        try:
            routing = route[arrival.revision](header, source)
            taken = not routing.unrouted
            promises = [(word(name), self._recipes.number(hash_)) for name, hash_ in routing.deliveries]
            if routing.assumed:  # the study's tags are read as the rules' were
                header = header.assuming(routing.assumed)
                arrival = arrival._replace(header=header)
            if routing.priorities:
                priorities = {word(name): int(each) for name, each in routing.priorities.items()}
        except Exception as error:  # noqa: BLE001  a rule may fail in any way; the image stays, in sight
            log.error("%s: unrouted, its rules failed (%s)", arrival.id, type(error).__name__)
        return Entry(
            arrival=arrival,
            promises=promises,
            priorities=priorities,
            taken=taken,
            study_uid=clean(header.text(STUDY_INSTANCE_UID)),
            series_uid=clean(header.text(SERIES_INSTANCE_UID)),
            uid=uid,
            uid_hash=xxhash.xxh3_64_intdigest(uid.encode()) - (1 << 63),
            source=self._sources.number(source),
            origin=word(source.peer),
            modality=word(header.text(MODALITY)),
            sop_class=word(arrival.sop_class_uid),
            syntax=word(arrival.transfer_syntax_uid),
            revision=word(arrival.revision),
        )

    def _add(self, connection: Connection, batch: Batch, entry: Entry, known: list[KnownInstance]) -> None:
        arrival, promises, kind = entry.arrival, entry.promises, Kind.FIRST
        if known:
            kind, promises = self._comparison.compare(connection, batch, entry, known)
        id_, received_at = bytes.fromhex(arrival.id), arrival.received_at
        batch.instances.append(
            (
                id_, entry.series, entry.uid_hash, entry.uid, self._node, entry.source, entry.sop_class,
                entry.syntax, entry.modality, arrival.data_offset, arrival.size, arrival.digest, received_at,
                entry.revision, int(kind), 1 if entry.taken or kind is Kind.ABSORBED else 0,
                received_at if kind is Kind.ABSORBED else None,
            )
        )  # fmt: skip
        priority_of = entry.priorities.get
        for destination, recipe in promises:
            priority = priority_of(destination, _ROUTINE)
            batch.deliveries.append((id_, entry.study, destination, 0, priority, recipe, 0, 0.0))
            batch.destinations.add(destination)
            batch.progress.add((entry.study, destination))
        batch.progress.add((entry.study, RECEIVED))
        batch.arrived[entry.study] = received_at
        batch.sent[entry.source] = received_at
        if kind is Kind.ABSORBED:
            batch.absorbed.append(arrival.id)
        hour = hour_of(received_at)
        increment = batch.counts[CounterKey(hour, RECEIVED, entry.origin, entry.modality, entry.study)]
        increment.images += all(day_of(one.received_at) != hour // 100 for one in known)
        increment.repeats += kind is Kind.ABSORBED or kind is Kind.REPEAT
        increment.versions += kind is Kind.VERSION
        increment.moved += 1
        increment.bytes_received += arrival.size

    def _find_series(
        self, connection: Connection, entries: Sequence[Entry]
    ) -> dict[tuple[str, str], tuple[int, int]]:
        """Give each entry its study's and series' numbers; the answer is what the cache lacked."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        new: set[tuple[str, str]] = set()
        for entry in entries:
            key = (entry.study_uid, entry.series_uid)
            numbers = self._series.get(key) or found.get(key)
            if numbers is None:
                arrival = entry.arrival
                numbers, made = self._studies.enter(
                    connection, key, arrival.header, arrival.received_at, self.study_tags
                )
                found[key] = numbers
                if made:
                    new.add(key)
            entry.study, entry.series = numbers
            entry.fresh = key in new
        return found

    def _write(self, connection: Connection, batch: Batch) -> Counted:
        connection.exec_driver_sql(self._insert_instance, batch.instances)
        if batch.deliveries:
            connection.exec_driver_sql(self._insert_delivery, batch.deliveries)
        self._studies.touch(connection, batch.progress, time.time())
        self._studies.arrived(connection, batch.arrived)
        self._arrivals.add(connection, batch.sent)
        return self._counters.add(connection, batch.counts)
