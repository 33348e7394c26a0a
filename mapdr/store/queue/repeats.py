"""Instances that the index knows under an SOP Instance UID and series, and what was promised for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select

from mapdr.store.index import schema
from mapdr.store.index.schema import Kind, State

_AT_ONCE = 256
"""Hashes in one query at most: more than eight are padded to a power of two, so that few statements are
prepared."""

_instance, _delivery = schema.instance, schema.delivery
_KNOWN = select(
    _instance.c.id,
    _instance.c.uid_hash,
    _instance.c.sop_instance_uid,
    _instance.c.digest,
    _instance.c.received_at,
    _instance.c.purged_at,
    _instance.c.kind,
).where(
    _instance.c.series == bindparam("series"),
    _instance.c.uid_hash.in_(bindparam("hashes", expanding=True)),
)
_SHARED = (
    select(_instance.c.uid_hash)
    .where(
        _instance.c.series == bindparam("series"),
        _instance.c.uid_hash.in_(bindparam("hashes", expanding=True)),
    )
    .group_by(_instance.c.uid_hash)
    .having(func.count() > 1)
)
_PROMISES = select(
    _delivery.c.id,
    _delivery.c.instance,
    _delivery.c.destination,
    _delivery.c.recipe,
    _delivery.c.state,
    _delivery.c.reason,
).where(_delivery.c.study == bindparam("study"), _delivery.c.instance.in_(bindparam("ids", expanding=True)))


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """An instance that the index knows under the same UID; `kept`: its file is still in the spool.

    One that was `absorbed` counts for its day, and is nothing that a later one could be a repeat of.
    """

    id: bytes
    uid: str
    digest: bytes
    received_at: float
    kept: bool
    absorbed: bool


def find_known(
    connection: Connection, keys: Iterable[tuple[int, int]]
) -> Mapping[tuple[int, int], Sequence[KnownInstance]]:
    """The instances known under (series, UID hash); a hash may also match another UID."""
    found: dict[tuple[int, int], list[KnownInstance]] = defaultdict(list)
    for series, some in _portions(keys):
        for row in connection.execute(_KNOWN, {"series": series, "hashes": some}):
            kept, absorbed = row.purged_at is None, row.kind == Kind.ABSORBED
            known = KnownInstance(row.id, row.sop_instance_uid, row.digest, row.received_at, kept, absorbed)
            found[series, row.uid_hash].append(known)
    return found


def find_shared(connection: Connection, keys: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Those (series, UID hash) that more than one instance has; an index tells, without their rows."""
    return {
        (series, row.uid_hash)
        for series, some in _portions(keys)
        for row in connection.execute(_SHARED, {"series": series, "hashes": some})
    }


def _portions(keys: Iterable[tuple[int, int]]) -> Iterator[tuple[int, list[int]]]:
    """A series and some of its hashes, for one query each."""
    by_series: dict[int, list[int]] = defaultdict(list)
    for series, uid_hash in keys:
        by_series[series].append(uid_hash)
    for series, hashes in by_series.items():
        for start in range(0, len(hashes), _AT_ONCE):
            some = hashes[start : start + _AT_ONCE]
            if len(some) > 8:
                some += some[-1:] * ((1 << (len(some) - 1).bit_length()) - len(some))
            yield series, some


@dataclass(frozen=True, slots=True)
class Promise:
    """What was promised for an instance: a row of the ledger."""

    id: int
    instance: bytes
    destination: int
    recipe: int
    state: State
    reason: str


def promises_of(connection: Connection, study: int, ids: Sequence[bytes]) -> list[Promise]:
    """What was promised for these instances."""
    rows = connection.execute(_PROMISES, {"study": study, "ids": list(ids)})
    return [
        Promise(row.id, row.instance, row.destination, row.recipe, State(row.state), row.reason or "")
        for row in rows
    ]


def last_given(
    connection: Connection, instance: bytes, destination: int, delivery: int
) -> tuple[bytes, int] | None:
    """Digest and recipe of what a destination was last given under the UID of `instance`, but for `delivery`.

    What was delivered last; else what is on its way, which may have been sent. None if there is neither.
    """
    own = select(_instance.c.series, _instance.c.uid_hash, _instance.c.sop_instance_uid)
    key = connection.execute(own.where(_instance.c.id == instance)).one()
    query = (
        select(_instance.c.digest, _delivery.c.recipe)
        .join(_delivery, _delivery.c.instance == _instance.c.id)
        .where(_instance.c.series == key.series, _instance.c.uid_hash == key.uid_hash)
        .where(_instance.c.sop_instance_uid == key.sop_instance_uid)
        .where(_delivery.c.destination == destination, _delivery.c.id != delivery)
        .where(_delivery.c.state.in_((int(State.DELIVERED), int(State.LEASED))))
        .order_by(
            _delivery.c.state != int(State.DELIVERED), _delivery.c.settled_at.desc(), _delivery.c.id.desc()
        )
    )
    row = connection.execute(query.limit(1)).first()
    return None if row is None else (row.digest, row.recipe)
