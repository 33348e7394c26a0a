"""The verbs of edits, each written once: what it takes, on which VRs, what it does, and how it can fail.

`VERBS` is the table. Configuration (`mapdr.transform.header.tags`) takes its keys from it, and both back ends
carry its functions out: `mapdr.dicom.edit.plan` on the bytes of regular data sets, `mapdr.dicom.edit.tree` on
all others. A verb's function knows neither: it works on `Elements`. A new verb is one more entry of the
table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from mapdr.dicom.charset import UTF8, is_known
from mapdr.dicom.edit.target import (
    Everywhere,
    Private,
    Target,
    format_target,
    parse_target,
    written_target,
)
from mapdr.dicom.edit.value import Content, Items, parse_content
from mapdr.dicom.fit import LIMITS, fit
from mapdr.dicom.path import EditPath, format_path, format_tag, parse_edit_path, parse_path, tag_vr
from mapdr.dicom.tags import (
    ITEM,
    PIXEL_DATA,
    PIXEL_GROUP,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SPECIFIC_CHARACTER_SET,
)
from mapdr.dicom.template import Template
from mapdr.dicom.value import BINARY, OPAQUE, SINGLE
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import TagPath

Overflow = Literal["error", "truncate"]
IfEmpty = Literal["error", "skip", "clear"]


class Elements(Protocol):
    """A data set as verbs see it. A place is an element in one item, there or not, as the back end has it.

    `target` and `value` are what the back end made of an edit's; a verb hands them on without a look.
    """

    def places(self, target: Any) -> Iterable[Any]:
        """Where the element of `target` is, or would be without a new item: one place in each item."""

    def made_places(self, target: Any) -> Iterable[Any]:
        """As `places`, with the sequences and first items of a path made where they are missing.

        Raises Permanent (reason "no-such-item").
        """

    def render(self, value: Any) -> Any:
        """What to write (text or items) for this data set; None if a tag of its template is empty."""

    def source(self, value: Any) -> Any:
        """The first place of an edit's source whose element is not empty, or None."""

    def text(self, place: Any) -> str:
        """The values at a place, joined by backslashes; empty if there is none."""

    def is_there(self, place: Any) -> bool:
        """Whether the element is there, empty or not."""

    def is_empty(self, place: Any) -> bool:
        """Whether the element is absent, or has no value or no items."""

    def is_single(self, place: Any) -> bool:
        """Whether the element's VR holds one text, in which a backslash is a character."""

    def put(self, place: Any, content: Any, overflow: Overflow, *, strict: bool = True) -> None:
        """Write what `render` or a verb made; without `strict` only its length must fit the VR.

        Raises Permanent (reasons "value-too-long", "bad-value", "character-set").
        """

    def copy(self, source: Any, place: Any, overflow: Overflow) -> None:
        """Write the value at `source`, its bytes where they mean the same. Raises Permanent as `put`."""

    def clear(self, place: Any) -> None:
        """Give the element no value, or no items; it comes to be if it is absent."""

    def remove(self, target: Any) -> None:
        """Take out every element that `target` names."""

    def move_to_utf8(self) -> None:
        """Move all text to ISO_IR 192. Raises Permanent (reason "character-set")."""


Function = Callable[[Elements, Any, Any, "Edit"], None]
"""Does an edit to a data set, given its target and value in the back end's form, and the edit itself."""


class Takes(Enum):
    """What a verb needs besides the tag that it is written with."""

    NOTHING = ""
    TEXT = "with"
    CONTENT = "to"
    """A text, or the items of a sequence."""
    TARGET = "to "
    """The target: the tag that it is written with is the source."""

    @property
    def key(self) -> str:
        """The key of a rule that gives it."""
        return self.value.strip()


