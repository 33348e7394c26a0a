"""Values that are kept in part: dates, the dates that a text mentions, ages (PS3.15, section E.3.6)."""

from __future__ import annotations

import re

from mapdr.dicom.charset import decode_or_none, encode_or_none
from mapdr.dicom.dates import Move, moved
from mapdr.dicom.deidentify import dummy
from mapdr.dicom.deidentify.text_dates import cleaned
from mapdr.dicom.fit import LIMITS
from mapdr.dicom.value import SINGLE

LONGEST = 100_000
"""Characters of a text in which dates are looked for; a search costs some microseconds for each."""

_MAY_MENTION = re.compile(rb"[0-9]{2}|[\x80-\xff\x1b]").search
"""Every form of a date has two digits side by side, or digits that are not of ASCII."""
_TIME = re.compile(rb"(?:[0-9]{0,6}|[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)(?:\.[0-9]{0,6})?")
_DATE_TIME = re.compile(rb"[0-9.]{0,21}(?:[+-][0-9]{4})?")
_ZONE = re.compile(rb"[+-][0-9]{4}")
_AGE = re.compile(rb"([0-9]{3})([DWMY])")
_PER_YEAR = {b"D": 365, b"W": 52, b"M": 12, b"Y": 1}


def dates(raw: bytes, vr: str, move: Move) -> bytes | None:
    """The values of a DA or DT, each moved; None if one of them is no date or leaves the calendar."""
    values = [value.strip(" \0") for value in raw.decode("latin-1").split("\\")]
    new = [moved(value, vr, move) if value else "" for value in values]
    return "\\".join(each for each in new if each is not None).encode("ascii") if None not in new else None


def is_time(raw: bytes, vr: str) -> bool:
    """Whether all that stands in a DA, DT or TM, or in an SH for the offset of a zone, is that or empty.

    A TM that holds a date as well, as some devices write it, is none; older forms, with dots and colons, are.
    """
    form = _TIME if vr == "TM" else _ZONE if vr == "SH" else _DATE_TIME
    values = (value.strip(b" \0") for value in raw.split(b"\\"))
    return all(not value or form.fullmatch(value) for value in values)


def age(raw: bytes, limit: int) -> bytes | None:
    """The values of an AS, those of more than `limit` years as the year above it; None for what is no age."""
    new = []
    for value in raw.split(b"\\"):
        found = _AGE.fullmatch(value.strip(b" \0"))
        if found is None and value.strip(b" \0"):
            return None
        is_above = found is not None and int(found[1]) // _PER_YEAR[found[2]] > limit
        new.append(b"%03dY" % (limit + 1) if is_above else value)
    return b"\\".join(new)


def text(raw: bytes, vr: str, terms: tuple[str, ...], move: Move, *, year_only: bool) -> bytes:
    """A text with the dates that it mentions moved, in its own character set; the same bytes if it has none.

    A dummy stands for a text that cannot be searched, is over `LONGEST`, of which nothing would be left, or
    that gets too long for its VR.
    """
    if not _MAY_MENTION(raw):
        return raw
    if len(raw) > 4 * LONGEST:
        return dummy.VALUES["LO"]
    decoded = decode_or_none(raw, terms)
    if decoded is None and (b"\x1b" in raw or "GB18030" in "\\".join(terms).upper()):
        return dummy.VALUES["LO"]  # digits may be halves of other characters
    was = raw.decode("latin-1") if decoded is None else decoded
    if len(was) > LONGEST:
        return dummy.VALUES["LO"]
    new = cleaned(was, move, year_only=year_only)
    if new == was:
        return raw
    made = new.encode("latin-1") if decoded is None else encode_or_none(new, terms)
    values = [new] if vr in SINGLE else new.split("\\")
    is_long = any(len(value.strip()) > LIMITS.get(vr, len(value)) for value in values)
    return dummy.VALUES["LO"] if made is None or is_long or not new.strip(" \\\0") else made
