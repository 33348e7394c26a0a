"""Edits compiled once for many data sets: the fast way to what `mapdr.dicom.edit.apply_edits` does.

A plan is for edits of single top-level elements before the pixel data, and for regular data sets (see
`mapdr._fast._rewrite_py`). Whatever else comes up is left to `apply_edits`, which starts from the beginning:
nested paths, sequences, text that moves to ISO_IR 192, and every error, so that each has one meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from mapdr import _fast
from mapdr._fast._rewrite_py import Span
from mapdr._fast.scan_tables import CHARACTER_SET, EXPLICIT
from mapdr.dicom.charset import is_plain, parse_terms
from mapdr.dicom.document import PIXEL_GROUP, Overflow
from mapdr.dicom.edit import (
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    Copy,
    Edit,
    Edited,
    IfEmpty,
    Prefix,
    Remove,
    Set,
    SetIfMissing,
    Suffix,
)
from mapdr.dicom.fit import encode_value, fit
from mapdr.dicom.path import tag_vr
from mapdr.dicom.scan import encoding_flags
from mapdr.dicom.template import Template
from mapdr.dicom.value import SINGLE, texts_of
from mapdr.kernel import budget
from mapdr.kernel.errors import Permanent
from mapdr.kernel.item import TagPath

_READ = frozenset(
    "AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US SV UC UR UT UV".split()  # noqa: SIM905  a list
)
"""VRs whose values are read and written here."""
_NAMES = {name.encode("ascii"): name for name in _READ}
_PADDED = frozenset("AE AS CS DA DS DT IS LO PN SH TM UI".split())  # noqa: SIM905  reads as a list
"""VRs whose value, if it is ASCII without backslashes, is its text but for padding at both ends."""


class Planned(NamedTuple):
    """What `apply_edits` gives, and where in the data set the pixel data is that lies between its parts."""

    edited: Edited
    header_end: int
    pixel_end: int


class _Left(Exception):
    """The image is left to `apply_edits`."""


class _Values:
    """The elements that a plan touches, by slot: their values and VRs in one image, and which differ now.

    An absent element has neither; one of undefined length has a VR and no value.
    """

    __slots__ = ("changed", "charset", "explicit", "known", "raws", "vrs")

    def __init__(self, spans: list[Span], known: Sequence[str], charset: int, explicit: bool) -> None:
        self.vrs = [span[2] for span in spans]
        self.raws = [span[3] for span in spans]
        self.known = known
        self.charset = charset
        self.explicit = explicit
        self.changed: set[int] = set()

    def raw(self, slot: int) -> bytes | None:
        """The value of an element, None if it is absent."""
        raw = self.raws[slot]
        if raw is None and self.vrs[slot] is not None:
            raise _Left
        return raw

    def vr(self, slot: int) -> str:
        """The VR as written, or the dictionary's for an absent element and in implicit VR."""
        vr = self.vrs[slot]
        name = _NAMES.get(vr) if vr else self.known[slot]
        if name not in _READ:
            raise _Left
        return name

    def terms(self) -> tuple[str, ...]:
        """The character set that the data set declares."""
        return parse_terms(self.raw(self.charset) or b"")

    def text(self, slot: int) -> str:
        """The values of an element, joined by backslashes; empty for an absent one."""
        raw = self.raw(slot)
        if not raw:
            return ""
        vr = self.vr(slot)
        if not is_plain(raw):
            return "\\".join(texts_of(raw, vr, self.terms()))
        if vr in _PADDED and b"\\" not in raw:
            return raw.decode("ascii").strip(" \0")
        return "\\".join(texts_of(raw, vr, ()))

    def plain_text(self, slot: int) -> str:
        """As `text`, for another element; a backslash that is no separator is left to `apply_edits`."""
        text = self.text(slot)
        if "\\" in text and self.vr(slot) in SINGLE:
            raise _Left
        return text

    def put_raw(self, slot: int, vr: str, raw: bytes) -> None:
        """Give an element its bytes; `vr` is for one that is absent."""
        if self.raw(slot) == raw:
            return
        if self.vrs[slot] is None:
            self.vrs[slot] = vr.encode("ascii") if self.explicit else b""
        self.raws[slot] = raw
        self.changed.add(slot)

    def put(self, slot: int, text: str, overflow: Overflow, *, strict: bool = True) -> None:
        """Give an element a text."""
        if self.raws[slot] is not None and self.text(slot) == text:
            return
        vr = self.vr(slot)
        fitting = fit(text, vr, truncate=overflow == "truncate", form=strict)
        raw = encode_value(fitting, vr, () if _is_plain_text(fitting) else self.terms())
        if raw is None:
            raise _Left
        self.put_raw(slot, vr, raw)

    def lacks(self, slot: int) -> bool:
        """Whether an element is absent or empty."""
        self.vr(slot)
        return not (self.raw(slot) or b"").strip(b" \0")

    def when_empty(self, slot: int, if_empty: IfEmpty) -> None:
        """Deal with a value that there is nothing for."""
        if if_empty == "error":
            raise _Left
        if if_empty == "clear":
            self.put_raw(slot, self.vr(slot), b"")

    def remove(self, slot: int) -> None:
        """Take an element out, if it is there."""
        if self.vrs[slot] is not None:
            self.vrs[slot] = self.raws[slot] = None
            self.changed.add(slot)


