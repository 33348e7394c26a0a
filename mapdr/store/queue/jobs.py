"""Re-routes with a name: which images one is of, and which it has done.

The images are chosen once, when the job begins. Each is marked as done in the transaction that promises it
(`mapdr.store.queue.reroute`), so that whoever goes on with the job, after a crash or beside another process,
promises none of them twice and leaves none out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select, update

from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions

_job, _image = schema.job, schema.job_image


@dataclass(frozen=True, slots=True)
class Job:
    """A job by its number; `request` is what it was asked for, as a hash, `images` how many it is of, and
    `left` those that are not done."""

    number: int
    request: str
    images: int
    left: Sequence[bytes]


class Jobs:
    """The jobs of one index."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, name: str) -> Job | None:
        """The job of a name, or None."""
        with self._database.read() as connection:
            return _read(connection, name)

    def begin(self, name: str, request: str, operator: str, keys: Sequence[bytes]) -> Job:
        """A new job over these images, all in one transaction; the one that there is if another process was
        quicker."""
        with self._database.write() as connection:
            known = _read(connection, name)
            if known is not None:
                return known
            values = {"name": name, "request": request, "operator": operator, "started_at": time.time()}
            number = connection.execute(insert(_job).values(values)).inserted_primary_key
            assert number is not None
            rows = [{"job": number[0], "instance": key, "done": 0} for key in keys]
            if rows:
                connection.execute(insert(_image), rows)
            return Job(number[0], request, len(rows), [row["instance"] for row in rows])


def take(connection: Connection, job: int, keys: Collection[bytes]) -> set[bytes]:
    """Mark these images of a job as done, within the transaction that does it; gives those that were not."""
    found: set[bytes] = set()
    for some in portions(list(keys)):
        these = (_image.c.job == job, _image.c.instance.in_(some), _image.c.done == 0)
        found.update(connection.scalars(select(_image.c.instance).where(*these).with_for_update()))
        connection.execute(update(_image).where(*these).values(done=1))
    return {bytes(key) for key in found}


def _read(connection: Connection, name: str) -> Job | None:
    row = connection.execute(select(_job).where(_job.c.name == name)).first()
    if row is None:
        return None
    images = connection.scalar(select(func.count()).select_from(_image).where(_image.c.job == row.id)) or 0
    undone = select(_image.c.instance).where(_image.c.job == row.id, _image.c.done == 0)
    left = [bytes(key) for key in connection.scalars(undone.order_by(_image.c.instance))]
    return Job(row.id, row.request, images, left)
