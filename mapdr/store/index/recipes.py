"""Recipes by hash, and what transforms remember of an image under one.

What was promised under a hash is kept for good (design, decision 4). What transforms remember is kept before
the first send, so that a retry makes the same bytes and the same UID (design, decision 7).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, bindparam, literal, select, union_all

from mapdr.kernel.errors import Permanent
from mapdr.store.index import schema
from mapdr.store.index.database import Database, portions
from mapdr.store.index.strings import StringTable, clean

_derivation = schema.derivation
_instance, _same = schema.instance, schema.instance.alias("same")
_OF_THIS = select(literal(0).label("other"), _derivation.c.instance, _derivation.c.facts).where(
    *(_derivation.c[name] == bindparam(name) for name in ("instance", "recipe", "syntax"))
)
_IS_THE_SAME = and_(
    *(_same.c[name] == _instance.c[name] for name in ("series", "uid_hash", "sop_instance_uid", "digest"))
)
_OF_THE_SAME = (
    select(literal(1), _derivation.c.instance, _derivation.c.facts)
    .join(_same, _same.c.id == _derivation.c.instance)
    .join(_instance, _IS_THE_SAME)
    .where(
        _instance.c.id == bindparam("instance"),
        *(_derivation.c[name] == bindparam(name) for name in ("recipe", "syntax")),
    )
)
_FACTS = union_all(_OF_THIS, _OF_THE_SAME).order_by("other", "instance").limit(1)
"""Those of the instance, or of the first of the same image's: who pushes again what was delivered gets
another one."""


_OF_THESE = (
    select(
        _instance.c.id.label("asked"),
        _derivation.c.instance,
        _derivation.c.recipe,
        _derivation.c.syntax,
        _derivation.c.facts,
    )
    .join(_same, _same.c.id == _derivation.c.instance)
    .join(_instance, _IS_THE_SAME)
    .order_by(_derivation.c.instance.desc())
)
"""The same of many instances, under every recipe and syntax: an image is one of its own same images."""

_SERIES = 100
"""How many images of a series are asked what was kept of them."""
_OF_SERIES = (
    select(_derivation.c.facts)
    .join(_same, _same.c.id == _derivation.c.instance)
    .join(_instance, _same.c.series == _instance.c.series)
    .where(
        _instance.c.id == bindparam("instance"),
        _same.c.id != bindparam("instance"),
        *(_derivation.c[name] == bindparam(name) for name in ("recipe", "syntax")),
    )
    .order_by(_derivation.c.instance.desc())
    .limit(_SERIES)
)
"""Those of other images of an instance's series, the last that came: what becomes of a series changes over
once."""


class Recipes:
    """Recipes by hash, and what is remembered of images under them."""

    def __init__(self, database: Database, strings: StringTable) -> None:
        self._database = database
        self._strings = strings
        self._facts = database.prepared(_FACTS)
        self._facts_of_series = database.prepared(_OF_SERIES)
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
        return RecipeMemory(self, key)

    def recall(self, key: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What was kept under `key`, or None."""
        for *_, text in self._database.rows(self._facts, key):
            return dict(json.loads(text))
        return None

    def kept(self, instances: Sequence[str]) -> dict[tuple[str, str, str], Mapping[str, Any]]:
        """What `RecipeMemory.recall` gives, of many instances with few queries: by the instance's id, the
        recipe's hash and the transfer syntax; nothing for what was not kept. Makes nothing."""
        found: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        own: set[tuple[str, str, str]] = set()
        rows: list[Any] = []
        with self._database.read() as connection:
            for some in portions([bytes.fromhex(id_) for id_ in dict.fromkeys(instances)]):
                rows += connection.execute(_OF_THESE.where(_instance.c.id.in_(some))).all()
        for row in rows:
            key = (row.asked.hex(), self.hash(row.recipe), self._strings.text(row.syntax))
            if row.instance == row.asked:
                own.add(key)
            elif key in own:
                continue
            found[key] = json.loads(row.facts)  # of the others, the first is the last row
        return found

    def of_series(self, key: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What was kept of other images of the series of `key`'s instance, with its recipe and syntax."""
        return [json.loads(text) for (text,) in self._database.rows(self._facts_of_series, key)]

    def keep(self, kept: Sequence[tuple[RecipeMemory, Mapping[str, Any]]]) -> None:
        """Store JSON-able facts for memories that come from here, durably and in one transaction, in place of
        earlier ones."""
        rows = [{**memory.key, "facts": json.dumps(facts)} for memory, facts in kept]
        with self._database.write() as connection:
            self._keep.execute(connection, rows)


class RecipeMemory:
    """Implements `Memory` and `SeriesMemory` of `mapdr.kernel.step` for one preparation: what it has read or
    kept it does not read again."""

    def __init__(self, recipes: Recipes, key: Mapping[str, Any]) -> None:
        """`key`: the numbers of instance, recipe and transfer syntax, under which `recipes` has it."""
        self.key = key
        self._recipes = recipes
        self._read = False
        self._facts: Mapping[str, Any] | None = None

    def recall(self) -> Mapping[str, Any] | None:
        """What `keep` was given earlier, for this instance or for one with the same bytes and UID, or None.

        A repeat is sent as what was sent before: a lossy image that came out otherwise would be another
        one at the receiver, under another UID.
        """
        if not self._read:
            self._facts, self._read = self._recipes.recall(self.key), True
        return self._facts

    def of_series(self) -> list[Mapping[str, Any]]:
        """What was kept of some other images of the same series: see `mapdr.kernel.step.SeriesMemory`."""
        return self._recipes.of_series(self.key)

    def keep(self, facts: Mapping[str, Any]) -> None:
        """Store JSON-able facts durably, in place of earlier ones."""
        self._recipes.keep([(self, facts)])
        self._facts, self._read = json.loads(json.dumps(facts)), True
