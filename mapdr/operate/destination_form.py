"""The form of a DICOM destination: its values out of the file, into the file, and an echo before that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tomlkit.items import Table

from mapdr.config.edit import NotEditable, added, changed, removed, set_value
from mapdr.config.lines import Malformed, parse
from mapdr.config.read import read_text
from mapdr.kernel.registry import Registry
from mapdr.node.plan import make_plan
from mapdr.operate.access import Access
from mapdr.operate.echo import Echo, echo_one
from mapdr.operate.errors import RequestError
from mapdr.operate.settings import ConfigurationFile, FieldProblem, Saved, problems_of, read_file, save

TYPE = "dicom"
_KEYS = ("type", "ae_title", "host", "port", "tls")


@dataclass(frozen=True, slots=True)
class DestinationForm:
    """What the form asks. `tls`: whether it speaks TLS; certificates that the file names stay."""

    name: str
    ae_title: str
    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class ConfiguredDestination:
    """A destination of the file. `form` is None for one of another type, which the form does not change.

    `more` are the keys that the form leaves as they are, `rules` those that send there.
    """

    name: str
    type: str
    form: DestinationForm | None
    more: Sequence[str]
    rules: Sequence[str]


@dataclass(frozen=True, slots=True)
class Echoed:
    """What asking the form's destination came to: the answer, or what is wrong with the form."""

    problems: Sequence[FieldProblem] = ()
    echo: Echo | None = None


def configured_destinations(file: ConfigurationFile) -> list[ConfiguredDestination]:
    """The destinations of the file in their order."""
    found = []
    for name, table in file.tables("egress").items():
        type_ = str(table.get("type", ""))
        rules = [str(rule.get("name", "")) for rule in file.rules() if name in _sent_to(rule)]
        more = [key for key in table if key not in _KEYS] if type_ == TYPE else []
        form = _form(name, table) if type_ == TYPE else None
        found.append(ConfiguredDestination(name, type_, form, more, rules))
    return found


def save_destination(opened: Access, destination: DestinationForm, seen: str, *, new: bool = False) -> Saved:
    """Write the form's values into the file, and use them; `new`: there is no such destination yet. As
    `settings.save`."""
    edit = partial(_edited, destination=destination, new=new)
    return save(opened, seen, edit, ("egress", destination.name), of="destination", name=destination.name)


def remove_destination(opened: Access, name: str, seen: str) -> Saved:
    """Take a destination out of the file. What is owed to it waits until it is back. As `settings.save`."""
    return save(
        opened,
        seen,
        lambda text: removed(text, ("egress", name)),
        ("egress", name),
        of="destination",
        name=f"{name} (removed)",
    )


def echo_destination(opened: Access, destination: DestinationForm, *, new: bool = False) -> Echoed:
    """Ask the destination of the form whether it is there, by C-ECHO; nothing is written. Raises RequestError
    where the file cannot be changed by a form."""
    file = read_file(opened)
    try:
        text = _edited(file.text, destination=destination, new=new)
    except (NotEditable, Malformed) as error:
        raise RequestError(str(NotEditable())) from error
    registry = Registry()
    loaded = read_text(text, registry, file=file.path.name, base=file.path.parent, rules=False)
    place = ("egress", destination.name)
    about = [each for each in problems_of(loaded.problems, place, {}) if each.field]
    if about or loaded.config is None:
        return Echoed(problems=about)
    return Echoed(echo=echo_one(make_plan(loaded.config, registry), destination.name))


def _form(name: str, table: Mapping[str, Any]) -> DestinationForm:
    port = table.get("port")
    return DestinationForm(
        name=name,
        ae_title=str(table.get("ae_title", "")),
        host=str(table.get("host", "")),
        port=port if isinstance(port, int) else 0,
        tls=table.get("tls") not in (None, False),
    )


def _sent_to(rule: Mapping[str, Any]) -> Sequence[Any]:
    found = rule.get("send_to", [])
    return found if isinstance(found, list) else []


def _edited(text: str, *, destination: DestinationForm, new: bool) -> str:
    place = ("egress", destination.name)
    if not new:
        return changed(text, place, partial(_fill, destination=destination))
    if not destination.name:
        raise RequestError("a destination needs a name", field="name")
    if destination.name in parse(text).values.get("egress", {}):
        raise RequestError(f'there is a destination "{destination.name}" already', field="name")
    values: dict[str, Any] = {
        "type": TYPE,
        "ae_title": destination.ae_title,
        "host": destination.host,
        "port": destination.port,
    }
    if destination.tls:
        values["tls"] = True
    return added(text, place, values)


def _fill(table: Table, destination: DestinationForm) -> None:
    set_value(table, "ae_title", destination.ae_title)
    set_value(table, "host", destination.host)
    set_value(table, "port", destination.port)
    speaks = table.get("tls") not in (None, False)
    if speaks != destination.tls:
        set_value(table, "tls", True if destination.tls else None)
