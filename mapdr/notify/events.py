"""What happened to a study, and what each webhook is told of it.

| event              | when                                                                                 |
|--------------------|--------------------------------------------------------------------------------------|
| `study.received`   | no image of a study has come for the quiet time                                      |
| `study.updated`    | the same, after images that came late                                                |
| `study.delivered`  | every image of it that was promised to a destination has the receiver's final status |
| `delivery.parked`  | all is settled, but some images are parked and wait for a person                     |

A message is rendered when its event happens, in the transaction that tells of it: it is put into the outbox
exactly once per event and webhook, and says the same however often it must be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from mapdr.config.lists import EACH, is_each
from mapdr.config.payload import ALL_PLACEHOLDERS
from mapdr.dicom import tags
from mapdr.dicom.path import format_path
from mapdr.dicom.template import Template
from mapdr.kernel.item import TagPath
from mapdr.store.messages import OutboxEntry
from mapdr.store.study_events import StudyEvent

STUDY_INSTANCE_UID: TagPath = (tags.STUDY_INSTANCE_UID,)
STUDY_DATE: TagPath = (tags.STUDY_DATE,)
SERIES_INSTANCE_UID: TagPath = (tags.SERIES_INSTANCE_UID,)
MODALITY: TagPath = (tags.MODALITY,)


class Told(Protocol):
    """The part of a webhook's configuration that says what it is told."""

    @property
    def on(self) -> tuple[str, ...]:
        """The events."""

    @property
    def payload(self) -> Mapping[str, Any]:
        """The body, with placeholders; empty for the default body."""


def wanted_tags(hooks: Iterable[Told]) -> frozenset[TagPath]:
    """The tags that the payloads name: the index must keep them with each study."""
    found: set[TagPath] = set()
    for hook in hooks:
        for text in _texts(hook.payload):
            found |= Template.parse(text, ALL_PLACEHOLDERS).paths
    return frozenset(found)


def event_name(event: StudyEvent) -> str:
    """The event of `mapdr.config.model.EVENTS` that `event` is."""
    if event.kind == "study.parked":
        return "delivery.parked"
    if event.kind == "study.received" and event.update:
        return "study.updated"
    return event.kind


def messages(event: StudyEvent, hooks: Mapping[str, Told], node: str) -> list[OutboxEntry]:
    """One outbox row for each webhook (by name) that is told of `event`."""
    name = event_name(event)
    entries = []
    for hook, config in hooks.items():
        if name in config.on:
            body = shown = default_payload(event, node)
            if config.payload:
                body, shown = render(config.payload, event), render(config.payload, anonymous(event))
            entries.append(
                OutboxEntry(f"{event.key}:{hook}", hook, name, body, study=event.study, shown=shown)
            )
    return entries


def render(payload: Mapping[str, Any], event: StudyEvent) -> dict[str, Any]:
    """`payload` with its placeholders filled in; a text that is one placeholder alone keeps its type, and a
    table with `each` becomes one for each series that has images of the event.

    A tag that the study does not have becomes an empty text.
    """
    return fill(payload, lambda path: _tag(event, path), _names(event), _lists(event))


def fill(
    payload: Mapping[str, Any],
    tag: Callable[[TagPath], str],
    names: Mapping[str, Any],
    lists: Mapping[str, Sequence[Item]],
) -> dict[str, Any]:
    """`payload` with the value of `tag` for each tag, that of `names` for each name (KeyError without), and
    an entry for each item of `lists`."""
    filled = _render(payload, tag, names, lists)
    assert isinstance(filled, dict)
    return filled


class _Placeholders(Mapping[TagPath, str]):
    """Each tag's value is its placeholder."""

    def __getitem__(self, path: TagPath) -> str:
        return f"{{{format_path(path)}}}"

    def __iter__(self) -> Iterator[TagPath]:
        return iter(())

    def __len__(self) -> int:
        return 0


def anonymous(event: StudyEvent) -> StudyEvent:
    """The event with placeholders in the place of what identifies a patient, the study or a series."""
    tags_ = _Placeholders()
    return replace(
        event,
        study_instance_uid=tags_[STUDY_INSTANCE_UID],
        study_date=tags_[STUDY_DATE],
        tags=tags_,
        by_series=tuple(replace(part, uid=tags_[SERIES_INSTANCE_UID]) for part in event.by_series),
    )


def default_payload(event: StudyEvent, node: str) -> dict[str, Any]:
    """The body for a webhook without a payload, as docs/events/ has it: nothing in it identifies a patient or
    a study."""
    name = event_name(event)
    said = ["series", "images", "state"]
    if name in ("study.delivered", "delivery.parked"):
        said.insert(0, "destination")
    if name == "delivery.parked":
        said.append("reason")
    names = _names(event)
    return {
        "type": name,
        "timestamp": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="seconds"),
        "data": {
            "node": node,
            "study": event.study,
            "modalities": list(event.modalities),
            **{key: names[key] for key in said},
        },
    }


def _names(event: StudyEvent) -> dict[str, str | int]:
    name = event_name(event)
    return {
        "destination": event.destination,
        "event": name,
        "images": event.parked if name == "delivery.parked" else event.images,
        "reason": event.reason,
        "series": event.series,
        "state": name.rpartition(".")[2],
    }


def _tag(event: StudyEvent, path: TagPath) -> str:
    if path == STUDY_INSTANCE_UID:
        return event.study_instance_uid
    if path == STUDY_DATE:
        return event.study_date
    return event.tags.get(path, "")


@dataclass(frozen=True, slots=True)
class Item:
    """What a list has one entry for: its own tags, and the names that mean something else within it."""

    tags: Mapping[TagPath, str]
    names: Mapping[str, str | int]


def _lists(event: StudyEvent) -> dict[str, list[Item]]:
    """What there is each of, by the word that `each` is set to."""
    parked = event_name(event) == "delivery.parked"
    return {
        "series": [
            Item(
                {SERIES_INSTANCE_UID: part.uid, MODALITY: part.modality},
                {"images": part.parked if parked else part.images},
            )
            for part in event.by_series
            if part.parked or not parked
        ]
    }


def _render(
    value: Any,
    tag: Callable[[TagPath], str],
    names: Mapping[str, Any],
    lists: Mapping[str, Sequence[Item]],
) -> Any:
    if isinstance(value, Mapping):
        return {key: _render(item, tag, names, lists) for key, item in value.items() if key != EACH}
    if isinstance(value, list | tuple):
        found: list[Any] = []
        for item in value:
            if is_each(item):
                found += [
                    _render(item, one.tags.__getitem__, {**names, **one.names}, {})
                    for one in lists.get(item[EACH], ())
                ]
            else:
                found.append(_render(item, tag, names, lists))
        return found
    if not isinstance(value, str):
        return value
    template = Template.parse(value, ALL_PLACEHOLDERS)
    if isinstance(template.sole, str):
        return names[template.sole]
    return template.render(tag, names)


def _texts(value: Any) -> Iterable[str]:
    """The texts of a payload, but for those of lists: the index knows each series by itself."""
    if is_each(value):
        return
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
