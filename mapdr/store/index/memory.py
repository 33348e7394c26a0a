"""What transforms remember of an image and a recipe, kept before the first send so that a retry makes the
same bytes and the same UID (design, decision 7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import bindparam, select

from mapdr.store.index import schema
from mapdr.store.index.database import Database, Prepared

_derivation = schema.derivation
# Made once: to make it costs more of the interpreter's lock than to run it.
_QUERY = select(_derivation.c.facts).where(
    *(_derivation.c[name] == bindparam(name) for name in ("instance", "recipe", "syntax"))
)


_UPSERTS: WeakKeyDictionary[Database, Prepared] = WeakKeyDictionary()


def _upsert(database: Database) -> Prepared:
    found = _UPSERTS.get(database)
    if found is None:
        found = _UPSERTS[database] = database.prepared(database.upsert(_derivation, replace=("facts",)))
    return found


class RecipeMemory:
    """Implements `mapdr.kernel.step.Memory` for one preparation: what it has read or kept it does not read
    again."""

    def __init__(self, database: Database, instance: bytes, recipe: int, syntax: int) -> None:
        self._database = database
        self._key = {"instance": instance, "recipe": recipe, "syntax": syntax}
        self._read = False
        self._facts: Mapping[str, Any] | None = None

    def recall(self) -> Mapping[str, Any] | None:
        """What `keep` was given earlier, or None."""
        if not self._read:
            with self._database.read() as connection:
                text = connection.execute(_QUERY, self._key).scalar()
            self._facts = None if text is None else dict(json.loads(text))
            self._read = True
        return self._facts

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Store JSON-able facts durably, in place of earlier ones."""
        text = json.dumps(facts)
        statement = _upsert(self._database)
        with self._database.write() as connection:
            statement.execute(connection, [{**self._key, "facts": text}])
        self._facts, self._read = dict(json.loads(text)), True
