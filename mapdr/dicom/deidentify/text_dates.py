"""Dates that free text mentions: found by pattern, and moved as the dates of the data set are.

What could be read in more than one way (01/02/2026, 31.01.26) is taken out, not guessed.
"""

from __future__ import annotations

import re
from datetime import date

from mapdr.dicom.dates import Move

_MONTHS = (
    "jan january januar januari janvier",
    "feb february februar februari fevrier f\u00e9vrier",
    "mar march mrz m\u00e4r m\u00e4rz maerz maart mars",
    "apr april avril",
    "may mai mei",
    "jun june juni juin",
    "jul july juli juillet",
    "aug august augustus ao\u00fbt aout",
    "sep sept september septembre",
    "oct october okt oktober octobre",
    "nov november novembre",
    "dec december dez dezember d\u00e9c d\u00e9cembre decembre",
)
"""Names of months in English, German, French and Dutch."""
_NUMBERS = {name: number for number, names in enumerate(_MONTHS, 1) for name in names.split()}
_LETTER = r"[^\W\d_]"
_NAMES = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_MONTH = rf"(?<!{_LETTER})(?:{_NAMES})(?!{_LETTER})\.?"
_YEAR = "(?:18|19|20)[0-9]{2}"
_DAY = "[0-9]{1,2}"
_TWO_MONTH, _TWO_DAY = "(?:0[1-9]|1[0-2])", "(?:0[1-9]|[12][0-9]|3[01])"
_ORDINAL = "(?:st|nd|rd|th)?"
_GAP = "[-., _/]{0,2}"
_BEGINS, _ENDS = "(?<![0-9])", "(?![0-9])"

_FORMS = re.compile(
    "|".join(
        _BEGINS + form + _ENDS
        for form in (
            # 20260131, perhaps with the hours, minutes and seconds behind it
            f"(?P<compact>{_YEAR}{_TWO_MONTH}{_TWO_DAY})(?P<time>(?:(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){{0,2}})?)",
            # 2026-01-31
            f"(?P<y1>{_YEAR})(?P<s1>[-/._])(?P<m1>{_DAY})(?P=s1)(?P<d1>{_DAY})",
            # 31.01.2026, 31. 1. 2026, 01/31/2026
            rf"(?P<a2>{_DAY})(?P<s2>[-/_]|\. ?)(?P<b2>{_DAY})(?P=s2)(?P<y2>{_YEAR})",
            # 31 Jan 2026, 31. Januar 2026, 31JAN2026
            f"(?P<d3>{_DAY}){_ORDINAL}{_GAP}(?:of )?(?P<m3>{_MONTH}){_GAP}(?P<y3>{_YEAR})",
            # Jan 31, 2026
            f"(?P<m4>{_MONTH}){_GAP}(?P<d4>{_DAY}){_ORDINAL}[-., _/]{{1,2}}(?P<y4>{_YEAR})",
            # 2026-Jan-31
            f"(?P<y5>{_YEAR}){_GAP}(?P<m5>{_MONTH}){_GAP}(?P<d5>{_DAY})",
            # A month of a year: Jan 2026, 01/2026, 2026-01
            f"{_MONTH}{_GAP}(?P<y6>{_YEAR})",
            f"{_TWO_MONTH}/(?P<y7>{_YEAR})",
            f"(?P<y8>{_YEAR})[-/]{_TWO_MONTH}",
            # A year of two digits: 31.01.26, 1/31/26, 31 Jan 26
            rf"(?P<short>(?<![0-9]\.){_TWO_DAY}(?P<s9>[-.]){_TWO_DAY}(?P=s9)[0-9]{{2}}(?!\.[0-9])"
            f"|{_DAY}/{_DAY}/[0-9]{{2}}|{_DAY}{_GAP}{_MONTH}{_GAP}[0-9]{{2}})",
        )
    ),
    re.IGNORECASE,
)


def cleaned(text: str, move: Move, *, year_only: bool = False) -> str:
    """The text with its dates moved: 20260131 in this form, all others as 2026-01-31.

    Taken out is what names no day (Jan 2026), no year in full, no day of the calendar, or may be one of two:
    of a day and a month between slashes or dashes that are both below 13. Between dots the day goes first.
    With `year_only` the year stands for the date, and for what is taken out where it says one.
    """
    return _FORMS.sub(lambda found: _new(found, move, year_only), text)


def _new(found: re.Match[str], move: Move, year_only: bool) -> str:
    if compact := found["compact"]:
        day = _moved(int(compact[:4]), int(compact[4:6]), int(compact[6:]), move)
        return f"{day.year:04d}{day.month:02d}{day.day:02d}{found['time']}" if day else ""
    if found["short"]:
        return ""
    form = next(number for number in "12345678" if found[f"y{number}"])
    year = int(found[f"y{form}"])
    if form in "12345" and not _is_plausible(found, form):
        return found[0]
    if year_only:
        return f"{year:04d}"
    if form in "678":
        return ""
    one = _read(found, form)
    day = _moved(year, *one, move) if one else None
    return f"{day.year:04d}-{day.month:02d}-{day.day:02d}" if day else ""


def _moved(year: int, month: int, day: int, move: Move) -> date | None:
    try:
        return move(date(year, month, day))
    except (ValueError, OverflowError):
        return None


def _is_plausible(found: re.Match[str], form: str) -> bool:
    """Whether its numbers can be those of a day and a month, in whatever order."""
    if form not in "12":
        return 1 <= int(found[f"d{form}"]) <= 31
    names = ("m1", "d1") if form == "1" else ("a2", "b2")
    low, high = sorted(int(found[name]) for name in names)
    return 1 <= low <= 12 and high <= 31


def _read(found: re.Match[str], form: str) -> tuple[int, int] | None:
    """Month and day; None for what may be read in two ways."""
    if form == "1":
        return int(found["m1"]), int(found["d1"])
    if form != "2":
        return _NUMBERS[found[f"m{form}"].rstrip(".").lower()], int(found[f"d{form}"])
    first, second = int(found["a2"]), int(found["b2"])
    if found["s2"].startswith(".") or first == second:
        return (second, first) if second <= 12 else (first, second)
    if first > 12:
        return second, first
    return (first, second) if second > 12 else None
