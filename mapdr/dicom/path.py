"""How people write tags: `PatientID`, `(0010,0020)`, and paths of them joined by dots.

`RequestAttributesSequence.ScheduledProcedureStepID` means the element in any item; an edit may name one
item, counted from 0: `RequestAttributesSequence[0].ScheduledProcedureStepID`, or those items that hold a
value: `OtherPatientIDsSequence[TypeOfPatientID=RFID].PatientID`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from mapdr.kernel.item import TagPath


@dataclass(frozen=True, slots=True)
class Holding:
    """The items in which one of the values at `path` is `value`."""

    path: TagPath
    value: str


EditPath = tuple[tuple[int, int | Holding | None], ...]
"""Steps of (tag, which items); None is any item, and always None in the last step."""

_TAG = r"(?:\(([0-9A-Fa-f]{4}),([0-9A-Fa-f]{4})\)|([A-Za-z][A-Za-z0-9]*))"
_ITEM = r"""\[(?:([0-9]{1,6})|([^\[\]="']+)=(?:"([^"]+)"|'([^']+)'|([^\[\]"'=]+)))\]"""
_STEP = re.compile(rf"{_TAG}(?:{_ITEM})?(\.|$)")


@lru_cache(maxsize=1)
def _dictionary() -> Any:
    """PS3.6, chapter 6, as pydicom has it; imported here, for that takes longer than most commands."""
    from pydicom import datadict

    return datadict


def keyword_tag(keyword: str) -> int:
    """The tag of a dictionary keyword (PS3.6). Raises ValueError that names the nearest keyword."""
    tag = _dictionary().tag_for_keyword(keyword)
    if tag is None:
        near = nearest_keyword(keyword)
        raise ValueError(f"no DICOM keyword {keyword!r}" + (f"; did you mean {near}?" if near else ""))
    return int(tag)


def nearest_keyword(keyword: str) -> str:
    """The dictionary keyword that looks most like `keyword`, or an empty string."""
    known = _keywords()
    lower = {name.lower(): name for name in known}
    if keyword.lower() in lower:
        return lower[keyword.lower()]
    near = get_close_matches(keyword, known, n=1, cutoff=0.6)
    return near[0] if near else ""


@lru_cache(maxsize=1)
def _keywords() -> tuple[str, ...]:
    return tuple(entry[4] for entry in _dictionary().DicomDictionary.values() if entry[4])


def tag_vr(tag: int) -> str:
    """The VR that the dictionary gives a tag; "UN" if it knows none (private elements but creators).

    Where the standard leaves a choice ("US or SS"), the first.
    """
    if tag >> 16 & 1:
        return "LO" if 0x0010 <= tag & 0xFFFF <= 0x00FF else "UN"
    if not tag & 0xFFFF:
        return "UL"
    try:
        return str(_dictionary().dictionary_VR(tag))[:2]
    except KeyError:
        return "UN"


def tag_vm(tag: int) -> str:
    """How many values the dictionary gives a tag, such as "1" or "2-n"; empty if it knows none."""
    try:
        return str(_dictionary().dictionary_VM(tag))
    except KeyError:
        return ""


def parse_path(text: str) -> TagPath:
    """The tags that `text` names, from the top level down. Raises ValueError, with the nearest keyword."""
    steps = parse_edit_path(text)
    if any(item is not None for _, item in steps):
        raise ValueError(f"{text!r}: an item index is for edits only; without it any item matches")
    return tuple(tag for tag, _ in steps)


def parse_edit_path(text: str) -> EditPath:
    """As `parse_path`, with what says which items are meant where that is written."""
    steps: list[tuple[int, int | Holding | None]] = []
    rest, more = text.strip(), "."
    while more:
        match = _STEP.match(rest)
        if match is None:
            raise ValueError(
                f"{text!r} is not a tag: write a keyword such as PatientID, (0010,0020), "
                "or a path of them joined by dots"
            )
        group, element, keyword, index, asked, *quoted, more = match.groups()
        tag = keyword_tag(keyword) if keyword else int(group + element, 16)
        value = next((each for each in quoted if each is not None), "")
        steps.append((tag, Holding(parse_path(asked), value) if asked else int(index) if index else None))
        rest = rest[match.end() :]
    if steps[-1][1] is not None:
        raise ValueError(f"{text!r} ends with an item; name an element of the item")
    for tag, _ in steps[:-1]:
        if tag_vr(tag) not in ("SQ", "UN"):
            raise ValueError(f"{text!r}: {format_tag(tag)} is not a sequence")
    return tuple(steps)


def format_tag(tag: int) -> str:
    """The keyword of a tag, or (GGGG,EEEE) if it has none."""
    return _dictionary().keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def format_path(path: TagPath) -> str:
    """The text that `parse_path` reads back."""
    return ".".join(format_tag(tag) for tag in path)


def format_edit_path(path: EditPath) -> str:
    """The text that `parse_edit_path` reads, for errors: without the values that choose items."""
    return ".".join(format_tag(tag) + _format_item(item) for tag, item in path)


def _format_item(item: int | Holding | None) -> str:
    if item is None:
        return ""
    return f"[{format_path(item.path)}=...]" if isinstance(item, Holding) else f"[{item}]"