def _is_plain_text(text: str) -> bool:
    """Whether a text has the same bytes in every character set."""
    return text.isascii() and "\x1b" not in text


LONG = 1 << 14
"""Bytes of a header that are worth to be counted."""

Step = Callable[[_Values], None]
"""One edit in one image. Raises _Left, or Permanent where `apply_edits` would."""


class EditPlan:
    """Edits ready for many images; threads may share it."""

    def __init__(self, edits: Sequence[Edit], tags: Sequence[int]) -> None:
        self._tags = tuple(sorted({CHARACTER_SET, SOP_CLASS_UID, SOP_INSTANCE_UID, *tags}))
        self._slots = {tag: slot for slot, tag in enumerate(self._tags)}
        self._known = [tag_vr(tag) for tag in self._tags]
        self._steps = [_step(edit, self._slots) for edit in edits]

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

    def apply(self, buffer: bytes | memoryview, size: int, transfer_syntax_uid: str) -> Planned | None:
        """The edited data set of `size` bytes that `buffer` holds, or begins with, without its pixel data.

        None: ask again with the whole data set if `buffer` was its beginning, and then `apply_edits`.
        """
        flags = encoding_flags(transfer_syntax_uid)
        located = _fast.locate(buffer, size, flags, self._tags)
        if located is None:
            return None
        header_end, pixel_end, spans = located
        if header_end + size - pixel_end > LONG:
            budget.need(2 * (header_end + size - pixel_end))
        values = _Values(spans, self._known, self._slots[CHARACTER_SET], bool(flags & EXPLICIT))
        try:
            for step in self._steps:
                step(values)
            uids = values.text(self._slots[SOP_CLASS_UID]), values.text(self._slots[SOP_INSTANCE_UID])
        except (_Left, Permanent):
            return None
        tags, vrs, raws = self._tags, values.vrs, values.raws
        slots = sorted(values.changed)
        changes = [(tags[slot], vrs[slot] or b"", spans[slot], raws[slot]) for slot in slots]
        header = _fast.assemble(buffer, header_end, flags, changes)
        if header is None:
            return None
        changed = tuple((tags[slot],) for slot in slots)
        tail = bytes(buffer[pixel_end:size])
        return Planned(Edited(header, tail, changed, *uids, False), header_end, pixel_end)


def _touched(edit: Edit) -> set[int] | None:
    """The tags that an edit reads and writes; None if it is left to `apply_edits`."""
    paths: list[TagPath]
    match edit:
        case (
            Set(path, template)
            | SetIfMissing(path, template)
            | Prefix(path, template)
            | Suffix(path, template)
        ):
            paths = [tuple(tag for tag, _ in path), *template.paths]
        case Copy(source, path):
            paths = [tuple(tag for tag, _ in path), source]
        case Remove(path):
            paths = [tuple(tag for tag, _ in path)]
        case _:
            return None
    tags = {path[0] for path in paths}
    nested = any(len(path) > 1 for path in paths)
    if (
        nested
        or paths[0][0] == CHARACTER_SET
        or not all(t & 0xFFFF and 2 < t >> 16 < PIXEL_GROUP for t in tags)
    ):
        return None
    return tags


