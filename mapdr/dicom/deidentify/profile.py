"""The tables, compiled for a set of options: what is to be done with each attribute, by its tag."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum, auto
from functools import lru_cache, partial

from mapdr.dicom import tags
from mapdr.dicom.charset import TEXT_VRS
from mapdr.dicom.deidentify.table import (
    Option,
    attributes,
    resolve,
    type_at_top,
    type_in_item,
    unnamed,
)
from mapdr.dicom.path import tag_vr


class Do(IntEnum):
    """What the pass over a header does with an element."""

    KEEP = auto()
    REMOVE = auto()
    EMPTY = auto()
    DUMMY = auto()
    UID = auto()
    """Each UID in the value is replaced by the key's."""
    SHIFT = auto()
    """A date is moved by the days of the patient; what is no date gets what the basic profile says."""
    OPEN = auto()
    """A sequence, whose items are gone through."""
    PATIENT_ID = auto()
    PATIENT_NAME = auto()
    CONTENT = auto()
    """A sequence of content items, each by its concept name (PS3.15, section E.3.4)."""
    ANNOTATIONS = auto()
    """Graphic annotations of which nothing is kept but where a dummy text stands."""
    CODES = auto()
    """A code sequence: items of registered coding schemes are kept."""
    KEEP_UID = auto()
    """UIDs are kept, as those of classes are; what is no UID is replaced as one of an instance."""
    TEXT = auto()
    """Free text that is kept: the dates that it mentions are moved."""
    AGE = auto()
    """An age that is kept: what is above the limit becomes one category."""
    TIME = auto()
    """A date, time or zone that is kept; what is none gets what the basic profile says."""


CLASS_UIDS = frozenset(
    (
        tags.SOP_CLASS_UID,
        tags.RELATED_GENERAL_SOP_CLASS_UID,
        tags.ORIGINAL_SPECIALIZED_SOP_CLASS_UID,
        tags.SOP_CLASSES_IN_STUDY,
        tags.CODING_SCHEME_UID,
        tags.CONTEXT_GROUP_EXTENSION_CREATOR_UID,
        tags.CONTEXT_UID,
        tags.MAPPING_RESOURCE_UID,
        tags.STORED_INSTANCE_TRANSFER_SYNTAX_UID,
        tags.REFERENCED_SOP_CLASS_UID,
        tags.SOP_CLASSES_SUPPORTED,
        tags.AVAILABLE_TRANSFER_SYNTAX_UID,
        tags.PRIVATE_RECORD_UID,
        tags.REFERENCED_SOP_CLASS_UID_IN_FILE,
        tags.REFERENCED_TRANSFER_SYNTAX_UID_IN_FILE,
        tags.REFERENCED_RELATED_GENERAL_SOP_CLASS_UID_IN_FILE,
        tags.FLOW_TRANSFER_SYNTAX_UID,
        tags.RETRIEVE_LOCATION_UID,
        tags.REPOSITORY_UNIQUE_ID,
        tags.HOME_COMMUNITY_ID,
        0x04000010,
        0x04000510,
        0x30100052,
        0x30100053,
    )
)
"""UIDs that Table E.1-1 does not name and that are of no instance: classes, syntaxes, coding schemes, places
where documents are kept. Every other UID that it does not name is replaced all the same."""

_NO_DATES_IN = frozenset(
    (
        tags.CODE_VALUE,
        tags.CODING_SCHEME_DESIGNATOR,
        tags.CODING_SCHEME_VERSION,
        tags.LONG_CODE_VALUE,
        tags.SOFTWARE_VERSIONS,
    )
)
"""Texts whose numbers may look like dates and are no date of a patient: codes and versions."""

_CONTENT = frozenset(
    (
        tags.CONTENT_SEQUENCE,
        tags.ACQUISITION_CONTEXT_SEQUENCE,
        tags.SPECIMEN_PREPARATION_STEP_CONTENT_ITEM_SEQUENCE,
        tags.WAVEFORM_ANNOTATION_SEQUENCE,
    )
)
"""Sequences of what Table E.3.4-1 is about."""
_LOCATORS = frozenset((tags.HL7_INSTANCE_IDENTIFIER,))
"""What leads to the original, as URLs do: Retrieve URL, Pixel Data Provider URL."""
_SEALED = frozenset((tags.ENCRYPTED_ATTRIBUTES_SEQUENCE, tags.MAC_PARAMETERS_SEQUENCE))
"""What an earlier de-identification kept of the original for who has its key; what belongs to signatures."""
_CODES_OF_THE_BASIC_PROFILE = {"X": Do.REMOVE, "Z": Do.EMPTY, "D": Do.DUMMY, "U": Do.UID}


