"""What is said of an index that cannot be used, and which errors are held to be the index's own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from mapdr.store.index import fault
from mapdr.store.index.fault import IndexFault, fault_of_the_index, index_named, write_fault


def raised(kind: type[exc.DBAPIError], words: str) -> exc.DBAPIError:
    return kind("UPDATE delivery SET comment = ?", ("DOE^JANE",), sqlite3.OperationalError(words))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (IndexFault("the index is gone"), "the index is gone"),
        (raised(exc.OperationalError, "disk I/O error"), "disk I/O error"),
        (raised(exc.InternalError, "malformed"), "malformed"),
        (raised(exc.DatabaseError, "file is not a database"), "file is not a database"),
        (raised(exc.IntegrityError, "UNIQUE constraint failed"), ""),
        (raised(exc.DataError, "out of range"), ""),
        (raised(exc.ProgrammingError, "wrong number of bindings"), ""),
        (OverflowError("too large"), ""),
    ],
)
def test_the_index_is_at_fault_where_no_value_is(error: Exception, told: str) -> None:
    assert fault_of_the_index(error) == told


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        ("file is not a database", fault.REBUILD),
        ("database disk image is MALFORMED", fault.REBUILD),
        ("unable to open database file", "rights of the file and its folder"),
        ("attempt to write a readonly database", "may not write"),
        ("database is locked", "another program has locked it"),
        ("database or disk is full", "make room"),
        ("disk I/O error", "system's log"),
        ("something new", "look at the file and its disk"),
    ],
)
def test_an_error_of_sqlite_names_the_file_the_cause_and_a_cure(
    tmp_path: Path, words: str, cure: str
) -> None:
    with pytest.raises(IndexFault) as told, index_named("sqlite", tmp_path):
        raise raised(exc.OperationalError, words)
    text = str(told.value)
    assert str(tmp_path / "index.db") in text
    assert f"({words})" in text
    assert cure in text
    assert "DOE" not in text


def test_an_error_of_a_database_is_told_without_its_words(tmp_path: Path) -> None:
    """They may hold the values of a row, or a password."""
    with pytest.raises(IndexFault) as told, index_named("postgresql://db/mapdr", tmp_path):
        raise raised(exc.OperationalError, "FATAL: password of DOE^JANE")
    assert "(OperationalError)" in str(told.value)
    assert "DOE" not in str(told.value)


def test_what_is_no_error_of_the_database_passes(tmp_path: Path) -> None:
    with pytest.raises(KeyError), index_named("sqlite", tmp_path):
        raise KeyError


def test_whether_the_index_can_be_written_is_asked_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index.db"
    assert write_fault(index) == "unable to open database file"
    assert not index.exists()
    with closing(sqlite3.connect(index)) as holder:
        holder.execute("CREATE TABLE one (a)")
        holder.commit()
        before = index.read_bytes()
        assert write_fault(index) == ""
        assert index.read_bytes() == before
        real, asked = sqlite3.connect, dict[str, Any]()

        def at_once(*where: Any, **how: Any) -> sqlite3.Connection:
            asked.update(how)
            return real(*where, **{**how, "timeout": 0.0})

        monkeypatch.setattr("mapdr.store.index.fault.sqlite3.connect", at_once)
        holder.execute("BEGIN IMMEDIATE")
        assert write_fault(index) == "database is locked"
        assert asked["timeout"] == 1.0
        holder.rollback()
        assert write_fault(index) == ""
        holder.execute("BEGIN IMMEDIATE")
        holder.rollback()
    index.write_bytes(b"no index" * 100)
    assert write_fault(index) == "file is not a database"
