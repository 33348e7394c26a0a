"""The verbs that make new values of an element's old ones; where there is none, they do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mapdr.dicom.edit.change import Change, Join, KeyedHash, Lookup, Split
from mapdr.dicom.edit.verb import (
    ALL_TEXTS,
    CHARACTER_SET,
    TEXTS,
    UNFIT,
    Edit,
    Elements,
    Function,
    Takes,
    Verb,
    nothing_to_write,
    vr_of,
)
from mapdr.dicom.fit import fit
from mapdr.dicom.path import format_tag, tag_vm
from mapdr.dicom.tags import SOP_CLASS_UID, SOP_INSTANCE_UID
from mapdr.dicom.template import Template
from mapdr.dicom.value import OPAQUE, SINGLE
from mapdr.kernel.errors import Permanent

_BLANK = " \t\r\n\f\0"
_NEEDED = (((SOP_CLASS_UID, None),), ((SOP_INSTANCE_UID, None),))


def each_value(change: Callable[[str, str], str]) -> Function:
    """A function that gives every element its values anew: `change(value, text)` of each that is not empty.

    `text` is what the edit's template renders to, empty for a verb that takes none. Absent and empty elements
    stay so. LT, ST, UR and UT hold one value, in which a backslash is a character.
    """

    def function(data: Elements, target: Any, value: Any, edit: Edit) -> None:
        found = [(place, old) for place in data.places(target) if (old := _readable(data, place, edit))]
        if not found:
            return
        text = "" if value is None else data.render(value)
        if not text and value is not None:
            nothing_to_write(data, [place for place, _ in found], edit, "a tag of its text")
            return
        for place, old in found:
            is_single = data.is_single(place)
            values = [old] if is_single else old.split("\\")
            new = [change(each, text) if each else each for each in values]
            _put(data, place, old, new, edit, strict=False, is_single=is_single)

    return function


def _changed(data: Elements, target: Any, value: Change, edit: Edit) -> None:
    """The function of the verbs that take a `Change`."""
    for place in data.places(target):
        old = _readable(data, place, edit)
        if not old:
            continue
        vr = data.vr(place)
        try:
            is_single = vr in SINGLE
            new = value.values([old] if is_single else old.split("\\"), vr)
        except Permanent as error:
            raise Permanent(f"{edit.where}: {error}", reason=error.reason) from error
        _put(data, place, old, new, edit, strict=value.strict, is_single=is_single)


def _readable(data: Elements, place: Any, edit: Edit) -> str:
    """The text at a place. Raises Permanent for a value that is there and cannot be read as one.

    What is read wrongly would be written wrongly, or hashed to what nobody finds again.
    """
    text = data.text(place)
    if "\ufffd" in text:
        raise Permanent(
            f"{edit.where}: its value has bytes that its character set does not have", reason="character-set"
        )
    if not text and data.is_there(place) and data.vr(place) in OPAQUE and not data.is_empty(place):
        raise Permanent(f"{edit.where}: it is no text in this image ({data.vr(place)})", reason="bad-value")
    return text


def _put(
    data: Elements, place: Any, old: str, values: list[str], edit: Edit, *, strict: bool, is_single: bool
) -> None:
    new = "\\".join(values)
    if not is_single and new.count("\\") >= max(len(values), 1):
        raise Permanent(
            f"{edit.where}: what is put to it holds a backslash, which separates values", reason="bad-value"
        )
    if not is_single and not new.strip("\\"):
        new = ""  # no value is left, of however many
    if not new and edit.target in _NEEDED:
        raise Permanent(f"{edit.where}: no receiver takes the image without a value", reason="bad-value")
    if new != old:
        data.put(place, new, edit.overflow, strict=strict, anew=True)


def _trim(data: Elements, target: Any, value: None, edit: Edit) -> None:
    for place in data.places(target):
        if not _readable(data, place, edit):
            continue
        spaced = data.spaced(place)
        is_single, is_name = data.is_single(place), data.vr(place) == "PN"
        values = [spaced] if is_single else spaced.split("\\")
        new = "\\".join(_trimmed(each, is_name) for each in values)
        # A value of odd length is followed by a space, or a NUL, that is not of it.
        if spaced not in (new, f"{new} ", f"{new}\0"):
            data.put(place, new, edit.overflow, strict=False, anew=True)


def _trimmed(value: str, is_name: bool) -> str:
    if not is_name:
        return value.strip(_BLANK)
    groups = (group.split("^") for group in value.split("="))
    return "=".join("^".join(part.strip(_BLANK) for part in group) for group in groups)


# --- What an edit may say


def _check_affix(edit: Edit) -> None:
    assert isinstance(edit.value, Template)
    if edit.target == CHARACTER_SET:
        raise ValueError("SpecificCharacterSet is no text that can be prefixed or suffixed")
    if "\\" in edit.value.source and vr_of(edit.target) not in SINGLE:
        raise ValueError("a prefix or suffix holds no backslash, which separates values")


def _check_change(edit: Edit) -> None:
    if edit.target == CHARACTER_SET:
        raise ValueError(f"SpecificCharacterSet is no text that {edit.verb.name} is for")


def _check_lookup(edit: Edit) -> None:
    """Every value of the table fits its element, whichever image asks for it."""
    _check_change(edit)
    assert isinstance(edit.value, Lookup)
    vr = vr_of(edit.target)
    if vr is None:
        return
    vr = "LO" if vr == "UN" else vr
    for number, text in enumerate(edit.value.table.values(), 1):
        try:
            if "\\" in text and vr not in SINGLE:
                raise Permanent("a backslash separates values")
            fit(text, vr, truncate=edit.overflow == "truncate")
        except Permanent as error:
            raise ValueError(f"entry {number} of the table does not fit {edit.where}: {error}") from None


def _check_hash(edit: Edit) -> None:
    _check_change(edit)
    assert isinstance(edit.value, KeyedHash)
    if edit.target == ((SOP_CLASS_UID, None),):
        raise ValueError(f"{format_tag(SOP_CLASS_UID)} says what the image is, and is not hashed")


def _check_split(edit: Edit) -> None:
    _check_change(edit)
    assert isinstance(edit.value, Split | Join)
    tag = edit.target[-1][0] if isinstance(edit.target, tuple) else None
    if isinstance(edit.value, Split) and tag is not None and tag_vm(tag) == "1":
        raise ValueError(f"{format_tag(tag)} has one value (PS3.6), and cannot be split into several")


# --- The verbs

_ANY_TEXT = UNFIT | {"empty-value"}
_PLURAL = ALL_TEXTS - SINGLE

PREFIX = Verb(
    "prefix",
    Takes.TEXT,
    TEXTS,
    each_value(lambda value, text: value if value.startswith(text) else text + value),
    _ANY_TEXT,
    _check_affix,
)
"""Put a text before each value that does not begin with it; where there is no value, do nothing."""

SUFFIX = Verb(
    "suffix",
    Takes.TEXT,
    TEXTS,
    each_value(lambda value, text: value if value.endswith(text) else value + text),
    _ANY_TEXT,
    _check_affix,
)
"""Put a text behind each value that does not end with it; where there is no value, do nothing."""

REPLACE = Verb(
    "replace",
    Takes.KEYS,
    ALL_TEXTS,
    _changed,
    UNFIT | {"pattern-too-slow"},
    _check_change,
    keys=("pattern", "with"),
)
"""Replace what a regular expression finds in each value (`change.Replacement`)."""

MAP = Verb(
    "map",
    Takes.KEYS,
    ALL_TEXTS,
    _changed,
    UNFIT | {"not-in-table"},
    _check_lookup,
    keys=(),
    optional=("table", "file", "otherwise", "digest"),
)
"""Give each value what a table has for it (`change.Lookup`)."""

HASH = Verb(
    "hash",
    Takes.KEYS,
    TEXTS - {"UR"} | {"UI"},
    _changed,
    UNFIT,
    _check_hash,
    keys=("key",),
    optional=("length",),
)
"""Give each value its keyed hash (`change.KeyedHash`)."""

SHIFT_DATE = Verb(
    "shift_date", Takes.KEYS, frozenset({"DA", "DT"}), _changed, UNFIT, _check_change, keys=("days",)
)
"""Move each date by so many days (`change.DayShift`)."""

UPPER = Verb(
    "upper", Takes.NOTHING, TEXTS - {"UR"}, each_value(lambda value, _: value.upper()), UNFIT, _check_change
)
"""Write each value in capital letters."""

LOWER = Verb("lower", Takes.NOTHING, TEXTS - {"CS", "UR"}, each_value(lambda value, _: value.lower()), UNFIT)
"""Write each value in small letters, which a CS has none of."""

TRIM = Verb("trim", Takes.NOTHING, ALL_TEXTS - {"UI"}, _trim, UNFIT, _check_change)
"""Take the white space from both ends of each value, of each component in names."""

SPLIT = Verb("split", Takes.KEYS, _PLURAL, _changed, UNFIT, _check_split, keys=("at",))
"""Make several values of one (`change.Split`)."""

JOIN = Verb("join", Takes.KEYS, _PLURAL, _changed, UNFIT, _check_split, keys=("with",))
"""Make one value of several (`change.Join`)."""

REWRITING: tuple[Verb, ...] = (
    PREFIX,
    SUFFIX,
    REPLACE,
    MAP,
    HASH,
    SHIFT_DATE,
    UPPER,
    LOWER,
    TRIM,
    SPLIT,
    JOIN,
)
"""These verbs, in the order of `docs/configuration.md`."""
