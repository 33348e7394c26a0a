"""Images for tests of the index that need none of their files: entered without spool and writer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapdr.kernel.item import Arrival, Routing
from mapdr.store import Store
from mapdr.store.queue.ingest import Route
from store.test_index_parts import Says
from store.test_writer import arrival
from store.world import SOURCE

NOON = 1_795_000_000.0


def image(
    number: int,
    *,
    study: str = "9",
    series: int = 1,
    modality: str = "CT",
    date: str = "20261123",
    patient: str = "P1",
    accession: str = "ACC1",
    content: int = 0,
    **facts: Any,
) -> Arrival:
    """An arrival under the UID 1.2.`number`; what it holds is told by `content`."""
    header = Says(
        tag_0020000d=study,
        tag_0020000e=f"{study}.{series}",
        tag_00080060=modality,
        tag_00080020=date,
        tag_00100020=patient,
        tag_00080050=accession,
    )
    told = {"source": SOURCE, "digest": bytes([content] * 16), "received_at": NOON, "size": 10, **facts}
    return arrival(number)._replace(header=header, **told)


def to(*destinations: str, recipe: str = "r0", **options: Any) -> Mapping[str, Route]:
    """Rules that send everything there."""
    routing = Routing(tuple((name, recipe) for name in destinations), **options)
    return {"r": lambda header, source: routing}


def facts(store: Store, query: str) -> list[tuple[Any, ...]]:
    """What a query gives."""
    with store.database.read() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]
