"""What makes a new value of an element's old one: by pattern, table, keyed hash, days, or at a separator.

Each is data with a pure function from values to values; the verbs of `mapdr.dicom.edit.rewrite` carry them
out. They raise Permanent where a value cannot be changed as wanted, whose message holds no value.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mapdr.dicom.dates import by_days, moved
from mapdr.dicom.fit import LIMITS
from mapdr.dicom.uids import is_valid_uid
from mapdr.kernel.errors import Permanent

Otherwise = Literal["park", "keep", "clear"]


class Change:
    """A change of values. `strict`: what it makes must have the form of its VR, not its length alone."""

    strict: ClassVar[bool] = True

    def values(self, values: Sequence[str], vr: str) -> list[str]:
        """The values of an element of `vr` anew, where the empty ones stay so. Raises Permanent."""
        return [self.value(each, vr) if each else each for each in values]

    def value(self, value: str, vr: str) -> str:
        """A value that is not empty anew. Raises Permanent."""
        raise NotImplementedError


LONGEST = 256
"""Characters of a value that a regular expression is tried on: patterns are admitted by what they can cost on
as many (`mapdr.route.pattern`); a PN of three full component groups has 194."""
PATIENCE = 2.0
"""Seconds of processor time that the values of one image may take one pattern."""

_GROUP = re.compile(r"\\(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Replacement(Change):
    r"""Each place where `pattern` is found becomes `text`.

    In it `\1` to `\9` are the pattern's groups, empty for one that took no part, `\0` is all that was found,
    and `\\` a backslash. Raises ValueError for other escapes, and for a group that there is not.
    """

    pattern: re.Pattern[str]
    text: str

    def __post_init__(self) -> None:
        for found in _GROUP.finditer(self.text):
            if found[1] != "\\" and not found[1].isdecimal():
                raise ValueError(
                    rf"with holds \{found[1]}; write \1 to \9 for groups, \\ for the backslash itself"
                )
            if found[1].isdecimal() and int(found[1]) > self.pattern.groups:
                raise ValueError(f"with names group {found[1]}, and the pattern has {self.pattern.groups}")

    def values(self, values: Sequence[str], vr: str) -> list[str]:
        """As of any change; an element whose values take too long is given up."""
        end = time.thread_time() + PATIENCE
        changed = []
        for each in values:
            changed.append(self.value(each, vr) if each else each)
            if time.thread_time() > end:
                raise Permanent("its values take too long to search", reason="pattern-too-slow")
        return changed

    def value(self, value: str, vr: str) -> str:
        """The value with every place replaced."""
        if len(value) > LONGEST:
            raise Permanent(
                f"{len(value)} characters, where a pattern is tried on {LONGEST} at most",
                reason="value-too-long",
            )
        return self.pattern.sub(self._filled, value)

    def _filled(self, match: re.Match[str]) -> str:
        return _GROUP.sub(lambda found: "\\" if found[1] == "\\" else match[int(found[1])] or "", self.text)


@dataclass(frozen=True, slots=True)
class Lookup(Change):
    """What `table` has for the value, letter by letter; `otherwise`: what becomes of one that it lacks."""

    table: Mapping[str, str] = field(repr=False)
    otherwise: Otherwise = "park"

    def value(self, value: str, vr: str) -> str:
        """The table's value."""
        found = self.table.get(value)
        if found is not None:
            return found
        if self.otherwise == "park":
            raise Permanent("the table has no entry for the value", reason="not-in-table")
        return value if self.otherwise == "keep" else ""


SHORTEST_KEY = 16
"""Characters of a key: so many random ones hold some 80 bits, which nobody guesses who has values and their
hashes."""
LONGEST_HASH = 52
"""Characters: those of all 256 bits."""
SHORTEST_HASH = 8
"""Characters of a hash, of five bits each: among a million values, two share one of 40 bits by a chance of
one half; 16 characters are the most of AE, CS and SH."""
_STANDARD = "1.2.840.10008."
"""The root of the standard's own UIDs (PS3.5, annex B): they say what things are, not whose."""


@dataclass(frozen=True, slots=True)
class KeyedHash(Change):
    """HMAC-SHA-256 of the value in UTF-8, in the letters A to Z and digits 2 to 7 (RFC 4648, base 32).

    As many characters as `length` says and the VR has. A UID becomes one under the root 2.25, of the first
    128 bits (PS3.5, B.2); the standard's own stay. The same value and key give the same, in every element.
    """

    key: bytes = field(repr=False)
    length: int = LONGEST_HASH

    def __post_init__(self) -> None:
        if not SHORTEST_HASH <= self.length <= LONGEST_HASH:
            raise ValueError(f"length is from {SHORTEST_HASH} to {LONGEST_HASH} characters")

    def value(self, value: str, vr: str) -> str:
        """Its hash."""
        if vr == "UI":
            if not is_valid_uid(value):
                raise Permanent("the value is no UID", reason="bad-value")
            if value.startswith(_STANDARD):
                return value
        digest = hmac.digest(self.key, value.encode("utf-8", "surrogatepass"), hashlib.sha256)
        if vr == "UI":
            return f"2.25.{int.from_bytes(digest[:16], 'big')}"
        return base64.b32encode(digest).decode("ascii")[: min(self.length, LIMITS.get(vr, LONGEST_HASH))]


FARTHEST = 100_000
"""Days: more than two and a half centuries are no shift that anybody means."""


@dataclass(frozen=True, slots=True)
class DayShift(Change):
    """A date, or a date and time, `days` later; time of day, fraction and zone are kept (PS3.5, 6.2).

    Also read is a date of old, 2026.01.31 (PS3.5, 6.2, DA), which becomes one of today's form. What names no
    day of the calendar cannot be shifted, nor out of the years 1 to 9999.
    """

    days: int

    def __post_init__(self) -> None:
        if not 1 <= abs(self.days) <= FARTHEST:
            raise ValueError(f"days is a whole number from -{FARTHEST} to {FARTHEST}, and not 0")

    def value(self, value: str, vr: str) -> str:
        """It, so many days later."""
        new = moved(value, vr, by_days(self.days), partial=False)
        if new is None:
            raise Permanent(
                "the value is no date that names a day of the calendar, or leaves the calendar",
                reason="bad-value",
            )
        return new


@dataclass(frozen=True, slots=True)
class Split(Change):
    """Each value becomes several: its pieces between `separator`, without the spaces around them."""

    separator: str
    strict: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.separator or "\\" in self.separator:
            raise ValueError('at is the text between the pieces, such as ";"; it holds no backslash')

    def values(self, values: Sequence[str], vr: str) -> list[str]:
        """The pieces of all values, in their order."""
        return [piece.strip(" ") for value in values for piece in value.split(self.separator)]


@dataclass(frozen=True, slots=True)
class Join(Change):
    """All values become one, with `separator` between them."""

    separator: str
    strict: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if "\\" in self.separator:
            raise ValueError("with holds no backslash, which separates values")

    def values(self, values: Sequence[str], vr: str) -> list[str]:
        """The one value."""
        return [self.separator.join(values)]
