"""A rule's `when` table becomes a condition; every fault in it becomes a finding."""

from __future__ import annotations

import datetime
import ipaddress
import math
from collections.abc import Callable, Mapping
from typing import Any

from mapdr.dicom.path import parse_path
from mapdr.kernel.finding import Finding, Place, instead
from mapdr.kernel.item import TagPath
from mapdr.route.condition import (
    FACTS,
    All,
    AllOf,
    AnyOf,
    Condition,
    Empty,
    Equals,
    Glob,
    Match,
    Network,
    Not,
    Number,
    OneOf,
    Present,
    Range,
    Regex,
    ValueTest,
    Within,
)
from mapdr.route.pattern import compile_regex

GROUPS = ("all", "any", "not")
OPERATORS = ("empty", "equals", "glob", "max", "min", "not", "present", "regex")
"""The keys of a test that is written as a table."""
DEEPEST = 20

Report = Callable[[Place, str, str], None]


def parse_when(when: Any, place: Place, findings: list[Finding]) -> Condition:
    """The condition that `when` writes; what is wrong is added to `findings` and left out of it."""

    def report(where: Place, what: str, cure: str) -> None:
        findings.append(Finding(where, what, cure))

    return _Reader(report).table(when, place, ())


class _Reader:
    def __init__(self, report: Report) -> None:
        self._report = report

    def table(self, table: Any, place: Place, prefix: tuple[str, ...], depth: int = 0) -> Condition:
        """All keys of a table must hold; `prefix` are the sequences around it."""
        if not isinstance(table, Mapping):
            self._report(place, "is not a table", 'write conditions as { Modality = "CT" }')
            return All(())
        if depth > DEEPEST:
            self._report(place, "is nested too deeply", "write a simpler condition")
            return All(())
        parts = (self._entry(key, value, (*place, key), prefix, depth) for key, value in table.items())
        return _joined([part for part in parts if part is not None])

    def _entry(
        self, key: str, value: Any, place: Place, prefix: tuple[str, ...], depth: int
    ) -> Condition | None:
        if key in {"any", "all"}:
            return self._group(key, value, place, prefix, depth)
        if key == "not":
            return Not(self.table(value, place, prefix, depth + 1))
        if key in FACTS and not prefix:
            return self._fact(key, value, place)
        label = ".".join((*prefix, key))
        path = self._path(label, place)
        if path is None:
            return None
        if isinstance(value, Mapping) and not value.keys() & set(OPERATORS) and _is_sequence(label):
            return self.table(value, place, (*prefix, key), depth + 1)
        return self._subject(label, path, value, place)

    def _group(
        self, key: str, value: Any, place: Place, prefix: tuple[str, ...], depth: int
    ) -> Condition | None:
        if not isinstance(value, list) or not value:
            self._report(place, "is not a list of tables", f"write {key} = [{{ ... }}, {{ ... }}]")
            return None
        parts = tuple(
            self.table(part, (*place, index), prefix, depth + 1) for index, part in enumerate(value)
        )
        return AnyOf(parts) if key == "any" else All(parts)

    def _path(self, label: str, place: Place) -> TagPath | None:
        try:
            return parse_path(label)
        except ValueError as error:
            what, _, cure = str(error).replace(": write ", "; write ").partition("; ")
            if label.islower() and not cure.startswith("did you mean"):
                cure = instead(label, (*FACTS, *GROUPS), "other keys")
            self._report(place, what, cure or 'write a keyword such as Modality, or "(0008,0060)"')
            return None

    def _fact(self, key: str, value: Any, place: Place) -> Condition | None:
        if key != "address":
            return self._subject(key, key, value, place)
        negated = isinstance(value, Mapping) and set(value) == {"not"}
        inner = value["not"] if negated else value
        networks = self._networks(inner, (*place, "not") if negated else place)
        if networks is None:
            return None
        match = Match(key, key, Within(networks))
        return Not(match) if negated else match

    def _networks(self, value: Any, place: Place) -> tuple[Network, ...] | None:
        texts = value if isinstance(value, list) else [value]
        networks: list[Network] = []
        for index, text in enumerate(texts):
            try:
                if not isinstance(text, str):
                    raise ValueError
                networks.append(ipaddress.ip_network(text))
            except ValueError:
                where = (*place, index) if isinstance(value, list) else place
                self._report(where, "is not an address or network", 'write "10.1.2.3" or "10.1.2.0/24"')
                return None
        if not networks:
            self._report(place, "is an empty list", "name at least one network")
            return None
        return tuple(networks)

    def _subject(self, label: str, subject: TagPath | str, value: Any, place: Place) -> Condition | None:
        if not isinstance(value, Mapping):
            test = self._value(value, place)
            return None if test is None else Match(label, subject, test)
        tests: list[ValueTest] = []
        others: list[Condition] = []
        for operator in value:
            if operator not in OPERATORS:
                self._report((*place, operator), "unknown key", instead(operator, OPERATORS))
        for operator in ("present", "empty"):
            if operator in value:
                others += self._presence(operator, label, subject, value[operator], (*place, operator))
        if "not" in value:
            negated = self._subject(label, subject, value["not"], (*place, "not"))
            others += [] if negated is None else [Not(negated)]
        for operator in ("equals", "glob", "regex"):
            if operator in value:
                tests += self._text(operator, value[operator], (*place, operator))
        if "min" in value or "max" in value:
            tests += self._range(value, place)
        if not value:
            self._report(place, "is an empty table", f"write one of {', '.join(OPERATORS)}")
        if tests:
            others.insert(0, Match(label, subject, tests[0] if len(tests) == 1 else AllOf(tuple(tests))))
        return _joined(others) if others else None

    def _presence(
        self, operator: str, label: str, subject: TagPath | str, wanted: Any, place: Place
    ) -> list[Condition]:
        if isinstance(subject, str):
            self._report(place, "is for tags only", "leave it out: the association always has this")
            return []
        if not isinstance(wanted, bool):
            self._report(place, "is not true or false", f"write {operator} = true or {operator} = false")
            return []
        return [Present(label, subject, wanted) if operator == "present" else Empty(label, subject, wanted)]

    def _text(self, operator: str, value: Any, place: Place) -> list[ValueTest]:
        if operator == "equals" and _is_number(value):
            return [Number(float(value))]
        if not isinstance(value, str):
            self._report(place, "is not a text", "write it in quotes")
            return []
        if operator == "equals":
            return [Equals(value)]
        if operator == "glob":
            return [Glob(value)]
        try:
            return [Regex(compile_regex(value))]
        except ValueError as error:
            what, _, cure = str(error).partition("; ")
            self._report(place, what, cure)
            return []

    def _range(self, value: Mapping[str, Any], place: Place) -> list[ValueTest]:
        bounds = [(key, _bound(value[key])) for key in ("min", "max") if key in value]
        for key, bound in bounds:
            if bound is None:
                self._report(
                    (*place, key), "is not a number, date or time", "write 5, 2026-01-31 or 08:30:00"
                )
        found = {key: bound for key, bound in bounds if bound is not None}
        if len(found) < len(bounds):
            return []
        kinds = {kind for kind, _ in found.values()}
        if len(kinds) > 1:
            self._report(place, "mixes kinds in min and max", "make both numbers, dates or times")
            return []
        low, high = (found[key][1] if key in found else None for key in ("min", "max"))
        if low is not None and high is not None and low > high:  # type: ignore[operator]
            self._report(place, "is an empty range", "make min the smaller one")
            return []
        return [Range(kinds.pop(), low, high)]

    def _value(self, value: Any, place: Place) -> ValueTest | None:
        if isinstance(value, list):
            return self._list(value, place)
        if isinstance(value, bool):
            self._report(place, "is not a value", "write { present = true } or { empty = false }")
            return None
        if _is_number(value):
            return Number(float(value))
        if isinstance(value, datetime.date | datetime.time):
            kind, text = _moment(value)
            return Range(kind, text, text)
        if not isinstance(value, str):
            self._report(
                place, "is not a value", 'write a text, a number, a date, or a list such as ["CT", "MR"]'
            )
            return None
        if not value:
            self._report(place, "is an empty text", "write { empty = true } to ask for a missing value")
            return None
        return Glob(value) if "*" in value or "?" in value else Equals(value)

    def _list(self, value: list[Any], place: Place) -> ValueTest | None:
        if not value:
            self._report(place, "is an empty list", "name at least one value")
            return None
        tests: list[ValueTest] = []
        for index, each in enumerate(value):
            if isinstance(each, list):
                self._report((*place, index), "is a list in a list", "write one list")
                continue
            test = self._value(each, (*place, index))
            tests += [] if test is None else [test]
        return OneOf(tuple(tests)) if tests else None


def _joined(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_sequence(label: str) -> bool:
    """Whether a tag may stand before it in a path: parse_path accepts only sequences there."""
    try:
        parse_path(f"{label}.(0008,0060)")
    except ValueError:
        return False
    return True


def _bound(value: Any) -> tuple[str, float | str] | None:
    if _is_number(value):
        return "number", float(value)
    if isinstance(value, datetime.date | datetime.time):
        return _moment(value)
    return None


def _moment(value: datetime.date | datetime.time) -> tuple[str, str]:
    """The kind of a TOML date or time, and its text in the form that `route.condition` compares."""
    if isinstance(value, datetime.datetime):
        return "datetime", value.strftime("%Y%m%d%H%M%S.%f").zfill(21)
    if isinstance(value, datetime.date):
        return "date", f"{value.year:04d}{value.month:02d}{value.day:02d}"
    return "time", value.strftime("%H%M%S.%f")
