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
        self.opened: list[tuple[str, int]] = []

    def rest(self) -> str:
        """The line from where the parser stopped."""
        return self._src[self._idx :].partition("\n")[0]

    def whole(self) -> str:
        """The line in which the parser stopped."""
        return self._src[self._starts[self.line() - 1] :].partition("\n")[0]

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

    def _parse_array(self) -> Array:
        self.opened.append(("list", self.line()))
        item = super()._parse_array()
        self.opened.pop()
        return item

    def _parse_inline_table(self) -> InlineTable:
        self.opened.append(("table", self.line()))
        item = super()._parse_inline_table()
        self.opened.pop()
        return item

    def _parse_table(self, *args: Any, **kwargs: Any) -> tuple[Key, Table | AoT]:
        line = self.line()
        is_array, key = self._peek_table()
        if is_array:
            self.headers.setdefault(tuple(part.key for part in key), deque()).append(line)
        return super()._parse_table(*args, **kwargs)


_NEXT = re.compile(r"""\s*([\w."'-]+\s*=|\[{1,2}[^\[\]{},=]+\]{1,2}\s*(#|$))""")
"""How a line begins that belongs to no list or inline table: a key of its own, or a table's header."""

_BRACKETS = {"list": ("[", "]"), "table": ("{", "}")}
_CURLY = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb"


def _malformed(parser: _Parser, message: str, line: int) -> Malformed:
    """tomlkit's message in plain words; it may name a key or one character, never a value."""
    duplicate = re.search(r'Key "([^"]*)" already exists', message)
    if duplicate:
        name = duplicate.group(1)
        cure = "write [[rule]], with two brackets, before each rule" if name == "rule" else "keep one of them"
        return Malformed(parser.last.get(name, line), f'"{name}" is there twice', cure)
    if parser.opened and (parser.end() or _NEXT.match(parser.rest())):
        kind, opened = parser.opened[-1]
        opening, closing = _BRACKETS[kind]
        end = "the end of the file" if parser.end() else f"line {line}"
        return Malformed(opened, f"the {opening} of this line is not closed before {end}", f"add {closing}")
    if parser.end():
        return Malformed(line, "the file ends in the middle of a list, table or text", "close it")
    if message.startswith("Control characters") and re.search(r"strings, use \\u000[ad] ", message):
        return Malformed(line, "a text is not closed before the end of the line", "add the missing quote")
    what = re.sub(r" at line \d+ col \d+$", "", message)
    if re.match(r"Invalid (character .* in string|unicode value)", what):
        cure = "write paths with / or in single quotes: 'C:\\mapdr'"
        return Malformed(line, 'a backslash within "..." has a meaning of its own', cure)
    header = re.match(r'Invalid key "([^"]*)"', what)
    if header and parser.whole().lstrip().startswith("["):
        cure = f"write [{'.'.join(header.group(1).split())}], with a dot"
        return Malformed(line, "the name of a table has no spaces", cure)
    unexpected = what.removeprefix("Unexpected character: ")
    if unexpected == repr("\n"):
        return Malformed(line, "the line ends too early", "write key = value, or [table]")
    if unexpected != what:
        return _unexpected(parser, unexpected, line)
    return Malformed(line, what[:1].lower() + what[1:], "correct the TOML there")


def _unexpected(parser: _Parser, character: str, line: int) -> Malformed:
    if character[1:-1] in _CURLY:
        return Malformed(
            line, "has curly quotes, as word processors write them", 'write straight ones: "..."'
        )
    what = f"{character} is not expected here"
    if parser.opened:
        kind, opened = parser.opened[-1]
        return Malformed(line, what, f"check for a missing comma in the {kind} that line {opened} opens")
    return Malformed(line, what, "put texts in quotes, check = , [ ] and { }")


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
