"""Every listing as CSV: one form for all, made of what the other modules here return.

Comma-separated by RFC 4180 but for the ends of lines, with a header. A field that is a dataclass itself
becomes columns (`source.address`); of a mapping or a list the cell says all, `CT=4; MR=2`. Moments are in ISO
8601, as in JSON; what is not known is empty.

A spreadsheet takes a text that begins with = + - or @ for a formula, also one that came in a DICOM header or
as an AE title, and with spaces before the sign too: such a text gets an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from mapdr.operate import words
from mapdr.operate.answer import plain

_FORMULA = ("=", "+", "-", "@")


def csv_text(rows: Iterable[object], kind: type) -> str:
    """Dataclasses of one `kind` as CSV, with a header also where there are none."""
    found = io.StringIO()
    writer = csv.writer(found, lineterminator="\n")
    columns = list(_columns(kind))
    writer.writerow([".".join(path) for path in columns])
    for row in rows:
        writer.writerow([_cell(_value(row, path), path[-1]) for path in columns])
    return found.getvalue().removesuffix("\n")


def _columns(kind: type) -> Iterable[tuple[str, ...]]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        inner = hints[each.name]
        if is_dataclass(inner) and isinstance(inner, type):
            yield from ((each.name, *path) for path in _columns(inner))
        elif each.metadata.get("json", True):
            yield (each.name,)


def _value(row: object, path: Sequence[str]) -> Any:
    for name in path:
        row = getattr(row, name)
    return row


def _cell(value: Any, name: str) -> str | int | float:
    value = plain(value, name)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    return safe(_said(value))


def _said(value: Any) -> str:
    """A value in one text: mappings by their keys, lists by what they hold."""
    if isinstance(value, Mapping):
        parts = sorted(value.items())
        flat = all(not isinstance(each, Mapping | list) for _, each in parts)
        return "; ".join(f"{key}{'=' if flat else ': '}{_said(each)}" for key, each in parts)
    if isinstance(value, list):
        return ", ".join(_item(each) for each in value)
    return "" if value is None else words.plain(value)


def _item(value: Any) -> str:
    """One of a list: of an object the values that say something."""
    if isinstance(value, Mapping):
        told = ((key, each) for key, each in value.items() if each not in (None, "", False))
        return " ".join(key if each is True else _said(each) for key, each in told)
    return _said(value)


def safe(text: str) -> str:
    """A text that a spreadsheet does not take for a formula."""
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
