"""Dates that are moved by whole days: DA and DT (PS3.5, section 6.2). Times and time zones stay."""

from __future__ import annotations

import re
from datetime import date, timedelta

_DATE = re.compile(rb"(\d{4})(\d\d)(\d\d)")
_OLD_DATE = re.compile(rb"(\d{4})\.(\d\d)\.(\d\d)")
_DATE_TIME = re.compile(rb"(\d{4})(\d\d)?(\d\d)?((?:\d\d){0,3}(?:\.\d{1,6})?)([+-]\d{4})?")


def shifted(raw: bytes, vr: str, days: int) -> bytes | None:
    """The values of a DA or DT, each moved by `days`; None for what is no date or leaves the calendar.

    A DT that names no day or month is moved from the first one, and keeps its precision.
    """
    values = [value.strip(b" \0") for value in raw.split(b"\\")]
    moved = [_one(value, vr, days) if value else b"" for value in values]
    return b"\\".join(each for each in moved if each is not None) if None not in moved else None


def _one(value: bytes, vr: str, days: int) -> bytes | None:
    rest = zone = b""
    if vr == "DA":
        match = _DATE.fullmatch(value) or _OLD_DATE.fullmatch(value)
    else:
        match = _DATE_TIME.fullmatch(value)
        if match is not None:
            rest, zone = match[4] or b"", match[5] or b""
            if rest and match[3] is None:
                return None
    if match is None:
        return None
    try:
        known = date(int(match[1]), int(match[2] or 1), int(match[3] or 1)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    text = f"{known.year:04d}{known.month:02d}{known.day:02d}"
    digits = 8 if match[3] else 6 if match[2] else 4
    return text[:digits].encode("ascii") + rest + zone
