"""Raw values to text, by VR (PS3.5, section 6.2)."""

from __future__ import annotations

import struct

from mapdr.dicom.charset import decode

BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
"""Numeric VRs and their struct codes."""
OPAQUE = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ"])
"""VRs without a text."""
SINGLE = frozenset(["LT", "ST", "UR", "UT"])
"""VRs that hold one value, in which a backslash is a character."""
GOVERNED = frozenset(["LO", "LT", "PN", "SH", "ST", "UC", "UT", "UN"])
"""VRs read in the Specific Character Set; UN because only text is asked of it."""


def texts_of(raw: bytes, vr: str, terms: tuple[str, ...], *, big_endian: bool = False) -> list[str]:
    """The values in `raw`, stripped of padding; none for an empty or opaque one. Never raises.

    Numbers are written in decimal, AT as (GGGG,EEEE). `terms`: the Specific Character Set that holds.
    """
    if vr in OPAQUE:
        return []
    if vr in BINARY or vr == "AT":
        return [number_text(number, vr) for number in numbers(raw, vr, big_endian=big_endian)]
    text = spaced_text(raw, vr, terms)
    if vr in SINGLE:
        text = text.rstrip(" \0")
        return [text] if text else []
    values = [value.strip(" \0") for value in text.split("\\")]
    return values if any(values) else []


def spaced_text(raw: bytes, vr: str, terms: tuple[str, ...]) -> str:
    """The values in `raw`, joined by backslashes as they are, with their padding; "" without a text."""
    if vr in OPAQUE or vr in BINARY or vr == "AT":
        return ""
    return decode(raw, terms, person=vr == "PN") if vr in GOVERNED else decode(raw, ())


def numbers(raw: bytes, vr: str, *, big_endian: bool = False) -> list[int | float]:
    """The numbers of a binary value; an odd end is left out. AT gives tags."""
    order = ">" if big_endian else "<"
    if vr == "AT":
        pairs = struct.unpack_from(f"{order}{len(raw) // 4 * 2}H", raw)
        return [group << 16 | element for group, element in zip(pairs[::2], pairs[1::2], strict=True)]
    code = BINARY[vr]
    return list(struct.unpack_from(f"{order}{len(raw) // struct.calcsize('=' + code)}{code}", raw))


def number_text(number: int | float, vr: str) -> str:
    """A number as people write it; FL in as few digits as name it."""
    if vr == "AT":
        return f"({int(number) >> 16:04X},{int(number) & 0xFFFF:04X})"
    if vr == "FL":
        for digits in range(6, 9):
            text = f"{number:.{digits}g}"
            if struct.unpack("<f", struct.pack("<f", float(text)))[0] == number:
                return text
        return f"{number:.9g}"
    return repr(number)
