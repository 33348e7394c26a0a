"""Lists in a webhook's payload: `[{ each = "series", uid = "{SeriesInstanceUID}" }]` has one entry for each
series of the study that an event counts.

Within such a table `{images}` counts those of the series, and the tags of SERIES_TAGS are the series' own. No
other tag is known of each series; what is the same for the whole study stands beside the list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mapdr.config.payload import PLACEHOLDERS
from mapdr.dicom import tags
from mapdr.dicom.path import format_path
from mapdr.dicom.template import Template
from mapdr.kernel.finding import Finding, Place, instead
from mapdr.kernel.item import TagPath

EACH = "each"
"""The key that makes a table of a list stand for many."""

LISTS = ("series",)
"""What there may be one entry for each of."""

SERIES_TAGS: frozenset[TagPath] = frozenset({(tags.SERIES_INSTANCE_UID,), (tags.MODALITY,)})


def is_each(item: Any) -> bool:
    """Whether an item of a list stands for many."""
    return isinstance(item, Mapping) and EACH in item


def check_lists(payload: Any, place: Place, *, listed: bool = False) -> Iterator[Finding]:
    """What is wrong with the lists in the payload at `place`, which is `listed` as an item of a list."""
    if isinstance(payload, Mapping):
        if is_each(payload):
            yield from _each(payload, place, listed)
            return
        for key, value in payload.items():
            yield from check_lists(value, (*place, key))
    elif isinstance(payload, list | tuple):
        for index, item in enumerate(payload):
            yield from check_lists(item, (*place, index), listed=True)
    elif isinstance(payload, str) and (tags.SERIES_INSTANCE_UID,) in _paths(payload):
        cure = f'put it into a list: [{{ {EACH} = "series", uid = "{{SeriesInstanceUID}}" }}]'
        yield Finding(place, "names one series, and a study has many", cure)


def _each(table: Mapping[str, Any], place: Place, listed: bool) -> Iterator[Finding]:
    word = table[EACH]
    if not listed:
        yield Finding((*place, EACH), "stands outside of a list", f'write [{{ {EACH} = "series", ... }}]')
    elif not isinstance(word, str):
        yield Finding((*place, EACH), "is not a text", f'write {EACH} = "series"')
    elif word not in LISTS:
        yield Finding((*place, EACH), f'there is no list of "{word}"', instead(word, LISTS, "lists"))
    for key, value in table.items():
        if key != EACH:
            yield from _within(value, (*place, key))


def _within(value: Any, place: Place) -> Iterator[Finding]:
    """What is wrong in a table that stands for each series."""
    if is_each(value):
        yield Finding(
            (*place, EACH), "stands within another list of that kind", "write one list beside the other"
        )
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _within(item, (*place, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _within(item, (*place, index))
    elif isinstance(value, str):
        for path in sorted(_paths(value) - SERIES_TAGS):
            what = f"{format_path(path)} is not known of each series"
            cure = (
                "put it beside the list; of a series there are {SeriesInstanceUID}, {Modality} and {images}"
            )
            yield Finding(place, what, cure)


def _paths(text: str) -> frozenset[TagPath]:
    try:
        return Template.parse(text, PLACEHOLDERS).paths
    except ValueError:
        return frozenset()  # told where placeholders are checked
