"""docs/reference.md: every key of the configuration, with its type, default and range, of the models that read it.

What a key means is said once, in the tables of docs/configuration.md, and taken from there.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tables import bandwidth, duration, size, table

from mapdr.config import units
from mapdr.config.model import NodeConfig, PriorityField, RuleHead, WebhookConfig
from mapdr.config.secret import Secret
from mapdr.egress.folder.layout import LayoutField
from mapdr.egress.syntax import Syntax
from mapdr.kernel.item import Priority
from mapdr.kernel.page import page_factory
from mapdr.kernel.registry import BUILTIN
from mapdr.net.ae_title import AeTitle
from mapdr.net.host import Host
from mapdr.net.hours import Hours
from mapdr.net.http.config import HttpUrl, ServiceRoot
from mapdr.net.silence import NEVER, SilentAfter
from mapdr.receive.dicom.config import Network

WORDS: tuple[tuple[Any, str], ...] = (
    (SilentAfter, "duration"),
    (units.Duration, "duration"),
    (units.Size, "size"),
    (units.Bandwidth, "bandwidth"),
    (units.LocalPath, "path"),
    (AeTitle, "AE title"),
    (Host, "host"),
    (Network, "address or network"),
    (HttpUrl, "URL"),
    (ServiceRoot, "URL"),
    (Syntax, "transfer syntax"),
    (LayoutField, "text with tags"),
    (PriorityField, "priority"),
)
"""The field types that have a form of their own, by their validators."""

PLAIN = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    Path: "path",
    Secret: "secret's place",
    Hours: "window, or list of windows",
    Any: "any",
}
NUMBERS = {"duration": duration, "size": size, "bandwidth": bandwidth}
SIGNS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}

SPECIAL: Mapping[tuple[str, str], str] = {
    ("[node]", "workers"): "all processors",
    ("[node]", "low_free"): "twice `min_free`",
    ("[node]", "retention"): '`"7 days"`',
    ("[node]", "unrouted_retention"): '`"30 days"`',
}
"""Defaults that depend on something else; `_default` checks what of them it can."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of one table: as the model has it."""

    table: str
    name: str
    kind: str
    default: str
    bounds: str


def stage_config(kind: str, type_: str) -> Any:
    """What the built-in stage of this kind and type is configured by."""
    return import_module(BUILTIN[kind, type_]).STAGE.config


def tables() -> Iterator[tuple[str, type[BaseModel], str, str]]:
    """The title of each table, its model, its `type` (empty without), and its heading in the guide."""
    yield "[node]", NodeConfig, "", "`[node]`"
    for kind, word in (("receive", "receive"), ("egress", "egress")):
        for known, type_ in BUILTIN:
            if known == kind:
                title = f'[{word}.NAME], type "{type_}"'
                yield title, stage_config(kind, type_), type_, f'`[{word}.NAME]`, type `"{type_}"`'
    yield "[[rule]]", RuleHead, "", "`[[rule]]`"
    yield "deidentify", stage_config("transform", "deidentify"), "", "`deidentify`"
    yield "compress", stage_config("transform", "compress"), "", "`compress`"
    yield "blank", stage_config("transform", "blank"), "", "`blank`"
    yield "tags", get_args(stage_config("transform", "tags"))[0], "", "`tags`"
    yield "[webhook.NAME]", WebhookConfig, "", "`[webhook.NAME]`"
    yield "[web]", page_factory().config, "", "`[web]`"


def inner_tables() -> dict[str, type[BaseModel]]:
    """The tables that stand as a value of a key, by the key's name and, where it differs, its owner."""
    found: dict[str, type[BaseModel]] = {}
    for _, model, _, _ in tables():
        _collect(model, found)
    return found


def _collect(model: type[BaseModel], found: dict[str, type[BaseModel]]) -> None:
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            title = inner_title(name, inner)
            if title not in found and inner is not model:
                found[title] = inner
                _collect(inner, found)