@dataclass(frozen=True, slots=True, repr=False)
class Verb:
    """An entry of the table; called with a target (and a value) it makes an edit.

    `vrs` are the dictionary's VRs of the elements that it can be used on; `reasons` those of the Permanent
    errors that its function may raise, besides those of a data set that cannot be edited at all; `patterns`
    says that a rule may use it on more than one element at once (`mapdr.dicom.edit.target.parse_target`),
    `takes_away` that it leaves no value. `check` raises ValueError for what else an edit must not say.
    """

    name: str
    takes: Takes
    vrs: frozenset[str]
    function: Function
    reasons: frozenset[str] = frozenset()
    check: Callable[[Edit], None] = lambda edit: None
    patterns: bool = False
    takes_away: bool = False

    def __repr__(self) -> str:
        return f"<verb {self.name}>"

    def __call__(
        self, target: Target, value: Value = None, overflow: Overflow = "error", if_empty: IfEmpty = "error"
    ) -> Edit:
        """The edit. Raises ValueError for one that could do no good in any data set."""
        return Edit(self, target, value, overflow, if_empty)

    def parse(
        self, tag: str, argument: object = None, overflow: Overflow = "error", if_empty: IfEmpty = "error"
    ) -> Edit:
        """The edit as a rule writes it: `{ <name> = tag, <takes.key> = argument }`. Raises ValueError."""
        if self.takes is Takes.TARGET:
            return self(parse_edit_path(_text_of(argument)), parse_path(tag), overflow, if_empty)
        target = parse_target(tag) if self.patterns else parse_edit_path(tag)
        if self.takes is Takes.NOTHING:
            return self(target)
        if self.takes is Takes.TEXT:
            return self(target, Template.parse(_text_of(argument)), overflow, if_empty)
        return self(target, parse_content(argument), overflow, if_empty)


Value = Content | TagPath | None
"""What an edit writes, the source that it copies, or nothing."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A verb on a target, with its value.

    `overflow`: whether a value too long for its VR parks the image or is cut. `if_empty`: what is done where
    there is nothing to write, for a placeholder or source is empty in this image: park it, leave the element
    alone, or leave it empty.
    """

    verb: Verb
    target: Target
    value: Value = None
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        if self.verb.takes_away:
            _check_removable(self.target)
        else:
            _check_writable(self.target)
        vr = _vr_of(self.target)
        if vr is not None and vr not in self.verb.vrs:
            noun = "a sequence" if vr == "SQ" else "no text"
            raise ValueError(f"{self.where} is {noun} ({vr}), which {self.verb.name} is not for")
        self.verb.check(self)

    @property
    def where(self) -> str:
        """The target, for error messages."""
        return format_target(self.target)

    @property
    def words(self) -> str:
        """The verb with its target, and with what it copies; what it writes may identify somebody."""
        if self.verb.takes is Takes.TARGET and isinstance(self.value, tuple):
            return f"{self.verb.name} {format_path(self.value)} to {self.where}"
        return f"{self.verb.name} {written_target(self.target)}"


def _text_of(argument: object) -> str:
    if not isinstance(argument, str):
        raise ValueError("is not a text; write it in quotes")
    return argument


# --- What an edit may name


def _single(target: Target) -> EditPath | None:
    """The path of a target that names one element, or that element everywhere; None for a pattern."""
    match target:
        case Everywhere(tag, 0xFFFFFFFF):
            return ((tag, None),)
        case Everywhere() | Private():
            return None
        case _:
            return target


def _vr_of(target: Target) -> str | None:
    """The dictionary's VR of the element that a target names, None if it may name different ones."""
    path = _single(target)
    return tag_vr(path[-1][0]) if path else None


_NO_HEADER = (0x0000, 0x0002, PIXEL_GROUP, ITEM >> 16)
"""Groups that are no part of a header: commands, File Meta, pixel data, delimiters."""
_NEEDED = (SOP_CLASS_UID, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET)


def _check_writable(target: Target) -> None:
    path = _single(target)
    if path is None:
        if isinstance(target, Everywhere) and SPECIFIC_CHARACTER_SET & target.mask == target.tag:
            raise ValueError("this would change SpecificCharacterSet: text would no longer be what it says")
        return
    tag = path[-1][0]
    if tag >> 16 in _NO_HEADER:
        raise ValueError(f"{format_tag(tag)} is not of the header and cannot be changed")
    if not tag & 0xFFFF:
        raise ValueError(f"{format_tag(tag)} is a group length; MAPDR keeps it right")
    if tag == SPECIFIC_CHARACTER_SET and (len(path) > 1 or isinstance(target, Everywhere)):
        raise ValueError("an item's SpecificCharacterSet cannot be changed")


