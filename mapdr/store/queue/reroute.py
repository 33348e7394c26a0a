"""Promising anew: today's rules decide again over images in the spool (design, decision 4).

What the rules say becomes a new batch. In the same transaction the rows that it replaces end as superseded:
those of the same image and destination that are parked, on hold, or pending with another recipe. So nothing
is owed twice, nothing stays parked for a fault that the rules no longer have, and to do it again finds
nothing to do. What is being sent at this moment ends as it will; what was delivered stays delivered.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Routing, Source, TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.corrections import corrected
from mapdr.store.index.database import Database, portions
from mapdr.store.index.instances import Instances
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import Studies, tag_key
from mapdr.store.queue.batch import DELIVERY_COLUMNS
from mapdr.store.queue.jobs import take
from mapdr.store.queue.promises import Promises, Routed, told
from mapdr.store.queue.rerouted import Corrections, ImageRerouted, Rerouted
from mapdr.store.spool.headers import read_file_header

_delivery, _instance = schema.delivery, schema.instance

Route = Callable[[Header, Source], Routing]


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


@dataclass(frozen=True, slots=True)
class _Deciding:
    """What decides over images: a function over their header, the tags that it asks for, the destinations
    that it is limited to (all, if there is none), and what is corrected."""

    route: Route
    wanted: frozenset[TagPath]
    limit: AbstractSet[str]
    numbers: _Numbers
    corrections: Corrections | None


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

    def choose(self, chosen: Selection) -> list[bytes]:
        """The images that a selection chooses at this moment, by their key in the index, the oldest first."""
        query = selection.images(chosen, self._strings, _instance.c.id)
        with self._database.read() as connection:
            return sorted(bytes(row.id) for row in connection.execute(query))

    def unknown(self, chosen: Selection) -> list[str]:
        """Those of the values that a selection lists by which it chooses no image."""
        with self._database.read() as connection:
            return selection.unknown(chosen, self._strings, connection)

    def reroute(
        self,
        chosen: Selection,
        route: Route,
        wanted: frozenset[TagPath],
        *,
        only: Iterable[str] = (),
        write: bool = True,
    ) -> Rerouted:
        """As `steps`, for all images that are chosen; what it did in all."""
        done = Rerouted()
        for step, _ in self.steps(self.choose(chosen), chosen, route, wanted, only=only, write=write):
            done += step
        return done

    def steps(
        self,
        keys: Sequence[bytes],
        chosen: Selection,
        route: Route,
        wanted: frozenset[TagPath],
        *,
        only: Iterable[str] = (),
        write: bool = True,
        job: int | None = None,
        corrections: Corrections | None = None,
        portion: int = 200,
    ) -> Iterator[tuple[Rerouted, Sequence[ImageRerouted]]]:
        """Evaluate rules again for images in the spool and promise what they say, as a new batch.

        One step is one transaction over `portion` images, of which it says what became of them.
        Without `write` nothing is promised, nor written at all, and what would be is told.
        `only` limits it to these destinations. A promise that is still open is not made twice. Where
        deliveries are chosen (by state, reason, destination), the other promises of their images are left
        alone; destinations that the rules name for the first time are promised as well.
        Images that `job` has done already are left out, and the others marked as done with their promise.
        """
        limit = frozenset(only)
        wanted |= frozenset(corrections.values) if corrections else frozenset()
        numbers = _Numbers(self._strings, self._recipes, write=write)
        deciding = _Deciding(route, wanted, limit, numbers, corrections)
        limited = {numbers.destination(name) for name in limit}
        for some in portions(keys, portion):
            rows, concerned = self._image_rows(chosen, some, limited)
            routed = [self._routed(row, deciding) for row in rows]
            yield self._promise(routed, concerned, deciding, job, write=write)

    def _image_rows(
        self, chosen: Selection, keys: Sequence[bytes], limited: AbstractSet[int]
    ) -> tuple[list[Row[Any]], Mapping[bytes, AbstractSet[int]] | None]:
        """Some images; with each the destinations that are concerned, if not all are."""
        concerned: Mapping[bytes, AbstractSet[int]] | None = None
        if limited:
            concerned = dict.fromkeys(keys, limited)
        with self._database.read() as connection:
            rows = self._instances.rows(connection, keys)
            if chosen.of_deliveries:
                found = self._concerned(connection, chosen, keys)
                concerned = {key: found[key] & limited if limited else found[key] for key in keys}
        return sorted(rows, key=lambda row: bytes(row.id)), concerned

    def _concerned(
        self, connection: Connection, chosen: Selection, keys: Sequence[bytes]
    ) -> Mapping[bytes, AbstractSet[int]]:
        part = replace(chosen, instances=[bytes(key).hex() for key in keys], limit=None, listed=())
        query = selection.deliveries(part, self._strings, _delivery.c.instance, _delivery.c.destination)
        found: dict[bytes, set[int]] = defaultdict(set)
        for row in connection.execute(query):
            found[bytes(row.instance)].add(row.destination)
        return found

    def _routed(self, row: Row[Any], by: _Deciding) -> Routed:
        """What an image is to be promised."""
        header = self._header(row, by.wanted)
        if header is None:
            return Routed(row, {}, readable=False)
        routing = by.route(header, self._instances.from_row(row).source)
        header = header.assuming(routing.assumed) if routing.assumed else header
        to = {
            by.numbers.destination(name): by.numbers.recipe(hash_)
            for name, hash_ in routing.deliveries
            if not by.limit or name in by.limit
        }
        changes = [
            (tag_key(path), "\\".join(header.texts(path)), new)
            for path, new in (by.corrections.values if by.corrections else {}).items()
        ]
        taken = not routing.unrouted
        stays = taken and not routing.deliveries
        return Routed(row, to, taken=taken, stays=stays, changes=changes)

    def _header(self, row: Row[Any], wanted: frozenset[TagPath]) -> Header | None:
        """What the file of an image says, or None if it is gone or cannot be read."""
        if row.purged_at is not None:
            return None
        instance = self._instances.from_row(row)
        try:
            return read_file_header(
                instance.path,
                instance.data_offset,
                instance.size,
                transfer_syntax_uid=instance.transfer_syntax_uid,
                wanted=wanted,
            )
        except (OSError, Permanent):
            return None

    def _promise(
        self,
        routed: Sequence[Routed],
        concerned: Mapping[bytes, AbstractSet[int]] | None,
        by: _Deciding,
        job: int | None,
        *,
        write: bool,
    ) -> tuple[Rerouted, Sequence[ImageRerouted]]:
        """One transaction: what these images are promised, and what became of each."""
        written = Promises()
        now = time.time()
        with self._database.write() if write else self._database.read() as connection:
            if write and job is not None:
                undone = take(connection, job, [bytes(one.row.id) for one in routed])
                routed = [one for one in routed if bytes(one.row.id) in undone]
            for one in routed:
                if not one.readable:
                    continue
                key = bytes(one.row.id)
                purged = select(_instance.c.purged_at).where(_instance.c.id == key).with_for_update()
                if connection.execute(purged).scalar() is None:
                    only = None if concerned is None else concerned[key]
                    written.add(connection, one, only)
                else:
                    written.gone.add(key)
            if by.corrections is None:
                written.uncorrected = corrected(connection, {values[0] for values in written.made})
            if write:
                self._write(connection, written, by.corrections, now)
        return told(routed, written, by.numbers.name)

    def _write(
        self, connection: Connection, written: Promises, corrections: Corrections | None, now: float
    ) -> None:
        if written.made:
            connection.exec_driver_sql(self._insert, written.made)
        for ids in portions(list({values[0] for values in written.made} | written.staying)):
            connection.execute(update(_instance).where(_instance.c.id.in_(ids)).values(routed=1))
        if written.corrected and corrections:
            by = {"operator": corrections.operator, "at": now}
            connection.execute(insert(schema.correction), [{**one, **by} for one in written.corrected])
        for numbers in portions(written.replaced):
            statement = update(_delivery).where(_delivery.c.id.in_(numbers))
            connection.execute(statement.values(state=int(State.SUPERSEDED), settled_at=now))
        self._studies.touch(connection, written.changed, now)
