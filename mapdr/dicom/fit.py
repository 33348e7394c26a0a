"""Whether a text fits its VR, and its bytes (PS3.5, table 6.2-1)."""

from __future__ import annotations

import math
import re
import struct
from datetime import date

from mapdr.dicom.charset import TEXT_VRS, encode_or_none
from mapdr.dicom.uids import is_valid_uid
from mapdr.dicom.value import BINARY, OPAQUE, SINGLE
from mapdr.kernel.errors import Permanent

LIMITS = {
    "AE": 16, "AS": 4, "CS": 16, "DA": 8, "DS": 16, "DT": 26, "IS": 12, "LO": 64, "LT": 10240,
    "PN": 64, "SH": 16, "ST": 1024, "TM": 14, "UI": 64,
}  # fmt: skip
"""Characters per value; in PN per component group."""
_CUT = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST"])
"""VRs that `truncate` may cut; a cut date, number or UID would be another one."""
_LINES = frozenset(["LT", "ST", "UT"])
"""VRs that may hold line breaks, tabs and form feeds."""
_FORMS = {
    "AE": re.compile(r"[ -\[\]-~]*"),
    "AS": re.compile(r"[0-9]{3}[DWMY]"),
    "CS": re.compile(r"[A-Z0-9_ ]*"),
    "DA": re.compile(r"[0-9]{8}"),
    "DS": re.compile(r" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? *"),
    "DT": re.compile(r"[0-9]{4}(?:[0-9]{2}){0,5}(?:(?<=[0-9]{14})\.[0-9]{1,6})?(?:[+-][0-9]{4})?"),
    "IS": re.compile(r" *[+-]?[0-9]+ *"),
    "TM": re.compile(r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"),
    "UR": re.compile(r"[!-\[\]-~]*"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x80-\x9f]")
_CONTROL_IN_LINES = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f\x80-\x9f]")


def fit(text: str, vr: str, *, truncate: bool = False, form: bool = True) -> str:
    """`text`, checked as a value of `vr`, or as several joined by backslashes; cut to length if `truncate`.

    Without `form` only the length is checked: what an image had before is not judged when it is prefixed.
    Raises Permanent (reasons "value-too-long", "bad-value"); its message holds no value.
    """
    if vr in OPAQUE:
        raise Permanent(f"a {vr} cannot be set to text", reason="bad-value")
    if vr in SINGLE:
        return _fit_one(text, vr, truncate, form)
    return "\\".join(_fit_one(value, vr, truncate, form) for value in text.split("\\"))


def _fit_one(value: str, vr: str, truncate: bool, strict: bool) -> str:
    if not value:
        return value
    limit = LIMITS.get(vr)
    if limit is not None:
        value = (
            "=".join(_cut(group, vr, limit, truncate) for group in value.split("="))
            if vr == "PN"
            else (_cut(value, vr, limit, truncate))
        )
    if not strict:
        return value
    if (_CONTROL_IN_LINES if vr in _LINES else _CONTROL).search(value):
        raise Permanent(f"a {vr} does not hold such control characters", reason="bad-value")
    form = _FORMS.get(vr)
    if form and not form.fullmatch(value):
        raise Permanent(f"the value has not the form of a {vr}", reason="bad-value")
    if not _is_meant(value, vr):
        raise Permanent(f"the value is no {vr}", reason="bad-value")
    return value


def _cut(text: str, vr: str, limit: int, truncate: bool) -> str:
    if len(text) <= limit:
        return text
    if truncate and vr in _CUT:
        return text[:limit].rstrip(" ")
    raise Permanent(f"{len(text)} characters where a {vr} has at most {limit}", reason="value-too-long")


def _is_meant(value: str, vr: str) -> bool:
    """Whether a value of the right form has a meaning: a date of the calendar, a number in range."""
    if vr == "UI":
        return is_valid_uid(value)
    if vr == "IS":
        return -(2**31) <= int(value) < 2**31
    if vr == "PN":
        return value.count("=") <= 2 and all(group.count("^") <= 4 for group in value.split("="))
    if vr == "DA":
        try:
            return bool(date(int(value[:4]), int(value[4:6]), int(value[6:])))
        except ValueError:
            return False
    if vr in BINARY or vr == "AT":
        return _packed(value, vr, "<") is not None
    return True


def _packed(value: str, vr: str, order: str) -> bytes | None:
    """The bytes of one number, or None if `value` is none that fits."""
    if vr == "AT":
        digits = value.strip("()").replace(",", "")
        if not re.fullmatch(r"[0-9A-Fa-f]{8}", digits):
            return None
        return struct.pack(f"{order}HH", int(digits[:4], 16), int(digits[4:], 16))
    real = vr in ("FL", "FD")
    if not _FORMS["DS" if real else "IS"].fullmatch(value):
        return None
    try:
        number = float(value) if real else int(value)
        return struct.pack(order + BINARY[vr], number) if math.isfinite(number) else None
    except (ValueError, OverflowError, struct.error):
        return None


def encode_value(text: str, vr: str, terms: tuple[str, ...], *, big_endian: bool = False) -> bytes | None:
    """The padded bytes of a fitting text; None if the character set `terms` cannot hold it."""
    if not text:
        return b""
    if vr in BINARY or vr == "AT":
        order = ">" if big_endian else "<"
        return b"".join(_packed(value, vr, order) or b"" for value in text.split("\\"))
    governed = vr.encode() in TEXT_VRS
    raw = encode_or_none(text, terms if governed else (), person=vr == "PN")
    if raw is None and not governed:
        raise Permanent(f"a {vr} holds ASCII only", reason="bad-value")
    return None if raw is None else pad(raw, vr)


def pad(raw: bytes, vr: str) -> bytes:
    """An even length (PS3.5, 6.2): with a NUL for UI and binary, with a space for text."""
    if not len(raw) & 1:
        return raw
    binary = vr in OPAQUE or vr in BINARY or vr in ("UI", "AT", "UN")
    return raw + (b"\0" if binary else b" ")
