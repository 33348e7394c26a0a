"""Edits compiled once for many data sets, carried out on the bytes of regular ones.

A plan is for edits of single top-level elements before the pixel data, and for regular data sets (see
`mapdr._fast._rewrite_py`). Whatever else comes up is left to `mapdr.dicom.edit.tree`, which starts from the
beginning: nested paths, sequences, text that moves to ISO_IR 192, and every error, so that each has one
meaning. What a verb does is told by its function in `mapdr.dicom.edit.verbs`, for both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mapdr import _fast
from mapdr._fast._rewrite_py import Span
from mapdr._fast.scan_tables import EXPLICIT
from mapdr.dicom.charset import is_plain, parse_terms, terms_in_use
from mapdr.dicom.document import Overflow
from mapdr.dicom.edit.change import Change
from mapdr.dicom.edit.target import Only
from mapdr.dicom.edit.tree import Edited
from mapdr.dicom.edit.verb import Condition, Edit, Function, Value
from mapdr.dicom.fit import encode_value, fit
from mapdr.dicom.path import tag_vr
from mapdr.dicom.scan import encoding_flags
from mapdr.dicom.tags import PIXEL_GROUP, SOP_CLASS_UID, SOP_INSTANCE_UID, SPECIFIC_CHARACTER_SET
from mapdr.dicom.template import Template
from mapdr.dicom.value import SINGLE, spaced_text, texts_of
from mapdr.kernel import budget
from mapdr.kernel.character_set import AssumedSet
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import NOWHERE, Source, TagPath

_READ = frozenset(
    "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US SV UC UR UT UV".split()  # noqa: SIM905  a list
)
"""VRs whose values are read and written here."""
_NAMES = {name.encode("ascii"): name for name in _READ}
_PADDED = frozenset("AE AS CS DA DS DT IS LO PN SH TM UI".split())  # noqa: SIM905  reads as a list
"""VRs whose value, if it is ASCII without backslashes, is its text but for padding at both ends."""
_IS_PLAIN = re.compile(rb"[^\\\x1b\x80-\xff]*").fullmatch


class Planned(NamedTuple):
    """What `apply_edits` gives, and where in the data set the pixel data is that lies between its parts."""

    edited: Edited
    header_end: int
    pixel_end: int


class _Left(Exception):
    """The image is left to `apply_edits`."""


Slot = int
"""The place of an element among the tags that a plan touches: there is one data set, and no items."""
Slots = tuple[Slot, ...]
Text = Callable[["_Values"], str | None]
"""A template's text in one image, None if one of its tags is empty."""


class _Constant(str):
    """An edit's text that is the same in every image, and its bytes by VR once they are known."""

    __slots__ = ("encoded",)

    def __init__(self, text: str) -> None:
        self.encoded: dict[str, bytes] = {}


