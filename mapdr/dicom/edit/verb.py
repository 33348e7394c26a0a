"""What a verb and an edit are: a verb's function works on `Elements`, which two back ends show of a data set.

They are `mapdr.dicom.edit.plan`, on the bytes of regular data sets, and `mapdr.dicom.edit.tree`, on all
others. The verbs themselves stand in `mapdr.dicom.edit.verbs`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, Protocol

from mapdr.dicom.edit.change import Change
from mapdr.dicom.edit.target import (
    Everywhere,
    Only,
    Private,
    Target,
    format_target,
    parse_target,
    written_target,
)
from mapdr.dicom.edit.value import Content, parse_content
from mapdr.dicom.fit import LIMITS
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
from mapdr.kernel.item import Elements as Asked
from mapdr.kernel.item import Source, TagPath

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

    def spaced(self, place: Any) -> str:
        """As `text`, with the spaces around each value, and the padding behind the last."""

    def vr(self, place: Any) -> str:
        """The VR as it is written, or the dictionary's where the data set names none."""

    def is_there(self, place: Any) -> bool:
        """Whether the element is there, empty or not."""

    def is_empty(self, place: Any) -> bool:
        """Whether the element is absent, or has no value or no items."""

    def is_single(self, place: Any) -> bool:
        """Whether the element's VR holds one text, in which a backslash is a character."""

    def put(
        self, place: Any, content: Any, overflow: Overflow, *, strict: bool = True, anew: bool = False
    ) -> None:
        """Write what `render` or a verb made; without `strict` only its length must fit the VR.

        What has the same text already keeps its bytes, unless `anew`. Raises Permanent (reasons
        "value-too-long", "bad-value", "character-set").
        """

    def copy(self, source: Any, place: Any, overflow: Overflow) -> None:
        """Write the value at `source`, its bytes where they mean the same. Raises Permanent as `put`."""

    def clear(self, place: Any) -> None:
        """Give the element no value, or no items; it comes to be if it is absent."""

    def remove(self, target: Any) -> None:
        """Take out every element that `target` names."""

    def keep_only(self, target: Only) -> None:
        """Take out every element of the top level but those of `target` and of `target.KEPT`."""

    def each(self, target: Any, edits: Sequence[Edit]) -> None:
        """Carry out edits on each item of a sequence as if it were a data set. Raises as they do."""

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
    KEYS = " "
    """Keys of its own, of which a `Change` or `Each` is made (`mapdr.transform.header.edit`)."""

    @property
    def key(self) -> str:
        """The key of a rule that gives it; empty for keys of its own."""
        return self.value.strip()


@dataclass(frozen=True, slots=True, repr=False)
class Verb:
    """An entry of the table; called with a target (and a value) it makes an edit.

    `vrs` are the dictionary's VRs of the elements that it can be used on; `reasons` those of the Permanent
    errors that its function may raise, besides those of a data set that cannot be edited at all; `patterns`
    says that a rule may use it on more than one element at once (`mapdr.dicom.edit.target.parse_target`),
    `lists` that it is written with a list of tags, `takes_away` that it leaves no value. `keys` are those
    that a rule must give it, `optional` those that it may. `check` raises ValueError for what else an edit
    must not say.
    """

    name: str
    takes: Takes
    vrs: frozenset[str]
    function: Function
    reasons: frozenset[str] = frozenset()
    check: Callable[[Edit], None] = lambda edit: None
    patterns: bool = False
    takes_away: bool = False
    lists: bool = False
    keys: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<verb {self.name}>"

    def __call__(
        self, target: Target, value: Value = None, overflow: Overflow = "error", if_empty: IfEmpty = "error"
    ) -> Edit:
        """The edit. Raises ValueError for one that could do no good in any data set."""
        return Edit(self, target, value, overflow, if_empty)

    def parse(
        self,
        tag: str | Sequence[str],
        argument: object = None,
        overflow: Overflow = "error",
        if_empty: IfEmpty = "error",
    ) -> Edit:
        """The edit as a rule writes it: `{ <name> = tag, <takes.key> = argument }`. Raises ValueError.

        The argument of one that takes keys of its own is what they make.
        """
        if not isinstance(tag, str):
            return self(Only.parse(tag))
        if self.takes is Takes.TARGET:
            return self(parse_edit_path(_text_of(argument)), parse_path(tag), overflow, if_empty)
        target = parse_target(tag) if self.patterns else parse_edit_path(tag)
        if self.takes is Takes.NOTHING:
            return self(target)
        if isinstance(argument, Change | Each):
            return self(target, argument, overflow)
        if self.takes is Takes.TEXT:
            return self(target, Template.parse(_text_of(argument)), overflow, if_empty)
        return self(target, parse_content(argument), overflow, if_empty)


