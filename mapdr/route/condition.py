"""What a rule may ask, as data; `predicate` compiles it once to a closure.

A subject is a tag path, all of whose values in all items are asked, or a fact of the association. A test
asks one value; `Match` holds if any value of its subject passes. Nothing here raises for any value.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from mapdr.kernel.item import Elements, Source, TagPath
from mapdr.route.pattern import LONGEST, glob_matcher

FACTS = ("calling_ae", "called_ae", "address", "receiver")
"""What a rule may ask of the association (the fields of `kernel.item.Source`)."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Predicate = Callable[[Elements, Source], bool]
ValueCheck = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Equals:
    """The value is `text`, letter by letter."""

    text: str


@dataclass(frozen=True, slots=True)
class Glob:
    """The whole value fits `pattern`: `*` stands for any text, `?` for one character."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Regex:
    """The whole value fits a regular expression; one of over `pattern.LONGEST` characters does not."""

    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Number:
    """The value is a number (IS, DS, or binary) equal to `value`."""

    value: float


@dataclass(frozen=True, slots=True)
class Range:
    """The value lies between `low` and `high`, both included; None leaves a side open.

    `kind` says how values are read: "number" (ages in years), "date" (YYYYMMDD), "time" (HHMMSS.ffffff) or
    "datetime"; the last three compare as text of one length. A value that cannot be read is outside.
    """

    kind: str
    low: float | str | None
    high: float | str | None


@dataclass(frozen=True, slots=True)
class Within:
    """The value is an IP address in one of `networks`."""

    networks: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any of `tests` passes."""

    tests: tuple[ValueTest, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of `tests` pass, for the same value."""

    tests: tuple[ValueTest, ...]


ValueTest = Equals | Glob | Regex | Number | Range | Within | OneOf | AllOf


@dataclass(frozen=True, slots=True)
class Match:
    """Some value of `subject` passes `test`. `label` is the subject as the rule writes it."""

    label: str
    subject: TagPath | str
    test: ValueTest


@dataclass(frozen=True, slots=True)
class Present:
    """The element is there, be it empty; or, with `wanted` False, it is not."""

    label: str
    subject: TagPath
    wanted: bool


@dataclass(frozen=True, slots=True)
class Empty:
    """The element has no value or is not there; or, with `wanted` False, it has one."""

    label: str
    subject: TagPath
    wanted: bool


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; true without parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds; false without parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition = Match | Present | Empty | All | AnyOf | Not
Leaf = Match | Present | Empty


def leaves(condition: Condition) -> Iterator[Leaf]:
    """Every question in the condition, in the order in which it is written."""
    match condition:
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case Not(part):
            yield from leaves(part)
        case _:
            yield condition


def predicate(condition: Condition) -> Predicate:
    """The condition as a function of a header and the association's facts."""
    match condition:
        case All(parts):
            return _all([predicate(part) for part in parts])
        case AnyOf(parts):
            some = tuple(predicate(part) for part in parts)
            return lambda header, source: any(part(header, source) for part in some)
        case Not(part):
            negated = predicate(part)
            return lambda header, source: not negated(header, source)
        case Present(_, path, wanted):
            return lambda header, source: header.has(path) is wanted
        case Empty(_, path, wanted):
            return lambda header, source: (not any(header.texts(path))) is wanted
        case Match(_, str() as fact, test):
            check = value_check(test)
            return lambda header, source: check(getattr(source, fact))
        case Match(_, tuple() as path, test):
            return _tag(path, test)
    raise TypeError(f"not a condition: {type(condition).__name__}")


def _all(parts: list[Predicate]) -> Predicate:
    if not parts:
        return lambda header, source: True
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return lambda header, source: first(header, source) and second(header, source)
    every = tuple(parts)
    return lambda header, source: all(part(header, source) for part in every)


def _tag(path: TagPath, test: ValueTest) -> Predicate:
    words = exact_words(test)
    if words is not None and len(words) == 1:
        (word,) = words
        return lambda header, source: word in header.texts(path)
    if words is not None:
        return lambda header, source: not words.isdisjoint(header.texts(path))
    check = value_check(test)
    return lambda header, source: any(map(check, header.texts(path)))


def exact_words(test: ValueTest) -> frozenset[str] | None:
    """The texts that pass, if the test is nothing but a list of texts."""
    match test:
        case Equals(text):
            return frozenset({text})
        case OneOf(tests) if all(isinstance(each, Equals) for each in tests):
            return frozenset(each.text for each in tests if isinstance(each, Equals))
    return None


def value_check(test: ValueTest) -> ValueCheck:
    """The test as a function of one value."""
    match test:
        case Equals(text):
            return text.__eq__
        case Glob(pattern):
            return glob_matcher(pattern)
        case Regex(compiled):
            fullmatch = compiled.fullmatch
            return lambda value: len(value) <= LONGEST and fullmatch(value) is not None
        case Number(number):
            return lambda value: as_number(value) == number
        case Range(kind, low, high):
            return _range(READERS[kind], low, high)
        case Within(networks):
            return lambda value: _within(value, networks)
        case OneOf(tests):
            some = tuple(value_check(each) for each in tests)
            return lambda value: any(each(value) for each in some)
        case AllOf(tests):
            every = tuple(value_check(each) for each in tests)
            return lambda value: all(each(value) for each in every)
    raise TypeError(f"not a test: {type(test).__name__}")


def _range(
    read: Callable[[str], float | str | None], low: float | str | None, high: float | str | None
) -> ValueCheck:
    def check(value: str) -> bool:
        found = read(value)
        if found is None:
            return False
        # One range compares numbers with numbers or texts with texts: `kind` chose both reader and bounds.
        return (low is None or low <= found) and (high is None or found <= high)  # type: ignore[operator]

    return check


_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")
_AGE = re.compile(r"([0-9]{3})([DWMY])")
_AGE_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_DATE = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):?([0-9]{2})?:?([0-9]{2})?(?:\.([0-9]{1,6}))?")
_DATETIME = re.compile(
    r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?(?:\.([0-9]{1,6}))?(?:[+-][0-9]{4})?"
)


