"""A header de-identified in one pass: every element is looked up, every sequence gone through, to any depth.

What is kept keeps its bytes. What cannot be read, or nests too deep, raises: nothing is passed on unread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from mapdr import _fast
from mapdr._fast.scan_tables import UNDEFINED, Element, Item, Unreadable, actual_flags, is_fragmented
from mapdr.dicom import tags, write
from mapdr.dicom.charset import parse_terms
from mapdr.dicom.dates import Move, by_days, to_year
from mapdr.dicom.deidentify import burned_in, changed, content, dummy, private, reading
from mapdr.dicom.deidentify.keys import Key
from mapdr.dicom.deidentify.marks import MARKS, marks
from mapdr.dicom.deidentify.profile import Actions, Do, Profile, listed_vr
from mapdr.dicom.deidentify.table import Option
from mapdr.dicom.path import format_tag
from mapdr.dicom.scan import encoding_flags
from mapdr.dicom.write import Encoding, encoding_from
from mapdr.kernel.errors import Permanent

MAX_DEPTH = 64
"""Levels of sequences that are gone through."""


_TELLING = frozenset((b"PN", b"DA", b"DT", b"UI", b"UR"))
"""VRs that say what a value is, also of an attribute that should have another VR."""
_KEPT = frozenset((Do.KEEP, Do.TEXT, Do.AGE, Do.TIME))
_OF_UIDS = b"0123456789.\\ \0"
"""The bytes of UIDs, what is between them, and their padding."""


class Pseudonyms(Protocol):
    """What stands in place of a patient's identifier and name."""

    def of(self, patient: str) -> tuple[str, str]:
        """PatientID and PatientName for a patient (`reading.patient`), in ASCII.

        Raises Permanent(reason="pseudonym").
        """


class Deidentified(NamedTuple):
    """The new bytes, and the identity that the data set has now; a UID that it has not is empty.

    `frame_bits` is how many bits the frames of native pixel data have by the header, 0 where it does not say.
    """

    header: bytes
    tail: bytes
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_bits: int = 0


@dataclass(slots=True)
class _Call:
    """What one data set needs while it is gone through."""

    sop_class_uid: str
    patient: str
    pseudonym: tuple[str, str] | None = None
    move: Move | None = None
    blocks: private.Blocks = field(default_factory=dict)
    """What the data set says of its private blocks; only where private elements are kept."""


class _Place(NamedTuple):
    """A level on the way: its bytes and encoding, what its tags mean, and the sequence that it is in."""

    buffer: bytes
    flags: int
    actions: Actions
    depth: int = 0
    sequence: int = 0
    instead: Mapping[int, Do] | None = None
    """What is to be done otherwise than `actions` say."""
    terms: tuple[str, ...] = ()
    """The Specific Character Set; only where text is looked at."""


