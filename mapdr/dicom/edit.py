"""Edits of a data set's header: only what is named changes, everything else keeps its bytes.

Edits are applied in order, each to what the one before left. A path without item indexes means every item
there is. What also changes: the lengths that enclose a change, the group lengths present in its group, and
all text, when a new value does not fit the declared character set: then the whole data set moves to
ISO_IR 192, nested text too. Values of VR UN, and private ones in implicit VR, are not known to be text and
keep their bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from mapdr._fast.scan_tables import CHARACTER_SET
from mapdr.dicom.charset import UTF8, is_known
from mapdr.dicom.document import PIXEL_GROUP, Document, Overflow
from mapdr.dicom.fit import fit, pad
from mapdr.dicom.path import EditPath, format_edit_path, format_path, format_tag, parse_edit_path, tag_vr
from mapdr.dicom.template import Template
from mapdr.dicom.tree import Level, Node
from mapdr.dicom.value import SINGLE
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import TagPath

IfEmpty = Literal["error", "skip", "clear"]

SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018


@dataclass(frozen=True, slots=True)
class Set:
    """Give the element a value; it, and the sequences and first items on its path, come to be if need be.

    `if_empty`: what to do when a placeholder of `to` is empty in this image: park it, leave the element
    alone, or leave it empty. Set of SpecificCharacterSet takes ISO_IR 192 only, and converts all text.
    """

    path: EditPath
    to: Template
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        _check_writable(self.path)
        constant = self.to.constant
        if self.path == ((CHARACTER_SET, None),):
            if constant != UTF8:
                raise ValueError(f"SpecificCharacterSet can be set to {UTF8} only, which converts all text")
        elif constant is not None:
            _check_constant(self.path, constant, self.overflow)


@dataclass(frozen=True, slots=True)
class SetIfMissing:
    """As Set, where the element is absent or empty; SpecificCharacterSet is declared, nothing converted."""

    path: EditPath
    to: Template
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        _check_writable(self.path)
        constant = self.to.constant
        if constant is not None:
            _check_constant(self.path, constant, self.overflow)
        if self.path[-1][0] == CHARACTER_SET and not is_known(tuple((constant or "{").split("\\"))):
            raise ValueError("SpecificCharacterSet takes defined terms only, such as ISO_IR 100")


@dataclass(frozen=True, slots=True)
class Copy:
    """Give `to` the value of `source` (its first that is not empty, when several items hold one)."""

    source: TagPath
    to: EditPath
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        _check_writable(self.to)
        if self.to[-1][0] == CHARACTER_SET:
            raise ValueError("SpecificCharacterSet cannot be copied to: text would no longer be what it says")
        if tag_vr(self.source[-1]) == "SQ":
            raise ValueError(f"{format_path(self.source)} is a sequence and cannot be copied")


@dataclass(frozen=True, slots=True)
class Prefix:
    """Put `text` before each value that does not begin with it; where there is no value, do nothing.

    LT, ST, UR and UT hold one value, in which a backslash is a character.

    `if_empty`: what to do when a placeholder of `text` is empty in this image, as in Set.
    """

    path: EditPath
    text: Template
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        _check_affix(self.path, self.text)


@dataclass(frozen=True, slots=True)
class Suffix:
    """Put `text` behind each value that does not end with it yet; `if_empty` as in Prefix."""

    path: EditPath
    text: Template
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"

    def __post_init__(self) -> None:
        _check_affix(self.path, self.text)


@dataclass(frozen=True, slots=True)
class Remove:
    """Take out the element, with all its items if it is a sequence."""

    path: EditPath

    def __post_init__(self) -> None:
        tag = self.path[-1][0]
        if _is_kept(tag) and (len(self.path) == 1 or tag == CHARACTER_SET):
            raise ValueError(f"{format_tag(tag)} cannot be removed: no receiver takes the image without it")


@dataclass(frozen=True, slots=True)
class RemoveMatching:
    """Take out every element, at any depth, whose tag is `tag` in the bits of `mask`."""

    tag: int
    mask: int

    def __post_init__(self) -> None:
        for kept in (SOP_CLASS_UID, SOP_INSTANCE_UID, CHARACTER_SET, 0x7FE00010):
            if kept & self.mask == self.tag:
                raise ValueError(
                    f"this would remove {format_tag(kept)}: no receiver takes the image without it"
                )


@dataclass(frozen=True, slots=True)
class RemovePrivate:
    """Take out all private elements at any depth, or the blocks that `creator` reserved (PS3.5, 7.8)."""

    creator: str | None = None


Edit = Set | SetIfMissing | Copy | Prefix | Suffix | Remove | RemoveMatching | RemovePrivate


class Edited(NamedTuple):
    """A changed header and tail, the paths that differ now, and the identity that the data set has now.

    Where nothing changed, `header` and `tail` are the very objects that were given. A UID is empty if the
    data set has none. `moved` says that all text went to ISO_IR 192.
    """

    header: bytes
    tail: bytes
    changed: tuple[TagPath, ...]
    sop_class_uid: str
    sop_instance_uid: str
    moved: bool


_PATTERN = re.compile(r"\(([0-9A-FXa-fx]{4}),([0-9A-FXa-fx]{4})\)")


def parse_removal(text: str) -> Edit:
    """What `remove = "..."` names.

    `private`, `creator:GEMS_IDEN_01`, `group:0011`, a tag with x for any digit such as `(0009,xx10)` or
    `(60xx,3000)`: at any depth. Else a path, as `parse_edit_path`: that element. Raises ValueError.
    """
    text = text.strip()
    if text == "private":
        return RemovePrivate()
    if text.startswith("creator:"):
        creator = text[len("creator:") :].strip()
        if not creator:
            raise ValueError("creator: needs the name of a private creator, such as creator:GEMS_IDEN_01")
        return RemovePrivate(creator)
    if text.startswith("group:"):
        group = text[len("group:") :].strip()
        if not re.fullmatch(r"[0-9A-Fa-f]{4}", group):
            raise ValueError(f"{text!r}: a group is four hexadecimal digits, such as group:0011")
        return RemoveMatching(int(group, 16) << 16, 0xFFFF0000)
    match = _PATTERN.fullmatch(text)
    if match and "x" in text.lower():
        digits = "".join(match.groups()).lower()
        mask = int("".join("0" if digit == "x" else "f" for digit in digits), 16)
        return RemoveMatching(int(digits.replace("x", "0"), 16), mask)
    return Remove(parse_edit_path(text))


def _is_kept(tag: int) -> bool:
    return tag in (SOP_CLASS_UID, SOP_INSTANCE_UID, CHARACTER_SET) or tag >> 16 in (
        0,
        2,
        PIXEL_GROUP,
        0xFFFE,
    )


def _check_writable(path: EditPath) -> None:
    tag = path[-1][0]
    if tag >> 16 in (0, 2, PIXEL_GROUP, 0xFFFE):
        raise ValueError(f"{format_tag(tag)} is not of the header and cannot be changed")
    if not tag & 0xFFFF:
        raise ValueError(f"{format_tag(tag)} is a group length; MAPDR keeps it right")
    if tag == CHARACTER_SET and len(path) > 1:
        raise ValueError("an item's SpecificCharacterSet cannot be changed")
    if tag_vr(tag) == "SQ":
        raise ValueError(f"{format_edit_path(path)} is a sequence; name an element in it")


def _check_constant(path: EditPath, text: str, overflow: Overflow) -> None:
    vr = tag_vr(path[-1][0])
    try:
        fit(text, "LO" if vr == "UN" else vr, truncate=overflow == "truncate")
    except Permanent as error:
        raise ValueError(f"{format_edit_path(path)}: {error}") from error


def _check_affix(path: EditPath, text: Template) -> None:
    _check_writable(path)
    tag = path[-1][0]
    if (
        tag_vr(tag) not in ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT")
        or tag == CHARACTER_SET
    ):
        raise ValueError(f"{format_edit_path(path)} is no text that can be prefixed or suffixed")
    if "\\" in text.source and tag_vr(tag) not in SINGLE:
        raise ValueError("a prefix or suffix holds no backslash, which separates values")


def apply_edits(
    header: bytes,
    transfer_syntax_uid: str,
    edits: Sequence[Edit],
    *,
    tail: bytes | None = None,
    tail_at: int = 0,
    undeclared: str = "",
) -> Edited:
    """Apply `edits` to the bytes before the pixel data, and to those after it, the `tail`.

    `tail` is None for a data set without pixel data, whose `header` is all of it (see scan.layout); `tail_at`
    is its offset in the data set, for errors. A deflated data set is inflated by the caller. `undeclared` is
    the character set to assume where none is declared (a defined term). Raises Unreadable for bytes that
    cannot be edited safely, and Permanent (reasons: value-too-long, bad-value, empty-value, no-such-item,
    character-set, too-deep, odd-form).
    """
    document = Document(header, tail, transfer_syntax_uid, undeclared, tail_at)
    for edit in edits:
        _apply(document, edit)
    if document.changed:
        document.drop_file_meta()
    changed = tuple(sorted(document.changed))
    new_header, new_tail = header, tail or b""
    if document.head.changed:
        new_header = document.header()
    if document.tail is not document.head and document.tail.changed:
        new_tail = document.tail.write() + document.tail_padding
    return Edited(
        new_header,
        new_tail,
        changed,
        document.text_at((SOP_CLASS_UID,)),
        document.text_at((SOP_INSTANCE_UID,)),
        document.moved,
    )


def _apply(document: Document, edit: Edit) -> None:
    match edit:
        case Set():
            _set(document, edit)
        case SetIfMissing():
            _set_if_missing(document, edit)
        case Copy():
            _copy(document, edit)
        case Prefix() | Suffix():
            _affix(document, edit)
        case Remove():
            _remove(document, edit)
        case RemoveMatching():
            chosen = edit.tag, edit.mask
            _remove_where(document, lambda level: [n for n in level.nodes if n.tag & chosen[1] == chosen[0]])
        case RemovePrivate(None):
            _remove_where(document, lambda level: [node for node in level.nodes if node.tag >> 16 & 1])
        case RemovePrivate(str(creator)):
            _remove_where(document, lambda level: _blocks(document, level, creator))


def _render(document: Document, template: Template) -> tuple[str | None, bool]:
    """The template's text, None if one of its tags is empty in this image; and whether it is literal.

    It is where a tag gave it a backslash that separates no values there, as in LT.
    """
    values, literal = {}, False
    for path in template.paths:
        for node in document.nodes_at(path):
            if text := document.text_of(node):
                values[path] = text
                literal |= "\\" in text and node.vr_name in SINGLE
                break
        else:
            return None, False
    return template.render(values.__getitem__), literal


def _when_empty(document: Document, path: EditPath, if_empty: IfEmpty, what: str) -> None:
    """Deal with a value that there is nothing for."""
    if if_empty == "error":
        raise Permanent(
            f'{format_edit_path(path)}: {what} is empty; if_empty = "skip" allows that', reason="empty-value"
        )
    if if_empty == "clear":
        for level in document.levels(path, create=False):
            document.put_raw(level, path, tag_vr(path[-1][0]), b"")


def _set(document: Document, edit: Set) -> None:
    if edit.path[-1][0] == CHARACTER_SET:
        document.move_to_utf8()
        return
    text, literal = _render(document, edit.to)
    if text is None:
        _when_empty(document, edit.path, edit.if_empty, "a tag of its template")
        return
    for level in _targets(document, edit.path):
        document.put(level, edit.path, text, edit.overflow, literal=literal)


def _set_if_missing(document: Document, edit: SetIfMissing) -> None:
    there = document.levels(edit.path, create=False)
    if there and not any(_lacks(level, edit.path) for level in there):
        return
    text, literal = _render(document, edit.to)
    if text is None:
        _when_empty(document, edit.path, edit.if_empty, "a tag of its template")
        return
    for level in _targets(document, edit.path):
        if _lacks(level, edit.path):
            document.put(level, edit.path, text, edit.overflow, literal=literal)


def _lacks(level: Level, path: EditPath) -> bool:
    """Whether the element is absent or empty in this level."""
    node = level.find(path[-1][0])
    return node is None or not (node.is_sequence() or node.raw.strip(b" \0"))


def _targets(document: Document, path: EditPath) -> list[Level]:
    """The levels to write to, made if need be. Raises Permanent where an item index skips items."""
    levels = document.levels(path, create=True)
    if not levels:
        raise Permanent(f"{format_edit_path(path)}: there is no such item", reason="no-such-item")
    return levels


def _copy(document: Document, edit: Copy) -> None:
    source = next((node for node in document.nodes_at(edit.source) if node.raw.strip(b" \0")), None)
    if source is None:
        _when_empty(document, edit.to, edit.if_empty, "its source")
        return
    tag = edit.to[-1][0]
    text = document.text_of(source)
    for level in _targets(document, edit.to):
        node = level.find(tag)
        vr = node.vr_name if node else tag_vr(tag)
        same_place = level.flags == source.level.flags and document.terms(level) == document.terms(
            source.level
        )
        if same_place and vr == source.vr_name:
            document.put_raw(level, edit.to, vr, pad(source.raw, vr))
        else:
            document.put(level, edit.to, text, edit.overflow, literal=source.vr_name in SINGLE)


def _affix(document: Document, edit: Prefix | Suffix) -> None:
    found = [level.find(edit.path[-1][0]) for level in document.levels(edit.path, create=False)]
    there = [(node, old) for node in found if node and (old := document.text_of(node))]
    if not there:
        return
    text, _ = _render(document, edit.text)
    if not text:
        _when_empty(document, edit.path, edit.if_empty, "a tag of its text")
        return
    for node, old in there:
        is_single = node.vr_name in SINGLE
        if "\\" in text and not is_single:
            raise Permanent(
                f"{format_edit_path(edit.path)}: what is put to it holds a backslash, which separates values",
                reason="bad-value",
            )
        values = [old] if is_single else old.split("\\")
        if isinstance(edit, Prefix):
            new = [value if not value or value.startswith(text) else text + value for value in values]
        else:
            new = [value if not value or value.endswith(text) else value + text for value in values]
        document.put(node.level, edit.path, "\\".join(new), edit.overflow, strict=False)


def _remove(document: Document, edit: Remove) -> None:
    for level in document.levels(edit.path, create=False):
        nodes = [node for node in level.nodes if node.tag == edit.path[-1][0]]
        if nodes:
            level.remove(nodes)
            document.note(edit.path)


def _blocks(document: Document, level: Level, creator: str) -> list[Node]:
    """The elements of the blocks that a creator reserved in a level, and the reservations."""
    blocks = {
        (node.tag >> 16, node.tag & 0xFF)
        for node in level.nodes
        if node.tag >> 16 & 1 and 0x10 <= node.tag & 0xFFFF <= 0xFF and document.text_of(node) == creator
    }
    return [
        node
        for node in level.nodes
        if (node.tag >> 16, node.tag >> 8 & 0xFF) in blocks or ((node.tag >> 16, node.tag & 0xFFFF) in blocks)
    ]


def _remove_where(document: Document, choose: Callable[[Level], list[Node]]) -> None:
    """Remove what `choose` names at every level that can be opened."""
    waiting: list[tuple[Level, TagPath]] = [(level, ()) for level in document.tops()]
    while waiting:
        level, path = waiting.pop()
        gone = choose(level)
        level.remove(gone)
        document.changed.update(((*path, node.tag), None) for node in gone)
        for node in level.nodes:
            if node.is_sequence():
                waiting.extend((item, (*path, node.tag)) for item in node.open())
