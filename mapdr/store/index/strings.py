"""What repeats in rows, as small numbers: strings and sources, with a cache in memory.

A string is interned in a transaction of its own before the one that uses its number: a rolled-back batch can
then never leave the cache with a number that the database does not know. Numbers are never reused.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from sqlalchemy import select

from mapdr.kernel.item import Source
from mapdr.store.index import schema
from mapdr.store.index.database import Database

_LARGEST_CACHE = 50_000  # a peer may invent titles without end; the cache begins anew then


def clean(text: str) -> str:
    """`text` as a database takes it: no lone surrogates, no NUL."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "")


class StringTable:
    """The string table (`word`): text to number and back; the empty text is 0."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {"": 0}
        self._texts: dict[int, str] = {0: ""}

    def intern(self, texts: Iterable[str]) -> dict[str, int]:
        """The numbers of `texts`, new ones made. Not to be called within a write transaction."""
        numbers = self._numbers
        wanted = set(texts)
        missing = [text for text in wanted if text not in numbers]
        if missing:
            found = self._make(missing)
            return {text: found[text] if text in found else numbers[text] for text in wanted}
        return {text: numbers[text] for text in wanted}

    def number(self, text: str) -> int:
        """The number of one text, made if new. Not to be called within a write transaction."""
        # What is known needs no write lock, which another program may hold.
        known = self.find(text)
        return self.intern((text,))[text] if known is None else known

    def find(self, text: str) -> int | None:
        """The number of a text, or None if nobody ever used it; makes nothing."""
        known = self._numbers.get(text)
        if known is not None:
            return known
        with self._database.read() as connection:
            row = connection.execute(
                select(schema.word.c.id).where(schema.word.c.text == clean(text))
            ).first()
        return None if row is None else self._remember(row.id, text)

    def text(self, number: int | None) -> str:
        """The text of a number; KeyError if there is none."""
        if number is None:
            return ""
        known = self._texts.get(number)
        if known is not None:
            return known
        with self._database.read() as connection:
            row = connection.execute(select(schema.word.c.text).where(schema.word.c.id == number)).first()
        if row is None:
            raise KeyError(number)
        self._remember(number, row.text)
        return str(row.text)

    def beginning(self, prefix: str) -> list[int]:
        """The numbers of all strings that begin with `prefix`."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(schema.word.c.id).where(schema.word.c.text.startswith(prefix, autoescape=True))
            )
            return [row.id for row in rows]

    def _make(self, texts: list[str]) -> dict[str, int]:
        with self._database.write() as connection:
            connection.execute(self._database.upsert(schema.word), [{"text": clean(text)} for text in texts])
            found = {
                text: connection.execute(
                    select(schema.word.c.id).where(schema.word.c.text == clean(text))
                ).scalar_one()
                for text in texts
            }
        for text, number in found.items():
            self._remember(number, text)
        return found

    def _remember(self, number: int, text: str) -> int:
        with self._lock:
            if len(self._numbers) > _LARGEST_CACHE:
                self._numbers, self._texts = {"": 0}, {0: ""}
            self._numbers[text] = number
            self._texts[number] = clean(text)
        return number


class Sources:
    """Where images came from, to number and back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._numbers: dict[Source, int] = {}
        self._sources: dict[int, Source] = {}

    def number(self, source: Source) -> int:
        """The number of `source`, made if new. Not to be called within a write transaction."""
        known = self._numbers.get(source)
        if known is not None:
            return known
        facts = {name: clean(getattr(source, name)) for name in Source.__dataclass_fields__}
        table = schema.source
        with self._database.write() as connection:
            connection.execute(self._database.upsert(table), [facts])
            number: int = connection.execute(
                select(table.c.id).where(*(table.c[name] == value for name, value in facts.items()))
            ).scalar_one()
        if len(self._numbers) > _LARGEST_CACHE:
            self._numbers, self._sources = {}, {}
        self._numbers[source] = number
        self._sources[number] = source
        return number

    def source(self, number: int) -> Source:
        """The facts of a number; KeyError if there are none."""
        known = self._sources.get(number)
        if known is not None:
            return known
        table = schema.source
        with self._database.read() as connection:
            row = connection.execute(select(table).where(table.c.id == number)).first()
        if row is None:
            raise KeyError(number)
        found = Source(**{name: getattr(row, name) for name in Source.__dataclass_fields__})
        self._sources[number] = found
        return found