_INNER_TITLES = {
    "ServerTls": "tls, of who listens",
    "ClientTls": "tls, of who connects",
    "RegionEntry": "entry of regions",
    "Rectangle": "rectangle",
}


def inner_title(name: str, model: type[BaseModel]) -> str:
    """`tls` has other keys for who listens than for who connects."""
    return _INNER_TITLES.get(model.__name__, name)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for each in get_args(kind):
        yield from _models(each)


def keys(title: str, model: type[BaseModel], type_: str = "") -> Iterator[Key]:
    """The keys of a table, in the order of the model."""
    if type_:
        yield Key(title, "type", f'`"{type_}"`', "**required**", "")
    for name, field in model.model_fields.items():
        if name != "type":
            yield _key(title, field.alias or name, field, name)
    if model is RuleHead:
        yield Key(title, "when", "[table of conditions](configuration.md#when)", "**required**", "")
        yield Key(title, "deidentify", "[table `deidentify`](#deidentify)", "", "")
        yield Key(title, "tags", "list of [table `tags`](#tags)", "", "")
        yield Key(title, "compress", "[table `compress`](#compress)", "", "")
        yield Key(title, "blank", "[table `blank`](#blank)", "", "")
        odd = stage_config("transform", "odd_lengths")
        yield Key(title, "odd_lengths", _kind(odd, ""), f'`"{get_args(odd)[0]}"`', "")


def _key(title: str, name: str, field: FieldInfo, own: str) -> Key:
    annotation = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    form = _form(annotation)
    bounds = "; ".join(dict.fromkeys(_bounds(annotation, form)))
    return Key(title, name, _kind(annotation, own), _default(title, name, field, form), bounds)


def _word(metadata: tuple[Any, ...]) -> str:
    for alias, word in WORDS:
        if all(each in metadata for each in get_args(alias)[1:]):
            return word
    return ""


def _form(kind: Any) -> str:
    """The word of the first field type with a form of its own in `kind`."""
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return _word(tuple(metadata)) or _form(inner)
    if get_origin(kind) in (typing.Union, types.UnionType, tuple):
        return next(filter(None, map(_form, get_args(kind))), "")
    return ""


def _kind(kind: Any, own: str) -> str:
    """A type in words."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        switch = any("_switch" in repr(each) for each in inner[1:])
        return ("`true`, or " if switch else "") + (_word(inner[1:]) or _kind(inner[0], own))
    if origin is Literal:
        return " or ".join(f"`{_toml(each)}`" for each in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(each, own) for each in inner if each is not types.NoneType))
    if origin in (tuple, list):
        return f"list of {_kind(inner[0], own)}"
    if origin is dict:
        return f"table of {_kind(inner[1], own)}"
    if kind is Priority:
        return "priority"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind.__name__ == "TagEdit":
            return "[table `tags`](#tags)"  # the edits of an item are written as those of a data set
        title = inner_title(own, kind)
        return f"[table `{own}`](#{_anchor(title)})"
    return PLAIN.get(kind, "any")


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def _bounds(kind: Any, form: str) -> Iterator[str]:
    """What the annotations ask of a value, in words."""
    if get_origin(kind) is Annotated:
        for each in get_args(kind)[1:]:
            for sign, words in SIGNS.items():
                if hasattr(each, sign):
                    yield f"{words} {NUMBERS.get(form, _plain)(getattr(each, sign))}"
            if hasattr(each, "min_length") and each.min_length:
                yield f"at least {each.min_length} long"
            if hasattr(each, "max_length") and each.max_length:
                yield f"at most {each.max_length} long"
    for each in get_args(kind):
        yield from _bounds(each, form)


def _plain(number: float) -> str:
    return f"{number:g}"


def _default(title: str, name: str, field: FieldInfo, form: str) -> str:
    if (title, name) in SPECIAL:
        special = SPECIAL[title, name]
        if isinstance(field.default, float):
            assert special == f'`"{duration(field.default)}"`', name
        return special
    value = field.get_default(call_default_factory=True)
    if field.is_required() or value is PydanticUndefined:
        return "**required**"
    if value is None or isinstance(value, BaseModel):
        return ""
    if form == "duration" and value == NEVER and "silent" in name:
        return '`"never"`'
    if form in NUMBERS and isinstance(value, int | float):
        return f'`"{NUMBERS[form](value)}"`'
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Priority():
            return f'"{value.word}"'
        case str() | Path():
            return f'"{value}"'
        case tuple() | list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{}"
        case _:
            return f"{value:g}"


# --- what the guide says --------------------------------------------------------------------------------


def sections(guide: str) -> dict[str, str]:
    """The guide's text by heading, of whatever level, down to the next heading."""
    found: dict[str, str] = {}
    heading = ""
    for line in re.sub(r"^```.*?^```", "", guide, flags=re.DOTALL | re.MULTILINE).splitlines():
        if matched := re.match(r"#+ (.*)", line):
            heading = matched[1]
        found[heading] = f"{found.get(heading, '')}{line}\n"
    return found


