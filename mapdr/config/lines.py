"""TOML with line numbers: a small subclass of tomlkit's parser that remembers where keys and values stand.

The subclass leans on three methods of `tomlkit.parser.Parser` (`_parse_simple_key`, `_parse_value`,
`_parse_table`); a test compares what it says with a search in the text, so that another tomlkit is noticed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tomlkit.container import Container, OutOfOrderTableProxy
from tomlkit.exceptions import ParseError, TOMLKitError
from tomlkit.items import AoT, Array, InlineTable, Item, Key, SingleKey, Table
from tomlkit.parser import Parser

from mapdr.kernel.finding import Place


class Malformed(ValueError):
    """The text is not TOML. `line` is where the parser stopped (1-based), `cure` what to do."""

    def __init__(self, line: int, what: str, cure: str) -> None:
        super().__init__(what)
        self.line = line
        self.cure = cure


@dataclass(frozen=True, slots=True)
class Document:
    """The plain values of a TOML text, and the line of each key, table and array element."""

    values: dict[str, Any]
    lines: dict[Place, int]


def parse(text: str) -> Document:
    """The text's values and lines. Raises Malformed, which names what is wrong but shows no value."""
    parser = _Parser(text)
    try:
        tree = parser.parse()
        values = tree.unwrap()
    except ParseError as error:
        raise _malformed(parser, str(error), error.line) from None
    except (TOMLKitError, ValueError) as error:
        raise _malformed(parser, str(error), parser.line()) from None
    lines: dict[Place, int] = {}
    for place, line in _walk(tree, (), parser.headers):
        lines.setdefault(place, line)
    return Document(values, lines)


class _Parser(Parser):
    """Marks each key and value with its line, and lists the lines of `[[headers]]` in order."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.headers: dict[tuple[str, ...], deque[int]] = {}
        self.last: dict[str, int] = {}

    def line(self) -> int:
        return bisect_right(self._starts, min(self._idx, len(self._src) - 1))

    def _parse_simple_key(self) -> Key:
        line = self.line()
        key = super()._parse_simple_key()
        key.__dict__["line"] = line
        self.last[key.key] = line
        return key

    def _parse_value(self) -> Item:
        line = self.line()
        item = super()._parse_value()
        item.__dict__["line"] = line
        return item

    def _parse_table(self, *args: Any, **kwargs: Any) -> tuple[Key, Table | AoT]:
        line = self.line()
        is_array, key = self._peek_table()
        if is_array:
            self.headers.setdefault(tuple(part.key for part in key), deque()).append(line)
        return super()._parse_table(*args, **kwargs)


def _malformed(parser: _Parser, message: str, line: int) -> Malformed:
    """tomlkit's message in plain words; it may name a key or one character, never a value."""
    duplicate = re.search(r'Key "([^"]*)" already exists', message)
    if duplicate:
        name = duplicate.group(1)
        return Malformed(parser.last.get(name, line), f'"{name}" is there twice', "keep one of them")
    if parser.end():
        return Malformed(line, "the file ends in the middle of a list, table or text", "close it")
    if message.startswith("Control characters") and re.search(r"strings, use \\u000[ad] ", message):
        return Malformed(line, "a text is not closed before the end of the line", "add the missing quote")
    what = re.sub(r" at line \d+ col \d+$", "", message)
    unexpected = what.removeprefix("Unexpected character: ")
    if unexpected == repr("\n"):
        return Malformed(line, "the line ends too early", "write key = value, or [table]")
    if unexpected != what:
        return Malformed(
            line, f"{unexpected} is not expected here", "put texts in quotes, check = , [ ] and { }"
        )
    return Malformed(line, what[:1].lower() + what[1:], "correct the TOML there")


def _walk(node: Any, place: Place, headers: dict[tuple[str, ...], deque[int]]) -> Iterator[tuple[Place, int]]:
    if isinstance(node, Table | InlineTable):
        node = node.value
    if isinstance(node, OutOfOrderTableProxy):
        node = node._internal_container
    if isinstance(node, Container):
        for key, item in node.body:
            if isinstance(key, SingleKey):
                child = (*place, key.key)
                if "line" in key.__dict__:
                    yield child, key.__dict__["line"]
                yield from _walk(item, child, headers)
    elif isinstance(node, AoT):
        queue = headers.get(tuple(part for part in place if isinstance(part, str)), deque())
        for index, table in enumerate(node.body):
            if queue:
                yield (*place, index), queue.popleft()
            yield from _walk(table, (*place, index), headers)
    elif isinstance(node, Array):
        for index, item in enumerate(iter(node)):
            if "line" in getattr(item, "__dict__", {}):
                yield (*place, index), item.__dict__["line"]
            yield from _walk(item, (*place, index), headers)
