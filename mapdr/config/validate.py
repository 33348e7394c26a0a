"""pydantic's errors become findings: the place in the TOML, what is wrong, the cure, and never a value."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mapdr.kernel.finding import Faults, Finding, Place, instead
from mapdr.kernel.privacy import in_words


def validate(kind: Any, raw: Any, place: Place, base: Path, findings: list[Finding]) -> Any:
    """`raw` as `kind` (a model or any type), or None after adding what is wrong to `findings`."""
    try:
        return TypeAdapter(kind).validate_python(raw, context={"base": base})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        findings.extend(_findings(kind, raw, place, details))
    except Exception as error:  # noqa: BLE001  a plug-in's validator may fail in any way; never a traceback
        what = f"fails when it is read: {in_words(error)}"
        findings.append(Finding(place, what, "report it to who wrote that type"))
    return None


def keys_of(kind: Any) -> set[str]:
    """The keys that a table of this type may have; empty if it may have any."""
    return {field.alias or name for model in _models(kind) for name, field in model.model_fields.items()}


def _findings(kind: Any, raw: Any, place: Place, details: list[ErrorDetails]) -> Iterator[Finding]:
    seen: set[Place] = set()
    for detail in details:
        where = _where(raw, detail)
        error = detail.get("ctx", {}).get("error")
        if isinstance(error, Faults):
            for each in error.findings:
                yield Finding((*place, *where, *each.place), each.what, each.cure)
            continue
        within = any(each[: len(where)] == where for each in seen)
        if where in seen or (detail["type"] == "too_short" and within):
            # The branches of a union each say what they miss, and wrong entries also make a list too short.
            continue
        seen.add(where)
        what, cure = _words(kind, where, detail)
        yield Finding((*place, *where), what, cure)


def _where(raw: Any, detail: ErrorDetails) -> Place:
    """pydantic's location without the names of union branches, which are not in the file."""
    where: list[str | int] = []
    node = raw
    for part in detail["loc"]:
        inside = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        if inside or (isinstance(node, Mapping) and part in node):
            node = node[part]
        elif part != detail["loc"][-1] or detail["type"] != "missing":
            continue
        where.append(part)
    return tuple(where)


def _words(kind: Any, where: Place, detail: ErrorDetails) -> tuple[str, str]:
    code, context = detail["type"], detail.get("ctx", {})
    match code:
        case "extra_forbidden":
            known = {name for each in _kinds_at(kind, where[:-1]) for name in keys_of(each)}
            return "unknown key", instead(str(where[-1]), known)
        case "missing":
            return "is missing", f"add {where[-1]} = ..."
        case "value_error":
            what, _, cure = str(context.get("error", detail["msg"])).partition("; ")
            return what, cure or "correct it"
        case "literal_error" | "enum":
            return "is not one of the choices", f"write {context.get('expected', 'another value')}"
    if code in _TYPES:
        return _TYPES[code]
    if code in _BOUNDS:
        word, key = _BOUNDS[code]
        limit = context.get(key)
        if key in ("gt", "lt") and isinstance(limit, int | float):
            return f"is {word}", f"write {'more' if key == 'gt' else 'less'} than {limit:g}"
        return f"is {word}", f"the limit is {limit}"
    return detail["msg"][:1].lower() + detail["msg"][1:], "correct it"


_TYPES = {
    "string_type": ("is not a text", "write it in quotes"),
    "int_type": ("is not a whole number", "write it without quotes"),
    "int_parsing": ("is not a whole number", "write digits without quotes"),
    "int_from_float": ("is not a whole number", "leave out the fraction"),
    "float_type": ("is not a number", "write it without quotes"),
    "float_parsing": ("is not a number", "write it without quotes"),
    "bool_type": ("is not true or false", "write true or false without quotes"),
    "bool_parsing": ("is not true or false", "write true or false without quotes"),
    "list_type": ("is not a list", 'write ["...", "..."]'),
    "tuple_type": ("is not a list", 'write ["...", "..."]'),
    "set_type": ("is not a list", 'write ["...", "..."]'),
    "frozen_set_type": ("is not a list", 'write ["...", "..."]'),
    "dict_type": ("is not a table", "write { key = value }"),
    "model_type": ("is not a table", "write { key = value }"),
    "model_attributes_type": ("is not a table", "write { key = value }"),
    "path_type": ("is not a path", "write it in quotes"),
}

_BOUNDS = {
    "greater_than": ("too small", "gt"),
    "greater_than_equal": ("too small", "ge"),
    "less_than": ("too large", "lt"),
    "less_than_equal": ("too large", "le"),
    "too_short": ("too short a list", "min_length"),
    "too_long": ("too long a list", "max_length"),
    "string_too_short": ("too short a text", "min_length"),
    "string_too_long": ("too long a text", "max_length"),
}


def _kinds_at(kind: Any, where: Place) -> list[Any]:
    """The types that may stand at `where` inside `kind`."""
    kinds = [kind]
    for part in where:
        inner: list[Any] = []
        for each in kinds:
            if isinstance(part, int):
                inner += [argument for bare in _bare(each) for argument in typing.get_args(bare)[:1]]
                continue
            for model in _models(each):
                fields = {field.alias or name: field for name, field in model.model_fields.items()}
                inner += [fields[part].annotation] if part in fields else []
        kinds = inner
    return kinds


def _models(kind: Any) -> list[type[BaseModel]]:
    return [bare for bare in _bare(kind) if isinstance(bare, type) and issubclass(bare, BaseModel)]


def _bare(kind: Any) -> list[Any]:
    """`kind` without Annotated, and the members of a union."""
    origin = typing.get_origin(kind)
    if origin is Annotated:
        return _bare(typing.get_args(kind)[0])
    if origin in {typing.Union, types.UnionType}:
        return [bare for member in typing.get_args(kind) for bare in _bare(member)]
    return [kind]
