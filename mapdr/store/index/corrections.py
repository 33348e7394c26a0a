"""What was corrected of images, by whom: old and new values, until the image is erased."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, func, select, update

from mapdr.kernel.item import TagPath
from mapdr.store.index import schema, selection
from mapdr.store.index.database import Database, portions
from mapdr.store.index.selection import Selection
from mapdr.store.index.strings import StringTable
from mapdr.store.index.studies import tag_path

_correction, _delivery, _recipe = schema.correction, schema.delivery, schema.recipe
_instance, _study = schema.instance, schema.study


@dataclass(frozen=True, slots=True)
class Correction:
    """What was corrected of one image, for the deliveries of one `batch`: (tag, old, new); nothing is known
    of it any more once the image was erased."""

    instance: str
    study_instance_uid: str
    sop_instance_uid: str
    batch: int
    operator: str
    at: float
    changes: Sequence[tuple[TagPath, str, str]]


class Corrections:
    """Looks corrections up."""

    def __init__(self, database: Database, strings: StringTable) -> None:
        self._database = database
        self._strings = strings

    def select(self, chosen: Selection) -> list[Correction]:
        """Those of the images that a selection chooses, the newest first."""
        query = (
            selection.images(
                chosen, self._strings, _correction, _study.c.uid, _instance.c.sop_instance_uid.label("image")
            )
            .join(
                _correction,
                and_(_correction.c.study == _study.c.id, _correction.c.instance == _instance.c.id),
            )
            .order_by(None)
            .order_by(_correction.c.at.desc(), _correction.c.instance)
        )
        with self._database.read() as connection:
            return [
                Correction(
                    bytes(row.instance).hex(),
                    row.uid,
                    row.image,
                    row.batch,
                    row.operator,
                    row.at,
                    [(tag_path(tag), old, new) for tag, old, new in json.loads(row.changes)],
                )
                for row in connection.execute(query)
            ]


def corrected(connection: Connection, keys: Collection[bytes]) -> int:
    """How many of these images were corrected."""
    found = 0
    for some in portions(list(keys)):
        these = select(func.count(_correction.c.instance.distinct())).where(_correction.c.instance.in_(some))
        found += connection.scalar(these) or 0
    return found


def write_over(connection: Connection, studies: Collection[int], keys: Collection[bytes]) -> None:
    """Leave no value of these images in their corrections, nor in recipes that no other image has."""
    these = and_(_correction.c.study.in_(studies), _correction.c.instance.in_(keys))
    own = (
        select(_delivery.c.recipe)
        .distinct()
        .join(
            _correction,
            and_(
                _correction.c.study == _delivery.c.study,
                _correction.c.instance == _delivery.c.instance,
                _correction.c.batch == _delivery.c.batch,
            ),
        )
    )
    recipes = list(connection.scalars(own.where(these)))
    connection.execute(update(_correction).where(these).values(changes="[]"))
    for number in recipes:
        others = own.where(_delivery.c.recipe == number, _correction.c.changes != "[]").limit(1)
        if connection.execute(others).first() is None:
            connection.execute(update(_recipe).where(_recipe.c.id == number).values(body=None))