class _Values:
    """`verb.Elements` of one image, and `kernel.item.Elements` for conditions, of what a plan touches.

    That is the elements' values, VRs, and changes.

    A target is its slot (in a tuple), a value a `_Constant` or a `Text`. An absent
    element has neither value nor VR; one of undefined length has a VR and no value.
    """

    __slots__ = ("assumed", "changed", "charset", "explicit", "known", "raws", "slots", "vrs")

    def __init__(
        self,
        spans: list[Span],
        known: Sequence[str],
        charset: Slot,
        explicit: bool,
        *,
        slots: Mapping[int, Slot],
        assumed: tuple[AssumedSet, ...],
    ) -> None:
        self.vrs = [span[2] for span in spans]
        self.raws = [span[3] for span in spans]
        self.known = known
        self.charset = charset
        self.explicit = explicit
        self.assumed = assumed
        self.slots = slots
        self.changed: set[Slot] = set()

    def raw(self, slot: Slot) -> bytes | None:
        """The value of an element, None if it is absent."""
        raw = self.raws[slot]
        if raw is None and self.vrs[slot] is not None:
            raise _Left
        return raw

    def vr(self, slot: Slot) -> str:
        """The VR as written, or the dictionary's for an absent element and in implicit VR."""
        vr = self.vrs[slot]
        name = _NAMES.get(vr) if vr else self.known[slot]
        if name not in _READ:
            raise _Left
        return name

    def terms(self) -> tuple[str, ...]:
        """The character set of the data set's text."""
        declared = parse_terms(self.raw(self.charset) or b"")
        return terms_in_use(declared, self.assumed) if self.assumed else declared

    def put_raw(self, slot: Slot, vr: str, raw: bytes) -> None:
        """Give an element its bytes; `vr` is for one that is absent."""
        old = self.raws[slot]
        if old is None:
            if self.vrs[slot] is not None:
                raise _Left
            self.vrs[slot] = vr.encode("ascii") if self.explicit else b""
        elif old == raw:
            return
        self.raws[slot] = raw
        self.changed.add(slot)

    def splitting_text(self, slot: Slot) -> str:
        """As `text`, where a backslash separates values; one that is a character is left to `apply_edits`."""
        text = self.text(slot)
        if "\\" in text and self.vr(slot) in SINGLE:
            raise _Left
        return text

    # What conditions ask for (`kernel.item.Elements`), of elements of the top level.

    def texts(self, path: TagPath) -> tuple[str, ...]:
        """All values of an element."""
        slot = self.slots[path[0]]
        raw = self.raw(slot)
        if not raw:
            return ()
        return tuple(texts_of(raw, self.vr(slot), () if is_plain(raw) else self.terms()))

    def has(self, path: TagPath) -> bool:
        """Whether there is such an element."""
        return self.vrs[self.slots[path[0]]] is not None

    # What verbs ask for (`verb.Elements`).

    def places(self, target: Slots) -> Slots:
        """The target itself."""
        return target

    made_places = places

    def render(self, value: _Constant | Text) -> str | None:
        """The text in this image."""
        return value if isinstance(value, _Constant) else value(self)

    def source(self, value: Slot) -> Slot | None:
        """The slot, unless it is empty."""
        return None if self.is_empty(value) else value

    def text(self, slot: Slot) -> str:
        """The values of an element, joined by backslashes; empty for an absent one."""
        raw, written = self.raws[slot], self.vrs[slot]
        if raw and (_NAMES.get(written) if written else self.known[slot]) in _PADDED and _IS_PLAIN(raw):
            return raw.decode("ascii").strip(" \0")  # as most are
        raw = self.raw(slot)
        if not raw:
            return ""
        vr = self.vr(slot)
        return "\\".join(texts_of(raw, vr, () if is_plain(raw) else self.terms()))

    def spaced(self, slot: Slot) -> str:
        """The values of an element as they are, with their padding."""
        raw = self.raw(slot)
        return spaced_text(raw, self.vr(slot), () if is_plain(raw) else self.terms()) if raw else ""

    def is_there(self, slot: Slot) -> bool:
        """Whether there is such an element."""
        return self.vrs[slot] is not None

    def is_empty(self, slot: Slot) -> bool:
        """Whether an element is absent or empty."""
        if self.vrs[slot] is None:
            return True
        self.vr(slot)
        return not (self.raw(slot) or b"").strip(b" \0")

    def is_single(self, slot: Slot) -> bool:
        """Whether its VR holds one text."""
        return self.vr(slot) in SINGLE

    def put(
        self, slot: Slot, text: str, overflow: Overflow, *, strict: bool = True, anew: bool = False
    ) -> None:
        """Give an element a text. Raises Permanent where it does not fit."""
        if not anew and self.raws[slot] is not None and self.text(slot) == text:
            return
        vr = self.vr(slot)
        if isinstance(text, _Constant) and vr in text.encoded:
            self.put_raw(slot, vr, text.encoded[vr])
            return
        fitting = fit(text, vr, truncate=overflow == "truncate", form=strict)
        is_same_in_all_sets = _is_plain_text(fitting)
        if self.assumed and not is_same_in_all_sets:
            raise _Left  # the set that it is written in may have to be declared
        raw = encode_value(fitting, vr, () if is_same_in_all_sets else self.terms())
        if raw is None:
            raise _Left
        if isinstance(text, _Constant) and is_same_in_all_sets:
            text.encoded[vr] = raw
        self.put_raw(slot, vr, raw)

    def copy(self, source: Slot, slot: Slot, overflow: Overflow) -> None:
        """Give an element the value of another."""
        vr = self.vr(slot)
        if vr == self.vr(source):
            self.put_raw(slot, vr, self.raw(source) or b"")
        else:
            self.put(slot, self.splitting_text(source), overflow)

    def clear(self, slot: Slot) -> None:
        """Leave an element without a value."""
        self.put_raw(slot, self.vr(slot), b"")

    def remove(self, target: Slots) -> None:
        """Take elements out, if they are there."""
        for slot in target:
            if self.vrs[slot] is not None:
                self.vrs[slot] = self.raws[slot] = None
                self.changed.add(slot)

    def each(self, target: Slots, edits: Sequence[Edit]) -> None:
        """Leave it to `apply_edits`."""
        raise _Left

    def keep_only(self, target: Only) -> None:
        """Leave it to `apply_edits`."""
        raise _Left

    def move_to_utf8(self) -> None:
        """Leave it to `apply_edits`."""
        raise _Left


def _is_plain_text(text: str) -> bool:
    """Whether a text has the same bytes in every character set."""
    return text.isascii() and "\x1b" not in text


LONG = 1 << 14
"""Bytes from which on a header's copies are taken from the memory budget."""