class Deidentifier:
    """A profile with its key and its pseudonyms; keeps no state, serves many threads."""

    def __init__(
        self,
        options: Sequence[Option],
        key: Key,
        pseudonyms: Pseudonyms,
        method: str,
        *,
        year_only: bool = False,
        age_limit: int | None = None,
    ) -> None:
        """`method` is what DeidentificationMethod says of the program, at most 64 characters of ASCII.

        `year_only`: modified dates are reduced to their year, not moved by days. `age_limit`: ages of more
        years that are kept become one category, the next year.
        """
        self.profile = Profile(options, limits_age=age_limit is not None)
        self._year_only = year_only
        self._age_limit = age_limit or 0
        self._key = key
        self._pseudonyms = pseudonyms
        self._method = method
        self._keeps_uids = Option.RETAIN_UIDS in self.profile.options
        self._keeps_private = Option.RETAIN_SAFE_PRIVATE in self.profile.options

    def uid(self, uid: str) -> str:
        """The UID that an instance, series or study has afterwards."""
        return uid if self._keeps_uids else self._key.uid(uid)

    def apply(
        self,
        header: bytes,
        tail: bytes | None,
        transfer_syntax_uid: str,
        *,
        tail_at: int = 0,
        is_covered: bool = False,
    ) -> Deidentified:
        """De-identify the bytes before the pixel data and those after it.

        `tail` is None for a data set without pixel data, whose header is all of it; `tail_at` its offset in
        the data set, for errors. `is_covered`: another step blanks what may be burned into the pixels. Raises
        Unreadable for bytes that are no data set, and Permanent: "burned-in-text", "directory", "pseudonym",
        "too-deep", "odd-form", "sequence", "value-too-long". No message holds a value.
        """
        declared = encoding_flags(transfer_syntax_uid)
        flags = actual_flags(header, len(header), declared)
        found, remarks = reading.elements_of(header, flags)
        top = reading.by_tag(found)
        known = reading.facts(header, top, has_pixels=tail is not None)
        if tags.DIRECTORY_RECORD_SEQUENCE in top:
            raise Permanent(
                "it is a directory of files, whose names and offsets cannot be changed here",
                reason="directory",
            )
        if not is_covered and (why := burned_in.risk(known)):
            raise Permanent(
                f"its pixels may show who the patient is: {why}; it leaves only where clean-pixel-data has "
                "regions that cover it",
                reason="burned-in-text",
            )
        call = _Call(known.sop_class_uid, reading.patient(header, top))
        if self._keeps_private:
            call.blocks = private.blocks_of(header, top, flags)
        place = _Place(header, flags, self.profile.at_top(known.sop_class_uid))
        place = place._replace(terms=self._terms(place, found))
        added = marks(
            self._method,
            reading.text(header, top, tags.DEIDENTIFICATION_METHOD),
            reading.text(header, top, tags.LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED),
            self.profile.options,
            encoding_from(flags),
            is_covered=is_covered,
        )
        new = self._level(call, place, found, added)
        if remarks or flags != declared:
            _check_form(new, declared, flags)
        new_tail = b""
        if tail:
            rest, _, _ = _fast.elements(tail, 0, len(tail), flags, base=tail_at)
            # One more pixel data would be an image that nobody has looked at.
            rest = [element for element in rest if element.tag not in tags.PIXEL_TAGS]
            new_tail = self._level(call, place._replace(buffer=tail), rest)
        return Deidentified(
            new,
            new_tail,
            known.sop_class_uid,
            self.uid(reading.text(header, top, tags.SOP_INSTANCE_UID)),
            self.uid(reading.text(header, top, tags.STUDY_INSTANCE_UID)),
            self.uid(reading.text(header, top, tags.SERIES_INSTANCE_UID)),
            0 if tail is None else reading.frame_bits(header, top, flags),
        )

    def _level(
        self,
        call: _Call,
        place: _Place,
        elements: Sequence[Element],
        added: Sequence[tuple[int, bytes]] = (),
    ) -> bytes:
        """The new bytes of the elements of a level; `added` ones go where their tags belong."""
        buffer, actions, instead = place.buffer, place.actions, place.instead
        pieces: list[bytes] = []
        waiting = list(added)
        safe = private.safe_tags(buffer, elements, call.blocks) if self._keeps_private else {}
        for element in elements:
            tag, vr, offset, value, end, length = element
            while waiting and waiting[0][0] <= tag:
                pieces.append(waiting.pop(0)[1])
            if tag >> 16 & 1:
                if tag not in safe:
                    continue
                do = self._private(tag, vr.decode("latin-1"), safe[tag], buffer[value : value + 4])
            elif added and tag in MARKS:
                continue
            else:
                do = instead[tag] if instead and tag in instead else actions[tag]
            if do in _KEPT and vr in _TELLING and vr.decode("ascii") != listed_vr(tag):
                do = self.profile.unlisted(tag, vr.decode("ascii"))
            if vr == b"UN" and do in _KEPT and buffer[value : value + 4] in reading.ITEM_STARTS:
                continue  # items that the dictionary does not expect: nobody goes through them
            if do is Do.REMOVE:
                continue
            if do is not Do.KEEP or vr == b"SQ" or (length == UNDEFINED and not is_fragmented(tag, vr)):
                pieces.append(self._changed(call, place, do, element))
            elif length & 1 and length != UNDEFINED:
                pieces.append(reading.element(tag, vr, buffer[value:end], place.flags))
            else:
                pieces.append(buffer[offset:end])
        pieces.extend(new for _, new in waiting)
        return b"".join(pieces)

    def _changed(self, call: _Call, place: _Place, do: Do, element: Element) -> bytes:
        """The new bytes of an element that is not simply kept; none where it is removed after all."""
        tag, vr, flags = element.tag, element.vr, place.flags
        raw = place.buffer[element.value : element.end]
        written = reading.vr_name(tag, vr)
        is_sequence = written == "SQ" or (element.length == UNDEFINED and not is_fragmented(tag, vr))
        if do is Do.SHIFT:
            date_vr = written if written in ("DA", "DT") else listed_vr(tag)
            moved = None if is_sequence else changed.dates(raw, date_vr, self._move(call))
            if moved is not None:
                return reading.element(tag, vr, moved, flags)
            do = self.profile.without_dates(tag, place.sequence, call.sop_class_uid)
            if do is Do.REMOVE:
                return b""
        if do is Do.TIME and not is_sequence:
            if changed.is_time(raw, written if written in ("DA", "DT", "TM") else listed_vr(tag)):
                return reading.element(tag, vr, raw, flags)
            do = self.profile.without_dates(tag, place.sequence, call.sop_class_uid)
            if do is Do.REMOVE:
                return b""
        if do is Do.KEEP_UID and not is_sequence:
            is_one = not raw.strip(_OF_UIDS)
            return reading.element(tag, vr, raw.rstrip(b" \0") if is_one else self._uids(raw), flags)
        if do is Do.TEXT and not is_sequence:
            new = changed.text(raw, written, place.terms, self._move(call), year_only=self._year_only)
            return reading.element(tag, vr, new, flags)
        if do is Do.AGE and not is_sequence:
            age = changed.age(raw, self._age_limit)
            return b"" if age is None else reading.element(tag, vr, age, flags)
        if do is Do.EMPTY:
            return reading.element(tag, vr, b"", flags)
        if do in (Do.PATIENT_ID, Do.PATIENT_NAME):
            if call.pseudonym is None:
                call.pseudonym = self._pseudonyms.of(call.patient)
            text = call.pseudonym[0 if do is Do.PATIENT_ID else 1]
            return reading.element(tag, vr, b"" if is_sequence else text.encode("ascii"), flags)
        if do is Do.UID and not is_sequence:
            return reading.element(tag, vr, self._uids(raw), flags)
        if do in (Do.DUMMY, Do.UID):
            value = dummy.VALUES.get(written, b"")
            if is_sequence:
                inner = Encoding(True, False) if vr == b"UN" else encoding_from(flags)
                value = dummy.dummy_items(tag, inner) if raw and listed_vr(tag) == "SQ" else b""
            return reading.element(tag, vr, value, flags)
        if not is_sequence:
            # Only the dictionary says that items are in it: what it holds cannot be gone through.
            raise Permanent(f"{format_tag(tag)} is not written as a sequence", reason="sequence")
        return self._sequence(call, place, do, element)

    def _move(self, call: _Call) -> Move:
        """How the dates of the patient are moved."""
        if call.move is None:
            call.move = to_year if self._year_only else by_days(self._key.days(call.patient))
        return call.move

    def _terms(self, place: _Place, elements: Sequence[Element]) -> tuple[str, ...]:
        """The Specific Character Set of a level: its own, or that of the level around it."""
        if self.profile.cleans_text:
            for element in elements:
                if element.tag == tags.SPECIFIC_CHARACTER_SET:
                    return parse_terms(place.buffer[element.value : element.end])
        return place.terms

    def _uids(self, raw: bytes) -> bytes:
        values = raw.decode("latin-1").split("\\")
        return "\\".join(self._key.uid(value.strip(" \0")) for value in values).encode("latin-1")

    def _sequence(self, call: _Call, place: _Place, do: Do, element: Element) -> bytes:
        """A sequence with its items gone through; lengths stay defined or undefined as they were."""
        tag, vr, buffer = element.tag, element.vr, place.buffer
        if place.depth >= MAX_DEPTH:
            raise Permanent(f"{format_tag(tag)} nests too deep to be gone through", reason="too-deep")
        items = list(_fast.items(buffer, element, place.flags))
        if not items and element.length not in (0, UNDEFINED):
            raise Permanent(f"{format_tag(tag)} holds no items", reason="sequence")
        inner = _Place(
            buffer, place.flags, self.profile.in_item(tag), place.depth + 1, tag, terms=place.terms
        )
        parts: list[bytes] = []
        for item in items:
            at = inner._replace(flags=item.flags, terms=self._terms(inner, item.elements))
            if do is Do.CONTENT:
                instead = self._content_item(buffer, item)
                if instead is None:
                    continue
                at = at._replace(instead=instead)
            elif do is Do.CODES and not _is_registered(buffer, item):
                continue
            made = self._annotation if do is Do.ANNOTATIONS else self._level
            new = made(call, at, item.elements)
            parts.append(reading.item(new, encoding_from(item.flags), undefined=item.undefined))
        value = b"".join(parts)
        if element.length != UNDEFINED:
            return reading.element(tag, vr, value, place.flags)
        end = reading.sequence_end(0 if vr == b"UN" else place.flags)
        return buffer[element.offset : element.value] + value + end

    def _content_item(self, buffer: bytes, item: Item) -> Mapping[int, Do] | None:
        """What is to be done with a content item, by its concept name; None to leave it out."""
        found = reading.by_tag(item.elements)
        name = found.get(tags.CONCEPT_NAME_CODE_SEQUENCE)
        scheme = code = ""
        for inner in _fast.items(buffer, name, item.flags) if name is not None else ():
            codes = reading.by_tag(inner.elements)
            scheme = reading.text(buffer, codes, tags.CODING_SCHEME_DESIGNATOR)
            code = reading.text(buffer, codes, tags.CODE_VALUE)
            break
        value_type = reading.text(buffer, found, tags.VALUE_TYPE)
        return content.of_item(value_type, scheme, code, self.profile)

    def _annotation(self, call: _Call, place: _Place, elements: Sequence[Element]) -> bytes:
        """A graphic annotation that says nothing: its images and layer, and a dummy text."""
        encoding = encoding_from(place.flags)
        one = b"\x3f\x80\0\0" if encoding.big else b"\0\0\x80\x3f"
        text = (
            write.element(tags.ANCHOR_POINT_ANNOTATION_UNITS, "CS", b"PIXEL", encoding)
            + write.element(tags.UNFORMATTED_TEXT_VALUE, "ST", dummy.TEXT.encode("ascii"), encoding)
            + write.element(tags.ANCHOR_POINT, "FL", one * 2, encoding)
            + write.element(tags.ANCHOR_POINT_VISIBILITY, "CS", b"N", encoding)
        )
        new = write.element(tags.TEXT_OBJECT_SEQUENCE, "SQ", write.item((text,), encoding), encoding)
        kept = [each for each in elements if each.tag in (tags.REFERENCED_IMAGE_SEQUENCE, tags.GRAPHIC_LAYER)]
        return self._level(call, place, kept) + new

    def _private(self, tag: int, vr: str, said: str, start: bytes) -> Do:
        """What becomes of a safe private element: it is kept, unless its VR says that it names somebody.

        `said` is the VR that the image says of it elsewhere, for one that is written without a VR.
        """
        if tag & 0xFFFF <= 0xFF:
            return Do.KEEP  # the block's reservation, by which its elements are known
        if vr not in ("", "UN"):
            return Do.REMOVE if vr == "PN" else self.profile.unlisted(tag, vr)
        if said == "PN" or start in reading.ITEM_STARTS:
            return Do.REMOVE  # items of whose VRs nothing is known are no better
        do = self.profile.unlisted(tag, "" if said == "SQ" else said)
        return Do.REMOVE if do is Do.DUMMY else do  # no dummy is valid without a VR


def _is_registered(buffer: bytes, item: Item) -> bool:
    """Whether an item's code is of a registered coding scheme, so that its meaning is no site's own text."""
    found = reading.by_tag(item.elements)
    return reading.text(buffer, found, tags.CODING_SCHEME_DESIGNATOR) in content.REGISTERED


def _check_form(data: bytes, declared: int, flags: int) -> None:
    """An irregular data set may be read otherwise once elements are gone. Raises Permanent("odd-form")."""
    try:
        again = actual_flags(data, len(data), declared)
        _fast.elements(data, 0, len(data), again)
    except Unreadable:
        again = -1
    if again != flags:
        raise Permanent(
            "the data set has an odd form, and would be read otherwise de-identified", reason="odd-form"
        )
