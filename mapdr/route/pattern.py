"""Patterns that a hostile value cannot make slow: globs by search, regular expressions by a bound.

Python's `re` backtracks. `cost` bounds from above how many ways a backtracking matcher can try on a value
of `LONGEST` characters: an open repeat has LONGEST choices, parts in a row multiply, alternatives add up, a
repeated part multiplies with itself. Patterns that cost more than `DEAREST` are refused when the
configuration is read, as are back references and look-around.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

LONGEST = 256
"""Values beyond this many characters never fit a regular expression (PS3.5 table 6.2-1: LO has 64)."""
DEAREST = 2 * (LONGEST + 1) ** 3
"""Measured over 25,000 patterns made to hurt: a third of a second for the worst value."""
LONGEST_PATTERN = 200


class UnsafePattern(ValueError):
    """A pattern that could take too long; the message says what and, after "; ", the cure."""


def compile_regex(pattern: str, *, search: bool = False) -> re.Pattern[str]:
    """The pattern, for `fullmatch`; to `search` for it, at every character of a value anew.

    Raises UnsafePattern, or ValueError if it is not a pattern.
    """
    if len(pattern) > LONGEST_PATTERN:
        raise UnsafePattern(f"is longer than {LONGEST_PATTERN} characters; make it shorter or use a list")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        what = error.msg if isinstance(error, re.error) else "too large or ambiguous"
        raise ValueError(f"is not a regular expression ({what}); correct the pattern") from None
    starts = LONGEST + 1 if search and not (pattern.startswith("^") and "|" not in pattern) else 1
    if starts * _Cost(pattern).all() > DEAREST:
        raise UnsafePattern("could take too long on some values; use fewer open repeats, none within another")
    return compiled


_REPEAT = re.compile(r"\{([0-9]*)(,?)([0-9]*)\}")


class _Cost:
    """Reads a pattern that `re` has accepted and bounds its backtracking; recurses as deep as its groups."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def all(self) -> int:
        """The bound for the whole pattern, at most DEAREST + 1 per step, so that numbers stay small."""
        return self._alternatives()

    def _alternatives(self) -> int:
        total, product = 0, 1
        while self._at < len(self._text) and self._text[self._at] != ")":
            if self._text[self._at] == "|":
                self._at += 1
                total, product = total + product, 1
                continue
            product = _cap(product * self._repeated(self._atom()))
        return _cap(total + product)

    def _atom(self) -> int:
        character = self._text[self._at]
        self._at += 1
        if character == "\\":
            return self._escape()
        if character == "[":
            return self._class()
        if character == "(":
            return self._group()
        return 1

    def _escape(self) -> int:
        if self._text[self._at] in "123456789":
            raise UnsafePattern("uses a back reference; write the text again")
        self._at += 1
        return 1

    def _class(self) -> int:
        # A "]" right after the opening bracket (or its "^") is a member.
        self._at += 1 if self._text[self._at] == "^" else 0
        self._at += 1 if self._text[self._at] == "]" else 0
        while self._text[self._at] != "]":
            self._at += 2 if self._text[self._at] == "\\" else 1
        self._at += 1
        return 1

    def _group(self) -> int:
        if self._text.startswith("?:", self._at):
            self._at += 2
        elif self._text.startswith("?", self._at):
            raise UnsafePattern("uses a (?...) group; only (...) and (?:...) are allowed")
        inner = self._alternatives()
        self._at += 1
        return inner

    def _repeated(self, inner: int) -> int:
        low, high = self._quantifier()
        if (low, high) == (1, 1):
            return inner
        if inner > 1 and high > 8:
            return DEAREST + 1
        return _cap((high - low + 1) * inner**high) if inner > 1 else _cap(high - low + 1)

    def _quantifier(self) -> tuple[int, int]:
        rest = self._text[self._at : self._at + 1]
        low, high = {"*": (0, LONGEST), "+": (1, LONGEST), "?": (0, 1)}.get(rest, (1, 1))
        if rest == "{":
            found = _REPEAT.match(self._text, self._at)
            if found is None or found[0] in {"{}", "{,}"}:
                return 1, 1
            low = int(found[1] or 0)
            high = int(found[3] or LONGEST) if found[2] else low
            self._at += len(found[0])
        elif rest and rest in "*+?":
            self._at += 1
        else:
            return 1, 1
        if self._text[self._at : self._at + 1] in {"?", "+"}:
            self._at += 1
        return low, high


def _cap(cost: int) -> int:
    return min(cost, DEAREST + 1)


def glob_matcher(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a whole value fits: `*` is any text, `?` one character.

    Each piece between stars is looked for once, from the left: time grows with the value, never more.
    """
    first, *rest = (_piece(piece) for piece in re.split(r"\*+", pattern))
    if not rest:
        return lambda value: first.fullmatch(value) is not None
    *middle, last = rest
    length = len(re.split(r"\*+", pattern)[-1])

    def matches(value: str) -> bool:
        start = first.match(value)
        if start is None:
            return False
        at = start.end()
        for piece in middle:
            found = piece.search(value, at)
            if found is None:
                return False
            at = found.end()
        return len(value) - length >= at and last.fullmatch(value, len(value) - length) is not None

    return matches


def _piece(text: str) -> re.Pattern[str]:
    return re.compile(
        "".join("." if character == "?" else re.escape(character) for character in text), re.DOTALL
    )
