"""The form of a source: who may send to a DICOM receiver, as its `allow` list has it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tomlkit.items import Table

from mapdr.config.edit import NotEditable, changed, set_value
from mapdr.operate.access import Access
from mapdr.operate.errors import RequestError
from mapdr.operate.settings import ConfigurationFile, Saved, save

TYPE = "dicom"
_ENTRY = re.compile(r"^allow(\[\d+\])?\.?")


@dataclass(frozen=True, slots=True)
class SourceForm:
    """What the form asks: the AE title, and the address or network; an empty one matches any."""

    ae_title: str
    host: str


@dataclass(frozen=True, slots=True)
class ConfiguredReceiver:
    """A DICOM receiver of the file, and who may send to it: anybody, if `sources` is empty."""

    name: str
    ae_title: str
    port: int
    sources: Sequence[SourceForm]


def configured_receivers(file: ConfigurationFile) -> list[ConfiguredReceiver]:
    """The DICOM receivers of the file in their order."""
    found = []
    for name, table in file.tables("receive").items():
        if table.get("type") == TYPE:
            port = table.get("port", 11112)
            title = str(table.get("ae_title", "MAPDR"))
            sources = [_form(entry) for entry in _allowed(table)]
            found.append(ConfiguredReceiver(name, title, port if isinstance(port, int) else 0, sources))
    return found


def save_source(
    opened: Access, receiver: str, source: SourceForm, seen: str, *, before: SourceForm | None = None
) -> Saved:
    """Let a source send to a receiver, in the place of `before` if that is given, and use it. As
    `settings.save`."""
    if not source.ae_title and not source.host:
        raise RequestError("a source needs an AE title or an address", field="ae_title")
    return _saved(opened, receiver, seen, [before] if before else [], [source])


def remove_source(opened: Access, receiver: str, source: SourceForm, seen: str) -> Saved:
    """Let a source send no more; when it is the last of the list, anybody may. As `settings.save`."""
    return _saved(opened, receiver, seen, [source], [])


def _saved(
    opened: Access, receiver: str, seen: str, gone: Sequence[SourceForm], added: Sequence[SourceForm]
) -> Saved:
    edit = partial(changed, place=("receive", receiver), change=partial(_fill, gone=gone, added=added))
    saved = save(opened, seen, edit, ("receive", receiver), of="source", name=receiver)
    problems = [replace(each, field=_ENTRY.sub("", each.field)) for each in saved.problems]
    return replace(saved, problems=problems)


def _fill(table: Table, gone: Sequence[SourceForm], added: Sequence[SourceForm]) -> None:
    if table.get("type") != TYPE:
        raise NotEditable
    there = _allowed(table.unwrap())
    if any(_entry(one) not in there for one in gone):
        raise RequestError("this source is not in the list any more")
    if any(_entry(one) in there and one not in gone for one in added):
        raise RequestError("this source is in the list already", field="ae_title")
    kept = [entry for entry in there if entry not in map(_entry, gone)]
    set_value(table, "allow", [*kept, *map(_entry, added)] or None)


def _allowed(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = table.get("allow", [])
    return [dict(entry) for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _form(entry: Mapping[str, Any]) -> SourceForm:
    return SourceForm(str(entry.get("ae_title", "")), str(entry.get("host", "")))


def _entry(source: SourceForm) -> dict[str, str]:
    """The source as the list has it."""
    given = {"ae_title": source.ae_title, "host": source.host}
    return {key: value for key, value in given.items() if value}
