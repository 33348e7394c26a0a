"""Promising anew: today's rules decide again over images in the spool (design, decision 4).

What the rules say becomes a new batch. In the same transaction the rows that it replaces end as superseded:
those of the same image and destination that are parked, on hold, or pending with another recipe. So nothing
is owed twice, nothing stays parked for a fault that the rules no longer have, and to do it again finds
nothing to do. What is being sent at this moment ends as it will; what was delivered stays delivered.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, select, update

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Priority, Routing, Source, TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.database import Database, portions
from mapdr.store.index.instances import Instances
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import REPLACEABLE, UNDER_WAY, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import Studies
from mapdr.store.queue.batch import DELIVERY_COLUMNS
from mapdr.store.spool.headers import read_file_header

_delivery, _instance = schema.delivery, schema.instance


@dataclass(frozen=True, slots=True)
class Rerouted:
    """What a re-route did: images read, deliveries promised, images whose file is gone or unreadable,
    images that no rule takes, deliveries that were superseded, and those that stay parked because today's
    rules do not name their destination. `to`: the promised deliveries by destination; `again`: how many of
    them are of an image that their destination has confirmed before."""

    images: int = 0
    deliveries: int = 0
    missing: int = 0
    unrouted: int = 0
    superseded: int = 0
    still_parked: int = 0
    to: Mapping[str, int] = field(default_factory=dict)
    again: int = 0


@dataclass(slots=True)
class _Promises:
    """What one transaction writes."""

    made: list[tuple[Any, ...]] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    changed: set[tuple[int, int]] = field(default_factory=set)
    still_parked: int = 0
    again: int = 0


class _Numbers:
    """The numbers of destinations and recipes while images are routed again.

    If it is written, those that are new are made. Else they get numbers below 0, which no row has.
    """

    def __init__(self, strings: StringTable, recipes: Recipes, *, write: bool) -> None:
        self._strings = strings
        self._recipes = recipes
        self._write = write
        self._destinations: dict[str, int] = {}
        self._hashes: dict[str, int] = {}

    def destination(self, name: str) -> int:
        """The number of a destination."""
        return self._known(self._strings, self._destinations, name)

    def recipe(self, hash_: str) -> int:
        """The number of a recipe."""
        return self._known(self._recipes, self._hashes, hash_)

    def name(self, destination: int) -> str:
        """The destination of a number that was given here."""
        return next(name for name, number in self._destinations.items() if number == destination)

    def _known(self, table: StringTable | Recipes, given: dict[str, int], name: str) -> int:
        if name not in given:
            number = table.number(name) if self._write else table.find(name)
            given[name] = -1 - len(given) if number is None else number
        return given[name]


class Rerouting:
    """Evaluates rules again and promises what they say."""

    def __init__(
        self,
        database: Database,
        *,
        strings: StringTable,
        recipes: Recipes,
        instances: Instances,
        studies: Studies,
    ) -> None:
        self._database = database
        self._strings = strings
        self._recipes = recipes
        self._instances = instances
        self._studies = studies
        self._insert = database.insertion(schema.delivery, DELIVERY_COLUMNS)

    def reroute(
        self,
        chosen: Selection,
        route: Callable[[Header, Source], Routing],
        wanted: frozenset[TagPath],
        *,
        only: Iterable[str] = (),
        write: bool = True,
    ) -> Rerouted:
        """Evaluate rules again for images in the spool and promise what they say, as a new batch.

        Without `write` nothing is promised, nor written at all, and what would be is told.
        `only` limits it to these destinations. A promise that is still open is not made twice. Where
        deliveries are chosen (by state, reason, destination), the other promises of their images are left
        alone; destinations that the rules name for the first time are promised as well.
        """
        limit = frozenset(only)
        numbers = _Numbers(self._strings, self._recipes, write=write)
        limited = {numbers.destination(name) for name in limit}
        done = Rerouted()
        for rows, concerned in self._image_rows(chosen, limited):
            promised = []
            missing = unrouted = 0
            for row in rows:
                routing = self._route(row, route, wanted)
                if routing is None:
                    missing += 1
                    continue
                to = [(name, hash_) for name, hash_ in routing.deliveries if not limit or name in limit]
                unrouted += not routing.deliveries
                promised.append(
                    (row, {numbers.destination(name): numbers.recipe(hash_) for name, hash_ in to})
                )
            written = self._promise(promised, concerned, write)
            promises = Counter(done.to)
            promises.update(numbers.name(values[2]) for values in written.made)
            done = Rerouted(
                done.images + len(promised),
                done.deliveries + len(written.made),
                done.missing + missing,
                done.unrouted + unrouted,
                done.superseded + len(written.replaced),
                done.still_parked + written.still_parked,
                promises,
                done.again + written.again,
            )
        return done

    def _image_rows(
        self, chosen: Selection, limited: AbstractSet[int]
    ) -> Iterator[tuple[list[Row[Any]], Mapping[bytes, AbstractSet[int]] | None]]:
        """The images a batch at a time; with each the destinations that are concerned, if not all are."""
        query = selection.images(chosen, self._strings, _instance.c.id)
        with self._database.read() as connection:
            keys = [row.id for row in connection.execute(query)]
        for some in portions(keys):
            concerned: Mapping[bytes, AbstractSet[int]] | None = None
            if limited:
                concerned = dict.fromkeys(some, limited)
            with self._database.read() as connection:
                rows = self._instances.rows(connection, some)
                if chosen.of_deliveries:
                    found = self._concerned(connection, chosen, some)
                    concerned = {key: found[key] & limited if limited else found[key] for key in some}
            yield sorted(rows, key=lambda row: bytes(row.id)), concerned

    def _concerned(
        self, connection: Connection, chosen: Selection, keys: Sequence[bytes]
    ) -> Mapping[bytes, AbstractSet[int]]:
        part = replace(chosen, instances=[bytes(key).hex() for key in keys], limit=None)
        query = selection.deliveries(part, self._strings, _delivery.c.instance, _delivery.c.destination)
        found: dict[bytes, set[int]] = defaultdict(set)
        for row in connection.execute(query):
            found[row.instance].add(row.destination)
        return found

    def _route(
        self, row: Row[Any], route: Callable[[Header, Source], Routing], wanted: frozenset[TagPath]
    ) -> Routing | None:
        instance = self._instances.from_row(row)
        if row.purged_at is not None:
            return None
        try:
            header = read_file_header(
                instance.path,
                instance.data_offset,
                instance.size,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                wanted=wanted,
            )
        except (OSError, Permanent):
            return None
        return route(header, instance.source)

    def _promise(
        self,
        promised: Sequence[tuple[Row[Any], Mapping[int, int]]],
        concerned: Mapping[bytes, AbstractSet[int]] | None,
        write: bool,
    ) -> _Promises:
        written = _Promises()
        now = time.time()
        with self._database.write() if write else self._database.read() as connection:
            for row, to in promised:
                purged = select(_instance.c.purged_at).where(_instance.c.id == row.id).with_for_update()
                if connection.execute(purged).scalar() is None:
                    only = None if concerned is None else concerned[row.id]
                    self._promise_image(connection, written, row, to, only)
            if not write:
                return written
            if written.made:
                connection.exec_driver_sql(self._insert, written.made)
                routed = list({values[0] for values in written.made})
                connection.execute(update(_instance).where(_instance.c.id.in_(routed)).values(routed=1))
            for ids in portions(written.replaced):
                statement = update(_delivery).where(_delivery.c.id.in_(ids))
                connection.execute(statement.values(state=int(State.SUPERSEDED), settled_at=now))
            self._studies.touch(connection, written.changed, now)
        return written

    def _promise_image(
        self,
        connection: Connection,
        written: _Promises,
        row: Row[Any],
        to: Mapping[int, int],
        concerned: AbstractSet[int] | None,
    ) -> None:
        """What the rules say of one image: `to` are recipes by destination, `concerned` the destinations of
        the chosen deliveries, None for all."""
        standing: dict[int, list[Row[Any]]] = defaultdict(list)
        batch = 0
        for delivery in connection.execute(_promises_of(row)):
            standing[delivery.destination].append(delivery)
            batch = max(batch, delivery.batch + 1)
        for destination, recipe in to.items():
            before = standing.pop(destination, [])
            if before and concerned is not None and destination not in concerned:
                continue
            kept = [one for one in before if one.recipe == recipe and one.state in UNDER_WAY]
            replaced = [one for one in before if one.state in REPLACEABLE and one not in kept]
            written.replaced += [one.id for one in replaced]
            if replaced or not kept:
                written.changed.add((row.study, destination))
            if not kept:
                written.again += any(one.state == State.DELIVERED for one in before)
                # What an operator has stopped stays stopped.
                state = State.HELD if any(one.state == State.HELD for one in replaced) else State.PENDING
                written.made.append(
                    (row.id, row.study, destination, batch, int(Priority.BULK), recipe, int(state), 0.0)
                )
        written.still_parked += sum(
            one.state == State.PARKED and (concerned is None or destination in concerned)
            for destination, rows in standing.items()
            for one in rows
        )


def _promises_of(row: Row[Any]) -> Select[Any]:
    return (
        select(
            _delivery.c.id,
            _delivery.c.destination,
            _delivery.c.recipe,
            _delivery.c.state,
            _delivery.c.batch,
        )
        .where(_delivery.c.study == row.study, _delivery.c.instance == row.id)
        .with_for_update()
    )
