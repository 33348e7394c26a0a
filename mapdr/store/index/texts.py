"""A list of texts as one parameter of a statement, however many: `IN (?, ?, ...)` has a limit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Text, bindparam, column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class _JsonTexts(FunctionElement[Any]):
    """The members of a JSON array of texts, as the rows of a table with the column `value`."""

    name = "json_texts"
    inherit_cache = True


@compiles(_JsonTexts, "sqlite")
def _sqlite(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(_JsonTexts, "postgresql")
def _postgresql(element: Any, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS JSON))"


def texts(values: Iterable[str]) -> Select[Any]:
    """The values as a query, for `column.in_(texts(values))`."""
    members = json.dumps(list(values))
    rows = _JsonTexts(bindparam(None, members, Text)).table_valued(column("value", Text))
    return select(rows.c.value)
