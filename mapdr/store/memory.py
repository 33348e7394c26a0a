"""What transforms remember of an image and a recipe, kept before the first send so that a retry makes the
same bytes and the same UID (design, decision 7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from mapdr.store import schema
from mapdr.store.database import Database

_derivation = schema.derivation


class RecipeMemory:
    """Implements `mapdr.kernel.stage.Memory`."""

    def __init__(self, database: Database, instance: bytes, recipe: int, syntax: int) -> None:
        self._database = database
        self._key = {"instance": instance, "recipe": recipe, "syntax": syntax}

    def recall(self) -> Mapping[str, Any] | None:
        """What `keep` was given earlier, or None."""
        query = select(_derivation.c.facts)
        for name, value in self._key.items():
            query = query.where(_derivation.c[name] == value)
        with self._database.read() as connection:
            text = connection.execute(query).scalar()
        return None if text is None else dict(json.loads(text))

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Store JSON-able facts durably, in place of earlier ones."""
        row = {**self._key, "facts": json.dumps(facts)}
        with self._database.write() as connection:
            connection.execute(self._database.upsert(_derivation, replace=("facts",)), [row])
