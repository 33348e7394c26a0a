"""Promising anew: today's rules decide again over images in the spool (design, decision 4).

What the rules say becomes a new batch. In the same transaction the rows that it replaces end as superseded:
those of the same image and destination that are parked, on hold, or pending with another recipe. So nothing
is owed twice, nothing stays parked for a fault that the rules no longer have, and to do it again finds
nothing to do. What is being sent at this moment ends as it will; what was delivered stays delivered.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import Header, Priority, Routing, Source, TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.corrections import corrected
from mapdr.store.index.database import Database, portions
from mapdr.store.index.instances import Instances
from mapdr.store.index.recipes import Recipes
from mapdr.store.index.schema import REPLACEABLE, UNDER_WAY, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import Studies, tag_key
from mapdr.store.queue.batch import DELIVERY_COLUMNS
from mapdr.store.queue.jobs import take
from mapdr.store.queue.rerouted import Corrections, ImageRerouted, Rerouted
from mapdr.store.spool.headers import read_file_header

_delivery, _instance = schema.delivery, schema.instance

Route = Callable[[Header, Source], Routing]


@dataclass(slots=True)
class _Promises:
    """What one transaction writes."""

    made: list[tuple[Any, ...]] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)
    changed: set[tuple[int, int]] = field(default_factory=set)
    corrected: list[dict[str, Any]] = field(default_factory=list)
    gone: set[bytes] = field(default_factory=set)
    still_parked: int = 0
    again: int = 0
    uncorrected: int = 0


@dataclass(frozen=True, slots=True)
class _Routed:
    """An image that is to be promised: recipes by destination, and what is corrected of it (tag, old, new).

    `taken` is False if no rule takes it, `readable` if its file is gone.
    """

    row: Row[Any]
    to: Mapping[int, int]
    taken: bool = True
    readable: bool = True
    changes: Sequence[tuple[str, str, str]] = ()


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

    def _routed(self, row: Row[Any], by: _Deciding) -> _Routed:
        """What an image is to be promised."""
        header = self._header(row, by.wanted)
        if header is None:
            return _Routed(row, {}, readable=False)
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
        return _Routed(row, to, taken=bool(routing.deliveries), changes=changes)

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
        routed: Sequence[_Routed],
        concerned: Mapping[bytes, AbstractSet[int]] | None,
        by: _Deciding,
        job: int | None,
        *,
        write: bool,
    ) -> tuple[Rerouted, Sequence[ImageRerouted]]:
        """One transaction: what these images are promised, and what became of each."""
        written = _Promises()
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
                    self._promise_image(connection, written, one, only)
                else:
                    written.gone.add(key)
            if by.corrections is None:
                written.uncorrected = corrected(connection, {values[0] for values in written.made})
            if write:
                self._write(connection, written, by.corrections, now)
        return _told(routed, written, by.numbers)

    def _write(
        self, connection: Connection, written: _Promises, corrections: Corrections | None, now: float
    ) -> None:
        if written.made:
            connection.exec_driver_sql(self._insert, written.made)
            routed = list({values[0] for values in written.made})
            for ids in portions(routed):
                connection.execute(update(_instance).where(_instance.c.id.in_(ids)).values(routed=1))
        if written.corrected and corrections:
            by = {"operator": corrections.operator, "at": now}
            connection.execute(insert(schema.correction), [{**one, **by} for one in written.corrected])
        for numbers in portions(written.replaced):
            statement = update(_delivery).where(_delivery.c.id.in_(numbers))
            connection.execute(statement.values(state=int(State.SUPERSEDED), settled_at=now))
        self._studies.touch(connection, written.changed, now)

    def _promise_image(
        self,
        connection: Connection,
        written: _Promises,
        image: _Routed,
        concerned: AbstractSet[int] | None,
    ) -> None:
        """What the rules say of one image; `concerned` are the destinations of the chosen deliveries, None
        for all."""
        row = image.row
        standing: dict[int, list[Row[Any]]] = defaultdict(list)
        batch, before_all = 0, len(written.made)
        for delivery in connection.execute(_promises_of(row)):
            standing[delivery.destination].append(delivery)
            batch = max(batch, delivery.batch + 1)
        for destination, recipe in image.to.items():
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
        if image.changes and len(written.made) > before_all:
            written.corrected.append(
                {
                    "instance": row.id,
                    "batch": batch,
                    "study": row.study,
                    "changes": json.dumps(image.changes, separators=(",", ":")),
                }
            )
        written.still_parked += sum(
            one.state == State.PARKED and (concerned is None or destination in concerned)
            for destination, rows in standing.items()
            for one in rows
        )


def _told(
    routed: Sequence[_Routed], written: _Promises, numbers: _Numbers
) -> tuple[Rerouted, Sequence[ImageRerouted]]:
    """What one transaction did, in all and of each image."""
    sizes = {bytes(one.row.id): one.row.size for one in routed}
    to: Counter[str] = Counter()
    bytes_to: Counter[str] = Counter()
    by_image: dict[bytes, list[str]] = defaultdict(list)
    for key, _, destination, *_ in written.made:
        name = numbers.name(destination)
        to[name] += 1
        bytes_to[name] += sizes[bytes(key)]
        by_image[bytes(key)].append(name)
    images = []
    for one in routed:
        key = bytes(one.row.id)
        promised = by_image.get(key, [])
        state = "promised" if promised else "standing" if one.taken else "unrouted"
        if not one.readable or key in written.gone:
            state = "missing"
        facts = (key.hex(), one.row.study_uid, one.row.sop_instance_uid)
        images.append(ImageRerouted(*facts, state, promised, one.row.size))
    states = Counter(one.state for one in images)
    sums = Rerouted(
        images=len(images) - states["missing"],
        deliveries=len(written.made),
        missing=states["missing"],
        unrouted=states["unrouted"],
        superseded=len(written.replaced),
        still_parked=written.still_parked,
        to=to,
        bytes_to=bytes_to,
        again=written.again,
        uncorrected=written.uncorrected,
    )
    return sums, images


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