def _check_removable(target: Target) -> None:
    match target:
        case Everywhere(pattern, mask):
            for needed in (*_NEEDED, PIXEL_DATA):
                if needed & mask == pattern:
                    raise ValueError(
                        f"this would remove {format_tag(needed)}: no receiver takes the image without it"
                    )
        case Private():
            pass
        case _:
            tag = target[-1][0]
            is_needed = tag in _NEEDED or tag >> 16 in _NO_HEADER
            if is_needed and (len(target) == 1 or tag == SPECIFIC_CHARACTER_SET):
                raise ValueError(
                    f"{format_tag(tag)} cannot be removed: no receiver takes the image without it"
                )


def _check_content(edit: Edit) -> None:
    """A value that is the same for every image fits; items are for sequences, texts for all others."""
    if isinstance(edit.value, Items):
        if _vr_of(edit.target) != "SQ":
            raise ValueError(f"{edit.where} is no sequence and has no items")
        _check_items(edit.value, edit.overflow)
        return
    assert isinstance(edit.value, Template)
    vr = _vr_of(edit.target)
    if vr == "SQ":
        raise ValueError(f"{edit.where} is a sequence; give it a list of items, or name an element in it")
    if vr is not None:
        _check_constant(edit.where, vr, edit.value, edit.overflow)


def _check_items(items: Items, overflow: Overflow) -> None:
    for item in items.items:
        for tag, content in item:
            _check_writable(((tag, None), (tag, None)))
            if isinstance(content, Items):
                _check_items(content, overflow)
            else:
                _check_constant(format_tag(tag), tag_vr(tag), content, overflow)


def _check_constant(where: str, vr: str, template: Template, overflow: Overflow) -> None:
    if template.constant is None:
        return
    try:
        fit(template.constant, "LO" if vr == "UN" else vr, truncate=overflow == "truncate")
    except Permanent as error:
        raise ValueError(f"{where}: {error}") from error


# --- The verbs

_ALL = frozenset((*LIMITS, *BINARY, *OPAQUE, *SINGLE, "AT", "UC", "UN"))
_TEXTS = frozenset("AE CS LO LT PN SH ST UC UN UR UT".split())  # noqa: SIM905  reads as a list
_UNFIT = frozenset(("value-too-long", "bad-value", "character-set"))
_CHARACTER_SET: EditPath = ((SPECIFIC_CHARACTER_SET, None),)


def _nothing(data: Elements, places: Iterable[Any], edit: Edit, what: str) -> None:
    """Deal with a value that there is nothing for. Raises Permanent (reason "empty-value")."""
    if edit.if_empty == "error":
        raise Permanent(f'{edit.where}: {what} is empty; if_empty = "skip" allows that', reason="empty-value")
    if edit.if_empty == "clear":
        for place in places:
            data.clear(place)


