"""Recipes by hash, and what transforms remember of an image under one.

What was promised under a hash is kept for good (design, decision 4). What transforms remember is kept before
the first send, so that a retry makes the same bytes and the same UID (design, decision 7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, select

from mapdr.kernel.errors import Permanent
from mapdr.store.index import schema
from mapdr.store.index.database import Database, Prepared
from mapdr.store.index.strings import StringTable, clean

_derivation = schema.derivation
# Made once: to make it costs more of the interpreter's lock than to run it.
_FACTS = select(_derivation.c.facts).where(
    *(_derivation.c[name] == bindparam(name) for name in ("instance", "recipe", "syntax"))
)

_instance, _same = schema.instance, schema.instance.alias("same")
_FACTS_OF_THE_SAME = (
    select(_derivation.c.facts)
    .join(_same, _same.c.id == _derivation.c.instance)
    .join(
        _instance,
        and_(
            *(
                _same.c[name] == _instance.c[name]
                for name in ("series", "uid_hash", "sop_instance_uid", "digest")
            )
        ),
    )
    .where(
        _instance.c.id == bindparam("instance"),
        *(_derivation.c[name] == bindparam(name) for name in ("recipe", "syntax")),
    )
    .order_by(_derivation.c.instance)
    .limit(1)
)
"""Those of the first of the same image's instances: who pushes again what was delivered gets another one."""


class Recipes:
    """Recipes by hash, and what is remembered of images under them."""

    def __init__(self, database: Database, strings: StringTable) -> None:
        self._database = database
        self._strings = strings
        self._keep = database.prepared(database.upsert(_derivation, replace=("facts",)))
        self._numbers: dict[str, int] = {}
        self._hashes: dict[int, str] = {}
        self._bodies: dict[str, dict[str, Any]] = {}

    def add(self, recipes: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep recipes; a hash that is known keeps its first body."""
        for hash_, body in recipes.items():
            number = self.number(hash_)
            table = schema.recipe
            with self._database.write() as connection:
                connection.execute(
                    table.update()
                    .where(table.c.id == number, table.c.body.is_(None))
                    .values(body=json.dumps(body, separators=(",", ":")))
                )

    def find(self, hash_: str) -> int | None:
        """The number of a hash, or None if nobody ever used it; makes nothing."""
        known = self._numbers.get(hash_)
        if known is not None:
            return known
        query = select(schema.recipe.c.id).where(schema.recipe.c.hash == hash_)
        with self._database.read() as connection:
            number: int | None = connection.execute(query).scalar()
        return number

    def number(self, hash_: str) -> int:
        """The number of a hash, made if new. Not to be called within a write transaction."""
        known = self._numbers.get(hash_)
        if known is not None:
            return known
        table = schema.recipe
        with self._database.write() as connection:
            connection.execute(self._database.upsert(table), [{"hash": hash_, "body": None}])
            number: int = connection.execute(select(table.c.id).where(table.c.hash == hash_)).scalar_one()
        self._numbers[hash_] = number
        self._hashes[number] = hash_
        return number

    def hash(self, number: int) -> str:
        """The hash of a number; KeyError if there is none."""
        if number not in self._hashes:
            table = schema.recipe
            with self._database.read() as connection:
                row = connection.execute(select(table.c.hash).where(table.c.id == number)).first()
            if row is None:
                raise KeyError(number)
            self._hashes[number] = row.hash
        return self._hashes[number]

    def recipe(self, hash_: str) -> dict[str, Any]:
        """The recipe of a hash. Raises Permanent(reason="recipe-missing")."""
        if hash_ not in self._bodies:
            table = schema.recipe
            with self._database.read() as connection:
                row = connection.execute(select(table.c.body).where(table.c.hash == hash_)).first()
            if row is None or row.body is None:
                raise Permanent("the recipe that was promised is not known here", reason="recipe-missing")
            self._bodies[hash_] = json.loads(row.body)
        return self._bodies[hash_]

    def memory(self, instance_id: str, hash_: str, syntax: str) -> RecipeMemory:
        """What transforms remember of one image under a recipe and a transfer syntax override."""
        key = {
            "instance": bytes.fromhex(instance_id),
            "recipe": self.number(hash_),
            "syntax": self._strings.number(clean(syntax)),
        }
        return RecipeMemory(self._database, self._keep, key)


class RecipeMemory:
    """Implements `mapdr.kernel.step.Memory` for one preparation: what it has read or kept it does not read
    again."""

    def __init__(self, database: Database, keep: Prepared, key: Mapping[str, Any]) -> None:
        """`keep` writes the row of `key`: instance, recipe, transfer syntax."""
        self._database = database
        self._keep = keep
        self._key = key
        self._read = False
        self._facts: Mapping[str, Any] | None = None

    def recall(self) -> Mapping[str, Any] | None:
        """What `keep` was given earlier, for this instance or for one with the same bytes and UID, or None.

        A repeat is sent as what was sent before: a lossy image that came out otherwise would be another
        one at the receiver, under another UID.
        """
        if not self._read:
            with self._database.read() as connection:
                text = connection.execute(_FACTS, self._key).scalar()
                if text is None:
                    text = connection.execute(_FACTS_OF_THE_SAME, self._key).scalar()
            self._facts = None if text is None else dict(json.loads(text))
            self._read = True
        return self._facts

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Store JSON-able facts durably, in place of earlier ones."""
        text = json.dumps(facts)
        with self._database.write() as connection:
            self._keep.execute(connection, [{**self._key, "facts": text}])
        self._facts, self._read = dict(json.loads(text)), True