_TIMES = frozenset(("DA", "DT", "TM"))

_HOW = {
    Do.TEXT: ", the dates in it as modified-dates says",
    Do.AGE: ", above the limit as one category",
}
"""What becomes of a value that is kept, if anything, for who asks which row did it."""


class Actions(dict[int, Do]):
    """What to do with each tag of one context; made as it is asked for, kept for what is known."""

    def __init__(self, make: Callable[[int], Do], is_known: Callable[[int], bool]) -> None:
        super().__init__()
        self._make = make
        self._is_known = is_known

    def __missing__(self, tag: int) -> Do:
        found = self._make(tag)
        if self._is_known(tag):  # a sender must not fill the memory with tags that there are not
            self[tag] = found
        return found


class Profile:
    """The Basic Application Level Confidentiality Profile with `options`."""

    def __init__(self, options: Iterable[Option], *, limits_age: bool = False) -> None:
        """`limits_age`: ages that are kept are kept up to a limit."""
        self.options = frozenset(options)
        self.limits_age = limits_age
        self.cleans_text = {Option.MODIFIED_DATES, Option.CLEAN_DESCRIPTORS} <= self.options
        """Whether dates are looked for in the text that is kept."""
        self.at_top = lru_cache(maxsize=256)(self._at_top)
        self.in_item = lru_cache(maxsize=1024)(self._in_item)

    def _at_top(self, sop_class_uid: str) -> Actions:
        return Actions(partial(self._do, partial(type_at_top, sop_class_uid)), is_known)

    def _in_item(self, sequence: int) -> Actions:
        def do(tag: int) -> Do:
            # Another image within this one, of which nobody has asked what it shows.
            return Do.REMOVE if tag in tags.PIXEL_TAGS else self._do(partial(type_in_item, sequence), tag)

        return Actions(do, is_known)

    def without_dates(self, tag: int, sequence: int, sop_class_uid: str) -> Do:
        """What becomes of an attribute to be moved in time whose value is no date."""
        type_ = type_in_item(sequence, tag) if sequence else type_at_top(sop_class_uid, tag)
        row = attributes().get(tag)
        return _CODES_OF_THE_BASIC_PROFILE[resolve(row.basic, type_)] if row is not None else Do.DUMMY

    def row(self, tag: int) -> str:
        """Which row of Table E.1-1 an attribute goes by, with its code; in few words where none names it."""
        group = tag >> 16
        if group & 1 or group & 0xFF00 in (0x5000, 0x6000):
            return "Table E.1-1: X"  # the rows of private attributes, curves and overlays
        if tag in unnamed() or _is_of_a_family(tag):
            return "no row of Table E.1-1: it may identify"
        row = attributes().get(tag)
        how = _HOW.get(self._kept(tag, listed_vr(tag)), "")
        if row is None:
            return "no row of Table E.1-1: by its VR" + how
        code, option = row.code(self.options)
        return f"Table E.1-1: {code}" + (f" ({option})" if option is not None else "") + how * (code == "K")

    def _do(self, type_of: Callable[[int], int], tag: int) -> Do:
        group = tag >> 16
        if not tag & 0xFFFF or group in (0x0000, 0x0002) or group & 0xFF00 in (0x5000, 0x6000):
            # Group lengths would be wrong; commands and File Meta have no place here; of curves and overlays
            # (whole groups, so that what is left is no half overlay) nobody knows what is drawn in them.
            return Do.REMOVE
        if _is_of_a_family(tag):
            return Do.REMOVE
        if tag == tags.PATIENT_ID:
            return Do.PATIENT_ID
        if tag == tags.PATIENT_NAME:
            return Do.PATIENT_NAME
        row = attributes().get(tag)
        if row is None:
            return self.unlisted(tag, tag_vr(tag)) if is_known(tag) else Do.REMOVE
        vr = listed_vr(tag)
        code, option = row.code(self.options)
        if code == "K":
            return Do.OPEN if vr == "SQ" else self._kept(tag, vr)
        if code == "C":
            cleaned = self._clean(tag, vr, option)
            if cleaned is not None:
                return cleaned
        return self._basic(tag, vr, resolve(row.basic, type_of(tag)))

    def _basic(self, tag: int, vr: str, code: str) -> Do:
        if code == "U":
            return Do.OPEN if vr == "SQ" else Do.UID
        if code == "D":
            if vr == "UI":
                return Do.UID
            if tag == tags.REFERENCED_PERFORMED_PROCEDURE_STEP_SEQUENCE:
                return Do.OPEN  # references, whose UIDs become others: nothing else is in it
            if tag == tags.GRAPHIC_ANNOTATION_SEQUENCE:
                return Do.ANNOTATIONS
        return _CODES_OF_THE_BASIC_PROFILE[code]

    def _clean(self, tag: int, vr: str, option: Option | None) -> Do | None:
        """What a machine can clean; None for what it cannot, which the basic profile removes or replaces.

        Of graphic annotations what is drawn is kept (PS3.15, section E.3.3): their text has a row of its own.
        """
        if option is Option.MODIFIED_DATES:
            if vr in ("DA", "DT"):
                return Do.SHIFT
            return Do.TIME if vr == "TM" or tag == tags.TIMEZONE_OFFSET_FROM_UTC else None
        if vr != "SQ":
            return None
        if tag in _CONTENT:
            return Do.CONTENT
        return Do.CODES if attributes()[tag].name.endswith("Code Sequence") else Do.OPEN

    def unlisted(self, tag: int, vr: str) -> Do:
        """What becomes of an attribute that no row names: it is kept, unless its VR says what it holds."""
        if tag == tags.TEXT_VALUE or tag in _LOCATORS:
            return Do.DUMMY  # text of a content item, wherever such items stand
        if tag in _SEALED:
            return Do.REMOVE
        if code := unnamed().get(tag):
            return _CODES_OF_THE_BASIC_PROFILE[code]
        if tag in _CONTENT and Option.CLEAN_STRUCTURED_CONTENT in self.options:
            return Do.CONTENT
        match vr:
            case "SQ":
                return Do.OPEN
            case "PN":
                return Do.DUMMY
            case "UR":
                return Do.KEEP if tag == tags.CODING_SCHEME_URL else Do.DUMMY
            case "UI":
                is_kept = Option.RETAIN_UIDS in self.options or tag in CLASS_UIDS
                return Do.KEEP_UID if is_kept else Do.UID
            case "DA" | "DT":
                return self.date
        return self._kept(tag, vr)

    def _kept(self, tag: int, vr: str) -> Do:
        """What is done with a value that is kept: the dates in a text are moved, an age has a limit."""
        if vr in _TIMES or tag == tags.TIMEZONE_OFFSET_FROM_UTC:
            return Do.TIME
        if self.cleans_text and vr.encode() in TEXT_VRS and tag not in _NO_DATES_IN:
            return Do.TEXT
        return Do.AGE if self.limits_age and vr == "AS" else Do.KEEP

    @property
    def date(self) -> Do:
        """What becomes of a date that no row names."""
        if Option.FULL_DATES in self.options:
            return Do.TIME
        return Do.SHIFT if Option.MODIFIED_DATES in self.options else Do.DUMMY


def listed_vr(tag: int) -> str:
    """The VR of an attribute of Table E.1-1; by its name where the dictionary is older than the table."""
    vr = tag_vr(tag)
    row = attributes().get(tag)
    if vr != "UN" or row is None:
        return vr
    return "SQ" if row.name.endswith(("Sequence", "Groups")) else "DT" if "DateTime" in row.name else vr


def _is_of_a_family(tag: int) -> bool:
    """Whether it is of a retired family that Table E.1-1 does not name: Source Image IDs (0020,31xx), which
    identify images, and variable pixel data (7Fxx,xxxx), of which nobody has asked what it shows."""
    return tag >> 8 == 0x2031 or (tag >> 24 == 0x7F and tag >> 16 != 0x7FE0)


def is_known(tag: int) -> bool:
    """Whether the dictionary or the table knows a tag; of others nobody can say what they hold."""
    return tag in attributes() or tag_vr(tag) != "UN" or tag == tags.SELECTOR_UN_VALUE
