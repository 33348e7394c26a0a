"""What is looked at again and again does not read every image, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from mapdr.operate.access import Access, access
from mapdr.operate.selection import Selection
from mapdr.operate.sources import sources
from mapdr.operate.studies import studies
from mapdr.operate.view import NodeView
from mapdr.testing import generator
from paper.nodes import NodeFolder

LOOKS = {
    "sources": sources,
    "studies": lambda opened: studies(opened, Selection(limit=50)),
    "studies of CT": lambda opened: studies(opened, Selection(modality="CT", limit=50)),
    "studies of a destination": lambda opened: studies(opened, Selection(destination="archive", limit=50)),
    "the node's state": lambda opened: NodeView(opened).gather(),
}


@contextmanager
def asked(opened: Access) -> Iterator[list[tuple[str, Any]]]:
    """What the index is asked in the block: statements with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        found.append((statement, parameters))

    engine = opened.index().database._reader
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_no_look_reads_every_image(used: NodeFolder, look: Callable[[Access], object]) -> None:
    with access(used.config) as opened:
        with asked(opened) as statements:
            look(opened)
        assert statements
        with opened.index().database.read() as connection:
            for statement, parameters in statements:
                if not statement.lstrip().upper().startswith("SELECT"):
                    continue
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                whole = [row.detail for row in plan if row.detail in ("SCAN instance", "SCAN delivery")]
                assert not whole, statement


def test_more_studies_are_no_more_questions(used: NodeFolder) -> None:
    numbers = []
    for more in (5, 60):
        used.receive(
            image
            for seed in range(more)
            for image in generator.study("MR", images=1, size=(8, 8), seed=100 * more + seed)
        )
        with access(used.config) as opened, asked(opened) as statements:
            assert len(studies(opened, Selection(limit=5))) == 5
            numbers.append(len(statements))
    assert numbers[0] == numbers[1]