def as_number(value: str) -> float | None:
    """A number as IS, DS or a binary VR shows it; an age (AS, PS3.5 section 6.2) in years; else None."""
    if len(value) > 64:
        return None
    age = _AGE.fullmatch(value)
    if age is not None:
        return int(age[1]) * _AGE_YEARS[age[2]]
    return float(value) if _NUMBER.fullmatch(value) else None


def as_date(value: str) -> str | None:
    """YYYYMMDD of a DA value (also the old 2026.01.31) or of the date in a DT value."""
    found = _DATE.fullmatch(value) or (_DATETIME.fullmatch(value) and _DATE.match(value))
    return "".join(found.groups()) if found else None


def as_time(value: str) -> str | None:
    """HHMMSS.ffffff of a TM value; what it leaves out counts as zero."""
    found = _TIME.fullmatch(value)
    if found is None:
        return None
    hour, minute, second, fraction = found.groups()
    return f"{hour}{minute or '00'}{second or '00'}.{fraction or '':0<6}"


def as_datetime(value: str) -> str | None:
    """YYYYMMDDHHMMSS.ffffff of a DT value, without its offset; a missing month or day counts as 01."""
    found = _DATETIME.fullmatch(value)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction = found.groups()
    clock = f"{hour or '00'}{minute or '00'}{second or '00'}.{fraction or '':0<6}"
    return f"{year}{month or '01'}{day or '01'}{clock}"


READERS: dict[str, Callable[[str], float | str | None]] = {
    "number": as_number,
    "date": as_date,
    "time": as_time,
    "datetime": as_datetime,
}


@lru_cache(maxsize=1024)
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _within(value: str, networks: tuple[Network, ...]) -> bool:
    address = _address(value)
    return address is not None and any(address in network for network in networks)
