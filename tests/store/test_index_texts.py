"""A list of texts as one parameter, in the words of both databases."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, MetaData, Table, Text, insert, select
from sqlalchemy.dialects import postgresql

from mapdr.store.index.database import Database
from mapdr.store.index.texts import texts


def test_those_and_no_others_are_chosen_however_many(tmp_path: Path) -> None:
    table = Table("asked_word", MetaData(), Column("text", Text))
    asked = ["a", "O'Brien", 'quote "', "ÄÖ\u3042", "", *(f"n{each}" for each in range(40_000))]
    database = Database.open("sqlite", tmp_path, "process-crash")
    try:
        with database.write() as connection:
            table.create(connection)
            there = ["a", "b", "O'Brien", 'quote "', "ÄÖ\u3042", "", "n39999", "n40000"]
            connection.execute(insert(table), [{"text": each} for each in there])
        with database.read() as connection:
            chosen = select(table.c.text).where(table.c.text.in_(texts(asked)))
            assert set(connection.execute(chosen).scalars()) == set(there) - {"b", "n40000"}
            none = select(table.c.text).where(table.c.text.in_(texts([])))
            assert connection.execute(none).all() == []
    finally:
        database.close()


def test_postgresql_is_given_one_parameter_too() -> None:
    compiled = texts(iter(("a", "b"))).compile(dialect=postgresql.dialect())
    assert "json_array_elements_text(CAST(" in str(compiled)
    assert list(compiled.params.values()) == ['["a", "b"]']