def rows(section: str) -> dict[str, tuple[str, str]]:
    """Default and meaning of each key that a section's tables have."""
    found = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 3:
            for name in re.findall(r"`(\w+)`", cells[0]):
                found[name] = (cells[1], cells[2])
    return found


INNER_HEADINGS = {
    "assume_character_set": "Character sets: a missing or wrong declaration",
    "tls, of who listens": "TLS",
    "tls, of who connects": "TLS",
    "entry of regions": "Entries of regions",
    "rectangle": "Rectangles",
    "pseudonyms": "`deidentify`",
}
"""Where the guide explains a table within a table; else under the heading of its name."""


def explained(guide: str) -> Iterator[tuple[Key, str, str]]:
    """Each key, the default that the guide gives it, and its meaning there; both empty if it has none."""
    said = sections(guide)
    for title, model, type_, heading in tables():
        told = ({} if title != "tags" else _verbs(said[heading])) | rows(said.get(heading, ""))
        for key in keys(title, model, type_):
            yield key, *told.get(key.name, ("", ""))
    for title, model in inner_tables().items():
        told = rows(said.get(INNER_HEADINGS.get(title, f"`{title}`"), ""))
        for key in keys(title, model):
            yield key, *told.get(key.name, ("", ""))


def _verbs(section: str) -> dict[str, tuple[str, str]]:
    """What the list of edits says of each verb and of what stands beside it."""
    found: dict[str, tuple[str, str]] = {}
    for example, meaning in re.findall(r"^\| `(\{.*?\})` \| (.*?) \|$", section, re.MULTILINE):
        verb, *beside = re.findall(r"[{,] (\w+) =", example)
        found.setdefault(verb, ("", meaning))
        for name in beside:
            found.setdefault(name, ("", f"what `{verb}` and its like write"))
    return found


def document(guide: str) -> str:
    """The whole reference, in Markdown; `guide` is docs/configuration.md."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for key, _, meaning in explained(guide):
        allowed = f"{key.kind}; {key.bounds}" if key.bounds else key.kind
        found.setdefault(key.table, []).append((f"`{key.name}`", allowed, key.default, _linked(meaning)))
    head = ("key", "value", "default", "meaning")
    parts = [f"## {title}\n\n{table(head, lines)}" for title, lines in found.items()]
    return _HEAD + "\n" + "\n".join(parts)


def _linked(meaning: str) -> str:
    """Links within the guide lead to it from here."""
    return re.sub(r"\]\(#", "](configuration.md#", meaning)


_HEAD = """# Reference of the configuration

Every key of `mapdr.toml`, of the models that read it. Made by `make documents`: do not edit it. How to use the keys, with
examples, and what `when`, `tags` and the answers of receivers do: [configuration.md](configuration.md). Forms of values
(durations, sizes, bandwidths, secrets' places): ["Values"](configuration.md#values) there.

An unknown key is an error that names the nearest one; `mapdr check` tells every problem with its line.
"""
