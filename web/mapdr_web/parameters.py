"""What a function of the API wants, read from a request by its parameters' names and types."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, get_type_hints

from mapdr.kernel.finding import instead
from mapdr.kernel.item import Priority
from mapdr.operate.errors import RequestError
from mapdr.operate.selection import STATES, Selection, choose

SELECTION: Mapping[str, tuple[str, str]] = {
    "study_date": ("string", "2026-11-01, 2026-11-01.., ..2026-11-30, 2026-11-01..2026-11-30 or today"),
    "modality": ("string", "images of this modality"),
    "destination": ("string", "deliveries to this destination"),
    "state": ("string", f"deliveries in this state: {', '.join(STATES)}"),
    "reason": ("string", "parked for this reason"),
    "study_instance_uid": ("string", "one study"),
    "sop_instance_uid": ("string", "one image"),
    "peer": ("string", "images from this peer, by the name that sources have"),
    "patient_id": ("string", "studies of this patient ID"),
    "accession_number": ("string", "studies of this accession number"),
    "received": ("string", "days of receipt, written as study_date"),
    "since": ("string", 'received since: 2026-11-01, "2026-11-01 14:30", or "2 h" ago'),
    "limit": ("integer", "the newest so many"),
}
"""The grammar of selections: JSON type, and what it chooses."""
WHO = frozenset({"patient_id", "accession_number"})
"""Conditions that identify somebody."""
LARGEST = 10**9
"""No number of rows is as large."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function; `required` where it has no default."""

    name: str
    type: Any
    required: bool


@cache
def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """The function's parameters, `opened` or `state` left out; `chosen` stands for the whole grammar."""
    hints = get_type_hints(function)
    return tuple(
        Parameter(name, hints[name], found.default is inspect.Parameter.empty)
        for name, found in inspect.signature(function).parameters.items()
        if name not in ("opened", "state")
    )


def names(function: Callable[..., Any]) -> list[str]:
    """What a request may give the function."""
    found: list[str] = []
    for each in parameters(function):
        found += SELECTION if each.type is Selection else [each.name]
    return found


def read(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for `function` out of what a request gave: texts of a path or query, or values of JSON.

    Raises RequestError for what is unknown, missing, or of another type.
    """
    known = names(function)
    for name, value in given.items():
        if not _is_unicode(name) or (isinstance(value, str) and not _is_unicode(value)):
            raise RequestError("the request holds half of a character: it is no Unicode")
        if name not in known:
            raise RequestError(f'there is no parameter "{name}"; {instead(name, known)}', field=name)
    arguments: dict[str, Any] = {}
    for each in parameters(function):
        if each.type is Selection:
            arguments[each.name] = _selection(given)
        elif each.name in given:
            arguments[each.name] = _value(each, given[each.name])
        elif each.required:
            raise RequestError(f"{each.name} is missing", field=each.name)
    return arguments


def identifying(given: Mapping[str, Any]) -> list[str]:
    """The conditions among them that identify somebody."""
    return sorted(WHO & {name for name, value in given.items() if value not in ("", None)})


def _selection(given: Mapping[str, Any]) -> Selection:
    texts: dict[str, Any] = {}
    for name, (kind, _) in SELECTION.items():
        value = given.get(name)
        if value is None:
            continue
        if kind == "integer":
            texts[name] = _integer(name, value)
            continue
        if not isinstance(value, str):
            raise RequestError(f"{name} is not a text", field=name)
        if not value.strip():  # more would be chosen without the condition than was meant
            raise RequestError(f"{name} is empty; leave it out, or say what to choose", field=name)
        texts[name] = value
    if texts.get("state", STATES[0]) not in STATES:
        raise RequestError(f"a state is one of {', '.join(STATES)}", field="state")
    return choose(**texts)


def _value(parameter: Parameter, value: Any) -> Any:
    name = parameter.name
    if parameter.type is bool:
        return _switch(name, value)
    if parameter.type is int:
        return _integer(name, value)
    if parameter.type is float:
        return _number(name, value)
    if parameter.type == Sequence[str]:
        return _texts(name, value)
    if not isinstance(value, str):
        raise RequestError(f"{name} is not a text", field=name)
    if parameter.type is date:
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise RequestError(f"{name} is not a day; write 2026-11-01", field=name) from None
    if parameter.type is Priority:
        words = [each.word for each in Priority]
        if value not in words:
            raise RequestError(f"{name} is one of {', '.join(words)}", field=name)
        return Priority.of(value)
    return value


def _switch(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    words = {"1": True, "true": True, "0": False, "false": False}
    if not isinstance(value, str) or value not in words:
        raise RequestError(f"{name} is neither 1 nor 0", field=name)
    return words[value]


def _integer(name: str, value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 9:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < LARGEST:
        raise RequestError(f"{name} is not a whole number from 1 to {LARGEST - 1}", field=name)
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RequestError(f"{name} is not a number", field=name)
    return float(value)


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) and _is_unicode(each) for each in value):
        raise RequestError(f"{name} is not a list of texts", field=name)
    return value


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
