"""What the pass reads of the elements that it has found, and how it writes one with another value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct

from mapdr import _fast
from mapdr._fast.scan_tables import BIG_ENDIAN, EXPLICIT, LONG_VRS, SHORT_VRS, Element
from mapdr.dicom import tags, write
from mapdr.dicom.charset import parse_terms
from mapdr.dicom.deidentify.burned_in import Facts
from mapdr.dicom.deidentify.profile import listed_vr
from mapdr.dicom.path import format_tag, tag_vr
from mapdr.dicom.value import texts_of
from mapdr.dicom.write import Encoding, encoding_from
from mapdr.kernel.errors import Permanent

Found = Mapping[int, Element]
"""The elements of a level by tag, the first of each."""

_HEAD = Struct("<HH2sH").unpack_from
_LENGTH = Struct("<L").unpack_from
_DELIMITERS = 0xFFFE
_OVERLAY_BIT_POSITIONS = frozenset(group << 16 | 0x0102 for group in range(0x6000, 0x6100, 2))
_OVERLAY_DATA = 0x3000


def elements_of(header: bytes, flags: int) -> tuple[list[Element], int]:
    """The elements of a header and the remarks, as `mapdr._fast.elements` finds them, which is the reference.

    In explicit VR little endian what is regular is read here, as far as it goes: in a third of the time.
    """
    found: list[Element] = []
    at, end, new = 0, len(header), tuple.__new__
    if flags == EXPLICIT:
        last = end - 12
        while at <= last:
            group, number, vr, length = _HEAD(header, at)
            if vr in SHORT_VRS:
                value = at + 8
            elif vr in LONG_VRS:
                value = at + 12
                (length,) = _LENGTH(header, at + 8)
            else:
                break
            after = value + length
            # An undefined length is odd as well; group 0 may be zeros behind the last element.
            if length & 1 or after > end or not group or group == _DELIMITERS:
                break
            # The constructor of a named tuple itself takes twice as long, a fifth of this walk.
            found.append(new(Element, (group << 16 | number, vr, at, value, after, length)))
            at = after
    rest, _, remarks = _fast.elements(header, at, end, flags)
    return found + rest, remarks


def by_tag(elements: Sequence[Element]) -> Found:
    """The elements of a level by tag."""
    return {element.tag: element for element in reversed(elements)}


def stripped(buffer: bytes, element: Element) -> str:
    """The value of an element without padding, each byte a character."""
    return buffer[element.value : element.end].decode("latin-1").strip(" \0")


def text(buffer: bytes, found: Found, tag: int) -> str:
    """The first value of an element; empty if it is absent."""
    element = found.get(tag)
    return stripped(buffer, element).split("\\")[0].strip(" \0") if element is not None else ""


def patient(header: bytes, found: Found) -> str:
    """What tells a patient from others: the identifier, else name and date of birth, else the study.

    The first two characters say which, unless it is the identifier.
    """
    charset = found.get(tags.SPECIFIC_CHARACTER_SET)
    terms = parse_terms(header[charset.value : charset.end]) if charset else ()

    def decoded(tag: int, vr: str) -> str:
        element = found.get(tag)
        return "\\".join(texts_of(header[element.value : element.end], vr, terms)) if element else ""

    if identifier := decoded(tags.PATIENT_ID, "LO"):
        return identifier
    if name := decoded(tags.PATIENT_NAME, "PN"):
        return f"\0n{name}\0{decoded(tags.PATIENT_BIRTH_DATE, 'DA')}"
    return f"\0s{decoded(tags.STUDY_INSTANCE_UID, 'UI')}"


def facts(header: bytes, found: Found, *, has_pixels: bool) -> Facts:
    """What the header says that bears on text in the pixels."""
    image_type = found.get(tags.IMAGE_TYPE)
    values = stripped(header, image_type).upper().split("\\") if image_type else []
    return Facts(
        text(header, found, tags.SOP_CLASS_UID),
        text(header, found, tags.BURNED_IN_ANNOTATION).upper(),
        text(header, found, tags.MODALITY).upper(),
        tuple(value.strip() for value in values),
        text(header, found, tags.CONVERSION_TYPE).upper(),
        has_pixels,
        not _OVERLAY_BIT_POSITIONS.isdisjoint(found) and _has_overlay_in_pixels(header, found),
    )


def _has_overlay_in_pixels(header: bytes, found: Found) -> bool:
    """Whether an overlay without data of its own stands in bits of the pixels."""
    return any(
        header[found[tag].value : found[tag].end].strip(b"\0") != b""
        and tag & 0xFFFF0000 | _OVERLAY_DATA not in found
        for tag in _OVERLAY_BIT_POSITIONS & found.keys()
    )


def frame_bits(header: bytes, found: Found, flags: int) -> int:
    """How many bits all frames of native pixel data have, by the header; 0 where it does not say."""

    def number(tag: int) -> int:
        element = found.get(tag)
        if element is None:
            return 0
        raw = header[element.value : element.end]
        values = texts_of(raw, vr_name(tag, element.vr), (), big_endian=bool(flags & BIG_ENDIAN))
        # An IS has 12 characters at most (PS3.5 table 6.2-1); of more than 4,300 digits Python makes none.
        return int(values[0]) if values and values[0].isdecimal() and len(values[0]) <= 12 else 0

    is_shared = "422" in text(header, found, tags.PHOTOMETRIC_INTERPRETATION)  # of two pixels, their colour
    samples = 2 if is_shared else number(tags.SAMPLES_PER_PIXEL)
    frames = number(tags.NUMBER_OF_FRAMES) or 1
    return frames * number(tags.ROWS) * number(tags.COLUMNS) * samples * number(tags.BITS_ALLOCATED)


def vr_name(tag: int, vr: bytes) -> str:
    """The VR as written; the dictionary's in implicit VR, for a public UN and for an unknown VR."""
    if vr not in SHORT_VRS and (vr not in LONG_VRS or (vr == b"UN" and not tag >> 16 & 1)):
        return tag_vr(tag) if tag >> 16 & 1 else listed_vr(tag)
    return vr.decode("ascii")


def element(tag: int, vr: bytes, value: bytes, flags: int) -> bytes:
    """An element with another value, in the VR that it was written with.

    Raises Permanent(reason="value-too-long").
    """
    name = vr.decode("latin-1")
    if flags & EXPLICIT:
        if vr not in SHORT_VRS and vr not in LONG_VRS:
            name = vr_name(tag, vr)
        if len(value) > 0xFFFE and name not in _LONG:
            raise Permanent(f"{format_tag(tag)} is too long for its VR", reason="value-too-long")
    return write.element(tag, name or tag_vr(tag), value, encoding_from(flags))


_LONG = frozenset(vr.decode("ascii") for vr in LONG_VRS)


def item(content: bytes, encoding: Encoding, *, undefined: bool) -> bytes:
    """An item, its length defined or not."""
    if not undefined:
        return write.item((content,), encoding)
    start, end = (b"\xff\xfe\xe0\x00", b"\xff\xfe\xe0\x0d") if encoding.big else _LITTLE_ITEM
    return start + b"\xff" * 4 + content + end + bytes(4)


def sequence_end(flags: int) -> bytes:
    """The delimiter of a sequence of undefined length."""
    return (b"\xff\xfe\xe0\xdd" if flags & BIG_ENDIAN else b"\xfe\xff\xdd\xe0") + bytes(4)


_LITTLE_ITEM = (b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0")
ITEM_STARTS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""How a value begins that is a sequence of items, little and big endian."""
