"""Changes one table of a configuration's text and nothing else in it: comments, order and layout stay.

tomlkit keeps comments, but a comment above a table's header is to it the end of the table before: whoever
removes that one loses it. So a table is cut out by its lines, from its header to the last line that belongs
to it, is changed alone, and put back. What came out is read again and compared: a text that this cannot
change (one table written in two places, an inline table for a whole part) raises NotEditable.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Any

import tomlkit
from tomlkit.items import Array, Item, Table

from mapdr.config.lines import Document, Malformed, parse
from mapdr.kernel.finding import Place

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class NotEditable(ValueError):
    """The text is not written in a way in which this table can be changed alone; the message has the cure."""

    def __init__(self) -> None:
        super().__init__("the file is written in a way that no form can change; edit it by hand")


def added(text: str, place: Place, values: Mapping[str, Any]) -> str:
    """The text with a new table behind the last of its kind: `("egress", NAME)`, or `("rule",)` for one more.

    Raises Malformed, NotEditable (also if there is such a table already).
    """
    document = parse(text)
    expected: Any = deepcopy(document.values)
    if len(place) == 1:
        expected.setdefault(place[0], []).append(dict(values))
        header = f"[[{_key(place[0])}]]"
    else:
        if place[1] in expected.setdefault(place[0], {}):
            raise NotEditable
        expected[place[0]][place[1]] = dict(values)
        header = f"[{'.'.join(map(_key, place))}]"
    lines, end = _lines(text), _newline(text)
    blocks = [_block(lines, document, at) for at in _headers(lines, document).values() if at[0] == place[0]]
    at = max((stop for _, stop in blocks), default=len(lines))
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    written = [f"{header}\n", *(f"{_key(key)} = {written_value(value)}\n" for key, value in values.items())]
    if at and lines[at - 1].strip():
        written.insert(0, "\n")
    if at < len(lines) and lines[at].strip():
        written.append("\n")
    lines[at:at] = [line.replace("\n", end) for line in written]
    return _proven("".join(lines), expected)


def changed(text: str, place: Place, change: Callable[[Table], None]) -> str:
    """The text with the table at `place` (`("egress", NAME)`, `("rule", INDEX)`) as `change` leaves it.

    Raises Malformed, NotEditable, and what `change` raises.
    """
    document = parse(text)
    lines = _lines(text)
    start, stop = _block(lines, document, place)
    alone = tomlkit.parse("".join(lines[start:stop]))
    table: Any = alone
    for part in place[:-1] if isinstance(place[-1], int) else place:
        table = table[part]
    table = table[0] if isinstance(place[-1], int) else table
    there = set(table)
    change(table)
    expected: Any = deepcopy(document.values)
    above = expected
    for part in place[:-1]:
        above = above[part]
    elsewhere = {key: value for key, value in above[place[-1]].items() if key not in there}
    above[place[-1]] = {**elsewhere, **table.unwrap()}
    end = _newline(text)
    fresh = tomlkit.dumps(alone)
    if end != "\n":
        fresh = re.sub(r"\r?\n", end, fresh)
    return _proven("".join([*lines[:start], fresh, *lines[stop:]]), expected)


def removed(text: str, place: Place) -> str:
    """The text without the table at `place`, named as for `changed`; the comments around it stay.

    Raises Malformed, NotEditable.
    """
    document = parse(text)
    lines = _lines(text)
    start, stop = _block(lines, document, place)
    expected: Any = deepcopy(document.values)
    above = expected
    for part in place[:-1]:
        above = above[part]
    del above[place[-1]]
    if not above:
        del expected[place[0]]
    if stop < len(lines) and not lines[stop].strip() and (not start or not lines[start - 1].strip()):
        stop += 1
    return _proven("".join(lines[:start] + lines[stop:]), expected)


def set_value(table: Table, key: str, value: Any) -> None:
    """Give a key of a table a value; one that it has already stays as it is written, None takes it away."""
    if value is None:
        table.pop(key, None)
    elif key not in table:
        table[key] = item(value)
    elif _plain(table[key]) != value:
        if isinstance(value, list) and isinstance(table[key], Array):
            set_items(table[key], value)
        else:
            table[key] = item(value)


def set_items(array: Array, values: Sequence[Any]) -> None:
    """Give a list these values: those that stay keep their place and layout, new ones come last."""
    wanted = list(values)
    for index in reversed(range(len(array))):
        if _plain(array[index]) not in wanted:
            del array[index]
    kept = [_plain(each) for each in array]
    for value in wanted:
        if value not in kept:
            array.append(item(value))


def item(value: Any) -> Item:
    """A plain value as tomlkit has it, tables in line."""
    found = tomlkit.parse(f"x = {written_value(value)}\n").item("x")
    assert isinstance(found, Item)
    return found


def written_value(value: Any) -> str:
    """A plain value in TOML: tables in line, a list of tables with a line for each."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {written_value(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        if any(isinstance(each, Mapping) for each in value):
            return "[\n" + "".join(f"  {written_value(each)},\n" for each in value) + "]"
        return f"[{', '.join(map(written_value, value))}]"
    return str(tomlkit.item(value).as_string())


def _plain(value: Any) -> Any:
    return value.unwrap() if isinstance(value, Item) else value


def _key(key: str | int) -> str:
    name = str(key)
    return name if _BARE.fullmatch(name) else tomlkit.item(name).as_string()


def _lines(text: str) -> list[str]:
    """The lines of TOML with their ends; `str.splitlines` breaks at other characters too."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _headers(lines: Sequence[str], document: Document) -> dict[int, Place]:
    """The tables that have a header of their own, by its line (from 1)."""
    found: dict[int, Place] = {}
    for place, line in document.lines.items():
        in_lists = any(isinstance(a, int) and isinstance(b, int) for a, b in pairwise(place))
        if in_lists or not lines[line - 1].lstrip().startswith("["):
            continue
        if isinstance(_at(document.values, place), dict) and len(place) > len(found.get(line, ())):
            found[line] = place
    return found


def _at(values: Any, place: Place) -> Any:
    for part in place:
        values = values[part]
    return values


def _block(lines: Sequence[str], document: Document, place: Place) -> tuple[int, int]:
    """The lines of a table, with those of the tables within it: from its header to the last of its own, and
    the comments that follow that without a gap. Raises NotEditable."""
    headers = _headers(lines, document)
    first = document.lines.get(place, 0)
    if headers.get(first) != place:
        raise NotEditable
    size = len(place)
    following = (line for line, at in headers.items() if line > first and at[:size] != place)
    limit = min(following, default=len(lines) + 1) - 1
    stop = limit
    while not lines[stop - 1].strip() or lines[stop - 1].lstrip().startswith("#"):
        stop -= 1
    behind = stop
    while behind < limit and lines[behind].strip():
        behind += 1
    # A comment that stands right above the next header is that table's.
    return first - 1, behind if behind < limit or limit == len(lines) else stop


def _proven(text: str, expected: Mapping[str, Any]) -> str:
    try:
        found = parse(text).values
    except Malformed:
        raise NotEditable from None
    if found != expected:
        raise NotEditable
    return text
