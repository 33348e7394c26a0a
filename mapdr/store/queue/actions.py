"""What a person does to deliveries: try again, hold, release, dismiss (design, decision 16)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, literal, literal_column, select, update

from mapdr.kernel.item import Priority
from mapdr.store.index import schema, selection
from mapdr.store.index.database import Database, portions
from mapdr.store.index.schema import OWED, State
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import Studies
from mapdr.store.queue.inhand import ALONE

_delivery, _death = schema.delivery, schema.death

_ALONE_AGAIN = update(_death).where(_death.c.deaths > ALONE).values(deaths=ALONE)
_DISMISSED = update(_delivery).values(
    state=int(State.DISMISSED),
    reason="dismissed by the operator",
    comment=literal("it was parked: ") + func.coalesce(_delivery.c.reason, "for no known reason"),
)


class Actions:
    """Changes the deliveries that a selection chooses."""

    def __init__(self, database: Database, strings: StringTable, studies: Studies) -> None:
        self._database = database
        self._strings = strings
        self._studies = studies

    def retry(self, chosen: Selection) -> int:
        """Parked rows, and those that wait for their next try, are due now; how many.

        One that was parked because the node died with it in hand is tried alone once more.
        """
        return self._move(
            chosen,
            (State.PARKED, State.PENDING),
            state=int(State.PENDING),
            not_before=0.0,
            attempts=0,
            settled_at=None,
            reason=None,
            comment=None,
        )

    def hold(self, chosen: Selection) -> int:
        """Pending rows wait until they are released; how many. What is leased is under way and stays."""
        return self._move(chosen, (State.PENDING,), state=int(State.HELD))

    def release(self, chosen: Selection) -> int:
        """Held rows are pending again; how many."""
        return self._move(chosen, (State.HELD,), state=int(State.PENDING))

    def prioritize(self, chosen: Selection, priority: Priority) -> int:
        """What is owed gets this priority; how many have it by now that had another.

        What is leased goes out as it was leased, and has the new one if it comes back.
        """
        return self._move(chosen, OWED, (_delivery.c.priority != int(priority),), priority=int(priority))

    def dismiss(self, chosen: Selection) -> int:
        """Parked rows end: they shall never be sent. How many. Their attempts and reasons stay on record."""
        query = (
            selection.deliveries(
                chosen, self._strings, _delivery.c.id, _delivery.c.study, _delivery.c.destination
            )
            .where(literal_column(schema.STUCK), _delivery.c.state == State.PARKED)
            .with_for_update(of=_delivery)
        )
        now = time.time()
        with self._database.write() as connection:
            rows = connection.execute(query).all()
            for some in portions(rows):
                ids = [row.id for row in some]
                connection.execute(_DISMISSED.where(_delivery.c.id.in_(ids)).values(settled_at=now))
            self._studies.touch(connection, {(row.study, row.destination) for row in rows}, now)
        return len(rows)

    def _move(
        self,
        chosen: Selection,
        states: Sequence[State],
        only: Sequence[ColumnElement[bool]] = (),
        **values: Any,
    ) -> int:
        query = selection.deliveries(chosen, self._strings, _delivery.c.id).where(
            _delivery.c.state.in_(states), *only
        )
        moved = 0
        with self._database.write() as connection:
            ids = [row.id for row in connection.execute(query)]
            for some in portions(ids):
                these = _delivery.c.id.in_(some)
                if values.get("state") == State.PENDING and State.PARKED in states:
                    images = select(_delivery.c.instance).where(these, _delivery.c.state == State.PARKED)
                    connection.execute(_ALONE_AGAIN.where(_death.c.instance.in_(images)))
                moved += connection.execute(update(_delivery).where(these).values(values)).rowcount
        return moved