Step = tuple[Function, Slots, "Slot | _Constant | Text | Change | None", Edit]
"""A verb's function and its arguments but the first."""
Asked = tuple[Condition | None, Step]
"""A step, and what it asks first."""


class EditPlan:
    """Edits ready for many images; threads may share it."""

    def __init__(self, edits: Sequence[Edit], tags: Sequence[int]) -> None:
        always = {SPECIFIC_CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID}
        self._tags = tuple(sorted({*always, *tags}))
        self._slots = {tag: slot for slot, tag in enumerate(self._tags)}
        self._paths: list[TagPath] = [(tag,) for tag in self._tags]
        self._charset = self._slots[SPECIFIC_CHARACTER_SET]
        self._uids = self._slots[SOP_CLASS_UID], self._slots[SOP_INSTANCE_UID]
        self._known = [tag_vr(tag) for tag in self._tags]
        self._steps = [self._step(edit) for edit in edits]

    @classmethod
    def of(cls, edits: Sequence[Edit]) -> EditPlan | None:
        """The plan for these edits; None if one of them is not for a plan."""
        tags: set[int] = set()
        for edit in edits:
            touched = _touched(edit)
            if touched is None:
                return None
            tags |= touched
        return cls(edits, sorted(tags))

    def _step(self, edit: Edit) -> Asked:
        assert isinstance(edit.target, tuple)
        target = (self._slots[edit.target[0][0]],)
        return edit.condition, (edit.verb.function, target, self._bound(edit.value), edit)

    def _bound(self, value: Value) -> Slot | _Constant | Text | Change | None:
        """A value in the form that `_Values` takes."""
        if isinstance(value, Change):
            return value
        if isinstance(value, tuple):
            return self._slots[value[0]]
        if not isinstance(value, Template):
            return None
        constant = value.constant
        return self._renderer(value) if constant is None else _Constant(constant)

    def _renderer(self, template: Template) -> Text:
        parts = [self._slots[part[0]] if isinstance(part, tuple) else str(part) for part in template.parts]

        def render(values: _Values) -> str | None:
            texts = [part if isinstance(part, str) else values.splitting_text(part) for part in parts]
            return "".join(texts) if all(texts) else None

        return render

    def apply(
        self,
        buffer: bytes | memoryview,
        size: int,
        transfer_syntax_uid: str,
        assumed: tuple[AssumedSet, ...] = (),
        *,
        source: Source = NOWHERE,
    ) -> Planned | None:
        """The edited data set of `size` bytes that `buffer` holds, or begins with, without its pixel data.

        `assumed` and `source`: as for `apply_edits`. None: ask again with the whole data set if `buffer` was
        its beginning, and then `apply_edits`.
        """
        flags = encoding_flags(transfer_syntax_uid)
        located = _fast.locate(buffer, size, flags, self._tags)
        if located is None:
            return None
        header_end, pixel_end, spans = located
        if header_end + size - pixel_end > LONG:
            budget.need(2 * (header_end + size - pixel_end))
        explicit = bool(flags & EXPLICIT)
        values = _Values(spans, self._known, self._charset, explicit, slots=self._slots, assumed=assumed)
        try:
            for condition, (function, target, value, edit) in self._steps:
                if condition is None or condition.holds(values, source):
                    function(values, target, value, edit)
            uids = values.text(self._uids[0]), values.text(self._uids[1])
        except (_Left, Permanent):
            return None
        tags, vrs, raws = self._tags, values.vrs, values.raws
        slots = sorted(values.changed)
        changes = [(tags[slot], vrs[slot] or b"", spans[slot], raws[slot]) for slot in slots]
        header = _fast.assemble(buffer, header_end, flags, changes)
        if header is None:
            return None
        changed = tuple([self._paths[slot] for slot in slots])
        tail = bytes(buffer[pixel_end:size])
        return Planned(Edited(header, tail, changed, *uids, False), header_end, pixel_end)


def _touched(edit: Edit) -> set[int] | None:
    """The tags that an edit reads and writes; None if it is left to `apply_edits`."""
    if not isinstance(edit.target, tuple):
        return None
    paths = [tuple(tag for tag, _ in edit.target)]
    match edit.value:
        case Template():
            paths += edit.value.paths
        case tuple():
            paths.append(edit.value)
        case None | Change():
            pass
        case _:
            return None
    if edit.condition is not None:
        paths += edit.condition.paths
    is_flat = all(len(path) == 1 for path in paths)
    tags = {path[0] for path in paths}
    in_header = all(tag & 0xFFFF and 2 < tag >> 16 < PIXEL_GROUP for tag in tags)
    return tags if is_flat and in_header and paths[0] != (SPECIFIC_CHARACTER_SET,) else None
