"""Why a rule did not take an image: the first question that failed, without values unless asked for."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from mapdr.kernel.item import Header, Source
from mapdr.route.condition import (
    All,
    AllOf,
    AnyOf,
    Condition,
    Empty,
    Equals,
    Glob,
    Leaf,
    Match,
    Not,
    Number,
    OneOf,
    Present,
    Range,
    Regex,
    ValueTest,
    Within,
    leaves,
    predicate,
)


@dataclass(frozen=True, slots=True)
class Explained:
    """What became of one rule: matched, or the first failing condition, or not reached after a `stop`.

    `shadowed` are destinations that an earlier rule owns, `returned` those that sent the image.
    """

    rule: str
    matched: bool
    reached: bool
    failure: str
    send_to: tuple[str, ...]
    recipe: str
    shadowed: tuple[str, ...]
    returned: tuple[str, ...]


def first_failure(
    condition: Condition, header: Header, source: Source, values: bool, shown: Container[str] = ()
) -> str:
    """The first part of `condition` that fails, in words; empty if it holds. `values`, `shown`: as for
    `Router.explain`."""
    if predicate(condition)(header, source):
        return ""
    match condition:
        case All(parts):
            return next(filter(None, (first_failure(part, header, source, values, shown) for part in parts)))
        case AnyOf(parts):
            labels = ", ".join(dict.fromkeys(leaf.label for part in parts for leaf in leaves(part)))
            return f"none of {len(parts)} alternatives holds ({labels})"
        case Not(part):
            labels = ", ".join(dict.fromkeys(leaf.label for leaf in leaves(part)))
            return f"what must not hold holds ({labels})"
        case _:
            return _leaf(condition, header, source, values, shown)


def _leaf(leaf: Leaf, header: Header, source: Source, values: bool, shown: Container[str]) -> str:
    match leaf:
        case Present(label, _, wanted):
            return f"{label} is {'absent' if wanted else 'present'}"
        case Empty(label, _, wanted):
            return f"{label} {'has a value' if wanted else 'is empty or absent'}"
        case Match(label, subject, test):
            found = (getattr(source, subject),) if isinstance(subject, str) else header.texts(subject)
            if not any(found):
                return f"{label} is empty or absent"
            text = f"{label} {operator(test)}"
            if values or label in shown:
                text += f" {wanted_text(test)} (it is {_quoted(found)})"
            return text


def operator(test: ValueTest) -> str:
    """How a failed test reads, without what it wanted."""
    match test:
        case Equals() | Number():
            return "is not the wanted value"
        case Glob() | Regex():
            return "does not fit the pattern"
        case Range():
            return "is not in the range"
        case Within():
            return "is in none of the networks"
        case OneOf(tests):
            return f"is none of the {len(tests)} wanted values"
        case AllOf():
            return "fails one of its tests"


def wanted_text(test: ValueTest) -> str:
    """What a test wants, as the rule writes it."""
    match test:
        case Equals(text):
            return f'"{text}"'
        case Glob(pattern):
            return f'"{pattern}"'
        case Regex(pattern):
            return f"/{pattern.pattern}/"
        case Number(value):
            return f"{value:g}"
        case Range(_, low, high):
            return f"{'' if low is None else low}..{'' if high is None else high}"
        case Within(networks):
            return ", ".join(str(network) for network in networks)
        case OneOf(tests):
            return ", ".join(wanted_text(each) for each in tests)
        case AllOf(tests):
            return " and ".join(wanted_text(each) for each in tests)


def _quoted(found: tuple[str, ...]) -> str:
    return ", ".join(f'"{value[:64]}"' for value in found[:8])
