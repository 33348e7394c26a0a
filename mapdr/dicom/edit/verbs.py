"""The verbs of edits, each written once: what it takes, on which VRs, what it does, and how it can fail.

`VERBS` is the table. Configuration (`mapdr.transform.header.tags`) takes its keys from it, and both back ends
carry its functions out (`mapdr.dicom.edit.verb`). A new verb is one more entry of the table.
"""

from __future__ import annotations

from typing import Any

from mapdr.dicom.charset import UTF8, is_known
from mapdr.dicom.edit.rewrite import PREFIX, REWRITING, SUFFIX, each_value
from mapdr.dicom.edit.value import Items
from mapdr.dicom.edit.verb import (
    ALL_VRS,
    CHARACTER_SET,
    UNFIT,
    Each,
    Edit,
    Elements,
    IfEmpty,
    Overflow,
    Takes,
    Verb,
    check_writable,
    nothing_to_write,
    vr_of,
)
from mapdr.dicom.fit import fit
from mapdr.dicom.path import format_path, format_tag, tag_vr
from mapdr.dicom.template import Template
from mapdr.dicom.value import OPAQUE
from mapdr.kernel.errors import Permanent

__all__ = [
    "COPY",
    "EMPTY",
    "FOR_EACH",
    "KEEP_ONLY",
    "PREFIX",
    "REMOVE",
    "SET",
    "SET_IF_MISSING",
    "SUFFIX",
    "VERBS",
    "Edit",
    "IfEmpty",
    "Overflow",
    "Takes",
    "Verb",
    "each_value",
]


def _check_content(edit: Edit) -> None:
    """A value that is the same for every image fits; items are for sequences, texts for all others."""
    if isinstance(edit.value, Items):
        if vr_of(edit.target) != "SQ":
            raise ValueError(f"{edit.where} is no sequence and has no items")
        _check_items(edit.value, edit.overflow)
        return
    assert isinstance(edit.value, Template)
    vr = vr_of(edit.target)
    if vr == "SQ":
        raise ValueError(f"{edit.where} is a sequence; give it a list of items, or name an element in it")
    if vr is not None:
        _check_constant(edit.where, vr, edit.value, edit.overflow)


def _check_items(items: Items, overflow: Overflow) -> None:
    for item in items.items:
        for tag, content in item:
            check_writable(((tag, None), (tag, None)))
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


def _set(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    if edit.target == CHARACTER_SET:
        data.move_to_utf8()
        return
    content = data.render(value)
    if content is None:
        nothing_to_write(data, data.places(target), edit, "a tag of its template")
        return
    for place in data.made_places(target):
        data.put(place, content, edit.overflow)


def _check_set(edit: Edit) -> None:
    if edit.target != CHARACTER_SET:
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
        nothing_to_write(data, missing, edit, "a tag of its template")
        return
    for place in data.made_places(target):
        if data.is_empty(place):
            data.put(place, content, edit.overflow)


def _check_set_if_missing(edit: Edit) -> None:
    _check_content(edit)
    if edit.target == CHARACTER_SET:
        constant = edit.value.constant if isinstance(edit.value, Template) else None
        if not is_known(tuple((constant or "{").split("\\"))):
            raise ValueError("SpecificCharacterSet takes defined terms only, such as ISO_IR 100")


def _copy(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    source = data.source(value)
    if source is None:
        nothing_to_write(data, data.places(target), edit, "its source")
        return
    for place in data.made_places(target):
        data.copy(source, place, edit.overflow)


def _check_copy(edit: Edit) -> None:
    assert isinstance(edit.value, tuple)
    if edit.target == CHARACTER_SET:
        raise ValueError("SpecificCharacterSet cannot be copied to: text would no longer be what it says")
    if tag_vr(edit.value[-1]) == "SQ":
        raise ValueError(f"{format_path(edit.value)} is a sequence and cannot be copied")


def _empty(data: Elements, target: Any, value: None, edit: Edit) -> None:
    for place in data.places(target):
        if data.is_there(place):
            data.clear(place)


def _for_each(data: Elements, target: Any, value: Any, edit: Edit) -> None:
    data.each(target, value.edits)


def _check_each(edit: Edit) -> None:
    """What no item may lose or change is found with the path to it."""
    assert isinstance(edit.value, Each)
    if not edit.value.edits:
        raise ValueError("edits is an empty list; write the edits of an item")
    for one in edit.value.edits:
        if isinstance(edit.target, tuple) and isinstance(one.target, tuple):
            check_writable((*edit.target, *one.target))


def _keep_only(data: Elements, target: Any, value: None, edit: Edit) -> None:
    data.keep_only(target)


def _remove(data: Elements, target: Any, value: None, edit: Edit) -> None:
    data.remove(target)


_WITHOUT_BYTES = (ALL_VRS - OPAQUE) | {"SQ"}

SET = Verb(
    "set",
    Takes.CONTENT,
    _WITHOUT_BYTES,
    _set,
    UNFIT | {"empty-value", "no-such-item"},
    _check_set,
)
"""Give the element a value; it, and the sequences and first items on its path, come to be if need be.

Of SpecificCharacterSet it takes ISO_IR 192 only, and converts all text."""

SET_IF_MISSING = Verb(
    "set_if_missing",
    Takes.CONTENT,
    _WITHOUT_BYTES,
    _set_if_missing,
    UNFIT | {"empty-value", "no-such-item"},
    _check_set_if_missing,
)
"""As SET, where the element is absent or empty; SpecificCharacterSet is declared, nothing converted."""

COPY = Verb(
    "copy",
    Takes.TARGET,
    ALL_VRS - {"SQ"},
    _copy,
    UNFIT | {"empty-value", "no-such-item"},
    _check_copy,
)
"""Give the element the value of another (its first that is not empty, when several items hold one)."""

REMOVE = Verb("remove", Takes.NOTHING, ALL_VRS, _remove, patterns=True, takes_away=True)
"""Take out the element, with all its items if it is a sequence."""

EMPTY = Verb("empty", Takes.NOTHING, ALL_VRS, _empty, patterns=True, takes_away=True)
"""Leave the element without a value, a sequence without items; absent ones stay absent (PS3.15, E.1: Z)."""

KEEP_ONLY = Verb("keep_only", Takes.NOTHING, ALL_VRS, _keep_only, patterns=True, takes_away=True, lists=True)
"""Take out every element of the top level but these, and those that an image cannot do without
(`mapdr.dicom.edit.target.KEPT`)."""

FOR_EACH = Verb(
    "for_each",
    Takes.KEYS,
    frozenset({"SQ", "UN"}),
    _for_each,
    UNFIT | {"empty-value", "no-such-item", "not-in-table", "pattern-too-slow"},
    _check_each,
    keys=("edits",),
)
"""Carry out edits on each item of a sequence: paths, sources, placeholders and conditions are of the item."""

VERBS: tuple[Verb, ...] = (SET, SET_IF_MISSING, COPY, REMOVE, EMPTY, *REWRITING, KEEP_ONLY, FOR_EACH)
"""The table, in the order of `docs/configuration.md`."""