def _step(edit: Edit, slots: Mapping[int, int]) -> Step:
    match edit:
        case Set(path, template, overflow, if_empty):
            return _set(slots[path[0][0]], _renderer(template, slots), overflow, if_empty)
        case SetIfMissing(path, template, overflow, if_empty):
            slot = slots[path[0][0]]
            put = _set(slot, _renderer(template, slots), overflow, if_empty)
            return lambda values: put(values) if values.lacks(slot) else None
        case Copy(source, path, overflow, if_empty):
            return _copy(slots[source[0]], slots[path[0][0]], overflow, if_empty)
        case Prefix(path, template, overflow, if_empty):
            return _affix(slots[path[0][0]], _renderer(template, slots), overflow, if_empty, prefix=True)
        case Suffix(path, template, overflow, if_empty):
            return _affix(slots[path[0][0]], _renderer(template, slots), overflow, if_empty, prefix=False)
        case Remove(path):
            slot = slots[path[0][0]]
            return lambda values: values.remove(slot)
        case _:
            raise ValueError("no edit for a plan")


Render = Callable[[_Values], str]
"""A template's text in one image, "" if one of its tags is empty."""


def _renderer(template: Template, slots: Mapping[int, int]) -> tuple[str | None, Render]:
    """The template's text if it needs no image, and how it is rendered."""
    constant = template.constant
    if constant is not None:
        return constant, lambda values: constant
    parts = [slots[part[0]] if isinstance(part, tuple) else str(part) for part in template.parts]

    def render(values: _Values) -> str:
        texts = [part if isinstance(part, str) else values.plain_text(part) for part in parts]
        return "".join(texts) if all(texts) else ""

    return None, render


def _set(slot: int, text: tuple[str | None, Render], overflow: Overflow, if_empty: IfEmpty) -> Step:
    constant, render = text
    if constant is not None and _is_plain_text(constant):
        return _set_constant(slot, constant, overflow)

    def step(values: _Values) -> None:
        text = render(values)
        if text or constant is not None:
            values.put(slot, text, overflow)
        else:
            values.when_empty(slot, if_empty)

    return step


def _set_constant(slot: int, text: str, overflow: Overflow) -> Step:
    """As `put`, of a text whose bytes are the same in every image: kept by VR."""
    kept: dict[str, bytes] = {}

    def step(values: _Values) -> None:
        vr = values.vr(slot)
        raw = kept.get(vr)
        if raw is None:
            raw = kept[vr] = encode_value(fit(text, vr, truncate=overflow == "truncate"), vr, ()) or b""
        if values.raws[slot] is None or values.text(slot) != text:
            values.put_raw(slot, vr, raw)

    return step


def _copy(source: int, slot: int, overflow: Overflow, if_empty: IfEmpty) -> Step:
    def step(values: _Values) -> None:
        if values.lacks(source):
            values.when_empty(slot, if_empty)
            return
        vr = values.vr(slot)
        if vr == values.vr(source):
            values.put_raw(slot, vr, values.raw(source) or b"")
        else:
            values.put(slot, values.plain_text(source), overflow)

    return step


def _affix(
    slot: int, text: tuple[str | None, Render], overflow: Overflow, if_empty: IfEmpty, *, prefix: bool
) -> Step:
    render = text[1]

    def step(values: _Values) -> None:
        old = values.text(slot)
        if not old:
            return
        affix = render(values)
        if not affix:
            values.when_empty(slot, if_empty)
            return
        is_single = values.vr(slot) in SINGLE
        if "\\" in affix and not is_single:
            raise _Left
        there = str.startswith if prefix else str.endswith
        new = [
            part if not part or there(part, affix) else affix + part if prefix else part + affix
            for part in ([old] if is_single else old.split("\\"))
        ]
        values.put(slot, "\\".join(new), overflow, strict=False)

    return step