@dataclass(frozen=True, slots=True)
class Each:
    """Edits of an item: their paths begin in it."""

    edits: tuple[Edit, ...]


Value = Content | Change | Each | TagPath | None
"""What an edit writes, does to values or to items, the source that it copies, or nothing."""


class Condition(Protocol):
    """What an edit asks of the header before it is done, and of where the image came from."""

    @property
    def paths(self) -> Collection[TagPath]:
        """The tags that it asks for."""

    def holds(self, header: Asked, source: Source) -> bool:
        """Whether the edit is to be done."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A verb on a target, with its value.

    `overflow`: whether a value too long for its VR parks the image or is cut. `if_empty`: what is done where
    there is nothing to write, for a placeholder or source is empty in this image: park it, leave the element
    alone, or leave it empty. `condition` is asked when its turn comes, of what the edits before it left.
    """

    verb: Verb
    target: Target
    value: Value = None
    overflow: Overflow = "error"
    if_empty: IfEmpty = "error"
    condition: Condition | None = None

    def __post_init__(self) -> None:
        if self.verb.takes_away:
            _check_removable(self.target)
        else:
            check_writable(self.target)
        vr = vr_of(self.target)
        if vr is not None and vr not in self.verb.vrs:
            what = "is a sequence" if vr == "SQ" else "is no text" if vr in _NO_TEXT else "has another VR"
            raise ValueError(f"{self.where} {what} ({vr}), which {self.verb.name} is not for")
        self.verb.check(self)

    @property
    def where(self) -> str:
        """The target, for error messages."""
        return format_target(self.target)

    @property
    def words(self) -> str:
        """The verb with its target, and with what it copies; what it writes may identify somebody."""
        if isinstance(self.target, Only):
            return self.verb.name
        if self.verb.takes is Takes.TARGET and isinstance(self.value, tuple):
            return f"{self.verb.name} {format_path(self.value)} to {written_target(self.target)}"
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
        case Everywhere() | Private() | Only():
            return None
        case _:
            return target


def vr_of(target: Target) -> str | None:
    """The dictionary's VR of the element that a target names, None if it may name different ones."""
    path = _single(target)
    return tag_vr(path[-1][0]) if path else None


_NO_HEADER = (0x0000, 0x0002, PIXEL_GROUP, ITEM >> 16)
"""Groups that are no part of a header: commands, File Meta, pixel data, delimiters."""
_NEEDED = (SOP_CLASS_UID, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET)


def check_writable(target: Target) -> None:
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
        case Private() | Only():
            pass
        case _:
            tag = target[-1][0]
            is_needed = tag in _NEEDED or tag >> 16 in _NO_HEADER
            if is_needed and (len(target) == 1 or tag == SPECIFIC_CHARACTER_SET):
                raise ValueError(
                    f"{format_tag(tag)} cannot be removed: no receiver takes the image without it"
                )


# --- What the verbs share

ALL_VRS = frozenset((*LIMITS, *BINARY, *OPAQUE, *SINGLE, "AT", "UC", "UN"))
TEXTS = frozenset("AE CS LO LT PN SH ST UC UN UR UT".split())  # noqa: SIM905  reads as a list
ALL_TEXTS = TEXTS | frozenset("AS DA DS DT IS TM UI".split())  # noqa: SIM905  reads as a list
_NO_TEXT = ALL_VRS - ALL_TEXTS
UNFIT = frozenset(("value-too-long", "bad-value", "character-set"))
"""Why a value cannot be written."""
CHARACTER_SET: EditPath = ((SPECIFIC_CHARACTER_SET, None),)


def nothing_to_write(data: Elements, places: Iterable[Any], edit: Edit, what: str) -> None:
    """Deal with a value that there is nothing for. Raises Permanent (reason "empty-value")."""
    if edit.if_empty == "error":
        raise Permanent(f'{edit.where}: {what} is empty; if_empty = "skip" allows that', reason="empty-value")
    if edit.if_empty == "clear":
        for place in places:
            data.clear(place)