def _set(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    if edit.target == _CHARACTER_SET:
        data.move_to_utf8()
        return
    content = data.render(value)
    if content is None:
        _nothing(data, data.places(target), edit, "a tag of its template")
        return
    for place in data.made_places(target):
        data.put(place, content, edit.overflow)


def _check_set(edit: Edit) -> None:
    if edit.target != _CHARACTER_SET:
        _check_content(edit)
    elif not isinstance(edit.value, Template) or edit.value.constant != UTF8:
        raise ValueError(f"SpecificCharacterSet can be set to {UTF8} only, which converts all text")


def _set_if_missing(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    there = list(data.places(target))
    missing = [place for place in there if data.is_empty(place)]
    if there and not missing:
        return
    content = data.render(value)
    if content is None:
        _nothing(data, missing, edit, "a tag of its template")
        return
    for place in data.made_places(target):
        if data.is_empty(place):
            data.put(place, content, edit.overflow)


def _check_set_if_missing(edit: Edit) -> None:
    _check_content(edit)
    if edit.target == _CHARACTER_SET:
        constant = edit.value.constant if isinstance(edit.value, Template) else None
        if not is_known(tuple((constant or "{").split("\\"))):
            raise ValueError("SpecificCharacterSet takes defined terms only, such as ISO_IR 100")


def _copy(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    source = data.source(value)
    if source is None:
        _nothing(data, data.places(target), edit, "its source")
        return
    for place in data.made_places(target):
        data.copy(source, place, edit.overflow)


def _check_copy(edit: Edit) -> None:
    assert isinstance(edit.value, tuple)
    if edit.target == _CHARACTER_SET:
        raise ValueError("SpecificCharacterSet cannot be copied to: text would no longer be what it says")
    if tag_vr(edit.value[-1]) == "SQ":
        raise ValueError(f"{format_path(edit.value)} is a sequence and cannot be copied")


def each_value(change: Callable[[str, str], str]) -> Function:
    """A function that gives every element its values anew: `change(value, text)` of each that is not empty.

    `text` is what the edit's template renders to, empty for a verb that takes none. Absent and empty elements
    stay so. LT, ST, UR and UT hold one value, in which a backslash is a character.
    """

    def function(data: Elements, target: Any, value: Any, edit: Edit) -> None:
        found = [(place, old) for place in data.places(target) if (old := data.text(place))]
        if not found:
            return
        text = "" if value is None else data.render(value)
        if not text and value is not None:
            _nothing(data, [place for place, _ in found], edit, "a tag of its text")
            return
        for place, old in found:
            if data.is_single(place):
                new = change(old, text)
            else:
                values = [change(each, text) if each else each for each in old.split("\\")]
                if any("\\" in each for each in values):
                    raise Permanent(
                        f"{edit.where}: what is put to it holds a backslash, which separates values",
                        reason="bad-value",
                    )
                new = "\\".join(values)
            data.put(place, new, edit.overflow, strict=False)

    return function


def _check_affix(edit: Edit) -> None:
    assert isinstance(edit.value, Template)
    if edit.target == _CHARACTER_SET:
        raise ValueError("SpecificCharacterSet is no text that can be prefixed or suffixed")
    if "\\" in edit.value.source and _vr_of(edit.target) not in SINGLE:
        raise ValueError("a prefix or suffix holds no backslash, which separates values")


def _empty(data: Elements, target: Any, value: None, edit: Edit) -> None:
    for place in data.places(target):
        if data.is_there(place):
            data.clear(place)


def _remove(data: Elements, target: Any, value: None, edit: Edit) -> None:
    data.remove(target)


_WITHOUT_BYTES = (_ALL - OPAQUE) | {"SQ"}

SET = Verb(
    "set",
    Takes.CONTENT,
    _WITHOUT_BYTES,
    _set,
    _UNFIT | {"empty-value", "no-such-item"},
    _check_set,
)
"""Give the element a value; it, and the sequences and first items on its path, come to be if need be.

Of SpecificCharacterSet it takes ISO_IR 192 only, and converts all text."""

SET_IF_MISSING = Verb(
    "set_if_missing",
    Takes.CONTENT,
    _WITHOUT_BYTES,
    _set_if_missing,
    _UNFIT | {"empty-value", "no-such-item"},
    _check_set_if_missing,
)
"""As SET, where the element is absent or empty; SpecificCharacterSet is declared, nothing converted."""

COPY = Verb(
    "copy",
    Takes.TARGET,
    _ALL - {"SQ"},
    _copy,
    _UNFIT | {"empty-value", "no-such-item"},
    _check_copy,
)
"""Give the element the value of another (its first that is not empty, when several items hold one)."""

REMOVE = Verb("remove", Takes.NOTHING, _ALL, _remove, patterns=True, takes_away=True)
"""Take out the element, with all its items if it is a sequence."""

EMPTY = Verb("empty", Takes.NOTHING, _ALL, _empty, patterns=True, takes_away=True)
"""Leave the element without a value, a sequence without items; absent ones stay absent (PS3.15, E.1: Z)."""

PREFIX = Verb(
    "prefix",
    Takes.TEXT,
    _TEXTS,
    each_value(lambda value, text: value if value.startswith(text) else text + value),
    _UNFIT | {"empty-value"},
    _check_affix,
)
"""Put a text before each value that does not begin with it; where there is no value, do nothing."""

SUFFIX = Verb(
    "suffix",
    Takes.TEXT,
    _TEXTS,
    each_value(lambda value, text: value if value.endswith(text) else value + text),
    _UNFIT | {"empty-value"},
    _check_affix,
)
"""Put a text behind each value that does not end with it; where there is no value, do nothing."""

VERBS: tuple[Verb, ...] = (SET, SET_IF_MISSING, COPY, REMOVE, EMPTY, PREFIX, SUFFIX)
"""The table, in the order of `docs/configuration.md`."""
